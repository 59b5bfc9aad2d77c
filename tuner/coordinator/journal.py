"""The journal of a study: what happens goes into the fold at once, and into the database once a turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tuner.coordinator import faults
from tuner.coordinator.checkpoint_keeper import CheckpointKeeper
from tuner.errors import first_line
from tuner.executors.base import Executor
from tuner.policy.requests import warning
from tuner.record.events import CheckpointDropped, Noted, Record
from tuner.record.state import StudyState
from tuner.record.store import Store

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
        if self._pending:
            self._store.append(self._pending, time.time())
            self._pending = []
        else:
            self._store.beat(time.time())
        drops, self._drops = self._drops, []
        if drops and self._keeper is not None:
            for complaint in self._keeper.delete(self.study, drops):
                self.warn(complaint)
