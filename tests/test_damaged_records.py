"""A record that somebody else has written to, or whose disk is failing: it opens, or is refused with a sentence."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweeping import sweep

import tuner
from tuner.errors import StudyError
from tuner.record.events import TABLES
from tuner.record.schema import newer

ANYTHING = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=60),
    st.text(max_size=20),
    st.sampled_from(["{", "[]", "{}", "null", "[" * 5000, '{"learning_rate": "fast"}', "\x1b[2J", -1, 99, 0.5]),
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a small sweep, as it lies on disk."""
    folder = tmp_path_factory.mktemp("whole")
    sweep(folder, trials=3, sampler="random", stopping="off").close()
    with closing(sqlite3.connect(folder / "night" / "study.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / "night" / "study.db"


def opens(folder: Path) -> None:
    """Reads all of the study, or is refused with a sentence."""
    try:
        with tuner.open("night", results=folder) as study:
            for table in (study.trials, study.segments, study.reports, study.notes, study.requests):
                str(table)
            str(study)
    except StudyError as refused:
        sentence = str(refused)
    else:
        return
    assert sentence.endswith(".")
    assert "\x1b" not in sentence


@given(table=st.sampled_from(sorted(TABLES)), value=ANYTHING, number=st.integers(0, 30))
def test_a_value_of_any_class_in_any_column_is_read_or_refused(
    database: Path, table: str, value: Any, number: int
) -> None:
    with TemporaryDirectory() as folder:
        place = Path(folder) / "night" / "study.db"
        place.parent.mkdir()
        place.write_bytes(database.read_bytes())
        with closing(sqlite3.connect(place)) as connection, connection:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            column = columns[number % len(columns)]
            try:
                connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
            except sqlite3.IntegrityError:
                return  # the database itself refuses it
        opens(Path(folder))


@given(at=st.integers(0, 200_000), bits=st.binary(min_size=1, max_size=200), cut=st.booleans())
def test_a_torn_or_flipped_database_is_read_or_refused(database: Path, at: int, bits: bytes, cut: bool) -> None:
    with TemporaryDirectory() as folder:
        place = Path(folder) / "night" / "study.db"
        place.parent.mkdir()
        whole = database.read_bytes()
        at %= len(whole)
        place.write_bytes(whole[:at] if cut else whole[:at] + bits + whole[at + len(bits) :])
        opens(Path(folder))


@pytest.mark.parametrize("left", [None, "x", b"1"])
def test_a_study_whose_version_a_bad_disk_has_taken_is_refused_as_damaged(left: Any) -> None:
    assert "damaged" in (newer("study.db", left) or "")
