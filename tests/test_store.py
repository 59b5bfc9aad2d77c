from __future__ import annotations

import math
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import StudyBusy, StudyError, StudyNotFound
from tuner.record import events as rec
from tuner.record.database import refuse_network_filesystem
from tuner.record.events import Noted, Reported, Requested, StudyOpened, TrialCreated, TrialEnded
from tuner.record.lease import FOREIGN_LEASE_S
from tuner.record.reports import Row, objective_rows, pack_reports, unpack_reports
from tuner.record.store import Store

NOW = 1_800_000_000.0

# ── words for the tests ─────────────────────────────────────────────────────────────────────────


def note(text: str, trial: int | None = None) -> Noted:
    return Noted(trial=trial, step=None, by="test", text=text, at=NOW)


def opened(goal: str = "maximize") -> StudyOpened:
    return StudyOpened(
        name="night",
        kind="sweep",
        identity={"objective": "score", "goal": goal},
        function="m:f",
        source_sha256="",
        version="0",
        at=NOW,
    )


def created(trial: int) -> TrialCreated:
    return TrialCreated(
        trial=trial, purpose="search", round=None, parent=None, seed=0, params={}, seen=0, why="", memo=None, at=NOW
    )


def ended(trial: int, state: Any = "completed", score: float | None = None) -> TrialEnded:
    return TrialEnded(
        trial=trial,
        segment=0,
        state=state,
        why="",
        step=1,
        best_step=1,
        best_score=score,
        started=NOW,
        seconds=1.0,
        node="",
        error="",
        traceback="",
        at=NOW,
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "night" / "study.db"


@pytest.fixture
def store(place: Path) -> typing.Iterator[Store]:
    store = Store.create(place)
    store.acquire(NOW)
    yield store
    store.close()


@pytest.fixture(scope="module")
def memory() -> typing.Iterator[Store]:
    store = Store.in_memory()
    store.acquire(NOW)
    yield store
    store.close()


def texts(store: Store) -> list[str]:
    return [each.text for each in store.read(Noted)]


# ── records there and back ──────────────────────────────────────────────────────────────────────

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """What a field of this type may hold; a lone float is never NaN, which databases have no word for."""
    if annotation is Any:
        return json_values
    plain: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False),
        str: words,
        bytes: st.binary(),
    }
    if annotation in plain:
        return plain[annotation]
    if typing.get_origin(annotation) is typing.Literal:
        return st.sampled_from(typing.get_args(annotation))
    return st.one_of([st.none() if each is type(None) else values_of(each) for each in typing.get_args(annotation)])


def any_of(record: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(record)
    return st.builds(record, **{spec.name: values_of(hints[spec.name]) for spec in fields(record)})


def same(one: Any, other: Any) -> bool:
    """Equal, and NaN where NaN."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and type(one) is type(other)


WRITTEN = [record for record in rec.TABLES.values() if record is not Requested]


@given(st.data())
@pytest.mark.parametrize("record", WRITTEN, ids=lambda record: record.__name__)
def test_every_record_comes_back_as_it_was_written(memory: Store, record: type[Any], data: st.DataObject) -> None:
    written = data.draw(st.lists(any_of(record), min_size=1, max_size=3))
    before = memory.version()
    memory.append(written, NOW)
    found, _ = memory.follow(before)
    for one, other in zip(written, found, strict=True):
        assert type(one) is type(other)
        assert all(same(getattr(one, spec.name), getattr(other, spec.name)) for spec in fields(record))


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


def test_records_of_many_types_are_read_in_the_order_written(store: Store) -> None:
    written: list[rec.Record] = [opened(), created(0), note("one"), created(1), note("two"), ended(0)]
    store.append(written[:3], NOW)
    store.append(written[3:], NOW)
    assert list(store.read()) == written
    assert texts(store) == ["one", "two"]


def test_an_append_is_all_or_nothing(store: Store) -> None:
    store.append([note("before")], NOW)
    unwritable = Noted(trial=1, step=None, by="test", text="at no time", at=None)  # type: ignore[arg-type]
    with pytest.raises(StudyError):
        store.append([created(0), note("with it"), unwritable], NOW)
    assert list(store.read()) == [note("before")]
    store.append([note("after")], NOW)
    assert texts(store) == ["before", "after"]


def test_nobody_appends_without_the_lease(place: Path, store: Store) -> None:
    reader = Store.open(place)
    with pytest.raises(StudyError, match="without the lease"):
        reader.append([note("mine")], NOW)
    reader.close()


def test_the_version_grows_with_every_append_and_goes_on_after_a_restart(place: Path) -> None:
    seen = [0]
    for _ in range(3):
        store = Store.create(place)
        store.acquire(NOW)
        for _ in range(2):
            store.append([note("more"), created(0)], NOW)
            seen.append(store.version())
        store.close()
    assert seen == [0, 2, 4, 6, 8, 10, 12]


def test_reports_are_read_by_trial_or_all(store: Store) -> None:
    flushes = [pack_reports(trial, 0, [(step, "score", 0.5, NOW)]) for step in (1, 2) for trial in (0, 1)]
    store.append(flushes, NOW)
    assert list(store.reports()) == flushes
    assert list(store.reports(1)) == flushes[1::2]
    assert list(store.read()) == []  # without being named, reports are left out


# ── reading while another writes ────────────────────────────────────────────────────────────────


def test_a_snapshot_is_of_one_moment(place: Path, store: Store) -> None:
    store.append([note("one")], NOW)
    reader = Store.open(place)
    with reader.snapshot():
        version = reader.version()
        store.append([note("two")], NOW)
        assert texts(reader) == ["one"]
        assert reader.version() == version
    assert texts(reader) == ["one", "two"]
    reader.close()


def test_following_returns_each_record_once_reports_included(place: Path, store: Store) -> None:
    reader = Store.open(place)
    flush = pack_reports(0, 0, [(1, "score", 0.5, NOW)])
    store.append([created(0), flush], NOW)
    first, after = reader.follow(0)
    assert first == [created(0), flush]
    assert reader.follow(after) == ([], after)
    store.append([ended(0)], NOW)
    second, last = reader.follow(after)
    assert second == [ended(0)]
    assert last > after
    reader.close()


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


def test_a_closed_study_has_no_holder_and_was_left_clean(place: Path, store: Store) -> None:
    store.close()
    second = Store.create(place)
    assert second.holder(NOW) is None
    second.acquire(NOW)
    assert second.left_clean
    second.close()


def test_a_coordinator_may_say_that_it_leaves_in_disorder(place: Path, store: Store) -> None:
    store.left_clean = False
    store.close()
    second = Store.create(place)
    second.acquire(NOW)
    assert not second.left_clean
    second.close()


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


def test_anybody_may_ask_and_only_new_requests_are_handed_out(place: Path, store: Store) -> None:
    face = Store.open(place)
    first = face.request("pause", {"β": [1, None]}, by="ann", why="lunch")
    (found,) = store.new_requests()
    assert (found.request, found.verb, found.arguments, found.by, found.why) == (
        first,
        "pause",
        {"β": [1, None]},
        "ann",
        "lunch",
    )
    assert store.new_requests() == []
    second = face.request("resume", {}, by="ann", why="")
    assert [each.request for each in store.new_requests()] == [second]
    assert first != second
    face.close()


def test_the_same_request_twice_is_one(place: Path, store: Store) -> None:
    face = Store.open(place)
    assert face.request("stop", {}, by="ann", why="", request="abc") == "abc"
    assert face.request("stop", {}, by="ann", why="", request="abc") == "abc"
    assert [each.request for each in store.new_requests()] == ["abc"]
    face.close()


def test_an_answer_is_found_by_its_request_the_latest_first(place: Path, store: Store) -> None:
    face = Store.open(place)
    assert face.answer("abc") is None
    for state in ("accepted", "applied"):
        answered = rec.Answered(request="abc", state=state, step=None, detail=state, at=NOW)
        store.append([answered], NOW)
        assert face.answer("abc") == answered
    assert face.answer("other") is None
    face.close()


# ── in brief ────────────────────────────────────────────────────────────────────────────────────


def test_a_brief_of_an_empty_store_is_empty(store: Store) -> None:
    assert store.brief() == {"kind": "", "objective": "", "trials": 0, "ended": 0, "best": None, "best_trial": None}


@pytest.mark.parametrize(("goal", "best", "trial"), [("maximize", 0.9, 1), ("minimize", 0.1, 3)])
def test_a_brief_counts_and_finds_the_best_that_did_not_diverge(
    store: Store, goal: str, best: float, trial: int
) -> None:
    ends = [ended(0, score=0.5), ended(1, score=0.9), ended(2, "diverged", score=0.0), ended(3, "pruned", score=0.1)]
    diverged_high = ended(4, "diverged", score=1.0)
    store.append([opened(goal), *map(created, range(6)), *ends, diverged_high], NOW)
    brief = store.brief()
    assert (brief["kind"], brief["objective"], brief["trials"], brief["ended"]) == ("sweep", "score", 6, 5)
    assert (brief["best"], brief["best_trial"]) == (best, trial)


def test_a_trial_that_ended_twice_counts_once_in_brief_and_by_its_last_end(store: Store) -> None:
    store.append([opened(), created(0), ended(0, "failed", score=0.9), ended(0, score=0.4)], NOW)
    assert (store.brief()["ended"], store.brief()["best"]) == (1, 0.4)


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
