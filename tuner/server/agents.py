"""The agents' door behind the gate: their tools by the Model Context Protocol, each token with what it may spend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from tuner.agents.agent import Agent
from tuner.agents.door import over_http
from tuner.agents.projects import lies_within
from tuner.space.files import available_spaces

_Application: TypeAlias = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class Presented(Protocol):
    """Whoever the gate has let in, as a token says."""

    @property
    def name(self) -> str:
        """What the token is called, and after it the agent."""
        ...

    @property
    def budget(self) -> Mapping[str, Any] | None:
        """What the token may spend; None: no bound of its own."""
        ...


class AgentTools:
    """An application for one path: whoever asks is the agent of their token, and is bounded by its budget.

    Only functions in `projects` may be trained, and only spaces that tuner brings searched, unless the budget names
    others; nothing is imported here.
    """

    def __init__(self, results: Path, projects: Path | None, store: str | None = None) -> None:
        """`projects` None: nothing may be launched; `store` is the team's database that has the studies."""
        self._results, self._projects, self._store = results, projects, store
        self._known: dict[str, tuple[Any, _Application]] = {}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answers one request of a caller, whom the gate has put into the scope."""
        await self._tools_of(scope["state"]["caller"])(scope, receive, send)

    def _tools_of(self, caller: Presented) -> _Application:
        """The tools of a token; made anew where its budget has changed."""
        budget, tools = self._known.get(caller.name, (None, None))
        if tools is None or budget != caller.budget:
            bounded = {"spaces": list(available_spaces()), **{k: v for k, v in (caller.budget or {}).items() if v}}
            given = (bounded, self._refusal, self._projects, self._store)
            agent = Agent.called(caller.name, self._results, *given)
            tools = over_http(agent)
            self._known[caller.name] = caller.budget, tools
        return tools

    def _refusal(self, train: str) -> str:
        """What speaks against training a function: it must lie in the folder of projects."""
        if self._projects is None:
            return "this service launches nothing. A person starts it with --projects DIR for what may be trained."
        if lies_within(self._projects, train):
            return ""
        return f"{train!r} does not lie in the folder of what may be trained here, so it is not launched."
