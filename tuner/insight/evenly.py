"""Points spread evenly over a unit cube: a lattice, shifted, as good as the best are for what varies smoothly.

Each further dimension takes the step by which the points are spread best beside those before it, in the mean square
over functions of one smooth derivative (Sloan & Reztsov 2002; weights 1/j², since the first dimensions count most). A
table of Sobol's numbers would do as well; to load the package that has it takes half a second.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tuner.surrogate.gaussian_process import Floats


def even_points(count: int, dimensions: int, seed: int = 0) -> Floats:
    """So many points (count, dimensions) of the unit cube, `count` a power of two; the seed shifts all of them."""
    shift = np.random.default_rng(seed).random(dimensions)
    found: Floats = (np.arange(count)[:, None] * np.array(_steps(count, dimensions)) / count + shift) % 1.0
    return found


@lru_cache(maxsize=16)
def _steps(count: int, dimensions: int) -> tuple[int, ...]:
    """How far apart neighbours lie in each dimension, in parts of `count`; odd, so that no two share a coordinate."""
    candidates = np.arange(1, count // 2, 2)
    places = (candidates[:, None] * np.arange(count)) % count / count
    waves = 2 * np.pi**2 * (places * places - places + 1 / 6)
    steps: list[int] = []
    so_far = np.ones(count)
    for dimension in range(1, dimensions + 1):
        spread = waves @ so_far
        if len(steps) < len(candidates):
            spread[[(step - 1) // 2 for step in steps]] = np.inf  # two that go in step would look like one
        best = int(np.argmin(spread))
        so_far = so_far * (1 + waves[best] / dimension**2)
        steps.append(int(candidates[best]))
    return tuple(steps)
