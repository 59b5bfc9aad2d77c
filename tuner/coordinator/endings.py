"""The endings of trials and sessions: what is written down of an end, whom it waits for, and what Ctrl-C does."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from tuner.coordinator.workers import WorkerPool
from tuner.errors import interrupted
from tuner.policy.protocol import Policy
from tuner.policy.requests import Decision
from tuner.record.events import Record, TrialEnded, TrialHeld, TrialState
from tuner.record.state import StudyState, unfinished
from tuner.record.trial import Trial
from tuner.worker.messages import Ended

# A step that ends within a moment is waited for without a word.
_MOMENT_S = 0.5
_NAMED = 5  # trials in one sentence
# The first waits for the step, the second leaves it and puts that on record, any further ends the loop wherever it is.
_PATIENT_INTERRUPTS = 2


class Interrupts:
    """How often Ctrl-C was pressed, or its like sent, since the loop began."""

    def __init__(self, going_on: str) -> None:
        """`going_on` says how the study goes on after one too many."""
        self.count, self.going_on = 0, going_on

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Counts them meanwhile; outside the main thread none comes."""
        if not _in_main_thread():
            yield
            return
        before = [(number, signal.signal(number, self._count)) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def _count(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's signature
        self.count += 1
        if self.count > _PATIENT_INTERRUPTS:
            raise interrupted(self.going_on)


@dataclass(frozen=True, slots=True)
class Ending:
    """Nothing more starts, and what trains comes to the end of its step."""

    why: str
    keeps: bool
    """Whether what trains goes on at the next start of the study; otherwise it ends as `stopped`."""
    since: float = field(default_factory=time.monotonic)


def awaited(ending: Ending | None, trials: Sequence[int], interrupts: int) -> str | None:
    """Whose steps the end waits for, once that takes more than a moment."""
    if ending is None or not trials or time.monotonic() - ending.since < _MOMENT_S:
        return None
    if len(trials) == 1:
        whose, left = f"trial {trials[0]} to finish its step", "it"
    else:
        named = f"trials {', '.join(map(str, trials))}" if len(trials) <= _NAMED else f"{len(trials)} trials"
        whose, left = f"{named} to finish their steps", "them"
    if not _in_main_thread():
        return f"waiting for {whose}"  # no Ctrl-C comes here
    return f"waiting for {whose} (Ctrl-C {'again' if interrupts else 'twice'} to leave {left})"


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def parted(study: StudyState, policy: Policy, pool: WorkerPool, ending: Ending, now: float) -> Decision:
    """What was begun and has not come to an end gets one on record."""
    records: list[Record] = []
    stopped: list[tuple[int, str]] = []
    for trial in unfinished(study):
        left = pool.worker_of(trial.trial) is not None
        if trial.started is None or (trial.state == "paused" and not left) or not policy.trains(trial):
            continue
        why = f"{ending.why}; it was left in the midst of a step" if left else ending.why
        if not ending.keeps:
            stopped.append((trial.trial, why))
        elif trial.state == "running":
            records.append(TrialHeld(trial=trial.trial, state="lost", step=trial.steps, why=why, at=now))
    return Decision(records=tuple(records), stopped=tuple(stopped))


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a trial ended; for what is None, what the record says of it counts."""

    state: TrialState
    why: str
    at: float
    step: int | None = None
    started: float | None = None
    seconds: float | None = None
    node: str | None = None
    error: str = ""
    traceback: str = ""

    def of(self, trial: Trial) -> TrialEnded:
        """The record of it."""
        trained = 0.0 if trial.resumed_at is None else self.at - trial.resumed_at
        return TrialEnded(
            trial=trial.trial,
            segment=trial.head.segment,
            state=self.state,
            why=self.why,
            step=trial.steps if self.step is None else self.step,
            best_step=trial.best_step,
            best_score=trial.best_score,
            started=trial.started if self.started is None else self.started,
            seconds=trial.seconds + trained if self.seconds is None else self.seconds,
            node=trial.node if self.node is None else self.node,
            error=self.error,
            traceback=self.traceback,
            at=self.at,
        )


def scoreless(study: StudyState, trial: Trial, event: Ended, reported: set[str]) -> tuple[TrialState, str]:
    """How a trial ended that never reported its objective; `reported` are the names that anybody has reported."""
    if event.state == "stopped":
        return "stopped", event.why
    if trial.parent is not None and 0 < event.step == trial.segments[0].from_step:  # it began where it was to end
        return "completed", f"trained all {event.step} steps before: tuner extend {study.name} STEPS goes on"
    seen = ", ".join(sorted(reported)) or "nothing"
    return "failed", f"the function ended without reporting {study.objective!r}; reported: {seen}"
