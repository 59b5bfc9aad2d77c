"""The launch of a sweep over HTTP: a process of its own, which outlives the service.

Whoever launches runs code here, so only operators may, only functions that lie in the folder of projects, and only
within what their token may spend.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.agents.agent import name_of
from tuner.agents.allowance import Allowance
from tuner.agents.launching import launch_sweep
from tuner.agents.projects import lies_within
from tuner.record.events import Goal
from tuner.record.requests import check_asker
from tuner.server.problems import Problem
from tuner.server.service import Service
from tuner.server.tokens import Token
from tuner.space.files import available_spaces


class LaunchedSweep(BaseModel):
    """A sweep to begin, or to go on with."""

    model_config = ConfigDict(extra="forbid")

    train: str = Field(
        max_length=300,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="Where the training function lies.",
        examples=["mine:train"],
    )
    space: str = Field(max_length=100, description="A space that tuner brings, by name.", examples=["sgd_momentum"])
    objective: str = Field(min_length=1, max_length=100)
    goal: Goal = "maximize"
    trials: int | None = Field(default=None, ge=1, le=1_000_000)
    budget_steps: int | None = Field(default=None, ge=1, le=2**53)
    parallel: int | None = Field(default=None, ge=1, le=10_000)
    seed: int = Field(default=0, ge=0, le=2**53)
    executor: Literal["ray", "local"]
    why: str = Field(default="", max_length=100_000)


def launch(name: str, launched: LaunchedSweep, serving: Service, caller: Token) -> dict[str, Any]:
    """Begins a sweep, or goes on with it; sent again while it runs, it is the one that runs."""
    if serving.projects is None:
        raise Problem(409, "no_projects", "this service launches nothing. Start it with --projects DIR to allow that.")
    home = serving.projects.resolve()
    if not lies_within(home, launched.train):
        raise Problem(422, "train", f"{launched.train} does not lie in the folder of what may be launched here.")
    if launched.space not in available_spaces():
        known = ", ".join(available_spaces())
        raise Problem(422, "space", f"{launched.space!r} is no space that tuner brings: {known}.")
    by, why = caller.name, launched.why or "launched from the service"
    if caller.budget is not None:  # whoever has one asks under no other name, and says why
        by = name_of(caller.name)
        check_asker("sweep", by, launched.why)
    asked = launched.model_dump(exclude={"why"})
    return launch_sweep(serving.results, Allowance.of(caller.budget), by=by, why=why, name=name, home=home, **asked)
