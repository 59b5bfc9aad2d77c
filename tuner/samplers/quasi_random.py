"""Knows the draws that look at no outcome: even random ones, and Sobol points, which leave no gaps."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tuner.policy.proposals import Point, Proposal
from tuner.samplers.base import NonAdaptiveSampler
from tuner.space.space import Space

_BLOCK = 1024  # points made at a time


class RandomSampler(NonAdaptiveSampler):
    """Draws every trial evenly and independently: a function of the seed and the trial's number alone."""

    def draw(self, space: Space, seed: int, trial: int) -> Proposal:
        """One even draw."""
        return Proposal(point=random_point(len(space), seed, trial), why="an even random draw")


class SobolSampler(NonAdaptiveSampler):
    """Spreads the trials evenly over the space: trial n is point n of a scrambled Sobol sequence."""

    def draw(self, space: Space, seed: int, trial: int) -> Proposal:
        """The sequence's next point."""
        return Proposal(point=sobol_point(len(space), seed, trial), why="the next point of an even spread")


def random_point(dimensions: int, seed: int, index: int) -> Point:
    """Point `index` of evenly random points, each drawn on its own."""
    return tuple(np.random.default_rng([seed, index]).random(dimensions).tolist())


def sobol_point(dimensions: int, seed: int, index: int, stream: int = 0) -> Point:
    """Point `index` of a Sobol sequence; each (seed, stream) has a scrambling of its own."""
    return _sobol_block(dimensions, seed, stream, index // _BLOCK)[index % _BLOCK]


@lru_cache(maxsize=64)
def _sobol_block(dimensions: int, seed: int, stream: int, block: int) -> tuple[Point, ...]:
    from scipy.stats.qmc import Sobol  # half a second, for whoever draws no Sobol points

    # Unscrambled, the sequence begins in the lower corner; dropping that point would cost its balance (Owen 2020).
    sequence = Sobol(dimensions, scramble=True, rng=np.random.default_rng([seed, stream]))
    if block:
        sequence.fast_forward(block * _BLOCK)
    return tuple(map(tuple, sequence.random(_BLOCK).tolist()))
