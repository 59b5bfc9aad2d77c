"""Whoever watches may fail, and training goes on: displays, terminals, logs, streams; each for real."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE_S

import tuner
from tuner import Run, Space, Study, log
from tuner.caviar.policy import Caviar, Limits
from tuner.caviar.requests import SweepRequests
from tuner.caviar.rules import rule_by_name
from tuner.coordinator import faults
from tuner.coordinator.checkpoint_keeper import CheckpointKeeper
from tuner.coordinator.loop import Coordinator
from tuner.coordinator.watchdog import Timing
from tuner.executors.local import LocalExecutor
from tuner.panda.policy import Panda
from tuner.panda.requests import RunRequests
from tuner.policy.protocol import Draft, Policy
from tuner.policy.requests import RequestPolicy
from tuner.record.requests import Request
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.samplers import by_name

SPACE = Space(learning_rate=log(1e-4, 0.5))


def climb(run: Run) -> None:
    for step in run.steps(5):
        run.report(score=step + run.params["learning_rate"])


def sweep(results: Path, **more: Any) -> Study:
    options: dict[str, Any] = {"trials": 3, "sampler": "random", "stopping": "off", "progress": "off", **more}
    return tuner.sweep(climb, SPACE, name="s", objective="score", executor="local", results=results, **options)


# ── a display of one's own ──────────────────────────────────────────────────────────────────────


class Failing:
    """Fails when it is shown something, when it is closed, or both."""

    def __init__(self, error: Exception, *, when: str) -> None:
        self.error, self.when, self.shown = error, when, 0

    def show(self, study: Any, status: Any) -> None:
        self.shown += 1
        if "show" in self.when:
            raise self.error

    def close(self) -> None:
        if "close" in self.when:
            raise self.error


@pytest.mark.parametrize("when", ["show", "show and close"])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyError("loss"), UnicodeError("no such letter")])
def test_a_display_that_fails_is_dropped_with_a_note_and_the_sweep_goes_on(
    tmp_path: Path, error: Exception, when: str
) -> None:
    face = Failing(error, when=when)
    study = sweep(tmp_path, progress=face)
    assert study.state.counts["completed"] == 3
    assert face.shown == 1
    (note,) = study.notes["text"]
    assert type(error).__name__ in note
    assert "display failed" in note
    assert f"{type(error).__name__}" in (tmp_path / "s" / "errors.log").read_text()
    assert len(tuner.open("s", results=tmp_path).notes) == 1  # it is on record
    study.close()


def test_a_display_that_fails_when_it_is_closed_ends_nothing(tmp_path: Path) -> None:
    study = sweep(tmp_path, progress=Failing(OSError(5, "Input/output error"), when="close"))
    assert study.state.counts["completed"] == 3
    study.close()


def test_an_interrupt_in_a_display_is_still_an_interrupt(tmp_path: Path) -> None:
    class Interrupted:
        def show(self, study: Any, status: Any) -> None:
            raise KeyboardInterrupt

        def close(self) -> None:
            pass

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, progress=Interrupted())


# ── the shell's streams ─────────────────────────────────────────────────────────────────────────

Shell = Callable[..., "subprocess.Popen[bytes]"]
TUNER = f"{sys.executable} -m tuner"
SWEEP = (
    f"{TUNER} sweep tuner.workloads.bowl:train --space sgd_momentum --objective score --trials 3 --executor local "
    "--stopping off --no-plot --name s"
)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Runs a line of shell in an empty folder; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def run(line: str, **more: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sh", "-c", f"exec {line}"], cwd=tmp_path, **more)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def completed(folder: Path) -> int:
    study = tuner.open("s", results=folder / "results")
    try:
        return study.state.counts.get("completed", 0)
    finally:
        study.close()


@pytest.mark.long
@pytest.mark.parametrize("streams", ["2>&- >&- <&-", "2>/dev/full >/dev/full"])
def test_a_sweep_whose_streams_are_closed_or_full_trains_to_its_end(shell: Shell, tmp_path: Path, streams: str) -> None:
    assert shell(f"{SWEEP} {streams}").wait(PATIENCE_S) == 0
    assert completed(tmp_path) == 3


@pytest.mark.long
def test_a_sweep_whose_terminal_goes_away_trains_to_its_end(shell: Shell, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = shell(
        SWEEP.replace("--trials 3", "--trials 40"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    deadline = time.monotonic() + PATIENCE_S
    seen = b""
    while b"of 40" not in seen:
        assert time.monotonic() < deadline, seen
        seen += os.read(ours, 10_000)
    os.close(ours)
    assert process.wait(PATIENCE_S) == 0
    assert completed(tmp_path) == 40


def test_an_answer_that_cannot_be_written_is_said_to_be_so(shell: Shell) -> None:
    process = shell(f"{TUNER} spaces --json >/dev/full", stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert b"could not be written: No space left" in err
    assert b"Traceback" not in err


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.long)])
def test_what_a_terminal_cannot_show_costs_a_letter_and_not_the_answer(
    shell: Shell, tmp_path: Path, encoding: str
) -> None:
    sweep(tmp_path / "results").close()
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    verbs = " && ".join(f"{TUNER} {verb}" for verb in ("spaces", "explain s", "show s", "show s/1"))
    process = shell(f'sh -c "{verbs}"', env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == 0, err
    assert b"learning_rate" in out


# ── a bug of ours ───────────────────────────────────────────────────────────────────────────────


class Broken(Space):
    """A space with a fault in it."""

    def __contains__(self, name: object) -> bool:
        raise KeyError("low")


def coordinator(folder: Path, requests: RequestPolicy, policy: Policy, keeper: CheckpointKeeper | None) -> Coordinator:
    """One that has just begun, over an executor that is not open."""
    store = Store.in_memory()
    store.acquire(1.0)
    return Coordinator(
        study=StudyState(name="s", objective="score"),
        store=store,
        policy=policy,
        requests=requests,
        executor=LocalExecutor(),
        keeper=keeper,
        timing=Timing(),
    )


def ask(loop: Coordinator, verb: str, arguments: dict[str, Any]) -> Request:
    """What becomes of a request that lay there when the loop began."""
    loop._store.request(verb, arguments, by="ann", why="", request="r")
    loop._take_requests()
    loop.journal.commit()
    return loop.study.requests["r"]


def test_a_bug_in_an_answer_is_said_to_be_one_and_its_traceback_is_kept(tmp_path: Path) -> None:
    policy = Caviar(
        space=SPACE, seed=0, proposer=by_name("random"), stopping=rule_by_name("off"), limits=Limits(trials=1)
    )
    loop = coordinator(tmp_path, SweepRequests(policy), policy, CheckpointKeeper(tmp_path, None))
    answer = ask(loop, "set_parallel", {"parallel": 2})
    assert answer.state == "rejected"
    assert "bug in tuner" in answer.detail
    assert "RuntimeError" in answer.detail
    assert str(tmp_path / "errors.log") in answer.detail
    assert "Traceback" in (tmp_path / "errors.log").read_text()


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_bug_in_an_answer_of_a_babysat_run_is_said_to_be_one(tmp_path: Path, on_disk: bool) -> None:
    requests = RunRequests(Broken(learning_rate=log(1e-4, 0.5)), None)
    loop = coordinator(tmp_path, requests, Panda(), CheckpointKeeper(tmp_path, None) if on_disk else None)
    loop.journal.begin(Draft(params={"learning_rate": 0.1}, seed=0, why="to see"))
    answer = ask(loop, "set", {"values": {"learning_rate": 0.2}})
    assert answer.state == "rejected"
    assert "bug in tuner" in answer.detail
    assert "KeyError" in answer.detail
    assert (tmp_path / "errors.log").exists() == on_disk


def test_what_makes_no_sense_is_no_bug(tmp_path: Path) -> None:
    loop = coordinator(tmp_path, RunRequests(SPACE, None), Panda(), CheckpointKeeper(tmp_path, None))
    loop.journal.begin(Draft(params={"learning_rate": 0.1}, seed=0, why="to see"))
    answer = ask(loop, "set", {"values": 3})
    assert (answer.state, "bug" in answer.detail) == ("rejected", False)
    assert not (tmp_path / "errors.log").exists()


def test_what_goes_wrong_again_and_again_fills_no_disk(tmp_path: Path) -> None:
    for _ in range(300):
        told = faults.keep(tmp_path, KeyError("x" * 10_000), "while answering")
    assert (tmp_path / "errors.log").stat().st_size < 1_200_000
    assert "errors.log" in told


def test_a_traceback_that_no_disk_takes_is_said_to_be_lost(tmp_path: Path) -> None:
    assert "could not be kept" in faults.keep(tmp_path / "nowhere", KeyError("x"), "while answering")
