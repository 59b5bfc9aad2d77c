"""The service steers as a handle does: once under one id, refused with a sentence, and launches within its projects."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import babysat
import httpx2
import pytest
import serving
from diaries import NOON, diary
from fastapi import FastAPI
from starlette.testclient import TestClient
from sweeping import sweep
from waiting import PATIENCE_S

import tuner
from tuner.agents.projects import lies_within
from tuner.errors import DatabaseAway
from tuner.policy.requests import answered
from tuner.record.location import Place
from tuner.server.awaiting import MOST, Waits
from tuner.server.events import Watch
from tuner.server.problems import Problem, answer_refusals


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
        time.sleep(0.01)
        ball.height *= 0.999
        run.report(score=-ball.height)


@pytest.fixture
def client(tmp_path: Path, new_store: Callable[[], str | None]) -> Iterator[TestClient]:
    """Somebody before a service over a folder in which a run trains, or over the database that has its record."""
    store = new_store()
    given: dict[str, Any] = {"objective": "score", "results": tmp_path, "executor": "local", "store": store}
    with (
        babysat.at_home(tmp_path),
        tuner.babysit(roll, {"learning_rate": 0.01, "beta": 0.9}, name="one", **given),
        serving.client(serving.app(tmp_path, projects=tmp_path, store=store)) as found,
    ):
        yield found


def put(client: TestClient, request: str, verb: str, why: str = "to see", **arguments: Any) -> Any:
    return client.put(f"/v1/studies/one/requests/{request}", json={"verb": verb, "arguments": arguments, "why": why})


def test_a_request_takes_effect_once_however_often_it_is_sent(client: TestClient, tmp_path: Path) -> None:
    first = put(client, "a1", "set", values={"learning_rate": 0.02})
    assert first.status_code == 200
    assert first.json()["state"] == "applied"
    assert put(client, "a1", "set", values={"learning_rate": 0.02}).json() == first.json()
    assert client.get("/v1/studies/one/requests/a1", params={"wait_s": 5}).json()["step"] == first.json()["step"]
    with tuner.open("one", results=tmp_path) as study:
        assert len(study.adjustments) == 1
        assert study.requests["by"].tolist() == ["operator"]


def test_one_id_is_not_taken_for_two_requests(client: TestClient) -> None:
    assert put(client, "a1", "pause").status_code == 200
    again = put(client, "a1", "resume")
    assert again.status_code == 422
    assert "a1" in again.json()["why"]


def test_what_makes_no_sense_is_refused_with_a_sentence(client: TestClient) -> None:
    assert put(client, "a1", "set", values={"learning_rate": "fast"}).status_code in (409, 422)
    assert put(client, "a2", "dance").status_code in (409, 422)
    assert put(client, "a3", "revert", stepp=3).status_code == 422
    assert client.get("/v1/studies/one/requests/never").status_code == 404


def test_a_fork_is_a_run_of_its_own(client: TestClient, tmp_path: Path) -> None:
    assert put(client, "a0", "checkpoint").status_code == 200
    told = put(client, "a1", "fork", name="two", values={"learning_rate": 0.05})
    assert told.status_code == 200, told.text
    found = client.get("/v1/studies/one/requests/a1", params={"wait_s": 1}).json()
    assert (found["state"], found["study"], found["verb"]) == ("applied", "two", "fork")
    with tuner.open("two", results=tmp_path) as study:
        assert study.state.trials[0].settings["learning_rate"] == 0.05
    assert put(client, "a2", "fork", nonsense=1).status_code == 422


def test_a_database_that_is_away_is_said_with_when_to_ask_again() -> None:
    app = FastAPI()
    answer_refusals(app)

    @app.get("/")
    def away() -> None:
        raise DatabaseAway("db.lab does not answer: connection refused.")

    with TestClient(app) as client:
        told = client.get("/")
    assert (told.status_code, told.json()["code"]) == (503, "database_away")
    assert "db.lab" in told.json()["why"]
    assert int(told.headers["retry-after"]) > 0


def test_there_is_no_stream_of_a_study_that_is_not_there(client: TestClient) -> None:
    assert client.get("/v1/studies/two/events").status_code == 404


def test_whoever_listens_hears_of_each_commit_also_once_another_study_lies_there(tmp_path: Path) -> None:
    def heard_beyond(place: int) -> int | None:
        return asyncio.run_coroutine_threadsafe(watch.beyond(place, PATIENCE_S), loop).result(2 * PATIENCE_S)

    sweep(tmp_path, trials=3).close()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    watch, listening = Watch(Place.of("night", tmp_path, None)), contextlib.ExitStack()
    try:
        loop.call_soon_threadsafe(lambda: listening.enter_context(watch.listening()))
        first = heard_beyond(0)
        assert first
        sweep(tmp_path, trials=5).close()
        second = heard_beyond(first)
        assert second is not None
        assert second > first
        (tmp_path / "night").rename(tmp_path / "before")
        sweep(tmp_path, trials=30, seed=8).close()
        assert (heard_beyond(second) or 0) > second
    finally:
        loop.call_soon_threadsafe(listening.close)
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(PATIENCE_S)  # a look may last
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "changed",
    [
        {"train": "os:system"},
        {"train": "../mine:train"},
        {"train": "mine:train; rm"},
        {"space": "/etc/passwd"},
        {"executor": "external"},
        {"nonsense": 1},
    ],
)
def test_nothing_is_launched_but_what_lies_in_the_projects(tmp_path: Path, changed: dict[str, Any]) -> None:
    (tmp_path / "mine.py").write_text("def train(run): pass\n")
    body = {"train": "mine:train", "space": "sgd_momentum", "objective": "score", "trials": 1, "executor": "local"}
    with serving.client(serving.app(tmp_path / "results", projects=tmp_path)) as client:
        assert client.put("/v1/studies/dawn", json={**body, **changed}).status_code == 422
    with serving.client(serving.app(tmp_path / "results")) as client:
        assert client.put("/v1/studies/dawn", json=body).status_code == 409
    with serving.client(serving.app(tmp_path / "results", projects=tmp_path), serving.VIEWER) as client:
        assert client.put("/v1/studies/dawn", json=body).status_code == 403
    assert not (tmp_path / "results" / "dawn").exists()


def test_rule_12_what_python_would_import_lies_in_the_projects_at_every_step(tmp_path: Path) -> None:
    inside, outside = tmp_path / "projects", tmp_path / "elsewhere"
    for folder in (inside / "lab" / "deep", inside / "loose" / "deeper", inside / "pytest", outside):
        folder.mkdir(parents=True)
    for file in ("mine.py", "lab/__init__.py", "lab/deep/__init__.py", "loose/theirs.py", "shadowed.py", "both.py"):
        (inside / file).write_text("")
    (outside / "__init__.py").write_text("")
    (outside / "theirs.py").write_text("")
    (inside / "shadowed").symlink_to(outside)  # a package, which Python takes before the module of that name
    (inside / "linked.py").symlink_to(outside / "theirs.py")
    (inside / "both").mkdir()
    (inside / "both" / "theirs.py").write_text("")  # never reached: both.py is what `both` is
    (inside / f"fast{EXTENSION_SUFFIXES[0]}").write_text("")
    (inside / "old.pyc").write_text("")
    (inside / "quick.py").write_text("")  # never reached: a compiled module comes before its source
    (inside / f"quick{EXTENSION_SUFFIXES[-1]}").symlink_to(outside / "theirs.py")
    (inside / "loose" / "deeper" / "mine.py").write_text("")
    (inside / "pytest" / "theirs.py").write_text("")  # never reached: a package of that name is installed
    (inside / "subprocess.py").write_text("")  # never reached: Python has loaded its own
    (inside / "half").mkdir()
    (inside / "half" / "__init__.py").symlink_to(outside / "__init__.py")

    for name in ("mine", "lab", "lab.deep", "loose.theirs", "loose.deeper.mine", "both", "fast", "old"):
        assert lies_within(inside, f"{name}:train"), name
    for name in (
        "shadowed",
        "shadowed.theirs",
        "linked",
        "both.theirs",
        "quick",
        "loose",
        "loose.deeper",
        "pytest.theirs",
        "subprocess",
        "half",
        "os",
        "nothing",
        "lab.nothing",
        "mine.nothing",
        "..elsewhere.theirs",
        "",
    ):
        assert not lies_within(inside, f"{name}:train"), name


def test_rule_12_what_may_be_launched_is_what_python_imports(tmp_path: Path) -> None:
    (tmp_path / "lab" / "deep").mkdir(parents=True)
    for file in ("mine.py", "lab/deep/own.py"):
        (tmp_path / file).write_text("WHERE = __file__")
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "own.py").write_text("")
    code = (
        "import importlib, sys\n"
        "from pathlib import Path\n"
        "from tuner.agents.projects import lies_within\n"
        "home = Path.cwd()\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        file = getattr(importlib.import_module(name), '__file__', '')\n"
        "    except ImportError:\n"
        "        file = ''\n"
        "    print(name, lies_within(home, f'{name}:train'), bool(file) and Path(file).is_relative_to(home))\n"
    )
    names = ["mine", "lab.deep.own", "numpy.own", "lab", "sys", "time", "itertools"]
    told = subprocess.run(
        [sys.executable, "-c", code, *names], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    found = [line.split() for line in told.stdout.splitlines()]
    assert [name for name, *_ in found] == names, told.stderr
    assert [within for _, within, _ in found] == [really for *_, really in found] == ["True", "True", *["False"] * 5]


def test_a_hundred_who_wait_for_an_answer_keep_nobody_from_the_other_routes(tmp_path: Path) -> None:
    with diary(tmp_path) as store:
        for number in range(3):
            store.request("note", {"text": "so"}, by="ann", why="", request=f"r{number}")

        async def crowd() -> list[Any]:
            transport = httpx2.ASGITransport(serving.app(tmp_path))
            headers = {"authorization": f"Bearer {serving.OPERATOR}"}
            async with httpx2.AsyncClient(transport=transport, base_url=serving.ORIGIN, headers=headers) as client:

                async def wait(number: int) -> Any:
                    address = f"/v1/studies/night/requests/r{number % 3}"
                    return (await client.get(address, params={"wait_s": 30}, timeout=60)).json()

                waiting = [asyncio.create_task(wait(number)) for number in range(100)]
                await asyncio.sleep(0.2)  # all of them are under way, or the test shows nothing
                read = await asyncio.wait_for(client.get("/v1/studies/night"), PATIENCE_S)
                asked = await asyncio.wait_for(client.get("/v1/studies/night/requests/r0"), PATIENCE_S)
                before = [read.status_code, asked.json()["state"], sum(each.done() for each in waiting)]
                for number in range(3):
                    store.append([answered(f"r{number}", "applied", f"noted {number}", NOON)], NOON)
                async with asyncio.timeout(PATIENCE_S):
                    return [*before, *[each["why"] for each in await asyncio.gather(*waiting)]]

        read, state, done, *whys = asyncio.run(crowd())
    assert (read, state, done) == (200, "received", 0)
    assert whys == [f"noted {number % 3}" for number in range(100)]


@pytest.mark.long
def test_fifty_whose_requests_nobody_looks_at_hold_no_thread_and_keep_nobody_from_reading(tmp_path: Path) -> None:
    with diary(tmp_path) as store:  # which holds the lease, and answers nothing

        async def crowd() -> list[Any]:
            transport = httpx2.ASGITransport(serving.app(tmp_path))
            headers = {"authorization": f"Bearer {serving.OPERATOR}"}
            async with httpx2.AsyncClient(transport=transport, base_url=serving.ORIGIN, headers=headers) as client:

                async def put(number: int) -> Any:
                    address, body = (
                        f"/v1/studies/night/requests/r{number}",
                        {"verb": "note", "arguments": {"text": "so"}},
                    )
                    return (await client.put(address, json=body, params={"wait_s": 30}, timeout=60)).json()

                waiting = [asyncio.create_task(put(number)) for number in range(50)]
                seen: set[str] = set()
                async with asyncio.timeout(PATIENCE_S):
                    while len(seen) < 50 and not any(each.done() for each in waiting):
                        seen |= {each.request for each in store.new_requests()}
                        read = await client.get("/v1/studies/night")
                before = [len(seen), read.status_code, sum(each.done() for each in waiting)]
                told = [answered(f"r{number}", "applied", f"noted {number}", NOON) for number in range(50)]
                store.append(told, NOON)
                async with asyncio.timeout(PATIENCE_S):
                    return [*before, *[each["why"] for each in await asyncio.gather(*waiting)]]

        on_record, read, done, *whys = asyncio.run(crowd())
    assert (on_record, read, done) == (50, 200, 0)
    assert whys == [f"noted {number}" for number in range(50)]


def test_whoever_waits_is_told_after_the_time_and_too_many_are_refused(tmp_path: Path) -> None:
    with diary(tmp_path) as store:
        store.request("note", {"text": "so"}, by="ann", why="", request="r")

        async def wait() -> tuple[Any, Any, int]:
            database, closing = tmp_path / "night" / "study.db", asyncio.Event()
            waits = Waits(closing.is_set)
            in_time = await waits.answer(database, "r", 0.05)
            store.append([answered("r", "accepted", "later", NOON)], NOON)
            accepted = await waits.answer(database, "r", 0.05)
            crowd = [asyncio.create_task(waits.answer(database, "r", 60.0)) for _ in range(MOST)]
            await asyncio.sleep(0)
            with pytest.raises(Problem, match="wait for an answer"):
                await waits.answer(database, "r", 1.0)
            closing.set()  # the service ends: nobody is kept
            async with asyncio.timeout(PATIENCE_S):
                return in_time, accepted, len(await asyncio.gather(*crowd))

        in_time, accepted, told = asyncio.run(wait())
    assert (in_time, accepted.state, told) == (None, "accepted", MOST)
