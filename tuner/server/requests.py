"""The routes that steer: whatever is asked of a study is one resource, which may be sent again and has one effect."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Query, Response
from fastapi import Path as InPath

from tuner.agents.agent import name_of
from tuner.agents.allowance import Allowance
from tuner.agents.launching import launch_branch
from tuner.api.answers import Wait
from tuner.api.fork import branch_of
from tuner.api.handles import RunHandle
from tuner.api.studies import attach, attached, promote
from tuner.errors import uncoded
from tuner.record.events import Requested, RequestState
from tuner.record.store import Store
from tuner.record.team import InDatabase
from tuner.server import schemas
from tuner.server.problems import Problem, documented
from tuner.server.reading import StudyName
from tuner.server.service import Caller, Service, Serving, may_read, may_steer
from tuner.server.tokens import Token

router = APIRouter(prefix="/v1/studies", tags=["steer"], dependencies=[may_read])

RequestId: TypeAlias = Annotated[
    str,
    InPath(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Made up by whoever asks.", examples=["a1b2c3"]),
]
_BEGUN = ("fork", "promote")
"""The verbs that begin another run."""
_LONGEST_WAIT_S = 30.0
_T = TypeVar("_T")


@router.put(
    "/{name}/requests/{request}",
    responses={**documented(404, 409, 422), 202: {"model": schemas.Answer, "description": "On record, for later."}},
    summary="Ask something of a study",
    dependencies=[may_steer],
)
async def ask(
    name: StudyName,
    request: RequestId,
    asked: schemas.Asked,
    serving: Serving,
    caller: Caller,
    response: Response,
    wait_s: Annotated[float, Query(ge=0, le=_LONGEST_WAIT_S, description="How long to wait for the end of it.")] = 5.0,
) -> schemas.Answer:
    """Asks once, however often it is sent under one id; 202 where it takes effect later, 409 where it is refused."""
    by = await _in_thread(serving, _allowed, name, request, asked, serving, caller)
    if asked.verb in _BEGUN:
        return await _in_thread(serving, _branched, name, request, asked, serving, caller, by)
    place = serving.library.place(name)
    handle = await _in_thread(serving, functools.partial(attached, place, by=by, idle="closed"))
    try:
        putting = functools.partial(handle._put, expect=asked.expect, request=request, timeout_s=wait_s)
        put = await _in_thread(serving, putting, asked.verb, dict(asked.arguments), asked.why)
        reply = await serving.waits.reply(place.existing(), put) if isinstance(put, Wait) else put
    finally:
        await _in_thread(serving, handle.close)
    response.status_code = 202 if reply.pending else 200
    return _said(request, asked.verb, reply.state, reply.step, reply.detail)


async def _in_thread(serving: Service, act: Callable[..., _T], *given: Any) -> _T:
    """What is done at once, and not in the loop that serves everybody."""
    return await anyio.to_thread.run_sync(functools.partial(act, *given), limiter=serving.askings)


def _allowed(name: str, request: str, asked: schemas.Asked, serving: Service, caller: Token) -> str:
    """Who asks, as the record will say; refused where that is more than they may spend."""
    if caller.budget is None:
        return asked.by or caller.name
    by = name_of(caller.name)  # whoever has one asks under no other name
    Allowance.of(caller.budget).check_request(
        serving.results, by, name, asked.verb, asked.arguments, request, serving.store
    )
    return by


def _branched(
    name: str, request: str, asked: schemas.Asked, serving: Service, caller: Token, by: str
) -> schemas.Answer:
    """Another run, which has begun."""
    begun = launch_branch(
        serving.results,
        Allowance.of(caller.budget),
        by=by,
        why=asked.why,
        asked={asked.verb: name, "request": request, "by": by},
        parent=serving.library.place(name),
        begin=functools.partial(_begun, name, request, asked, serving, by),
        store=serving.store,
    )
    said = _said(request, asked.verb, "applied", None, f"{begun} has begun")
    return said.model_copy(update={"study": begun})


@router.get("/{name}/requests/{request}", responses=documented(404, 409, 422, 503), summary="What became of a request")
async def answer(
    name: StudyName,
    request: RequestId,
    serving: Serving,
    wait_s: Annotated[float, Query(ge=0, le=_LONGEST_WAIT_S, description="How long to wait for the end of it.")] = 0.0,
) -> schemas.Answer:
    """The answer so far, or once there is one that is final."""
    place = serving.library.place(name)
    database = place.existing()
    asked = await anyio.to_thread.run_sync(_request, database, request)
    if asked is None:
        branch = await anyio.to_thread.run_sync(branch_of, place, request)
        if branch is not None:
            said = _said(request, branch[1], "applied", None, f"{branch[0]} has begun")
            return said.model_copy(update={"study": branch[0]})
        raise Problem(404, "not_found", f"nobody has asked anything of {name} under the id {request}.")
    found = await serving.waits.answer(database, request, wait_s)
    if found is None:
        return _said(request, asked.verb, "received", None, "")
    return _said(request, asked.verb, found.state, found.step, uncoded(found.detail)[0])


def _request(database: Path | InDatabase, request: str) -> Requested | None:
    with Store.open(database, idle="closed") as store:
        return store.asked(request)


def _begun(name: str, request: str, asked: schemas.Asked, serving: Service, by: str) -> str:
    """Begins another run from a checkpoint of this study, and says its name."""
    given = dict(asked.arguments)
    told: dict[str, Any] = {"name": given.pop("name", None), "why": asked.why, "request": request}
    told["timeout_s"] = given.pop("timeout_s", None)
    if asked.verb == "promote":
        trial = given.pop("trial", None)
        _check_none_left(asked.verb, given)
        handle = promote(name, trial, by=by, **_where(serving), **told)
    else:
        step, values = given.pop("step", None), given.pop("values", {})
        _check_none_left(asked.verb, given)
        with attach(name, by=by, **_where(serving)) as parent:
            if not isinstance(parent, RunHandle):
                raise Problem(409, "refused", f"{name} is a sweep: a fork is of a babysat run. Promote a trial of it.")
            handle = parent.fork(values, step=step, **told)
    with handle:
        return handle.name


def _where(serving: Service) -> dict[str, Any]:
    return {"results": serving.results, "store": serving.store}


def _check_none_left(verb: str, given: Mapping[str, object]) -> None:
    """Refuses what a verb does not take."""
    if given:
        raise Problem(422, "arguments", f"{verb} takes no {', '.join(sorted(given))}.")


def _said(request: str, verb: str, state: RequestState, step: int | None, why: str) -> schemas.Answer:
    return schemas.Answer(request=request, verb=verb, state=state, step=step, why=why)
