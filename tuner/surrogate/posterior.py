"""The posterior of scores at the end of training: of runs that have begun, and of settings that nobody has tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from tuner.policy.proposals import Outcome
from tuner.record.events import Goal
from tuner.space.space import Space
from tuner.surrogate.evidence import Embedding, Standardizer, progress_of, rows_of
from tuner.surrogate.gaussian_process import (
    NO_RUN,
    ConditionedProcess,
    Floats,
    GaussianProcess,
    Prediction,
    Rows,
    fit_hyperparameters,
    with_lengths,
)
from tuner.surrogate.threads import on_one_thread
from tuner.values.numbers import number

_MOST_FANTASIES = 64  # of more runs in training, those expected to end best are enough to keep clear of
_LEADERS = 5
_SLIGHT = 0.2  # of the variance of all scores: runs that differ less by their seeds are taken as they came
_WIDENED = 16  # of the candidates, so many have others drawn around them
_NEARBY = (-2.0, -0.3)  # how far from them, as powers of ten of the lengths
_REFINEMENTS = 15  # steps of L-BFGS-B from the best candidate
_SURPRISING = 3.5  # deviations above what all other runs say of one
_NARROWER, _NARROWINGS = 0.5, 4  # of the lengths, until it surprises no more; so many times
_ENOUGH = 1e-3  # a step that gains less of the improvement, as a share of its logarithm, is the last
_EPSILON, _TINY = float(np.finfo(float).eps), float(np.finfo(float).tiny)


class Posterior:
    """What a study's outcomes say of the end of training, under given hyperparameters.

    Scores are standardized. What the trials in training now are expected to reach is taken for granted, so that nobody
    begins the like of them.
    """

    def __init__(
        self,
        embedding: Embedding,
        horizon: int,
        known: ConditionedProcess,
        standardizer: Standardizer,
        informative: Sequence[Outcome],
        pending: Sequence[Outcome] = (),
        goal: Goal = "maximize",
        chance: float = 1.0,
    ) -> None:
        self.embedding, self.horizon, self.standardizer = embedding, horizon, standardizer
        self._goal, self._informative = goal, informative
        self._known = self._process = known if chance >= 1 else known.in_a_bowl(chance)
        self._candidates: tuple[object, Candidates] | None = None
        scores = [outcome.score for outcome in informative if outcome.score is not None]
        self.best = float(standardizer.transform(max(scores))) if scores else -math.inf
        """The best score there is."""
        self._worst = float(standardizer.transform(min(scores, default=-math.inf)))
        runs = [outcome for outcome in informative if outcome.observations and outcome.duplicate_of is None]
        expected = self._process.mean_of(self._ends(runs))
        luck = self._luck_of(runs)
        order = np.argsort(luck - expected, kind="stable")[:_LEADERS]
        self.leaders = [runs[place] for place in order.tolist()]
        """The runs whose settings are worth most at the end, the best first: whatever luck each has had."""
        seen = standardizer.transform(np.array([-math.inf if each.score is None else each.score for each in runs]))
        highest = max(self.best, float(expected.max(initial=-math.inf)))
        worth = max(float((each - luck).max(initial=-math.inf)) for each in (seen, expected))
        self.incumbent = self._known_incumbent = highest if worth == -math.inf else min(highest, worth)
        """The most that is seen or expected, also of runs in training, without the luck of any run: what an improvement
        is measured against."""
        self.expecting = 0
        """How many trials in training it takes for granted."""
        self.expect(pending)

    def expect(self, pending: Sequence[Outcome]) -> None:
        """Takes for granted that these settings are worth what is expected (Ginsbourger et al. 2010)."""
        if not pending:
            return
        self.expecting += len(pending)
        mean = self._process.mean_at(self._ends(pending)) - self._luck_of(pending)
        self.incumbent = max(self.incumbent, float(mean.max()))
        if len(pending) > _MOST_FANTASIES:
            order = np.argsort(-mean, kind="stable")[:_MOST_FANTASIES]
            pending, mean = [pending[place] for place in order.tolist()], mean[order]
        believed = self._new(self.embedding.features([outcome.point for outcome in pending]))
        self._process = self._process.and_also(believed.worth(mean))
        if self._candidates is not None:
            self._candidates[1].learn(self._process)

    def hear(self, outcome: Outcome) -> None:
        """Takes in the last score of a run, where it came after all this was made."""
        for step, score in outcome.observations[-1:]:
            heard = self._ends([replace(outcome, planned=step)]).worth(np.array([self.standardizer.transform(score)]))
            if heard.origins()[0] not in self._process.rows.origins():
                self._process = self._process.and_also(heard)
                if self._candidates is not None:
                    self._candidates[1].learn(self._process)

    def _luck_of(self, runs: Sequence[Outcome]) -> Floats:
        """What each run has of its own at the end; 0 where a seed changes little beside what settings do."""
        if not runs or self._process.process.luck < _SLIGHT:
            return np.zeros(len(runs))
        return self._process.luck_of(self._ends(runs))

    def of_runs(self, outcomes: Sequence[Outcome]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of what each of these runs ends with."""
        if not outcomes:
            return np.empty(0), np.empty(0)
        mean, variance = self._process.at(self._ends(outcomes))
        return mean, np.sqrt(variance)

    def of_points(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of what these settings, points of the unit cube (n, d), are worth at the end."""
        mean, variance = self._process.at(self._new(self.embedding.features(points)))
        return mean, np.sqrt(variance)

    def candidates(self, key: object, draw: Callable[[], Floats]) -> Candidates:
        """Points of the unit cube (n, d) to choose from: drawn once a key, and weighed anew when more is expected."""
        if self._candidates is None or self._candidates[0] != key:
            self._candidates = key, Candidates(self, draw())
        return self._candidates[1]

    def prediction_of(self, points: Floats) -> tuple[Prediction, tuple[Floats, Floats]]:
        """What these points (n, d) are worth; and mean and deviation before any settings were expected."""
        prediction = Prediction(self._known, self._new(self.embedding.features(points)))
        at_first = prediction.mean, np.sqrt(prediction.variance)
        prediction.learn(self._process)
        return prediction, at_first

    def improvement_at_first(self, mean: Floats, deviation: Floats) -> Floats:
        """The log expected improvement before any settings were expected."""
        return log_expected_improvement(mean, deviation, self._known_incumbent)

    def spread(self, points: Floats, rng: np.random.Generator, each: int, moved: float) -> Floats:
        """Around each of these points so many others, by shares of the lengths; a share of the parameters is moved."""
        around = np.repeat(points, each, axis=0)
        far = 10 ** rng.uniform(*_NEARBY, (len(around), 1)) * np.minimum(self._known.process.lengths, 1.0)
        step = np.where(rng.random(around.shape) < moved, far * rng.standard_normal(around.shape), 0.0)
        spread: Floats = around + step
        return spread

    def log_expected_improvement(self, mean: Floats, deviation: Floats) -> Floats:
        """The logarithm of the expected improvement over the incumbent (Ament et al. 2023, eq. 9)."""
        return log_expected_improvement(mean, deviation, self.incumbent)

    def gain(self, mean: Floats, deviation: Floats) -> Floats:
        """The expected improvement over the best score there is, in standard deviations of the scores."""
        improvement: Floats = np.exp(log_expected_improvement(mean, deviation, self.best))
        return improvement

    def surprising(self, least: float) -> list[Outcome]:
        """The runs whose scores lie this many deviations above what all the others say of them, the best first."""
        return surprising(self._known, self._informative, least)

    @property
    def noise(self) -> float:
        """By how much a score may differ from what it is expected to be, in standard deviations of the scores."""
        return self._known.process.noise

    # ── in words, with the score's own sign, and no number that was never seen ──────────────────

    @property
    def beyond(self) -> str:
        """Above or below: where better scores lie."""
        return "above" if self._goal == "maximize" else "below"

    def format_score(self, value: float) -> str:
        """A score on the scale as a person has reported it, with four digits; more, where those make 1 of 0.99998."""
        score = self.standardizer.inverse(value)
        score = (score if self._goal == "maximize" else -score) + 0.0
        texts = [number(score, digits) for digits in (4, 6, 8, 10)]
        whole = abs(score - round(score)) < 1e-10
        return texts[0] if whole else next((text for text in texts if not float(text).is_integer()), texts[-1])

    def expected(self, mean: float, deviation: float) -> str:
        """What is expected, beside the best so far.

        A process knows no bounds: what it makes of an accuracy may lie above 1. Where that is better than any score so
        far, or worse, it is said to be that.
        """
        best = f"the best so far being {self.format_score(self.best)}"
        if mean > self.best:
            return f"a new best is expected, {best}"
        if mean < self._worst:
            return f"nothing better than the worst so far is expected, {best}"
        return f"{self.format_score(mean)} ± {number(self.standardizer.scale * deviation, 2)} is expected, {best}"

    def difference(self, value: float) -> str:
        """A difference of scores in their own unit."""
        return number(self.standardizer.scale * value, 2)

    def still_possible(self) -> str:
        """What whoever may still win has to reach."""
        best = self.format_score(self.best)
        if self.incumbent < self.best:
            return f"{self.beyond} what the best so far is worth without its luck, its score being {best}"
        if self.incumbent > self.best:
            return f"{self.beyond} what is expected of the best run, itself {self.beyond} {best}, the best so far"
        return f"{self.beyond} {best}"

    @on_one_thread
    def refined(self, point: Floats, low: Floats, high: Floats, free: NDArray[np.bool_]) -> Floats:
        """The point led uphill to where the expected improvement is largest between two corners of the cube.

        Only parameters that are `free` (d,) move; each is a number.
        """
        from scipy.optimize import fmin_l_bfgs_b  # a fifth of a second, and no sweep begins with it

        columns = self.embedding.columns_of(free)
        if not len(columns):
            return point
        features = self.embedding.features(point)[0]

        def objective(place: Floats) -> tuple[float, Floats]:
            features[columns] = place
            mean, variance, by_mean, by_variance = self._process.slope(features, 1.0)
            deviation = math.sqrt(variance)
            z = (mean - self.incumbent) / deviation
            value = float(log_h(np.array([z]))[0])
            ratio = math.exp(float(log_ndtr(z)) - value)  # of Φ to φ + zΦ
            by_deviation = by_variance / (2 * deviation)
            gradient = ratio * (by_mean - z * by_deviation) / deviation + by_deviation / deviation
            return -(value + math.log(deviation)), -gradient[columns]

        bounds = list(zip(low[free], high[free], strict=True))
        # called as it is: on its way through `minimize` it would take half a step's time longer
        found, *_ = fmin_l_bfgs_b(objective, point[free], bounds=bounds, factr=_ENOUGH / _EPSILON, maxiter=_REFINEMENTS)
        led = point.copy()
        led[free] = np.clip(found, low[free], high[free])
        return led

    def _new(self, features: Floats) -> Rows:
        count = len(features)
        return Rows(features, np.ones(count), np.full(count, NO_RUN), np.empty(count))

    def _ends(self, outcomes: Sequence[Outcome]) -> Rows:
        features = self.embedding.features([outcome.point for outcome in outcomes])
        ends = np.array([outcome.planned or self.horizon for outcome in outcomes], dtype=float)
        trials = np.array([outcome.trial for outcome in outcomes], dtype=np.int64)
        return Rows(features, progress_of(ends, self.horizon), trials, np.empty(len(trials)))


class Candidates:
    """Points from which one draw after another takes the one of largest expected improvement."""

    def __init__(self, posterior: Posterior, points: Floats) -> None:
        self.points = points
        """Of the unit cube (n, d)."""
        prediction, self._at_first = posterior.prediction_of(points)
        self._predictions, self._posterior = [prediction], posterior

    def widen(self, around: Callable[[Floats], Floats]) -> None:
        """Adds points around those of the largest improvement before any settings were expected; once."""
        if len(self._predictions) > 1:
            return
        best = np.argsort(-self._posterior.improvement_at_first(*self._at_first), kind="stable")[:_WIDENED]
        more = around(self.points[best])
        self.points = np.vstack([self.points, more])
        self._predictions.append(self._posterior.prediction_of(more)[0])

    def learn(self, known: ConditionedProcess) -> None:
        """Takes in what more is known or expected."""
        for prediction in self._predictions:
            prediction.learn(known)

    @property
    def worth(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation of what each point is worth at the end."""
        mean = np.concatenate([prediction.mean for prediction in self._predictions])
        return mean, np.sqrt(np.concatenate([prediction.variance for prediction in self._predictions]))

    def best_first(self, weigh: Callable[[Floats], Floats]) -> tuple[Floats, Floats, Floats, Floats]:
        """The points by log expected improvement and a weight beside it (n,), with mean and standard deviation."""
        mean, deviation = self.worth
        improvement = self._posterior.log_expected_improvement(mean, deviation) + weigh(self.points)
        order = np.argsort(-improvement, kind="stable")
        return self.points[order], mean[order], deviation[order], improvement[order]


class Surrogate:
    """The model of one state of a study: its data, and the posterior under any hyperparameters."""

    def __init__(
        self,
        space: Space,
        informative: Sequence[Outcome],
        pending: Sequence[Outcome],
        horizon: int,
        information: int,
        goal: Goal = "maximize",
    ) -> None:
        self.embedding, self.informative = Embedding.of(space), informative
        self.horizon, self.information = horizon, information
        self._pending, self._goal = list(pending), goal
        self._most_pending = len(pending) + _MOST_FANTASIES
        self._rows = rows_of(informative, self.embedding, horizon)
        self._posteriors: dict[tuple[float, tuple[float, ...]], Posterior] = {}
        self._places: Floats | None = None  # of the informative
        self._processes: dict[tuple[float, ...], ConditionedProcess] = {}
        self._hill: tuple[Outcome, list[float]] | tuple[()] | None = None
        self.exhausted: set[object] = set()
        """In which searches little improvement was to be expected, as whoever searches calls them."""

    @property
    def untrained(self) -> bool:
        """Whether there is no score yet to learn from."""
        return self._rows is None

    def nearest(self, points: Floats) -> list[Outcome]:
        """Of each point (n, d) the outcome whose settings are most like it; there is one."""
        if self._places is None:
            self._places = self.embedding.features([outcome.point for outcome in self.informative])
        apart = np.square(self.embedding.features(points)[:, None] - self._places).sum(axis=2)
        return [self.informative[place] for place in apart.argmin(axis=1).tolist()]

    def fit(self, start: Sequence[float] | None) -> list[float]:
        """The most probable hyperparameters, found from earlier ones on; there is a score."""
        return fit_hyperparameters(self._data[0], self.embedding.groups, start)

    def posterior(self, hyperparameters: Sequence[float], chance: float = 1.0) -> Posterior:
        """The posterior under these hyperparameters; there is a score.

        Its mean is flat; or a bowl, with which the best is expected inside the ranges, where the scores leave that a
        probability above `chance`, from 0 to 1.
        """
        key = chance, tuple(hyperparameters)
        if key not in self._posteriors:
            posterior = Posterior(
                self.embedding,
                self.horizon,
                self._known(hyperparameters),
                self._data[1],
                self.informative,
                self._pending,
                self._goal,
                chance,
            )
            self._posteriors[key] = posterior
        posterior = self._posteriors[key]
        posterior.expect(self._pending[posterior.expecting :])
        return posterior

    def hill(self, hyperparameters: list[float], glance: Posterior | None = None) -> tuple[Outcome, Posterior] | None:
        """The best run that the others did not let expect, and a posterior to which it is no surprise; None: no such.

        A model that is smooth enough for the hill on which a search stands takes a run on another, narrower one for a
        whim. How narrow that one is says how far lengths have to fall until the run is no surprise any more. Where a
        posterior that is there already takes none for a surprise, a `glance` at it is enough.
        """
        if self._hill is None and glance is not None and not glance.surprising(_SURPRISING):
            self._hill = ()
        if self._hill is None:
            found = surprising(self._known(hyperparameters), self.informative, _SURPRISING)
            narrow = list(hyperparameters)
            for _ in range(_NARROWINGS if found else 0):
                narrow = with_lengths(narrow, len(self.embedding.options), _NARROWER)
                if self._known(narrow).surprise_of(found[0].trial) < _SURPRISING:
                    break
            self._hill = (found[0], narrow) if found else ()
        return (self._hill[0], self.posterior(self._hill[1])) if self._hill else None

    def expect(self, outcome: Outcome) -> bool:
        """Takes in settings that have just been drawn, of which nothing is known yet; False where they are too many."""
        if len(self._pending) >= self._most_pending:
            return False
        self._pending.append(outcome)
        return True

    def _known(self, hyperparameters: Sequence[float]) -> ConditionedProcess:
        """The process that knows the scores, its mean flat."""
        key = tuple(hyperparameters)
        if key not in self._processes:
            process = GaussianProcess(hyperparameters, self.embedding.groups)
            self._processes[key] = process.conditioned_on(self._data[0])
        return self._processes[key]

    @property
    def _data(self) -> tuple[Rows, Standardizer]:
        if self._rows is None:
            raise ValueError("nothing has been scored yet: look at `untrained` first")
        return self._rows


def surprising(known: ConditionedProcess, informative: Sequence[Outcome], least: float) -> list[Outcome]:
    """The runs whose scores lie this many deviations above what a process knows of them from all others, best first."""
    runs, surprise = known.surprises(least)
    chosen = set(runs[surprise >= least].tolist())
    scored = [each for each in informative if each.trial in chosen and each.score is not None]
    return sorted(scored, key=lambda each: -(each.score or 0.0))


def log_expected_improvement(mean: Floats, deviation: Floats, incumbent: float) -> Floats:
    """The logarithm of the expected improvement over an incumbent (Ament et al. 2023, eq. 9)."""
    return log_h((mean - incumbent) / deviation) + np.log(deviation)


def log_h(z: Floats) -> Floats:
    """log(φ(z) + z·Φ(z)) without cancellation far below 0 (Ament et al. 2023, eq. 9).

    >>> log_h(np.array([0.0, -40.0])).round(2).tolist()
    [-0.92, -808.3]
    """
    found = np.empty_like(z)
    near = z > -1.0
    if near.any():
        high = z[near]
        found[near] = np.log(np.exp(-0.5 * high * high) / math.sqrt(2 * math.pi) + high * ndtr(high))
    if not near.all():
        low = z[~near]
        log_phi = -0.5 * low * low - 0.5 * math.log(2 * math.pi)
        lost = 1.0 + low * np.exp(log_ndtr(low) - log_phi)  # 1 − |z|·Φ/φ, which tends to 1/z²
        tail = -2.0 * np.log(-low)
        found[~near] = log_phi + np.where(low < -1e4, tail, np.log(np.maximum(lost, _TINY)))
    return found
