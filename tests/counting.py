"""A service with the routes of programs alone: an operator, a viewer, and no page. Run, it listens: PORT RESULTS."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.testclient import TestClient

from tuner.server import external, lending

OPERATOR, VIEWER = "operator-" + "o" * 40, "viewer-" + "v" * 40
_ROLES = {OPERATOR: "operator", VIEWER: "viewer"}


def app(results: Path) -> FastAPI:
    """The routes over a results folder."""
    service = FastAPI()
    service.state.service = SimpleNamespace(results=results)
    for each in (external, lending):
        service.include_router(each.router)

    @service.middleware("http")
    async def let_in(request: Request, inside: Callable[[Request], Awaitable[Response]]) -> Response:
        role = _ROLES.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        request.state.caller = None if role is None else SimpleNamespace(name=role, role=role)
        return await inside(request)

    return service


def client(service: FastAPI, token: str | None = OPERATOR) -> TestClient:
    """Whoever presents that token; `with` starts and ends the service."""
    return TestClient(service, headers={} if token is None else {"authorization": f"Bearer {token}"})


if __name__ == "__main__":
    port, folder = sys.argv[1:]
    uvicorn.run(app(Path(folder)), port=int(port), log_level="warning", timeout_graceful_shutdown=5)
