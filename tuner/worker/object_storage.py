"""Checkpoints in an object store: each is written here, sent file by file, its manifest last; and fetched to be read.

    <url of the study>/study.json                                     whose checkpoints these are
    <url of the study>/tables/..., plots/..., logbook.md              copies of what lies beside the record
    <url of the study>/checkpoints/<trial>/<segment>-<step>/...       files as a folder would hold them
    <url of the study>/checkpoints/<trial>/<segment>-<step>/manifest.json

What has no manifest is no checkpoint. On each machine a private folder among the temporary ones holds what is on its
way; what a process that died has left there is removed by the next.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from tuner.errors import CheckpointError, CheckpointTorn, StorageAway, StudyError, format_error
from tuner.worker import checkpoints
from tuner.worker.checkpoints import FOLDER, SETTINGS, Snapshot, Written
from tuner.worker.disk import DISK_IS_FULL, HOST, make_folder, remove
from tuner.worker.leftovers import sweep_leftovers
from tuner.worker.manifest import LIMIT_BYTES, MANIFEST, Manifest, manifest_of, plain_files
from tuner.worker.objects import ObjectRefused, Objects
from tuner.worker.state import State

OWNER = "study.json"
PATIENCE = "TUNER_STORE_PATIENCE_S"
"""The environment's word on how many seconds a save waits for a store that does not answer."""
_PATIENCE_S = 30.0
# Whoever fetches has nothing else to do, so a store that is away is waited for; the coordinator has, and asks briefly.
_FETCHES_AS_SAVES = 20
_BRIEF_PATIENCE_S = 1.0
# A trial keeps what it began from until it ends; of other hosts that share this folder nobody knows who lives.
_ABANDONED_S = 30 * 86400.0


@dataclass(frozen=True)
class ObjectStorage:
    """The checkpoints of one study below its own URL."""

    url: str

    @property
    def _objects(self) -> Objects:
        return Objects(self.url, _patience_s())

    @property
    def _briefly(self) -> Objects:
        return Objects(self.url, min(_BRIEF_PATIENCE_S, _patience_s()), brief=True)

    def shown(self, name: str) -> str:
        """Its URL."""
        return f"{self.url}/{name}"

    # ── whose it is ─────────────────────────────────────────────────────────────────────────────

    def owner(self) -> str | None:
        """Which study's checkpoints lie there, by a word of its record; None: nobody's yet.

        Raises `StudyError` where the store cannot be asked.
        """
        try:
            if OWNER not in self._briefly.sizes(OWNER):
                return None
            return str(json.loads(self._briefly.read(OWNER, 10_000))["owner"])
        except (CheckpointError, ValueError, KeyError, TypeError) as error:
            raise StudyError(
                f"{self.url} cannot be asked for its checkpoints: {error}. Is the address right, and has the "
                "environment of this process the keys of the store (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3, …)?"
            ) from error

    def claim(self, owner: str) -> None:
        """Leaves word of whose checkpoints lie there; `StudyError` where that cannot be written."""
        try:
            self._briefly.write(OWNER, json.dumps({"owner": owner}).encode())
        except CheckpointError as error:
            raise StudyError(
                f"{self.url} cannot be written to: {error}. Is the address right, and may the keys in the environment "
                "of this process write there?"
            ) from error

    # ── saving and reading ──────────────────────────────────────────────────────────────────────

    def take(self, name: str, *, step: int, state: State, settings: Mapping[str, Any]) -> _Upload:
        """A snapshot on this machine."""
        room = self._room()
        try:
            snapshot = Snapshot.take(room / name, step=step, state=state, settings=settings)
        except BaseException:
            remove(room)
            raise
        return _Upload(snapshot, room, self, name)

    @contextmanager
    def fetched(
        self, name: str, *, sha256: str | None = None, say: Callable[[str], None] | None = None
    ) -> Iterator[Path]:
        """Gets what the manifest lists, and verifies all of it."""
        patient = Objects(self.url, _FETCHES_AS_SAVES * _patience_s())
        patient = patient if say is None else replace(patient, say=say)
        room = self._room()
        folder = room / "checkpoint"
        where = self.shown(name)
        try:
            try:
                content = patient.read(f"{name}/{MANIFEST}", LIMIT_BYTES)
                manifest = manifest_of(content, f"checkpoint {where}")
                for each in manifest.files:
                    make_folder((folder / _inside(each, where)).parent)
                    patient.get(f"{name}/{each}", folder / each)
                (folder / MANIFEST).write_bytes(content)
                checkpoints.verify(folder, sha256=sha256)
            except StorageAway:
                raise
            except CheckpointError as error:
                if isinstance(error.__cause__, PermissionError) or _is_full(error.__cause__):
                    raise  # it may be whole all the same
                told = _not_whole(where, error) if isinstance(error, ObjectRefused) else error
                raise CheckpointTorn(str(told).replace(str(folder), where)) from error
            except OSError as error:
                raise CheckpointError(
                    f"checkpoint {where} could not be fetched into {room}: {format_error(error)}. Free "
                    "space there, or set TMPDIR to a disk that has some."
                ) from error
            yield folder
        finally:
            remove(room)

    def look(self, name: str, *, sha256: str | None = None) -> Manifest:
        """Whether the manifest is the one recorded and every file has its size: whoever fetches it hashes the bytes."""
        where = self.shown(name)
        try:
            manifest = manifest_of(self._briefly.read(f"{name}/{MANIFEST}", LIMIT_BYTES), f"checkpoint {where}")
            _check_recorded(manifest, sha256, where)
            found = {key.removeprefix(f"{name}/"): size for key, size in self._briefly.sizes(name).items()}
        except ObjectRefused as error:
            raise _not_whole(where, error) from error
        for each in sorted({*manifest.files, SETTINGS}):
            claimed = manifest.files.get(each)
            if claimed is None or found.get(each) != claimed.bytes:
                there = f"has {found[each]:,} bytes" if each in found else "is missing"
                raise CheckpointError(f"checkpoint {where} is not whole: {each[:200]!r} {there}. Use an earlier one.")
        return manifest

    def adopt(self, folder: Path, name: str, *, sha256: str | None = None) -> None:
        """Sends the files of a folder, its manifest last."""
        checkpoints.verify(folder, sha256=sha256)
        self.send(folder, name)

    def send(self, folder: Path, name: str) -> None:
        """Puts a whole checkpoint of this machine into the store: whoever looks sees all of it or none."""
        objects = self._objects
        try:
            objects.remove(f"{name}/{MANIFEST}")  # what lay there is none from now on
            for each, path in plain_files(folder).items():
                objects.put(path, f"{name}/{each}")
            objects.put(folder / MANIFEST, f"{name}/{MANIFEST}")
        except CheckpointError as error:
            raise type(error)(
                f"checkpoint {self.shown(name)} was not saved: {error}. Earlier checkpoints are untouched."
            ) from error

    def publish(self, files: Sequence[Path], folder: Path) -> None:
        """Copies of files in a study's folder, under the names that they have there; `StudyError` where it has none."""
        try:
            for each in files:
                self._objects.put(each, each.relative_to(folder).as_posix())
        except CheckpointError as error:
            raise StudyError(
                f"{each} lies there, and could not be sent to {self.url}: {error}. Do it again once the store answers, "
                "or name a folder, which is all that is written to then: --to DIR."
            ) from error

    # ── keeping ─────────────────────────────────────────────────────────────────────────────────

    def delete(self, name: str) -> None:
        """Removes its objects, the manifest first."""
        objects = self._briefly
        try:
            objects.remove(f"{name}/{MANIFEST}")
            for key in objects.sizes(name):
                objects.remove(key)
        except CheckpointError as error:
            raise type(error)(f"checkpoint {self.shown(name)} could not be deleted: {error}.") from error

    def mend(self) -> None:
        """Nothing: what was sent in part has no manifest, and what lies on this machine goes with the next save."""

    def lying(self) -> Sequence[str]:
        """What has a manifest."""
        return sorted(name for name, keys in self._by_name().items() if MANIFEST in keys)

    def halves(self) -> Sequence[str]:
        """What has none."""
        return sorted(name for name, keys in self._by_name().items() if MANIFEST not in keys)

    def saved_at(self, name: str) -> float:
        """When the last of its objects was written, by the store's clock."""
        return max(self._briefly.modified(key) for key in self._briefly.sizes(name))

    def claimed(self, name: str) -> str | None:
        """What its manifest says."""
        try:
            return manifest_of(self._briefly.read(f"{name}/{MANIFEST}", LIMIT_BYTES), name).sha256
        except StorageAway:
            raise
        except CheckpointError:
            return None

    def set_aside(self, names: Sequence[str]) -> str:
        """Copies them below another key, the manifests last, and removes them."""
        objects, taken = self._briefly, self._briefly.sizes(FOLDER)
        number = 1
        while any(key.startswith(f"{FOLDER}/set-aside-{number}/") for key in taken):
            number += 1
        aside = f"{FOLDER}/set-aside-{number}"
        for name in names:
            keys = [key for key in taken if key.startswith(f"{name}/")]
            for key in sorted(keys, key=lambda each: each == f"{name}/{MANIFEST}"):
                objects.copy(key, f"{aside}/{key.removeprefix(f'{FOLDER}/')}")
            self.delete(name)
        return self.shown(aside)

    def _by_name(self) -> dict[str, set[str]]:
        """The files of whatever lies where checkpoints of trials do, by its name."""
        found: dict[str, set[str]] = {}
        for key in self._briefly.sizes(FOLDER):
            root, trial, place, *rest = (*key.split("/"), "", "")
            if root == FOLDER and rest[0] and checkpoints.is_place(trial, place):
                found.setdefault(f"{root}/{trial}/{place}", set()).add("/".join(rest).rstrip("/"))
        return found

    def _room(self) -> Path:
        """A folder of its own for what is on its way, which is known again once this process is dead."""
        study = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        try:
            room = _swept(_scratch(), os.getpid()) / study / f".{uuid.uuid4().hex}.{HOST}.{os.getpid()}.tmp"
            make_folder(room)
        except OSError as error:
            raise CheckpointError(
                f"checkpoints on their way to {self.url} pass through {tempfile.gettempdir()}, which refuses them: "
                f"{format_error(error)}. Free space there, or set TMPDIR."
            ) from error
        return room


@dataclass(frozen=True)
class _Upload:
    """A snapshot on this machine, on its way to the store."""

    snapshot: Snapshot
    room: Path
    storage: ObjectStorage
    name: str

    def write(self) -> Written:
        """Writes the checkpoint here, sends it, and leaves nothing here."""
        started = time.perf_counter()
        try:
            written = self.snapshot.write()
            self.storage.send(written.path, self.name)
        finally:
            remove(self.room)
        return replace(written, seconds=time.perf_counter() - started)


def _patience_s() -> float:
    try:
        return float(os.environ.get(PATIENCE, _PATIENCE_S))
    except ValueError:
        return _PATIENCE_S


def _scratch() -> Path:
    """The private folder among the temporary ones; what somebody else may write to is refused, for pickles run code."""
    folder = Path(tempfile.gettempdir()).resolve() / f"tuner-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise CheckpointError(
            f"{folder} is not this user's own folder, and checkpoints pass through it. Remove it, or set TMPDIR to a "
            "folder that nobody else may write to."
        )
    return folder


@lru_cache(maxsize=8)
def _swept(folder: Path, pid: int) -> Path:  # noqa: ARG001 - once in each process
    """The folder, without what processes that died have left there."""
    with suppress(OSError):
        sweep_leftovers(folder, untouched_s=_ABANDONED_S)
    return folder


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in DISK_IS_FULL


def _check_recorded(manifest: Manifest, sha256: str | None, where: str) -> None:
    if sha256 is not None and manifest.sha256 != sha256:
        raise CheckpointError(
            f"checkpoint {where} is not the one recorded: its sha256 is {manifest.sha256}, the record says {sha256}."
        )


def _inside(name: str, where: str) -> PurePosixPath:
    """A file's name in a manifest, which leads nowhere else."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or str(path) != name or name == MANIFEST:
        raise CheckpointError(f"checkpoint {where}: its manifest names {name[:200]!r}, which no checkpoint has.")
    return path


def _not_whole(where: str, error: ObjectRefused) -> CheckpointError:
    return CheckpointError(f"checkpoint {where} is gone, torn or was never finished: {error}. Use an earlier one.")
