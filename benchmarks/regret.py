"""The comparison of searches: regret over the budget, paired by task and seed, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rows import Measured

Array: TypeAlias = NDArray[np.float64]
Pair: TypeAlias = tuple[str, int]
"""Task and seed."""
Traces: TypeAlias = Mapping[Pair, Array]
"""Regret after each step, by task and seed."""


class Epoch(NamedTuple):
    """One step as it was trained."""

    score: float
    """What the search saw."""
    worth: float
    """The same without the luck of the run."""
    at: float
    """The simulated second at which it ended."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """All that a search trained, in the order trained, and the settings that it chooses in the end."""

    epochs: Sequence[Epoch]
    trials: int
    """How many settings were begun."""
    claim: float
    """The score that the search promises of its choice: the highest it saw, or what it expects."""
    worth: float
    """The best score of a whole training of the chosen settings, without luck."""
    border: float
    """The share of all coordinates drawn that lie within a hundredth of a bound."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What one search came to: the steps at which its best score rose, and the scale to measure it on."""

    steps: int
    """How many were trained; at most the budget."""
    seconds: float
    """When the last of them ended, on the simulated clock."""
    rises: Sequence[tuple[int, float, float]]
    """Step, counted from 1; what the highest score seen from then on is worth; the simulated second."""
    best: float
    bad: float
    """The score where regret is 1: the recording's floor or its median."""
    trials: int
    claim: float
    worth: float
    border: float
    cpu_s: float = math.nan
    """What all of it took of the processor, replaying included, where that was looked at."""

    @property
    def clipped(self) -> bool:
        """Whether it found better than the best known, so that its regret is cut off at zero."""
        return any(worth > self.best for _, worth, _ in self.rises)

    @property
    def chosen(self) -> float:
        """The regret of the settings that the search chooses in the end."""
        return float(np.clip((self.best - self.worth) / (self.best - self.bad), 0.0, 1.0))

    @property
    def boast(self) -> float:
        """What is claimed of them less what they are worth, where 1 lies between bad and best."""
        return (self.claim - self.worth) / (self.best - self.bad)

    def by_step(self, budget: int) -> Array:
        """Regret after each step of the budget; the last is carried on where fewer were trained."""
        return self._held([step for step, _, _ in self.rises], np.arange(1, budget + 1))

    def by_second(self, seconds: Array) -> Array:
        """Regret at each of these seconds."""
        return self._held([at for _, _, at in self.rises], seconds)

    def _held(self, when: Sequence[float], asked: Array | NDArray[np.int64]) -> Array:
        # (best − incumbent) / (best − bad), and 1 before anything has been scored
        scores = np.array([self.bad, *(score for _, score, _ in self.rises)])
        regrets = np.clip((self.best - scores) / (self.best - self.bad), 0.0, 1.0)
        held: Array = regrets[np.searchsorted(np.asarray(when, float), asked, side="right")]
        return held


Results: TypeAlias = Mapping[tuple[str, int], Mapping[Pair, Search]]
"""Searches by method and number of workers."""


def rises(epochs: Sequence[Epoch]) -> list[tuple[int, float, float]]:
    """The steps at which the highest score seen rose, what it is worth, and its second; NaN never does."""
    found: list[tuple[int, float, float]] = []
    highest = -math.inf
    for step, epoch in enumerate(epochs, start=1):
        if math.isfinite(epoch.score) and epoch.score > highest:
            highest = epoch.score
            found.append((step, epoch.worth, epoch.at))
    return found


def highest(curve: Sequence[float]) -> float:
    """The highest score of a curve that is a number."""
    return max((score for score in curve if math.isfinite(score)), default=-math.inf)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over pairs of task and seed, and its standard error."""

    mean: float
    error: float
    pairs: int

    @classmethod
    def of(cls, values: Sequence[float] | Array) -> Estimate:
        """NaN for the error of a single pair."""
        error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
        return cls(mean=float(np.mean(values)), error=error, pairs=len(values))

    def __str__(self) -> str:
        error = "" if math.isnan(self.error) else f" ± {self.error:.3f}".replace(" 0.", " .")
        return f"{self.mean:.3f}".replace("0.", ".", 1) + error

    @property
    def measured(self) -> Measured:
        """The mean, and as its spread one standard error to either side."""
        error = 0.0 if math.isnan(self.error) else self.error
        return Measured(self.mean, self.mean - error, self.mean + error)

    @property
    def verdict(self) -> Literal["worse", "better", "none"]:
        """What another's regret less ours says of the other: a difference under two standard errors is none."""
        if not abs(self.mean) >= 2 * self.error or self.mean == 0:
            return "none"
        return "worse" if self.mean > 0 else "better"


def at(traces: Traces, point: int) -> Estimate:
    """Regret after `point` steps."""
    return Estimate.of([trace[point - 1] for trace in traces.values()])


def area(traces: Traces) -> Estimate:
    """The mean over the budget."""
    return Estimate.of([float(trace.mean()) for trace in traces.values()])


def in_the_end(searches: Mapping[Pair, Search]) -> Traces:
    """Regret of what each search chooses in the end, as a trace of one step."""
    return {pair: np.array([search.chosen]) for pair, search in searches.items()}


def difference(theirs: Traces, ours: Traces, point: int | None, our_point: int | None = None) -> Estimate | None:
    """Their regret less ours over the pairs that both have, after `point` steps, or in area where it is None.

    With `our_point` ours is read there instead. None where they share no pair.
    """
    shared = sorted(theirs.keys() & ours.keys())
    if not shared:
        return None
    return Estimate.of([_read(theirs[pair], point) - _read(ours[pair], our_point or point) for pair in shared])


def _read(trace: Array, point: int | None) -> float:
    return float(trace.mean() if point is None else trace[point - 1])
