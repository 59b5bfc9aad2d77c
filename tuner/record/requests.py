"""What may be asked of a running study: the verbs, and what each of them takes.

Whoever asks is checked where they write it, and the loop checks again what it reads: anybody may add a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.arguments import (
    Check,
    amount,
    count,
    flag,
    index,
    name,
    one_of,
    optional,
    plain_value,
    refuse,
    settings,
    text,
    unknown,
    whole_number,
)
from tuner.errors import SettingsError
from tuner.plain import whole

parallel = whole_number(1, 10_000)


def _ranges(word: str, given: Any) -> dict[str, list[Any]]:
    """Two bounds a parameter."""
    if not isinstance(given, Mapping):
        refuse(word, "a mapping of names to bounds", given, 'Write {"learning_rate": (0.01, 0.1)}.')
    found: dict[str, list[Any]] = {}
    for parameter, bounds in given.items():
        if not isinstance(bounds, list | tuple) or len(bounds) != 2:
            refuse(str(parameter), "two bounds", bounds, f"Write {parameter}=(0.01, 0.1).")
        found[name(f"a name in {word}", parameter)] = [plain_value(str(parameter), bound) for bound in bounds]
    return found


def _parallel(word: str, given: Any) -> int:
    if whole(given) == 0:
        refuse(word, "at least 1", given, "To stop for a while, pause.")
    found: int = parallel(word, given)
    return found


def _shape_settings(word: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        refuse(word, "a mapping of names to numbers", given)
    return {name(f"a name in {word}", key): amount()(str(key), each) for key, each in given.items()}


_WHEN: Mapping[str, Check] = {"at": optional(index), "expect": optional(index)}
# What each verb takes: its arguments with their checks, None standing for one that is left out.
_TAKES: Mapping[str, Mapping[str, Check]] = {
    "pause": {"release": optional(flag)},
    "resume": {},
    "stop": {},
    "note": {"text": text, "trial": optional(index)},
    "stop_trial": {"trial": index},
    "add": {"settings": settings},
    "set_box": {"ranges": _ranges},
    "set_parallel": {"parallel": _parallel},
    "set": {"values": settings, **_WHEN, "evidence": optional(text)},
    "schedule": {"parameter": name, "shape": name, "shape_settings": optional(_shape_settings), **_WHEN},
    "step": {"steps": count},
    "checkpoint": {},
    "revert": {
        "step": optional(index),
        "checkpoint": optional(index),
        "keep_settings": optional(flag),
        "expect": optional(index),
        "before": optional(one_of("adjustment")),
    },
    "undo": {"expect": optional(index)},
    "extend": {"steps": count},
}


def understood(verb: str, arguments: Any) -> dict[str, Any]:
    """The arguments of a request, each in its own type; a `SettingsError` says which of them makes no sense.

    Those of a verb that nobody knows are taken as they are: whoever answers knows which verbs there are.
    """
    if not isinstance(arguments, Mapping):
        refuse(f"what {verb} takes", "a mapping of names to values", arguments)
    takes = _TAKES.get(verb)
    if takes is None:
        return dict(arguments)
    for word in arguments:
        if word not in takes:
            raise SettingsError(unknown(verb, str(word), takes))
    return {
        word: check(word, arguments.get(word))
        for word, check in takes.items()
        if word in arguments or check(word, None) is not None
    }
