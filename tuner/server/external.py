"""The routes of programs that train by themselves: ask for a trial, report, tell its end; each may be sent again.

They hold nothing: what a program says becomes a request on record, and what it is told is the coordinator's answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from tuner.api.external import GRACE_S, NOBODY
from tuner.errors import SettingsError, SpaceError, StudyNotFound, TunerError
from tuner.record.client import WHY
from tuner.record.dialogue import LONGEST_WAIT_S, MOST_ROWS, End, Orders, parse_answer
from tuner.server.inbox import Inboxes, InboxFull
from tuner.server.problems import refused
from tuner.server.reading import StudyName, TrialNumber
from tuner.server.retry_after import retry_after
from tuner.server.service import Caller, may_steer
from tuner.server.service import Serving as AsServed
from tuner.values.plain import clean


@asynccontextmanager
async def _living(app: FastAPI) -> AsyncIterator[None]:
    yield
    if (inboxes := getattr(app.state, "inboxes", None)) is not None:
        inboxes.close()


def _inboxes(request: Request) -> Inboxes:
    state = request.app.state
    if not hasattr(state, "inboxes"):
        state.inboxes = Inboxes(state.service.library.place)
    found: Inboxes = state.inboxes
    return found


router = APIRouter(prefix="/v1/studies/{name}", tags=["ask and tell"], dependencies=[may_steer], lifespan=_living)

_ANSWER_WITHIN_S = 30.0
_ASK_AGAIN_S = 1.0

Serving: TypeAlias = Annotated[Inboxes, Depends(_inboxes)]
Named: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]
Score: TypeAlias = float | Literal["nan", "inf", "-inf"] | None
Scores: TypeAlias = dict[Named, Score]


class Call(BaseModel):
    """A program asks for a trial."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"worker": "gpu-3", "wait_s": 20}]})

    worker: Named = Field(description="Who asks. The same worker asking again is lent its pending trial.")
    request: Named | None = Field(default=None, description="A name of this call: sent again, it is answered the same.")
    wait_s: float = Field(default=20.0, ge=0, le=LONGEST_WAIT_S, description="How long to wait for a trial.")
    steps: Annotated[int, Field(ge=1, le=2**53)] | None = Field(
        default=None, description="How many steps the program means to train, where it knows: budgets go by it."
    )
    node: Named | None = Field(default=None, description="Where it trains, for the tables.")


class LentFor(BaseModel):
    """How long a trial is lent."""

    until: float = Field(description="In Unix seconds, by the coordinator's clock. Any call renews it.")
    renew_every_s: float


class LentTrial(BaseModel):
    """What there is to train."""

    trial: int
    segment: int = Field(description="Send it with every report and with the end: it says whose words count.")
    settings: dict[str, Any]
    seed: int
    step: int = Field(description="The last step that was reported; 0: none.")
    batch: int = Field(description="The number of the next batch of reports.")
    lease: LentFor


class Batch(BaseModel):
    """Scores after some steps; without rows it only renews the lease, and hears what to do."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"segment": 0, "batch": 0, "rows": [[1, {"loss": 0.7}]]}]}
    )

    segment: Count
    batch: Count | None = Field(
        default=None, description="From 0, one more with each batch: sent again, it counts once."
    )
    rows: list[tuple[Count, Scores]] = Field(max_length=MOST_ROWS)


class Ordered(BaseModel):
    """What to do now."""

    orders: Orders = Field(description="Where it is to pause: report again, without rows, until it is told otherwise.")
    why: str
    until: float | None = Field(description="How long the trial is lent; null: it is so no more.")
    batch: int | None = Field(default=None, description="The number of the next batch.")
    superseded_by: int | None = Field(default=None, description="The segment that the trial went on as elsewhere.")


class TrialEnd(BaseModel):
    """How a trial ended."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"segment": 0, "state": "completed"}]})

    segment: Count
    state: End = Field(description="Infeasible: settings that nothing can be trained with.")
    scores: Scores | None = Field(default=None, description="The last scores; without them the best report counts.")
    step: Count | None = Field(default=None, description="The step that they belong to; without it the last.")
    why: str = Field(default="", max_length=100_000, description="Infeasible and failed need a reason.")


class EndedTrial(BaseModel):
    """How a trial ended by the record."""

    trial: int
    segment: int
    state: str
    why: str


class Unfit(BaseModel):
    """Why something was not done, with what would be."""

    code: str = Field(description="A word for programs, such as `over`.")
    why: str = Field(description="A sentence for people.")
    batch: int | None = Field(default=None, description="The number of the batch that comes next.")
    superseded_by: int | None = Field(default=None, description="The segment that the trial went on as elsewhere.")


_REFUSED: dict[int | str, dict[str, Any]] = {
    404: {"model": Unfit, "description": "There is no such study, or trial."},
    409: {"model": Unfit, "description": "Refused, with the reason."},
    410: {"model": Unfit, "description": "The study is over, with the reason."},
    429: {"model": Unfit, "description": "Too often; the header says when again."},
    503: {"model": Unfit, "description": "Too many wait for an answer; the header says when again."},
}
_ON_RECORD = "On record: nobody coordinates the study now, and whoever does next takes it up."


@router.post(
    "/ask",
    response_model=LentTrial,
    responses={
        **_REFUSED,
        204: {
            "description": "There is no trial now; the header says why.",
            "headers": {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."},
                WHY: {"schema": {"type": "string"}},
            },
        },
    },
    summary="Ask for a trial",
)
async def ask(name: StudyName, call: Call, inboxes: Serving, service: AsServed, caller: Caller) -> Response:
    """Lends a trial to a worker, which keeps it for as long as it is heard of."""
    if (wait_s := service.door.asks.wait_s(caller.name)) > 0:
        seconds = int(wait_s) + 1
        return refused(429, "rate", f"too many calls; the next in {seconds} s.", retry_after(seconds))
    try:
        inbox = await inboxes.of(name)
        given = call.model_dump(exclude_none=True)
        answer = await inbox.say("ask", given, by=call.worker, wait_s=call.wait_s + GRACE_S)
        if answer is None:
            why = await inbox.over()
            alone = why is None and await inbox.is_alone()
            return _none(NOBODY if alone else "the coordinator is busy") if why is None else _over(name, why)
    except TunerError as error:
        return refusal(error)
    heard = parse_answer(answer.detail)
    if answer.state == "applied":
        return JSONResponse(heard)
    if heard.get("over"):
        return _over(name, heard["why"])
    return _none(str(heard.get("why", ""))) if answer.state == "expired" else _refused(heard)


@router.post(
    "/trials/{number}/reports",
    response_model=Ordered,
    responses={**_REFUSED, 202: {"model": Ordered, "description": _ON_RECORD}},
    summary="Report scores, and hear what to do",
)
async def report(name: StudyName, number: TrialNumber, batch: Batch, inboxes: Serving, caller: Caller) -> Response:
    """Puts scores on record, once however often they are sent; renews the lease."""
    given = {"trial": number, **batch.model_dump()}
    on_record = {"orders": "go on", "why": f"on record; {NOBODY}", "until": None}
    return await _said(inboxes, name, "report", given, by=caller.name, on_record=on_record)


@router.post(
    "/trials/{number}/tell",
    response_model=EndedTrial,
    responses={**_REFUSED, 202: {"model": EndedTrial, "description": _ON_RECORD}},
    summary="Tell how a trial ended",
)
async def tell(name: StudyName, number: TrialNumber, end: TrialEnd, inboxes: Serving, caller: Caller) -> Response:
    """Ends a trial; told again it is answered the same."""
    given = {"trial": number, **end.model_dump(exclude={"why"}, exclude_none=True)}
    on_record = {"trial": number, "segment": end.segment, "state": end.state, "why": f"on record; {NOBODY}"}
    return await _said(inboxes, name, "tell", given, by=caller.name, why=end.why, on_record=on_record)


async def _said(
    inboxes: Inboxes,
    name: str,
    verb: str,
    given: Mapping[str, Any],
    *,
    by: str,
    why: str = "",
    on_record: Mapping[str, Any],
) -> Response:
    """What a program is told; where nobody answers, that it is on record."""
    try:
        inbox = await inboxes.of(name)
        answer = await inbox.say(verb, given, by=by, why=why, wait_s=_ANSWER_WITHIN_S)
    except TunerError as error:
        return refusal(error)
    if answer is None:
        return JSONResponse(on_record, 202)
    heard = parse_answer(answer.detail)
    return _refused(heard) if answer.state == "rejected" else JSONResponse(heard)


def refusal(error: TunerError) -> Response:
    """What cannot be put on record."""
    missing, crowded = isinstance(error, StudyNotFound), isinstance(error, InboxFull)
    status = 404 if missing else 503 if crowded else 422 if isinstance(error, SettingsError | SpaceError) else 409
    headers = retry_after(_ASK_AGAIN_S) if crowded else {}
    return JSONResponse({"code": error.code, "why": str(error)}, status, headers)


def _over(name: str, why: str) -> Response:
    return JSONResponse({"code": "over", "why": f"{name} is over: {why}"}, 410)


def _refused(heard: Mapping[str, Any]) -> Response:
    missing = heard.get("code") == "no_such_trial"
    code = "superseded" if "superseded_by" in heard else heard.get("code") or "refused"
    further = {word: heard[word] for word in ("batch", "superseded_by") if word in heard}
    return JSONResponse({"code": code, "why": heard.get("why", ""), **further}, 404 if missing else 409)


def _none(why: str) -> Response:
    """No trial now; the reason as a header can hold it."""
    plain = clean(why, 500).encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ")
    return Response(status_code=204, headers={**retry_after(_ASK_AGAIN_S), WHY: plain})
