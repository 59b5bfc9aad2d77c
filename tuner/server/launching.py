"""The launch of a sweep or a babysat run over HTTP: a process of its own, which outlives the service.

Whoever launches runs code here, so only operators may, only functions that lie in the folder of projects, and only
within what their token may spend.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tuner.agents import launching
from tuner.agents.agent import name_of
from tuner.agents.allowance import Allowance
from tuner.agents.projects import lies_within
from tuner.api.assignment import Assignment
from tuner.api.fork import complete
from tuner.api.sweep import MOST_SEEDS
from tuner.errors import SettingsError
from tuner.executors import FunctionExecutor
from tuner.record.events import Goal
from tuner.record.location import Place
from tuner.record.requests import check_asker
from tuner.server.known_study import KnownStudy
from tuner.server.lending import GivenSweep
from tuner.server.placing import GivenEnvironment, Resources, Share, check_placement
from tuner.server.problems import Problem
from tuner.server.service import Service
from tuner.server.spaces import GivenSpace, name_of_space, space_of
from tuner.server.tokens import Token
from tuner.values.arguments import names_a_script, settings

_IMPORT_PATH = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


def _names_a_function(given: Any) -> Any:
    """Refuses what names no function, with what to write in its place."""
    if isinstance(given, str) and (told := names_a_script(given)) is not None:
        raise ValueError(f"{told}tuner sweep --command in a shell: a service launches functions alone")
    if isinstance(given, str) and not re.match(_IMPORT_PATH, given):
        raise ValueError(
            f"{given[:100]!r} names no training function: write its module, a colon and its name: mine:train"
        )
    return given


ImportPath: TypeAlias = Annotated[
    str,
    BeforeValidator(_names_a_function),
    Field(
        max_length=300,
        pattern=_IMPORT_PATH,
        description="Where the training function lies, in the folder of projects.",
        examples=["mine:train"],
    ),
]
Seconds: TypeAlias = Annotated[float, Field(ge=1e-3, le=1e9)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=2**53)]
_WHY = "launched from the service"


class LaunchedSweep(GivenSweep):
    """A sweep of a training function, to begin or to go on with."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "train": "mine:train",
                    "space": "sgd_momentum",
                    "objective": "score",
                    "trials": 24,
                    "executor": "local",
                }
            ]
        }
    )

    executor: FunctionExecutor
    train: ImportPath
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] | None = Field(
        default=None, description="With how many seeds each trial trains; 1 where it is left out."
    )
    cpus: Share | None = Field(default=None, description="CPUs of a trial; 1 where it is left out.")
    gpus: Share | None = Field(default=None, description="GPUs of a trial: a share of one, or whole ones.")
    resources: Resources | None = None
    runtime_env: GivenEnvironment | None = None
    address: str | None = Field(default=None, min_length=1, max_length=300, description="A Ray cluster to join.")
    time_budget_s: Seconds | None = None
    time_limit_s: Seconds | None = Field(default=None, description="How long one trial may train.")
    silence_limit_s: Seconds | None = None
    min_steps: Count | None = Field(default=None, description="The step before which no trial is judged.")
    max_failures: Count | None = None
    retries: Annotated[int, Field(ge=0, le=1000)] | None = None
    repeats: Literal["auto"] | None = None
    warm_start: str | None = Field(default=None, min_length=1, max_length=100, description="Another study here.")

    @property
    def of_each(self) -> int:
        """With how many seeds each trial trains."""
        return self.seeds or 1


class LaunchedRun(BaseModel):
    """A babysat run of a training function, to begin or to come back to; what is left out is as in `tuner.babysit`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "kind": "babysitting",
                    "train": "mine:train",
                    "params": {"learning_rate": 0.01},
                    "objective": "score",
                    "executor": "local",
                }
            ]
        },
    )

    kind: Literal["babysitting"]
    train: ImportPath
    params: dict[str, Any] = Field(default={}, description="Settings to begin with; the space draws the others.")
    space: GivenSpace | None = Field(default=None, description="What may be set; null: any value.")
    objective: str = Field(min_length=1, max_length=200)
    goal: Goal = "maximize"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    executor: FunctionExecutor = "ray"
    cpus: Share = 1
    gpus: Share = 0
    resources: Resources | None = None
    runtime_env: GivenEnvironment | None = None
    address: str | None = Field(default=None, min_length=1, max_length=300, description="A Ray cluster to join.")
    checkpoint_every_s: Annotated[float, Field(ge=0, le=1e9)] = 10.0
    disk_budget_gb: Annotated[float, Field(gt=0, le=1e9)] | None = None
    revert: Literal["in place", "reenter"] = "in place"
    level: Literal["advise", "off"] = "advise"
    smallest_gain: Annotated[float, Field(gt=0, le=1e300)] | None = None
    why: str = Field(default="", max_length=10_000)


def launch_sweep(
    place: Place, known: KnownStudy | None, study: LaunchedSweep, serving: Service, caller: Token
) -> dict[str, Any]:
    """Begins a sweep, or goes on with it; sent again while it runs, it is the one that runs."""
    home = _home(serving, study.train)
    check_placement(study.executor, study.cpus, study.gpus, study.resources, study.runtime_env)
    study.check(place, known, study.train)
    return study.begun(place, serving, caller, why=study.why or _WHY, home=home)


def launch_run(
    place: Place, known: KnownStudy | None, study: LaunchedRun, serving: Service, caller: Token
) -> dict[str, Any]:
    """Begins a babysat run, or takes it up where nobody coordinates it; one that trains or is over is the same."""
    home = _home(serving, study.train)
    space = None if study.space is None else space_of(study.space)
    params = settings("params", study.params)
    check_placement(study.executor, study.cpus, study.gpus, study.resources, study.runtime_env)
    if not params and space is None:
        raise SettingsError("a run needs settings to begin with, or a space to draw them from. Give params, or space.")
    complete(space, params or None, study.seed)  # refuses what does not fit
    if known is not None:
        known.check(place.name, "babysitting", {})
        identity = {word: getattr(study, word) for word in ("objective", "goal", "seed")}
        began = {f"params.{word}": value for word, value in Assignment.read(place.folder).params.items()}
        wanted = {f"params.{word}": value for word, value in params.items()}
        known.check(place.name, "babysitting", {"train": study.train, "space": space, **identity, **wanted}, began)
    by, allowance, why = caller.name, Allowance.of(caller.budget), study.why
    if caller.budget is not None:
        by = name_of(caller.name)
        check_asker("babysit", by, study.why)
    if study.space is not None:
        allowance.check_space(name_of_space(study.space))
    given = study.model_dump(exclude={"kind", "why", "space"})
    described = None if space is None else space.to_dict()
    given["space"] = described
    return launching.launch_run(place, allowance, by=by, why=why or _WHY, home=home, given=given, store=serving.store)


def _home(serving: Service, train: str) -> Path:
    """The folder of projects, where a function lies in it."""
    if serving.projects is None:
        raise Problem(409, "no_projects", "this service launches nothing. Start it with --projects DIR to allow that.")
    home = serving.projects.resolve()
    if not lies_within(home, train):
        raise Problem(422, "train", f"{train} does not lie in the folder of what may be launched here: {home}")
    return home
