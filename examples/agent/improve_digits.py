"""An agent without a model: it improves the digits network within a budget, and its record shows what it did and why.

    python examples/agent/improve_digits.py --steps 400 --results results

It speaks to `tuner mcp` as any agent does, by the official client of the Model Context Protocol. The budget is the
server's: what the agent asks beyond it is refused. Twice its connection breaks, in the middle of an answer; it comes
back and asks for the same again. What it decides is written down here, where a language model would think.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp import Client, StdioServerParameters

TRAIN, SPACE = "tuner.workloads.digits:train", "sgd_momentum"


class Refused(Exception):
    """The server refuses; its code says how to go on."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Agent:
    """What the agent holds between two connections: nothing but how to connect, and what it has seen."""

    def __init__(self, steps: int, results: str, executor: str) -> None:
        budget = ["--steps", str(steps), "--search", SPACE, "--train", TRAIN, "--results", results]
        command = ["-m", "tuner", "mcp", "--by", "agent:digits", *budget]
        self.server = StdioServerParameters(command=sys.executable, args=command)
        self.executor, self.connections, self.refusals = executor, 0, list[str]()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        """A connection of its own: the server is a process that ends with it, and what trains goes on."""
        self.connections += 1
        async with Client(self.server) as client:
            yield client

    async def ask(self, client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
        """An answer, or what speaks against it."""
        answer = await client.call_tool(tool, arguments)
        told: dict[str, Any] = answer.structured_content or {}
        if answer.is_error:
            error = told.get("error") or {"code": "error", "sentence": str(answer.content)}
            self.refusals.append(error["code"])
            raise Refused(error["code"], error["sentence"])
        return told

    async def lose(self, tool: str, after_s: float, **arguments: Any) -> None:
        """Asks, and is cut off before the answer comes."""
        async with self.connected() as client:
            with anyio.move_on_after(after_s):
                await self.ask(client, tool, **arguments)

    async def finished(self, client: Client, study: str) -> dict[str, Any]:
        """The digest of a study that is over; it waits, and asks nobody meanwhile."""
        cursor = None
        while True:
            waited = await self.ask(client, "wait", study=study, events=["ended"], since=cursor)
            cursor = waited["digest"]["cursor"]
            if waited["event"] != "timeout":
                digest: dict[str, Any] = waited["digest"]
                return digest

    def sweep(self, name: str, steps: int, why: str, **more: Any) -> dict[str, Any]:
        """What it asks for to begin a sweep; the same each time it has to ask again."""
        asked = {"name": name, "train": TRAIN, "space": SPACE, "objective": "dev_accuracy", "budget_steps": steps}
        return {**asked, "why": why, "executor": self.executor, **more}


async def improve(agent: Agent) -> dict[str, Any]:
    """The whole of it; what came out."""
    async with agent.connected() as client:
        left = (await agent.ask(client, "studies"))["left"]["steps"]
        await agent.ask(client, "price", train=TRAIN, budget_steps=left)
    first = agent.sweep("look", left // 3, "a first look over the whole space, with a third of the budget")

    await agent.lose("sweep", 0.5, **first)  # nobody knows whether it has begun
    async with agent.connected() as client:
        await agent.ask(client, "sweep", **first)  # so it asks again: it is begun once
    await agent.lose("wait", 1.0, study="look")  # and again in the middle of a wait

    async with agent.connected() as client:
        looked = await agent.finished(client, "look")
        await agent.ask(client, "explain", study="look")
        try:  # more than there is: the refusal says what is left
            await agent.ask(client, "sweep", **agent.sweep("greedy", 100 * left, "everything at once"))
        except Refused as refused:
            if refused.code != "over_budget":
                raise
        best = looked["best"]["score"]
        closer = agent.sweep(
            "closer", left // 3, f"look had {best:.4f}: its best settings first, then around them", warm_start="look"
        )
        await agent.ask(client, "sweep", **closer)
        found = await agent.finished(client, "closer")

        answer = "not confirmed: too little of the budget was left"
        try:
            await agent.ask(
                client, "confirm", study="closer", top=2, repeats=2, why="a better score may be another seed alone"
            )
            await agent.finished(client, "closer")
            answer = (await agent.ask(client, "explain", study="closer"))["confirmation"]
        except Refused as refused:
            if refused.code != "over_budget":
                raise
        left = (await agent.ask(client, "studies"))["left"]["steps"]
    return {
        "before": best,
        "after": max(best, found["best"]["score"]),
        "settings": found["best"]["params"],
        "answer": answer,
        "left": left,
        "connections": agent.connections,
        "refusals": agent.refusals,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=600, help="training steps that it may spend in all")
    parser.add_argument("--results", default="results")
    parser.add_argument("--executor", choices=["ray", "local"], default="local")
    given = parser.parse_args()
    print(json.dumps(anyio.run(improve, Agent(given.steps, given.results, given.executor)), indent=2))


if __name__ == "__main__":
    main()
