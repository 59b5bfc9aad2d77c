"""The patience of a study with a database that does not answer: how long it is waited for, and how often tried."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from tuner.errors import StudyError

FIRST_S, LONGEST_S = 0.1, 5.0
"""Between two tries, in seconds: twice as long each time."""
_BRIEF_S = 5.0


class Patience:
    """That of whoever only reads or asks: a restart is waited for, and what takes longer told."""

    def __init__(self) -> None:
        self.since: float | None = None
        """Since when the database is away, in Unix seconds; None: it is not."""
        self._tried, self._gives_up = 0, 0.0

    @property
    def said(self) -> str:
        """That the database is waited for, and since when; empty: it is not."""
        return "" if self.since is None else waiting_since(self.since)

    def told(self) -> str:
        """What is to be written down, once, of a time when the database was away; empty: nothing."""
        return ""

    def wait(self, why: StudyError) -> None:
        """Waits before the next try, or raises `why`."""
        pause_s = self.pause_s()
        if self._tried == 1:
            self._gives_up = time.monotonic() + _BRIEF_S
        if time.monotonic() + pause_s > self._gives_up:
            self.over()
            raise why
        time.sleep(pause_s)

    def pause_s(self) -> float:
        """How long to wait now, in seconds; counts the try."""
        if self.since is None:
            self.since = time.time()
        self._tried += 1
        return float(min(FIRST_S * 2 ** min(self._tried - 1, 10), LONGEST_S))

    def over(self) -> None:
        """It answers again."""
        self.since, self._tried = None, 0


def waiting_since(at: float) -> str:
    """That the database is waited for since then, in Unix seconds.

    >>> waiting_since(1_800_000_000)
    'waiting for the database since 08:00:00 UTC'
    """
    return f"waiting for the database since {datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC"
