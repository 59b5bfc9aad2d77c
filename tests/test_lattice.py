from __future__ import annotations

import math

import numpy as np
import pytest

from tuner.space.constructors import choice, integer, linear, log, log_one_minus
from tuner.space.space import Space
from tuner.surrogate.lattice import Lattice

SPACE = Space(
    rate=log(1e-4, 1.0),
    layers=integer(1, 5),
    units=integer(1, 5000, scale="log"),
    wide=integer(0, 10**7),
    batch=choice(32, 64, 128),
)


def test_points_lie_where_the_record_puts_them() -> None:
    rng = np.random.default_rng(0)
    points = np.vstack([rng.random((300, 5)), np.zeros(5), np.ones(5)])
    recorded = np.array([SPACE.to_unit(SPACE.from_unit(point)) for point in points.tolist()])
    apart = np.abs(Lattice(SPACE).nearest(points) - recorded).max(axis=0)
    assert apart[[0, 1, 4]].max() < 1e-13
    assert apart[[2, 3]].max() < 1e-3  # the whole numbers from 1,025 on lie that close


def test_a_point_that_lies_there_stays() -> None:
    points = Lattice(SPACE).nearest(np.random.default_rng(1).random((50, 5)))
    assert np.array_equal(Lattice(SPACE).nearest(points), points)


def test_a_parameter_that_does_not_exist_has_no_place() -> None:
    space = Space(optimizer=choice("sgd", "adam"), beta=linear(0.5, 0.9, when={"optimizer": "sgd"}))
    (sgd, adam) = Lattice(space).nearest(np.array([[0.1, 0.3], [0.9, 0.3]]))
    assert sgd.tolist() == pytest.approx([0.25, 0.3])
    assert adam[0] == 0.75
    assert math.isnan(adam[1])


def test_conditions_of_conditions_leave_the_places_that_the_record_leaves() -> None:
    space = Space(
        momentum=linear(0.0, 0.99, when={"optimizer": "sgd"}),  # it stands before what it depends on
        optimizer=choice("sgd", "adam", "rms"),
        beta2=log_one_minus(0.9, 0.9999, when={"optimizer": ["adam", "rms"]}),
        warmup=integer(0, 4, when={"beta2": 0.9}),  # of a number with no cells
        layers=integer(1, 3),
        units=integer(8, 5000, scale="log", when={"layers": (2, 3)}),
        drop=choice(True, False, when={"layers": 3, "optimizer": "adam"}),
        rate=linear(0.0, 0.8, when={"drop": True}),
        extra=linear(0.0, 1.0, when={"units": (8, 4999)}),  # one of them beyond the cells that are looked at
    )
    rng = np.random.default_rng(3)
    points = np.vstack([rng.random((300, len(space))), np.zeros(len(space)), np.ones(len(space))])
    points[::7, 2], points[::5, 5] = 0.0, rng.choice([0.0, space["units"].to_unit(4999)], 61)
    recorded = np.array([space.to_unit(space.from_unit(point)) for point in points.tolist()])
    places = Lattice(space).nearest(points)
    assert np.isnan(recorded).any(axis=0).tolist() == [True, False, True, True, False, True, True, True, True]
    assert (~np.isnan(recorded)).any(axis=0).all()
    assert np.array_equal(np.isnan(places), np.isnan(recorded))
    assert np.nanmax(np.abs(places - recorded)) < 1e-3
    assert np.array_equal(Lattice(space).nearest(places), places, equal_nan=True)


def test_small_moves_are_for_numbers_that_lie_close_together() -> None:
    lattice = Lattice(SPACE)
    (point,) = lattice.nearest(np.array([[0.5, 0.5, 0.9, 0.5, 0.5]]))
    assert lattice.fine(point).tolist() == [True, False, True, True, False]
    (point,) = lattice.nearest(np.array([[0.5, 0.5, 0.1, 0.5, 0.5]]))
    assert not lattice.fine(point)[2]  # 1, 2, 3 of 5,000, on a log scale, do not
