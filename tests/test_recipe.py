"""Values and schedules: what is in force at a step."""

from __future__ import annotations

import itertools
import json
import math
import re
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import SettingsError
from tuner.record.recipe import Recipe, Schedule, Shape, schedule

SETTINGS: dict[str, dict[str, Any]] = {
    "time_based": {"rate": 1.0},
    "exponential": {"rate": 0.95},
    "square_root": {"rate": 0.5},
    "staircase": {"rate": 0.5, "every": 10},
    "cosine": {"over": 100, "floor": 0.001},
}

values = st.floats(min_value=1e-6, max_value=10.0)
steps = st.integers(min_value=0, max_value=500)
shapes = st.sampled_from(get_args(Shape))


def scheduled(shape: str, value: float = 0.2, since: int = 0) -> Recipe:
    recipe = Recipe.constant({"rate": value, "beta": 0.9})
    return recipe.scheduled("rate", schedule("rate", shape, **SETTINGS[shape]), since)


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────


def test_time_based_decay_follows_the_course() -> None:
    recipe = scheduled("time_based", 0.2)
    assert [round(recipe.at(t)["rate"], 3) for t in (1, 2, 3, 4)] == [0.1, 0.067, 0.05, 0.04]


def test_exponential_decay_follows_the_course() -> None:
    assert scheduled("exponential", 0.2).at(3)["rate"] == pytest.approx(0.2 * 0.95**3)


def test_square_root_decay_follows_the_course() -> None:
    assert scheduled("square_root", 0.2).at(16)["rate"] == pytest.approx(0.5 / 4 * 0.2)


def test_a_staircase_halves_every_ten_steps() -> None:
    recipe = scheduled("staircase", 0.2)
    assert [recipe.at(t)["rate"] for t in (0, 9, 10, 19, 20)] == [0.2, 0.2, 0.1, 0.1, 0.05]


def test_a_cosine_comes_down_to_its_floor_and_stays_there() -> None:
    recipe = scheduled("cosine", 0.2)
    assert recipe.at(50)["rate"] == pytest.approx((0.2 + 0.001) / 2)
    assert recipe.at(100)["rate"] == recipe.at(10_000)["rate"] == pytest.approx(0.001)


@given(shapes, values, steps)
def test_a_schedule_begins_at_the_present_value_and_never_rises(shape: str, value: float, since: int) -> None:
    recipe = scheduled(shape, value, since)
    assert recipe.at(since)["rate"] == value
    assert recipe.at(max(0, since - 5))["rate"] == value
    if value >= 0.001:  # else a cosine comes up to its floor
        course = [recipe.at(since + t)["rate"] for t in range(60)]
        assert all(later <= earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(course))


# ── changes ─────────────────────────────────────────────────────────────────────────────────────


@given(shapes, values, values, steps, steps)
def test_set_under_a_schedule_gives_the_value_now_and_keeps_the_shape(
    shape: str, value: float, wanted: float, done: int, later: int
) -> None:
    before = scheduled(shape, value)
    after = before.set({"rate": wanted}, done)
    assert after.at(done)["rate"] == pytest.approx(wanted, rel=1e-12)
    factor = wanted / before.at(done)["rate"]
    assert after.at(done + later)["rate"] == pytest.approx(before.at(done + later)["rate"] * factor, rel=1e-9)


@given(values, values, steps)
def test_set_without_a_schedule_is_exact_and_touches_nothing_else(value: float, wanted: float, done: int) -> None:
    recipe = Recipe.constant({"rate": value, "beta": 0.9, "name": "adam"}).set({"rate": wanted}, done)
    assert recipe.at(done) == {"rate": wanted, "beta": 0.9, "name": "adam"}


@given(shapes, values, steps, steps)
def test_constant_stops_a_schedule_where_it_is(shape: str, value: float, done: int, later: int) -> None:
    before = scheduled(shape, value)
    after = before.scheduled("rate", None, done)
    assert after.schedules == {}
    assert after.at(done + later)["rate"] == before.at(done)["rate"]


@pytest.mark.parametrize("shape", ["time_based", "exponential", "square_root", "staircase", "cosine"])
def test_a_schedule_stays_within_the_bounds_of_its_parameter(shape: str) -> None:
    recipe = Recipe.constant({"rate": 0.2}).scheduled(
        "rate", schedule("rate", shape, bounds=(0.05, 1.0), **SETTINGS[shape]), 10
    )
    values = [recipe.at(step)["rate"] for step in range(2000)]
    assert values[10] == 0.2
    assert min(values) == values[-1] == 0.05
    assert recipe.set({"rate": 0.1}, 1999).at(1999)["rate"] == pytest.approx(0.1)


def test_a_schedule_that_rises_ends_at_the_upper_bound() -> None:
    recipe = Recipe.constant({"rate": 0.2}).scheduled(
        "rate", schedule("rate", "exponential", bounds=(0.05, 1.0), rate=1.5), 0
    )
    assert recipe.at(100)["rate"] == 1.0


def test_a_new_schedule_begins_where_the_old_one_has_come_to() -> None:
    first = scheduled("exponential", 0.2)
    second = first.scheduled("rate", schedule("rate", "cosine", over=10), 20)
    assert second.at(20)["rate"] == first.at(20)["rate"]
    assert second.at(30)["rate"] == 0.0


def test_two_schedules_live_beside_one_another() -> None:
    recipe = scheduled("exponential", 0.2).scheduled("beta", schedule("beta", "staircase", every=5), 0)
    assert recipe.at(5) == {"rate": pytest.approx(0.2 * 0.95**5), "beta": 0.45}


def test_a_schedule_that_has_come_to_nothing_cannot_be_rescaled() -> None:
    recipe = Recipe.constant({"rate": 0.2}).scheduled("rate", schedule("rate", "cosine", over=10), 0)
    with pytest.raises(SettingsError, match=r"cannot be rescaled.*schedule rate constant"):
        recipe.set({"rate": 0.1}, 10)
    assert recipe.scheduled("rate", None, 10).set({"rate": 0.1}, 10).at(20) == {"rate": 0.1}


def test_a_schedule_that_has_all_but_vanished_cannot_be_rescaled_to_infinity() -> None:
    recipe = Recipe.constant({"rate": 1.0}).scheduled("rate", schedule("rate", "exponential", rate=0.1), 0)
    with pytest.raises(SettingsError, match="cannot be rescaled"):
        recipe.set({"rate": 10.0}, 320)


@given(shapes, values, steps, values)
def test_what_is_recorded_gives_the_same_values_bit_for_bit(shape: str, value: float, done: int, wanted: float) -> None:
    recipe = scheduled(shape, value, since=3).set({"rate": wanted}, done)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert [again.at(t) for t in range(0, 600, 7)] == [recipe.at(t) for t in range(0, 600, 7)]


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shape", "given_", "told"),
    [
        ("cosin", {}, "Did you mean cosine"),
        ("cosine", {}, "needs over=STEPS"),
        ("cosine", {"over": 0}, "at least 1, got 0"),
        ("cosine", {"over": 10, "floor": -1.0}, "0 or above, got -1.0"),
        ("cosine", {"over": 10, "rate": 0.5}, "cosine takes over, floor, got rate=0.5"),
        ("exponential", {"rate": 0.0}, "above 0, got 0.0"),
        ("exponential", {"rate": math.nan}, "above 0, got nan"),
        ("staircase", {"every": 0.5}, "at least 1, got 0.5"),
        ("time_based", {"rate": math.inf}, "above 0, got inf"),
        ("time_based", {"rate": True}, "above 0, got True"),
        ("time_based", {"rate": "fast"}, "above 0, got 'fast'"),
    ],
)
def test_an_impossible_schedule_is_refused_with_what_is_possible(shape: str, given_: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)) as refused:
        schedule("rate", shape, **given_)
    assert str(refused.value).startswith("rate: ")


def test_counts_of_steps_are_whole_numbers() -> None:
    asked = schedule("rate", "staircase", every=10.0)
    assert isinstance(asked.every, int)
    assert asked == Schedule(shape="staircase", value=asked.value, since=0, rate=0.5, every=10)
