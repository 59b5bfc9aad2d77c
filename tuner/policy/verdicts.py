"""The verdict on a run that waits at a rung, and the stopping rule that gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from tuner.policy.proposals import RoundPlan
from tuner.record.state import StudyState
from tuner.record.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a trial that waits at a decision point is told.

    It asks again at the first score from step `ask_at` on, and at step `limit` whatever was scored (None: never); told
    to wait, it is answered later. `opened` is a round that begins with it, if one does.
    """

    action: Literal["continue", "pause", "prune", "stop", "wait"]
    why: str
    ask_at: int | None
    limit: int | None = None
    opened: RoundPlan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thaw:
    """A run that stands still is to go on, rather than a trial to begin."""

    trial: int
    why: str
    opened: RoundPlan | None = None


class StoppingRule(Protocol):
    """Decides at a few steps whether a trial is worth training on."""

    name: str

    def first_ask(self, after: int = 0) -> int | None:
        """The first step beyond `after` from which on to ask, at the next score; None: never."""
        ...

    def judge(self, study: StudyState, trial: Trial, step: int) -> Verdict:
        """Whether `trial`, which has been scored at `step`, goes on."""
        ...
