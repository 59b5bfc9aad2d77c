from __future__ import annotations

import math
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import NOW, note, opened, same, texts

from tuner.errors import StudyBusy, StudyError, StudyNotFound
from tuner.record.database import refuse_network_filesystem
from tuner.record.events import Reported
from tuner.record.lease import FOREIGN_LEASE_S
from tuner.record.reports import Row, objective_rows, pack_reports, unpack_reports
from tuner.record.store import Store


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "night" / "study.db"


@pytest.fixture
def store(place: Path) -> typing.Iterator[Store]:
    store = Store.create(place)
    store.acquire(NOW)
    yield store
    store.close()


# ── records there and back ──────────────────────────────────────────────────────────────────────

rows = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["score", "loss", "β", ""]), st.floats(), st.floats()),
    min_size=1,
)


@given(rows)
def test_packed_reports_unpack_to_the_same_rows(rows: list[Row]) -> None:
    packed = pack_reports(3, 1, rows)
    assert packed.last_step == rows[-1][0]
    found = list(unpack_reports(packed))
    assert same([list(row) for row in rows], [list(row) for row in found])


@given(rows, st.sampled_from(["score", "loss", "never reported"]))
def test_the_rows_of_one_score_are_those_of_all_that_bear_its_name(rows: list[Row], name: str) -> None:
    packed = pack_reports(3, 1, rows)
    expected = [[step, value] for step, found, value, _ in rows if found == name]
    assert same(expected, [list(pair) for pair in objective_rows(packed, name)])


# ── appending ───────────────────────────────────────────────────────────────────────────────────


# ── reading while another writes ────────────────────────────────────────────────────────────────


def test_a_study_in_a_read_only_folder_can_be_read(place: Path) -> None:
    store = Store.create(place)
    store.acquire(NOW)
    store.append([opened(), note("kept")], NOW)
    store.close()
    place.chmod(0o400)
    place.parent.chmod(0o500)
    try:
        reader = Store.open(place)
        assert texts(reader) == ["kept"]
        reader.close()
    finally:
        place.parent.chmod(0o700)


def test_a_copied_file_is_the_whole_study_once_its_coordinator_has_closed(place: Path, tmp_path: Path) -> None:
    store = Store.create(place)
    store.acquire(NOW)
    store.append([note("kept")], NOW)
    store.close()
    assert sorted(path.name for path in place.parent.iterdir()) == ["study.db"]
    copy = tmp_path / "elsewhere" / "study.db"
    copy.parent.mkdir()
    copy.write_bytes(place.read_bytes())
    reader = Store.open(copy)
    assert texts(reader) == ["kept"]
    reader.close()


@pytest.mark.parametrize("name", ["with space", "100%", "a?b", "a#b", "größe"])
def test_a_folder_may_be_called_anything(tmp_path: Path, name: str) -> None:
    place = tmp_path / name / "study.db"
    store = Store.create(place)
    store.acquire(NOW)
    store.append([note("kept")], NOW)
    store.close()
    assert place.is_file()
    place.parent.chmod(0o500)
    reader = Store.open(place)
    assert texts(reader) == ["kept"]
    reader.close()
    place.parent.chmod(0o700)


def test_a_new_studys_folder_is_private(place: Path, store: Store) -> None:
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


# ── what is not a study ─────────────────────────────────────────────────────────────────────────


def test_whoever_sees_a_database_finds_it_whole(place: Path) -> None:
    seen: list[str] = []

    def looks() -> None:
        while len(seen) < 10:
            if place.is_file():
                store = Store.open(place)
                seen.append(store.brief()["kind"])
                store.close()

    watchers = [threading.Thread(target=looks) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    makers = [threading.Thread(target=lambda: Store.create(place).close()) for _ in range(2)]
    for thread in makers:
        thread.start()
    for thread in (*makers, *watchers):
        thread.join(20)
    assert len(seen) >= 10
    assert [path.name for path in place.parent.iterdir() if not path.name.startswith("study.db")] == []


def test_a_missing_study_is_named(place: Path) -> None:
    with pytest.raises(StudyNotFound, match=r"study\.db is missing"):
        Store.open(place)
    assert not place.parent.exists()


def test_a_file_that_is_no_database_is_refused_with_a_sentence(place: Path) -> None:
    place.parent.mkdir()
    place.write_bytes(b"once upon a time" * 100)
    with pytest.raises(StudyError, match="damaged or no study"):
        Store.open(place)
    with pytest.raises(StudyError, match="damaged or no study"):
        Store.create(place)


def test_another_programs_database_holds_no_study(place: Path) -> None:
    place.parent.mkdir()
    with sqlite3.connect(place) as other:
        other.execute("create table songs (title text)")
    other.close()
    with pytest.raises(StudyError, match="holds no study"):
        Store.open(place)


# ── the lease ───────────────────────────────────────────────────────────────────────────────────


def test_a_living_coordinator_keeps_others_out_and_is_named(place: Path, store: Store) -> None:
    second = Store.create(place)
    with pytest.raises(StudyBusy, match=rf"pid {os.getpid()} on .*, last heard 5 s ago"):
        second.acquire(NOW + 5)
    assert second.holder(NOW) == store.holder(NOW)
    assert store.holder(NOW) == (os.uname().nodename, os.getpid())
    second.close()
    store.append([note("still mine")], NOW)


def test_a_dead_coordinator_is_taken_over_at_once_and_was_not_left_clean(place: Path) -> None:
    dies = "import os, sys; from pathlib import Path; from tuner.record.store import Store; "
    dies += f"s = Store.create(Path(sys.argv[1])); s.acquire({NOW}); os._exit(0)"
    subprocess.run([sys.executable, "-c", dies, str(place)], check=True, timeout=120)
    store = Store.create(place)
    assert store.holder(NOW) is None
    store.acquire(NOW)
    assert not store.left_clean
    store.append([note("mine now")], NOW)
    store.close()


def lease_of_another_host(place: Path) -> None:
    with sqlite3.connect(place) as database:
        database.execute("update lease set host = 'node-7'")
    database.close()


def test_another_hosts_coordinator_is_taken_over_once_its_heart_has_stopped(place: Path, store: Store) -> None:
    lease_of_another_host(place)
    second = Store.create(place)
    with pytest.raises(StudyBusy, match="on node-7"):
        second.acquire(NOW + FOREIGN_LEASE_S - 1)
    second.acquire(NOW + FOREIGN_LEASE_S + 1)
    with pytest.raises(StudyBusy, match="took the study over"):
        store.append([note("late")], NOW)
    second.append([note("mine")], NOW)
    assert texts(second) == ["mine"]
    second.close()


def test_a_heartbeat_keeps_the_lease_when_nothing_is_written(place: Path, store: Store) -> None:
    lease_of_another_host(place)
    store.beat(NOW + 0.1)  # too soon to be worth a commit
    second = Store.create(place)
    assert second.holder(NOW + FOREIGN_LEASE_S + 0.05) is None
    store.beat(NOW + 10)
    assert second.holder(NOW + FOREIGN_LEASE_S + 0.05) is not None
    second.close()


# ── requests ────────────────────────────────────────────────────────────────────────────────────


# ── in brief ────────────────────────────────────────────────────────────────────────────────────


# ── network filesystems ─────────────────────────────────────────────────────────────────────────

MOUNTS = [
    "/dev/sda1 / ext4 rw 0 0",
    "server:/home /home nfs4 rw 0 0",
    "/dev/sdb1 /home/ann/local\\040disk xfs rw 0 0",
    "team /mnt/team fuse.sshfs rw 0 0",
]


@pytest.mark.parametrize("folder", ["/home", "/home/ann/results", "/mnt/team/x"])
def test_a_database_on_a_network_filesystem_is_refused_with_the_way_out(folder: str) -> None:
    with pytest.raises(StudyError, match=r"a network filesystem \((nfs4|fuse.sshfs)\).*store="):
        refuse_network_filesystem(Path(folder), MOUNTS)


@pytest.mark.parametrize("folder", ["/", "/var/results", "/homes", "/home/ann/local disk/results", "/mnt/teams"])
def test_a_database_on_a_local_disk_is_welcome_also_below_a_network_mount(folder: str) -> None:
    refuse_network_filesystem(Path(folder), MOUNTS)


def test_a_machine_without_a_list_of_mounts_refuses_nothing() -> None:
    refuse_network_filesystem(Path("/anywhere"), [])


def test_reports_can_hold_what_is_not_a_number(store: Store) -> None:
    rows = [(1, "score", math.nan, NOW), (2, "score", math.inf, NOW), (3, "score", -0.0, NOW)]
    store.append([pack_reports(0, 0, rows)], NOW)
    (found,) = store.read(Reported)
    values = [value for _, _, value, _ in unpack_reports(found)]
    assert math.isnan(values[0])
    assert values[1] == math.inf
    assert math.copysign(1.0, values[2]) == -1.0
