"""Waiting for what others do, without guessing how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

# A busy machine takes long; this bounds what never comes, and costs nothing where it comes.
PATIENCE_S = 90.0


def wait_until(condition: Callable[[], Found], within_s: float = PATIENCE_S, *, look_every_s: float = 0.005) -> Found:
    """Looks again and again until `condition` holds, and returns what it found; fails once `within_s` are over."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not come to pass within {within_s:g} s"
        time.sleep(look_every_s)
    return found
