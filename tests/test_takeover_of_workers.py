"""A worker that outlives its coordinator: the thread that lives in a Ray actor, and coordinators that come and go."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE_S

from tuner.api.assignment import assign
from tuner.api.handles import RunHandle
from tuner.api.process import run_coordinator
from tuner.errors import StudyBusy
from tuner.executors.thread import WorkerThread
from tuner.record.location import Place
from tuner.record.recipe import Recipe
from tuner.record.store import Store
from tuner.worker import saving
from tuner.worker.function import portable
from tuner.worker.messages import Command, Delivered, Ended, Event, Job, Order, Pause, Resume, Stop, WorkerReady
from tuner.worker.run import Run


class Count:
    """What is trained."""

    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


def counts(run: Run) -> None:
    count = Count()
    run.state(count)
    for _ in run.steps(1_000_000):
        count.steps += 1
        run.report(score=float(count.steps), rate=run.params["rate"])
        time.sleep(0.002)


class Killed(BaseException):
    """The coordinator ends here, as by SIGKILL: what it was told last is on no record."""


def never(events: list[Event]) -> None:
    """Nothing goes wrong."""


class Ward:
    """The folder of a run, and the one worker that stays when coordinators go."""

    def __init__(self, folder: Path, **options: Any) -> None:
        given: dict[str, Any] = {
            "params": {"rate": 1.0},
            "objective": "score",
            "goal": "maximize",
            "space": None,
            "seed": 0,
            "trial_seed": 7,
            "executor": "local",
            "cpus": 1,
            "gpus": 0,
            "address": None,
            "checkpoint_every_s": 0.0,
            "disk_budget_gb": 1.0,
            "revert": "in place",
            "purpose": "search",
            "parent": None,
            "why": "to see",
            "checkpoint": None,
            "from_step": 0,
            "level": "off",
            **options,
        }
        self.place = Place.of("one", folder, None)
        assign(portable(counts), self.place.folder, name="one", **given)
        self.worker: WorkerThread | None = None
        self.ended = 0
        self.failures: list[BaseException] = []
        self.handles: list[RunHandle] = []
        self.coordinators: list[threading.Thread] = []

    def run_coordinator(self, trouble: Callable[[list[Event]], None] = never) -> RunHandle:
        """Starts a coordinator; `trouble` sees what it is told before it does, and may raise."""

        def live() -> None:
            try:
                run_coordinator(self.place.folder, OneWorker(self, trouble))
            except BaseException as error:
                self.failures.append(error)

        thread = threading.Thread(target=live, daemon=True)
        thread.start()
        self.coordinators.append(thread)
        wait_until(lambda: _held(self.place))
        handle = RunHandle(self.place, Store.open(self.place.existing()), by="ada")
        self.handles.append(handle)
        return handle

    def gone(self) -> None:
        """Waits until the newest coordinator is gone."""
        self.coordinators[-1].join(PATIENCE_S)
        assert not self.coordinators[-1].is_alive()

    @property
    def saved(self) -> int:
        """The step of the newest checkpoint that lies on disk."""
        folder = self.place.folder / "checkpoints" / "0"
        return max((int(each.name.split("-")[1]) for each in folder.glob("[0-9]*-*")), default=0)

    def close(self) -> None:
        for handle in self.handles:
            handle.close()
        if self.worker is not None:
            self.worker.send(Stop(trial=0, state="stopped", why="the test is over"))


class OneWorker:
    """An executor over the ward's worker: what `RayExecutor` is over an actor."""

    outlives = True

    def __init__(self, ward: Ward, trouble: Callable[[list[Event]], None]) -> None:
        self.ward, self.trouble = ward, trouble
        self.heard = 0
        self.greeted = False

    @property
    def worker(self) -> WorkerThread:
        assert self.ward.worker is not None
        return self.ward.worker

    def open(self, job: Job, parallel: int | None, delivered: Mapping[str, int] | None = None) -> int:
        self.ward.worker = self.ward.worker or WorkerThread(counts, job)
        self.heard = (delivered or {}).get(self.worker.incarnation, 0)
        return 1

    def submit(self, worker: str, orders: tuple[Order, ...]) -> None:
        self.worker.submit(orders)

    def send(self, worker: str, command: Command) -> None:
        self.worker.send(command)

    def poll(self, timeout_s: float) -> list[Event]:
        events: list[Event] = []
        if not self.greeted:
            self.greeted = True
            events.append(WorkerReady(worker="w", node="n", pid=os.getpid(), training=self.worker.training(self.heard)))
            return events
        self.heard, said = self.worker.poll(self.heard, timeout_s)
        events += [("w", each) for each in said]
        events.append(Delivered(worker="w", incarnation=self.worker.incarnation, batch=self.heard))
        self.trouble(events)
        return events

    def kill(self, worker: str, why: str) -> None:
        raise AssertionError("nothing hangs here")

    def resize(self, parallel: int) -> None:
        pass

    def elapsed(self) -> float:
        return time.monotonic()

    def obstacle(self) -> str | None:
        return None

    def now(self) -> float:
        return time.time()

    def leave(self) -> None:
        pass

    def close(self) -> None:
        self.ward.ended += 1


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path / "results")
    yield ward
    ward.close()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.005)


def _held(place: Place) -> bool:
    if not place.is_there:
        return False
    store = Store.open(place.existing())
    try:
        return store.holder(time.time()) is not None and bool(store.brief()["trials"])
    finally:
        store.close()


def steps_of(handle: RunHandle) -> int:
    study = handle.study
    try:
        return study.state.trials[0].steps
    finally:
        study.close()


def state_of(handle: RunHandle) -> str:
    study = handle.study
    try:
        return study.state.trials[0].state
    finally:
        study.close()


def at_step(step: int, error: type[BaseException] = Killed) -> Callable[[list[Event]], None]:
    """Raises as soon as the run is heard to have come so far."""

    def trouble(events: list[Event]) -> None:
        for event in events:
            if isinstance(event, tuple) and getattr(event[1], "last_step", -1) >= step:
                raise error("the network broke")

    return trouble


def at_the_end(events: list[Event]) -> None:
    """Kills the coordinator when it is told that the worker has given the run back."""
    if any(isinstance(event, tuple) and isinstance(event[1], Ended) for event in events):
        raise Killed


# ── what the worker saved while nobody listened ─────────────────────────────────────────────────


@pytest.mark.parametrize("takeovers", [1, 2])
def test_a_takeover_keeps_the_checkpoints_that_the_orphaned_worker_wrote(ward: Ward, takeovers: int) -> None:
    handle = ward.run_coordinator(at_step(5))
    for _ in range(takeovers - 1):
        ward.gone()
        here = ward.saved
        wait_until(lambda: ward.saved > here + 10)  # noqa: B023 - it is waited for at once
        handle = ward.run_coordinator(at_step(ward.saved))
    ward.gone()
    alone = ward.saved
    wait_until(lambda: ward.saved > alone + 10)
    handle = ward.run_coordinator()
    wait_until(lambda: steps_of(handle) > alone + 20)
    assert handle.checkpoint().state == "applied"
    handle.stop()
    study = handle.wait(PATIENCE_S)
    kept = study.state.kept(study.state.trials[0])
    missing = [each.step for each in kept if not (ward.place.folder / each.path).is_dir()]
    assert kept
    assert missing == []
    assert set(study.segments["cause"]) == {"start"}, "nothing was trained twice"
    assert study.reports["step"].nunique() == study.state.trials[0].steps, "no report was lost"


def test_what_nobody_ever_tells_of_is_cleared_away_once_the_worker_has_been_heard_out(ward: Ward) -> None:
    ward.run_coordinator(at_step(5))
    ward.gone()
    stray = ward.place.folder / "checkpoints" / "0" / "7-5"
    shutil.copytree(next(stray.parent.glob("0-*")), stray)
    handle = ward.run_coordinator()
    reached = steps_of(handle)
    wait_until(lambda: steps_of(handle) > reached + 10)
    assert stray.is_dir()  # the worker may yet tell of it
    handle.stop()
    handle.wait(PATIENCE_S).close()
    assert not stray.exists()


# ── a run that was released before its coordinator died ─────────────────────────────────────────


@pytest.mark.parametrize("heard", [True, False], ids=["the release is on record", "nobody heard of the release"])
@pytest.mark.parametrize("verb", ["resume", "stop", "revert"])
def test_a_run_that_was_released_and_taken_over_does_as_it_is_told(ward: Ward, verb: str, heard: bool) -> None:
    died = threading.Event()

    def dies_later(events: list[Event]) -> None:
        if died.is_set():
            raise Killed

    handle = ward.run_coordinator(dies_later if heard else at_the_end)
    saved = handle.checkpoint().step
    if heard:
        assert handle.pause(release=True).state == "applied"
    else:
        handle._store.request("pause", {"release": True}, by="ada", why="", request="mine")
    wait_until(lambda: not heard or state_of(handle) == "paused")
    died.set()
    ward.gone()
    handle = ward.run_coordinator()
    if verb == "resume":
        assert handle.resume().state == "applied"
        reached = steps_of(handle)
        wait_until(lambda: steps_of(handle) > reached + 5)
    elif verb == "revert":
        assert handle.revert(step=saved).state == "applied"
        assert handle.resume().state == "applied"
        wait_until(lambda: steps_of(handle) > (saved or 0) + 2)
    assert handle.stop("enough").state == "applied"
    study = handle.wait(PATIENCE_S)
    assert (study.state.trials[0].state, study.state.trials[0].why) == ("stopped", "enough")
    assert set(study.requests["state"]) == {"applied"}


def test_whoever_resumes_a_run_before_it_has_given_its_worker_back_is_not_forgotten(ward: Ward) -> None:
    handle = ward.run_coordinator()
    wait_until(lambda: steps_of(handle) > 5)
    for number, (verb, arguments) in enumerate([("pause", {"release": True}), ("resume", {})] * 3):
        handle._store.request(verb, arguments, by="ada", why="", request=f"r{number}")
    reached = steps_of(handle)
    wait_until(lambda: steps_of(handle) > reached + 10)
    assert handle.stop("enough").state == "applied"
    study = handle.wait(PATIENCE_S)
    assert study.state.trials[0].why == "enough"
    assert set(study.requests["state"]) == {"applied"}


# ── a revert that is quicker than the disk ──────────────────────────────────────────────────────


def test_a_revert_waits_for_the_moment_before_the_change_to_be_on_disk(tmp_path: Path) -> None:
    ward, written = Ward(tmp_path / "results", checkpoint_every_s=1000.0), threading.Event()
    try:
        handle = ward.run_coordinator()
        wait_until(lambda: steps_of(handle) > 5)
        saving._WRITER.submit(written.wait, PATIENCE_S)  # the disk is busy
        changed = handle.set(rate=2.0)
        handle._store.request("revert", {}, by="ada", why="", request="back")
        handle._store.request("set", {"values": {"rate": 3.0}}, by="ada", why="", request="then")
        assert handle.note("a turn of the loop later").state == "applied"
        assert handle._store.answer("back") is None
        written.set()
        wait_until(lambda: (found := handle._store.answer("then")) is not None and found.state == "applied")
        back = handle._store.answer("back")
        assert back is not None
        assert (back.state, back.step) == ("applied", changed.step)
        handle.stop()
        study = handle.wait(PATIENCE_S)
        assert study.segments["cause"].tolist() == ["start", "adjust", "revert", "adjust"]
        study.close()
    finally:
        written.set()
        ward.close()


def test_an_undo_of_a_revert_waits_for_what_the_revert_gave_up_to_be_on_disk(tmp_path: Path) -> None:
    ward, written = Ward(tmp_path / "results", checkpoint_every_s=1000.0), threading.Event()
    try:
        handle = ward.run_coordinator()
        wait_until(lambda: steps_of(handle) > 5)
        kept = handle.checkpoint().step
        wait_until(lambda: steps_of(handle) > (kept or 0) + 3)
        saving._WRITER.submit(written.wait, PATIENCE_S)  # the disk is busy
        gave_up = steps_of(handle)
        assert handle.revert(step=kept).state == "applied"
        handle._store.request("undo", {}, by="ada", why="", request="back")
        assert handle.note("a turn of the loop later").state == "applied"
        assert handle._store.answer("back") is None
        written.set()
        wait_until(lambda: handle._store.answer("back") is not None)
        wait_until(lambda: (found := handle._store.answer("back")) is not None and found.state == "applied")
        back = handle._store.answer("back")
        assert back is not None
        assert back.step is not None
        assert back.step >= gave_up
        handle.stop()
        handle.wait(PATIENCE_S).close()
    finally:
        written.set()
        ward.close()


# ── a coordinator that fails ────────────────────────────────────────────────────────────────────


def test_a_coordinator_that_fails_leaves_its_worker_training_and_the_next_takes_it_over(ward: Ward) -> None:
    ward.run_coordinator(at_step(5, RuntimeError))
    ward.gone()
    assert [type(each) for each in ward.failures] == [RuntimeError]
    assert ward.ended == 0
    alone = ward.saved
    wait_until(lambda: ward.saved > alone + 5)
    handle = ward.run_coordinator()
    handle.stop()
    study = handle.wait(PATIENCE_S)
    ward.gone()
    assert set(study.segments["cause"]) == {"start"}
    assert ward.ended == 1  # the run is over, and the worker with it


def test_a_coordinator_that_lost_its_lease_leaves_the_worker_to_its_successor(ward: Ward) -> None:
    handle = ward.run_coordinator()
    wait_until(lambda: steps_of(handle) > 5)
    with sqlite3.connect(ward.place.folder / "study.db") as connection:
        connection.execute("UPDATE lease SET epoch = epoch + 1")
    connection.close()
    ward.gone()
    assert [type(each) for each in ward.failures] == [StudyBusy]
    assert ward.ended == 0


# ── what the worker makes of it ─────────────────────────────────────────────────────────────────


def order(segment: int) -> Order:
    return Order(trial=0, segment=segment, recipe=Recipe.constant({"rate": 1.0}), seed=0)


def few(run: Run) -> None:
    for step in run.steps(3):
        run.report(score=float(step))


def hear_out(worker: WorkerThread, heard: int) -> tuple[int, list[Any]]:
    """Everything up to an `Ended`."""
    told: list[Any] = []
    deadline = time.monotonic() + PATIENCE_S
    while not any(isinstance(each, Ended) for each in told):
        assert time.monotonic() < deadline
        heard, said = worker.poll(heard, 0.05)
        told += said
    return heard, told


def test_a_worker_trains_until_whoever_listens_has_its_end_on_record() -> None:
    worker = WorkerThread(few, Job(study="s", function="", search_path=(), objective="score"))
    assert worker.training(0) is None
    worker.submit((order(0),))
    assert worker.training(0) == 0
    heard, _ = hear_out(worker, 0)
    assert worker.training(heard - 1) == 0  # whoever listened died before it wrote that down
    assert worker.training(heard) is None
    worker.submit((order(1),))
    heard, again = hear_out(worker, heard)
    assert worker.training(heard) is None
    assert [each.segment for each in again if isinstance(each, Ended)] == [1]


def test_what_was_meant_for_an_order_before_does_not_reach_the_next() -> None:
    worker = WorkerThread(few, Job(study="s", function="", search_path=(), objective="score"))
    worker.submit((order(0),))
    heard, _ = hear_out(worker, 0)
    worker.send(Stop(trial=0, state="stopped", why="late"))
    worker.send(Resume(trial=0, request="late"))
    worker.send(Pause(trial=0, why="late"))
    worker.submit((order(1),))
    _, said = hear_out(worker, heard)
    assert [each.state for each in said if isinstance(each, Ended)] == ["completed"]
    assert [type(each).__name__ for each in said if type(each).__name__ in ("Did", "Held")] == []
