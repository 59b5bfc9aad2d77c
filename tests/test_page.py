"""What the page says, without a browser: lists, inputs, words, and that whatever people wrote stands there as text."""

from __future__ import annotations

import html
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import serving
from diaries import beginning, diary, ended, reported
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.testclient import TestClient
from stories import NOON, Part, story
from sweeping import sweep

import tuner
from tuner import Space, choice, linear, log, log_one_minus
from tuner.errors import DatabaseAway
from tuner.record.events import Answered, Configured, Record, Requested, RoundOpened, TrialHeld
from tuner.record.location import Place
from tuner.record.store import Store
from tuner.server.launching import LaunchedRun, LaunchedSweep
from tuner.server.page.gallery import _DRAWN
from tuner.server.page.inputs import inputs_of
from tuner.server.page.rendering import asset
from tuner.server.page.routes import router
from tuner.server.page.status import ago
from tuner.server.page.trial_list import Wanted, listing, numbers_of
from tuner.server.spaces import space_of

SPACE = Space(
    rate=log(1e-4, 1.0),
    beta=log_one_minus(0.9, 0.999),
    optimizer=choice("adam", "sgd"),
    warmup=linear(0.0, 10.0, when={"optimizer": "adam"}),
)
CROWD = 1_200
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"`{{7*7}}"


def train(run: tuner.Run) -> None:
    for step in run.steps(10):
        diverges = run.params["rate"] > 0.3 and step > 4
        run.report(score=math.nan if diverges else -abs(math.log10(run.params["rate"]) + 2) - 1 / (1 + step))


def accurate(run: tuner.Run) -> None:
    run.report(accuracy=0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    sweep(results, train, SPACE, trials=24, seed=3).close()
    low, high = {"learning_rate": 0.01, "beta": 0.9}, {"learning_rate": 0.02, "beta": 0.9}
    parts = (
        Part(start=0, to=50, params=low, scores=falling),
        Part(start=50, to=70, params=high, parent=0, why=HOSTILE, by=HOSTILE, scores=falling),
        Part(start=50, to=120, params=low, parent=0, cause="revert", verb="revert", scores=falling),
    )
    story(results / "one", *parts).close()
    return results


def falling(step: int) -> dict[str, float]:
    return {"score": math.exp(-step / 30), "train_loss": math.exp(-step / 20)}


class OneShelf:
    """The studies of a folder, held open as a service holds them."""

    projects: Path | None = None
    store: str | None = None

    def __init__(self, results: Path) -> None:
        self.results = results
        self.held: dict[str, tuner.Study] = {}

    @property
    def library(self) -> OneShelf:
        return self

    @contextmanager
    def study(self, name: str) -> Iterator[tuner.Study]:
        if name not in self.held:
            self.held[name] = tuner.open(name, results=self.results)
        yield self.held[name]


@contextmanager
def pages_of(results: Path, role: str = "operator", shelf: OneShelf | None = None) -> Iterator[TestClient]:
    """The pages of a folder as somebody of that role sees them."""
    app = FastAPI()
    app.state.service = shelf = shelf or OneShelf(results)
    app.include_router(router)

    @app.middleware("http")
    async def known(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        request.state.caller = SimpleNamespace(role=role)
        return await go_on(request)

    with TestClient(app) as client:
        yield client
    for study in shelf.held.values():
        study.close()


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[TestClient]:
    with pages_of(folder) as client:
        yield client


@pytest.fixture(scope="module")
def night(folder: Path) -> Iterator[tuner.Study]:
    with tuner.open("night", results=folder) as study:
        yield study


def words(answer: str) -> str:
    """The text of a page without its marks."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", answer)))


# ── the list of trials ──────────────────────────────────────────────────────────────────────────


def listed(study: tuner.Study, **wanted: str | int) -> list[int]:
    return [row.trial for row in listing(study.state, tuple(SPACE), Wanted(**wanted)).rows]  # type: ignore[arg-type]


def test_trials_are_listed_by_their_best_score_and_those_without_come_last(night: tuner.Study) -> None:
    numbers = listed(night)
    assert night.best is not None
    assert numbers[0] == night.best.trial
    states = [night.state.trials[each].state for each in numbers]
    assert states[states.index("diverged") :] == ["diverged"] * states.count("diverged")
    scores = [night.state.trials[each].best_score for each in numbers if night.state.trials[each].state != "diverged"]
    assert scores == sorted(scores, key=lambda score: -(score or 0.0))


def test_trials_are_sorted_by_any_column_up_and_down(night: tuner.Study) -> None:
    rates = [night.state.trials[each].params["rate"] for each in listed(night, sort="rate")]
    assert rates == sorted(rates)
    assert listed(night, sort="-trial") == sorted(range(24), reverse=True)
    assert night.state.trials[listed(night, sort="-warmup")[-1]].params["optimizer"] == "sgd"


def test_a_filter_compares_settings_scores_and_states(night: tuner.Study) -> None:
    found = listed(night, where="rate<0.1 score>-2, optimizer=adam")
    assert found
    for number in found:
        trial = night.state.trials[number]
        assert trial.params["rate"] < 0.1
        assert trial.params["optimizer"] == "adam"
        assert (trial.best_score or 0) > -2
    assert {night.state.trials[each].state for each in listed(night, state="diverged")} == {"diverged"}
    assert listed(night, trials="3,7-9", only="selected", sort="trial") == [3, 7, 8, 9]


@pytest.mark.parametrize("where", ["rte<0.1", "rate", "rate<low", HOSTILE])
def test_a_filter_that_makes_no_sense_says_so_and_hides_nothing(night: tuner.Study, where: str) -> None:
    found = listing(night.state, tuple(SPACE), Wanted(where=where, sort="-trial"))
    assert [each.trial for each in found.rows] == [*reversed(range(24))]
    assert found.refused


def test_the_score_may_be_filtered_by_the_name_of_the_objective(tmp_path: Path) -> None:
    with sweep(tmp_path, accurate, SPACE, trials=4, objective="accuracy") as study:
        assert listed(study, where="accuracy>=0.5") == [0, 1, 2, 3]
        assert listed(study, where="accuracy>0.5") == []


def test_a_column_is_turned_by_asking_for_it_again() -> None:
    assert Wanted().turned("rate") == "rate"
    assert Wanted(sort="rate").turned("rate") == "-rate"
    assert (Wanted(sort="-rate").sorted_by("rate"), Wanted(sort="rate").sorted_by("beta")) == ("descending", "")


def test_a_selection_is_numbers_and_ranges() -> None:
    assert numbers_of("3,7-9,x") == [3, 7, 8, 9]


# ── the inputs ──────────────────────────────────────────────────────────────────────────────────


def test_a_setting_has_an_input_on_its_own_scale() -> None:
    rate, beta, optimizer, other = inputs_of(SPACE, {"rate": 0.01, "beta": 0.99, "optimizer": "sgd", "other": 3})
    assert (rate.scale, rate.low, rate.high, rate.value) == ("log", "0.0001", "1", "0.01")
    assert (beta.scale, beta.beside) == ("log_one_minus", "0.01")
    assert (optimizer.options, optimizer.fixed) == (("adam", "sgd"), True)
    assert (other.scale, other.value) == ("", "3")


# ── the pages ───────────────────────────────────────────────────────────────────────────────────

ADDRESSES = [
    "/",
    "/studies/night",
    "/studies/one",
    "/studies/night/trials/3",
    "/studies/one/trials/0",
    "/compare?study=night&study=one",
    "/studies/night/explanation",
]


class Elements(HTMLParser):
    """All elements of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_page_holds_script_whatever_people_wrote(page: TestClient, address: str) -> None:
    answer = page.get(address)
    assert answer.status_code == 200
    for tag, attributes in Elements(answer.text).found:
        assert tag != "img"
        assert tag != "script" or (attributes["src"] or "").startswith("/files/")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_a_template_writes_itself_is_not_escaped(page: TestClient, address: str) -> None:
    assert not re.search(r"<\w+ [^>]*\w=&#34;", page.get(address).text)


def test_what_somebody_wrote_is_shown_as_it_is(page: TestClient) -> None:
    assert HOSTILE in Elements(page.get("/studies/one").text).text


def test_studies_are_seen_at_a_glance(page: TestClient) -> None:
    told = words(page.get("/").text)
    assert "24 trials, 24 ended" in told
    assert "step 120" in told
    assert "nobody" in told


def test_a_sweep_whose_rest_is_set_aside_is_over(tmp_path: Path) -> None:
    with sweep(tmp_path, trials=16, goal="minimize") as found:
        aside = sum(trial.frozen for trial in found.state.trials)
    assert aside
    with pages_of(tmp_path) as client:
        assert f"{aside} of them set aside" in words(client.get("/studies/night").text)
        told = words(client.get("/").text)
    assert f"{aside} set aside" in told
    assert " over " in told


def test_a_folder_without_studies_says_how_to_begin(tmp_path: Path) -> None:
    with pages_of(tmp_path) as client:
        assert "tuner sweep" in client.get("/").text


def test_a_study_that_is_not_there_is_said_in_words(page: TestClient) -> None:
    answer = page.get("/studies/nigth")
    assert answer.status_code == 404
    assert "night" in words(answer.text)
    assert answer.text.startswith("<!doctype html>")


def test_a_study_keeps_its_name_at_the_beginning_of_a_sentence(page: TestClient) -> None:
    told = words(page.get("/studies/night/trials/99").text)
    assert "night has no trial 99" in told


def test_a_study_whose_database_is_away_is_said_to_be_there_a_little_later(tmp_path: Path) -> None:
    class Away(OneShelf):
        @contextmanager
        def study(self, name: str) -> Iterator[tuner.Study]:
            raise DatabaseAway(f"the database of {name} does not answer.")
            yield

    with pages_of(tmp_path, shelf=Away(tmp_path)) as client:
        told = client.get("/studies/night")
    assert (told.status_code, "retry-after" in told.headers) == (503, True)
    assert "The database of night does not answer" in words(told.text)


def test_an_address_stands_there_as_it_is_written(tmp_path: Path) -> None:
    class Away(OneShelf):
        @contextmanager
        def study(self, name: str) -> Iterator[tuner.Study]:
            raise DatabaseAway(f"postgresql://there/team ({name}) cannot be reached.")
            yield

    with pages_of(tmp_path, shelf=Away(tmp_path)) as client:
        assert "postgresql://there/team (night) cannot be reached." in words(client.get("/studies/night").text)


def test_a_study_that_is_being_begun_is_looked_at_again(tmp_path: Path) -> None:
    Store.create(tmp_path / "dawn" / "study.db").close()
    with pages_of(tmp_path) as client:
        answer = client.get("/studies/dawn")
        assert answer.status_code == 200
        assert "being begun" in words(answer.text)
        assert "data-waits" in answer.text


def test_it_takes_two_to_compare(page: TestClient) -> None:
    assert "tick two" in words(page.get("/compare?study=night&study=night").text)


def test_parts_of_a_page_come_alone(page: TestClient) -> None:
    text = page.get("/studies/night?part=sweep_head,trials").text
    assert re.findall(r'id="(\w+)" data-part', text) == ["sweep_head", "trials"]
    assert "<html" not in text
    assert page.get("/studies/night?part=../base,nothing").text == ""


def test_a_viewer_is_offered_nothing_that_steers(folder: Path) -> None:
    with pages_of(folder, "viewer") as client:
        for address in ADDRESSES:
            assert 'class="ask"' not in client.get(address).text
            assert 'class="launch"' not in client.get(address).text


def forms_of(text: str) -> list[tuple[dict[str, Any], set[str]]]:
    """The forms that launch: what each sends unasked, and the names of its fields."""
    found: list[tuple[dict[str, Any], set[str]]] = []
    for tag, attributes in Elements(text).found:
        if tag == "form":
            launches = attributes.get("class") == "launch"
            found.append((json.loads(attributes.get("data-more") or "{}") if launches else {}, set()))
        elif tag in ("input", "select", "textarea") and found:
            found[-1][1].add(attributes.get("name") or "")
    return [(more, names) for more, names in found if {"train", "objective"} <= names]


def test_what_a_form_launches_is_what_the_service_takes(tmp_path: Path) -> None:
    own = Space(x=linear(0.0, 1.0), kind=choice("a", "b"))
    diary(tmp_path, space=own).close()
    with serving.client(serving.app(tmp_path, projects=tmp_path)) as client:
        sweep, run = forms_of(client.get("/").text)
        (following,) = forms_of(client.get("/studies/night").text)
    for (more, names), model in ((sweep, LaunchedSweep), (run, LaunchedRun), (following, LaunchedSweep)):
        words = {name.partition(".")[0] for name in names} | set(more) - {"name"}
        assert {"cpus", "gpus", "resources", "runtime_env"} <= words
        assert words - {"name"} <= set(model.model_fields)
    assert (run[0]["kind"], "params.learning_rate" in run[1]) == ("babysitting", True)
    assert space_of(following[0]["space"]) == own


def test_every_verb_of_a_run_can_be_asked_for(page: TestClient) -> None:
    text = page.get("/studies/one").text
    asked = set(re.findall(r'data-verb="(\w+)"', text)) | set(re.findall(r'<button value="(\w+)"', text))
    verbs = {
        "set",
        "schedule",
        "pause",
        "step",
        "resume",
        "checkpoint",
        "revert",
        "undo",
        "fork",
        "extend",
        "note",
        "stop",
    }
    assert asked >= verbs


def test_the_one_trial_of_a_run_is_offered_nothing_that_is_for_trials_of_a_sweep(page: TestClient) -> None:
    text = page.get("/studies/one/trials/0").text
    assert "before adjustment" in text, "it has checkpoints to go on from"
    assert 'class="ask"' not in text


def test_a_picture_is_drawn_once_while_nothing_is_new(page: TestClient) -> None:
    first = page.get("/studies/night/pictures/curves")
    assert json.loads(first.text)["item"]
    again = page.get("/studies/night/pictures/curves", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert page.get("/studies/night/pictures/nothing").status_code == 404


def test_while_a_study_moves_on_the_frames_of_its_pictures_stay(tmp_path: Path) -> None:
    def told(client: TestClient, which: str) -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/studies/night/pictures/{which}").json()
        return found

    which = ("curves", "progress", "settings", "parallel")
    sweep(tmp_path, climb, SPACE, trials=8, seed=3, sampler="random").close()
    with pages_of(tmp_path) as client:
        before = {each: told(client, each) for each in which}
    sweep(tmp_path, climb, SPACE, trials=12, seed=3, sampler="random").close()
    with pages_of(tmp_path) as client:
        after = {each: told(client, each) for each in which}
    for each in which:
        assert before[each]["frame"] == after[each]["frame"] != "", each
        assert before[each]["item"] != after[each]["item"], each
        assert before[each]["moving"] == after[each]["moving"] != [], each


def climb(run: tuner.Run) -> None:
    for step in run.steps(3):
        run.report(score=run.params["rate"] * (1 + step))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep of more trials than one can tell apart, all over."""
    results = tmp_path_factory.mktemp("crowd")
    waiting: list[Record] = []
    for trial in range(CROWD):
        scores = [(step, (trial % 97) / 97 + step / 10) for step in (1, 2, 3)]
        waiting += [*beginning(trial, trial / CROWD), reported(trial, 0, scores), ended(trial, scores[0][1])]
    with diary(results) as store:
        store.append(waiting, NOON)
    return results


def test_the_settings_that_matter_are_those_that_explain_the_scores(tmp_path: Path) -> None:
    def train(run: tuner.Run) -> None:
        for _ in run.steps(1):
            run.report(score=-(run.params["third"] ** 2) - 0.1 * run.params["second"])

    space = Space(first=linear(0, 1), second=linear(0, 1), third=linear(-1, 1))
    sweep(tmp_path, train, space, trials=30, sampler="random", stopping="off").close()
    with pages_of(tmp_path) as client:
        told = client.get("/studies/night/pictures/settings").json()["label"]
        named = client.get("/studies/night/pictures/settings?x=first").json()["label"]
    assert "third and second" in told
    assert "first and third" in named


def test_what_pictures_of_a_study_share_is_sent_once_a_page(crowd: Path) -> None:
    with pages_of(crowd) as client:
        first = client.get("/studies/night/pictures/curves").json()
        tags = {each["tag"]: each["column"] for each in first["shared"] if "column" in each}
        whole = client.get("/studies/night/pictures/parallel")
        less = client.get("/studies/night/pictures/parallel", params={"knows": ",".join(tags)})
    assert whole.headers["etag"] == less.headers["etag"]
    assert [each["tag"] for each in less.json()["shared"]] == [each["tag"] for each in whole.json()["shared"]]
    assert not any("column" in each for each in less.json()["shared"])
    columns = [each for each in whole.json()["shared"] if "column" in each]
    assert columns
    for each in columns:
        assert each["column"] == tags[each["tag"]]
    assert {**whole.json(), "shared": []} == {**less.json(), "shared": []}


def test_in_another_theme_no_line_is_sent_again(crowd: Path) -> None:
    with pages_of(crowd) as client:
        for which in ("curves", "parallel"):
            light = client.get(f"/studies/night/pictures/{which}", params={"theme": "light"}).json()
            tags = ",".join(each["tag"] for each in light["shared"])
            dark = client.get(f"/studies/night/pictures/{which}", params={"theme": "dark", "knows": tags}).json()
            assert any("lines" in each for each in light["shared"]), which
            assert not any({"lines", "column"} & each.keys() for each in dark["shared"]), which


def test_a_page_says_up_to_which_record_it_is_made(page: TestClient, folder: Path) -> None:
    for name, address in (("night", "/studies/night"), ("one", "/studies/one"), ("night", "/studies/night/trials/3")):
        with tuner.open(name, results=folder) as study:
            assert f'data-after="{study.sequence}"' in page.get(address).text


def test_large_numbers_stand_in_groups_of_three(crowd: Path) -> None:
    with pages_of(crowd) as client:
        told = words(client.get("/studies/night").text) + words(client.get("/").text)
    assert "1,200 trials" in told
    assert not re.search(rf"(?<![\d.]){CROWD}(?!\d)", told)


def test_what_took_long_is_not_drawn_anew_at_once_and_says_when_to_ask_again(tmp_path: Path) -> None:
    sweep(tmp_path, climb, SPACE, trials=3, seed=3).close()
    shelf, address = OneShelf(tmp_path), "/studies/night/pictures/progress"
    with shelf.study("night") as study, pages_of(tmp_path, shelf=shelf) as client:
        first = client.get(address)
        assert "retry-after" not in first.headers
        (key,) = _DRAWN[study]
        _DRAWN[study][key] = replace(_DRAWN[study][key], took_s=1_000.0)
        sweep(tmp_path, climb, SPACE, trials=5, seed=3).close()
        assert study.refresh()
        again = client.get(address)
        assert again.headers["etag"] == first.headers["etag"]
        assert int(again.headers["retry-after"]) > 1_000
        _DRAWN[study][key] = replace(_DRAWN[study][key], took_s=0.0)
        assert client.get(address).json()["shown"].startswith("5 trials")


def test_every_picture_has_its_table(page: TestClient) -> None:
    pictures = {"night": ("curves", "progress", "settings", "parallel", "importance"), "one": ("run", "branches")}
    for study, names in pictures.items():
        for name in names:
            assert "<table>" in page.get(f"/studies/{study}/pictures/{name}.table").text, name


def test_what_draws_is_imported_once_somebody_has_a_page_so_that_no_picture_waits_for_it(tmp_path: Path) -> None:
    visit = """
import sys
from pathlib import Path

import serving

with serving.client(serving.app(Path(sys.argv[1]))) as visitor:
    visitor.get("/v1/studies")
    print("bokeh" in sys.modules)
    visitor.get("/")
    print("bokeh.plotting" in sys.modules)
"""
    command = [sys.executable, "-c", visit, str(tmp_path)]
    told = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.split() == ["False", "True"]


def test_scripts_and_styles_come_from_installed_packages(page: TestClient) -> None:
    found = {
        how: page.get("/files/bokeh.min.js", headers={"accept-encoding": how}) for how in ("br", "gzip", "identity")
    }
    assert [each.headers.get("content-encoding") for each in found.values()] == ["br", "gzip", None]
    assert len({each.content for each in found.values()}) == 1
    assert page.get("/files/page.css").headers["content-type"].startswith("text/css")
    assert page.get("/files/..%2Froutes.py").status_code == 404
    assert asset("../routes.py") is None


def test_the_script_of_the_page_stays_small_and_evaluates_nothing() -> None:
    scripts = [each for each in files("tuner.server.page").joinpath("static").iterdir() if each.name.endswith(".js")]
    lines = [line.strip() for each in scripts for line in each.read_text().splitlines()]
    assert len([line for line in lines if line and not line.startswith("//")]) <= 350
    text = "\n".join(lines)
    assert not re.search(r"\beval\(|new Function|setTimeout\(['\"]|document\.write", text)


# ── what a newcomer stumbled on ─────────────────────────────────────────────────────────────────


def fails(run: tuner.Run) -> None:
    raise ValueError(f"there is no file {run.seed >= 0}")


def test_a_sweep_whose_trials_failed_says_at_its_head_why(tmp_path: Path) -> None:
    with suppress(tuner.TunerError):
        sweep(tmp_path, fails, SPACE, trials=3, max_failures=2).close()
    with pages_of(tmp_path) as client:
        head = words(client.get("/studies/night", headers={"x-part": "sweep_head"}).text)
    assert re.search(r"[23] failed, the last, trial [12]: ValueError: there is no file True", head)


def test_a_refusal_stands_there_without_its_code_until_something_is_done(tmp_path: Path) -> None:
    arguments = {"values": {"learning_rate": 7.0}, "at": None, "expect": None, "evidence": ""}
    given: dict[str, Any] = {"verb": "set", "arguments": arguments, "by": "ann", "why": "far"}
    asked = [Requested(request=name, at=NOON + at, **given) for at, name in enumerate("ab")]
    said = [
        Answered(request="a", state="rejected", step=10, detail="must lie from 0.0001 to 1 [settings]", at=NOON),
        Answered(request="b", state="applied", step=10, detail="done", at=NOON + 1),
    ]
    story(tmp_path / "one", Part(start=0, to=10), asked=asked[:1], more=said[:1]).close()
    story(tmp_path / "two", Part(start=0, to=10), asked=asked, more=said).close()
    with pages_of(tmp_path) as client:
        stands, gone = (words(client.get(f"/studies/{name}").text) for name in ("one", "two"))
    assert "refused: must lie from 0.0001 to 1" in stands
    assert "[settings]" not in stands
    assert "must lie from" not in gone.partition("Logbook")[0]


def test_the_next_one_is_launched_as_this_one_was_however_few_of_its_trials_have_begun(tmp_path: Path) -> None:
    options = {"trials": 40, "executor": "local", "gpus": 0.5, "resources": {"licence": 1}}
    with diary(tmp_path) as store:
        store.append([Configured(options=options, by="ada", why="", at=NOON), *beginning(0)], NOON)
    shelf = OneShelf(tmp_path)
    shelf.projects = tmp_path
    with pages_of(tmp_path, shelf=shelf) as client:
        form = client.get("/studies/night").text.partition('id="next"')[2]
    assert re.search(r'name="trials"[^>]* value="40"', form)
    assert "<option selected>local</option>" in form
    assert re.search(r'name="gpus"[^>]* value="0.5"', form)
    assert re.search(r'name="resources"[^>]*>licence=1\n</textarea>', form)


def test_one_is_not_spoken_of_as_many(tmp_path: Path) -> None:
    box = {"x": (0.2, 0.7)}
    opened = RoundOpened(round=0, first_trial=0, box=box, seen=0, why="round 0: so", at=NOON)
    with diary(tmp_path) as store:
        store.append([opened, *beginning(0), reported(0, 0, [(1, 0.5)])], NOON)
    with pages_of(tmp_path) as client:
        told = words(client.get("/studies/night").text)
    assert "and 1 waits." in told
    assert "1 of 1 trial." in told


def test_what_was_written_a_moment_ago_is_just_now() -> None:
    assert (ago(time.time()), ago(time.time() - 62)) == ("just now", "1 min 2 s ago")


def test_a_run_that_nobody_coordinates_is_lost_in_the_list_too(tmp_path: Path) -> None:
    story(tmp_path / "one", Part(start=0, to=10)).close()
    story(tmp_path / "two", Part(start=0, to=10), end=("completed", "ran all steps")).close()
    with pages_of(tmp_path) as client:
        told = words(client.get("/").text)
    assert re.search(r"one babysat run lost\b", " ".join(told.split()))
    assert re.search(r"two babysat run completed\b", " ".join(told.split()))


def test_of_one_failure_no_last_one_is_spoken_of(tmp_path: Path) -> None:
    with suppress(tuner.TunerError):
        sweep(tmp_path, fails, SPACE, trials=1, stopping="off").close()
    with pages_of(tmp_path) as client:
        told = words(client.get("/studies/night").text)
    assert "1 failed, trial 0: ValueError" in told
    assert re.search(r"coordinated by\s+nobody\b(?! coordinates)", told)


def test_what_failed_does_not_look_well_anywhere(tmp_path: Path) -> None:
    sweep(tmp_path, fails, SPACE, trials=2, stopping="off").close()
    story(tmp_path / "one", Part(start=0, to=10), end=("failed", "there is no file")).close()
    story(tmp_path / "two", Part(start=0, to=10), end=("completed", "ran all steps")).close()
    with pages_of(tmp_path) as client:
        listed = re.findall(r'data-tone="(\w+)">(\w+)<', client.get("/").text)
        heads = {name: client.get(f"/studies/{name}").text for name in ("night", "one", "two")}
        trial = client.get("/studies/night/trials/0").text
    assert sorted(listed) == [("ill", "failed"), ("ill", "over"), ("well", "completed")]
    tones = {name: re.findall(r'data-state="over" data-tone="(\w+)"', text) for name, text in heads.items()}
    assert tones == {"night": ["ill"], "one": ["ill"], "two": ["well"]}
    assert 'data-tone="ill">failed<' in heads["night"]
    assert 'data-tone="ill">failed<' in trial


def test_a_state_is_not_told_twice(tmp_path: Path) -> None:
    sweep(tmp_path, train, SPACE, trials=2, stopping="off").close()
    held = TrialHeld(trial=0, state="paused", step=4, why="paused at step 4: by hand", at=NOON)
    with closing(Store.open(Place.of("night", tmp_path, None).existing())) as store:
        store.acquire(time.time())
        store.append([held], time.time())
    with pages_of(tmp_path) as client:
        assert "paused at step 4" in (told := words(client.get("/studies/night/trials/0").text))
        assert "paused paused" not in told


def test_a_sweep_counts_what_is_over_of_all_trials_that_were_asked_for(tmp_path: Path) -> None:
    asked = Configured(options={"trials": 16}, by="ada", why="", at=NOON)
    with diary(tmp_path) as store:
        store.append([asked, *beginning(0), ended(0, 0.5), *beginning(1)], NOON)
    with pages_of(tmp_path) as client:
        assert "1 of 16 trials over" in words(client.get("/studies/night").text)


def test_nobody_coordinates_a_run_that_is_over_though_a_process_is_about_to_leave(tmp_path: Path) -> None:
    with (
        story(tmp_path / "one", Part(start=0, to=10), end=("stopped", "enough")),
        closing(Store.open(Place.of("one", tmp_path, None).existing())) as still,
    ):
        still.acquire(time.time())
        with pages_of(tmp_path) as client:
            told = words(client.get("/studies/one").text)
    assert "Stopped: enough." in told
    assert "coordinated by nobody" in told


def test_advice_to_fork_is_followed_from_the_page(tmp_path: Path) -> None:
    params = {"learning_rate": 0.01, "beta": 0.9}
    story(
        tmp_path / "one", Part(start=0, to=60, params=params, scores=lambda step: {"train_loss": 3 - step / 60})
    ).close()
    with pages_of(tmp_path) as client:
        told = client.get("/studies/one").text
    (asks,) = re.findall(r'data-asks="([^"]*)" data-goes-to="/studies/"', told)
    (asked,) = json.loads(html.unescape(asks))
    assert asked["verb"] == "fork"
    assert asked["arguments"]["values"]["learning_rate"] > 0.01
    assert "Apply: fork with learning_rate" in words(told)


def test_those_that_match_a_filter_are_counted_of_all(page: TestClient) -> None:
    told = words(page.get("/studies/night", params={"where": "trial=3"}).text)
    assert "1 of 1 trial, those of 24 that match." in told
