"""The beginning of a study over HTTP: one whose trials programs ask for, or a sweep of a function that is launched."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from tuner.agents.agent import name_of
from tuner.agents.allowance import Allowance
from tuner.agents.launching import launch_sweep
from tuner.arguments import one_of
from tuner.caviar.rules import STOPPING
from tuner.errors import IdentityMismatch, SpaceError, TunerError
from tuner.record.atomic import write_whole
from tuner.record.dialogue import LEASE_S
from tuner.record.events import Configured, Goal, StudyOpened
from tuner.record.location import Place
from tuner.record.requests import check_asker
from tuner.record.store import Store
from tuner.samplers import SAMPLERS
from tuner.server.external import Unfit, refusal
from tuner.server.launching import LaunchedSweep, launch
from tuner.server.reading import StudyName
from tuner.server.service import Caller, Serving, may_steer
from tuner.space.files import parameter_of
from tuner.space.space import Space

router = APIRouter(prefix="/v1/studies/{name}", tags=["ask and tell"], dependencies=[may_steer])

Bound = Annotated[int, Field(ge=1, le=2**53)]


class LentStudy(BaseModel):
    """A study whose trials programs ask for; what is left out is as in `tuner.sweep`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "space": {"x": {"scale": "linear", "low": 0.0, "high": 1.0}},
                    "objective": "score",
                    "trials": 20,
                    "executor": "external",
                }
            ]
        },
    )

    space: str | dict[str, dict[str, Any]] = Field(description="By its name, or as in its TOML file.")
    objective: str = Field(min_length=1, max_length=200)
    executor: Literal["external"]
    goal: Goal = "maximize"
    trials: Bound | None = None
    budget_steps: Bound | None = None
    parallel: Annotated[int, Field(ge=1, le=10_000)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    sampler: str = Field(default="coarse_to_fine", json_schema_extra={"enum": list(SAMPLERS)})
    stopping: str = Field(default="auto", json_schema_extra={"enum": list(STOPPING)})
    lease_s: Annotated[float, Field(gt=0, le=1e6)] = LEASE_S
    why: str = Field(default="", max_length=10_000)


class Begun(BaseModel):
    """The study that is there now."""

    study: str
    pid: int | None


@router.put(
    "",
    response_model=Begun,
    status_code=201,
    responses={
        200: {"model": Begun, "description": "It was there, and is the same."},
        409: {"model": Unfit, "description": "It is there and differs; `why` says in what."},
        422: {"model": Unfit, "description": "The space, or another word, makes no sense."},
    },
    summary="Begin a study",
)
def begin(
    name: StudyName,
    study: Annotated[LentStudy | LaunchedSweep, Field(discriminator="executor")],
    serving: Serving,
    caller: Caller,
) -> Response:
    """Begins it, or goes on with it, in a process of its own; sent again it is the same study."""
    if isinstance(study, LaunchedSweep):
        there = (serving.results / name / "study.db").exists()
        return JSONResponse(launch(name, study, serving, caller), 200 if there else 201)
    try:
        place = Place.of(name, serving.results, None)
        one_of(*SAMPLERS)("sampler", study.sampler)
        one_of(*STOPPING)("stopping", study.stopping)
        space = _space(study.space)
        known = _known(place)
        if known is not None:
            opened, options, pid = known
            _check_same(name, opened, study, space)
            same = all(options.get(word) == getattr(study, word) for word in ("trials", "budget_steps", "parallel"))
            if same and (pid is not None or options.get("over") is not None):
                return JSONResponse({"study": name, "pid": pid}, 200)
        by, allowance = caller.name, Allowance.of(caller.budget)
        if caller.budget is not None:  # before anything of it is written down
            by = name_of(caller.name)
            check_asker("sweep", by, study.why)
            allowance.check_space(study.space if isinstance(study.space, str) else "one of its own")
        begun = launch_sweep(
            place.folder.parent,
            allowance if isinstance(study.space, str) else replace(allowance, spaces=None),
            by=by,
            why=study.why,
            name=name,
            train=None,
            space=_written(place, study.space),
            **study.model_dump(exclude={"space", "why", "lease_s"}, exclude_none=True),
            lease=f"{study.lease_s!r}s",
        )
    except TunerError as error:
        return refusal(error)
    return JSONResponse({"study": name, "pid": begun["pid"]}, 201 if known is None else 200)


def _space(given: str | dict[str, dict[str, Any]]) -> Space:
    if isinstance(given, str):
        if "/" in given or given.endswith(".toml"):
            raise SpaceError(f"a space is given by its name or as it is, never as a file: got {given[:80]!r}.")
        return Space.load(given)
    return Space(**{name: parameter_of(name, table) for name, table in given.items()})


def _written(place: Place, given: str | dict[str, dict[str, Any]]) -> str:
    """The name of a space, or the file in the study's folder that it is written to."""
    if isinstance(given, str):
        return given
    tables = [f"[{json.dumps(name)}]\n{_lines(table)}" for name, table in given.items()]
    place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = place.folder / "space.toml"
    write_whole(path, "\n".join(tables).encode(), mode=0o600)
    return str(path)


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{json.dumps(word)} = {_toml(value)}\n" for word, value in table.items())


def _toml(value: Any) -> str:
    """A value as TOML has it, which is JSON's way but for mappings."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(word)} = {_toml(each)}" for word, each in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def _known(place: Place) -> tuple[StudyOpened, dict[str, Any], int | None] | None:
    """The study that is there: as it was opened, its options now, and who coordinates it; None where none has begun."""
    database: Path | None = place.database
    if database is None or not database.is_file():
        return None
    with closing(Store.open(database)) as store:
        opened = next(iter(store.read(StudyOpened)), None)
        options: dict[str, Any] = {}
        for each in store.read(Configured):
            options |= each.options
        holder = store.holder(time.time())
    return None if opened is None else (opened, options, None if holder is None else holder[1])


def _check_same(name: str, opened: StudyOpened, study: LentStudy, space: Space) -> None:
    asked = {
        "space": space.to_dict(),
        **{word: getattr(study, word) for word in ("objective", "goal", "seed", "sampler")},
    }
    differing = [word for word, value in asked.items() if opened.identity.get(word) != value]
    if opened.kind != "sweep" or differing:
        raise IdentityMismatch(
            f"the study {name!r} exists with another {' and another '.join(differing) or 'purpose'}. Choose another "
            "name, or send the same."
        )
