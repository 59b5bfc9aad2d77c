"""A verb that is added to tuner is written in three places, and is then there in Python, the shell and the room."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT

# What it takes and how it is written: for whoever asks, answers, reads and completes.
DECLARED = (
    "record/requests.py",
    '    "stop": Verb(',
    """    "cheer": Verb(
        takes={"times": count, "loudly": optional(flag)},
        example="cheer 3",
        meaning="cheers for the model",
        words=("times",),
        needs=1,
        wants="a whole number of cheers",
        flags={"loudly": "for all to hear"},
        shell=Shell(
            help="Cheer for a babysat run.",
            example="tuner cheer one 3",
            words={"times": Word(kind="count")},
            options={"loudly": Word(kind="flag", help="For all to hear.")},
        ),
    ),
""",
)
IN_PYTHON = (
    "api/handles.py",
    "    @checked()\n    def undo(",
    """    @checked()
    def cheer(self, times: int, why: str = "", *, loudly: bool = False, timeout_s: float | None = None) -> Reply:
        return self._ask("cheer", {"times": times, "loudly": loudly}, why, timeout_s=timeout_s)

""",
)
# Either of these: the worker does as it was asked, or the policy tells it something that it can do already.
BY_THE_WORKER = (
    "worker/commands.py",
    '            case "extend":',
    """            case "cheer":
                self._position.did(request, given["times"] * ("HURRAY" if given.get("loudly") else "hurray"))
""",
)
BY_THE_POLICY = (
    "panda/requests.py",
    '            case "checkpoint":',
    """            case "cheer":
                kind = given["times"] * ("HURRAY" if given.get("loudly") else "hurray")
                return Save(trial=number, kind=kind, request=name)
""",
)

ASKED = """
from pathlib import Path

import tuner
from babysat import at_home
from tuner.cli import main
from tuner.room.dispatch import carry_out
from tuner.room.language import guide, read


class State:
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def train(run):
    run.state(State())
    for step in run.steps(1_000_000):
        run.report(score=1.0)


def shell(*words):
    try:
        main(words)
    except SystemExit as end:
        print("exit", end.code)


with at_home(Path("results")):
    with tuner.babysit(train, {"rate": 1.0}, name="one", objective="score", executor="local", results="results") as run:
        print(run.cheer(2, "why not"))
        shell("cheer", "one", "3", "--loudly", "--why", "why not")
        shell("cheer", "one", "0")
        carry_out(read("cheer 1 loudly why: why not", "one")[0], run, 0)
        print("cheers for the model" in guide())
        study = run.study
        print(study.requests[["verb", "state", "why"]].to_numpy().tolist())
        print(study.checkpoints["kind"].tolist())
        study.close()
"""


@pytest.mark.parametrize("place", [BY_THE_WORKER, BY_THE_POLICY], ids=["by the worker", "by the policy"])
def test_a_new_verb_is_written_in_three_places(tmp_path: Path, place: tuple[str, str, str]) -> None:
    shutil.copytree(ROOT / "tuner", tmp_path / "tuner", ignore=shutil.ignore_patterns("__pycache__"))
    for file, before, text in (DECLARED, IN_PYTHON, place):
        written = (tmp_path / "tuner" / file).read_text()
        assert before in written, f"{before} is no longer in {file}"
        (tmp_path / "tuner" / file).write_text(written.replace(before, text + before, 1))
    (tmp_path / "asks.py").write_text(ASKED)
    path = os.pathsep.join([str(tmp_path), str(ROOT / "tests")])
    asked = [sys.executable, "asks.py"]
    environment = {**os.environ, "PYTHONPATH": path}
    told = subprocess.run(
        asked, cwd=tmp_path, env=environment, timeout=120, check=False, capture_output=True, text=True
    )

    assert told.returncode == 0, told.stderr
    python, in_shell, code, refused, in_guide, requests, kinds = told.stdout.splitlines()
    assert (python.split(":")[0], python.split()[1]) == ("cheer", "applied")
    assert (code, refused, in_guide) == ("exit 0", "exit 2", "True")
    assert requests == str([["cheer", "applied", "why not"]] * 3)
    did = f"{python} {in_shell} {kinds}"
    assert "hurrayhurray" in did
    assert "HURRAYHURRAYHURRAY" in did
