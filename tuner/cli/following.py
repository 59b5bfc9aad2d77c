"""A babysat run as it is followed: in its own room on a terminal, line by line anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from tuner.cli.streams import remark, tell
from tuner.errors import MissingExtra

if TYPE_CHECKING:
    from tuner.api.handles import RunHandle
    from tuner.api.study import Study

_LOOK_EVERY_S = 0.25
_LINE_EVERY_S = 5.0
_BAD_ENDS = ("failed", "diverged")


def follow(handle: RunHandle, *, once: bool = False) -> int:
    """Shows the run until it is over or the person leaves; the exit code. Whatever happens here, the run goes on."""
    if not once and all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        from tuner.room import open_room

        try:
            return open_room(handle)
        except MissingExtra as error:
            remark(f"note: {error}", "yellow")
    with closing(handle.study) as study, nullcontext() if once else study.outlasting(remark):
        return _follow(study, once=once)


def _follow(study: Study, *, once: bool) -> int:
    """A line for what happens, and one now and then for how it stands."""
    from tuner.record.events import Noted
    from tuner.views.activity import activity

    segments, noted = (0, 0) if not once else (len(study.state.trials[0].segments), len(list(study.records(Noted))))
    line_at = 0.0
    while True:
        running = study.coordinator(time.time()) is not None
        if study.refresh() or not segments:
            trial = study.state.trials[0]
            for text in [*_changes(study, segments), *_notes(study, noted)]:
                tell(text)
            segments, noted = len(trial.segments), len(list(study.records(Noted)))
        over = once or not running
        if over or time.monotonic() >= line_at:
            tell(f"{study.name}: {_standing(study)}; {activity(study.state, running=running)}")
            line_at = time.monotonic() + _LINE_EVERY_S
        if over:
            return 1 if study.state.trials[0].state in _BAD_ENDS else 0
        time.sleep(_LOOK_EVERY_S)


def _changes(study: Study, seen: int) -> Iterator[str]:
    """A line for each segment that was not there before."""
    from tuner.views.terminal import settings_of

    trial = study.state.trials[0]
    for segment in trial.segments[seen:]:
        settings = settings_of(trial.recipe_of(segment).at(segment.from_step), ())
        told = ", ".join(f"{name} {value}" for name, value in settings.items())
        yield f"{study.name}: {segment.cause} at step {segment.from_step} by {segment.by}: {told}" + (
            f" ({segment.why})" if segment.why else ""
        )


def _notes(study: Study, seen: int) -> Iterator[str]:
    from tuner.record.events import Noted

    for note in list(study.records(Noted))[seen:]:
        yield f"{study.name}: note at step {note.step} by {note.by}: {note.text}"


def _standing(study: Study) -> str:
    from tuner.values.numbers import number

    trial, curve = study.state.trials[0], study.curve(0)
    if not len(curve):
        return f"step {trial.steps}"
    best = "" if trial.best_score is None else f" (best {number(trial.best_score)} at step {trial.best_step})"
    return f"step {trial.steps}, {study.state.objective} {number(curve.scores[-1])}{best}"
