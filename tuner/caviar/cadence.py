"""The cadence of scores: at which steps a function scores its model, and when the next score is due.

A function may report the objective at every step, at every tenth, late and then often, or once at its very end. What
the run that has been scored furthest did after a step is what another is expected to do there.
"""

from __future__ import annotations

import bisect

from tuner.record.curve import Curve
from tuner.record.state import StudyState
from tuner.record.trial import Trial


class Cadence:
    """The habit of one study's function; a look costs the same however long the curves are."""

    def __init__(self) -> None:
        self._furthest: Trial | None = None

    def look(self, study: StudyState, trial: Trial) -> None:
        """Takes in how far a trial has been scored."""
        if self._furthest is None or _last(study.curve(trial)) > _last(study.curve(self._furthest)):
            self._furthest = trial

    def knows(self, study: StudyState) -> bool:
        """Whether any trial has been scored."""
        return self._furthest is not None and len(study.curve(self._furthest)) > 0

    def due(self, study: StudyState, trial: Trial | None, standing: int = 0, reach: int = 0) -> int | None:
        """The step of the first score due beyond `standing`, where the trial is, and not before `reach`.

        Without a trial, of a new one. None where nobody can say: nothing was scored yet, or a score is overdue.
        """
        own = Curve() if trial is None else study.curve(trial)
        guide = own if self._furthest is None else study.curve(self._furthest)
        scored, target = _last(own), max(standing + 1, reach)
        place = bisect.bisect_right(guide.steps, scored)
        if scored and (not place or guide.steps[place - 1] != scored):
            guide, place = own, len(own)  # it has a habit of its own
        if not len(guide):
            return None
        first = guide.steps[place] if place < len(guide) else scored + _gap(guide)
        if first <= standing:
            return None
        place = max(place, bisect.bisect_left(guide.steps, target))
        if place < len(guide):
            return int(guide.steps[place])
        last, gap = _last(guide), _gap(guide)
        return last + gap * max(1, -(-(target - last) // gap))


def _last(curve: Curve) -> int:
    return int(curve.steps[-1]) if len(curve) else 0


def _gap(curve: Curve) -> int:
    return max(1, int(curve.steps[-1] - curve.steps[-2]) if len(curve) > 1 else _last(curve))
