"""The patience of a study with a database that does not answer: how long it is waited for, and how often tried."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from tuner.errors import DatabaseAway, StudyError
from tuner.values.numbers import duration

FIRST_S, LONGEST_S = 0.1, 5.0
"""Between two tries, in seconds: twice as long each time."""
SERVING_S = 1.0
"""The patience of whoever answers others, or looks again anyway: it tells them soon."""
_BRIEF_S = 5.0
_LOOKS_FROM_S, _LOOKS_UP_TO_S = 0.02, 1.0
_LATE = 0.02  # of the time waited: so much later than it came is early enough to hear of it
_SHARE = 0.1  # of the time goes into looking, where a look takes long
Found = TypeVar("Found")
_SAID_AT = 2  # the try in vain that is told of: one alone may be a connection that broke


def _to_nobody(_: str) -> None: ...


class Patience:
    """That of whoever only reads or asks: a restart is waited for, and what takes longer told.

    Whoever follows a study has more of it, and `say` is told in words, once, since when it is needed, and for how long
    it was.
    """

    def __init__(
        self, *, within_s: float = _BRIEF_S, until: float = math.inf, say: Callable[[str], None] = _to_nobody
    ) -> None:
        """It lasts `within_s` seconds, and not beyond `until` by the monotonic clock."""
        self.say = say
        self.since: float | None = None
        """Since when the database is away, in Unix seconds; None: it is not."""
        self._within_s, self._until = within_s, until
        self._tried, self._gives_up = 0, 0.0
        self._away_s, self._back_at = 0.0, -math.inf  # the last time it was away, and its end by the monotonic clock

    @property
    def said(self) -> str:
        """That the database is waited for, and since when; empty: it is not."""
        return "" if self.since is None else waiting_since(self.since)

    def told(self) -> str:
        """What is to be written down, once, of a time when the database was away; empty: nothing."""
        return ""

    def outlast(self, act: Callable[[], Found]) -> Found:
        """What an action gives, which is done again while the database is away."""
        while True:
            try:
                found = act()
            except DatabaseAway as why:
                self.wait(why)
            else:
                self.over()
                return found

    def wait(self, why: StudyError) -> None:
        """Waits before the next try, or raises `why`."""
        pause_s = self.pause_s()
        if self._tried == 1:
            self._gives_up = min(self._until, time.monotonic() + self._within_s)
        left_s = self._gives_up - time.monotonic()
        if left_s <= 0:
            self.since, self._tried = None, 0
            raise why
        if self._tried == _SAID_AT:
            self.say(f"{self.said}: {why}")
        time.sleep(min(pause_s, left_s))

    def pause_s(self) -> float:
        """How long to wait now, in seconds; counts the try."""
        if self.since is None:
            self.since = time.time()
        self._tried += 1
        return float(min(FIRST_S * 2 ** min(self._tried - 1, 10), LONGEST_S))

    def over(self) -> None:
        """It answers again."""
        if self.since is not None:
            self._away_s, self._back_at = max(0.0, time.time() - self.since), time.monotonic()
            if self._tried >= _SAID_AT:
                self.say(back_after(self._away_s))
        self.since, self._tried = None, 0

    def judged_at(self, now: float, heard: float) -> float:
        """The time by which to judge somebody who was last heard of then: none in which nobody could be heard."""
        return now - self._away_s if now - heard > time.monotonic() - self._back_at else now


class Pace:
    """That of whoever looks at a record again and again until something has come: at first often, later seldom.

    What comes after ten seconds is heard of a fifth of a second later, and what comes after an hour, one second; a
    store that answers slowly is asked the less often.
    """

    def __init__(
        self,
        *,
        until: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Begins now, with the first look; no pause goes beyond `until`, by the clock."""
        self._clock, self._sleep, self._until = clock, sleep, until
        self._began = self._looked = clock()

    def wait(self) -> None:
        """The pause between the look that is over now and the next."""
        now = self._clock()
        pause_s = max(_LOOKS_FROM_S, _LATE * (now - self._began), (now - self._looked) / _SHARE)
        self._sleep(max(0.0, min(pause_s, _LOOKS_UP_TO_S, self._until - now)))
        self._looked = self._clock()


def waiting_since(at: float, what: str = "the database") -> str:
    """That something is waited for since then, in Unix seconds.

    >>> waiting_since(1_800_000_000)
    'waiting for the database since 08:00:00 UTC'
    """
    return f"waiting for {what} since {datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC"


def back_after(seconds: float) -> str:
    """That the database is back.

    >>> back_after(4.2)
    'the database is back after 4.2 s'
    """
    return f"the database is back after {duration(seconds)}"


def delayed(trial: int, why: str) -> str:
    """That a trial waits for what it needs in its worker's hands, for what, and why.

    >>> delayed(3, "waiting for its checkpoint since 08:00:00 UTC: the object store of s3://lab does not answer")
    'trial 3 is waiting for its checkpoint since 08:00:00 UTC: the object store of s3://lab does not answer'
    """
    return f"trial {trial} is {why}"
