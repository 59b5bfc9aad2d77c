"""How trials go on: from their newest whole checkpoint, after a lost worker, a lost coordinator, or a pause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.policy.protocol import Draft
from tuner.record.events import Cause, CheckpointSaved, SegmentOpened, TrialHeld
from tuner.record.recipe import Recipe
from tuner.record.state import unfinished
from tuner.record.trial import Checkpoint, Segment, Trial
from tuner.worker import checkpoints
from tuner.worker.messages import Change, WorkerReady

if TYPE_CHECKING:
    from tuner.coordinator.loop import Coordinator


def open_segment(
    coordinator: Coordinator,
    trial: Trial,
    *,
    cause: Cause,
    why: str,
    start: Checkpoint | None = None,
    recipe: Recipe | None = None,
    by: str = "tuner",
    request: str = "",
) -> None:
    """Records the trial's next segment: from `start`, or from scratch; under `recipe`, or the trial's own settings."""
    coordinator.record(
        SegmentOpened(
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
            at=coordinator.executor.now(),
        )
    )


def open_first(coordinator: Coordinator, trial: Trial, draft: Draft) -> None:
    """Records how a trial begins: from scratch, or from a checkpoint of another run, which becomes one of its own."""
    if draft.beginning is None or coordinator.shelf is None:
        open_segment(coordinator, trial, cause="start", why=draft.why)
        return
    manifest = checkpoints.verify(draft.beginning)
    now, number = coordinator.executor.now(), len(coordinator.study.checkpoints)
    coordinator.record(
        CheckpointSaved(
            checkpoint=number,
            trial=trial.trial,
            segment=0,
            step=draft.from_step,
            kind="beginning",
            bytes=manifest.bytes,
            sha256=manifest.sha256,
            path=str(draft.beginning.relative_to(coordinator.shelf.folder)),
            at=now,
        )
    )
    cause: Cause = "promote" if draft.purpose == "promote" else "fork"
    coordinator.record(
        SegmentOpened(
            trial=trial.trial,
            segment=0,
            parent_segment=None,
            from_step=draft.from_step,
            checkpoint=number,
            cause=cause,
            by=draft.by,
            why=draft.why,
            params=None,
            schedules=draft.schedules,
            at=now,
        )
    )


def again(coordinator: Coordinator, trial: Trial, cause: Cause, why: str) -> None:
    """Lets a trial go on as soon as a worker is free, with the adjustments it had, at the steps it had them."""
    go_on(coordinator, trial, cause, why, newest_whole(coordinator, trial))


def go_on(
    coordinator: Coordinator,
    trial: Trial,
    cause: Cause,
    why: str,
    start: Checkpoint | None,
    *,
    by: str = "tuner",
    request: str = "",
) -> None:
    """Lets a trial go on from a checkpoint of its head, or from scratch; what was changed after it is changed again."""
    branch = [] if start is None else ancestry(trial, start.segment)
    own = not branch or (branch[0].params is None and branch[0].schedules is None)
    recipe = None if own else trial.recipe_of(branch[0])
    open_segment(coordinator, trial, cause=cause, why=why, start=start, recipe=recipe, by=by, request=request)
    coordinator.crew.ready.append(trial.trial)


def ancestry(trial: Trial, number: int) -> list[Segment]:
    """A segment and those it descends from, the newest first."""
    by_number = {segment.segment: segment for segment in trial.segments}
    branch: list[Segment] = []
    at: int | None = number
    while at is not None and at in by_number:
        branch.append(by_number[at])
        at = by_number[at].parent
    return branch


def outstanding(trial: Trial) -> tuple[Change, ...]:
    """The changes that a retry has yet to repeat."""
    if len(trial.segments) < 2:
        return ()
    held = {segment.request for segment in trial.path()}
    return tuple(
        Change(step=each.from_step, request=each.request, recipe=trial.recipe_of(each))
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


def newest_whole(coordinator: Coordinator, trial: Trial) -> Checkpoint | None:
    """The checkpoint of the head that a trial goes on from; those found torn on the way are dropped with a warning."""
    if coordinator.shelf is None:
        return None
    start, torn = coordinator.shelf.newest_whole(coordinator.study, trial, coordinator.executor.now())
    for drop in torn:
        coordinator.record(drop)
        coordinator.warn(f"trial {trial.trial}: {drop.why}", trial.trial, None)
    return start


def recover(coordinator: Coordinator, *, failed_too: bool) -> None:
    """Takes up what an earlier coordinator left: nothing that may have begun begins again without saying so."""
    study = coordinator.study
    live = [trial for trial in unfinished(study) if coordinator.policy.trains(trial)]
    if failed_too:
        failed = [trial for trial in study.ended() if trial.state == "failed" and coordinator.policy.trains(trial)]
        for trial in failed:
            again(coordinator, trial, "retry", "failed before, and asked for again")
    for trial in live:
        if trial.state == "paused" and study.kind == "babysitting":
            if coordinator.executor.outlives:
                coordinator.orphans.add(trial.trial)  # its worker may still stand there
            continue  # whoever paused it resumes it
        if trial.frozen and coordinator.policy.thaws:
            continue
        if trial.state == "paused":
            again(coordinator, trial, "thaw", f"goes on after: {trial.why}")
        elif trial.state == "waiting" and coordinator.store.left_clean:
            coordinator.crew.ready.append(trial.trial)
        elif trial.state in ("waiting", "running") and coordinator.executor.outlives:
            coordinator.orphans.add(trial.trial)  # its worker may still be training: the first that reports will tell
        elif trial.state == "waiting":
            again(coordinator, trial, "retry", "it may have begun: its coordinator ended without a word")
        else:
            _take_up(coordinator, trial)


def adopt(coordinator: Coordinator, event: WorkerReady, now: float) -> None:
    """A worker is there: it goes on with what it trains, and whatever else was left is taken up from its checkpoint."""
    orphans, coordinator.orphans = coordinator.orphans, set()
    desk = coordinator.crew.desks[event.worker]
    for number in orphans:
        if number == event.training:
            coordinator.crew.assign(desk, number, now)
            desk.started_at = now
            coordinator.steering.started(coordinator, coordinator.study.trials[number])
        elif coordinator.study.trials[number].state == "paused":
            coordinator.steering.released(coordinator, coordinator.study.trials[number])
        else:
            _take_up(coordinator, coordinator.study.trials[number])


def _take_up(coordinator: Coordinator, trial: Trial) -> None:
    if trial.state == "running":
        why = "its coordinator ended without a word"
        coordinator.record(
            TrialHeld(trial=trial.trial, state="lost", step=trial.steps, why=why, at=coordinator.executor.now())
        )
    again(coordinator, trial, "retry", "its coordinator ended")
