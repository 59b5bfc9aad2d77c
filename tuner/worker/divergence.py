"""The divergence of a trial, as its worker sees it: a score that is no number, or has exploded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tuner.record.events import Goal
from tuner.record.score_names import is_loss
from tuner.values.numbers import number


class Alarm(Protocol):
    """Looks at every report in the worker; a sentence means the trial has diverged."""

    def __call__(self, first: Mapping[str, float], scores: Mapping[str, float]) -> str | None:
        """`first` holds the first value of each name, `scores` what is reported now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DivergenceAlarm:
    """The alarm in the worker: the objective, or any loss, is no finite number or has exploded.

    Exploded is a score to be minimised (the objective if that is the goal, and whatever is a loss by its name) above
    `explosion` times the larger of 1 and the size of its first value.
    """

    objective: str
    goal: Goal
    explosion: float = 1e6

    def __call__(self, first: Mapping[str, float], scores: Mapping[str, float]) -> str | None:
        """What diverged, as a sentence without the step; None while all is well."""
        explosion = self.explosion
        for name, score in scores.items():
            if -explosion <= score <= explosion:  # false for nan; nearly every score ends here
                continue
            sentence = self._sentence(name, score, first.get(name, score))
            if sentence:
                return sentence
        return None

    def _sentence(self, name: str, score: float, first: float) -> str | None:
        if name != self.objective and not is_loss(name):
            return None
        if not math.isfinite(score):
            return f"{name} is {score}"
        falls = name != self.objective or self.goal == "minimize"
        if falls and score > self.explosion * max(1.0, abs(first)):
            return f"{name} exploded from {number(first)} to {number(score)}"
        return None
