"""The placement of a trial, and the variables its worker is given, as a launch over HTTP says them."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tuner.api import placement
from tuner.errors import SettingsError, quoted
from tuner.values.arguments import gpus

Share: TypeAlias = Annotated[float, Field(ge=0, le=10_000)]
Kind: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$")]
Resources: TypeAlias = Annotated[
    dict[Kind, Annotated[float, Field(ge=0, le=1e18)]],
    Field(max_length=100, description="What a trial takes of a node of Ray, by name.", examples=[{"GPU": 0.5}]),
]
# What such a variable names is run, or imported in place of what lies in the projects.
_RUNS_CODE = re.compile(
    r"(?i)PYTHON.*|LD_.*|DYLD_.*|GCONV_PATH|RAY_.*|_?TUNER_.*|PATH|HOME|SHELL|BASH_ENV|ENV|CC|CXX|MPLBACKEND|GIT_.*"
)


def _variables_alone(given: Any) -> Any:
    """Refuses whatever brings code along that does not lie in the projects."""
    if isinstance(given, dict) and (others := sorted(str(word) for word in given if word != "env_vars")):
        raise ValueError(
            f"over HTTP it has env_vars alone, and no {quoted(others[0])}: whatever else Ray makes ready may be code "
            "that does not lie in the folder of projects. Begin the study in a shell with --runtime-env"
        )
    return given


def _harmless(given: Any) -> Any:
    """Refuses variables that decide which code is run."""
    if isinstance(given, str) and _RUNS_CODE.fullmatch(given):
        raise ValueError(f"{quoted(given)} decides which code is run, so a service does not set it")
    return given


Variable: TypeAlias = Annotated[
    str, BeforeValidator(_harmless), Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)
]


class WorkersEnvironment(BaseModel):
    """What workers of Ray are given: variables alone, since all else may be code from beyond the projects."""

    model_config = ConfigDict(extra="forbid")

    env_vars: dict[Variable, Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00]*$")]] = Field(
        max_length=50, description="What looks like a secret is kept out of the record.", examples=[{"SEED": "1"}]
    )


GivenEnvironment: TypeAlias = Annotated[WorkersEnvironment, BeforeValidator(_variables_alone)]


def check_placement(
    executor: str, cpus: float | None, gpus_: float | None, resources: dict[str, float] | None, environment: object
) -> None:
    """Refuses shares that no node gives, and what only workers of Ray can be given."""
    gpus("gpus", gpus_ or 0)
    known = placement.resources("resources", resources or {})
    placement.shared_out(1 if cpus is None else cpus, gpus_ or 0, known)
    if executor == "local" and (resources or environment):
        word = "resources" if resources else "runtime_env"
        raise SettingsError(f'{word} is for workers of Ray, and executor="local" has none. Leave it out.')
