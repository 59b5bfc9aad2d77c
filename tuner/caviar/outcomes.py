"""The outcomes of trials and rounds: from the record to what a sampler sees."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from tuner.policy.proposals import Outcome, Point, RoundPlan, thinned
from tuner.record.curve import Curve
from tuner.record.events import TrialState
from tuner.record.round import Round
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.space import Space

# The function itself is wrong, not its settings: no other trial would fare better.
PROGRAMMING_ERRORS = frozenset(
    {"ImportError", "ModuleNotFoundError", "NameError", "UnboundLocalError", "SyntaxError", "IndentationError"}
    | {"AttributeError", "TypeError", "TrainingError"}
)


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
    steps, scores = _finite(curve, len(curve) if up_to is None else bisect.bisect_right(curve.steps, up_to))
    sign = 1.0 if study.goal == "maximize" else -1.0
    score: float | None = None
    if trial.ended and state != "diverged" and trial.best_score is not None and math.isfinite(trial.best_score):
        score = sign * trial.best_score
    elif not trial.ended and scores:
        score = sign * (max(scores) if sign > 0 else min(scores))
    observations = thinned(steps, scores, sign)
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
        rise=None if score is None or len(scores) < 2 else score - sign * scores[0],
        observations=() if state == "diverged" else observations,
    )


def _finite(curve: Curve, upper: int) -> tuple[Sequence[int], Sequence[float]]:
    """The steps and scores of a curve before a place, without scores that are no number or infinite."""
    steps, scores = curve.steps[:upper], curve.scores[:upper]
    if math.isfinite(sum(scores)):  # then each of them is
        return steps, scores
    kept = [place for place, score in enumerate(scores) if math.isfinite(score)]
    return [steps[place] for place in kept], [scores[place] for place in kept]


def plan(each: Round) -> RoundPlan:
    """A recorded round as a sampler sees it."""
    return RoundPlan(round=each.round, first_trial=each.first_trial, box=each.box, why=each.why, memo=each.memo)
