"""The refusals of the service: a status, a word for programs, and a sentence for people; never a traceback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from tuner import errors
from tuner.errors import TunerError
from tuner.server.retry_after import retry_after
from tuner.values.plain import shown


class Refusal(BaseModel):
    """Why something was not done."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"code": "not_found", "why": "there is no study 'nigth'."}]}
    )

    code: str = Field(description="A word for programs, such as `not_found`.")
    why: str = Field(description="A sentence for people.")


class Problem(Exception):
    """A refusal that a route raises."""

    def __init__(self, status: int, code: str, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.code, self.why, self.headers = status, code, why, headers


# The first that fits counts: children before their parents.
_STATUS: Sequence[tuple[type[TunerError], int, str]] = (
    (errors.StudyNotFound, 404, "not_found"),
    (errors.TrialNotFound, 404, "no_such_trial"),
    (errors.NameRefused, 422, "name"),
    (errors.RequestReused, 422, "request_reused"),
    (errors.StudyNotBegun, 409, "not_begun"),
    (errors.StudyBusy, 409, "busy"),
    (errors.DatabaseAway, 503, "database_away"),
    (errors.IdentityMismatch, 409, "differs"),
    (errors.SettingsError, 422, "arguments"),
    (errors.SpaceError, 422, "space"),
    (errors.TrainingError, 422, "training"),
    (errors.MissingExtra, 409, "missing_extra"),
    (TunerError, 409, "refused"),
)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route says of its refusals in the description of the API; those of the gate are said of every route."""
    return {status: {"model": Refusal, "description": _MEANING[status]} for status in (*statuses, 401, 403, 503)}


_MEANING: Mapping[int, str] = {
    401: "No token, or one that is none.",
    403: "The token may not do this, or another site's page asked for it.",
    404: "There is no such thing.",
    409: "Refused, with the reason.",
    410: "It is over, with the reason.",
    413: "The body is too long.",
    422: "An argument makes no sense.",
    429: "Too often; the header says when again.",
    503: "Too much at once, or the database is away; the header says when again.",
}


def answer_refusals(app: FastAPI) -> None:
    """Has the application answer with sentences whatever goes wrong in it."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(TunerError, _tuner_error)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _mistake)  # the gate writes it down


def refused(status: int, code: str, why: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A refusal as an answer, whatever was asked for fit for the terminal that shows it."""
    return JSONResponse({"code": code, "why": shown(why)}, status, dict(headers or {}))


async def _problem(_: Request, error: Exception) -> JSONResponse:
    problem = error if isinstance(error, Problem) else Problem(500, "fault", str(error))
    return refused(problem.status, problem.code, problem.why, problem.headers)


async def _tuner_error(_: Request, error: Exception) -> JSONResponse:
    status, code = status_of_error(error)
    own = isinstance(error, TunerError) and code == "refused" and error.code not in ("error", "study")
    told = error.code if own else code  # type: ignore[attr-defined]  # `own` says so
    return refused(status, told, str(error), AGAIN if status == 503 else None)


AGAIN: Mapping[str, str] = retry_after(5)
"""The headers of what may well be answered a little later."""


def status_of_error(error: Exception) -> tuple[int, str]:
    """The status of an error, and its word for programs."""
    return next((status, code) for kind, status, code in _STATUS if isinstance(error, kind))


async def _unfit(_: Request, error: Exception) -> JSONResponse:
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    told = "; ".join(
        f"{'.'.join(map(str, each['loc'][1:])) or each['loc'][0]}: {each['msg'].removeprefix('Value error, ')}"
        for each in found[:5]
    )
    return refused(422, "arguments", told or "the request makes no sense.")


async def _http(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    if status == 404:
        return refused(
            404, "not_found", f"there is nothing at {request.url.path}. The API is described at /v1/openapi.json"
        )
    if status == 405:
        return refused(405, "method", f"{request.method} is nothing to do with {request.url.path}.", headers)
    return refused(status, "refused", str(getattr(error, "detail", "refused")), headers)


async def _mistake(_: Request, error: Exception) -> JSONResponse:
    return refused(500, "fault", mistake(error))


def mistake(error: Exception) -> str:
    """What is told of a mistake inside tuner: no word of its own, which may be a secret."""
    return f"a mistake inside tuner: {type(error).__name__}. The service's own output tells where."
