"""Whatever a thing is called, and whoever calls it so, is refused with a sentence or shown harmlessly."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import closing
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import lending
import pytest
import serving
from hostile import HOSTILE, commands_in, strangers_in
from stories import NOON, Part, story
from sweeping import sweep

import tuner
from tuner import Space, choice, linear
from tuner.agents.agent import Agent
from tuner.cli import main
from tuner.errors import TunerError
from tuner.record.dialogue import scores
from tuner.record.events import Noted
from tuner.record.location import Place
from tuner.record.store import Store

TEXTS = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
STUDIES = ("night", "one")


class Refused(Exception):
    """The last of what was refused, which everything may be."""


def refusal(act: Callable[[], object]) -> str | None:
    """The sentence by which something is refused; None where it is done."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = act()
    except TunerError as error:
        sentence = str(error)
        assert len(sentence) < 2_000
        assert commands_in(sentence) == []
        return sentence
    if hasattr(result, "close"):
        result.close()
    return None


def options() -> list[str]:
    """The texts that a choice may have among its options."""
    return [text for text in HOSTILE.values() if refusal(partial(_space_with, text)) is None]


def _space_with(option: str) -> Space:
    return Space(x=choice(option, "other"))


def train(run: tuner.Run) -> Any:
    """Uses the text of its number as the name of a score, as what it prints, and as the words of its failure."""
    text = [*HOSTILE.values()][run.params["n"]]
    for step in run.steps(2):
        run.report(score=step + run.params["x"])
    if 0 < len(text) <= 200:
        run.report(**{text: 1.0})
    print(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    if run.params["n"] % 3 == 0:
        raise ValueError(text)
    return {"score": 1.0, **({text: 2.0} if 0 < len(text) <= 200 else {})}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep and a babysat run in which everything that can be called something is called something hostile."""
    folder = tmp_path_factory.mktemp("all") / "results"
    folder.mkdir()
    space = Space(x=linear(0.0, 1.0), n=choice(*range(len(HOSTILE))), text=choice(*options()))
    given: dict[str, Any] = {"failures_in_a_row": 99, "stopping": "off", "sampler": "grid"}
    start = [{"x": 0.5, "n": n, "text": options()[n % len(options())]} for n in range(len(HOSTILE))]
    sweep(folder, train, space, trials=1, **given).close()
    with closing(Store.open(folder / "night" / "study.db")) as store:
        for text in HOSTILE.values():
            store.request("note", {"text": text, "trial": 0}, by=text, why=text)
            store.request(text, {text: text}, by="a stranger", why=text)
    sweep(folder, train, space, trials=len(HOSTILE) + 4, start=start, why="several\nlines", **given).close()
    low = {"learning_rate": 0.01, "beta": 0.9}
    parts = [
        Part(start=10 * n, to=10 * n + 10, params=low, parent=n - 1 if n else None, why=text, by=text or "ada")
        for n, text in enumerate(HOSTILE.values())
    ]
    notes = [Noted(by=text or "ada", text=text, trial=0, step=None, at=NOON) for text in HOSTILE.values()]
    story(folder / "one", *parts, more=notes).close()
    return folder


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        out, err = capfd.readouterr()
        assert commands_in(out + err) == []
        assert "Traceback" not in err
        return int(str(ended.value.code or 0)), out, err

    return run


# ── the ways in ─────────────────────────────────────────────────────────────────────────────────


@TEXTS
def test_no_study_is_called_so(text: str, tmp_path: Path) -> None:
    ways: list[Callable[[], object]] = [
        lambda: sweep(tmp_path, name=text),
        lambda: tuner.open(text, results=tmp_path),
        lambda: tuner.attach(text, results=tmp_path),
        lambda: tuner.babysit("tuner.workloads.bowl:train", {"x": 1.0}, name=text, objective="score", results=tmp_path),
        lambda: tuner.promote(text, 0, results=tmp_path),
        lambda: tuner.promote("night", 0, name=text, results=tmp_path),
        lambda: tuner.confirm(text, results=tmp_path),
    ]
    for way in ways:
        assert refusal(way) is not None
    assert strangers_in(tmp_path) == []


@TEXTS
def test_a_space_refuses_such_a_name_and_takes_such_an_option_as_it_is_or_refuses_it(text: str, tmp_path: Path) -> None:
    assert text.isidentifier() or refusal(lambda: Space(**{text: linear(0.0, 1.0)})) is not None
    written = tmp_path / "space.toml"
    quoted = json.dumps(text.encode("utf-8", "replace").decode())
    for toml in (
        f'{quoted} = {{scale = "linear", low = 0, high = 1}}',
        f'[x]\nscale = "choice"\noptions = [{quoted}, "b"]',
    ):
        written.write_text(toml)
        refusal(lambda: Space.load(written))
    if refusal(lambda: Space(x=choice(text, "other"))) is None:
        assert Space(x=choice(text, "other")).from_unit([0.25]) == {"x": text}
        assert commands_in(text.replace("\r", "")) == []


@TEXTS
def test_the_shell_takes_no_such_study_option_or_verb(text: str, shell: Any, tmp_path: Path) -> None:
    word = text.replace("\x00", "")  # which no command line can hold
    for words in (
        ["show", "--", word],
        ["fork", "night", "--as", word],
        ["note", "night", "--", word],
        ["sweep", "tuner.workloads.bowl:train", "--space", word, "--name", "night", "--objective", "score"],
        [word],
    ):
        shell(*words)
    assert strangers_in(tmp_path, "results") == []


# ── the ways out ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.long
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_terminal_is_commanded_by_what_is_shown(form: str, results: Path, shell: Any, tmp_path: Path) -> None:
    out = "--json" if form == "json" else "--no-json"
    for words in (
        ["ls"],
        *(["show", name] for name in STUDIES),
        *(["show", f"night/{n}"] for n in range(0, len(HOSTILE), 4)),
        ["show", "one/0"],
        *(["explain", name] for name in STUDIES[:1]),
        *(["digest", name] for name in STUDIES),
        *(["export", name, "--to", str(tmp_path / name)] for name in STUDIES),
    ):
        code, told, err = shell(*words, "--results", str(results), out)
        assert code == 0, err
        if form == "json":
            json.loads(told)


def test_a_coloured_terminal_is_given_the_colours_of_tuner_alone(results: Path) -> None:
    from tuner.views.terminal import HarmlessConsole, summary

    for name in STUDIES:
        with tuner.open(name, results=results) as study:
            file = io.StringIO()
            HarmlessConsole(file=file, force_terminal=True, width=200).print(summary(study))
            assert commands_in(file.getvalue(), coloured=True) == []
            assert commands_in(str(study) + study._repr_html_().replace("\r", "")) == []


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def active_in(page: str) -> list[Any]:
    """What of a page would run, or lead elsewhere, because somebody has called something so."""
    tags = Tags()
    tags.feed(page)
    return [
        (tag, given)
        for tag, given in tags.found
        if any(name.startswith("on") for name in given)
        or "evil.example" in str(given.get("src", "")) + str(given.get("href", ""))
        or str(given.get("href", "")).startswith("javascript:")
        or (tag == "svg" and "onload" in given)
    ] + re.findall(r"<script>alert", page)


@pytest.mark.long
def test_no_page_runs_what_is_shown(results: Path) -> None:
    with serving.client(serving.app(results)) as client:
        for path in (
            "/",
            *(f"/studies/{name}" for name in STUDIES),
            *(f"/studies/night/trials/{n}" for n in range(0, len(HOSTILE), 8)),
            "/studies/one/trials/0",
            "/studies/night/explanation",
            "/compare?studies=night&studies=one",
        ):
            answer = client.get(path)
            assert answer.status_code in (200, 404, 409, 422), path
            assert active_in(answer.text) == [], path
            assert commands_in(answer.text.replace("\r", "")) == [], path
        for name in STUDIES:
            for what in ("", "/trials", "/trials/0", "/curves", "/rounds", "/explanation"):
                answer = client.get(f"/v1/studies/{name}{what}")
                assert answer.status_code < 500, what
                assert commands_in(answer.text) == [], what
                if answer.headers["content-type"].startswith("application/json"):
                    answer.json()


@pytest.mark.long
@TEXTS
def test_the_service_refuses_whatever_it_is_asked_for_by_such_a_name(text: str, results: Path) -> None:
    from urllib.parse import quote

    word = quote(text.encode("utf-8", "surrogatepass"), safe="")
    body = json.dumps({"verb": "note", "arguments": {"text": text}, "why": text, text: text})
    with serving.client(serving.app(results, projects=results)) as client:
        for answer in (
            client.get(f"/v1/studies/{word}"),
            client.get(f"/studies/{word}"),
            client.get(f"/studies/night/trials/{word}"),
            client.get(f"/v1/studies/night/tables/{word}"),
            client.get(f"/studies/night/pictures/{word}"),
            client.get(f"/files/{word}"),
            client.put(f"/v1/studies/night/requests/{word}", content=body),
            client.put("/v1/studies/night/requests/a1", content=body),
            client.post("/v1/studies/night/ask", content=json.dumps({"worker": text, "request": text})),
            client.put(
                f"/v1/studies/{word}",
                content=json.dumps({"train": text, "space": text, "objective": text, "name": text}),
            ),
            client.put(
                "/v1/studies/new", content=json.dumps({"train": text, "space": text, "objective": text, "trials": 1})
            ),
        ):
            assert answer.status_code < 500, (answer.request.url, answer.text)
            assert commands_in(answer.text.replace("\r\n", "\n")) == []
    assert strangers_in(results, *STUDIES) == []


def test_no_table_is_armed_and_each_reads_back_whole(results: Path, tmp_path: Path) -> None:
    import pandas as pd

    for name in STUDIES:
        with tuner.open(name, results=results) as study:
            rows = {table: len(getattr(study, table)) for table in ("trials", "notes", "requests", "reports")}
            for form in ("csv", "parquet", "jsonl"):
                study.export(form, to=tmp_path / form / name)
            for table, count in rows.items():
                with (tmp_path / "csv" / name / f"{table}.csv").open(newline="") as file:
                    lines = list(csv.reader(file))
                assert len(lines) == count + 1
                cells = [cell for line in lines for cell in line]
                assert [cell for cell in cells if re.match(r"[=+@\t\r]|-(?![\d.]|inf|nan)", cell)] == []
                assert commands_in("".join(cells)) == []
                told = (tmp_path / "jsonl" / name / f"{table}.jsonl").read_text().splitlines()
                assert len([json.loads(line) for line in told]) == count
                assert len(pd.read_parquet(tmp_path / "parquet" / name / f"{table}.parquet")) == count


@pytest.mark.long
def test_no_markdown_links_or_runs_what_is_written(results: Path, tmp_path: Path) -> None:
    with tuner.open("one", results=results) as study:
        study.export("markdown", to=tmp_path)
    with tuner.open("night", results=results) as study:
        explanation = study.explain()
        (tmp_path / "explanation.md").write_text(explanation.markdown())
        assert active_in(explanation.html()) == []
    for path in tmp_path.glob("*.md"):
        text = path.read_text()
        assert commands_in(text) == []
        assert re.findall(r"(?<![\\`])<(script|img|svg)", text) == [], path
        assert re.findall(r"(?<!\\)\]\((javascript|http)", text) == [], path


@pytest.mark.long
def test_pictures_show_what_a_thing_is_called_and_compute_nothing_of_it(results: Path, tmp_path: Path) -> None:
    for name in STUDIES:
        with tuner.open(name, results=results) as study:
            paths = study.plot(to=tmp_path / name)
            assert all(path.stat().st_size > 1_000 for path in paths)
            assert strangers_in(tmp_path, *STUDIES) == []


@pytest.mark.long
def test_an_optuna_storage_takes_it(results: Path, tmp_path: Path) -> None:
    import optuna

    with tuner.open("night", results=results) as study:
        study.export("optuna", to=f"sqlite:///{tmp_path}/optuna.db")
    there = optuna.load_study(study_name="night", storage=f"sqlite:///{tmp_path}/optuna.db")
    assert len(there.trials) == len(HOSTILE) + 4


def test_nothing_lies_beside_the_studies(results: Path) -> None:
    assert strangers_in(results, *STUDIES) == []
    assert strangers_in(results.parent, "results") == []
    for path in results.rglob("*"):
        assert commands_in(str(path.relative_to(results))) == []


# ── the door of agents ──────────────────────────────────────────────────────────────────────────


def calls_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """What an agent may call so, by tool."""
    sweep_of = {"name": "new", "train": "tuner.workloads.bowl:train", "space": "", "objective": "score", "why": text}
    return [
        *((tool, {"study": text}) for tool in ("digest", "curves", "wait")),
        ("compare", {"study": text, "one": 0, "other": 1}),
        ("price", {"train": text}),
        ("sweep", {**sweep_of, "name": text}),
        ("sweep", {**sweep_of, "train": text}),
        ("set", {"study": "night", "values": {text: 1.0}, "why": text}),
        ("revert", {"study": "night", "why": text, "request": text}),
        ("steer", {"study": "night", "verb": "promote", "why": text, "arguments": {"trial": 0, "name": text or " "}}),
        ("steer", {"study": "night", "verb": "schedule", "why": text, "arguments": {text: text, "request": text}}),
        ("steer", {"study": "night", "verb": "note", "why": text, "arguments": {"text": text}}),
        ("stop", {"study": "night", "why": text, "trial": 99}),
    ]


@pytest.mark.long
def test_an_agent_that_calls_a_thing_so_is_answered_and_commands_nobody(tmp_path: Path) -> None:
    sweep(tmp_path / "results", trials=2, stopping="off").close()
    asked = [call for text in HOSTILE.values() if not half_of_a_pair(text) for call in calls_of(text)]
    lines: list[bytes] = [b"no JSON", b"\xff\xfe\x00", b"[" * 50_000, b'{"jsonrpc": "2.0"}']
    for number, (tool, given) in enumerate(asked):
        called = {"name": tool, "arguments": given}
        lines.append(json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": called}).encode())
    told = agents_server(tmp_path / "results", lines, len(asked))
    assert sorted(told) == list(range(len(asked)))
    for number, answer in told.items():
        tool, given = asked[number]
        assert answer.get("structuredContent"), (tool, given, answer)
        assert answer["isError"], (tool, given, answer)  # nobody coordinates the study, so a note is refused too
        assert commands_in("".join(each["text"] for each in answer["content"])) == [], (tool, given)
    assert strangers_in(tmp_path, "results") == []
    assert strangers_in(tmp_path / "results", "night") == []


@pytest.mark.parametrize("word", ["nothing in C", "half of a pair", "people", "an option"])
def test_what_an_agent_calls_so_reaches_a_process_of_its_own_or_is_refused(word: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"name": "new", "train": "tuner.workloads.bowl:train", "why": HOSTILE[word]}
    ada = Agent.called("ada", tmp_path, None)
    for space, objective in ((f"none such {HOSTILE[word]}", "score"), ("none such", HOSTILE[word])):
        refused = refusal(lambda: ada.sweep(space=space, objective=objective, **given))  # noqa: B023
        assert refused is not None
        assert refused.startswith("new could not be begun")
    assert strangers_in(tmp_path, ".launching") == []


def test_an_argument_that_is_given_twice_is_refused_with_a_sentence(results: Path) -> None:
    ada = Agent.called("ada", results, None)
    for word in ("why", "request", "expect"):
        refused = refusal(lambda: ada.steer("one", "extend", "so", {"steps": 1, word: "x"}))  # noqa: B023
        assert refused is not None
        assert word in refused


def half_of_a_pair(text: str) -> bool:
    """Whether a text has what JSON of UTF-8 cannot carry."""
    return text != text.encode("utf-8", "ignore").decode()


def agents_server(results: Path, lines: list[bytes], count: int) -> dict[int, Any]:
    """What `tuner mcp` answers to these lines, by the id of the call, until so many are answered."""
    begin = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "0"}}
    first = {"jsonrpc": "2.0", "id": "first", "method": "initialize", "params": begin}
    command = [sys.executable, "-m", "tuner", "mcp", "--by", "ada", "--results", str(results)]
    found: dict[int, Any] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            for line in (json.dumps(first).encode(), b'{"jsonrpc": "2.0", "method": "notifications/initialized"}'):
                server.stdin.write(line + b"\n")
                server.stdin.flush()
            for line in lines:
                server.stdin.write(line + b"\n")
                server.stdin.flush()
            while len(found) < count:
                line = server.stdout.readline()
                assert line, "the server has ended"
                assert commands_in(line.decode()) == []
                answer = json.loads(line)
                if isinstance(answer.get("id"), int):
                    found[answer["id"]] = answer.get("result") or {"isError": True, "told": answer}
        finally:
            server.kill()
    return found


# ── the door of programs that ask for trials ────────────────────────────────────────────────────


@pytest.mark.long
def test_a_program_that_calls_itself_and_its_scores_so_is_answered_and_commands_nobody(
    tmp_path: Path, shell: Any
) -> None:
    texts = [text for text in HOSTILE.values() if refusal(lambda: scores("scores", {text: 1.0})) is None]  # noqa: B023
    assert len(texts) > 10

    def script(desk: lending.Desk) -> lending.Script:
        for text in HOSTILE.values():
            said = json.dumps({"worker": text, "request": text, "node": text, "wait_s": 0, text: text})
            lent = yield from desk.ask(f"worker {len(desk.answers)}")
            for verb in ("ask", "report", "tell"):
                heard = yield from desk.call(verb, **{**json.loads(said), "trial": lent["trial"], "segment": 0})
                assert heard["request_state"] in ("rejected", "expired", "applied")
            yield from desk.report(lent, 0, (1, 0.5))
            scores = {text: 1.0} if text in texts else {}
            spoken = {"trial": lent["trial"], "segment": 0, "batch": 1, "rows": [[2, {"score": 0.6, **scores}]]}
            yield from desk.call("report", **spoken)
            told = yield from desk.tell(lent, "infeasible", why=text or "nothing")
            assert told["state"] == "diverged"
        for text in texts:
            lent = yield from desk.ask(text)
            yield from desk.tell(lent, scores={"score": 1.0})

    place = Place.of("night", tmp_path / "results", None)
    study = lending.play(script, store=Store.create(place.existing_or_new()), trials=3 * len(HOSTILE))
    assert commands_in("".join(each.why + each.worker for each in study.trials)) == []
    for words in (["show", "night"], ["show", "night/3"], ["digest", "night"]):
        code, _, err = shell(*words, "--results", str(tmp_path / "results"))
        assert code == 0, err


# ── the room ────────────────────────────────────────────────────────────────────────────────────


def test_the_room_of_a_run_is_commanded_by_nothing_that_was_written(results: Path) -> None:
    pytest.importorskip("textual")
    pytest.importorskip("plotext")
    from tuner.room import drawing
    from tuner.room.scene import Scene

    scene = Scene(Place.of("one", results, None), "ada")
    try:
        picture = scene.look()
    finally:
        scene.close()
    assert picture is not None
    told = [
        drawing.heading(picture, 100),
        drawing.settings(picture),
        drawing.tree(picture, 100, len(HOSTILE)),
        drawing.log(picture.log),
        *(drawing.chart(score, picture, 100, 12) for score in picture.scores),
    ]
    assert commands_in("".join(each.plain for each in told)) == []
    assert len(told[0].plain.splitlines()) == 1
    assert len(told[2].plain.splitlines()) == len(picture.branches)
    assert len([line for line in told[3].plain.splitlines() if not line.startswith("    ")]) == len(picture.log)
