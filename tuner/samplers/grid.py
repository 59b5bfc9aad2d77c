"""The grid, for those who want one: every combination of a few places a parameter, then it is done."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tuner.errors import SettingsError
from tuner.policy.proposals import Point, Proposal
from tuner.samplers.base import NonAdaptiveSampler
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.values.arguments import checked, whole_number

_LARGEST_GRID = 100_000


class GridSampler(NonAdaptiveSampler):
    """Tries every combination of a few places a parameter, in an order shuffled by the seed; then it is done.

    Of 25 trials in two dimensions a grid tries five values each, where random draws try 25 (Bergstra & Bengio 2012):
    prefer those.

    Args:
        seed: Of the order, 0 to 2**63 − 1; by default 0. A sweep has its own.
        points: Places of every range, from 2 up; by default 5. A range with no more whole numbers is tried in full, and
            so are all options of a choice.

    Raises:
        SettingsError: No such seed or number of points, or an argument of another name.

    Example:
        >>> sampler = GridSampler(points=3)
        >>> space = tuner.Space(x=tuner.linear(0, 1), y=tuner.choice("a", "b"))
        >>> [sampler.draw(space, 0, trial) is None for trial in (5, 6)]
        [False, True]
    """

    avoids_repeats = False  # it has an order of its own
    in_order = True  # a place of it that no trial takes would be left out

    @checked(points=whole_number(2, instead="Try points=5."))
    def __init__(self, seed: int = 0, *, points: int = 5) -> None:
        super().__init__(seed)
        self.points = points

    def draw(self, space: Space, seed: int, trial: int) -> Proposal | None:
        """A point of the grid.

        Args:
            space: What is searched.
            seed: Of the order, 0 to 2**63 − 1.
            trial: Which point, from 0.

        Returns:
            The point and why; None when all are tried.

        Raises:
            SettingsError: The grid has more than 100,000 points.

        Example:
            >>> space = tuner.Space(x=tuner.linear(0, 1))
            >>> sorted(GridSampler(points=3).draw(space, 0, trial).point[0] for trial in range(3))
            [0.0, 0.5, 1.0]
        """
        grid = self._grid(space, seed)
        if trial >= len(grid):
            return None
        return Proposal(point=grid[trial], why=f"point {trial + 1} of a grid of {len(grid)}")

    def _grid(self, space: Space, seed: int) -> tuple[Point, ...]:
        return _shuffled(json.dumps(space.to_dict()), seed, self.points)

    def _again(self, space: Space, trial: int) -> int:
        return trial % len(self._grid(space, self.seed))


@lru_cache(maxsize=8)
def _shuffled(description: str, seed: int, points: int) -> tuple[Point, ...]:
    """The grid's points in an order of the seed's, so that a grid cut short still covers the space."""
    space = Space.from_dict(json.loads(description))
    places = [_places(dimension, points) for dimension in space.values()]
    size = math.prod(map(len, places))
    if size > _LARGEST_GRID:
        raise SettingsError(
            f"a grid of {' × '.join(str(len(row)) for row in places)} places is {size:,} trials, more than "
            f'{_LARGEST_GRID:,}. Try sampler="sobol", which spreads any number of trials evenly, or fewer points.'
        )
    grid = [point for point in itertools.product(*places) if _stands_for_itself(space, point, places)]
    return tuple(grid[index] for index in np.random.default_rng(seed).permutation(len(grid)).tolist())


def _places(dimension: Parameter | Choice, points: int) -> list[float]:
    if isinstance(dimension, Choice):
        return [dimension.to_unit(option) for option in dimension.options]
    even = [step / (points - 1) for step in range(points)]
    if dimension.type == "float":
        return even
    few = dimension.high - dimension.low < points
    numbers = range(int(dimension.low), int(dimension.high) + 1) if few else {dimension.from_unit(u) for u in even}
    return [dimension.to_unit(number) for number in sorted(numbers)]


def _stands_for_itself(space: Space, point: Point, places: Sequence[Sequence[float]]) -> bool:
    """Whether this is the first of the points that differ in inactive parameters alone."""
    if not any(dimension.when for dimension in space.values()):
        return True
    params = space.from_unit(point)
    return all(name in params or u == row[0] for name, u, row in zip(space, point, places, strict=True))
