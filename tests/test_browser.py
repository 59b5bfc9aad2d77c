"""The page in a real Chromium before a real service: it moves, steers, outlives the server, complains of nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import babysat
import postgres
import pytest
from diaries import NOON, beginning, diary, ended, reported
from stories import Part, story
from sweeping import sweep

pytest.importorskip("playwright")

from chromium import PATIENCE_MS, Service, Visitor, browsing
from playwright.sync_api import Browser, Locator, Page, Response, expect
from waiting import wait_until

import tuner
from tuner import Space, choice, integer, linear, log, log_one_minus
from tuner.agents.allowance import read_launch
from tuner.record.events import StudyOpened, TrialHeld
from tuner.record.location import Place
from tuner.record.store import Store
from tuner.views.pictures.diagram import INKS, Theme

pytestmark = [pytest.mark.browser, pytest.mark.long]  # CI runs them with `make long`
expect.set_options(timeout=PATIENCE_MS)

SPACE = Space(
    rate=log(1e-4, 1.0),
    beta=log_one_minus(0.9, 0.999),
    optimizer=choice("adam", "sgd"),
    warmup=linear(0.0, 10.0, when={"optimizer": "adam"}),
)
SLOW = """
import time

def train(run):
    for step in run.steps(5):
        time.sleep(0.1)
        run.report(score=run.params["learning_rate"] + step)
"""
# A program that saves after every epoch and goes on from there, and that program as a training function.
PROGRAM = """
import json, sys, time
from pathlib import Path

rate, state = float(sys.argv[1]), Path(sys.argv[2]) / "state.json"
epoch, loss = json.loads(state.read_text()) if state.exists() else (0, 1.0)
print("begins at epoch", epoch)
while epoch < 40:
    time.sleep(0.1)
    epoch, loss = epoch + 1, loss * (1 - rate / 10)
    state.with_name("new").write_text(json.dumps([epoch, loss]))
    state.with_name("new").rename(state)
    print(json.dumps({"step": epoch, "loss": loss}), flush=True)
"""
COMMAND = """
import sys
from pathlib import Path

import tuner

program = Path(__file__).with_name("program.py")
train = tuner.command([sys.executable, str(program), "{learning_rate}", "{checkpoint}"])
"""
RUN = Space(learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.9, 0.999))


def train(run: tuner.Run) -> None:
    for step in run.steps(10):
        run.report(score=run.params["rate"] * (1 + step))


def drop(run: tuner.Run) -> None:
    for step in run.steps(2):
        run.report(score=(run.params["dropout"] or 0.0) + step)


def fails(run: tuner.Run) -> None:
    raise FileNotFoundError("there are no data")


class Ball:
    def __init__(self) -> None:
        self.height = 2.0

    def state_dict(self) -> dict[str, float]:
        return {"height": self.height}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.height = state["height"]


def roll(run: tuner.Run) -> None:
    ball = Ball()
    run.state(ball)
    for _ in run.steps(1_000_000):
        time.sleep(0.02)
        ball.height *= 1 - run.params["learning_rate"] * 0.1
        run.report(score=-ball.height, train_loss=ball.height)


def shake(run: tuner.Run) -> None:
    ball = Ball()
    run.state(ball)
    for step in run.steps(1_000_000):
        time.sleep(0.02)
        ball.height *= 0.999
        run.report(score=-ball.height, train_loss=ball.height * (1.0 + 0.4 * (-1) ** step))


def falling(step: int) -> dict[str, float]:
    return {"score": 1 / (1 + step), "train_loss": 2 / (1 + step)}


def swinging(step: int) -> dict[str, float]:
    height = 2 * 0.999**step
    return {"score": -height, "train_loss": height * (1 + 0.4 * (-1) ** step)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as found:
        yield found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep that is over, and a run that went back."""
    folder = tmp_path_factory.mktemp("results")
    sweep(folder, train, SPACE, trials=24, seed=3).close()
    low, high = {"learning_rate": 0.01}, {"learning_rate": 0.02}
    parts = (
        Part(start=0, to=50, params=low, scores=falling),
        Part(start=50, to=70, params=high, parent=0, why="<b>bold</b>", scores=falling),
        Part(start=50, to=120, params=low, parent=0, cause="revert", verb="revert", scores=falling),
    )
    story(folder / "one", *parts).close()
    return folder


@pytest.fixture
def visitor(browser: Browser, results: Path) -> Iterator[Visitor]:
    """Somebody before the service over that folder, who has nothing to complain of in the end."""
    yield from visited(browser, results)


def visited(browser: Browser, results: Path, *options: str, **looks: Any) -> Iterator[Visitor]:
    service = Service(results, *options)
    found = Visitor(browser, service.start(), **looks)
    try:
        yield found
    finally:
        found.context.close()
        service.kill()
    assert not found.complaints


def step_of(page: Page) -> int:
    return int(page.locator("#run_head .facts b").first.inner_text().replace(",", ""))


def ask(page: Page, verb: str, why: str, **fields: str) -> Locator:
    """Fills a form in and sends it; what it then says."""
    form = page.locator(f"form[data-verb={verb}], form:has(button[value={verb}])").first
    form.evaluate("form => { const outer = form.closest('details'); if (outer) outer.open = true; }")
    for name, value in fields.items():
        form.locator(f"[name='{name}']").fill(value)
    if why:
        form.locator("[name=why]").fill(why)
    named = form.locator(f"button[value={verb}]")
    (named if named.count() else form.locator("button")).click()
    return form.locator(":scope > output")


def drawn(page: Page, picture: str) -> Locator:
    """The picture, once something stands on its canvas."""
    figure = page.locator(f"#chart-{picture}")
    figure.scroll_into_view_if_needed()
    expect(figure.locator("canvas").first).to_be_visible()
    expect(figure.locator(".shown")).not_to_contain_text("being drawn")
    return figure


# ── what is shown ───────────────────────────────────────────────────────────────────────────────


def test_a_sweep_is_shown_with_its_pictures_and_its_best_first(visitor: Visitor) -> None:
    page = visitor.page("/studies/night")
    for picture in ("curves", "progress", "settings", "parallel"):
        assert drawn(page, picture).get_by_role("img").get_attribute("aria-label")
    expect(page.locator("#trials tbody tr").first).to_have_class("best")


def test_one_selection_is_shown_everywhere_and_kept_in_the_address(visitor: Visitor) -> None:
    page = visitor.page("/studies/night")
    drawn(page, "curves")
    page.get_by_label("Select trial 3", exact=True).check()
    page.get_by_label("Select trial 4", exact=True).check()
    expect(page).to_have_url(f"{visitor.origin}/studies/night?trials=3-4")
    expect(page.locator(".selection p")).to_have_text("2 trials selected")
    for picture in ("curves", "settings", "parallel"):
        drawn(page, picture)
        assert 3 in chosen(page) or picture
    assert set(chosen(page)) == {3, 4}
    page.get_by_role("button", name="rate", exact=True).click()
    expect(page.get_by_label("Select trial 3", exact=True)).to_be_checked()
    assert "trials=3-4" in page.url


def chosen(page: Page) -> list[int]:
    """The trials that pictures show as selected."""
    found: list[int] = page.evaluate(
        """() => Bokeh.documents.flatMap((each) => [...each._all_models.values()])
        .filter((each) => each.data?.trial && each.name !== "crossings")
        .flatMap((each) => each.selected.indices.map((at) => each.data.trial[at]))"""
    )
    return found


def test_a_brush_over_an_axis_selects_the_trials_that_pass_there(visitor: Visitor, results: Path) -> None:
    page = visitor.page("/studies/night")
    picture = drawn(page, "parallel").locator("canvas").first
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box is not None
    with tuner.open("night", results=results) as study:
        space = study.space
        assert space is not None
        high = {each.trial for each in study.state.trials if space["rate"].to_unit(each.params["rate"]) > 0.6}
    place = page.evaluate(
        """() => {
          const drawn = [...Bokeh.index].find(({ model }) => model.renderers?.some(
            (each) => each.data_source?.name === "crossings"));
          const { x_scale, y_scale } = drawn.frame;
          const names = Object.fromEntries(drawn.model.below[0].major_label_overrides);
          const axis = Number(Object.keys(names).find((at) => names[at] === "rate"));
          return [[axis - 0.2, 1.05], [axis + 0.2, 0.6]].map(([x, y]) => [x_scale.compute(x), y_scale.compute(y)]);
        }"""
    )
    (left, top), (right, bottom) = place
    page.mouse.move(box["x"] + left, box["y"] + top)
    page.mouse.down()
    page.mouse.move(box["x"] + right, box["y"] + bottom, steps=5)
    page.mouse.up()
    expect(page.locator(".selection b")).to_have_text(str(len(high)))
    assert set(chosen(page)) == high


def test_the_lines_of_a_crowd_arrive_as_they_were_sent(browser: Browser, tmp_path: Path) -> None:
    with sweep(tmp_path, train, SPACE, trials=150, seed=5, sampler="random", stopping="off") as study:
        curves = {trial.trial: study.state.curve(trial) for trial in study.state.trials}
    for visitor in visited(browser, tmp_path):
        page = visitor.page("/studies/night")
        for picture in ("curves", "settings", "parallel"):
            drawn(page, picture)
        told = page.evaluate(
            """() => Bokeh.documents.flatMap((each) => [...each._all_models.values()])
            .filter((each) => each.data?.trial)
            .map(({ name, data }) => [name, Object.fromEntries(Object.entries(data).map(([key, column]) =>
                [key, Array.from(column, (each) => each.length && each.map ? Array.from(each) : each)]))])"""
        )
    lines = [data for name, data in told if name == "trials" and "xs" in data]
    assert [sorted(data["trial"]) for data in lines] == [list(range(150))] * 2
    for data in lines[:1]:
        for trial, xs, ys in zip(data["trial"], data["xs"], data["ys"], strict=True):
            assert xs == list(curves[trial].steps)
            assert ys == pytest.approx(list(curves[trial].scores), abs=0.01)
    (crossings,) = [data for name, data in told if name == "crossings"]
    assert len(crossings["x"]) == len(crossings["y"]) == len(crossings["trial"]) == 150 * (len(SPACE) + 1)


def test_nothing_is_fetched_twice_nor_while_nothing_happens(visitor: Visitor) -> None:
    page, asked = visitor.page(), list[str]()
    page.on("request", lambda request: asked.append(request.url) if request.resource_type == "fetch" else None)
    page.goto(f"{visitor.origin}/studies/night")
    for picture in ("curves", "progress", "settings", "parallel"):
        drawn(page, picture)
    page.wait_for_timeout(8_000)  # only to show that nothing comes
    pictures = [url.partition("?")[0] for url in asked if "/pictures/" in url]
    assert len(pictures) == len(set(pictures)) == 4
    assert not [url for url in asked if "part=" in url]
    assert len([url for url in asked if "icon.svg" in url]) <= 3  # where the machine was too busy for a beat


def test_the_same_is_there_as_a_table(visitor: Visitor) -> None:
    page = visitor.page("/studies/night")
    figure = drawn(page, "settings")
    figure.locator("summary").click()
    expect(figure.locator("tbody tr")).to_have_count(24)


def test_pictures_are_freed_where_nobody_sees_them(browser: Browser, results: Path) -> None:
    for visitor in visited(browser, results, height=500, width=390):
        page = visitor.page("/studies/night")
        drawn(page, "curves")
        page.locator("#next").scroll_into_view_if_needed()
        expect(page.locator("#chart-curves canvas")).to_have_count(0)
        assert page.evaluate("Bokeh.documents.length") <= 2


def test_a_picture_that_comes_back_into_view_is_not_sent_again(browser: Browser, tmp_path: Path) -> None:
    trials = range(400)
    with closing(diary(tmp_path)) as store:
        for trial in trials:
            scores = [(step, trial % 97 / 97 + step) for step in (1, 2)]
            store.append([*beginning(trial, trial / 400), reported(trial, 0, scores), ended(trial, scores[0][1])], NOON)
    for visitor in visited(browser, tmp_path, width=390, height=300):
        page = visitor.page()
        visitor.context.new_cdp_session(page).send("Network.setCacheDisabled", {"cacheDisabled": True})
        sent = heard(page)
        page.goto(f"{visitor.origin}/studies/night")
        for picture, other in [("curves", "parallel"), ("parallel", "curves")] * 2:  # they have a column in common
            drawn(page, picture)
            expect(page.locator(f"#chart-{other} canvas")).to_have_count(0)
            columns = page.evaluate(
                """() => Bokeh.documents.flatMap((each) => [...each._all_models.values()])
                .filter(({ data }) => data?.trial && data.xs).map(({ data }) => Array.from(data.trial))"""
            )
            assert [sorted(each) for each in columns] == [[*trials]], picture
    for picture in ("curves", "parallel"):
        assert [each.status for each in sent if f"pictures/{picture}?" in each.url] == [200, 304]


def test_the_picture_at_the_top_is_the_first_that_is_drawn_in_another_theme(browser: Browser, tmp_path: Path) -> None:
    sweep(tmp_path, train, SPACE, trials=150, seed=5, sampler="random", stopping="off").close()
    for visitor in visited(browser, tmp_path, height=1600):
        page = visitor.page("/studies/night")
        pictures = [drawn(page, each) for each in ("curves", "progress", "settings", "parallel")]
        page.set_viewport_size({"width": 1280, "height": 200})
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(pictures[0].locator("canvas")).to_have_count(0)
        page.evaluate("scrollTo(0, 0)")  # those that were gone come back last
        page.set_viewport_size({"width": 1280, "height": 1600})
        for picture in pictures:
            expect(picture.locator("canvas").first).to_be_visible()
        sent = heard(page)
        with page.expect_response(lambda answer: "pictures/parallel" in answer.url and "theme=dark" in answer.url):
            page.emulate_media(color_scheme="dark")
    asked = [each.url.partition("pictures/")[2].partition("?")[0] for each in sent if "theme=dark" in each.url]
    assert asked == ["curves", "progress", "settings", "parallel"]


def heard(page: Page) -> list[Response]:
    """What the page is answered from now on."""
    found: list[Response] = []
    page.on("response", lambda answer: found.append(answer))
    return found


def test_two_studies_are_compared(visitor: Visitor) -> None:
    page = visitor.page("/")
    page.get_by_label("Compare night").check()
    page.get_by_label("Compare one").check()
    page.get_by_role("button", name="Compare two").click()
    drawn(page, "progress")
    expect(page.get_by_role("region", name="Side by side")).to_contain_text("time training")


# ── what moves ──────────────────────────────────────────────────────────────────────────────────


def test_a_sweep_is_launched_from_the_page_and_seen_to_move(browser: Browser, tmp_path: Path) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    (projects / "mine.py").write_text(SLOW)
    for visitor in visited(browser, tmp_path / "results", "--projects", str(projects)):
        page = visitor.page("/")
        launch(page, name="dawn", train="mine:train", objective="score", trials="6")
        expect(page).to_have_url(f"{visitor.origin}/studies/dawn")
        drawn(page, "curves")
        expect(page.locator("#sweep_head .lead")).to_contain_text("6 trials")  # nobody reloads the page
        expect(page.locator("#trials tbody tr")).to_have_count(6)


def test_what_a_trial_takes_and_is_given_is_said_line_by_line(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SLOW)
    sent: list[Any] = []
    for visitor in visited(browser, tmp_path / "results", "--projects", str(tmp_path)):
        page = visitor.page("/")
        page.on("request", lambda asked: sent.append(asked.post_data_json) if asked.method == "PUT" else None)
        page.get_by_text("Launch a sweep").click()
        page.locator("#launching summary").last.click()
        given = {"cpus": "2", "resources": "licence=0.5\n node:gpu1 = 1\n", "runtime_env.env_vars": "DATA=/a=b\nSEED=1"}
        launch(page, opened=True, name="dawn", train="mine:train", objective="score", **given)
        expect(page.locator("#launching form > output")).to_contain_text("resources is for workers of Ray")
    (asked,) = sent
    assert (asked["cpus"], "gpus" in asked) == (2, False)
    assert asked["resources"] == {"licence": 0.5, "node:gpu1": 1}
    assert asked["runtime_env"] == {"env_vars": {"DATA": "/a=b", "SEED": "1"}}


def test_a_run_is_launched_from_the_page_and_steered(browser: Browser, tmp_path: Path) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    (projects / "mine.py").write_text(SLOW)
    for visitor in visited(browser, tmp_path / "results", "--projects", str(projects)):
        page = visitor.page("/")
        page.get_by_text("Babysit a run").click()
        form = page.locator("#babysitting form.launch")
        given = {
            "name": "dawn",
            "train": "mine:train",
            "objective": "score",
            "params.learning_rate": "0.25",
            "why": "try",
        }
        for name, value in given.items():
            form.locator(f"[name='{name}']").fill(value)
        form.locator("[name=space]").select_option("sgd_momentum")
        form.locator("[name=executor]").select_option("local")
        form.get_by_role("button", name="Babysit").click()
        expect(page).to_have_url(f"{visitor.origin}/studies/dawn")
        expect(page.locator("body")).to_contain_text("0.25")
    with tuner.open("dawn", results=tmp_path / "results") as study:
        assert (study.state.kind, study.state.trials[0].params["learning_rate"]) == ("babysitting", 0.25)


def test_what_a_form_is_not_told_is_left_to_tuner_and_the_run_comes_to_its_end(
    browser: Browser, tmp_path: Path
) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    (projects / "mine.py").write_text(SLOW)
    for visitor in visited(browser, tmp_path / "results", "--projects", str(projects)):
        page = visitor.page("/")
        page.get_by_text("Babysit a run").click()
        form = page.locator("#babysitting form.launch")
        for name, value in {"name": "dawn", "train": "mine:train", "objective": "score"}.items():
            form.locator(f"[name={name}]").fill(value)
        form.locator("[name=space]").select_option("sgd_momentum")
        form.locator("[name=executor]").select_option("local")
        form.get_by_role("button", name="Babysit").click()
        expect(page).to_have_url(f"{visitor.origin}/studies/dawn")
        expect(page.locator("#run_head .lead")).to_have_attribute("data-state", "over")
    with tuner.open("dawn", results=tmp_path / "results") as study:
        (trial,) = study.state.trials
        assert (trial.state, trial.steps) == ("completed", 5)
        assert study.space == Space.load("sgd_momentum")
        assert 1e-4 <= trial.params["learning_rate"] <= 1


def test_a_choice_that_may_be_nothing_is_launched_again_from_its_page(browser: Browser, tmp_path: Path) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    (projects / "mine.py").write_text(SLOW.replace('run.params["learning_rate"]', '(run.params["dropout"] or 0.0)'))
    space = Space(dropout=choice(None, 0.5), width=integer(1, 4))
    sweep(tmp_path / "results", drop, space, trials=4).close()
    for visitor in visited(browser, tmp_path / "results", "--projects", str(projects)):
        page = visitor.page("/studies/night")
        page.get_by_text("Launch the next one").click()
        page.locator("#next [name=train]").fill("mine:train")
        page.get_by_role("button", name="Launch").click()
        expect(page).to_have_url(f"{visitor.origin}/studies/night-2")
        expect(page.locator("#sweep_head .lead")).to_contain_text("Over: 4 trials")
        expect(page.locator("#trials")).to_contain_text("None")
    with tuner.open("night-2", results=tmp_path / "results") as study:
        assert study.space == space
        assert {trial.params["dropout"] for trial in study.state.trials} == {None, 0.5}


def test_what_is_new_comes_into_the_picture_that_is_there(browser: Browser, tmp_path: Path) -> None:
    with babysat.at_home(tmp_path), tended(tmp_path):
        for visitor in visited(browser, tmp_path):
            page = visitor.page("/studies/tended")
            stayed = []
            for _ in range(6):  # a first checkpoint or a change makes it another picture, once
                canvas, before = drawn(page, "run").locator("canvas").first.element_handle(), furthest(page)
                deadline = time.monotonic() + PATIENCE_MS / 1000
                while furthest(page) <= before and time.monotonic() < deadline:
                    page.wait_for_timeout(100)
                assert furthest(page) > before
                stayed.append(canvas.evaluate("each => each.isConnected"))
            assert any(stayed)


def furthest(page: Page) -> float:
    """How far to the right the lines of all pictures reach."""
    found: float = page.evaluate(
        """() => Math.max(0, ...Bokeh.documents.flatMap((each) => [...each._all_models.values()])
        .flatMap((each) => [...(each.data?.x ?? [])]).filter(Number.isFinite))"""
    )
    return found


def tended(results: Path, train: Callable[[tuner.Run], None] = roll, **options: Any) -> tuner.RunHandle:
    return tuner.babysit(
        train,
        {"learning_rate": 0.01, "beta": 0.9},
        name="tended",
        objective="score",
        goal="maximize",
        space=RUN,
        results=results,
        executor="local",
        **options,
    )


def test_a_run_is_steered_from_its_page(browser: Browser, tmp_path: Path) -> None:
    with babysat.at_home(tmp_path), tended(tmp_path):
        for visitor in visited(browser, tmp_path):
            page = visitor.page("/studies/tended")
            drawn(page, "run")
            before = step_of(page)
            expect(page.locator("#run_head .facts b").first).not_to_have_text(f"{before:,}")
            expect(ask(page, "set", "it is slow", **{"values.learning_rate": "0.02"})).to_contain_text("applied")
            expect(page.locator("#run_head")).to_contain_text("0.02")
            expect(ask(page, "pause", "to think")).to_contain_text("stands still")
            expect(page.locator("#run_head .lead")).to_contain_text("Paused: to think")
            expect(ask(page, "revert", "it was worse")).to_contain_text("back to step")
            expect(page.locator("#settings [name='values.learning_rate']")).to_have_value("0.01")
            expect(ask(page, "resume", "go on")).to_contain_text("goes on")
            expect(ask(page, "note", "", text="<b>day 2</b>")).to_contain_text("noted")
            expect(page.locator("[data-verb=note] [name=text]")).to_have_value("")  # it is not noted twice by mistake
            expect(page.locator("#run_rest")).to_contain_text("“<b>day 2</b>”")
            expect(page.locator("#run_rest")).to_contain_text("it was worse")
            expect(ask(page, "set", "no", **{"values.learning_rate": "7"})).to_contain_text("Refused")
            expect(drawn(page, "branches").locator(".shown")).to_contain_text("given up")


def test_advice_is_applied_from_the_page(browser: Browser, tmp_path: Path) -> None:
    with babysat.at_home(tmp_path), tended(tmp_path, shake):
        for visitor in visited(browser, tmp_path):
            page = visitor.page("/studies/tended")
            advice = page.locator(".advice form").first
            expect(advice).to_be_visible()
            advice.get_by_role("button").click()
            expect(page.locator("#run_rest")).to_contain_text("learning_rate 0.01 →")


def test_a_run_that_is_entered_anew_is_reverted_from_its_page(browser: Browser, tmp_path: Path) -> None:
    with babysat.at_home(tmp_path), tended(tmp_path, revert="reenter"):
        for visitor in visited(browser, tmp_path):
            page = visitor.page("/studies/tended")
            drawn(page, "run")
            expect(ask(page, "set", "it is slow", **{"values.learning_rate": "0.02"})).to_contain_text("applied")
            expect(page.locator("#run_head")).to_contain_text("0.02")  # else the page has yet to see what it guards
            before = step_of(page)
            expect(ask(page, "revert", "it was worse")).to_contain_text("back to step")
            expect(page.locator("#settings [name='values.learning_rate']")).to_have_value("0.01")
            expect(page.locator("#run_head .facts b").first).not_to_have_text(f"{before:,}")
            expect(page.locator("#run_rest")).to_contain_text("it was worse")
    with tuner.open("tended", results=tmp_path) as study:
        assert [each.cause for each in study.state.trials[0].segments] == ["start", "adjust", "revert"]


def test_trials_of_a_sweep_are_paused_and_resumed_from_its_page(browser: Browser, tmp_path: Path) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    (projects / "mine.py").write_text(SLOW.replace("steps(5)", "steps(100_000)"))
    for visitor in visited(browser, tmp_path / "results", "--projects", str(projects)):
        launched = visitor.context.request.put(
            f"{visitor.origin}/v1/studies/dawn",
            headers={"origin": visitor.origin},
            data={
                "train": "mine:train",
                "space": "sgd_momentum",
                "objective": "score",
                "trials": 2,
                "executor": "local",
            },
        )
        assert launched.ok, launched.text()
        page = visitor.page("/studies/dawn")
        expect(page.locator("#trials tbody tr").first).to_contain_text("running")
        page.get_by_label("Select trial 0", exact=True).check()
        page.locator(".selection [name=why]").fill("to look at it")
        page.get_by_role("button", name="Pause these").click()
        expect(page.locator(".selection output")).to_contain_text("keeps its worker")
        expect(page.locator("#trials tbody tr").first).to_contain_text("paused")
        page.locator(".selection [name=why]").fill("it is well")
        page.get_by_role("button", name="Resume these").click()
        expect(page.locator("#trials tbody tr").first).to_contain_text("running")
        expect(ask(page, "stop", "that was all")).to_contain_text("ending")
        expect(page.locator("#sweep_head .lead")).to_contain_text("Over")


def test_a_sweep_of_a_command_is_paused_and_thawed_from_its_page(browser: Browser, tmp_path: Path) -> None:
    projects, results = tmp_path / "projects", tmp_path / "results"
    projects.mkdir()
    (projects / "program.py").write_text(PROGRAM)
    (projects / "mine.py").write_text(COMMAND)
    for visitor in visited(browser, results, "--projects", str(projects)):
        page = visitor.page("/")
        launch(page, name="dawn", train="mine:train", objective="loss", goal="minimize", trials="1")
        expect(page).to_have_url(f"{visitor.origin}/studies/dawn")
        trial = page.locator("#trials tbody tr").first
        expect(trial).to_contain_text("running")
        expect(ask(page, "pause", "the machine is needed")).to_contain_text("stand still")
        expect(trial).to_contain_text("paused")
        os.kill(int(read_launch(results / "dawn")["pid"]), signal.SIGTERM)
        expect(page.locator("#sweep_head .lead")).to_contain_text("Nobody coordinates it")
        page.reload()  # the form was made before there was a trial
        page.get_by_text("Launch the next one").click()
        page.locator("#next [name=name]").fill("dawn")
        page.get_by_role("button", name="Launch").click()
        expect(page.locator("#sweep_head .lead")).to_contain_text("Over")
    with tuner.open("dawn", results=results) as study:
        assert study.segments["cause"].tolist() == ["start", "thaw"]
        thawed_at = study.segments["from_step"].tolist()[1]
        begun = [int(each) for each in re.findall(r"begins at epoch (\d+)", study.printed(0))]
        rate, curve = study.state.trials[0].settings["learning_rate"], study.curve(0)
    assert begun == [0, thawed_at]
    assert thawed_at > 0
    assert list(curve.steps) == list(range(1, 41))
    assert list(curve.scores) == pytest.approx([(1 - rate / 10) ** step for step in curve.steps])


def launch(page: Page, *, opened: bool = False, **given: str) -> None:
    """Fills the form for a sweep in, and sends it."""
    if not opened:
        page.get_by_text("Launch a sweep").click()
    form = page.locator("#launching form.launch")
    for name, value in {"space": "sgd_momentum", "executor": "local", **given}.items():
        field = form.locator(f"[name='{name}']")
        if field.evaluate("each => each.matches('select')"):
            field.select_option(value)
        else:
            field.fill(value)
    form.get_by_role("button", name="Launch").click()


def test_a_slider_moves_on_the_scale_of_its_setting(browser: Browser, tmp_path: Path) -> None:
    with babysat.at_home(tmp_path), tended(tmp_path):
        for visitor in visited(browser, tmp_path):
            page = visitor.page("/studies/tended")
            slider = page.get_by_label("beta on its own scale")
            slider.fill("500")
            expect(page.locator("#settings [name='values.beta']")).to_have_value("0.99")  # the middle of 0.9 and 0.999
            expect(page.locator("output.beside").last).to_have_text("1 − β = 0.01")


def test_the_page_says_that_the_server_is_gone_and_goes_on_once_it_is_back(browser: Browser, tmp_path: Path) -> None:
    with babysat.at_home(tmp_path), tended(tmp_path):
        service = Service(tmp_path)
        visitor = Visitor(browser, service.start())
        try:
            page = visitor.page("/studies/tended")
            drawn(page, "run")
            seen = step_of(page)
            service.kill()
            expect(page.get_by_role("status").first).to_contain_text("does not answer")
            output = ask(page, "checkpoint", "while nobody listens")
            service.start()
            expect(page.get_by_role("status").first).to_be_empty()
            expect(output).to_contain_text("applied")
            expect(page.locator("#run_head .facts b").first).not_to_have_text(f"{seen:,}")
            assert step_of(page) > seen
            assert not visitor.complaints
        finally:
            visitor.context.close()
            service.kill()


def test_pictures_are_there_in_both_themes_while_the_server_is_not(browser: Browser, results: Path) -> None:
    service = Service(results)
    visitor = Visitor(browser, service.start(), width=390, height=500)
    labels = """() => JSON.stringify(Bokeh.documents.flatMap((each) => [...each._all_models.values()])
        .filter((each) => each.axis_label_text_color).map((each) => each.axis_label_text_color))"""

    def has(colour: str) -> bool:
        return colour in page.evaluate(labels)

    try:
        page = visitor.page("/studies/night")
        curves = drawn(page, "curves")
        assert has(INKS["light"].muted)
        service.kill()
        expect(page.get_by_role("status").first).to_contain_text("does not answer")
        themes: list[Theme] = ["dark", "light"]
        for theme in themes:
            page.emulate_media(color_scheme=theme)
            wait_until(partial(has, INKS[theme].muted))
            page.locator("#next").scroll_into_view_if_needed()
            expect(curves.locator("canvas")).to_have_count(0)
            drawn(page, "curves")
            assert has(INKS[theme].muted)
        service.start()
        expect(page.get_by_role("status").first).to_be_empty()
        assert not visitor.complaints
    finally:
        visitor.context.close()
        service.kill()


def test_pages_say_that_the_database_is_away_and_go_on_once_it_is_back(
    browser: Browser, tmp_path: Path, team_server: postgres.Server, team_url: str
) -> None:
    sweep(tmp_path / "elsewhere", train, SPACE, trials=3, store=team_url).close()
    service = Service(tmp_path, "--store", team_url)
    visitor = Visitor(browser, service.start())
    try:
        there = [visitor.page(path) for path in ("/studies/night", "/")]
        with team_server.away():
            for page in there:
                expect(page.get_by_role("status").first).to_contain_text("The database does not answer")
            later = visitor.page("/studies/night")
            expect(later.locator("main")).to_contain_text("cannot be reached")
            for page in there:
                expect(page.get_by_role("status").first).to_contain_text("The database does not answer")
        for page in there:
            expect(page.get_by_role("status").first).to_be_empty()
        expect(later.locator("#sweep_head")).to_contain_text("3 completed")  # nobody reloads the page
        assert not visitor.complaints
    finally:
        visitor.context.close()
        service.kill()


def test_eight_tabs_all_move(browser: Browser, tmp_path: Path) -> None:
    with babysat.at_home(tmp_path), tended(tmp_path):
        for visitor in visited(browser, tmp_path):
            pages = [visitor.page("/studies/tended") for _ in range(8)]
            for page in pages:
                before = step_of(page)
                expect(page.locator("#run_head .facts b").first).not_to_have_text(f"{before:,}")


# ── whom it must serve ──────────────────────────────────────────────────────────────────────────

WIDTHS = (1280, 390)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PAGES = (
    "/",
    "/studies/night",
    "/studies/night?trials=3-4",
    "/studies/one",
    "/studies/night/trials/3",
    "/studies/one/trials/0",
    "/compare?study=night&study=one",
)
STATES = {
    "/": "Launch a sweep",
    "/login": "Enter a token",
    "/studies/dawn": "being begun",
    "/studies/none": "cannot be shown",
    "/compare?study=night": "It takes two studies",
    "/studies/empty": "nobody coordinates it",
    "/studies/left": "Nobody coordinates it",
    "/studies/failed": "there are no data",
    "/studies/failed/trials/0": "there are no data",
    "/studies/over": "It is over",
    "/studies/swinging": "Now:",
    "/studies/paused": "Paused",
}
"""What a page says of studies that do not simply train, or do not train any more."""


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study in each of these states."""
    folder = tmp_path_factory.mktemp("states")
    Store.create(Place.of("dawn", folder, None).existing_or_new()).close()
    diary(folder, name="empty").close()
    with closing(diary(folder, name="left")) as store:
        store.append([*beginning(0), reported(0, 0, [(1, 0.5)]), *beginning(1)], NOON)
    with suppress(tuner.TunerError):
        sweep(folder, fails, SPACE, name="failed", trials=2, max_failures=1).close()
    story(folder / "swinging", Part(start=0, to=400, scores=swinging)).close()
    story(folder / "over", Part(start=0, to=50), end=("completed", "ran all 50 steps")).close()
    held = TrialHeld(trial=0, state="paused", step=50, why="to think", at=NOON)
    story(folder / "paused", Part(start=0, to=50), more=[held]).close()
    return folder


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_are_accessible_and_fit(browser: Browser, results: Path, width: int) -> None:
    for visitor in visited(browser, results, width=width, height=4000):
        for path in PAGES:
            page = visitor.page(path)
            for figure in page.locator("figure[data-picture]").all():
                expect(figure.locator(".shown")).not_to_contain_text("being drawn")
            suits_all(page, width)
            page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_of_what_does_not_train_say_so_and_are_accessible(browser: Browser, states: Path, width: int) -> None:
    for visitor in visited(browser, states, "--projects", str(states), width=width, height=2000):
        for path, words in STATES.items():
            page = visitor.page(path)
            expect(page.locator("main")).to_contain_text(words)
            suits_all(page, width)
            page.close()


def test_a_service_without_studies_and_one_that_is_gone_say_so_and_are_accessible(
    browser: Browser, tmp_path: Path
) -> None:
    service = Service(tmp_path)
    visitor = Visitor(browser, service.start())
    try:
        page = visitor.page("/")
        expect(page.locator("main")).to_contain_text("No study yet")
        service.kill()
        expect(page.get_by_role("status").first).to_contain_text("does not answer")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 1600})
            suits_all(page, width)
        assert not visitor.complaints
    finally:
        visitor.context.close()
        service.kill()


def suits_all(page: Page, width: int) -> None:
    """Whether axe finds nothing by day or by night, whatever is unfolded, and nothing is wider than the page."""
    pytest.importorskip("axe_playwright_python")
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text()
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    page.evaluate(f"{axe};0")
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        found = page.evaluate("axe.run().then((told) => told.violations.map(({id, nodes}) => [id, nodes[0].html]))")
        assert not found, f"{page.url}, {theme}: {json.dumps(found)}"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url


def test_what_a_run_that_is_over_cannot_do_is_not_offered(browser: Browser, states: Path) -> None:
    for visitor in visited(browser, states):
        page = visitor.page("/studies/over")
        for verb, offered in {"Set": False, "Pause": False, "Stop": False, "Revert": True, "Undo": True}.items():
            expect(page.get_by_role("button", name=verb, exact=True)).to_have_count(int(offered))


def test_a_study_is_shown_as_soon_as_it_has_begun(browser: Browser, tmp_path: Path) -> None:
    with closing(Store.create(Place.of("night", tmp_path, None).existing_or_new())) as store:
        for visitor in visited(browser, tmp_path):
            page = visitor.page("/studies/night")
            expect(page.locator("main")).to_contain_text("being begun")
            store.acquire(NOON)
            identity = {"space": None, "objective": "score", "goal": "minimize", "seed": 0, "sampler": "random"}
            kind = {"name": "night", "kind": "sweep", "function": "m:train", "source_sha256": "", "version": "0"}
            store.append([StudyOpened(**kind, identity=identity, at=NOON)], NOON)  # type: ignore[arg-type]
            expect(page.locator("#sweep_head")).to_contain_text("no trial")  # nobody reloads the page


def test_a_page_can_be_used_by_keyboard_alone(visitor: Visitor) -> None:
    page = visitor.page("/studies/night")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("To the content")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.get_by_label("Select trial 3", exact=True).focus()
    page.keyboard.press("Space")
    expect(page).to_have_url(f"{visitor.origin}/studies/night?trials=3#main")


def test_the_theme_is_chosen_and_kept(visitor: Visitor) -> None:
    page = visitor.page("/studies/night")
    drawn(page, "curves")
    page.get_by_label("Light or dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    again = visitor.page("/studies/night")
    expect(again.locator("html")).to_have_attribute("data-theme", "dark")
