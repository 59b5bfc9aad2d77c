"""Freeze and thaw: which runs stand still and which go on, from their settings and their curves.

At its first score at a rung or beyond, a run is weighed against every run that stands still and against the settings
that would be tried next: it goes on if its expected improvement at the end of training is the largest, else it is
paused, saved, and its worker is free. Improvement is over the incumbent, the best score there is or is expected
(`surrogate/`); so a run that starts slowly but may still cross stays in the race, and a good one that cannot get any
better gives way. Every third time the run that is expected to end best goes on, whatever else might be learned. A run
that is a duplicate of another is stopped. Where settings that learn are rare, the run furthest trained of those in the
best third at their rung goes on, and new settings begin where there is none.

Where a number of trials is all the budget there is, they all begin, whatever a run may still come to, so what is to be
saved are steps. A run then goes on from a rung if it leads there, as in successive halving, and is paused otherwise.
Late in a training, and once all have begun, only the expected improvement counts: a run goes on, or is taken up again,
while it may be expected to gain more over the best score there is than that score's noise. The rest is left alone.

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
from tuner.values.numbers import count

_RUNGS = 64  # the first rung is at about this share of a whole training
_HARVEST_EVERY = 3
_MORE_IF_NEW = 0.3  # of a new trial a third more is asked, or near-duplicates of the best begin without end
_MORE = 1.25  # hyperparameters are learned anew when this many times as much has been seen
_LENGTHS = "lengths"  # what is thought about
_PARTS_FOR_GOOD = 9  # of a training: before the first, a run that cannot be paused is not judged
_PARTS = 20  # where all trials begin: the first rung is at this part of a training, 3 of 51 steps, and 2 of 30
_LATE = 3  # from this part of a training on its end is known well enough to do without it
_LEAST_NOISE = 0.04  # standard deviations of the scores: less is no difference, however exact a score is
_NOTHING = 1e-3  # of the noise: less is no number that says anything
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

    def left(self, study: StudyState) -> str | None:
        """Which trials it has left alone at the end, and why; None: none, or for want of steps."""
        ...


@dataclass(frozen=True)
class _Pick:
    """Who is to train next: a run, or none that has begun (None)."""

    trial: int | None
    why: str


class _Doubling(Asha):
    """Successive halving at the rungs where runs are weighed."""

    def _following(self, rung: int) -> int:
        return 2 * rung

    def _compare(self, study: StudyState, own: float, others: list[float]) -> tuple[bool, str]:
        stops, why = super()._compare(study, own, others)
        return stops or len(others) + 1 < self.reduction, why


class FreezeThaw:
    """Pauses runs at rungs and takes them up again, by expected improvement.

    Rungs double from a sixty-fourth of a whole training on, or from `min_steps` where that is later. A run whose
    function has not told how to save its state cannot be paused. It is stopped for good, and so with more care: after
    a ninth or a third of a training, where it is behind by successive halving and has hardly a chance to catch up.
    """

    name = "auto"

    def __init__(self, *, min_steps: int = 1) -> None:
        self.min_steps = min_steps
        self._halvings: dict[int, Asha] = {}
        self._search: Search | None = None
        self._doubling: _Doubling | None = None
        self._learned: tuple[int, list[float]] | None = None
        self._learning = Thinking[tuple[int, list[float]]](beside=False)

    def __repr__(self) -> str:
        return "FreezeThaw()" if self.min_steps == 1 else f"FreezeThaw(min_steps={self.min_steps})"

    def join(self, search: Search) -> None:
        """Says whose runs are weighed; once, before the first question."""
        self._search = search
        self._learning = Thinking(beside=search.overlapping)

    def first_ask(self, after: int = 0) -> int | None:
        """The next rung."""
        return self._spare_rung(after) if self._joined().sparing else self._next_rung(after, self._horizon())

    def judge(self, study: StudyState, trial: Trial, step: int) -> Verdict:
        """Goes on if its expected improvement is the largest, else is paused."""
        search = self._joined()
        search.observe(study, trial, "paused" if trial.resumable else "running")
        original = search.ledger.of(trial.trial).duplicate_of
        if original is not None:
            why = f"stopped at step {step}: to the last digit its curve so far is that of trial {original}"
            return Verdict(action="prune", why=why, ask_at=None)
        if not trial.resumable:
            return search.thought(lambda: self._for_good(study, trial, step))
        if search.sparing:
            return search.thought(lambda: self._spared(study, trial, step))
        ask_at = self._next_rung(step, trial.planned or self._horizon())
        if trial.round == 0 and len(search.space) > 1 and search.ledger.of(trial.trial).rise is None:
            search.observe(study, trial, "running")
            why = f"goes on at step {step}: its second score will tell whether its settings learn"
            return Verdict(action="continue", why=why, ask_at=ask_at)
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
        if search.sparing:
            return search.thought(lambda: self._worthy(study, frozen))
        pick = search.thought(lambda: self._pick(study, frozen)) if frozen else _Pick(None, "")
        return None if pick.trial is None else Thaw(trial=pick.trial, why=pick.why, opened=self._joined().due(study))

    def _in_haste(self, study: StudyState, trial: Trial, step: int, ask_at: int | None) -> Verdict:
        """Goes on where successive halving would let it, else is paused; more has to be weighed than there is time."""
        behind, why = self._halving(None).falls_behind(study, trial, step)
        if behind:
            return Verdict(action="pause", why=f"paused in haste at step {step}: {why}", ask_at=ask_at)
        self._joined().observe(study, trial, "running")
        return Verdict(action="continue", why=f"goes on at step {step}: {why}", ask_at=ask_at)

    def left(self, study: StudyState) -> str | None:
        """Which runs were not worth training on at the end, what that saved, and how they go on all the same."""
        search, left = self._joined(), self._frozen(study)
        if not search.sparing or search.spent(study) is None or not left:
            return None
        if (weighed := self._weighed(study, left)) is None:
            return None
        whole = {trial.trial: max(trial.steps, trial.planned or self._horizon()) for trial in study.searched()}
        saved = sum(whole[trial] - study.trials[trial].steps for trial in left)
        were, best, them = ("was", "it", "it") if len(left) == 1 else ("were", "the best of them", "them")
        return (
            f"{count(len(left), 'paused trial')} {were} left alone, as {best} {weighed.why}; "
            f"that saved {saved:,} of {count(sum(whole.values()), 'step')}; "
            f'the same call with stopping="off" (--stopping off) trains {them} to the end'
        )

    def _for_good(self, study: StudyState, trial: Trial, step: int) -> Verdict:
        """Stops a run that is behind and has hardly a chance: it cannot be taken up again."""
        search = self._joined()
        verdict = self._halving(_PARTS_FOR_GOOD if trial.planned else None).judge(study, trial, step)
        if verdict.action != "prune" or search.in_haste:
            return verdict
        surrogate = search.ledger.surrogate(search.space)
        if surrogate.untrained:
            return verdict
        posterior, opened = surrogate.posterior(self._hyperparameters(study)), search.due(study)
        mean, deviation = posterior.of_runs([search.ledger.of(trial.trial)])
        if float(ndtr((mean - posterior.best) / deviation)[0]) < _HOPELESS:
            return replace(verdict, opened=opened)
        expectation = posterior.expected(float(mean[0]), float(deviation[0]))
        why = f"goes on at step {step}, though behind: {expectation}"
        return replace(verdict, action="continue", why=why, opened=opened)

    def _halving(self, parts: int | None) -> Asha:
        """Successive halving from this part of a whole training on; None: of a training of unknown length."""
        first = Asha().min_steps if parts is None else -(-self._horizon() // parts)
        first = max(first, self.min_steps)
        if first not in self._halvings:
            self._halvings[first] = Asha(min_steps=first)
        return self._halvings[first]

    # ── where a number of trials is all the budget ──────────────────────────────────────────────

    def _spared(self, study: StudyState, trial: Trial, step: int) -> Verdict:
        """Pauses a run that does not lead at its rung, or that is not worth training on."""
        search = self._joined()
        opened, all_begun = search.due(study), search.upcoming(study) is None
        behind, why = self._halving(_PARTS).falls_behind(study, trial, step)
        if (all_begun or (not behind and _LATE * step >= self._horizon())) and (
            weighed := self._weighed(study, [trial.trial])
        ) is not None:
            behind, why = weighed.trial is None, f"it {weighed.why}"
        ask_at = self._spare_rung(step)
        if behind:
            return Verdict(action="pause", why=f"paused at step {step}: {why}", ask_at=ask_at, opened=opened)
        search.observe(study, trial, "running")
        return Verdict(action="continue", why=f"goes on at step {step}: {why}", ask_at=ask_at, opened=opened)

    def _worthy(self, study: StudyState, frozen: list[int]) -> Thaw | None:
        """The run of largest expected improvement, once all have begun and if that is more than noise."""
        search = self._joined()
        if not frozen or search.upcoming(study) is not None or (weighed := self._weighed(study, frozen)) is None:
            return None
        if weighed.trial is None:
            return None
        return Thaw(trial=weighed.trial, why=f"trial {weighed.trial} {weighed.why}", opened=search.due(study))

    def _weighed(self, study: StudyState, trials: list[int]) -> _Pick | None:
        """Which of these runs is worth most steps, none if none is worth any; None where nothing can be compared."""
        search = self._joined()
        surrogate = search.ledger.surrogate(search.space)
        if surrogate.untrained or (search.in_haste and search.upcoming(study) is not None):
            return None
        posterior = surrogate.posterior(self._hyperparameters(study))
        gains = posterior.gain(*posterior.of_runs([search.ledger.of(trial) for trial in trials]))
        place = int(np.argmax(gains))
        gain, noise = float(gains[place]), max(posterior.noise, _LEAST_NOISE)
        noisy = "the noise of the score" if noise == posterior.noise else "a twenty-fifth of the spread of all scores"
        than = f"{'more' if gain > noise else 'no more'} than {noisy}, {posterior.difference(noise)}"
        gained = posterior.difference(gain) if gain > _NOTHING * noise else "next to nothing"
        why = f"is expected to gain {gained}, {than}"
        return _Pick(trials[place] if gain > noise else None, why)

    def _spare_rung(self, step: int) -> int | None:
        """The first rung of successive halving beyond `step`; None when training is over before it."""
        rung, horizon = self._halving(_PARTS).first_ask(step), self._horizon()
        return rung if rung is not None and (rung < horizon or horizon <= 1) else None

    # ── weighing ────────────────────────────────────────────────────────────────────────────────

    def _pick(self, study: StudyState, trials: list[int]) -> _Pick:
        """Who of these trials is to train next; none of them where it is what is new, or where it would be in vain."""
        search = self._joined()
        surrogate = search.ledger.surrogate(search.space)
        new, judged = search.upcoming(study), trials[0]
        if new is not None and search.needle(study):
            best = [number for number in trials if self._is_in_the_best_third(study, number)]
            if not best:
                return _Pick(None, f"no run that stands still is in the best third at its rung: {new.why}")
            furthest = max(best, key=lambda number: (study.trials[number].steps, -number))
            return _Pick(furthest, f"trial {furthest} is in the best third at its rung")
        if new is not None and (new.at_once or surrogate.untrained):
            return _Pick(None, f"new settings come first: {new.why}")
        if surrogate.untrained:
            return _Pick(trials[0], "nothing can be compared yet")
        if len(trials) > MOST_ROWS:
            telling = {outcome.trial for outcome in surrogate.informative}
            trials = [trial for trial in trials if trial in telling or trial == trials[0]]
        posterior = surrogate.posterior(self._hyperparameters(study))
        posterior.hear(search.ledger.of(judged))
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

    def _is_in_the_best_third(self, study: StudyState, number: int) -> bool:
        """Whether successive halving would promote a run."""
        rung = self._next_rung(0, self._horizon()) or 1
        if self._doubling is None or self._doubling.min_steps != rung:
            self._doubling = _Doubling(min_steps=rung)
        trial = study.trials[number]
        return self._doubling.judge(study, trial, trial.steps).action == "continue"

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

    def _next_rung(self, step: int, horizon: int) -> int | None:
        """The first rung beyond `step`; None when training is over before it."""
        rung = max(1, -(-horizon // _RUNGS), self.min_steps)
        while rung <= step:
            rung *= 2
        return rung if rung < horizon or horizon <= 1 else None
