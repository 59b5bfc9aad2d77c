"""The spaces that are given over HTTP: by the name of one that tuner brings, or as it is, and then as TOML again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from tuner.errors import SpaceError, quoted
from tuner.space.files import available_spaces, parameter_of, tables_of
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


def as_toml(given: str | Mapping[str, Mapping[str, Any]]) -> str:
    """A space of its own as a file of it; empty for one with a name. Read again it is the same."""
    if isinstance(given, str):
        return ""
    text = "\n".join(f"[{_text(name)}]\n{_lines(table)}" for name, table in given.items())
    meant, read = space_of(given), Space(**{name: parameter_of(name, table) for name, table in _read(text).items()})
    if meant != read:
        raise SpaceError(f"the space {quoted(dict(given))} cannot be written down as it is. Give plainer values.")
    return text


# ── TOML ────────────────────────────────────────────────────────────────────────────────────────


def _read(text: str) -> dict[str, Any]:
    return tables_of(text, "the space")


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{_text(word)} = {_value(value)}\n" for word, value in table.items())


def _value(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_text(word)} = {_value(each)}" for word, each in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        return _text(value)
    if value is None:
        raise SpaceError("null is no value that a space can be written with: leave the word out, or name the option.")
    return repr(value) if isinstance(value, float) and math.isfinite(value) else json.dumps(value)


def _text(text: str) -> str:
    """A text in quotes; TOML takes letters as they are, and knows no half of a character."""
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise SpaceError(f"{quoted(text)} holds half a character, which is no text.")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
