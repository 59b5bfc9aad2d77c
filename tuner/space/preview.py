"""The preview of a parameter: where its draws fall."""

from __future__ import annotations

import math

from tuner.space.parameters import Choice, Parameter
from tuner.values.numbers import setting


def preview(parameter: Parameter | Choice) -> list[tuple[str, float]]:
    """Labelled stretches of the values and the share of draws each gets.

    One per option, per whole number (up to 12), per decade (of 1−β for `log_one_minus`), or per fifth if linear.
    """
    if isinstance(parameter, Choice):
        return [(str(option), 1 / len(parameter.options)) for option in parameter.options]
    edges = _edges(parameter)
    places = [parameter.place(edge) for edge in edges]
    return [
        (_stretch(parameter, low, high), right - left)
        for low, high, left, right in zip(edges, edges[1:], places, places[1:], strict=False)
    ]


def _edges(parameter: Parameter) -> list[float]:
    """Where a person would cut the range to see what is drawn."""
    low, high = parameter.ends
    if parameter.type == "integer" and high - low <= 12:
        return [low + step for step in range(int(high - low) + 1)]
    if parameter.scale == "linear":
        inner = [low + (high - low) * fifth / 5 for fifth in range(1, 5)]
    elif parameter.scale == "log":
        inner = _round_numbers(low, high)
    else:
        inner = [1 - number for number in reversed(_round_numbers(1 - high, 1 - low))]
    if parameter.type == "integer":
        inner = sorted({math.floor(edge) + 0.5 for edge in inner})
    return [low, *(edge for edge in inner if low < edge < high), high]


def _round_numbers(low: float, high: float) -> list[float]:
    """The powers of ten strictly between two positive numbers, thinned to a dozen; 2 and 5 times them where few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first < 2 else (1,)
    numbers_ = [float(f"{k}e{power}") for power in range(first, last + 1, (last - first) // 12 + 1) for k in factors]
    return [number for number in numbers_ if low * (1 + 1e-9) < number < high * (1 - 1e-9)]


def _stretch(parameter: Parameter, low: float, high: float) -> str:
    """A stretch of the range in words."""
    if parameter.type == "integer":
        low, high = low + 0.5, high - 0.5
    return setting(low) if low == high else f"{setting(low)} to {setting(high)}"
