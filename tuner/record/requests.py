"""The requests to a running study: the verbs, what each of them takes, and how it is written.

Whoever asks is checked where they write it, and the loop checks again what it reads: anybody may add a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from tuner.errors import RequestReused, SettingsError
from tuner.record.dialogue import ASK, REPORT, TELL
from tuner.record.events import Requested, RequestState
from tuner.record.recipe import Shape
from tuner.values.arguments import (
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
from tuner.values.plain import whole

parallel = whole_number(1, 10_000)


@dataclass(slots=True)
class Request:
    """What somebody asked for, and what has become of it."""

    request: str
    verb: str
    arguments: Mapping[str, Any]
    by: str
    why: str
    at: float
    state: RequestState = "received"
    detail: str = ""
    accepted_at: float = 0.0


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


Kind: TypeAlias = Literal["count", "index", "number", "text", "flag", "settings"] | tuple[str, ...]
"""What a word of the shell must be: a whole number from 1 or from 0 up, a number, a text, nothing, name=value words,
or one of these words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """An argument as the shell has it."""

    kind: Kind
    help: str = ""
    """What an option does; of plain words the help of the verb speaks."""
    metavar: str | None = None
    """What stands for it in the usage; None: what it must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """A verb of a babysat run as the shell has it, beside what all have, such as --why and --by."""

    help: str
    example: str
    words: Mapping[str, Word] = field(default_factory=dict)
    """The arguments that are plain words, in their order; none may be left out."""
    options: Mapping[str, Word] = field(default_factory=dict)
    """The arguments, and what the verb gathers, that are written --name."""
    refuses: Callable[[Mapping[str, Any]], str] = field(default=lambda _: "")
    """What speaks against the words together, of which those left out are not given; empty: nothing."""


def _two_ways_back(given: Mapping[str, Any]) -> str:
    both = {"step", "checkpoint"} <= set(given)
    return "--step and --checkpoint both say where to go back to: give one of them." if both else ""


def _endless_cosine(given: Mapping[str, Any]) -> str:
    endless = given["shape"] == "cosine" and "over" not in given
    return "how long does the cosine take? Add --over STEPS." if endless else ""


_AT = Word(kind="index", metavar="STEP", help="The step to take effect at.")
EXPECT: Mapping[str, Check] = {"expect": optional(index)}
"""What every verb takes but a note: what the asker last saw, the newest segment of a run or round of a sweep."""
_WHEN: Mapping[str, Check] = {"at": optional(index), **EXPECT}


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
    shell: Shell | None = None
    """None: in the shell it is a verb of any study, which `tuner/cli/steering.py` has, or none."""


REQUESTS: Mapping[str, Verb] = {
    "set": Verb(
        takes={"values": settings, **_WHEN, "evidence": optional(text)},
        example="set learning_rate=3e-4 why: loss spikes",
        meaning="sets values now, or at=STEP",
        wants="name=value words",
        options=("at",),
        gathers="values",
        is_guarded=True,
        shell=Shell(
            help="Change settings of a babysat run, all at the same step.\n\n"
            "A value is the effective one from then on: a schedule is rescaled to it.",
            example='tuner set one learning_rate=3e-4 beta=0.95 --why "the loss spikes"',
            words={"values": Word(kind="settings", metavar="NAME=VALUE…")},
            options={"at": _AT},
        ),
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
        shell=Shell(
            help="Let a setting of a babysat run follow a schedule.\n\n"
            "It begins at the present value; constant ends it.",
            example="tuner schedule one learning_rate cosine --over 2000",
            words={"parameter": Word(kind="text"), "shape": Word(kind=(*get_args(Shape), "constant"))},
            options={
                "over": Word(kind="number", metavar="STEPS", help="How long a cosine takes."),
                "floor": Word(kind="number", metavar="VALUE", help="Where a cosine ends. Default: 0."),
                "rate": Word(kind="number", help="How fast the other shapes fall."),
                "every": Word(kind="number", metavar="STEPS", help="How long a stair of the staircase is."),
                "at": _AT,
            },
            refuses=_endless_cosine,
        ),
    ),
    "pause": Verb(
        takes={"release": optional(flag), **EXPECT},
        example="pause",
        meaning="stands still between two steps",
        flags={"release": "saves, and frees the worker"},
    ),
    "resume": Verb(takes=EXPECT, example="resume", meaning="goes on"),
    "step": Verb(
        takes={"steps": count, **EXPECT},
        example="step 5",
        meaning="trains that far, then stands still",
        words=("steps",),
        wants="a whole number of steps",
        shell=Shell(
            help="Train a babysat run a few steps, then hold it.",
            example="tuner step one 10",
            words={"steps": Word(kind="count")},
        ),
    ),
    "checkpoint": Verb(
        takes=EXPECT,
        example="checkpoint",
        meaning="saves now, and keeps it",
        shell=Shell(help="Save a babysat run now, and keep that checkpoint.", example="tuner checkpoint one"),
    ),
    "revert": Verb(
        takes={
            "step": optional(index),
            "checkpoint": optional(index),
            "keep_settings": optional(flag),
            **EXPECT,
            "before": optional(one_of("adjustment")),
        },
        example="revert 40",
        meaning="goes back to a step, or by one change",
        words=("step",),
        wants="a step",
        options=("step", "checkpoint"),
        flags={"keep-settings": "the present ones stay"},
        is_guarded=True,
        shell=Shell(
            help="Take a babysat run back to a checkpoint.\n\nWithout --step and --checkpoint, to the moment before "
            "its last adjustment. What is given up stays on record.",
            example='tuner revert one --step 40 --why "it got worse"',
            options={
                "step": Word(kind="index", help="To the newest checkpoint at or before this step."),
                "checkpoint": Word(kind="index", metavar="N", help="To this checkpoint: see `tuner show`."),
                "keep_settings": Word(kind="flag", help="Go back with the present settings, not those of that time."),
            },
            refuses=_two_ways_back,
        ),
    ),
    "undo": Verb(
        takes=EXPECT,
        example="undo",
        meaning="takes the last change or revert back",
        shell=Shell(
            help="Take back the last adjustment or revert of a babysat run.",
            example='tuner undo one --why "it made no difference"',
        ),
    ),
    "extend": Verb(
        takes={"steps": count, **EXPECT},
        example="extend 100",
        meaning="trains longer",
        words=("steps",),
        needs=1,
        wants="a whole number of steps",
        shell=Shell(
            help="Train a babysat run longer, also one that is over.",
            example='tuner extend one 1000 --why "still falling"',
            words={"steps": Word(kind="count")},
        ),
    ),
    "note": Verb(
        takes={"text": text, "trial": optional(index)},
        example="note the loss spikes after each epoch",
        meaning="writes into the record",
        options=("text",),
    ),
    "stop": Verb(takes=EXPECT, example="stop", meaning="ends the run; everything is kept"),
    "pause_trial": Verb(takes={"trial": index, **EXPECT}),
    "resume_trial": Verb(takes={"trial": index, **EXPECT}),
    "stop_trial": Verb(takes={"trial": index, **EXPECT}),
    "add": Verb(takes={"settings": settings, **EXPECT}),
    "set_box": Verb(takes={"ranges": _ranges, **EXPECT}),
    "set_parallel": Verb(takes={"parallel": _parallel, **EXPECT}),
    # what programs say that train by themselves
    "ask": Verb(takes=ASK),
    "report": Verb(takes=REPORT),
    "tell": Verb(takes=TELL),
}


RUN_VERBS: tuple[str, ...] = tuple(word for word, verb in REQUESTS.items() if verb.example)
"""The verbs of a babysat run."""


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


AGENT = "agent:"
"""What the name of a program begins with that acts by itself, as in "agent:ada"."""


def check_asker(verb: str, by: str, why: str) -> None:
    """Refuses what an agent asks for without a reason: people can be asked afterwards, agents cannot.

    A note is a reason by itself.
    """
    if not by.startswith(AGENT):
        return
    if not by.removeprefix(AGENT).strip():
        raise SettingsError(f'by={by!r} names no agent. Write by="{AGENT}ada", whatever it is called.', code="by")
    if verb != "note" and not why.strip():
        raise SettingsError(
            f"{verb} by {by}: an agent has to say why, for the record. Add why=, in the shell --why.",
            code="why_required",
        )


def refuse_another(asked: Requested, known: Requested) -> None:
    """Raises unless both ask for the same."""
    arguments = json.loads(json.dumps(asked.arguments))  # as they would be read again
    if (known.verb, known.arguments, known.why) != (asked.verb, arguments, asked.why):
        raise RequestReused(
            f"the request {asked.request!r} is on record already, as {known.verb!r} with other arguments or another "
            "why. Ask under an id of its own; the same id is for asking the same again."
        )
