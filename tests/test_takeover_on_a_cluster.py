"""On a cluster a babysat run outlives its coordinator: it goes on training, and the next coordinator takes it over."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from waiting import PATIENCE_S, wait_until

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
    for _ in run.steps(100_000):
        time.sleep(0.02)
        state.value += run.params["learning_rate"]
        run.report(score=state.value)
"""


def pid_of(study: tuner.Study) -> int:
    """The process of the run's coordinator."""
    holder = study.coordinator(time.time())
    assert holder is not None
    return holder[1]


@pytest.mark.long
def test_a_run_on_a_cluster_outlives_its_coordinators_and_loses_nothing(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "training_on_a_cluster.py").write_text(TRAINING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    handle = tuner.babysit(
        "training_on_a_cluster:train",
        {"learning_rate": 1.0},
        name="one",
        objective="score",
        address=cluster,
        checkpoint_every_s=0.1,
        results=tmp_path / "results",
    )
    study = handle.study
    folder = tmp_path / "results" / "one"

    def has_come(steps: int) -> bool:
        return study.refresh() and study.state.trials[0].steps >= steps

    def saved() -> int:
        """The step of the newest checkpoint on disk, whether anybody has heard of it or not."""
        return max(
            (int(each.name.split("-")[1]) for each in (folder / "checkpoints" / "0").glob("[0-9]*-*")), default=0
        )

    def trains_on_alone() -> None:
        here = saved()
        wait_until(lambda: saved() >= here + 30)

    try:
        wait_until(lambda: has_come(20))
        assert handle.set(learning_rate=2.0).state == "applied"
        os.kill(pid_of(study), signal.SIGKILL)
        trains_on_alone()

        assert handle.note("is anybody there?").state == "applied"  # wakes the next coordinator
        wait_until(lambda: has_come(saved() + 10))
        assert handle.set(learning_rate=3.0).state == "applied"
        with sqlite3.connect(folder / "study.db") as connection:
            connection.execute("UPDATE lease SET epoch = epoch + 1")  # as if another had taken the study over
        connection.close()
        wait_until(lambda: study.coordinator(time.time()) is None)
        trains_on_alone()

        assert handle.note("and now?").state == "applied"
        assert handle.pause(release=True).state == "applied"
        os.kill(pid_of(study), signal.SIGKILL)
        assert handle.resume().state == "applied"
        study.refresh()
        reached = study.state.trials[0].steps
        wait_until(lambda: has_come(reached + 5))
        handle.stop()
        study = handle.wait(PATIENCE_S)

        assert study.segments["cause"].tolist() == ["start", "adjust", "adjust", "thaw"], "nothing was trained twice"
        steps = study.reports["step"].tolist()
        assert steps == list(range(1, len(steps) + 1)), "no report was lost, none came twice"
        curve = study.curve(0)
        gains = {later - earlier for earlier, later in zip(curve.scores, curve.scores[1:], strict=False)}
        assert gains == {1.0, 2.0, 3.0}, "it is one and the same run, with every adjustment"
        kept = study.state.kept(study.state.trials[0])
        assert len(kept) > 3
        assert [each.step for each in kept if not (folder / each.path).is_dir()] == [], "every checkpoint kept is there"
    finally:
        handle.close()
        holder = study.coordinator(time.time())
        if holder is not None:
            os.kill(holder[1], signal.SIGKILL)


@pytest.mark.long
def test_a_worker_is_found_again_from_another_folder(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "training_on_a_cluster.py").write_text(TRAINING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    begun = tuner.babysit(
        "training_on_a_cluster:train",
        {"learning_rate": 1.0},
        name="one",
        objective="score",
        address=cluster,
        results=f"file://{tmp_path}/store",
    )
    with begun as run, run.study as study:
        wait_until(lambda: study.refresh() and study.state.trials[0].steps > 5)
        os.kill(pid_of(study), signal.SIGKILL)
    (tmp_path / "results").rename(tmp_path / "moved")  # as on another machine, which has a folder of its own
    with tuner.attach("one", results=tmp_path / "moved") as found:
        assert isinstance(found, tuner.RunHandle)
        assert found.set(learning_rate=2.0).state == "applied"
        found.stop()
        with found.wait(PATIENCE_S) as study:
            assert study.segments["cause"].tolist() == ["start", "adjust"], "the worker that was there trained on"
            steps = study.reports["step"].tolist()
            assert steps == list(range(1, len(steps) + 1))
