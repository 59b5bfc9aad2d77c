"""The beginnings of rounds and trials, as they are written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.coordinator.journal import Journal
from tuner.policy.proposals import RoundPlan
from tuner.policy.protocol import Draft
from tuner.record.events import CheckpointSaved, RoundOpened, SegmentOpened, TrialCreated
from tuner.record.state import StudyState
from tuner.worker import checkpoints

if TYPE_CHECKING:
    from pathlib import Path


def open_round(journal: Journal, plan: RoundPlan | None, now: float) -> None:
    """A round begins, if one does."""
    if plan is None:
        return
    journal.record(
        RoundOpened(
            round=plan.round,
            first_trial=plan.first_trial,
            box=dict(plan.box),
            memo=plan.memo,
            seen=len(journal.study.ended_order),
            why=plan.why,
            at=now,
        )
    )


def begin(journal: Journal, draft: Draft, now: float) -> int:
    """A trial begins, and its round where it opens one; its number. Whoever calls says when it trains.

    A checkpoint of another run that it starts from becomes one of its own.
    """
    study, folder = journal.study, journal.folder
    number, saved = len(study.trials), None
    if draft.beginning is not None and folder is not None:  # looked at first: a torn one begins nothing
        saved = _saved(study, draft, draft.beginning, folder, now)
    created = TrialCreated(
        trial=number,
        purpose=draft.purpose,
        round=draft.round,
        parent=draft.parent,
        seed=draft.seed,
        params=draft.params,
        seen=len(study.ended_order),
        why=draft.why,
        memo=draft.memo,
        at=now,
    )
    segment = _segment(number, draft, now, saved)
    open_round(journal, draft.opened, now)
    journal.record(created)
    if saved is not None:
        journal.record(saved)  # before the segment, which names it
    journal.record(segment)
    return number


def _saved(study: StudyState, draft: Draft, beginning: Path, folder: Path, now: float) -> CheckpointSaved:
    manifest = checkpoints.verify(beginning)
    return CheckpointSaved(
        checkpoint=len(study.checkpoints),
        trial=len(study.trials),
        segment=0,
        step=draft.from_step,
        kind="beginning",
        bytes=manifest.bytes,
        sha256=manifest.sha256,
        path=str(beginning.relative_to(folder)),
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
        by="tuner" if start is None else draft.by,
        why=draft.why,
        params=None,
        schedules=None if start is None else draft.schedules,
        at=now,
    )
