"""How a command line ends: wrong usage is 2, what is on record and yet to come 3; what a person is told beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click
import pytest
from stories import Part, story
from sweeping import sweep
from waiting import PATIENCE_S, wait_until

import tuner
from tuner.api.answers import Reply
from tuner.cli import cli, main
from tuner.cli.output import answer
from tuner.record.events import RequestState
from tuner.record.score_names import is_better_lower
from tuner.record.store import Store

Shell = Callable[..., tuple[int, str, str]]
BOWL = "tuner.workloads.bowl:train"


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


# ── exit codes ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("sweep", "bowl", "--space", "sgd_momentum"), "names no function"),
        (("sweep", "code/bowl.py:train", "--space", "sgd_momentum"), "code.bowl:train"),
        (("sweep", BOWL, "--space", "sgd_momentm"), "sgd_momentum"),
        (("sweep", BOWL, "--space", "nowhere.toml"), "nowhere.toml"),
        (("sweep", BOWL, "--space", "sgd_momentum", "--goal", "up"), "maximize"),
        (("sweep", BOWL, "--space", "sgd_momentum", "--time-budget", "0s"), "time_budget_s"),
        (("sweep", BOWL, "--space", "sgd_momentum", "--name", "../night"), "letters"),
        (("sweep", BOWL, "--space", "sgd_momentum", "--name", "night", "--store", "mysql://x"), "sqlite"),
        (("check", BOWL, "--set", "learning_rate"), "Write name=value"),
        (("check", BOWL, "--space", "nowhere"), "nowhere"),
        (("babysit", BOWL, "--name", "one", "--executor", "local"), "settings to begin with"),
        (("babysit", BOWL, "--name", "one", "--set", "x"), "Write name=value"),
        (("spaces", "nowhere"), "nowhere"),
        (("show", "night/x"), "night/17"),
        (("watch", "../night"), "letters"),
        (("set", "one", "rate"), "Write name=value"),
        (("set", "one", "rate=1", "--timeout", "soon"), "90s"),
        (("schedule", "one", "rate", "cosine"), "--over"),
        (("step", "one", "0"), "range"),
        (("extend", "one", "many"), "integer"),
        (("promote", "night"), "which trial"),
        (("stop",), "Missing argument"),
        (("pause", "one", "--why"), "requires an argument"),
        (("export", "night", "--format", "xls"), "xls"),
        (("explain", "night", "--target-error", "-1"), "range"),
    ],
    ids=str,
)
def test_wrong_usage_is_exit_code_2_and_says_what_would_be_right(
    words: tuple[str, ...], told: str, shell: Shell
) -> None:
    code, out, err = shell(*words)
    assert (code, out) == (2, "")
    assert told in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [("show", "nigth"), ("show", "night/99"), ("stop", "nigth"), ("explain", "nigth")])
def test_what_is_not_there_is_exit_code_1(words: tuple[str, ...], shell: Shell, tmp_path: Path) -> None:
    sweep(tmp_path / "results", trials=1).close()
    assert shell(*words)[0] == 1


@pytest.mark.parametrize(
    ("state", "later", "code"),
    [
        ("applied", False, 0),
        ("received", False, 3),
        ("accepted", False, 3),
        ("accepted", True, 0),
        ("received", True, 3),
        ("expired", False, 1),
        ("superseded", False, 1),
    ],
)
def test_the_exit_code_says_whether_it_is_done_not_yet_done_or_never_will_be(
    state: RequestState, later: bool, code: int
) -> None:
    reply = Reply(request="r", verb="set", state=state, step=3, detail="")
    assert answer("one", reply, as_json=False, later=later) == code


def test_what_is_not_applied_within_the_timeout_is_exit_code_3_and_stays_on_record(
    shell: Shell, tmp_path: Path
) -> None:
    with closing(story(tmp_path / "results" / "one", Part(start=0, to=10))) as study:
        database = study.place.existing()
    with closing(Store.open(database)) as coordinator:
        coordinator.acquire(time.time())
        code, out, _ = shell("set", "one", "learning_rate=0.2", "--timeout", "0s")
        assert code == 3
        assert "on record" in out
        assert [each.verb for each in coordinator.new_requests()] == ["set"]


def test_a_stop_of_a_run_that_is_over_is_done(shell: Shell, tmp_path: Path) -> None:
    story(tmp_path / "results" / "one", Part(start=0, to=10), end=("stopped", "enough")).close()
    code, out, err = shell("stop", "one")
    assert (code, err) == (0, "")
    assert "2023-11-14" in out
    assert shell("pause", "one")[0] == 1


STEERING = ("pause", "resume", "stop", "note", "set", "schedule", "step", "checkpoint", "revert", "undo", "extend")


@pytest.mark.parametrize("name", STEERING)
def test_every_verb_that_waits_for_an_answer_takes_a_timeout(name: str) -> None:
    params = {each.name: each for each in cli.commands[name].params}
    assert isinstance(params["timeout_s"], click.Option)
    assert "exit code 3" in str(params["timeout_s"].help)


# ── which way it goes ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--objective", "val_loss"), True),
        (("--objective", "dev_error"), True),
        (("--objective", "val_loss", "--goal", "maximize"), False),
        (("--objective", "val_loss", "--goal", "minimize"), False),
        (("--objective", "score"), False),
    ],
    ids=str,
)
def test_a_loss_without_a_goal_is_said_to_be_maximized(words: tuple[str, ...], said: bool, shell: Shell) -> None:
    sweeping = ("sweep", BOWL, "--space", "sgd_momentum", "--trials", "1", "--executor", "local", "--no-plot")
    assert ("--goal minimize" in shell(*sweeping, "--name", "s", *words)[2]) is said


@pytest.mark.parametrize("name", ["val_loss", "dev_error", "testRMSE", "perplexity", "wer", "mse_dev"])
def test_scores_that_are_better_the_lower_are_known_by_their_names(name: str) -> None:
    assert is_better_lower(name)


@pytest.mark.parametrize("name", ["score", "dev_accuracy", "f1", "error_free", "loss_scale", "bleu", "total"])
def test_other_scores_are_not(name: str) -> None:
    assert not is_better_lower(name)


# ── waiting, and leaving ────────────────────────────────────────────────────────────────────────


def test_watch_waits_for_a_study_that_is_about_to_begin(shell: Shell, tmp_path: Path) -> None:
    late = threading.Timer(0.5, lambda: sweep(tmp_path / "results", trials=2).close())
    late.start()
    code, _, err = shell("watch", "night")
    late.join()
    assert code == 0
    assert "night to begin" in err
    assert "2" in err.split("tried")[0]


INTERRUPTED = """
import time, tuner
def train(run):
    for step in run.steps(100_000):
        run.report(score=step)
        time.sleep(0.002)
tuner.sweep(train, tuner.Space(rate=tuner.linear(0.0, 1.0)), name="night", objective="score", executor="local",
            results="results", progress="off")
"""


def test_from_python_too_ctrl_c_ends_with_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(INTERRUPTED)
    script = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )

    def trains() -> bool:
        try:
            with tuner.open("night", results=tmp_path / "results") as study:
                return bool(study.state.trials) and study.state.trials[0].steps > 0
        except tuner.TunerError:
            return False

    with script:
        wait_until(trains)
        script.send_signal(signal.SIGINT)
        _, err = script.communicate(timeout=PATIENCE_S)
    last = err.strip().splitlines()[-1]
    assert last.startswith("interrupted: everything so far is kept")
    assert "night" in last
    assert "Traceback" not in err
    assert script.returncode == -signal.SIGINT


# ── the demo ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.long
def test_an_interrupted_demo_leaves_no_coordinator_behind(tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "examples" / "three_days.py"
    command = [sys.executable, str(script), "--executor", "local", "--results", str(tmp_path), "--days", "1000"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with demo:
        assert demo.stdout is not None
        assert demo.stdout.readline().startswith("day 1")
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode != 0
    with tuner.open("panda-demo", results=tmp_path) as study:
        assert study.coordinator(time.time()) is None
        assert study.state.trials[0].state == "stopped"
