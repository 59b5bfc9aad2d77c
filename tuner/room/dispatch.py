"""What is asked in the room carried out: each command by the run's handle, its answer in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from tuner.errors import SettingsError
from tuner.numbers import number
from tuner.room.language import VERBS, Command, value_of

if TYPE_CHECKING:
    import pandas as pd

    from tuner.api.handles import RunHandle


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
