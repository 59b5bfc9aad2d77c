"""The settings that learn at all: how many of those tried do, and whether they are rare.

Where most of a space does not learn or diverges, the few that do are a needle in a haystack: they are found by trying
many settings briefly, not by training a few that stand still. Nobody says beforehand what a score means. But a setting
that learns is seen to: training raises its score by a good part of all that lies between the worst scores and the best.
And where hardly any learn, most stay side by side where all begin. Where first scores lie far apart, by what settings
do or by luck, that alone makes a rise look small, and nothing is said to be rare.
"""

from __future__ import annotations

import bisect
import copy
import math

from tuner.policy.proposals import Outcome
from tuner.surrogate.evidence import bad

ENOUGH = 3
"""So many settings that learn show where others may."""
_RISE = 0.05  # of the way from the worst score to the best: who rises by more learns
_DEEP = 10.0  # times the way from the median to the best: what lies deeper is only bad, however bad it is
_FEW_WATCHED = 3  # settings whose scores could have risen, before anything is said
_RARE = 0.4  # of the settings watched, fewer than so many learn
_MANY_BEGUN = 12  # so many first scores tell whether most settings begin side by side
_TOGETHER = 0.15  # of the way from the worst score to the best: where learning is rare, half begin no further apart


class Learners:
    """A tally of settings by whether they learn; an entry costs about as much whether there are ten or ten thousand."""

    def __init__(self) -> None:
        self.tried = 0
        """Settings that have been scored, or went wrong."""
        self.steps = 0
        """Steps trained, all in all."""
        self._rises: list[float] = []  # of those scored twice, ascending
        self._firsts: list[float] = []
        self._scores: list[float] = []
        self._worst = math.inf
        self._went_wrong = 0

    def copy(self) -> Learners:
        """The same tally, whatever is entered later."""
        other = copy.copy(self)
        other._rises, other._firsts, other._scores = self._rises.copy(), self._firsts.copy(), self._scores.copy()
        return other

    def put(self, known: Outcome | None, outcome: Outcome) -> None:
        """Enters what a trial is known by now, in place of what it was known by."""
        if known is not None:
            self._count(known, -1)
            if known.score is not None and not bad(known):
                del self._scores[bisect.bisect_left(self._scores, known.score)]
                del self._firsts[bisect.bisect_left(self._firsts, known.score - (known.rise or 0.0))]
                if known.rise is not None:
                    del self._rises[bisect.bisect_left(self._rises, known.rise)]
        self._count(outcome, 1)
        if outcome.score is not None and not bad(outcome):
            first = outcome.score - (outcome.rise or 0.0)
            bisect.insort(self._scores, outcome.score)
            bisect.insort(self._firsts, first)
            self._worst = min(self._worst, first)
            if outcome.rise is not None:
                bisect.insort(self._rises, outcome.rise)

    def _count(self, outcome: Outcome, sign: int) -> None:
        self.steps += sign * outcome.steps
        self.tried += sign * (bad(outcome) or outcome.score is not None)
        self._went_wrong += sign * bad(outcome)

    @property
    def learned(self) -> int:
        """How many of them have been seen to learn."""
        return len(self._rises) - bisect.bisect_right(self._rises, _RISE * self._reach)

    @property
    def too_few(self) -> bool:
        """Whether so few have been seen to learn that more have to be tried, where it could have been seen."""
        watched = len(self._rises)
        if not watched or watched + self._went_wrong < _FEW_WATCHED or self.learned >= ENOUGH:
            return False
        return len(self._firsts) < _MANY_BEGUN or self._stays_together

    @property
    def rare(self) -> bool:
        """Whether most settings do not learn, but stay where all begin."""
        watched = len(self._rises)
        return watched > 0 and self.learned < _RARE * (watched + self._went_wrong) and self._stays_together

    @property
    def _stays_together(self) -> bool:
        """Whether half of the first scores lie side by side beside what learning reaches; believed until one learns."""
        if not self.learned:
            return True
        half = len(self._firsts) // 2
        apart = min(high - low for low, high in zip(self._firsts, self._firsts[half:], strict=False))
        return apart <= _TOGETHER * self._reach

    @property
    def _reach(self) -> float:
        """From the worst scores to the best, what is only bad left out."""
        if not self._scores:
            return 0.0
        best, median = self._scores[-1], self._scores[len(self._scores) // 2]
        return best - max(self._worst, best - _DEEP * (best - median))

    @property
    def words(self) -> str:
        """How many learn, in words."""
        learned = self.learned
        which = "none" if not learned else str(learned)
        return f"{which} of {self.tried} settings {'learns' if learned < 2 else 'learn'} at all"
