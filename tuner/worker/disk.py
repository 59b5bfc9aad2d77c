"""The disk under a checkpoint: a folder is written beside its place, flushed, and renamed, whole or not at all."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tuner.errors import CheckpointError, format_error
from tuner.record.atomic import sync_folder

DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

HOST = re.sub(r"[^\w-]", "-", platform.node()) or "host"
HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<host>[\w-]+)\.(?P<pid>\d{1,9})\.(?P<kind>tmp|old)")


@contextmanager
def leaving_nothing_half_saved(folder: Path, workplace: Path) -> Iterator[None]:
    """Remove the workplace when anything goes wrong, and say in a sentence what the disk refused."""
    try:
        yield
    except OSError as error:
        free = _free_bytes(folder.parent)
        remove(workplace)
        full = error.errno in DISK_IS_FULL
        reason = f"the disk refuses the write with {free} bytes free" if full else "it could not be written"
        remedy = "Free space, or lower the disk budget" if full else "Check that the folder can be written to"
        raise CheckpointError(
            f"checkpoint {folder} was not saved: {reason}: {format_error(error)}. Earlier checkpoints are "
            f"untouched. {remedy}."
        ) from error
    except BaseException:
        remove(workplace)
        raise


def move_into_place(workplace: Path, folder: Path) -> None:
    """Rename the finished folder to its name; what lay there steps aside first and returns if the rename fails."""
    aside = hidden_beside(folder, "old")
    replacing = os.path.lexists(folder)
    if replacing:
        remove(aside)
        folder.rename(aside)
    try:
        workplace.rename(folder)
    except OSError:
        if replacing:
            aside.rename(folder)
        raise
    sync_folder(folder.parent)
    if replacing:
        remove(aside)


def sync(path: Path) -> None:
    """What was written to the file is on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write(path: Path, content: bytes) -> None:
    """Writes a file, which is on disk when this returns."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Makes a private folder and those above it, each on disk in the one that holds it."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def hidden_beside(folder: Path, kind: str) -> Path:
    """Where this process works on a folder before it has its name; `HIDDEN` knows such a place again."""
    return folder.with_name(f".{folder.name}.{HOST}.{os.getpid()}.{kind}")


def remove(path: Path) -> None:
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
