"""Agents over the service: their tools stand behind its gate, and a token's budget holds whichever door is taken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from babysat import at_home
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from serving import OPERATOR, ORIGIN, VIEWER, app
from serving import client as asking
from sweeping import sweep

import tuner
from tuner.cli import main
from tuner.server.app import create_app
from tuner.server.gate import Door, Gate
from tuner.server.tokens import KeptTokens, Tokens, made

ADA, BOB = "ada-" + "a" * 40, "bob-" + "b" * 40


def service(results: Path) -> Gate:
    """A service with an operator, a viewer, an agent that may train 30 steps, and one that may train one model."""
    tokens = [made("operator", "operator", OPERATOR), made("viewer", "viewer", VIEWER)]
    tokens.append(made("bob", "operator", BOB, {"trials": 1}))
    bounded = made("ada", "operator", ADA, {"steps": 30, "parallel": 2, "spaces": ["sgd_momentum"]})
    return create_app(results, Tokens([*tokens, bounded], b"secret of a test"), Door.on(8765))


def with_token(gate: Gate, token: str, act: Callable[[Client], Awaitable[Any]]) -> Any:
    async def connected() -> Any:
        headers = {"authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(transport=httpx2.ASGITransport(gate), base_url=ORIGIN, headers=headers) as http,
            Client(streamable_http_client(f"{ORIGIN}/mcp", http_client=http)) as client,
        ):
            return await act(client)

    return anyio.run(connected)


def test_rule_20_the_tools_of_agents_stand_behind_the_same_gate(tmp_path: Path) -> None:
    results = tmp_path / "results"
    sweep(results, trials=2).close()
    gate = service(results)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for token, headers, status in (
        (None, {}, 401),
        ("wrong", {}, 401),
        (VIEWER, {}, 403),
        (ADA, {"host": "elsewhere.example"}, 403),
        (ADA, {"origin": "https://elsewhere.example"}, 403),
    ):
        with asking(gate, token, headers) as http:
            assert http.post("/mcp", json=call).status_code == status

    async def look(client: Client) -> Any:
        return (await client.call_tool("studies", {})).structured_content

    told = with_token(gate, ADA, look)
    assert told["you"] == "agent:ada"
    assert told["left"]["steps"] == 30
    assert [each["name"] for each in told["studies"]] == ["night"]


@pytest.mark.parametrize("path", ["/mcp", "/tuner/mcp"])
def test_the_tools_of_agents_are_there_behind_a_proxy_too(tmp_path: Path, path: str) -> None:
    gate = app(tmp_path, door=Door.on(8765, root_path="/tuner"))
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "studies", "arguments": {}}}
    with asking(gate, headers={"accept": "application/json, text/event-stream"}) as client:
        told = client.post(path, json=call)
    assert told.status_code == 200, told.text
    assert told.json()["result"]["structuredContent"]["you"] == "agent:operator"


@pytest.mark.long
def test_a_package_that_is_missing_is_said_in_a_sentence(tmp_path: Path) -> None:
    sweep(tmp_path, trials=2).close()
    told = subprocess.run(
        [sys.executable, "-c", _WITHOUT, str(tmp_path)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    agents, table, others = json.loads(told.stdout)
    assert (agents[0], table[0], others) == (409, 409, 200)
    assert (agents[1]["code"], table[1]["code"]) == ("missing_extra", "missing_extra")
    assert "tuner[mcp]" in agents[1]["why"]
    assert "tuner[parquet]" in table[1]["why"]


_WITHOUT = """
import json, sys
from pathlib import Path
for name in ("mcp", "mcp.server", "mcp.server.mcpserver", "mcp_types", "pyarrow", "pyarrow.parquet"):
    sys.modules[name] = None
import serving
with serving.client(serving.app(Path(sys.argv[1]))) as client:
    agents = client.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    table = client.get("/v1/studies/night/tables/trials.parquet")
    others = client.get("/v1/studies/night").status_code
    print(json.dumps([[each.status_code, each.json()] for each in (agents, table)] + [others]))
"""


def climbs(run: tuner.Run) -> None:
    run.state(Nothing())
    for step in run.steps(1_000_000):
        run.report(total=float(step))


class Nothing:
    def state_dict(self) -> dict[str, float]:
        return {}

    def load_state_dict(self, state: dict[str, float]) -> None:
        pass


def test_a_budget_holds_for_what_is_asked_over_http_too(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with (
        at_home(results),
        closing(tuner.babysit(climbs, {"rate": 1.0}, name="one", objective="total", executor="local", results=results)),
        asking(service(results), ADA) as ada,
    ):
        asked = {"verb": "extend", "arguments": {"steps": 20}, "why": "it climbs", "by": "somebody else"}
        first = ada.put("/v1/studies/one/requests/a1", json=asked)
        again = ada.put("/v1/studies/one/requests/a1", json=asked)
        second = ada.put("/v1/studies/one/requests/a2", json=asked)
        unreasoned = ada.put("/v1/studies/one/requests/a3", json={"verb": "pause", "arguments": {}, "why": ""})

        assert first.status_code in (200, 202)
        assert second.status_code == 409
        assert second.json()["code"] == "over_budget"
        assert "10 steps are left" in second.json()["why"]
        assert unreasoned.status_code == 422
        assert again.json() == first.json()
        with tuner.open("one", results=results) as study:
            assert set(study.requests["by"]) == {"agent:ada"}


def test_a_fork_is_a_model_of_the_budget_and_paid_for_once(tmp_path: Path) -> None:
    results = tmp_path / "results"
    fork = {"verb": "fork", "arguments": {"values": {"rate": 2.0}}, "why": "bolder"}
    given: dict[str, Any] = {"objective": "total", "executor": "local", "results": results}
    with (
        at_home(results),
        closing(tuner.babysit(climbs, {"rate": 1.0}, name="one", **given)) as one,
        asking(service(results), BOB) as bob,
        asking(service(results), ADA) as ada,
    ):
        one.checkpoint()
        by_steps = ada.put("/v1/studies/one/requests/f0", json=fork)
        first, again, second = (bob.put(f"/v1/studies/one/requests/{each}", json=fork) for each in ("f1", "f1", "f2"))

    assert (by_steps.status_code, by_steps.json()["code"]) == (409, "over_budget"), "how long it trains is not known"
    assert (first.status_code, first.json()["study"]) == (200, "one-2")
    assert again.json() == first.json()
    assert (second.status_code, second.json()["code"]) == (409, "over_budget")
    assert sorted(each.name for each in tuner.studies(results)) == ["one", "one-2"]


@pytest.mark.parametrize(
    ("change", "status", "code", "told"),
    [
        ({"budget_steps": 31}, 409, "over_budget", "30 steps are left"),
        ({"parallel": 3}, 409, "over_budget", "2 you may"),
        ({"why": ""}, 422, "why_required", "why"),
        ({"space": {"x": {"scale": "linear", "low": 0.0, "high": 1.0}}}, 409, "over_budget", "sgd_momentum"),
    ],
)
def test_a_budget_holds_for_a_study_that_lends_its_trials(
    change: dict[str, Any], status: int, code: str, told: str, tmp_path: Path
) -> None:
    body = {"space": "sgd_momentum", "objective": "score", "executor": "external", "why": "to look", "trials": 4}

    with asking(service(tmp_path / "results"), ADA) as ada:
        answer = ada.put("/v1/studies/lent", json={**body, **change})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert told in answer.json()["why"]
    assert not (tmp_path / "results" / "lent").exists()


def test_a_token_is_made_with_its_budget(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, code in (
        (["--token", "ada", "--budget", "steps=2000,trials=40,spaces=adam+mlp"], 0),
        (["--token", "bob", "--budget", "hours=3"], 2),
        (["--token", "bob", "--budget", "steps=0"], 2),
        (["--budget", "steps=5"], 2),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["serve", *words])
        assert ended.value.code == code, words
    capfd.readouterr()

    ada = KeptTokens(tmp_path / "results").named("ada")
    assert ada is not None
    assert ada.budget == {"steps": 2000, "trials": 40, "spaces": ["adam", "mlp"]}
    assert KeptTokens(tmp_path / "results").named("bob") is None
