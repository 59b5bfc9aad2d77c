"""The channel of a worker: what it says goes out, what it is told comes in."""

from __future__ import annotations

from typing import Protocol

from tuner.record.reports import Row
from tuner.worker.messages import Command, WorkerEvent


class Channel(Protocol):
    """Carries a worker's events out and its commands in."""

    background_writes: bool
    """Whether checkpoints are written by another thread while training goes on."""

    def emit(self, event: WorkerEvent) -> None:
        """Sends an event, after all reports added before it."""
        ...

    def add_report(self, trial: int, segment: int, rows: list[Row]) -> None:
        """Buffers reports; they leave with the next event or the next flush."""
        ...

    def passed(self, trial: int, step: int) -> None:
        """A step is over."""
        ...

    def receive(self, *, wait: bool) -> Command | None:
        """The next command; with `wait`, blocks until there is one."""
        ...

    def now(self) -> float:
        """Unix seconds by the executor's clock."""
        ...
