"""How trials go on: from their newest whole checkpoint, after a lost worker, a lost coordinator, or a pause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.records import Cause, SegmentOpened, TrialHeld
from tuner.study import Trial, unfinished

if TYPE_CHECKING:
    from tuner.coordinator import Coordinator


def open_segment(coordinator: Coordinator, trial: Trial, *, cause: Cause, why: str) -> None:
    """Records the trial's next segment: from a checkpoint where one is whole, else from the start."""
    checkpoint = None
    if cause != "start" and coordinator.shelf is not None:
        checkpoint, torn = coordinator.shelf.newest_whole(coordinator.study, trial, coordinator.executor.now())
        for drop in torn:
            coordinator.record(drop)
            coordinator.warn(f"trial {trial.trial}: {drop.why}", trial.trial, None)
    coordinator.record(
        SegmentOpened(
            trial=trial.trial, segment=len(trial.segments),
            parent_segment=None if checkpoint is None else checkpoint.segment,
            from_step=0 if checkpoint is None else checkpoint.step,
            checkpoint=None if checkpoint is None else checkpoint.checkpoint,
            cause=cause, by="tuner", why=why, params=None, at=coordinator.executor.now(),
        )
    )  # fmt: skip


def again(coordinator: Coordinator, trial: Trial, cause: Cause, why: str) -> None:
    """Lets a trial go on as soon as a worker is free."""
    open_segment(coordinator, trial, cause=cause, why=why)
    coordinator.crew.ready.append(trial.trial)


def recover(coordinator: Coordinator, *, failed_too: bool) -> None:
    """Takes up what an earlier coordinator left: nothing that may have begun begins again without saying so."""
    study = coordinator.study
    now = coordinator.executor.now()
    live = unfinished(study)
    if failed_too:
        for number in [number for number in study.ended_order if study.trials[number].state == "failed"]:
            again(coordinator, study.trials[number], "retry", "failed before, and asked for again")
    for trial in live:
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
