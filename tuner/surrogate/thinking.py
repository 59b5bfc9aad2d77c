"""Thoughts that nobody waits for: long ones beside the loop, and no more of the short ones than there is time for."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

_Thought = TypeVar("_Thought")

_SHARE = 1 / 4  # of the time, at most, goes into thinking: so it takes no more than a quarter of the speed
_LONGEST_S = 0.05  # that one thought counts: the first loads what it thinks with
_SAVED_S = 0.25  # so much of it can be saved up: no turn of the loop thinks longer, whoever else waits for a verdict


class Thinking(Generic[_Thought]):
    """One thought at a time; where nobody else would use the time, it is waited for.

    Alone, a worker stands idle until its next trial is decided: then a thought is as good in the thread that asks, and
    what follows from it is a function of the record. Where several train, they would all wait for one of them.
    """

    def __init__(self, *, beside: bool) -> None:
        """`beside`: in a thread of its own."""
        self._beside = beside
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: tuple[Any, Future[_Thought]] | None = None

    @property
    def busy(self) -> bool:
        """Whether a thought is under way, or has come to its end and was not asked for yet."""
        return self._under_way is not None

    def begin(self, about: Any, thought: Callable[[], _Thought], *, short: bool = False) -> _Thought | None:
        """Has something thought about; a `short` thought is waited for. Returns what came of it; None: not yet."""
        if short or not self._beside:
            return thought()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="tuner-thinking")
        self._under_way = about, self._pool.submit(thought)
        return None

    def end(self, about: Any) -> _Thought | None:
        """What came of the thought; None while it lasts, or where it was about something else than this."""
        if self._under_way is None or not self._under_way[1].done():
            return None
        (meant, future), self._under_way = self._under_way, None
        found = future.result()
        return found if meant == about else None


class Time:
    """How much time there is to think: a share of what passes, saved up for a quarter of a second."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._left_s, self._looked_at, self._counts = clock, _SAVED_S, clock(), True

    def is_left(self) -> bool:
        """Whether there is any."""
        now = self._clock()
        self._left_s = min(_SAVED_S, self._left_s + _SHARE * (now - self._looked_at))
        self._looked_at = now
        return self._left_s > 0

    def spent_on(self, thought: Callable[[], _Thought]) -> _Thought:
        """What comes of a thought, with the time that it takes; a thought within counts once."""
        if not self._counts:
            return thought()
        began, self._counts = self._clock(), False
        try:
            return thought()
        finally:
            self._left_s, self._counts = self._left_s - min(_LONGEST_S, self._clock() - began), True
