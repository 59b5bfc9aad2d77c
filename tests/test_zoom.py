from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.views.plots.zoom import Zoom

LONG = (0.0, 20_000.0)


def test_changes_a_few_steps_apart_in_a_long_run_stand_apart_on_its_axis() -> None:
    changes = [300, 340, 390, 420, 800]
    places = Zoom.of(LONG, changes).place(np.array(changes, dtype=float))
    assert min(np.diff(places)) > 0.03
    assert max(np.diff(np.array(changes) / LONG[1])) < 0.03  # as they stand on an even axis


def test_changes_that_stand_apart_leave_the_axis_even() -> None:
    assert Zoom.of(LONG, [3000, 6000, 9000]).even
    assert Zoom.of(LONG, []).even


@given(st.lists(st.integers(-50, 21_000), max_size=40))
def test_a_zoomed_axis_ascends_and_can_be_read_both_ways(changes: list[int]) -> None:
    zoom = Zoom.of(LONG, changes)
    steps = np.linspace(-100.0, 20_100.0, 500)
    assert (np.diff(zoom.place(steps)) > 0).all()
    assert zoom.step(zoom.place(steps)) == pytest.approx(steps, abs=1e-6)
    assert zoom.place(np.array(LONG)) == pytest.approx([0.0, 1.0])
    assert zoom.ticks() == sorted(set(zoom.ticks()))
