"""The service steers as a handle does: once under one id, refused with a sentence, and launches within its projects."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import babysat
import pytest
import serving
from starlette.testclient import TestClient
from sweeping import sweep

import tuner
from tuner.agents.projects import lies_within
from tuner.server.events import Watch


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
def client(tmp_path: Path) -> Iterator[TestClient]:
    """Somebody before a service over a folder in which a run trains."""
    settings = {"learning_rate": 0.01, "beta": 0.9}
    with (
        babysat.at_home(tmp_path),
        tuner.babysit(roll, settings, name="one", objective="score", results=tmp_path, executor="local"),
        serving.client(serving.app(tmp_path, projects=tmp_path)) as found,
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
    with tuner.open("two", results=tmp_path) as study:
        assert study.state.trials[0].settings["learning_rate"] == 0.05
    assert put(client, "a2", "fork", nonsense=1).status_code == 422


def test_there_is_no_stream_of_a_study_that_is_not_there(client: TestClient) -> None:
    assert client.get("/v1/studies/two/events").status_code == 404


def test_whoever_listens_hears_of_each_commit_also_once_another_study_lies_there(tmp_path: Path) -> None:
    def heard_beyond(place: int) -> int | None:
        return asyncio.run_coroutine_threadsafe(watch.beyond(place, 30.0), loop).result(60.0)

    sweep(tmp_path, trials=3).close()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    watch, listening = Watch(tmp_path / "night" / "study.db"), contextlib.ExitStack()
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
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30.0)
        loop.close()


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
    for folder in (inside / "lab" / "deep", inside / "loose", outside):
        folder.mkdir(parents=True)
    for file in ("mine.py", "lab/__init__.py", "lab/deep/__init__.py", "loose/theirs.py", "shadowed.py", "both.py"):
        (inside / file).write_text("")
    (outside / "__init__.py").write_text("")
    (outside / "theirs.py").write_text("")
    (inside / "shadowed").symlink_to(outside)  # a package, which Python takes before the module of that name
    (inside / "linked.py").symlink_to(outside / "theirs.py")
    (inside / "both").mkdir()
    (inside / "both" / "theirs.py").write_text("")  # never reached: both.py is what `both` is

    assert all(lies_within(inside, f"{name}:train") for name in ("mine", "lab", "lab.deep", "loose.theirs", "both"))
    for name in (
        "shadowed",
        "shadowed.theirs",
        "linked",
        "both.theirs",
        "nothing",
        "lab.nothing",
        "..elsewhere.theirs",
        "",
    ):
        assert not lies_within(inside, f"{name}:train"), name
