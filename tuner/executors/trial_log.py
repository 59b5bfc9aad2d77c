"""What a training function prints goes to a file of its trial, not to the terminal of whoever started the sweep."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_LIMIT_CHARACTERS = 10_000_000


class TrialLog(io.TextIOBase):
    """A stream that writes to `<folder>/<trial>.log`, made when the first word is printed, bounded in size."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._trial: int | None = None
        self._file: TextIO | None = None
        self._left = _LIMIT_CHARACTERS

    @contextlib.contextmanager
    def of(self, trial: int) -> Iterator[None]:
        """Everything printed inside belongs to this trial."""
        self._trial, self._left = trial, _LIMIT_CHARACTERS
        try:
            yield
        finally:
            self._trial = None
            if self._file is not None:
                self._file.close()
                self._file = None

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Appends to the present trial's file; a disk that refuses loses the words, never the trial."""
        if self._trial is None or self._left <= 0:
            return len(text)
        with contextlib.suppress(OSError, ValueError):
            if self._file is None:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = (self._folder / f"{self._trial}.log").open("a", encoding="utf-8", errors="replace")
            self._file.write(text[: self._left])
            self._left -= len(text)
            if self._left <= 0:
                self._file.write(f"\n… nothing beyond {_LIMIT_CHARACTERS:,} characters is kept\n")
            self._file.flush()
        return len(text)


def take_over_prints(folder: Path) -> TrialLog:
    """From now on this process prints into its trials' files."""
    log = TrialLog(folder)
    sys.stdout = sys.stderr = log
    return log
