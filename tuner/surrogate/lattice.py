"""The places of the unit cube that settings can have: a whole number or an option has the middle of its cell.

What a process expects beside it is of no use: far from all that was tried its expected improvement is large, and
what is recorded is the same whole number again (Garrido-Merchán & Hernández-Lobato 2020).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

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
        self._dimensions = list(space.values())
        self._cells = {
            column: _cells(dimension)
            for column, dimension in enumerate(self._dimensions)
            if isinstance(dimension, Choice) or dimension.type == "integer"
        }
        columns = {name: column for column, name in enumerate(space)}
        self._conditions = {
            columns[name]: {columns[parent]: values for parent, values in dimension.when.items()}
            for name, dimension in space.items()
            if dimension.when
        }

    def nearest(self, points: Floats) -> Floats:
        """Points (n, d) as the record would have them: NaN where a parameter does not exist."""
        found = points.copy()
        for column, (cuts, middles) in self._cells.items():
            cell = np.searchsorted(cuts, points[:, column], side="right")
            near = cell < len(middles)
            found[near, column] = middles[cell[near]]
        exist: dict[int, NDArray[np.bool_]] = {}
        for column in self._conditions:
            found[~self._exists(points, column, exist), column] = np.nan
        return found

    def _exists(self, points: Floats, column: int, known: dict[int, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """At which points (n, d) a parameter exists: its parents do, with values that its condition names."""
        if column not in known:
            known[column] = np.ones(len(points), dtype=bool)
            for parent, values in self._conditions.get(column, {}).items():
                known[column] &= self._exists(points, parent, known)
                known[column] &= self._is_one_of(points[:, parent], parent, values)
        return known[column]

    def _is_one_of(self, places: Floats, column: int, values: tuple[Any, ...]) -> NDArray[np.bool_]:
        """Where (n,) a parameter has one of some values."""
        dimension = self._dimensions[column]
        cuts, middles = self._cells.get(column, (np.empty(0), np.empty(0)))
        named = np.searchsorted(cuts, [dimension.to_unit(value) for value in values], side="right")
        cell = np.searchsorted(cuts, places, side="right")
        found = np.isin(cell, named)
        for row in np.flatnonzero((cell >= len(middles)) & ~np.isnan(places)):  # no cells, or beyond those looked at
            found[row] = dimension.from_unit(float(places[row])) in values
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
