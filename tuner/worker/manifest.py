"""The manifest of a checkpoint: what makes a folder one, its step and the hash of every file in it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tuner.errors import CheckpointError, format_error
from tuner.worker.disk import sync

FORMAT = 1
MANIFEST = "manifest.json"
LIMIT_BYTES = 16 * 2**20


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


def read_manifest(path: Path) -> Manifest:
    """The manifest of a checkpoint, whose own hash is right; else `CheckpointError`."""
    file = path / MANIFEST
    if path.is_symlink() or file.is_symlink():
        _refuse(f"checkpoint {path}", "is reached through a link, and a checkpoint holds plain files only")
    if not file.is_file():
        _refuse(f"checkpoint {path}", "is missing: the checkpoint is gone or was never finished")
    if file.stat().st_size > LIMIT_BYTES:
        _refuse(f"checkpoint {path}", f"has {file.stat().st_size:,} bytes, too many for a list of files")
    return manifest_of(file.read_bytes(), f"checkpoint {path}")


def manifest_of(content: bytes, whose: str) -> Manifest:
    """What the bytes of a manifest say, whose own hash is right; else `CheckpointError`."""
    try:
        fields = json.loads(content)
        found = fields["format"]
        if found != FORMAT:
            _refuse(whose, f"has format {str(found)[:64]}, this tuner reads {FORMAT}")
        files = {name: FileFacts(bytes=each["bytes"], sha256=each["sha256"]) for name, each in fields["files"].items()}
        manifest, claimed = Manifest(step=fields["step"], files=files), fields["sha256"]
        counts = [manifest.step, *(each.bytes for each in files.values())]
        if any(type(count) is not int or count < 0 for count in counts):
            _refuse(whose, "holds a step or a size that is not a count")
        actual = manifest.sha256
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        _refuse(whose, f"is torn or not a manifest ({format_error(error)})")
    if actual != claimed:
        _refuse(whose, f"is torn or changed: its content has sha256 {actual}, it says {str(claimed)[:64]}")
    return manifest


def _refuse(whose: str, reason: str) -> NoReturn:
    raise CheckpointError(f"{whose}: {MANIFEST} {reason}. Use an earlier checkpoint.")


def plain_files(folder: Path) -> dict[str, Path]:
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


def claimed_sha256(path: Path) -> str | None:
    """The hash that a checkpoint's own manifest gives; None where that cannot be read."""
    try:
        return read_manifest(path).sha256
    except (CheckpointError, OSError):
        return None


def facts_of(path: Path) -> FileFacts:
    """The size and the hash of a file as it lies there."""
    with path.open("rb") as file:
        return FileFacts(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=file.tell())


def facts_after_sync(path: Path) -> FileFacts:
    """The same, of a file that is on disk."""
    sync(path)
    return facts_of(path)
