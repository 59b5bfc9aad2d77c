"""What every executor guarantees to the coordinator, whoever trains and whatever the clock."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from waiting import PATIENCE_S

from tuner.errors import TunerError
from tuner.executors.base import Executor
from tuner.record.events import Reported
from tuner.record.recipe import Recipe
from tuner.record.reports import unpack_reports
from tuner.worker import checkpoints
from tuner.worker.divergence import DivergenceAlarm
from tuner.worker.messages import (
    Continue,
    Ended,
    Event,
    Forget,
    Forgot,
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
    WorkerEvent,
    WorkerLost,
    WorkerReady,
)
from tuner.worker.run import Run
from tuner.worker.storage import FolderStorage

FOREVER = 1_000_000
HERE = (str(Path(__file__).parent), str(Path(__file__).parents[1]))  # what this file imports must be found by workers

# ── what is trained ─────────────────────────────────────────────────────────────────────────────


class Counter:
    def __init__(self) -> None:
        self.total = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.total = state["total"]


def train(run: Run) -> None:
    counter = Counter()
    run.state(counter)
    for step in run.steps(run.params["steps"]):
        counter.total += run.params["rate"] / (step + 1)
        run.report(score=counter.total, loss=-counter.total)
        time.sleep(run.params.get("pause_s", 0.0))


def stateless(run: Run) -> None:
    for step in run.steps(run.params["steps"]):
        run.report(score=step)
        time.sleep(run.params.get("pause_s", 0.0))


def fails(run: Run) -> None:
    for step in run.steps(10):
        run.report(score=1 / (3 - step))


def exits(run: Run) -> None:
    raise SystemExit(3)


def forks(run: Run) -> None:
    """Children that leave in every way; what is reported is with which code each did."""
    for step in run.steps(4):
        child = os.fork()
        if child == 0:
            if step == 3:
                return
            if step == 2:
                raise ValueError("in a child")
            sys.exit(7 * step)
        deadline = time.monotonic() + PATIENCE_S
        gone, status = 0, 0
        while not gone and time.monotonic() < deadline:
            gone, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.001)
        if not gone:
            os.kill(child, signal.SIGKILL)
        run.report(score=os.waitstatus_to_exitcode(status) if gone else -1)


def hangs_once(run: Run) -> None:
    """Hangs in its third step until the file `released` is there."""
    for step in run.steps(5):
        while step == 2 and not Path(run.params["released"]).exists():
            time.sleep(0.01)
        run.report(score=step)


def explodes(run: Run) -> None:
    for step in run.steps(50):
        run.report(score=10.0**step if step < 5 else float("inf"))


# ── the bench ───────────────────────────────────────────────────────────────────────────────────

T = TypeVar("T", bound=WorkerEvent)


@dataclass
class Bench:
    """An executor, and all it has said."""

    executor: Executor
    parallel: int
    dear: bool  # a worker is a process of its own
    folder: Path
    events: list[Event]

    def open(self, function: Callable[[Run], None], parallel: int | None = None, **options: Any) -> list[str]:
        """Opens the executor for this function; the names of its workers once all stand."""
        parallel = parallel or self.parallel
        job = Job(
            study="contract",
            function=f"test_executors:{function.__name__}",
            search_path=HERE,
            objective="score",
            **options,
        )
        assert self.executor.open(job, parallel) == parallel
        self.until(lambda: len(self.workers()) == parallel)
        return self.workers()

    def worker(self, function: Callable[[Run], None], **options: Any) -> str:
        """One worker for this function; others may stand idle beside it, where that costs nothing."""
        return self.open(function, 1 if self.dear else None, **options)[0]

    def workers(self) -> list[str]:
        """Those that stand, in the order they came."""
        standing: list[str] = []
        for event in self.events:
            if isinstance(event, WorkerReady):
                standing.append(event.worker)
            elif isinstance(event, WorkerLost):
                standing.remove(event.worker)
        return standing

    def order(self, trial: int, steps: int = 5, **more: Any) -> Order:
        params = {"steps": steps, "rate": 0.5, **more.pop("params", {})}
        return Order(trial=trial, segment=more.pop("segment", 0), recipe=Recipe.constant(params), seed=trial, **more)

    def until(self, done: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
        """Polls until `done`."""
        deadline = time.monotonic() + patience_s
        while not done():
            assert time.monotonic() < deadline, (
                f"waited in vain; the last events: {[_brief(each) for each in self.events[-20:]]}"
            )
            self.events.extend(self.executor.poll(0.05))

    def linger(self, seconds: float = 0.1) -> None:
        """Polls for a while, to see that nothing comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.events.extend(self.executor.poll(0.02))

    def said(self, trial: int, kind: type[T]) -> list[T]:
        """Everything of one kind that was said of a trial."""
        return [
            event[1]
            for event in self.events
            if isinstance(event, tuple) and isinstance(event[1], kind) and event[1].trial == trial
        ]

    def told(self) -> list[tuple[str, WorkerEvent]]:
        """What workers said, with their names."""
        return [event for event in self.events if isinstance(event, tuple)]

    def ended(self, trial: int) -> Ended:
        """How a trial ended, once it has."""
        self.until(lambda: self.said(trial, Ended))
        (ended,) = self.said(trial, Ended)
        return ended

    def scores(self, trial: int, name: str = "score") -> list[tuple[int, float]]:
        rows = [row for flush in self.said(trial, Reported) for row in unpack_reports(flush)]
        return [(step, value) for step, found, value, _ in rows if found == name]


def _brief(event: Event) -> str:
    return type(event[1]).__name__ if isinstance(event, tuple) else repr(event)


def local(clock: Any) -> Executor:
    from tuner.executors.local import LocalExecutor

    return LocalExecutor(clock=clock)


def on_ray() -> Executor:
    from tuner.executors.ray import RayExecutor

    return RayExecutor()


def played() -> Executor:
    from played import Played

    return Played()


EXECUTORS: dict[str, tuple[Callable[[], Executor], int]] = {
    "local": (lambda: local("wall"), 1),
    "local, 3 workers": (lambda: local("wall"), 3),
    "local, virtual": (lambda: local("virtual"), 1),
    "local, virtual, 3 workers": (lambda: local("virtual"), 3),
    "ray, 2 workers": (on_ray, 2),
    "external, 2 programs": (played, 2),
}
# Those that call the function themselves know what it raised, and keep what it told them to save.
CALLING = [name for name in EXECUTORS if not name.startswith("external")]


@pytest.fixture(scope="module")
def connected(cluster: str) -> Iterator[None]:
    """This process is connected once for all tests: an executor that finds Ray connected leaves it so."""
    import ray

    ray.init(cluster, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def marked(names: Iterable[str], *further: pytest.MarkDecorator) -> list[Any]:
    return [pytest.param(name, marks=[pytest.mark.ray, *further] if name.startswith("ray") else []) for name in names]


# What a worker does by itself, between two messages, is the same code wherever it stands.
by_itself = pytest.mark.parametrize("bench", marked(EXECUTORS, pytest.mark.long), indirect=True)
called_by_itself = pytest.mark.parametrize("calling", marked(CALLING, pytest.mark.long), indirect=True)


@pytest.fixture(params=marked(EXECUTORS))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    yield from made(request, tmp_path)


@pytest.fixture(params=marked(CALLING))
def calling(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    yield from made(request, tmp_path)


def made(request: pytest.FixtureRequest, folder: Path) -> Iterator[Bench]:
    if request.param.startswith("ray"):
        request.getfixturevalue("connected")
    make, parallel = EXECUTORS[request.param]
    executor = make()
    yield Bench(executor=executor, parallel=parallel, dear=request.param.startswith("ray"), folder=folder, events=[])
    executor.close()


# ── orders ──────────────────────────────────────────────────────────────────────────────────────


def test_workers_announce_themselves_with_node_and_pid_before_anything_else(bench: Bench) -> None:
    names = bench.open(train)
    assert len(set(names)) == bench.parallel
    for event in bench.events:
        assert isinstance(event, WorkerReady)
        assert event.node
        assert event.pid > 0
    assert bench.executor.obstacle() is None


def test_an_order_starts_reports_and_ends_in_that_order(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0),))
    ended = bench.ended(0)
    kinds = [type(said) for _, said in bench.told() if said.trial == 0]
    assert kinds[0] is Started
    assert kinds[-1] is Ended
    assert Reported in kinds
    assert (ended.state, ended.step, ended.why) == ("completed", 5, "trained all 5 steps")
    assert ended.started <= ended.at


def test_no_report_is_lost_or_repeated_and_their_times_ascend(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, steps=300),))
    bench.ended(0)
    rows = [row for flush in bench.said(0, Reported) for row in unpack_reports(flush)]
    assert [step for step, name, *_ in rows if name == "score"] == list(range(1, 301))
    assert [step for step, name, *_ in rows if name == "loss"] == list(range(1, 301))
    times = [at for *_, at in rows]
    assert times == sorted(times)


@by_itself
def test_several_orders_at_once_are_trained_one_after_another_in_the_order_given(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, tuple(bench.order(trial) for trial in (4, 2, 7)))
    bench.executor.submit(worker, (bench.order(1),))
    bench.ended(1)
    marks = [(type(said).__name__, said.trial) for _, said in bench.told() if isinstance(said, Started | Ended)]
    assert marks == [(kind, trial) for trial in (4, 2, 7, 1) for kind in ("Started", "Ended")]


def test_all_workers_train_and_every_order_ends(bench: Bench) -> None:
    workers = bench.open(train)
    trials = range(4 * len(workers))
    for trial in trials:
        bench.executor.submit(workers[trial % len(workers)], (bench.order(trial),))
    for trial in trials:
        assert bench.ended(trial).state == "completed"
    by = {said.trial: name for name, said in bench.told()}
    assert by == {trial: workers[trial % len(workers)] for trial in trials}


def test_workers_train_side_by_side(bench: Bench) -> None:
    workers = bench.open(train)
    for trial, worker in enumerate(workers):
        bench.executor.submit(worker, (bench.order(trial, steps=60, params={"pause_s": 0.002}),))
    for trial in range(len(workers)):
        bench.ended(trial)
    starts = [bench.said(trial, Started)[0].at for trial in range(len(workers))]
    ends = [bench.said(trial, Ended)[0].at for trial in range(len(workers))]
    assert max(starts) < min(ends)


def test_a_checkpoint_brings_the_very_same_continuation(calling: Bench) -> None:
    worker = calling.worker(train)
    whole = calling.order(0, steps=12, storage=FolderStorage(calling.folder), checkpoint_every_s=0.0)
    calling.executor.submit(worker, (whole,))
    calling.ended(0)
    saved = next(each for each in calling.said(0, Saved) if 0 < each.step < 12)
    again = replace(whole, trial=1, segment=1, checkpoint=saved.path, from_step=saved.step)
    calling.executor.submit(worker, (again,))
    assert calling.ended(1).step == 12
    assert calling.scores(1) == [(step, score) for step, score in calling.scores(0) if step > saved.step]


@called_by_itself
def test_a_torn_checkpoint_fails_the_order_and_says_so(calling: Bench) -> None:
    worker = calling.worker(train)
    calling.executor.submit(
        worker, (calling.order(0, storage=FolderStorage(calling.folder), checkpoint="nothing", from_step=3),)
    )
    ended = calling.ended(0)
    assert ended.state == "failed"
    assert "CheckpointError" in ended.error


# ── how orders go wrong ─────────────────────────────────────────────────────────────────────────


@called_by_itself
def test_an_exception_ends_the_order_with_its_classes_and_the_users_frames_alone(calling: Bench) -> None:
    worker = calling.worker(fails)
    calling.executor.submit(worker, (calling.order(0), calling.order(1)))
    ended = calling.ended(0)
    assert (ended.state, ended.why, ended.step) == ("failed", "ZeroDivisionError: division by zero", 3)
    assert ended.error == ("ZeroDivisionError", "ArithmeticError", "Exception", "BaseException")
    assert "run.report(score=1 / (3 - step))" in ended.traceback
    assert "worker.py" not in ended.traceback
    assert calling.scores(0) == [(1, 1 / 3), (2, 1 / 2), (3, 1.0)]
    assert calling.ended(1).state == "failed"  # and the worker lives on


@called_by_itself
def test_an_exit_in_the_function_ends_the_order_not_the_worker(calling: Bench) -> None:
    worker = calling.worker(exits)
    calling.executor.submit(worker, (calling.order(0), calling.order(1)))
    assert (calling.ended(0).state, calling.ended(0).error) == ("failed", ("SystemExit", "BaseException"))
    assert calling.ended(1).why == "SystemExit: 3"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@called_by_itself
def test_a_forked_child_that_leaves_the_function_ends_there_and_says_nothing(
    calling: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = calling.worker(forks)
    calling.executor.submit(worker, (calling.order(0), calling.order(1, steps=2)))
    assert calling.ended(0).state == "completed"
    assert calling.scores(0) == [(1, 0.0), (2, 7.0), (3, 1.0), (4, 0.0)]
    calling.ended(1)
    assert len(calling.said(0, Started)) == len(calling.said(1, Started)) == 1


@by_itself
def test_the_alarm_ends_a_diverged_trial_at_once(bench: Bench) -> None:
    worker = bench.worker(explodes, alarm=DivergenceAlarm(objective="score", goal="maximize"))
    bench.executor.submit(worker, (bench.order(0),))
    ended = bench.ended(0)
    assert (ended.state, ended.step) == ("diverged", 6)
    assert "at step 6" in ended.why


def test_a_function_that_cannot_be_found_is_refused_with_a_sentence(calling: Bench) -> None:
    job = Job(study="contract", function="test_executors:trian", search_path=HERE, objective="score")
    with pytest.raises(TunerError, match="Did you mean train"):  # noqa: PT012 - at once, or when a worker has looked
        calling.executor.open(job, calling.parallel)
        calling.linger(PATIENCE_S)


# ── commands ────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_waits_for_its_verdict_and_asks_again_where_it_is_told(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, steps=9, ask_at=2),))
    bench.until(lambda: bench.said(0, Waiting))
    bench.linger()
    assert [score[0] for score in bench.scores(0)] == [1, 2]
    bench.executor.send(worker, Continue(trial=0, ask_at=6))
    bench.until(lambda: len(bench.said(0, Waiting)) == 2)
    assert [(each.step, each.segment) for each in bench.said(0, Waiting)] == [(2, 0), (6, 0)]
    bench.executor.send(worker, Continue(trial=0, ask_at=None))
    assert bench.ended(0).step == 9


@by_itself
def test_the_reports_of_a_step_arrive_before_the_question_about_it(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, ask_at=3),))
    bench.until(lambda: bench.said(0, Waiting))
    place = next(
        place for place, each in enumerate(bench.events) if isinstance(each, tuple) and isinstance(each[1], Waiting)
    )
    flushes = [each[1] for each in bench.events[:place] if isinstance(each, tuple) and isinstance(each[1], Reported)]
    assert [row[0] for flush in flushes for row in unpack_reports(flush) if row[1] == "score"] == [1, 2, 3]
    bench.executor.send(worker, Stop(trial=0, state="pruned", why="enough"))
    bench.ended(0)


@by_itself
def test_a_trial_that_asks_before_its_first_step_can_be_stopped_there(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, ask_at=0),))
    bench.until(lambda: bench.said(0, Waiting))
    bench.executor.send(worker, Stop(trial=0, state="stopped", why="nothing is left"))
    assert (bench.ended(0).step, bench.scores(0)) == (0, [])


@by_itself
def test_a_stop_at_a_decision_point_ends_the_trial_in_that_state_for_that_reason(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, ask_at=2), bench.order(1)))
    bench.until(lambda: bench.said(0, Waiting))
    bench.executor.send(worker, Stop(trial=0, state="pruned", why="in the worst half"))
    ended = bench.ended(0)
    assert (ended.state, ended.why, ended.step) == ("pruned", "in the worst half", 2)
    assert bench.ended(1).state == "completed"


def test_a_stop_takes_effect_between_two_steps(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, steps=FOREVER, params={"pause_s": 0.001}),))
    bench.until(lambda: bench.said(0, Reported))
    bench.executor.send(worker, Stop(trial=0, state="stopped", why="asked"))
    ended = bench.ended(0)
    assert ended.state == "stopped"
    assert bench.scores(0)[-1][0] == ended.step < FOREVER


@by_itself
def test_a_command_for_another_trial_changes_nothing(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, ask_at=2),))
    bench.until(lambda: bench.said(0, Waiting))
    bench.executor.send(worker, Stop(trial=5, state="stopped", why="meant for one long gone"))
    bench.executor.send(worker, Continue(trial=5, ask_at=None))
    bench.linger()
    assert not bench.said(0, Ended)
    bench.executor.send(worker, Continue(trial=0, ask_at=None))
    assert bench.ended(0).state == "completed"


def test_a_pause_stands_still_until_resumed(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, steps=FOREVER, params={"pause_s": 0.002}),))
    bench.until(lambda: bench.said(0, Started))
    bench.executor.send(worker, Pause(trial=0, why="lunch"))
    bench.until(lambda: bench.said(0, Held))
    bench.linger()
    seen = len(bench.scores(0))
    bench.linger()
    assert len(bench.scores(0)) == seen
    bench.executor.send(worker, Resume(trial=0))
    bench.until(lambda: len(bench.scores(0)) > seen)
    bench.executor.send(worker, Stop(trial=0, state="stopped", why="seen enough"))
    bench.ended(0)
    paused, resumed = bench.said(0, Held)
    assert (paused.state, paused.why, paused.step) == ("paused", "lunch", seen)
    assert (resumed.state, resumed.step) == ("running", seen)


@by_itself
def test_a_paused_trial_can_be_stopped(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, steps=FOREVER, params={"pause_s": 0.002}),))
    bench.until(lambda: bench.said(0, Started))
    bench.executor.send(worker, Pause(trial=0, why="lunch"))
    bench.until(lambda: bench.said(0, Held))
    bench.executor.send(worker, Stop(trial=0, state="stopped", why="home"))
    assert (bench.ended(0).state, bench.ended(0).why) == ("stopped", "home")


def test_a_releasing_pause_saves_and_frees_the_worker(calling: Bench) -> None:
    worker = calling.worker(train)
    slow = calling.order(0, steps=FOREVER, storage=FolderStorage(calling.folder), params={"pause_s": 0.002})
    calling.executor.submit(worker, (slow, calling.order(1)))
    calling.until(lambda: calling.said(0, Reported))
    calling.executor.send(worker, Pause(trial=0, why="another goes first", release=True))
    ended = calling.ended(0)
    assert ended.released
    assert ended.why == "another goes first"
    assert calling.ended(1).state == "completed"
    saved = calling.said(0, Saved)[-1]
    assert (saved.step, saved.kind) == (ended.step, "pause")
    checkpoints.verify(calling.folder / saved.path)


@by_itself
def test_a_releasing_pause_leaves_a_trial_without_state_training(bench: Bench) -> None:
    worker = bench.worker(stateless)
    bench.executor.submit(
        worker, (bench.order(0, steps=FOREVER, storage=FolderStorage(bench.folder), params={"pause_s": 0.002}),)
    )
    bench.until(lambda: bench.said(0, Reported))
    bench.executor.send(worker, Pause(trial=0, why="Ctrl-C", release=True))
    bench.linger()
    seen = len(bench.scores(0))
    bench.until(lambda: len(bench.scores(0)) > seen)
    bench.executor.send(worker, Stop(trial=0, state="stopped", why="seen enough"))
    assert not bench.ended(0).released


@called_by_itself
def test_a_save_is_whole_on_disk_when_it_is_announced(calling: Bench) -> None:
    worker = calling.worker(train)
    calling.executor.submit(worker, (calling.order(0, ask_at=4, storage=FolderStorage(calling.folder)),))
    calling.until(lambda: calling.said(0, Waiting))
    calling.executor.send(worker, Save(trial=0, kind="asked"))
    calling.until(lambda: calling.said(0, Saved))
    (saved,) = calling.said(0, Saved)
    assert (saved.kind, saved.step, saved.segment) == ("asked", 4, 0)
    checkpoints.verify(calling.folder / saved.path)
    calling.executor.send(worker, Continue(trial=0, ask_at=None))
    calling.ended(0)


def test_a_forgotten_order_is_never_started_and_said_to_be_forgotten(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, ask_at=2), bench.order(1), bench.order(2)))
    bench.until(lambda: bench.said(0, Waiting))
    bench.executor.send(worker, Forget(trial=1))
    bench.executor.send(worker, Continue(trial=0, ask_at=None))
    assert bench.ended(2).state == "completed"
    assert [said for _, said in bench.told() if said.trial == 1] == [Forgot(trial=1, segment=0)]


@by_itself
def test_an_order_after_a_forgotten_one_of_the_same_trial_is_trained(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, ask_at=2), bench.order(1)))
    bench.until(lambda: bench.said(0, Waiting))
    bench.executor.send(worker, Forget(trial=1))
    bench.executor.send(worker, Continue(trial=0, ask_at=None))
    bench.ended(0)
    bench.executor.submit(worker, (bench.order(1, segment=1),))
    assert bench.ended(1).segment == 1


def test_neither_submit_nor_send_waits_for_training(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, steps=1000, params={"pause_s": 0.05}),))
    bench.until(lambda: bench.said(0, Started))
    bench.executor.submit(worker, (bench.order(1),))
    bench.executor.send(worker, Stop(trial=0, state="stopped", why="asked"))
    assert bench.ended(0).state == "stopped"  # had either waited, all steps would have been trained
    assert bench.ended(1).state == "completed"


def test_a_poll_returns_though_a_step_has_not_ended(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, steps=1, params={"pause_s": 2.0}),))
    bench.until(lambda: bench.said(0, Started))
    bench.events.extend(bench.executor.poll(0.05))
    assert not bench.said(0, Ended)
    bench.ended(0)


# ── workers come and go ─────────────────────────────────────────────────────────────────────────


def test_a_killed_worker_is_lost_once_comes_back_and_says_nothing_of_its_old_life(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, steps=FOREVER, params={"pause_s": 0.001}), bench.order(1)))
    bench.until(lambda: bench.said(0, Reported))
    bench.executor.kill(worker, "for the test")
    bench.until(lambda: any(isinstance(each, WorkerLost) for each in bench.events))
    lost = next(place for place, each in enumerate(bench.events) if isinstance(each, WorkerLost))
    assert bench.events[lost] == WorkerLost(worker=worker, why="for the test")
    bench.until(lambda: worker in bench.workers())
    bench.linger()
    assert not [each for each in bench.events[lost + 1 :] if isinstance(each, tuple) and each[0] == worker]
    bench.executor.submit(worker, (bench.order(2),))
    assert bench.ended(2).state == "completed"
    assert not bench.said(0, Ended)
    assert not bench.said(1, Started)


def test_a_hung_function_is_killed_and_its_worker_comes_back(bench: Bench) -> None:
    worker = bench.worker(hangs_once)
    released = bench.folder / "released"
    params = {"released": str(released)}
    bench.executor.submit(worker, (bench.order(0, params=params),))
    bench.until(lambda: bench.said(0, Started))
    bench.linger(0.1)
    bench.executor.kill(worker, "no sign of life")
    bench.until(lambda: any(isinstance(each, WorkerLost) for each in bench.events) and worker in bench.workers())
    bench.executor.submit(worker, (bench.order(1, params=params),))
    bench.until(lambda: bench.said(1, Started))
    released.touch()
    assert bench.ended(1).state == "completed"
    bench.linger()
    assert not bench.said(0, Ended)


def test_a_trial_that_waits_can_be_killed(bench: Bench) -> None:
    worker = bench.worker(train)
    bench.executor.submit(worker, (bench.order(0, ask_at=1),))
    bench.until(lambda: bench.said(0, Waiting))
    bench.executor.kill(worker, "for the test")
    bench.until(lambda: any(isinstance(each, WorkerLost) for each in bench.events) and worker in bench.workers())
    bench.executor.submit(worker, (bench.order(1),))
    bench.ended(1)


def test_more_workers_come_when_asked(bench: Bench) -> None:
    bench.open(train)
    bench.executor.resize(bench.parallel + 1)
    bench.until(lambda: len(bench.workers()) == bench.parallel + 1)
    bench.executor.submit(bench.workers()[-1], (bench.order(0),))
    bench.ended(0)


def test_idle_workers_go_at_once_and_busy_ones_after_their_trial(bench: Bench) -> None:
    workers = bench.open(train)
    bench.executor.resize(bench.parallel + 1)
    bench.until(lambda: len(bench.workers()) == bench.parallel + 1)
    workers = bench.workers()
    for trial, worker in enumerate(workers):
        bench.executor.submit(worker, (bench.order(trial, steps=4, ask_at=2),))
    bench.until(lambda: all(bench.said(trial, Waiting) for trial in range(len(workers))))
    bench.executor.resize(1)
    bench.linger()
    assert bench.workers() == workers  # all are busy
    for trial, worker in enumerate(workers):
        bench.executor.send(worker, Continue(trial=trial, ask_at=None))
    for trial in range(len(workers)):
        assert bench.ended(trial).state == "completed"
    bench.until(lambda: len(bench.workers()) == 1)
    for event in bench.events:
        if isinstance(event, WorkerLost):
            assert event == WorkerLost(worker=event.worker, why="no longer needed", preempted=True)
    (stays,) = bench.workers()
    bench.executor.submit(stays, (bench.order(90),))
    bench.ended(90)


def test_of_idle_workers_those_not_needed_go_at_once(bench: Bench) -> None:
    bench.open(train)
    bench.executor.resize(bench.parallel + 2)
    bench.until(lambda: len(bench.workers()) == bench.parallel + 2)
    busy = bench.workers()[-1]
    bench.executor.submit(busy, (bench.order(0, ask_at=1),))
    bench.until(lambda: bench.said(0, Waiting))
    bench.executor.resize(1)
    bench.until(lambda: bench.workers() == [busy])
    bench.executor.send(busy, Continue(trial=0, ask_at=None))
    assert bench.ended(0).state == "completed"
