"""How a checkpoint lies on disk: files first, the manifest of their hashes last, then one rename into place.

    <study>/checkpoints/<trial>/<segment>-<step>/
        state/             what the user's state wrote: `state.pickle`, or files of the user's own
        settings.json      values, schedules and rule state, as the caller gave them
        generators.pickle  the Python, NumPy and torch global generators
        manifest.json      the step, every file's size and sha256, and its own sha256

A folder without a manifest is no checkpoint. A save works in a hidden folder beside the final name, so a crash leaves
nothing visible or a whole checkpoint; `sweep_leftovers` removes what it left hidden. Pickles run code when they are
read: a checkpoint deserves the trust of the folder that it lies in, and no more.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
import pickle
import platform
import random
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

from tuner.errors import CheckpointError, TrainingError, told
from tuner.record.atomic import sync_folder

FORMAT = 1
FOLDER = "checkpoints"
MANIFEST = "manifest.json"
SETTINGS = "settings.json"
GENERATORS = "generators.pickle"
STATE = "state"
OBJECTS = "state.pickle"

_MANIFEST_LIMIT_BYTES = 16 * 2**20
_HOST = re.sub(r"[^\w-]", "-", platform.node()) or "host"
_TRIAL, _PLACE = re.compile(r"(0|[1-9][0-9]{0,17})"), re.compile(r"(0|[1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})")
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<host>[\w-]+)\.(?P<pid>\d{1,9})\.(?P<kind>tmp|old)")
_DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


# ── the user's state ──────────────────────────────────────────────────────────────────────────────────────────────


class State(Protocol):
    """What a training function registers with `run.state`: it can be captured between two steps and read back."""

    def capture(self, folder: Path) -> Mapping[str, bytes]:
        """Fix the state as it is now: files by name still to be written, beside those already written to the folder."""

    def read(self, folder: Path) -> None:
        """Restore the state from the files in the folder."""


class ObjectState:
    """The state of objects with `state_dict()` and `load_state_dict()`, pickled together in the order given."""

    def __init__(self, *objects: Any) -> None:
        if not objects:
            raise TrainingError("run.state: nothing to save. Name the objects to save, or give save= and load=.")
        for each in objects:
            for method in ("state_dict", "load_state_dict"):
                if not callable(getattr(each, method, None)):
                    raise TrainingError(
                        f"run.state: {type(each).__name__} has no {method}(), so it cannot be saved and restored. "
                        "Give it state_dict() and load_state_dict(), or use run.state(save=..., load=...)."
                    )
        self.objects = objects

    @property
    def names(self) -> list[str]:
        """The objects' types, for people to read."""
        return [type(each).__name__ for each in self.objects]

    def capture(self, folder: Path) -> Mapping[str, bytes]:  # noqa: ARG002 - pickled in memory, written later
        """Pickle every `state_dict()` into memory, so that training may go on at once."""
        try:
            content = [(type(each).__name__, each.state_dict()) for each in self.objects]
            return {OBJECTS: pickle.dumps(content, protocol=5)}
        except Exception as error:
            raise TrainingError(
                f"run.state: the state of {', '.join(self.names)} cannot be pickled: {told(error)}. "
                "state_dict() should hold arrays, tensors and plain values."
            ) from error

    def read(self, folder: Path) -> None:
        """Give each object its saved `state_dict()`, in the order that they were saved."""
        path = folder / OBJECTS
        if not path.is_file():
            raise CheckpointError(
                f"checkpoint {folder.parent} holds files of run.state(save=...), not the state of "
                f"{', '.join(self.names)}. Register the state the way it was saved."
            )
        saved = _unpickled(path)
        if len(saved) != len(self.objects):
            raise TrainingError(
                f"run.state: checkpoint {folder.parent} holds the state of {len(saved)} objects "
                f"({', '.join(name for name, _ in saved)}), this run registers {len(self.objects)} "
                f"({', '.join(self.names)}). Register the same objects in the same order."
            )
        for each, (name, content) in zip(self.objects, saved, strict=True):
            try:
                each.load_state_dict(content)
            except Exception as error:
                raise TrainingError(
                    f"run.state: {type(each).__name__}.load_state_dict() failed on the state of {name} in checkpoint "
                    f"{folder.parent}: {told(error)}. Register the same objects, in the same order and shapes."
                ) from error


class FolderState:
    """State that the user's own `save(folder)` and `load(folder)` write and read; called between two steps."""

    def __init__(self, save: Callable[[Path], object], load: Callable[[Path], object]) -> None:
        for word, function in (("save", save), ("load", load)):
            if not callable(function):
                raise TrainingError(
                    f"run.state: {word}= must be a function of a folder, got {type(function).__name__}. "
                    "Give both save= and load=."
                )
        self.save, self.load = save, load

    def capture(self, folder: Path) -> Mapping[str, bytes]:
        """Call the user's `save`, which leaves its files in the folder."""
        try:
            self.save(folder)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _DISK_IS_FULL:
                raise  # told as a checkpoint that was not saved
            raise TrainingError(f"run.state: save({str(folder)!r}) failed: {told(error)}.") from error
        if not any(folder.iterdir()):
            raise TrainingError("run.state: save(folder) wrote nothing into its folder: there is nothing to return to.")
        return {}

    def read(self, folder: Path) -> None:
        """Call the user's `load`."""
        try:
            self.load(folder)
        except Exception as error:
            raise TrainingError(f"run.state: load({str(folder)!r}) failed: {told(error)}.") from error


# ── global generators ─────────────────────────────────────────────────────────────────────────────────────────────


def capture_generators() -> dict[str, Any]:
    """The state of the Python and NumPy global generators, and of torch's where torch is loaded."""
    import numpy as np  # a tenth of a second that `tuner ls` need not wait for

    generators: dict[str, Any] = {"python": random.getstate(), "numpy": np.random.get_state(legacy=False)}
    if torch := cast(Any, sys.modules.get("torch")):
        generators["torch"] = torch.get_rng_state().numpy().tobytes()
        if torch.cuda.is_initialized():
            generators["cuda"] = [each.numpy().tobytes() for each in torch.cuda.get_rng_state_all()]
    return generators


def restore_generators(generators: Mapping[str, Any]) -> None:
    """Put the global generators back; devices that this machine lacks are passed over."""
    import numpy as np

    random.setstate(generators["python"])
    np.random.set_state(generators["numpy"])
    if "torch" not in generators:
        return
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        raise CheckpointError(
            f"the checkpoint was saved with torch, which cannot be imported here: {told(error)}. Install it."
        ) from error

    def tensor(content: bytes) -> Any:
        return torch.frombuffer(bytearray(content), dtype=torch.uint8)

    torch.set_rng_state(tensor(generators["torch"]))
    for device, content in enumerate(generators.get("cuda", [])[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(tensor(content), device)


# ── saving ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint that is durable; `sha256` covers the manifest and so every byte, `seconds` is what writing took."""

    path: Path
    step: int
    bytes: int
    sha256: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What the manifest says of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What makes a folder a checkpoint: its step and every file in it, by path relative to the folder."""

    step: int
    files: Mapping[str, FileFacts]

    @property
    def bytes(self) -> int:
        """The size of all files, without the manifest."""
        return sum(each.bytes for each in self.files.values())

    @property
    def sha256(self) -> str:
        """The content hash of the checkpoint."""
        return hashlib.sha256(json.dumps(self._fields(), sort_keys=True).encode()).hexdigest()

    def text(self) -> str:
        """What `manifest.json` says, its own hash among it."""
        return json.dumps({**self._fields(), "sha256": self.sha256}, sort_keys=True, indent=1)

    def _fields(self) -> dict[str, Any]:
        files = {name: {"bytes": each.bytes, "sha256": each.sha256} for name, each in self.files.items()}
        return {"format": FORMAT, "step": self.step, "files": files}


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
        workplace = _hidden_beside(folder, "tmp")
        with _leaving_nothing_half_saved(folder, workplace):
            try:
                written_settings = json.dumps(settings).encode()
            except (TypeError, ValueError) as error:
                raise CheckpointError(
                    f"checkpoint {folder} was not saved: its settings cannot be written as JSON: {told(error)}."
                ) from error
            _remove(workplace)
            _make_folder(folder.parent)
            (workplace / STATE).mkdir(mode=0o700, parents=True)
            state_files = {f"{STATE}/{name}": content for name, content in state.capture(workplace / STATE).items()}
            # After the user's code, which may draw: the run that goes on and the run that returns see the same numbers.
            generators = pickle.dumps(capture_generators(), protocol=5)
        return cls(
            folder=folder,
            step=step,
            workplace=workplace,
            contents={SETTINGS: written_settings, GENERATORS: generators, **state_files},
        )

    def write(self) -> Saved:
        """Make the checkpoint durable and visible; where the disk refuses, `CheckpointError` and nothing left."""
        started = time.perf_counter()
        with _leaving_nothing_half_saved(self.folder, self.workplace):
            files = {name: _facts_after_sync(path) for name, path in _plain_files(self.workplace).items()}
            for name, content in self.contents.items():
                _write(self.workplace / name, content)
                files[name] = FileFacts(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            manifest = Manifest(step=self.step, files=files)
            encoded = manifest.text().encode()
            if len(encoded) > _MANIFEST_LIMIT_BYTES:
                raise CheckpointError(
                    f"checkpoint {self.folder} was not saved: {len(files):,} files are too many for one manifest. "
                    "Let save(folder) write fewer, larger files."
                )
            _write(self.workplace / MANIFEST, encoded)
            for folder in [*(path for path in self.workplace.rglob("*") if path.is_dir()), self.workplace]:
                sync_folder(folder)
            _move_into_place(self.workplace, self.folder)
        return Saved(
            path=self.folder,
            step=self.step,
            bytes=manifest.bytes,
            sha256=manifest.sha256,
            seconds=time.perf_counter() - started,
        )

    def discard(self) -> None:
        """Forget a snapshot that will not be written."""
        _remove(self.workplace)


def save(folder: Path, *, step: int, state: State, settings: Mapping[str, Any]) -> Saved:
    """Take a snapshot and write it at once."""
    return Snapshot.take(folder, step=step, state=state, settings=settings).write()


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────


def verify(path: Path, *, sha256: str | None = None) -> Manifest:
    """Hash every file; raises `CheckpointError` naming the file and both hashes where anything differs.

    With `sha256`, the hash in the study's record, the checkpoint must also be the one that was recorded.
    """
    try:
        manifest = _read_manifest(path)
        # Only files found in the folder are opened: a manifest that names "../x" or "/x" names a missing file.
        found = _plain_files(path)
        for name in sorted({*manifest.files, SETTINGS, GENERATORS} - {*found}):
            raise CheckpointError(f"checkpoint {path} is not whole: {name[:200]!r} is missing. Use an earlier one.")
        for name in sorted({*found} - {*manifest.files}):
            raise CheckpointError(f"checkpoint {path} holds {name!r}, unknown to its manifest. Use an earlier one.")
        for name, claimed in manifest.files.items():
            facts = _facts(found[name])
            if facts != claimed:
                raise CheckpointError(
                    f"checkpoint {path} is torn or changed: {name} has {facts.bytes:,} bytes with sha256 "
                    f"{facts.sha256}, the manifest says {claimed.bytes:,} bytes with sha256 {claimed.sha256}. "
                    "Use an earlier one."
                )
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {told(error)}. Use an earlier one.") from error
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
        raise CheckpointError(f"checkpoint {path}: {SETTINGS} cannot be read: {told(error)}.") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"checkpoint {path}: {SETTINGS} holds a {type(settings).__name__}, not settings by name.")
    generators = _unpickled(path / GENERATORS)
    state.read(path / STATE)
    restore_generators(generators)  # last, since the user's code may draw while it loads
    return settings


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A checkpoint passed over, and the reason."""

    path: Path
    why: str


def newest_whole(paths: Sequence[Path]) -> tuple[Path, list[Skipped]]:
    """The last of `paths`, given in the order written, that is whole, and those after it with the reason to warn of."""
    skipped: list[Skipped] = []
    for path in reversed(paths):
        try:
            verify(path)
        except CheckpointError as error:
            skipped.append(Skipped(path=path, why=str(error)))
        else:
            return path, skipped
    reasons = "".join(f"\n  {each.why}" for each in skipped) or " there are none."
    raise CheckpointError(f"no checkpoint to go on from: none of {len(paths)} is whole:{reasons}")


def lying_below(root: Path) -> Iterator[Path]:
    """Whatever lies where a study's checkpoints lie, `<trial>/<segment>-<step>`, and has a manifest; no links."""
    for trial in root.iterdir():
        if not _TRIAL.fullmatch(trial.name) or trial.is_symlink() or not trial.is_dir():
            continue
        for path in trial.iterdir():
            if _PLACE.fullmatch(path.name) and not path.is_symlink() and os.path.lexists(path / MANIFEST):
                yield path


def claimed_sha256(path: Path) -> str | None:
    """The hash that a checkpoint's own manifest gives; None where that cannot be read."""
    try:
        return _read_manifest(path).sha256
    except (CheckpointError, OSError):
        return None


def copy(path: Path, to: Path, *, sha256: str | None = None) -> Manifest:
    """A copy of a checkpoint in another place, durable and verified, or nothing there."""
    workplace = _hidden_beside(to, "tmp")
    with _leaving_nothing_half_saved(to, workplace):
        _remove(workplace)
        shutil.copytree(path, workplace, symlinks=True)
        manifest = verify(workplace, sha256=sha256)
        for each in workplace.rglob("*"):
            if each.is_file():
                _sync(each)
        for folder in [*(each for each in workplace.rglob("*") if each.is_dir()), workplace]:
            sync_folder(folder)
        _move_into_place(workplace, to)
    return manifest


# ── removing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def delete(path: Path, *, root: Path) -> None:
    """Remove a checkpoint below `root`, whole or torn; one that is gone already is fine.

    The manifest goes first: from then on, wherever a crash falls, the folder is no checkpoint.
    """
    target = path.parent.resolve() / path.name
    if path.name in {"", ".."} or root.resolve() not in target.parents or target.is_symlink():
        raise CheckpointError(f"{path} is not deleted: it is not a folder below {root}, where checkpoints lie.")
    try:
        strangers = {each.name for each in target.iterdir()} - {MANIFEST, SETTINGS, GENERATORS, STATE}
        if strangers:
            raise CheckpointError(f"{path} is not deleted: it holds {min(strangers)!r}, which no checkpoint has.")
        (target / MANIFEST).unlink(missing_ok=True)
        grave = _hidden_beside(target, "tmp")
        _remove(grave)
        target.rename(grave)
        sync_folder(target.parent)
        shutil.rmtree(grave)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} could not be deleted: {told(error)}.") from error


def sweep_leftovers(root: Path, *, untouched_s: float = 3600.0) -> list[Path]:
    """Remove what saves that died left hidden below `root`; returns what was removed.

    A leftover of a dead process of this host goes at once; any other once it is untouched for `untouched_s`, since
    other hosts' processes cannot be asked. A checkpoint whose replacement died returns to its name.
    """
    swept = []
    for parent, names, files in os.walk(root):
        leftovers = [found for name in names if (found := _LEFTOVER.fullmatch(name))]
        names[:] = [] if MANIFEST in files else [name for name in names if not _LEFTOVER.fullmatch(name)]
        for found in leftovers:
            path, final = Path(parent, found[0]), Path(parent, found["name"])
            if not _owner_is_dead(found) and _idle_s(path) < untouched_s:
                continue
            if found["kind"] == "old" and not final.exists():
                path.rename(final)
            else:
                _remove(path)
                swept.append(path)
    return swept


def _owner_is_dead(leftover: re.Match[str]) -> bool:
    if leftover["host"] != _HOST:
        return False
    try:
        os.kill(int(leftover["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _idle_s(folder: Path) -> float:
    try:
        return time.time() - max(each.lstat().st_mtime for each in (folder, *folder.rglob("*")))
    except FileNotFoundError:  # its owner is at work in it
        return 0.0


# ── the disk ──────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _leaving_nothing_half_saved(folder: Path, workplace: Path) -> Iterator[None]:
    """Remove the workplace when anything goes wrong, and say in a sentence what the disk refused."""
    try:
        yield
    except OSError as error:
        free = _free_bytes(folder.parent)
        _remove(workplace)
        full = error.errno in _DISK_IS_FULL
        reason = f"the disk refuses the write with {free} bytes free" if full else "it could not be written"
        remedy = "Free space, or lower the disk budget" if full else "Check that the folder can be written to"
        raise CheckpointError(
            f"checkpoint {folder} was not saved: {reason}: {told(error)}. Earlier checkpoints are untouched. {remedy}."
        ) from error
    except BaseException:
        _remove(workplace)
        raise


def _move_into_place(workplace: Path, folder: Path) -> None:
    """Rename the finished folder to its name; what lay there steps aside first and returns if the rename fails."""
    aside = _hidden_beside(folder, "old")
    replacing = os.path.lexists(folder)
    if replacing:
        _remove(aside)
        folder.rename(aside)
    try:
        workplace.rename(folder)
    except OSError:
        if replacing:
            aside.rename(folder)
        raise
    sync_folder(folder.parent)
    if replacing:
        _remove(aside)


def _read_manifest(path: Path) -> Manifest:
    def refuse(reason: str) -> NoReturn:
        raise CheckpointError(f"checkpoint {path}: {MANIFEST} {reason}. Use an earlier checkpoint.")

    file = path / MANIFEST
    if path.is_symlink() or file.is_symlink():
        refuse("is reached through a link, and a checkpoint holds plain files only")
    if not file.is_file():
        refuse("is missing: the checkpoint is gone or was never finished")
    if file.stat().st_size > _MANIFEST_LIMIT_BYTES:
        refuse(f"has {file.stat().st_size:,} bytes, too many for a list of files")
    try:
        fields = json.loads(file.read_bytes())
        found = fields["format"]
        if found != FORMAT:
            refuse(f"has format {str(found)[:64]}, this tuner reads {FORMAT}")
        files = {name: FileFacts(bytes=each["bytes"], sha256=each["sha256"]) for name, each in fields["files"].items()}
        manifest, claimed = Manifest(step=fields["step"], files=files), fields["sha256"]
        counts = [manifest.step, *(each.bytes for each in files.values())]
        if any(type(count) is not int or count < 0 for count in counts):
            refuse("holds a step or a size that is not a count")
        actual = manifest.sha256
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        refuse(f"is torn or not a manifest ({told(error)})")
    if actual != claimed:
        refuse(f"is torn or changed: its content has sha256 {actual}, it says {str(claimed)[:64]}")
    return manifest


def _plain_files(folder: Path) -> dict[str, Path]:
    """Every file below the folder but its manifest, by relative path; links and devices raise `CheckpointError`."""
    files, waiting = {}, [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif entry.is_file(follow_symlinks=False):
                    files[path.relative_to(folder).as_posix()] = path
                else:
                    raise CheckpointError(
                        f"checkpoint {folder}: {path.relative_to(folder)} is a link or a device, "
                        "and a checkpoint holds plain files only."
                    )
    files.pop(MANIFEST, None)
    return files


def _facts(path: Path) -> FileFacts:
    with path.open("rb") as file:
        return FileFacts(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=file.tell())


def _facts_after_sync(path: Path) -> FileFacts:
    _sync(path)
    return _facts(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def _hidden_beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{_HOST}.{os.getpid()}.{kind}")


def _remove(path: Path) -> None:
    """Remove a file or folder as far as the disk allows; what stays is swept later."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _free_bytes(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free:,}"
    except OSError:
        return "unknown"


def _unpickled(path: Path) -> Any:
    try:
        return pickle.loads(path.read_bytes())
    except Exception as error:
        raise CheckpointError(
            f"checkpoint file {path} is whole but cannot be unpickled here: {told(error)}. "
            "Use the packages and the code that saved it."
        ) from error
