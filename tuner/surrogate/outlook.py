"""Knows what to expect at the end of training: of runs that have begun, and of settings that nobody has tried."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr

from tuner.policy.proposals import Outcome
from tuner.record.events import Goal
from tuner.space.space import Space
from tuner.surrogate.evidence import Embedding, Spread, progress_of, rows_of
from tuner.surrogate.gaussian_process import NOBODY, Floats, Posterior, Process, Rows, learned
from tuner.surrogate.threads import on_one_thread

_GRANTED = 64  # of more runs in training, the most promising ones are enough to keep clear of
_LEADERS = 5
_REFINEMENTS = 15  # steps of L-BFGS-B from the best candidate


class Outlook:
    """What a study's outcomes say of the end of training, under the given numbers of a process.

    Scores are on the scale of `spread`. What the trials in training now are expected to reach is taken for granted,
    so that nobody begins the like of them.
    """

    def __init__(
        self,
        embedding: Embedding,
        horizon: int,
        rows: Rows,
        spread: Spread,
        numbers: Sequence[float],
        told: Sequence[Outcome],
        busy: Sequence[Outcome] = (),
        goal: Goal = "maximize",
    ) -> None:
        self.embedding, self.horizon, self.spread = embedding, horizon, spread
        self._goal = goal
        process = Process(numbers, embedding.groups)
        self._posterior = process.given(rows)
        if busy:
            self._posterior = self._taking_for_granted(process, rows, busy)
        scores = [outcome.score for outcome in told if outcome.score is not None]
        self.best = float(spread.of_score(max(scores))) if scores else -math.inf
        """The best score there is."""
        self._worst = float(spread.of_score(min(scores, default=-math.inf)))
        going = [outcome for outcome in told if outcome.marks and outcome.like is None]
        mean, _ = self.of_runs(going)
        order = np.argsort(-mean, kind="stable")[:_LEADERS]
        self.leaders = [going[place] for place in order.tolist()]
        """The runs that are expected to end best, the best first."""
        believed, _ = self.of_runs(busy)
        self.bar = max(self.best, *(float(each.max(initial=-math.inf)) for each in (mean, believed)))
        """The best score there is or is expected, also of runs in training: what a promise is measured against."""

    def of_runs(self, outcomes: Sequence[Outcome]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of what each of these runs ends with."""
        if not outcomes:
            return np.empty(0), np.empty(0)
        features = self.embedding.features([outcome.point for outcome in outcomes])
        ends = np.array([outcome.planned or self.horizon for outcome in outcomes], dtype=float)
        trials = np.array([outcome.trial for outcome in outcomes], dtype=np.int64)
        rows = Rows(features, progress_of(ends, self.horizon), trials, np.empty(len(trials)))
        mean, variance = self._posterior.at(rows)
        return mean, np.sqrt(variance)

    def of_points(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of what these settings, points of the unit cube (n, d), are worth at the end."""
        mean, variance = self._posterior.at(self._new(self.embedding.features(points)))
        return mean, np.sqrt(variance)

    def promise(self, mean: Floats, deviation: Floats) -> Floats:
        """The logarithm of the expected improvement over the bar (Ament et al. 2023, eq. 9)."""
        return log_expected_improvement((mean - self.bar) / deviation) + np.log(deviation)

    # ── in words, with the score's own sign, and no number that was never seen ──────────────────

    @property
    def beyond(self) -> str:
        """Above or below: where better scores lie."""
        return "above" if self._goal == "maximize" else "below"

    def said(self, value: float) -> str:
        """A score on the scale as a person has reported it, with four digits; more, where those make 1 of 0.99998."""
        score = self.spread.score(value)
        score = (score if self._goal == "maximize" else -score) + 0.0
        texts = [f"{score:.{digits}g}" for digits in (4, 6, 8, 10)]
        whole = abs(score - round(score)) < 1e-10
        return texts[0] if whole else next((text for text in texts if not float(text).is_integer()), texts[-1])

    def expected(self, mean: float, deviation: float) -> str:
        """What is expected, beside the best so far.

        A process knows no bounds: what it makes of an accuracy may lie above 1. Where that is better than any score so
        far, or worse, it is said to be that.
        """
        best = f"the best so far being {self.said(self.best)}"
        if mean > self.best:
            return f"a new best is expected, {best}"
        if mean < self._worst:
            return f"nothing better than the worst so far is expected, {best}"
        return f"{self.said(mean)} ± {self.spread.unit * deviation:.2g} is expected, {best}"

    def still_possible(self) -> str:
        """What whoever may still win has to reach."""
        best = self.said(self.best)
        if self.bar > self.best:
            return f"{self.beyond} what is expected of the best run, itself {self.beyond} {best}, the best so far"
        return f"{self.beyond} {best}"

    @on_one_thread
    def refined(self, point: Floats, low: Floats, high: Floats, free: NDArray[np.bool_]) -> Floats:
        """The point led uphill to where it promises most between two corners of the cube.

        Only parameters that are `free` (d,) move; each is a number.
        """
        columns = self.embedding.columns_of(free)
        if not len(columns):
            return point
        features = self.embedding.features(point)[0]

        def less(numbers: Floats) -> tuple[float, Floats]:
            features[columns] = numbers
            mean, variance, by_mean, by_variance = self._posterior.slope(features, 1.0)
            deviation = math.sqrt(variance)
            z = (mean - self.bar) / deviation
            log_h = float(log_expected_improvement(np.array([z]))[0])
            ratio = math.exp(float(log_ndtr(z)) - log_h)  # of Φ to φ + zΦ
            by_deviation = by_variance / (2 * deviation)
            gradient = ratio * (by_mean - z * by_deviation) / deviation + by_deviation / deviation
            return -(log_h + math.log(deviation)), -gradient[columns]

        found = minimize(
            less,
            point[free],
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(low[free], high[free], strict=True)),
            options={"maxiter": _REFINEMENTS},
        )
        led = point.copy()
        led[free] = np.clip(found.x, low[free], high[free])
        return led

    def _new(self, features: Floats) -> Rows:
        count = len(features)
        return Rows(features, np.ones(count), np.full(count, NOBODY, dtype=np.int64), np.empty(count))

    def _taking_for_granted(self, process: Process, rows: Rows, busy: Sequence[Outcome]) -> Posterior:
        """The posterior once these settings are worth what is expected (kriging believer, Ginsbourger et al. 2010)."""
        mean, _ = self.of_runs(busy)
        if len(busy) > _GRANTED:
            order = np.argsort(-mean, kind="stable")[:_GRANTED]
            busy, mean = [busy[place] for place in order.tolist()], mean[order]
        features = self.embedding.features([outcome.point for outcome in busy])
        return process.given(
            Rows(
                np.vstack([rows.features, features]),
                np.concatenate([rows.progress, np.ones(len(busy))]),
                np.concatenate([rows.run, np.full(len(busy), NOBODY, dtype=np.int64)]),
                np.concatenate([rows.value, mean]),
            )
        )


class View:
    """What a state of a study shows, and the outlook from it under the numbers of a process."""

    def __init__(
        self,
        space: Space,
        told: Sequence[Outcome],
        busy: Sequence[Outcome],
        horizon: int,
        looks: int,
        goal: Goal = "maximize",
    ) -> None:
        self.embedding, self.told, self.horizon, self.looks = Embedding.of(space), told, horizon, looks
        self._busy, self._goal = busy, goal
        self._rows = rows_of(told, self.embedding, horizon)
        self._outlooks: dict[tuple[float, ...], Outlook] = {}

    @property
    def blind(self) -> bool:
        """Whether there is no score yet to learn from."""
        return self._rows is None

    def nearest(self, points: Floats) -> list[Outcome]:
        """Of each point (n, d) the outcome whose settings are most like it; there is one."""
        known = self.embedding.features([outcome.point for outcome in self.told])
        apart = np.square(self.embedding.features(points)[:, None] - known).sum(axis=2)
        return [self.told[place] for place in apart.argmin(axis=1).tolist()]

    def learned(self, start: Sequence[float] | None) -> list[float]:
        """The numbers of the most probable process, from earlier ones on; there is a score."""
        return learned(self._seen[0], self.embedding.groups, start)

    def under(self, numbers: Sequence[float]) -> Outlook:
        """The outlook under these numbers; there is a score."""
        key = tuple(numbers)
        if key not in self._outlooks:
            rows, spread = self._seen
            self._outlooks[key] = Outlook(
                self.embedding, self.horizon, rows, spread, key, self.told, self._busy, self._goal
            )
        return self._outlooks[key]

    @property
    def _seen(self) -> tuple[Rows, Spread]:
        if self._rows is None:
            raise ValueError("nothing has been scored yet: look at `blind` first")
        return self._rows


def log_expected_improvement(z: Floats) -> Floats:
    """log(φ(z) + z·Φ(z)) without cancellation far below 0 (Ament et al. 2023, eq. 9).

    >>> log_expected_improvement(np.array([0.0, -40.0])).round(2).tolist()
    [-0.92, -808.3]
    """
    found = np.empty_like(z)
    near = z > -1.0
    high = z[near]
    found[near] = np.log(np.exp(-0.5 * high * high) / math.sqrt(2 * math.pi) + high * ndtr(high))
    low = z[~near]
    log_phi = -0.5 * low * low - 0.5 * math.log(2 * math.pi)
    lost = 1.0 + low * np.exp(log_ndtr(low) - log_phi)  # 1 − |z|·Φ/φ, which tends to 1/z²
    tail = -2.0 * np.log(-low)
    found[~near] = log_phi + np.where(low < -1e4, tail, np.log(np.maximum(lost, np.finfo(float).tiny)))
    return found
