"""The service reads a study as `tuner.open` does."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
import serving
from diaries import NOON, beginning, diary, reported
from starlette.testclient import TestClient
from sweeping import sweep
from waiting import PATIENCE_S

import tuner
import tuner.tables
from tuner.record.events import Noted
from tuner.record.reports import pack_reports
from tuner.record.store import Store
from tuner.server.gate import Gate
from tuner.server.tables import Format
from tuner.tables.files import FORMATS, in_pieces
from tuner.tables.frames import report_chunks


@pytest.fixture(scope="module")
def either_store(new_store: Callable[[], str | None]) -> str | None:
    return new_store()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, either_store: str | None) -> Path:
    results = tmp_path_factory.mktemp("results")
    sweep(results, trials=12, seed=3, store=either_store).close()
    return results


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, folder: Path, either_store: str | None) -> Iterator[TestClient]:
    """Somebody before a service, which of a team's database has no study's folder."""
    served = folder if either_store is None else tmp_path_factory.mktemp("elsewhere")
    with serving.client(serving.app(served, store=either_store), serving.VIEWER) as client:
        yield client


def test_the_list_has_a_line_for_each_study(night: TestClient) -> None:
    [line] = night.get("/v1/studies").json()["studies"]
    assert (line["name"], line["kind"], line["trials"], line["activity"]) == ("night", "sweep", 12, "idle")


def test_a_study_is_as_it_is_when_opened(night: TestClient, folder: Path) -> None:
    facts = night.get("/v1/studies/night").json()
    with tuner.open("night", results=folder) as study:
        assert study.best is not None
        assert facts["best"] == {
            "trial": study.best.trial,
            "score": study.best.score,
            "step": study.best.step,
            "params": study.best.params,
            "spread": None,
        }
        assert (facts["objective"], facts["goal"], facts["coordinator"]) == ("score", "maximize", None)
        assert facts["states"] == {word: count for word, count in study.state.counts.items() if count}
        assert facts["sequence"] == study.sequence


def test_pages_of_trials_hold_each_trial_once(night: TestClient) -> None:
    numbers, after = [], -1
    while after is not None:
        page = night.get("/v1/studies/night/trials", params={"after": after, "limit": 5}).json()
        assert page["of"] == 12
        assert page["shown"] == len(page["trials"])
        numbers += [each["trial"] for each in page["trials"]]
        after = page["next"]
    assert numbers == list(range(12))


def test_trials_are_found_by_their_state(night: TestClient, folder: Path) -> None:
    with tuner.open("night", results=folder) as study:
        counts = study.state.counts
    for state, count in counts.items():
        page = night.get("/v1/studies/night/trials", params={"state": state}).json()
        assert page["of"] == count
        assert {each["state"] for each in page["trials"]} <= {state}


def test_a_trial_tells_all_of_itself(night: TestClient, folder: Path) -> None:
    told = night.get("/v1/studies/night/trials/4").json()
    with tuner.open("night", results=folder) as study:
        trial = study.trial(4)
        assert (told["params"], told["score"], told["why"]) == (dict(trial.params), trial.best_score, trial.why)
        assert [each["cause"] for each in told["segments"]] == [each.cause for each in trial.segments]


def test_curves_are_those_of_the_study(night: TestClient, folder: Path) -> None:
    told = night.get("/v1/studies/night/curves", params={"trials": "0,4-6"}).json()
    with tuner.open("night", results=folder) as study:
        for line in told["curves"]:
            curve = study.curve(line["trial"])
            assert (line["steps"], line["scores"]) == (list(curve.steps), list(curve.scores))
        assert told["shown"] == told["of"] == sum(len(study.curve(each)) for each in (0, 4, 5, 6))
        assert night.get("/v1/studies/night/curves").json()["of"] == sum(len(study.curve(each)) for each in range(12))


def test_a_thinned_curve_says_how_much_of_how_much_it_shows(night: TestClient) -> None:
    told = night.get("/v1/studies/night/curves", params={"points": 10}).json()
    assert told["shown"] < told["of"]
    assert all(len(each["steps"]) <= 10 for each in told["curves"])


def test_rounds_tell_their_box_and_reason(night: TestClient, folder: Path) -> None:
    rounds = night.get("/v1/studies/night/rounds").json()["rounds"]
    with tuner.open("night", results=folder) as study:
        assert [each["why"] for each in rounds] == [each.why for each in study.state.rounds]
    assert sum(each["trials"] for each in rounds) == 12


def test_what_is_not_there_is_said_in_a_sentence(night: TestClient) -> None:
    for path, word in (
        ("/v1/studies/nigth", "Did you mean night"),
        ("/v1/studies/night/trials/99", "12 began"),
        ("/v1/studies/night/curves?trials=99", "12 began"),
        ("/v1/nothing", "nothing at /v1/nothing"),
    ):
        answer = night.get(path)
        assert answer.status_code == 404
        assert word in answer.json()["why"]
    for path in ("/v1/studies/..%2f", "/v1/studies/night/trials?limit=1001", "/v1/studies/night/curves?trials=x"):
        assert night.get(path).status_code in (404, 422)


def test_what_is_written_meanwhile_is_seen_at_once(tmp_path: Path) -> None:
    sweep(tmp_path, trials=3).close()
    with serving.client(serving.app(tmp_path)) as client:
        assert client.get("/v1/studies/night").json()["trials"] == 3
        sweep(tmp_path, trials=5).close()
        assert client.get("/v1/studies/night").json()["trials"] == 5
        assert client.get("/v1/studies/night/curves").json()["trials"] == 5


def test_a_study_that_was_replaced_is_not_mixed_with_the_old_one(tmp_path: Path) -> None:
    sweep(tmp_path, trials=3).close()
    with serving.client(serving.app(tmp_path)) as client:
        client.get("/v1/studies/night")
        (tmp_path / "night").rename(tmp_path / "before")
        sweep(tmp_path, trials=2, seed=8).close()
        assert client.get("/v1/studies/night").json()["trials"] == 2
        assert client.get("/v1/studies/before").json()["trials"] == 3


@pytest.mark.parametrize("table", tuner.tables.COLUMNS)
@pytest.mark.parametrize("format_", FORMATS)
def test_a_table_comes_as_its_export_does(
    night: TestClient, folder: Path, tmp_path: Path, table: str, format_: str
) -> None:
    answer = night.get(f"/v1/studies/night/tables/{table}.{format_}")
    assert answer.status_code == 200
    with tuner.open("night", results=folder) as study:
        study.export(format_, tmp_path)
    written = (tmp_path / f"{table}.{format_}").read_bytes()
    assert answer.content == written if format_ != "parquet" else answer.content[:4] == written[:4] == b"PAR1"


def test_every_format_of_a_table_can_be_asked_for_and_no_other_table(night: TestClient) -> None:
    assert get_args(Format) == FORMATS
    assert night.get("/v1/studies/night/tables/secrets.csv").json()["why"].startswith("there is no table")


def test_what_was_learned_is_told_in_the_sentences_of_explain(night: TestClient, folder: Path) -> None:
    told = night.get("/v1/studies/night/explanation").json()
    found = tuner.explain("night", results=folder)
    assert [each["title"] for each in told["sections"]] == [each.title for each in found.sections]
    assert told["sections"][0]["sentences"] == list(found.sections[0].sentences)


def long_study(results: Path, flushes: int, rows: int) -> None:
    with diary(results) as store:
        starts = range(0, flushes * rows, rows)
        steps = (range(first, first + rows) for first in starts)
        flushed = (reported(0, 0, [(step, 0.5 + step) for step in each]) for each in steps)
        store.append([*beginning(0), *flushed], NOON)


@pytest.mark.long
def test_a_table_is_sent_in_pieces_that_do_not_grow_with_it(tmp_path: Path) -> None:
    peaks = []
    for flushes in (1_200, 2_400):
        long_study(tmp_path / str(flushes), flushes, 20)
        database = tmp_path / str(flushes) / "night" / "study.db"
        with tuner.open("night", results=tmp_path / str(flushes)) as study, Store.open(database) as store:
            tracemalloc.start()
            pieces = sum(1 for _ in in_pieces(report_chunks(study.state, store, most=1_000), "csv"))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert pieces == flushes * 20 // 1_000
    assert peaks[1] < 1.5 * peaks[0]


_PEAK = """
import resource, sys
from pathlib import Path
import serving
with serving.client(serving.app(Path(sys.argv[1]))) as client:
    def read(table):
        with client.stream("GET", f"/v1/studies/night/tables/{table}") as answer:
            return sum(map(len, answer.iter_bytes()))
    read("notes.csv")  # packages are loaded, and the study is
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sent = [read(table) for table in sys.argv[2:]]
    print(min(sent), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.long
@pytest.mark.parametrize("tables", [["trials.csv"], ["reports.csv"], ["reports.parquet"]], ids=" ".join)
def test_a_million_reports_are_sent_within_a_hundred_megabytes(tmp_path: Path, tables: list[str]) -> None:
    long_study(tmp_path, 2_000, 500)
    command = [sys.executable, "-c", _PEAK, str(tmp_path), *tables]
    told = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300, check=True)
    _, megabytes = map(int, told.stdout.split())
    assert megabytes < 100


@pytest.mark.long
@pytest.mark.parametrize("format_", FORMATS)
def test_the_pieces_of_a_long_table_are_its_file(tmp_path: Path, format_: str) -> None:
    with diary(tmp_path) as store:
        store.append(beginning(0), NOON)
        for first, names in ((1, ("loss", "score")), (30_001, ("score", "=sum(a1)")), (60_001, ("score",))):
            rows = [(step, name, step / 7, NOON) for step in range(first, first + 15_000) for name in names]
            store.append([pack_reports(0, 0, rows)], NOON)
    with serving.client(serving.app(tmp_path)) as client, tuner.open("night", results=tmp_path) as study:
        answer = client.get(f"/v1/studies/night/tables/reports.{format_}").content
        study.export(format_, tmp_path / "exported")
        whole = study.reports
    file = tmp_path / "exported" / f"reports.{format_}"
    if format_ == "parquet":
        read = pd.read_parquet(io.BytesIO(answer))
        pd.testing.assert_frame_equal(read.astype({"name": str}), pd.read_parquet(file).astype({"name": str}))
        assert len(read) == len(whole) == 75_000
    else:
        assert answer == file.read_bytes()


def heard(
    gate: Gate, store: Store, headers: dict[str, str], query: str, news: int, until: str | None = None
) -> list[str]:
    """What somebody hears of a stream who leaves once the newest record is told, `news` records later, or `until`."""
    lines: list[str] = []

    async def listen() -> None:
        over = asyncio.Event()

        async def nothing() -> Any:
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            lines.extend(message.get("body", b"").decode().splitlines())

        given = {"host": f"127.0.0.1:{serving.PORT}", "authorization": f"Bearer {serving.VIEWER}", **headers}
        raw = [(name.encode(), value.encode()) for name, value in given.items()]
        path, query_string = "/v1/studies/night/events", query.encode()
        scope = {"type": "http", "method": "GET", "path": path, "query_string": query_string, "headers": raw}
        listening = asyncio.create_task(gate(scope, nothing, send))
        async with asyncio.timeout(PATIENCE_S):
            while not any(line.startswith(":") for line in lines):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)  # only to show that nothing comes of what is known
            for _ in range(news):
                store.append([Noted(trial=None, step=None, by="ann", text="so", at=NOON)], NOON)
            while (until or f"id: {store.version()}") not in lines:
                await asyncio.sleep(0.01)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    asyncio.run(listen())
    return [line for line in lines if line.startswith(("id:", "event:"))]


def test_whoever_follows_hears_the_place_in_the_record_and_goes_on_from_where_they_were(tmp_path: Path) -> None:
    with diary(tmp_path) as store:
        store.append(beginning(0), NOON)
        known = store.version()
        assert heard(serving.app(tmp_path), store, {}, "", 0) == [f"id: {known}"]
        assert heard(serving.app(tmp_path), store, {"last-event-id": str(known)}, "", 1) == [f"id: {known + 1}"]
        assert heard(serving.app(tmp_path), store, {}, f"after={known + 1}", 1) == [f"id: {known + 2}"]
        told = heard(serving.app(tmp_path), store, {"last-event-id": str(known + 1)}, "after=0", 0)
        assert told == [f"id: {known + 2}"]


def test_who_asks_for_it_hears_now_and_then_that_the_server_is_there(tmp_path: Path) -> None:
    with diary(tmp_path) as store:
        query = f"after={store.version()}&beat_s=1"
        assert heard(serving.app(tmp_path), store, {}, query, 0, until="event: beat") == ["event: beat"]
