"""Knows bias and variance: what the train and dev scores of a trial say of its fit, and what to do about it.

The error on what was trained on, above the target, is bias: a bigger network, longer training. The error on dev above
that is variance: more data, regularisation. Overfitting is dev getting worse while train gets better.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from scipy.stats import kendalltau

from tuner.study import Curve, Trial

Measure: TypeAlias = Literal["error", "accuracy", "loss"]
Course: TypeAlias = Literal["overfitting", "still improving", "level", "cannot be told"]

HIGH = 1 / 3
"""A part of the error above the target that is at least so large, and above a hundredth, is high."""
_LEAST = 0.01
_SURE = 0.01
_FEWEST = 5
_NAME = re.compile(r"(train|training|dev|val|valid|validation)_(error|accuracy|acc|loss)")
_SIDE = {"train": "train", "training": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev"}


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
    `course` is what dev does after its best step and at the end, by Kendall's `tau` over `reports` of them.
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

    @property
    def high_bias(self) -> bool:
        """Whether the training error is what is to be brought down."""
        return self.bias is not None and self.bias > _LEAST and self.bias >= HIGH * (self.dev - self.target)

    @property
    def high_variance(self) -> bool:
        """Whether what was learned does not carry over to dev."""
        return self.variance > _LEAST and self.variance >= HIGH * (self.dev - self.target)

    @property
    def sentence(self) -> str:
        """The diagnosis."""
        name = "loss" if self.pair.measure == "loss" else "error"
        scored = (
            f"Trial {self.trial} has train {name} {self.train:.3g} and dev {name} {self.dev:.3g} at step {self.step}"
        )
        found = [word for word, high in (("bias", self.high_bias), ("variance", self.high_variance)) if high]
        parts = {
            (): "neither bias nor variance is high",
            ("bias",): f"high bias (train error {self.bias or 0:.3g} above the target {self.target:g}): a bigger "
            "network, longer training, a better optimizer",
            ("variance",): f"high variance (dev {self.variance:.3g} above train): more data, L2, dropout",
            ("bias", "variance"): f"both bias ({self.bias or 0:.3g} above the target {self.target:g}) and variance "
            f"({self.variance:.3g}) are high: a bigger network first, then regularise it",
        }
        courses: dict[Course, str] = {
            "overfitting": f" It overfits: after step {self.step} dev gets worse while train gets better "
            f"(Kendall τ {self.tau:.2f} over {self.reports} reports).",
            "still improving": f" Dev still improves at the end (Kendall τ {self.tau:.2f} over the last {self.reports} "
            "reports): train longer.",
            "level": " Dev has levelled off.",
            "cannot be told": "",
        }
        return f"{scored}: {parts[tuple(found)]}.{courses[self.course]}"


def pairs_of(curves: Mapping[str, Curve]) -> list[Pair]:
    """What was reported on train and dev alike: error first, then accuracy, then loss."""
    named: dict[tuple[str, str], str] = {}
    for name in curves:
        if match := _NAME.fullmatch(name):
            named.setdefault((_SIDE[match[1]], "accuracy" if match[2] == "acc" else match[2]), name)
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
    course, tau, reports = next((found for found in courses if found[0] == "overfitting"), courses[0])
    return Fit(
        trial=trial.trial, pair=pair, step=pair.steps[place], train=pair.train[place], dev=pair.dev[place],
        target=0.0 if pair.measure == "loss" else target,
        bias=None if pair.measure == "loss" else pair.train[place] - target,
        variance=pair.dev[place] - pair.train[place], course=course, tau=tau, reports=reports,
    )  # fmt: skip


def _pair(measure: Measure, train: str, dev: str, curves: Mapping[str, Curve]) -> Pair:
    by_step = dict(zip(curves[train].steps, curves[train].scores, strict=True))
    shared = [(step, by_step[step], score) for step, score in zip(curves[dev].steps, curves[dev].scores, strict=True)
              if step in by_step and abs(by_step[step]) < 1e100 and abs(score) < 1e100]  # fmt: skip
    whole = 100.0 if max((max(a, b) for _, a, b in shared), default=0.0) > 1.5 else 1.0

    def error(score: float) -> float:
        return whole - score if measure == "accuracy" else score

    return Pair(
        measure=measure, train_name=train, dev_name=dev, steps=tuple(step for step, _, _ in shared),
        train=tuple(error(a) for _, a, _ in shared), dev=tuple(error(b) for _, _, b in shared),
    )  # fmt: skip


def _course(pair: Pair) -> tuple[Course, float, int]:
    best = min(range(len(pair.dev)), key=lambda at: pair.dev[at])
    after = slice(best, None)
    tau, chance = _trend(pair.dev[after])
    if tau > 0 and chance < _SURE and _trend(pair.train[after])[0] < 0:
        return "overfitting", tau, len(pair.dev) - best
    last = max(_FEWEST, len(pair.dev) // 4)
    if len(pair.dev) < 2 * _FEWEST:
        return "cannot be told", 0.0, len(pair.dev)
    tau, chance = _trend(pair.dev[-last:])
    return ("still improving" if tau < 0 and chance < 2 * _SURE else "level"), tau, last


def _trend(values: Sequence[float]) -> tuple[float, float]:
    """Kendall's τ of values in their order, and how often chance gives as much; 0 and 1 for fewer than five."""
    if len(values) < _FEWEST or min(values) == max(values):
        return 0.0, 1.0
    found = kendalltau(range(len(values)), values)
    return float(found.statistic), float(found.pvalue)
