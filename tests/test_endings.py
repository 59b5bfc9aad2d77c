"""How a study ends before its time: the step in training is waited for, and what was begun has an end on record."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE_S

import tuner
from tuner import Run, Space, Study, log
from tuner.api.assignment import assign
from tuner.api.process import run_coordinator
from tuner.coordinator.observers import Status
from tuner.executors.local import LocalExecutor
from tuner.record.location import Place
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.views.terminal import Progress
from tuner.worker.function import portable
from tuner.worker.messages import Event

SPACE = Space(rate=log(1e-4, 1.0))


class Count:
    """What is trained."""

    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


class Long:
    """A training function of three steps, the second of which takes until it is `released`."""

    def __init__(self, *, saves: bool = True) -> None:
        self.saves = saves
        self.begun, self.released = threading.Event(), threading.Event()
        self.calls: list[int] = []

    def __call__(self, run: Run) -> None:
        count = Count()
        if self.saves:
            run.state(count)
        self.calls.append(run.seed)
        for step in run.steps(3):
            if step == 1:
                self.begun.set()
                self.released.wait(PATIENCE_S)
            count.steps += 1
            run.report(score=float(step))


class Watcher:
    """Looks on, does `act` once the long step has begun, and notes what is waited for."""

    def __init__(self, long: Long, act: Callable[[], None] = lambda: None, *, then: Callable[[], None]) -> None:
        self.long, self.act, self.then = long, act, then
        self.acted = self.told = False
        self.waited: list[str] = []

    def show(self, study: StudyState, status: Status) -> None:
        if self.long.begun.is_set() and study.counts.get("running", 0) and not self.acted:
            self.acted = True
            self.act()
        if status.waiting_because is not None:
            self.waited.append(status.waiting_because)
            if not self.told:
                self.told = True
                self.then()

    def close(self) -> None:
        self.long.released.set()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def stop(results: Path) -> Callable[[], None]:
    def ask() -> None:
        store = Store.open(results / "s" / "study.db")
        store.request("stop", {}, by="ann", why="evening")
        store.close()

    return ask


def sweep(results: Path, long: Long, **more: Any) -> Study:
    def train(run: Run) -> None:
        long(run)

    options: dict[str, Any] = {"trials": 2, "sampler": "random", "stopping": "off", "progress": "off", **more}
    return tuner.sweep(train, SPACE, name="s", objective="score", executor="local", results=results, **options)


def states(results: Path) -> list[tuple[str, int]]:
    study = tuner.open("s", results=results)
    try:
        return [(trial.state, trial.steps) for trial in study.state.trials]
    finally:
        study.close()


# ── the step is waited for ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ending", ["a stop", "a time budget"])
def test_a_long_step_is_waited_for_with_a_line_that_says_so(tmp_path: Path, ending: str) -> None:
    long = Long()
    budget = 0.2 if ending == "a time budget" else None
    watcher = Watcher(long, stop(tmp_path) if budget is None else lambda: None, then=long.released.set)
    sweep(tmp_path, long, progress=watcher, time_budget_s=budget, trials=1).close()
    assert states(tmp_path) == [("stopped", 2)]
    assert watcher.waited[0].startswith("waiting for trial 0 to finish its step (Ctrl-C twice")
    sweep(tmp_path, long, trials=1).close()
    assert len(long.calls) == 1, "what was stopped is not trained again"


def test_a_first_interrupt_waits_for_the_step_and_the_next_start_goes_on_after_it(tmp_path: Path) -> None:
    long = Long()
    watcher = Watcher(long, interrupt, then=long.released.set)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, long, progress=watcher, trials=1)
    assert states(tmp_path) == [("paused", 2)]
    assert "finish its step (Ctrl-C again to leave it)" in watcher.waited[0]
    study = sweep(tmp_path, long, trials=1)
    assert states(tmp_path) == [("completed", 3)]
    assert study.segments["from_step"].tolist() == [0, 2]
    study.close()


def test_a_function_that_cannot_be_saved_is_interrupted_after_its_step_and_begins_anew(tmp_path: Path) -> None:
    long = Long(saves=False)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, long, progress=Watcher(long, interrupt, then=long.released.set), trials=1)
    assert states(tmp_path) == [("paused", 2)]
    study = sweep(tmp_path, long, trials=1)
    assert study.segments["from_step"].tolist() == [0, 0]
    assert states(tmp_path) == [("completed", 3)]
    study.close()


def test_several_steps_are_waited_for_together(tmp_path: Path) -> None:
    long = Long()
    options: dict[str, Any] = {"parallel": 8, "trials": 8, "clock": "wall"}
    watcher = Watcher(long, stop(tmp_path), then=long.released.set)
    sweep(tmp_path, long, progress=watcher, **options).close()
    assert set(states(tmp_path)) <= {("stopped", 1), ("stopped", 2), ("stopped", 0), ("waiting", 0)}
    assert any("to finish" in each for each in watcher.waited)


# ── and may be left ─────────────────────────────────────────────────────────────────────────────


def test_a_second_interrupt_leaves_the_step_and_the_trial_goes_on_at_the_next_start(tmp_path: Path) -> None:
    long = Long()
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, long, progress=Watcher(long, interrupt, then=interrupt), trials=1, checkpoint_every_s=0)
    ((state, steps),) = states(tmp_path)
    assert (state, steps) == ("lost", 1)
    study = tuner.open("s", results=tmp_path)
    assert "midst of a step" in study.state.trials[0].why
    study.close()
    study = sweep(tmp_path, long, trials=1)
    assert states(tmp_path) == [("completed", 3)]
    assert study.segments["from_step"].tolist() == [0, 1]
    study.close()


def test_a_step_left_in_a_sweep_that_was_stopped_ends_its_trial_for_good(tmp_path: Path) -> None:
    long = Long()

    def twice() -> None:
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, long, progress=Watcher(long, stop(tmp_path), then=twice), trials=1)
    assert states(tmp_path) == [("stopped", 1)]
    sweep(tmp_path, long, trials=1).close()
    assert len(long.calls) == 1


def test_whoever_stops_a_sweep_that_is_being_interrupted_has_it_stopped(tmp_path: Path) -> None:
    long = Long()

    def stop_and_go() -> None:
        stop(tmp_path)()
        threading.Timer(0.5, long.released.set).start()

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, long, progress=Watcher(long, interrupt, then=stop_and_go), trials=1)
    assert states(tmp_path) == [("stopped", 2)]


def test_a_hung_step_is_ended_by_its_limit_though_the_sweep_was_stopped(tmp_path: Path) -> None:
    long = Long()
    watcher = Watcher(long, stop(tmp_path), then=lambda: None)
    sweep(tmp_path, long, progress=watcher, trials=1, silence_limit_s=2.0).close()
    assert states(tmp_path) == [("failed", 1)]


def test_a_trial_that_waits_to_be_tried_again_is_stopped_with_the_sweep(tmp_path: Path) -> None:
    long = Long()
    long.released.set()
    tries: list[int] = []

    def train(run: Run) -> None:
        for step in run.steps(3):
            run.report(score=float(step))
            if run.seed not in tries:
                tries.append(run.seed)
                stop(tmp_path)()
                time.sleep(0.2)
                raise ConnectionError("the data did not come")

    tuner.sweep(
        train,
        SPACE,
        name="s",
        objective="score",
        executor="local",
        results=tmp_path,
        trials=1,
        retries=3,
        sampler="random",
        stopping="off",
        progress="off",
    ).close()
    assert [state for state, _ in states(tmp_path)] == ["stopped"]


# ── a babysat run ───────────────────────────────────────────────────────────────────────────────


class Interrupting(LocalExecutor):
    """Interrupts its own process `times` once the long step has begun, a moment between."""

    def __init__(self, long: Long, times: int) -> None:
        super().__init__(function=long)
        self.long, self.times = long, times
        self.next_at = 0.0

    def poll(self, timeout_s: float) -> list[Event]:
        events = super().poll(timeout_s)
        if self.long.begun.is_set() and self.times and time.monotonic() > self.next_at:
            self.times -= 1
            self.next_at = time.monotonic() + 0.2
            interrupt()
            if not self.times:
                threading.Timer(0.2, self.long.released.set).start()
        return events


def train_somewhere(run: Run) -> None:
    """Stands for the function; the executor has its own."""


@pytest.mark.parametrize(("times", "state", "steps"), [(1, "lost", 2), (2, "lost", 1)])
def test_a_babysat_run_ends_its_step_when_it_is_interrupted_once_and_is_left_when_twice(
    tmp_path: Path, times: int, state: str, steps: int
) -> None:
    place = Place.of("s", tmp_path, None)
    assign(
        portable(train_somewhere),
        place.folder,
        name="s",
        params={"rate": 0.1},
        objective="score",
        goal="maximize",
        space=None,
        seed=0,
        trial_seed=7,
        executor="local",
        cpus=1,
        gpus=0,
        address=None,
        checkpoint_every_s=0.0,
        disk_budget_gb=1.0,
        revert="in place",
        purpose="search",
        parent=None,
        why="to see",
        checkpoint=None,
        from_step=0,
        level="off",
    )
    long = Long()
    with pytest.raises(KeyboardInterrupt):
        run_coordinator(place.folder, Interrupting(long, times))
    assert states(tmp_path) == [(state, steps)]
    long.released.set()
    run_coordinator(place.folder, LocalExecutor(function=long))
    assert states(tmp_path) == [("completed", 3)]


# ── how it is said ──────────────────────────────────────────────────────────────────────────────


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_the_display_says_what_is_waited_for_at_once(kind: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    file = kind()
    progress, study = Progress(file), StudyState(name="s", objective="score")
    for because in (None, "waiting for trial 3 to finish its step"):
        progress.show(
            study, Status(workers=1, busy=1, elapsed_s=1.0, trials_wanted=4, waiting_because=because, note=None)
        )
    assert "waiting for trial 3" in file.getvalue()
    progress.close()
