from __future__ import annotations

import contextlib
import gc
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from waiting import PATIENCE_S, wait_until
from workplaces import standing_in

import tuner
from tuner.caviar.rules import STOPPING, rule_by_name
from tuner.cli import cli, main
from tuner.cli.options import read_settings
from tuner.record.trial import Trial
from tuner.samplers import SAMPLERS, by_name
from tuner.space.space import Space

TRAINING = """
import os, sys, time

def train(run):
    print("training speaks")
    sys.stdout.flush()
    os.write(1, b"and so does C\\n")
    for step in run.steps(3):
        run.report(score=step * run.params["learning_rate"], test_score=0.25)

class Nothing:
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

def slow(run):
    run.state(Nothing())
    for step in run.steps(10_000):
        time.sleep(0.005)
        run.report(score=step)

def broken(run):
    return there_is_no_such_name

def flaky(run):
    if not os.path.exists(f"tried-{run.seed}"):
        open(f"tried-{run.seed}", "w").close()
        raise OSError("the share was away")
    for step in run.steps(3):
        run.report(score=step)

def silent(run):
    for step in run.steps(2):
        time.sleep(30 * step)
        run.report(score=step)

def elsewhere(run):
    for step in run.steps(2):
        run.report(another_score=step)
"""

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    tuner.sweep(
        "tuner.workloads.bowl:train",
        "sgd_momentum",
        name="bowl",
        objective="score",
        trials=12,
        executor="local",
        results=folder,
        progress="off",
    ).close()
    return folder


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str]) -> Shell:
    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Path]:
    with standing_in(tmp_path, TRAINING):
        yield tmp_path


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(workplace: Path) -> Iterator[Start]:
    """Runs tuner in a process of its own, ended with the test."""
    with contextlib.ExitStack() as processes:

        def run(*words: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "tuner", *words]
            process = subprocess.Popen(
                command, cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            processes.enter_context(process)
            processes.callback(process.kill)
            return process

        yield run


def trial_of(folder: Path, name: str, number: int) -> Trial | None:
    """The trial as it is on record now; None before it is."""
    with contextlib.suppress(tuner.TunerError), contextlib.closing(tuner.open(name, results=folder)) as study:
        return study.state.trials[number] if len(study.state.trials) > number else None
    return None


def trains(folder: Path, name: str, number: int) -> bool:
    trial = trial_of(folder, name, number)
    return trial is not None and trial.steps > 0


LOCAL = ("--space", "sgd_momentum", "--objective", "score", "--executor", "local", "--no-plot", "--stopping", "off")


# ── every verb ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", cli.commands)
def test_every_verb_ends_its_help_with_an_example_that_parses(name: str, shell: Shell) -> None:
    code, out, _ = shell(name, "--help")
    example = out.strip().splitlines()[-1].strip()
    assert code == 0
    assert f"{example} ".startswith(f"tuner {name} ")
    assert cli.commands[name].make_context(name, shlex.split(example)[2:])


@pytest.mark.parametrize("name", cli.commands)
def test_every_verb_says_what_it_does_in_one_whole_sentence(name: str, shell: Shell) -> None:
    _, out, _ = shell("--help")
    line = next(line for line in out.splitlines() if line.split()[:1] == [name])
    assert line.endswith(".")
    assert not line.endswith("...")


@pytest.mark.parametrize(
    "words",
    [
        ("ls",),
        ("show", "bowl"),
        ("show", "bowl/0"),
        ("watch", "bowl"),
        ("watch", "bowl", "--once"),
        ("export", "bowl"),
        ("plot", "bowl"),
        ("spaces",),
        ("spaces", "sgd_momentum"),
        ("check", "tuner.workloads.bowl:train", "--set", "learning_rate=0.1"),
    ],
    ids=" ".join,
)
def test_json_is_all_that_stands_on_stdout(words: tuple[str, ...], results: Path, shell: Shell) -> None:
    place = () if words[0] in ("spaces", "check") else ("--results", results)
    code, out, _ = shell(*words, *place, "--json")
    assert code == 0
    assert json.loads(out)


def test_every_verb_takes_json() -> None:
    assert all(any("--json" in param.opts for param in command.params) for command in cli.commands.values())


def test_help_imports_nothing_heavy() -> None:
    heavy = {"ray", "optuna", "pandas", "numpy", "scipy", "sqlalchemy", "matplotlib", "rich", "cloudpickle"}
    source = (
        "import sys, contextlib, io\nfrom tuner.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main(['--help'])\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=120)
    assert heavy.isdisjoint(done.stdout.split())


def test_the_version_is_told(shell: Shell) -> None:
    code, out, _ = shell("--version")
    assert code == 0
    assert out.startswith("tuner, version ")


def test_the_samplers_and_rules_on_offer_are_those_there_are() -> None:
    assert all(by_name(name) for name in SAMPLERS)
    assert all(rule_by_name(name) for name in STOPPING)


# ── sweep ───────────────────────────────────────────────────────────────────────────────────────


def test_sweep_sums_up_and_writes_tables(workplace: Path, shell: Shell) -> None:
    code, out, err = shell("sweep", "my_training:train", *LOCAL, "--trials", 5, "--name", "night")
    assert code == 0
    assert "night: 5 of 5 trials tried" in out
    assert "best score" in out
    assert "0.25 at the same step" in out
    assert "night: 5 of 5 tried" in err
    assert (workplace / "results/night/tables/trials.csv").is_file()


def test_sweep_with_json_leaves_stdout_to_json_whatever_training_prints(workplace: Path, shell: Shell) -> None:
    code, out, err = shell("sweep", "my_training:train", *LOCAL, "--trials", 3, "--name", "night", "--json")
    said = json.loads(out)
    assert code == 0
    assert said["ended"] == 3
    assert said["best"]["test_score"] == 0.25
    assert all(Path(file).is_file() for file in said["files"])
    assert "training speaks" in err
    assert "and so does C" in err


def test_sweep_tries_the_given_settings_first(workplace: Path, shell: Shell) -> None:
    tries = ("--try", "learning_rate=0.5,beta=0.95", "--try", "learning_rate=0.25")
    shell("sweep", "my_training:train", *LOCAL, "--trials", 3, "--name", "night", *tries)
    _, out, _ = shell("show", "night/0", "--json")
    assert json.loads(out)["params"] == {"learning_rate": 0.5, "beta": 0.95}
    _, out, _ = shell("show", "night/1", "--json")
    assert json.loads(out)["params"]["learning_rate"] == 0.25


def test_sweep_without_a_name_takes_the_functions_and_a_free_number(workplace: Path, shell: Shell) -> None:
    for _ in range(2):
        shell("sweep", "my_training:train", *LOCAL, "--trials", 1)
    assert sorted(path.name for path in (workplace / "results").iterdir()) == ["train", "train-2"]


def test_debug_trains_here_one_at_a_time_without_a_progress_display(workplace: Path, shell: Shell) -> None:
    words = ("--space", "sgd_momentum", "--objective", "score", "--debug", "--no-plot", "--trials", 2)
    code, out, err = shell("sweep", "my_training:train", *words)
    assert code == 0
    assert "training speaks" in out
    assert "ended" not in err


# ── exit codes ──────────────────────────────────────────────────────────────────────────────────


def test_a_mistake_is_one_sentence_and_exit_code_1(results: Path, shell: Shell) -> None:
    code, out, err = shell("show", "bowls", "--results", results)
    assert (code, out) == (1, "")
    assert "Did you mean bowl?" in err
    assert "Traceback" not in err


def test_a_mistake_shows_its_traceback_when_debugging(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_DEBUG", "1")
    with pytest.raises(tuner.TunerError):
        main(["show", "bowls", "--results", str(results)])


def test_a_sweep_that_is_given_up_is_exit_code_1_and_its_trial_shows_why(workplace: Path, shell: Shell) -> None:
    code, _, err = shell("sweep", "my_training:broken", *LOCAL, "--name", "night")
    assert code == 1
    assert "there_is_no_such_name" in err
    assert "Traceback" not in err
    _, out, _ = shell("show", "night/0")
    assert "Traceback" in out
    assert "my_training.py" in out.replace("\n", "")  # a long path is wrapped


def test_a_sweep_without_a_single_score_is_exit_code_1_and_says_what_came_of_its_trials(
    workplace: Path, shell: Shell
) -> None:
    code, out, _ = shell("sweep", "my_training:elsewhere", *LOCAL, "--trials", 3, "--name", "night")
    assert code == 1
    told = "no trial has come to a score of 'score'; the last to end, trial 2, failed: the function ended without"
    assert told in " ".join(out.split())


def test_a_sweep_tries_again_what_raised_as_often_as_it_is_told(workplace: Path, shell: Shell) -> None:
    words = ("sweep", "my_training:flaky", *LOCAL, "--name", "s", "--trials", 2, "--retries", "OSError=1,MemoryError=2")
    assert shell(*words)[0] == 0
    with tuner.open("s", results=workplace / "results") as study:
        assert study.trials["state"].tolist() == ["completed"] * 2


def test_a_sweep_gives_up_after_as_many_failures_in_a_row_as_it_is_told(workplace: Path, shell: Shell) -> None:
    words = ("sweep", "my_training:flaky", *LOCAL, "--name", "s", "--trials", 9, "--failures-in-a-row", 2)
    assert shell(*words)[0] == 1
    with tuner.open("s", results=workplace / "results") as study:
        assert study.trials["state"].tolist() == ["failed"] * 2


@pytest.mark.parametrize(
    ("train", "limit", "state"), [("slow", "--time-limit", "stopped"), ("silent", "--silence-limit", "failed")]
)
def test_a_trial_that_takes_too_long_is_ended(
    workplace: Path, shell: Shell, train: str, limit: str, state: str
) -> None:
    shell("sweep", f"my_training:{train}", *LOCAL, "--name", "s", "--trials", 1, limit, "0.5s", "--disk-budget", 0.5)
    with tuner.open("s", results=workplace / "results") as study:
        (trial,) = study.state.trials
        assert (trial.state, "0.5 s" in trial.why) == (state, True), trial.why


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--try", "learning_rate=abc"), "from 0.0001 to 1, got 'abc'"),
        (("--try", "learning_rte=0.1"), "Did you mean learning_rate?"),
        (("--try", "learning_rate"), "Write name=value"),
        (("--try", "learning_rate=7"), "must lie from 0.0001 to 1"),
        (("--time-budget", "soon"), "Write 90s, 10m, 1.5h or 2d"),
        (("--retries", "often"), "Write 2, or by the class of error: OSError=2"),
        (("--retries", "OSError=-1"), "Write 2, or by the class of error: OSError=2"),
        (("--time-limit", "0s"), "time_limit_s"),
        (("--disk-budget", "0"), "0 is not in the range"),
        (("--failures-in-a-row", "0"), "0 is not in the range"),
        (("--trials", "0"), "0 is not in the range"),
        (("--sampler", "tpe"), "'tpe' is not one of"),
    ],
    ids=str,
)
def test_a_wrong_option_is_exit_code_2_with_a_sentence(words: tuple[str, ...], sentence: str, shell: Shell) -> None:
    code, out, err = shell("sweep", "tuner.workloads.bowl:train", *LOCAL, *words)
    assert (code, out) == (2, "")
    assert sentence in err


def test_a_verb_misspelt_is_exit_code_2_with_the_nearest(shell: Shell) -> None:
    code, _, err = shell("swep")
    assert code == 2
    assert "sweep" in err


def test_a_trials_number_is_a_number(shell: Shell) -> None:
    code, _, err = shell("show", "night/x")
    assert code == 2
    assert "night/17" in err


def test_an_interrupted_sweep_is_exit_code_130_and_says_how_to_go_on(workplace: Path, start: Start) -> None:
    sweep = start("sweep", "my_training:slow", *LOCAL, "--name", "night", "--trials", "2")
    wait_until(lambda: trains(workplace / "results", "night", 0))
    sweep.send_signal(signal.SIGINT)
    _, err = sweep.communicate(timeout=PATIENCE_S)
    assert sweep.returncode == 130
    assert "--name night goes on" in err
    assert "Traceback" not in err


# ── steering, from another process ──────────────────────────────────────────────────────────────


def test_a_running_sweep_is_steered_and_watched_from_elsewhere(workplace: Path, start: Start, shell: Shell) -> None:
    sweep = start("sweep", "my_training:slow", *LOCAL, "--name", "night", "--trials", "2")
    wait_until(lambda: trains(workplace / "results", "night", 0))
    watcher = start("watch", "night")

    assert shell("note", "night/0", "looks odd")[:2] == (0, "night: noted\n")
    assert shell("pause", "night", "--why", "lunch")[0] == 0
    assert shell("resume", "night")[0] == 0
    code, out, _ = shell("stop", "night/0", "--why", "hopeless", "--json")
    assert code == 0
    assert json.loads(out)["state"] == "applied"
    wait_until(lambda: trains(workplace / "results", "night", 1))
    code, out, _ = shell("ls", "--json")
    assert "running" in json.loads(out)[0]["activity"]
    assert shell("stop", "night")[0] == 0

    out, _ = sweep.communicate(timeout=PATIENCE_S)
    assert sweep.returncode == 0
    assert "2 of 2 trials tried" in out
    _, err = watcher.communicate(timeout=PATIENCE_S)
    assert watcher.returncode == 0
    assert "night is not running" in err
    assert "\x1b" not in err
    _, out, _ = shell("show", "night/0", "--json")
    assert json.loads(out)["why"] == "hopeless"


@pytest.mark.parametrize(
    "words", [("pause", "bowl"), ("resume", "bowl"), ("stop", "bowl/0"), ("note", "bowl", "day 2")], ids=" ".join
)
def test_steering_a_study_at_rest_says_that_nobody_would_act(
    words: tuple[str, ...], results: Path, shell: Shell
) -> None:
    code, _, err = shell(*words, "--results", results)
    assert code == 1
    assert "not running" in err


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def test_show_tells_of_one_trial_its_settings_state_and_curve(results: Path, shell: Shell) -> None:
    found = tuner.open("bowl", results=results).best
    assert found is not None
    best = found.trial
    code, out, _ = shell("show", f"bowl/{best}", "--results", results)
    assert code == 0
    for word in (f"bowl/{best}:", "learning_rate", "1-beta", "score from step 1 to", "█"):
        assert word in out


def test_whoever_shows_a_study_leaves_the_collector_of_garbage_as_it_was(results: Path, shell: Shell) -> None:
    assert shell("show", "bowl", "--results", results)[0] == 0
    assert (gc.isenabled(), gc.get_freeze_count()) == (True, 0)


def test_show_of_a_trial_that_is_not_there_says_how_many_there_are(results: Path, shell: Shell) -> None:
    code, _, err = shell("show", "bowl/99", "--results", results)
    assert code == 1
    assert "12 began" in err


def test_export_writes_where_it_is_told(results: Path, tmp_path: Path, shell: Shell) -> None:
    code, out, _ = shell("export", "bowl", "--results", results, "--format", "jsonl", "--to", tmp_path)
    assert code == 0
    assert str(tmp_path / "trials.jsonl") in out.splitlines()
    assert all(Path(line).is_file() for line in out.splitlines())


def test_ls_of_an_empty_folder_says_so(tmp_path: Path, shell: Shell) -> None:
    code, out, _ = shell("ls", "--results", tmp_path)
    assert code == 0
    assert "no studies" in out
    assert json.loads(shell("ls", "--results", tmp_path, "--json")[1]) == []


def test_spaces_show_ranges_reasons_and_what_would_be_sampled(shell: Shell) -> None:
    _, out, _ = shell("spaces", "sgd_momentum")
    for word in ("learning_rate", "log scale", "tune first", "0.99 to 0.999  50%", "averaging window"):
        assert word in out


def test_check_finds_a_training_function_that_forgets_its_state(workplace: Path, shell: Shell) -> None:
    (workplace / "my_training.py").write_text(
        "class Forgetful:\n"
        "    def state_dict(self): return {}\n"
        "    def load_state_dict(self, state): pass\n"
        "def train(run):\n"
        "    total = 0.0\n"
        "    run.state(Forgetful())\n"
        "    for step in run.steps(10):\n"
        "        total += 1.0\n"
        "        run.report(score=total)\n"
    )
    code, out, _ = shell("check", "my_training:train", "--json")
    assert code == 1
    assert json.loads(out)["differences"]


# ── words on the command line ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("learning_rate=0.1,beta=0.9", {"learning_rate": 0.1, "beta": 0.9}),
        ("units=64, norm=true", {"units": 64, "norm": True}),
        ("activation=relu", {"activation": "relu"}),
        ("decay=none", {"decay": "none"}),
        ("width=32", {"width": "32"}),
    ],
)
def test_settings_are_read_in_their_parameters_own_types(text: str, settings: dict[str, Any]) -> None:
    space = Space(
        learning_rate=tuner.log(1e-4, 1.0),
        beta=tuner.log_one_minus(0.9, 0.999),
        units=tuner.integer(50, 100),
        norm=tuner.choice(True, False),
        activation=tuner.choice("relu", "tanh"),
        decay=tuner.choice("none", "staircase"),
        width=tuner.choice("32", "64"),
    )
    read = read_settings(text, space, "--try")
    assert read == settings
    assert [type(value) for value in read.values()] == [type(value) for value in settings.values()]


def test_settings_without_a_space_are_read_by_their_looks() -> None:
    read = read_settings("a=1,b=1e-3,c=false,d=none,e=relu", None, "--set")
    assert read == {"a": 1, "b": 1e-3, "c": False, "d": None, "e": "relu"}


@pytest.mark.parametrize(("word", "expected"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172800)])
def test_time_spans_are_read_with_their_units(word: str, expected: float) -> None:
    words = ["tuner.workloads.bowl:train", "--space", "sgd_momentum", "--time-budget", word]
    context: click.Context = cli.commands["sweep"].make_context("sweep", words)
    assert context.params["time_budget_s"] == expected
