"""A script that knows nothing of tuner is swept as it is: settings in by its words, scores out by its lines."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest
from programs import PATTERN, PYTHON, SPACE, TRAIN, script, sweep, train
from waiting import PATIENCE_S, wait_until

import tuner
from tuner.cli import main
from tuner.errors import CommandFailed, IdentityMismatch, SettingsError, SweepFailed, TrainingError, TunerError
from tuner.programs.checkpoint_folder import CheckpointFolder
from tuner.programs.process import Process
from tuner.programs.scores import ParsedScores, ScoreParser, Steps
from tuner.programs.template import CommandTemplate


def is_gone(pid: int) -> bool:
    """Whether there is no such process, or one that is just waiting to be collected."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return True


def pids(folder: Path) -> list[int]:
    """What a script has written down of itself and its children, once all are there."""
    return [int(path.name) for path in folder.glob("[0-9]*")]


def test_what_a_program_writes_and_removes_meanwhile_stops_no_look_at_its_folder(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoint")
    folder.begin()
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            deep = folder.folder / "a" / "b" / "c"
            deep.mkdir(parents=True)
            shutil.rmtree(folder.folder / "a")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for step in range(1_000):
            folder.noticed(step, Steps(0))
    finally:
        done.set()
        writer.join()


# It leaves a child, a grandchild in a session of its own, and scores for ever.
FAMILY = """
    import os, subprocess, sys, time
    from pathlib import Path
    home = Path(sys.argv[1])
    child = "import os, sys, time; open(sys.argv[1] + '/' + str(os.getpid()), 'w'); time.sleep(600)"
    (home / str(os.getpid())).touch()
    subprocess.Popen([sys.executable, "-S", "-c", child, str(home)])
    subprocess.Popen([sys.executable, "-S", "-c", child, str(home)], start_new_session=True)
    while len(list(home.iterdir())) < 3:
        time.sleep(0.01)
    for step in range(100_000):
        print("val_acc=0.5", flush=True)
        time.sleep(0.01)
"""


# ── a sweep ─────────────────────────────────────────────────────────────────────────────────────


def test_a_script_is_swept_by_a_pattern_on_its_lines(tmp_path: Path) -> None:
    with sweep(tmp_path, train(tmp_path, metric=PATTERN), parallel=2) as study:
        assert set(study.trials["state"]) == {"completed"}
        assert study.trials["steps"].tolist() == [3, 3, 3]
        for trial in study.state.trials:
            rate = trial.settings["rate"]
            scores = study.reports.query(f"trial == {trial.trial}").sort_values("step")
            assert scores["value"].tolist() == [round(1 - abs(rate - 0.1) / (epoch + 1), 6) for epoch in range(3)]


def test_a_trial_has_a_folder_with_all_that_its_program_printed(tmp_path: Path) -> None:
    with sweep(tmp_path, train(tmp_path, metric=PATTERN)) as study:
        assert (study.place.folder / "trials" / "2" / "stdout.log").read_text().count("val_acc") == 3
        assert study.printed(2).startswith("epoch 0: train_loss=0.5")


def test_lines_of_json_are_scores_by_their_names_at_the_steps_they_name(tmp_path: Path) -> None:
    text = """
        import json, sys
        print("a line of words")
        for step in (100, 200):
            print(json.dumps({"step": step, "val_acc": step / 1000, "train_loss": 1, "note": "fine", "done": True}))
    """
    with sweep(tmp_path, train(tmp_path, text), trials=1) as study:
        found = study.reports[["step", "name", "value"]].to_numpy().tolist()
    assert found == [[100, "val_acc", 0.1], [100, "train_loss", 1.0], [200, "val_acc", 0.2], [200, "train_loss", 1.0]]


def test_a_script_may_say_its_scores_itself(tmp_path: Path) -> None:
    text = """
        import tuner
        for step in (10, 20):
            tuner.report(step=step, val_acc=step / 100, train_loss=1)
    """
    with sweep(tmp_path, train(tmp_path, text), trials=1) as study:
        found = study.reports.query("name == 'val_acc'")[["step", "value"]].to_numpy().tolist()
        assert found == [[10, 0.1], [20, 0.2]]
        assert study.printed(0) == ""


def test_a_script_that_says_its_scores_runs_by_hand_too(capsys: pytest.CaptureFixture[str]) -> None:
    tuner.report(step=3, dev_accuracy=numpy.float32(0.5))
    tuner.report(dev_accuracy=0.5)
    assert capsys.readouterr().out == "step=3 dev_accuracy=0.5\ndev_accuracy=0.5\n"


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [({}, "scores by name"), ({"a": "x"}, "one number"), ({"a": 1, "step": 0.5}, "whole number")],
)
def test_a_score_that_is_none_is_refused_where_it_is_said(scores: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TrainingError, match=sentence):
        tuner.report(**scores)


def test_a_score_that_cannot_be_written_down_is_not_lost_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_REPORTS", "/nowhere/at/all")
    with pytest.raises(TrainingError, match="cannot be written"):
        tuner.report(a=1)


def test_who_reports_by_the_name_of_a_scale_is_told_the_right_one() -> None:
    with pytest.raises(TunerError, match=r"tuner\.report\(step=3"):
        tuner.log(step=1, dev_accuracy=0.5)  # type: ignore[call-arg]


def test_a_program_that_counts_from_nought_trains_its_first_step(tmp_path: Path) -> None:
    text = 'for step in range(3): print(\'{"step": %d, "val_acc": 0.5}\' % step)'
    with sweep(tmp_path, train(tmp_path, text), trials=1) as study:
        assert study.reports["step"].tolist() == [1, 2, 3]


def test_what_a_logger_says_on_standard_error_is_read_too(tmp_path: Path) -> None:
    text = "import sys; print('\\x1b[32mval_acc=\\x1b[1m0.25\\x1b[0m\\r50%', end='', file=sys.stderr)"
    with sweep(tmp_path, train(tmp_path, text, metric=PATTERN), trials=1) as study:
        assert study.reports["value"].tolist() == [0.25]


def test_a_program_that_prints_faster_than_it_is_read_is_stopped_all_the_same(tmp_path: Path) -> None:
    text = "import time; print('\\n'.join(['x' * 999] * 5000), flush=True); time.sleep(600)"
    with Process([PYTHON, "-c", text], tmp_path, grace_s=0.0, env={}) as process:
        wait_until(lambda: (tmp_path / "stdout.log").stat().st_size == 5_000_000)
        heard = sum(1 for _ in process.lines(lambda: False))
    assert heard <= 1000  # of a megabyte


def test_another_program_than_python_is_swept_through_a_shell_where_one_is_asked_for(tmp_path: Path) -> None:
    counting = tuner.command(
        "echo {rate} | sed 's/^/val_acc=/' > {folder}/x; cat {folder}/x", metric=PATTERN, shell="sh"
    )
    with sweep(tmp_path, counting, trials=2) as study:
        assert study.trials["objective"].tolist() == study.trials["params.rate"].tolist()


def test_a_hopeless_trial_is_stopped_and_its_program_with_it(tmp_path: Path) -> None:
    text = """
        import sys, time
        for step in range(1, 30):
            print(f"val_acc={-float(sys.argv[2]) * step}", flush=True)
            time.sleep(0.005)
    """
    with sweep(tmp_path, train(tmp_path, text, metric=PATTERN), trials=6, stopping="asha") as study:
        assert "pruned" in set(study.trials["state"])
        assert study.reports.query("step == 29")["trial"].nunique() < 6


def test_several_programs_train_at_a_time_in_one_process(tmp_path: Path) -> None:
    text = """
        import os, sys, time
        from pathlib import Path
        home = Path(sys.argv[1])
        (home / str(os.getpid())).touch()
        while len(list(home.iterdir())) < 3:
            time.sleep(0.01)  # for the others
        print("val_acc=0.5")
    """
    (tmp_path / "met").mkdir()
    meeting = train(tmp_path, text, f"{tmp_path}/met {{rate}}", metric=PATTERN)
    with sweep(tmp_path, meeting, trials=3, parallel=3) as study:
        assert set(study.trials["state"]) == {"completed"}


def test_a_setting_under_a_condition_is_left_out_with_its_option_where_it_is_not(tmp_path: Path) -> None:
    space = tuner.Space(kind=tuner.choice("plain", "adam"), beta=tuner.linear(0.5, 0.6, when={"kind": "adam"}))
    text = "import sys; print(sys.argv[1:]); print('val_acc=1')"
    given = train(tmp_path, text, "--kind={kind} --beta {beta} --end", metric=PATTERN)
    with sweep(tmp_path, given, space, trials=6, sampler="random") as study:
        told = {trial.settings["kind"]: study.printed(trial.trial) for trial in study.state.trials}
        beta = next(trial.settings["beta"] for trial in study.state.trials if "beta" in trial.settings)
        assert told["plain"].startswith("['--kind=plain', '--end']")
        assert any(repr(beta) in study.printed(trial.trial) for trial in study.state.trials)


@pytest.mark.ray
def test_a_script_is_swept_on_ray_and_ends_with_its_children_where_its_worker_is_killed(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a cluster is sent the code that lies here
    on_ray: dict[str, Any] = {"executor": "ray", "address": cluster, "trials": 1, "parallel": 1}
    (tmp_path / "pids").mkdir()
    given = train(tmp_path, FAMILY, f"{tmp_path}/pids {{rate}}", metric=PATTERN)
    with sweep(tmp_path, given, silence_limit_s=60.0, time_limit_s=1.0, **on_ray) as study:
        assert study.trials["state"].tolist() == ["stopped"]
        assert len(study.reports) > 3
    wait_until(lambda: all(map(is_gone, pids(tmp_path / "pids"))))
    (tmp_path / "of the silent").mkdir()
    quiet = FAMILY.replace("for step", "print('val_acc=1', flush=True); time.sleep(600)\n    for step")
    hanging = train(tmp_path, quiet, f"'{tmp_path}/of the silent' {{rate}}", metric=PATTERN)
    with sweep(tmp_path, hanging, name="silent", silence_limit_s=1.0, **on_ray) as study:
        assert study.trials["state"].tolist() == ["failed"]
        assert "no sign of life" in study.trials["why"][0]
    begun = pids(tmp_path / "of the silent")
    assert len(begun) == 3
    wait_until(lambda: all(map(is_gone, begun)))


# ── an end before its own ───────────────────────────────────────────────────────────────────────


def test_a_trial_that_is_to_stop_ends_the_program_with_its_children_in_the_midst_of_a_step(tmp_path: Path) -> None:
    text = FAMILY.replace("for step", "print('val_acc=0.5', flush=True); time.sleep(600)\n    for step")
    (tmp_path / "pids").mkdir()
    given = train(tmp_path, text, f"{tmp_path}/pids {{rate}}", metric=PATTERN)

    def stop_it() -> None:
        wait_until(lambda: len(pids(tmp_path / "pids")) == 3)
        with tuner.attach("night", results=tmp_path) as handle:
            assert isinstance(handle, tuner.SweepHandle)
            handle.stop_trial(0, why="enough")

    stopping = threading.Thread(target=stop_it)
    stopping.start()
    with sweep(tmp_path, given, trials=1) as study:
        assert study.trials["state"].tolist() == ["stopped"]
    stopping.join()
    wait_until(lambda: all(map(is_gone, pids(tmp_path / "pids"))))


def test_a_program_may_tidy_up_when_it_is_asked_to_end_and_is_made_to_after_the_grace(tmp_path: Path) -> None:
    text = """
        import signal, sys, time
        def heard(*_):
            print("tidying up", flush=True)
        signal.signal(signal.SIGTERM, heard)
        print("val_acc=nan", flush=True)
        while True:
            time.sleep(0.05)
    """
    given = train(tmp_path, text, "{rate}", metric="val_acc=(.*)", grace_s=0.3)
    with sweep(tmp_path, given, trials=1) as study:
        assert study.trials["state"].tolist() == ["diverged"]
        assert "tidying up" in study.printed(0)


@pytest.mark.long
def test_a_program_ends_with_whoever_trains_it_however_that_dies(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    path = script(tmp_path, FAMILY)
    code = f"""
import tuner
given = tuner.command(["{PYTHON}", "{path}", "{tmp_path}/pids", "{{rate}}"], metric="val_acc=(.*)")
tuner.sweep(given, tuner.Space(rate=tuner.log(1e-3, 1.0)), name="s", objective="a", executor="local", progress="off",
            results="{tmp_path}")
"""
    trainer = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: len(pids(tmp_path / "pids")) == 3)
    os.kill(trainer.pid, signal.SIGKILL)
    trainer.wait()
    wait_until(lambda: all(map(is_gone, pids(tmp_path / "pids"))))


def test_a_sweep_that_is_interrupted_leaves_no_program_behind(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    given = train(tmp_path, FAMILY, f"{tmp_path}/pids {{rate}}", metric=PATTERN)

    def stop() -> None:
        wait_until(lambda: len(pids(tmp_path / "pids")) == 3)
        tuner.attach("night", results=tmp_path).stop("enough")

    stopping = threading.Thread(target=stop)
    stopping.start()
    with sweep(tmp_path, given, trials=1) as study:
        assert study.trials["state"].tolist() == ["stopped"]
    stopping.join()
    wait_until(lambda: all(map(is_gone, pids(tmp_path / "pids"))))


# ── failures ────────────────────────────────────────────────────────────────────────────────────


def failure(tmp_path: Path, text: str, **options: Any) -> tuple[str, str]:
    """Why the only trial failed, and all that is kept of it."""
    metric = options.pop("metric", PATTERN)
    with pytest.raises(SweepFailed):
        sweep(tmp_path, train(tmp_path, text, metric=metric), trials=1, max_failures=1, **options)
    with tuner.open("night", results=tmp_path) as study:
        trial = study.state.trials[0]
        return trial.why, study.traceback(0)


def test_a_program_that_fails_says_with_what_and_the_last_that_it_complained_of(tmp_path: Path) -> None:
    text = """
        import sys
        for line in range(100):
            print("warning", line, file=sys.stderr)
        print("val_acc=0.5")
        raise ValueError("the data are not there")
    """
    why, trace = failure(tmp_path, text)
    assert "train.py --rate" in why
    assert "ended with exit code 1: ValueError: the data are not there" in why
    assert "warning 99" in trace
    assert "warning 50" not in trace
    assert "tuner/programs" not in trace


def test_a_program_that_is_killed_says_so(tmp_path: Path) -> None:
    why, _ = failure(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "was killed (exit code 137, SIGKILL: mostly for want of memory)" in why


def test_a_program_that_never_prints_a_score_has_failed_and_shows_what_it_printed(tmp_path: Path) -> None:
    why, trace = failure(tmp_path, "print('validation accuracy: 0.9')")
    assert "gave no score: no line matched 'val_acc=" in why
    assert "validation accuracy: 0.9" in trace


@pytest.mark.parametrize(
    ("text", "metric", "sentence"),
    [
        ("print('val_acc=1e-05')", r"val_acc=([\d.]+)", r"caught '1' of '1e-05', which is another number"),
        ("print('val_acc=none')", r"val_acc=(\w+)", r"'none', which is no number"),
        ('print(\'{"step": 2, "val_acc": 1}\'); print(\'{"step": 1, "val_acc": 1}\')', None, "never fall"),
        ('print(\'{"step": 1.5, "val_acc": 1}\')', None, "whole number"),
    ],
)
def test_a_score_that_is_misread_is_no_score(tmp_path: Path, text: str, metric: str | None, sentence: str) -> None:
    why, _ = failure(tmp_path, text, metric=metric)
    assert sentence in why


def test_an_objective_that_no_line_names_is_asked_for(tmp_path: Path) -> None:
    why, _ = failure(tmp_path, "print('{\"val_acc\": 1}')", metric=None, objective="dev_accuracy")
    assert "val_acc" in why


def test_a_failed_trial_can_be_tried_again_by_the_class_of_its_error(tmp_path: Path) -> None:
    text = """
        import pathlib, sys
        place = pathlib.Path(__file__).parent / "tried"
        if not place.exists():
            place.touch()
            sys.exit(3)
        print("val_acc=1")
    """
    with sweep(tmp_path, train(tmp_path, text, metric=PATTERN), trials=1, retries={CommandFailed: 1}) as study:
        assert study.trials["state"].tolist() == ["completed"]


# ── a program that can resume ───────────────────────────────────────────────────────────────────

# It saves after every epoch and then prints, as most do; how well it scores depends on all it has trained.
RESUMING = """
    import json, os, sys, time
    from pathlib import Path
    rate, epochs, folder = float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    state = folder / "state.json"
    epoch, loss = json.loads(state.read_text()) if state.exists() else (0, 1.0)
    print("begins with rate", rate, "at epoch", epoch)
    while epoch < epochs:
        time.sleep(0.1)
        epoch, loss = epoch + 1, loss * (1 - rate)
        (folder / "new").write_text(json.dumps([epoch, loss]))
        (folder / "new").rename(state)
        print(json.dumps({"step": epoch, "loss": loss}), flush=True)
"""


def resuming(folder: Path, epochs: int = 6, text: str = RESUMING) -> Any:
    return train(folder, text, f"{{rate}} {epochs} {{checkpoint}}")


def test_a_program_that_resumes_is_paused_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    class Interrupted:
        def __init__(self) -> None:
            self.once = [signal.SIGINT]

        def show(self, study: Any, status: Any) -> None:
            if any(trial.steps >= 3 for trial in study.trials) and self.once:
                signal.raise_signal(self.once.pop())

        def close(self) -> None:
            pass

    told: dict[str, Any] = {"trials": 1, "objective": "loss", "goal": "minimize"}
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, resuming(tmp_path, epochs=20), progress=Interrupted(), **told)
    with sweep(tmp_path, resuming(tmp_path, epochs=20), **told) as study:
        assert study.segments["cause"].tolist() == ["start", "thaw"]
        thawed_at = study.segments["from_step"].tolist()[1]
        begun = [int(at) for at in re.findall(r"begins with rate \S+ at epoch (\d+)", study.printed(0))]
        assert begun[0] == 0
        assert begun[1] >= thawed_at > 0
        curve, rate = study.curve(0), study.state.trials[0].settings["rate"]
        assert curve.steps[-1] == 20
        assert list(curve.scores) == pytest.approx([(1 - rate) ** step for step in curve.steps])


def test_a_program_that_resumes_is_known_by_a_variable_as_well(tmp_path: Path) -> None:
    text = RESUMING.replace("Path(sys.argv[3])", 'Path(os.environ["TUNER_CHECKPOINT"])')
    told = train(tmp_path, text, "{rate} 2", resume="yes")
    with sweep(tmp_path, told, trials=1, objective="loss") as study:
        assert study.best is not None
        assert study.best.checkpoint is not None
        assert (study.best.checkpoint / "state" / "files" / "state.json").is_file()


def test_a_lines_count_goes_on_where_the_checkpoint_was_written(tmp_path: Path) -> None:
    text = RESUMING.replace('print(json.dumps({"step": epoch, "loss": loss}), flush=True)', 'print("loss", loss)')
    told = train(tmp_path, text, "{rate} 6 {checkpoint}", metric=r"loss (\S+)")
    report = tuner.check(told, {"rate": 0.5}, steps=4)
    assert report.same, report


def test_a_program_is_checked_as_a_function_is(tmp_path: Path) -> None:
    report = tuner.check(resuming(tmp_path), {"rate": 0.5}, steps=4)
    assert report.same, report
    forgetful = resuming(tmp_path, text=RESUMING.replace("else (0, 1.0)", "else (0, 1.0)\n    loss = 1.0"))
    assert not tuner.check(forgetful, {"rate": 0.5}, steps=4).same
    with pytest.raises(TrainingError, match=r"\{checkpoint\}"):
        tuner.check(train(tmp_path, metric=PATTERN), {"rate": 0.5})


def babysat(folder: Path, epochs: int = 100_000, **options: Any) -> tuner.RunHandle:
    return tuner.babysit(
        resuming(folder, epochs),
        {"rate": 0.01},
        name="one",
        objective="loss",
        goal="minimize",
        space=SPACE,
        executor="local",
        level="off",
        results=folder,
        **options,
    )


@pytest.mark.parametrize("revert", ["in place", "reenter"])
def test_a_program_that_resumes_is_changed_and_set_back_while_it_trains(tmp_path: Path, revert: Any) -> None:
    with closing(babysat(tmp_path, checkpoint_every_s=0, revert=revert)) as run:
        wait_until(lambda: run.study.state.trials[0].steps >= 3)
        changed = run.set(rate=0.1, why="bolder")
        assert changed.state == "applied"
        assert changed.step is not None
        at = changed.step
        wait_until(lambda: run.study.state.trials[0].steps > at + 1)
        back = run.revert(step=at)
        assert back.state == "applied"
        wait_until(lambda: run.study.state.trials[0].steps > at)
        run.stop("enough", timeout_s=PATIENCE_S)
        with closing(run.wait(timeout_s=PATIENCE_S)) as study:
            assert study.segments["cause"].tolist() == ["start", "adjust", "revert"]
            begun = re.findall(r"begins with rate (\S+) at epoch (\d+)", study.printed(0))
            assert [rate for rate, _ in begun] == ["0.01", "0.1", "0.01"]
            assert at <= int(begun[2][1]) <= int(begun[1][1])  # a quick program is a step ahead of who watches it
            assert study.adjustments["after"].tolist()[0] == 0.1


def test_a_program_stands_still_while_its_run_does(tmp_path: Path) -> None:
    with closing(babysat(tmp_path)) as run:
        wait_until(lambda: run.study.state.trials[0].steps >= 2)
        assert run.pause().state == "applied"
        log = tmp_path / "one" / "trials" / "0" / "stdout.log"
        wait_until(lambda: has_come_to_rest(log))
        assert run.resume().state == "applied"
        size = log.stat().st_size
        wait_until(lambda: log.stat().st_size > size)
        run.stop("enough", timeout_s=PATIENCE_S)
        run.wait(timeout_s=PATIENCE_S).close()


def has_come_to_rest(log: Path) -> bool:
    """Whether a program that writes every tenth of a second has written nothing for half of one."""
    size = log.stat().st_size
    time.sleep(0.5)
    return log.stat().st_size == size


# ── refused before the first trial ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ("python train.py --rate {rte}", SettingsError, r"\{rte\}, and there is no such setting. Did you mean rate"),
        ("echo 1", SettingsError, r"rate is a setting, and the command has no \{rate\}.*--rate \{rate\}"),
        ("no-such-program {rate}", TrainingError, "'no-such-program' is not on the PATH"),
        ("./no-such-program {rate}", TrainingError, "is not there"),
        (f"{PYTHON} nowhere.py {{rate}}", TrainingError, "no file nowhere.py in"),
    ],
)
def test_a_command_that_no_trial_could_train_with_is_refused_before_the_first(
    tmp_path: Path, given: str, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        sweep(tmp_path, tuner.command(given, metric=PATTERN))
    assert not (tmp_path / "night").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "empty"),
        ("python 'train.py {rate}", "cannot be split"),
        ("python train.py { rate", r"a \{ that holds no name"),
        ("python train.py {}", "holds no name"),
        ("python train.py {rate:.3f}", r"leave out what follows the name, \{rate\}"),
        (["python", 3], "list of its words"),
    ],
)
def test_a_command_that_is_none_is_refused_where_it_is_written(given: Any, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        tuner.command(given)


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        (r"val_acc=[\d.]+", "no group for a score"),
        (r"(?P<step>\d+)", "no group for a score"),
        (r"val_acc=([\d.]+", "is no pattern"),
        (r"(\d+) of (\d+)", "2 groups without a name"),
        ([7], "must be a pattern"),
    ],
)
def test_a_pattern_that_catches_nothing_is_refused_where_it_is_written(metric: Any, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        tuner.command("python train.py", metric=metric)


def test_another_command_is_another_training_function_and_another_pattern_is_noted(tmp_path: Path) -> None:
    sweep(tmp_path, train(tmp_path, metric=PATTERN), trials=1).close()
    with pytest.raises(IdentityMismatch, match=r"another training function.*--rate \{rate\}"):
        sweep(tmp_path, train(tmp_path, words="--rate={rate}", metric=PATTERN), trials=2)
    with pytest.warns(UserWarning, match="has changed"):
        sweep(tmp_path, train(tmp_path, metric=r"train_loss=([\d.]+)"), trials=2).close()


def test_a_program_keeps_real_time(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="real time"):
        sweep(tmp_path, train(tmp_path, metric=PATTERN), clock="virtual")


@pytest.mark.parametrize(
    "given", ["train.py", "train.py:main", "python train.py --lr 3", "scripts/train", "./train.py"]
)
def test_a_script_in_place_of_a_function_is_answered_with_how_it_is_swept(given: str, tmp_path: Path) -> None:
    answer = r"run it as a program.*tuner\.command\("
    with pytest.raises(TrainingError, match=answer):
        tuner.sweep(given, SPACE, name="n", objective="a", results=tmp_path)
    with pytest.raises(TrainingError, match=answer):
        tuner.babysit(given, {}, name="n", objective="a", results=tmp_path)
    with pytest.raises(TrainingError, match=r"tuner\.command\("):
        tuner.check(given)


@pytest.mark.parametrize("verb", ["sweep", "babysit", "check"])
def test_the_shell_answers_a_script_with_the_option_for_it(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "train.py"])
    assert ended.value.code == 2
    assert "--command 'python train.py --lr {learning_rate}'" in " ".join(capsys.readouterr().err.split())


def test_the_shell_sweeps_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script(tmp_path, TRAIN.replace('"--rate"', '"--rate", "--momentum"'))
    command = f"{PYTHON} train.py --rate {{learning_rate}} --momentum {{beta}}"
    asked = ["sweep", "--command", command, "--metric", PATTERN, "--space", "sgd_momentum", "--executor", "local"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--trials", "2", "--no-plot"])
    assert not ended.value.code
    with tuner.open("train") as study:
        assert study.state.objective == "dev_accuracy"
        assert study.trials["objective"].notna().all()


@pytest.mark.parametrize("words", [[], ["my_code:train", "--command", "true"], ["my_code:train", "--metric", "(1)"]])
def test_the_shell_takes_a_function_or_a_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sweep", *words, "--space", "sgd_momentum"])
    assert ended.value.code == 2
    assert "--command" in capsys.readouterr().err


# ── words ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", ["a b", "$(reboot)", "x; y", "'", '"', "", "\\", "a\nb", "*", "-"])
def test_a_value_stays_one_word_whatever_it_holds(value: str) -> None:
    assert CommandTemplate.of("p --x={x} 'say {x}'").filled({"x": value}) == ["p", f"--x={value}", f"say {value}"]


def test_a_text_that_would_be_an_option_is_refused_before_the_first_trial(tmp_path: Path) -> None:
    space = tuner.Space(kind=tuner.choice("plain", "--delete"))
    with pytest.raises(SettingsError, match=r"take '--delete' for an option of its own.*--kind=\{kind\}"):
        sweep(tmp_path, tuner.command("echo {kind}"), space)
    assert CommandTemplate.of("echo --kind={kind}").filled({"kind": "--delete"}) == ["echo", "--kind=--delete"]
    assert CommandTemplate.of("echo {x}").filled({"x": -0.5}) == ["echo", "-0.5"]


def test_a_value_that_a_shell_would_read_more_in_is_refused_before_the_first_trial(tmp_path: Path) -> None:
    space = tuner.Space(kind=tuner.choice("plain", "$(reboot)"))
    with pytest.raises(SettingsError, match="shell would read more"):
        sweep(tmp_path, tuner.command("echo {kind}", shell="sh"), space)


def test_a_brace_that_is_meant_as_one_is_written_twice() -> None:
    assert CommandTemplate.of("p '{{\"rate\": {rate}}}'").filled({"rate": 0.1}) == ["p", '{"rate": 0.1}']


# ── lines ───────────────────────────────────────────────────────────────────────────────────────


def test_named_groups_are_scores_of_their_names_and_the_step() -> None:
    reading = ScoreParser.of([r"loss (?P<loss>\S+)", r"e(?P<step>\d+).*acc ([\d.]+)"])
    found = reading.of_line("e7 loss 1e-3 acc 0.5.", "score")
    assert found == ParsedScores(7, {"loss": 1e-3, "score": 0.5})
    assert reading.of_line("nothing", "score") is None


def test_lines_without_a_step_are_counted_and_different_scores_share_one() -> None:
    steps = Steps(4)
    lines = [{"loss": 1.0}, {"acc": 0.5}, {"loss": 0.9}, {"acc": 0.6}, {"acc": 0.7}]
    assert [steps.of(ParsedScores(None, line)) for line in lines] == [5, 5, 6, 6, 7]


def test_a_bare_run_trains_a_command(tmp_path: Path) -> None:
    run = tuner.Run({"rate": 0.1})
    train(tmp_path, metric=PATTERN)(run)
    assert [report.scores["score"] for report in run.reports] == [1.0, 1.0, 1.0]
    assert [report.step for report in run.reports] == [1, 2, 3]
