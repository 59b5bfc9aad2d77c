"""The peers by name, and simulated workers that train what a peer asks for, in the unit cube that tuner searches.

A method is a sampler, or sampler+pruner: `random`, `tpe+asha`, `gp+hyperband`; each kind of peer has a file of its own.
Nothing of tuner's slows them down or steers them; only `Space.from_unit` is shared, so that all search one cube.
"""

from __future__ import annotations

import heapq
import importlib
import importlib.metadata
import importlib.util
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import recordings
import regret
from recordings import Curve, Recording
from regret import Epoch, Trained

from tuner import Space
from tuner.space.parameters import Choice


@dataclass(kw_only=True)
class Training:
    """What one simulated worker trains: up to which epoch, and how far it has come."""

    trial: Any
    """The peer's own name for it."""
    curve: Curve
    until: int
    settings: Mapping[str, Any]
    luck: float = 0.0
    done: int = 0
    best: float = -math.inf

    def train(self) -> Epoch:
        """One epoch; it ends at no time yet."""
        worth = self.curve[self.done]
        score = worth + self.luck
        self.done, self.best = self.done + 1, max(self.best, score)
        return Epoch(score, worth, 0.0)


class Rival(Protocol):
    """A search of another project, asked and told as its documentation says."""

    def ask(self) -> Training:
        """What to train next: something new, or a training that was paused."""

    def goes_on(self, training: Training, score: float) -> bool:
        """Takes in the score of the epoch just trained; whether another follows."""


class Kind(Protocol):
    """How a peer is begun: the class in its file, made for one search."""

    def __call__(self, recording: Recording, task: str, method: str, workers: int, seed: int, budget: int) -> Rival: ...


OPTUNA = tuple(
    f"{sampler}+{pruner}".rstrip("+")
    for sampler in ("random", "qmc", "tpe", "gp", "cma")
    for pruner in ("", "asha", "hyperband", "median")
)
SMAC = ("smac", "smac+hyperband")
SYNE_TUNE = ("cqr+asha", "bore+asha")
DEAREST = ("ax", "hebo")
"""Those that take seconds for a draw: they are asked for full trainings alone, and few."""
METHODS = (*OPTUNA, *SMAC, *SYNE_TUNE)
"""Those that a contest has beside ours unless it says otherwise."""
KNOWN = (*METHODS, *DEAREST)
FULL = tuple(method for method in METHODS if "+" not in method)
"""Those that stop nothing."""
SLOW = ("gp", *SMAC, *SYNE_TUNE, *DEAREST)
"""Those that take seconds and more for a search: they get fewer seeds."""

_FILES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(OPTUNA, ("rival_optuna", "Optuna")),
    **dict.fromkeys(SMAC, ("rival_smac", "Smac")),
    **dict.fromkeys(SYNE_TUNE, ("rival_syne_tune", "SyneTune")),
    "ax": ("rival_ax", "Ax"),
    "hebo": ("rival_hebo", "Hebo"),
}
_NEEDS = {
    "gp": ("optuna", "torch"),
    "cma": ("optuna", "cmaes"),
    "smac": ("smac",),
    **dict.fromkeys(("cqr", "bore"), ("syne-tune", "xgboost", "huggingface-hub")),
    "ax": ("ax-platform",),
    "hebo": ("HEBO",),
}
_IMPORTED_AS = {"ax-platform": "ax", "HEBO": "hebo"}


def packages(method: str) -> tuple[str, ...]:
    """What a method is made of."""
    return _NEEDS.get(method.partition("+")[0], ("optuna",))


def missing(method: str) -> str | None:
    """The sentence that says what a method lacks here, or None."""
    lacking = [name for name in packages(method) if importlib.util.find_spec(_imported_as(name)) is None]
    return f"{method} is left out: it needs {lacking[0]}. Try: pip install {lacking[0]}" if lacking else None


def _imported_as(package: str) -> str:
    return _IMPORTED_AS.get(package, package.replace("-", "_"))


def is_slow(method: str) -> bool:
    """Whether a search takes seconds and more."""
    return method in SLOW or method.partition("+")[0] in SLOW


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
) -> Trained:
    """What the peer trains with a budget of epochs, or of trials; a worker asks for settings as soon as it is free.

    With one worker this is the plain ask-and-tell loop. An epoch takes one simulated second.
    """
    file, name = _FILES[method]
    epochs: list[Epoch] = []
    due: list[tuple[float, int, Training]] = []  # when the epoch in progress ends, who trains it
    begun: list[Training] = []

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental features, and pruned trials that a sampler passes over
        kind = cast("Kind", getattr(importlib.import_module(file), name))
        rival = kind(recording, task, method, workers, seed, budget)

        def asked() -> Training | None:
            """What the peer wants trained; nothing new once all trials are begun."""
            if trials is not None and len(begun) >= trials:
                return None
            training = rival.ask()
            if not training.done:
                training.luck = recordings.luck(recording, task, noise, [seed, len(begun)])
                begun.append(training)
            return training

        def begin(now: float, worker: int, training: Training | None) -> None:
            if len(epochs) + len(due) < budget and (training := training or asked()) is not None:
                heapq.heappush(due, (now + 1.0, worker, training))

        for worker in range(workers):
            begin(0.0, worker, None)
        while due:
            now, worker, training = heapq.heappop(due)
            epoch = training.train()._replace(at=now)
            epochs.append(epoch)
            begin(now, worker, training if rival.goes_on(training, epoch.score) else None)
    best = max(begun, key=lambda training: training.best)
    return Trained(
        epochs=epochs,
        trials=len(begun),
        claim=best.best,
        worth=regret.highest(best.curve),
        border=recordings.border(recording.space(task), [each.settings for each in begun]),
    )


def begun(recording: Recording, task: str, trial: Any, settings: Mapping[str, Any], until: int | None) -> Training:
    """A training of these settings, up to an epoch or to its end."""
    curve = recording.curve(task, settings)
    return Training(trial=trial, settings=settings, curve=curve, until=min(until or len(curve), len(curve)))


def walked(space: Space, value_of: Callable[[str], Any]) -> dict[str, Any]:
    """One parameter after another, parents first: whether a child exists depends on them."""
    settings: dict[str, Any] = {}
    while fresh := [
        name
        for name in space.active(settings)
        if name not in settings and settings.keys() >= (space[name].when or {}).keys()
    ]:
        settings.update({name: value_of(name) for name in fresh})
    return settings


def options_of(space: Space) -> dict[str, tuple[Any, ...] | None]:
    """What a peer chooses from for each parameter: options, or None for a number between 0 and 1."""
    return {name: parameter.options if isinstance(parameter, Choice) else None for name, parameter in space.items()}


def settings(space: Space, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What a choice of options and numbers between 0 and 1 means in a space; what does not exist is left out."""

    def value_of(name: str) -> Any:
        parameter = space[name]
        return chosen[name] if isinstance(parameter, Choice) else parameter.from_unit(float(chosen[name]))

    return walked(space, value_of)
