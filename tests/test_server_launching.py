"""What is begun over HTTP: sweeps and babysat runs of functions in the projects, over any space, and nothing half."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import serving
from babysat import end_all
from diaries import diary
from served import connected
from starlette.testclient import TestClient
from waiting import wait_until

import tuner
from tuner.agents.allowance import LAUNCH, Allowance, OverBudget, read_launch
from tuner.agents.launching import launch_run
from tuner.errors import IdentityMismatch, SettingsError, SpaceError, StudyError
from tuner.record.location import Place
from tuner.server.known_study import known_study
from tuner.server.spaces import as_json, space_of

OWN: dict[str, dict[str, Any]] = {
    "rate": {"scale": "log", "low": 1e-3, "high": 1.0, "likely": 0.03},
    "beta": {"scale": "log_one_minus", "low": 0.9, "high": 0.999, "when": {"kind": ["é “two”\n"]}},
    "kind": {"choice": ["one", "é “two”\n", True, 3]},
    "layers": {"type": "integer", "low": 1, "high": 9},
}
SEEING = """
import os


def train(run):
    for step in run.steps(2):
        run.report(score=float(os.environ["SEEN"]) + len(os.environ["LAB_TOKEN"]))
"""
SWEEP = {"train": "mine:train", "space": OWN, "objective": "score", "trials": 2, "executor": "local"}
THERE = {**SWEEP, "train": "m:train", "goal": "minimize", "sampler": "random"}
"""The study that a diary is."""
RUN = {"kind": "babysitting", "train": "mine:crawl", "params": {"rate": 0.1}, "objective": "score", "executor": "local"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder of projects, with results beside; whatever was begun there is ended."""
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "mine.py").write_text(serving.TRAINING)
    for name in ("broken", "m"):
        (tmp_path / "projects" / f"{name}.py").write_text("raise OSError('the disk is full of moths')")
    yield tmp_path
    end_all(tmp_path / "results")


@pytest.fixture
def client(home: Path) -> Iterator[TestClient]:
    with serving.client(serving.app(home / "results", projects=home / "projects")) as found:
        yield found


def put(client: TestClient, name: str, body: dict[str, Any], **changed: Any) -> Any:
    return client.put(f"/v1/studies/{name}", json={**body, **changed})


def test_a_space_written_down_is_the_same_when_it_is_read(tmp_path: Path) -> None:
    space = space_of(OWN)
    file = tmp_path / "space.json"
    for given in (OWN, {"dropout": {"choice": [None, 0.5]}}):
        file.write_text(as_json(given))
        assert tuner.Space.load(file) == space_of(given)
    assert space_of({name: each.to_dict() for name, each in space.items()}) == space


@pytest.mark.parametrize("option", ["\ud800", [1], {"a": 1}])
def test_what_cannot_be_written_down_is_refused(option: Any) -> None:
    with pytest.raises(SpaceError):
        as_json({"kind": {"choice": ["one", option]}})


@pytest.mark.long
def test_a_sweep_over_a_space_of_its_own_is_launched(client: TestClient, home: Path) -> None:
    begun = put(client, "night", SWEEP, cpus=2, stopping="off", time_budget_s=100)
    assert begun.status_code == 201, begun.text
    wait_until(lambda: tuner.studies(home / "results")[0].activity == "idle")
    with tuner.open("night", results=home / "results") as study:
        assert study.space == space_of(OWN)
        assert [each.state for each in study.state.trials] == ["completed"] * 2
        told = {word: study.state.options[word] for word in ("cpus", "time_budget_s")}
    assert told == {"cpus": 2.0, "time_budget_s": 100.0}


@pytest.mark.long
def test_a_babysat_run_is_launched_steered_and_the_same_when_it_is_sent_again(client: TestClient, home: Path) -> None:
    begun = put(client, "one", RUN, space=OWN, params={"rate": 0.25, "kind": "one", "layers": 2}, why="to see")
    assert begun.status_code == 201, begun.text
    again = put(client, "one", RUN, space=OWN, params={"rate": 0.25})
    assert (again.status_code, again.json()) == (200, begun.json())
    asked = {"verb": "set", "arguments": {"values": {"rate": 0.5}}, "why": "bolder"}
    assert client.put("/v1/studies/one/requests/a", json=asked).json()["state"] == "applied"
    for changed, words in (
        ({"objective": "loss", "seed": 4, "space": None}, ["space", "objective", "seed"]),
        ({"train": "mine:train"}, ["train"]),
        ({"params": {"rate": 0.5}}, ["params.rate"]),
    ):
        refused = put(client, "one", RUN, **{"space": OWN, "params": {"rate": 0.25}, **changed})
        assert (refused.status_code, refused.json()["differs"]) == (409, words)
    with closing(tuner.attach("one", results=home / "results")) as run:
        run.stop("seen")
    with tuner.open("one", results=home / "results") as study:
        assert (study.state.kind, study.state.trials[0].why) == ("babysitting", "seen")
        assert study.adjustments["by"].tolist() == ["operator"]
    assert read_launch(home / "results" / "one")["by"] == "operator"


@pytest.mark.parametrize(
    ("body", "changed", "word"),
    [
        (RUN, {"train": "os:system"}, "launched here"),
        (RUN, {"params": {}}, "settings to begin with"),
        (RUN, {"space": OWN, "params": {"rate": 7.0}}, "rate"),
        (RUN, {"space": "/etc/passwd"}, "name"),
        (RUN, {"executor": "external"}, "executor"),
        (RUN, {"trials": 3}, "trials"),
        (RUN, {"objective": ""}, "objective"),
        (SWEEP, {"space": {"rate": {"scale": "log", "low": 0.0, "high": 1.0}}}, "low"),
        (SWEEP, {"space": {"kind": {"choice": [None, None]}}}, "twice"),
        (SWEEP, {"space": "mine.toml"}, "name"),
        (SWEEP, {"sampler": "randon"}, "random"),
        (SWEEP, {"train": "mine.py"}, "tuner sweep --command"),
        (SWEEP, {"train": "mine.train"}, "its module, a colon and its name"),
        (RUN, {"train": "python mine.py"}, "--command"),
        (SWEEP, {"params": {"rate": 1.0}}, "params"),
        (SWEEP, {"gpus": 1.5, "executor": "ray"}, "share of one GPU"),
        (RUN, {"gpus": 1.5, "executor": "ray"}, "share of one GPU"),
        (SWEEP, {"resources": {"GPU": 1.5}, "executor": "ray"}, "share of one GPU"),
        (RUN, {"resources": {"gpu": 1}, "executor": "ray"}, "calls 'GPU'"),
        (SWEEP, {"resources": {"licence": -1}, "executor": "ray"}, "licence"),
        (SWEEP, {"resources": {"a=1,b": 1}, "executor": "ray"}, "resources"),
        (SWEEP, {"resources": {"CPU": 2}, "cpus": 3, "executor": "ray"}, "say two things"),
        (RUN, {"resources": {"licence": 1}}, "workers of Ray"),
        (SWEEP, {"runtime_env": {"env_vars": {"A": "1"}}}, "workers of Ray"),
        (SWEEP, {"runtime_env": {"env_var": {"A": "1"}}, "executor": "ray"}, "env_vars alone, and no 'env_var'"),
        (RUN, {"runtime_env": {"env_vars": {"A": 1}}, "executor": "ray"}, "env_vars"),
        (RUN, {"runtime_env": {}, "executor": "ray"}, "env_vars"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    client: TestClient, home: Path, body: dict[str, Any], changed: dict[str, Any], word: str
) -> None:
    refused = put(client, "dawn", body, **changed)
    assert refused.status_code == 422
    assert word in refused.json()["why"]
    assert not (home / "results" / "dawn").exists()


@pytest.mark.parametrize(
    "environment",
    [
        *({word: "https://elsewhere.example/code.zip"} for word in ("working_dir", "py_executable", "image_uri")),
        *({word: ["theirs"]} for word in ("pip", "uv", "py_modules")),
        *({"env_vars": {name: "x"}} for name in ("PYTHONPATH", "LD_PRELOAD", "PATH", "CC", "RAY_ADDRESS")),
    ],
)
def test_rule_12_no_environment_brings_code_along_from_beyond_the_projects(
    client: TestClient, home: Path, environment: dict[str, Any]
) -> None:
    for body in (SWEEP, RUN):
        refused = put(client, "dawn", body, executor="ray", runtime_env=environment)
        assert refused.status_code == 422
        assert "code" in refused.json()["why"]
    assert not (home / "results" / "dawn").exists()


@pytest.mark.ray
@pytest.mark.long
def test_a_trial_takes_what_it_was_launched_with_and_no_secret_is_written_down(home: Path, cluster: str) -> None:
    (home / "projects" / "seeing.py").write_text(SEEING)
    variables = {"SEEN": "3", "LAB_TOKEN": "s3cret-of-the-lab"}
    given: dict[str, Any] = {"executor": "ray", "address": cluster, "resources": {"CPU": 0.5}, "objective": "score"}
    given["runtime_env"] = {"env_vars": variables}
    with connected(home / "results", projects=home / "projects") as there:
        there.sweep("seeing:train", tuner.Space(rate=tuner.log(0.01, 1.0)), name="night", trials=1, **given).close()
        there.babysit("seeing:train", {"rate": 0.1}, name="one", **given).close()
    wait_until(lambda: [each.ended for each in tuner.studies(home / "results")] == [1, 1])
    for name in ("night", "one"):
        with tuner.open(name, results=home / "results") as study:
            assert study.best_score == 3.0 + len("s3cret-of-the-lab")
            assert study.state.options["cpus"] == 0.5
            assert study.state.options["runtime_env"]["env_vars"]["SEEN"] == "3"
    files = [path for path in (home / "results").rglob("*") if path.is_file()]
    assert [path for path in files if b"s3cret" in path.read_bytes()] == []


def test_what_its_own_process_refuses_leaves_nothing(client: TestClient, home: Path) -> None:
    refused = put(client, "dawn", RUN, train="broken:train")
    assert refused.status_code == 409
    assert "full of moths" in refused.json()["why"]
    assert not (home / "results" / "dawn").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"objective": "loss", "goal": "maximize"}, ["objective", "goal"]),
        ({"train": "mine:crawl"}, ["train"]),
        ({"space": {**OWN, "layers": {"type": "integer", "low": 1, "high": 3}}}, ["space"]),
        ({"seed": 1, "sampler": "sobol", "seeds": 3}, ["seed", "sampler", "seeds"]),
        ({"executor": "external", "train": None}, ["train"]),
        ({**RUN, "trials": None, "sampler": None, "space": None}, ["kind"]),
    ],
)
def test_another_study_of_that_name_is_refused_by_the_words_that_differ_before_a_process_starts(
    client: TestClient, home: Path, changed: dict[str, Any], words: list[str]
) -> None:
    diary(home / "results", space=space_of(OWN)).close()
    body = {word: value for word, value in {**THERE, **changed}.items() if value is not None}
    refused = put(client, "night", body)
    assert (refused.status_code, refused.json().get("code")) == (409, "another_identity"), refused.text
    assert refused.json()["differs"] == words
    assert all(word in refused.json()["why"] for word in words)
    assert not (home / "results" / "night" / LAUNCH).exists()


def test_other_likely_values_are_no_other_study(home: Path) -> None:
    diary(home / "results", space=space_of(OWN)).close()
    known = known_study(Place.of("night", home / "results", None))
    assert known is not None
    likely = {**OWN, "rate": {"scale": "log", "low": 1e-3, "high": 1.0, "likely": 0.5}}
    known.check("night", "sweep", {"space": space_of(likely), "train": "m:train"})


def test_a_launch_that_is_refused_leaves_the_study_that_is_there_as_it_was(client: TestClient, home: Path) -> None:
    diary(home / "results", space=space_of(OWN)).close()
    folder = home / "results" / "night"
    (folder / "space.toml").write_text("# as it was")
    (folder / LAUNCH).write_text('{"by": "ada"}')
    refused = put(client, "night", THERE)
    assert refused.status_code == 409
    assert "full of moths" in refused.json()["why"]
    assert (folder / "space.toml").read_text() == "# as it was"
    assert read_launch(folder) == {"by": "ada"}


@pytest.mark.parametrize(
    ("allowance", "word"), [(Allowance(steps=1000), "steps"), (Allowance(trials=0), "trial")], ids=["steps", "trials"]
)
def test_a_budget_holds_for_babysat_runs(home: Path, allowance: Allowance, word: str) -> None:
    place = Place.of("one", home / "results", None)
    with pytest.raises(OverBudget, match=word):
        launch_run(place, allowance, by="agent:ada", why="to see", home=home / "projects", given={})
    assert not place.folder.exists()


@pytest.mark.long
def test_a_run_and_a_sweep_are_begun_from_far_away(home: Path) -> None:
    with connected(home / "results", projects=home / "projects") as there:
        space = home / "space.json"
        space.write_text(as_json(OWN))
        swept = there.sweep("mine:train", space, name="night", objective="score", executor="local", trials=1)
        with there.babysit("mine:crawl", {"rate": 0.25}, name="one", objective="score", executor="local") as run:
            assert run.set(rate=0.5, why="bolder").state == "applied"
            assert run.stop("seen").state in ("applied", "accepted")
        wait_until(lambda: there.open("night").best is not None)
        assert (swept.name, swept.study.space) == ("night", space_of(OWN))


def test_what_may_not_be_begun_far_away_is_the_error_that_it_is_at_home(home: Path) -> None:
    diary(home / "results", space=space_of(OWN)).close()
    with connected(home / "results", projects=home / "projects") as there:
        with pytest.raises(IdentityMismatch, match="another objective"):
            there.sweep("m:train", space_of(OWN), name="night", objective="loss", goal="minimize", sampler="random")
        with pytest.raises(SettingsError, match="nonsense"):
            there.babysit("mine:crawl", {"rate": 0.1}, name="one", objective="score", nonsense=1)
        with pytest.raises(SpaceError, match="no space"):
            there.babysit("mine:crawl", name="one", objective="score", space="adan")
        with pytest.raises(StudyError, match="launched here"):
            there.babysit("os:system", {"rate": 0.1}, name="one", objective="score")
    assert [each.name for each in (home / "results").iterdir() if each.is_dir()] == ["night"]
