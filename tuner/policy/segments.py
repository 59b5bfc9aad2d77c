"""The next segment of a trial that goes on, and the changes it has yet to repeat."""

from __future__ import annotations

from tuner.policy.requests import Decision, KeptCheckpoints, warning
from tuner.record.events import Cause, Record, SegmentOpened
from tuner.record.recipe import Recipe
from tuner.record.state import StudyState
from tuner.record.trial import Checkpoint, Segment, Trial
from tuner.worker.messages import RecipeChange


def opened(
    trial: Trial,
    *,
    at: float,
    cause: Cause,
    why: str,
    start: Checkpoint | None = None,
    recipe: Recipe | None = None,
    by: str = "tuner",
    request: str = "",
) -> SegmentOpened:
    """The trial's next segment: from `start`, or from scratch; under `recipe`, or the trial's own settings."""
    return SegmentOpened(
        trial=trial.trial,
        segment=len(trial.segments),
        parent_segment=None if start is None else start.segment,
        from_step=0 if start is None else start.step,
        checkpoint=None if start is None else start.checkpoint,
        cause=cause,
        by=by,
        why=why,
        params=None if recipe is None else dict(recipe.values),
        schedules=None if recipe is None else recipe.to_json()["schedules"] or None,
        request=request,
        at=at,
    )


def again(
    study: StudyState, trial: Trial, checkpoints: KeptCheckpoints | None, at: float, cause: Cause, why: str
) -> Decision:
    """The trial goes on as soon as a worker is free, with the adjustments it had, at the steps it had them."""
    start, torn = newest_whole(study, trial, checkpoints, at)
    return Decision(records=(*torn, gone_on(trial, start, at=at, cause=cause, why=why)), ready=(trial.trial,))


def gone_on(
    trial: Trial, start: Checkpoint | None, *, at: float, cause: Cause, why: str, by: str = "tuner", request: str = ""
) -> SegmentOpened:
    """The segment from a checkpoint of the head, or from scratch; what was changed after it is changed again."""
    branch = [] if start is None else ancestry(trial, start.segment)
    own = not branch or (branch[0].params is None and branch[0].schedules is None)
    recipe = None if own else trial.recipe_of(branch[0])
    return opened(trial, at=at, cause=cause, why=why, start=start, recipe=recipe, by=by, request=request)


def newest_whole(
    study: StudyState, trial: Trial, checkpoints: KeptCheckpoints | None, at: float
) -> tuple[Checkpoint | None, tuple[Record, ...]]:
    """The checkpoint of the head that a trial goes on from; and, with a warning each, the loss of those found torn."""
    if checkpoints is None:
        return None, ()
    start, torn = checkpoints.newest_whole(study, trial, at)
    records: list[Record] = []
    for drop in torn:
        records += [drop, warning(f"trial {trial.trial}: {drop.why}", trial.trial, None, at)]
    return start, tuple(records)


def ancestry(trial: Trial, number: int) -> list[Segment]:
    """A segment and those it descends from, the newest first."""
    by_number = {segment.segment: segment for segment in trial.segments}
    branch: list[Segment] = []
    at: int | None = number
    while at is not None and at in by_number:
        branch.append(by_number[at])
        at = by_number[at].parent
    return branch


def outstanding(trial: Trial) -> tuple[RecipeChange, ...]:
    """The changes that a retry has yet to repeat."""
    if len(trial.segments) < 2:
        return ()
    held = {segment.request for segment in trial.path()}
    return tuple(
        RecipeChange(step=each.from_step, request=each.request, recipe=trial.recipe_of(each))
        for each in timeline(trial)
        if each.cause in ("adjust", "revert") and each.request not in held
    )


def timeline(trial: Trial) -> list[Segment]:
    """The changes of recipe that the head is to have, in the order of their steps.

    A retry repeats them, and may be cut short before it has repeated them all; so they are read from every segment
    ever opened, not from the head as far as it has come.
    """
    course: list[Segment] = []
    for segment in trial.segments:
        repeated = [place for place, each in enumerate(course) if each.request and each.request == segment.request]
        if segment.cause == "revert":
            first, *later = reversed(ancestry(trial, segment.segment))
            course = [first, *(each for each in later if each.cause in ("adjust", "revert"))]
        elif segment.cause == "adjust" and repeated:
            course[repeated[0]] = segment
        elif segment.cause == "adjust" or not course:  # a retry or a thaw changes nothing but where it begins
            course.append(segment)
    return course
