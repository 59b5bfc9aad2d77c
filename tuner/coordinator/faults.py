"""The faults of tuner itself: each traceback, kept in the study's folder."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

_FILE = "errors.log"
_LIMIT_BYTES = 1_000_000


def keep(folder: Path | None, error: BaseException, during: str) -> str:
    """Appends the traceback to `errors.log` in a study's folder; where it lies, in words.

    What goes wrong again and again fills no disk, and a disk that refuses it raises nothing.
    """
    if folder is None:
        return "its traceback is kept nowhere, for this study has no folder"
    path, told = folder / _FILE, "".join(traceback.format_exception(error))
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    try:
        if not path.exists() or path.stat().st_size < _LIMIT_BYTES:
            with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"{moment} UTC, {during}:\n{told[-_LIMIT_BYTES // 10 :]}\n")
    except OSError as refusal:
        return f"its traceback could not be kept in {path}: {refusal}"
    return f"its traceback is in {path}"
