from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import pytest
from babysat import end_all
from waiting import PATIENCE_S

import tuner
from tuner import Run, Space, linear
from tuner.api.assignment import Assignment
from tuner.errors import StudyError
from tuner.worker.function import portable

READS = """
from pathlib import Path


class State:
    steps = 0

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, saved):
        self.steps = saved["steps"]


def train(run):
    state = State()
    run.state(state)
    for _ in run.steps(3):
        state.steps += 1
        run.report(score=float(Path("data.txt").read_text()))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a training function that reads a file beside it by a relative path, and stands in it."""
    here = tmp_path / "home"
    here.mkdir()
    (here / "reads_beside_it.py").write_text(READS)
    (here / "data.txt").write_text("0.25")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "reads_beside_it", raising=False)
    return here


@pytest.mark.long
def test_a_run_that_is_woken_from_elsewhere_trains_where_it_was_begun(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    try:
        with tuner.babysit(
            "reads_beside_it:train", {"x": 1.0}, name="one", objective="score", executor="local", results="../results"
        ) as run:
            assert run.wait(PATIENCE_S).state.trials[0].state == "completed"
        monkeypatch.chdir("/")
        with tuner.attach("one", results=results) as attached:
            assert isinstance(attached, tuner.RunHandle)
            attached.extend(2)
            trial = attached.wait(PATIENCE_S).state.trials[0]
            assert (trial.state, trial.steps, trial.best_score) == ("completed", 5, 0.25)
            with attached.fork(name="two", step=3) as fork:
                assert fork.wait(PATIENCE_S).state.trials[0].state == "completed"
        assert Assignment.read(results / "two").checkpoint == "beginning"  # the folder may move
        assert Assignment.read(results / "two").home == str(home)
    finally:
        end_all(results)


def test_what_is_trained_again_from_elsewhere_trains_where_the_sweep_did(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuner.sweep(
        "reads_beside_it:train",
        Space(x=linear(0.0, 1.0)),
        name="s",
        objective="score",
        trials=3,
        executor="local",
        stopping="off",
        results=tmp_path,
        progress="off",
    ).close()
    monkeypatch.chdir("/")
    tuner.confirm("s", top=1, repeats=2, results=tmp_path, progress="off")
    assert Path.cwd() == Path("/")
    with closing(tuner.open("s", results=tmp_path)) as study:
        assert [trial.state for trial in study.state.trials] == ["completed"] * 5


def train(run: Run) -> None:
    run.report(score=1.0)


def test_workers_look_for_code_in_whole_paths(home: Path) -> None:
    (home / "src").mkdir()
    sys.path.insert(0, "src")
    assert str(home / "src") in portable(train).search_path
    assert all(Path(each).is_absolute() for each in portable(train).search_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"search_path": 1}', "\udcff"])
def test_an_assignment_that_makes_no_sense_is_told_of_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StudyError, match=r"run\.json"):
        Assignment.read(tmp_path)
