"""Waiting for what others do, without guessing how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import tuner
from tuner.errors import StudyError

Found = TypeVar("Found")

# A busy machine takes long; this bounds what never comes, and costs nothing where it comes.
PATIENCE_S = 90.0


def wait_until(condition: Callable[[], Found], within_s: float = PATIENCE_S, *, look_every_s: float = 0.005) -> Found:
    """Looks again and again until `condition` holds, and returns what it found; fails once `within_s` are over."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not come to pass within {within_s:g} s"
        time.sleep(look_every_s)
    return found


def study_once(
    holds: Callable[[tuner.Study], object], results: Path, name: str = "s", within_s: float = PATIENCE_S
) -> tuner.Study:
    """The study, read again and again, also before it is there, until something holds of it."""

    def look() -> tuner.Study | None:
        try:
            study = tuner.open(name, results=results)
        except StudyError:
            return None
        if holds(study):
            return study
        study.close()
        return None

    found = wait_until(look, within_s, look_every_s=0.05)
    assert found is not None
    return found
