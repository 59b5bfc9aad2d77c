"""The tools of an agent by the Model Context Protocol, over standard input and output or behind the service's gate."""

from __future__ import annotations

import base64
import functools
import json
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from tuner.agents.agent import LONGEST_WAIT_S, Agent
from tuner.errors import MissingExtra, TunerError
from tuner.version import version

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

# What a tool does to the world: reads alone; changes what can be taken back or sent twice; ends or gives up something.
_READS = ("studies", "digest", "wait", "show", "curves", "explain", "compare", "price")
_CHANGES = ("sweep", "confirm", "set", "steer")
_ENDS = ("revert", "stop")
TOOLS = (*_READS, *_CHANGES, *_ENDS)


def skill() -> str:
    """What an agent is told first: how to use all this, in Markdown."""
    return files("tuner.agents").joinpath("SKILL.md").read_text(encoding="utf-8")


def door(agent: Agent) -> MCPServer[Any]:
    """A server of the Model Context Protocol with the agent's tools, and the logbook of each study as a resource."""
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp_types import ToolAnnotations
    except ImportError as error:
        raise MissingExtra("the tools for agents need the package mcp. Install it: pip install 'tuner[mcp]'") from error

    server: MCPServer[Any] = MCPServer("tuner", instructions=skill(), version=version(), log_level="WARNING")
    for name in TOOLS:
        hints = ToolAnnotations(
            read_only_hint=name in _READS,
            destructive_hint=name in _ENDS,
            idempotent_hint=True,  # what changes something takes an id, or is known by its name
            open_world_hint=False,
        )
        tool: Callable[..., Any] = getattr(agent, name)
        if name == "curves":
            server.add_tool(_picture(tool), name=name, annotations=hints, structured_output=False)
        else:
            answered = _waiting(agent) if name == "wait" else _answered(tool)
            server.add_tool(answered, name=name, annotations=hints, structured_output=True)
    server.resource(
        "tuner://{study}/logbook",
        name="logbook",
        description="Who changed what, when, why and what came of it.",
        mime_type="text/markdown",
    )(agent.logbook)
    return server


def serve(agent: Agent) -> None:
    """Answers on standard output what comes on standard input, until that ends."""
    door(agent).run("stdio")


def over_http(agent: Agent) -> ASGIApp:
    """The same as an application for one path of a service, whose gate has let the caller in: each request by itself.

    What is asked may wait for minutes, so a service that ends does not wait for it.
    """
    server = door(agent)  # says so where the package is missing
    from mcp.server.transport_security import TransportSecuritySettings

    trusting = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # the gate knows hosts and origins

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))  # which a proxy puts before it
        app = server.streamable_http_app(
            streamable_http_path=path, stateless_http=True, json_response=True, transport_security=trusting
        )
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)

    return answer


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _answered(tool: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    """The tool; what speaks against it is an answer too, with its code."""

    @functools.wraps(tool)
    def call(**given: Any) -> Any:
        try:
            return tool(**given)
        except TunerError as error:
            return _refusal(error)

    return call


_WAITING = 200  # callers at a time; others take their turn
_SLICE_S = 5.0  # of a wait, after which a service that is to end can
_limiters: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _waiting(agent: Agent) -> Callable[..., Any]:
    """The wait, on threads of a pool of its own, so that it keeps none from those who only ask; cut into slices."""
    import asyncio

    import anyio

    wait, digest = _answered(agent.wait), _answered(agent.digest)

    @functools.wraps(agent.wait)
    async def call(study: str, events: Any = None, since: int | None = None, timeout_s: float = 50.0) -> Any:
        limiter = _limiters.setdefault(asyncio.get_running_loop(), anyio.CapacityLimiter(_WAITING))
        thread = functools.partial(anyio.to_thread.run_sync, limiter=limiter, abandon_on_cancel=True)
        began = time.monotonic()
        told = await thread(functools.partial(digest, study=study))
        while isinstance(told, dict):  # else a refusal
            since = told["cursor"] if since is None else since
            left = max(0.0, began + min(timeout_s, LONGEST_WAIT_S) - time.monotonic())
            asked = {"study": study, "events": events, "since": since, "timeout_s": min(_SLICE_S, left)}
            found = await thread(functools.partial(wait, **asked))
            if not isinstance(found, dict) or found["event"] != "timeout" or left <= _SLICE_S:
                return {**found, "waited_s": time.monotonic() - began} if isinstance(found, dict) else found
        return told

    return call


def _picture(tool: Callable[..., bytes]) -> Callable[..., Any]:
    """The tool whose answer is a PNG."""
    from mcp_types import CallToolResult, ImageContent

    def curves(study: str) -> Any:
        try:
            drawn = base64.b64encode(tool(study)).decode()
        except TunerError as error:
            return _refusal(error)
        return CallToolResult(content=[ImageContent(type="image", data=drawn, mime_type="image/png")])

    curves.__doc__ = tool.__doc__
    return curves


def _refusal(error: TunerError) -> Any:
    from mcp_types import CallToolResult, TextContent

    told = {"error": {"code": error.code, "sentence": str(error)}}
    return CallToolResult(
        content=[TextContent(type="text", text=json.dumps(told, ensure_ascii=False))],
        structured_content=told,
        is_error=True,
    )
