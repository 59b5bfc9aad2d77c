from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from babysat import at_home, end_all
from waiting import PATIENCE_S, wait_until
from workplaces import standing_in

import tuner
from tuner.cli import main
from tuner.cli.options import read_changes
from tuner.cli.reading import FORMATS
from tuner.errors import TunerError
from tuner.tables.files import FORMATS as OF_TABLES

TRAINING = """
import time

class Ball:
    def __init__(self):
        self.height = 3.0

    def state_dict(self):
        return {"height": self.height}

    def load_state_dict(self, state):
        self.height = state["height"]

def train(run):
    ball = Ball()
    run.state(ball)
    for step in run.steps(4000):
        time.sleep(0.005)
        ball.height *= 1 - 0.1 * run.params["learning_rate"]
        run.report(score=-ball.height, train_loss=ball.height)

def speaks(run):
    print("training speaks", flush=True)
    train(run)

def brief(run):
    ball = Ball()
    run.state(ball)
    for step in run.steps(20):
        ball.height *= 1 - 0.1 * run.params["learning_rate"]
        run.report(score=-ball.height)

def broken(run):
    for step in run.steps(2):
        run.report(score=1.0)
        raise ValueError("the data is gone")
"""

Shell = Callable[..., tuple[int, str, str]]
LOCAL = ("--executor", "local", "--objective", "score", "--checkpoint-every", "0.2s")


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Path]:
    """A folder with training in it; coordinators get threads here, and every run is ended with the test."""
    with standing_in(tmp_path, TRAINING), at_home(tmp_path / "results"):
        yield tmp_path


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str]) -> Shell:
    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def one(workplace: Path, shell: Shell) -> Path:
    """A run called one that trains for a while; its results folder."""
    words = ("--set", "learning_rate=0.01,beta=0.9", "--space", "sgd_momentum", "--name", "one", "--detach")
    code, out, err = shell("babysit", "my_training:train", *LOCAL, *words)
    assert (code, err) == (0, "")
    assert "one trains, the settings given" in out
    wait_until(lambda: steps(workplace / "results", "one") > 0)
    return workplace / "results"


def steps(results: Path, name: str) -> int:
    with contextlib.suppress(TunerError, IndexError), contextlib.closing(tuner.open(name, results=results)) as study:
        return study.state.trials[0].steps
    return 0


def said(shell: Shell, *words: object) -> Any:
    code, out, err = shell(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_the_example_of_the_help_is_that_of_the_readme_and_trains_long_enough_to_be_steered(shell: Shell) -> None:
    example = shell("babysit", "--help")[1].strip().splitlines()[-1].strip()
    assert example in (Path(__file__).parent.parent / "README.md").read_text().splitlines()
    assert "epochs=10000" in example


def test_how_long_a_run_trained_and_how_it_goes_on_are_told_once_it_is_over(one: Path, shell: Shell) -> None:
    shown = shell("show", "one")[1]
    assert "of training" not in shown
    assert "change it: tuner set one" in shown
    shell("stop", "one")
    wait_until(lambda: "of training, from scratch" in shell("show", "one")[1])
    assert "go on: tuner extend one STEPS" in shell("show", "one")[1]


def test_what_begins_a_run_waits_for_it_no_longer_than_it_is_told(one: Path, shell: Shell) -> None:
    assert said(shell, "checkpoint", "one")["state"] == "applied"
    words = ("--set", "learning_rate=0.01,beta=0.9", "--space", "sgd_momentum", "--detach", "--disk-budget", 0.5)
    begun = {
        "two": ("babysit", "my_training:train", *LOCAL, *words, "--name", "two"),
        "three": ("fork", "one", "--as", "three"),
    }
    for name, begin in begun.items():
        code, _, err = shell(*begin, "--timeout", "0s")
        assert code == 1
        assert f"tuner show {name}" in err
        wait_until(lambda name=name: steps(one, name) > 0)  # type: ignore[misc]
    code, _, err = shell("promote", "two/0", "--as", "four", "--timeout", "soon")
    assert (code, "10m" in err) == (2, True)


# ── a day with a run ────────────────────────────────────────────────────────────────────────────


def test_a_run_is_steered_through_its_day(one: Path, shell: Shell) -> None:
    raised = said(shell, "set", "one", "learning_rate=0.1", "beta=0.95", "--why", "loss falls slowly")
    assert (raised["name"], raised["verb"], raised["state"]) == ("one", "set", "applied")
    assert "learning_rate 0.01 → 0.1, beta 0.9 → 0.95" in raised["answer"]
    assert raised["answer"].endswith(f"step {raised['step']}")

    assert shell("pause", "one", "--why", "lunch")[0] == 0
    standing = steps(one, "one")
    assert said(shell, "step", "one", 5)["step"] == standing + 5
    assert "paused" in said(shell, "show", "one")["run"]["activity"]
    assert said(shell, "checkpoint", "one")["state"] == "applied"
    assert "training goes on" in shell("resume", "one")[1]

    scheduled = said(shell, "schedule", "one", "learning_rate", "cosine", "--over", "2000")
    assert scheduled["state"] == "applied"
    assert said(shell, "set", "one", "beta=0.97", "--at", 3900)["state"] == "accepted"
    assert shell("note", "one", "day 2")[:2] == (0, "one: noted\n")
    wait_until(lambda: steps(one, "one") > scheduled["step"] + 2)
    assert f"back to step {scheduled['step']}" in said(shell, "revert", "one", "--why", "worse")["answer"]
    assert said(shell, "undo", "one")["step"] > scheduled["step"]
    assert said(shell, "revert", "one", "--step", raised["step"], "--keep-settings")["step"] == raised["step"]
    assert said(shell, "extend", "one", 10)["state"] == "applied"

    shown = said(shell, "show", "one")
    assert shown["run"]["step"] >= raised["step"]
    assert [each["cause"] for each in shown["run"]["segments"]][:3] == ["start", "adjust", "adjust"]
    out = shell("show", "one")[1]
    for word in ("one: running", "learning_rate", "1-beta", "adjust by", "loss falls slowly", "pinned", "day 2"):
        assert word in out

    assert "one: the run ended: enough" in shell("stop", "one", "--why", "enough")[1]
    assert said(shell, "ls")[0]["activity"] == "stopped: enough"
    (file,) = said(shell, "export", "one", "--format", "markdown")["files"]
    story = Path(file).read_text()
    for words in ("loss falls slowly", "lunch", "worse", "day 2", "enough", "cosine over 2000 steps"):
        assert words in story


def test_a_run_is_forked_compared_and_both_are_listed(one: Path, shell: Shell) -> None:
    assert shell("checkpoint", "one")[0] == 0
    assert said(shell, "fork", "one", "--set", "learning_rate=0.03", "--as", "bolder")["name"] == "bolder"
    wait_until(lambda: bool(said(shell, "compare", "one", "bolder")["scores"]["bolder"]))
    compared = said(shell, "compare", "one", "bolder")
    assert compared["settings"] == {"one": {"learning_rate": 0.01}, "bolder": {"learning_rate": 0.03}}
    assert len(compared["scores"]["one"]) == len(compared["steps"])
    out = shell("compare", "one", "bolder")[1]
    assert all(word in out for word in ("learning_rate", "0.01", "0.03", "best"))
    assert sorted((each["name"], each["state"]) for each in said(shell, "ls")) == [
        ("bolder", "running"),
        ("one", "running"),
    ]
    assert "step" in shell("ls")[1]
    assert "exists already" in shell("fork", "one", "--as", "bolder")[2]


def test_a_trial_of_a_sweep_is_promoted(workplace: Path, shell: Shell) -> None:
    words = ("--space", "sgd_momentum", "--trials", 2, "--name", "night", "--no-plot", "--stopping", "off")
    assert shell("sweep", "my_training:brief", "--executor", "local", "--objective", "score", *words)[0] == 0
    assert shell("promote", "night")[0] == 2
    promoted = said(shell, "promote", "night/1", "--as", "one")
    assert (promoted["name"], promoted["run"]["parent"]) == ("one", "night/1@20")
    with contextlib.closing(tuner.promote("night", 0, results=workplace / "results")) as handle:
        assert handle.study.state.trials[0].segments[0].by == handle.by
        assert handle.name == "night-0"


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────


def test_what_cannot_be_done_is_refused_in_a_sentence_and_training_goes_on(one: Path, shell: Shell) -> None:
    assert shell("revert", "one")[0] == 1  # nothing has been changed yet
    assert shell("set", "one", "learning_rate=0.02")[0] == 0
    for words, code, sentence in (
        (("set", "one", "learning_rte=0.1"), 1, "Did you mean learning_rate?"),
        (("set", "one", "learning_rate=7"), 1, "must lie from 0.0001 to 1"),
        (("set", "one", "learning_rate"), 2, "Write name=value"),
        (("set", "one", "learning_rate=0.2", "--expect", 0), 1, "has changed since you looked"),
        (("schedule", "one", "learning_rate", "cosine"), 2, "--over STEPS"),
        (("schedule", "one", "learning_rate", "cosinus", "--over", 9), 2, "cosine"),
        (("revert", "one", "--step", 1, "--checkpoint", 0), 2, "give one of them"),
        (("step", "one", 0), 2, "not in the range"),
        (("stop", "one/3"), 2, "one is one babysat run"),
        (("undo", "two"), 1, "there is no study"),
    ):
        got, out, err = shell(*words)
        assert (got, out) == (code, ""), words
        assert sentence in err, words
    before = steps(one, "one")
    wait_until(lambda: steps(one, "one") > before)


def test_a_sweep_is_told_from_a_run(workplace: Path, shell: Shell) -> None:
    words = ("--space", "sgd_momentum", "--trials", 2, "--name", "night", "--no-plot", "--stopping", "off")
    assert shell("sweep", "my_training:brief", "--executor", "local", "--objective", "score", *words)[0] == 0
    code, _, err = shell("set", "night", "learning_rate=0.1")
    assert code == 1
    assert "tuner promote night/TRIAL" in err
    assert shell("pause", "night", "--release")[0] == 2
    code, _, err = shell("export", "night", "--format", "markdown")
    assert code == 1
    assert "is a sweep" in err


def test_settings_outside_the_space_are_refused_before_anything_starts(workplace: Path, shell: Shell) -> None:
    words = ("--space", "sgd_momentum", "--set", "learning_rte=0.1", "--name", "one")
    code, _, err = shell("babysit", "my_training:train", *LOCAL, *words)
    assert code == 2
    assert "Did you mean learning_rate?" in err
    assert not (workplace / "results").exists()


def test_what_the_function_takes_beside_the_space_can_be_set_too(workplace: Path, shell: Shell) -> None:
    words = ("--space", "sgd_momentum", "--set", "learning_rate=0.1,beta=0.9,epochs=5", "--name", "one")
    code, out, err = shell("babysit", "my_training:brief", *LOCAL, *words)
    assert code == 0, err
    assert "learning_rate 0.1, beta 0.9, epochs 5" in out


# ── to the end ──────────────────────────────────────────────────────────────────────────────────


def test_without_a_terminal_a_run_is_followed_in_lines_to_its_end(workplace: Path, shell: Shell) -> None:
    code, out, _ = shell("babysit", "my_training:brief", *LOCAL, "--set", "learning_rate=0.1", "--name", "one")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("one: start at step 0")
    assert "learning_rate 0.1" in lines[0]
    assert lines[-1].startswith("one: step 20, score -2.454")
    assert lines[-1].endswith("completed: trained all 20 steps")
    assert "\x1b" not in out


def test_with_json_it_waits_for_the_end_and_says_one_thing(workplace: Path, shell: Shell) -> None:
    ended = said(shell, "babysit", "my_training:brief", *LOCAL, "--set", "learning_rate=0.1", "--name", "one")
    assert (ended["run"]["state"], ended["run"]["step"]) == ("completed", 20)


def test_the_same_name_again_comes_back_to_the_run_and_another_run_is_refused(one: Path, shell: Shell) -> None:
    words = ("babysit", "my_training:train", *LOCAL, "--space", "sgd_momentum", "--name", "one", "--detach")
    code, out, err = shell(*words, "--set", "learning_rate=0.01,beta=0.9")
    assert code == 0
    assert "one was there already" in err
    assert "one trains" in out
    code, out, _ = shell(*words, "--set", "learning_rate=0.5,beta=0.9")
    assert (code, out) == (1, "")


def test_a_run_that_fails_is_exit_code_1_and_shows_its_traceback(workplace: Path, shell: Shell) -> None:
    code, out, _ = shell("babysit", "my_training:broken", *LOCAL, "--set", "learning_rate=0.1", "--name", "one")
    assert code == 1
    assert "failed" in out
    assert "the data is gone" in shell("show", "one")[1]
    assert shell("watch", "one")[0] == 1


def test_ctrl_c_leaves_the_run_training(one: Path) -> None:
    watcher = subprocess.Popen(
        [sys.executable, "-m", "tuner", "watch", "one"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline().startswith("one: start at step 0")
        watcher.send_signal(signal.SIGINT)
        _, err = watcher.communicate(timeout=PATIENCE_S)
    assert watcher.returncode == 130
    assert "Traceback" not in err
    before = steps(one, "one")
    wait_until(lambda: steps(one, "one") > before)


def test_a_run_begun_in_a_shell_trains_in_a_process_of_its_own_and_speaks_into_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell
) -> None:
    (tmp_path / "my_training.py").write_text(TRAINING)
    monkeypatch.chdir(tmp_path)
    words = ("--set", "learning_rate=0.01", "--name", "one", "--detach")
    try:
        code, out, err = shell("babysit", "my_training:speaks", *LOCAL, *words)
        assert (code, err) == (0, "")
        assert "training speaks" not in out
        wait_until(lambda: steps(tmp_path / "results", "one") > 0)
        with contextlib.closing(tuner.open("one", results=tmp_path / "results")) as study:
            holder = study.coordinator(time.time())
        assert holder is not None
        assert holder[1] != os.getpid()
        assert "training speaks" in (tmp_path / "results" / "one" / "coordinator.log").read_text()
    finally:
        end_all(tmp_path / "results")


def test_watch_once_says_how_it_stands(one: Path, shell: Shell) -> None:
    code, out, _ = shell("watch", "one", "--once")
    assert code == 0
    assert out.startswith("one: step ")
    assert out.count("\n") == 1


# ── words ───────────────────────────────────────────────────────────────────────────────────────


def test_changes_are_read_in_the_types_of_the_space_and_by_their_looks_beyond_it() -> None:
    space = tuner.Space(width=tuner.choice("32", "64"), learning_rate=tuner.log(1e-4, 1.0))
    read = read_changes(["width=64", "learning_rate=3e-4,epochs=10"], space, "VALUES")
    assert read == {"width": "64", "learning_rate": 3e-4, "epochs": 10}


def test_every_format_of_tables_can_be_asked_for() -> None:
    assert set(FORMATS) == {*OF_TABLES, "markdown", "optuna"}
