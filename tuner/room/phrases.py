"""Requests in the words one would ask them by in the room."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from tuner.errors import shown
from tuner.numbers import exact

FLAGS = {"pause": {"release": "saves, and frees the worker"}, "revert": {"keep-settings": "the present ones stay"}}
NUMBERED = ("step", "extend", "revert")


def said(verb: str, arguments: Mapping[str, Any], why: str = "") -> str:
    """A request in the words one would ask it by.

    >>> said("set", {"values": {"learning_rate": 0.03}, "at": None}, "it is slow")
    'set learning_rate=0.03 why: it is slow'
    """
    try:
        return _asked(verb, arguments, why)
    except (AttributeError, KeyError, TypeError, ValueError):  # a stranger wrote what makes no sense: it was refused
        return f"{verb} {shown(arguments)}"


def _asked(verb: str, arguments: Mapping[str, Any], why: str) -> str:
    if verb == "note":
        return f"note {arguments['text']}"
    plain = {word: value for word, value in arguments.items() if word not in ("expect", "evidence", "before")}
    words = [verb]
    if verb == "schedule":
        words += [plain.pop("parameter"), plain.pop("shape")]
    elif verb in NUMBERED and (number := plain.pop("step" if verb == "revert" else "steps", None)) is not None:
        words.append(str(number))
    given = {**plain.pop("values", {}), **plain.pop("shape_settings", {})}
    words += [flag for flag in FLAGS.get(verb, ()) if plain.pop(flag.replace("-", "_"), False)]
    words += [f"{word}={value_as_asked(value)}" for word, value in {**given, **plain}.items() if value is not None]
    return " ".join(words) + (f" why: {why}" if why else "")


def value_as_asked(value: Any) -> str:
    """A value as one would type it."""
    return shlex.quote(exact(value))
