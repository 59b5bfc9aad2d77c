"""The places of the unit cube that settings can have: a whole number or an option has the middle of its cell.

What a process expects beside it is of no use: far from all that was tried its expected improvement is large, and
what is recorded is the same whole number again (Garrido-Merchán & Hernández-Lobato 2020).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space

Floats: TypeAlias = NDArray[np.float64]

_MOST = 1024  # whole numbers a parameter: those beyond lie so close that every place will do
_FINE = 0.02  # of the range: narrower cells are as good as none


class Lattice:
    """The places of a space."""

    def __init__(self, space: Space) -> None:
        self._space, self._dimensions = space, list(space.values())
        self._cells = {
            column: _cells(dimension)
            for column, dimension in enumerate(self._dimensions)
            if isinstance(dimension, Choice) or dimension.type == "integer"
        }
        self._conditional = any(dimension.when for dimension in self._dimensions)

    def nearest(self, points: Floats) -> Floats:
        """Points (n, d) as the record would have them: NaN where a parameter does not exist."""
        if self._conditional:
            space = self._space
            return np.array([space.to_unit(space.from_unit(point)) for point in points.tolist()])
        found = points.copy()
        for column, (cuts, middles) in self._cells.items():
            cell = np.searchsorted(cuts, points[:, column], side="right")
            near = cell < len(middles)
            found[near, column] = middles[cell[near]]
        return found

    def fine(self, point: Floats) -> NDArray[np.bool_]:
        """Of which parameters a small move from this point, one of `nearest`, is another setting: (d,)."""
        found = ~np.isnan(point)
        for column, (cuts, middles) in self._cells.items():
            cell = int(np.searchsorted(cuts, point[column], side="right"))
            if cell < len(middles):
                low, high = (cuts[cell - 1] if cell else 0.0), (cuts[cell] if cell < len(cuts) else 1.0)
                found[column] &= high - low < _FINE and isinstance(self._dimensions[column], Parameter)
        return found


@lru_cache(maxsize=256)
def _cells(dimension: Parameter | Choice) -> tuple[Floats, Floats]:
    """Where one cell ends and the next begins, and the middle of each; of a parameter's first `_MOST`."""
    if isinstance(dimension, Choice):
        count = len(dimension.options)
        return np.arange(1, count) / count, (np.arange(count) + 0.5) / count
    low, high = int(dimension.low), int(dimension.high)
    numbers = range(low, min(high, low + _MOST - 1) + 1)
    cuts = [dimension.place(number + 0.5) for number in numbers if number < high]
    return np.array(cuts), np.array([dimension.to_unit(number) for number in numbers])
