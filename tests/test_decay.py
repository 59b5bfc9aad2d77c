from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import SettingsError
from tuner.workloads.decay import decayed, exponential, square_root, staircase, time_based

DECAYS = ("none", "time_based", "exponential", "square_root", "staircase")


def test_time_based_decay_gives_the_numbers_of_the_course() -> None:
    assert [round(time_based(0.2, t, d=1), 3) for t in (1, 2, 3, 4)] == [0.1, 0.067, 0.05, 0.04]


def test_exponential_decay_multiplies_by_k_each_epoch() -> None:
    assert [exponential(0.2, t) for t in (0, 1, 2)] == pytest.approx([0.2, 0.19, 0.1805])


def test_square_root_decay_halves_the_rate_at_epoch_four() -> None:
    assert [square_root(0.2, t) for t in (0, 1, 4, 9)] == pytest.approx([0.2, 0.2, 0.1, 0.2 / 3])


def test_staircase_decay_halves_the_rate_at_each_stair() -> None:
    assert [staircase(0.2, t, every=3) for t in (0, 2, 3, 5, 6)] == pytest.approx([0.2, 0.2, 0.1, 0.1, 0.05])


def test_decay_rate_is_the_constant_of_the_decay_it_is_given_with() -> None:
    rates = {decay: decayed(0.2, 4, decay=decay, decay_rate=0.8, decay_every=2) for decay in DECAYS}
    expected = {
        "none": 0.2,
        "time_based": 0.2 / (1 + 0.8 * 4),
        "exponential": 0.2 * 0.8**4,
        "square_root": 0.2 * 0.8 / 2,
        "staircase": 0.2 * 0.8**2,
    }
    assert rates == pytest.approx(expected)


@given(decay=st.sampled_from(DECAYS), t=st.integers(0, 500), alpha0=st.floats(1e-6, 10))
def test_the_rate_stays_positive_and_never_rises(decay: str, t: int, alpha0: float) -> None:
    assert 0 < decayed(alpha0, t + 1, decay=decay) <= decayed(alpha0, t, decay=decay) <= alpha0


def test_an_unknown_decay_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match="Did you mean staircase"):
        decayed(0.1, 0, decay="stairs")
