from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tuner.errors import TrainingError
from tuner.worker.run import Run
from tuner.worker.state import FolderState, State


class Stage:
    """A control that keeps what it is told, and ends the run after so many steps."""

    def __init__(self, *, ends_after: int | None = None, resumes_at: int = 0) -> None:
        self.reports: list[tuple[int, dict[str, float]]] = []
        self.asked: list[int] = []
        self.then: Callable[[int], object] = lambda _: None
        self._ends_after, self._resumes_at = ends_after, resumes_at

    def report(self, step: int, scores: dict[str, float]) -> None:
        self.reports.append((step, scores))

    def register(self, state: State) -> int:
        self.state = state
        return self._resumes_at

    def between(self, done: int) -> str | None:
        self.asked.append(done)
        self.then(done)
        return "enough" if self._ends_after is not None and done >= self._ends_after else None


class Weights:
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def steps_reported(run: Run) -> list[int]:
    return [report.step for report in run.reports]


# ── a bare run, in a notebook ───────────────────────────────────────────────────────────────────


def test_steps_count_like_range() -> None:
    assert list(Run({}).steps(5)) == list(range(5))
    assert list(Run({}).steps(0)) == []


def test_a_report_inside_the_step_that_begins_at_k_counts_for_step_k_plus_1() -> None:
    run = Run({})
    for _ in run.steps(3):
        run.report(loss=1.0)
    assert steps_reported(run) == [1, 2, 3]
    assert run.done == 3
    assert run.ended is None


def test_a_report_after_the_loop_counts_for_the_last_step() -> None:
    run = Run({})
    for _ in run.steps(3):
        pass
    run.report(test_loss=1.0)
    assert steps_reported(run) == [3]


def reported(run: Run) -> bool:
    """Reports within a comprehension."""
    run.report(loss=1.0)
    return True


def test_a_report_before_the_loop_takes_no_step_away() -> None:
    run = Run({})
    run.report(loss=9.0)
    assert [k for k in run.steps(3) if reported(run)] == [0, 1, 2]
    assert steps_reported(run) == [1, 1, 2, 3]
    assert run.done == 3


def test_without_a_loop_every_report_is_a_step() -> None:
    run = Run({})
    for loss in (3.0, 2.0, 1.0):
        run.report(loss=loss)
    assert steps_reported(run) == [1, 2, 3]
    assert run.done == 3


def test_several_reports_in_one_step_carry_its_number() -> None:
    run = Run({})
    for _ in run.steps(2):
        run.report(loss=1.0)
        run.report(accuracy=0.5)
    assert steps_reported(run) == [1, 1, 2, 2]


def test_a_second_loop_goes_on_where_the_first_ended() -> None:
    run = Run({})
    first = [run.done for _ in run.steps(5) if reported(run)]
    second = list(run.steps(10))
    assert (first, second) == ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])
    assert run.done == 10


def test_a_loop_that_is_left_by_break_counts_the_step_it_was_in() -> None:
    run = Run({})
    for step in run.steps(10):
        run.report(loss=1.0)
        if step == 3:
            break
    run.report(final=1.0)
    assert steps_reported(run) == [1, 2, 3, 4, 4]
    assert list(run.steps(6)) == [4, 5]


def test_a_loop_inside_a_loop_never_counts_a_step_twice() -> None:
    run = Run({})
    outer = [(step, list(run.steps(4))) for step in run.steps(2)]
    assert outer == [(0, [1, 2, 3])]
    assert run.done == 4


def test_step_is_the_primitive_under_steps() -> None:
    one, other = Stage(ends_after=4), Stage(ends_after=4)
    loop, owned = Run({}, control=one), Run({}, control=other)
    for _ in loop.steps(9):
        loop.report(loss=0.0)
    while owned.step():
        owned.report(loss=0.0)
    assert one.reports == other.reports
    assert one.asked == other.asked == [0, 1, 2, 3, 4]
    assert loop.ended == owned.ended == "enough"


def test_an_exception_leaves_the_run_as_it_was() -> None:
    def train(run: Run) -> None:
        for step in run.steps(5):
            run.report(loss=1 / (2 - step))

    run = Run({})
    with pytest.raises(ZeroDivisionError):
        train(run)
    assert steps_reported(run) == [1, 2]
    assert run.done == 2


# ── scores ──────────────────────────────────────────────────────────────────────────────────────


def test_scores_may_be_numpy_scalars_integers_booleans_or_anything_with_a_float() -> None:
    class Tensor:
        def __float__(self) -> float:
            return 0.25

    run = Run({})
    run.report(a=np.float32(0.5), b=3, c=True, d=Tensor(), e=np.array(2.0), f=float("nan"))
    scores = run.reports[0].scores
    assert {name: value for name, value in scores.items() if name != "f"} == {
        "a": 0.5,
        "b": 3.0,
        "c": 1.0,
        "d": 0.25,
        "e": 2.0,
    }
    assert scores["f"] != scores["f"]
    assert all(type(value) is float for value in scores.values())


@pytest.mark.parametrize("value", ["high", None, [0.1, 0.2], np.ones(3), 1j, np.complex64(1)])
def test_what_is_not_one_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(TrainingError, match=r"dev_loss .*got \w+"):
        Run({}).report(dev_loss=value)


def test_a_report_of_nothing_is_refused() -> None:
    with pytest.raises(TrainingError, match="needs scores by name"):
        Run({}).report()


# ── the state ───────────────────────────────────────────────────────────────────────────────────


def test_a_resumed_run_takes_only_the_steps_that_are_missing() -> None:
    stage = Stage(resumes_at=7)
    run = Run({}, control=stage)
    run.state(Weights())
    assert run.done == 7
    assert list(run.steps(5)) == []  # a first loop that was over already
    assert list(run.steps(10)) == [7, 8, 9]
    assert stage.asked == [7, 8, 9, 10]


def test_a_resumed_function_without_a_loop_counts_on() -> None:
    run = Run({}, control=Stage(resumes_at=7))
    run.state(Weights())
    run.report(loss=1.0)
    assert run.done == 8


def test_state_after_the_first_step_is_refused() -> None:
    run = Run({})
    run.step()
    with pytest.raises(TrainingError, match="before the first step"):
        run.state(Weights())


@pytest.mark.parametrize("arguments", [{"save": print}, {"load": print}])
def test_half_a_pair_of_functions_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match="both save= and load="):
        Run({}).state(**arguments)


def test_objects_and_functions_together_are_refused() -> None:
    with pytest.raises(TrainingError, match="or both save= and load="):
        Run({}).state(Weights(), save=print, load=print)


def test_an_object_that_cannot_be_saved_is_refused_by_its_type() -> None:
    with pytest.raises(TrainingError, match="list"):
        Run({}).state([1, 2, 3])


def test_nothing_at_all_is_no_state() -> None:
    with pytest.raises(TrainingError):
        Run({}).state()


def test_a_pair_of_functions_of_a_folder_is_a_state() -> None:
    stage = Stage()
    run = Run({}, control=stage)
    run.state(save=lambda folder: (folder / "w").write_text("1"), load=lambda folder: (folder / "w").read_text())
    assert isinstance(stage.state, FolderState)


# ── who controls a run ────────────────────────────────────────────────────────────────────────────


def test_an_ended_run_takes_no_further_step_and_says_why() -> None:
    run = Run({}, control=Stage(ends_after=3))
    assert list(run.steps(10)) == [0, 1, 2]
    assert run.ended == "enough"
    assert list(run.steps(10)) == []
    assert not run.step()


def test_the_last_step_is_asked_about_too() -> None:
    stage = Stage()
    list(Run({}, control=stage).steps(3))
    assert stage.asked == [0, 1, 2, 3]


def test_a_run_set_back_between_two_steps_repeats_them() -> None:
    stage = Stage()
    run = Run({}, control=stage)
    again = iter([2])
    stage.then = lambda done: run.rewind(next(again, done)) if done == 4 else None
    assert list(run.steps(6)) == [0, 1, 2, 3, 2, 3, 4, 5]


def test_a_run_set_back_after_its_last_step_repeats_it() -> None:
    stage = Stage()
    run = Run({}, control=stage)
    again = iter([1])
    stage.then = lambda done: run.rewind(next(again, done)) if done == 3 else None
    assert list(run.steps(3)) == [0, 1, 2, 1, 2]


def test_an_extended_run_goes_on_for_longer_than_the_function_asks() -> None:
    stage = Stage()
    run = Run({}, control=stage)
    stage.then = lambda done: run.extend(2) if done == 3 else None
    assert list(run.steps(3)) == [0, 1, 2, 3, 4]


def test_params_are_read_live() -> None:
    stage = Stage()
    run = Run({"rate": 1.0}, control=stage)

    def halve(done: int) -> None:
        run.params = {"rate": run.params["rate"] / 2}

    stage.then = halve
    assert [run.params["rate"] for _ in run.steps(3)] == [0.5, 0.25, 0.125]


def test_the_seed_is_the_one_given() -> None:
    assert Run({}, seed=7).seed == 7
    assert Run({}).seed == 0


def test_the_earlier_name_of_the_control_still_works_and_says_so() -> None:
    stage = Stage(ends_after=3)
    with pytest.warns(DeprecationWarning, match="control") as warned:
        run = Run({}, desk=stage)

    assert warned[0].filename == __file__
    list(run.steps(10))
    assert run.ended


def test_a_run_that_is_given_a_control_under_both_its_names_is_refused() -> None:
    with pytest.raises(TrainingError, match="control= and desk="):
        Run({}, control=Stage(), desk=Stage())
