"""A glance at a study: of a file at rest as it lies, and what it says then is what a store says."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sweeping import sweep

import tuner
from tuner.errors import StudyError
from tuner.record.events import Led
from tuner.record.glance import glance_at
from tuner.record.store import Store
from tuner.workloads import bowl


@pytest.fixture
def resting(tmp_path: Path) -> Path:
    """The file of a sweep that nobody has written to for a while."""
    sweep(tmp_path).close()
    return rested(tmp_path / "night" / "study.db")


def rested(path: Path) -> Path:
    written = time.time() - 60.0
    os.utime(path, (written, written))
    return path


def test_whoever_lists_studies_leaves_their_folders_as_they_were(resting: Path) -> None:
    before = resting.parent.stat().st_mtime_ns
    (line,) = tuner.studies(resting.parent.parent)
    assert (line.trials, line.activity) == (8, "idle")
    assert resting.parent.stat().st_mtime_ns == before


def test_a_file_at_rest_says_as_it_lies_what_its_store_says(resting: Path) -> None:
    seen = glance_at(resting)
    assert seen is not None
    with Store.open(resting) as store:
        assert (seen.brief, seen.written_at) == (store.brief(), store.written_at())
        assert seen.lease.is_held(time.time()) is (store.holder(time.time()) is not None)


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_the_best_of_a_list_is_the_study_s_though_its_trial_is_set_aside_or_still_trains(
    goal: str, tmp_path: Path
) -> None:
    told = []

    def look(run: tuner.Run) -> None:
        bowl.train(run)
        told.append((tuner.studies(tmp_path)[0].best, tuner.open("night", results=tmp_path).best))

    with sweep(tmp_path, look, goal=goal, trials=24) as study:
        assert study.state.counts["paused"], "else every best has ended"
        best = study.state.best
        assert best is not None
        (line,) = tuner.studies(tmp_path)
        assert (line.best, line.best_trial) == (best.best_score, best.trial)
    assert all(said == (None if known is None else known.score) for said, known in told)


def test_whatever_was_the_best_is_the_best_no_longer_once_it_has_diverged(tmp_path: Path) -> None:
    def diverge(run: tuner.Run) -> None:
        for step in run.steps(6):
            run.report(score=1.0 if step < 4 else float("nan"))

    sweep(tmp_path, diverge, trials=1).close()
    (line,) = tuner.studies(tmp_path)
    assert (line.ended, line.best, line.best_trial) == (1, None, None)
    with Store.open(tmp_path / "night" / "study.db") as store:
        assert [each.score for each in store.read(Led)] == [1.0, None]


def without_leads(path: Path) -> Path:
    """The file as a tuner has written it that put no best on record."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE leads")
        connection.commit()
    return rested(path)


def test_a_file_of_before_is_read_as_it_is_and_put_right_by_whoever_goes_on_with_it(resting: Path) -> None:
    results, before = resting.parent.parent, tuner.studies(resting.parent.parent)
    was = without_leads(resting).read_bytes()
    assert [(each.best, each.best_trial) for each in tuner.studies(results)] == [(before[0].best, before[0].best_trial)]
    with tuner.open("night", results=results) as study:
        assert study.best is not None
        assert study.best.score == before[0].best
        assert list(study.records(Led)) == []
        assert not study.refresh()
    assert resting.read_bytes() == was, "whoever reads changes nothing"

    sweep(results, trials=12).close()
    with tuner.open("night", results=results) as study:
        assert study.state.best is not None
        assert [each.trial for each in study.records(Led)][-1] == study.state.best.trial


def test_nothing_is_written_where_a_file_of_before_has_no_place_for_it(resting: Path) -> None:
    without_leads(resting)
    with Store.open(resting) as store:
        store.acquire(time.time())
        with pytest.raises(StudyError, match="CHECK"):
            store.append([Led(trial=0, step=1, score=1.0, at=0.0)], time.time())


def test_a_file_that_was_just_written_to_or_has_a_log_is_asked_through_its_store(resting: Path) -> None:
    with Store.open(resting) as store:
        store.acquire(time.time())  # in the log
        rested(resting)
        assert glance_at(resting) is None
        (line,) = tuner.studies(resting.parent.parent)
        assert line.activity.startswith("running")
    os.utime(resting)
    assert glance_at(resting) is None
    assert tuner.studies(resting.parent.parent)[0].activity == "idle"


def test_a_file_that_changes_while_it_is_looked_at_is_looked_at_again(resting: Path) -> None:
    from tuner.record.database import as_it_lies

    assert as_it_lies(resting, lambda ask: tuple(ask("SELECT 1"))) == (1,)

    def changed(ask: Callable[[str], Any]) -> Any:
        resting.touch()
        return ask("SELECT 1")

    assert as_it_lies(resting, changed) is None
    assert as_it_lies(rested(resting), lambda ask: ask("SELECT * FROM no_such_table")) is None


def test_what_is_no_database_is_told_by_its_store(resting: Path) -> None:
    resting.write_bytes(b"no database at all, of no version" * 100)
    assert glance_at(rested(resting)) is None
    assert "damaged" in tuner.studies(resting.parent.parent)[0].activity
