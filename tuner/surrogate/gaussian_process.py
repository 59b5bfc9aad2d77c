"""A Gaussian process over settings and training steps: what a few scores say of every other one, and how surely.

The score of run i with settings x after a share τ of training (0 the first step, 1 the last, on a log scale) is

    z(x, τ, i) ~ GP(m, k),   k = R(τ, τ')·(A·M(x, x') + L·⟨x−½, x'−½⟩ + C + S·[i = i']) + N·[same report]

M and R are Matérn-5/2 kernels (Rasmussen & Williams 2006, eq. 4.17), M with one length a parameter. A weighs what
depends on the settings in detail; L a slope along each parameter, which carries to the corners of the space where few
have been; C what all curves share; S what one run has of its own, such as its seed; N the noise. All are learned: the
most probable ones under priors that say little (`Hyperprior`), by gradient (eq. 5.9).

The mean m is 0, or a bowl: −B·4·‖x−½‖²/d over those of the d parameters that are numbers. People put ranges around what
they expect to be best, and in many dimensions nearly all that nobody has tried lies at some bound (Oh, Gavves & Welling
2018). B is what the scores make most probable of a normal prior (eq. 2.42).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.special import expit

from tuner.surrogate.correlation import in_cache, matern, squares, to_matern
from tuner.surrogate.factors import JITTER, cholesky, solved, solved_back, weights_of
from tuner.surrogate.threads import on_one_thread

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

NO_RUN = -1
"""The run of settings as such, which have no luck of their own: what they are worth, not what one try may turn out."""

_SQRT5 = math.sqrt(5.0)
_SMALLEST_VARIANCE = 1e-10
_ENOUGH = 1e-4  # of the log posterior, which is a few hundred: a step that gains less is the last
_DEPTH, _DEPTH_DEVIATION = 1.0, 0.7  # of a bowl before any score, in standard deviations of the scores


@dataclass(frozen=True)
class Rows:
    """n scores: settings as `features` (n, c), `progress` (n,) in [0, 1], which `run` (n,) and the `value` (n,)."""

    features: Floats
    progress: Floats
    run: Integers
    value: Floats

    def __len__(self) -> int:
        return len(self.value)

    def since(self, place: int) -> Rows:
        """Those from a place on."""
        return Rows(self.features[place:], self.progress[place:], self.run[place:], self.value[place:])

    def only(self, chosen: NDArray[np.bool_]) -> Rows:
        """Those chosen (n,)."""
        return Rows(self.features[chosen], self.progress[chosen], self.run[chosen], self.value[chosen])

    def worth(self, value: Floats) -> Rows:
        """The same rows with these values (n,)."""
        return Rows(self.features, self.progress, self.run, value)

    def origins(self) -> list[tuple[int, float]]:
        """Run and progress of each: what tells the scores of runs apart."""
        return list(zip(self.run.tolist(), self.progress.tolist(), strict=True))

    def and_then(self, more: Rows) -> Rows:
        """These, and others behind them."""
        return Rows(
            np.vstack([self.features, more.features]),
            np.concatenate([self.progress, more.progress]),
            np.concatenate([self.run, more.run]),
            np.concatenate([self.value, more.value]),
        )


@dataclass(frozen=True)
class Hyperprior:
    """What is believed of a process before any score: each of its hyperparameters is log-normal.

    The lengths in [0, 1] are near 0.6·√parameters, since in many dimensions everything is far from everything (Hvarfner
    et al. 2024). Their order: a length a group of features, then that of time, A, C, S, N, L.
    """

    groups: int
    mean: Floats
    deviation: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, groups: int) -> Hyperprior:
        """For settings of so many parameters, each a group of features."""
        named = [(0.6 * math.sqrt(groups), 1.0, 0.02, 30.0)] * groups
        named += [
            (1.0, 0.7, 0.1, 5.0),  # the length of time, in shares of the logarithm of all steps
            (1.0, 1.0, 0.02, 20.0),  # A
            (0.5, 1.0, 2.5e-3, 20.0),  # C
            (0.01, 1.5, 1e-5, 2.7),  # S: two runs of the same settings differ by a tenth of a deviation
            (1e-3, 1.5, 1e-6, 0.5),  # N
            (1.0, 1.0, 1e-3, 20.0),  # L
        ]
        mean, deviation, low, high = np.array(named).T
        return cls(groups, np.log(mean), deviation, np.log(low), np.log(high))


class GaussianProcess:
    """The process before any score, under `hyperparameters` (logarithms, see `Hyperprior`), its mean a bowl of a depth.

    `groups[j]` is the parameter of feature j.
    """

    def __init__(self, hyperparameters: Sequence[float] | Floats, groups: Integers, depth: float = 0.0) -> None:
        self.hyperparameters = np.asarray(hyperparameters, dtype=float)
        self.groups = groups
        count = int(groups.max()) + 1
        self._inverse = np.exp(-self.hyperparameters[:count])[groups]
        self._inverse_time = math.exp(-self.hyperparameters[count])
        variances = np.exp(self.hyperparameters[count + 1 :])
        self._detail, self._common, self._own, self._noise, self._slope = variances.tolist()
        self.noise = math.sqrt(self._noise)
        """The standard deviation of a score around the true one."""
        self._slope *= 12.0 / count  # so that it is the variance of an even point of the cube
        is_number = np.bincount(groups)[groups] == 1  # an option has a feature each
        self._unit_bowl = np.where(is_number, -4.0 / count, 0.0)
        self._bowl = depth * self._unit_bowl

    @property
    def lengths(self) -> Floats:
        """Of the parameters."""
        lengths: Floats = np.exp(self.hyperparameters[: int(self.groups.max()) + 1])
        return lengths

    def mean(self, features: Floats) -> Floats:
        """What is expected of settings (n, c) before any score: (n,)."""
        mean: Floats = np.square(features - 0.5) @ self._bowl
        return mean

    @property
    def luck(self) -> float:
        """S: the variance of what a run has of its own, beside the 1 of all scores."""
        return float(self._own)

    def covariance(self, one: Rows, other: Rows) -> Floats:
        """Between the true scores of two sets of rows: (n, m)."""
        near = squares(one.features * self._inverse, other.features * self._inverse)
        slopes = (one.features - 0.5) @ (other.features - 0.5).T
        for some in in_cache(near):
            part, slope = near[some], slopes[some]
            to_matern(part)
            part *= self._detail
            slope *= self._slope
            part += slope
            part += self._common
        if (one.run != NO_RUN).any():
            same = (one.run[:, None] == other.run[None, :]) & (one.run != NO_RUN)[:, None]
            np.add(near, self._own, out=near, where=same)
        if (time := self._in_time(one.progress, other.progress)).ndim:
            near *= time
        return near

    def _in_time(self, one: Floats, other: Floats) -> Floats:
        """The correlation between two sets of moments; of the few that rungs leave, each pair is computed once."""
        if len(one) and len(other) and one[0] == other[0] and (one == one[0]).all() and (other == other[0]).all():
            return np.ones(())  # whole trainings all of them
        some, place = np.unique(one, return_inverse=True)
        others, other_place = np.unique(other, return_inverse=True)
        table = matern(np.square((some[:, None] - others[None, :]) * self._inverse_time))
        correlation: Floats = table[place[:, None], other_place[None, :]] if len(some) > 1 else table[0, other_place]
        return correlation

    def variance(self, rows: Rows) -> Floats:
        """Of each row's true score, knowing nothing: (n,)."""
        slope: Floats = self._slope * np.square(rows.features - 0.5).sum(axis=1)
        slope += self._detail + self._common
        slope[rows.run != NO_RUN] += self._own
        return slope

    def conditioned_on(self, rows: Rows) -> ConditionedProcess:
        """What is known once these scores are."""
        return ConditionedProcess.of(self, rows)


def with_lengths(hyperparameters: Sequence[float], groups: int, factor: float) -> list[float]:
    """The hyperparameters of a process of so many parameters whose lengths are all so many times as long."""
    return [number + math.log(factor) * (place < groups) for place, number in enumerate(hyperparameters)]


class ConditionedProcess:
    """A process conditioned on some scores (Rasmussen & Williams 2006, alg. 2.1)."""

    def __init__(self, process: GaussianProcess, rows: Rows, factor: Floats, whitened: Floats, weights: Floats) -> None:
        """`factor` L of the scores' covariance K, `whitened` L⁻¹(z−m) and `weights` K⁻¹(z−m)."""
        self.process, self.rows = process, rows
        self._factor, self._whitened, self._weights = factor, whitened, weights

    @classmethod
    @on_one_thread
    def of(cls, process: GaussianProcess, rows: Rows) -> ConditionedProcess:
        """The process that knows these scores."""
        known = process.covariance(rows, rows)
        known[np.diag_indices(len(rows))] += process._noise + JITTER
        factor = cholesky(known)
        surprise = rows.value - process.mean(rows.features)
        weights = weights_of(factor, surprise)
        return cls(process, rows, factor, solved(factor, surprise), weights)

    @on_one_thread
    def in_a_bowl(self, chance: float = 0.0) -> ConditionedProcess:
        """The same with a bowl for its mean, which is flat, as deep as the scores make most probable.

        Where the probability that these scores leave of a bowl, beforehand as likely as none, is not above `chance`,
        from 0 to 1, it stays flat (Rasmussen & Williams 2006, eq. 2.42, of a mean with one weight).
        """
        process = self.process
        bowl = np.square(self.rows.features - 0.5) @ process._unit_bowl
        whitened = solved(self._factor, bowl)
        precision = _DEPTH_DEVIATION**-2
        depth = float(whitened @ self._whitened + precision * _DEPTH) / float(whitened @ whitened + precision)
        rest = self._whitened - depth * whitened
        explained = float(self._whitened @ self._whitened - rest @ rest) - precision * (depth - _DEPTH) ** 2
        evidence = 0.5 * (explained - math.log1p(float(whitened @ whitened) / precision))
        if float(expit(evidence)) <= chance:
            return self
        weights = solved_back(self._factor, rest)
        deep = GaussianProcess(process.hyperparameters, process.groups, depth)
        return ConditionedProcess(deep, self.rows, self._factor, rest, weights)

    @on_one_thread
    def and_also(self, more: Rows) -> ConditionedProcess:
        """The same that knows a few scores more: the factor grows, at a tenth of its cost (Osborne 2010)."""
        below = self._explained(self.process.covariance(more, self.rows))
        size, rows = len(self.rows), self.rows.and_then(more)
        rest = self.process.covariance(more, more) - below.T @ below
        rest[np.diag_indices(len(more))] += self.process._noise + JITTER
        corner = cholesky(rest)
        factor = np.empty((len(rows), len(rows)), order="F")
        factor[:size, :size], factor[:size, size:] = self._factor, 0.0
        factor[size:, :size], factor[size:, size:] = below.T, corner
        surprise = more.value - self.process.mean(more.features)
        whitened = np.append(self._whitened, solved(corner, surprise - self._whitened @ below))
        weights = solved_back(factor, whitened)
        return ConditionedProcess(self.process, rows, factor, whitened, weights)

    def _explained(self, across: Floats) -> Floats:
        """What the scores (n) explain of others (m) with this covariance (m, n), as (n, m): L⁻¹kᵀ in its place."""
        return solved(self._factor, across.T, in_place=True)

    @on_one_thread
    def at(self, rows: Rows) -> tuple[Floats, Floats]:
        """Mean and variance of the true score at each row; its value is not looked at."""
        prediction = Prediction(self, rows)
        return prediction.mean, prediction.variance

    @on_one_thread
    def mean_at(self, rows: Rows) -> Floats:
        """The mean alone, at a third of the cost."""
        mean: Floats = self.process.covariance(rows, self.rows) @ self._weights + self.process.mean(rows.features)
        return mean

    def mean_of(self, rows: Rows) -> Floats:
        """The same of rows of which some are scores that are known: those cost nothing."""
        known = self.rows.value - (self.process._noise + JITTER) * self._weights  # m + Kw = z − (N + jitter)·w
        places = {origin: place for place, origin in enumerate(self.rows.origins())}
        place = np.array([places.get(origin, -1) for origin in rows.origins()], dtype=int)
        mean: Floats = known[place]
        unknown = place < 0
        if unknown.any():
            mean[unknown] = self.mean_at(rows.only(unknown))
        return mean

    def luck_of(self, rows: Rows) -> Floats:
        """What of the mean at each row its run has of its own: what S explains, and no settings do."""
        process, known = self.process, self.rows
        own = (rows.run[:, None] == known.run[None, :]) & (rows.run != NO_RUN)[:, None]
        found: Floats = process._own * ((own * process._in_time(rows.progress, known.progress)) @ self._weights)
        return found

    @on_one_thread
    def surprises(self, least: float = -math.inf) -> tuple[Integers, Floats]:
        """The runs (r,), and how far above what all other runs say of it the last score of each lies, in deviations.

        Only runs with so much at `least` are sure to be among them.
        """
        rows = self.rows
        # What a run surprises by is its weight times a deviation that is no larger than the one its line of the factor
        # holds, which knows the scores before it; of several scores no larger than the sum of theirs before any score.
        bound, alone = self._weights * np.diag(self._factor), self.process.variance(rows) + self.process._noise + JITTER
        _, place, count = np.unique(rows.run, return_inverse=True, return_counts=True)
        several = np.bincount(place, np.abs(self._weights) * np.sqrt(alone))
        return self._surprises(np.where(count[place] > 1, several[place], bound) >= least)

    @on_one_thread
    def surprise_of(self, run: int) -> float:
        """The same of one run, which has a score."""
        return float(self._surprises(self.rows.run == run)[1][0])

    def _surprises(self, chosen: NDArray[np.bool_]) -> tuple[Integers, Floats]:
        """The same of the runs of some scores (n,), of each all.

        Whole runs are left out, each with all its scores (Rasmussen & Williams 2006, eq. 5.12, by blocks).
        """
        rows, asked = self.rows, np.flatnonzero(chosen)
        whitened = np.zeros((len(rows), len(asked)), order="F")
        whitened[asked, np.arange(len(asked))] = 1.0
        whitened = solved(self._factor, whitened, in_place=True)
        precision, weights, progress = whitened.T @ whitened, self._weights[asked], rows.progress[asked]
        runs, first, place, count = np.unique(
            rows.run[asked], return_index=True, return_inverse=True, return_counts=True
        )
        found: Floats = weights[first] / np.sqrt(precision[first, first])  # of those with one score
        for number in np.flatnonzero(count > 1).tolist():
            own = np.flatnonzero(place == number)
            unknown = np.linalg.inv(precision[np.ix_(own, own)])
            last = int(np.argmax(progress[own]))
            found[number] = unknown[last] @ weights[own] / math.sqrt(unknown[last, last])
        return runs, found

    def slope(self, features: Floats, progress: float) -> tuple[float, float, Floats, Floats]:
        """At one point, of settings as such: mean, variance, and the gradient of either by the features."""
        process, known = self.process, self.rows
        away = (features - known.features) * process._inverse
        r = _SQRT5 * np.sqrt(np.square(away).sum(axis=1))
        fall = np.exp(-r)
        time = matern(np.square((progress - known.progress) * process._inverse_time))
        middle, others = features - 0.5, known.features - 0.5
        across = time * (process._detail * (1 + r + r * r / 3) * fall + process._slope * (others @ middle))
        across += time * process._common
        steep = (time * process._detail * (5 / 3) * (1 + r) * fall)[:, None]
        gradient = process._slope * time[:, None] * others - steep * away * process._inverse
        explained = weights_of(self._factor, across)
        total = process._detail + process._common + process._slope * float(middle @ middle)
        variance = max(total - float(across @ explained), _SMALLEST_VARIANCE)
        return (
            float(across @ self._weights) + float(process.mean(features)),
            variance,
            gradient.T @ self._weights + 2 * process._bowl * middle,
            2 * process._slope * middle - 2 * gradient.T @ explained,
        )


class Prediction:
    """Mean and variance at many rows, kept up when more becomes known: a score more costs a line of a system."""

    @on_one_thread
    def __init__(self, known: ConditionedProcess, rows: Rows) -> None:
        across = known.process.covariance(rows, known.rows)
        self._mean: Floats = across @ known._weights + known.process.mean(rows.features)
        explained = known._explained(across)
        self._known, self._rows = known, rows
        self._explained = [explained]  # one block of lines after the other: to stack them would cost more than they do
        self._unexplained = known.process.variance(rows) - np.square(explained).sum(axis=0)

    @property
    def mean(self) -> Floats:
        """Of each row's true score (m,)."""
        return self._mean

    @property
    def variance(self) -> Floats:
        """Of each row's true score (m,)."""
        variance: Floats = np.maximum(self._unexplained, _SMALLEST_VARIANCE)
        return variance

    @on_one_thread
    def learn(self, known: ConditionedProcess) -> None:
        """Takes in scores that have become known: `known` is the field's process, and also those."""
        size, at = len(self._known.rows), 0
        if size == len(known.rows):
            return
        rest = known.process.covariance(known.rows.since(size), self._rows)
        for block in self._explained:
            rest -= known._factor[size:, at : at + len(block)] @ block
            at += len(block)
        lines = solved(known._factor[size:, size:], rest)
        self._known = known
        self._explained.append(lines)
        self._mean = self._mean + known._whitened[size:] @ lines
        self._unexplained = self._unexplained - np.square(lines).sum(axis=0)


@on_one_thread
def fit_hyperparameters(
    rows: Rows, groups: Integers, start: Sequence[float] | None = None, iterations: int = 15, luck: float | None = None
) -> list[float]:
    """The most probable hyperparameters of a process given the scores, from `start` on or from the prior (L-BFGS-B).

    With `luck` S is that, and only the others are learned.
    Costs iterations × n²·(n/2 + 20·parameters) operations or so: a tenth of a second for 250 rows.
    """
    from scipy.optimize import minimize  # a fifth of a second, and no sweep begins with it

    prior = Hyperprior.of(int(groups.max()) + 1)
    objective = _Objective(rows, groups, prior)
    first = prior.mean if start is None or len(start) != len(prior.mean) else np.asarray(start, dtype=float)
    low, high = prior.low.copy(), prior.high.copy()
    if luck is not None:
        low[prior.groups + 3] = high[prior.groups + 3] = math.log(luck)
    found: Any = minimize(
        objective,
        np.clip(first, low, high),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)),
        options={"maxiter": iterations, "ftol": _ENOUGH},
    )
    return [float(number) for number in found.x]


class _Objective:
    """Minus the log posterior of the hyperparameters, and its gradient (Rasmussen & Williams 2006, eq. 5.8 and 5.9)."""

    def __init__(self, rows: Rows, groups: Integers, prior: Hyperprior) -> None:
        self._value, self._prior = rows.value, prior
        by_feature = np.square(rows.features.T[:, :, None] - rows.features.T[:, None, :])
        self._apart = np.array([by_feature[groups == group].sum(axis=0) for group in range(prior.groups)])
        moments, self._moment = np.unique(rows.progress, return_inverse=True)
        self._apart_in_time = np.square(moments[:, None] - moments[None, :])
        self._same = (rows.run[:, None] == rows.run[None, :]).astype(float)
        centred = rows.features - 0.5
        self._slopes = (12.0 / prior.groups) * (centred @ centred.T)

    def _of_scores(self, of_moments: Floats) -> Floats:
        """What holds between any two moments, as what holds between any two scores (n, n)."""
        if len(of_moments) == 1:  # whole trainings all of them
            return np.full_like(self._same, of_moments[0, 0])
        return of_moments[self._moment[:, None], self._moment]

    def __call__(self, hyperparameters: Floats) -> tuple[float, Floats]:
        count, value = self._prior.groups, self._value
        shrunk = np.exp(-2 * hyperparameters[: count + 1])
        detail, common, own, noise, slope = np.exp(hyperparameters[count + 1 :])
        t = np.sqrt(5 * shrunk[count] * self._apart_in_time)
        fade = np.exp(-t)
        time = self._of_scores((1 + t + t * t / 3) * fade)
        near = np.sqrt(np.tensordot(shrunk[:count], self._apart, axes=1))
        steep, among, covariance = np.empty_like(near), np.empty_like(near), np.empty_like(near)
        for some in in_cache(near):
            r = _SQRT5 * near[some]
            fall = np.exp(-r)
            near[some] = (1 + r + r * r / 3) * fall
            steep[some] = detail * (5 / 3) * (1 + r) * fall
            among[some] = detail * near[some] + slope * self._slopes[some] + common + own * self._same[some]
            covariance[some] = among[some] * time[some]
        covariance[np.diag_indices(len(value))] += noise + JITTER
        factor, failed = dpotrf(covariance, lower=1, clean=1)
        if failed:
            return 1e10, np.zeros_like(hyperparameters)
        half, _ = dpotri(factor, lower=1)
        inverse = half + np.tril(half, -1).T
        weights = inverse @ value
        left = inverse - np.outer(weights, weights)  # the gradient by a number is half of its product with dK
        in_time = left * time
        gradient = np.empty_like(hyperparameters)
        gradient[:count] = np.tensordot(self._apart, in_time * steep, axes=2) * shrunk[:count]
        lasting = self._of_scores((5 / 3) * (1 + t) * fade * self._apart_in_time)
        gradient[count] = np.vdot(left * among, lasting) * shrunk[count]
        gradient[count + 1] = np.vdot(in_time, near) * detail
        gradient[count + 2] = in_time.sum() * common
        gradient[count + 3] = np.vdot(in_time, self._same) * own
        gradient[count + 4] = np.trace(left) * noise
        gradient[count + 5] = np.vdot(in_time, self._slopes) * slope
        surprise = (hyperparameters - self._prior.mean) / self._prior.deviation
        fit = 0.5 * float(value @ weights) + float(np.log(np.diag(factor)).sum())
        return fit + 0.5 * float(surprise @ surprise), 0.5 * gradient + surprise / self._prior.deviation
