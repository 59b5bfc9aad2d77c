from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("plotext", reason="the room needs plotext: pip install 'tuner[room]'")

from tuner.room.drawing import labels, log_ticks, ticks


@given(st.floats(-1e300, 1e300), st.floats(1e-9, 1e9), st.integers(2, 12))
def test_every_range_has_two_ticks_or_more_and_each_its_own_label(low: float, span: float, count: int) -> None:
    high = low + max(abs(low) * span, 1e-300)
    assume(high > low and math.isfinite(high))
    found = ticks(low, high, count)
    assert 2 <= len(found) <= max(count, 3)
    assert all(low <= place <= high for place in found)
    assert len(set(labels(found))) == len(found)


@given(st.floats(-30, 30), st.floats(0.01, 30), st.integers(2, 12))
def test_a_log_axis_has_two_ticks_or_more_within_any_range(low: float, span: float, count: int) -> None:
    found = log_ticks(low, low + span, count)
    assert 2 <= len(found) <= max(count, 3)
    assert all(low - 1e-9 <= place <= low + span + 1e-9 for place in found)


def test_what_lies_closer_than_round_numbers_is_labelled_by_its_ends() -> None:
    assert ticks(1e16, 1e16 + 2, 3) == [1e16, 1e16 + 2]
