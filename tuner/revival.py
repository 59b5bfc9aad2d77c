"""How trials go on: from their newest whole checkpoint, after a lost worker, a lost coordinator, or a pause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner import checkpoints
from tuner.messages import Change
from tuner.policy import Draft
from tuner.records import Cause, CheckpointSaved, SegmentOpened, TrialHeld
from tuner.study import Checkpoint, Trial, unfinished

if TYPE_CHECKING:
    from tuner.coordinator import Coordinator


def open_segment(
    coordinator: Coordinator,
    trial: Trial,
    *,
    cause: Cause,
    why: str,
    start: Checkpoint | None = None,
    by: str = "tuner",
    request: str = "",
) -> None:
    """Records the trial's next segment: from `start`, else from the newest whole checkpoint, else from scratch."""
    if start is None and cause != "start" and coordinator.shelf is not None:
        start, torn = coordinator.shelf.newest_whole(coordinator.study, trial, coordinator.executor.now())
        for drop in torn:
            coordinator.record(drop)
            coordinator.warn(f"trial {trial.trial}: {drop.why}", trial.trial, None)
    recipe = None
    if start is not None and len(trial.segments) > 1:
        parent = next(each for each in trial.segments if each.segment == start.segment)
        recipe = trial.recipe_of(parent)
    coordinator.record(
        SegmentOpened(
            trial=trial.trial, segment=len(trial.segments),
            parent_segment=None if start is None else start.segment, from_step=0 if start is None else start.step,
            checkpoint=None if start is None else start.checkpoint, cause=cause, by=by, why=why,
            params=None if recipe is None else dict(recipe.values),
            schedules=recipe.to_json()["schedules"] or None if recipe is not None else None,
            request=request, at=coordinator.executor.now(),
        )
    )  # fmt: skip


def open_first(coordinator: Coordinator, trial: Trial, draft: Draft) -> None:
    """Records how a trial begins: from scratch, or from a checkpoint of another run, which becomes one of its own."""
    if draft.beginning is None or coordinator.shelf is None:
        open_segment(coordinator, trial, cause="start", why=draft.why)
        return
    manifest = checkpoints.verify(draft.beginning)
    now, number = coordinator.executor.now(), len(coordinator.study.checkpoints)
    coordinator.record(
        CheckpointSaved(
            checkpoint=number, trial=trial.trial, segment=0, step=draft.from_step, kind="beginning",
            bytes=manifest.bytes, sha256=manifest.sha256,
            path=str(draft.beginning.relative_to(coordinator.shelf.folder)), at=now,
        )
    )  # fmt: skip
    cause: Cause = "promote" if draft.purpose == "promote" else "fork"
    coordinator.record(
        SegmentOpened(
            trial=trial.trial, segment=0, parent_segment=None, from_step=draft.from_step, checkpoint=number,
            cause=cause, by="tuner", why=draft.why, params=None, at=now,
        )
    )  # fmt: skip


def again(coordinator: Coordinator, trial: Trial, cause: Cause, why: str) -> None:
    """Lets a trial go on as soon as a worker is free, with the adjustments it had, at the steps it had them."""
    repeats = changes_after(coordinator, trial)
    open_segment(coordinator, trial, cause=cause, why=why)
    coordinator.repeats[trial.trial] = tuple(each for each in repeats if each.step >= trial.head.from_step)
    coordinator.crew.ready.append(trial.trial)


def changes_after(coordinator: Coordinator, trial: Trial) -> list[Change]:  # noqa: ARG001
    """Every adjustment on the head, as something a worker can do again."""
    return [
        Change(step=segment.from_step, request=segment.request, recipe=trial.recipe_of(segment))
        for segment in trial.path()
        if segment.cause == "adjust"
    ]


def recover(coordinator: Coordinator, *, failed_too: bool) -> None:
    """Takes up what an earlier coordinator left: nothing that may have begun begins again without saying so."""
    study = coordinator.study
    now = coordinator.executor.now()
    live = unfinished(study)
    if failed_too:
        for number in [number for number in study.ended_order if study.trials[number].state == "failed"]:
            again(coordinator, study.trials[number], "retry", "failed before, and asked for again")
    for trial in live:
        if trial.state == "paused" and study.kind == "babysitting":
            continue  # whoever paused it resumes it
        if trial.state == "paused":
            again(coordinator, trial, "thaw", f"goes on after: {trial.why}")
        elif trial.state == "waiting" and coordinator.store.left_clean:
            coordinator.crew.ready.append(trial.trial)
        elif trial.state == "waiting":
            again(coordinator, trial, "retry", "it may have begun: its coordinator ended without a word")
        else:
            if trial.state == "running":
                why = "its coordinator ended without a word"
                coordinator.record(TrialHeld(trial=trial.trial, state="lost", step=trial.steps, why=why, at=now))
            again(coordinator, trial, "retry", "its coordinator ended")
