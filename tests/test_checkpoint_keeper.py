from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from sweeping import usually

import tuner
from tuner import Run, Space, linear
from tuner.api.study import Study
from tuner.errors import CheckpointError
from tuner.worker import checkpoints
from tuner.worker.manifest import MANIFEST
from tuner.worker.state import ObjectState


class Weights:
    """A state that counts its steps."""

    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.steps = saved["steps"]


def train(run: Run) -> None:
    weights = Weights()
    run.state(weights)
    for _ in run.steps(6):
        weights.steps += 1
        run.report(score=run.params["x"], steps=weights.steps)


def fails_once(run: Run) -> None:
    """Raises at its fifth step unless a file says that it has."""
    weights = Weights()
    run.state(weights)
    for step in run.steps(6):
        marker = Path("failed")
        if step == 4 and not marker.exists():
            marker.touch()
            raise ValueError("once")
        weights.steps += 1
        run.report(score=-step, steps=weights.steps)


_sweep = usually(train, Space(x=linear(0.0, 1.0)), name="s", trials=2, stopping="off", checkpoint_every_s=0)


def sweep(results: Path, function: Any = train, **options: Any) -> Study:
    found = _sweep(results, function, **options)
    found.close()
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Every checkpoint below a folder, by its place: what its manifest says."""
    return {str(path.parent.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob(MANIFEST))}


def notes(results: Path) -> str:
    with_notes = tuner.open("s", results=results)
    try:
        return " ".join(with_notes.notes["text"])
    finally:
        with_notes.close()


def forget_the_record(results: Path) -> None:
    for path in (results / "s").glob("study.db*"):
        path.unlink()


def test_checkpoints_whose_database_is_gone_are_set_aside_with_a_sentence(tmp_path: Path) -> None:
    sweep(tmp_path)
    root = tmp_path / "s" / "checkpoints"
    before = contents(root)
    forget_the_record(tmp_path)
    sweep(tmp_path, trials=1)
    assert contents(root / "set-aside-1") == before
    assert f"{len(before)} checkpoints" in notes(tmp_path)
    assert "set aside" in notes(tmp_path)


def test_checkpoints_set_aside_twice_lie_beside_one_another(tmp_path: Path) -> None:
    root = tmp_path / "s" / "checkpoints"
    for _ in range(3):
        sweep(tmp_path, trials=1)
        forget_the_record(tmp_path)
    assert sorted(path.name for path in root.iterdir()) == ["0", "set-aside-1", "set-aside-2"]
    assert contents(root / "set-aside-1") == contents(root / "set-aside-2") != {}


def test_checkpoints_younger_than_their_database_are_set_aside_and_those_it_knows_stay(tmp_path: Path) -> None:
    sweep(tmp_path, trials=2)
    root = tmp_path / "s" / "checkpoints"
    known = contents(root)
    shutil.copy(tmp_path / "s" / "study.db", tmp_path / "copy.db")
    sweep(tmp_path, trials=4)
    unknown = {place: told for place, told in contents(root).items() if place not in known}
    forget_the_record(tmp_path)
    shutil.copy(tmp_path / "copy.db", tmp_path / "s" / "study.db")
    sweep(tmp_path, trials=3)
    assert contents(root / "set-aside-1") == unknown != {}
    assert {place: told for place, told in contents(root).items() if place in known} == known


@pytest.mark.parametrize(("age_s", "kept"), [(-3600.0, False), (3600.0, True)], ids=["before", "after"])
def test_what_the_record_never_heard_of_is_removed_only_where_a_crash_explains_it(
    tmp_path: Path, age_s: float, kept: bool
) -> None:
    sweep(tmp_path)
    known = tmp_path / "s" / "checkpoints" / "0" / "0-6"
    unheard = shutil.copytree(known, known.with_name("0-99"))
    written = (known / MANIFEST).stat().st_mtime + age_s
    os.utime(unheard / MANIFEST, (written, written))
    sweep(tmp_path)
    assert not unheard.exists()
    assert (tmp_path / "s" / "checkpoints" / "set-aside-1" / "0" / "0-99").is_dir() == kept
    assert known.is_dir()


def test_foreign_folders_files_and_links_among_the_checkpoints_are_left_alone(tmp_path: Path) -> None:
    sweep(tmp_path)
    root, elsewhere = tmp_path / "s" / "checkpoints", tmp_path / "elsewhere"
    whole = root / "0" / "0-6"
    for place in (
        elsewhere / "0-1",
        root / "notes" / "mine",
        root / "0" / "0-x",
        root / "0" / "mine",
        root / "\u0663" / "0-1",
        root / "-1" / "0-1",
        root / "00" / "0-1",
        root / "1e3" / "0-1",
        root / ("9" * 40) / "0-1",
        root / "a\nb" / "0-1",
    ):
        shutil.copytree(whole, place)
    (root / "README").write_text("mine")
    (root / "7").symlink_to(elsewhere)
    (root / "0" / "0-9").symlink_to(elsewhere / "0-1")
    (root / "8").symlink_to(root / "8")
    (root / "1" / "0-7").write_text("no folder")
    there = sorted(str(path) for path in (*root.rglob("*"), *elsewhere.rglob("*")))
    sweep(tmp_path)
    assert sorted(str(path) for path in (*root.rglob("*"), *elsewhere.rglob("*"))) == there


def test_a_folder_in_a_checkpoints_place_that_cannot_be_deleted_ends_no_sweep(tmp_path: Path) -> None:
    sweep(tmp_path)
    unheard = tmp_path / "s" / "checkpoints" / "0" / "0-99"
    shutil.copytree(unheard.with_name("0-6"), unheard)
    (unheard / "thesis.tex").write_text("mine")
    sweep(tmp_path)
    assert (unheard / "thesis.tex").read_text() == "mine"
    assert "thesis.tex" in notes(tmp_path)


def test_a_whole_checkpoint_that_is_not_the_one_recorded_is_passed_over_for_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep(tmp_path, fails_once, trials=1)
    root = tmp_path / "s" / "checkpoints" / "0"
    shutil.rmtree(root / "0-4")
    shutil.copytree(root / "0-1", root / "0-4")
    checkpoints.verify(root / "0-4")  # whole in itself
    sweep(tmp_path, fails_once, trials=1, rerun="failed")
    study = tuner.open("s", results=tmp_path)
    try:
        assert study.segments["from_step"].tolist() == [0, 1]
        assert study.reports.query("name == 'steps'").groupby("step")["value"].last().tolist() == [1, 2, 3, 4, 5, 6]
        assert any("0-4" in note and "recorded" in note for note in study.notes["text"])
    finally:
        study.close()


def test_what_lies_in_the_place_of_a_dropped_checkpoint_is_deleted_only_if_it_is_that_checkpoint(
    tmp_path: Path,
) -> None:
    sweep(tmp_path)
    root = tmp_path / "s" / "checkpoints" / "0"
    kept = {path.name for path in root.iterdir()}
    dropped = next(root / f"0-{step}" for step in range(1, 7) if f"0-{step}" not in kept)
    shutil.copytree(root / "0-6", dropped)
    sweep(tmp_path)
    assert not dropped.exists()
    assert (root.parent / "set-aside-1" / "0" / dropped.name / MANIFEST).exists()


def test_a_copy_of_a_checkpoint_is_the_one_recorded_or_none(tmp_path: Path) -> None:
    saved = checkpoints.save(tmp_path / "0-1", step=1, state=ObjectState(Weights()), settings={})
    other = checkpoints.save(tmp_path / "0-2", step=2, state=ObjectState(Weights()), settings={})
    with pytest.raises(CheckpointError, match="recorded"):
        checkpoints.copy(tmp_path / "0-1", tmp_path / "copy", sha256=other.sha256)
    (tmp_path / "0-2" / "state" / "link").symlink_to("/etc/hostname")
    with pytest.raises(CheckpointError, match="link"):
        checkpoints.copy(tmp_path / "0-2", tmp_path / "copy", sha256=other.sha256)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-1", "0-2"]
    checkpoints.copy(tmp_path / "0-1", tmp_path / "copy", sha256=saved.sha256)
    assert checkpoints.verify(tmp_path / "copy", sha256=saved.sha256).step == 1
