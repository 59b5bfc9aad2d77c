"""The observers of a running study: a terminal, a notebook, a test."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tuner.coordinator import faults
from tuner.errors import first_line
from tuner.record.state import StudyState

if TYPE_CHECKING:
    from pathlib import Path

_SHOW_EVERY_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Status:
    """What an observer shows beside the study itself."""

    workers: int
    busy: int
    elapsed_s: float
    trials_wanted: int | None
    waiting_because: str | None
    note: str | None


class Observer(Protocol):
    """One who watches.

    One that raises an `Exception` is asked no more, and the study goes on: a note says so.
    """

    def show(self, study: StudyState, status: Status) -> None:
        """Called at most ten times a second, always after the commit."""
        ...

    def close(self) -> None:
        """The loop is over."""
        ...


class Observers:
    """All observers of a study; tracebacks of those that fail are kept in its folder."""

    def __init__(self, observers: Sequence[Observer], folder: Path | None) -> None:
        self._observers, self._folder = list(observers), folder
        self._next_show = 0.0

    def due(self, *, last: bool) -> bool:
        """Whether there is somebody to show something, and they have not seen something just now."""
        return bool(self._observers) and (last or time.monotonic() >= self._next_show)

    def show(self, study: StudyState, status: Status) -> list[str]:
        """Shows the study to all; says whose display failed."""
        self._next_show = time.monotonic() + _SHOW_EVERY_S
        complaints = []
        for observer in list(self._observers):
            try:
                observer.show(study, status)
            except Exception as error:  # a terminal that went away, a full disk under a log: training goes on
                self._observers.remove(observer)
                told = f"{first_line(error)} ({faults.keep(self._folder, error, 'while showing the study')})"
                complaints.append(f"the display failed and shows nothing more: {told}")
                self._close(observer)
        return complaints

    def close(self) -> None:
        """The loop is over."""
        for observer in self._observers:
            self._close(observer)

    def _close(self, observer: Observer) -> None:
        try:
            observer.close()
        except Exception as error:
            faults.keep(self._folder, error, "while closing the display")
