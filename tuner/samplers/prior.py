"""The prior of a space: what it says is likely to be good, around which a search looks first.

Half of what is believed is even over the range; the other half lies around the likely value: a normal distribution on
the range's own scale, cut off at its ends; of a choice all of it is the likely option. So the belief is nowhere less
than half of the even one, and a wrong one costs little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from tuner.policy.proposals import Point
from tuner.space.parameters import Choice, Parameter
from tuner.space.scales import SCALES
from tuner.space.space import Space
from tuner.values.numbers import setting

Floats: TypeAlias = NDArray[np.float64]

_SPREAD = 0.125  # standard deviation on a linear scale, as a share of the range
_WIDEST = 0.25  # of a range of few decades: a belief wider than this says nothing
_STRENGTH = 2.0  # β of πBO: more helps little where it is right and costs trials where it is wrong


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Where a parameter's likely value lies in [0, 1], the `deviation` around it; 0 for an option of a choice."""

    place: float
    deviation: float
    options: int = 0

    @classmethod
    def of(cls, dimension: Parameter | Choice) -> Peak:
        """Around the likely value, which there is: half a decade on a log scale, else an eighth of the range."""
        place = dimension.to_unit(dimension.likely)
        if isinstance(dimension, Choice):
            return cls(place=place, deviation=0.0, options=len(dimension.options))
        bend = SCALES[dimension.scale].forward
        decade = math.log(10.0) / (bend(dimension.high) - bend(dimension.low))
        spread = _SPREAD if dimension.scale == "linear" else 0.5 * decade
        return cls(place=place, deviation=min(spread, _WIDEST))

    @property
    def _below(self) -> tuple[float, float]:
        """How much of the whole normal distribution lies below either end of the range."""
        return float(ndtr(-self.place / self.deviation)), float(ndtr((1 - self.place) / self.deviation))

    def around(self, u: float) -> float:
        """An even u as a draw around the likely value."""
        if self.options:
            return self.place
        low, high = self._below
        return float(np.clip(self.place + self.deviation * ndtri(low + u * (high - low)), 0.0, 1.0))

    def near(self, u: float) -> bool:
        """Whether a place is as near as nearly all draws around the likely value are, within two deviations."""
        return abs(u - self.place) < (0.5 / self.options if self.options else 2 * self.deviation)

    def density(self, u: Floats) -> Floats:
        """What is believed of each place, 1 being even."""
        if self.options:
            return np.where(np.abs(u - self.place) < 0.5 / self.options, 0.5 + 0.5 * self.options, 0.5)
        low, high = self._below
        z = (u - self.place) / self.deviation
        around = np.exp(-0.5 * z * z) / (math.sqrt(2 * math.pi) * self.deviation * (high - low))
        believed: Floats = 0.5 + 0.5 * around
        return believed


class Prior:
    """What is believed of a space before any score: the likely values of its parameters, as far as it names them."""

    def __init__(self, space: Space) -> None:
        likely = {name: each for name, each in space.items() if each.likely is not None}
        self._peaks: Mapping[int, Peak] = {
            column: Peak.of(likely[name]) for column, name in enumerate(space) if name in likely
        }
        self.words = ", ".join(f"{name} {setting(each.likely)}" for name, each in likely.items())
        """The likely values, as a person reads them; empty where nothing is known."""

    def __bool__(self) -> bool:
        return bool(self._peaks)

    def draw(self, even: Point, trial: int) -> tuple[Point, str] | None:
        """A coarse trial's place, from an even one, and why; None where it stays even, as every second does.

        The very first has the likely values themselves.
        """
        if not self or trial % 2:
            return None
        likely = {column: peak.around(even[column]) if trial else peak.place for column, peak in self._peaks.items()}
        point = tuple(likely.get(column, u) for column, u in enumerate(even))
        return point, f"{'a draw around' if trial else ''} what the space says is likely: {self.words}".strip()

    def log_weight(self, points: Floats, seen: int) -> Floats:
        """What each of these points (n, d) is to be weighed by, knowing so many trials: log π(x)^(β/n).

        Expected improvement times this is the acquisition function of πBO (Hvarfner et al. 2022), whose belief fades as
        scores come in; here β/n is at most 1. A parameter that does not exist weighs nothing.
        """
        weight = np.zeros(len(points))
        for column, peak in self._peaks.items():
            u = points[:, column]
            weight += np.where(np.isnan(u), 0.0, np.log(peak.density(u)))
        return weight * min(1.0, _STRENGTH / max(1, seen))
