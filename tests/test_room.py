from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import postgres
import pytest
from babysat import at_home
from hypothesis import given
from hypothesis import strategies as st
from waiting import PATIENCE_S

from tuner.record.events import Record

pytest.importorskip("textual", reason="the room needs Textual: pip install 'tuner[room]'")
pytest.importorskip("plotext", reason="the room needs plotext: pip install 'tuner[room]'")

from textual.pilot import Pilot

import tuner
from tuner.api.handles import RunHandle
from tuner.errors import SettingsError, StudyError
from tuner.record.events import (
    Answered,
    CheckpointSaved,
    Noted,
    SegmentOpened,
    StudyOpened,
    TrialCreated,
    TrialEnded,
    TrialStarted,
)
from tuner.record.location import Place
from tuner.record.recipe import schedule
from tuner.record.reports import pack_reports
from tuner.record.requests import REQUESTS
from tuner.record.store import Store
from tuner.room import drawing
from tuner.room.app import Chart, Room
from tuner.room.completion import continuations
from tuner.room.dispatch import carry_out, compared
from tuner.room.language import VERBS, Command, advised, format_request, guide, read
from tuner.room.prompt import Prompt
from tuner.room.scene import Picture, Scene

SETTINGS = {"learning_rate": 0.1, "beta": 0.9, "batch_size": 64}


# ── a run on record, that nobody trains ─────────────────────────────────────────────────────────


def opened(segment: int, parent: int | None, step: int, cause: Any, rate: float, **more: Any) -> SegmentOpened:
    given = {"by": "ann", "why": "", "checkpoint": None, **more}
    return SegmentOpened(
        trial=0,
        segment=segment,
        parent_segment=parent,
        from_step=step,
        cause=cause,
        at=100.0 + step,
        params={**SETTINGS, "learning_rate": rate},
        **given,
    )


def rows(first: int, last: int, level: float = 1.0) -> list[tuple[int, str, float, float]]:
    """Scores of steps `first` to `last`, ten steps a second."""
    steps = range(first, last + 1)
    return [row for k in steps for row in ((k, "score", level - 1 / k, k / 10), (k, "train_loss", 100 / k**2, k / 10))]


def saved(number: int, segment: int, step: int, kind: str = "interval") -> CheckpointSaved:
    return CheckpointSaved(
        checkpoint=number, trial=0, segment=segment, step=step, kind=kind, bytes=1, sha256="", path=str(number), at=step
    )


BEGINNING: list[Record] = [
    StudyOpened(
        name="one",
        kind="babysitting",
        function="job:train",
        source_sha256="",
        version="0",
        at=0.0,
        identity={"space": None, "objective": "score", "goal": "maximize", "seed": 0, "sampler": "none"},
    ),
    TrialCreated(
        trial=0,
        purpose="search",
        round=None,
        parent=None,
        seed=1,
        params=SETTINGS,
        seen=0,
        why="given",
        memo=None,
        at=0.0,
    ),
    opened(0, None, 0, "start", 0.1),
    TrialStarted(trial=0, segment=0, worker="w", node="here", pid=1, at=0.0),
]

STORY: list[Record] = [
    *BEGINNING,
    pack_reports(0, 0, rows(1, 40)),
    saved(0, 0, 20),
    saved(1, 0, 40, "before adjustment"),
    opened(1, 0, 40, "adjust", 0.3, why="it is slow", request="r1"),
    pack_reports(0, 1, rows(41, 80, level=0.5)),
    Noted(trial=0, step=70, by="supervisor", text="It is worse. Try: tuner revert one --step 40 --why worse", at=170.0),
    saved(2, 1, 75),
    opened(2, 0, 40, "revert", 0.1, checkpoint=1),
    pack_reports(0, 2, rows(41, 60)),
    Noted(trial=0, step=60, by="bob", text="looks better", at=165.0),
]


OVER = TrialEnded(
    trial=0,
    segment=2,
    state="completed",
    why="trained all 60 steps",
    step=60,
    best_step=60,
    best_score=0.98,
    started=0.0,
    seconds=6.0,
    node="here",
    error="",
    traceback="",
    at=200.0,
)


def on_record(folder: Path, *records: Record, store: str | None = None) -> Place:
    place = Place.of("one", folder, store)
    with Store.create(place.existing_or_new()) as record:
        record.acquire(0.0)
        record.append(records, 0.0)
    return place


def seen(place: Place, by: str = "ann") -> Picture:
    scene = Scene(place, by)
    try:
        picture = scene.look()
        assert picture is not None
        return picture
    finally:
        scene.close()


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    return seen(on_record(tmp_path, *STORY))


# ── the language ────────────────────────────────────────────────────────────────────────────────


def test_a_line_is_a_verb_with_values_words_and_a_reason() -> None:
    assert read("set learning_rate=3e-4 batch_size=64 why: it's spiking", "one") == [
        Command(verb="set", values={"learning_rate": 3e-4, "batch_size": 64}, why="it's spiking")
    ]
    assert read("schedule learning_rate cosine over=2000", "one") == [
        Command(verb="schedule", words=("learning_rate", "cosine"), values={"over": 2000})
    ]
    assert read('revert 40 keep-settings why "too fast"', "one") == [
        Command(verb="revert", words=("40", "keep-settings"), values={}, why="too fast")
    ]
    assert read("note the loss spikes, it's odd", "one") == [
        Command(verb="note", values={"text": "the loss spikes, it's odd"})
    ]


def test_what_the_shell_understands_the_room_understands_too() -> None:
    back, change = read(
        "tuner revert one --step 120 --why 'it diverged' && tuner set one learning_rate=0.003 --why 'it diverged'",
        "one",
    )
    assert back == Command(verb="revert", values={"step": 120}, why="it diverged")
    assert change == Command(verb="set", values={"learning_rate": 0.003}, why="it diverged")
    with pytest.raises(SettingsError, match="this room steers one, got two"):
        read("tuner pause two", "one")


def test_an_unknown_verb_names_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match="Did you mean revert"):
        read("rever 40", "one")
    with pytest.raises(SettingsError, match="a quote is open"):
        read("set a='1", "one")


@given(
    st.dictionaries(st.sampled_from(list(SETTINGS)), st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    st.sampled_from(["", "it's slow", "because of the spike at 40"]),
)
def test_what_was_asked_can_be_asked_again_in_the_words_it_is_said_in(values: dict[str, float], why: str) -> None:
    line = format_request("set", {"values": values, "at": None, "expect": 3, "evidence": ""}, why)
    assert read(line, "one") == [Command(verb="set", values=values, why=why)]


@pytest.mark.parametrize("line", ["schedule beta cosine over=20", "revert 40 keep-settings", "step 5", "pause release"])
def test_every_request_is_said_as_it_is_asked(line: str) -> None:
    (command,) = read(line, "one")
    values = dict(command.values)
    if command.verb == "schedule":
        parameter, shape = command.words
        values = {"parameter": parameter, "shape": shape, "shape_settings": values}
    elif command.words[0].isdigit():
        values = {"step" if command.verb == "revert" else "steps": int(command.words[0])}
    flags = {word.replace("-", "_"): True for word in command.words if word in ("keep-settings", "release")}
    assert format_request(command.verb, {**values, **flags, "expect": None}) == line


def test_advice_becomes_a_line_of_the_room() -> None:
    note = (
        "It rises. Try: tuner revert one --step 40 --why 'it rises' && tuner set one learning_rate=0.1 --why 'it rises'"
    )
    assert advised(note, "one") == ("It rises.", "revert step=40 && set learning_rate=0.1 why: it rises")
    assert advised("It improves.", "one") == ("It improves.", "")


def test_the_guide_has_every_verb_and_each_example_can_be_read() -> None:
    for word, verb in VERBS.items():
        assert verb.example in guide()
        assert read(verb.example, "one")[0].verb == word


def test_the_room_reads_each_verb_of_a_run_from_its_declaration() -> None:
    for word, verb in REQUESTS.items():
        assert (word in VERBS) == bool(verb.example)
        assert not verb.example or callable(getattr(RunHandle, word))
        assert {*verb.words, *verb.options, *([verb.gathers] if verb.gathers else [])} <= set(verb.takes)


def test_a_name_that_a_verb_does_not_take_is_refused_rather_than_dropped(run: RunHandle) -> None:
    before = len(run.study.requests)
    with pytest.raises(SettingsError, match="step"):
        carry_out(Command(verb="revert", values={"stpe": 0}), run, 0)
    assert len(run.study.requests) == before


# ── completion ──────────────────────────────────────────────────────────────────────────────────


def offered(line: str, picture: Picture) -> list[str]:
    return [word for word, _ in continuations(line, picture).words]


def test_completion_offers_verbs_parameters_steps_and_runs(picture: Picture) -> None:
    assert offered("", picture) == list(VERBS)
    assert offered("re", picture) == ["resume", "revert"]
    assert offered("set ", picture) == ["learning_rate=", "beta=", "batch_size=", "at=", "why:"]
    assert offered("set beta=0.9 le", picture) == ["learning_rate="]
    assert offered("revert ", picture)[:2] == ["40", "20"]  # that of step 75 was given up
    assert "cosine" in offered("schedule beta ", picture)
    assert offered("schedule beta cosine o", picture) == ["over="]
    assert offered("fork n", picture) == ["name="]
    assert offered("note re", picture) == []
    assert offered("set beta=0.9 why: re", picture) == []


def test_what_completion_offers_a_schedule_is_what_it_takes(picture: Picture) -> None:
    shapes = offered("schedule beta ", picture)
    assert {"constant", "cosine"} < set(shapes)
    for shape in shapes:
        words = [word for word in offered(f"schedule beta {shape} ", picture) if word.endswith("=") and word != "at="]
        if shape != "constant":
            settings: dict[str, Any] = {word[:-1]: 1.0 for word in words}
            schedule("beta", shape, **settings)


def test_completion_knows_the_other_runs(tmp_path: Path) -> None:
    place = on_record(tmp_path, *STORY)
    shutil.copytree(place.folder, tmp_path / "one-2")
    assert offered("compare ", seen(place)) == ["one-2"]


# ── what is seen ────────────────────────────────────────────────────────────────────────────────


def test_a_view_tells_the_head_from_what_was_given_up(picture: Picture) -> None:
    assert (picture.steps, picture.head, picture.state) == (60, 2, "running")
    assert [(each.number, each.on_head, each.from_step, each.to_step) for each in picture.branches] == [
        (0, True, 0, 40),
        (1, False, 40, 80),
        (2, True, 40, 60),
    ]
    assert picture.branches[1].what == "learning_rate 0.1 → 0.3"
    objective, loss = picture.scores
    assert (objective.name, loss.name) == ("score", "train_loss")
    given_up, head = objective.lines
    assert (given_up.on_head, given_up.steps[0], given_up.steps[-1]) == (False, 41, 80)
    assert head.steps == tuple(range(1, 61))
    assert objective.last == pytest.approx(1 - 1 / 60)


def test_a_view_knows_speed_checkpoint_and_notes(picture: Picture) -> None:
    assert picture.speed == pytest.approx(10.0)
    assert picture.checkpoint == (40, 40)  # that of step 75 was given up
    assert [step for step, _ in picture.checkpoints] == [40, 20]
    assert any("looks better" in entry.text for entry in picture.log)


def test_advice_goes_once_the_run_was_changed(tmp_path: Path, picture: Picture) -> None:
    assert picture.advice == ""
    assert "It is worse." in seen(on_record(tmp_path / "before", *STORY[:11])).advice


def test_a_request_is_one_line_that_tells_how_it_went(tmp_path: Path) -> None:
    place = on_record(tmp_path, *STORY)
    asking = Store.open(place.existing())
    name = asking.request("set", {"values": {"beta": 2}}, by="bob", why="")
    scene = Scene(place, "ann")
    first = scene.look()
    assert first is not None
    assert first.log[-1].text == "bob: set beta=2 …"
    asking.acquire(0.0)
    asking.append([Answered(request=name, state="rejected", step=None, detail="beta must be below 1", at=999.0)], 0.0)
    asking.close()
    second = scene.look()
    assert second is not None
    assert (second.log[-1].kind, second.log[-1].text) == (
        "rejected",
        "bob: set beta=2: rejected (beta must be below 1)",
    )
    assert scene.look() is None  # nothing new
    scene.close()


def test_a_long_curve_is_thinned_but_keeps_its_spikes(tmp_path: Path) -> None:
    many = [(k, "score", 50.0 if k == 7777 else 1.0, k / 10) for k in range(1, 20_001)]
    (score,) = seen(on_record(tmp_path, *BEGINNING, pack_reports(0, 0, many))).scores
    (line,) = score.lines
    assert len(line.steps) <= 512
    assert max(line.highs) == 50.0
    assert max(line.means) < 3.0


# ── how it is drawn ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("width", "height"), [(76, 12), (38, 8), (160, 40), (20, 5)])
def test_a_chart_fills_its_cells_and_no_more(picture: Picture, width: int, height: int) -> None:
    for score in picture.scores:
        lines = drawing.chart(score, picture, width, height).plain.split("\n")
        assert len(lines) == height
        assert max(map(len, lines)) <= width


def test_a_chart_marks_each_change_with_the_number_of_its_segment(picture: Picture) -> None:
    chart = drawing.chart(picture.scores[0], picture, 76, 12)
    assert chart.plain.startswith("score 0.9833  best 0.9833 at step 60")
    assert "2" in chart.plain.split("\n")[-3]  # the revert; the adjustment was given up, and has no line
    assert any("⠁" <= sign <= "⣿" for sign in chart.plain)  # braille


def test_a_score_that_falls_by_decades_is_drawn_on_a_log_scale(picture: Picture) -> None:
    assert "100" in drawing.chart(picture.scores[1], picture, 76, 20).plain
    assert "0.1" in drawing.chart(picture.scores[1], picture, 76, 20).plain


def test_a_run_without_reports_says_so(tmp_path: Path) -> None:
    empty = seen(on_record(tmp_path, *BEGINNING))
    assert "nothing reported yet" in drawing.chart(empty.scores[0], empty, 60, 10).plain
    assert "no checkpoint yet" in drawing.heading(empty, 80).plain


def test_a_score_that_is_not_finite_breaks_no_chart(tmp_path: Path) -> None:
    odd = [(1, "score", float("nan"), 0.1), (2, "score", float("inf"), 0.2), (3, "score", 1.0, 0.3)]
    picture = seen(on_record(tmp_path, *BEGINNING, pack_reports(0, 0, odd)))
    assert picture.scores[0].last == 1.0
    assert drawing.chart(picture.scores[0], picture, 60, 10).plain.startswith("score 1")


def test_a_score_is_told_in_fewer_words_where_there_is_no_room_for_more(picture: Picture) -> None:
    told = [drawing.chart(picture.scores[0], picture, width, 12).plain.split("\n")[0] for width in (40, 36, 28)]
    assert told == [
        "score 0.9833  best 0.9833 at step 60",
        "score 0.9833  best 0.9833 at step 60",
        "score 0.9833  best at 60",
    ]


def test_a_run_that_went_far_back_takes_half_of_the_axis_at_least(tmp_path: Path) -> None:
    far: list[Record] = [
        *BEGINNING,
        pack_reports(0, 0, rows(1, 10)),
        saved(0, 0, 10),
        pack_reports(0, 0, rows(11, 9000)),
    ]
    back: list[Record] = [opened(1, 0, 10, "revert", 0.1, checkpoint=0), pack_reports(0, 1, rows(11, 50))]
    picture = seen(on_record(tmp_path, *far, *back))
    ticks = drawing.chart(picture.scores[0], picture, 76, 12).plain.split("\n")[-1].split()
    assert ticks == ["0", "20", "40", "60", "80", "100"]


def test_a_run_that_is_over_is_told_without_what_only_one_that_trains_needs(tmp_path: Path) -> None:
    picture = seen(on_record(tmp_path, *STORY, OVER))
    assert drawing.heading(picture, 80).plain.startswith("one · completed · step 60")
    assert drawing.tree(picture, 100, 1).plain == "● 2 revert 40–60 back at step 40  ann"


def test_a_stretch_that_changed_nothing_leaves_no_gap(tmp_path: Path) -> None:
    thawed = opened(1, 0, 20, "thaw", 0.1, checkpoint=0, why="it still falls")
    picture = seen(on_record(tmp_path, *BEGINNING, pack_reports(0, 0, rows(1, 20)), saved(0, 0, 20), thawed))
    assert drawing.tree(picture, 100, 1).plain == "● 1 thaw 20–  ann: it still falls"


def test_a_schedule_is_told_in_the_tree_without_the_step_that_stands_there(tmp_path: Path) -> None:
    cosine = replace(schedule("learning_rate", "cosine", over=50), value=0.1, since=20)
    falls = opened(1, 0, 20, "adjust", 0.1, schedules={"learning_rate": cosine.to_dict()})
    picture = seen(on_record(tmp_path, *BEGINNING, pack_reports(0, 0, rows(1, 20)), falls))
    assert drawing.tree(picture, 100, 1).plain == "● 1 adjust 20– learning_rate cosine over=50  ann"


def test_two_runs_of_which_one_is_silent_are_told_so() -> None:
    frame = pd.DataFrame({"one": [0.5, 0.6], "two": [float("nan")] * 2}, index=[1, 2])
    assert compared(frame).endswith("two has reported nothing yet.")


def test_the_tree_sets_aside_what_was_given_up(picture: Picture) -> None:
    first, second, third = drawing.tree(picture, 100, 5).plain.split("\n")
    assert first.startswith("● 0 start 0–40 learning_rate 0.1, beta 0.9")
    assert second == "│ ○ 1 adjust 40–80 learning_rate 0.1 → 0.3  ann: it is slow"
    assert third.startswith("● 2 revert 40–")


# ── the room ────────────────────────────────────────────────────────────────────────────────────


def text_of(room: Room, selector: str) -> str:
    return str(room.query_one(selector).render())


async def until(pilot: Pilot[None], true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"{what}; the log says:\n{text_of(pilot.app, '#entries')}"  # type: ignore[arg-type]
        await pilot.pause(0.05)


def stay(handle: RunHandle, act: Callable[[Room, Pilot[None]], Awaitable[None]]) -> None:
    """Opens a room without a terminal, and does what a person would."""

    room = Room(handle)

    async def live() -> None:
        async with room.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "·" in text_of(room, "#heading"), "nothing is drawn")
            await act(room, pilot)

    try:
        asyncio.run(live())
    finally:
        room.close()


def handle_of(place: Place) -> RunHandle:
    return RunHandle(place, Store.open(place.existing()), by="ann")


async def write(pilot: Pilot[None], line: str) -> None:
    pilot.app.query_one(Prompt).value = line
    await pilot.press("enter")


def test_the_room_draws_curves_settings_tree_and_log(tmp_path: Path) -> None:
    async def look(room: Room, pilot: Pilot[None]) -> None:
        assert text_of(room, "#heading").startswith("one · running · step 60 · 10 steps/s")
        assert "learning_rate 0.1  beta 0.9  batch_size 64" in text_of(room, "#settings")
        assert text_of(room, "#first").startswith("score 0.98")
        assert text_of(room, "#second").startswith("train_loss")
        assert "revert 40–" in text_of(room, "Branches")
        assert "bob at step 60: looks better" in text_of(room, "#entries")

    stay(handle_of(on_record(tmp_path, *STORY)), look)


def test_the_room_survives_a_resize(tmp_path: Path) -> None:
    async def resize(room: Room, pilot: Pilot[None]) -> None:
        for width, height in ((140, 50), (60, 16), (30, 8), (80, 24)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            chart = room.query_one("#first", Chart)
            assert len(str(chart.render()).split("\n")) <= chart.size.height
            assert room.query_one("#line").region.bottom <= height

    stay(handle_of(on_record(tmp_path, *STORY)), resize)


def test_tab_completes_and_the_arrows_go_through_what_was_asked(tmp_path: Path) -> None:
    async def type_in(room: Room, pilot: Pilot[None]) -> None:
        prompt = room.query_one(Prompt)
        await pilot.press(*"rev", "tab")
        assert prompt.value == "revert "
        await pilot.press("tab", "tab")
        assert prompt.value == "revert 20 "
        assert "a checkpoint (interval)" in text_of(room, "#offers")
        await pilot.press("shift+tab")
        assert prompt.value == "revert 40 "
        await pilot.press("ctrl+c")
        assert prompt.value == ""
        await write(pilot, "help")
        await write(pilot, "sett beta=0.9")
        await pilot.press("up", "up")
        assert prompt.value == "help"
        await pilot.press("down", "down")
        assert prompt.value == ""
        assert "Did you mean set?" in text_of(room, "#entries")

    stay(handle_of(on_record(tmp_path, *STORY)), type_in)


def test_help_can_be_read_whole_in_a_terminal_of_80_by_24_and_escape_ends_it(tmp_path: Path) -> None:
    async def ask(room: Room, pilot: Pilot[None]) -> None:
        await write(pilot, "help")
        await pilot.pause()
        await until(pilot, lambda: guide() in text_of(room, "#entries"), "no help")
        *verbs, keys = guide().split("\n")
        assert max(map(len, verbs)) <= 80
        assert room.query_one("#log").content_size.height >= len(verbs) + len(keys) // 80 + 1
        assert room.query_one(Prompt).placeholder == "Escape brings the curves back"
        await pilot.press("escape")
        await pilot.pause()
        assert room.query_one("#first").size.height > 5
        assert room.query_one(Prompt).placeholder.startswith("help says")

    stay(handle_of(on_record(tmp_path, *STORY)), ask)


def test_tab_on_an_empty_line_takes_the_advice(tmp_path: Path) -> None:
    async def take(room: Room, pilot: Pilot[None]) -> None:
        assert "It is worse." in text_of(room, "#advice")
        await pilot.press("tab")
        assert room.query_one(Prompt).value == "revert step=40 why: worse"

    stay(handle_of(on_record(tmp_path, *STORY[:11])), take)


def test_a_run_that_cannot_answer_says_why_in_the_log(tmp_path: Path) -> None:
    async def ask(room: Room, pilot: Pilot[None]) -> None:
        await write(pilot, "pause")
        await until(pilot, lambda: "pause: " in text_of(room, "#entries"), "no answer")
        assert "run.json is missing" in text_of(room, "#entries")

    stay(handle_of(on_record(tmp_path, *STORY)), ask)


def test_when_the_run_ends_the_room_says_so_and_stays(tmp_path: Path) -> None:
    async def watch(room: Room, pilot: Pilot[None]) -> None:
        assert "the run is over at step 60: completed, trained all 60 steps" in text_of(room, "#entries")
        assert room.is_running
        await pilot.press("ctrl+d")
        assert not room.is_running

    stay(handle_of(on_record(tmp_path, *STORY, OVER)), watch)


# ── a run that trains ───────────────────────────────────────────────────────────────────────────


def trainer(step_s: float) -> Callable[[tuner.Run], None]:
    """A function that travels by value, so that no worker imports this module."""

    def train(run: tuner.Run) -> None:
        import time

        weights = {"height": 3.0}

        def save(folder: Path) -> None:
            (folder / "height").write_text(str(weights["height"]))

        def load(folder: Path) -> None:
            weights["height"] = float((folder / "height").read_text())

        run.state(save=save, load=load)
        for _ in run.steps(20_000):
            weights["height"] *= 1 - run.params["learning_rate"] / 10
            time.sleep(step_s)
            run.report(train_loss=weights["height"], score=-weights["height"])

    return train


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunHandle]:
    """A babysat run; whatever it began is over afterwards."""
    with (
        at_home(tmp_path),
        closing(
            tuner.babysit(
                trainer(0.005),
                SETTINGS,
                name="one",
                objective="score",
                executor="local",
                results=tmp_path,
                checkpoint_every_s=0.2,
                level="off",
            )
        ) as handle,
    ):
        yield handle


@pytest.mark.long
def test_a_person_steers_a_run_in_its_room(run: RunHandle) -> None:
    async def steer(room: Room, pilot: Pilot[None]) -> None:
        def told(text: str) -> Callable[[], bool]:
            return lambda: text in text_of(room, "#entries")

        def shown() -> Picture:
            assert room._picture is not None
            return room._picture

        await until(pilot, lambda: shown().steps > 20 and bool(shown().checkpoints), "it does not train")
        await write(pilot, "set learning_rate=0.2 why: it's slow")
        await until(pilot, told("set learning_rate=0.2 why: it's slow: applied"), "not set")
        assert shown().branches[-1].what == "learning_rate 0.1 → 0.2"
        await write(pilot, "pause")
        await write(pilot, "step 3")  # written before the pause was answered
        await until(pilot, told("step 3: applied"), "no steps")
        await until(pilot, lambda: shown().state == "paused", "not paused")
        await write(pilot, "resume")
        await until(pilot, told("resume: applied"), "not resumed")
        await write(pilot, f"revert {shown().checkpoints[0][0]}")
        await until(pilot, lambda: shown().branches[-1].cause == "revert", "not reverted")
        await write(pilot, "undo")
        await until(pilot, told("undo: applied"), "not undone")
        await write(pilot, "set learning_rat=3")
        await until(pilot, told("Did you mean learning_rate?"), "not refused")
        assert text_of(room, "#entries").count("Did you mean learning_rate?") == 1
        await write(pilot, "note steady now")
        await until(pilot, told("steady now"), "not noted")
        await write(pilot, "fork learning_rate=0.05 name=two")
        await until(pilot, told("two trains beside this run"), "not forked")
        await write(pilot, "compare two")
        await until(pilot, told("learning_rate"), "not compared")
        await write(pilot, "stop why: seen enough")
        await until(pilot, lambda: shown().ended, "not stopped")
        assert "seen enough" in text_of(room, "#heading")

    stay(run, steer)


def test_two_people_cannot_overwrite_one_another_unknowingly(run: RunHandle) -> None:
    head = run.study.state.trials[0].head.segment
    run.set(learning_rate=0.2, why="the other was quicker")
    with pytest.raises(StudyError, match="has changed since"):
        carry_out(Command(verb="set", values={"learning_rate": 0.3}), run, head)


def test_a_step_that_is_no_number_is_refused_with_what_to_write(run: RunHandle) -> None:
    with pytest.raises(SettingsError, match=r"'before'.*revert 40 \("):
        carry_out(Command(verb="revert", words=("before",), values={}), run, 0)


@pytest.mark.parametrize(
    "line",
    [
        "set learning_rate=0.3 a hunch",
        "set learning_rate 0.3",
        "pause for lunch",
        "step 5 6",
        "undo it",
        "revert 0 it got worse",
        "fork learning_rate=0.1 bolder",
    ],
)
def test_a_word_that_has_no_meaning_is_refused_rather_than_dropped(run: RunHandle, line: str) -> None:
    before = len(run.study.requests)
    (command,) = read(line, run.name)
    with pytest.raises(SettingsError, match="why: the reason"):
        carry_out(command, run, run.study.state.trials[0].head.segment)
    assert len(run.study.requests) == before


def test_the_room_waits_for_neither_ray_nor_optuna_nor_numpy() -> None:
    look = "import sys, tuner.room.app; print({'ray', 'optuna', 'pandas', 'numpy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "set()"


# ── a terminal ──────────────────────────────────────────────────────────────────────────────────

ENTER_THE_ROOM = """
import sys, tuner
from tuner.room import open_room
sys.exit(open_room(tuner.attach("one", results=sys.argv[1], by=sys.argv[2])))
"""


class Terminal:
    """A terminal of 80×24 that a test types into and looks at."""

    def __init__(self, server: str, results: Path, by: str) -> None:
        self._server, self._name = server, by
        self._tmux("new-session", "-d", "-x", "80", "-y", "24", "-s", by, "env PS1='$ ' sh")
        self.type(f"{sys.executable} {results / 'room.py'} {results} {by}")

    def type(self, line: str) -> None:
        self._tmux("send-keys", "-t", self._name, "-l", line)
        self.press("Enter")

    def press(self, key: str) -> None:
        self._tmux("send-keys", "-t", self._name, key)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-t", self._name, "-x", str(width), "-y", str(height))

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-t", self._name)

    def shows(self, text: str) -> str:
        """Waits until the screen shows it."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in (screen := self.screen()):
            assert time.monotonic() < deadline, f"{text!r} never shows:\n{screen}"
            time.sleep(0.05)
        return screen

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._server, *words], capture_output=True, text=True, check=True, timeout=120
        )
        return done.stdout


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed: apt-get install tmux")
def test_a_person_in_a_terminal_of_80_by_24(run: RunHandle, tmp_path: Path) -> None:
    (tmp_path / "room.py").write_text(ENTER_THE_ROOM)
    server = f"tuner-{os.getpid()}"
    try:
        ann = Terminal(server, tmp_path, "ann")
        first = ann.shows("└┬")
        assert first.splitlines()[0].startswith("one · running · step")
        assert len(first.rstrip("\n").splitlines()) == 24
        ann.type("set learning_rate=0.2 why: slow")
        ann.shows("learning_rate 0.1 → 0.2  ann: slow")
        bob = Terminal(server, tmp_path, "bob")
        bob.shows("ann: set learning_rate=0.2 why: slow: applied")
        bob.type("pause")
        ann.shows("bob: pause: applied")
        ann.shows("one · paused")
        ann.resize(100, 30)
        ann.type("resume")
        ann.shows("one · running")
        ann.type("revert")
        ann.shows("● 2 revert")
        bob.press("C-d")
        bob.shows("one trains on. Come back: tuner watch one")
        ann.type("stop why: seen enough")
        ann.shows("the run is over")
        ann.press("C-d")
        left = ann.shows("one is over: stopped, seen enough")
        assert "└" not in left  # the terminal is as it was
        ann.type("echo exit code $?")
        ann.shows("exit code 0")
    finally:
        subprocess.run(["tmux", "-L", server, "kill-server"], capture_output=True, check=False, timeout=120)


def test_a_drawing_that_fails_costs_no_more_than_the_drawing(picture: Picture, tmp_path: Path) -> None:
    broken = replace(
        picture.scores[0], lines=tuple(replace(line, lows=(), highs=()) for line in picture.scores[0].lines)
    )

    async def look(room: Room, pilot: Pilot[None]) -> None:
        room.query_one("#first", Chart).show(broken, picture)
        await until(pilot, lambda: "chart cannot be drawn: ValueError" in text_of(room, "#first"), "no word of it")
        await write(pilot, "rever 40")
        await until(pilot, lambda: "Did you mean revert" in text_of(room, "#entries"), "the room does not answer")

    stay(handle_of(on_record(tmp_path / "live", *STORY)), look)


def test_a_database_that_is_away_is_told_once_and_so_is_its_return(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    async def look(room: Room, pilot: Pilot[None]) -> None:
        with team_server.away():
            await until(pilot, lambda: "waiting for the database since" in text_of(room, "#entries"), "no word of it")
        await until(pilot, lambda: "the database is back after" in text_of(room, "#entries"), "no word of its return")
        assert text_of(room, "#entries").count("waiting for the database since") == 1

    stay(handle_of(on_record(tmp_path / "live", *STORY, store=team_url)), look)
