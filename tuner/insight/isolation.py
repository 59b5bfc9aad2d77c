"""Each parameter in isolation: the best score in each stretch of its range, whatever the others were.

That is the isolation plot of the Deep Learning Tuning Playbook (Godbole et al. 2023): the others are optimised out.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuner.record.leaders import leaders
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.parameters import Choice
from tuner.space.space import Space

BUCKETS = 8


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A stretch of a parameter's range in its own unit coordinates, with its best trial; None where nobody was."""

    low: float
    high: float
    trials: int
    best: int | None
    score: float | None


def buckets_of(study: StudyState, space: Space, name: str) -> tuple[Bucket, ...]:
    """The buckets of one parameter, equal on its own scale: one an option, up to eight for numbers.

    Only whole trainings are compared, unless there is none.
    """
    parameter = space[name]
    if isinstance(parameter, Choice):
        count = len(parameter.options)
    elif parameter.type == "integer":
        count = min(BUCKETS, int(parameter.high - parameter.low) + 1)
    else:
        count = BUCKETS
    shown = leaders(study, whole=True) or leaders(study)  # a score on the way says little of the end
    places = [(parameter.to_unit(trial.params[name]), trial) for trial in shown if name in trial.params]
    found = []
    for number in range(count):
        inside = [trial for u, trial in places if min(int(u * count), count - 1) == number]
        best: Trial | None = inside[0] if inside else None  # they come best first
        found.append(
            Bucket(
                low=number / count,
                high=(number + 1) / count,
                trials=len(inside),
                best=None if best is None else best.trial,
                score=None if best is None else best.best_score,
            )
        )
    return tuple(found)
