"""The requests to a running study: the verbs, what each of them takes, and how it is written.

Whoever asks is checked where they write it, and the loop checks again what it reads: anybody may add a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """What a verb takes, and how it is written in a line: plain words first, then name=value words and flags."""

    takes: Mapping[str, Check]
    """Its arguments with their checks, None standing for one that is left out."""
    example: str = ""
    """A line that asks for it; empty where it is no verb of a babysat run."""
    meaning: str = ""
    words: tuple[str, ...] = ()
    """The arguments that are plain words, in their order."""
    needs: int = 0
    """How many of those there must be."""
    wants: str = "no more words"
    """What its words are, for whoever wrote others."""
    options: tuple[str, ...] = ()
    """The arguments that are written name=value."""
    gathers: str = ""
    """The argument that takes all other name=value words."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """The words that stand alone, with what they mean."""
    is_guarded: bool = False
    """Whether it is refused where somebody else has changed the run since."""


REQUESTS: Mapping[str, Verb] = {
    "set": Verb(
        takes={"values": settings, **_WHEN, "evidence": optional(text)},
        example="set learning_rate=3e-4 why: loss spikes",
        meaning="sets values now, or at=STEP",
        wants="name=value words",
        options=("at",),
        gathers="values",
        is_guarded=True,
    ),
    "schedule": Verb(
        takes={"parameter": name, "shape": name, "shape_settings": optional(_shape_settings), **_WHEN},
        example="schedule learning_rate cosine over=2000",
        meaning="follows a shape; constant ends it",
        words=("parameter", "shape"),
        needs=2,
        wants="a parameter and a shape",
        options=("at",),
        gathers="shape_settings",
    ),
    "pause": Verb(
        takes={"release": optional(flag)},
        example="pause",
        meaning="stands still between two steps",
        flags={"release": "saves, and frees the worker"},
    ),
    "resume": Verb(takes={}, example="resume", meaning="goes on"),
    "step": Verb(
        takes={"steps": count},
        example="step 5",
        meaning="trains that far, then stands still",
        words=("steps",),
        wants="a whole number of steps",
    ),
    "checkpoint": Verb(takes={}, example="checkpoint", meaning="saves now, and keeps it"),
    "revert": Verb(
        takes={
            "step": optional(index),
            "checkpoint": optional(index),
            "keep_settings": optional(flag),
            "expect": optional(index),
            "before": optional(one_of("adjustment")),
        },
        example="revert 40",
        meaning="goes back to a step, or by one change",
        words=("step",),
        wants="a step",
        options=("step", "checkpoint"),
        flags={"keep-settings": "the present ones stay"},
        is_guarded=True,
    ),
    "undo": Verb(takes={"expect": optional(index)}, example="undo", meaning="takes the last change or revert back"),
    "extend": Verb(
        takes={"steps": count},
        example="extend 100",
        meaning="trains longer",
        words=("steps",),
        needs=1,
        wants="a whole number of steps",
    ),
    "note": Verb(
        takes={"text": text, "trial": optional(index)},
        example="note the loss spikes after each epoch",
        meaning="writes into the record",
        options=("text",),
    ),
    "stop": Verb(takes={}, example="stop", meaning="ends the run; everything is kept"),
    "stop_trial": Verb(takes={"trial": index}),
    "add": Verb(takes={"settings": settings}),
    "set_box": Verb(takes={"ranges": _ranges}),
    "set_parallel": Verb(takes={"parallel": _parallel}),
}


def understood(verb: str, arguments: Any) -> dict[str, Any]:
    """The arguments of a request, each in its own type; a `SettingsError` says which of them makes no sense.

    Those of a verb that nobody knows are taken as they are: whoever answers knows which verbs there are.
    """
    if not isinstance(arguments, Mapping):
        refuse(f"what {verb} takes", "a mapping of names to values", arguments)
    if verb not in REQUESTS:
        return dict(arguments)
    takes = REQUESTS[verb].takes
    for word in arguments:
        if word not in takes:
            raise SettingsError(unknown(verb, str(word), takes))
    return {
        word: check(word, arguments.get(word))
        for word, check in takes.items()
        if word in arguments or check(word, None) is not None
    }
