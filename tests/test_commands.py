"""Commands at the worker: each takes effect between two steps, and is answered."""

from __future__ import annotations

import copy
import json
import pickle
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from waiting import wait_until

from tuner.record.recipe import Recipe, schedule
from tuner.record.reports import Row
from tuner.worker import checkpoints, saving
from tuner.worker.messages import (
    Adjust,
    AsAsked,
    Changed,
    Command,
    Delayed,
    Did,
    Ended,
    Held,
    Job,
    Order,
    Pause,
    RecipeChange,
    Resume,
    Revert,
    Reverted,
    Save,
    Saved,
    Stop,
    Unread,
    Warned,
    WorkerEvent,
)
from tuner.worker.position import Position
from tuner.worker.run import Run
from tuner.worker.state import ObjectState
from tuner.worker.storage import FolderStorage
from tuner.worker.training import train

E = TypeVar("E", bound=WorkerEvent)
Script = dict[int, list[Command]]


class Sum:
    """Adds up what each step is worth."""

    def __init__(self) -> None:
        self.total = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.total = state["total"]


def adds(run: Run) -> None:
    each = Sum()
    run.state(each)
    for _ in run.steps(10):
        each.total += run.params["rate"]
        run.report(total=each.total, rate=run.params["rate"])


def adds_without_a_state(run: Run) -> None:
    for _ in run.steps(10):
        run.report(rate=run.params["rate"])


def remembers(run: Run) -> float:
    """Carries a value across steps outside its state, and says something on its way out."""
    each = Sum()
    run.state(each)
    carried = each.total
    for _ in run.steps(10):
        carried += run.params["rate"]
        each.total = carried
        run.report(total=carried)
    run.report(left_at=carried)
    return -1.0


def as_asked(request: str, verb: str, steps: int, act: str = "") -> AsAsked:
    act = act or ("tuner.panda.requests:extend" if verb == "extend" else "")
    return AsAsked(trial=0, request=request, verb=verb, arguments={"steps": steps}, act=act)


class Lectern:
    """A channel with a script: the commands that are there between two steps, by the steps then done.

    One that waits is given what is there, and then what the script holds under -1, one after another.
    """

    background_writes = False

    def __init__(self, script: Script) -> None:
        self._script = defaultdict(deque, {step: deque(commands) for step, commands in script.items()})
        self._done = 0
        self.events: list[WorkerEvent] = []
        self.rows: list[tuple[int, Row]] = []

    def emit(self, event: WorkerEvent) -> None:
        self.events.append(event)

    def add_report(self, trial: int, segment: int, rows: list[Row]) -> None:
        self.rows.extend((segment, row) for row in rows)

    def passed(self, trial: int, step: int) -> None:
        self._done = step

    def receive(self, *, wait: bool) -> Command | None:
        commands = self._script[self._done]
        if wait and not commands:
            commands = self._script[-1]
        if wait and not commands:
            pytest.fail("it waits, and nobody will ever say anything")
        return commands.popleft() if commands else None

    def now(self) -> float:
        return time.time()

    # ── what has been said ──────────────────────────────────────────────────────────────────────

    def said(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def answers(self, request: str) -> list[tuple[str, int]]:
        return [(each.state, each.step) for each in self.said(Did) if each.request == request]

    def values(self, name: str) -> list[tuple[int, float]]:
        return [(step, value) for _, (step, found, value, _) in self.rows if found == name]


def trained(
    script: Script,
    folder: Path | None = None,
    function: Callable[[Run], Any] = adds,
    *,
    lectern: Lectern | None = None,
    revert: Any = "in place",
    tracks_reads: bool = False,
    kind: type[FolderStorage] = FolderStorage,
    **order: Any,
) -> tuple[Lectern, Ended]:
    channel = lectern or Lectern(script)
    given = {"recipe": Recipe.constant({"rate": 1.0, "beta": 0.9}), "checkpoint_every_s": 1e9, **order}
    job = Job(study="s", function="", search_path=(), objective="total", revert=revert, tracks_reads=tracks_reads)
    storage = None if folder is None else kind(folder)
    ended = train(function, Position(Order(trial=0, segment=0, seed=1, storage=storage, **given), job, channel))
    return channel, ended


def adjust(request: str = "a", at: int | None = None, **values: Any) -> Adjust:
    return Adjust(trial=0, request=request, values=values, schedules={}, at_step=at)


def back(path: Path, step: int, request: str = "r", recipe: Recipe | None = None) -> Revert:
    return Revert(trial=0, request=request, checkpoint=0, path=str(path), step=step, recipe=recipe)


def pause(request: str = "p", *, release: bool = False) -> Pause:
    return Pause(trial=0, why="tea", request=request, release=release)


def resume(request: str = "go") -> Resume:
    return Resume(trial=0, request=request)


# ── adjust ──────────────────────────────────────────────────────────────────────────────────────


def test_an_adjustment_takes_effect_between_two_steps_and_begins_a_segment() -> None:
    channel, _ = trained({4: [adjust(rate=2.0)]})
    assert channel.values("rate") == [(step, 1.0 if step <= 4 else 2.0) for step in range(1, 11)]
    (changed,) = channel.said(Changed)
    assert (changed.step, changed.segment, changed.request) == (4, 1, "a")
    assert (changed.before, changed.after, changed.read_back) == ({"rate": 1.0}, {"rate": 2.0}, {"rate": 2.0})
    assert {segment for segment, (step, *_) in channel.rows if step > 4} == {1}


def test_an_adjustment_waits_for_its_step() -> None:
    channel, _ = trained({2: [adjust(rate=2.0, at=6)], 3: [adjust("b", beta=0.5)]})
    assert [(each.request, each.step) for each in channel.said(Changed)] == [("b", 3), ("a", 6)]


def test_only_what_changed_is_said_to_have_changed() -> None:
    decay = {"rate": schedule("rate", "cosine", over=100)}
    first = Adjust(trial=0, request="a", values={}, schedules=decay)
    channel, _ = trained({2: [first], 4: [adjust("b", beta=0.5)]})
    assert [set(each.after) for each in channel.said(Changed)] == [{"rate"}, {"beta"}]


def test_a_checkpoint_is_written_before_an_adjustment(tmp_path: Path) -> None:
    channel, _ = trained({4: [adjust(rate=2.0)]}, tmp_path)
    saved = channel.said(Saved)[0]
    assert (saved.kind, saved.segment, saved.step) == ("before adjustment", 0, 4)
    each = Sum()
    settings = checkpoints.load(tmp_path / saved.path, each_state := ObjectState(each))
    assert each_state.names == ["Sum"]
    assert each.total == 4.0
    assert settings["recipe"]["values"] == {"rate": 1.0, "beta": 0.9}


def test_what_cannot_be_rescaled_is_refused_and_training_goes_on() -> None:
    to_nothing = Adjust(trial=0, request="a", values={}, schedules={"rate": schedule("rate", "cosine", over=2)})
    channel, ended = trained({1: [to_nothing], 5: [adjust("b", rate=1.0)]})
    assert channel.answers("b") == [("rejected", 5)]
    assert (ended.state, ended.step) == ("completed", 10)


def test_a_request_that_comes_twice_is_done_once() -> None:
    channel, _ = trained({4: [as_asked("e", "extend", 3)], 6: [as_asked("e", "extend", 3)]})
    assert channel.said(Ended) == []
    assert channel.values("total")[-1][0] == 13


# ── repeating after a loss ──────────────────────────────────────────────────────────────────────


def test_a_retry_repeats_its_adjustments_at_their_steps() -> None:
    first, second = (Recipe.constant({"rate": rate, "beta": 0.9}) for rate in (2.0, 3.0))
    changes = (RecipeChange(step=3, request="a", recipe=first), RecipeChange(step=7, request="b", recipe=second))
    channel, _ = trained({}, changes=changes)
    assert [(each.request, each.step, each.repeated) for each in channel.said(Changed)] == [
        ("a", 3, True),
        ("b", 7, True),
    ]
    assert [value for _, value in channel.values("rate")] == [1, 1, 1, 2, 2, 2, 2, 3, 3, 3]


def test_what_is_asked_while_a_retry_repeats_comes_after_what_it_repeats() -> None:
    change = RecipeChange(step=7, request="a", recipe=Recipe.constant({"rate": 2.0, "beta": 0.9}))
    channel, _ = trained({4: [adjust("b", beta=0.5)]}, changes=(change,))
    assert [(each.request, each.step) for each in channel.said(Changed)] == [("a", 7), ("b", 7)]
    assert channel.said(Changed)[-1].recipe.at(7) == {"rate": 2.0, "beta": 0.5}


# ── pause ───────────────────────────────────────────────────────────────────────────────────────


def test_a_pause_stands_still_until_it_is_told_to_go_on() -> None:
    channel, ended = trained({4: [pause()], -1: [adjust(rate=2.0), resume()]})
    assert [(each.state, each.step) for each in channel.said(Held)] == [("paused", 4), ("running", 4)]
    assert channel.answers("p") == channel.answers("go") == [("applied", 4)]
    assert channel.values("rate")[4] == (5, 2.0)
    assert ended.step == 10


def test_steps_are_taken_one_by_one_while_it_stands_still() -> None:
    script: Script = {4: [pause()], -1: [as_asked("s", "step", 2), resume()]}
    channel, _ = trained(script)
    assert [(each.state, each.step) for each in channel.said(Held)] == [
        ("paused", 4),
        ("running", 4),
        ("paused", 6),
        ("running", 6),
    ]
    assert channel.answers("s") == [("applied", 6)]


def test_steps_that_are_overtaken_say_so() -> None:
    overtaken: dict[str, Script] = {
        "by a pause": {2: [as_asked("s", "step", 6)], 4: [pause()], -1: [resume()]},
        "by steps": {2: [as_asked("s", "step", 6)], 4: [as_asked("t", "step", 1)], -1: [resume()]},
    }
    for script in overtaken.values():
        channel, _ = trained(script)
        assert channel.answers("s") == [("superseded", 4)]


def test_a_pause_that_frees_the_worker_saves_first_and_answers(tmp_path: Path) -> None:
    channel, ended = trained({4: [pause(release=True)]}, tmp_path)
    assert (ended.state, ended.step, ended.released) == ("paused", 4, True)
    assert channel.answers("p") == [("applied", 4)]
    assert [(each.kind, each.step) for each in channel.said(Saved)] == [("pause", 4)]


def test_a_worker_is_not_freed_from_what_could_not_be_taken_up_again(tmp_path: Path) -> None:
    channel, ended = trained({4: [pause(release=True)]}, tmp_path, adds_without_a_state)
    assert channel.answers("p") == [("rejected", 4)]
    assert (ended.state, ended.step) == ("completed", 10)


def test_a_worker_is_not_freed_when_the_disk_refuses_the_checkpoint(tmp_path: Path) -> None:
    no_folder = tmp_path / "file"
    no_folder.write_text("in the way")
    channel, ended = trained({4: [pause(release=True)]}, no_folder)
    assert channel.answers("p") == [("rejected", 4)]
    assert ended.state == "completed"
    assert channel.said(Warned)


def test_an_order_of_a_paused_run_stands_still_at_once() -> None:
    channel, _ = trained({-1: [resume()]}, paused=True)
    assert [(each.state, each.step) for each in channel.said(Held)] == [("paused", 0), ("running", 0)]


# ── save ────────────────────────────────────────────────────────────────────────────────────────


def test_a_checkpoint_is_written_when_asked(tmp_path: Path) -> None:
    channel, _ = trained({4: [Save(trial=0, kind="pinned", request="c")]}, tmp_path)
    assert next((each.kind, each.step, each.request) for each in channel.said(Saved)) == ("pinned", 4, "c")


def test_a_checkpoint_of_nothing_is_refused(tmp_path: Path) -> None:
    channel, ended = trained({4: [Save(trial=0, request="c")]}, tmp_path, adds_without_a_state)
    assert channel.answers("c") == [("rejected", 4)]
    assert ended.state == "completed"


@pytest.mark.parametrize("script", [{}, {4: [Stop(trial=0, state="stopped", why="enough")]}])
def test_the_last_state_is_saved_when_a_run_completes_or_is_stopped(tmp_path: Path, script: Script) -> None:
    channel, ended = trained(script, tmp_path)
    assert [(each.kind, each.step) for each in channel.said(Saved)] == [("final", ended.step)]


# ── revert ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def third(tmp_path: Path) -> Path:
    """The checkpoint of step 3 of the same run."""
    channel, _ = trained({3: [Save(trial=0, request="c")]}, tmp_path / "earlier")
    return tmp_path / "earlier" / channel.said(Saved)[0].path


def test_a_revert_brings_the_state_back_and_trains_on_from_there(tmp_path: Path, third: Path) -> None:
    channel, ended = trained({6: [back(third, 3)]}, tmp_path)
    assert [step for step, _ in channel.values("total")] == [1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 8, 9, 10]
    assert channel.values("total")[-1] == (10, 10.0)
    (reverted,) = channel.said(Reverted)
    assert (reverted.from_step, reverted.step, reverted.segment) == (6, 3, 1)
    assert ended.segment == 1


class SlowStorage(FolderStorage):
    """A folder whose checkpoints have to be waited for."""

    @contextmanager
    def fetched(
        self, name: str, *, sha256: str | None = None, say: Callable[[str], None] | None = None
    ) -> Iterator[Path]:
        """Says that it is away, and that it is back."""
        assert say is not None
        say("nobody is there")
        say("")
        with super().fetched(name, sha256=sha256) as folder:
            yield folder


def test_a_revert_that_waits_for_its_checkpoint_says_so_and_why(tmp_path: Path, third: Path) -> None:
    channel, _ = trained({6: [back(third, 3)]}, tmp_path, kind=SlowStorage)
    waits, goes_on = (each.why for each in channel.said(Delayed))
    assert waits.startswith("waiting for its checkpoint since")
    assert waits.endswith("UTC: nobody is there")
    assert goes_on == ""


def test_the_moment_before_a_revert_is_saved(tmp_path: Path, third: Path) -> None:
    channel, _ = trained({6: [back(third, 3)]}, tmp_path)
    assert next((each.kind, each.step) for each in channel.said(Saved)) == ("before revert", 6)


def test_a_revert_brings_settings_back_or_keeps_those_of_now(tmp_path: Path, third: Path) -> None:
    of_then = Recipe.constant({"rate": 1.0, "beta": 0.9})
    for recipe, rate in ((of_then, 1.0), (None, 5.0)):
        channel, _ = trained({5: [adjust(rate=5.0)], 6: [back(third, 3, recipe=recipe)]}, tmp_path / f"{rate}")
        assert channel.values("rate")[-1] == (10, rate)


def test_a_revert_without_a_state_is_refused_with_the_reason(tmp_path: Path, third: Path) -> None:
    channel, ended = trained({6: [back(third, 3)]}, tmp_path, adds_without_a_state)
    (did,) = channel.said(Did)
    assert did.state == "rejected"
    assert "never called run.state" in did.detail
    assert (ended.state, ended.step) == ("completed", 10)


def test_a_torn_checkpoint_is_refused_and_training_is_untouched(tmp_path: Path, third: Path) -> None:
    (third / "state" / "state.npy").write_bytes(b"torn")
    channel, ended = trained({6: [back(third, 3)]}, tmp_path)
    (did,) = channel.said(Did)
    assert did.state == "rejected"
    assert "torn or changed" in did.detail
    assert channel.values("total") == [(step, float(step)) for step in range(1, 11)]
    assert ended.state == "completed"


def test_a_whole_checkpoint_that_does_not_fit_is_refused_and_the_state_is_as_it_was(tmp_path: Path) -> None:
    class Two(Sum):
        def load_state_dict(self, state: dict[str, float]) -> None:
            self.total = -1.0  # half loaded
            super().load_state_dict(state)

    stranger = tmp_path / "stranger"
    checkpoints.save(stranger, step=3, state=ObjectState(_Strange()), settings={})

    def fragile(run: Run) -> None:
        each = Two()
        run.state(each)
        for _ in run.steps(10):
            each.total += 1.0
            run.report(total=each.total)

    channel, ended = trained({6: [back(stranger, 3)]}, tmp_path / "own", fragile)
    assert channel.answers("r") == [("rejected", 6)]
    assert channel.values("total")[-1] == (10, 10.0)
    assert ended.state == "completed"


class _Strange:
    def state_dict(self) -> dict[str, float]:
        return {"other": 0.0}

    def load_state_dict(self, state: dict[str, float]) -> None:
        raise AssertionError


def test_what_was_planned_for_a_later_step_outlives_a_revert(tmp_path: Path, third: Path) -> None:
    channel, _ = trained({5: [adjust(rate=2.0, at=8)], 6: [back(third, 3)]}, tmp_path)
    assert [(each.request, each.step) for each in channel.said(Changed)] == [("a", 8)]


def test_a_run_set_back_while_it_stands_still_stands_still_there(tmp_path: Path, third: Path) -> None:
    channel, _ = trained({6: [pause()], -1: [back(third, 3), resume()]}, tmp_path)
    assert [(each.state, each.step) for each in channel.said(Held)] == [("paused", 6), ("running", 3)]
    assert channel.answers("go") == [("applied", 3)]


def test_a_run_that_is_to_stand_still_is_set_back_from_there_and_trains_no_further(tmp_path: Path, third: Path) -> None:
    steps = as_asked("two", "step", 2)
    channel, _ = trained({6: [pause()], 8: [back(third, 3)], -1: [steps, resume()]}, tmp_path)
    held = [(each.state, each.step) for each in channel.said(Held)]
    assert held == [("paused", 6), ("running", 6), ("paused", 8), ("running", 3)]
    assert channel.answers("go") == [("applied", 3)]


def test_steps_still_to_take_are_taken_from_where_a_revert_went(tmp_path: Path, third: Path) -> None:
    steps = as_asked("four", "step", 4)
    channel, _ = trained({6: [pause()], 8: [back(third, 3)], -1: [steps, resume()]}, tmp_path)
    held = [(each.state, each.step) for each in channel.said(Held)]
    assert held == [("paused", 6), ("running", 6), ("paused", 5), ("running", 5)]


# ── revert by calling the function again ────────────────────────────────────────────────────────


def test_a_function_that_carries_values_is_called_again(tmp_path: Path, third: Path) -> None:
    channel, ended = trained({6: [back(third, 3)]}, tmp_path, remembers, revert="reenter")
    assert [value for step, value in channel.values("total") if step == 10][:1] == [10.0]
    assert ended.state == "completed"


def test_what_it_says_on_its_way_out_belongs_to_no_step(tmp_path: Path, third: Path) -> None:
    channel, _ = trained({6: [back(third, 3)]}, tmp_path, remembers, revert="reenter")
    assert channel.values("left_at") == [(10, 10.0)]
    assert [step for step, value in channel.values("total") if value == -1.0] == [10]


def test_what_it_was_extended_by_is_not_forgotten(tmp_path: Path, third: Path) -> None:
    script: Script = {4: [as_asked("e", "extend", 2)], 6: [back(third, 3)]}
    _, ended = trained(script, tmp_path, remembers, revert="reenter")
    assert ended.step == 12


def test_one_that_stood_still_stands_still_when_it_is_called_again(tmp_path: Path, third: Path) -> None:
    script: Script = {6: [pause()], -1: [back(third, 3), resume()]}
    channel, ended = trained(script, tmp_path, remembers, revert="reenter")
    assert [(each.state, each.step) for each in channel.said(Held)] == [("paused", 6), ("paused", 3), ("running", 3)]
    assert ended.step == 10


# ── extend ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "act",
    ["", "tuner.panda.requests:somersault", "tuner.tomorrow:somersault", "os:abort"],
    ids=lambda act: act or "none",
)
def test_a_worker_says_of_a_verb_that_it_does_not_know_why_and_trains_on(act: str) -> None:
    channel, ended = trained({4: [as_asked("n", "somersault", 2, act)]})
    assert [(each.state, each.step, "somersault" in each.detail) for each in channel.said(Did)] == [
        ("rejected", 4, True)
    ]
    assert (ended.state, ended.step) == ("completed", 10)


def test_an_act_that_raises_is_refused_and_the_run_trains_on() -> None:
    command = AsAsked(trial=0, request="e", verb="extend", arguments={}, act="tuner.panda.requests:extend")
    channel, ended = trained({4: [command]})
    assert [(each.state, "KeyError" in each.detail) for each in channel.said(Did)] == [("rejected", True)]
    assert (ended.state, ended.step) == ("completed", 10)


def test_a_worker_of_a_version_without_acts_does_by_the_verb_what_it_is_told() -> None:
    command = as_asked("e", "extend", 3)
    assert pickle.loads(pickle.dumps(command)) == command
    state: Any = command.__getstate__()
    assert state[:4] == [0, "e", "extend", {"steps": 3}]  # what comes later is passed over there


def test_an_extension_trains_longer_than_the_function_asks() -> None:
    _, ended = trained({10: [as_asked("e", "extend", 5)]})
    assert (ended.state, ended.step) == ("completed", 15)


# ── what is never read ──────────────────────────────────────────────────────────────────────────


def reads(how: Callable[[Run, int], Any], steps: int = 400) -> Callable[[Run], None]:
    """Trains so many steps; reads all its settings before, and in each step as told."""

    def function(run: Run) -> None:
        dict(run.params)
        for step in run.steps(steps):
            how(run, step)

    return function


def findings(script: Script, how: Callable[[Run, int], Any]) -> list[tuple[str, int, int, tuple[str, ...], bool]]:
    channel, _ = trained(script, None, reads(how), tracks_reads=True)
    return [(each.request, each.since, each.step, each.names, each.again) for each in channel.said(Unread)]


def test_a_change_of_what_was_read_before_the_loop_alone_is_said_to_go_unread() -> None:
    """It is said once, soon, and of the settings that changed alone."""
    assert findings({10: [adjust(rate=2.0)]}, lambda run, step: run.params["beta"]) == [("a", 10, 30, ("rate",), False)]
    assert findings({200: [adjust(rate=2.0)]}, lambda run, step: None) == [("a", 200, 300, ("rate",), False)]


@pytest.mark.parametrize(
    "how",
    [
        lambda run, step: run.params["rate"],
        lambda run, step: run.params.get("rate"),
        lambda run, step: dict(run.params),
        lambda run, step: {**run.params},
        lambda run, step: dict(**run.params),
        lambda run, step: run.params | {"more": 1},
        lambda run, step: [value for _, value in run.params.items()],
        lambda run, step: tuple(run.params.values()),
        lambda run, step: [run.params[name] for name in run.params],
        lambda run, step: json.dumps(run.params),
        lambda run, step: copy.deepcopy(run.params),
        lambda run, step: run.params["rate"] if step % 50 == 0 else None,
        lambda run, step: run.params["rate"] if step and step % 100 == 0 else None,
    ],
)
@pytest.mark.parametrize("at", [1, 60, 130, 299])
def test_who_reads_now_and_then_in_whatever_way_is_not_accused(how: Callable[[Run, int], Any], at: int) -> None:
    """Even where it reads once in a hundred steps, unless it has hardly begun: then what was said is taken back."""
    found = findings({at: [adjust(rate=2.0)]}, how)
    assert not found or (at == 1 and [again for *_, again in found] == [False, True])


def test_what_was_read_at_every_step_and_is_no_more_is_said_at_once() -> None:
    def stops_reading(run: Run, step: int) -> None:
        if step < 100:
            dict(run.params)

    assert findings({150: [adjust(rate=2.0)]}, stops_reading) == [("a", 150, 155, ("rate",), False)]


def test_settings_kept_from_before_the_change_are_not_those_in_force() -> None:
    kept: list[Any] = []

    def keeps(run: Run, step: int) -> None:
        kept.append(run.params)
        kept[0]["rate"]

    assert [each[3] for each in findings({150: [adjust(rate=2.0)]}, keeps)] == [("rate",)]


def test_of_two_settings_changed_together_the_one_that_is_not_read_is_named() -> None:
    both: Script = {10: [adjust(rate=2.0, beta=0.5)]}
    channel, _ = trained(both, None, reads(lambda run, step: run.params["rate"]), tracks_reads=True)
    (found,) = channel.said(Unread)
    assert (found.names, found.partly_read) == (("beta",), True)


def test_a_later_change_of_the_same_setting_is_what_goes_unread() -> None:
    found = findings({10: [adjust(rate=2.0)], 12: [adjust("b", rate=3.0)]}, lambda run, step: None)
    assert [each[0] for each in found] == ["b"]


def test_settings_are_the_dict_they_were_also_where_they_are_copied_and_sent() -> None:
    seen: list[Any] = []
    trained({}, None, reads(lambda run, step: seen.append(run.params), 1), tracks_reads=True)
    given = seen[0]
    assert isinstance(given, dict)
    assert given == {"rate": 1.0, "beta": 0.9}
    assert [type(each) for each in (pickle.loads(pickle.dumps(given)), copy.copy(given), given | {})] == [dict] * 3
    assert ("rate" in given, len(given), given.pop("rate"), given.setdefault("more", 2)) == (True, 2, 1.0, 2)


class SlowDisk(Lectern):
    """A channel whose checkpoints are written meanwhile, by a writer that is busy until a revert has been told of."""

    background_writes = True

    def __init__(self, script: Script, saved: Path, at_step: int) -> None:
        super().__init__(script)
        self.saved, self.at_step = saved, at_step
        self.told = threading.Event()

    def emit(self, event: WorkerEvent) -> None:
        super().emit(event)
        if isinstance(event, Reverted):
            self.told.set()

    def passed(self, trial: int, step: int) -> None:
        super().passed(trial, step)
        if step == self.at_step and not self.told.is_set():
            wait_until((self.saved / "manifest.json").exists)
            saving._WRITER.submit(self.told.wait, 10.0)


def test_what_a_revert_gives_up_is_written_while_training_goes_on(tmp_path: Path) -> None:
    saved = tmp_path / "checkpoints" / "0" / "0-2"
    script: Script = {2: [Save(trial=0, kind="asked")], 5: [back(saved, 2)]}
    channel, _ = trained(script, tmp_path, lectern=SlowDisk(script, saved, 5))
    told = [
        each.kind if isinstance(each, Saved) else "reverted"
        for each in channel.events
        if isinstance(each, Saved | Reverted)
    ]
    assert told[:3] == ["asked", "reverted", "before revert"]
