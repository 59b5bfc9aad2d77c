"""The journal of a study: what happens, as it is written down; into the fold at once, the database once a turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tuner.coordinator import faults
from tuner.coordinator.checkpoint_keeper import CheckpointKeeper
from tuner.errors import first_line
from tuner.executors.base import Executor
from tuner.policy.proposals import RoundPlan
from tuner.policy.protocol import Draft
from tuner.policy.requests import warning
from tuner.record.events import (
    CheckpointDropped,
    CheckpointSaved,
    Led,
    Noted,
    Record,
    RoundOpened,
    SegmentOpened,
    TrialCreated,
)
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.worker.manifest import Manifest

if TYPE_CHECKING:
    from pathlib import Path


class Journal:
    """The study, its database and its checkpoints, kept in step."""

    def __init__(self, study: StudyState, store: Store, keeper: CheckpointKeeper | None, executor: Executor) -> None:
        self.study, self._store, self._keeper, self._executor = study, store, keeper, executor
        self._pending: list[Record] = []
        self._drops: list[CheckpointDropped] = []
        self.note: str | None = None
        """What observers have yet to be shown once."""

    @property
    def folder(self) -> Path | None:
        """The study's folder; None: nothing is kept on disk."""
        return None if self._keeper is None else self._keeper.folder

    def record(self, record: Record) -> None:
        """Folds a record in; it is committed before this turn ends."""
        self._pending.append(record)
        self.study.apply(record)
        if isinstance(record, Noted) and record.by == "tuner":
            self.note = record.text

    def begin(self, draft: Draft) -> int:
        """A trial begins, and its round where it opens one; its number. Whoever calls says when it trains.

        A checkpoint of another run that it starts from becomes one of its own.
        """
        number, now, saved = len(self.study.trials), self._executor.now(), None
        if draft.beginning is not None and self._keeper is not None:  # looked at first: a torn one begins nothing
            saved = _saved(self.study, draft, draft.beginning, self._keeper.storage.look(draft.beginning), now)
        created = TrialCreated(
            trial=number,
            purpose=draft.purpose,
            round=draft.round,
            parent=draft.parent,
            seed=draft.seed,
            params=draft.params,
            seen=len(self.study.ended_order),
            why=draft.why,
            memo=draft.memo,
            at=now,
        )
        segment = _segment(number, draft, now, saved)
        self.open_round(draft.opened)
        self.record(created)
        if saved is not None:
            self.record(saved)  # before the segment, which names it
        self.record(segment)
        return number

    def open_round(self, plan: RoundPlan | None) -> None:
        """A round begins, if one does."""
        if plan is None:
            return
        self.record(
            RoundOpened(
                round=plan.round,
                first_trial=plan.first_trial,
                box=dict(plan.box),
                memo=plan.memo,
                seen=sum(each.best_score is not None or each.ended for each in self.study.trials),
                why=plan.why,
                at=self._executor.now(),
            )
        )

    def warn(self, text: str, trial: int | None = None, step: int | None = None) -> None:
        """Writes down, and shows once, what went wrong without ending a trial."""
        self.record(warning(text, trial, step, self._executor.now()))

    def fault(self, error: BaseException, during: str) -> str:
        """Keeps the traceback of what went wrong inside tuner; the sentence to tell of it."""
        kept = faults.keep(self.folder, error, during)
        return f"a bug in tuner, not a mistake of yours: {first_line(error)} ({kept})"

    def drop(self, drop: CheckpointDropped) -> None:
        """Lets a checkpoint go; its files are deleted after the commit."""
        self.record(drop)
        self._drops.append(drop)

    def commit(self) -> None:
        """One transaction for everything this turn has learned and decided.

        Files go only after it: were they gone first and the commit lost, the record would name checkpoints that are
        not there. The other way round a crash leaves files that nobody needs, which the next start clears away.
        """
        self._tell_lead()
        records, self._pending = self._pending, []
        try:
            if records:
                self._store.append(records, time.time())
            else:
                self._store.beat(time.time())
        except BaseException:
            self._pending[:0] = records
            raise
        if told := self._store.patience.told():
            self.warn(told)
        drops, self._drops = self._drops, []
        if drops and self._keeper is not None:
            for complaint in self._keeper.delete(self.study, drops):
                self.warn(complaint)

    def _tell_lead(self) -> None:
        """Puts the best on record with what made it so, in the same transaction, once a turn at most."""
        if (lead := self.study.lead) != self.study.led:
            trial, step, score = lead
            self.record(Led(trial=trial, step=step, score=score, at=self._executor.now()))


def _saved(study: StudyState, draft: Draft, beginning: str, manifest: Manifest, now: float) -> CheckpointSaved:
    return CheckpointSaved(
        checkpoint=len(study.checkpoints),
        trial=len(study.trials),
        segment=0,
        step=draft.from_step,
        kind="beginning",
        bytes=manifest.bytes,
        sha256=manifest.sha256,
        path=beginning,
        at=now,
    )


def _segment(trial: int, draft: Draft, now: float, start: CheckpointSaved | None) -> SegmentOpened:
    return SegmentOpened(
        trial=trial,
        segment=0,
        parent_segment=None,
        from_step=0 if start is None else start.step,
        checkpoint=None if start is None else start.checkpoint,
        cause="start" if start is None else "promote" if draft.purpose == "promote" else "fork",
        by=draft.by,
        why=draft.why,
        params=None,
        schedules=None if start is None else draft.schedules,
        at=now,
    )
