"""The leaders of a study: the trials of the search that did best, and the same without settings twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from heapq import nlargest, nsmallest
from itertools import takewhile
from operator import attrgetter

from tuner.record.state import StudyState
from tuner.record.trial import Trial

_PLATEAU = 0.9
_ENOUGH = 0.25


def leaders(study: StudyState, count: int | None = None, *, whole: bool = False) -> list[Trial]:
    """The best trials of the search, best first, without those that diverged; with `whole`, those that completed.

    Of equal ones the earlier comes first.
    """
    found = _scored(study)
    if whole:
        found = [trial for trial in found if trial.state == "completed"]
    higher, score = study.goal == "maximize", attrgetter("best_score")
    if count is None:
        return sorted(found, key=score, reverse=higher)
    return (nlargest if higher else nsmallest)(count, found, key=score)


def _scored(study: StudyState) -> list[Trial]:
    """Those of the search with a score that counts, by number."""
    return [
        trial
        for trial in study.searched()
        if trial.best_score is not None and trial.state != "diverged" and math.isfinite(trial.best_score)
    ]


def well_trained(trials: Sequence[Trial]) -> list[Trial]:
    """Those with a quarter of the furthest one's steps: what the others may end with is far from known."""
    furthest = max((trial.steps for trial in trials), default=0)
    return [trial for trial in trials if trial.steps >= _ENOUGH * furthest]


def sharing(study: StudyState, ranked: Sequence[Trial] | None = None) -> tuple[int, int]:
    """How many trials of the search share the best score to the last digit, and how many have a score.

    `ranked`: all its leaders, where they are at hand.
    """
    ranked = leaders(study) if ranked is None else ranked
    alike = takewhile(lambda trial: trial.best_score == ranked[0].best_score, ranked)
    return sum(1 for _ in alike), len(ranked)


def is_plateau(study: StudyState, ranked: Sequence[Trial] | None = None) -> bool:
    """Whether nine in ten trials with a score share the best one: then nothing distinguishes them, not even luck."""
    sharing_, scored = sharing(study, ranked)
    return sharing_ > 1 and sharing_ >= _PLATEAU * scored


def distinct(trials: Sequence[Trial], count: int) -> list[Trial]:
    """The first trials whose settings differ from those of all before."""
    found: list[Trial] = []
    for trial in trials:
        if all(trial.settings != other.settings for other in found):
            found.append(trial)
        if len(found) == count:
            break
    return found


def why_no_winner(study: StudyState) -> str:
    """What stands in the winner's place while there is none."""
    if not study.ended_order:
        return f"no trial has reported {study.objective!r} yet"
    last = study.trials[study.ended_order[-1]]
    came_of_it = f"the last to end, trial {last.trial}, {last.state}: {last.why}"
    return f"no trial has come to a score of {study.objective!r}; {came_of_it}"
