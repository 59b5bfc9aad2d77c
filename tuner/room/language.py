"""The language of the room: what a line asks for, and how a request would be asked."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.errors import SettingsError, did_you_mean, quoted
from tuner.record.requests import REQUESTS, Verb
from tuner.values.numbers import exact

# What the room does beside asking the run.
_OWN = {
    "fork": Verb(
        takes={},
        example="fork learning_rate=0.03 name=two step=40",
        meaning="starts another run from a checkpoint",
        wants="name=value words",
        options=("name", "step"),
        gathers="values",
    ),
    "compare": Verb(
        takes={},
        example="compare one-2",
        meaning="puts another run beside this one",
        words=("other",),
        needs=1,
        wants="the name of another run",
    ),
    "help": Verb(takes={}, example="help", meaning="says this"),
    "detach": Verb(takes={}, example="detach", meaning="leaves; the run trains on (Ctrl-D)"),
}
VERBS: dict[str, Verb] = {**{word: verb for word, verb in REQUESTS.items() if verb.example}, **_OWN}
UNREASONED = ("compare", "help", "detach", "note")
"""The verbs that take no reason."""

_UNSAID = ("expect", "evidence", "before")
FREE_WHY = re.compile(r"(?:^|\s)why:(?:\s|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One thing asked for: its plain words, its name=value words, and the reason."""

    verb: str
    words: tuple[str, ...] = ()
    values: Mapping[str, Any]
    why: str = ""


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def read(line: str, run: str) -> list[Command]:
    """What a line asks for; the shell's own words are understood too, several joined by &&.

    `run` is the name of the run: `tuner set OTHER …` is refused. Errors are `SettingsError`.
    """
    found = re.match(r"\s*(?:tuner\s+)?note\s+(.*\S)\s*$", line)
    if found is not None:
        text = found[1]
        if line.lstrip().startswith("tuner"):
            text = " ".join(_own(shlex.split(text), run))
        return [Command(verb="note", values={"text": _unquoted(text)})]
    # What follows `why:` is prose, in which an apostrophe is no quote.
    asked, *prose = FREE_WHY.split(line, maxsplit=1)
    try:
        tokens = shlex.split(asked)
    except ValueError as error:
        raise SettingsError("a quote is open. Close it, or write the reason after why: without quotes.") from error
    commands = [_command(part, run) for part in _split(tokens)]
    if prose and commands:
        last = commands[-1]
        commands[-1] = Command(verb=last.verb, words=last.words, values=last.values, why=_unquoted(prose[0].strip()))
    return commands


def _split(tokens: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for token in tokens:
        if token == "&&":
            yield part
            part = []
        else:
            part.append(token)
    if part:
        yield part


def _command(tokens: list[str], run: str) -> Command:
    if tokens[:1] == ["tuner"]:
        tokens = [*tokens[1:2], *_own(tokens[2:], run)]
    if not tokens:
        raise SettingsError("there is nothing before or after &&.")
    verb, *rest = tokens
    if verb not in VERBS:
        raise SettingsError(f"{verb} is no command here. {did_you_mean(verb, VERBS)}")
    words: list[str] = []
    values: dict[str, Any] = {}
    why = ""
    while rest:
        token = rest.pop(0)
        name, equals, text = token.partition("=")
        option = name.removeprefix("--")
        if token == "--set":
            continue  # as `fork` has it in the shell: what follows is name=value
        if option == "why":
            why = text if equals else " ".join(rest[:1] if name.startswith("--") else rest)
            rest = rest[1:] if name.startswith("--") and not equals else [] if not equals else rest
        elif equals:
            values[option] = value_of(text)
        elif name.startswith("--") and option in VERBS[verb].flags:
            words.append(option)
        elif name.startswith("--") and rest:
            values[option] = value_of(rest.pop(0))
        else:
            words.append(token)
    return Command(verb=verb, words=tuple(words), values=values, why=why)


def _own(tokens: list[str], run: str) -> list[str]:
    if tokens[:1] != [run]:
        raise SettingsError(f"this room steers {run}, got {tokens[0] if tokens else 'no name'}. Open the other's room.")
    return tokens[1:]


def value_of(word: str) -> Any:
    """A number, true, false or none where the word is one, else the word.

    >>> value_of("3e-4"), value_of("64"), value_of("true"), value_of("relu")
    (0.0003, 64, True, 'relu')
    """
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(word.lower(), word)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


# ── saying ──────────────────────────────────────────────────────────────────────────────────────


def advised(note: str, run: str) -> tuple[str, str]:
    """What a note of the supervisor says, and the line that does what it proposes, empty where it proposes nothing.

    >>> advised("It is slow. Try: tuner set one learning_rate=0.03 --why 'it is slow'", "one")
    ('It is slow.', 'set learning_rate=0.03 why: it is slow')
    """
    sentence, found, command = note.rpartition(" Try: ")
    if not found:
        return note, ""
    try:
        commands = read(command, run)
    except SettingsError:
        return note, ""
    line = " && ".join(
        " ".join([each.verb, *each.words, *(f"{name}={format_value(value)}" for name, value in each.values.items())])
        for each in commands
    )
    return sentence, f"{line} why: {commands[-1].why}" if commands[-1].why else line


def format_request(verb: str, arguments: Mapping[str, Any], why: str = "") -> str:
    """A request in the words one would ask it by.

    >>> format_request("set", {"values": {"learning_rate": 0.03}, "at": None}, "it is slow")
    'set learning_rate=0.03 why: it is slow'
    """
    try:
        return _format(verb, arguments, why)
    except (AttributeError, KeyError, TypeError, ValueError):  # a stranger wrote what makes no sense: it was refused
        return f"{verb} {quoted(arguments)}"


def _format(verb: str, arguments: Mapping[str, Any], why: str) -> str:
    if verb == "note":
        return f"note {arguments['text']}"
    how = VERBS.get(verb, Verb(takes={}))
    plain = {word: value for word, value in arguments.items() if word not in _UNSAID}
    words = [verb, *(str(plain.pop(word)) for word in how.words if plain.get(word) is not None)]
    words += [flag for flag in how.flags if plain.pop(flag.replace("-", "_"), False)]
    given = {**plain.pop(how.gathers, {}), **plain}
    words += [f"{word}={format_value(value)}" for word, value in given.items() if value is not None]
    return " ".join(words) + (f" why: {why}" if why else "")


def format_value(value: Any) -> str:
    """A value as one would type it."""
    return shlex.quote(exact(value))


def guide() -> str:
    """All verbs, a line each."""
    width = max(len(verb.example) for verb in VERBS.values())
    lines = [f"{verb.example:<{width}}  {verb.meaning}" for verb in VERBS.values()]
    keys = "Tab completes, ↑ ↓ go through what was asked, PageUp and PageDown through this log, Ctrl-D leaves."
    return "\n".join([*lines, keys])
