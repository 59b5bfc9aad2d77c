"""A setting's own axis: its scale, its bounds, where trials stand on it, and the ticks a person reads.

A parameter searched as 1−β is drawn as 1−β on a logarithmic axis; options stand side by side in their order, fanned
out a little, so that those that share one are seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tuner.record.trial import Trial
from tuner.space.parameters import Choice, Parameter
from tuner.values.numbers import near_one, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

Dimension: TypeAlias = Parameter | Choice

_GOLDEN = 0.6180339887  # neighbours fall apart
_MARGIN = 0.05


@dataclass(frozen=True)
class SettingAxis:
    """One parameter as an axis of a picture."""

    dimension: Dimension

    @property
    def label(self) -> str:
        """What stands at the axis."""
        return f"1 − {self.dimension.name}" if self.dimension.scale == "log_one_minus" else self.dimension.name

    @property
    def kind(self) -> str:
        """Bokeh's word for its scale."""
        return "linear" if self.dimension.scale in ("linear", "choice") else "log"

    @property
    def limits(self) -> tuple[float, float]:
        """What the axis spans: the bounds and a little more."""
        if isinstance(self.dimension, Choice):
            return -0.6, len(self.dimension.options) - 0.4
        low, high = self.interval(0.0, 1.0)
        if self.kind == "log":
            margin = (high / low) ** _MARGIN
            return low / margin, high * margin
        return low - _MARGIN * (high - low), high + _MARGIN * (high - low)

    def interval(self, low: float, high: float) -> tuple[float, float]:
        """Where an interval of the unit cube begins and ends on the axis."""
        if isinstance(self.dimension, Choice):
            count = len(self.dimension.options)
            return low * count - 0.5, high * count - 0.5
        half = 0.5 if self.dimension.type == "integer" else 0.0
        ends = (self.dimension.from_unit(low) - half, self.dimension.from_unit(high) + half)
        first, last = sorted(1.0 - end if self.dimension.scale == "log_one_minus" else end for end in ends)
        return first, last

    def places(self, trials: Sequence[Trial]) -> Floats:
        """Where trials stand; nan where one has no such setting."""
        values = [trial.params.get(self.dimension.name) for trial in trials]
        if isinstance(self.dimension, Choice):
            place = {repr(option): float(at) for at, option in enumerate(self.dimension.options)}
            fan = 0.5 * (np.arange(len(trials)) * _GOLDEN % 1.0 - 0.5)
            return np.array([place.get(repr(value), math.nan) for value in values], dtype=np.float64) + fan
        found = np.array([_real(value) for value in values], dtype=np.float64)
        return 1.0 - found if self.dimension.scale == "log_one_minus" else found

    def units(self, trials: Sequence[Trial]) -> Floats:
        """The same in the unit interval, on the parameter's own scale, however far beyond its bounds."""
        if isinstance(self.dimension, Choice):
            low, high = self.interval(0.0, 1.0)
            return (self.places(trials) - low) / (high - low)
        return np.array([self._unit(trial.params.get(self.dimension.name)) for trial in trials], dtype=np.float64)

    def _unit(self, value: Any) -> float:
        real = _real(value)
        if math.isnan(real) or isinstance(self.dimension, Choice):
            return math.nan
        try:
            return min(1.05, max(-0.05, self.dimension.place(real)))
        except ValueError:  # no place on a logarithm
            return math.nan

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """Places in the unit interval with their values as text, both ends among them."""
        if isinstance(self.dimension, Choice):
            count = len(self.dimension.options)
            return [((at + 0.5) / count, number(option)) for at, option in enumerate(self.dimension.options)]
        dimension = self.dimension
        marks = np.linspace(0.0, 1.0, most)
        if dimension.scale != "linear":
            decades = [10.0**power for power in range(-12, 13)]
            values = [1.0 - each for each in decades] if dimension.scale == "log_one_minus" else decades
            inside = [dimension.place(each) for each in values if dimension.low < each < dimension.high]
            near = [place for place in inside if 0.08 < place < 0.92]
            marks = np.array([0.0, *sorted(near)[:: max(1, math.ceil(len(near) / most))], 1.0])
        written = near_one if dimension.scale == "log_one_minus" else number
        told = [(float(mark), dimension.from_unit(float(mark))) for mark in marks]
        places = {written(value): dimension.place(value) for _, value in told}
        return [(place, text) for text, place in places.items()]


def set_axis(plot: Any, which: str, axis: SettingAxis) -> None:
    """Gives a side of a figure its ticks and its name; its scale is the figure's from the beginning."""
    from bokeh.models import FixedTicker

    drawn = plot.xaxis if which == "x" else plot.yaxis
    drawn.axis_label = axis.label
    if isinstance(axis.dimension, Choice):
        drawn.ticker = FixedTicker(ticks=list(range(len(axis.dimension.options))))
        drawn.major_label_overrides = {at: number(option) for at, option in enumerate(axis.dimension.options)}
    elif axis.kind == "log":
        decades = [10.0**power for power in range(-12, 13) if axis.limits[0] <= 10.0**power <= axis.limits[1]]
        marks = decades if len(decades) > 1 else [*axis.interval(0.0, 1.0)]
        drawn.ticker = FixedTicker(ticks=marks, minor_ticks=[])
        drawn.major_label_overrides = {mark: number(mark) for mark in marks}


def _real(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
