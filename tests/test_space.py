"""A value and its place in the unit interval: every scale, every refusal, every condition."""

from __future__ import annotations

import json
import math
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tuner.errors import SettingsError, SpaceError
from tuner.space.constructors import choice, integer, linear, log, log_one_minus
from tuner.space.parameters import Parameter
from tuner.space.preview import preview
from tuner.space.space import Space
from tuner.values.plain import writable

UNIT = st.floats(0, 1)


def positive_ranges(decades: int = 15) -> st.SearchStrategy[Parameter]:
    return st.builds(
        lambda low, width: log(10.0**low, 10.0 ** (low + width)), st.floats(-12, 3), st.floats(1e-3, decades)
    )


LINEAR_RANGES = st.builds(
    lambda low, width: linear(low, low + width), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6).map(abs)
)
ONE_MINUS_RANGES = st.builds(
    lambda low, share: log_one_minus(low, 1 - (1 - low) * share), st.floats(0, 0.99), st.floats(1e-9, 0.9)
)
INTEGER_RANGES = st.builds(
    lambda low, width, scale: integer(low, low + width, scale=scale),
    st.integers(1, 1000),
    st.integers(1, 5000),
    st.sampled_from(["linear", "log"]),
)


def between(data: st.DataObject, parameter: Parameter) -> Any:
    if parameter.type == "integer":
        return data.draw(st.integers(int(parameter.low), int(parameter.high)))
    return data.draw(st.floats(parameter.low, parameter.high))


@given(st.data(), positive_ranges() | ONE_MINUS_RANGES)
def test_a_value_comes_back_from_its_place_within_1e_14(data: st.DataObject, parameter: Parameter) -> None:
    value = between(data, parameter)
    assert parameter.from_unit(parameter.to_unit(value)) == pytest.approx(value, rel=1e-14, abs=0)


@given(st.data(), LINEAR_RANGES)
def test_a_value_on_a_linear_scale_comes_back_within_1e_14_of_the_larger_bound(
    data: st.DataObject, parameter: Parameter
) -> None:
    value = between(data, parameter)
    larger = max(abs(parameter.low), abs(parameter.high))
    assert parameter.from_unit(parameter.to_unit(value)) == pytest.approx(value, rel=1e-14, abs=1e-14 * larger)


@given(st.floats(math.log(1e-12), math.log(0.001)))
def test_a_beta_near_1_comes_back_to_the_last_digit_and_so_does_its_averaging_window(gap: float) -> None:
    beta = 1 - math.exp(gap)
    parameter = log_one_minus(0.9, 1 - 1e-13)
    assert parameter.from_unit(parameter.to_unit(beta)) == beta


@given(st.floats(1e-300, 1e-3))
def test_a_beta_near_0_keeps_its_digits(beta: float) -> None:
    parameter = log_one_minus(0, 0.999)
    assert parameter.from_unit(parameter.to_unit(beta)) == pytest.approx(beta, rel=1e-14, abs=0)


@given(LINEAR_RANGES | positive_ranges() | ONE_MINUS_RANGES)
def test_bounds_sit_exactly_at_the_ends(parameter: Parameter) -> None:
    assert (parameter.to_unit(parameter.low), parameter.to_unit(parameter.high)) == (0.0, 1.0)
    assert (parameter.from_unit(0.0), parameter.from_unit(1.0)) == (parameter.low, parameter.high)


@given(LINEAR_RANGES | positive_ranges() | ONE_MINUS_RANGES | INTEGER_RANGES, UNIT, UNIT)
def test_every_place_gives_a_value_in_range_and_a_higher_place_no_lower_value(
    parameter: Parameter, left: float, right: float
) -> None:
    left, right = sorted((left, right))
    assert parameter.low <= parameter.from_unit(left) <= parameter.from_unit(right) <= parameter.high


@given(LINEAR_RANGES | positive_ranges() | ONE_MINUS_RANGES | INTEGER_RANGES)
def test_a_place_a_hair_inside_an_end_gives_no_value_outside_the_range(parameter: Parameter) -> None:
    assert parameter.from_unit(math.nextafter(0, 1)) >= parameter.low
    assert parameter.from_unit(math.nextafter(1, 0)) <= parameter.high


@given(st.data(), INTEGER_RANGES)
def test_a_whole_number_comes_back_exactly_from_the_middle_of_its_cell(
    data: st.DataObject, parameter: Parameter
) -> None:
    value = between(data, parameter)
    back = parameter.from_unit(parameter.to_unit(value))
    assert back == value
    assert isinstance(back, int)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_the_largest_whole_numbers_still_have_a_cell_each(scale: Any) -> None:
    parameter = integer(1, 2**40, scale=scale)
    for value in (1, 2, 2**20 + 1, 2**40 - 1, 2**40):
        assert parameter.from_unit(parameter.to_unit(value)) == value


@given(INTEGER_RANGES)
@example(integer(1, 4, scale="log"))
def test_every_whole_number_is_reached_from_its_own_stretch_of_the_scale(parameter: Parameter) -> None:
    for value in list(range(int(parameter.low), int(parameter.high) + 1))[:50]:
        left, right = parameter.place(value - 0.5), parameter.place(value + 0.5)
        assert parameter.from_unit(left + (right - left) * 0.01) == value
        assert parameter.from_unit(left + (right - left) * 0.99) == value


@given(
    st.lists(st.integers() | st.text().filter(writable) | st.floats(-1e9, 1e9), min_size=1, max_size=20, unique=True)
)
def test_every_option_comes_back_exactly_and_has_an_equal_cell(options: list[Any]) -> None:
    parameter = choice(*options)
    for index, option in enumerate(options):
        assert parameter.to_unit(option) == (index + 0.5) / len(options)
        assert parameter.from_unit(parameter.to_unit(option)) == option
    assert (parameter.from_unit(0.0), parameter.from_unit(1.0)) == (options[0], options[-1])


def test_every_decade_of_the_learning_rate_gets_the_same_share() -> None:
    rng = random.Random(0)
    draws = [log(1e-4, 1.0).from_unit(rng.random()) for _ in range(4000)]
    for decade in range(-4, 0):
        assert sum(10.0**decade <= draw < 10.0 ** (decade + 1) for draw in draws) == pytest.approx(1000, abs=90)


def test_half_of_the_betas_from_0_9_to_0_999_lie_above_0_99() -> None:
    assert log_one_minus(0.9, 0.999).to_unit(0.99) == pytest.approx(0.5, abs=1e-15)


def test_a_place_beyond_an_end_gives_that_end_and_nan_is_refused() -> None:
    for parameter in (log(1e-4, 1.0), integer(50, 100), choice("a", "b")):
        assert parameter.from_unit(-0.1) == parameter.from_unit(0.0)
        assert parameter.from_unit(1.1) == parameter.from_unit(1.0)
        with pytest.raises(SettingsError, match="nan"):
            parameter.from_unit(math.nan)


def mixed() -> Space:
    return Space(
        learning_rate=log(1e-4, 1.0),
        beta=log_one_minus(0.9, 0.999),
        hidden_units=integer(50, 100),
        batch_size=choice(32, 64, 128),
    )


def nested() -> Space:
    """decay_rate under exponential decay under momentum; declared before its parents, to show that order is free."""
    return Space(
        decay_rate=log_one_minus(0.9, 0.99, when={"decay": "exponential"}),
        decay=choice("none", "exponential", when={"optimizer": ("momentum", "rmsprop")}),
        optimizer=choice("momentum", "rmsprop", "adam"),
        learning_rate=log(1e-4, 1.0),
    )


def test_a_point_of_a_space_has_a_coordinate_per_parameter_in_order() -> None:
    params = {"batch_size": 64, "hidden_units": 75, "beta": 0.99, "learning_rate": 0.01}
    assert mixed().to_unit(params) == pytest.approx((0.5, 0.5, 0.5, 0.5))
    assert list(mixed().from_unit((0, 0, 0, 0))) == ["learning_rate", "beta", "hidden_units", "batch_size"]
    with pytest.raises(SettingsError, match="has 4 coordinates"):
        mixed().from_unit((0.5,))


@given(st.tuples(UNIT, UNIT, UNIT, UNIT))
def test_settings_come_back_through_the_unit_cube(point: tuple[float, ...]) -> None:
    for space in (mixed(), nested()):
        params = space.from_unit(point)
        assert space.check(params) == params
        back = space.from_unit(space.to_unit(params))
        assert list(back) == list(params)
        for name, value in params.items():
            assert back[name] == (pytest.approx(value, rel=1e-14) if isinstance(value, float) else value)
        assert tuple(params) == space.active(params)


def test_a_numpy_point_gives_plain_python_values() -> None:
    for params in (mixed().from_unit(np.full(4, 0.3)), mixed().sample(np.random.default_rng(0))):
        assert [type(value) for value in params.values()] == [float, float, int, int]
    assert type(Space(x=linear(0, 1)).from_unit(np.array([0.3]))["x"]) is float


def test_check_gives_each_value_its_own_type() -> None:
    space = Space(x=linear(0, 2), n=integer(1, 9), b=choice(32, 64), flag=choice(True, False))
    checked = space.check({"flag": np.True_, "b": np.int64(64), "n": 3.0, "x": 1})
    assert repr(checked) == "{'x': 1.0, 'n': 3, 'b': 64, 'flag': True}"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"learning_rat": 0.1}, "Did you mean learning_rate?"),
        ({"learning_rate": 2}, "from 0.0001 to 1, got 2.0"),
        ({"learning_rate": "0.1"}, "from 0.0001 to 1, got '0.1'"),
        ({"learning_rate": True}, "from 0.0001 to 1, got True"),
        ({"learning_rate": None}, "learning_rate: must be a number"),
        ({"learning_rate": math.nan}, "from 0.0001 to 1, got nan"),
        ({"learning_rate": 10**400}, "from 0.0001 to 1, got inf"),
        ({"beta": 1.0}, "from 0.9 to 0.999, got 1.0"),
        ({"hidden_units": 64.5}, "got 64.5. Try 64."),
        ({"hidden_units": 101}, "from 50 to 100, got 101"),
        ({"batch_size": 48}, "one of 32, 64, 128, got 48"),
        ({"batch_size": "64"}, "one of 32, 64, 128, got '64'"),
        ({"batch_size": [64]}, "one of 32, 64, 128, got [64]"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    params = {"learning_rate": 0.1, "beta": 0.9, "hidden_units": 64, "batch_size": 64, **change}
    with pytest.raises(SettingsError) as refused:
        mixed().check(params)
    assert sentence in str(refused.value)


def test_a_missing_setting_is_named_with_its_range() -> None:
    with pytest.raises(SettingsError, match=r"^beta is missing. Add beta, from 0.9 to 0.999.$"):
        mixed().check({"learning_rate": 0.1})


def test_true_is_not_taken_for_the_option_1() -> None:
    with pytest.raises(SettingsError, match="got True"):
        Space(n=choice(1, 2)).check({"n": True})


def test_a_child_exists_only_under_its_condition_and_not_under_an_inactive_parent() -> None:
    space = nested()
    assert space.from_unit((0.5, 0.9, 0.9, 0.5)) == {"optimizer": "adam", "learning_rate": pytest.approx(0.01)}
    assert list(space.from_unit((0.5, 0.9, 0.1, 0.5))) == ["decay_rate", "decay", "optimizer", "learning_rate"]
    assert space.active({"optimizer": "adam", "decay": "exponential"}) == ("optimizer", "learning_rate")
    place = space.to_unit({"optimizer": "adam", "learning_rate": 1.0})
    assert [math.isnan(u) for u in place] == [True, True, False, False]


def test_an_inactive_setting_is_refused_and_its_coordinate_ignored() -> None:
    with pytest.raises(
        SettingsError, match="decay exists only when optimizer is 'momentum' or 'rmsprop', got decay='n"
    ):
        nested().check({"optimizer": "adam", "learning_rate": 0.1, "decay": "none"})
    assert nested().from_unit((math.nan, math.nan, 0.9, 1.0)) == {"optimizer": "adam", "learning_rate": 1.0}
    with pytest.raises(SettingsError, match=r"^learning_rate: has no place"):
        nested().from_unit((math.nan, math.nan, 0.9, math.nan))


def test_a_condition_may_hold_on_a_number() -> None:
    space = Space(layers=integer(2, 4), skip=choice(True, False, when={"layers": (3, 4)}))
    assert space.check({"layers": 3, "skip": True}) == {"layers": 3, "skip": True}
    assert space.check({"layers": 2}) == {"layers": 2}


BAD_SPACES: list[tuple[Callable[[], dict[str, Any]], str]] = [
    (dict, "a space needs a parameter, got none. Try Space("),
    (
        lambda: {"learning_rate": log(0, 1)},
        'low must be above 0 on a log scale, got low=0. Try low=1e-6, or scale="linear".',
    ),
    (lambda: {"x": log(-2, -1)}, 'low must be above 0 on a log scale, got low=-2. Try scale="linear".'),
    (lambda: {"n": integer(0, 8, scale="log")}, "low must be above 0 on a log scale, got low=0. Try low=1,"),
    (lambda: {"beta": log_one_minus(0.9, 1)}, "high must be below 1, as 1-high is put on a log scale, got high=1. Try"),
    (lambda: {"beta": log_one_minus(-0.1, 0.9)}, "low must be at least 0 on a 1-β scale, got low=-0.1. Try low=0"),
    (lambda: {"x": linear(2, 1)}, "low must be below high, got low=2.0, high=1.0. Try low=1.0, high=2.0."),
    (lambda: {"x": linear(1, 1)}, "low and high are both 1.0, so there is nothing to search. Try choice(1.0)"),
    (lambda: {"x": linear(0, math.inf)}, "high must be finite, got high=inf. Try the highest value worth training."),
    (lambda: {"x": linear(math.nan, 1)}, "low must be finite, got low=nan. Try the lowest value worth training."),
    (lambda: {"x": linear(False, True)}, "low must be a number, got low=False."),
    (lambda: {"x": log("1e-4", 1)}, "low must be a number, got low='1e-4'."),  # type: ignore[arg-type]
    (lambda: {"x": linear(-1e308, 1e308)}, "low=-1e+308 and high=1e+308 are too far apart"),
    (lambda: {"x": log(1e300, math.nextafter(1e300, math.inf))}, "are too near to place values between"),
    (lambda: {"n": integer(1.5, 8)}, "low must be a whole number, got low=1.5. Try low=2"),  # type: ignore[arg-type]
    (lambda: {"n": integer(0, 2**60)}, "high must lie within ±2**40, got high=1152921504606846976. Try log"),
    (lambda: {"n": integer(1, 9, scale="log_one_minus")}, "a whole number is never between 0 and 1"),  # type: ignore[arg-type]
    (lambda: {"x": Parameter(low=0, high=1, scale="logg")}, "x: scale='logg' is unknown. Did you mean log?"),  # type: ignore[arg-type]
    (lambda: {"x": linear(0, 1, changes="often")}, 'changes must be "live" or "never"'),  # type: ignore[arg-type]
    (lambda: {"x": linear(0, 1, priority="last")}, 'priority must be "first"'),  # type: ignore[arg-type]
    (lambda: {"x": linear(0, 1, when="adam")}, "when must be a mapping, got when='adam'"),  # type: ignore[arg-type]
    (lambda: {"x": choice()}, 'choice has no options, got (). Try choice("relu", "tanh").'),
    (lambda: {"x": choice("a", "b", "a")}, "options must differ, got 'a' twice. Leave one out."),
    (lambda: {"x": choice(1, True)}, "options must differ"),
    (
        lambda: {"x": choice(max)},
        "options are texts, numbers, true, false or None, so that they can be recorded, got <bu",
    ),
    (lambda: {"x": choice(math.nan)}, "options must be finite, got nan."),
    (
        lambda: {"x": [32, 64]},
        "x: a parameter is made with linear, log, log_one_minus, integer or choice, got [32, 64]. Try ch",
    ),
    (lambda: {"x-y": linear(0, 1)}, "'x-y' cannot name a parameter"),
    (lambda: {"_x": linear(0, 1)}, "'_x' cannot name a parameter"),
    (lambda: {"lambda": linear(0, 1)}, "'lambda' cannot name a parameter"),
    (
        lambda: {"optimizer": choice("sgd", "adam"), "x": linear(0, 1, when={"optimiser": "adam"})},
        "x: when speaks of optimiser, which is not in the space. Did you mean optimizer?",
    ),
    (
        lambda: {"optimizer": choice("sgd", "adam"), "x": linear(0, 1, when={"optimizer": "adamw"})},
        "x: when can never hold: optimizer: must be one of 'sgd', 'adam', got 'adamw'.",
    ),
    (
        lambda: {"n": integer(1, 3), "x": linear(0, 1, when={"n": 4})},
        "x: when can never hold: n: must lie from 1 to 3, got 4.",
    ),
    (lambda: {"n": integer(1, 3), "x": linear(0, 1, when={"n": ()})}, "when n has no value to hold."),
    (lambda: {"x": choice(1, 2, when={"x": 1})}, "x: when runs in a circle: x → x."),
    (lambda: {"x": choice(1, 2, when={"y": 1}), "y": choice(1, 2, when={"x": 1})}, "when runs in a circle: x → y → x."),
]


@pytest.mark.parametrize(("parameters", "sentence"), BAD_SPACES, ids=[sentence[:40] for _, sentence in BAD_SPACES])
def test_a_space_that_cannot_be_searched_is_refused_in_a_sentence(
    parameters: Callable[[], dict[str, Any]], sentence: str
) -> None:
    with pytest.raises(SpaceError) as refused:
        Space(**parameters())
    assert sentence in str(refused.value)


def test_a_bad_range_is_refused_without_a_space_too() -> None:
    with pytest.raises(SpaceError, match=r"^low must be above 0"):
        Parameter(low=0, high=1, scale="log").from_unit(0.5)


def test_the_description_of_a_space_goes_through_json_and_is_its_identity() -> None:
    for space in (mixed(), nested(), Space(x=choice(None, True, "a", 0.1), n=integer(1, 8, scale="log"))):
        described = json.loads(json.dumps(space.to_dict(), sort_keys=True, allow_nan=False))
        assert Space.from_dict(described) == space
        assert Space.from_dict(described).to_dict() == space.to_dict()
        assert pickle.loads(pickle.dumps(space)) == space


def test_spaces_differ_by_order_bounds_and_conditions_but_not_by_comments() -> None:
    x, y = linear(0, 1), linear(0, 2)
    assert Space(x=x, y=y) == Space(x=linear(0.0, 1.0, why="to see", priority="first"), y=y)
    assert Space(x=x, y=y) != Space(y=y, x=x)
    assert Space(x=x) != Space(x=y)
    assert Space(x=x, n=integer(1, 2)) != Space(x=linear(0, 1, when={"n": 1}), n=integer(1, 2))


def test_a_description_that_is_none_is_refused() -> None:
    bad: list[dict[str, Any]] = [{}, {"parameters": {"x": {}}}, {"parameters": [{"low": 1}]}]
    for described in bad:
        with pytest.raises(SpaceError, match="list of parameters"):
            Space.from_dict(described)


def test_a_space_is_a_mapping_that_shows_how_it_is_written() -> None:
    space = nested()
    assert (len(space), space.names[1], "decay" in space, space["decay"].name) == (4, "decay", True, "decay")
    assert space.one_minus_names == ("decay_rate",)
    assert repr(mixed()) == (
        "Space(learning_rate=log(0.0001, 1.0), beta=log_one_minus(0.9, 0.999), "
        "hidden_units=integer(50, 100), batch_size=choice(32, 64, 128))"
    )
    for written in (space, Space(n=integer(1, 8, scale="log", changes="live"), x=choice(1, 2, when={"n": 3}))):
        assert eval(repr(written)) == written


def test_floats_change_live_and_structure_never_unless_told() -> None:
    assert [parameter.changes for parameter in mixed().values()] == ["live", "live", "never", "never"]
    assert choice(1, 2, changes="live").changes == "live"


TOML = """
[learning_rate]
scale = "log"
low = 1e-4
high = 1
priority = "first"
why = "it matters most"

[layers]
type = "integer"
low = 2
high = 4

[optimizer]
choice = ["momentum", "adam"]
changes = "live"

[beta]
scale = "log_one_minus"
low = 0.9
high = 0.999
when = { optimizer = "momentum", layers = [2, 3] }
"""


def test_a_space_is_written_in_toml() -> None:
    space = Space.from_toml(TOML)
    assert space == Space(
        learning_rate=log(1e-4, 1.0),
        layers=integer(2, 4),
        optimizer=choice("momentum", "adam", changes="live"),
        beta=log_one_minus(0.9, 0.999, when={"optimizer": "momentum", "layers": (2, 3)}),
    )
    assert (space["learning_rate"].priority, space["learning_rate"].why) == ("first", "it matters most")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[x]\nlow = = 1", "space.toml is not TOML: Invalid value (at line 2, column 7)."),
        ("", "space.toml: a space needs a parameter"),
        ("x = 0.1", "space.toml: x: a parameter is a table, got 0.1. Try [x] with scale, low and high."),
        ('[x]\nscale = "log"\nlow = 0\nhigh = 1', "space.toml: x: low must be above 0 on a log scale"),
        ('[x]\nscal = "log"\nlow = 1\nhigh = 2', "space.toml: x: key 'scal' is unknown here. Did you mean scale?"),
        ('[x]\nscale = "lgo"\nlow = 1\nhigh = 2', "space.toml: x: scale='lgo' is unknown. Did you mean log?"),
        ("[x]\nlow = 1\nhigh = 2", 'space.toml: x: scale is missing. Add scale = "log"'),
        ('[x]\nscale = "log"\nlow = 1', "space.toml: x: high is missing. Add high = 1.0"),
        ('[x]\ntype = "int"\nscale = "log"\nlow = 1\nhigh = 2', "space.toml: x: type='int' is unknown."),
        ('[x]\nscale = "integer"\nlow = 1\nhigh = 9', "space.toml: x: a whole number is a type and not a scale"),
        ("[x]\nmin = 1\nmax = 2", "space.toml: x: key 'min' is unknown here. Did you mean low?"),
        ("[x]\nchoice = [1, 2]\nlow = 1", "space.toml: x: key 'low' is unknown here."),
        ("[x]\nchoice = []", "space.toml: x: choice has no options"),
        ("[x]\nchoice = [1]\nwhy = 2", "space.toml: x: why must be a text"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_the_place(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(SpaceError) as refused:
        Space.load(path)
    assert sentence in str(refused.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpaceError, match="cannot be read"):
        Space.load(path)


def test_a_preview_shows_what_is_drawn_on_the_parameters_own_scale() -> None:
    assert [label for label, _ in preview(log(1e-4, 1.0))] == [
        "0.0001 to 0.001",
        "0.001 to 0.01",
        "0.01 to 0.1",
        "0.1 to 1",
    ]
    shares = dict(preview(log_one_minus(0.9, 0.999)))
    assert shares == pytest.approx({"0.9 to 0.99": 0.5, "0.99 to 0.999": 0.5})
    assert dict(preview(integer(2, 4))) == pytest.approx({"2": 1 / 3, "3": 1 / 3, "4": 1 / 3})
    assert preview(choice("relu", "tanh")) == [("relu", 0.5), ("tanh", 0.5)]


@given(LINEAR_RANGES | positive_ranges() | ONE_MINUS_RANGES | INTEGER_RANGES)
def test_a_preview_covers_everything_once_in_few_lines(parameter: Parameter) -> None:
    lines = preview(parameter)
    assert sum(share for _, share in lines) == pytest.approx(1)
    assert all(share > 0 for _, share in lines)
    assert len(lines) <= 20
