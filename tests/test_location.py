from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sweeping import usually

import tuner
from tuner.errors import StudyError, StudyNotFound
from tuner.record.location import Place, names, touched

night = usually()


@pytest.mark.parametrize("name", ["night", "a", "7", "Adam-3.1_b", "x" * 100])
def test_a_study_may_be_called_by_any_plain_folder_name(name: str) -> None:
    assert Place.of(name, "results", None).folder.name == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "a/b", "a\\b", "a b", "größe", "a\n", "x" * 101, 7, None]
)
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(StudyError, match="names are letters, digits"):
        Place.of(name, "results", None)


def test_a_study_lies_in_a_folder_of_its_name_with_its_database(tmp_path: Path) -> None:
    place = Place.of("night", tmp_path, None)
    assert place.folder == tmp_path / "night"
    assert place.database == tmp_path / "night" / "study.db"


def test_results_may_be_relative_or_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Place.of("night", "results", None).folder == tmp_path / "results" / "night"
    assert Place.of("night", "~/results", None).folder == Path.home() / "results" / "night"


def test_the_database_may_lie_elsewhere_or_nowhere(tmp_path: Path) -> None:
    elsewhere = Place.of("night", tmp_path, f"sqlite:///{tmp_path}/records/night.db")
    assert elsewhere.database == tmp_path / "records" / "night.db"
    assert elsewhere.folder == tmp_path / "night"
    assert Place.of("night", tmp_path, "memory").database is None


@pytest.mark.parametrize("store", ["sqlite:///", "night.db", "mysql://host/db", "sqlite://", ""])
def test_another_place_is_refused_with_one_that_works(store: str) -> None:
    with pytest.raises(StudyError, match=r"sqlite:////absolute/path/night\.db"):
        Place.of("night", "results", store)


def test_a_study_that_is_missing_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    for name in ("night", "noon"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.db").touch()
    assert Place.of("night", tmp_path, None).existing() == tmp_path / "night" / "study.db"
    with pytest.raises(StudyNotFound, match=r"no study 'nigth' .*night\?"):
        Place.of("nigth", tmp_path, None).existing()
    with pytest.raises(StudyNotFound, match="ended with its process"):
        Place.of("night", tmp_path, "memory").existing()


def test_studies_are_the_folders_with_a_database(tmp_path: Path) -> None:
    assert names(tmp_path / "nowhere") == []
    for name in ("b", "a", "no-study"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        (tmp_path / name / "study.db").touch()
    (tmp_path / "file").touch()
    assert names(tmp_path) == ["a", "b"]


def test_a_copied_study_is_called_what_its_folder_is_called(tmp_path: Path) -> None:
    night(tmp_path, trials=4).close()
    shutil.copytree(tmp_path / "night", tmp_path / "copy")
    with tuner.open("copy", results=tmp_path) as study:
        assert study.name == "copy"
        assert "confirm copy" in str(study.explain())
    with night(tmp_path, name="copy", trials=5) as study:
        assert (study.name, len(study.trials)) == ("copy", 5)


def test_a_log_that_goes_while_it_is_looked_at_is_as_if_it_had_gone_before(tmp_path: Path) -> None:
    (tmp_path / "study.db").touch()
    (tmp_path / "study.db-wal").symlink_to(tmp_path / "gone")  # is listed, and is not there
    assert touched(tmp_path) == (tmp_path / "study.db").stat().st_mtime


def test_a_folder_that_nobody_may_read_tells_nothing_of_when_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert touched(tmp_path / "file") == touched(tmp_path / "missing") == 0
