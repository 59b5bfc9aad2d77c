"""The routes of the page: each page, the parts of it that change, and the pictures, all made from the fold anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response

from tuner.api.studies import studies as studies_in
from tuner.api.study import Study
from tuner.errors import StudyNotBegun, TunerError
from tuner.record.printed import FEW_BYTES, printed_of
from tuner.record.team import shown_url
from tuner.server.page.cockpit import cockpit
from tuner.server.page.comparing import comparison_rows
from tuner.server.page.gallery import as_sent, compared, drawn, picture
from tuner.server.page.rendering import asset, html, sent
from tuner.server.page.source import FromSource, PageSource
from tuner.server.page.status import status_of
from tuner.server.page.study_list import glance
from tuner.server.page.trial_list import Wanted, listing, numbers_of
from tuner.server.problems import AGAIN, status_of_error
from tuner.server.retry_after import retry_after
from tuner.space.files import available_spaces
from tuner.space.space import Space
from tuner.views.pictures.diagram import Diagram, Theme

router = APIRouter(include_in_schema=False)
AsWanted: TypeAlias = Annotated[Wanted, Depends()]


@router.get("/")
def studies(request: Request, source: FromSource) -> Response:
    """The studies at a glance."""
    now = time.time()
    try:
        rows = [glance(each, source.library, now) for each in studies_in(source.results, source.store)]
    except TunerError as error:
        return _missing(request, "The list of studies", error)
    told: dict[str, Any] = {
        "studies": rows,
        "folder": source.results if source.store is None else shown_url(source.store),
        "projects": source.projects,
        "spaces": available_spaces(),
    }
    return html(request, "studies.html", **told)


@router.get("/files/{name}")
def file(request: Request, name: str) -> Response:
    """A script, a style, an icon: ours, or BokehJS out of the installed package."""
    found = asset(name)
    if found is None:
        return Response("there is no such file", 404, media_type="text/plain")
    return sent(request, found)


@router.get("/compare")
def compare(request: Request, source: FromSource, study: Annotated[list[str] | None, Query()] = None) -> Response:
    """Two studies side by side, or more."""
    study = list(dict.fromkeys(study or ()))
    if len(study) < 2:
        why = "It takes two studies to compare them: tick two, and ask again."
        return html(request, "missing.html", status=422, name="A comparison", why=why, away=False)
    try:
        rows = comparison_rows(source.library, study)
    except TunerError as error:
        return _missing(request, " and ".join(study), error)
    return html(request, "compare.html", names=study, rows=rows)


@router.get("/compare/pictures/{which}")
def comparison(request: Request, source: FromSource, which: str, study: Annotated[list[str], Query()]) -> Response:
    """The picture of two studies, or with `.table` behind its name the same as a table."""
    chart = compared(source.library, study, _theme(request))
    return _table(request, chart) if which.endswith(".table") else sent(request, as_sent(chart))


@router.get("/studies/{name}")
def one(request: Request, name: str, source: FromSource, wanted: AsWanted) -> Response:
    """A sweep, or the cockpit of a babysat run."""

    def told(study: Study) -> Response:
        state = study.state
        shared: dict[str, Any] = {"study": study, "state": state, "standing": status_of(study, time.time())}
        if state.kind == "babysitting":
            return html(request, "run.html", **shared, run=cockpit(study))
        names = tuple(study.space or ())
        rows = listing(state, names, wanted)
        listed: dict[str, Any] = {
            "names": names,
            "wanted": wanted,
            "listing": rows,
            "selected": numbers_of(wanted.trials),
        }
        return html(request, "sweep.html", **shared, **listed, projects=source.projects, **_spaces(study))

    return _page(request, source, name, told)


@router.get("/studies/{name}/trials/{number}")
def trial(request: Request, name: str, number: int, source: FromSource) -> Response:
    """All about one trial."""

    def told(study: Study) -> Response:
        found = study.trial(number)
        shared: dict[str, Any] = {
            "study": study,
            "state": study.state,
            "standing": status_of(study, time.time()),
            "trial": found,
        }
        kept = study.state.kept(found)
        printed = printed_of(study.place.folder, number, FEW_BYTES)
        return html(request, "trial.html", **shared, kept=kept, printed=printed, traceback=study.traceback(number))

    return _page(request, source, name, told)


@router.get("/studies/{name}/explanation")
def explanation(request: Request, name: str, source: FromSource) -> Response:
    """What the search has learned, as a part of its page."""
    return _page(
        request, source, name, lambda study: html(request, "explanation.html", study=study, found=study.explain())
    )


@router.get("/studies/{name}/pictures/{which}")
def one_picture(
    request: Request,
    name: str,
    which: str,
    source: FromSource,
    x: str = "",
    y: str = "",
    trial: int = 0,
    knows: str = "",
) -> Response:
    """A picture of a study, or with `.table` behind its name the same as a table; `knows`: columns not to send."""
    if which.endswith(".table"):
        wanted = which.removesuffix(".table")
        return _page(
            request, source, name, lambda study: _table(request, picture(study, wanted, "light", x=x, y=y, trial=trial))
        )
    try:
        known = frozenset(knows.split(","))
        found = drawn(source.library, name, which, _theme(request), x=x, y=y, trial=trial, known=known)
    except TunerError as error:
        return Response(str(error), 404, media_type="text/plain")
    if found is None:
        return _no_picture()
    packed, behind_s = found
    return sent(request, packed, headers=retry_after(behind_s) if behind_s > 0 else None)


def _page(request: Request, source: PageSource, name: str, told: Callable[[Study], Response]) -> Response:
    """What is told of a study, or in words why nothing is."""
    try:
        with source.library.study(name) as study:
            return told(study)
    except StudyNotBegun:
        return html(request, "starting.html", name=name)
    except TunerError as error:
        return _missing(request, name, error)


def _missing(request: Request, name: str, error: TunerError) -> Response:
    """In words why there is nothing to see, and of a database that is away when to look again."""
    away = status_of_error(error)[0] == 503
    answer = html(request, "missing.html", status=503 if away else 404, name=name, why=str(error), away=away)
    if away:
        answer.headers.update(AGAIN)
    return answer


def _spaces(study: Study) -> dict[str, Any]:
    """The spaces that tuner brings, and which of them this study searches."""
    known = available_spaces()
    return {
        "spaces": known,
        "spaces_like": next((name for name in known if Space.load(name) == study.space), ""),
        "space_given": {name: each.to_dict() for name, each in (study.space or {}).items()},
    }


def _theme(request: Request) -> Theme:
    return "dark" if request.query_params.get("theme") == "dark" else "light"


def _table(request: Request, chart: Diagram | None) -> Response:
    return _no_picture() if chart is None else html(request, "table.html", chart=chart)


def _no_picture() -> Response:
    return Response("there is no such picture", 404, media_type="text/plain")
