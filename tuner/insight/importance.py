"""The importance of each parameter: Sobol's variance shares of the rank that a model expects over the whole space.

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

from tuner.insight.evenly import even_points
from tuner.insight.model import FEWEST, Model
from tuner.surrogate.gaussian_process import ConditionedProcess, Floats, Rows
from tuner.values.numbers import percent

_POINTS = 512
_POOR = 0.3  # a model that foretells less of unseen trials is to be taken lightly
_NOTHING = 0.1  # and one that foretells less than this tells nothing
_LITTLE = 0.1
_SURE, _SURER = 2.0, 3.0  # standard errors: of one share, and that one is larger than another
_ABOUT_AS_FAR = 0.05  # of a training, on its logarithmic scale


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

    Not even its numbers were learned from them, and knowing how far each was trained counts for nothing. `scored`
    counts the trials with a score; with fewer than `FEWEST` there are no shares. `alike` counts those that share one
    score, where nearly all do.
    """

    objective: str
    shares: tuple[Share, ...]
    foretold: float
    scored: int
    alike: int = 0

    def at_least(self) -> dict[str, float]:
        """What each parameter accounts for at the least, as far as can be told; nothing where nothing is foretold."""
        tells = self.foretold >= _NOTHING
        return {each.parameter: max(0.0, each.total - _SURE * each.error) * tells for each in self.shares}

    @property
    def sentence(self) -> str:
        """Which parameters matter, and how far to trust that."""
        if self.alike:
            return (
                f"Nothing matters, as far as can be told: {self.alike} of {self.scored} trials share one "
                f"{self.objective} to the last digit."
            )
        if not self.shares:
            return (
                f"Importance takes {FEWEST} trials with a score, and there are {self.scored}: "
                f"{FEWEST - self.scored} more are needed."
            )
        first, *others = self.shares
        if self.foretold < _NOTHING:
            return (
                f"What matters cannot be told: of trials it has not seen, a model of these {self.scored} foretells "
                f"{percent(max(0.0, self.foretold))}."
            )
        trusted = self.foretold >= _POOR
        sure = trusted and (
            not others or first.total - others[0].total > _SURER * math.hypot(first.error, others[0].error)
        )
        matters = "matters most" if sure else "seems to matter most"
        told = f"{first.parameter} {matters}: {_total(first)} of how {self.objective} varies over the space, by rank"
        little = [each.parameter for each in others if trusted and each.total + _SURE * each.error < _LITTLE]
        some = [f"{each.parameter} {_total(each)}" for each in others if each.parameter not in little]
        rest = f"; then {', '.join(some)}" if some else ""
        rest += f"; {' and '.join(little)} hardly matter{'s' if len(little) == 1 else ''}" if little else ""
        light = f" Take it lightly: of trials it has not seen, the model foretells {percent(max(0.0, self.foretold))}."
        return f"{told}{rest}." + (light if self.foretold < _POOR else "")


def importance_of(model: Model | None, objective: str, scored: int, alike: int = 0) -> Importance:
    """The shares of every parameter under a model of ranks; none without one, or where so many are `alike`."""
    if alike:
        return Importance(objective=objective, shares=(), foretold=math.nan, scored=scored, alike=alike)
    if model is None:
        return Importance(objective=objective, shares=(), foretold=math.nan, scored=scored)
    drawn = _drawn(model)
    folds = model.without_each_fold()
    total, alone = _shares(model, drawn, model.posterior)
    without = np.array([_shares(model, drawn, posterior)[0] for posterior, _ in folds])
    groups = len(without)
    error = np.sqrt((groups - 1) / groups * np.square(without - without.mean(axis=0)).sum(axis=0))
    shares = [
        Share(parameter=name, total=float(total[place]), alone=float(alone[place]), error=float(error[place]))
        for place, name in enumerate(model.space)
    ]
    missed = sum(float(np.square(held.value - posterior.mean_at(held)).sum()) for posterior, held in folds)
    # Whoever knows how long each was trained and nothing of its settings misses as much.
    blind = sum(float(np.square(held.value - _by_progress(posterior.rows, held)).sum()) for posterior, held in folds)
    return Importance(
        objective=objective,
        shares=tuple(sorted(shares, key=lambda each: -each.total)),
        scored=scored,
        foretold=1.0 - missed / blind if blind else math.nan,
    )


def by_importance(model: Model) -> list[str]:
    """The parameters, those that account for most first; how far to trust the order, `importance_of` tells."""
    total, _ = _shares(model, _drawn(model), model.posterior)
    names = list(model.space)
    return [names[place] for place in np.argsort(-total, kind="stable")]


def _by_progress(known: Rows, held: Rows) -> Floats:
    """The mean score of the known rows that were trained about as far as each of those held out."""
    near = np.abs(held.progress[:, None] - known.progress[None, :]) <= _ABOUT_AS_FAR
    near[~near.any(axis=1)] = True
    means: Floats = (near @ known.value) / near.sum(axis=1)
    return means


def _drawn(model: Model) -> Floats:
    """Pairs of points, even over the space, side by side."""
    return even_points(_POINTS, 2 * len(model.space))


def _shares(model: Model, drawn: Floats, posterior: ConditionedProcess) -> tuple[Floats, Floats]:
    """Total shares and shares alone; zeros where nothing varies."""
    count = drawn.shape[1] // 2
    one, other = drawn[:, :count], drawn[:, count:]
    at_one, at_other = model.mean_at(one, posterior), model.mean_at(other, posterior)
    variance = float(np.var(np.concatenate([at_one, at_other])))
    total, alone = np.zeros(count), np.zeros(count)
    for place in range(count if variance > 1e-12 else 0):
        mixed = one.copy()
        mixed[:, place] = other[:, place]
        at_mixed = model.mean_at(mixed, posterior)
        total[place] = np.mean(np.square(at_one - at_mixed)) / (2 * variance)
        alone[place] = np.mean(at_other * (at_mixed - at_one)) / variance
    return np.clip(total, 0.0, 1.0), np.clip(alone, 0.0, 1.0)


def _total(each: Share) -> str:
    return f"{percent(each.total)} ± {100 * _SURE * each.error:.0f}"
