"""What people do with a babysat run: begin, steer, go back, extend, fork, compare, come back to it."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from babysat import at_home, end_all, state_of, steps_of
from rich.console import Console
from waiting import PATIENCE_S, wait_until

import tuner
from tuner import Space, integer, log
from tuner.api.handles import RunHandle
from tuner.cli import pages
from tuner.errors import IdentityMismatch, SettingsError, StudyError
from tuner.record.trial import Segment
from tuner.views.logbook import logbook
from tuner.worker.run import Run

SPACE = Space(rate=log(1e-3, 10.0), units=integer(1, 9))
START = {"rate": 1.0, "units": 3}


class Sum:
    def __init__(self) -> None:
        self.total = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.total = state["total"]


def adds(run: Run, steps: int = 100) -> None:
    each = Sum()
    run.state(each)
    for _ in run.steps(steps):
        each.total += run.params["rate"]
        run.report(total=each.total, rate=run.params["rate"])
        time.sleep(0.002)


def adds_on(run: Run) -> None:
    adds(run, 1_000_000)


class Patience:
    """Training of 100 steps that waits for a test: slow until `over`, so that what is asked of it comes in time."""

    def __init__(self, folder: Path) -> None:
        self._over = folder / "patience-is-over"

    def __call__(self, run: Run) -> None:
        each = Sum()
        run.state(each)
        for _ in run.steps(100):
            each.total += run.params["rate"]
            run.report(total=each.total, rate=run.params["rate"])
            time.sleep(0.002 if self._over.exists() else 0.2)

    def over(self) -> None:
        self._over.touch()


def carries(run: Run) -> None:
    """Keeps its sum outside the state, and looks into the state once, when it begins."""
    each = Sum()
    run.state(each)
    carried = each.total
    for _ in run.steps(1_000_000):
        carried = each.total = carried + run.params["rate"]
        run.report(total=carried)
        time.sleep(0.002)


def rises_or_falls(run: Run) -> None:
    """Gets better at a rate of 1, and ever worse above it."""
    each = Sum()
    run.state(each)
    for _ in run.steps(300):
        each.total += 0.01 if run.params["rate"] <= 1.0 else -0.2
        run.report(total=each.total)
        time.sleep(0.01)


def breaks_above_one(run: Run) -> None:
    each = Sum()
    run.state(each)
    for step in run.steps(1_000_000):
        each.total += 1.0
        run.report(total=float("nan") if run.params["rate"] > 1.0 and step > 25 else each.total)
        time.sleep(0.005)


def settles(run: Run) -> None:
    """Gets to 0.9 within some fifty steps, and stays there."""
    noise = random.Random(run.seed)
    for step in run.steps(300):
        run.report(total=0.9 * (1 - math.exp(-step / 10)) + noise.gauss(0.0, 0.002))
        time.sleep(0.01)


Babysit = Callable[..., RunHandle]


@pytest.fixture
def patience(tmp_path: Path) -> Patience:
    return Patience(tmp_path)


@pytest.fixture
def babysit(tmp_path: Path) -> Iterator[Babysit]:
    """`tuner.babysit`, with coordinators on threads of this process."""
    with at_home(tmp_path / "results"):
        yield beginning(tmp_path / "results")


@pytest.fixture
def babysit_apart(tmp_path: Path) -> Iterator[Babysit]:
    """`tuner.babysit` as people use it; the coordinators it started are gone in the end."""
    yield beginning(tmp_path / "results")
    end_all(tmp_path / "results")


def beginning(results: Path) -> Babysit:
    def begin(train: Any = adds_on, params: Any = START, **options: Any) -> RunHandle:
        given = {"executor": "local", "objective": "total", "name": "one", "results": results, **options}
        return tuner.babysit(train, params, **given)

    return begin


def segments(handle: RunHandle) -> list[Segment]:
    study = handle.study
    study.close()
    return list(study.state.trials[0].segments)


def curve(handle: RunHandle) -> dict[int, float]:
    study = handle.study
    found = study.curve(0)
    pairs = dict(zip(found.steps, found.scores, strict=True))
    study.close()
    return pairs


# ── beginning ───────────────────────────────────────────────────────────────────────────────────


def test_a_run_trains_to_its_end_in_a_process_of_its_own(babysit_apart: Babysit) -> None:
    handle = babysit_apart(adds)
    holder = handle._store.holder(time.time())
    assert holder is not None
    assert holder[1] != os.getpid()
    study = handle.wait(PATIENCE_S)
    trial = study.state.trials[0]
    assert (trial.state, trial.steps, trial.best_score) == ("completed", 100, 100.0)
    assert study.best_params == START


def test_a_start_is_drawn_from_the_space_where_none_is_given(babysit: Babysit) -> None:
    study = babysit(adds, None, space=SPACE, seed=3).wait(PATIENCE_S)
    again = babysit(adds, None, space=SPACE, seed=3, name="two").wait(PATIENCE_S)
    assert study.state.trials[0].params == again.state.trials[0].params
    assert SPACE.check(dict(study.state.trials[0].params))


def test_what_the_settings_leave_open_is_drawn_too(babysit: Babysit) -> None:
    params = babysit(adds, {"rate": 2.0}, space=SPACE).wait(PATIENCE_S).state.trials[0].params
    assert params["rate"] == 2.0
    assert 1 <= params["units"] <= 9


def test_without_settings_and_space_there_is_nothing_to_begin_with(babysit: Babysit) -> None:
    with pytest.raises(SettingsError, match="settings to begin with"):
        babysit(adds, None)


def test_settings_outside_the_space_are_refused_before_anything_starts(babysit: Babysit, tmp_path: Path) -> None:
    with pytest.raises(tuner.TunerError, match="rate"):
        babysit(adds, {"rate": 100.0}, space=SPACE)
    assert not (tmp_path / "results" / "one").exists()


def test_the_same_name_attaches_to_the_run_that_is_there(babysit: Babysit) -> None:
    first = babysit()
    wait_until(lambda: steps_of(first) > 5)
    second = babysit()
    assert second.set(rate=2.0).state == "applied"
    assert [each.cause for each in segments(first)] == ["start", "adjust"]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"params": {"rate": 5.0, "units": 3}}, r"rate=1\.0.*set\(rate=5\.0\)"),
        ({"objective": "loss"}, "another objective.*'loss'"),
        ({"goal": "minimize"}, "another goal"),
        ({"space": SPACE}, "another space"),
        ({"seed": 5}, "another seed"),
        ({"train": carries}, "another training function: .*:carries"),
    ],
)
def test_the_same_name_for_another_run_is_refused(babysit: Babysit, other: dict[str, Any], told: str) -> None:
    babysit()
    with pytest.raises(IdentityMismatch, match=told):
        babysit(other.pop("train", adds_on), other.pop("params", START), **other)


def test_a_sweep_of_that_name_is_no_run(babysit: Babysit, tmp_path: Path) -> None:
    tuner.sweep(
        adds,
        SPACE,
        name="night",
        objective="total",
        trials=1,
        executor="local",
        results=tmp_path / "results",
        progress="off",
    ).close()
    with pytest.raises(StudyError, match="no babysat run"):
        babysit(adds, name="night")


def test_a_function_that_fails_at_once_says_why_and_keeps_its_traceback(babysit: Babysit) -> None:
    def breaks(run: Run) -> None:
        raise ZeroDivisionError("by nothing")

    study = babysit(breaks).wait(PATIENCE_S)
    assert (study.state.trials[0].state, study.state.trials[0].why) == ("failed", "ZeroDivisionError: by nothing")
    assert "in breaks" in study.traceback(0)


def test_a_function_that_cannot_be_found_is_refused_before_anything_starts(babysit: Babysit) -> None:
    with pytest.raises(tuner.TunerError, match="no module named 'nowhere'"):
        babysit("nowhere:train")


# ── steering ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", ["time_based", "exponential", "square_root", "staircase", "cosine"])
def test_every_shape_of_schedule_is_followed_step_by_step(babysit: Babysit, patience: Patience, shape: str) -> None:
    handle = babysit(patience)
    settings: dict[str, Any] = {"over": 50} if shape == "cosine" else {}
    reply = handle.schedule("rate", shape, **settings)
    patience.over()
    study = handle.wait(PATIENCE_S)
    trial = study.state.trials[0]
    frame = study.reports
    rates = dict(frame[frame["name"] == "rate"][["step", "value"]].itertuples(index=False, name=None))
    assert reply.step is not None
    assert reply.detail.startswith(f"rate from 1 on, {shape} ")
    assert rates[reply.step + 1] == 1.0
    for step in range(reply.step, 100):
        assert rates[step + 1] == trial.recipe.at(step)["rate"]
    assert rates[100] < 1.0


def test_set_under_a_schedule_means_the_value_now_and_its_shape_goes_on(babysit: Babysit, patience: Patience) -> None:
    handle = babysit(patience)
    handle.schedule("rate", "exponential", rate=0.9)
    reply = handle.set(rate=4.0)
    patience.over()
    study = handle.wait(PATIENCE_S)
    frame = study.reports
    rates = dict(frame[frame["name"] == "rate"][["step", "value"]].itertuples(index=False, name=None))
    assert reply.step is not None
    assert rates[reply.step + 1] == pytest.approx(4.0)
    assert rates[reply.step + 3] == pytest.approx(4.0 * 0.9**2)


def test_a_paused_run_stands_still_takes_single_steps_and_goes_on(babysit: Babysit) -> None:
    handle = babysit()
    stood = handle.pause(why="to think")
    assert (state_of(handle), steps_of(handle)) == ("paused", stood.step)
    assert handle.step(3).step == (stood.step or 0) + 3
    assert handle.set(rate=2.0).step == (stood.step or 0) + 3
    assert handle.resume().state == "applied"
    wait_until(lambda: steps_of(handle) > (stood.step or 0) + 10)
    values = curve(handle)
    assert values[(stood.step or 0) + 4] - values[(stood.step or 0) + 3] == 2.0


def test_a_run_that_was_released_goes_on_from_its_checkpoint_when_resumed(babysit: Babysit) -> None:
    handle = babysit()
    wait_until(lambda: steps_of(handle) > 0)  # what is released before its first report has no value to compare
    released = handle.pause(release=True, why="the machine is needed")
    assert released.state == "applied"
    wait_until(lambda: state_of(handle) == "paused")
    later = handle.set(rate=2.0)
    assert later.state == "accepted"
    assert "resumed" in later.detail
    assert handle.pause().detail == "it stood still already"
    assert handle.resume().state == "applied"
    wait_until(lambda: steps_of(handle) > (released.step or 0) + 10)
    assert state_of(handle) == "running"
    assert [each.cause for each in segments(handle)] == ["start", "thaw", "adjust"]
    values = curve(handle)
    assert values[released.step or 0] == released.step
    assert values[max(values)] - values[max(values) - 1] == 2.0


def test_a_released_run_can_be_set_back_and_stepped_and_stopped(babysit: Babysit) -> None:
    handle = babysit()
    saved = handle.checkpoint().step
    handle.set(rate=3.0)
    handle.pause(release=True)
    wait_until(lambda: state_of(handle) == "paused")
    assert handle.revert(step=saved).step == saved
    assert state_of(handle) == "paused"
    assert handle.step(2).step == (saved or 0) + 2
    handle.pause(release=True)
    assert handle.stop(why="enough").state == "applied"
    study = handle.wait(PATIENCE_S)
    assert (study.state.trials[0].state, study.state.trials[0].why) == ("stopped", "enough")


def test_what_is_planned_and_overtaken_says_so(babysit: Babysit) -> None:
    handle = babysit()
    planned = handle.set(rate=5.0, at=500_000)
    handle.stop()
    study = handle.wait(PATIENCE_S)
    states = dict(zip(study.requests["request"], study.requests["state"], strict=True))
    assert states[planned.request] == "expired"


def test_notes_and_reasons_are_kept(babysit: Babysit) -> None:
    handle = babysit()
    handle.note("day 2")
    handle.set(rate=2.0, why="slow")
    handle.stop(why="done")
    study = handle.wait(PATIENCE_S)
    assert study.notes.query("by != 'tuner'")["text"].tolist() == ["day 2"]
    assert study.segments["why"].tolist() == ["the settings given", "slow"]
    assert study.state.trials[0].why == "done"


# ── going back ──────────────────────────────────────────────────────────────────────────────────


def test_revert_without_a_step_goes_to_the_moment_before_the_last_adjustment(babysit: Babysit) -> None:
    handle = babysit()
    handle.set(rate=2.0)
    second = handle.set(rate=3.0)
    wait_until(lambda: steps_of(handle) > (second.step or 0) + 5)
    assert handle.revert().step == second.step
    handle.stop()
    handle.wait(PATIENCE_S)
    values = curve(handle)
    assert values[max(values)] - values[max(values) - 1] == 2.0, "the settings of that time come back with it"


def test_revert_may_keep_the_settings_of_now(babysit: Babysit) -> None:
    handle = babysit()
    changed = handle.set(rate=3.0)
    handle.revert(keep_settings=True)
    wait_until(lambda: steps_of(handle) > (changed.step or 0) + 5)
    handle.stop()
    handle.wait(PATIENCE_S)
    values = curve(handle)
    assert values[max(values)] - values[max(values) - 1] == 3.0


@pytest.mark.long
def test_the_supervisor_says_once_what_went_wrong_and_forgets_it_once_the_run_went_back(babysit: Babysit) -> None:
    handle = babysit(rises_or_falls)
    handle.set(rate=5.0, at=100)
    handle.wait(PATIENCE_S).close()
    (said,) = [text for text in advice(handle) if "diverged" in text]
    assert "tuner revert one --step 100" in said
    assert handle.revert().state == "applied"
    handle.wait(PATIENCE_S).close()
    assert sum("diverged" in text for text in advice(handle)) == 1


def test_a_divergence_that_was_set_back_is_not_taken_up_again_by_undo(babysit: Babysit) -> None:
    handle = babysit(breaks_above_one)
    handle.set(rate=5.0, at=20)
    handle.wait(PATIENCE_S).close()
    assert state_of(handle) == "diverged"
    assert handle.revert().state == "applied"
    with pytest.raises(StudyError, match="given up after step 20"):
        handle.undo()
    handle.stop()


def test_a_change_for_a_step_to_come_is_shown_until_then_and_told_of_if_it_never_came(babysit: Babysit) -> None:
    handle = babysit(adds_on, space=SPACE)
    assert handle.set(rate=2.0, at=900_000, why="when it is warm").detail == "takes effect at step 900000"
    assert "beyond the 1000000" in handle.set(rate=3.0, at=2_000_000).detail
    console = Console(width=120)
    with closing(handle.study) as study, console.capture() as shown:
        console.print(pages.run(study, running=True))
    assert "step 900000, to come" in shown.get()
    assert "set by " in shown.get()
    handle.stop()
    with closing(handle.wait(PATIENCE_S)) as study:
        story = logbook(study)
    assert story.count("which never took effect") == 2


def test_a_schedule_stays_within_the_space(babysit: Babysit) -> None:
    handle = babysit(adds_on, space=SPACE)
    with pytest.raises(StudyError, match=r"from 0.001 to 10, got 99"):
        handle.schedule("rate", "cosine", over=10, floor=99)
    handle.schedule("rate", "exponential", rate=0.5)
    wait_until(lambda: steps_of(handle) > 60)
    handle.stop()
    with closing(handle.wait(PATIENCE_S)) as study:
        rates = study.reports.query("name == 'rate'")["value"]
    assert rates.min() == rates.iloc[-1] == 0.001


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"level": "loud"}, "level .*'loud'"),
        ({"executor": "slurm"}, "executor .*'slurm'"),
        ({"goal": "up"}, "goal .*'up'"),
        ({"revert": "sideways"}, "revert .*'sideways'"),
        ({"params": "rate=0.5"}, "params .*mapping.*'rate=0.5'"),
    ],
)
def test_words_that_babysit_does_not_know_are_refused_before_anything_starts(
    babysit: Babysit, tmp_path: Path, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        babysit(**given)
    assert not (tmp_path / "results" / "one").exists()


def test_an_objective_that_is_never_reported_is_asked_for_after_twenty_steps(babysit: Babysit) -> None:
    handle = babysit(adds_on, objective="totl")
    wait_until(lambda: steps_of(handle) > 40)
    handle.stop()
    with closing(handle.wait(PATIENCE_S)) as study:
        (said,) = [text for text in study.notes["text"] if "was reported" in text]
    assert "no 'totl' was reported in 20 steps" in said
    assert said.endswith("Did you mean total?")


def test_a_run_is_flat_for_whoever_says_what_gain_is_worth_the_rest(babysit: Babysit) -> None:
    handle = babysit(settles, smallest_gain=0.01)
    other = babysit(settles, name="two")
    handle.wait(PATIENCE_S).close()
    other.wait(PATIENCE_S).close()
    assert any(text.startswith("total is flat: at most ") for text in advice(handle))
    assert not any("flat" in text for text in advice(other))
    with pytest.raises(SettingsError, match=r"smallest_gain .*above 0"):
        babysit(settles, name="three", smallest_gain=0)


def advice(handle: RunHandle) -> list[str]:
    with closing(handle.study) as study:
        return list(study.notes.query("by == 'supervisor'")["text"])


def saved_at(handle: RunHandle, step: int | None) -> bool:
    """Whether the checkpoint of a step is on record; a slow disk takes its time, and training does not wait for it."""
    with closing(handle.study) as study:
        return step in {each.step for each in study.state.checkpoints.values()}


def test_reverts_of_reverts_keep_every_tail(babysit: Babysit) -> None:
    handle = babysit()
    marks = []
    for rate in (2.0, 3.0, 4.0):
        marks.append(handle.set(rate=rate).step)
        wait_until(lambda: steps_of(handle) > (marks[-1] or 0) + 10 and saved_at(handle, marks[-1]))
    for mark in reversed(marks):
        assert handle.revert(step=mark).step == mark
    handle.stop()
    study = handle.wait(PATIENCE_S)
    assert [each.cause for each in segments(handle)] == ["start", *["adjust"] * 3, *["revert"] * 3]
    values = curve(handle)
    assert all(values[step] == step for step in values), "what counts was trained with the first settings alone"
    assert len(study.reports.query("not head and name == 'total'")) >= 30


def test_a_function_that_carries_values_goes_back_by_being_called_again(babysit: Babysit) -> None:
    handle = babysit(carries, revert="reenter")
    saved = handle.checkpoint().step or 0
    wait_until(lambda: steps_of(handle) > saved + 20)
    handle.revert(step=saved)
    wait_until(lambda: steps_of(handle) > saved + 20)
    handle.stop()
    handle.wait(PATIENCE_S)
    values = curve(handle)
    assert all(values[step] == step for step in values)


# ── a run that is over ──────────────────────────────────────────────────────────────────────────


def test_a_finished_run_is_extended_from_its_last_step(babysit: Babysit) -> None:
    handle = babysit(adds)
    handle.wait(PATIENCE_S)
    assert handle.extend(25).step == 100
    study = handle.wait(PATIENCE_S)
    assert (study.state.trials[0].state, study.state.trials[0].steps) == ("completed", 125)
    assert curve(handle)[125] == 125.0


def test_a_stopped_run_is_extended_from_the_step_it_was_stopped_at(babysit: Babysit, patience: Patience) -> None:
    handle = babysit(patience)
    handle.stop()
    patience.over()
    stopped = handle.wait(PATIENCE_S).state.trials[0].steps
    assert handle.extend(5).detail == f"goes on from step {stopped} to step {stopped + 5}"
    study = handle.wait(PATIENCE_S)
    assert study.state.trials[0].steps == stopped + 5
    assert curve(handle) == {step: float(step) for step in range(1, stopped + 6)}


def test_a_run_is_extended_while_it_trains(babysit: Babysit, patience: Patience) -> None:
    handle = babysit(patience)
    handle.extend(20)
    patience.over()
    assert handle.wait(PATIENCE_S).state.trials[0].steps == 120


@pytest.mark.parametrize("keep", [False, True])
def test_a_finished_run_is_set_back_and_trains_to_its_end_again(
    babysit: Babysit, patience: Patience, keep: bool
) -> None:
    handle = babysit(patience)
    changed = handle.set(rate=3.0)
    patience.over()
    handle.wait(PATIENCE_S)
    assert handle.revert(keep_settings=keep).step == changed.step
    study = handle.wait(PATIENCE_S)
    assert study.state.trials[0].state == "completed"
    values = curve(handle)
    assert values[100] - values[99] == (3.0 if keep else 1.0)


def test_a_run_that_cannot_go_back_to_the_very_step_says_why(babysit: Babysit, patience: Patience) -> None:
    handle = babysit(patience)
    wait_until(lambda: steps_of(handle) > 0)
    saved = handle.checkpoint().step or 0
    wait_until(lambda: steps_of(handle) > saved + 5)
    told = f"the newest checkpoint kept at or before step {saved + 3}"
    given_up = handle.revert(step=saved + 3)
    assert given_up.detail.endswith(f"back to step {saved}, {told}")
    with pytest.raises(StudyError, match=rf"steps {saved}\."):
        handle.revert(step=0)
    patience.over()
    handle.wait(PATIENCE_S)
    assert handle.revert(step=saved + 3).detail == f"goes on from step {saved} to step 100, {told}"


def test_the_best_of_a_path_that_undo_takes_up_again_is_the_best_of_the_run(babysit: Babysit) -> None:
    def peaks(run: Run) -> None:
        run.state(Sum())
        for step in run.steps(100_000):
            time.sleep(0.001)
            run.report(total=9.0 if run.params["rate"] == 2.0 and step % 2 else 0.1)

    handle = babysit(peaks)
    began = handle.pause().step
    handle.set(rate=2.0)
    handle.step(2)
    handle.set(rate=1.0)
    handle.step(1)
    handle.revert(step=began)
    handle.undo()
    handle.stop()
    best = handle.wait(PATIENCE_S).best
    assert best is not None
    assert best.score == 9.0


@pytest.mark.long
def test_undo_of_a_revert_after_the_end_takes_the_tail_up_again(babysit: Babysit, patience: Patience) -> None:
    handle = babysit(patience)
    saved = handle.checkpoint().step or 0
    wait_until(lambda: steps_of(handle) > saved + 10)
    back = handle.revert(step=saved)
    patience.over()
    handle.wait(PATIENCE_S)
    assert handle.undo().step == int(back.detail.split()[2])
    assert handle.wait(PATIENCE_S).state.trials[0].state == "completed"


def test_a_run_that_never_saved_cannot_be_extended_once_it_is_over(babysit: Babysit) -> None:
    def forgets(run: Run) -> None:
        for _ in run.steps(5):
            run.report(total=1.0)

    handle = babysit(forgets)
    handle.wait(PATIENCE_S)
    with pytest.raises(StudyError, match=r"never called run\.state"):
        handle.extend(5)


# ── forks ───────────────────────────────────────────────────────────────────────────────────────


def test_a_fork_goes_on_beside_its_parent_and_both_are_compared(
    babysit: Babysit, patience: Patience, tmp_path: Path
) -> None:
    handle = babysit(patience)
    saved = handle.checkpoint().step or 0
    other = handle.fork(rate=3.0, why="faster?")
    assert other.name == "one-2"
    patience.over()
    handle.wait(PATIENCE_S)
    study = other.wait(PATIENCE_S)
    trial = study.state.trials[0]
    assert (trial.purpose, trial.parent, trial.head.from_step) == ("fork", f"one/0@{saved}", saved)
    assert (trial.head.by, trial.head.why) == (handle.by, "faster?")
    assert study.curve(0).scores[-1] == saved + 3.0 * (100 - saved)
    frame = handle.compare("one-2")
    assert frame.index[-1] == 100
    assert frame.tail(1).to_numpy().tolist() == [[100.0, saved + 3.0 * (100 - saved)]]
    assert frame.attrs["settings"] == {"one": {"rate": 1.0}, "one-2": {"rate": 3.0}}
    other.close()


def test_compare_tells_a_schedule_that_was_rescaled_and_leaves_out_what_trained_nothing(
    babysit: Babysit, patience: Patience
) -> None:
    handle = babysit(patience)
    handle.pause()
    handle.schedule("rate", "exponential", rate=0.99)
    at = handle.set(rate=2.0).step
    other = handle.fork(rate=3.0)
    told = handle.compare(other.name).attrs["courses"]["one"]["rate"]
    assert told.endswith(f"exponential rate=0.99 from 2 at step {at}" if at else "exponential rate=0.99 from 2")
    assert told.count("exponential") == 1
    patience.over()
    handle.stop()
    other.stop()
    other.close()


def test_a_finished_run_is_forked_and_a_schedule_goes_along(babysit: Babysit, patience: Patience) -> None:
    handle = babysit(patience)
    handle.schedule("rate", "exponential", rate=0.99)
    patience.over()
    study = handle.wait(PATIENCE_S)
    handle.extend(10)
    study = handle.wait(PATIENCE_S)
    other = handle.fork(step=100, name="branch", rate=1.0)
    branch = other.wait(PATIENCE_S)
    assert branch.state.trials[0].recipe.at(110)["rate"] == pytest.approx(0.99**10)
    assert branch.state.trials[0].head.from_step == 100
    assert study.state.trials[0].steps == branch.state.trials[0].steps == 110, "it inherits the extension"
    other.close()


@pytest.mark.parametrize(
    ("values", "told"),
    [({"rte": 1.0}, "Did you mean rate"), ({"units": 5}, "built into the model"), ({"rate": 1e9}, "must lie from")],
)
def test_a_fork_with_impossible_values_is_refused_and_leaves_nothing(
    babysit: Babysit, tmp_path: Path, values: dict[str, Any], told: str
) -> None:
    handle = babysit(adds, space=SPACE)
    handle.wait(PATIENCE_S)
    with pytest.raises(tuner.TunerError, match=told):
        handle.fork(**values)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["one"]


def test_a_run_without_a_checkpoint_cannot_be_forked(babysit: Babysit) -> None:
    handle = babysit()
    with pytest.raises(StudyError, match="before step 0"):
        handle.fork(step=0)


def test_a_fork_at_the_very_end_goes_on_by_exactly_what_it_is_extended_by(babysit: Babysit) -> None:
    handle = babysit(adds)
    handle.wait(PATIENCE_S)
    with handle.fork(step=100, name="again") as other:
        assert other.wait(PATIENCE_S).state.trials[0].state == "completed"
        assert "from step 100 to step 103" in str(other.extend(3))
        assert other.wait(PATIENCE_S).state.trials[0].steps == 103


def test_a_revert_to_a_step_and_to_a_checkpoint_at_once_is_refused(babysit: Babysit) -> None:
    handle = babysit(adds)
    handle.wait(PATIENCE_S)
    with pytest.raises(StudyError, match="step 3 and checkpoint 0 both"):
        handle.revert(step=3, checkpoint=0)


def test_what_is_no_name_is_refused_also_where_it_is_an_array(babysit: Babysit) -> None:
    handle = babysit(adds)
    two: Any = np.array([1, 2])
    for asked in (
        lambda: handle.set(rate=1.0, request=two),
        lambda: handle.compare(two),
        lambda: handle.fork(name=two),
        lambda: list(handle.study.records(two)),
    ):
        with pytest.raises(SettingsError, match="got"):
            asked()
