"""A glance at a study: of a file at rest as it lies, and what it says then is what a store says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sweeping import sweep

import tuner
from tuner.record.glance import glance_at
from tuner.record.store import Store


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
