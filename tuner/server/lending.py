"""Studies whose trials programs ask for, begun over HTTP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.agents.agent import name_of
from tuner.agents.allowance import Allowance
from tuner.agents.launching import launch_sweep
from tuner.caviar.rules import STOPPING
from tuner.executors import PROGRAMS
from tuner.record.dialogue import LEASE_S
from tuner.record.events import Goal
from tuner.record.location import Place
from tuner.record.requests import check_asker
from tuner.samplers import SAMPLERS
from tuner.server.known_study import KnownStudy
from tuner.server.service import Service
from tuner.server.spaces import GivenSpace, as_json, name_of_space, space_of
from tuner.server.tokens import Token
from tuner.values.arguments import one_of

Bound = Annotated[int, Field(ge=1, le=2**53)]


class GivenSweep(BaseModel):
    """What a sweep is, whoever trains it; what is left out is as in `tuner.sweep`."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["sweep"] = "sweep"
    space: GivenSpace
    objective: str = Field(min_length=1, max_length=200)
    goal: Goal = "maximize"
    trials: Bound | None = Field(default=None, description="How many in all; without any bound 64.")
    budget_steps: Bound | None = Field(default=None, description="Training steps over all trials.")
    parallel: Annotated[int, Field(ge=1, le=10_000)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    sampler: str = Field(default="coarse_to_fine", json_schema_extra={"enum": list(SAMPLERS)})
    stopping: str = Field(default="auto", json_schema_extra={"enum": list(STOPPING)})
    why: str = Field(default="", max_length=10_000)

    @property
    def of_each(self) -> int:
        """With how many seeds each trial trains."""
        return 1

    def check(self, place: Place, known: KnownStudy | None, train: str) -> None:
        """Refuses words that make no sense, and another study under this name."""
        one_of(*SAMPLERS)("sampler", self.sampler)
        one_of(*STOPPING)("stopping", self.stopping)
        space = space_of(self.space)
        if known is not None:
            identity = {word: getattr(self, word) for word in ("objective", "goal", "seed", "sampler")}
            there = {"seeds": known.opened.identity.get("seeds", 1)}
            known.check(place.name, "sweep", {"train": train, "space": space, **identity, "seeds": self.of_each}, there)

    def begun(
        self, place: Place, serving: Service, caller: Token, *, why: str, home: Path | None = None
    ) -> dict[str, Any]:
        """Begins it within what its caller may spend, in a process of its own."""
        by, allowance, called = caller.name, Allowance.of(caller.budget), name_of_space(self.space)
        if caller.budget is not None:  # whoever has one asks under no other name, and says why
            by = name_of(caller.name)
            check_asker("sweep", by, self.why)
        allowance.check_space(called)
        given = {"train": None, **self.model_dump(exclude={"kind", "space", "why"}, exclude_none=True)}
        return launch_sweep(
            place.folder.parent,
            replace(allowance, spaces=None),
            by=by,
            why=why,
            name=place.name,
            space=self.space if isinstance(self.space, str) else called,
            written=as_json(self.space),
            home=home,
            store=serving.store,
            **given,
        )


class LentStudy(GivenSweep):
    """A study whose trials programs ask for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "space": {"x": {"scale": "linear", "low": 0.0, "high": 1.0}},
                    "objective": "score",
                    "trials": 20,
                    "executor": "external",
                }
            ]
        }
    )

    executor: Literal["external"]
    lease_s: Annotated[float, Field(ge=1e-3, le=1e6)] = LEASE_S


def lend(place: Place, known: KnownStudy | None, study: LentStudy, serving: Service, caller: Token) -> dict[str, Any]:
    """Begins it; one that is there, and is over or under way with the same bounds, is answered as it is."""
    study.check(place, known, PROGRAMS)
    if known is not None:
        same = all(known.options.get(word) == getattr(study, word) for word in ("trials", "budget_steps", "parallel"))
        if same and (known.pid is not None or known.options.get("over") is not None):
            bounds = {"trials": known.options["trials"], "steps": known.options["budget_steps"]}
            return {"study": place.name, "pid": known.pid, **bounds}
    return study.begun(place, serving, caller, why=study.why)
