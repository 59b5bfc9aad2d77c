"""How even draws spread."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tuner.samplers import RandomSampler, SobolSampler
from tuner.samplers.base import UnitCubeSampler
from tuner.samplers.quasi_random import sobol_point
from tuner.space.constructors import linear
from tuner.space.space import Space

SQUARE = Space(x=linear(0.0, 1.0), y=linear(0.0, 1.0))


def point_of(sampler: UnitCubeSampler, seed: int, trial: int) -> tuple[float, ...]:
    proposal = sampler.propose(SQUARE, seed, trial, [], [])
    assert proposal is not None
    return tuple(proposal.point)


def test_random_draws_try_as_many_values_of_each_parameter_as_there_are_trials() -> None:
    points = [point_of(RandomSampler(), 0, trial) for trial in range(25)]
    assert [len({point[axis] for point in points}) for axis in (0, 1)] == [25, 25]


def test_random_draws_are_keyed_by_seed_and_trial() -> None:
    expected = np.random.default_rng([7, 3]).random(2).tolist()
    assert list(point_of(RandomSampler(seed=1), 7, 3)) == expected


def test_sobol_points_put_one_in_every_cell_of_an_even_grid() -> None:
    points = [point_of(SobolSampler(), 5, trial) for trial in range(16)]
    assert {(math.floor(4 * x), math.floor(4 * y)) for x, y in points} == {(i, j) for i in range(4) for j in range(4)}


def test_sobol_does_not_begin_in_a_corner() -> None:
    assert all(max(sobol_point(3, seed, 0)) > 0.01 for seed in range(20))


@given(st.integers(1, 8), st.integers(0, 2**31), st.integers(0, 5000))
def test_a_sobol_point_is_the_same_whenever_it_is_asked_for(dimensions: int, seed: int, index: int) -> None:
    point = sobol_point(dimensions, seed, index)
    assert point == sobol_point(dimensions, seed, index)
    assert len(point) == dimensions
    assert all(0.0 <= u < 1.0 for u in point)


def test_blocks_of_a_sobol_sequence_join() -> None:
    points = [sobol_point(2, 0, index) for index in range(2048)]
    cells = {(math.floor(32 * x), math.floor(64 * y)) for x, y in points}
    assert len(cells) == 2048
