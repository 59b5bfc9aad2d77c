"""What a grid tries, and when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweeping import usually

from tuner.errors import SettingsError
from tuner.samplers import GridSampler
from tuner.space.constructors import choice, integer, linear, log
from tuner.space.space import Space
from tuner.worker.run import Run


def everything(space: Space, points: int, seed: int = 0) -> list[dict[str, Any]]:
    sampler = GridSampler(points=points)
    found: list[dict[str, Any]] = []
    while (proposal := sampler.propose(space, seed, len(found), [], [])) is not None:
        found.append(space.from_unit(proposal.point))
    return found


def test_a_grid_tries_every_combination_once_and_is_done() -> None:
    space = Space(rate=log(1e-4, 1.0), layers=integer(2, 4), kind=choice("relu", "tanh"))
    found = everything(space, points=5)
    assert len(found) == 5 * 3 * 2
    assert len({tuple(params.items()) for params in found}) == 30
    assert sorted({params["rate"] for params in found}) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert {params["layers"] for params in found} == {2, 3, 4}


def test_of_many_whole_numbers_a_few_are_tried_with_both_ends() -> None:
    assert sorted(params["units"] for params in everything(Space(units=integer(50, 100)), 3)) == [50, 75, 100]


def test_settings_that_differ_only_in_parameters_that_do_not_exist_are_tried_once() -> None:
    space = Space(decay=choice("none", "exponential"), rate=linear(0.0, 1.0, when={"decay": "exponential"}))
    found = everything(space, points=4)
    assert len(found) == 1 + 4
    assert found.count({"decay": "none"}) == 1


def test_the_order_is_the_seeds() -> None:
    space = Space(x=linear(0.0, 1.0), y=linear(0.0, 1.0))
    one, other = everything(space, 4, seed=1), everything(space, 4, seed=2)
    assert one != other
    assert sorted(map(str, one)) == sorted(map(str, other))


def test_a_grid_too_large_to_train_is_refused() -> None:
    space = Space(**{f"x{k}": linear(0.0, 1.0) for k in range(12)})
    with pytest.raises(SettingsError, match=r"244,140,625 trials.*Try sampler=\"sobol\""):
        GridSampler().propose(space, 0, 0, [], [])


@pytest.mark.parametrize("points", [1, 2.5, True])
def test_points_is_a_whole_number_from_two(points: Any) -> None:
    with pytest.raises(SettingsError, match=r"points .*whole number"):
        GridSampler(points=points)


def test_settings_to_start_with_take_no_place_of_the_grid(tmp_path: Path) -> None:
    space = Space(a=choice("x", "y"), b=choice(1, 2, 3))
    study = usually(space=space)(tmp_path, bowl_of_nothing, sampler="grid", trials=8, start=[{"a": "x", "b": 1}] * 2)
    assert len(study.trials) == 8
    assert len(study.trials[["params.a", "params.b"]].astype(str).drop_duplicates()) == 6


def bowl_of_nothing(run: Run) -> None:
    for _ in run.steps(2):
        run.report(score=1.0)
