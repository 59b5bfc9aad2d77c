"""Outcomes as what a Gaussian process can learn from: places, shares of training, standardized scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.policy.proposals import Outcome
from tuner.space.parameters import Choice
from tuner.space.space import Space
from tuner.surrogate.gaussian_process import Floats, Integers, Rows

MOST_ROWS = 250
"""From so many rows at most the process learns."""
QUICK_ROWS = 150
"""From so many trials a draw learns where more than `MOST_ROWS` tell something, in two thirds of the time."""
_OBSERVATIONS_A_RUN = 3
_FLOOR = 3.0  # deviations below the median: what is worse is only bad, however bad it is
_WITHOUT_A_PLACE = 0.5  # where a parameter that does not exist is put; its parent tells the two apart


@dataclass(frozen=True)
class Embedding:
    """A space as coordinates between which distance means something: a place a parameter, a corner an option."""

    columns: tuple[tuple[int, int], ...]
    """(parameter, option) of each feature; option −1 for a number."""
    options: tuple[int, ...]
    """How many options each parameter has; 0 for a number."""

    @classmethod
    def of(cls, space: Space) -> Embedding:
        """The embedding of this space."""
        options = tuple(len(each.options) if isinstance(each, Choice) else 0 for each in space.values())
        columns = [
            (parameter, option)
            for parameter, count in enumerate(options)
            for option in (range(count) if count else (-1,))
        ]
        return cls(tuple(columns), options)

    @property
    def groups(self) -> Integers:
        """The parameter that each feature belongs to."""
        return np.array([parameter for parameter, _ in self.columns], dtype=np.int64)

    def columns_of(self, numbers: NDArray[np.bool_]) -> Integers:
        """The features of some parameters (d,), each a number: its place is its feature."""
        return np.array([column for column, (parameter, _) in enumerate(self.columns) if numbers[parameter]], dtype=int)

    def features(self, points: Sequence[Sequence[float]] | Floats) -> Floats:
        """Points of the unit cube (n, d) as features (n, c)."""
        places = np.asarray(points, dtype=float).reshape(-1, len(self.options))
        features = np.empty((len(places), len(self.columns)))
        for column, (parameter, option) in enumerate(self.columns):
            u = places[:, parameter]
            if option < 0:
                features[:, column] = u
            else:  # two options lie √2·√½ = 1 apart, as the ends of a range do
                cell = np.minimum(np.nan_to_num(u) * self.options[parameter], self.options[parameter] - 1).astype(int)
                features[:, column] = math.sqrt(0.5) * (cell == option)
                features[np.isnan(u), column] = np.nan
        features[np.isnan(features)] = _WITHOUT_A_PLACE
        return features


@dataclass(frozen=True)
class Standardizer:
    """The scale on which scores are compared: mean 0, standard deviation 1, winsorized below a floor."""

    mean: float
    scale: float
    floor: float

    @classmethod
    def of(cls, scores: Floats) -> Standardizer:
        """Of these finite scores; the floor keeps a few terrible ones from making all good ones look alike."""
        median, upper = np.quantile(scores, (0.5, 0.75))
        deviation = upper - median if upper > median else float(scores.std())
        floor = float(median - _FLOOR * deviation) if deviation > 0 else float(scores.min())
        kept = np.maximum(scores, floor)
        return cls(float(kept.mean()), float(kept.std()) or 1.0, floor)

    def transform(self, score: Floats | float) -> Floats:
        """Scores, standardized."""
        return (np.maximum(score, self.floor) - self.mean) / self.scale

    def inverse(self, value: float) -> float:
        """The way back."""
        return self.mean + self.scale * value


def bad(outcome: Outcome) -> bool:
    """Whether a run went wrong: it says that its settings are bad, not how bad."""
    return outcome.state in ("diverged", "failed")


def rows_of(informative: Sequence[Outcome], embedding: Embedding, horizon: int) -> tuple[Rows, Standardizer] | None:
    """What there is to learn from runs that tell something; None before the first score.

    At most `MOST_ROWS` rows, of as many runs or fewer.
    """
    if not any(outcome.observations for outcome in informative if not bad(outcome)):
        return None
    observations_a_run = max(1, min(_OBSERVATIONS_A_RUN, MOST_ROWS // len(informative)))
    wrong = ((horizon, -math.inf),)
    told = [wrong if bad(outcome) else outcome.observations[-observations_a_run:] for outcome in informative]
    places = np.repeat(np.arange(len(told)), [len(each) for each in told])
    step, scores = np.array([observation for each in told for observation in each], dtype=float).T
    standardizer = Standardizer.of(scores[np.isfinite(scores)])
    features = embedding.features([outcome.point for outcome in informative])
    trials = np.array([outcome.trial for outcome in informative], dtype=np.int64)
    progress = progress_of(step, horizon)
    return Rows(features[places], progress, trials[places], standardizer.transform(scores)), standardizer


def progress_of(steps: Floats, horizon: int) -> Floats:
    """Steps as shares of a whole training on a log scale: the first is 0, the last 1."""
    if horizon <= 1:
        return np.ones_like(steps)
    return np.clip(np.log(np.maximum(steps, 1.0)) / math.log(horizon), 0.0, 1.0)
