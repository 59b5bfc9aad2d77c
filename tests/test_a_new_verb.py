"""A verb that is added to tuner is written in three places, and is then there in Python, the shell and the room.

They are three also where it takes a decision and something that no worker could do before: both stand in one file.
"""

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
# What becomes of it: the worker is told something that it can do already, or the act that stands beside the decision.
BY_WHAT_THERE_IS = (
    "panda/requests.py",
    '            case "checkpoint":',
    """            case "cheer":
                kind = given["times"] * ("HURRAY" if given.get("loudly") else "hurray")
                return Save(trial=number, kind=kind, request=name)
""",
)
BY_A_NEW_ACT = (
    "panda/requests.py",
    "# ── what the worker does",
    """def cheer(trial: Actor, given: Mapping[str, Any]) -> str:
    if not trial.done:
        raise Refused("there is nothing to cheer for")
    return given["times"] * ("HURRAY" if given.get("loudly") else "hurray")


""",
)
AND_ITS_DECISION = (
    "panda/requests.py",
    '            case "checkpoint":',
    """            case "cheer":
                if given["times"] > 9:
                    raise Refused(f"after {len(study.checkpoints)} checkpoints nobody cheers that much")
                return AsAsked(trial=number, request=name, verb="cheer", arguments=given, act=_name_of(cheer))
""",
)

ASKED = """
from pathlib import Path

import tuner
from babysat import at_home, steps_of
from tuner.cli import main
from tuner.room.dispatch import carry_out
from tuner.room.language import guide, read
from waiting import wait_until


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
        wait_until(lambda: steps_of(run) > 0)
        print(run.cheer(2, "why not"))
        try:
            print(run.cheer(10))
        except tuner.TunerError as error:
            print(error)
        shell("cheer", "one", "3", "--loudly", "--why", "why not")
        shell("cheer", "one", "0")
        carry_out(read("cheer 1 loudly why: why not", "one")[0], run, 0)
        print("cheers for the model" in guide())
        study = run.study
        print(study.requests[["verb", "state", "why"]].to_numpy().tolist())
        print(study.checkpoints["kind"].tolist())
        study.close()
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "becomes", [[BY_WHAT_THERE_IS], [BY_A_NEW_ACT, AND_ITS_DECISION]], ids=["what there is", "a new act, decided upon"]
)
def test_a_new_verb_is_written_in_three_places(tmp_path: Path, becomes: list[tuple[str, str, str]]) -> None:
    shutil.copytree(ROOT / "tuner", tmp_path / "tuner", ignore=shutil.ignore_patterns("__pycache__"))
    changes = (DECLARED, IN_PYTHON, *becomes)
    assert len({file for file, _, _ in changes}) == 3
    for file, before, text in changes:
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
    python, too_much, in_shell, code, refused, in_guide, requests, kinds = told.stdout.splitlines()
    assert (python.split(":")[0], python.split()[1]) == ("cheer", "applied")
    assert (code, refused, in_guide) == ("exit 0", "exit 2", "True")
    asked_for = [["cheer", "applied", "why not"]] * 3
    asked_for.insert(1, ["cheer", "applied" if len(becomes) == 1 else "rejected", ""])
    assert requests == str(asked_for)
    assert ("refused to cheer: after 0 checkpoints" in too_much) == (len(becomes) == 2)
    did = f"{python} {in_shell} {kinds}"
    assert "hurrayhurray" in did
    assert "HURRAYHURRAYHURRAY" in did
