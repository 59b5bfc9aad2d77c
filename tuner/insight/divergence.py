"""The trials that diverged, and where: the one cut that tells them best from the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.parameters import Choice
from tuner.space.space import Space
from tuner.values.numbers import exact, percent, round_to

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

_NEGLIGIBLE = 1e-12
RARE = 0.05
"""A cut this improbable by chance, all cuts that were looked at allowed for (Bonferroni), counts."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A part of the space: `where` says which, `inside` trials lie there, `diverged` of them diverged.

    `chance` is that of as many by luck (Fisher's exact test, one-sided, times the cuts looked at).
    """

    parameter: str
    where: str
    inside: int
    diverged: int
    chance: float


@dataclass(frozen=True, kw_only=True)
class Divergences:
    """How many of the trials that trained diverged, and where; `cut` is None where no part stands out."""

    trained: int
    diverged: int
    cut: Cut | None

    @property
    def sentence(self) -> str:
        """How many, and where."""
        if not self.trained:
            return "No trial has trained yet without failing."
        if not self.diverged:
            return f"None of {self.trained} trials diverged."
        share = f"{self.diverged} of {self.trained} trials diverged ({percent(self.diverged / self.trained)})"
        cut = self.cut
        if cut is None:
            return f"{share}, in no part of the space more than by chance."
        whose = f"all {cut.diverged}" if cut.diverged == self.diverged else f"{cut.diverged}"
        outside = self.trained - cut.inside
        return (
            f"{share}, {whose} with {cut.where}: {cut.diverged} of {cut.inside} there, "
            f"{self.diverged - cut.diverged} of {outside} elsewhere."
        )


def divergences_of(study: StudyState, space: Space) -> Divergences:
    """The trials of the search that diverged, beside those that trained soundly so far."""
    trained = [trial for trial in study.searched() if trial.steps and trial.state not in ("failed", "stopped")]
    bad = np.array([trial.state == "diverged" for trial in trained], dtype=bool)
    count = int(bad.sum())
    if count in (0, len(trained)):
        return Divergences(trained=len(trained), diverged=count, cut=None)
    cuts = list(_cuts(trained, bad, space))
    looked_at = sum(len(each.inside) for each in cuts)
    weighed = []
    for each in cuts:
        chances = np.minimum(looked_at * _chances(len(trained), count, each.inside, each.diverged), 1.0)
        if len(chances):
            place = int(np.lexsort((each.inside, -each.diverged, chances))[0])
            weighed.append((float(chances[place]), -int(each.diverged[place]), int(each.inside[place]), each, place))
    chance, minus, inside, found, place = min(weighed, key=lambda each: each[:3], default=(1.0, 0, 0, None, 0))
    if found is None or chance >= RARE:
        return Divergences(trained=len(trained), diverged=count, cut=None)
    cut = Cut(parameter=found.parameter, where=found.where(place), inside=inside, diverged=-minus, chance=chance)
    return Divergences(trained=len(trained), diverged=count, cut=cut)


def _chances(ended: int, bad: int, inside: Integers, both: Integers) -> Floats:
    """How often at least as many of the bad lie inside by luck: hypergeometric; 1 where it is no rarity in any case."""
    found, good = np.ones(len(inside)), ended - bad
    exactly = (
        (gammaln(bad + 1) - gammaln(both + 1) - gammaln(bad - both + 1))
        + (gammaln(good + 1) - gammaln(inside - both + 1) - gammaln(good - inside + both + 1))
        - (gammaln(ended + 1) - gammaln(inside + 1) - gammaln(ended - inside + 1))
    )
    rare = (both * ended > bad * inside) & (exactly < math.log(RARE))
    inside, some = inside[rare], both[rare]
    term = np.exp(exactly[rare])
    total = np.zeros(len(term))
    while (term > _NEGLIGIBLE * total).any():
        total += term
        term = term * (bad - some) * (inside - some) / ((some + 1.0) * (good - inside + some + 1.0))
        some = some + 1
    found[rare] = total
    return found


@dataclass(frozen=True, kw_only=True)
class _Cuts:
    """The ways to cut the range of one parameter in two: how many trials lie inside each, and how many of them bad."""

    parameter: str
    inside: Integers
    diverged: Integers
    where: Callable[[int], str]


def _cuts(trained: list[Trial], bad: Flags, space: Space) -> Iterator[_Cuts]:
    """Every option, and every value above or below which some trials lie."""
    for name, parameter in space.items():
        having = [place for place, trial in enumerate(trained) if name in trial.settings]
        values, wrong = [trained[place].settings[name] for place in having], bad[having]
        if isinstance(parameter, Choice):
            yield _by_option(name, parameter, values, wrong)
        elif values:
            yield _by_value(name, values, wrong)


def _by_option(name: str, parameter: Choice, values: list[Any], wrong: Flags) -> _Cuts:
    chosen = [np.array([value == option for value in values], dtype=bool) for option in parameter.options]
    return _Cuts(
        parameter=name,
        inside=np.array([int(each.sum()) for each in chosen]),
        diverged=np.array([int((each & wrong).sum()) for each in chosen]),
        where=lambda place: f"{name} {parameter.options[place]}",
    )


def _by_value(name: str, values: list[Any], wrong: Flags) -> _Cuts:
    """Above each value but the last, and below each but the first, in turn."""
    order = np.argsort(np.array(values), kind="stable")
    distinct, begins = np.unique(np.array(values)[order], return_index=True)
    bad_before = np.concatenate([[0], np.cumsum(wrong[order])])
    below, bad_below = begins[1:], bad_before[begins[1:]]
    ends = distinct.tolist()

    def where(place: int) -> str:
        lower, upper = ends[place // 2], ends[place // 2 + 1]
        return f"{name} below {_between(upper, lower)}" if place % 2 else f"{name} above {_between(lower, upper)}"

    return _Cuts(
        parameter=name,
        inside=np.stack([len(values) - below, below], axis=1).ravel(),
        diverged=np.stack([bad_before[-1] - bad_below, bad_below], axis=1).ravel(),
        where=where,
    )


def _between(outside: float, inside: float) -> str:
    """A round number that parts two values, on the side of the one outside."""
    for digits in range(1, 8):
        rounded = round_to(outside, digits)
        if min(outside, inside) < rounded < max(outside, inside) or rounded == outside:
            return exact(rounded)
    return exact(outside)
