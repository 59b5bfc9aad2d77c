"""Repeats within a sweep: whose settings are trained again, out of its own budget, to tell merit from luck. Pure.

One repeat of the leader, early, shows what a seed changes. Once most of the budget is spent, leaders are trained again
one after another as long as choosing the wrong one may cost something: of the two that may be best, the one that is
expected to be and the one of whom most may still be hoped, whoever is less well known (LUCB, Kalyanakrishnan et al.
2012). What is known of settings is the posterior of a Gaussian process at the end of training by nobody, without what
one run had of its own. Where a repeat does to the last digit what its original did, a seed changes nothing, and nothing
is repeated any more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from tuner.caviar.outcomes import outcome
from tuner.caviar.seeds import trial_seed
from tuner.policy.protocol import Draft
from tuner.record.events import Settings
from tuner.record.leaders import leaders, well_trained
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.space import Space
from tuner.surrogate.gaussian_process import Floats
from tuner.surrogate.ledger import Ledger
from tuner.values.numbers import number

PROBE, FINALE = 0.25, 0.6
"""The shares of the budget after which the leader is trained again once, and after which leaders are, in turn."""
_FEWEST = 4  # trials with a score before any is repeated
_MOST = 96  # of more trials the best, since a process is learned before every repeat
_LITTLE = 0.02  # deviations of all scores: what choosing the wrong one may cost, to be left alone
_HOPE = 2.0  # deviations above what is expected: how good settings may turn out to be


class RepeatsWithin:
    """Decides which settings of a sweep are trained again; a function of what is on record."""

    def __init__(self, space: Space, seed: int, length: float = 1.0) -> None:
        """`length`: how much of a whole training a repeat gets, where it says by then what a seed changes."""
        self._space, self._seed, self._length = space, seed, length

    def next(self, study: StudyState, spent: float) -> Draft | None:
        """The next repeat, once so much of the budget is spent, 0 to 1; None: the search goes on."""
        again = [trial for trial in study.trials if trial.purpose == "repeat"]
        if spent < (FINALE if again else PROBE) or any(_same(study, trial) for trial in again):
            return None
        best = [trial for trial in leaders(study) if trial.ended or trial.frozen][:_MOST]
        if len(best) < _FEWEST:
            return None
        if not again:
            return self._draft(study, best[0], "to see what a seed changes")
        if any(not trial.ended for trial in again) and spent < FINALE:
            return None
        return self._most_doubtful(study, best, again)

    def ask_at(self, horizon: int | None, step: int) -> int | None:
        """The step at whose score a repeat that stands at `step` has told what it can; None: it trains to its end.

        `horizon` is how many steps a whole training takes, where that is known.
        """
        if self._length >= 1.0 or horizon is None:
            return None
        enough = max(1, math.ceil(self._length * horizon))
        return enough if step < enough < horizon else None

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _most_doubtful(self, study: StudyState, best: Sequence[Trial], again: Sequence[Trial]) -> Draft | None:
        candidates = _distinct(well_trained(best))
        known = self._worth(study, [*best, *again], candidates)
        if known is None or len(candidates) < 2:
            return None
        mean, deviation = known
        first = int(np.argmax(mean))
        hope = mean + _HOPE * deviation
        hope[first] = -math.inf
        second = int(np.argmax(hope))
        cost = _cost(float(mean[first] - mean[second]), math.hypot(deviation[first], deviation[second]))
        if cost < _LITTLE:
            return None
        tried = [_times(trial, again) for trial in candidates]
        chosen = min((first, second), key=lambda place: (tried[place], -float(deviation[place])))
        other = second if chosen == first else first
        why = f"trial {candidates[chosen].trial} or trial {candidates[other].trial} may be the better one"
        return self._draft(study, candidates[chosen], why)

    def _worth(
        self, study: StudyState, trials: Sequence[Trial], candidates: Sequence[Trial]
    ) -> tuple[Floats, Floats] | None:
        """Mean and deviation of what each candidate's settings are worth at the end, in deviations of all scores."""
        ledger = Ledger([outcome(self._space, study, trial) for trial in sorted(trials, key=lambda each: each.trial)])
        surrogate = ledger.surrogate(self._space)
        if surrogate.untrained:
            return None
        posterior = surrogate.posterior(surrogate.fit(surrogate.fit(None)))  # from the record alone
        return posterior.of_points(np.array([self._space.to_unit(trial.params) for trial in candidates]))

    def _draft(self, study: StudyState, trial: Trial, why: str) -> Draft:
        return Draft(
            params=dict(trial.params),
            seed=trial_seed(self._seed, len(study.trials)),
            purpose="repeat",
            parent=f"{study.name}/{trial.trial}",
            why=f"trial {trial.trial}, which scored {number(trial.best_score, 6)}, with another seed: {why}",
        )


def original(study: StudyState, trial: Trial) -> Trial:
    """The trial that a repeat trains again."""
    return study.trials[int((trial.parent or "").rpartition("/")[2])]


def _same(study: StudyState, trial: Trial) -> bool:
    """Whether a repeat has done what its original did, to the last digit, as far as it has come."""
    own, first = study.curve(trial), study.curve(original(study, trial))
    count = min(len(own), len(first))
    return trial.ended and count > 0 and own.scores[:count] == first.scores[:count]


def _distinct(trials: Sequence[Trial]) -> list[Trial]:
    """The first trial of each settings."""
    found: dict[str, Trial] = {}
    for trial in trials:
        found.setdefault(_key(trial.params), trial)
    return list(found.values())


def _times(trial: Trial, again: Sequence[Trial]) -> int:
    return sum(_key(each.params) == _key(trial.params) for each in again)


def _key(settings: Settings) -> str:
    return repr(sorted(settings.items()))


def _cost(lead: float, deviation: float) -> float:
    """What choosing the leader is expected to cost, where another is behind by `lead` with this deviation."""
    z = lead / max(deviation, 1e-12)
    return deviation * (math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) - z * float(ndtr(-z)))
