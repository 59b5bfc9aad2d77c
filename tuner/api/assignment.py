"""The assignment of a babysat run: all that makes it, as its folder keeps it, or as the record knows it elsewhere."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuner.errors import StudyError
from tuner.executors import FunctionExecutor
from tuner.record.atomic import write_whole
from tuner.record.events import Goal, Purpose
from tuner.record.location import ASSIGNMENT, Place
from tuner.record.reader import fold
from tuner.record.store import Store
from tuner.worker.contents import bytes_to_unpickle
from tuner.worker.function import KEPT, Portable, keep

if TYPE_CHECKING:
    from tuner.record.state import StudyState


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Everything that makes a babysat run, as its folder keeps it; `space` is `Space.to_dict()` or None.

    `checkpoint` names the one to begin from, at step `from_step`, for a fork or a promoted trial; `by` says whose idea
    that was, and `request` under which id it was asked for. `home` is the directory that the run was begun in: relative
    paths of the function start there, from wherever it is woken. `runtime_env` is as a record may hold it.
    """

    name: str
    function: str
    source_sha256: str
    search_path: tuple[str, ...]
    params: dict[str, Any]
    objective: str
    goal: Goal
    space: dict[str, Any] | None
    seed: int
    trial_seed: int
    executor: FunctionExecutor
    cpus: float
    gpus: float
    address: str | None
    checkpoint_every_s: float
    disk_budget_gb: float | None
    revert: Literal["in place", "reenter"]
    why: str
    level: Literal["off", "advise"]
    purpose: Purpose = "search"
    parent: str | None = None
    checkpoint: str | None = None
    from_step: int = 0
    extra_steps: int = 0
    schedules: dict[str, Any] | None = None
    by: str = "tuner"
    smallest_gain: float | None = None
    home: str = ""
    request: str = ""
    resources: dict[str, float] | None = None
    runtime_env: dict[str, Any] | None = None

    def write(self, folder: Path, payload: str | bytes) -> None:
        """Leaves the assignment in a study's folder."""
        keep(payload, folder)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(folder / ASSIGNMENT, json.dumps(asdict(self), indent=1).encode(), mode=0o600)
        except OSError as error:
            raise StudyError(
                f"{folder / ASSIGNMENT} cannot be written: {error}. Free space, or choose a folder you may write to: "
                "--results."
            ) from error

    @classmethod
    def read(cls, folder: Path) -> Assignment:
        """The assignment of a folder."""
        try:
            found = json.loads((folder / ASSIGNMENT).read_text())
        except FileNotFoundError as error:
            raise StudyError(
                f"{folder} holds no babysat run: {ASSIGNMENT} is missing. One that was begun on another machine goes "
                "on here by the same tuner babysit, where its record lies in a team's database and its checkpoints in "
                "an object store (with the same --store and --results); any other goes on where its folder is."
            ) from error
        except (OSError, ValueError) as error:
            raise StudyError(f"{folder / ASSIGNMENT} cannot be read: {error}. Restore it from a copy.") from error
        try:
            return cls(**{**found, "search_path": tuple(found["search_path"])})
        except (KeyError, TypeError) as error:
            raise StudyError(
                f"{folder / ASSIGNMENT} is not what this tuner writes: {error}. Restore it from a copy."
            ) from error

    @property
    def identity(self) -> dict[str, Any]:
        """What cannot change of the run."""
        return {
            "space": self.space,
            "objective": self.objective,
            "goal": self.goal,
            "seed": self.seed,
            "sampler": "none",
        }

    def options(self, state: StudyState) -> dict[str, Any]:
        """What may, and is on record with each change; an extension may have changed how far it trains."""
        return {
            "cpus": self.cpus,
            "gpus": self.gpus,
            "resources": self.resources or {},
            "runtime_env": self.runtime_env,
            "address": self.address,
            "extra_steps": state.options.get("extra_steps", self.extra_steps),
            "smallest_gain": self.smallest_gain,
            **({"request": self.request} if self.request else {}),
        }

    def payload(self, folder: Path) -> str | bytes:
        """How the function travels."""
        pickled = folder / KEPT
        return bytes_to_unpickle(pickled) if pickled.is_file() else self.function


def assign(function: Portable, folder: Path, **given: Any) -> Assignment:
    """Writes the assignment of a new run."""
    assignment = Assignment(
        function=function.name,
        source_sha256=function.source_sha256,
        search_path=function.search_path,
        home=str(Path.cwd()),
        **given,
    )
    assignment.write(folder, function.payload)
    return assignment


def from_record(place: Place, function: Portable, **how: Any) -> Assignment:
    """The assignment of a run whose folder another machine has: what it is stands on record, `how` it trains is given.

    Raises `StudyError` where the record says too little, or is that of a sweep.
    """
    with closing(Store.open(place.existing())) as store:
        state, _ = fold(store, place.name)
    if state.kind != "babysitting" or not state.trials:
        what = "is a sweep" if state.kind == "sweep" else "has yet to begin, on the machine that it was given to"
        raise StudyError(f"{place.name} {what}. Choose another name.")
    trial, beginning = state.trials[0], state.trials[0].segments[0]
    return Assignment(
        name=place.name,
        function=state.function,
        source_sha256=state.source_sha256,
        search_path=function.search_path,
        home=str(Path.cwd()),
        params=dict(trial.params),
        objective=state.objective,
        goal=state.goal,
        space=state.identity["space"],
        seed=state.identity["seed"],
        trial_seed=trial.seed,
        purpose=trial.purpose,
        parent=trial.parent,
        from_step=beginning.from_step,
        why=beginning.why,
        by=beginning.by,
        **how,
    )
