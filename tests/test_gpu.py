"""Training on a GPU through Ray: shared, filled, freed, saved, gone back to, killed. Runs where PyTorch sees one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import waiting

import tuner
from tuner import Space, log
from tuner.errors import StudyError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install torch")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.ray,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]

SPACE = Space(learning_rate=log(1e-3, 0.1))
STEPS = 30

JOB = '''
import os, signal, time
from pathlib import Path

import torch

HOME = Path.cwd()


def train(run, step_s=0.02, at_step=lambda step: None):
    """A small network that fits a fixed function, all of it on the GPU; its weights are told by their sum."""
    torch.manual_seed(run.seed)
    gpu = torch.device("cuda")
    x = torch.linspace(-3, 3, 256, device=gpu)[:, None]
    network = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)).to(gpu)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    run.state(network, optimizer)
    for step in run.steps(30):
        optimizer.param_groups[0]["lr"] = run.params["learning_rate"]
        loss = ((network(x) - torch.sin(x)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(step_s)
        at_step(step)
        weights = sum(float(each.detach().double().sum()) for each in network.parameters())
        run.report(score=-float(loss), weights=weights, gpus=torch.cuda.device_count(), process=os.getpid())


def kills_its_worker_once(run):
    def at_step(step):
        if step == 20 and not (HOME / "killed").exists():
            (HOME / "killed").touch()
            time.sleep(0.5)  # what was trained so far is on record
            os.kill(os.getpid(), signal.SIGKILL)

    train(run, at_step=at_step)


def fills_the_gpu_once(run):
    """One trial asks for more than any GPU has; the others say what the process held when they began."""
    held_before = torch.cuda.memory_reserved()
    if not (HOME / "filled").exists():
        (HOME / "filled").touch()
        held = [torch.ones(2**28, dtype=torch.uint8, device="cuda")]
        held.append(torch.empty(2**45, dtype=torch.uint8, device="cuda"))
    for _ in run.steps(2):
        run.report(score=1.0, held_before=held_before, process=os.getpid())


def holds_much(run):
    """A quarter of a gibibyte of weights, which hang together in a circle."""
    held_before = torch.cuda.memory_reserved()
    network = torch.nn.Linear(8192, 8192, bias=False, device="cuda")
    network.itself = [network]
    run.state(network)
    for _ in run.steps(2):
        run.report(score=1.0, held_before=held_before, process=os.getpid())
'''


@pytest.fixture(autouse=True)
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gpu_job.py").write_text(JOB)
    monkeypatch.chdir(tmp_path)


def swept(folder: Path, name: str, train: str = "train", **more: object) -> tuner.Study:
    """The study of a sweep that another process, with a Ray of its own, has led to its end."""
    given = {"trials": 2, "parallel": 2, "gpus": 0.5, "stopping": "off", "checkpoint_every_s": 0, **more}
    code = f"""
import tuner
from tuner import Space, log
tuner.sweep("gpu_job:{train}", Space(learning_rate=log(1e-3, 0.1)), name="{name}", objective="score", address="local",
            sampler="random", progress="off", **{given!r})
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=170)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return tuner.open(name, results=folder / "results")


def test_two_trials_share_a_gpu(tmp_path: Path) -> None:
    study = swept(tmp_path, "shared")
    assert study.trials["state"].tolist() == ["completed"] * 2
    reports = study.reports
    assert set(reports.query("name == 'gpus'")["value"]) == {1}
    assert reports.query("name == 'process'")["value"].nunique() == 2
    first, second = (reports.query("trial == @trial")["at"] for trial in (0, 1))
    assert max(first.min(), second.min()) < min(first.max(), second.max())


def test_a_trial_that_runs_out_of_gpu_memory_has_failed_and_the_next_one_trains(tmp_path: Path) -> None:
    study = swept(tmp_path, "filled", train="fills_the_gpu_once", trials=3, parallel=1, gpus=1)
    assert study.trials["state"].tolist() == ["failed", "completed", "completed"]
    assert study.trials["why"][0].startswith("out of GPU memory: OutOfMemoryError: CUDA out of memory")
    assert set(study.reports.query("name == 'held_before'")["value"]) == {0.0}


def test_what_a_trial_held_on_a_gpu_is_free_before_the_next_begins(tmp_path: Path) -> None:
    study = swept(tmp_path, "freed", train="holds_much", trials=3, parallel=1, gpus=1)
    assert study.trials["state"].tolist() == ["completed"] * 3
    reports = study.reports
    assert reports.query("name == 'process'")["value"].nunique() == 1
    assert set(reports.query("name == 'held_before'")["value"]) == {0.0}


def test_more_gpus_than_there_are_is_refused_in_a_sentence(tmp_path: Path) -> None:
    there = torch.cuda.device_count()
    code = 'import tuner; tuner.sweep("gpu_job:train", "adam", name="s", objective="score", address="local", gpus=64)'
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=170)
    assert ended.returncode != 0
    assert f"64 GPU a trial, the largest node has {there}" in ended.stderr


def test_a_killed_worker_on_a_gpu_costs_no_bit(tmp_path: Path) -> None:
    undisturbed = swept(tmp_path, "undisturbed", trials=1, parallel=1, gpus=1)
    killed = swept(tmp_path, "killed", train="kills_its_worker_once", trials=1, parallel=1, gpus=1)
    assert killed.segments["cause"].tolist() == ["start", "retry"]
    assert killed.segments["from_step"].tolist()[1] > 0
    one, other = (weights_of(study) for study in (undisturbed, killed))
    assert len(one) == STEPS
    assert one == other


def test_a_babysat_run_on_a_gpu_goes_back_to_where_it_was(tmp_path: Path) -> None:
    handle = tuner.babysit(
        "gpu_job:train",
        {"learning_rate": 0.05},
        name="one",
        objective="score",
        space=SPACE,
        gpus=1,
        address="local",
        results=tmp_path / "results",
    )
    try:
        handle.pause("a look")
        wait_until(handle, lambda study: study.state.trials[0].state == "paused")
        stood = handle.study.state.trials[0].steps
        handle.set(learning_rate=0.09, why="a hunch")
        handle.step(5)
        wait_until(handle, lambda study: study.state.trials[0].steps == stood + 5)
        handle.revert(step=stood, why="worse")
        handle.resume()
        wait_until(handle, lambda study: study.state.trials[0].ended)
        study = handle.study
        causes, weights = study.segments["cause"].tolist(), weights_of(study)
        seed = study.state.trials[0].seed
        study.close()
    finally:
        with contextlib.suppress(StudyError):  # it is over, as a rule
            handle.stop("the test failed")
        handle.close()
    assert causes == ["start", "adjust", "revert"]
    straight = tuner.Run({"learning_rate": 0.05}, seed=seed)
    job: dict[str, Any] = {}
    exec(compile(JOB, "gpu_job.py", "exec"), job)
    job["train"](straight, step_s=0.0)
    assert weights == [report.scores["weights"] for report in straight.reports]


def weights_of(study: tuner.Study) -> list[float]:
    weights: list[float] = study.reports.query("name == 'weights' and head")["value"].tolist()
    return weights


def wait_until(handle: tuner.RunHandle, holds: Callable[[tuner.Study], bool]) -> None:
    waiting.wait_until(lambda: _holds(handle, holds), look_every_s=0.1)


def _holds(handle: tuner.RunHandle, holds: Callable[[tuner.Study], bool]) -> bool:
    with closing(handle.study) as study:
        return bool(study.state.trials) and holds(study)


def test_the_example_in_pytorch_trains_on_the_gpu(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install scikit-learn")
    tuner_of_this_python = [sys.executable, "-m", "tuner"]
    where = Path(__file__).parents[1]
    command = [
        *tuner_of_this_python,
        "sweep",
        "examples.torch_digits:train",
        "--space",
        "sgd_momentum",
        "--trials",
        "8",
        "--gpus",
        "0.5",
        "--objective",
        "dev_accuracy",
        "--name",
        "digits",
        "--results",
        str(tmp_path / "results"),
    ]
    ended = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=170, env=os.environ.copy())
    assert ended.returncode == 0, ended.stderr[-3000:]
    study = tuner.open("digits", results=tmp_path / "results")
    assert study.best is not None
    assert study.best.score > 0.9
