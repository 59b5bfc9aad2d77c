"""Bias and variance: what the train and dev scores of a trial say of its fit, and what to do about it.

The error on what was trained on, above the target, is bias: a bigger network, longer training. The error on dev above
that is variance: more data, regularisation. Overfitting is dev getting worse while train gets better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf, sqrt
from typing import Literal, TypeAlias

import numpy as np
from scipy.special import stdtrit

from tuner.panda.supervisor.series import (
    BLOCKS,
    Array,
    Series,
    autocorrelation_time,
    block_means,
    detrended,
    resolution,
)
from tuner.panda.supervisor.trend import trend
from tuner.record.curve import Curve
from tuner.record.score_names import DEV, TRAIN, words_of
from tuner.record.trial import Trial
from tuner.values.numbers import number

Measure: TypeAlias = Literal["error", "accuracy", "loss"]
Course: TypeAlias = Literal["overfitting", "still improving", "level", "cannot be told"]

HIGH = 1 / 3
"""A part of the error above the target that is at least so large, and above a hundredth, is high."""
_LEAST = 0.01
_LITTLE = 0.05  # of all that dev has gained: less is nothing to train on for
_SURE = 0.005
_FEWEST = 5
_NEIGHBOURS = 3
_ENOUGH = 40  # reports that the supervisor can tell a trend of
_STUDENT = 2.306  # one-sided 97.5 % of Student's t with 8 degrees of freedom
_ONE_SIDED = 1.645
_SIDES = dict.fromkeys(TRAIN, "train") | dict.fromkeys(DEV, "dev")
_MEASURES: Mapping[str, Measure] = {"error": "error", "accuracy": "accuracy", "acc": "accuracy", "loss": "loss"}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What a trial reported of one measure on train and on dev, both as errors: lower is better."""

    measure: Measure
    train_name: str
    dev_name: str
    steps: tuple[int, ...]
    train: tuple[float, ...]
    dev: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well a trial fits, at the step where its dev error is lowest.

    `bias` and `variance` are parts of the dev error above the target, each None where the measure cannot tell;
    `course` is what dev does after its best step and at the end; Kendall's `tau` over `reports` of them shows it, which
    hang together so that they are `worth` fewer. `least` is what bias and variance are at the least, 95 % sure, by the
    reports about that step.
    """

    trial: int
    pair: Pair
    step: int
    train: float
    dev: float
    target: float
    bias: float | None
    variance: float
    course: Course
    tau: float
    reports: int
    worth: float = 0.0
    least: tuple[float, float] = (-inf, -inf)

    @property
    def high_bias(self) -> bool:
        """Whether the training error is what is to be brought down."""
        least = self.least[0]
        return self.bias is not None and least > _LEAST and least >= HIGH * (self.dev - self.target)

    @property
    def high_variance(self) -> bool:
        """Whether what was learned does not carry over to dev."""
        least = self.least[1]
        return least > _LEAST and least >= HIGH * (self.dev - self.target)

    @property
    def sentence(self) -> str:
        """The diagnosis."""
        name = "loss" if self.pair.measure == "loss" else "error"
        scored = (
            f"Trial {self.trial} has train {name} {number(self.train, 3)} and dev {name} {number(self.dev, 3)} "
            f"at step {self.step}"
        )
        bias = f"{number(self.bias or 0, 3)} above the target {number(self.target)}"
        both = f"both bias ({bias}) and variance ({number(self.variance, 3)})"
        found = [word for word, high in (("bias", self.high_bias), ("variance", self.high_variance)) if high]
        parts = {
            (): "neither bias nor variance is high",
            ("bias",): f"high bias (train error {bias}): a bigger network, longer training, a better optimizer",
            ("variance",): f"high variance (dev {number(self.variance, 3)} above train): more data, L2, dropout",
            ("bias", "variance"): f"{both} are high: a bigger network first, then regularise it",
        }
        courses: dict[Course, str] = {
            "overfitting": f" It overfits: after step {self.step} dev gets worse while train gets better "
            f"(Kendall τ {self.tau:.2f} over {self.reports} reports, worth {self.worth:.0f} independent ones).",
            "still improving": f" Dev still improves at the end (Kendall τ {self.tau:.2f} over the last {self.reports} "
            f"reports, worth {self.worth:.0f} independent ones): train longer.",
            "level": " Dev has levelled off.",
            "cannot be told": "",
        }
        return f"{scored}: {parts[tuple(found)]}.{courses[self.course]}"


def pairs_of(curves: Mapping[str, Curve]) -> list[Pair]:
    """What was reported on train and dev alike: error first, then accuracy, then loss."""
    named: dict[tuple[str, Measure], str] = {}
    for name in curves:
        if (found := _side_and_measure(name)) is not None:
            named.setdefault(found, name)
    measures: tuple[Measure, ...] = ("error", "accuracy", "loss")
    return [
        pair
        for measure in measures
        if ("train", measure) in named and ("dev", measure) in named
        for pair in [_pair(measure, named["train", measure], named["dev", measure], curves)]
        if pair.steps
    ]


def fit_of(trial: Trial, curves: Mapping[str, Curve], target: float = 0.0) -> Fit | None:
    """The diagnosis of one trial; None where nothing was reported on train and dev alike."""
    pairs = pairs_of(curves)
    if not pairs:
        return None
    pair = pairs[0]
    place = min(range(len(pair.dev)), key=lambda at: pair.dev[at])
    courses = [_course(each) for each in pairs]  # of several, one that overfits is enough: a loss often tells first
    course, tau, reports, worth = next((found for found in courses if found[0] == "overfitting"), courses[0])
    least = _least(pair, place)
    return Fit(
        trial=trial.trial,
        pair=pair,
        step=pair.steps[place],
        train=pair.train[place],
        dev=pair.dev[place],
        target=0.0 if pair.measure == "loss" else target,
        bias=None if pair.measure == "loss" else pair.train[place] - target,
        variance=pair.dev[place] - pair.train[place],
        least=(least[0] - target, least[1]),
        course=course,
        tau=tau,
        reports=reports,
        worth=worth,
    )


def _side_and_measure(name: str) -> tuple[str, Measure] | None:
    """What was scored on which side, by a name of these two words: val/acc, trainLoss, dev_error."""
    words = words_of(name)
    for side, measure in (words, words[::-1]) if len(words) == 2 else ():
        if side in _SIDES and measure in _MEASURES:
            return _SIDES[side], _MEASURES[measure]
    return None


def _pair(measure: Measure, train: str, dev: str, curves: Mapping[str, Curve]) -> Pair:
    by_step = dict(zip(curves[train].steps, curves[train].scores, strict=True))
    shared = [
        (step, by_step[step], score)
        for step, score in zip(curves[dev].steps, curves[dev].scores, strict=True)
        if step in by_step and abs(by_step[step]) < 1e100 and abs(score) < 1e100
    ]
    whole = 100.0 if max((max(a, b) for _, a, b in shared), default=0.0) > 1.5 else 1.0

    def error(score: float) -> float:
        return whole - score if measure == "accuracy" else score

    return Pair(
        measure=measure,
        train_name=train,
        dev_name=dev,
        steps=tuple(step for step, _, _ in shared),
        train=tuple(error(a) for _, a, _ in shared),
        dev=tuple(error(b) for _, _, b in shared),
    )


def _least(pair: Pair, place: int) -> tuple[float, float]:
    """Train, and dev above train, about the best step, each less what it may be off: of one report much is luck.

    The best step is where dev was lucky, so neighbours count as much. Of fewer than five the reports are believed.
    """
    reach = max(_NEIGHBOURS, len(pair.dev) // 10)
    around = slice(max(0, place - reach), place + reach + 1)
    train, dev = np.array(pair.train[around]), np.array(pair.dev[around])
    if len(train) < _FEWEST:
        return pair.train[place], pair.dev[place] - pair.train[place]
    return _bound(train), _bound(dev - train)


def _bound(values: Array) -> float:
    noise = float(detrended(values, 1).std(ddof=2)) * sqrt(autocorrelation_time(values, degree=1) / len(values))
    return float(values.mean()) - _ONE_SIDED * noise


def _course(pair: Pair) -> tuple[Course, float, int, float]:
    """What dev does, Kendall's τ over the reports it is seen in, their number, and what they are worth."""
    dev, train = np.array(pair.dev), np.array(pair.train)
    best, count = int(np.argmin(dev)), len(dev)
    after = _Stretch.after(dev, best)
    if after.rises(_SURE) and _falls(train[best + 1 :]):
        return "overfitting", after.tau, len(after.values), after.worth
    last = max(_FEWEST + 1, count // 4)
    if count < 2 * _FEWEST:
        return "cannot be told", 0.0, count, 0.0
    end = _Stretch(dev[-last:], dev[count // 2 :])
    if end.turned().rises(_SURE):
        return "still improving", end.tau, last, end.worth
    gained = float(np.median(dev[: max(1, count // 20)])) - float(dev[-last:].mean())
    level = end.most_to_gain() < _LITTLE * gained
    return ("level" if level else "cannot be told"), end.tau, last, end.worth


@dataclass(frozen=True)
class _Stretch:
    """Some reports in their order, and others like them, by which their autocorrelation is known."""

    values: Array
    like: Array

    @classmethod
    def after(cls, values: Array, best: int) -> _Stretch:
        """What came after the lowest: whatever is called so lies low by luck, and so do those that hang on it."""
        later, like = values[best + 1 :], values[min(best + 1, len(values) // 2) :]
        apart = ceil(cls(later, like).time) - 1 if len(later) >= _FEWEST else 0
        return cls(later if _all_rise(later) else later[apart:], like)

    @property
    def time(self) -> float:
        """How many successive reports are worth one: the longest of what may be found, for it is easily missed."""
        found = [autocorrelation_time(self.values, degree=degree) for degree in (1, 2)]
        return max(*found, autocorrelation_time(self.like, degree=2))

    @property
    def worth(self) -> float:
        """How many independent reports these are worth."""
        return len(self.values) / self.time

    @property
    def tau(self) -> float:
        """Kendall's τ of the values in their order; 0 where there is none."""
        if len(self.values) < 2 or np.ptp(self.values) <= resolution(self.values):
            return 0.0
        from scipy.stats import kendalltau  # half a second, for whoever has no scores on train and dev

        return float(kendalltau(range(len(self.values)), self.values).statistic)

    def turned(self) -> _Stretch:
        """The same upside down."""
        return _Stretch(-self.values, -self.like)

    def rises(self, level: float) -> bool:
        """Whether it rises, said falsely at most so often of independent values and one time in twenty of any.

        All of successive blocks rise; or ten block means do, as the supervisor tells it; or, where there are too few
        for that, the line through them does, each of which is worth 1/τ independent ones.
        """
        if len(self.values) < _FEWEST or np.ptp(self.values) <= resolution(self.values):
            return False
        if _all_rise(self.values):
            return True
        if len(self.values) >= _ENOUGH:
            found = trend(Series(steps=np.arange(len(self.values)), values=self.values))
            return found.word == "worsening" and "slope" in found.statistic[0] and found.statistic[1] > _STUDENT
        slope, error, freedom = self._slope(self.time)
        return freedom >= 1 and slope > float(stdtrit(freedom, 1 - level)) * error

    def most_to_gain(self) -> float:
        """What may at most be gained in as many reports again, 95 % sure."""
        slope, error, freedom = self._slope(autocorrelation_time(self.like, degree=2))
        if freedom < 1:
            return inf
        return max(0.0, (float(stdtrit(freedom, 0.95)) * error - slope) * len(self.values))

    def _slope(self, time: float) -> tuple[float, float, float]:
        """Of the line through the values: the rise a report, its standard error, and the degrees of freedom."""
        count = len(self.values)
        place = np.arange(count) - (count - 1) / 2
        spread = float(place @ place)
        slope = float(place @ self.values) / spread
        left = self.values - self.values.mean() - slope * place
        variance = float(left @ left) / max(count - 2 * time, 1.0)
        return slope, sqrt(variance * time / spread), count / time - 2


def _all_rise(values: Array) -> bool:
    """Whether up to ten successive block means all rise: even a random walk does that less than one time in thirty."""
    means = block_means(values, max(1, len(values) // BLOCKS))
    return len(means) > _FEWEST and bool((np.diff(means) > 0).all())


def _falls(values: Array) -> bool:
    half = len(values) // 2
    return bool(half) and float(values[:half].mean()) > float(values[half:].mean())
