from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweeping import usually

import tuner
from tuner import Run, Space, choice, integer, linear
from tuner.caviar.combinations import Combinations

SIX = Space(a=choice("x", "y"), b=integer(1, 3))
CONDITIONAL = Space(kind=choice("plain", "decayed"), every=integer(1, 3, when={"kind": "decayed"}))


def training(run: Run) -> None:
    for step in run.steps(2):
        run.report(score=float(len(str(run.params))) + step)


sweep = usually(training, SIX, stopping="off")


def settings(study: tuner.Study) -> int:
    return len(study.trials.filter(like="params.").astype(str).drop_duplicates())


@pytest.mark.parametrize("sampler", ["coarse_to_fine", "random", "sobol"])
@pytest.mark.parametrize(("space", "count"), [(SIX, 6), (CONDITIONAL, 4)])
def test_what_was_not_tried_comes_first_where_there_are_few_combinations(
    tmp_path: Path, sampler: str, space: Space, count: int
) -> None:
    study = sweep(tmp_path, space=space, sampler=sampler, trials=count)
    assert (len(study.trials), settings(study)) == (count, count)
    assert study.trials["why"].notna().all()


@pytest.mark.parametrize("more", [{}, {"parallel": 3, "sampler": "random"}, {"stopping": "auto"}])
def test_a_sweep_ends_once_all_combinations_have_been_tried(tmp_path: Path, more: dict[str, Any]) -> None:
    study = sweep(tmp_path, trials=20, start={"a": "y", "b": 2}, **more)
    assert (len(study.trials), settings(study)) == (6, 6)


def test_a_sweep_that_goes_on_leaves_out_what_it_has_tried(tmp_path: Path) -> None:
    sweep(tmp_path, trials=3).close()
    study = sweep(tmp_path, trials=6)
    assert (len(study.trials), settings(study)) == (6, 6)


def test_settings_that_differ_in_what_does_not_exist_are_one() -> None:
    few = Combinations.of(CONDITIONAL)
    assert few is not None
    assert few.count == 4
    few.strike({"kind": "plain"})
    point = few.nearest((0.25, 0.5))
    assert point is not None
    assert CONDITIONAL.from_unit(point) == {"kind": "decayed", "every": 2}


def test_a_space_with_a_number_that_is_not_whole_has_no_end() -> None:
    assert Combinations.of(Space(a=choice(1, 2), b=linear(0.0, 1.0))) is None
    assert Combinations.of(Space(a=integer(1, 10**9))) is None


@given(places=st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)), min_size=7, max_size=7))
def test_whatever_is_drawn_each_combination_is_tried_once(places: list[tuple[float, float]]) -> None:
    few, tried = Combinations(SIX), []
    for place in places:
        if (point := few.nearest(place)) is not None:
            tried.append(SIX.from_unit(point))
            few.strike(tried[-1])
    assert len({str(each) for each in tried}) == len(tried) == 6
