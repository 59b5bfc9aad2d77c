"""The interactive room of a babysat run: what it does, drawn live in a terminal, and a line to steer it by."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from tuner.errors import MissingExtra

if TYPE_CHECKING:
    from tuner.api.handles import RunHandle


def open_room(handle: RunHandle) -> int:
    """Shows the run until the person leaves, and returns the exit code; the run trains on.

    0, or 1 where the run has ended as failed or diverged. Without Textual and plotext a `MissingExtra`.
    """
    missing = [name for name in ("textual", "plotext") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(f"the room needs {' and '.join(missing)}. Install it: pip install 'tuner[room]'")
    from tuner.room.app import Room

    return Room(handle).stay()
