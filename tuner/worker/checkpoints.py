"""Checkpoints as they lie on disk: files first, the manifest of their hashes last, then one rename into place.

    <study>/checkpoints/<trial>/<segment>-<step>/
        state/             what the user's state wrote: `state.npy`, `state.pickle`, or files of the user's own
        settings.json      values, schedules and rule state, as the caller gave them
        generators.npy     the Python, NumPy and torch global generators
        manifest.json      the step, every file's size and sha256, and its own sha256

A folder without a manifest is no checkpoint. A save works in a hidden folder beside the final name, so a crash leaves
nothing visible or a whole checkpoint; `leftovers.py` removes what it left hidden. What is no array and no plain
value is pickled (`contents.py`), and so was everything in earlier versions. Pickles run code when they are read: such a
checkpoint deserves the trust of the folder that it lies in, and no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.errors import CheckpointError, format_error
from tuner.record.atomic import sync_folder
from tuner.worker import contents
from tuner.worker.disk import (
    hidden_beside,
    leaving_nothing_half_saved,
    make_folder,
    move_into_place,
    remove,
    sync,
    write,
)
from tuner.worker.generators import capture_generators, restore_generators
from tuner.worker.manifest import (
    LIMIT_BYTES,
    MANIFEST,
    FileFacts,
    Manifest,
    facts_after_sync,
    facts_of,
    plain_files,
    read_manifest,
)
from tuner.worker.state import State

FOLDER = "checkpoints"
SETTINGS = "settings.json"
GENERATORS = "generators"
STATE = "state"

_GENERATORS = {f"{GENERATORS}{kind}" for kind in (contents.ARRAYS, contents.PICKLE)}
_PICKLED = re.compile(r"generators\.pickle|state/(seed-[0-9]+/)?(state|seeds)\.pickle")
_TRIAL, _PLACE = re.compile(r"(0|[1-9][0-9]{0,17})"), re.compile(r"(0|[1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})")


@dataclass(frozen=True, kw_only=True)
class Written:
    """A checkpoint that is durable; `sha256` covers the manifest and so every byte, `seconds` is what writing took."""

    path: Path
    step: int
    bytes: int
    sha256: str
    seconds: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A state fixed between two steps, to be written by any thread while training goes on; write it or discard it."""

    folder: Path
    step: int
    workplace: Path
    contents: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def take(cls, folder: Path, *, step: int, state: State, settings: Mapping[str, Any]) -> Snapshot:
        """Fix everything that belongs into the checkpoint `folder`; this is all that training waits for.

        `settings` is any JSON mapping (keys become text). Raises `CheckpointError` where the disk refuses and
        `TrainingError` where the user's state cannot be saved; neither leaves anything behind.
        """
        folder = folder.absolute()
        workplace = hidden_beside(folder, "tmp")
        with leaving_nothing_half_saved(folder, workplace):
            try:
                written_settings = json.dumps(settings).encode()
            except (TypeError, ValueError) as error:
                raise CheckpointError(
                    f"checkpoint {folder} was not saved: its settings cannot be written as JSON: {format_error(error)}."
                ) from error
            remove(workplace)
            make_folder(folder.parent)
            (workplace / STATE).mkdir(mode=0o700, parents=True)
            state_files = {f"{STATE}/{name}": content for name, content in state.capture(workplace / STATE).items()}
            # After the user's code, which may draw: the run that goes on and the run that returns see the same numbers.
            generators, _ = contents.kept(GENERATORS, capture_generators())
        return cls(
            folder=folder,
            step=step,
            workplace=workplace,
            contents={SETTINGS: written_settings, **generators, **state_files},
        )

    def write(self) -> Written:
        """Make the checkpoint durable and visible; where the disk refuses, `CheckpointError` and nothing left."""
        started = time.perf_counter()
        with leaving_nothing_half_saved(self.folder, self.workplace):
            files = {name: facts_after_sync(path) for name, path in plain_files(self.workplace).items()}
            for name, content in self.contents.items():
                write(self.workplace / name, content)
                files[name] = FileFacts(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            manifest = Manifest(step=self.step, files=files)
            encoded = manifest.text().encode()
            if len(encoded) > LIMIT_BYTES:
                raise CheckpointError(
                    f"checkpoint {self.folder} was not saved: {len(files):,} files are too many for one manifest. "
                    "Let save(folder) write fewer, larger files."
                )
            write(self.workplace / MANIFEST, encoded)
            for folder in [*(path for path in self.workplace.rglob("*") if path.is_dir()), self.workplace]:
                sync_folder(folder)
            move_into_place(self.workplace, self.folder)
        return Written(
            path=self.folder,
            step=self.step,
            bytes=manifest.bytes,
            sha256=manifest.sha256,
            seconds=time.perf_counter() - started,
        )

    def discard(self) -> None:
        """Forget a snapshot that will not be written."""
        remove(self.workplace)


def save(folder: Path, *, step: int, state: State, settings: Mapping[str, Any]) -> Written:
    """Take a snapshot and write it at once."""
    return Snapshot.take(folder, step=step, state=state, settings=settings).write()


def verify(path: Path, *, sha256: str | None = None) -> Manifest:
    """Hash every file; raises `CheckpointError` naming the file and both hashes where anything differs.

    With `sha256`, the hash in the study's record, the checkpoint must also be the one that was recorded.
    """
    try:
        manifest = read_manifest(path)
        # Only files found in the folder are opened: a manifest that names "../x" or "/x" names a missing file.
        found = plain_files(path)
        generators = [] if found.keys() & _GENERATORS else [f"{GENERATORS}{contents.ARRAYS}"]
        for name in sorted({*manifest.files, SETTINGS, *generators} - {*found}):
            raise CheckpointError(f"checkpoint {path} is not whole: {name[:200]!r} is missing. Use an earlier one.")
        for name in sorted({*found} - {*manifest.files}):
            raise CheckpointError(f"checkpoint {path} holds {name!r}, unknown to its manifest. Use an earlier one.")
        for name, claimed in manifest.files.items():
            lying = facts_of(found[name])
            if lying != claimed:
                raise CheckpointError(
                    f"checkpoint {path} is torn or changed: {name} has {lying.bytes:,} bytes with sha256 "
                    f"{lying.sha256}, the manifest says {claimed.bytes:,} bytes with sha256 {claimed.sha256}. "
                    "Use an earlier one."
                )
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read: {format_error(error)}. Use an earlier one."
        ) from error
    if sha256 is not None and manifest.sha256 != sha256:
        raise CheckpointError(
            f"checkpoint {path} is not the one recorded: its sha256 is {manifest.sha256}, the record says {sha256}."
        )
    return manifest


def load(path: Path, state: State, *, sha256: str | None = None) -> dict[str, Any]:
    """Verify a checkpoint, restore the user's state, then the global generators; returns the settings."""
    verify(path, sha256=sha256)
    return restore(path, state)


def restore(path: Path, state: State) -> dict[str, Any]:
    """`load` for a checkpoint that has just been verified."""
    try:
        settings = json.loads((path / SETTINGS).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {path}: {SETTINGS} cannot be read: {format_error(error)}.") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"checkpoint {path}: {SETTINGS} holds a {type(settings).__name__}, not settings by name.")
    kept = contents.file_of(path, GENERATORS)
    if kept is None:
        raise CheckpointError(f"checkpoint {path} is not whole: its {GENERATORS} are missing. Use an earlier one.")
    generators = contents.read(kept)
    state.read(path / STATE)
    restore_generators(generators)  # last, since the user's code may draw while it loads
    return settings


def is_place(trial: str, place: str) -> bool:
    """Whether a checkpoint of a trial can lie in a folder of these names."""
    return _TRIAL.fullmatch(trial) is not None and _PLACE.fullmatch(place) is not None


def lying_below(root: Path) -> Iterator[Path]:
    """Whatever lies where a study's checkpoints lie, `<trial>/<segment>-<step>`, and has a manifest; no links."""
    for trial in root.iterdir():
        if not _TRIAL.fullmatch(trial.name) or trial.is_symlink() or not trial.is_dir():
            continue
        for path in trial.iterdir():
            if _PLACE.fullmatch(path.name) and not path.is_symlink() and os.path.lexists(path / MANIFEST):
                yield path


def check_pickles(manifest: Manifest, where: str) -> None:
    """Raises `CheckpointError` where the checkpoint has a pickle of tuner's in it, and none is to be read."""
    for name in manifest.files:
        if _PICKLED.fullmatch(name):
            contents.check_pickle(f"{where}/{name}")


def copy(path: Path, to: Path, *, sha256: str | None = None) -> Manifest:
    """A copy of a checkpoint in another place, durable and verified, or nothing there."""
    workplace = hidden_beside(to, "tmp")
    with leaving_nothing_half_saved(to, workplace):
        remove(workplace)
        shutil.copytree(path, workplace, symlinks=True)
        manifest = verify(workplace, sha256=sha256)
        for each in workplace.rglob("*"):
            if each.is_file():
                sync(each)
        for folder in [*(each for each in workplace.rglob("*") if each.is_dir()), workplace]:
            sync_folder(folder)
        move_into_place(workplace, to)
    return manifest


def delete(path: Path, *, root: Path) -> None:
    """Remove a checkpoint below `root`, whole or torn; one that is gone already is fine.

    The manifest goes first: from then on, wherever a crash falls, the folder is no checkpoint.
    """
    target = path.parent.resolve() / path.name
    if path.name in {"", ".."} or root.resolve() not in target.parents or target.is_symlink():
        raise CheckpointError(f"{path} is not deleted: it is not a folder below {root}, where checkpoints lie.")
    try:
        strangers = {each.name for each in target.iterdir()} - {MANIFEST, SETTINGS, *_GENERATORS, STATE}
        if strangers:
            raise CheckpointError(f"{path} is not deleted: it holds {min(strangers)!r}, which no checkpoint has.")
        (target / MANIFEST).unlink(missing_ok=True)
        grave = hidden_beside(target, "tmp")
        remove(grave)
        target.rename(grave)
        sync_folder(target.parent)
        shutil.rmtree(grave)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} could not be deleted: {format_error(error)}.") from error
