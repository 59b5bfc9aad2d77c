"""The scales: what bends a range until draws are even in it, and the way back.

linear          value = low + u·(high − low)
log             log(value) is even in u: every decade gets the same share
log_one_minus   log(1 − value) is even in u: every decade of 1−β gets the same share
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

Scale = Literal["linear", "log", "log_one_minus"]


class Transform(NamedTuple):
    """One scale as two functions, inverse to one another."""

    forward: Callable[[float], float]
    inverse: Callable[[float], float]


def _bent_by_one_minus(value: float) -> float:
    # log1p keeps small β exact to the last digits; near 1 the difference 1-β is exact (Sterbenz 1974).
    return -math.log1p(-value)


def _unbent_by_one_minus(bent: float) -> float:
    return -math.expm1(-bent)


SCALES: dict[str, Transform] = {
    "linear": Transform(float, float),
    "log": Transform(math.log, math.exp),
    "log_one_minus": Transform(_bent_by_one_minus, _unbent_by_one_minus),
}
