"""The verdict on a change: whether it made a run better or worse, and which comparisons are fair (R5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf, log, sqrt
from typing import Literal, TypeAlias

import numpy as np

from tuner.panda.supervisor.series import BLOCKS, Array, Series, autocorrelation_time, block_means, is_sane, resolution
from tuner.record.events import Goal
from tuner.values.numbers import number

Comparison: TypeAlias = Literal["averaged", "cooled", "same_rate", "raw", "earlier"]
"""How `before` and `after` came about.

averaged   two branches of one checkpoint on the same batches, scored on averaged weights
cooled     two branches of one checkpoint on the same batches, scored after the same cooldown
same_rate  two branches of one checkpoint on the same batches; the change leaves the effective rate alone
raw        two branches at different rates: not fair, since a smaller rate looks better at first (Wu et al., ICLR 2018)
earlier    the run's own past, which had trained less: only "worse" can come of it, and not after the rate was raised
"""
VerdictWord: TypeAlias = Literal["better", "worse", "inconclusive"]

LEVEL = 0.05
STEADY = 3.0  # times the range in which a difference moves
TUNING = 20.0  # r: the bound is tightest after about this many blocks times seven


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeVerdict:
    """What became of a change; `keeps` says which settings stay if it must end now: inconclusive keeps the old."""

    word: VerdictWord
    statistic: tuple[str, float]
    threshold: float
    blocks: int
    why: str
    size: float = 0.0
    """The mean of the differences; above 0 is worse."""

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
    before: Series, after: Series, *, change_step: int, cool_off: int, comparison: Comparison, goal: Goal = "minimize"
) -> ChangeVerdict:
    """Judges the settings of `after` against those of `before` on paired differences; safe to ask after every report.

    Branches are paired by step, from `change_step` + `cool_off` steps on. With "earlier", `before` is the same run up
    to the change, and `after` is held against the level it had reached in its last `cool_off` steps, made three
    standard errors worse. Differences are averaged over blocks of 2τ; see `_steady` for those too smooth to give ten.
    """
    if comparison == "raw":
        return _inconclusive(0, "two rates were compared without a cooldown or averaged weights, which is not fair")
    later = after.after(change_step + cool_off)
    sign = 1.0 if goal == "minimize" else -1.0
    if comparison == "earlier":
        ceiling = _ceiling(sign * before.until(change_step).after(change_step - cool_off).values)
        if len(later) and ceiling == inf and is_sane(later.values).all():
            return _inconclusive(0, "too little was reported before the change to compare with")
        differences = _difference(sign * later.values, ceiling)
    else:
        _, here, there = np.intersect1d(later.steps, before.steps, return_indices=True)
        differences = sign * _difference(later.values[here], before.values[there])
    if not len(differences):
        return _inconclusive(0, f"nothing to compare yet: for {cool_off} steps after a change nothing is judged")
    if not is_sane(differences).all():
        lost = not is_sane(later.values).all()
        return ChangeVerdict(
            word="worse" if lost else "better",
            statistic=("values that are not finite", 1.0),
            threshold=0.0,
            blocks=0,
            why="one of the two has diverged",
        )
    if np.abs(differences).max() <= resolution(
        np.concatenate([later.values, before.until(change_step).last(1).values])
    ):
        return _inconclusive(0, "the scores are the same to the last digit")
    length = ceil(2 * autocorrelation_time(differences, degree=2))
    means = block_means(differences, length)
    if len(means) < BLOCKS:
        found = _steady(differences, length) if len(differences) * after.spacing >= cool_off else None
        found = found or _inconclusive(len(means), f"{len(means)} independent blocks of differences are not {BLOCKS}")
    else:
        found = _tested(means)
    if comparison == "earlier" and found.word == "better":
        why = "it is better than before, but it has also trained longer: only a branch can tell whose merit that is"
        return replace(found, word="inconclusive", why=why)
    return found


def _difference(one: Array, other: Array | float) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):  # ∞ - ∞ is nan, and judged as such
        differences: Array = one - other
    return differences


def _ceiling(values: Array) -> float:
    """The mean and three of its standard errors; ∞ of too few values, so that nothing is worse."""
    if len(values) < 4 or not is_sane(values).all():
        return inf
    error = float(values.std(ddof=1)) * sqrt(autocorrelation_time(values, degree=1) / len(values))
    return float(values.mean()) + 3 * error


def _tested(means: Array) -> ChangeVerdict:
    total, error = float(means.sum()), sqrt(len(means)) * float(means.std(ddof=1))
    bound = anytime_bound(len(means), float(means.std(ddof=1)))
    word: VerdictWord = "inconclusive" if abs(total) < bound else _sense(total)
    sure = "not enough to be sure" if word == "inconclusive" else "more than chance explains, however often one looks"
    why = f"{number(abs(total) / len(means), 3)} {_sense(total)} on average of {len(means)} blocks, {sure}"
    return ChangeVerdict(
        word=word,
        statistic=("sum of paired differences in standard errors", total / (error or 1.0)),
        threshold=bound / (error or 1.0),
        blocks=len(means),
        why=why,
        size=total / len(means),
    )


def _steady(differences: Array, length: int) -> ChangeVerdict | None:
    """A verdict without independent blocks, where two smooth curves lie far apart.

    Ten shorter blocks agree, and even the least of them exceeds three times the range they move in. Branches part at 0,
    so differences that merely wander lie no further apart than they move: of random walks looked at 25 times over eight
    cool-offs at most 5 % meet this.
    """
    if len(differences) < 2 * BLOCKS:
        return None
    means = block_means(differences, len(differences) // BLOCKS)
    least, moved = float(np.abs(means).min()), float(np.ptp(means))
    if np.ptp(np.sign(means)) or least <= STEADY * moved:
        return None
    ratio = least / moved if moved else inf
    word = _sense(float(means.sum()))
    why = f"{number(least, 3)} {word} at the least, {number(ratio, 2)} times the range in which the difference moves"
    return ChangeVerdict(
        word=word,
        statistic=("least block difference over their range", ratio),
        threshold=STEADY,
        blocks=len(differences) // length,
        why=why,
        size=float(means.mean()),
    )


def _sense(total: float) -> Literal["better", "worse"]:
    return "worse" if total > 0 else "better"


def _inconclusive(blocks: int, why: str) -> ChangeVerdict:
    return ChangeVerdict(
        word="inconclusive",
        statistic=("blocks of differences", float(blocks)),
        threshold=float(BLOCKS),
        blocks=blocks,
        why=why,
    )
