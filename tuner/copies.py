"""Knows which trials are copies: two curves that are equal to the last digit are one training, done twice.

So it comes out where a function rounds its settings, takes them from a table or makes no use of a parameter, and its
seed changes nothing. Scores counted in a few examples are equal by chance too, so equality says something only of
scores that no other trial has had.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import TypeAlias

Report: TypeAlias = tuple[int, float]
"""A step and its score."""

_EARLY = 64  # reports of a trial that are compared
_TELLING = 2  # scores that only copies share: one alone may be where training begins


class Copies:
    """Curves by trial; a look at one costs about as much as there are curves that begin with the same report."""

    def __init__(self) -> None:
        self._curves: dict[int, tuple[Report, ...]] = {}
        self._beginning: dict[Report, set[int]] = defaultdict(set)
        self._holders: dict[float, set[int]] = defaultdict(set)

    def original(self, trial: int, curve: Iterable[Report]) -> int | None:
        """Enters a trial's curve so far; the trial it is a copy of, which is ahead of it or was there first.

        >>> copies = Copies()
        >>> copies.original(0, [(1, 0.31), (2, 0.472), (3, 0.515)])
        >>> copies.original(1, [(1, 0.31), (2, 0.472)])
        0
        >>> copies.original(2, [(1, 0.31), (2, 0.473)])
        """
        self._enter(trial, tuple(islice((report for report in curve if math.isfinite(report[1])), _EARLY)))
        mine = self._curves[trial]
        if len(mine) < _TELLING:
            return None
        alike = {other for other in self._beginning[mine[0]] if _agree(mine, self._curves[other])}
        ahead = min(alike, key=lambda other: (-len(self._curves[other]), other), default=trial)
        if ahead == trial or sum(self._holders[score] <= alike for score in {score for _, score in mine}) < _TELLING:
            return None
        return ahead

    def _enter(self, trial: int, curve: tuple[Report, ...]) -> None:
        known = self._curves.get(trial, ())
        if known[:1] != curve[:1] and known:
            self._beginning[known[0]].discard(trial)
        self._curves[trial] = curve
        if curve:
            self._beginning[curve[0]].add(trial)
        for _, score in curve:
            self._holders[score].add(trial)


def _agree(one: tuple[Report, ...], other: tuple[Report, ...]) -> bool:
    common = min(len(one), len(other))
    return one[:common] == other[:common]
