"""The service as one ASGI application: a function of a results folder, tokens and a door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Route

from tuner.record.location import team_url
from tuner.server import beginning, events, external, login, reading, records, requests, tables
from tuner.server.agents import AgentTools
from tuner.server.gate import Door, Gate
from tuner.server.open_studies import OpenStudies
from tuner.server.page import routes as page
from tuner.server.problems import answer_refusals
from tuner.server.service import Service
from tuner.server.tokens import Tokens
from tuner.version import version

_ABOUT = (
    "Reads, follows and steers studies. A program sends `Authorization: Bearer TOKEN`. What steers is one resource, a "
    "request: it may be sent again under its id, and has one effect."
)


def create_app(
    results: str | Path,
    tokens: Tokens,
    door: Door | None = None,
    *,
    projects: Path | None = None,
    store: str | None = None,
) -> Gate:
    """The service over a results folder, behind its gate; `service_of` gives what its routes share.

    `tokens` say who may do what, `door` where it is reached (by default 127.0.0.1:8765), and `projects` is the folder
    that training functions may be launched from. `store` is a team's database, all of whose studies are served then.
    """
    folder = Path(results).expanduser().absolute()
    door = door or Door.on(DEFAULT_PORT)
    library = OpenStudies(folder, store)
    service = Service(
        results=folder, tokens=tokens, door=door, library=library, store=store and team_url(store), projects=projects
    )

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.closing.set()
        service.library.close()

    app = FastAPI(
        title="tuner",
        version=version(),
        description=_ABOUT,
        lifespan=living,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # a page that loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.state.service = service
    answer_refusals(app)
    for room in (login, reading, tables, records, events, requests, external, beginning, page):
        app.include_router(room.router)
    app.router.routes.append(Route("/mcp", AgentTools(folder, projects, service.store), methods=["POST"]))
    # level 5 takes half the time of 9 and a twentieth more bytes
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    return Gate(app, tokens, door)


def service_of(gate: Gate) -> Service:
    """What the routes of an application share."""
    found: Service = gate.app.state.service  # type: ignore[attr-defined]  # `create_app` made it
    return found


DEFAULT_PORT = 8765
