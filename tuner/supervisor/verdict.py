"""Knows whether a change made a run better or worse, and which comparisons are fair (R5)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Literal, TypeAlias

import numpy as np

from tuner.records import Goal
from tuner.supervisor.series import BLOCKS, Series, autocorrelation_time, block_means

Comparison: TypeAlias = Literal["averaged", "cooled", "same_rate", "raw", "earlier"]
"""How `before` and `after` came about.

averaged   two branches of one checkpoint on the same batches, scored on averaged weights
cooled     two branches of one checkpoint on the same batches, scored after the same cooldown
same_rate  two branches of one checkpoint on the same batches; the change leaves the effective rate alone
raw        two branches at different rates: not fair, since a smaller rate looks better at first (Wu et al., ICLR 2018)
earlier    the run's own past: not fair to it either, since it had trained less; only "worse" can come of it
"""
VerdictWord: TypeAlias = Literal["better", "worse", "inconclusive"]

LEVEL = 0.05
TUNING = 20.0  # r: the bound is tightest after about this many blocks times seven


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeVerdict:
    """What became of a change; `keeps` says which settings stay if it must end now: inconclusive keeps the old."""

    word: VerdictWord
    statistic: tuple[str, float]
    threshold: float
    blocks: int
    why: str

    @property
    def keeps(self) -> Literal["new", "old"]:
        """Which settings stay."""
        return "new" if self.word == "better" else "old"


def anytime_bound(blocks: int, deviation: float, *, level: float = LEVEL, tuning: float = TUNING) -> float:
    """What |Σ differences| exceeds with a chance of at most `level` if nothing changed, however often one looks.

    sd √((n+r) log((n+r)/(r a²))) (Howard et al. 2021, arXiv 1810.08240, normal mixture).

    >>> round(anytime_bound(100, 1.0) / 10, 2)    # in standard errors: a single look would need 1.96
    3.06
    """
    return deviation * sqrt((blocks + tuning) * log((blocks + tuning) / (tuning * level**2)))


def verdict(
    before: Series,
    after: Series,
    *,
    change_step: int,
    cool_off: int,
    comparison: Comparison,
    goal: Goal = "minimize",
) -> ChangeVerdict:
    """Judges the settings of `after` against those of `before` on paired differences; safe to ask after every report.

    Both are read from `change_step` + `cool_off` steps on and paired by step. With "earlier", `before` is the same run
    up to the change and the newest values of each are paired in order. Differences are averaged over blocks of 2τ.
    """
    if comparison == "raw":
        return _inconclusive(0, "two rates were compared without a cooldown or averaged weights, which is not fair")
    later = after.after(change_step + cool_off)
    if comparison == "earlier":
        earlier = before.until(change_step)
        count = min(len(later), len(earlier))
        differences = later.last(count).values - earlier.last(count).values
    else:
        _, here, there = np.intersect1d(later.steps, before.steps, return_indices=True)
        differences = later.values[here] - before.values[there]
    if goal == "maximize":
        differences = -differences
    if not len(differences):
        return _inconclusive(0, f"nothing to compare yet, {cool_off} steps after a change are not judged")
    if not np.isfinite(differences).all():
        lost = not np.isfinite(later.values).all()
        return ChangeVerdict(word="worse" if lost else "better", statistic=("values that are not finite", 1.0),
                             threshold=0.0, blocks=0, why="one of the two has diverged")  # fmt: skip
    means = block_means(differences, ceil(2 * autocorrelation_time(differences, degree=2)))
    if len(means) < BLOCKS:
        return _inconclusive(len(means), f"{len(means)} independent blocks of differences are fewer than {BLOCKS}")
    total, bound = float(means.sum()), anytime_bound(len(means), float(means.std(ddof=1)))
    word: VerdictWord = "worse" if total >= bound > 0 else "better" if -total >= bound > 0 else "inconclusive"
    if comparison == "earlier" and word == "better":
        word = "inconclusive"
    scale = sqrt(len(means)) * float(means.std(ddof=1)) or 1.0
    sense = f"{abs(float(means.mean())):.3g} {'worse' if total > 0 else 'better'} on average over {len(means)} blocks"
    rest = {
        "inconclusive": "not enough to be sure: the old settings stay",
        "worse": "more than chance explains, however often one looks",
        "better": "more than chance explains, however often one looks",
    }[word]
    if comparison == "earlier" and total < 0:
        rest = "but it has also trained longer than its past had: the old settings stay unless a branch shows better"
    return ChangeVerdict(word=word, statistic=("sum of paired differences in standard errors", total / scale),
                         threshold=bound / scale, blocks=len(means), why=f"{sense}, {rest}")  # fmt: skip


def _inconclusive(blocks: int, why: str) -> ChangeVerdict:
    return ChangeVerdict(word="inconclusive", statistic=("blocks of differences", float(blocks)),
                         threshold=float(BLOCKS), blocks=blocks, why=why)  # fmt: skip
