"""Our search as it is measured: recorded curves are replayed as ordinary training functions through `tuner.sweep`.

So what is measured is the product: its samplers and stopping rules, its checkpoints, its coordinator and its record.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import recordings
import regret
from recordings import Curve, Recording
from regret import Epoch, Trained

import tuner

OURS: Mapping[str, Mapping[str, Any]] = {
    "tuner": {},
    "tuner:asha": {"stopping": "asha"},
    "tuner:off": {"stopping": "off"},
    "tuner:repeats": {"repeats": "auto"},
    "tuner:random": {"sampler": "random"},
    "tuner:random+off": {"sampler": "random", "stopping": "off"},
    "tuner:sobol+asha": {"sampler": "sobol", "stopping": "asha"},
}
"""Our search and its parts: what each gives to `tuner.sweep` beside the defaults."""


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

    def __init__(self, recording: Recording, task: str, noise: float, seed: int) -> None:
        self.trained: list[tuple[float, float]] = []
        """The score of every epoch, and what it is worth."""
        self._recording, self._task, self._noise, self._seed = recording, task, noise, seed
        self._curves: dict[tuple[Any, ...], Curve] = {}

    def train(self, run: tuner.Run) -> None:
        """Reports an epoch's score where training would have reached it; may be paused after any epoch."""
        count, curve = _EpochCount(), self.curve(run.params)
        luck = recordings.luck(self._recording, self._task, self._noise, [self._seed, run.seed])
        run.state(count)
        for epoch in run.steps(len(curve)):
            if epoch != count.epochs:
                raise RuntimeError(f"a run of {count.epochs} epochs was to go on from {epoch}")
            self.trained.append((curve[epoch] + luck, curve[epoch]))
            run.report(score=curve[epoch] + luck)
            count.epochs += 1

    def curve(self, settings: Mapping[str, Any]) -> Curve:
        """The recorded curve of settings, looked up once."""
        key = tuple(settings.items())
        if key not in self._curves:
            self._curves[key] = self._recording.curve(self._task, settings)
        return self._curves[key]


def searched(
    recording: Recording,
    task: str,
    method: str,
    *,
    workers: int,
    seed: int,
    budget: int,
    trials: int | None,
    noise: float,
    folder: Path,
) -> Trained:
    """What our search trains with a budget of epochs, or of trials; an epoch takes one simulated second."""
    replay, space = Replay(recording, task, noise, seed), recording.space(task)
    with tempfile.TemporaryDirectory(prefix="sweep-", dir=folder) as results:
        study = tuner.sweep(
            replay.train,
            space,
            name="replay",
            objective="score",
            executor="local",
            clock="virtual",
            parallel=workers,
            budget_steps=None if trials else budget,
            trials=trials,
            seed=seed,
            results=results,
            progress="off",
            **OURS[method],
        )
        began = sorted(study.reports["at"].map(lambda at: at.timestamp()))
        drawn = [dict(trial.params) for trial in study.state.trials if trial.purpose == "search"]
        # what the study answers: the expected score of its recommendation, where there is one, else the best seen
        chosen = getattr(study, "recommended", None) or study.best
        study.close()
    if len(began) != len(replay.trained):
        raise RuntimeError(f"{len(replay.trained)} epochs were trained, but {len(began)} are on record")
    if chosen is None:
        raise RuntimeError("the search ended without a score")
    # A worker reports before its clock moves on by the second that the epoch took. Whoever is furthest behind trains
    # first, so the order trained is the order of time.
    return Trained(
        epochs=[Epoch(*scores, float(at) + 1.0) for scores, at in zip(replay.trained, began, strict=True)],
        trials=len(drawn),
        claim=chosen.score,
        worth=regret.highest(replay.curve(chosen.params)),
        border=recordings.border(space, drawn),
    )
