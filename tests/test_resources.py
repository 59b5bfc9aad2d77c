"""What a trial takes of a node, what its worker is given there, and what of that stands on record."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import clusters
import pytest

import tuner
from tuner import Run, Space, Study, log
from tuner.api.environment import KEPT_OUT, as_it_was, as_recorded, remember
from tuner.api.placement import shared_out
from tuner.cli.options import made_ready
from tuner.errors import ExecutorError, SettingsError
from tuner.executors.resources import Resources

SPACE = Space(learning_rate=log(1e-4, 0.5))
TOKEN = "hf_" + "abcDEF123" * 3


def sweep(
    folder: Path, address: str = "local", function: Any = "tuner.workloads.bowl:objective", **given: Any
) -> Study:
    options = {"name": "s", "objective": "score", "trials": 2, "stopping": "off", "sampler": "random", **given}
    return tuner.sweep(function, SPACE, address=address, results=folder / "results", progress="off", **options)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in: where code lies, a cluster is sent all of it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ── what fits ───────────────────────────────────────────────────────────────────────────────────


def test_a_trial_lives_on_one_node() -> None:
    nodes = [{"CPU": 2.0}, {"CPU": 2.0}]
    assert sum(map(Resources(cpus=2).on, nodes)) == 2
    assert sum(map(Resources(cpus=3).on, nodes)) == 0


def test_a_share_of_a_gpu_lies_within_one() -> None:
    assert Resources(gpus=0.4).on({"CPU": 8, "GPU": 2}) == 4
    assert Resources(gpus=0.1).on({"CPU": 80, "GPU": 1}) == 10
    assert Resources(gpus=2).on({"CPU": 8, "GPU": 3}) == 1


def test_what_is_there_but_nowhere_together_is_said_so() -> None:
    nodes = [{"CPU": 2.0, "GPU": 1.0}, {"CPU": 2.0, "licence": 1.0}]
    told = Resources(gpus=0.5, others={"licence": 1}).beside(nodes)
    assert "0.5 GPU a trial, the largest node has 1" in told
    assert told.endswith("no single node has all of it")
    assert "single" not in Resources(gpus=4).beside(nodes)


def test_what_is_said_of_cpus_and_gpus_twice_must_agree() -> None:
    assert shared_out(1, 0, {"CPU": 2, "GPU": 0.5}) == (2, 0.5, {})
    assert shared_out(2, 0, {"CPU": 2}) == (2, 0, {})
    with pytest.raises(SettingsError, match=r"cpus=3 .*'CPU': 2"):
        shared_out(3, 0, {"CPU": 2})


@pytest.mark.parametrize(
    ("resources", "word"),
    [({"gpu": 1}, "'GPU'"), ({"GPU": 1.5}, "whole number"), ({"licence": -1}, "licence"), ({"a": 1e-6}, "0.0001")],
)
def test_resources_that_make_no_sense_are_refused_before_anything_starts(
    elsewhere: Path, resources: dict[str, float], word: str
) -> None:
    with pytest.raises(SettingsError, match=word):
        sweep(elsewhere, resources=resources)
    assert not (elsewhere / "results").exists()


# ── what workers are given ──────────────────────────────────────────────────────────────────────


def test_what_looks_like_a_secret_is_kept_out_of_the_record() -> None:
    kept = {"OMP_NUM_THREADS": "4", "CUDA_HOME": "/usr/local/cuda", "TOKENIZERS_PARALLELISM": "false", "MONKEY": "x"}
    secret = {
        "HF_TOKEN": "x",
        "WANDB_API_KEY": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "db_password": "x",
        "INDEX": "https://me:word@pypi.example.com/simple",
        "LOGIN": TOKEN,
        "HASH": "0123456789abcdef" * 2,
    }
    found = as_recorded({"env_vars": {**kept, **secret}, "pip": ["a", "b @ https://me:word@host/b.whl"]})
    assert found == {"env_vars": {**kept, **dict.fromkeys(secret, KEPT_OUT)}, "pip": ["a", KEPT_OUT]}


def test_a_secret_comes_back_from_whoever_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"env_vars": {"A": "1", "B_TOKEN": TOKEN}}
    recorded = as_recorded(given)
    monkeypatch.delenv("B_TOKEN", raising=False)
    with pytest.raises(SettingsError, match=r"B_TOKEN.*no record holds"):
        as_it_was(recorded, tmp_path)
    monkeypatch.setenv("B_TOKEN", "another")
    assert as_it_was(recorded, tmp_path) == {"env_vars": {"A": "1", "B_TOKEN": "another"}}
    remember(tmp_path, given)
    assert as_it_was(recorded, tmp_path) == given
    with pytest.raises(SettingsError, match="password"):
        as_it_was(as_recorded({"working_dir": "https://me:word@host/code.zip"}), tmp_path)


def test_what_no_environment_has_is_refused_with_the_word_that_is_meant(elsewhere: Path) -> None:
    with pytest.raises(SettingsError, match="env_vars"):
        sweep(elsewhere, runtime_env={"env_var": {"A": "1"}})
    with pytest.raises(SettingsError, match="must be a text, got int") as refusal:
        sweep(elsewhere, runtime_env={"env_vars": {"PASSWORD": 12345}})
    assert "12345" not in str(refusal.value)
    with pytest.raises(SettingsError, match=r'runtime_env is for workers of Ray.*"local"'):
        sweep(elsewhere, runtime_env={"env_vars": {"A": "1"}}, executor="local")


def test_the_shell_takes_variables_from_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import click

    from tuner.cli.starting import sweep as verb

    def read(*words: str) -> dict[str, Any]:
        return verb.make_context("sweep", ["a.b:c", "--space", "adam", *words]).params

    monkeypatch.setenv("B_TOKEN", TOKEN)
    (tmp_path / "env.toml").write_text('working_dir = "src"\n[env_vars]\nA = "0"\nC = "3"\n')
    given = read("--env", "A=1", "--env", "B_TOKEN", "--runtime-env", str(tmp_path / "env.toml"))
    assert made_ready(given) == {"working_dir": "src", "env_vars": {"A": "1", "B_TOKEN": TOKEN, "C": "3"}}
    assert made_ready(read()) is None
    assert read("--resources", "licence=1,memory=8e9")["resources"] == {"licence": 1, "memory": 8e9}
    for words in (
        ("--env", "NOT_SET"),
        ("--runtime-env", "{1"),
        ("--runtime-env", "none.json"),
        ("--resources", "a=b"),
    ):
        with pytest.raises(click.BadParameter):
            read(*words)


# ── on a cluster ────────────────────────────────────────────────────────────────────────────────


def shows_what_it_has(run: Run) -> None:
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpus = [each for each in shown.split(",") if each]
    for _ in run.steps(2):
        time.sleep(0.2)
        run.report(
            score=1.0,
            gpus=len(gpus),
            first=float(gpus[0]) if gpus else -1.0,
            given=float(os.environ.get("GIVEN", "-1")),
            token=float(os.environ.get("B_TOKEN") == TOKEN),
        )


def reported(study: Study, name: str) -> set[float]:
    return set(study.reports.query("name == @name")["value"])


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_a_trial_takes_what_the_cluster_calls_its_own_and_its_worker_is_given_what_it_needs(
    cluster: str, elsewhere: Path
) -> None:
    environment = {"env_vars": {"GIVEN": "7", "B_TOKEN": TOKEN}}
    with sweep(elsewhere, cluster, shows_what_it_has, resources={"licence": 1}, runtime_env=environment) as study:
        assert study.state.options["parallel"] is None
        assert len({study.state.trials[each].node for each in (0, 1)}) == 1
        assert (reported(study, "given"), reported(study, "token")) == ({7.0}, {1.0})
        first, second = (study.reports.query("trial == @each")["at"] for each in (0, 1))
        assert first.max() < second.min() or second.max() < first.min(), "there is one licence: one at a time"
    on_disk = b"".join(each.read_bytes() for each in (elsewhere / "results").rglob("*") if each.is_file())
    assert b"GIVEN" in on_disk
    assert b"B_TOKEN" in on_disk
    assert TOKEN.encode() not in on_disk
    with pytest.raises(ExecutorError, match="2 licence a trial, the largest node has 1"):
        sweep(elsewhere, cluster, name="refused", resources={"licence": 2})


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_training_finds_its_code_and_its_data_in_the_folder_that_it_is_given(
    cluster: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "src").mkdir()
    code = "from pathlib import Path\ndef train(run): run.report(score=float(Path('data.txt').read_text()))\n"
    (elsewhere / "src" / "in_a_folder.py").write_text(code)
    (elsewhere / "src" / "data.txt").write_text("42")
    monkeypatch.syspath_prepend(elsewhere / "src")
    with sweep(elsewhere, cluster, "in_a_folder:train", runtime_env={"working_dir": "src"}) as study:
        assert study.trials["objective"].tolist() == [42.0, 42.0]


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_gpus_are_shared_or_taken_whole_and_what_lies_on_no_single_node_is_refused(elsewhere: Path) -> None:
    nodes: list[dict[str, Any]] = [{"num_cpus": 2, "num_gpus": 2}, {"num_cpus": 2, "resources": {"my_thing": 2}}]
    with clusters.running(1, nodes=nodes) as address:
        half = {"CPU": 0.5, "GPU": 0.5}
        with sweep(elsewhere, address, shows_what_it_has, name="half", trials=4, resources=half) as study:
            assert reported(study, "gpus") == {1.0}
            assert reported(study, "first") <= {0.0, 1.0}
        with sweep(elsewhere, address, shows_what_it_has, name="both", gpus=2) as study:
            assert reported(study, "gpus") == {2.0}
        with pytest.raises(ExecutorError, match="no single node has all of it"):
            sweep(elsewhere, address, name="scattered", resources={"CPU": 1, "GPU": 0.5, "my_thing": 1})
        with pytest.raises(ExecutorError, match="3 CPU a trial, the largest node has 2"):
            sweep(elsewhere, address, name="wide", cpus=3)
        with pytest.raises(ExecutorError, match="1000 TB of memory a trial"):
            sweep(elsewhere, address, name="huge", resources={"memory": 1e15})
