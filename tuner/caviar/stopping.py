"""Stopping rules: when a curve is hopeless, and why.

A rule asks at few steps, its rungs, and compares trials there. What it says is a function of the study alone: it keeps
the scores at the rungs for speed, and a fresh rule on the same study says the same.
"""

from __future__ import annotations

import bisect
import math
import statistics
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tuner.errors import SettingsError
from tuner.policy.verdicts import Verdict
from tuner.record.curve import Curve
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.values.numbers import number, ordinal

_RungValue = Callable[[StudyState, Curve, int], float | None]


class Off:
    """Never stops a trial."""

    name = "off"

    def __init__(self, *, min_steps: int = 1) -> None:
        """`min_steps` changes nothing here."""

    def first_ask(self, after: int = 0) -> int | None:  # noqa: ARG002 - the protocol's word
        """None: nothing is ever asked."""
        return None

    def judge(self, study: StudyState, trial: Trial, step: int) -> Verdict:  # noqa: ARG002
        """On it goes."""
        return Verdict(action="continue", why="stopping is off", ask_at=None)


class _RungRule:
    """Compares trials at rungs. Scores are signed here: higher is better, and one that is not finite is worst of all.

    A trial has reached a rung with its first score there or beyond; between two scores nothing is known of it.
    Only search trials are compared with; a confirmation of the winner would raise the bar five times over.
    """

    name: str

    def __init__(self, first_rung: int) -> None:
        self._first_rung = first_rung
        self._table: _Rungs | None = None

    def first_ask(self, after: int = 0) -> int | None:
        """The first rung beyond `after`."""
        return next(rung for rung in self._rungs() if rung > after)

    def judge(self, study: StudyState, trial: Trial, step: int) -> Verdict:
        """Compares the trial, at the last rung it reached, with all that have been there, whatever became of them."""
        stops, why = self.falls_behind(study, trial, step)
        ask_at = self.first_ask(step)
        if stops:
            return Verdict(action="prune", why=f"stopped at step {step}: {why}", ask_at=ask_at)
        return Verdict(action="continue", why=f"goes on at step {step}: {why}", ask_at=ask_at)

    def falls_behind(self, study: StudyState, trial: Trial, step: int) -> tuple[bool, str]:
        """Whether the trial is among those that do not go on from the last rung it reached, and why."""
        rung = self._rung(step)
        own = None if rung is None else self._own(study, study.curve(trial), rung)
        if rung is None or own is None:
            return False, "it has no score to compare yet"
        if own == -math.inf:
            return True, "its score is not a finite number"
        return self._compare(study, own, self._others(study, trial, rung))

    # ── what makes a rule ───────────────────────────────────────────────────────────────────────

    def _following(self, rung: int) -> int:
        raise NotImplementedError

    def _own(self, study: StudyState, curve: Curve, rung: int) -> float | None:
        """What the trial in question is judged by; None where it has not been scored from there on."""
        raise NotImplementedError

    def _value(self, study: StudyState, curve: Curve, rung: int) -> float | None:
        """What the others are remembered by."""
        raise NotImplementedError

    def _compare(self, study: StudyState, own: float, others: list[float]) -> tuple[bool, str]:
        """Whether to stop, and why; `others` ascends."""
        raise NotImplementedError

    # ── the rungs and what was scored there ─────────────────────────────────────────────────────

    def _rungs(self) -> Iterator[int]:
        rung = self._first_rung
        while True:
            yield rung
            rung = self._following(rung)

    def _rung(self, step: int) -> int | None:
        reached = None
        for rung in self._rungs():
            if rung > step:
                return reached
            reached = rung
        return reached

    def _others(self, study: StudyState, trial: Trial, rung: int) -> list[float]:
        """The values of all other search trials that have come as far, ascending."""
        if self._table is None or not self._table.speaks_of(study):
            self._table = _Rungs(study, self._first_rung, self._following, self._value)
        return self._table.others(trial, rung)


@dataclass(slots=True)
class _RungValues:
    """What one trial had scored at the rungs it has passed, for as long as its curve only grows."""

    rewritten: int
    """How often its curve had been rewritten then."""
    ahead: int | None
    """The next rung; None for a trial that nothing is compared with."""
    at: dict[int, float]


class _Rungs:
    """What the trials of one study had scored at every rung, sorted: a cache their curves can always refill."""

    def __init__(self, study: StudyState, first: int, following: Callable[[int], int], value: _RungValue) -> None:
        self.study = study
        self._first = first
        self._following = following
        self._value = value
        self._revivals = study.revivals
        self._ended = self._moves = 0
        self._by_rung: dict[int, list[float]] = {}
        self._by_trial: dict[int, _RungValues] = {}

    def speaks_of(self, study: StudyState) -> bool:
        """Whether all it remembers still holds: it does not once a trial that was over is taken up again."""
        return self.study is study and self._revivals == study.revivals

    def others(self, trial: Trial, rung: int) -> list[float]:
        """The values at one rung of all search trials but one, ascending."""
        self._catch_up()
        values = self._by_rung.get(rung, []).copy()
        own = self._by_trial[trial.trial].at.get(rung) if trial.trial in self._by_trial else None
        if own is not None:
            _take_out(values, own)
        return values

    def _catch_up(self) -> None:
        """Takes in the trials that have ended or whose curves have changed since the last call."""
        for ended in self.study.ended_order[self._ended :]:
            self._take_in(self.study.trials[ended])
        for trial, moved in reversed(self.study.moved.items()):
            if moved <= self._moves:
                break
            self._take_in(self.study.trials[trial])
        self._ended, self._moves = len(self.study.ended_order), self.study.moves

    def _take_in(self, trial: Trial) -> None:
        curve, passed = self.study.curve(trial), self._by_trial.get(trial.trial)
        if passed is None or passed.rewritten != curve.rewritten:
            for rung, old in passed.at.items() if passed is not None else ():
                _take_out(self._by_rung[rung], old)
            first = self._first if trial.purpose == "search" else None
            passed = self._by_trial[trial.trial] = _RungValues(curve.rewritten, first, {})
        last = curve.steps[-1] if curve.steps else 0
        while passed.ahead is not None and passed.ahead <= last:
            rung, passed.ahead = passed.ahead, self._following(passed.ahead)
            value = self._value(self.study, curve, rung)
            if value is not None:
                passed.at[rung] = value
                bisect.insort(self._by_rung.setdefault(rung, []), value)


class Asha(_RungRule):
    """Asynchronous successive halving that stops trials and never pauses them (Li et al. 2020, MLSys).

    Rungs lie at min_steps·reduction^k. A trial goes on if it is among the best 1/reduction of all scores seen at its
    rung so far; while fewer than `reduction` trials have been there, all go on. The first rung is step 3 unless told
    otherwise: after one step a score speaks of the initial weights and the warm-up more than of the settings, and
    two trials of three would be stopped on that word.
    """

    name = "asha"

    def __init__(self, *, min_steps: int = 3, reduction: int = 3) -> None:
        if min_steps < 1:
            raise SettingsError(f"min_steps must be at least 1, got {min_steps}. Try min_steps=3.")
        if reduction < 2:
            raise SettingsError(
                f"reduction must be at least 2, got {reduction}: one in that many goes on. Try reduction=3."
            )
        super().__init__(min_steps)
        self.min_steps = min_steps
        self.reduction = reduction

    def __repr__(self) -> str:
        return f"Asha(min_steps={self.min_steps}, reduction={self.reduction})"

    def _following(self, rung: int) -> int:
        return rung * self.reduction

    def _own(self, study: StudyState, curve: Curve, rung: int) -> float | None:
        place = curve.place(rung)
        return _worth(study, curve.scores[place]) if place < len(curve) else None

    _value = _own

    def _compare(self, study: StudyState, own: float, others: list[float]) -> tuple[bool, str]:
        seen = len(others) + 1
        if seen < self.reduction:
            return False, f"only {seen} of the {self.reduction} trials it takes to compare have been at that rung"
        place = len(others) - bisect.bisect_right(others, own) + 1
        best = seen // self.reduction
        these = "the best one goes on" if best == 1 else f"the best {best} go on"
        return place > best, f"{ordinal(place)} of {seen} at that rung with {number(study.signed(own), 6)}, {these}"


class Median(_RungRule):
    """Stops a trial whose best score so far is worse than the median of the others' running averages up to that step.

    (Golovin et al. 2017, Google Vizier, §3.2.2.) It asks at steps that grow by a quarter, so that training seldom
    waits, and needs `min_trials` others that have come as far.
    """

    name = "median"

    def __init__(self, *, min_trials: int = 5, min_steps: int = 3) -> None:
        for word, given in (("min_trials", min_trials), ("min_steps", min_steps)):
            if given < 1:
                raise SettingsError(f"{word} must be at least 1, got {given}. Try {word}=3.")
        super().__init__(min_steps)
        self.min_trials = min_trials
        self.min_steps = min_steps

    def __repr__(self) -> str:
        return f"Median(min_trials={self.min_trials}, min_steps={self.min_steps})"

    def _following(self, rung: int) -> int:
        return rung + math.ceil(rung / 4)

    def _own(self, study: StudyState, curve: Curve, rung: int) -> float | None:
        return max((_worth(study, score) for score in _scores_to(curve, rung)), default=None)

    def _value(self, study: StudyState, curve: Curve, rung: int) -> float | None:
        scores = _scores_to(curve, rung)
        return _worth(study, sum(scores) / len(scores)) if scores else None

    def _compare(self, study: StudyState, own: float, others: list[float]) -> tuple[bool, str]:
        if len(others) < self.min_trials:
            return False, f"only {len(others)} of the {self.min_trials} others it takes to compare have come as far"
        median = statistics.median(others)
        stops = own < median
        best, middle = (number(study.signed(each), 6) for each in (own, median))
        relation = "worse" if stops else "no worse"
        return (
            stops,
            f"its best score {best} is {relation} than {middle}, the median of {len(others)} others' averages",
        )


def _worth(study: StudyState, score: float) -> float:
    """Higher is better; what is not finite is worst of all."""
    return study.signed(score) if math.isfinite(score) else -math.inf


def _take_out(values: list[float], value: float) -> None:
    del values[bisect.bisect_left(values, value)]


def _scores_to(curve: Curve, rung: int) -> array[float]:
    """All up to the one that reached the rung; none where none has."""
    place = curve.place(rung)
    return curve.scores[: place + 1] if place < len(curve) else curve.scores[:0]
