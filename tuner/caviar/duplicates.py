"""Duplicate trials: two curves that are equal to the last digit are one training, done twice.

So it comes out where a function rounds its settings, takes them from a table or makes no use of a parameter, and its
seed changes nothing. Scores counted in a few examples are equal by chance too, so equality says something only of
scores that no other trial has had. And where a setting acts late, curves are equal at first and part: that duplicates
stay duplicates is believed only of a study in which two of them have come to their end, and while none have parted.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import TypeAlias

from tuner.record.curve import Curve

Report: TypeAlias = tuple[int, float]
"""A step and its score."""

_EARLY = 64  # reports of a trial that are compared
_TELLING = 2  # scores that only duplicates share: one alone may be where training begins


class Duplicates:
    """Curves by trial; a look at one costs about as much as there are curves that begin with the same report."""

    def __init__(self) -> None:
        self._curves: dict[int, tuple[Report, ...]] = {}
        self._beginning: dict[Report, set[int]] = defaultdict(set)
        self._holders: Counter[float] = Counter()  # how many trials have had a score
        self._stayed = self._parted = False

    @property
    def hold(self) -> bool:
        """Whether trials that were duplicates at first have been duplicates to their end, all of them."""
        return self._stayed and not self._parted

    def enter(self, trial: int, curve: Curve, up_to: int | None = None) -> None:
        """Takes in a trial's curve, up to a step."""
        seen = len(curve) if up_to is None else bisect.bisect_right(curve.steps, up_to)
        reports = islice(zip(curve.steps, curve.scores, strict=True), seen)
        early = tuple(islice((report for report in reports if math.isfinite(report[1])), _EARLY))
        known = self._curves.get(trial, ())
        if known[:1] != early[:1] and known:
            self._beginning[known[0]].discard(trial)
        self._curves[trial] = early
        if early:
            self._beginning[early[0]].add(trial)
        self._holders.update(_scores(early) - _scores(known))
        self._holders.subtract(_scores(known) - _scores(early))

    def alike(self, trial: int) -> list[int]:
        """The others that are duplicates of a trial or it of them, as far as both have come.

        >>> duplicates = Duplicates()
        >>> duplicates.enter(0, Curve([(1, 0.31), (2, 0.472), (3, 0.515)]))
        >>> duplicates.enter(1, Curve([(1, 0.31), (2, 0.472)]))
        >>> duplicates.enter(2, Curve([(1, 0.33), (2, 0.473)]))
        >>> duplicates.alike(1), duplicates.alike(2)
        ([0], [])
        """
        return sorted(self._sharing(self._curves.get(trial, ())) - {trial})

    def once_alike(self, trial: int) -> list[int]:
        """The others that would have been taken for duplicates at some time, whether they are or have parted since."""
        mine = self._curves.get(trial, ())
        shared = (self._sharing(mine[:reports]) - {trial} for reports in range(_TELLING, len(mine) + 1))
        return sorted(next(filter(None, shared), ()))

    def original(self, trial: int, alike: Iterable[int]) -> int | None:
        """Of trials that are alike the one this is a duplicate of: it is ahead, or was there first."""
        ahead = min(alike, key=self._behind, default=trial)
        return ahead if self._behind(ahead) < self._behind(trial) else None

    def compare(self, one: Curve, other: Curve) -> None:
        """Learns from two whole trainings that were duplicates at first."""
        if one.steps == other.steps and one.scores == other.scores:
            self._stayed = True
        else:
            self._parted = True

    def _sharing(self, curve: tuple[Report, ...]) -> set[int]:
        """The trials whose curves are this one as far as both go; none where that can be chance."""
        if not curve:
            return set()
        sharing = {trial for trial in self._beginning[curve[0]] if _agree(curve, self._curves[trial])}
        shared = Counter(score for trial in sharing for score in _scores(self._curves[trial]))
        telling = sum(self._holders[score] == shared[score] for score in _scores(curve))
        return sharing if telling >= _TELLING else set()

    def _behind(self, trial: int) -> tuple[int, int]:
        return -len(self._curves.get(trial, ())), trial


def _agree(one: tuple[Report, ...], other: tuple[Report, ...]) -> bool:
    common = min(len(one), len(other))
    return one[:common] == other[:common]


def _scores(curve: tuple[Report, ...]) -> set[float]:
    return {score for _, score in curve}
