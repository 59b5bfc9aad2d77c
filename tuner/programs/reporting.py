"""Scores from inside a program that a sweep has started: `tuner.report`, which also works where none has."""

from __future__ import annotations

import json
import os
from typing import Any

from tuner.errors import TrainingError, kind_of, quoted
from tuner.values.arguments import checked
from tuner.values.plain import number, whole

PLACE = "TUNER_REPORTS"


@checked(TrainingError)
def report(step: int | None = None, **scores: Any) -> None:
    """Reports scores from a program that a `tuner.command` has started; started by hand it prints them.

    A line of JSON goes to the file that the variable `TUNER_REPORTS` names, which a program in another language may
    write itself: `{"step": 3, "dev_accuracy": 0.9}`. Where several processes train one model, one of them reports.

    Args:
        step: Which step it is, from 0 up and never falling. None: reports are counted.
        **scores: Numbers, NumPy or torch scalars by name.

    Raises:
        TrainingError: No score, one that is no single number, a step that is no whole number, or a file that cannot be
            written.

    Example:
        >>> tuner.report(step=3, dev_accuracy=0.9)
        step=3 dev_accuracy=0.9
    """
    found = {name: _score(name, value) for name, value in scores.items()}
    at = _step(step)
    if not found:
        raise TrainingError("tuner.report needs scores by name: tuner.report(step=3, dev_accuracy=0.9).")
    said: dict[str, Any] = found if at is None else {"step": at, **found}
    if (place := os.environ.get(PLACE)) is None:
        print(*(f"{name}={value!r}" for name, value in said.items()), flush=True)
        return
    try:
        file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, f"{json.dumps(said)}\n".encode())  # at once: lines of several processes stay whole
        finally:
            os.close(file)
    except OSError as error:
        raise TrainingError(f"scores cannot be written to {place}, which {PLACE} names: {error.strerror}.") from error


def _score(name: str, value: Any) -> float:
    score = number(value)
    if score is None:
        raise TrainingError(f"tuner.report: {name} must be one number, got {kind_of(value)} {quoted(value)}.")
    return score


def _step(given: Any) -> int | None:
    step = None if given is None else whole(given)
    if given is not None and (step is None or step < 0):
        raise TrainingError(f"tuner.report: step is a whole number, 0 or above, got {quoted(given)}.")
    return step
