"""Freeze and thaw: which runs stand still and which go on, from their settings and their curves.

At its first score at a rung or beyond, a run is weighed against every run that stands still and against the settings
that would be tried next: it goes on if its expected improvement at the end of training is the largest, else it is
paused, saved, and its worker is free. Improvement is over the incumbent, the best score there is or is expected
(`surrogate/`); so a run that starts slowly but may still cross stays in the race, and a good one that cannot get any
better gives way. Every third time the run that is expected to end best goes on, whatever else might be learned. A run
that is a duplicate of another is stopped.

(Freeze and thaw: Swersky et al. 2014. A step of the run of largest expected improvement: DyHPO, Wistuba et al. 2022.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import ndtr

from tuner.caviar.search import Search
from tuner.caviar.stopping import Asha
from tuner.policy.verdicts import StoppingRule, Thaw, Verdict
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.surrogate.evidence import MOST_ROWS
from tuner.surrogate.thinking import Thinking

_RUNGS = 64  # the first rung is at about this share of a whole training
_HARVEST_EVERY = 3
_MORE_IF_NEW = 0.3  # of a new trial a third more is asked, or near-duplicates of the best begin without end
_MORE = 1.25  # hyperparameters are learned anew when this many times as much has been seen
_LENGTHS = "lengths"  # what is thought about
_HOPELESS = 0.02  # the chance to overtake below which, once all trials have begun, only the leader trains on


@runtime_checkable
class Thawing(StoppingRule, Protocol):
    """A rule that pauses trials, and takes them up again."""

    def join(self, search: Search) -> None:
        """Says whose trials they are; once, before the first question."""
        ...

    def thaw(self, study: StudyState) -> Thaw | None:
        """The trial to take up again rather than begin another; None: begin another, if there is one."""
        ...


@dataclass(frozen=True)
class _Pick:
    """Who is to train next: a run, or none that has begun (None)."""

    trial: int | None
    why: str


class FreezeThaw:
    """Pauses runs at rungs and takes them up again, by expected improvement.

    Rungs double from a sixty-fourth of a whole training on. A run whose function has not told how to save its state
    cannot be paused: it is stopped where successive halving would stop it.
    """

    name = "auto"

    def __init__(self) -> None:
        self._asha = Asha()
        self._search: Search | None = None
        self._learned: tuple[int, list[float]] | None = None
        self._learning = Thinking[tuple[int, list[float]]](beside=False)

    def __repr__(self) -> str:
        return "FreezeThaw()"

    def join(self, search: Search) -> None:
        """Says whose runs are weighed; once, before the first question."""
        self._search = search
        self._learning = Thinking(beside=search.overlapping)

    def first_ask(self, after: int = 0) -> int | None:
        """The next rung."""
        return _next_rung(after, self._horizon())

    def judge(self, study: StudyState, trial: Trial, step: int) -> Verdict:
        """Goes on if its expected improvement is the largest, else is paused."""
        search = self._joined()
        search.observe(study, trial, "paused" if trial.resumable else "running")
        original = search.ledger.of(trial.trial).duplicate_of
        if original is not None:
            why = f"stopped at step {step}: to the last digit its curve so far is that of trial {original}"
            return Verdict(action="prune", why=why, ask_at=None)
        if not trial.resumable:
            return self._asha.judge(study, trial, step)
        ask_at = _next_rung(step, trial.planned or self._horizon())
        if search.in_haste:
            return self._in_haste(study, trial, step, ask_at)
        trials = [trial.trial, *self._frozen(study, but=trial.trial)]
        pick, opened = search.thought(lambda: self._pick(study, trials)), search.due(study)
        if pick.trial == trial.trial:
            search.observe(study, trial, "running")
            why = f"goes on at step {step}: {pick.why}"
            return Verdict(action="continue", why=why, ask_at=ask_at, opened=opened)
        return Verdict(action="pause", why=f"paused at step {step}: {pick.why}", ask_at=ask_at, opened=opened)

    def thaw(self, study: StudyState) -> Thaw | None:
        """The run to take up again rather than begin another; None: begin another, if there is one."""
        search = self._joined()
        if search.in_haste and search.upcoming(study) is not None:
            return None
        frozen = self._frozen(study)
        pick = search.thought(lambda: self._pick(study, frozen)) if frozen else _Pick(None, "")
        return None if pick.trial is None else Thaw(trial=pick.trial, why=pick.why, opened=self._joined().due(study))

    def _in_haste(self, study: StudyState, trial: Trial, step: int, ask_at: int | None) -> Verdict:
        """Goes on where successive halving would let it, else is paused; more has to be weighed than there is time."""
        verdict = self._asha.judge(study, trial, step)
        if verdict.action == "continue":
            self._joined().observe(study, trial, "running")
            return replace(verdict, ask_at=ask_at)
        why = verdict.why.replace("stopped", "paused in haste", 1)
        return Verdict(action="pause", why=why, ask_at=ask_at)

    # ── weighing ────────────────────────────────────────────────────────────────────────────────

    def _pick(self, study: StudyState, trials: list[int]) -> _Pick:
        """Who of these trials is to train next; none of them where it is what is new, or where it would be in vain."""
        search = self._joined()
        surrogate = search.ledger.surrogate(search.space)
        new = search.upcoming(study)
        if new is not None and (new.at_once or surrogate.untrained):
            return _Pick(None, f"new settings come first: {new.why}")
        if surrogate.untrained:
            return _Pick(trials[0], "nothing can be compared yet")
        if len(trials) > MOST_ROWS:
            telling = {outcome.trial for outcome in surrogate.informative}
            trials = [trial for trial in trials if trial in telling or trial == trials[0]]
        posterior = surrogate.posterior(self._hyperparameters(study))
        posterior.hear(search.ledger.of(trials[0]))
        mean, deviation = posterior.of_runs([search.ledger.of(trial) for trial in trials])

        def expectation(place: int) -> str:
            return posterior.expected(float(mean[place]), float(deviation[place]))

        if new is None and float(ndtr((mean - posterior.best) / deviation).max()) < _HOPELESS:
            leader = posterior.leaders[0].trial
            if leader in trials:
                return _Pick(leader, f"trial {leader} leads, and none that is left may still overtake it")
            return _Pick(None, f"none that is left may still overtake trial {leader}")
        if surrogate.information % _HARVEST_EVERY == 0:
            place = int(np.argmax(mean))
            return _Pick(trials[place], f"trial {trials[place]} is expected to end best: {expectation(place)}")
        improvement = posterior.log_expected_improvement(mean, deviation)
        place = int(np.argmax(improvement))
        if new is not None:
            ahead, surely = posterior.of_points(np.array([new.point]))
            if float(posterior.log_expected_improvement(ahead, surely)[0]) > float(improvement[place]) + _MORE_IF_NEW:
                expected = posterior.expected(float(ahead[0]), float(surely[0]))
                return _Pick(None, f"new settings have the larger expected improvement: {expected}")
        return _Pick(trials[place], f"trial {trials[place]} has the largest expected improvement: {expectation(place)}")

    def _hyperparameters(self, study: StudyState) -> list[float]:
        """Those of the Gaussian process: the search's own, else learned here."""
        search = self._joined()
        found = search.hyperparameters(study)
        if found is not None:
            return found
        surrogate, learned = search.ledger.surrogate(search.space), self._learned
        if learned is None:
            learned = surrogate.information, surrogate.fit(None)
        elif self._learning.busy:
            learned = self._learning.end(_LENGTHS) or learned
        elif surrogate.information >= _MORE * learned[0]:
            start = learned[1]
            thought = self._learning.begin(_LENGTHS, lambda: (surrogate.information, surrogate.fit(start)))
            learned = thought or learned
        self._learned = learned
        return learned[1]

    def _frozen(self, study: StudyState, but: int | None = None) -> list[int]:
        known = self._joined().ledger
        frozen = [trial.trial for trial in study.live.values() if trial.frozen and trial.trial != but]
        return self._joined().affordable(study, [trial for trial in frozen if known.of(trial).duplicate_of is None])

    def _horizon(self) -> int:
        return self._joined().ledger.horizon

    def _joined(self) -> Search:
        if self._search is None:
            raise RuntimeError("FreezeThaw has not joined a search")
        return self._search


def _next_rung(step: int, horizon: int) -> int | None:
    """The first rung beyond `step`; None when training is over before it."""
    rung = max(1, -(-horizon // _RUNGS))
    while rung <= step:
        rung *= 2
    return rung if rung < horizon or horizon <= 1 else None
