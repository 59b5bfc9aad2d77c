"""The page in a real Chromium before a real service: it moves, steers, outlives the server, complains of nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import babysat
import pytest
from stories import Part, story
from sweeping import sweep

pytest.importorskip("playwright")

from chromium import PATIENCE_MS, Service, Visitor, browsing
from playwright.sync_api import Browser, Locator, Page, expect

import tuner
from tuner import Space, choice, linear, log, log_one_minus

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
RUN = Space(learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.9, 0.999))


def train(run: tuner.Run) -> None:
    for step in run.steps(10):
        run.report(score=run.params["rate"] * (1 + step))


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
    box = drawn(page, "parallel").locator("canvas").first.bounding_box()
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
          return [[-0.2, 1.05], [0.2, 0.6]].map(([x, y]) => [x_scale.compute(x), y_scale.compute(y)]);
        }"""
    )
    (left, top), (right, bottom) = place
    page.mouse.move(box["x"] + left, box["y"] + top)
    page.mouse.down()
    page.mouse.move(box["x"] + right, box["y"] + bottom, steps=5)
    page.mouse.up()
    expect(page.locator(".selection b")).to_have_text(str(len(high)))
    assert set(chosen(page)) == high


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
        page.get_by_text("Launch a sweep").click()
        form = page.locator("#launching form.launch")
        for name, value in {"name": "dawn", "train": "mine:train", "objective": "score", "trials": "6"}.items():
            form.locator(f"[name={name}]").fill(value)
        form.locator("[name=space]").select_option("sgd_momentum")
        form.locator("[name=executor]").select_option("local")
        form.get_by_role("button", name="Launch").click()
        expect(page).to_have_url(f"{visitor.origin}/studies/dawn")
        drawn(page, "curves")
        expect(page.locator("#sweep_head .lead")).to_contain_text("6 trials")  # nobody reloads the page
        expect(page.locator("#trials tbody tr")).to_have_count(6)


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


def test_what_is_new_comes_into_the_picture_that_is_there(browser: Browser, tmp_path: Path) -> None:
    with babysat.at_home(tmp_path), tended(tmp_path):
        for visitor in visited(browser, tmp_path):
            page = visitor.page("/studies/tended")
            stayed = []
            for _ in range(6):  # a first checkpoint or a change makes it another picture, once
                canvas, before = drawn(page, "run").locator("canvas").first.element_handle(), longest(page)
                deadline = time.monotonic() + PATIENCE_MS / 1000
                while longest(page) <= before and time.monotonic() < deadline:
                    page.wait_for_timeout(100)
                assert longest(page) > before
                stayed.append(canvas.evaluate("each => each.isConnected"))
            assert any(stayed)


def longest(page: Page) -> int:
    """How many points the longest line of all pictures has."""
    found: int = page.evaluate(
        """() => Math.max(0, ...Bokeh.documents.flatMap((each) => [...each._all_models.values()])
        .map((each) => each.data?.x?.length ?? 0))"""
    )
    return found


def tended(results: Path, train: Callable[[tuner.Run], None] = roll) -> tuner.RunHandle:
    return tuner.babysit(
        train,
        {"learning_rate": 0.01, "beta": 0.9},
        name="tended",
        objective="score",
        goal="maximize",
        space=RUN,
        results=results,
        executor="local",
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


def test_eight_tabs_all_move(browser: Browser, tmp_path: Path) -> None:
    with babysat.at_home(tmp_path), tended(tmp_path):
        for visitor in visited(browser, tmp_path):
            pages = [visitor.page("/studies/tended") for _ in range(8)]
            for page in pages:
                before = step_of(page)
                expect(page.locator("#run_head .facts b").first).not_to_have_text(f"{before:,}")


# ── whom it must serve ──────────────────────────────────────────────────────────────────────────

PAGES = ("/", "/studies/night", "/studies/one", "/studies/night/trials/3", "/compare?study=night&study=one")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_accessible_and_fit(browser: Browser, results: Path, width: int, dark: bool) -> None:
    pytest.importorskip("axe_playwright_python")
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text()
    for visitor in visited(browser, results, width=width, height=4000, dark=dark):
        for path in PAGES:
            page = visitor.page(path)
            for figure in page.locator("figure[data-picture]").all():
                expect(figure.locator(".shown")).not_to_contain_text("being drawn")
            page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
            page.evaluate(f"{axe};0")
            found = page.evaluate("axe.run().then((told) => told.violations.map(({id, nodes}) => [id, nodes[0].html]))")
            assert not found, f"{path}: {json.dumps(found)}"
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            page.close()


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
