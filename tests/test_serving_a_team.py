"""The service over a team's database: studies of any folder, and whatever it launches on record there too."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serving
from babysat import at_home, end_all
from starlette.testclient import TestClient
from sweeping import sweep
from waiting import PATIENCE_S, wait_until

import tuner
from tuner.agents.agent import Agent
from tuner.agents.allowance import Allowance, OverBudget, spent
from tuner.cli import main
from tuner.errors import NameRefused
from tuner.record.asides import Aside, asides, beginner, set_aside, take_back
from tuner.server.running import announced
from tuner.server.tokens import KeptTokens

RATE = {"rate": {"scale": "log", "low": 0.01, "high": 1.0}}
SWEEP = {"train": "mine:train", "space": RATE, "objective": "score", "trials": 2, "executor": "local"}
RUN = {"kind": "babysitting", "train": "mine:crawl", "params": {"rate": 0.1}, "objective": "score", "executor": "local"}
LENT = {"space": RATE, "objective": "score", "trials": 1, "executor": "external"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder of projects, with results beside; whatever was begun there is ended."""
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "mine.py").write_text(serving.TRAINING)
    yield tmp_path
    end_all(tmp_path / "results")


@pytest.fixture
def client(home: Path, team_url: str) -> Iterator[TestClient]:
    with serving.client(serving.app(home / "results", projects=home / "projects", store=team_url)) as found:
        yield found


def begin(client: TestClient, name: str, body: dict[str, Any]) -> None:
    begun = client.put(f"/v1/studies/{name}", json=body)
    assert begun.status_code == 201, begun.text


def test_studies_of_other_folders_are_listed_shown_and_those_of_the_own_folder_are_not(
    client: TestClient, home: Path, team_url: str
) -> None:
    sweep(home / "another", trials=3, store=team_url).close()
    sweep(home / "results", name="mine", trials=3).close()
    [line] = client.get("/v1/studies").json()["studies"]
    assert (line["name"], line["trials"]) == ("night", 3)
    page = client.get("/")
    assert "night" in page.text
    assert "hush-hush" not in page.text
    assert client.get("/studies/night").status_code == 200
    assert client.get("/v1/studies/mine").status_code == 404


@pytest.mark.long
def test_what_is_launched_is_on_record_in_the_database_and_its_password_in_no_file(
    client: TestClient, home: Path, team_url: str
) -> None:
    begin(client, "night", SWEEP)
    begin(client, "one", RUN)
    asked = {"verb": "set", "arguments": {"values": {"rate": 0.5}}, "why": "bolder"}
    assert client.put("/v1/studies/one/requests/a", json=asked).json()["state"] == "applied"
    wait_until(lambda: client.get("/v1/studies/night").json()["ended"] == 2)
    for name, kind in (("night", "sweep"), ("one", "babysitting")):
        with tuner.open(name, results=home / "elsewhere", store=team_url) as study:
            assert study.state.kind == kind
        assert not (home / "results" / name / "study.db").exists()
    files = [path for path in (home / "results").rglob("*") if path.is_file()]
    assert [path for path in files if b"hush-hush" in path.read_bytes()] == []


@pytest.mark.long
def test_programs_ask_for_trials_of_a_study_in_the_database(client: TestClient) -> None:
    begin(client, "lent", LENT)
    trial = client.post("/v1/studies/lent/ask", json={"worker": "gpu-3", "wait_s": 20})
    assert trial.status_code == 200, trial.text
    told = {"segment": trial.json()["segment"], "state": "completed", "scores": {"score": 0.5}}
    assert client.post("/v1/studies/lent/trials/0/tell", json=told).status_code == 200
    wait_until(lambda: client.get("/v1/studies/lent").json()["coordinator"] is None)
    assert client.get("/v1/studies/lent").json()["best"]["score"] == 0.5


def test_what_is_refused_leaves_no_folder(client: TestClient, home: Path) -> None:
    (home / "projects" / "broken.py").write_text("raise OSError('the disk is full of moths')")
    assert client.put("/v1/studies/night", json={**SWEEP, "train": "broken:train"}).status_code == 409
    assert not (home / "results" / "night").exists()


def test_an_agent_pays_for_the_extension_of_a_run_that_has_no_folder_here(tmp_path: Path, team_url: str) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    given: dict[str, Any] = {"results": there, "store": team_url, "executor": "local"}
    with at_home(there), tuner.babysit(short, {"rate": 0.1}, name="one", objective="score", **given) as run:
        run.pause("to look")
        ada = Agent.called("ada", here, {"steps": 100}, store=team_url)
        assert ada.studies()["of"] == 1
        ada.steer("one", "extend", "to see more", {"steps": 60})
        assert spent(here, "agent:ada", store=team_url)[1] == 60
        with pytest.raises(OverBudget, match="40 steps are left"):
            ada.steer("one", "extend", "still more", {"steps": 41})
        assert Allowance(steps=100).left(here, "agent:bob", team_url).steps == 100


def short(run: tuner.Run) -> None:
    for step in run.steps(1_000_000):
        run.report(score=-step)


@pytest.mark.long
def test_a_fork_that_is_asked_for_again_of_another_service_is_answered_as_the_first_time(
    tmp_path: Path, team_url: str
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    given: dict[str, Any] = {"results": here, "store": team_url, "executor": "local", "checkpoint_every_s": 0.1}
    with at_home(here), tuner.babysit(saves, {"rate": 0.1}, name="one", objective="score", **given) as run:
        run.checkpoint()
        ada, elsewhere = (Agent.called("ada", folder, {"trials": 1}, store=team_url) for folder in (here, there))
        first = ada.steer("one", "fork", "bolder", {"values": {"rate": 0.2}}, request="try-1")
        again = elsewhere.steer("one", "fork", "bolder", {"values": {"rate": 0.2}}, request="try-1")
        assert again == first
        assert (again["study"], again["left"]["trials"]) == ("one-2", 0)
        with pytest.raises(OverBudget):
            elsewhere.steer("one", "fork", "bolder still", {"values": {"rate": 0.3}}, request="try-2")


class Rate:
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None: ...


def saves(run: tuner.Run) -> None:
    run.state(Rate())
    short(run)


@pytest.mark.long
def test_two_services_on_one_database_share_the_budget_of_an_agent(tmp_path: Path, team_url: str) -> None:
    folders = [tmp_path / "here", tmp_path / "there"]
    agents = [Agent.called("ada", folder, {"trials": 5}, store=team_url) for folder in folders]
    refused: list[str] = []

    def begin(agent: Agent, name: str, trials: int) -> None:
        given: dict[str, Any] = {"train": "tuner.workloads.bowl:train", "space": "sgd_momentum", "executor": "local"}
        try:
            agent.sweep(name, objective="score", why="to try", trials=trials, **given)
        except OverBudget as error:
            refused.append(str(error))

    threads = [threading.Thread(target=begin, args=(agent, f"by-{at}", 3)) for at, agent in enumerate(agents)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        [why] = refused
        assert "2 trials are left" in why
        assert [agent.studies()["left"]["trials"] for agent in agents] == [2, 2]
        begin(agents[0], "last", 2)
        assert len(refused) == 1
        assert [agent.studies()["left"]["trials"] for agent in agents] == [0, 0]
    finally:
        for folder in folders:
            end_all(folder)


def test_what_is_set_aside_meanwhile_is_counted_anew_and_what_is_taken_back_is_free(team_url: str) -> None:
    assert asides(team_url, "ada").studies == {}
    assert set_aside(team_url, "ada", "night", Aside(trials=3, steps=None), seen=0)
    assert not set_aside(team_url, "ada", "day", Aside(trials=3, steps=None), seen=0)
    assert set_aside(team_url, "bob", "day", Aside(trials=1, steps=9), seen=0)
    assert asides(team_url, "ada").studies == {"night": Aside(trials=3, steps=None)}
    assert beginner(team_url, "day") == "bob"
    take_back(team_url, "ada", "night")
    assert asides(team_url, "ada").studies == {}


@pytest.mark.parametrize("store", ["sqlite:////data/night.db", "memory", "mysql://lab/tuner"])
def test_a_store_that_holds_one_study_is_not_served(store: str, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(NameRefused, match="all studies"):
        serving.app(tmp_path, store=store)
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--store", store, "--results", str(tmp_path)])
    assert ended.value.code == 2
    assert "postgresql://USER@HOST/DATABASE" in capsys.readouterr().err


def test_a_link_to_a_service_of_the_folder_is_no_link_to_one_of_the_database(
    tmp_path: Path, team_url: str, capsys: Any
) -> None:
    KeptTokens(tmp_path).add("ada", "viewer")  # which makes the folder that services tell of themselves in
    with announced(tmp_path, "http://127.0.0.1:8765", 8765, store="postgresql://tuner@lab/team"):
        for words, code in (([], 1), (["--store", team_url], 1), (["--store", "postgresql://tuner@lab/team"], 0)):
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main(["serve", "--list", "--results", str(tmp_path), "--json", *words])
            assert ended.value.code == code
    assert json.loads(capsys.readouterr().out)["url"] == "http://127.0.0.1:8765"
