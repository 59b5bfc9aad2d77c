"""The patience of a coordinator with its database: it waits as long as it takes, and says so where others look."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tuner.errors import StudyError
from tuner.record.atomic import write_whole
from tuner.record.location import AWAY
from tuner.record.patience import Patience
from tuner.values.numbers import duration

_SLICE_S = 0.1  # after which a Ctrl-C is heeded


class Outage(Patience):
    """While the database is away workers train on, and what they report waits with them.

    The study's folder says so meanwhile, for `tuner ls`.
    """

    def __init__(self, folder: Path | None, given_up: Callable[[], bool], show: Callable[[], None]) -> None:
        """`given_up` says whether nobody wants to wait any longer, `show` shows how things stand."""
        super().__init__()
        self._folder, self._given_up, self._show = folder, given_up, show
        self._unsaid = ""

    def wait(self, why: StudyError) -> None:
        """Waits before the next try; raises `why` where nobody wants to wait any longer."""
        until = time.monotonic() + self.pause_s()
        self._say(str(why))
        while True:
            self._show()
            if self._given_up():
                self.over()
                raise why
            if (left := until - time.monotonic()) <= 0:
                return
            time.sleep(min(left, _SLICE_S))

    def told(self) -> str:
        """That the database was away, and for how long, once it is back."""
        told, self._unsaid = self._unsaid, ""
        return told

    def over(self) -> None:
        """It answers again, or nobody waits any longer."""
        if self.since is not None:
            self._unsaid = (
                f"the database was away for {duration(time.time() - self.since)}: what was reported waited for it"
            )
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / AWAY).unlink()
        super().over()

    def _say(self, why: str) -> None:
        if self._folder is None or (self._folder / AWAY).exists():
            return
        told = {"since": self.since, "why": why, "pid": os.getpid(), "host": socket.gethostname()}
        with suppress(OSError):
            write_whole(self._folder / AWAY, json.dumps(told).encode(), mode=0o600)
