"""The draws that look at no outcome: even random ones, and Sobol points, which leave no gaps."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tuner.policy.proposals import Point, Proposal
from tuner.samplers.base import NonAdaptiveSampler
from tuner.space.space import Space

_BLOCK = 1024  # points made at a time


class RandomSampler(NonAdaptiveSampler):
    """Draws every trial evenly and independently: a function of the seed and the trial's number alone.

    Args:
        seed: Of all draws in an Optuna study, 0 to 2**63 − 1; by default 0. A sweep has its own.

    Raises:
        SettingsError: No such seed, or an argument of another name.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=RandomSampler(seed=1))
        >>> study.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=3)
        >>> len(study.trials)
        3
    """

    def draw(self, space: Space, seed: int, trial: int) -> Proposal:
        """One even draw.

        Args:
            space: What is searched.
            seed: Of all draws, 0 to 2**63 − 1.
            trial: The trial's number, from 0.

        Returns:
            The point and why.

        Example:
            >>> space = tuner.Space(x=tuner.linear(0, 1))
            >>> RandomSampler().draw(space, 0, 7) == RandomSampler().draw(space, 0, 7)
            True
        """
        return Proposal(point=random_point(len(space), seed, trial), why="an even random draw")


class SobolSampler(NonAdaptiveSampler):
    """Spreads the trials evenly over the space: trial n is point n of a scrambled Sobol sequence (Owen 1998).

    Args:
        seed: Of the scrambling in an Optuna study, 0 to 2**63 − 1; by default 0. A sweep has its own.

    Raises:
        SettingsError: No such seed, or an argument of another name.

    Example:
        >>> space = tuner.Space(x=tuner.linear(0, 1))
        >>> sorted(int(4 * SobolSampler().draw(space, 0, trial).point[0]) for trial in range(4))
        [0, 1, 2, 3]
    """

    def get_ready(self, space: Space, seed: int) -> None:
        """Loads what Sobol points need.

        Args:
            space: What is to be searched.
            seed: Of all draws, 0 to 2**63 − 1.

        Example:
            >>> SobolSampler().get_ready(tuner.Space(x=tuner.linear(0, 1)), 0)
        """
        sobol_point(len(space), seed, 0)

    def draw(self, space: Space, seed: int, trial: int) -> Proposal:
        """The point of a trial's number.

        Args:
            space: What is searched; 21,201 parameters at most.
            seed: Of the scrambling, 0 to 2**63 − 1.
            trial: The trial's number, from 0.

        Returns:
            The point and why.

        Example:
            >>> space = tuner.Space(x=tuner.linear(0, 1), y=tuner.linear(0, 1))
            >>> len(SobolSampler().draw(space, 0, 0).point)
            2
        """
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
