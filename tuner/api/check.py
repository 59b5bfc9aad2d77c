"""The verb that tries a training function before a long run: check, which trains a little, goes back, and compares.

Three runs of the same function: one straight through, one that resumes from a checkpoint half-way in a fresh call, and
one that goes back inside the same call. All must report the same numbers bit for bit.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.errors import TrainingError
from tuner.programs.command import Program
from tuner.record.events import Settings
from tuner.space.space import Space
from tuner.values.arguments import checked, optional, seed, settings, training_function, whole_number
from tuner.worker.checkpoints import load, save
from tuner.worker.run import Run
from tuner.worker.sources import import_name, refuse_what_never_trains
from tuner.worker.state import State
from tuner.worker.training import resolve

Scores = dict[tuple[int, str], list[float]]


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What `check` found: `differences` is empty where a checkpoint brings everything back."""

    steps: int
    saved_at: int
    names: tuple[str, ...]
    checkpoint_bytes: int
    differences: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether resuming and going back gave the very numbers of the run that was left alone."""
        return not self.differences

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was done and found, for people."""
        scores = ", ".join(self.names) or "nothing"
        size = f"{self.checkpoint_bytes:,} bytes"
        done = f"trained {self.steps} steps, saved at step {self.saved_at} ({size}), reported {scores}"
        if self.same:
            return (done, "resuming and going back give the same numbers, bit for bit")
        return (done, *self.differences)

    def __str__(self) -> str:
        return "\n".join(self.sentences)


class _CheckedControl:
    """Records reports, saves at one step, and goes back once at the end where asked to."""

    def __init__(self, *, folder: Path | None, save_at: int, stop_at: int, resume: Path | None, go_back: bool) -> None:
        self.scores: Scores = {}
        self.state: State | None = None
        self.bytes = 0
        self.run: Run | None = None
        self._folder, self._save_at, self._stop_at = folder, save_at, stop_at
        self._resume, self._go_back = resume, go_back

    def report(self, step: int, scores: dict[str, float]) -> None:
        for name, value in scores.items():
            self.scores.setdefault((step, name), []).append(value)

    def register(self, state: State) -> int:
        self.state = state
        if self._resume is None:
            return 0
        load(self._resume, state)
        return self._save_at

    def between(self, done: int) -> str | None:
        if done == self._save_at and self._folder is not None and self.state is not None:
            self.bytes = save(self._folder, step=done, state=self.state, settings={}).bytes
            self._folder, self._resume = None, self._folder
        if done < self._stop_at:
            return None
        if self._go_back and self._resume is not None and self.state is not None and self.run is not None:
            self._go_back = False
            load(self._resume, self.state)
            self.run.rewind(self._save_at)
            return None
        return "checked"


@checked(train=training_function, params=optional(settings), steps=whole_number(2), seed=seed)
def check(
    train: Callable[[Run], Any] | str,
    params: Settings | None = None,
    *,
    space: Space | str | Path | None = None,
    steps: int = 6,
    seed: int = 0,
) -> CheckReport:
    """Whether a checkpoint brings back everything that training depends on; names what differs.

    The function trains three times: straight through, resumed from a checkpoint of half-way in a fresh call, and set
    back inside the same call. All must report the same numbers, bit for bit.

    Args:
        train: A function of a `Run`, its import path `package.module:function`, or a `tuner.command`.
        params: The settings. None: the middle of `space`, or none at all.
        space: A `Space`, the name of one that tuner brings, or a TOML file, whose middle stands in for `params`. None:
            no space.
        steps: How far it trains, from 2 up; by default 6.
        seed: Of the global generators of Python and NumPy, 0 to 2**63 − 1; by default 0.

    Returns:
        What was found: `same`, and `sentences` for people.

    Raises:
        SettingsError: An argument of another name, or one that makes no sense.
        SpaceError: A space that cannot be searched.
        TrainingError: The function never calls `run.state`, takes too few steps, or cannot be found.

    Example:
        >>> from tuner.workloads import bowl
        >>> report = tuner.check(bowl.train, {"learning_rate": 0.1})
        >>> report.same, report.saved_at, report.names
        (True, 3, ('loss', 'score'))
    """
    function = resolve(train, (str(Path.cwd()),)) if isinstance(train, str) else train
    refuse_what_never_trains(function, train if isinstance(train, str) else import_name(train))
    params = _middle(space) if params is None else params
    if isinstance(function, Program):
        function.check(params)
        if not function.resumes:
            raise TrainingError(
                "the command has no {checkpoint}, so nothing of it can be saved: sweeps work, but a lost trial starts "
                "again from its first step. Let the program save into that folder, begin with what it finds there, and "
                'take the folder\'s name from its command line, or from TUNER_CHECKPOINT with resume="yes" (--resumes).'
            )
    half = steps // 2
    with tempfile.TemporaryDirectory(prefix="tuner-check-") as place:
        folder, again = Path(place) / "checkpoint", Path(place) / "again"
        straight = _train(function, params, seed, save_at=half, stop_at=steps, folder=folder)
        _refuse_what_saves_nothing(straight, half)
        resumed = _train(function, params, seed + 1, save_at=half, stop_at=steps, resume=folder)
        back = _train(function, params, seed, save_at=half, stop_at=steps, folder=again, go_back=True)
    return CheckReport(
        steps=max((step for step, _ in straight.scores), default=0),
        saved_at=half,
        names=tuple(dict.fromkeys(name for _, name in straight.scores)),
        checkpoint_bytes=straight.bytes,
        differences=(
            *_differences(straight.scores, resumed.scores, half, "after resuming in a fresh call"),
            *_differences(straight.scores, back.scores, half, "after going back inside the same call"),
        ),
    )


def _middle(space: Space | str | Path | None) -> Settings:
    """The settings that stand for a space."""
    if space is None:
        return {}
    found = space if isinstance(space, Space) else Space.load(space)
    return found.from_unit([0.5] * len(found))


def _refuse_what_saves_nothing(straight: _CheckedControl, half: int) -> None:
    if straight.state is None:
        raise TrainingError(
            "the function never calls run.state(...), so nothing can be saved: sweeps work, but a lost trial "
            "starts again from its first step. Call run.state(network) before the first step, where network has "
            "state_dict() and load_state_dict(), or give run.state(save=..., load=...)."
        )
    if straight.bytes == 0:
        raise TrainingError(
            f"the function took fewer than {half + 1} steps of run.steps(...), so there was nothing to check. Let "
            "it train longer, or give a smaller number of steps."
        )


def _train(
    function: Callable[[Run], Any],
    params: Settings,
    seed: int,
    *,
    save_at: int,
    stop_at: int,
    folder: Path | None = None,
    resume: Path | None = None,
    go_back: bool = False,
) -> _CheckedControl:
    # A resumed run begins with other global generators, as it would in a new process: the checkpoint must set them.
    random.seed(seed)
    np.random.seed(seed)
    control = _CheckedControl(folder=folder, save_at=save_at, stop_at=stop_at, resume=resume, go_back=go_back)
    run = control.run = Run(dict(params), seed=0, control=control)
    function(run)
    return control


def _differences(expected: Scores, found: Scores, after: int, when: str) -> list[str]:
    """One sentence for each score that is not the same."""
    sentences = []
    for name in dict.fromkeys(name for _, name in expected):
        steps = sorted(step for step, each in expected if each == name and step > after)
        for step in steps:
            one, other = expected[step, name][-1], found.get((step, name), [float("nan")])[-1]
            if one != other and not (one != one and other != other):
                sentences.append(
                    f"{name} differs {when}: at step {step} it is {other!r}, it was {one!r}. Something it depends "
                    "on is not in run.state(...): a generator of your own, the place in the data, a running average."
                )
                break
    return sentences
