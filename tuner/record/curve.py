"""The curve of a trial: its objective, step by step, on the path that counts."""

from __future__ import annotations

import bisect
import math
from array import array
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tuner.record.events import Goal, Reported
from tuner.record.reports import runs_of, score_columns
from tuner.record.score_names import spread_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MANY = 1_000  # scores, from which on they are looked through as an array


class Curve:
    """One trial's objective on the head: steps ascending, the last report of a step counts."""

    __slots__ = ("reached", "rewritten", "scores", "spreads", "steps")

    def __init__(self, pairs: Iterable[tuple[int, float]] = ()) -> None:
        self.reached = 0
        """The last step at which anything was reported, where that was read from the record."""
        self.rewritten = 0
        """How often something but an append has changed it."""
        self.steps = array("q")
        self.scores = array("d")
        self.spreads: dict[int, float] = {}
        """How far the seeds of a trial that has several differ, by the step."""
        for step, score in pairs:
            self.add(step, score)

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, step: int, score: float) -> bool:
        """Appends a report; one of a step reported before replaces it, which it says."""
        if not self.steps or step > self.steps[-1]:
            self.steps.append(step)
            self.scores.append(score)
            return False
        self.rewritten += 1
        place = bisect.bisect_left(self.steps, step)
        if self.steps[place] == step:
            self.scores[place] = score
            return True
        self.steps.insert(place, step)
        self.scores.insert(place, score)
        return False

    @classmethod
    def of(cls, limits: Mapping[int, int | None], flushes: Iterable[Reported], objective: str) -> Curve:
        """The head curve of one trial from everything it has reported; `limits` are those of `Trial.head_limits`."""
        curve = cls()
        for alike in runs_of(flush for flush in flushes if flush.segment in limits):
            last, limit = alike[-1], limits[alike[-1].segment]
            curve.reached = last.last_step if limit is None else min(last.last_step, limit)
            curve.extend(*score_columns(alike, objective, limit))
            if (spread := spread_of(objective)) in last.names:
                steps, spreads = score_columns(alike, spread, limit)
                curve.spreads.update(zip(steps.tolist(), spreads.tolist(), strict=True))
        return curve

    def extend(self, steps: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        """Adds reports in the order made, of millions as fast as of some."""
        if not len(steps):
            return
        follows = not self.steps or steps[0] > self.steps[-1]
        if follows and bool((steps[1:] > steps[:-1]).all()):
            self.steps.frombytes(steps.tobytes())
            self.scores.frombytes(scores.tobytes())
            return
        for step, score in zip(steps.tolist(), scores.tolist(), strict=True):
            self.add(step, score)

    def cut(self, step: int) -> None:
        """Forgets what lies after `step`: that tail is no longer on the head."""
        self.rewritten += 1
        keep = bisect.bisect_right(self.steps, step)
        del self.steps[keep:]
        del self.scores[keep:]
        self.spreads = {at: spread for at, spread in self.spreads.items() if at <= step}

    def at(self, step: int) -> float | None:
        """The score reported at `step`, else the last one before it."""
        place = bisect.bisect_right(self.steps, step)
        return self.scores[place - 1] if place else None

    def place(self, step: int) -> int:
        """Where the first score at `step` or beyond stands; the length where there is none."""
        return bisect.bisect_left(self.steps, step)

    def best(self, goal: Goal) -> tuple[int, float] | None:
        """The best (step, score), the earliest where several tie; NaN never wins."""
        if len(self) >= _MANY:
            return self._best(goal)
        pick: tuple[int, float] | None = None
        for step, score in zip(self.steps, self.scores, strict=True):
            if score == score and (pick is None or better(goal, score, pick[1])):
                pick = (step, score)
        return pick

    def _best(self, goal: Goal) -> tuple[int, float] | None:
        import numpy as np  # only who has many scores waits for it

        scores = np.frombuffer(self.scores, dtype=np.float64)
        numbers = ~np.isnan(scores)
        if not numbers.any():
            return None
        sign = 1.0 if goal == "maximize" else -1.0
        place = int(np.argmax(np.where(numbers, sign * scores, -math.inf)))
        place = place if numbers[place] else int(np.argmax(numbers))  # all the others are infinitely bad
        return self.steps[place], self.scores[place]


def better(goal: Goal, score: float, than: float) -> bool:
    """Whether `score` beats `than`."""
    return score > than if goal == "maximize" else score < than
