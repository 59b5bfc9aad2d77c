"""The end of what a trial, or a process of tuner's, has printed, as any terminal can have it."""

from __future__ import annotations

import os
from pathlib import Path

from tuner.values.plain import shown

_MOST_BYTES = 10_000_000  # as much as is kept of a file once its trial is over; while it trains, it may be far longer
_LONGEST_LINE = 2_000  # characters
FEW_BYTES = 20_000
"""Of each file, what is enough to send along with all else that there is to say of a trial."""


def printed_of(folder: Path, trial: int, most_bytes: int = _MOST_BYTES) -> str:
    """What a trial of the study in a folder has printed, of each of its files at most so many bytes."""
    own = folder / "trials" / str(trial)  # where a program was the training function
    paths = (folder / "logs" / f"{trial}.log", own / "stdout.log", own / "stderr.log")
    return "".join(_shown_end_of(path, most_bytes) for path in paths if path.is_file())


def last_line(log: Path, otherwise: str) -> str:
    """The last line of a log that is not blank; `otherwise` where there is none, or no such file."""
    lines = (
        [line for line in _shown_end_of(log, 4 * _LONGEST_LINE).splitlines() if line.strip()] if log.is_file() else []
    )
    return lines[-1][-_LONGEST_LINE:] if lines else otherwise


def _shown_end_of(path: Path, most_bytes: int) -> str:
    with path.open("rb") as file:
        beyond = os.fstat(file.fileno()).st_size - most_bytes
        file.seek(max(0, beyond))
        return shown(file.read(most_bytes).decode("utf-8", "replace"))
