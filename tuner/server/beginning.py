"""The beginning of a study over HTTP: whatever it is, it is the same study when it is sent again."""

from __future__ import annotations

import functools
from typing import Annotated, Any, TypeAlias

import anyio.to_thread
from fastapi import APIRouter, Body, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Discriminator, Field, Tag

from tuner.errors import IdentityMismatch, TunerError
from tuner.server.external import Unfit, refusal
from tuner.server.known_study import Differs, known_study
from tuner.server.launching import LaunchedRun, LaunchedSweep, launch_run, launch_sweep
from tuner.server.lending import LentStudy, lend
from tuner.server.reading import StudyName
from tuner.server.service import Caller, Serving, may_steer
from tuner.server.tokens import Token

router = APIRouter(prefix="/v1/studies/{name}", tags=["begin"], dependencies=[may_steer])


class Begun(BaseModel):
    """The study that is there now."""

    study: str
    pid: int | None = Field(description="Who coordinates it; null: nobody any more.")
    trials: int | None = Field(default=None, description="How many may train; null: no bound.")
    steps: int | None = Field(default=None, description="How many steps may be trained; null: no bound.")


class Another(Unfit):
    """Why the study that is there is not the one that is meant."""

    differs: list[str] | None = Field(default=None, description="The words of the body that differ.")


def _kind(body: Any) -> str:
    """Which kind of study a body begins: as it says, else by who trains it."""
    given = body if isinstance(body, dict) else getattr(body, "__dict__", {})  # whatever JSON is, or a text
    if given.get("kind") == "babysitting":
        return "run"
    return "lent" if given.get("executor") == "external" else "sweep"


Beginning: TypeAlias = Annotated[
    Annotated[LentStudy, Tag("lent")] | Annotated[LaunchedSweep, Tag("sweep")] | Annotated[LaunchedRun, Tag("run")],
    Discriminator(_kind),
]


@router.put(
    "",
    response_model=Begun,
    status_code=201,
    responses={
        200: {"model": Begun, "description": "It was there, and is the same."},
        404: {"model": Another, "description": "What it begins from is not there."},
        409: {"model": Another, "description": "It is there and differs, or cannot be begun; `why` says in what."},
        422: {"model": Another, "description": "The space, or another word, makes no sense."},
    },
    summary="Begin a study",
)
async def begin(name: StudyName, study: Annotated[Beginning, Body()], serving: Serving, caller: Caller) -> Response:
    """Begins it, or goes on with it, in a process of its own; what is refused leaves nothing behind."""
    begun = functools.partial(_begun, name, study, serving, caller)
    return await anyio.to_thread.run_sync(begun, limiter=serving.beginnings)


def _begun(name: str, study: LentStudy | LaunchedSweep | LaunchedRun, serving: Any, caller: Token) -> Response:
    """In a thread: processes take their time to begin."""
    try:
        place = serving.library.place(name)
        known = known_study(place)
        if isinstance(study, LaunchedRun):
            begun = launch_run(place, known, study, serving, caller)
        elif isinstance(study, LaunchedSweep):
            begun = launch_sweep(place, known, study, serving, caller)
        else:
            begun = lend(place, known, study, serving, caller)
    except Differs as error:
        told = {"code": IdentityMismatch.code, "why": str(error), "differs": list(error.words)}
        return JSONResponse(told, 409)
    except TunerError as error:
        return refusal(error)
    return JSONResponse(begun, 201 if known is None else 200)
