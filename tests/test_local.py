"""What the in-process executor guarantees beyond the contract: turns, and the virtual clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE_S

import tuner
from tuner.executors.local import Clock, LocalExecutor
from tuner.record.events import Reported
from tuner.record.recipe import Recipe
from tuner.record.reports import unpack_reports
from tuner.space.constructors import linear
from tuner.space.space import Space
from tuner.worker.messages import Continue, Ended, Event, Job, Order, Pause, Resume, Save, Started, Waiting, WorkerLost
from tuner.worker.run import Run
from tuner.worker.storage import FolderStorage

Opener = Callable[..., LocalExecutor]


@pytest.fixture
def opened() -> Iterator[Opener]:
    made: list[LocalExecutor] = []

    def make(function: Callable[[Run], Any], parallel: int = 1, clock: Clock = "virtual") -> LocalExecutor:
        executor = LocalExecutor(clock=clock, function=function)
        executor.open(Job(study="s", function="not:looked.up", search_path=(), objective="score"), parallel)
        made.append(executor)
        return executor

    yield make
    for executor in made:
        executor.close()


def order(trial: int, **more: Any) -> Order:
    return Order(trial=trial, segment=0, recipe=Recipe.constant({}), seed=0, **more)


def play(executor: LocalExecutor, until: Callable[[list[Event]], bool]) -> list[Event]:
    events: list[Event] = []
    deadline = time.monotonic() + 10
    while not until(events):
        assert time.monotonic() < deadline, events
        events.extend(executor.poll(0.05))
    return events


def ends(events: list[Event]) -> dict[int, Ended]:
    return {each[1].trial: each[1] for each in events if isinstance(each, tuple) and isinstance(each[1], Ended)}


def steps(count: int) -> Callable[[Run], None]:
    def train(run: Run) -> None:
        for step in run.steps(count):
            run.report(score=step)

    return train


def test_on_the_virtual_clock_a_step_takes_a_second_from_zero(opened: Opener) -> None:
    executor = opened(steps(5))
    executor.submit("worker-1", (order(0), order(1)))
    found = ends(play(executor, lambda events: len(ends(events)) == 2))
    assert [(each.started, each.at) for each in found.values()] == [(0.0, 5.0), (5.0, 10.0)]
    assert executor.now() == 10.0


def test_reports_carry_the_virtual_time_of_their_step(opened: Opener) -> None:
    executor = opened(steps(3))
    executor.submit("worker-1", (order(0),))
    events = play(executor, lambda events: bool(ends(events)))
    flushes = [each[1] for each in events if isinstance(each, tuple) and isinstance(each[1], Reported)]
    assert [row[3] for flush in flushes for row in unpack_reports(flush)] == [0.0, 1.0, 2.0]


def test_whoever_is_furthest_behind_goes_first(opened: Opener) -> None:
    went: list[tuple[int, int]] = []

    def train(run: Run) -> None:
        went.extend((step, run.seed) for step in run.steps(3))

    executor = opened(train, parallel=3)
    for trial in range(3):
        executor.submit(f"worker-{trial + 1}", (Order(trial=trial, segment=0, recipe=Recipe.constant({}), seed=trial),))
    play(executor, lambda events: len(ends(events)) == 3)
    assert went == [(step, trial) for step in range(3) for trial in range(3)]


def test_a_worker_that_waits_does_not_hold_the_others_up(opened: Opener) -> None:
    executor = opened(steps(4), parallel=2)
    executor.submit("worker-1", (order(0, ask_at=1),))
    executor.submit("worker-2", (order(1),))
    events = play(executor, lambda events: 1 in ends(events))
    assert any(isinstance(each, tuple) and isinstance(each[1], Waiting) for each in events)
    executor.send("worker-1", Continue(trial=0, ask_at=None))
    assert ends(play(executor, lambda events: 0 in ends(events)))[0].step == 4


def test_a_late_trial_starts_at_the_time_reached_not_in_the_past(opened: Opener) -> None:
    executor = opened(steps(5), parallel=2)
    executor.submit("worker-1", (order(0),))
    play(executor, lambda events: 0 in ends(events))
    executor.submit("worker-2", (order(1),))
    assert ends(play(executor, lambda events: 1 in ends(events)))[1].started == 5.0


def test_on_the_wall_clock_workers_take_turns_step_by_step(opened: Opener) -> None:
    went: list[int] = []

    def train(run: Run) -> None:
        went.extend(run.seed for _ in run.steps(20))

    executor = opened(train, parallel=2, clock="wall")
    for trial in range(2):
        executor.submit(f"worker-{trial + 1}", (Order(trial=trial, segment=0, recipe=Recipe.constant({}), seed=trial),))
    play(executor, lambda events: len(ends(events)) == 2)
    changes = sum(one != other for one, other in pairwise(went))
    assert changes > 30


def test_one_thing_happens_at_a_time(opened: Opener) -> None:
    inside = threading.Lock()
    clashes: list[int] = []

    def train(run: Run) -> None:
        for step in run.steps(30):
            if not inside.acquire(blocking=False):
                clashes.append(step)
                continue
            time.sleep(0.0001)
            inside.release()

    executor = opened(train, parallel=4, clock="wall")
    for worker in range(1, 5):
        executor.submit(f"worker-{worker}", (order(worker),))
    play(executor, lambda events: len(ends(events)) == 4)
    assert clashes == []


@pytest.mark.parametrize("clock", ["wall", "virtual"])
def test_a_poll_with_nothing_to_train_waits_without_burning_time(opened: Opener, clock: Clock) -> None:
    executor = opened(steps(1_000_000), clock=clock)
    executor.submit("worker-1", (order(0),))
    executor.poll(0.01)
    executor.send("worker-1", Pause(trial=0, why="lunch"))
    for _ in range(5):
        executor.poll(0.05)
    began, busy = time.monotonic(), time.process_time()
    assert executor.poll(0.2) == []
    waited = time.monotonic() - began
    assert waited > 0.15
    assert time.process_time() - busy < waited / 2
    executor.send("worker-1", Resume(trial=0))
    assert executor.poll(0.2) != []


def test_a_function_that_was_abandoned_touches_nothing_when_it_wakes(opened: Opener) -> None:
    released = threading.Event()
    woke: list[int] = []

    def train(run: Run) -> None:
        for step in run.steps(3):
            if step == 1 and run.seed == 0:
                released.wait(PATIENCE_S)
                woke.append(step)
            run.report(score=run.seed)

    executor = opened(train, clock="wall")
    executor.submit("worker-1", (Order(trial=0, segment=0, recipe=Recipe.constant({}), seed=0),))
    play(executor, lambda events: any(isinstance(each, tuple) and isinstance(each[1], Started) for each in events))
    executor.poll(0.05)
    executor.kill("worker-1", "it hung")
    executor.submit("worker-1", (Order(trial=1, segment=0, recipe=Recipe.constant({}), seed=1, ask_at=1),))
    events = play(
        executor, lambda events: any(isinstance(each, tuple) and isinstance(each[1], Waiting) for each in events)
    )
    assert WorkerLost(worker="worker-1", why="it hung") in events
    released.set()
    while not woke:
        time.sleep(0.001)
    time.sleep(0.02)
    assert executor.poll(0.05) == []
    executor.send("worker-1", Continue(trial=1, ask_at=None))
    last = play(executor, lambda events: bool(ends(events)))
    assert set(ends(last)) == {1}


def test_a_worker_abandoned_in_the_middle_of_a_save_hands_its_turn_to_nobody(opened: Opener, tmp_path: Path) -> None:
    saving, released = threading.Event(), threading.Event()
    saved = tmp_path / "checkpoints" / "0" / "0-0"

    def slow_save(folder: Path) -> None:
        saving.set()
        released.wait(PATIENCE_S)
        (folder / "weights").write_text("0.5")

    def train(run: Run) -> None:
        run.state(save=slow_save, load=lambda folder: None)
        list(run.steps(3))

    executor = opened(train, clock="wall")
    executor.submit("worker-1", (order(0, ask_at=0, storage=FolderStorage(tmp_path)),))
    executor.send("worker-1", Save(trial=0))
    while not saving.is_set():
        executor.poll(0.01)
    executor.kill("worker-1", "it hung")
    released.set()
    deadline = time.monotonic() + 5
    while not saved.is_dir() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert saved.is_dir()
    time.sleep(0.1)  # it comes to its decision point, and waits there for a turn that never comes
    assert not executor.turn.acquire(blocking=False)


def test_threads_end_with_the_executor() -> None:
    before = threading.active_count()
    executor = LocalExecutor(function=steps(1_000_000))
    executor.open(Job(study="s", function="not:looked.up", search_path=(), objective="score"), 3)
    executor.submit("worker-1", (order(0),))
    executor.submit("worker-2", (order(1, ask_at=0),))
    for _ in range(5):
        executor.poll(0.01)
    executor.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.005)
    assert threading.active_count() <= before


# ── the virtual clock ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stopping", ["off", "asha"])
def test_on_the_virtual_clock_it_makes_no_difference_how_long_a_step_really_takes(
    tmp_path: Path, stopping: str
) -> None:
    def trained(slow_s: float) -> tuner.Study:
        def training(run: Run) -> None:
            for step in run.steps(80):
                if slow_s and step == 5 + run.seed % 3:  # longer than a turn, or than the coordinator looks away
                    time.sleep(slow_s)
                run.report(score=-((run.params["x"] - 0.3) ** 2), loss=1.0 / (step + 1))

        return tuner.sweep(
            training,
            Space(x=linear(0.0, 1.0)),
            name="s",
            objective="score",
            trials=12,
            parallel=8,
            stopping=stopping,
            executor="local",
            clock="virtual",
            store="memory",
            progress="off",
            results=tmp_path / str(slow_s),
        )

    quick, *slow = trained(0.0), trained(0.03), trained(0.06)
    for table in ("trials", "reports", "segments", "rounds", "notes"):
        assert [getattr(other, table).equals(getattr(quick, table)) for other in slow] == [True, True], table
