"""The dispatch of what is asked in the room: each command by the run's handle, its answer in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tuner.errors import SettingsError
from tuner.room.language import VERBS, Command, value_of
from tuner.values.arguments import unknown
from tuner.values.numbers import number

if TYPE_CHECKING:
    import pandas as pd

    from tuner.api.handles import RunHandle


def carry_out(command: Command, handle: RunHandle, expect: int) -> str:
    """Asks the run for it and waits for the answer; what there is to say beside it, which the record holds.

    `expect` is the number of the segment last seen: a change by somebody else since then refuses this one.
    """
    match command.verb:
        case "fork":
            return _fork(command, handle)
        case "compare":
            return compared(handle.compare(*_words(command)))
        case "help" | "detach":
            return ""
    how, asked = VERBS[command.verb], _arguments(command)
    if how.is_guarded:
        asked["expect"] = expect
    if command.why:
        asked["why"] = command.why
    gathered = asked.pop(how.gathers, {})
    ask: Callable[..., object] = getattr(handle, command.verb)
    if how.gathers == "values":  # as a mapping: a setting may be called as another argument is
        ask(gathered, **asked)
    else:
        ask(**gathered, **asked)
    return ""


def _fork(command: Command, handle: RunHandle) -> str:
    _words(command)
    values = dict(command.values)
    name, step = values.pop("name", None), values.pop("step", None)
    child = handle.fork(values, name=None if name is None else str(name), step=step, why=command.why)
    with closing(child), closing(child.study) as study:
        began = study.state.trials[0].segments[0].from_step
    return f"{child.name} trains beside this run, from step {began} on. Its room: tuner watch {child.name}"


def _arguments(command: Command) -> dict[str, Any]:
    """What a request is asked with; no word is passed over, for it may be the reason."""
    how, values = VERBS[command.verb], dict(command.values)
    found = {word.replace("-", "_"): True for word in command.words if word in how.flags}
    for argument, word in zip(how.words, _words(command), strict=False):
        try:
            found[argument] = how.takes[argument](argument, value_of(word))
        except SettingsError as error:
            what = f"{how.wants}, got {word!r}. Write: {how.example} ({how.meaning})"
            raise SettingsError(f"{command.verb} takes {what}") from error
    by_name = (*how.options, *how.words, *(flag.replace("-", "_") for flag in how.flags))
    found |= {word: values.pop(word) for word in by_name if word in values}
    if how.gathers:
        return {**found, how.gathers: values}
    for word in values:
        raise SettingsError(unknown(command.verb, word, how.takes))
    return found


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


def _words(command: Command) -> tuple[str, ...]:
    """The words beside those that stand alone: as many as the verb takes."""
    how = VERBS[command.verb]
    words = tuple(word for word in command.words if word not in how.flags)
    if how.needs <= len(words) <= len(how.words):
        return words
    got, usage = " ".join(words) or "nothing", how.example.partition(" why:")[0]
    reason = " why: the reason" if words and command.verb != "compare" else ""
    raise SettingsError(f"{command.verb} takes {how.wants}, got {got}. Write: {usage}{reason}")
