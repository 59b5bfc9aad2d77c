"""Knows how much each parameter matters: Sobol's variance shares of the rank that a model expects over the whole space.

Ranks, since the best scores often lie so close that all the variance is between the terrible and the rest, or, where
those are cut off, in what the search happened to try together with its best.

The total share of a parameter is what of the variance goes away when all others are known (Sobol 1993; Jansen 1999);
the share alone is what goes away when it alone is known (Saltelli et al. 2010). The doubt is that of a jackknife over
tenths of the trials (Tukey 1958).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from tuner.insight.model import FEWEST, Model
from tuner.surrogate.gaussian_process import Floats, Posterior

_POINTS = 512
_POOR = 0.3  # a model that foretells less of unseen trials is to be taken lightly
_LITTLE = 0.05


@dataclass(frozen=True, kw_only=True)
class Share:
    """How much one parameter accounts for, of 1: alone, and in all with others; `error` is one standard error."""

    parameter: str
    total: float
    alone: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The shares, the largest first; `foretold` is R² on trials that the model had not seen, NaN where none is there.

    `scored` counts the trials with a score; with fewer than `FEWEST` there are no shares.
    """

    objective: str
    shares: tuple[Share, ...]
    foretold: float
    scored: int

    @property
    def sentence(self) -> str:
        """Which parameters matter, and how far to trust that."""
        if not self.shares:
            return (
                f"Importance takes {FEWEST} trials with a score, and there are {self.scored}: "
                f"{FEWEST - self.scored} more are needed."
            )
        first, *others = self.shares
        sure = not others or first.total - others[0].total > math.hypot(first.error, others[0].error)
        matters = "matters most" if sure else "seems to matter most"
        told = f"{first.parameter} {matters}: {_told(first)} of how {self.objective} varies over the space, by rank"
        some = [f"{each.parameter} {_told(each)}" for each in others if each.total >= _LITTLE]
        little = [each.parameter for each in others if each.total < _LITTLE]
        rest = f"; then {', '.join(some)}" if some else ""
        rest += f"; {' and '.join(little)} hardly matter{'s' if len(little) == 1 else ''}" if little else ""
        light = f" Take it lightly: of trials it has not seen, the model foretells {max(0.0, self.foretold):.0%}."
        return f"{told}{rest}." + (light if self.foretold < _POOR else "")


def importance_of(model: Model | None, objective: str, scored: int) -> Importance:
    """The shares of every parameter under a model of ranks; none without one."""
    if model is None:
        return Importance(objective=objective, shares=(), foretold=math.nan, scored=scored)
    count = len(model.space)
    drawn = qmc.Sobol(2 * count, scramble=True, rng=np.random.default_rng(0)).random(_POINTS)
    folds = model.without_each_fold()
    total, alone = _shares(model, drawn, model.posterior)
    without = np.array([_shares(model, drawn, posterior)[0] for posterior, _ in folds])
    groups = len(without)
    error = np.sqrt((groups - 1) / groups * np.square(without - without.mean(axis=0)).sum(axis=0))
    shares = [
        Share(parameter=name, total=float(total[place]), alone=float(alone[place]), error=float(error[place]))
        for place, name in enumerate(model.space)
    ]
    missed = np.concatenate([held.value - posterior.at(held)[0] for posterior, held in folds])
    variance = float(np.var(model.rows.value))
    return Importance(
        objective=objective, shares=tuple(sorted(shares, key=lambda each: -each.total)), scored=scored,
        foretold=1.0 - float(np.mean(np.square(missed))) / variance if variance else math.nan,
    )  # fmt: skip


def _shares(model: Model, drawn: Floats, posterior: Posterior) -> tuple[Floats, Floats]:
    """Total shares and shares alone; zeros where nothing varies."""
    count = drawn.shape[1] // 2
    one, other = drawn[:, :count], drawn[:, count:]
    at_one, at_other = model.at(one, posterior)[0], model.at(other, posterior)[0]
    variance = float(np.var(np.concatenate([at_one, at_other])))
    total, alone = np.zeros(count), np.zeros(count)
    for place in range(count if variance > 1e-12 else 0):
        mixed = one.copy()
        mixed[:, place] = other[:, place]
        at_mixed = model.at(mixed, posterior)[0]
        total[place] = np.mean(np.square(at_one - at_mixed)) / (2 * variance)
        alone[place] = np.mean(at_other * (at_mixed - at_one)) / variance
    return np.clip(total, 0.0, 1.0), np.clip(alone, 0.0, 1.0)


def _told(each: Share) -> str:
    return f"{each.total:.0%} ± {100 * each.error:.0f}"
