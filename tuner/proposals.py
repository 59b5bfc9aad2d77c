"""What a sweep and its sampler say to one another: what came out so far, what to try next, and in which round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tuner.records import TrialState
from tuner.space import Space

Point = tuple[float, ...]
Box = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one trial, as a sampler sees it.

    `point` holds one coordinate in [0, 1] a parameter, NaN where the parameter does not exist; `score` is the best head
    score with its sign turned so that higher is better, None where there is none or the trial diverged.
    """

    trial: int
    point: Point
    state: TrialState
    score: float | None
    steps: int
    round: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """A new round: its box maps each parameter's name to an interval of [0, 1], and why it lies there."""

    round: int
    first_trial: int
    box: Box
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Settings to try next, as a point of the unit cube; `opened` is the round that begins with it, if one does."""

    point: Point
    why: str
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

        A pure function of its arguments: `outcomes` are the ended trials in the order they ended, `rounds` those
        opened so far.
        """
        ...
