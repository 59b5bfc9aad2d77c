"""The verbs for agents: mcp, their tools over standard input and output, and skill, what they are told first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tuner.cli.options import by_option, read_settings, results_option, verb
from tuner.cli.output import say_json
from tuner.cli.streams import tell

team_option = click.option(
    "--store",
    envvar="TUNER_STORE",
    metavar="URL",
    help="The team's database that has the studies: postgresql://USER@HOST/DATABASE. Default: $TUNER_STORE, or those "
    "of the folder.",
)


def budget(ctx: click.Context, param: click.Parameter, word: str | None) -> dict[str, Any] | None:  # noqa: ARG001
    """What an agent may spend in `steps=2000,trials=40,spaces=adam+mlp`."""
    if word is None:
        return None
    from tuner.agents.allowance import Allowance

    found: dict[str, Any] = read_settings(word, None, "--budget")
    if "spaces" in found:
        found["spaces"] = str(found["spaces"]).split("+")
    Allowance.of(found)
    return found


@verb("tuner mcp --by agent:ada --steps 2000 --trials 40 --search sgd_momentum", piped="text")
@by_option
@click.option("--trials", type=click.IntRange(min=1), help="Models it may train in all. Default: no bound.")
@click.option("--steps", type=click.IntRange(min=1), help="Training steps it may spend in all. Default: no bound.")
@click.option("--parallel", type=click.IntRange(min=1), help="Trials at a time in a study. Default: no bound.")
@click.option("--search", "spaces", multiple=True, metavar="NAME|FILE", help="A space it may search. Default: any.")
@click.option("--train", "trains", multiple=True, metavar="PACKAGE.MODULE:FUNCTION", help="What it may. Default: any.")
@team_option
@results_option
def mcp(
    by: str,
    trials: int | None,
    steps: int | None,
    parallel: int | None,
    spaces: tuple[str, ...],
    trains: tuple[str, ...],
    results: Path,
    store: str | None,
    as_json: bool,
) -> None:
    """Offer the tools to an agent over standard input and output.

    By the Model Context Protocol, for a client that starts it. What the agent may spend in the results folder is
    bounded here, whatever it asks for, and however often it comes back.
    """
    from tuner.agents.agent import Agent, allow_only
    from tuner.agents.door import serve
    from tuner.record.location import team_url

    if as_json:
        raise click.UsageError("mcp speaks a protocol of its own on stdout: leave --json out.")
    budget = {"trials": trials, "steps": steps, "parallel": parallel, "spaces": list(spaces) or None}
    serve(Agent.called(by, results, budget, allow_only(trains), store=store and team_url(store)))


@verb("tuner skill", piped="text")
def skill(as_json: bool) -> None:
    """Print what an agent is told first, as Markdown."""
    from tuner.agents.door import skill as told

    if as_json:
        say_json({"skill": told()})
    else:
        tell(told())
