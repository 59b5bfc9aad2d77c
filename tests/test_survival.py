"""What survives: SIGKILL, Ctrl-C, a second coordinator, full disks, damaged files; each for real, nothing mocked."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE_S, study_once

import tuner
from tuner import Space, Study, log
from tuner.errors import StudyBusy, StudyError, TunerError
from tuner.record.events import Noted
from tuner.record.store import Store

KILL_STUDY = Path(__file__).parents[1] / "benchmarks" / "kill_study.py"
SPACE = Space(learning_rate=log(1e-4, 0.5))

JOB = '''
import os, random, signal, sys, time
from pathlib import Path

import tuner
from tuner import Space, log

SPACE = Space(learning_rate=log(1e-4, 0.5))


class Count:
    def __init__(self):
        self.steps = 0

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def climb(run, steps=20, step_s=0.0, at_step=lambda step: None):
    count = Count()
    run.state(count)
    for step in run.steps(steps):
        assert count.steps == step, "the state and the step belong together"
        count.steps += 1
        time.sleep(step_s)
        at_step(step)
        run.report(score=step + run.params["learning_rate"])


def slow(run):
    climb(run, steps=40, step_s=0.02)


def long(run):
    climb(run, steps=100_000, step_s=0.01)


def hangs(run):
    for _ in run.steps(10):
        run.report(score=1.0)
        time.sleep(600)


def with_luck(run):
    random.seed(run.seed)
    count, luck = Count(), [0.0]
    run.state(
        save=lambda folder: (folder / "luck").write_text(f"{count.steps} {luck[0]!r}"),
        load=lambda folder: take_up(folder, count, luck),
    )
    for step in run.steps(20):
        assert count.steps == step, "the state and the step belong together"
        count.steps += 1
        luck[0] += random.random()
        if step == 12 and run.folder.name == "seed-1" and not Path("killed").exists() and "spared" not in sys.argv:
            Path("killed").touch()
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)
        run.report(score=luck[0])


def take_up(folder, count, luck):
    steps, sum_of = (folder / "luck").read_text().split()
    count.steps, luck[0] = int(steps), float(sum_of)


def kills_its_coordinator_once(run):
    def at_step(step):
        if step == 12 and not Path("killed").exists():
            Path("killed").touch()
            time.sleep(0.3)  # what was trained so far is on record
            os.kill(os.getpid(), signal.SIGKILL)

    climb(run, at_step=at_step)


class Tell:
    """Prints what it is shown."""

    def __init__(self, then=lambda study: None):
        self.then = then

    def show(self, study, status):
        ended = [trial.trial for trial in study.trials if trial.ended]
        print("SHOWN", len(ended), study.steps_done, flush=True)
        self.then(study)

    def close(self):
        pass


def sweep(train, **given):
    options = dict(
        name="s", objective="score", trials=4, sampler="random", stopping="off", executor="local",
        checkpoint_every_s=10, progress="off", results="results",
    )
    try:
        return tuner.sweep(train, SPACE, **{**options, **given})
    except tuner.TunerError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
'''

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Python on some code in a folder that holds `job.py`; whatever still runs at the end is killed."""
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "space.toml").write_text('[learning_rate]\nscale = "log"\nlow = 1e-4\nhigh = 0.5\n')
    started: list[subprocess.Popen[str]] = []

    def run(*command: str) -> subprocess.Popen[str]:
        if len(command) == 1:
            command = ("-c", f"from job import *\n{command[0]}")
        process = subprocess.Popen(
            [sys.executable, *command], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, err[-2000:]
    return out, err


def opened(folder: Path, name: str = "s") -> Study:
    return tuner.open(name, results=folder / "results")


def wait_until(folder: Path, holds: Callable[[Study], bool]) -> Study:
    return study_once(holds, folder / "results")


def steps_of(study: Study) -> int:
    return sum(trial.steps for trial in study.state.trials)


def small_study(folder: Path, name: str = "s", trials: int = 3) -> None:
    tuner.sweep(
        "tuner.workloads.bowl:train",
        SPACE,
        name=name,
        objective="score",
        trials=trials,
        sampler="random",
        stopping="off",
        executor="local",
        progress="off",
        results=folder / "results",
    ).close()


# ── SIGKILL ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.long
def test_a_coordinator_killed_at_random_moments_loses_nothing_shown_and_comes_to_the_same_study() -> None:
    # ray#30861, ray#14667: resuming after a crash loses trials
    command = [sys.executable, str(KILL_STUDY), "--kills", "4", "--trials", "10", "--samplers", "random,coarse_to_fine"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "every promise held" in told.stdout


def test_a_lost_trial_goes_on_from_its_last_checkpoint_and_says_so(start: Start, tmp_path: Path) -> None:
    finish(start("sweep(kills_its_coordinator_once, checkpoint_every_s=0)"), code=-signal.SIGKILL)
    left = opened(tmp_path)
    assert [trial.state for trial in left.state.trials] == ["running", "waiting"]
    assert left.state.trials[0].steps == 12
    finish(start("sweep(kills_its_coordinator_once, checkpoint_every_s=0)"))
    study = opened(tmp_path)
    assert study.trials["state"].tolist() == ["completed"] * 4
    segments = study.segments.query("trial == 0")
    assert segments["cause"].tolist() == ["start", "retry"]
    assert segments["from_step"].tolist() == [0, 12]
    assert segments["parent_segment"].tolist()[1] == 0
    assert study.reports.query("trial == 0 and head")["step"].tolist() == list(range(1, 21))
    assert study.reports["head"].all()  # nothing was trained twice


@pytest.mark.long
def test_a_trial_of_three_seeds_that_was_killed_midway_goes_on_with_all_of_them_to_the_same_scores(
    start: Start, tmp_path: Path
) -> None:
    finish(start("sys.argv += ['spared']; sweep(with_luck, name='spared', seeds=3)"))
    killed = "sweep(with_luck, seeds=3, checkpoint_every_s=0)"
    finish(start(killed), code=-signal.SIGKILL)
    assert opened(tmp_path).state.trials[0].steps == 12
    finish(start(killed))
    study, spared = opened(tmp_path), opened(tmp_path, "spared")
    assert study.segments.query("trial == 0")["from_step"].tolist() == [0, 12]
    for trial in range(4):
        assert list(study.curve(trial).scores) == list(spared.curve(trial).scores)
        assert study.curve(trial).spreads == spared.curve(trial).spreads


def test_a_study_killed_before_its_first_record_begins_as_if_nothing_had_been(start: Start, tmp_path: Path) -> None:
    small_study(tmp_path, "other")
    store = Store.create(tmp_path / "results" / "s" / "study.db")
    store.close()
    with pytest.raises(StudyError, match="holds no study yet"):
        opened(tmp_path)
    small_study(tmp_path)
    assert len(opened(tmp_path).trials) == 3
    assert [each.name for each in tuner.studies(tmp_path / "results")] == ["s", "other"]


# ── Ctrl-C and SIGTERM ──────────────────────────────────────────────────────────────────────────


def cli(function: str, *more: str) -> tuple[str, ...]:
    return (
        "-m",
        "tuner",
        "sweep",
        f"job:{function}",
        "--space",
        "space.toml",
        "--name",
        "s",
        "--objective",
        "score",
        "--sampler",
        "random",
        "--stopping",
        "off",
        "--executor",
        "local",
        "--trials",
        "3",
        "--no-plot",
        *more,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_an_interrupt_keeps_everything_and_the_next_start_thaws_it(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(*cli("slow", "--parallel", "2"))
    wait_until(tmp_path, lambda study: study.state.counts.get("running", 0) == 2 and steps_of(study) > 10).close()
    process.send_signal(number)
    _, err = finish(process, code=130)
    assert "Traceback" not in err
    left = opened(tmp_path)
    states = left.trials["state"].tolist()
    assert states[:2] == ["paused", "paused"]
    assert set(states[2:]) <= {"waiting"}
    reached = left.trials["steps"].tolist()
    checkpoints = left.checkpoints.query("kind == 'pause'")
    assert dict(zip(checkpoints["trial"], checkpoints["step"], strict=True)) == {0: reached[0], 1: reached[1]}
    left.close()
    finish(start(*cli("slow", "--parallel", "2")))
    study = opened(tmp_path)
    assert study.trials["state"].tolist() == ["completed"] * 3
    segments = study.segments
    assert segments.query("trial < 2 and cause == 'thaw'")["from_step"].tolist() == reached[:2]
    assert segments.query("trial == 2")["cause"].tolist() == ["start"]  # it had truly not begun
    assert len(study.reports) == 120
    assert study.reports["head"].all()


@pytest.mark.long
def test_a_second_interrupt_ends_at_once(start: Start, tmp_path: Path) -> None:
    # optuna#5963, ray#50358: Ctrl-C
    process = start(*cli("hangs"))
    wait_until(tmp_path, lambda study: study.state.counts.get("running", 0) == 1).close()
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # it waits for the step
    process.send_signal(signal.SIGINT)
    finish(process, code=130)  # long before the step of ten minutes ends
    assert opened(tmp_path).trials["state"].tolist()[0] == "lost"  # it goes on at the next start


@pytest.mark.long
def test_interrupts_at_any_moment_leave_whole_commits(start: Start, tmp_path: Path) -> None:
    moments = random.Random(0)
    shown = 0
    for _ in range(4):
        process = start("print('begins', flush=True); sweep('tuner.workloads.bowl:train', trials=100_000)")
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        wait_until(tmp_path, lambda study: bool(study.state.identity)).close()  # it is there to be interrupted
        time.sleep(moments.uniform(0.0, 0.5))
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        study = opened(tmp_path)
        assert all(trial.segments for trial in study.state.trials)
        assert len(study.state.ended_order) >= shown
        shown = len(study.state.ended_order)
        study.close()


# ── one coordinator ─────────────────────────────────────────────────────────────────────────────


def lease(database: Path, **values: Any) -> None:
    with sqlite3.connect(database) as connection:
        words = ", ".join(f"{name} = ?" for name in values)
        connection.execute(f"UPDATE lease SET {words}", tuple(values.values()))
    connection.close()


def test_a_second_coordinator_is_refused_and_told_who_holds_the_study(start: Start, tmp_path: Path) -> None:
    process = start("sweep(long)")
    wait_until(tmp_path, lambda study: steps_of(study) > 0).close()
    with pytest.raises(StudyBusy, match=rf"pid {process.pid} on {os.uname().nodename}"):
        small_study(tmp_path)


def test_the_lease_of_a_dead_process_is_taken_over_at_once(start: Start, tmp_path: Path) -> None:
    hold = "from tuner.record.store import Store; Store.create(Path('x/study.db')).acquire(time.time())"
    finish(start(f"{hold}; os.kill(os.getpid(), signal.SIGKILL)"), code=-signal.SIGKILL)
    store = Store.create(tmp_path / "x" / "study.db")
    store.acquire(time.time())
    assert not store.left_clean
    store.close()


def test_the_lease_of_another_host_falls_after_fifteen_seconds_of_silence(tmp_path: Path) -> None:
    database = tmp_path / "study.db"
    store = Store.create(database)
    store.acquire(1000.0)
    store.close()
    lease(database, host="elsewhere", pid=4711, born="1", heartbeat=1000.0)
    store = Store.create(database)
    with pytest.raises(StudyBusy, match=r"pid 4711 on elsewhere.*14 s ago"):
        store.acquire(1014.0)
    store.acquire(1016.0)
    assert not store.left_clean
    store.close()


def test_a_session_that_fails_before_it_recovers_leaves_the_disorder_it_found(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "study.db")
    store.acquire(1000.0)
    store.left_clean = False
    store.close()
    store = Store.create(tmp_path / "study.db")
    store.acquire(1001.0)
    assert not store.left_clean
    store.close()
    store = Store.create(tmp_path / "study.db")
    store.acquire(1002.0)
    assert not store.left_clean
    store.left_clean = True
    store.close()
    store = Store.create(tmp_path / "study.db")
    store.acquire(1003.0)
    assert store.left_clean
    store.close()


def test_a_coordinator_that_lost_its_lease_writes_nothing_more(tmp_path: Path) -> None:
    first, note = Store.create(tmp_path / "study.db"), Noted(trial=None, step=None, by="me", text="late", at=0.0)
    first.acquire(1000.0)
    lease(tmp_path / "study.db", host="elsewhere")
    second = Store.create(tmp_path / "study.db")
    second.acquire(1016.0)
    with pytest.raises(StudyBusy, match="took the study over"):
        first.append([note], 1017.0)
    first.close()
    assert list(second.read(Noted)) == []
    assert second.holder(1017.0) is not None
    second.close()


def test_a_sweep_that_lost_its_lease_ends_with_a_sentence(tmp_path: Path) -> None:
    class Thief:
        def show(self, study: Any, status: Any) -> None:
            if study.counts.get("completed", 0) >= 2:
                lease(tmp_path / "results" / "s" / "study.db", epoch=99)

        def close(self) -> None:
            pass

    with pytest.raises(StudyBusy, match="this one stops writing"):
        tuner.sweep(
            "tuner.workloads.bowl:train",
            SPACE,
            name="s",
            objective="score",
            trials=100_000,
            sampler="random",
            stopping="off",
            executor="local",
            progress=Thief(),
            results=tmp_path / "results",
        )


# ── the disk ────────────────────────────────────────────────────────────────────────────────────

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"


def test_a_full_disk_under_the_database_is_said_in_a_sentence_and_costs_nothing_shown(
    start: Start, tmp_path: Path
) -> None:
    # the limit on a file's size stands for the full disk: the write is refused for real
    code = f"{LIMIT.format(1_500_000)}; sweep('tuner.workloads.bowl:train', trials=100_000, progress=Tell())"
    out, err = finish(start(code), code=1)
    assert err.startswith("StudyError: ")
    assert "study.db" in err
    assert "disk" in err
    assert "Traceback" not in err
    _, ended, _ = out.strip().splitlines()[-1].split()
    assert len(opened(tmp_path).state.ended_order) >= int(ended) > 0


def test_a_full_disk_under_the_checkpoints_is_warned_of_and_training_goes_on(start: Start, tmp_path: Path) -> None:
    heavy = """
def heavy(run):
    load = Count()
    load.state_dict = lambda: {"steps": load.steps, "weights": os.urandom(4_000_000)}
    run.state(load)
    for step in run.steps(30):
        load.steps += 1
        run.report(score=step)
"""
    finish(start(f"{heavy}\n{LIMIT.format(3_000_000)}\nsweep(heavy, trials=2, checkpoint_every_s=0)"))
    study = opened(tmp_path)
    assert study.trials["state"].tolist() == ["completed"] * 2
    assert study.trials["steps"].tolist() == [30, 30]
    assert len(study.checkpoints) == 0
    texts = study.notes["text"].tolist()
    assert 2 <= len(texts) <= 4  # a full disk is not complained of at every step
    assert all("the disk refuses" in text for text in texts)
    assert list((tmp_path / "results" / "s" / "checkpoints").rglob("*.pickle")) == []


def test_checkpoints_that_the_record_never_heard_of_are_removed(tmp_path: Path) -> None:
    # ray#23674: checkpoints fill the disk
    small_study(tmp_path)
    root = tmp_path / "results" / "s" / "checkpoints"
    known = opened(tmp_path).checkpoints.query("kept")["path"].tolist()
    assert len(known) == 3
    stray = root / "0" / "7-5"
    shutil.copytree(tmp_path / "results" / "s" / known[0], stray)
    small_study(tmp_path, trials=4)
    assert not stray.exists()
    assert all((tmp_path / "results" / "s" / path).is_dir() for path in known)


# ── damaged, copied, protected, oddly named ─────────────────────────────────────────────────────


def test_a_file_of_random_bytes_is_refused_with_a_sentence(tmp_path: Path) -> None:
    database = tmp_path / "results" / "s" / "study.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(random.Random(0).randbytes(50_000))
    for act in (lambda: opened(tmp_path), lambda: small_study(tmp_path)):
        with pytest.raises(StudyError, match="is damaged or no study"):
            act()
    assert "damaged" in tuner.studies(tmp_path / "results")[0].activity


def test_a_truncated_or_overwritten_database_never_raises_anything_but_a_sentence(tmp_path: Path) -> None:
    # optuna#5138: one torn line bricks the study
    small_study(tmp_path, trials=8)
    database = tmp_path / "results" / "s" / "study.db"
    whole, moments = database.read_bytes(), random.Random(0)
    refused: list[str] = []
    for attempt in range(24):
        content = bytearray(whole)
        if attempt % 2:
            del content[moments.randrange(len(content)) :]
        else:
            place = moments.randrange(len(content))
            content[place : place + 200] = moments.randbytes(200)
        database.write_bytes(bytes(content))
        try:
            study = opened(tmp_path)
            assert len(study.export("csv", tmp_path / "tables")) > 5
            study.close()
        except TunerError as error:
            refused.append(str(error))
    assert len(refused) > 5
    assert all(str(database) in sentence for sentence in refused)


def test_a_copied_study_reads_the_same(tmp_path: Path) -> None:
    small_study(tmp_path)
    shutil.copytree(tmp_path / "results" / "s", tmp_path / "results" / "copy")
    assert opened(tmp_path, "copy").trials.equals(opened(tmp_path).trials)


def test_a_folder_with_signs_in_its_name_is_a_folder(tmp_path: Path) -> None:
    odd = tmp_path / "my results #1 100%20? ü'\""
    small_study(odd)
    assert len(opened(odd).reports) == 120


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.long
def test_a_study_in_a_folder_one_may_only_read_is_read(start: Start, public: Path) -> None:
    small_study(public)
    small_study(public, "private")
    for path in (public / "results" / "s", *(public / "results" / "s").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (public / "results" / "private").chmod(0o000)
    (public / "results").chmod(0o755)
    code = (
        f"""
PUBLIC = Path({str(public / "results")!r})
"""
        """
warm = sweep("tuner.workloads.bowl:train", name="warm", results="warm")  # imports all before the rights are given up
assert len(warm.trials) == 4
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
study = tuner.open("s", results=PUBLIC)
print(len(study.trials), len(study.reports), study.best.trial)
study.close()
tuner.attach("s", results=PUBLIC).close()
print([each.name for each in tuner.studies(PUBLIC)])
from tuner.record.store import Store
for act in (
    lambda: Store.open(PUBLIC / "s/study.db").request("note", {}, "me", ""),
    lambda: Store.create(PUBLIC / "s/study.db").acquire(time.time()),
    lambda: Store.create(PUBLIC / "s/deeper/study.db"),
    lambda: tuner.open("private", results=PUBLIC),
):
    try:
        act()
    except tuner.TunerError as error:
        print(error, file=sys.stderr)
"""
    )
    out, err = finish(start(code))
    assert out.split()[:2] == ["3", "120"]
    assert err.count("Check who owns the study's folder") == 2
    assert "cannot be made: Permission denied" in err
    assert "private may not be read" in err
    (public / "results" / "private").chmod(0o700)


@pytest.mark.long
def test_a_study_reads_while_another_process_runs_it(start: Start, tmp_path: Path) -> None:
    process = start("sweep('tuner.workloads.bowl:train', trials=80, disk_budget_gb=1e-5)")
    wait_until(tmp_path, lambda study: len(study.state.trials) > 2).close()
    study = opened(tmp_path)
    while process.poll() is None:
        study.refresh()
        fresh = opened(tmp_path)
        for read in (study, fresh):
            assert [trial.trial for trial in read.state.trials] == list(range(len(read.state.trials)))
            assert all(trial.segments for trial in read.state.trials)
        assert len(fresh.trials) == len(fresh.state.trials)
        fresh.close()
    finish(process)
    study.refresh()
    assert study.trials.equals(opened(tmp_path).trials)


def test_reading_and_exporting_need_no_ray(start: Start, tmp_path: Path) -> None:
    small_study(tmp_path)
    code = """
study = tuner.open("s", results="results")
tables = ("trials", "reports", "segments", "rounds", "adjustments", "checkpoints", "notes", "requests")
assert all(len(getattr(study, name).columns) for name in tables)
study.export("csv"); study.best; study.curve(0); study.traceback(0)
print([name for name in ("ray", "torch") if name in sys.modules])
"""
    out, _ = finish(start(code))
    assert out.strip() == "[]"


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 101, "a\0b", ".hidden", "a b", "a\n", "CON/../..", "-x", 3])
def test_a_name_that_is_no_plain_folder_name_is_refused(tmp_path: Path, name: Any) -> None:
    results = tmp_path / "results"
    for act in (tuner.open, tuner.attach):
        with pytest.raises(StudyError, match="cannot be called"):
            act(name, results=results)
    with pytest.raises(StudyError, match="cannot be called"):
        tuner.sweep("tuner.workloads.bowl:train", SPACE, name=name, objective="score", results=results)
    assert list(tmp_path.iterdir()) == []


def test_a_study_of_a_continued_sweep_has_all_its_curves(tmp_path: Path) -> None:
    small_study(tmp_path)
    study = tuner.sweep(
        "tuner.workloads.bowl:train",
        SPACE,
        name="s",
        objective="score",
        trials=5,
        sampler="random",
        stopping="off",
        executor="local",
        progress="off",
        results=tmp_path / "results",
    )
    assert [len(study.curve(trial)) for trial in range(5)] == [20] * 5


def test_what_a_face_was_shown_is_on_record_at_that_moment(tmp_path: Path) -> None:
    results, seen, wrong = tmp_path / "results", [], []

    class Checks:
        def show(self, study: Any, status: Any) -> None:
            record = opened(tmp_path)
            facts = [(trial.trial, trial.state, trial.steps, trial.best_score) for trial in study.trials]
            recorded = [(t.trial, t.state, t.steps, t.best_score) for t in record.state.trials]
            record.close()
            if recorded != facts:
                wrong.append((recorded, facts))
            seen.append(json.dumps(facts))

        def close(self) -> None:
            pass

    tuner.sweep(
        "tuner.workloads.bowl:train",
        SPACE,
        name="s",
        objective="score",
        trials=60,
        sampler="random",
        stopping="off",
        executor="local",
        parallel=3,
        progress=Checks(),
        results=results,
    )
    assert len(set(seen)) > 2
    assert wrong == []
