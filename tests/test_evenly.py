"""Even points: as many as asked for, none twice, and closer to an integral than chance."""

from __future__ import annotations

import numpy as np
import pytest

from tuner.insight.evenly import even_points


@pytest.mark.parametrize(("count", "dimensions"), [(512, 2), (512, 40), (1024, 8), (64, 100)])
def test_points_are_spread_in_every_dimension_alike(count: int, dimensions: int) -> None:
    points = even_points(count, dimensions)
    assert points.shape == (count, dimensions)
    assert ((points >= 0) & (points < 1)).all()
    gaps = np.diff(np.sort(points, axis=0), axis=0)
    np.testing.assert_allclose(gaps, 1 / count, atol=1e-9)


def test_no_two_dimensions_go_in_step() -> None:
    correlation = np.corrcoef(even_points(512, 40).T) - np.eye(40)
    assert abs(correlation).max() < 0.9


def test_they_tell_a_smooth_integral_ten_times_closer_than_chance() -> None:
    def mean(points: np.ndarray) -> float:
        return float(np.prod(1 + 0.5 * np.cos(2 * np.pi * points), axis=1).mean())

    even = [abs(mean(even_points(512, 6, seed)) - 1) for seed in range(20)]
    chance = [abs(mean(np.random.default_rng(seed).random((512, 6))) - 1) for seed in range(20)]
    assert float(np.median(even)) < 0.1 * float(np.median(chance))
