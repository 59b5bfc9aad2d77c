"""The service as its routes see it: the studies, who may do what, and what has been asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeAlias

from anyio import CapacityLimiter
from fastapi import Depends, Request

from tuner.server.awaiting import Waits
from tuner.server.gate import Door
from tuner.server.open_studies import OpenStudies
from tuner.server.problems import Problem
from tuner.server.tokens import Token, Tokens

_BEGINNINGS, _ASKINGS = 4, 40


@dataclass(kw_only=True)
class Service:
    """Everything that routes share; nothing of it outlives the process."""

    results: Path
    tokens: Tokens
    door: Door
    library: OpenStudies
    store: str | None = field(default=None, repr=False)
    """The team's database whose studies are served; None: those of the folder."""
    projects: Path | None = None
    """The folder that training functions may be launched from; None: nothing is launched."""
    beginnings: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_BEGINNINGS))
    """So many studies are begun at a time: each waits for its process, and keeps no thread from whoever only reads."""
    askings: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_ASKINGS))
    """So many requests are put at a time: what of it is done on threads keeps none from whoever only reads."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the service is to end: streams and whoever waits for an answer end with it."""
    waits: Waits = field(init=False)
    """All who wait for an answer."""

    def __post_init__(self) -> None:
        self.waits = Waits(self.closing.is_set)

    @property
    def root_path(self) -> str:
        """What a proxy puts before every path."""
        return self.door.root_path


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def _caller(request: Request) -> Token:
    found: Token | None = request.state.caller
    if found is None:
        raise Problem(401, "unauthorized", "this needs a token.")
    return found


def _operator(request: Request) -> Token:
    token = _caller(request)
    if token.role != "operator":
        raise Problem(403, "viewer", f"the token {token.name!r} may look, and this is more.")
    return token


Serving: TypeAlias = Annotated[Service, Depends(_service)]
Caller: TypeAlias = Annotated[Token, Depends(_caller)]
"""Whoever asks, where a route must know."""
may_read = Depends(_caller)
"""Said of each router: the gate lets nobody else in, and a mistake there would not open this."""
may_steer = Depends(_operator)
"""Said of a route that only an operator may use; wherever something is changed, the gate asks for one all the same."""
