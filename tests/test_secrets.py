"""What the environment keeps secret stands in no byte that tuner leaves: no record, no log, no table, no output."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import PATIENCE_S, wait_until

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-cloud-0b6c55a1",
    "PGPASSWORD": "canary-of-the-database-77e2d9",
    "RAY_AUTH_TOKEN": "canary-of-the-cluster-41f0aa93",
    "TUNER_TOKEN": "canary-of-the-operator-5e9c0d2b8f61a7430c",
    "TUNER_VIEWER_TOKEN": "canary-of-the-viewer-9d31c7e05b2a86f4e1",
    "WANDB_API_KEY": "canary-of-the-tracker-c2b8e6",
}
STORE = "postgresql://ann:canary-of-the-url-aa91@127.0.0.1:1/lab"
CANARY = b"canary-of-"

# It holds its secrets where a traceback with locals would show them, and says none of them itself.
TRAINING = """
import os
import numpy as np
import tuner


class Network:
    def __init__(self):
        self.weights = np.zeros(3)

    def state_dict(self):
        return {"weights": self.weights}

    def load_state_dict(self, state):
        self.weights = state["weights"]


def train(run):
    secrets = {name: value for name, value in os.environ.items() if "canary" in value}
    assert len(secrets) >= 3
    run.state(Network())
    for step in run.steps(3):
        run.report(score=step + run.params["rate"])
    print("trained")
    if run.params["rate"] > 0.5:
        raise ValueError(f"a failure beside {len(secrets)} secrets")
"""

PROGRAM = """
import os, sys
secrets = {name: value for name, value in os.environ.items() if "canary" in value}
assert len(secrets) >= 3
print("score=0.5")
if float(sys.argv[1]) > 0.5:
    raise ValueError(f"a failure beside {len(secrets)} secrets")
"""

SWEEPS = """
import sys
import tuner
from tuner import Space, choice
import mine

space = Space(rate=choice(0.1, 0.9))
given = dict(objective="score", sampler="grid", trials=2, failures_in_a_row=9, checkpoint_every_s=0)
for name, train, executor in [
    ("here", mine.train, "local"),
    ("by_value", lambda run: mine.train(run), "local"),
    ("program", tuner.command(f"{sys.executable} program.py {{rate}}", metric="score=([0-9.]+)"), "local"),
    ("spread", mine.train, "ray"),
]:
    if executor in sys.argv[1:]:
        more = {"address": "local"} if executor == "ray" else {}
        study = tuner.sweep(train, space, name=name, executor=executor, **given, **more)
        assert sorted(study.trials["state"]) == ["completed", "failed"], study.trials["why"].tolist()
        study.export("jsonl")
        print(study, study.traceback(study.trials.query("state == 'failed'")["trial"].item()))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a training function and a program, which work beside secrets."""
    for name, text in (("mine.py", TRAINING), ("program.py", PROGRAM), ("sweeps.py", SWEEPS)):
        (tmp_path / name).write_text(text)
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    return os.environ | SECRETS | {"TUNER_OUTPUT": "text", "RAY_AUTH_MODE": "disabled"} | more


def run(home: Path, *words: str, **more: str) -> bytes:
    """What a process with these secrets says, which ends by itself."""
    command = [sys.executable, *words]
    ended = subprocess.run(command, cwd=home, env=environment(**more), capture_output=True, timeout=240)
    assert ended.returncode in (0, 1, 2), ended.stderr.decode()[-3000:]
    assert b"Traceback (most recent call last)\n  File" not in ended.stderr
    return ended.stdout + ended.stderr


def telltales(folder: Path) -> list[str]:
    """The files below a folder that hold a secret, and the words around it."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if (at := content.find(CANARY)) >= 0:
                found.append(f"{path}: {content[max(0, at - 80) : at + 20]!r}")
    return found


def test_a_sweep_leaves_no_secret_in_its_records_logs_tables_tracebacks_or_output(home: Path) -> None:
    told = run(home, "sweeps.py", "local")
    assert b"a failure beside 6 secrets" in told
    assert CANARY not in told
    assert {path.name for path in (home / "results").iterdir()} == {"here", "by_value", "program"}
    assert telltales(home) == []


@pytest.mark.long
def test_the_password_of_a_database_stands_in_no_refusal(home: Path) -> None:
    sweep = ("-m", "tuner", "sweep", "mine:train", "--space", "sgd_momentum", "--name", "s", "--objective", "score")
    for words in ((*sweep, "--store", STORE), ("-m", "tuner", "show", "s", "--store", STORE)):
        told = run(home, *words)
        assert b"127.0.0.1" in told
        assert CANARY not in told
    told = run(home, "-m", "tuner", "ls", TUNER_STORE=STORE)
    assert CANARY not in told
    assert telltales(home) == []


@pytest.fixture
def logs_of_ray() -> Iterator[Path]:
    """Where Ray leaves its logs; the path is short, since its sockets lie there too."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.ray
@pytest.mark.long
def test_a_sweep_through_ray_leaves_no_secret_either(home: Path, logs_of_ray: Path) -> None:
    told = run(home, "sweeps.py", "ray", RAY_TMPDIR=str(logs_of_ray))
    assert b"a failure beside" in told
    assert CANARY not in told
    assert telltales(home) == []
    assert list(logs_of_ray.rglob("*.log"))
    assert telltales(logs_of_ray) == []


@pytest.mark.long
def test_a_service_and_what_it_launches_leave_no_secret_either(home: Path) -> None:
    import httpx2

    words = ["-m", "tuner", "serve", "--port", "0", "--projects", str(home), "--results", str(home / "results")]
    with (home / "service.log").open("wb") as log:
        service = subprocess.Popen([sys.executable, *words], cwd=home, env=environment(), stdout=log, stderr=log)
    try:
        wait_until(lambda: b"works once" in (home / "service.log").read_bytes())
        port = re.findall(r"http://127\.0\.0\.1:(\d+)", (home / "service.log").read_text())[0]
        headers = {"authorization": f"Bearer {SECRETS['TUNER_TOKEN']}"}
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=PATIENCE_S) as client:

            def answers(path: str) -> bool:
                try:
                    return client.get(path).status_code == 200
                except httpx2.TransportError:
                    return False

            wait_until(lambda: answers("/v1/studies"))
            body = {"train": "mine:train", "space": {"rate": {"choice": [0.1, 0.9]}}, "objective": "score", "trials": 2}
            body |= {"executor": "local", "sampler": "grid"}
            begun = client.put("/v1/studies/over", json=body)
            assert begun.status_code == 201, begun.text
            wait_until(lambda: client.get("/v1/studies/over").json().get("ended") == 2)
            for path in ("/", "/studies/over", "/studies/over/trials/1", "/v1/studies/over/trials/1"):
                assert CANARY not in client.get(path).content
    finally:
        service.terminate()
        service.wait(60)
    assert telltales(home) == []
