"""What a store of records is to whoever writes, reads and asks: in a file of SQLite's, and in a team's PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import NOW, any_of, created, ended, note, opened, same, texts

import tuner
from tuner.errors import StudyError
from tuner.record import events as rec
from tuner.record.events import Noted, Requested
from tuner.record.location import Place
from tuner.record.reports import pack_reports
from tuner.record.store import Store


@dataclass(frozen=True)
class Home:
    """Where the studies of a test lie."""

    results: Path
    store: str | None

    def place(self, name: str = "night") -> Place:
        return Place.of(name, self.results, self.store)

    def create(self, name: str = "night") -> Store:
        return Store.create(self.place(name).existing_or_new())

    def open(self, name: str = "night") -> Store:
        return Store.open(self.place(name).existing())


@pytest.fixture(params=["sqlite", "postgres"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    if request.param == "sqlite":
        return Home(tmp_path, None)
    return Home(tmp_path, request.getfixturevalue("team_url"))


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    store = home.create()
    store.acquire(NOW)
    yield store
    store.close()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def roomy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One for many examples."""
    results = tmp_path_factory.mktemp("roomy")
    url = None if request.param == "sqlite" else request.getfixturevalue("team_server").database()
    with Home(results, url).create() as store:
        store.acquire(NOW)
        yield store


WRITTEN = [record for record in rec.TABLES.values() if record is not Requested]


@given(st.data())
@pytest.mark.parametrize("record", WRITTEN, ids=lambda record: record.__name__)
def test_every_record_comes_back_as_it_was_written(roomy: Store, record: type[Any], data: st.DataObject) -> None:
    written = data.draw(st.lists(any_of(record), min_size=1, max_size=3))
    before = roomy.version()
    roomy.append(written, NOW)
    found, _ = roomy.follow(before)
    for one, other in zip(written, found, strict=True):
        assert type(one) is type(other)
        assert all(same(getattr(one, spec.name), getattr(other, spec.name)) for spec in fields(record))


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


def test_nobody_appends_without_the_lease(home: Home, store: Store) -> None:
    reader = home.open()
    with pytest.raises(StudyError, match="without the lease"):
        reader.append([note("mine")], NOW)
    reader.close()


def test_the_version_grows_with_every_append_and_goes_on_after_a_restart(home: Home) -> None:
    seen = [0]
    for _ in range(3):
        store = home.create()
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


def test_a_snapshot_is_of_one_moment(home: Home, store: Store) -> None:
    store.append([note("one")], NOW)
    reader = home.open()
    with reader.snapshot():
        version = reader.version()
        store.append([note("two")], NOW)
        assert texts(reader) == ["one"]
        assert reader.version() == version
    assert texts(reader) == ["one", "two"]
    reader.close()


def test_following_returns_each_record_once_reports_included(home: Home, store: Store) -> None:
    reader = home.open()
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


def test_a_closed_study_has_no_holder_and_was_left_clean(home: Home, store: Store) -> None:
    store.close()
    second = home.create()
    assert second.holder(NOW) is None
    second.acquire(NOW)
    assert second.left_clean
    second.close()


def test_a_coordinator_may_say_that_it_leaves_in_disorder(home: Home, store: Store) -> None:
    store.left_clean = False
    store.close()
    second = home.create()
    second.acquire(NOW)
    assert not second.left_clean
    second.close()


def test_anybody_may_ask_and_only_new_requests_are_handed_out(home: Home, store: Store) -> None:
    face = home.open()
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


def test_the_same_request_twice_is_one(home: Home, store: Store) -> None:
    face = home.open()
    assert face.request("stop", {}, by="ann", why="", request="abc") == "abc"
    assert face.request("stop", {}, by="ann", why="", request="abc") == "abc"
    assert [each.request for each in store.new_requests()] == ["abc"]
    face.close()


def test_an_answer_is_found_by_its_request_the_latest_first(home: Home, store: Store) -> None:
    face = home.open()
    assert face.answer("abc") is None
    for state in ("accepted", "applied"):
        answered = rec.Answered(request="abc", state=state, step=None, detail=state, at=NOW)
        store.append([answered], NOW)
        assert face.answer("abc") == answered
    assert face.answer("other") is None
    face.close()


def test_a_brief_of_an_empty_store_is_empty(store: Store) -> None:
    nothing = {"kind": "", "objective": "", "trials": 0, "ended": 0, "aside": 0, "best": None, "best_trial": None}
    assert store.brief() == {**nothing, "delay": ""}


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


def test_the_best_in_brief_is_what_was_last_told_of_it_whatever_has_ended(store: Store) -> None:
    leads = [rec.Led(trial=trial, step=5, score=score, at=NOW) for trial, score in ((0, 0.4), (1, 0.6))]
    store.append([opened(), created(0), created(1), *leads, ended(0, score=0.4)], NOW)
    assert (store.brief()["best"], store.brief()["best_trial"]) == (0.6, 1)
    store.append([rec.Led(trial=None, step=None, score=None, at=NOW)], NOW)
    assert (store.brief()["best"], store.brief()["best_trial"]) == (None, None)


def delayed(trial: int, why: str) -> rec.TrialDelayed:
    return rec.TrialDelayed(trial=trial, why=why, at=NOW)


def test_the_first_trial_that_waits_in_a_workers_hands_is_told_of_until_it_does_no_longer(home: Home) -> None:
    def told(store: Store) -> tuple[str, str]:
        (listed,) = tuner.studies(home.results, home.store)
        return store.brief()["delay"], listed.activity.partition(" (pid")[0]

    with home.create() as store:
        store.acquire(time.time())
        waits = [delayed(1, "waiting for its checkpoint"), delayed(2, "waiting as well")]
        store.append([opened(), *map(created, range(4)), *waits, delayed(0, "waiting"), ended(0)], NOW)
        assert told(store) == ("trial 1 is waiting for its checkpoint",) * 2
        store.append([delayed(1, "")], NOW)
        assert told(store) == ("trial 2 is waiting as well",) * 2
        lost = rec.TrialHeld(trial=2, state="lost", step=0, why="its node is gone", at=NOW)
        store.append([lost], NOW)
        assert told(store) == ("", "running")


def test_a_list_of_studies_says_of_each_what_its_store_says(home: Home) -> None:
    for name, goal, lead in (("led", "maximize", 0.7), ("down", "minimize", None), ("up", "maximize", None)):
        with home.create(name) as store:
            store.acquire(NOW)
            store.append([opened(goal), *map(created, range(3)), ended(0, score=0.2), ended(1, score=0.5)], NOW)
            if lead is not None:
                store.append([rec.Led(trial=2, step=1, score=lead, at=NOW)], NOW)
    home.create("empty").close()
    told = {each.name: each for each in tuner.studies(home.results, home.store)}
    assert {name: (each.best, each.best_trial) for name, each in told.items()} == {
        "led": (0.7, 2),
        "down": (0.2, 0),
        "up": (0.5, 1),
        "empty": (None, None),
    }
    for name, each in told.items():
        with home.open(name) as store:
            brief = store.brief()
        assert not brief.pop("delay")
        assert {word: getattr(each, word) for word in brief} == {**brief, "kind": each.kind}
