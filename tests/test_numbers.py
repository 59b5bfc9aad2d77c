"""Figures as text: short, true to the value, and written in one place."""

from __future__ import annotations

import doctest
import math
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tuner.values import numbers
from tuner.values.numbers import duration, exact, near_one, number, percent, setting

FINITE = st.floats(-1e300, 1e300)
PACKAGE = Path(numbers.__file__).parent


def test_the_examples_hold() -> None:
    assert doctest.testmod(numbers).failed == 0


@given(FINITE)
def test_a_number_is_off_by_no_more_than_its_digits(value: float) -> None:
    assert math.isclose(float(number(value)), value, rel_tol=5e-4)


@given(FINITE)
def test_a_number_takes_little_room(value: float) -> None:
    assert len(number(value)) <= 11


@given(st.floats(0.0, 1 - 1e-9))
def test_a_number_near_one_keeps_its_distance_from_one(value: float) -> None:
    assert math.isclose(1 - float(near_one(value)), 1 - value, rel_tol=0.01)


@given(st.floats(0, 1e9))
def test_durations_name_two_units_at_most(seconds: float) -> None:
    assert len(duration(seconds).split()) in (2, 4)


@given(st.floats(0.9, 1 - 1e-9))
def test_no_fraction_is_rounded_to_one(value: float) -> None:
    assert float(number(value)) < 1
    assert float(near_one(value)) < 1


@given(FINITE)
def test_what_is_typed_gives_the_value_back(value: float) -> None:
    assert float(exact(value)) == value


@given(FINITE)
def test_a_setting_keeps_six_digits(value: float) -> None:
    assert math.isclose(float(setting(value)), value, rel_tol=5e-6)


def test_what_is_no_number_is_written_as_it_is() -> None:
    assert (number(None), number("relu"), number(True), number(math.inf), exact("relu")) == (
        "-",
        "relu",
        "True",
        "inf",
        "relu",
    )


def test_whole_seconds_have_no_decimals_and_short_spans_have_some() -> None:
    assert (duration(5), duration(0.25), duration(90)) == ("5 s", "0.25 s", "1 min 30 s")


def test_a_share_is_in_the_hundred() -> None:
    assert (percent(0.126), percent(1)) == ("13%", "100%")


def test_no_other_module_decides_how_many_digits_are_shown() -> None:
    digits = re.compile(r":\.?\{?\d*\w*\}?[g%]\}")
    found = {
        str(module.relative_to(PACKAGE))
        for module in PACKAGE.rglob("*.py")
        if module.name != "numbers.py" and digits.search(module.read_text())
    }
    assert not found
