"""The spaces that are given over HTTP: by the name of one that tuner brings, or as it is, and then as a file again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from tuner.errors import SpaceError, quoted
from tuner.space.files import available_spaces, parameter_of
from tuner.space.space import Space

GivenSpace: TypeAlias = Annotated[
    str | dict[str, dict[str, Any]],
    Field(
        description="One that tuner brings, by its name; or as in its TOML file.",
        examples=["sgd_momentum", {"learning_rate": {"scale": "log", "low": 1e-4, "high": 1.0}}],
    ),
]
OWN = "one of its own"
"""What budgets call a space that has no name."""


def space_of(given: str | Mapping[str, Mapping[str, Any]]) -> Space:
    """The space that is meant; never a file of this machine."""
    if isinstance(given, str):
        if "/" in given or given.endswith(".toml"):
            raise SpaceError(f"a space is given by its name or as it is, never as a file: got {given[:80]!r}.")
        return Space.load(given)
    return Space(**{name: parameter_of(name, table) for name, table in given.items()})


def name_of_space(given: str | Mapping[str, Mapping[str, Any]]) -> str:
    """What a budget knows it by."""
    return given if isinstance(given, str) and given in available_spaces() else OWN


def as_json(given: str | Mapping[str, Mapping[str, Any]]) -> str:
    """A space of its own as a file of it; empty for one with a name. Read again it is the same."""
    if isinstance(given, str):
        return ""
    space_of(given)  # refuses what is none
    text = json.dumps(given, ensure_ascii=False, indent=1)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SpaceError(f"the space {quoted(dict(given))} holds half a character, which is no text.") from None
    return text
