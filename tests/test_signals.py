"""Handlers that a training function sets: they work on Ray, and where they cannot the refusal says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tuner
from tuner import Run, Space, linear
from tuner.errors import SweepFailed


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


def test_in_this_process_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    def train(run: Run) -> None:
        import signal

        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    with pytest.raises(SweepFailed, match=r"thread of its own.*saves by itself"):
        sweep(tmp_path, train, executor="local", trials=1)
