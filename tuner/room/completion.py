"""The completion of a line of the room: verbs, parameters, steps and runs, with what each means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, get_args

from tuner.record.recipe import Shape
from tuner.room.language import FREE_WHY, UNREASONED, VERBS

if TYPE_CHECKING:
    from tuner.room.scene import Picture

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
    offered = _offered(before, picture) if before else [(word, verb.meaning) for word, verb in VERBS.items()]
    words = tuple((word, meaning) for word, meaning in offered if word.startswith(stub) and word != stub)
    return Continuation(start=start, words=words)


def _offered(before: list[str], picture: Picture) -> list[tuple[str, str]]:
    verb, *rest = before
    if verb not in VERBS:
        return []
    how = VERBS[verb]
    words = [word for word in rest if "=" not in word and word not in how.flags]
    offered = _words(how.words[len(words)], picture) if len(words) < len(how.words) else []
    if len(words) < how.needs:
        return offered
    offered += [each for each in _gathered(how.gathers, words, picture) if not _stands(each[0], rest)]
    if how.needs or not words:  # a word that need not be there says what an option would
        offered += [(f"{option}=", "") for option in how.options]
    offered += [flag for flag in how.flags.items() if flag[0] not in rest]
    return [*offered, *([] if verb in UNREASONED else [("why:", "the reason, for the record")])]


def _words(argument: str, picture: Picture) -> list[tuple[str, str]]:
    """What could stand for an argument that is a plain word."""
    match argument:
        case "parameter":
            return [(name, f"now {value}") for name, value in _parameters(picture)]
        case "shape":
            shapes = [(shape, " ".join(f"{word}=" for word in _shape_words(shape))) for shape in get_args(Shape)]
            return [*shapes, ("constant", "no schedule any more")]
        case "step":
            return [(str(step), f"a checkpoint ({kind})") for step, kind in picture.checkpoints]
        case "other":
            return [(name, "") for name in picture.others]
    return []


def _gathered(argument: str, words: list[str], picture: Picture) -> list[tuple[str, str]]:
    """The name=value words that an argument gathers."""
    if argument == "values":
        return [(f"{name}=", f"now {value}") for name, value in _parameters(picture)]
    return [(f"{word}=", "") for word in _shape_words(words[1])] if argument == "shape_settings" else []


def _parameters(picture: Picture) -> list[tuple[str, str]]:
    return [(name, value) for name, value in picture.settings if not name.startswith("1-")]


def _stands(word: str, rest: list[str]) -> bool:
    return any(each.startswith(word) for each in rest)


def _shape_words(shape: str) -> tuple[str, ...]:
    return _SHAPE_WORDS.get(shape, ("rate",) if shape in get_args(Shape) else ())
