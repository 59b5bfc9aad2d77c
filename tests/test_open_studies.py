from __future__ import annotations

import gc
import getpass
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import tuner
from tuner import Run, Space, linear
from tuner.api.handles import person
from tuner.errors import SettingsError, StudyError, TrialNotFound
from tuner.record.events import Requested
from tuner.record.store import Store


def train(run: Run) -> None:
    for _ in run.steps(2):
        run.report(score=run.params["x"])


def sweep(results: Path, **options: Any) -> tuner.Study:
    settings: dict[str, Any] = dict(name="s", objective="score", trials=2, executor="local", progress="off")
    return tuner.sweep(train, Space(x=linear(0.0, 1.0)), results=results, **(settings | options))


def open_files() -> list[int]:
    return sorted(int(path.name) for path in Path("/dev/fd").iterdir())


@contextmanager
def few_files() -> Iterator[None]:
    """This process may have forty files more open than now, and nobody looks for garbage."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files()[-1] + 40, before[1]))
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def test_a_study_may_be_opened_again_and_again_without_being_closed(tmp_path: Path) -> None:
    sweep(tmp_path)
    with few_files():
        for _ in range(60):
            study = tuner.open("s", results=tmp_path)
            assert study.best is not None
            assert len(study.curve(0).steps) == 2


def test_any_number_of_studies_may_be_open_at_a_time(tmp_path: Path) -> None:
    sweep(tmp_path)
    with few_files():
        opened = [tuner.open("s", results=tmp_path) for _ in range(60)]
        assert {len(study.curve(0).steps) for study in opened} == {2}


def test_a_handles_study_leaves_no_file_open(tmp_path: Path) -> None:
    sweep(tmp_path)
    with few_files(), tuner.attach("s", results=tmp_path) as handle:
        before = len(open_files())
        studies = [handle.study for _ in range(60)]
        assert [len(study.state.trials) for study in studies] == [2] * 60
        assert len(open_files()) <= before + 2  # SQLite keeps one for the next, while the handle holds its lock


def test_handles_that_nobody_closes_run_out_of_no_files(tmp_path: Path) -> None:
    sweep(tmp_path)
    with few_files():
        for _ in range(60):
            tuner.attach("s", results=tmp_path)


def test_whatever_is_asked_of_a_trial_that_never_was_says_so(tmp_path: Path) -> None:
    with sweep(tmp_path) as study:
        assert [flush.trial for flush in study.reported(1)] != []
        for ask in (study.trial, study.curve, study.traceback, study.printed, study.reported):
            with pytest.raises(TrialNotFound, match="7"):
                ask(7)


def test_a_study_that_holds_no_file_sees_what_is_recorded_later(tmp_path: Path) -> None:
    with sweep(tmp_path) as study:
        sweep(tmp_path, trials=5).close()
        with tuner.attach("s", results=tmp_path) as handle:
            assert handle.study.best is not None
        assert study.refresh()
        assert len(study.trials) == 5


def test_a_with_closes_a_study_a_handle_and_a_store(tmp_path: Path) -> None:
    sweep(tmp_path)
    with tuner.open("s", results=tmp_path) as study:
        assert len(study.reports) > 0
    with tuner.attach("s", results=tmp_path) as handle:
        assert handle.study.best is not None
    with Store.open(tmp_path / "s" / "study.db") as store:
        assert store.brief()["trials"] == 2
    for use in (lambda: study.reports, lambda: handle.stop(), lambda: store.brief()):
        with pytest.raises(StudyError, match="closed"):
            use()
    for each in (study, handle, store):
        each.close()  # once more does nothing


def test_a_with_that_ends_by_an_error_closes_too(tmp_path: Path) -> None:
    sweep(tmp_path)
    with pytest.raises(ZeroDivisionError), tuner.open("s", results=tmp_path) as study:
        raise ZeroDivisionError
    with pytest.raises(StudyError, match="closed"):
        _ = study.reports


# ── rights ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_database_elsewhere_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = Store.create(tmp_path / "far" / "s.db")
        with store:
            files = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "far").iterdir()}
    finally:
        os.umask(before)
    assert files == {"s.db": 0o600, "s.db-wal": 0o600, "s.db-shm": 0o600}
    assert (tmp_path / "far").stat().st_mode & 0o077 == 0


def test_a_sweep_whose_record_lies_elsewhere_keeps_it_private(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    sweep(tmp_path / "results", store=f"sqlite:///{shared}/s.db").close()
    assert (shared / "s.db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "results" / "s").stat().st_mode & 0o777 == 0o700


# ── who asks ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["supervisor", "tuner", "caller", "Supervisor", " supervisor\n"])
def test_nobody_asks_under_the_name_of_what_acts_beside_people(tmp_path: Path, name: str) -> None:
    sweep(tmp_path)
    with pytest.raises(SettingsError, match=name.strip()):
        tuner.attach("s", results=tmp_path, by=name)
    with Store.open(tmp_path / "s" / "study.db") as store:
        store.request("note", {"text": "mine", "trial": None}, by=name, why="")
        (request,) = store.read(Requested)
    assert request.by.strip().casefold() not in {"supervisor", "tuner", "caller"}


def test_a_user_whose_login_is_one_of_those_names_may_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "tuner")
    assert getpass.getuser() == "tuner"
    assert person() == "user tuner"
    assert person("ada") == "ada"


# ── about to begin ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("assignment", "kind"), [(None, "sweep"), ("run.json", "babysitting")])
def test_a_study_that_has_not_begun_is_listed_as_starting(tmp_path: Path, assignment: str | None, kind: str) -> None:
    (tmp_path / "s").mkdir()
    if assignment is not None:
        (tmp_path / "s" / assignment).write_text("{}")
    with Store.create(tmp_path / "s" / "study.db") as store:
        store.acquire(0.0)
        (summary,) = tuner.studies(tmp_path)
        assert (summary.kind, summary.activity.split()[0]) == (kind, "starting")
    (summary,) = tuner.studies(tmp_path)
    assert (summary.kind, summary.activity) == (kind, "never began")


def test_a_database_that_is_gone_is_said_to_be_so(tmp_path: Path) -> None:
    with sweep(tmp_path) as study:
        for path in (tmp_path / "s").glob("study.db*"):
            path.unlink()
        with pytest.raises(StudyError):
            _ = study.reports
    assert not (tmp_path / "s" / "study.db").exists()  # to look does not make one
