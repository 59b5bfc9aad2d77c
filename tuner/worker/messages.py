"""The messages between the coordinator and a worker: orders and commands one way, events the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from tuner.record.events import Reported, RequestState, Settings, TrialState
from tuner.record.recipe import Recipe, Schedule
from tuner.values.plain import Recordable
from tuner.worker.divergence import Alarm

if TYPE_CHECKING:
    from tuner.worker.object_storage import ObjectStorage
    from tuner.worker.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeChange:
    """A recipe that takes effect at a step: what a retry does again exactly where it was done before."""

    step: int
    request: str
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One segment to train, and those that follow it from the record.

    The worker waits for a verdict at step `ask_at`, whatever was reported, and at the first score of the objective from
    step `rung` on, unless training is over with it. `checkpoint` names the one to start from (`from_step`), `sha256`
    what the record says of it; `storage` is where it lies and new ones go (None: none are written);
    `checkpoint_every_s` 0 saves at every step. `changes` are adjustments to repeat; `extra_steps` is what the run was
    extended by. At a rung one that cannot be paused asks only where the rest of its training would take more than
    `haste_s`.
    """

    trial: int
    segment: int
    recipe: Recipe
    seed: int
    changes: tuple[RecipeChange, ...] = ()
    extra_steps: int = 0
    paused: bool = False
    from_step: int = 0
    checkpoint: str | None = None
    sha256: str | None = None
    storage: Storage | None = None
    checkpoint_every_s: float = 10.0
    ask_at: int | None = None
    rung: int | None = None
    haste_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every order of a study has in common: sent once to each worker.

    `function` is an import path `module:name` or the bytes of a cloudpickle; `search_path` goes before `sys.path`;
    `token` is left by the coordinator in a file, or in the object store of `objects`, and must be readable where the
    worker lives; `asks_length` wants every
    trial to say how long it means to train, which those that wait for verdicts do anyhow; `tracks_reads` wants to be
    told when the function does not read a setting that was changed; in `trials_folder` each trial may have one of its
    own; with several `seeds` each trial calls the function once for each, see `seeds.py`.
    """

    study: str
    function: str | bytes
    search_path: tuple[str, ...]
    objective: str
    alarm: Alarm | None = None
    revert: Literal["in place", "reenter"] = "in place"
    log_folder: Path | None = None
    trials_folder: Path | None = None
    asks_length: bool = False
    tracks_reads: bool = False
    seeds: int = 1
    token_file: Path | None = None
    token: str = ""
    objects: ObjectStorage | None = None


# ── commands ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue:
    """The verdict of a decision point: train on, and ask again at `ask_at` or `rung`, see `Order` (None: never)."""

    trial: int
    ask_at: int | None
    rung: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the trial between two steps, in this state, for this reason."""

    trial: int
    state: TrialState
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Stand still between two steps; with `release`, save a checkpoint and free the worker.

    Where nothing can be saved it trains on, unless the worker `must` be freed.
    """

    trial: int
    why: str
    release: bool = False
    must: bool = False
    request: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Go on after a pause that kept the worker."""

    trial: int
    request: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """Write a checkpoint between two steps."""

    trial: int
    kind: str = "asked"
    request: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjust:
    """Change values, or schedules (None: constant again), all at the same step: `at_step`, or the next there is.

    With a `recipe` all of it is put in place, which is how a change is taken back.
    """

    trial: int
    request: str
    values: Settings
    schedules: Mapping[str, Schedule | None]
    at_step: int | None = None
    recipe: Recipe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """Go back to a checkpoint, and to `recipe`, or keep the present settings (None).

    `path` is its name in the storage, `sha256` is what the record says of the checkpoint.
    """

    trial: int
    request: str
    checkpoint: int
    path: str
    step: int
    recipe: Recipe | None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AsAsked:
    """Do what was asked for, as it was asked.

    `act` names the function that does it, as `module:name`: an `Act`, which stands beside the decision to have it done.
    Without one the worker's `Commands` know how, by the verb.
    """

    trial: int
    request: str
    verb: str
    arguments: Mapping[str, Any]
    act: str = ""


class Actor(Protocol):
    """A trial between two of its steps, as far as an act may touch it."""

    @property
    def done(self) -> int:
        """How many steps it has taken."""
        ...

    @property
    def planned(self) -> int | None:
        """How many it takes in all; None where its function does not say."""
        ...

    def given(self) -> Settings:
        """The settings in force."""
        ...

    def extend(self, steps: int) -> None:
        """Has it take so many steps more."""
        ...

    def save(self, kind: str, *, wait: bool = False, must: bool = False, request: str = "") -> bool:
        """Writes a checkpoint of this moment; whether it is written, or will be."""
        ...

    def warn(self, text: str) -> None:
        """Says that something went wrong which does not end the trial."""
        ...


Act: TypeAlias = Callable[[Actor, Mapping[str, Any]], str]
"""What a worker does between two steps, given the arguments of the request; it returns what was done, in words, or
raises a `TunerError` that refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Drop a queued order that has not been started."""

    trial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a program says that trains by itself: only the executor of such programs hears it, which answers `Told`.

    `trial` is the one it speaks of, -1 where it asks for one; `standing` is what there is to say to whoever gets none.
    """

    trial: int
    request: str
    verb: str
    arguments: Mapping[str, Any]
    why: str = ""
    standing: str = ""


Command: TypeAlias = Continue | Stop | Pause | Resume | Save | Adjust | Revert | AsAsked | Forget | Said


# ── events ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReady:
    """A worker stands and waits for orders, or has outlived its coordinator and is still `training` this trial.

    One that is `lent` its trials is a program of its own: it takes one when it asks, and keeps it while there is no
    coordinator.
    """

    worker: str
    node: str
    pid: int
    training: int | None = None
    lent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What a worker that may outlive its coordinator has said, up to a batch; once on record it is not sent again."""

    worker: str
    incarnation: str
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Recordable):
    """The answer to what a program has `Said`."""

    request: str
    state: RequestState
    detail: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """A worker is gone; whatever it held is lost. `preempted` says the machine was taken away, not that it failed."""

    worker: str
    why: str
    preempted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The worker took an order up."""

    trial: int
    segment: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Recordable):
    """The function is about to take its first step of a trial that will be weighed: see `records.TrialPlanned`."""

    trial: int
    segment: int
    steps: int | None
    resumable: bool
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The trial stands at a decision point and waits for a verdict."""

    trial: int
    segment: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Recordable):
    """A pause or its end took effect, or a program that has a trial is not heard of any more, or again."""

    trial: int
    state: Literal["paused", "running", "lost"]
    step: int
    why: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delayed(Recordable):
    """What the trial waits for before it trains on, and why; empty: it does no longer."""

    trial: int
    why: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint is whole where it is kept, under the name `path`."""

    trial: int
    segment: int
    step: int
    kind: str
    bytes: int
    sha256: str
    path: str
    at: float
    request: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Settings changed at `step`, where segment `segment` begins; `repeated` when a retry did it again.

    `before` and `after` are effective values of what changed, `read_back` what the training function now reads.
    """

    trial: int
    segment: int
    request: str
    step: int
    before: Settings
    after: Settings
    read_back: Settings
    recipe: Recipe
    repeated: bool
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverted:
    """Training went back from `from_step` to `step`, where segment `segment` begins."""

    trial: int
    segment: int
    request: str
    checkpoint: int
    from_step: int
    step: int
    before: Settings
    recipe: Recipe
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Did(Recordable):
    """A command was carried out between two steps, could not be, or gave way to a later one."""

    trial: int
    request: str
    step: int
    state: Literal["applied", "rejected", "superseded"]
    detail: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Recordable):
    """Something went wrong that did not end the trial."""

    trial: int
    step: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """Of what `request` changed at `since` these settings were not read up to `step`; with `again`, now they were.

    `partly_read`: another setting of the same change was read. `before`: no step has ever read them.
    """

    trial: int
    step: int
    request: str
    since: int
    names: tuple[str, ...]
    partly_read: bool
    before: bool
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Recordable):
    """The function returned, raised, or was stopped. `error` is the exception's class and those it inherits from.

    A trial with `released` is not over: it was paused and gave its worker back.
    """

    trial: int
    segment: int
    state: TrialState
    why: str
    step: int
    started: float
    at: float
    error: tuple[str, ...] = ()
    traceback: str = ""
    released: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """How far a trial has come, sent when nothing else is: the watchdog's sign of life."""

    trial: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgot:
    """A queued order was dropped before it began."""

    trial: int
    segment: int


WorkerEvent: TypeAlias = (
    Forgot
    | Started
    | Planned
    | Reported
    | Waiting
    | Held
    | Delayed
    | Saved
    | Changed
    | Reverted
    | Did
    | Warned
    | Unread
    | Ended
    | Beat
)
"""What a worker itself says; an executor adds which worker said it."""

Effect: TypeAlias = Saved | Changed | Reverted | Did | Unread | Warned
"""What came of something that a person had asked for."""

Event: TypeAlias = WorkerReady | WorkerLost | Delivered | Told | tuple[str, WorkerEvent]
