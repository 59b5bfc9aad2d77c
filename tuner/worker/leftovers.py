"""The leftovers of saves that died: what they left hidden beside the checkpoints."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from tuner.worker.disk import HIDDEN, HOST, remove
from tuner.worker.manifest import MANIFEST


def sweep_leftovers(root: Path, *, untouched_s: float = 3600.0) -> list[Path]:
    """Remove what saves that died left hidden below `root`; returns what was removed.

    A leftover of a dead process of this host goes at once; any other once it is untouched for `untouched_s`, since
    other hosts' processes cannot be asked. A checkpoint whose replacement died returns to its name.
    """
    swept = []
    for parent, names, files in os.walk(root):
        leftovers = [found for name in names if (found := HIDDEN.fullmatch(name))]
        names[:] = [] if MANIFEST in files else [name for name in names if not HIDDEN.fullmatch(name)]
        for found in leftovers:
            path, final = Path(parent, found[0]), Path(parent, found["name"])
            if not _owner_is_dead(found) and _idle_s(path) < untouched_s:
                continue
            if found["kind"] == "old" and not final.exists():
                path.rename(final)
            else:
                remove(path)
                swept.append(path)
    return swept


def _owner_is_dead(leftover: re.Match[str]) -> bool:
    if leftover["host"] != HOST:
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
