"""The notices of workers: what they say, as records."""

from __future__ import annotations

from tuner.coordinator.workers import Worker
from tuner.record.events import CheckpointSaved, TrialDelayed, TrialHeld, TrialPlanned, TrialStarted
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.worker.messages import Delayed, Held, Planned, Saved


def started(worker: Worker, trial: Trial, at: float) -> TrialStarted:
    """A worker took a trial up."""
    return TrialStarted(
        trial=trial.trial, segment=trial.head.segment, worker=worker.name, node=worker.node, pid=worker.pid, at=at
    )


def planned(event: Planned) -> TrialPlanned:
    """A trial's function said how many steps it means to take."""
    return TrialPlanned(
        trial=event.trial, segment=event.segment, steps=event.steps, resumable=event.resumable, at=event.at
    )


def held(event: Held | Delayed) -> TrialHeld | TrialDelayed:
    """A trial stands still, or goes on, in its worker's hands; or waits there for what it needs."""
    if isinstance(event, Delayed):
        return TrialDelayed(trial=event.trial, why=event.why, at=event.at)
    return TrialHeld(trial=event.trial, state=event.state, step=event.step, why=event.why, at=event.at)


def saved(study: StudyState, event: Saved) -> CheckpointSaved:
    """A checkpoint lies where it is kept."""
    return CheckpointSaved(
        checkpoint=len(study.checkpoints),
        trial=event.trial,
        segment=event.segment,
        step=event.step,
        kind=event.kind,
        bytes=event.bytes,
        sha256=event.sha256,
        path=event.path,
        at=event.at,
    )
