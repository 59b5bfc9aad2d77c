"""Handlers that a training function sets: they work on Ray, and where they cannot the refusal says what to do."""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
from waiting import PATIENCE_S

import tuner
import tuner.cli
from tuner import Run, Space, linear
from tuner.errors import SweepFailed
from tuner.record.database import sqlite_engine


def sweep(folder: Path, train: Any, **given: Any) -> tuner.Study:
    return tuner.sweep(
        train,
        Space(x=linear(0.0, 1.0)),
        name="s",
        objective="score",
        stopping="off",
        sampler="random",
        parallel=1,
        results=folder,
        progress="off",
        **given,
    )


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_on_ray_handlers_are_called_what_they_raise_ends_the_trial_and_they_end_with_it(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a cluster is sent the code that lies here

    def train(run: Run) -> None:
        import os
        import signal
        import time

        def too_long(number: int, frame: Any) -> None:
            raise TimeoutError("this took too long")

        def wait_for(condition: Any) -> None:
            deadline = time.monotonic() + 30
            while not condition() and time.monotonic() < deadline:
                time.sleep(0.005)

        heard: list[int] = []
        before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
        run.report(fresh=float(before == signal.SIG_DFL))
        os.kill(os.getpid(), signal.SIGUSR1)
        wait_for(lambda: heard)
        for _ in run.steps(1):
            run.report(score=float(heard == [signal.SIGUSR1]))
        signal.signal(signal.SIGALRM, too_long)
        signal.alarm(1)
        wait_for(lambda: False)

    study = sweep(tmp_path, train, executor="ray", address=cluster, trials=2, max_failures=9)
    assert study.reports.query("name == 'fresh'")["value"].tolist() == [1.0, 1.0]
    assert study.reports.query("name == 'score'")["value"].tolist() == [1.0, 1.0]
    assert study.trials["why"].tolist() == ["TimeoutError: this took too long"] * 2


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.filterwarnings("default")
def test_on_ray_handlers_work_with_several_seeds_too(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def train(run: Run) -> None:
        import os
        import signal
        import time

        heard: list[int] = []
        for _ in run.steps(2):
            signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
            os.kill(os.getpid(), signal.SIGUSR1)
            deadline = time.monotonic() + 30
            while not heard and time.monotonic() < deadline:
                time.sleep(0.005)
            run.report(score=float(len(heard) > 0) + run.seed % 7)
            heard.clear()

    with sweep(tmp_path, train, executor="ray", address=cluster, trials=2, seeds=3) as study:
        assert study.trials["state"].tolist() == ["completed"] * 2
        assert (study.trials["objective"] >= 1.0).all()
        assert study.trials["spread"].notna().all()


def test_in_this_process_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    def train(run: Run) -> None:
        import signal

        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    with pytest.raises(SweepFailed, match=r"thread of its own.*saves by itself"):
        sweep(tmp_path, train, executor="local", trials=1)


class ClosedByCtrlC(sqlite3.Connection):
    def close(self) -> None:
        super().close()
        raise KeyboardInterrupt


def test_ctrl_c_while_a_connection_closes_shows_no_traceback_and_is_not_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = sqlite_engine(tmp_path / "study.db", "create")

    @sa.event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, words: Any, options: Any) -> sqlite3.Connection:
        return sqlite3.connect(*words, **options, factory=ClosedByCtrlC)

    connection = engine.connect()
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        connection.close()
    assert caplog.text == ""


class Finalised:
    def __del__(self) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_within_a_finaliser_shows_no_traceback_and_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def lets_go() -> None:
        held = [Finalised()]
        held.clear()
        time.sleep(PATIENCE_S)

    monkeypatch.setitem(tuner.cli.cli.commands, "ls", lets_go)
    with pytest.raises(SystemExit) as left:
        tuner.cli.main(["ls"])
    assert left.value.code == 130
    assert capfd.readouterr().err.strip() == "interrupted"


def test_ctrl_c_within_the_last_finaliser_of_a_verb_interrupts_nothing_after_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(tuner.cli.cli.commands, "ls", click.command()(lambda: [Finalised()].clear()))
    with pytest.raises(SystemExit) as left:
        tuner.cli.main(["ls"])
    time.sleep(0.2)  # nothing comes
    assert left.value.code == 0
    assert capfd.readouterr().err == ""
