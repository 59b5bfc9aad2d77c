"""Agents by the service: each token is an agent of its own, with its budget, and trains what lies in the projects."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from babysat import at_home
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from waiting import PATIENCE_S, wait_until

import tuner
from tuner.agents.allowance import LAUNCH, spent
from tuner.record.events import Configured
from tuner.record.lease import born
from tuner.server.agents import AgentTools

TRAINING = """
def train(run):
    for step in run.steps(10):
        run.report(score=run.params["learning_rate"])
"""


@dataclass(frozen=True)
class Token:
    name: str
    budget: Mapping[str, Any] | None = None


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Projects with a function in them, and results; what was launched is over with the test."""
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "mine.py").write_text(TRAINING)
    yield tmp_path
    for launch in tmp_path.glob(f"results/*/{LAUNCH}"):
        launched = json.loads(launch.read_text())
        with suppress(KeyError, TypeError):
            if launched["born"]:  # else it was over before anybody asked
                wait_until(lambda launched=launched: born(launched["pid"]) != launched["born"])  # type: ignore[misc]


def as_token(tools: AgentTools, token: Token, act: Callable[[Client], Awaitable[Any]]) -> Any:
    """What comes of a client that the gate has let in with this token."""

    async def behind_the_gate(scope: Any, receive: Any, send: Any) -> None:
        await tools({**scope, "state": {**scope.get("state", {}), "caller": token}}, receive, send)

    async def connected() -> Any:
        transport = httpx2.ASGITransport(behind_the_gate)
        async with (
            httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
            Client(streamable_http_client("http://127.0.0.1/mcp", http_client=http)) as client,
        ):
            return await act(client)

    return anyio.run(connected)


def sweep(**given: Any) -> Callable[[Client], Awaitable[Any]]:
    usual = {"name": "first", "train": "mine:train", "space": "sgd_momentum", "objective": "score", "why": "to look"}

    async def ask(client: Client) -> Any:
        answer = await client.call_tool("sweep", {**usual, "executor": "local", **given})
        return answer.structured_content

    return ask


def code_of(answer: Any) -> str:
    found: str = answer["error"]["code"]
    return found


def test_a_token_is_an_agent_with_a_budget_of_its_own(folder: Path) -> None:
    tools = AgentTools(folder / "results", folder / "projects")
    ada, bob = Token("ada", {"steps": 30}), Token("bob", {"steps": 100, "trials": None})

    begun = as_token(tools, ada, sweep(budget_steps=20))

    async def wait(client: Client) -> Any:
        return (await client.call_tool("wait", {"study": "first", "timeout_s": 60})).structured_content

    assert begun["left"]["steps"] == 10
    assert as_token(tools, ada, wait)["event"] == "ended"
    refused = as_token(tools, ada, sweep(name="second", budget_steps=11))
    assert code_of(refused) == "over_budget"
    assert "10 steps are left" in refused["error"]["sentence"]
    assert code_of(as_token(tools, bob, sweep(name="third", budget_steps=101))) == "over_budget"
    assert spent(folder / "results", "agent:ada")[1] == 20
    assert spent(folder / "results", "agent:bob")[1] == 0
    with tuner.open("first", results=folder / "results") as study:
        assert next(iter(study.records(Configured))).by == "agent:ada"


@pytest.mark.long
def test_a_babysat_run_is_one_model_of_its_tokens_budget(folder: Path) -> None:
    tools, ada = AgentTools(folder / "results", folder / "projects"), Token("ada", {"trials": 1})
    run = {"kind": "babysitting", "params": {"learning_rate": 0.1, "beta": 0.9}}

    begun = as_token(tools, ada, sweep(**run))
    assert (begun["study"], begun["left"]["trials"]) == ("first", 0)
    assert code_of(as_token(tools, ada, sweep(name="second", **run))) == "over_budget"
    assert code_of(as_token(tools, Token("bob", {"steps": 50}), sweep(name="second", **run))) == "over_budget"
    assert code_of(as_token(tools, Token("eve"), sweep(name="second", train="os:system", **run))) == "train"
    with tuner.open("first", results=folder / "results") as study:
        assert study.state.trials[0].settings["learning_rate"] == 0.1
        assert study.segments["by"].tolist()[0] == "agent:ada"


def test_a_budget_that_a_person_changes_counts_at_once(folder: Path) -> None:
    tools = AgentTools(folder / "results", folder / "projects")

    assert code_of(as_token(tools, Token("ada", {"steps": 5}), sweep(budget_steps=20))) == "over_budget"
    assert as_token(tools, Token("ada", {"steps": 25}), sweep(budget_steps=20))["steps"] == 20


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"train": "os:system"}, "train"),
        ({"train": "tuner.workloads.bowl:train"}, "train"),
        ({"train": "--command=touch x:y"}, "train"),
        ({"train": "..results:train"}, "train"),
        ({"space": "/etc/hostname"}, "over_budget"),
        ({"space": "../projects/mine.py"}, "over_budget"),
        ({"name": "../outside"}, "name"),
        ({"objective": "--command=touch x"}, ""),
    ],
)
def test_only_what_lies_in_the_projects_is_launched(given: dict[str, Any], code: str, folder: Path) -> None:
    answer = as_token(AgentTools(folder / "results", folder / "projects"), Token("ada"), sweep(trials=1, **given))

    if code:
        assert code_of(answer) == code
        assert not list(folder.glob("results/*/study.db"))
    assert not list(folder.rglob("x"))


def test_without_projects_nothing_is_launched(folder: Path) -> None:
    answer = as_token(AgentTools(folder / "results", None), Token("ada"), sweep(trials=1))

    assert code_of(answer) == "train"
    assert "--projects" in answer["error"]["sentence"]


def test_a_link_out_of_the_projects_leads_nowhere(folder: Path) -> None:
    (folder / "outside.py").write_text(TRAINING)
    (folder / "projects" / "inside.py").symlink_to(folder / "outside.py")

    answer = as_token(AgentTools(folder / "results", folder / "projects"), Token("ada"), sweep(train="inside:train"))

    assert code_of(answer) == "train"


def test_whoever_waits_keeps_nobody_from_asking(folder: Path) -> None:
    tools, results = AgentTools(folder / "results", folder / "projects"), folder / "results"
    given: dict[str, Any] = {"name": "one", "objective": "total", "executor": "local", "results": results}
    with at_home(results), closing(tuner.babysit(climbs, {"rate": 1.0}, **given)) as run:
        run.pause()

        async def ask(client: Client) -> Any:
            waits = {"study": "one", "events": ["improved"], "timeout_s": 250}
            anyio.to_thread.current_default_thread_limiter().total_tokens = 5  # for all else
            async with anyio.create_task_group() as group:
                for _ in range(8):
                    group.start_soon(client.call_tool, "wait", waits)
                await anyio.sleep(0.5)
                with anyio.fail_after(PATIENCE_S):
                    answer = await client.call_tool("studies", {})
                group.cancel_scope.cancel()
            return answer.structured_content

        assert [each["name"] for each in as_token(tools, Token("ada"), ask)["studies"]] == ["one"]


def climbs(run: tuner.Run) -> None:
    for step in run.steps(1_000_000):
        run.report(total=float(step))
