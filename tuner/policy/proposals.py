"""The words between a sweep and its sampler: what came out so far, what to try next, and in which round."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from tuner.record.events import TrialState
from tuner.space.space import Space

Point = tuple[float, ...]
Box = Mapping[str, tuple[float, float]]

Observations: TypeAlias = tuple[tuple[int, float], ...]
"""A few (step, score) of a curve, ascending: the last, and others at about halves of the steps before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one trial, or has so far, as a sampler sees it.

    `point` holds one coordinate in [0, 1] a parameter, NaN where the parameter does not exist. Scores have their sign
    turned so that higher is better; `score` is the best on the head, None where there is none or the trial diverged.
    `planned` is how many steps its function means to take, where that is known; `duplicate_of` the trial whose training
    this one repeats to the last digit, so far: what is known of that one is known of both. `rise` is by how much
    `score` lies above the first score there was; None before the second.
    """

    trial: int
    point: Point
    state: TrialState
    score: float | None
    steps: int
    round: int | None = None
    observations: Observations = ()
    planned: int | None = None
    duplicate_of: int | None = None
    rise: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """A new round: its box maps each parameter's name to an interval of [0, 1], and why it lies there.

    `memo` is what the sampler wants to find again with the round, as JSON can hold it.
    """

    round: int
    first_trial: int
    box: Box
    why: str
    memo: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Settings to try next, as a point of the unit cube; `opened` is the round that begins with it, if one does.

    With `at_once` it is tried whatever else may be better; otherwise it is weighed against runs that stand still.
    """

    point: Point
    why: str
    at_once: bool = False
    round: int | None = None
    opened: RoundPlan | None = None
    memo: Any = None


class Proposer(Protocol):
    """What the sweep asks for settings; unless `adaptive`, outcomes do not matter and trials are drawn ahead."""

    adaptive: bool

    def propose(
        self, space: Space, seed: int, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> Proposal | None:
        """The settings of trial number `trial`; None when there is nothing left to try (a grid that is done).

        A pure function of its arguments: `outcomes` are the trials so far, each as it stood when it was last looked
        at, those in training and those that stand still included; `rounds` those opened so far.
        """
        ...


@runtime_checkable
class Learner(Proposer, Protocol):
    """A proposer that learns a Gaussian process (`surrogate/`) and keeps its hyperparameters with its rounds."""

    def opens(self, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]) -> bool:
        """Whether a round is due; that takes no time, as to learn what it holds does."""
        ...

    def draw(
        self, space: Space, seed: int, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> Proposal:
        """What `propose` says, in the last of these rounds, though another may be due."""
        ...

    def in_haste(self, space: Space, seed: int, trial: int, rounds: Sequence[RoundPlan]) -> Proposal:
        """Settings that take no time to find, by what was learned with the last round."""
        ...

    def due(
        self, space: Space, seed: int, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> RoundPlan | None:
        """The round that is to open before anything else is decided; None: not yet."""
        ...

    def hyperparameters(self, rounds: Sequence[RoundPlan]) -> list[float] | None:
        """Those of the Gaussian process learned last; None before the first."""
        ...


def thinned(steps: Sequence[int], scores: Sequence[float], sign: float = 1.0, most: int = 3) -> Observations:
    """A curve with these ascending steps, thinned to a few observations: the last, and others far enough apart.

    >>> thinned(range(1, 101), [0.0] * 99 + [7.0])
    ((20, 0.0), (45, 0.0), (100, 7.0))
    """
    observations: list[tuple[int, float]] = []
    place = len(steps) - 1
    while place >= 0 and len(observations) < most:
        observations.append((int(steps[place]), sign * scores[place]))
        place = bisect.bisect_right(steps, steps[place] / _APART, 0, place) - 1
    return tuple(reversed(observations))


_APART = 2.2  # an observation lies at most at this share of the next: closer ones say nearly the same
