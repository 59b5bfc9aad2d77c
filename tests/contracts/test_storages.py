"""What a storage of checkpoints is to whoever saves and reads: a folder, and object stores of several protocols."""

from __future__ import annotations

import os
import pickle
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import object_stores
import pytest

from tuner.errors import CheckpointError, TunerError
from tuner.worker.checkpoints import Written, restore
from tuner.worker.disk import HOST
from tuner.worker.manifest import MANIFEST
from tuner.worker.object_storage import ObjectStorage
from tuner.worker.state import FolderState, ObjectState
from tuner.worker.storage import FolderStorage, Storage, copied

NAME = "checkpoints/3/0-40"
SETTINGS = {"step": 40, "first": {"loss": 0.1 + 0.2}}


class Weights:
    def __init__(self, values: Any = (0.0,)) -> None:
        self.values = np.array(values)

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.values = state["values"]


@dataclass(frozen=True)
class Place:
    """A storage, and a way to look at it and to spoil it from outside."""

    storage: Storage
    files: Any
    root: str

    def save(self, name: str = NAME, values: Any = (1.0, 2.0), step: int = 40) -> Written:
        return self.storage.take(name, step=step, state=ObjectState(Weights(values)), settings=SETTINGS).write()

    def there(self) -> list[str]:
        return sorted(path.split(f"{self.root.strip('/')}/", 1)[1] for path in self.files.find(self.root))

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def values(self, name: str = NAME, sha256: str | None = None) -> list[float]:
        weights = Weights()
        with self.storage.fetched(name, sha256=sha256) as folder:
            assert restore(folder, ObjectState(weights)) == SETTINGS
        found: list[float] = weights.values.tolist()
        return found


@pytest.fixture(scope="module")
def s3() -> Iterator[object_stores.S3Server]:
    with object_stores.serving() as server:
        yield server


STORAGES = ["folder", "file", "memory", pytest.param("s3", marks=pytest.mark.long)]


def made(kind: str, request: pytest.FixtureRequest, folder: Path) -> Place:
    if kind == "folder":
        root = folder / "night"
        return Place(FolderStorage(root), fsspec.filesystem("file"), str(root))
    url = request.getfixturevalue("s3").bucket() if kind == "s3" else f"{kind}://{folder}/store"
    files, root = fsspec.core.url_to_fs(f"{url}/team/night", use_listings_cache=False, **_OPTIONS.get(kind, {}))
    return Place(ObjectStorage(f"{url}/team/night"), files, root)


_OPTIONS = {"file": {"auto_mkdir": True}}


@pytest.fixture(params=STORAGES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return made(request.param, request, tmp_path)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this machine keeps what is on its way: nothing may stay there."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def left(scratch: Path) -> list[Path]:
    return [path for path in scratch.glob("tuner-[0-9]*/**/*") if path.is_file()]


def test_what_is_saved_comes_back_bit_for_bit_and_nothing_stays_on_this_machine(place: Place, scratch: Path) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    written = place.save(values=values)
    assert place.values(sha256=written.sha256) == values.tolist()
    assert left(scratch) == []


def test_the_parts_of_a_checkpoint_are_the_same_everywhere(place: Place) -> None:
    written = place.save()
    parts = ["generators.npy", "manifest.json", "settings.json", "state/state.npy"]
    assert place.there() == [f"{NAME}/{part}" for part in parts]
    manifest = place.storage.look(NAME, sha256=written.sha256)
    assert (manifest.step, manifest.bytes, manifest.sha256) == (40, written.bytes, written.sha256)
    assert place.storage.claimed(NAME) == written.sha256


def test_files_of_the_users_own_come_back_under_any_name(place: Place) -> None:
    names = ["weights.bin", "deep/er/ä b.txt", "a[1]*?.bin", "100%#1.txt"]

    def save(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)

    read: list[str] = []
    state = FolderState(save, lambda folder: read.extend((folder / name).read_text() for name in names))
    place.storage.take(NAME, step=1, state=state, settings=SETTINGS).write()
    with place.storage.fetched(NAME) as folder:
        restore(folder, state)
    assert read == names


def test_the_generators_come_back_from_where_they_were(place: Place) -> None:
    random.seed(7)
    place.save()
    drawn = random.random()
    random.seed(8)
    place.values()
    assert random.random() == drawn


def test_saving_again_replaces_what_lay_there(place: Place) -> None:
    place.save(values=[1.0])
    second = place.save(values=[2.0])
    assert place.values(sha256=second.sha256) == [2.0]


@pytest.mark.parametrize("part", ["generators.npy", "settings.json", "state/state.npy", "manifest.json"])
def test_what_was_never_finished_is_no_checkpoint(place: Place, part: str) -> None:
    place.save()
    place.files.rm_file(place.path(f"{NAME}/{part}"))
    for ask in (place.storage.look, place.values):
        with pytest.raises(CheckpointError, match=r"missing|gone"):
            ask(NAME)
    assert (NAME in place.storage.lying()) == (part != MANIFEST)


@pytest.mark.parametrize("part", ["generators.npy", "settings.json", "state/state.npy", "manifest.json"])
def test_a_changed_byte_anywhere_is_refused_before_anything_is_loaded(place: Place, part: str, scratch: Path) -> None:
    written = place.save()
    content = bytearray(place.files.cat_file(place.path(f"{NAME}/{part}")))
    content[len(content) // 2] ^= 1
    place.files.pipe_file(place.path(f"{NAME}/{part}"), bytes(content))
    with pytest.raises(CheckpointError, match="torn"):
        place.values(sha256=written.sha256)
    assert left(scratch) == []


def test_a_file_of_another_size_is_seen_without_fetching_it(place: Place) -> None:
    place.save()
    place.files.pipe_file(place.path(f"{NAME}/settings.json"), b"{}")
    with pytest.raises(CheckpointError, match=r"settings\.json"):
        place.storage.look(NAME)


def test_a_whole_checkpoint_that_is_not_the_one_recorded_is_refused(place: Place) -> None:
    first, second = place.save(values=[1.0]), place.save(values=[2.0])
    for ask in (place.storage.look, place.storage.fetched):
        with pytest.raises(CheckpointError, match="recorded"):
            enter(ask(NAME, sha256=first.sha256))
    assert place.storage.look(NAME, sha256=second.sha256).sha256 == second.sha256


def enter(found: Any) -> None:
    """What is fetched is only looked at once somebody enters."""
    with found:
        pass


def test_a_checkpoint_that_is_not_there_is_told(place: Place) -> None:
    with pytest.raises(CheckpointError, match="gone"):
        place.storage.look(NAME)
    with pytest.raises(CheckpointError, match="gone"):
        place.values()
    assert place.storage.claimed(NAME) is None
    assert list(place.storage.lying()) == list(place.storage.halves()) == []


def test_a_deleted_checkpoint_is_gone_and_deleting_it_again_is_fine(place: Place) -> None:
    place.save()
    place.save("checkpoints/3/0-4", step=4)
    place.storage.delete(NAME)
    place.storage.delete(NAME)
    assert place.storage.lying() == ["checkpoints/3/0-4"]
    assert {name.split("/")[2] for name in place.there()} == {"0-4"}


def test_those_of_trials_are_found_and_strangers_are_left_out(place: Place) -> None:
    for name in ("checkpoints/3/0-40", "checkpoints/11/2-0", "beginning"):
        place.save(name)
    for stranger in ("3/notes.txt", "mine/0-1/manifest.json", "03/0-1/manifest.json", "3/0-x/manifest.json"):
        path = place.path(f"checkpoints/{stranger}")
        if "s3" not in place.files.protocol:
            place.files.makedirs(path.rpartition("/")[0], exist_ok=True)
        place.files.pipe_file(path, b"mine")
    assert list(place.storage.lying()) == ["checkpoints/11/2-0", "checkpoints/3/0-40"]


def test_those_set_aside_lie_where_no_trial_writes_whole(place: Place) -> None:
    first = place.save()
    place.storage.set_aside([NAME])
    second = place.save(values=[2.0])
    aside = place.storage.set_aside([NAME])
    assert aside.endswith("checkpoints/set-aside-2")
    assert list(place.storage.lying()) == []
    for number, written in ((1, first), (2, second)):
        assert place.storage.look(f"checkpoints/set-aside-{number}/3/0-40").sha256 == written.sha256


@pytest.mark.parametrize("other", STORAGES)
def test_a_copy_lies_whole_in_another_storage_of_any_kind(
    place: Place, other: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    there = made(other, request, tmp_path / "other")
    written = place.save(values=[5.0])
    copied(NAME, place.storage, there.storage, "beginning", sha256=written.sha256)
    assert there.values("beginning", sha256=written.sha256) == [5.0]
    with pytest.raises(CheckpointError, match="recorded"):
        copied(NAME, place.storage, there.storage, "second", sha256="0" * 64)
    assert {name.split("/")[0] for name in there.there()} - {"checkpoints"} == {"beginning"}


def test_a_state_that_cannot_be_saved_leaves_nothing_anywhere(place: Place, scratch: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise ValueError("no")

    with pytest.raises(TunerError, match="no"):
        place.storage.take(NAME, step=1, state=FolderState(fails, print), settings={})
    assert left(scratch) == []
    assert place.there() == []


def test_a_storage_travels_to_another_process(place: Place) -> None:
    place.save()
    assert pickle.loads(pickle.dumps(place.storage)).look(NAME).step == 40


def test_what_a_dead_process_left_on_this_machine_goes_with_the_next_save(tmp_path: Path, scratch: Path) -> None:
    folder = scratch / f"tuner-{os.getuid()}"
    dead = folder / "0123456789abcdef" / f".1.{HOST}.999999999.tmp"
    dead.mkdir(mode=0o700, parents=True)
    folder.chmod(0o700)
    (dead / "weights").write_text("half")
    made("file", None, tmp_path).save()  # type: ignore[arg-type]
    assert left(scratch) == []


def test_a_folder_that_others_may_write_to_is_not_passed_through(tmp_path: Path, scratch: Path) -> None:
    folder = scratch / f"tuner-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(CheckpointError, match="own folder"):
        made("file", None, tmp_path).save()  # type: ignore[arg-type]
