"""One order in training, with a scripted channel in place of an executor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from tuner.errors import TunerError
from tuner.record.recipe import Recipe
from tuner.record.reports import Row
from tuner.worker import checkpoints
from tuner.worker.divergence import DivergenceAlarm
from tuner.worker.messages import (
    Command,
    Continue,
    Ended,
    Held,
    Job,
    Order,
    Pause,
    Resume,
    Save,
    Saved,
    Started,
    Stop,
    Waiting,
    Warned,
    WorkerEvent,
)
from tuner.worker.position import Position
from tuner.worker.run import Run
from tuner.worker.storage import FolderStorage
from tuner.worker.training import TrainingFunction, check_results_are_shared, train
from tuner.workloads import bowl

T = TypeVar("T", bound=WorkerEvent)
JOB = Job(study="night", function="m:f", search_path=(), objective="score")


class Script:
    """A channel whose commands come at the steps they are written for, and `replies` when the worker waits.

    Every step takes a second.
    """

    background_writes = False

    def __init__(self, commands: Mapping[int, list[Command]] | None = None, *replies: Command) -> None:
        self.events: list[WorkerEvent] = []
        self.rows: list[Row] = []
        self.time = 100.0
        self._commands = dict(commands or {})
        self._due: deque[Command] = deque()
        self._replies = deque(replies)

    def emit(self, event: WorkerEvent) -> None:
        self.events.append(event)

    def add_report(self, trial: int, segment: int, rows: list[Row]) -> None:
        self.rows.extend(rows)

    def passed(self, trial: int, step: int) -> None:
        self.time += 1.0
        self._due.extend(self._commands.pop(step, []))

    def receive(self, *, wait: bool) -> Command | None:
        if self._due:
            return self._due.popleft()
        return self._replies.popleft() if wait else None

    def now(self) -> float:
        return self.time

    def said(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    def scores(self, name: str = "score") -> list[tuple[int, float]]:
        return [(step, value) for step, found, value, _ in self.rows if found == name]


def order(**more: Any) -> Order:
    return Order(trial=3, segment=0, recipe=Recipe.constant(more.pop("params", {})), seed=11, **more)


def trained(function: TrainingFunction, order: Order, job: Job, channel: Script) -> Ended:
    return train(function, Position(order, job, channel))


def counts(run: Run) -> None:
    for step in run.steps(6):
        run.report(score=step)


def rolls(run: Run) -> None:
    ball = bowl.Ball()
    run.state(ball)
    for _ in run.steps(6):
        ball.roll(0.1, 0.97)
        run.report(score=ball.height)


# ── how it ends ─────────────────────────────────────────────────────────────────────────────────


def test_a_function_that_returns_has_completed() -> None:
    script = Script()
    ended = trained(counts, order(), JOB, script)
    assert isinstance(script.events[0], Started)
    assert (ended.state, ended.why, ended.step, ended.segment) == ("completed", "trained all 6 steps", 6, 0)
    assert (ended.started, ended.at) == (100.0, 107.0)
    assert script.scores() == [(step, step - 1) for step in range(1, 7)]


def test_the_function_sees_its_settings_and_its_seed() -> None:
    seen: list[Any] = []
    trained(lambda run: seen.append((dict(run.params), run.seed)), order(params={"rate": 0.5}), JOB, Script())
    assert seen == [({"rate": 0.5}, 11)]


@pytest.mark.parametrize(
    ("result", "scores"),
    [
        (None, []),
        (0.5, [(1, 0.5)]),
        (np.float32(0.5), [(1, 0.5)]),
        ({"score": 0.5, "loss": 2}, [(1, 0.5)]),
        (object(), []),
        ("done", []),
    ],
)
def test_what_a_function_returns_is_its_score_where_it_is_a_number_or_names_some(
    result: Any, scores: list[tuple[int, float]]
) -> None:
    script = Script()
    assert trained(lambda run: result, order(), JOB, script).state == "completed"
    assert script.scores() == scores


def test_an_exception_that_cannot_say_what_it_is_is_still_an_end() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def fails(run: Run) -> None:
        raise Mute

    ended = trained(fails, order(), JOB, Script())
    assert (ended.state, ended.why, ended.error) == ("failed", "Mute", ("Mute", "Exception", "BaseException"))


def test_the_first_line_of_an_exception_is_the_reason_and_a_long_one_is_cut() -> None:
    def fails(run: Run) -> None:
        raise ValueError("first line\nsecond line")

    def rambles(run: Run) -> None:
        raise ValueError("x" * 1_000_000)

    assert trained(fails, order(), JOB, Script()).why == "ValueError: first line"
    ended = trained(rambles, order(), JOB, Script())
    assert len(ended.why) < 1000
    assert len(ended.traceback) < 200_000


@pytest.mark.parametrize("exit_by", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_nothing_that_a_function_raises_takes_the_worker_along(exit_by: type[BaseException]) -> None:
    def leaves(run: Run) -> None:
        raise exit_by

    ended = trained(leaves, order(), JOB, Script())
    assert (ended.state, ended.error) == ("failed", (exit_by.__name__, "BaseException"))


def test_a_traceback_begins_with_the_users_own_line() -> None:
    def fails(run: Run) -> None:
        run.report(score=[1, 2])

    trace = trained(fails, order(), JOB, Script()).traceback
    assert "run.report(score=[1, 2])" in trace
    assert "tuner/worker/training.py" not in trace


# ── divergence ──────────────────────────────────────────────────────────────────────────────────


def test_a_diverged_trial_ends_at_the_next_step_and_says_where_it_happened() -> None:
    def explodes(run: Run) -> None:
        for step in run.steps(50):
            run.report(score=1.0 if step < 3 else float("nan"))

    job = Job(
        study="n",
        function="m:f",
        search_path=(),
        objective="score",
        alarm=DivergenceAlarm(objective="score", goal="maximize"),
    )
    ended = trained(explodes, order(), job, Script())
    assert (ended.state, ended.step) == ("diverged", 4)
    assert ended.why.endswith("at step 4")


def test_the_alarm_remembers_the_first_scores_across_a_checkpoint(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []

    def alarm(first: Mapping[str, float], scores: Mapping[str, float]) -> None:
        seen.append(dict(first))

    job = Job(study="n", function="m:f", search_path=(), objective="score", alarm=alarm)
    script = Script({3: [Save(trial=3)]})
    trained(rolls, order(storage=FolderStorage(tmp_path)), job, script)
    first = seen[-1]
    saved = script.said(Saved)[0]
    seen.clear()
    trained(rolls, order(storage=FolderStorage(tmp_path), checkpoint=saved.path, from_step=3), job, Script())
    assert seen[0] == first


# ── commands ────────────────────────────────────────────────────────────────────────────────────


def test_a_command_takes_effect_between_two_steps() -> None:
    script = Script({2: [Stop(trial=3, state="stopped", why="asked")]})
    ended = trained(counts, order(), JOB, script)
    assert (ended.state, ended.why, ended.step) == ("stopped", "asked", 2)
    assert [step for step, _ in script.scores()] == [1, 2]


def test_the_first_of_two_stops_counts() -> None:
    script = Script({2: [Stop(trial=3, state="stopped", why="one"), Stop(trial=3, state="pruned", why="two")]})
    assert trained(counts, order(), JOB, script).why == "one"


def test_a_command_for_another_trial_is_passed_over() -> None:
    script = Script({2: [Stop(trial=4, state="stopped", why="asked"), Pause(trial=4, why="lunch")]})
    assert trained(counts, order(), JOB, script).state == "completed"


def test_a_decision_point_is_asked_about_once_and_the_verdict_names_the_next() -> None:
    script = Script({}, Continue(trial=3, ask_at=4), Continue(trial=3, ask_at=None))
    assert trained(counts, order(ask_at=2), JOB, script).state == "completed"
    assert [event.step for event in script.said(Waiting)] == [2, 4]


@pytest.mark.parametrize(("haste_s", "asked"), [(0.0, [2, 3, 4, 5]), (0.5, [2, 3, 4, 5]), (2.6, [2, 3]), (4.5, [])])
def test_whose_rest_takes_no_longer_than_a_verdict_trains_on_without_one(haste_s: float, asked: list[int]) -> None:
    script = Script({}, *(Continue(trial=3, ask_at=None, rung=step) for step in (3, 4, 5, 6)))
    assert trained(counts, order(rung=2, haste_s=haste_s), JOB, script).step == 6  # of a second each
    assert [event.step for event in script.said(Waiting)] == asked


def test_what_can_be_paused_is_asked_about_however_short_the_rest_is(tmp_path: Path) -> None:
    script = Script({}, Continue(trial=3, ask_at=None))
    assert trained(rolls, order(rung=2, haste_s=100.0, storage=FolderStorage(tmp_path)), JOB, script).step == 6
    assert [event.step for event in script.said(Waiting)] == [2]


def test_a_budget_is_asked_about_however_short_the_rest_is() -> None:
    script = Script({}, Stop(trial=3, state="stopped", why="spent"))
    assert trained(counts, order(ask_at=2, haste_s=100.0), JOB, script).step == 2


def test_a_verdict_that_came_early_needs_no_question() -> None:
    script = Script({1: [Continue(trial=3, ask_at=None)]})
    assert trained(counts, order(ask_at=2), JOB, script).state == "completed"
    assert script.said(Waiting) == []


def test_a_verdict_for_another_trial_is_no_verdict() -> None:
    script = Script({}, Continue(trial=9, ask_at=None), Stop(trial=3, state="pruned", why="hopeless"))
    assert trained(counts, order(ask_at=2), JOB, script).state == "pruned"


def test_a_pause_stands_still_until_it_is_resumed() -> None:
    script = Script({2: [Pause(trial=3, why="lunch")]}, Pause(trial=3, why="still lunch"), Resume(trial=3))
    assert trained(counts, order(), JOB, script).step == 6
    assert [(event.state, event.step, event.why) for event in script.said(Held)] == [
        ("paused", 2, "lunch"),
        ("running", 2, "resumed"),
    ]


def test_an_order_may_begin_paused() -> None:
    script = Script({}, Resume(trial=3))
    assert trained(counts, order(paused=True), JOB, script).step == 6
    assert [(event.state, event.step) for event in script.said(Held)] == [("paused", 0), ("running", 0)]


# ── checkpoints ─────────────────────────────────────────────────────────────────────────────────


def test_a_checkpoint_is_written_when_its_time_has_come_and_at_the_end(tmp_path: Path) -> None:
    script = Script()
    trained(rolls, order(storage=FolderStorage(tmp_path), checkpoint_every_s=2.0), JOB, script)
    assert [(event.step, event.kind) for event in script.said(Saved)] == [
        (1, "interval"),
        (3, "interval"),
        (5, "interval"),
        (6, "final"),
    ]
    for saved in script.said(Saved):
        assert checkpoints.verify(tmp_path / saved.path).sha256 == saved.sha256


def test_without_a_state_or_a_folder_nothing_is_written(tmp_path: Path) -> None:
    for function, folder in ((counts, tmp_path), (rolls, None)):
        script = Script({2: [Save(trial=3)]})
        trained(function, order(storage=folder and FolderStorage(folder), checkpoint_every_s=0.0), JOB, script)
        assert script.said(Saved) == []
    assert list(tmp_path.iterdir()) == []


def test_a_pruned_trial_writes_no_last_checkpoint(tmp_path: Path) -> None:
    script = Script({2: [Stop(trial=3, state="pruned", why="hopeless")]})
    trained(rolls, order(storage=FolderStorage(tmp_path), checkpoint_every_s=99.0), JOB, script)
    assert script.said(Saved) == []


def test_a_resumed_trial_continues_with_the_very_same_numbers(tmp_path: Path) -> None:
    whole = Script({4: [Save(trial=3)]})
    trained(rolls, order(storage=FolderStorage(tmp_path), checkpoint_every_s=99.0), JOB, whole)
    rest = Script()
    ended = trained(
        rolls, order(storage=FolderStorage(tmp_path), checkpoint=whole.said(Saved)[0].path, from_step=4), JOB, rest
    )
    assert rest.scores() == whole.scores()[4:]
    assert ended.step == 6


def test_a_resumed_function_that_steps_before_it_names_its_state_is_told_so(tmp_path: Path) -> None:
    script = Script({4: [Save(trial=3)]})
    trained(rolls, order(storage=FolderStorage(tmp_path)), JOB, script)
    ended = trained(
        counts,
        order(storage=FolderStorage(tmp_path), checkpoint=script.said(Saved)[0].path, from_step=4),
        JOB,
        Script(),
    )
    assert ended.state == "failed"
    assert "before the first step" in ended.why


def test_a_save_that_fails_is_a_warning_and_training_goes_on(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    script = Script()
    ended = trained(rolls, order(storage=FolderStorage(blocked), checkpoint_every_s=0.0), JOB, script)
    assert ended.state == "completed"
    assert script.said(Saved) == []
    assert script.said(Warned)


def test_a_releasing_pause_is_a_checkpoint_and_an_end_that_is_none(tmp_path: Path) -> None:
    script = Script({2: [Pause(trial=3, why="Ctrl-C", release=True)]})
    ended = trained(rolls, order(storage=FolderStorage(tmp_path)), JOB, script)
    assert (ended.released, ended.state, ended.step) == (True, "paused", 2)
    assert [(event.step, event.kind) for event in script.said(Saved)] == [(2, "pause")]


# ── a folder that every node sees ───────────────────────────────────────────────────────────────


@pytest.fixture
def shared(tmp_path: Path) -> Callable[[str], Job]:
    def job(token: str) -> Job:
        return Job(
            study="n", function="m:f", search_path=(), objective="score", token_file=tmp_path / "shared", token=token
        )

    return job


def test_a_results_folder_that_a_node_does_not_see_is_refused(shared: Callable[[str], Job]) -> None:
    job = shared("abc")
    assert job.token_file is not None
    with pytest.raises(TunerError, match="is not shared with node"):
        check_results_are_shared(job)
    job.token_file.write_text("of another study")
    with pytest.raises(TunerError, match="is not shared with node"):
        check_results_are_shared(job)
    job.token_file.write_text("abc")
    check_results_are_shared(job)
    check_results_are_shared(JOB)  # on one machine there is nothing to check


def test_ended_is_what_train_returns_not_what_it_sends() -> None:
    script = Script()
    trained(counts, order(), JOB, script)
    assert script.said(Ended) == []
