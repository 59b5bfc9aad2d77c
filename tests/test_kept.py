"""What a long record came to is gone on from, and never believed where it does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import facts
from hypothesis import given
from hypothesis import strategies as st
from test_state import History, histories

from tuner.record.kept import NAME, keep, kept, worthwhile
from tuner.record.reader import fold
from tuner.record.store import Store

NOW = 1_700_000_000.0


def gone_on_with(history: History, first: int) -> None:
    """Keeps the fold after so many records, and compares what is gone on with to what is folded whole."""
    with TemporaryDirectory() as folder, Store.in_memory() as store:
        store.acquire(NOW)
        store.append(history.records[:first], NOW)
        keep(Path(folder), store, *fold(store))
        assert kept(Path(folder), store) is not None
        store.append(history.records[first:], NOW)
        gone_on, place = fold(store, "", Path(folder))
        whole, after = fold(store)
        assert place == after
        assert facts(gone_on) == facts(whole)
        for number, trial in gone_on.live.items():
            assert trial is gone_on.trials[number]


@pytest.mark.long
@given(histories(), st.floats(0, 1))
def test_a_study_gone_on_with_is_what_it_is_from_its_beginning(history: History, share: float) -> None:
    gone_on_with(history, max(1, round(share * len(history.records))))


@pytest.mark.parametrize("first", [3, 8, 12, 14])
def test_a_run_that_goes_back_is_gone_on_with_wherever_it_was_kept(first: int) -> None:
    history = History()
    history.trained(0.2, 0.4)
    history.start(history.create())
    history.report(1, (1, 0.5), (2, 0.9))
    history.create()
    history.open(1, "revert", 1, 0)
    history.report(1, (2, 0.3), (3, 0.35))
    history.trained(0.45, state="diverged")
    gone_on_with(history, first)


def test_a_trial_that_goes_on_leaves_the_segments_of_others_that_began_alike_as_they_are() -> None:
    history = History()
    history.trained(0.2)
    history.trained(0.4)
    kept_at = len(history.records)
    history.open(1, "retry", 1, 0)
    gone_on_with(history, kept_at)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    history = History()
    for score in (0.2, 0.7):
        history.trained(score)
    with Store.create(tmp_path / "study.db") as store:
        store.acquire(NOW)
        store.append(history.records, NOW)
        keep(tmp_path, store, *fold(store))
        yield store


def _torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def _flipped(file: Path) -> None:
    told = bytearray(file.read_bytes())
    told[len(told) * 3 // 4] ^= 1
    file.write_bytes(told)


def _of_another_tuner(file: Path) -> None:
    head, _, body = file.read_bytes().partition(b"\n")
    file.write_bytes(json.dumps(json.loads(head) | {"form": "another"}).encode() + b"\n" + body)


def _no_words(file: Path) -> None:
    file.write_bytes(b"\xff\x00")


@pytest.mark.parametrize("harm", [_torn, _flipped, _of_another_tuner, _no_words, Path.unlink])
def test_what_does_not_fit_is_not_believed(store: Store, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    assert kept(tmp_path, store) is not None
    harm(tmp_path / NAME)
    assert kept(tmp_path, store) is None
    assert facts(fold(store, "", tmp_path)[0]) == facts(fold(store)[0])


def test_what_was_kept_of_another_record_is_not_believed(store: Store, tmp_path: Path) -> None:
    other = History()
    for score in (0.1, 0.3, 0.5):
        other.trained(score)
    with Store.in_memory() as another:
        another.acquire(NOW)
        another.append(other.records, NOW)
        assert kept(tmp_path, another) is None
        assert len(fold(another, "", tmp_path)[0].trials) == 3


def test_it_is_private_and_holds_no_code(store: Store, tmp_path: Path) -> None:
    file = tmp_path / NAME
    assert file.stat().st_mode & 0o077 == 0
    assert [json.loads(line) is not None for line in file.read_text().splitlines()] == [True, True]


def test_a_short_record_is_not_worth_it_nor_little_that_is_new() -> None:
    assert not worthwhile(19_999, 0)
    assert worthwhile(20_000, 0)
    assert not worthwhile(500_000, 450_000)
    assert worthwhile(600_000, 450_000)
