"""The recommendation of a search: the settings that are expected to score best when they are trained once more.

The highest score ever seen is that of a good run that was lucky: of many runs the luckiest leads. What settings are
worth is the posterior of a Gaussian process over all scores, of the search and of repeats, at the end of a training by
nobody: without what one run had of its own (`surrogate/`). How much of a score is luck is learned too, and while few
settings were trained twice that is not well known: a peak that nobody has repeated may be either. Which settings are
chosen follows from what was learned; where there is no luck, that is the best. What is expected of them rests on two
beliefs: what was learned, a tenth, and that all that a model cannot foretell is luck. A process knows no bounds, so no
more is expected than the highest score seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tuner.caviar.outcomes import outcome
from tuner.insight.model import FEWEST, Model
from tuner.policy.proposals import Outcome, thinned
from tuner.record.events import Goal, Settings
from tuner.record.leaders import is_plateau, well_trained
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.space import Space
from tuner.surrogate.evidence import MOST_ROWS
from tuner.values.numbers import number, setting

_SURE = 2.0  # standard deviations to either side: nineteen times in twenty
_SCORES = 2  # of a run, where most of very many have hardly begun
_BEST, _FEW = 0.2, 3  # of settings that were trained well, and once, the best by their own scores, so many at least
_LUCK = 0.9  # the belief that all that a model misses is luck; the rest of it is in what was learned


@dataclass(frozen=True, kw_only=True)
class Recommended:
    """The settings that are expected to score best in another whole training, whatever luck the best run had.

    Attributes:
        params: The settings.
        score: What they are expected to score, in the objective's own sign and unit.
        doubt: How far off that may be: a standard deviation. None where fewer than 8 trials have a score, or all share
            one: then `score` is the highest seen.
        tried: How many trials have trained these settings to a score, repeats included.
        trial: The first of them.
        objective: The score that counts.
        goal: "maximize" or "minimize" it.

    Example:
        >>> found = study.recommended
        >>> sorted(found.params), found.tried
        (['beta', 'learning_rate'], 1)
    """

    params: Settings
    score: float
    doubt: float | None
    tried: int
    trial: int
    objective: str
    goal: Goal

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Between what the expected score lies, nineteen times in twenty; None where there is no telling."""
        if self.doubt is None:
            return None
        return self.score - _SURE * self.doubt, self.score + _SURE * self.doubt

    @property
    def sentence(self) -> str:
        """Which settings are recommended, and what is expected of them."""
        settings = ", ".join(f"{name} {setting(value)}" for name, value in self.params.items())
        return f"Recommended are the settings of trial {self.trial}, tried {self.times}: {settings}. {self.expectation}"

    @property
    def times(self) -> str:
        """How often the settings were tried, in words."""
        return {1: "once", 2: "twice"}.get(self.tried, f"{self.tried} times")

    @property
    def expectation(self) -> str:
        """The expected score with its doubt, in a sentence."""
        if self.doubt is None or self.bounds is None:
            return (
                f"How much of {self.objective} {number(self.score, 6)} is luck takes {FEWEST} different scores to tell."
            )
        low, high = (number(each) for each in self.bounds)
        return (
            f"Trained once more, they are expected to have {self.objective} {number(self.score)} "
            f"± {number(self.doubt, 2)} (95 %: {low} to {high})."
        )


def recommended_of(study: StudyState, space: Space, ranked: Sequence[Trial] | None = None) -> Recommended | None:
    """What a sweep recommends; None while nobody has a score. `ranked`: all its leaders, where they are at hand."""
    best = study.best
    if best is None or best.best_score is None:
        return None
    begun = (trial for trial in study.trials if trial.state != "waiting" or trial.best_score is not None)
    tries = [trial for trial in begun if trial.purpose != "recheck"]
    telling = _telling(tries, best)
    groups, enough = _alike(telling), {trial.trial for trial in well_trained(telling)}
    candidates = [each for each in groups if _eligible(each) and any(trial.trial in enough for trial in each)]
    candidates = _that_did_best(study, candidates)
    known = None
    if candidates and not is_plateau(study, ranked):
        known = _posterior(study, space, [trial for each in groups for trial in each], [each[0] for each in candidates])
    if known is None:
        return _recommended(study, next(each for each in groups if best in each), best.best_score, None)
    place, mean, deviation = known
    expected = min(mean, study.signed(best.best_score))
    return _recommended(study, candidates[place], study.signed(expected), deviation)


def _telling(tries: list[Trial], best: Trial) -> list[Trial]:
    """Of more trials than a process learns from the best, repeats, the furthest trained, and some of the others evenly.

    Where most have hardly begun, so few that it learns two scores of each: of one score a run nobody can tell luck from
    merit. Those that did best are the lucky ones; among them alone luck would seem small.
    """
    most = MOST_ROWS if len(well_trained(tries)) > MOST_ROWS // _SCORES else MOST_ROWS // _SCORES
    if len(tries) <= most:
        return tries
    share = most // 3
    steps, once = np.array([trial.steps for trial in tries]), np.array([not trial.repeats for trial in tries])
    others = np.array([trial is not best for trial in tries])
    order = np.lexsort((-steps, once, others))  # of equals the first tried
    first = [tries[place] for place in order[:share].tolist()]
    numbers = {trial.trial for trial in first}
    rest = [trial for trial in tries if trial.trial not in numbers]
    stride = len(rest) / (most - share)
    chosen = first + [rest[int(turn * stride)] for turn in range(most - share)]
    return sorted(chosen, key=lambda trial: trial.trial)


def _recommended(study: StudyState, tries: Sequence[Trial], score: float, doubt: float | None) -> Recommended:
    return Recommended(
        params=dict(tries[0].params),
        score=score,
        doubt=doubt,
        tried=sum(trial.best_score is not None for trial in tries),
        trial=tries[0].trial,
        objective=study.objective,
        goal=study.goal,
    )


def _alike(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Trials by their settings, in the order of the first of each."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(repr(sorted(trial.params.items())), []).append(trial)
    return list(groups.values())


def _eligible(tries: Sequence[Trial]) -> bool:
    """Whether settings were scored, and never diverged: they would have to be trained again."""
    scored = any(trial.best_score is not None and math.isfinite(trial.best_score) for trial in tries)
    return scored and not any(trial.state == "diverged" for trial in tries)


def _that_did_best(study: StudyState, groups: list[list[Trial]]) -> list[list[Trial]]:
    """Those of the highest scores, and those tried again.

    Of what did badly once, a process may be wrong that holds it for bad luck.
    """
    scores = [[study.signed(score) for trial in each if (score := trial.best_score) is not None] for each in groups]
    least = sorted(map(max, scores), reverse=True)[: max(_FEW, math.ceil(_BEST * len(scores)))]
    return [each for each, own in zip(groups, scores, strict=True) if max(own) >= least[-1] or len(own) > 1]


def _posterior(
    study: StudyState, space: Space, tries: Sequence[Trial], candidates: Sequence[Trial]
) -> tuple[int, float, float] | None:
    """Which candidate is chosen, and mean and deviation of the best score, signed, of another whole training of it."""
    study.read(tries)
    model = Model.of_outcomes([_so_far(study, space, trial) for trial in tries], space)
    if model is None:
        return None
    points = np.array([space.to_unit(trial.params) for trial in candidates])
    learned, surely = model.at(points)
    place = int(np.argmax(learned))
    shrunk, unsurely = model.at(points[[place]], model.all_luck())
    weights = np.array([1.0 - _LUCK, _LUCK])
    means, deviations = np.array([learned[place], shrunk[0]]), np.array([surely[place], unsurely[0]])
    mean = float(weights @ means)
    deviation = math.sqrt(max(float(weights @ (means**2 + deviations**2)) - mean**2, 0.0))
    return place, model.standardizer.inverse(mean), model.standardizer.scale * deviation


def _so_far(study: StudyState, space: Space, trial: Trial) -> Outcome:
    """A trial with the best it had scored by each step, as `best` and repeats are judged."""
    known = outcome(space, study, trial)
    if not known.observations:
        return known
    curve, best = study.curve(trial), -math.inf
    steps, scores = [], []
    for step, score in zip(curve.steps, curve.scores, strict=True):
        if math.isfinite(score):
            best = max(best, study.signed(score))
            steps.append(step)
            scores.append(best)
    return replace(known, observations=thinned(steps, scores)) if steps else known
