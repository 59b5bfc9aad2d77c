"""A sweep that is submitted as a job of a Ray cluster trains there, with the code of the job, and goes on after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import clusters
import pytest
from waiting import study_once, wait_until

import tuner
from tuner import Space, log
from tuner.api.placement import cluster as cluster_meant
from tuner.errors import SettingsError

BIN = Path(sys.executable).parent
SPACE = Space(learning_rate=log(1e-4, 0.5))
TRAINING = """
import time
from pathlib import Path

GATE = Path({gate!r})


class Count:
    steps = 0

    def state_dict(self):
        return {{"steps": self.steps}}

    def load_state_dict(self, saved):
        self.steps = saved["steps"]


def train(run):
    count = Count()
    run.state(count)
    for step in run.steps(200):
        assert count.steps == step
        count.steps += 1
        time.sleep(0 if GATE.exists() else 0.5)
        run.report(score=run.params["learning_rate"] * step)
"""


def told(**runtime_env: Any) -> str:
    """What Ray tells a job of itself."""
    return json.dumps({"runtime_env": runtime_env, "metadata": {"job_submission_id": "raysubmit_1"}})


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a job with a working directory stands in."""
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", told(working_dir="gcs://_ray_pkg_1.zip"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep(**given: Any) -> tuner.Study:
    usual = {"name": "s", "objective": "score", "trials": 2, "stopping": "off", "sampler": "random", "progress": "off"}
    return tuner.sweep("training_of_a_job:train", SPACE, **{**usual, **given})


def test_a_job_that_names_no_cluster_means_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster_meant(None) is None
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", told())
    assert cluster_meant(None) == "auto"
    assert cluster_meant("local") == "local"


def test_a_study_that_would_go_with_the_jobs_own_folder_is_refused(job: Path) -> None:
    with pytest.raises(SettingsError, match=r"Ray clears.*--results"):
        sweep()
    with pytest.raises(SettingsError, match=r"Ray clears.*--results"):
        tuner.babysit("tuner.workloads.bowl:train", {}, name="one", objective="score")
    assert not (job / "results").exists()


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_a_job_trains_on_its_cluster_with_the_code_that_it_brings(
    cluster: str, job: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job / "training_of_a_job.py").write_text(TRAINING.format(gate=str(job)))
    monkeypatch.syspath_prepend(job)
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", told(working_dir=str(job)))
    with closing(sweep(results=tmp_path_factory.mktemp("shared"))) as study:
        assert study.trials["state"].tolist() == ["completed"] * 2
        assert study.state.options["address"] == "auto"


# ── as `ray job submit` does it ─────────────────────────────────────────────────────────────────


class Jobs:
    """The command line of Ray's jobs."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder

    def submit(self, *words: str) -> str:
        """What is said of a job, once the cluster has come so far as to take one."""
        return wait_until(
            lambda: self._said("submit", *words, unless="No available agent"), within_s=240, look_every_s=0.5
        )

    def ask(self, verb: str, job: str) -> str:
        return self._said(verb, job)

    def _said(self, verb: str, *words: str, unless: str = "\0") -> str:
        done = subprocess.run(
            [str(BIN / "ray"), "job", verb, f"--address={self.address}", *words],
            cwd=self.folder,
            env={**os.environ, "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        said = done.stdout + done.stderr
        if unless in said:
            return ""
        assert done.returncode == 0, said
        return said


@pytest.mark.thorough
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_submitted_sweep_that_is_stopped_goes_on_by_the_same_command(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp_cors", reason="ray[default] is not installed")
    gate, results, folder = tmp_path / "gate", tmp_path / "results", tmp_path / "code"
    folder.mkdir()
    (folder / "training_of_a_job.py").write_text(TRAINING.format(gate=str(gate)))
    given = "--space sgd_momentum --name s --objective score --trials 3 --parallel 2 --stopping off --no-plot"
    command = [str(BIN / "tuner"), "sweep", "training_of_a_job:train", *given.split(), f"--results={results}"]
    with clusters.taking_jobs() as address:
        jobs = Jobs(address, folder)
        jobs.submit("--no-wait", "--submission-id=first", "--working-dir=.", "--", *command)
        study_once(lambda study: len(study.reports) > 4, results).close()
        jobs.ask("stop", "first")
        wait_until(lambda: "was stopped" in jobs.ask("status", "first"), look_every_s=0.5)
        gate.touch()
        said = jobs.submit("--submission-id=second", "--working-dir=.", "--", *command)
        assert "succeeded" in said
    with closing(tuner.open("s", results=results)) as study:
        assert study.trials["state"].tolist() == ["completed"] * 3
        heads = study.reports.query("head")
        assert [heads[heads["trial"] == each]["step"].tolist() for each in range(3)] == [list(range(1, 201))] * 3
        assert study.segments["from_step"].max() > 0, "what was trained before the stop was kept"
