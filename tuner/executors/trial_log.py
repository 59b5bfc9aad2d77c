"""The log of a trial: what it prints goes to a file of its own, not to the terminal of whoever started the sweep.

While it trains, the file stands where the process has its standard output and error. So what child processes, C code
and a dying interpreter say lands there as well, and `sys.stdout` is the text stream that everybody expects.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_LIMIT_BYTES = 10_000_000
_BEYOND = f"\n… nothing beyond {_LIMIT_BYTES:,} bytes is kept\n".encode()


class TrialLog:
    """`<folder>/<trial>.log`, bounded in size; one that stays empty is not kept.

    A disk that refuses loses the words, never the trial.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._home = os.dup(1), os.dup(2)
        self._file: int | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def of(self, trial: int) -> Iterator[None]:
        """Everything said inside belongs to this trial."""
        path = self._folder / f"{trial}.log"
        streams = sys.stdout, sys.stderr
        _flush()
        self._begin(path)
        sys.stdout, sys.stderr = _stream(1), _stream(2)
        try:
            yield
        finally:
            _flush()
            sys.stdout, sys.stderr = streams
            self._end(path)

    def trim(self) -> None:
        """Cuts off what child processes have written beyond the limit."""
        with self._lock, contextlib.suppress(OSError):
            if self._file is not None and os.fstat(self._file).st_size > _LIMIT_BYTES + len(_BEYOND):
                os.ftruncate(self._file, _LIMIT_BYTES)
                os.write(self._file, _BEYOND)

    def _begin(self, path: Path) -> None:
        kind = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            try:
                found = os.open(path, kind, 0o600)
            except FileNotFoundError:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                found = os.open(path, kind, 0o600)
        except OSError:
            found = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        with self._lock:
            self._file = found
        os.dup2(found, 1)
        os.dup2(found, 2)

    def _end(self, path: Path) -> None:
        self.trim()
        os.dup2(self._home[0], 1)
        os.dup2(self._home[1], 2)
        with self._lock, contextlib.suppress(OSError):
            found, self._file = self._file, None
            if found is not None:
                empty = os.fstat(found).st_size == 0
                os.close(found)
                if empty:
                    path.unlink()


class _Bounded(io.FileIO):
    """Standard output or error: what lies beyond the limit, or finds no place on the disk, is dropped."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)

    def write(self, data: ReadableBuffer, /) -> int:
        words = memoryview(data).cast("B")
        try:
            left = _LIMIT_BYTES - os.fstat(self.fileno()).st_size
            if left > 0:
                super().write(words[:left])
                if len(words) > left:
                    super().write(_BEYOND)
        except OSError:
            pass
        return len(words)


def _stream(descriptor: int) -> io.TextIOWrapper:
    """A text stream as Python makes it with `-u`: what is written is out, even if the next step kills the process."""
    raw = _Bounded(descriptor)
    raw.name = "<stdout>" if descriptor == 1 else "<stderr>"
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def _flush() -> None:
    """What Python and C still hold back belongs to whoever said it."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    _C.fflush(None)


_C = ctypes.CDLL(None)
