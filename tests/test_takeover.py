"""On a cluster a babysat run outlives its coordinator: it goes on training, and the next coordinator takes it over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tuner

pytestmark = pytest.mark.ray

TRAINING = """
import time


class State:
    value = 0.0

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, saved):
        self.value = saved["value"]


def train(run):
    state = State()
    run.state(state)
    for _ in run.steps(600):
        time.sleep(0.02)
        state.value += run.params["learning_rate"]
        run.report(score=state.value)
"""


def wait_until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)


def test_a_run_on_a_cluster_goes_on_without_its_coordinator_and_is_taken_over(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "training_on_a_cluster.py").write_text(TRAINING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    handle = tuner.babysit(
        "training_on_a_cluster:train", {"learning_rate": 1.0}, name="one", objective="score", address=cluster,
        checkpoint_every_s=1000, results=tmp_path / "results",
    )  # fmt: skip
    study = handle.study
    try:
        wait_until(lambda: study.refresh() and study.state.trials[0].steps >= 20)
        assert handle.set(learning_rate=2.0).state == "applied"
        holder = study.coordinator(time.time())
        assert holder is not None
        os.kill(holder[1], signal.SIGKILL)
        study.refresh()
        seen = study.state.trials[0].steps
        time.sleep(2.0)  # nobody listens: about a hundred steps

        reply = handle.note("is anybody there?")  # wakes the next coordinator
        assert reply.state == "applied"
        wait_until(lambda: study.refresh() and study.state.trials[0].steps >= seen + 60)
        assert handle.set(learning_rate=3.0).state == "applied"
        handle.stop()
        study = handle.wait(30)

        assert "retry" not in set(study.segments["cause"]), "nothing was trained twice"
        steps = study.reports["step"].tolist()
        assert steps == list(range(1, len(steps) + 1)), "no report was lost, none came twice"
        curve = study.curve(0)
        gains = {later - earlier for earlier, later in zip(curve.scores, curve.scores[1:], strict=False)}
        assert gains == {1.0, 2.0, 3.0}, "it is one and the same run, with every adjustment"
    finally:
        handle.close()
        holder = study.coordinator(time.time())
        if holder is not None:
            os.kill(holder[1], signal.SIGKILL)
