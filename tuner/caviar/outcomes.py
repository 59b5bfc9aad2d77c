"""The outcomes of trials and rounds: from the record to what a sampler sees."""

from __future__ import annotations

import bisect
import math

from tuner.policy.proposals import Outcome, Point, RoundPlan, thinned
from tuner.record.events import TrialState
from tuner.record.round import Round
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.space import Space


def outcome(
    space: Space,
    study: StudyState,
    trial: Trial,
    state: TrialState | None = None,
    up_to: int | None = None,
    point: Point | None = None,
) -> Outcome:
    """A trial as a sampler sees it, by its curve up to a step; `point`: where its settings lie, if that is known."""
    state = state or trial.state
    curve = study.curve(trial)
    upper = len(curve) if up_to is None else bisect.bisect_right(curve.steps, up_to)
    sign = 1.0 if study.goal == "maximize" else -1.0
    kept = [place for place in range(upper) if math.isfinite(curve.scores[place])]
    score: float | None = None
    if trial.ended and state != "diverged" and trial.best_score is not None and math.isfinite(trial.best_score):
        score = sign * trial.best_score
    elif not trial.ended and kept:
        score = max(sign * curve.scores[place] for place in kept)
    observations = thinned([curve.steps[place] for place in kept], [curve.scores[place] for place in kept], sign)
    if score is not None and not observations:
        observations = ((max(1, trial.steps), score),)
    return Outcome(
        trial=trial.trial,
        point=space.to_unit(trial.params) if point is None else point,
        state=state,
        score=score,
        round=trial.round,
        steps=trial.steps if up_to is None else min(trial.steps, up_to),
        planned=trial.planned,
        rise=None if score is None or len(kept) < 2 else score - sign * curve.scores[kept[0]],
        observations=() if state == "diverged" else observations,
    )


def plan(each: Round) -> RoundPlan:
    """A recorded round as a sampler sees it."""
    return RoundPlan(round=each.round, first_trial=each.first_trial, box=each.box, why=each.why, memo=each.memo)
