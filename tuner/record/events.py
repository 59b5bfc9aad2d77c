"""The events of a study: frozen dataclasses, append-only, one database table each.

Times are Unix seconds. A field annotated `Json` holds what `json` can write; whatever was said, a record is made of
what can be written down (`values/plain.py`). Nothing here knows a database: `schema.py` derives its tables from these
fields, `state.py` folds them into what is true now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from tuner.values.plain import Recordable

Json: TypeAlias = Any
Settings: TypeAlias = Mapping[str, Any]

TrialState: TypeAlias = Literal[
    "waiting", "running", "paused", "lost", "completed", "pruned", "diverged", "failed", "stopped"
]
LIVE: frozenset[TrialState] = frozenset({"waiting", "running", "paused", "lost"})
ENDED: frozenset[TrialState] = frozenset(get_args(TrialState)) - LIVE
Purpose: TypeAlias = Literal["search", "confirm", "recheck", "fork", "promote", "repeat"]
Cause: TypeAlias = Literal["start", "adjust", "revert", "retry", "thaw", "fork", "promote"]
REPEATING: frozenset[Purpose] = frozenset({"confirm", "recheck", "repeat"})
"""Purposes of trials that train the settings of an earlier one again: never the best, nor compared with others.

Those of a sweep itself are a "repeat": its budget pays for them."""
RequestState: TypeAlias = Literal["received", "accepted", "applied", "rejected", "expired", "superseded"]
Goal: TypeAlias = Literal["maximize", "minimize"]
NOT_A_PERSON = frozenset({"tuner", "supervisor", "caller"})
"""Who acts on record beside people; nobody who asks may go by these names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOpened(Recordable):
    """A study begins; `identity` (space, objective, goal, seed, seeds, sampler) never changes afterwards."""

    name: str
    kind: Literal["sweep", "babysitting"]
    identity: Json
    function: str
    source_sha256: str
    version: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured(Recordable):
    """Options that may change between sessions (trials, budgets, parallel, address, …) as they are from now on."""

    options: Json
    by: str
    why: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundOpened(Recordable):
    """A stage of coarse-to-fine begins: `box` maps each parameter to its interval of the unit cube.

    `seen` counts the trials that it was learned from: those with a score, and those that are over. `memo` is what the
    sampler keeps with it, or None.
    """

    round: int
    first_trial: int
    box: Json
    seen: int
    why: str
    at: float
    memo: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCreated(Recordable):
    """A model to train; settings once issued never change. `seen` counts the ended trials its sampler knew.

    `memo` is what an Optuna sampler keeps with the trial (CMA-ES: its whole state), or None.
    """

    trial: int
    purpose: Purpose
    round: int | None
    parent: str | None
    seed: int
    params: Json
    seen: int
    why: str
    memo: Json
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOpened(Recordable):
    """A stretch of training under one recipe begins at `from_step`.

    `params` are the values in force, None where they are the trial's own; `schedules` those that change with the step,
    None where there are none; `request` is what asked for it, empty where nobody did.
    """

    trial: int
    segment: int
    parent_segment: int | None
    from_step: int
    checkpoint: int | None
    cause: Cause
    by: str
    why: str
    params: Json
    at: float
    schedules: Json = None
    request: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStarted(Recordable):
    """A worker took the trial's newest segment up."""

    trial: int
    segment: int
    worker: str
    node: str
    pid: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlanned(Recordable):
    """What a training function means to do, known once it is about to take its first step.

    `steps` is how many it asked `run.steps` for, None where it takes them one by one; `resumable` says whether it has
    told how to save its state.
    """

    trial: int
    segment: int
    steps: int | None
    resumable: bool
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialHeld(Recordable):
    """A trial stands still without having ended: paused by someone, or lost with its worker.

    `frozen` says that the stopping rule paused it, and alone decides whether it goes on.
    """

    trial: int
    state: Literal["paused", "lost", "running"]
    step: int
    why: str
    at: float
    frozen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialDelayed(Recordable):
    """What a trial in its worker's hands waits for before it trains on, and why; empty: it does no longer."""

    trial: int
    why: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnded(Recordable):
    """A trial is over, with the reason in words; `seconds` is the time spent training, all segments together."""

    trial: int
    segment: int
    state: TrialState
    why: str
    step: int
    best_step: int | None
    best_score: float | None
    started: float | None
    seconds: float
    node: str
    error: str
    traceback: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported(Recordable):
    """A flush of scores from one segment, packed: `names[i]` is what the rows of `data` call i."""

    trial: int
    segment: int
    last_step: int
    names: Json
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Led(Recordable):
    """From now on this trial is the best of its study, by its score at a step; all are None where none is any more.

    It follows from the other records, and stands among them for whoever only glances at a study.
    """

    trial: int | None
    step: int | None
    score: float | None
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Recordable):
    """A checkpoint is whole on disk, under `path` relative to the study's folder."""

    checkpoint: int
    trial: int
    segment: int
    step: int
    kind: str
    bytes: int
    sha256: str
    path: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointDropped(Recordable):
    """A checkpoint was deleted, or found torn, and why."""

    checkpoint: int
    why: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Recordable):
    """Everything that a worker which may outlive its coordinator has said, up to this batch, is on record."""

    worker: str
    incarnation: str
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted(Recordable):
    """Something worth remembering, by a person or by tuner itself."""

    trial: int | None
    step: int | None
    by: str
    text: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested(Recordable):
    """Someone asks for something: the one table that others than the coordinator write to."""

    request: str
    verb: str
    arguments: Json
    by: str
    why: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Recordable):
    """What became of a request."""

    request: str
    state: RequestState
    step: int | None
    detail: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted(Recordable):
    """A change took effect in a running trial, read back from the training function's own view."""

    request: str
    trial: int
    step: int
    parameter: str
    before: Json
    after: Json
    read_back: Json
    by: str
    why: str
    evidence: str
    requested_at: float
    accepted_at: float


UNREAD = "not read"
READ = "read since"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Recordable):
    """The verdict on an adjustment; `UNREAD` where the training function has not read what was changed."""

    request: str
    verdict: str
    evidence: str
    at: float


Record: TypeAlias = (
    StudyOpened
    | Configured
    | RoundOpened
    | TrialCreated
    | SegmentOpened
    | TrialStarted
    | TrialPlanned
    | TrialHeld
    | TrialDelayed
    | TrialEnded
    | Reported
    | Led
    | CheckpointSaved
    | CheckpointDropped
    | Received
    | Noted
    | Requested
    | Answered
    | Adjusted
    | Judged
)

TABLES: dict[str, type[Any]] = {
    "studies": StudyOpened,
    "configurations": Configured,
    "rounds": RoundOpened,
    "trials": TrialCreated,
    "segments": SegmentOpened,
    "starts": TrialStarted,
    "plans": TrialPlanned,
    "holds": TrialHeld,
    "delays": TrialDelayed,
    "ends": TrialEnded,
    "reports": Reported,
    "leads": Led,
    "checkpoints": CheckpointSaved,
    "drops": CheckpointDropped,
    "receipts": Received,
    "notes": Noted,
    "requests": Requested,
    "answers": Answered,
    "adjustments": Adjusted,
    "verdicts": Judged,
}
