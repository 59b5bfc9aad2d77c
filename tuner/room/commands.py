"""Knows the room's language: what a line asks for, how it could go on, and who carries it out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, get_args

from tuner.errors import SettingsError, did_you_mean
from tuner.record.recipe import Shape
from tuner.room.phrases import FLAGS, value_as_asked

if TYPE_CHECKING:
    import pandas as pd

    from tuner.api.handles import RunHandle
    from tuner.room.scene import View

# Each verb: how it is written, and what it does.
VERBS: dict[str, tuple[str, str]] = {
    "set": ("set learning_rate=3e-4 why: loss spikes", "sets values now, or at=STEP"),
    "schedule": ("schedule learning_rate cosine over=2000", "follows a shape; constant ends it"),
    "pause": ("pause", "stands still between two steps"),
    "resume": ("resume", "goes on"),
    "step": ("step 5", "trains that far, then stands still"),
    "checkpoint": ("checkpoint", "saves now, and keeps it"),
    "revert": ("revert 40", "goes back to a step, or by one change"),
    "undo": ("undo", "takes the last change or revert back"),
    "extend": ("extend 100", "trains longer"),
    "fork": ("fork learning_rate=0.03 name=two step=40", "starts another run from a checkpoint"),
    "compare": ("compare one-2", "puts another run beside this one"),
    "note": ("note the loss spikes after each epoch", "writes into the record"),
    "stop": ("stop", "ends the run; everything is kept"),
    "help": ("help", "says this"),
    "detach": ("detach", "leaves; the run trains on (Ctrl-D)"),
}

# Words that stand alone, with what they mean.
_OPTIONS = {"set": ("at",), "schedule": ("at",), "fork": ("name", "step"), "revert": ("step", "checkpoint")}
# What each shape may be told, as `recipe.schedule` takes it.
_SHAPE_WORDS = {"staircase": ("rate", "every"), "cosine": ("over", "floor")}
_FREE_WHY = re.compile(r"(?:^|\s)why:(?:\s|$)")


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
    asked, *prose = _FREE_WHY.split(line, maxsplit=1)
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
        elif name.startswith("--") and option in FLAGS.get(verb, ()):
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
        " ".join([each.verb, *each.words, *(f"{name}={value_as_asked(value)}" for name, value in each.values.items())])
        for each in commands
    )
    return sentence, f"{line} why: {commands[-1].why}" if commands[-1].why else line


# ── going on ────────────────────────────────────────────────────────────────────────────────────


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


def continuations(line: str, view: View) -> Continuation:
    """The verbs, parameters, steps or runs that could come next."""
    if _FREE_WHY.search(line) or re.match(r"\s*note\s", line):
        return Continuation(start=len(line), words=())
    start = len(line) - len(re.split(r"\s", line)[-1])
    before, stub = line[:start].split(), line[start:]
    offered = _offered(before, view) if before else [(verb, meaning) for verb, (_, meaning) in VERBS.items()]
    words = tuple((word, meaning) for word, meaning in offered if word.startswith(stub) and word != stub)
    return Continuation(start=start, words=words)


def _offered(before: list[str], view: View) -> list[tuple[str, str]]:
    verb, *rest = before
    settings = dict(view.settings)
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
            offered = [(str(step), f"a checkpoint ({kind})") for step, kind in view.checkpoints]
        case "compare":
            return [(name, "") for name in view.others] if not rest else []
        case "help" | "detach" | "resume" | "checkpoint" | "undo" | "stop" | "step" | "extend":
            pass
    offered += [*options, *(flag for flag in FLAGS.get(verb, {}).items() if flag[0] not in rest)]
    return [*offered, ("why:", "the reason, for the record")] if verb in VERBS and verb != "help" else offered


def _shape_words(shape: str) -> tuple[str, ...]:
    return _SHAPE_WORDS.get(shape, ("rate",) if shape in get_args(Shape) else ())


def guide() -> str:
    """All verbs, a line each."""
    width = max(len(usage) for usage, _ in VERBS.values())
    lines = [f"{usage:<{width}}  {meaning}" for usage, meaning in VERBS.values()]
    keys = "Tab completes, ↑ ↓ go through what was asked, PageUp and PageDown through this log, Ctrl-D leaves."
    return "\n".join([*lines, keys])


# ── carrying out ────────────────────────────────────────────────────────────────────────────────


def carry_out(command: Command, handle: RunHandle, expect: int) -> str:
    """Asks the run for it and waits for the answer; what there is to say beside it, which the record holds.

    `expect` is the number of the segment last seen: a change by somebody else since then refuses this one.
    """
    values, words, why = dict(command.values), command.words, command.why
    at = values.pop("at", None)
    match command.verb:
        case "set":
            _exactly(command, 0, "name=value words")
            handle.set(values, why=why, at=at, expect=expect)
        case "schedule":
            parameter, shape = _exactly(command, 2, "a parameter and a shape")
            handle.schedule(parameter, shape, why=why, at=at, **values)
        case "pause":
            _at_most(command, 0, "no more words", but="release")
            handle.pause(why, release="release" in words or bool(values.get("release")))
        case "resume" | "undo" | "checkpoint" | "stop":
            _exactly(command, 0, "no more words")
            ask: Callable[[str], object] = getattr(handle, command.verb)
            ask(why)
        case "step":
            _at_most(command, 1, "a number of steps")
            handle.step(_number(command, words[0]) if words else values.get("steps", 1), why)
        case "extend":
            handle.extend(_number(command, *_exactly(command, 1, "a number of steps")), why)
        case "revert":
            numbers = _at_most(command, 1, "a step", but="keep-settings")
            step = _number(command, numbers[0]) if numbers else values.get("step")
            handle.revert(
                step=step,
                checkpoint=values.get("checkpoint"),
                keep_settings="keep-settings" in words,
                why=why,
                expect=expect,
            )
        case "note":
            handle.note(str(values["text"]))
        case "fork":
            _exactly(command, 0, "name=value words")
            name, step = values.pop("name", None), values.pop("step", None)
            child = handle.fork(values, name=None if name is None else str(name), step=step, why=why)
            with closing(child), closing(child.study) as study:
                began = study.state.trials[0].segments[0].from_step
            return f"{child.name} trains beside this run, from step {began} on. Its room: tuner watch {child.name}"
        case "compare":
            (other,) = _exactly(command, 1, "the name of another run")
            return compared(handle.compare(other))
    return ""


def compared(frame: pd.DataFrame, rows: int = 6) -> str:
    """Two runs as a person reads them: what they differ in, and their scores at a few steps."""
    from tuner.numbers import number

    courses: Mapping[str, Mapping[str, str]] = frame.attrs.get("courses", {})
    lines = [["step", *map(str, frame.columns)]]
    lines += [[name, *(told[name] for told in courses.values())] for name in next(iter(courses.values()), {})]
    lines += [] if len(lines) > 1 or not courses else [["settings", *("the same" for _ in courses)]]
    shared = frame.dropna()
    shown = shared if len(shared) else frame
    places = sorted({round(i * (len(shown) - 1) / max(1, rows - 1)) for i in range(rows)}) if len(shown) else []
    for place in places:
        scores = (float(score) for score in shown.iloc[place])
        lines.append([str(shown.index[place]), *("-" if score != score else number(score) for score in scores)])
    silent = [f"{name} has reported nothing yet." for name in frame if frame[name].isna().all()]
    widths = [max(len(row[column]) for row in lines) for column in range(len(lines[0]))]
    table = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in lines]
    return "\n".join([*table, *silent])


def _exactly(command: Command, count: int, what: str) -> tuple[str, ...]:
    if len(command.words) != count:
        raise _unfit(command, command.words, what)
    return command.words


def _at_most(command: Command, count: int, what: str, but: str = "") -> tuple[str, ...]:
    """The words beside the one that stands alone; none is passed over, for it may be the reason."""
    words = tuple(word for word in command.words if word != but)
    if len(words) > count:
        raise _unfit(command, words, what)
    return words


def _unfit(command: Command, words: Sequence[str], what: str) -> SettingsError:
    got, usage = " ".join(words) or "nothing", VERBS[command.verb][0].partition(" why:")[0]
    reason = " why: the reason" if words and command.verb != "compare" else ""
    return SettingsError(f"{command.verb} takes {what}, got {got}. Write: {usage}{reason}")


def _number(command: Command, word: str) -> int:
    number = value_of(word)
    if not isinstance(number, int):
        example, meaning = VERBS[command.verb]
        raise SettingsError(f"{command.verb} takes a whole number of steps, got {word!r}. Write: {example} ({meaning})")
    return number
