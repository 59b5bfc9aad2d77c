"""A step axis on which changes that lie close together can be told apart: wider there, narrower elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_CROWDED = 0.03  # neighbours closer than this share of the axis cannot be told apart
_GIVEN_AWAY = 0.6  # so much of the axis is shared out evenly where they are crowded
_TICKS = 8


@dataclass(frozen=True, eq=False)
class Zoom:
    """A piecewise linear axis through `places` in [0, 1] at `steps`, both ascending."""

    steps: Floats
    places: Floats

    @classmethod
    def of(cls, limits: tuple[float, float], changes: Sequence[float]) -> Zoom:
        """Even where all changes can be told apart; else each stretch between two, and as much around it, gets room."""
        low, high = limits
        marks = sorted({low, high, *(step for step in changes if low < step < high)})
        gaps = [after - before for before, after in pairwise(marks)]
        if len(marks) < 3 or min(gaps) >= _CROWDED * (high - low):
            return cls(np.array(limits), np.array([0.0, 1.0]))
        near = [
            mark + side * min(before, after)
            for mark, (before, after) in zip(marks[1:-1], pairwise(gaps), strict=True)
            for side in (-1.0, 1.0)
        ]
        steps = np.array(sorted({*marks, *near}))
        width = np.diff(steps) / (high - low)
        share = (1 - _GIVEN_AWAY) * width + _GIVEN_AWAY / len(width)
        return cls(steps, np.concatenate([[0.0], np.cumsum(share)]) / share.sum())

    @property
    def even(self) -> bool:
        """Whether a step is as wide everywhere."""
        return len(self.steps) == 2

    def place(self, steps: Floats | float) -> Floats:
        """Where steps stand, in [0, 1]; beyond the ends they go on as at the ends."""
        return _through(np.asarray(steps, dtype=np.float64), self.steps, self.places)

    def step(self, places: Floats | float) -> Floats:
        """The steps at these places."""
        return _through(np.asarray(places, dtype=np.float64), self.places, self.steps)

    def apply(self, axes: Axes) -> None:
        """Sets the axis, with about as many round numbers as have room."""
        from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

        if self.even:
            return
        axes.set_xscale("function", functions=(self.place, self.step))
        axes.xaxis.set_major_locator(FixedLocator(self.ticks()))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(ScalarFormatter())

    def ticks(self) -> list[float]:
        """Steps as round as their neighbours leave them, about evenly placed."""
        found: list[float] = []
        for place in (np.arange(_TICKS) + 0.5) / _TICKS:
            near, far = self.step(place - 0.2 / _TICKS), self.step(place + 0.2 / _TICKS)
            size = 10.0 ** np.floor(np.log10(max(float(far - near), 1.0)))
            step = float(np.round(self.step(place) / size) * size)
            if step >= 0 and (not found or float(self.place(step) - self.place(found[-1])) > 0.5 / _TICKS):
                found.append(step)
        return found


def _through(values: Floats, xs: Floats, ys: Floats) -> Floats:
    """Linear between the points and beyond them."""
    inside = np.interp(values, xs, ys)
    first, last = (ys[1] - ys[0]) / (xs[1] - xs[0]), (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])
    below, above = ys[0] + (values - xs[0]) * first, ys[-1] + (values - xs[-1]) * last
    return np.where(values < xs[0], below, np.where(values > xs[-1], above, inside))
