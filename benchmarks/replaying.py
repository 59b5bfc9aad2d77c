"""Our search as it is measured: recorded curves are replayed as ordinary training functions through `tuner.sweep`.

So what is measured is the product: its samplers and stopping rules, its checkpoints, its coordinator and its record.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recordings import Curve, Recording

import tuner

OURS: Mapping[str, Mapping[str, Any]] = {
    "tuner": {},
    "tuner:asha": {"stopping": "asha"},
    "tuner:off": {"stopping": "off"},
    "tuner:random": {"sampler": "random"},
    "tuner:sobol+asha": {"sampler": "sobol", "stopping": "asha"},
}
"""Our search and its parts: what each gives to `tuner.sweep` beside the defaults."""

Epochs = list[tuple[float, float]]
"""Every epoch in the order trained: its score, and the simulated second at which it ended."""


class _EpochCount:
    """All the state that a replayed training has."""

    def __init__(self) -> None:
        self.epochs = 0

    def state_dict(self) -> dict[str, int]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.epochs = state["epochs"]


class Replay:
    """A training function whose scores are those of a recorded curve; it remembers what was trained, in order."""

    def __init__(self, recording: Recording, task: str) -> None:
        self.trained: list[float] = []
        self._recording, self._task = recording, task
        self._curves: dict[tuple[Any, ...], Curve] = {}

    def train(self, run: tuner.Run) -> None:
        """Reports an epoch's score where training would have reached it; may be paused after any epoch."""
        count, curve = _EpochCount(), self._curve(run.params)
        run.state(count)
        for epoch in run.steps(len(curve)):
            if epoch != count.epochs:
                raise RuntimeError(f"a run of {count.epochs} epochs was to go on from {epoch}")
            self.trained.append(curve[epoch])
            run.report(score=curve[epoch])
            count.epochs += 1

    def _curve(self, settings: Mapping[str, Any]) -> Curve:
        key = tuple(settings.values())
        if key not in self._curves:
            self._curves[key] = self._recording.curve(self._task, settings)
        return self._curves[key]


def searched(
    recording: Recording, task: str, method: str, *, workers: int, seed: int, budget: int, folder: Path
) -> Epochs:
    """What our search trains with a budget of epochs; an epoch takes one simulated second."""
    replay = Replay(recording, task)
    with tempfile.TemporaryDirectory(prefix="sweep-", dir=folder) as results:
        study = tuner.sweep(
            replay.train,
            recording.space(task),
            name="replay",
            objective="score",
            executor="local",
            clock="virtual",
            parallel=workers,
            budget_steps=budget,
            seed=seed,
            results=results,
            progress="off",
            **OURS[method],
        )
        began = sorted(study.reports["at"].map(lambda at: at.timestamp()))
        study.close()
    if len(began) != len(replay.trained):
        raise RuntimeError(f"{len(replay.trained)} epochs were trained, but {len(began)} are on record")
    # A worker reports before its clock moves on by the second that the epoch took. Whoever is furthest behind trains
    # first, so the order trained is the order of time.
    return [(score, float(at) + 1.0) for score, at in zip(replay.trained, began, strict=True)]
