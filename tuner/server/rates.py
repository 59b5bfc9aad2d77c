"""Rates: how often somebody may do something, as a bucket that fills with time."""

from __future__ import annotations

import time
from collections.abc import Callable

_MOST = 10_000  # buckets kept; the fullest are forgotten first


class Rate:
    """So many at once, and so many a second after that, for each who asks."""

    def __init__(self, burst: float, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._per_s, self._clock = burst, per_s, clock
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, who: str) -> float:
        """Takes one; the seconds to wait where there is none left, and then none is taken."""
        now = self._clock()
        left, at = self._left.get(who, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_s)
        self._left.pop(who, None)
        if len(self._left) >= _MOST:
            self._left.pop(next(iter(self._left)))
        self._left[who] = (left - 1 if left >= 1 else left, now)
        return 0.0 if left >= 1 else (1 - left) / self._per_s
