"""Constructed problems with branches that choices switch on: their best is known, and lies inside."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from recordings import Curve

from tuner import Space, choice, integer, linear, log, log_one_minus
from tuner.space.parameters import Choice, Parameter

_PROBLEMS = 24
_EPOCHS = 20
_DRAWN = 2048  # settings that say what a median training reaches


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One space with branches, and what every setting of it is worth: 1 at the best, in the best branch."""

    space: Space
    behind: Mapping[tuple[str, Any], float]
    """What an option costs beside the best of its choice."""
    optima: Mapping[tuple[str, ...], float]
    """Where a parameter is best, in the unit interval, by its name and the options of the choices; all inside."""
    weights: Mapping[str, float]
    bound: float
    """How much the best learning rate and the best batch size depend on each other, from 0 to below 1."""
    cliff: float | None
    """How far above its best the learning rate diverges; None: never."""

    def worth(self, settings: Mapping[str, Any]) -> float:
        """exp(−loss), where the loss is quadratic around the best of the branch; 0 where training diverges."""
        off = {
            name: parameter.to_unit(settings[name]) - self.optimum(name, settings)
            for name, parameter in self.space.items()
            if name in settings and isinstance(parameter, Parameter)
        }
        if self.cliff is not None and off["learning_rate"] > self.cliff:
            return 0.0
        loss = sum(self.weights[name] * far**2 for name, far in off.items())
        both = np.sqrt(self.weights["learning_rate"] * self.weights["batch_size"])
        loss -= 2 * self.bound * both * off["learning_rate"] * off["batch_size"]
        loss += sum(cost for (name, option), cost in self.behind.items() if settings[name] == option)
        return float(np.exp(-loss))

    def optimum(self, name: str, settings: Mapping[str, Any]) -> float:
        """Where a parameter is best under these choices; a whole number is best at one of its values."""
        options = tuple(str(settings[each]) for each, p in self.space.items() if isinstance(p, Choice))
        parameter, place = self.space[name], self.optima[name, *options]
        return parameter.to_unit(parameter.from_unit(place))

    def curve(self, settings: Mapping[str, Any]) -> Curve:
        """Up to its worth as 1 − exp(−epoch/τ): the lower the learning rate, the slower."""
        slowness = 2.0 + 8.0 * (1.0 - self.space["learning_rate"].to_unit(settings["learning_rate"]))
        risen = 1.0 - np.exp(-np.arange(1, _EPOCHS + 1) / slowness)
        found: list[float] = (self.worth(settings) * risen / risen[-1]).tolist()
        return found


def problem(number: int) -> Problem:
    """The problem of that number: drawn with its number as the seed."""
    rng = np.random.default_rng([1305, number])
    momentum, adam, stairs, restarts = (
        {"optimizer": "momentum"},
        {"optimizer": "adam"},
        {"schedule": "stairs"},
        {"schedule": "restarts"},
    )
    every: dict[str, Parameter | Choice] = {
        "learning_rate": log(1e-5, 1.0),
        "batch_size": integer(8, 512, "log"),
        "optimizer": choice("sgd", "momentum", "adam"),
        "beta": log_one_minus(0.5, 0.999, when=momentum),
        "beta1": log_one_minus(0.5, 0.999, when=adam),
        "beta2": log_one_minus(0.9, 0.99999, when=adam),
        "epsilon": log(1e-10, 1e-2, when=adam),
    }
    if rng.random() < 0.6:
        every |= {
            "schedule": choice("none", "stairs", "restarts"),
            "factor": log(0.01, 0.9, when=stairs),
            "every": integer(1, 10, when=stairs),
            "period": integer(2, 20, when=restarts),
            "warm_up": linear(0.0, 0.5, when=restarts),
        }
    others: dict[str, Parameter | Choice] = {
        "l2": log(1e-7, 0.1),
        "dropout": linear(0.0, 0.8),
        "layers": integer(1, 6),
        "label_smoothing": linear(0.0, 0.3),
    }
    every |= {name: parameter for name, parameter in others.items() if rng.random() < 0.6}
    space = Space(**every)

    choices = {name: parameter.options for name, parameter in space.items() if isinstance(parameter, Choice)}
    behind: dict[tuple[str, Any], float] = {}
    for name, options in choices.items():
        costs = rng.uniform(0.05, 0.5, len(options))
        costs[rng.integers(len(options))] = 0.0
        behind |= {(name, option): float(cost) for option, cost in zip(options, costs, strict=True)}

    optima: dict[tuple[str, ...], float] = {}
    numbers = [name for name, parameter in space.items() if isinstance(parameter, Parameter)]
    for name in numbers:
        usual = rng.uniform(0.3, 0.7)
        for options in _products([tuple(map(str, several)) for several in choices.values()]):
            shift = rng.uniform(-0.1, 0.1) if name == "learning_rate" else 0.0  # each branch has a rate of its own
            optima[name, *options] = float(usual + shift)
    weights = {name: float(10.0 ** rng.uniform(-1.0, 1.0)) for name in numbers}
    weights["learning_rate"] = float(rng.uniform(10.0, 30.0))
    cliff = float(rng.uniform(0.1, 0.25)) if rng.random() < 0.5 else None
    return Problem(
        space=space, behind=behind, optima=optima, weights=weights, bound=float(rng.uniform(0.0, 0.8)), cliff=cliff
    )


def _products(several: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]
    for options in several:
        found = [(*before, option) for before in found for option in options]
    return found


class Conditional:
    """Problems with branches, as a recording; regret is 1 at a median training of even draws."""

    step = "epoch"

    def __init__(self) -> None:
        self._problem = functools.cache(lambda task: problem(int(task.rpartition(" ")[2])))
        self._median = functools.cache(self._of_draws)

    def tasks(self) -> list[str]:
        return [f"problem {number}" for number in range(_PROBLEMS)]

    def space(self, task: str) -> Space:
        return self._problem(task).space

    def curve(self, task: str, settings: Mapping[str, Any]) -> Curve:
        return self._problem(task).curve(settings)

    def length(self, task: str) -> int:  # noqa: ARG002 - all tasks share one
        return _EPOCHS

    def best(self, task: str) -> float:  # noqa: ARG002
        return 1.0

    def floor(self, task: str) -> float:  # noqa: ARG002
        return 0.0

    def median(self, task: str) -> float:
        return self._median(task)

    def _of_draws(self, task: str) -> float:
        rng, found = np.random.default_rng(0), self._problem(task)
        return float(np.median([found.worth(found.space.sample(rng)) for _ in range(_DRAWN)]))
