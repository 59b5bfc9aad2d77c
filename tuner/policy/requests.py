"""The answer to a request as the loop knows it: a decision, which the loop carries out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tuner.errors import TunerError
from tuner.policy.protocol import Draft
from tuner.record.events import Answered, CheckpointDropped, Judged, Noted, Record, Reported, Requested, RequestState
from tuner.record.state import StudyState
from tuner.record.trial import Checkpoint, Trial
from tuner.worker.messages import Command, Effect


class Refused(TunerError):
    """A request that cannot be done, and why."""


class WorkerStatus(Protocol):
    """What an answer depends on of a worker."""

    @property
    def name(self) -> str:
        """By which commands find it."""
        ...

    @property
    def training(self) -> int | None:
        """The trial it trains, or is about to."""
        ...

    @property
    def started_at(self) -> float | None:
        """When it took that trial up; None: not yet."""
        ...

    @property
    def last_step(self) -> int:
        """The step last heard of."""
        ...


class Workers(Protocol):
    """All workers: who trains what."""

    def worker_of(self, trial: int) -> WorkerStatus | None:
        """The worker that has the trial, in training or in its queue."""
        ...

    def busy(self) -> Sequence[WorkerStatus]:
        """The workers with something to train."""
        ...


class KeptCheckpoints(Protocol):
    """The checkpoints of a study: reads, and changes nothing."""

    def verify(self, study: StudyState, checkpoint: Checkpoint) -> None:
        """Raises `CheckpointError` unless a checkpoint is there, whole, as the record has it."""
        ...

    def newest_whole(
        self, study: StudyState, trial: Trial, now: float
    ) -> tuple[Checkpoint | None, list[CheckpointDropped]]:
        """The checkpoint a trial goes on from, and those found torn on the way to it."""
        ...


def _heard(trial: int) -> bool:  # noqa: ARG001 - a question about any trial
    """Nobody is missing."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What an answer depends on beside the study; only to be read."""

    now: float
    """Unix seconds by the executor's clock."""
    workers: Workers
    checkpoints: KeptCheckpoints | None
    """None: nothing is kept on disk."""
    paused: bool = False
    """Whether nothing starts until somebody says so."""
    unheard: Callable[[int], bool] = _heard
    """Whether the worker of a trial may have outlived the coordinator before, and has not been heard of."""
    judged: Callable[[], Iterable[Judged]] = tuple
    """Every judgement on record, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A mistake inside tuner that must not end the training: its traceback is kept, and what comes of it is said."""

    error: Exception
    during: str
    becomes: Callable[[str], Record]
    """What goes on record, given the sentence that tells of the mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be done. The loop does it in the order of these fields, and tells workers only after the commit.

    What can fail comes first, so that nothing has been said of it by then; records come before whatever makes others of
    its own, so that those find them in the fold.
    """

    parallel: int | None = None
    """How many trials are to train at a time from now on."""
    records: tuple[Record, ...] = ()
    """To be appended, in this order."""
    drafts: tuple[Draft, ...] = ()
    """Trials to create, which train next."""
    ready: tuple[int, ...] = ()
    """Trials that go on as soon as a worker is free; `records` say from where."""
    stopped: tuple[tuple[int, str], ...] = ()
    """Trials that end here and now, since no worker trains them, and why."""
    paused: bool | None = None
    """Whether from now on nothing starts; None: as before."""
    ending: str | None = None
    """Why nothing more starts, and what trains comes to its end; None: it goes on."""
    commands: tuple[tuple[str, Command], ...] = ()
    """What workers are told, by their names."""
    faults: tuple[Fault, ...] = ()


NOTHING = Decision()


class RequestPolicy(Protocol):
    """What people may ask of a running study, and what workers say of it. It decides; the loop carries out."""

    attention_s: float
    """How long a request may lie before somebody looks."""
    due: deque[Requested]
    """Requests that had to wait, and whose turn has come: whoever answers one takes it out."""

    def answer(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        """Does a request, passes it on, or refuses it by raising a `TunerError`; the answer is among the records."""
        ...

    def reported(self, study: StudyState, trial: Trial, record: Reported, now: float) -> Decision:
        """Scores of the head came in; `now` in Unix seconds by the executor's clock."""
        ...

    def ended(self, study: StudyState, trial: Trial, now: float) -> Decision:
        """A trial is over: whatever was asked of it is settled."""
        ...

    def started(self, study: StudyState, trial: Trial, situation: Situation) -> Decision:
        """A worker took the trial up: what was accepted before reaches it now."""
        ...

    def released(self, study: StudyState, trial: Trial, situation: Situation) -> Decision:
        """A trial stands still and has given its worker back: what was asked of it meanwhile needs none."""
        ...

    def took_effect(self, study: StudyState, trial: Trial, event: Effect, situation: Situation) -> Sequence[Record]:
        """A worker did something that somebody had asked for: what is to be written down of it."""
        ...

    def closed(self, study: StudyState, why: str, now: float) -> Decision:
        """Nothing more is trained, for this reason, unless the study is begun again with more to do."""
        ...


def answered(request: str, state: RequestState, detail: str, at: float, step: int | None = None) -> Answered:
    """What became of a request."""
    return Answered(request=request, state=state, step=step, detail=detail, at=at)


def warning(text: str, trial: int | None, step: int | None, at: float) -> Noted:
    """What went wrong without ending a trial; the loop shows it once."""
    return Noted(trial=trial, step=step, by="tuner", text=text, at=at)
