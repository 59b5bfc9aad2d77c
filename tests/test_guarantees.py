"""The guarantees of a babysat run, G1 to G12; each test names the one that it holds."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import stat
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from babysat import at_home, end_all, state_of, steps_of
from waiting import PATIENCE_S, wait_until

import tuner
from tuner import Space, choice, integer, log
from tuner.api.handles import RunHandle
from tuner.api.process import run_coordinator
from tuner.api.study import Study
from tuner.errors import SettingsError, StudyBusy, StudyError
from tuner.executors.base import Executor
from tuner.executors.local import LocalExecutor
from tuner.policy.segments import timeline
from tuner.record.location import Place
from tuner.record.recipe import Recipe
from tuner.record.reports import Row
from tuner.record.store import Store
from tuner.worker.messages import Event, Job, Order, RecipeChange, WorkerEvent
from tuner.worker.position import Position
from tuner.worker.run import Run
from tuner.worker.training import train

SPACE = Space(
    learning_rate=log(1e-4, 1.0), beta=log(0.5, 0.999), units=integer(4, 64), kind=choice("a", "b", changes="live")
)
START = {"learning_rate": 0.01, "beta": 0.9, "units": 8, "kind": "a"}


class Pace:
    """How walks on threads of this process go: a test holds them before their first step, or makes them slow."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.usual()

    def usual(self) -> None:
        self.step_s = 0.002
        self.go.set()

    def slow(self) -> None:
        """Leaves time to ask for many things before the last step."""
        self.step_s = 0.01

    def hurry(self) -> None:
        self.step_s = 0.0


PACE = Pace()

# ── what is trained ─────────────────────────────────────────────────────────────────────────────


class Walk:
    """A walk whose steps depend on the settings, a generator of its own, and both global generators."""

    def __init__(self, seed: int) -> None:
        self.place = 0.0
        self.own = np.random.default_rng(seed)

    def step(self, rate: float, beta: float) -> None:
        noise = self.own.standard_normal() + np.random.standard_normal() + random.random()
        self.place = beta * self.place + rate * noise

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place, "own": self.own.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]
        self.own.bit_generator.state = state["own"]


def walks(run: Run, steps: int = 60) -> None:
    np.random.seed(run.seed % 2**32)
    random.seed(run.seed)
    walk = Walk(run.seed)
    run.state(walk)
    PACE.go.wait()
    for _ in run.steps(steps):
        walk.step(run.params["learning_rate"], run.params["beta"])
        run.report(place=walk.place, rate=run.params["learning_rate"], beta=run.params["beta"])
        time.sleep(PACE.step_s)


def walks_on(run: Run) -> None:
    walks(run, steps=1_000_000)


def walks_far(run: Run) -> None:
    walks(run, steps=400)


def walks_farther(run: Run) -> None:
    walks(run, steps=1500)


def walks_without_a_state(run: Run) -> None:
    PACE.go.wait()
    for step in run.steps(1_000_000):
        run.report(place=float(step), rate=run.params["learning_rate"])
        time.sleep(PACE.step_s)


class Heavy:
    def __init__(self) -> None:
        self.content = np.zeros(6 * 2**20, dtype=np.uint8)

    def state_dict(self) -> dict[str, Any]:
        return {"content": self.content}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.content = state["content"]


def walks_heavily(run: Run) -> None:
    run.state(Heavy())
    for step in run.steps(1_000_000):
        run.report(place=float(step))
        time.sleep(PACE.step_s)


# ── a babysat run ───────────────────────────────────────────────────────────────────────────────


class Babysitter:
    """Babysat runs whose coordinators live on threads of this process, the real thing otherwise."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.threads: list[threading.Thread] = []
        self.handles: list[RunHandle] = []

    def assign(self, train: Any = walks_on, *, name: str = "one", **options: Any) -> Place:
        from tuner.api.assignment import assign
        from tuner.worker.function import portable

        given: dict[str, Any] = {
            "params": START,
            "objective": "place",
            "goal": "maximize",
            "space": SPACE.to_dict(),
            "seed": 0,
            "trial_seed": 7,
            "executor": "local",
            "cpus": 1,
            "gpus": 0,
            "address": None,
            "checkpoint_every_s": 10.0,
            "disk_budget_gb": 1.0,
            "revert": "in place",
            "purpose": "search",
            "parent": None,
            "why": "to see",
            "checkpoint": None,
            "from_step": 0,
            "extra_steps": 0,
            "level": "off",
            **options,
        }
        place = Place.of(name, self.results, None)
        assign(portable(train), place.folder, name=name, **given)
        return place

    def begin(self, place: Place, executor: Executor | None = None, *, until_step: int = 3) -> RunHandle:
        """Starts the coordinator, and waits until the run has come to a step."""
        thread = threading.Thread(target=run_coordinator, args=(place.folder, executor), daemon=True)
        thread.start()
        self.threads.append(thread)
        wait_until(lambda: place.is_there and _begun(place))
        handle = RunHandle(place, Store.open(place.existing()), by="ada")
        self.handles.append(handle)
        if until_step:
            wait_until(lambda: steps_of(handle) >= until_step)
        return handle

    def run(
        self, train: Any = walks_on, *, executor: Executor | None = None, until_step: int = 3, **options: Any
    ) -> RunHandle:
        return self.begin(self.assign(train, **options), executor, until_step=until_step)

    def hold(self, train: Any, *, executor: Executor | None = None, **options: Any) -> RunHandle:
        """A run that waits before its first step until `PACE.go` is set."""
        PACE.go.clear()
        return self.run(train, executor=executor, until_step=0, **options)

    def close(self) -> None:
        end_all(self.results)
        for handle in self.handles:
            handle.close()
        for thread in self.threads:
            thread.join(PATIENCE_S)


@pytest.fixture
def babysitter(tmp_path: Path) -> Iterator[Babysitter]:
    babysitter = Babysitter(tmp_path / "results")
    with at_home(babysitter.results):
        yield babysitter
        PACE.usual()
        babysitter.close()


@pytest.fixture
def babysit(tmp_path: Path) -> Iterator[Callable[..., RunHandle]]:
    """`tuner.babysit` with a coordinator process, which is killed in the end if it still lives."""

    def begin(train: Any = walks_on, params: Any = START, **options: Any) -> RunHandle:
        given = {"executor": "local", "objective": "place", "name": "one", "results": tmp_path / "results", **options}
        return tuner.babysit(train, params, **given)

    yield begin
    end_all(tmp_path / "results")


def _begun(place: Place) -> bool:
    try:
        store = Store.open(place.existing())
    except StudyError:
        return False
    try:
        return bool(store.brief()["trials"])
    finally:
        store.close()


def opened(handle: RunHandle) -> Study:
    return handle.study


def head(study: Study, *names: str) -> dict[str, list[tuple[int, float]]]:
    """The curves that count, by name."""
    frame = study.reports
    frame = frame[frame["head"]]
    wanted = names or ("place", "rate", "beta")
    curves: dict[str, list[tuple[int, float]]] = {}
    for name in wanted:
        rows = frame[frame["name"] == name]
        curves[name] = sorted(zip(rows["step"].tolist(), rows["value"].tolist(), strict=True))
    return curves


def changes(study: Study) -> list[tuple[int, Recipe, str]]:
    """Step, recipe and request of every adjustment on the head."""
    trial = study.state.trials[0]
    return [(each.from_step, trial.recipe_of(each), each.request) for each in trial.path() if each.cause == "adjust"]


def cause(study: Study) -> list[str]:
    return [segment.cause for segment in study.state.trials[0].segments]


def as_it_should_be(study: Study, steps: int) -> dict[str, list[tuple[int, float]]]:
    """The same walk without tuner: the settings on record at the steps on record."""
    seed = study.state.trials[0].seed
    np.random.seed(seed % 2**32)
    random.seed(seed)
    recipe, todo, walk = study.state.trials[0].recipe_of(study.state.trials[0].segments[0]), changes(study), Walk(seed)
    curves: dict[str, list[tuple[int, float]]] = {"place": [], "rate": [], "beta": []}
    for step in range(steps):
        while todo and todo[0][0] <= step:
            recipe = todo.pop(0)[1]
        params = recipe.at(step)
        walk.step(params["learning_rate"], params["beta"])
        for name, value in (("place", walk.place), ("rate", params["learning_rate"]), ("beta", params["beta"])):
            curves[name].append((step + 1, value))
    return curves


# ── G1: between two steps ───────────────────────────────────────────────────────────────────────


def test_g1_all_fields_of_one_request_change_at_the_same_step(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    replies = [handle.set(learning_rate=0.01 * turn, beta=0.9 - 0.01 * turn) for turn in range(2, 8)]
    handle.stop()
    study = handle.wait(PATIENCE_S)
    curves = head(study)
    for reply, turn in zip(replies, range(2, 8), strict=True):
        assert reply.step is not None
        for name, value in (("rate", 0.01 * turn), ("beta", 0.9 - 0.01 * turn)):
            values = dict(curves[name])
            assert values[reply.step] != value
            assert values[reply.step + 1] == value


def test_g1_a_change_for_a_later_step_waits_for_it(babysitter: Babysitter) -> None:
    handle = babysitter.hold(walks_far)
    reply = handle.set(learning_rate=0.5, at=200)
    assert reply.state == "accepted"
    PACE.go.set()
    study = handle.wait(PATIENCE_S)
    rates = dict(head(study)["rate"])
    assert (rates[200], rates[201]) == (0.01, 0.5)


def test_g1_a_step_that_is_over_is_refused(babysitter: Babysitter) -> None:
    handle = babysitter.run(until_step=20)
    with pytest.raises(StudyError, match=r"step 3 is over.*step \d+"):
        handle.set(learning_rate=0.5, at=3)


# ── G2: accepted when durable, applied when read back ───────────────────────────────────────────


def test_g2_what_was_accepted_is_on_record_before_it_takes_effect(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    for turn in range(1, 6):
        handle.set(learning_rate=0.01 * turn + 0.001)
    handle.stop()
    study = handle.wait(PATIENCE_S)
    table = study.adjustments
    assert (table["read_back"] == table["after"]).all()
    assert (table["requested_at"] <= table["accepted_at"]).all()
    took_effect = {each.request: each for each in study.state.trials[0].segments}
    assert set(table["request"]) <= set(took_effect)


def test_g2_accepted_survives_the_power_because_the_database_syncs(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    (level,) = handle._store._connection.exec_driver_sql("PRAGMA synchronous").one()
    assert level == 2  # FULL


# ── G3: the same id is one request ──────────────────────────────────────────────────────────────


def test_g3_a_request_that_is_sent_twice_is_done_once(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    first = handle.set(learning_rate=0.5, request="mine")
    second = handle.set(learning_rate=0.5, request="mine")
    assert first == second
    handle.stop()
    assert len(handle.wait(PATIENCE_S).adjustments) == 1


def test_g3_also_when_it_is_sent_again_after_its_coordinator_died(babysit: Callable[..., RunHandle]) -> None:
    handle = babysit()
    handle.set(learning_rate=0.5, request="mine")
    kill_coordinator(handle)
    assert handle.set(learning_rate=0.5, request="mine").state == "applied"
    handle.stop()
    assert (handle.wait(PATIENCE_S).requests["request"] == "mine").sum() == 1


# ── G4: a bad request never stops training ──────────────────────────────────────────────────────

BAD: dict[str, tuple[Callable[[RunHandle], Any], str]] = {
    "unknown name": (lambda run: run.set(lerning_rate=0.1), "Did you mean learning_rate"),
    "above the range": (lambda run: run.set(learning_rate=2.0), r"from 0\.0001 to 1, got 2\.0"),
    "below the range": (lambda run: run.set(learning_rate=1e-9), r"1e-09"),
    "not a number": (lambda run: run.set(learning_rate=float("nan")), "nan"),
    "a word": (lambda run: run.set(learning_rate="fast"), "fast"),
    "no such choice": (lambda run: run.set(kind="c"), "'c'"),
    "built into the model": (lambda run: run.set(units=16), "built into the model"),
    "one of two": (lambda run: run.set(learning_rate=0.1, units=16), "built into the model"),
    "nothing": (lambda run: run.set(), "name at least one"),
    "a nonsense verb": (lambda run: run._ask("explode", {}, ""), "knows no 'explode'"),
    "a misspelt verb": (lambda run: run._ask("revrt", {}, ""), "Did you mean revert"),
    "no such shape": (lambda run: run.schedule("learning_rate", "cosin", over=9), "Did you mean cosine"),
    "no length": (lambda run: run.schedule("learning_rate", "cosine"), "needs over=STEPS"),
    "a schedule for a word": (lambda run: run.schedule("kind", "cosine", over=9), "only a number"),
    "a schedule for what is built in": (lambda run: run.schedule("units", "cosine", over=9), "built into the model"),
    "a schedule for nobody": (lambda run: run.schedule("bta", "cosine", over=9), "Did you mean beta"),
    "no steps": (lambda run: run.step(0), "whole number from 1"),
    "half a step": (lambda run: run._ask("step", {"steps": 0.5}, ""), "whole number from 1"),
    "extended by a word": (lambda run: run._ask("extend", {"steps": "ten"}, ""), "whole number from 1"),
    "a checkpoint that is not there": (lambda run: run.revert(checkpoint=99), "99 is not kept|no checkpoint"),
    "nothing to undo": (lambda run: run.undo(), "nothing to undo"),
    "at a word": (lambda run: run._ask("set", {"values": {"beta": 0.8}, "at": "noon"}, ""), "at must be a whole"),
    "expecting a word": (lambda run: run.set(beta=0.8, expect="latest"), "expect must be a whole number"),  # type: ignore[arg-type]
    "no arguments": (lambda run: run._ask("set", {}, ""), "must be a mapping"),
    "arguments of another kind": (lambda run: run._ask("set", ["learning_rate"], ""), "must be a mapping"),  # type: ignore[arg-type]
    "values of another kind": (lambda run: run._ask("set", {"values": [1]}, ""), "must be a mapping"),
}


def test_g4_a_bad_request_is_refused_with_what_would_be_right_and_training_goes_on(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    at_once = 0
    for ask, told in BAD.values():
        with pytest.raises((StudyError, SettingsError), match=told) as refused:
            ask(handle)
        at_once += isinstance(refused.value, SettingsError)  # it makes no sense whatever the run is like
    reached = steps_of(handle)
    wait_until(lambda: steps_of(handle) > reached + 10)
    assert handle.set(learning_rate=0.5).state == "applied"
    handle.stop()
    study = handle.wait(PATIENCE_S)
    assert cause(study) == ["start", "adjust"]
    assert (study.requests["state"] == "rejected").sum() == len(BAD) - at_once


def test_g4_rows_written_by_hand_are_refused_whatever_they_hold(babysitter: Babysitter) -> None:
    handle = babysitter.run(until_step=10)
    rows = [
        ("h1", "set", "{not json", "eve", "", 1.0),
        ("h2", "set", "null", "eve", "", "yesterday"),
        ("h3", "", "[]", "", "", -1.0),
        ("h4", "revert", '{"step": "x"}', "eve", "", 1e300),
        ("h5", "note", "3", "eve", "", 0),
        ("h6", "stop", '"now"', b"\x00", "", 0),
        ("", "pause", "[1]", "eve", "", 0),
        ("h8", "set", '{"values": {"beta": 1e999}}', "eve", "", 0),
        ("h9", "extend", '{"steps": true}', "eve", "", 0),
        ("h10", "set", '{"values": {"beta": 0.7}, "at": -5}', "eve", "", 0),
        (b"h11", b"set", b"{}", b"e", b"", b""),
        ("h12", "set", '{"values": {"beta": 0.7}, "expect": 1e9}', "eve", "", 0),
    ]
    database = sqlite3.connect(handle._place.folder / "study.db")
    with database:
        database.executemany(
            "INSERT INTO requests (request, verb, arguments, by, why, at) VALUES (?, ?, ?, ?, ?, ?)", rows
        )
    database.close()
    reached = steps_of(handle)
    wait_until(lambda: steps_of(handle) > reached + 10)
    handle.stop()
    study = handle.wait(PATIENCE_S)
    assert cause(study) == ["start"]
    assert Counter(study.requests["state"]) == {"rejected": len(rows), "applied": 1}
    assert study.export("csv", babysitter.results / "tables")


def test_g4_a_revert_without_a_state_is_refused_with_the_reason(babysitter: Babysitter) -> None:
    handle = babysitter.run(walks_without_a_state)
    asked: list[Callable[[], object]] = [handle.revert, handle.checkpoint, lambda: handle.pause(release=True)]
    for ask in asked:
        with pytest.raises(StudyError, match=r"run\.state|no checkpoint"):
            ask()
    assert handle.set(learning_rate=0.5).state == "applied"


def test_g4_a_torn_checkpoint_is_refused_and_training_is_untouched(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    reply = handle.checkpoint()
    handle.set(learning_rate=0.5)
    study = opened(handle)
    for each in study.state.checkpoints.values():
        (study.place.folder / each.path / "state" / "state.npy").write_bytes(b"torn")
    study.close()
    with pytest.raises(StudyError, match="torn or changed"):
        handle.revert(step=reply.step)
    handle.stop()
    study = handle.wait(PATIENCE_S)
    assert head(study) == as_it_should_be(study, len(head(study)["place"]))


def test_g4_what_an_ended_run_cannot_do_is_refused_with_what_it_can(babysitter: Babysitter) -> None:
    handle = babysitter.run(walks)
    handle.wait(PATIENCE_S)
    with pytest.raises(StudyError, match=r"over \(completed.*revert, extend, undo, fork"):
        handle.set(learning_rate=0.5)


def test_g4_a_full_disk_refuses_a_checkpoint_and_training_goes_on(
    babysit: Callable[..., RunHandle], tmp_path: Path
) -> None:
    handle = babysit("test_guarantees:walks_heavily_on_a_small_disk", name="small")
    with pytest.raises(StudyError, match="the disk refused"):
        handle.checkpoint()
    with pytest.raises(StudyError, match="the disk refused"):
        handle.pause(release=True)
    reached = steps_of(handle)
    wait_until(lambda: steps_of(handle) > reached + 10)
    study = opened(handle)
    assert "File too large" in " ".join(study.notes["text"])
    assert not study.state.checkpoints
    assert not list((tmp_path / "results" / "small" / "checkpoints").glob("*/[!.]*"))


def walks_heavily_on_a_small_disk(run: Run) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 2**20, 4 * 2**20))
    walks_heavily(run)


# ── G5: nothing is overwritten ──────────────────────────────────────────────────────────────────


def test_g5_a_revert_opens_a_segment_and_the_tail_stays_in_the_tables(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    before = handle.checkpoint().step
    assert before is not None
    wait_until(lambda: steps_of(handle) > before + 20)
    reply = handle.revert(step=before)
    assert reply.step == before
    wait_until(lambda: steps_of(handle) > before + 5)
    handle.stop()
    study = handle.wait(PATIENCE_S)
    assert cause(study) == ["start", "revert"]
    tail = study.reports.query("not head")
    assert tail["step"].min() == before + 1
    assert len(tail) >= 3 * 20
    assert len(study.export("csv", babysitter.results / "tables")) > 5


def test_g5_undo_of_an_adjustment_is_a_new_change_of_settings_alone(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    handle.set(learning_rate=0.5)
    reply = handle.undo(why="worse")
    handle.stop()
    study = handle.wait(PATIENCE_S)
    assert cause(study) == ["start", "adjust", "adjust"]
    rates = dict(head(study)["rate"])
    assert reply.step is not None
    assert (rates[reply.step], rates[reply.step + 1]) == (0.5, 0.01)
    assert head(study) == as_it_should_be(study, len(rates))


def test_g5_undo_of_a_revert_takes_the_tail_up_again(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    before = handle.checkpoint().step
    handle.set(learning_rate=0.5)
    wait_until(lambda: steps_of(handle) > (before or 0) + 20)
    back = handle.revert(step=before)
    gone = int(back.detail.split()[2])
    reply = handle.undo()
    assert reply.step == gone
    handle.stop()
    study = handle.wait(PATIENCE_S)
    assert cause(study) == ["start", "adjust", "revert", "revert"]
    assert head(study) == as_it_should_be(study, len(head(study)["place"]))


def test_g5_undo_of_an_undo_brings_the_change_back(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    handle.schedule("learning_rate", "exponential", rate=0.999)
    handle.set(learning_rate=0.5)
    handle.undo()
    handle.undo()
    handle.stop()
    study = handle.wait(PATIENCE_S)
    assert cause(study) == ["start", *["adjust"] * 4]
    recipes = [recipe for _, recipe, _ in changes(study)]
    assert recipes[2].at(1000) == recipes[0].at(1000)
    assert recipes[3].at(1000) == recipes[1].at(1000)


def test_g5_undo_under_a_schedule_puts_the_very_schedule_back(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    handle.schedule("learning_rate", "cosine", over=5000)
    handle.schedule("learning_rate", "constant")
    handle.undo()
    handle.stop()
    study = handle.wait(PATIENCE_S)
    first, _, third = (recipe for _, recipe, _ in changes(study))
    assert first.schedules == third.schedules
    assert head(study) == as_it_should_be(study, len(head(study)["place"]))


# ── G6: what a checkpoint holds ─────────────────────────────────────────────────────────────────


def test_g6_a_checkpoint_holds_settings_schedule_generators_and_the_users_state(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    handle.schedule("learning_rate", "cosine", over=500)
    step = handle.checkpoint().step
    study = opened(handle)
    (path,) = [study.place.folder / each.path for each in study.state.checkpoints.values() if each.kind == "pinned"]
    settings = json.loads((path / "settings.json").read_text())
    assert settings["step"] == step
    assert settings["recipe"]["schedules"]["learning_rate"]["shape"] == "cosine"
    assert settings["recipe"]["values"]["beta"] == 0.9
    assert (path / "generators.npy").is_file()
    assert (path / "state" / "state.npy").is_file()


def test_g6_what_is_trained_again_after_a_revert_is_the_same_bit_for_bit(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    handle.schedule("learning_rate", "exponential", rate=0.99)
    step = handle.checkpoint().step or 0
    wait_until(lambda: steps_of(handle) > step + 40)
    handle.revert(step=step)
    wait_until(lambda: steps_of(handle) > step + 40)
    handle.stop()
    study = handle.wait(PATIENCE_S)
    tail, again = (
        {(row["step"], row["name"]): row["value"] for row in study.reports.query(which).to_dict("records")}
        for which in ("not head", "head")
    )
    assert len(tail) > 60
    assert all(again[key] == value for key, value in tail.items() if key in again)


# ── G7: a dead worker ───────────────────────────────────────────────────────────────────────────


class Deadly(LocalExecutor):
    """Kills its worker whenever the run has reported one of these steps for the first time."""

    def __init__(self, *deaths: int) -> None:
        super().__init__()
        self.deaths = list(deaths)

    def poll(self, timeout_s: float) -> list[Event]:
        events = super().poll(timeout_s)
        reached = max(
            (getattr(said, "last_step", 0) for each in events if isinstance(each, tuple) for said in each[1:]),
            default=0,
        )
        if self.deaths and reached >= self.deaths[0]:
            self.deaths.pop(0)
            self.kill("worker-1", "its time had come")
            events = super().poll(0.0)  # what it said last died with it
        return events


def test_g7_a_dead_worker_repeats_its_adjustments_at_their_steps(babysitter: Babysitter) -> None:
    handle = babysitter.hold(walks_far, executor=Deadly(150), checkpoint_every_s=1000)
    handle.set(learning_rate=0.02, at=50)
    handle.set(learning_rate=0.04, beta=0.8, at=100)
    handle.schedule("learning_rate", "exponential", rate=0.99, at=120)
    PACE.go.set()
    study = handle.wait(PATIENCE_S)
    assert "retry" in cause(study)
    assert [step for step, *_ in changes(study)][-3:] == [50, 100, 120]
    assert head(study) == as_it_should_be(study, 400)


@pytest.mark.long
def test_g7_also_when_it_dies_again_before_it_has_repeated_them(babysitter: Babysitter) -> None:
    handle = babysitter.hold(walks_far, executor=Deadly(150, 60, 110), checkpoint_every_s=1000)
    for step, rate in ((50, 0.02), (100, 0.04), (130, 0.08)):
        handle.set(learning_rate=rate, at=step)
    PACE.go.set()
    wait_until(lambda: cause(opened(handle)).count("retry") == 3)
    study = handle.wait(PATIENCE_S)
    assert head(study) == as_it_should_be(study, 400)
    rates = dict(head(study)["rate"])
    assert [rates[step] for step in (50, 51, 100, 101, 130, 131)] == [0.01, 0.02, 0.02, 0.04, 0.04, 0.08]
    assert len(study.adjustments) == 3


@pytest.mark.long
def test_g7_also_from_the_beginning_where_nothing_could_be_saved(babysitter: Babysitter) -> None:
    handle = babysitter.hold(walks_without_a_state, executor=Deadly(150))
    handle.set(learning_rate=0.02, at=50)
    PACE.go.set()
    wait_until(lambda: "retry" in cause(opened(handle)) and steps_of(handle) > 160)
    handle.stop()
    rates = dict(head(handle.wait(PATIENCE_S), "rate")["rate"])
    assert (rates[50], rates[51], rates[151]) == (0.01, 0.02, 0.02)


@pytest.mark.parametrize("undone", [False, True])
def test_g7_a_loss_after_a_revert_repeats_what_is_on_the_head_alone(babysitter: Babysitter, undone: bool) -> None:
    executor = Deadly()
    PACE.slow()
    handle = babysitter.run(walks_farther, executor=executor, checkpoint_every_s=1000)
    saved = handle.checkpoint().step
    handle.set(learning_rate=0.5)
    changed = handle.set(learning_rate=0.7, beta=0.6).step or 0
    wait_until(lambda: steps_of(handle) > changed)  # so that there is something to give up
    handle.revert(step=saved)
    if undone:
        handle.undo()
    later = handle.set(kind="b").step or 0
    wait_until(lambda: steps_of(handle) > later + 10)
    executor.deaths.append(0)
    wait_until(lambda: "retry" in cause(opened(handle)))
    PACE.hurry()
    study = handle.wait(PATIENCE_S)
    assert cause(study).count("retry") == 1
    assert head(study) == as_it_should_be(study, 1500)
    assert head(study)["rate"][-1][1] == (0.7 if undone else 0.01)


@pytest.mark.long
def test_g7_undo_after_a_loss_undoes_the_change_that_was_repeated(babysitter: Babysitter) -> None:
    handle = babysitter.hold(walks_on, executor=Deadly(150), checkpoint_every_s=1000)
    handle.set(learning_rate=0.02, at=50)
    PACE.go.set()
    wait_until(lambda: "retry" in cause(opened(handle)) and steps_of(handle) > 160)
    handle.undo()
    handle.stop()
    assert head(handle.wait(PATIENCE_S))["rate"][-1][1] == 0.01


def test_g7_a_run_that_stood_still_when_its_worker_died_stands_still_again(babysitter: Babysitter) -> None:
    executor = Deadly()
    handle = babysitter.run(executor=executor)
    handle.checkpoint()
    handle.pause()
    executor.deaths.append(0)
    wait_until(lambda: "retry" in cause(opened(handle)) and state_of(handle) == "paused")
    reached = steps_of(handle)
    for turn in range(3):  # each is answered by a turn of the loop
        handle.note(f"turn {turn}")
    assert steps_of(handle) == reached
    assert handle.resume().state == "applied"
    wait_until(lambda: steps_of(handle) > reached + 10)


@pytest.mark.long
@pytest.mark.ray
def test_g7_a_worker_process_killed_with_sigkill(babysit: Callable[..., RunHandle]) -> None:
    handle = babysit(walks_farther, executor="ray", checkpoint_every_s=0.2)
    handle.set(learning_rate=0.02, at=100)
    handle.set(learning_rate=0.04, beta=0.8, at=250)
    killed: set[int] = set()
    for kill_at in (60, 130, 260):
        wait_until(lambda at=kill_at: steps_of(handle) >= at, 60)  # type: ignore[misc]
        wait_until(lambda: worker_pid(handle) not in killed, 60)  # the one that took over
        killed.add(pid := worker_pid(handle))
        retries = cause(opened(handle)).count("retry")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda n=retries: cause(opened(handle)).count("retry") > n, 60)  # type: ignore[misc]
    study = handle.wait(PATIENCE_S)
    assert head(study) == as_it_should_be(study, 1500)
    assert [step for step, *_ in changes(study)] == [100, 250]
    assert len(study.adjustments) == 3


def worker_pid(handle: RunHandle) -> int:
    from tuner.record.events import TrialStarted

    return int(list(handle._store.read(TrialStarted))[-1].pid)


# ── G8: a dead coordinator ──────────────────────────────────────────────────────────────────────


def kill_coordinator(handle: RunHandle) -> None:
    holder = handle._store.holder(time.time())
    assert holder is not None
    os.kill(holder[1], signal.SIGKILL)
    wait_until(lambda: handle._store.holder(time.time()) is None)


def test_g8_a_dead_coordinator_loses_nothing_acknowledged_and_a_verb_wakes_the_next(
    babysit: Callable[..., RunHandle],
) -> None:
    handle = babysit(walks_far, checkpoint_every_s=0.1)
    handle.set(learning_rate=0.02, why="slow")
    accepted = handle.set(learning_rate=0.04, at=300)
    wait_until(lambda: steps_of(handle) > 50)
    kill_coordinator(handle)
    assert handle.note("is anybody there?").state == "applied"
    study = handle.wait(PATIENCE_S)
    assert "retry" in cause(study)
    assert head(study) == as_it_should_be(study, 400)
    assert [step for step, *_ in changes(study)][-1] == 300
    states = dict(zip(study.requests["request"], study.requests["state"], strict=True))
    assert states[accepted.request] == "applied"
    assert set(states.values()) == {"applied"}


def test_g8_babysit_with_the_same_name_goes_on_too(babysit: Callable[..., RunHandle]) -> None:
    handle = babysit(walks_far, checkpoint_every_s=0.1)
    wait_until(lambda: steps_of(handle) > 50)
    kill_coordinator(handle)
    study = babysit(walks_far, checkpoint_every_s=0.1).wait(PATIENCE_S)
    assert head(study) == as_it_should_be(study, 400)


def test_g8_whoever_waits_for_a_run_starts_its_coordinator_again(babysit: Callable[..., RunHandle]) -> None:
    handle = babysit(walks_far)
    kill_coordinator(handle)
    study = handle.wait(PATIENCE_S)
    assert study.state.trials[0].state == "completed"


def test_g8_a_run_that_stood_still_waits_to_be_resumed(babysit: Callable[..., RunHandle]) -> None:
    handle = babysit()
    handle.checkpoint()
    handle.pause()
    kill_coordinator(handle)
    assert handle.note("back again").state == "applied"
    reached = steps_of(handle)
    assert state_of(handle) == "paused"
    assert handle.step(4).step == reached + 4 or steps_of(handle) >= 4
    assert state_of(handle) == "paused"
    assert handle.resume().state == "applied"
    wait_until(lambda: state_of(handle) == "running")


def test_g8_a_coordinator_that_died_before_its_first_record_is_started_again(
    babysit: Callable[..., RunHandle], babysitter: Babysitter
) -> None:
    place = babysitter.assign(walks, params=START)
    Store.create(place.existing_or_new()).close()
    study = babysit(walks, space=SPACE).wait(PATIENCE_S)
    assert study.state.trials[0].state == "completed"


# ── G9: the same record, the same metrics ───────────────────────────────────────────────────────


class Player:
    """A channel over which nobody says anything; it keeps what is reported."""

    background_writes = False

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def emit(self, event: WorkerEvent) -> None: ...

    def passed(self, trial: int, step: int) -> None: ...

    def add_report(self, trial: int, segment: int, rows: list[Row]) -> None:
        self.rows.extend(rows)

    def receive(self, *, wait: bool) -> None:
        assert not wait

    def now(self) -> float:
        return 0.0


def test_g9_the_record_played_again_gives_the_same_metrics_bit_for_bit(babysitter: Babysitter) -> None:
    PACE.slow()
    handle = babysitter.run(walks_farther)
    handle.set(learning_rate=0.02)
    handle.schedule("learning_rate", "cosine", over=300)
    handle.set(learning_rate=0.05, beta=0.7)
    handle.pause()
    handle.step(7)
    handle.resume()
    saved = handle.checkpoint().step or 0
    wait_until(lambda: steps_of(handle) > saved)  # so that there is something to give up
    back = handle.revert(step=saved).step or 0
    wait_until(lambda: steps_of(handle) > back)
    handle.undo()
    handle.undo()
    PACE.hurry()
    study = handle.wait(PATIENCE_S)
    trial, player = study.state.trials[0], Player()
    course = timeline(trial)
    changes = tuple(
        RecipeChange(step=each.from_step, request=each.request, recipe=trial.recipe_of(each)) for each in course[1:]
    )
    order = Order(trial=0, segment=0, recipe=trial.recipe_of(course[0]), seed=trial.seed, changes=changes)
    job = Job(study="again", function="", search_path=(), objective="place")
    train(walks_farther, Position(order, job, player))
    curves = head(study)
    assert len(curves["place"]) == 1500
    for name, curve in curves.items():
        assert curve == [(step, value) for step, found, value, _ in player.rows if found == name]


# ── G10: one writer, many readers ───────────────────────────────────────────────────────────────


def test_g10_a_second_coordinator_is_refused(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    store = Store.open(handle._place.existing())
    with pytest.raises(StudyBusy, match=f"pid {os.getpid()}"):
        store.acquire(time.time())
    store.close()


def test_g10_many_read_while_one_writes(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    seen: list[int] = []

    def read() -> None:
        for _ in range(20):
            study = tuner.open("one", results=babysitter.results)
            frame = study.reports
            seen.append(len(frame) - len(frame.drop_duplicates(["step", "name"])))
            study.close()

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for turn in range(10):
        assert handle.set(learning_rate=0.01 + 0.01 * turn).state == "applied"
    for reader in readers:
        reader.join()
    assert seen == [0] * 80


# ── G11: two people ─────────────────────────────────────────────────────────────────────────────


def test_g11_whoever_has_not_seen_the_last_change_is_refused_and_told_of_it(babysitter: Babysitter) -> None:
    ada = babysitter.run()
    bob = tuner.attach("one", results=babysitter.results, by="bob")
    assert isinstance(bob, RunHandle)
    seen = opened(ada).state.trials[0].head.segment
    ada.set(learning_rate=0.5, expect=seen, why="slow")
    with pytest.raises(StudyError, match=r"changed.*adjust by ada: slow"):
        bob.set(learning_rate=0.001, expect=seen)
    with pytest.raises(StudyError, match="changed since you looked"):
        bob.revert(expect=seen)
    assert bob.set(learning_rate=0.001, expect=seen + 1).state == "applied"
    bob.close()


def test_g11_two_at_the_very_same_time_cannot_both_win(babysitter: Babysitter) -> None:
    handle = babysitter.run()
    outcomes: list[str] = []

    def ask(rate: float) -> None:
        mine = tuner.attach("one", results=babysitter.results, by=f"person {rate}")
        assert isinstance(mine, RunHandle)
        try:
            outcomes.append(mine.set(learning_rate=rate, expect=0).state)
        except StudyError as error:
            outcomes.append("refused" if "chang" in str(error) else str(error))
        mine.close()

    people = [threading.Thread(target=ask, args=(0.1 * turn,)) for turn in range(1, 7)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sorted(outcomes) == ["applied", *["refused"] * 5]
    handle.stop()
    assert cause(handle.wait(PATIENCE_S)) == ["start", "adjust"]


# ── G12: who may steer ──────────────────────────────────────────────────────────────────────────


def test_g12_the_folder_is_private_and_so_is_all_the_coordinator_writes(
    babysit: Callable[..., RunHandle], tmp_path: Path
) -> None:
    handle = babysit()
    handle.checkpoint()
    folder = tmp_path / "results" / "one"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.rglob("*"):
        if path.name not in ("coordinator.log", "run.json", "function.pickle"):  # written by whoever began it
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_g12_the_coordinator_listens_to_nobody(babysit: Callable[..., RunHandle]) -> None:
    handle = babysit()
    holder = handle._store.holder(time.time())
    assert holder is not None
    links = []
    for path in Path(f"/proc/{holder[1]}/fd").iterdir():
        with suppress(FileNotFoundError):  # it is at work, and may close what was just listed
            links.append(str(path.readlink()))
    sockets = {link[8:-1] for link in links if link.startswith("socket:")}
    listening = set()
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path(f"/proc/{holder[1]}/net/{table}").read_text().splitlines()[1:]]
        listening |= {row[9] for row in rows if row[3] == "0A"}
    assert not sockets & listening
