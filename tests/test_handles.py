"""How verbs are answered: what they wait for, what a study that is over says, what is on record and yet to come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from babysat import at_home, state_of, steps_of
from served import connected
from stories import NOON, Part, story
from sweeping import sweep
from waiting import PATIENCE_S, wait_until

import tuner
from tuner.api.answers import Reply, pauses_between_polls
from tuner.api.handles import RunHandle
from tuner.api.study import Study
from tuner.errors import SettingsError, StudyError
from tuner.record.events import Answered, Requested, TrialHeld
from tuner.record.location import Place
from tuner.record.store import Store
from tuner.worker.run import Run

START = {"rate": 1.0}


class Sum:
    def __init__(self) -> None:
        self.total = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.total = state["total"]


def adds(run: Run, steps: int = 16) -> None:
    each = Sum()
    run.state(each)
    for _ in run.steps(steps):
        each.total += run.params["rate"]
        run.report(total=each.total)


def adds_on(run: Run) -> None:
    each = Sum()
    run.state(each)
    for _ in run.steps(100_000):
        each.total += run.params["rate"]
        run.report(total=each.total)
        time.sleep(0.002)


def steps_by_itself(run: Run) -> None:
    run.state(Sum())
    while run.step():
        run.report(total=1.0)
        time.sleep(0.002)


class Gate:
    """Training whose first step lasts until the test opens it."""

    def __init__(self, folder: Path) -> None:
        self._open, self._reached = folder / "open", folder / "reached"

    def __call__(self, run: Run) -> None:
        run.state(Sum())
        for _ in run.steps(1_000_000):
            self._reached.touch()
            while not self._open.exists():
                time.sleep(0.002)
            run.report(total=1.0)
            time.sleep(0.002)

    def until_reached(self) -> None:
        wait_until(self._reached.exists)

    def open(self) -> None:
        self._open.touch()


Babysit = Callable[..., RunHandle]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture(params=["in the folder", "by a service"])
def reached(request: pytest.FixtureRequest, results: Path) -> Iterator[Callable[[RunHandle], RunHandle]]:
    """Puts in place of a handle at home the one that somebody holds who comes by that way."""
    with ExitStack() as ways:

        def reach(handle: RunHandle) -> RunHandle:
            if request.param == "in the folder":
                return handle
            there = ways.enter_context(connected(results))
            found = there.attach(handle.name, by=handle.by)
            assert isinstance(found, RunHandle)
            return ways.enter_context(found)

        yield reach


@pytest.fixture
def babysit(results: Path, reached: Callable[[RunHandle], RunHandle]) -> Iterator[Babysit]:
    """`tuner.babysit` with coordinators on threads, all of them over in the end."""
    handles: list[RunHandle] = []

    def begin(train: Any = adds_on, **options: Any) -> RunHandle:
        given = {"executor": "local", "objective": "total", "name": "one", "results": results, **options}
        handles.append(tuner.babysit(train, START, **given))
        return reached(handles[-1])

    with at_home(results):
        yield begin
    for handle in handles:
        handle.close()


def at_rest(study: Study) -> RunHandle:
    """The handle of a run that was written down."""
    study.close()
    place = Place.of(study.name, study.place.folder.parent, None)
    return RunHandle(place, Store.open(place.existing()), by="ada")


def answered(handle: RunHandle, request: str) -> str:
    with closing(handle.study) as study:
        return str(study.requests.set_index("request").loc[request, "state"])


def verdicts(handle: RunHandle) -> list[str]:
    with closing(handle.study) as study:
        return [str(each) for each in study.adjustments["verdict"]]


# ── a study that is over ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def over(results: Path, reached: Callable[[RunHandle], RunHandle]) -> Iterator[RunHandle]:
    """A run that was stopped at step 10 on 14 November 2023."""
    study = story(results / "one", Part(start=0, to=10), end=("stopped", "good enough"))
    with closing(at_rest(study)) as handle, at_home(results):
        yield reached(handle)


def test_a_stop_of_a_run_that_is_over_says_at_once_since_when_and_starts_nothing(
    over: RunHandle, results: Path
) -> None:
    reply = over.stop()
    assert (reply.state, reply.step) == ("applied", 10)
    for word in ("over", "2023-11-14 22:", "stopped", "good enough"):
        assert word in reply.detail
    assert untouched(results)


@pytest.mark.parametrize(
    "ask",
    [
        lambda run: run.pause(),
        lambda run: run.pause(release=True),
        lambda run: run.resume(),
        lambda run: run.step(5),
        lambda run: run.checkpoint(),
        lambda run: run.set(learning_rate=0.2),
        lambda run: run.schedule("learning_rate", "cosine", over=10),
    ],
)
def test_what_a_run_that_is_over_cannot_do_is_refused_at_once_with_what_it_can(
    over: RunHandle, results: Path, ask: Callable[[RunHandle], Reply]
) -> None:
    with pytest.raises(StudyError, match=r"is over .*since 2023-11-14.*extend"):
        ask(over)
    assert untouched(results)


def test_a_note_on_a_run_that_is_over_is_written_without_a_coordinator(over: RunHandle, results: Path) -> None:
    assert over.note("the best of the year").state == "applied"
    with closing(over.study) as study:
        assert study.notes[["text", "by", "step"]].to_numpy().tolist() == [["the best of the year", "ada", 10]]
        assert study.requests["state"].tolist() == ["applied"]
    assert untouched(results, requests=1)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda run: run.revert(step=999_999), "999999 lies ahead.*come to step 10.*steps 10"),
        (lambda run: run.revert(), "nothing to undo or to go back before"),
        (lambda run: run.revert(checkpoint=7), "checkpoint 7 is not kept"),
        (lambda run: run.undo(), "nothing to undo"),
    ],
)
def test_what_cannot_revive_a_run_is_refused_before_a_coordinator_is_started(
    over: RunHandle, results: Path, ask: Callable[[RunHandle], object], told: str
) -> None:
    with pytest.raises(StudyError, match=told):
        ask(over)
    assert untouched(results)


def untouched(results: Path, requests: int = 0) -> bool:
    """Whether nobody coordinates the run, nobody was started for it, and nothing waits for them."""
    with tuner.open("one", results=results) as study:
        asked = len(study.state.requests)
        nobody = study.coordinator(time.time()) is None
    return nobody and asked == requests and not (results / "one" / "coordinator.log").exists()


def test_a_sweep_that_is_over_need_not_be_stopped_and_says_what_became_of_a_trial(tmp_path: Path) -> None:
    sweep(tmp_path, trials=3, stopping="off").close()
    with closing(tuner.attach("night", results=tmp_path)) as handle:
        assert isinstance(handle, tuner.SweepHandle)
        assert "3 of its 3 trials" in handle.stop().detail
        with pytest.raises(StudyError, match="trial 1 is: completed"):
            handle.stop_trial(1)
        with pytest.raises(StudyError, match="not running"):
            handle.pause()
        with closing(handle.study) as study:
            assert not study.state.requests


# ── going back ──────────────────────────────────────────────────────────────────────────────────


def test_a_step_that_lies_ahead_is_refused_with_the_range_and_the_checkpoints(babysit: Babysit) -> None:
    handle = babysit()
    wait_until(lambda: steps_of(handle) > 3)
    saved = handle.checkpoint().step
    handle.pause()
    stood = steps_of(handle)
    with pytest.raises(StudyError, match=rf"999999 lies ahead.*come to step {stood}\b.*{saved}"):
        handle.revert(step=999_999)
    assert steps_of(handle) == stood
    with pytest.raises(StudyError, match=rf"999999 lies ahead.*come to step {stood}\b"):
        handle.fork(step=999_999)
    assert handle.revert(step=stood).step == saved


def test_what_undo_brings_back_is_no_longer_judged_taken_back(babysit: Babysit) -> None:
    handle = babysit()
    handle.set(rate=2.0)
    wait_until(lambda: steps_of(handle) > 5)
    handle.revert()
    assert verdicts(handle) == ["taken back"]
    handle.undo()
    assert verdicts(handle) == ["brought back"]


def test_after_the_end_too_a_revert_takes_back_and_an_undo_brings_back(babysit: Babysit) -> None:
    handle = babysit()
    handle.set(rate=2.0)
    wait_until(lambda: steps_of(handle) > 5)
    handle.stop()
    handle.wait(PATIENCE_S).close()
    handle.revert()
    assert verdicts(handle) == ["taken back"]
    wait_until(lambda: state_of(handle) == "running")
    handle.stop()
    handle.wait(PATIENCE_S).close()
    handle.undo()
    assert verdicts(handle) == ["brought back"]


# ── going on ────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_was_stopped_early_is_extended_by_as_many_steps_as_one_says(babysit: Babysit) -> None:
    handle = babysit()
    wait_until(lambda: steps_of(handle) > 3)
    handle.stop()
    stopped = handle.wait(PATIENCE_S).state.trials[0].steps
    for end in (stopped + 10, stopped + 15):
        assert f"to step {end}" in handle.extend(end - steps_of(handle)).detail
        trial = handle.wait(PATIENCE_S).state.trials[0]
        assert (trial.state, trial.steps, trial.best_score) == ("completed", end, end)
    assert f"to step {stopped + 15}" in handle.revert(step=stopped).detail
    assert handle.wait(PATIENCE_S).state.trials[0].steps == stopped + 15, "set back, it trains to the same end"


def test_a_loop_that_is_not_ours_cannot_be_told_how_long_it_is(babysit: Babysit) -> None:
    handle = babysit(steps_by_itself)
    with pytest.raises(StudyError, match=r"run\.steps"):
        handle.extend(5)
    handle.stop()
    handle.wait(PATIENCE_S).close()
    assert "until its own loop ends" in handle.extend(5).detail


def test_a_promoted_trial_that_had_trained_to_its_end_is_complete_and_can_be_extended(tmp_path: Path) -> None:
    sweep(tmp_path, adds, tuner.Space(rate=tuner.linear(1.0, 1.5)), objective="total", trials=1).close()
    with at_home(tmp_path), closing(tuner.promote("night", 0, name="one", results=tmp_path)) as run:
        trial = run.wait(PATIENCE_S).state.trials[0]
        assert (trial.state, trial.steps, trial.error) == ("completed", 16, "")
        for words in ("trained all 16 steps", "tuner extend one"):
            assert words in trial.why
        run.extend(4)
        trial = run.wait(PATIENCE_S).state.trials[0]
        assert (trial.state, trial.steps) == ("completed", 20)
        assert trial.best_score == pytest.approx(20 * trial.params["rate"])


# ── waiting ─────────────────────────────────────────────────────────────────────────────────────


def test_what_has_not_taken_effect_in_time_is_on_record_and_is_carried_out_later(
    babysit: Babysit, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    handle = babysit(gate)
    gate.until_reached()
    began = time.monotonic()
    reply = handle.set(rate=2.0, timeout_s=0.2)
    assert reply.pending
    assert reply.state in ("received", "accepted")
    assert time.monotonic() - began < 10
    gate.open()
    wait_until(lambda: answered(handle, reply.request) == "applied")
    assert not handle.set(rate=3.0).pending
    with pytest.raises(SettingsError, match="timeout_s"):
        handle.pause(timeout_s=-1)


@pytest.mark.parametrize("reached", ["in the folder"], indirect=True)  # a service first tells after five seconds
def test_a_verb_says_once_that_a_coordinator_starts_and_waits_for_it(babysit: Babysit) -> None:
    handle = babysit()
    wait_until(lambda: steps_of(handle) > 3)
    handle.stop()
    handle.wait(PATIENCE_S).close()
    told: list[str] = []
    handle.on_wait = told.append
    assert handle.extend(5).state == "applied"
    assert told == ["waiting: the coordinator is starting"]


def test_a_verb_says_that_no_worker_is_there_and_waits_for_one(tmp_path: Path) -> None:
    arguments = {"values": {"rate": 2.0}, "at": None, "expect": None, "evidence": ""}
    asked = Requested(request="mine", verb="set", arguments=arguments, by="ada", why="", at=NOON)
    lost = TrialHeld(trial=0, state="lost", step=10, why="its node is gone", at=NOON)
    accepted = Answered(request="mine", state="accepted", step=10, detail="", at=NOON)
    folder = tmp_path / "results" / "one"
    handle = at_rest(story(folder, Part(start=0, to=10), asked=[asked], more=[lost, accepted]))
    told: list[str] = []
    handle.on_wait = told.append
    with closing(handle), closing(Store.open(handle._place.existing())) as coordinator:
        coordinator.acquire(time.time())
        reply = handle.set(rate=2.0, request="mine", timeout_s=2.0)
    assert (reply.state, reply.detail) == ("accepted", "there is no worker yet")
    assert told == ["waiting: there is no worker yet"]


def test_a_coordinator_that_dies_at_its_start_says_why_at_once(over: RunHandle) -> None:
    began = time.monotonic()
    with pytest.raises(StudyError, match=r"no coordinator could be started for one: .*run\.json is missing"):
        over.extend(5)
    assert time.monotonic() - began < 60


def test_a_verb_polls_at_once_and_then_less_and_less_often() -> None:
    pauses = list(islice(pauses_between_polls(), 200))
    assert pauses[0] <= 0.002
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.1
    assert sum(pauses) > 15, "within 15 s it looks less than 200 times"
