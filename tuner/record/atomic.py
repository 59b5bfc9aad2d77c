"""Files written whole or not at all: under a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_CANNOT_SYNC_A_FOLDER = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
_NAME = 100


def write_whole(path: Path, content: bytes | Callable[[BinaryIO], object], *, mode: int = 0o666) -> Path:
    """Replaces a file by `content`, or by what it writes into the file that it is given; returns the path.

    Whoever reads meanwhile, and whoever comes after a crash, a `kill -9` or a full disk, finds the old file or the new
    one. `mode` is what a new file allows, less the umask. Raises `OSError`, and leaves nothing of its own then.
    """
    part = path.with_name(f".{path.name[:_NAME]}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode), "w+b") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    sync_folder(path.parent)
    return path


def sync_folder(folder: Path) -> None:
    """Make names in the folder durable: without it a rename may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_A_FOLDER:  # some filesystems keep names in order without being told
            raise
    finally:
        os.close(descriptor)
