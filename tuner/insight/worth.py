"""The worth of more trials: the gain to expect of the next, beside what a seed alone changes.

Two ways to tell, of which the smaller gain counts. The model's: the next trials are those of the largest expected
improvement, one after another, each taking the ones before it for granted; the gain is the mean improvement of the best
of them in draws from the model, which may expect too much beside a cliff. The tail's: the next trials are drawn like
those before, whose scores beyond a threshold follow a generalised Pareto law (Pickands 1975), exponential or with an
end, fitted by weighted moments (Hosking & Wallis 1987); nothing is learned on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.insight.evenly import even_points
from tuner.insight.model import FEWEST, Joint, Model
from tuner.record.events import ENDED, Goal
from tuner.record.leaders import is_plateau, leaders, sharing
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.surrogate.gaussian_process import Floats
from tuner.surrogate.posterior import log_h
from tuner.values.numbers import about, number

_EVEN, _NEAR = 1024, 256
_DRAWS = 4000
_MOST = 64
_REACH = 0.05
_TAIL = 8
_FLAT = 1e-3
_TWO_SEEDS = 2.0 * 2.0**0.5  # two standard deviations of the difference of two runs


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What `trials` more are expected to gain, with bounds that hold nineteen times in twenty, and what they cost.

    `gain` is None where too few trials have a score to tell, else the smaller of what the model and what the tail of
    the scores say (`by_model`, `by_tail`); the bounds hold both. `noise` is what another seed changes: `measured` where
    repeats have shown it, otherwise at most, and `guess` as the model has it. `alike` trials share one score, where
    nearly all do.
    """

    objective: str
    goal: Goal
    best: float | None
    trials: int
    gain: float | None
    low: float
    high: float
    by_model: float | None
    by_tail: float | None
    steps: float
    seconds: float
    noise: float
    measured: bool
    guess: float = 0.0
    alike: int = 0
    seeds: int = 1

    @property
    def worthwhile(self) -> bool | None:
        """Whether the gain to expect is more than two seeds may differ, or less than half of what one changes.

        None where it lies between, or cannot be told.
        """
        if self.gain is None:
            return None
        if self.gain > _TWO_SEEDS * self.noise:
            return True
        return False if self.gain < 0.5 * (self.noise if self.measured else self.guess) else None

    @property
    def sentence(self) -> str:
        """The gain, the cost, and what to make of them."""
        if self.alike:
            alike = f"{self.alike} trials share one {self.objective} to the last digit"
            return f"{alike}: no improvement is expected of more of them."
        if self.gain is None:
            return f"Whether more trials are worth it can be told from {FEWEST} trials with a score on."
        adds = f"add {self._amount(self.gain)}" if self.goal == "maximize" else f"take off {self._amount(self.gain)}"
        bounds = f"nineteen times in twenty {self._amount(self.low).partition(' ')[0]} to {self._amount(self.high)}"
        cost = f"about {self.steps:,.0f} steps" + (f", {about(self.seconds)} of training" if self.seconds else "")
        amount, most = self._amount(self.noise), "" if self.measured else "at most "
        seed = f"a seed alone changes {most}{amount}" + ("" if self.measured else ", as far as can be told")
        if self.seeds > 1:
            seed = f"other seeds change a mean of {self.seeds} by {most}{amount}"
        verdict = {
            True: f"That is more than two seeds may differ: they are worth it, since {seed}.",
            False: f"Little but luck is to be gained, since {seed}.",
            None: f"Whether that is more than luck cannot be told, since {seed}.",
        }[self.worthwhile]
        return f"{self.trials} more trials are expected to {adds} ({bounds}), for {cost}. {verdict}"

    def _amount(self, difference: float) -> str:
        """A difference of scores; of a share, in points of a hundred."""
        share = any(word in self.objective for word in ("accuracy", "error")) and abs(self.best or 2.0) <= 1
        rounded = 100 * difference if share else difference
        return f"{number(0.0 if abs(rounded) < 1e-9 else rounded, 2)}{' points' if share else ''}"


def worth_of(
    model: Model | None,
    study: StudyState,
    trials: int | None = None,
    noise: float | None = None,
    ranked: Sequence[Trial] | None = None,
) -> Worth:
    """The worth of so many more trials, by default half as many as there were.

    `ranked`: all the leaders, where they are at hand.
    """
    ranked = leaders(study) if ranked is None else ranked
    searched = study.searched()
    ended = [trial for trial in searched if trial.state in ENDED]
    count = trials or max(FEWEST, len(searched) // 2)
    best = study.best
    score = None if best is None else best.best_score
    steps = count * (sum(trial.steps for trial in searched) / len(searched) if searched else 0.0)
    seconds = count * (sum(trial.seconds for trial in ended) / len(ended) if ended else 0.0)
    found: list[tuple[float, float, float]] = []
    alike = sharing(study, ranked)[0] if is_plateau(study, ranked) else 0
    if model is not None and score is not None and not alike:
        found.append(_by_model(model, study.signed(score), count))
        found.append(_by_tail(study, ranked, len(searched), count))
    gain = min((each[0] for each in found), default=None)
    low, high = min((each[1] for each in found), default=0.0), max((each[2] for each in found), default=0.0)
    if measured := noise is not None:
        at_most = noise or 0.0
    else:
        at_most = 0.0 if model is None or alike else model.noise_at_most
    return Worth(
        objective=study.objective,
        goal=study.goal,
        best=score,
        trials=count,
        gain=gain,
        low=low,
        high=high,
        by_model=found[0][0] if found else None,
        by_tail=found[1][0] if found else None,
        steps=steps,
        seconds=seconds,
        noise=at_most,
        measured=measured,
        guess=0.0 if model is None or alike else model.noise,
        alike=alike,
        seeds=study.seeds,
    )


def _by_model(model: Model, best: float, count: int) -> tuple[float, float, float]:
    incumbent = float(model.standardizer.transform(best))
    points = _candidates(model)
    joint = model.joint(points)
    chosen, covariance = _batch(joint, incumbent, min(count, _MOST))
    factor = np.linalg.cholesky(covariance + 1e-7 * np.eye(len(chosen)))
    luck = np.random.default_rng(count).standard_normal((_DRAWS, len(chosen)))
    gains = model.standardizer.scale * np.maximum(0.0, (joint.mean[chosen] + luck @ factor.T).max(axis=1) - incumbent)
    low, high = np.quantile(gains, (0.025, 0.975))
    return float(gains.mean()), float(low), float(high)


def _by_tail(study: StudyState, ranked: Sequence[Trial], tried: int, count: int) -> tuple[float, float, float]:
    """Mean and bounds of the gain of so many draws like the past."""
    beyond = min(max(_TAIL, len(ranked) // 3), len(ranked) - 1)
    scores = [study.signed(each.best_score or 0.0) for each in ranked[: beyond + 1]]
    threshold = scores[beyond]
    excess = np.array(scores[:beyond])[::-1] - threshold
    mean = float(excess.mean())
    if mean <= 0.0:
        return 0.0, 0.0, 0.0
    weighted = float(np.mean((1.0 - (np.arange(beyond) + 0.65) / beyond) * excess))
    shape = min(max(mean / (mean - 2.0 * weighted) - 2.0, 0.0), 1.0) if mean > 2.0 * weighted else 1.0
    scale = mean * (1.0 + shape)
    gains = np.linspace(0.0, 12.0 * mean, 2400)
    past = (scores[0] - threshold + gains) / scale
    tail = np.exp(-past) if shape < _FLAT else np.maximum(0.0, 1.0 - shape * past) ** (1.0 / shape)
    each = beyond / tried * tail  # that one draw gains more than so much
    some = 1.0 - (1.0 - np.minimum(each, 1.0)) ** count
    low, high = (float(gains[int(np.sum(some > share))]) for share in (0.975, 0.025))
    return float(np.sum(some) * (gains[1] - gains[0])), low, high


def _candidates(model: Model) -> Floats:
    """Even points, and others near the best trials."""
    count, rng = len(model.space), np.random.default_rng(0)
    even = even_points(_EVEN, count)
    scored = sorted((each for each in model.outcomes if each.score is not None), key=lambda each: -(each.score or 0.0))
    leaders = np.array([each.point for each in scored[:5]])
    leaders = np.where(np.isnan(leaders), rng.random(leaders.shape), leaders)
    near = leaders[rng.integers(len(leaders), size=_NEAR)] + _REACH * rng.standard_normal((_NEAR, count))
    return np.vstack([even, np.clip(near, 0.0, 1.0)])


def _batch(joint: Joint, incumbent: float, count: int) -> tuple[list[int], Floats]:
    """The candidates of the largest expected improvement, each once those before it are known; and their covariance."""
    chosen: list[int] = []
    variance = joint.variance.copy()
    columns, explained = np.empty((2, count, len(variance)))
    for turn in range(count):
        deviation = np.sqrt(np.maximum(variance, 1e-12))
        improvement = log_h((joint.mean - incumbent) / deviation) + np.log(deviation)
        improvement[chosen] = -math.inf
        place = int(np.argmax(improvement))
        columns[turn] = joint.with_one(place)
        left = columns[turn] - explained[:turn, place] @ explained[:turn]
        explained[turn] = left / math.sqrt(max(float(left[place]), 1e-12))
        variance -= np.square(explained[turn])
        chosen.append(place)
    return chosen, columns[:, chosen]
