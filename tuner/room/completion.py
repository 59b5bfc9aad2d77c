"""How a line of the room could go on: verbs, parameters, steps and runs, with what each means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, get_args

from tuner.record.recipe import Shape
from tuner.room.language import FLAGS, FREE_WHY, VERBS

if TYPE_CHECKING:
    from tuner.room.scene import Picture

# What is written name=value behind each verb.
_OPTIONS = {"set": ("at",), "schedule": ("at",), "fork": ("name", "step"), "revert": ("step", "checkpoint")}
# What each shape may be told, as `recipe.schedule` takes it.
_SHAPE_WORDS = {"staircase": ("rate", "every"), "cosine": ("over", "floor")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """How a line could go on: each word that could replace what stands from `start` on, with its meaning."""

    start: int
    words: tuple[tuple[str, str], ...]

    @property
    def shared(self) -> str:
        """What all of them begin with."""
        letters = zip(*(word for word, _ in self.words), strict=False)
        return "".join(each[0] for each in takewhile(lambda each: len(set(each)) == 1, letters))


def continuations(line: str, picture: Picture) -> Continuation:
    """The verbs, parameters, steps or runs that could come next."""
    if FREE_WHY.search(line) or re.match(r"\s*note\s", line):
        return Continuation(start=len(line), words=())
    start = len(line) - len(re.split(r"\s", line)[-1])
    before, stub = line[:start].split(), line[start:]
    offered = _offered(before, picture) if before else [(verb, meaning) for verb, (_, meaning) in VERBS.items()]
    words = tuple((word, meaning) for word, meaning in offered if word.startswith(stub) and word != stub)
    return Continuation(start=start, words=words)


def _offered(before: list[str], picture: Picture) -> list[tuple[str, str]]:
    verb, *rest = before
    settings = dict(picture.settings)
    parameters = [name for name in settings if not name.startswith("1-")]
    options = [(f"{option}=", "") for option in _OPTIONS.get(verb, ()) if not (verb == "revert" and rest)]
    offered: list[tuple[str, str]] = []
    match verb:
        case "set" | "fork":
            offered = [(f"{name}=", f"now {settings[name]}") for name in parameters]
            offered = [each for each in offered if not any(word.startswith(each[0]) for word in rest)]
        case "schedule" if not rest:
            return [(name, f"now {settings[name]}") for name in parameters]
        case "schedule" if len(rest) == 1:
            return [(shape, " ".join(f"{word}=" for word in _shape_words(shape))) for shape in get_args(Shape)] + [
                ("constant", "no schedule any more")
            ]
        case "schedule":
            offered = [(f"{word}=", "") for word in _shape_words(rest[1])]
        case "revert" if not rest:
            offered = [(str(step), f"a checkpoint ({kind})") for step, kind in picture.checkpoints]
        case "compare":
            return [(name, "") for name in picture.others] if not rest else []
        case "help" | "detach" | "resume" | "checkpoint" | "undo" | "stop" | "step" | "extend":
            pass
    offered += [*options, *(flag for flag in FLAGS.get(verb, {}).items() if flag[0] not in rest)]
    return [*offered, ("why:", "the reason, for the record")] if verb in VERBS and verb != "help" else offered


def _shape_words(shape: str) -> tuple[str, ...]:
    return _SHAPE_WORDS.get(shape, ("rate",) if shape in get_args(Shape) else ())
