"""The trials that diverged, and where: the one cut that tells them best from the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from scipy.stats import hypergeom

from tuner.numbers import exact, percent, round_to
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.parameters import Choice
from tuner.space.space import Space

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
    bad = {trial.trial for trial in trained if trial.state == "diverged"}
    if not bad or len(bad) == len(trained):
        return Divergences(trained=len(trained), diverged=len(bad), cut=None)
    cuts = [(parameter, where, inside) for parameter, where, inside in _cuts(trained, space)]
    weighed = [
        Cut(
            parameter=parameter,
            where=where,
            inside=len(inside),
            diverged=len(inside & bad),
            chance=min(1.0, len(cuts) * _chance(len(trained), len(bad), len(inside), len(inside & bad))),
        )
        for parameter, where, inside in cuts
    ]
    best = min(weighed, key=lambda cut: (cut.chance, -cut.diverged, cut.inside), default=None)
    found = best if best is not None and best.chance < RARE else None
    return Divergences(trained=len(trained), diverged=len(bad), cut=found)


def _chance(ended: int, bad: int, inside: int, both: int) -> float:
    """How often as many of the bad lie inside by luck."""
    return float(hypergeom.sf(both - 1, ended, bad, inside))


def _cuts(trained: list[Trial], space: Space) -> Iterator[tuple[str, str, set[int]]]:
    """Every option, and every value above or below which some trials lie."""
    for name, parameter in space.items():
        having: Mapping[int, Any] = {t.trial: t.settings[name] for t in trained if name in t.settings}
        if isinstance(parameter, Choice):
            for option in parameter.options:
                yield name, f"{name} {option}", {trial for trial, value in having.items() if value == option}
            continue
        values = sorted(set(having.values()))
        for below, above in pairwise(values):
            upper = {trial for trial, value in having.items() if value >= above}
            yield name, f"{name} above {_between(below, above)}", upper
            yield name, f"{name} below {_between(above, below)}", set(having) - upper


def _between(outside: float, inside: float) -> str:
    """A round number that parts two values, on the side of the one outside."""
    for digits in range(1, 8):
        rounded = round_to(outside, digits)
        if min(outside, inside) < rounded < max(outside, inside) or rounded == outside:
            return exact(rounded)
    return exact(outside)
