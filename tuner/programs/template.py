"""The template of a command: where its settings go, and the command of one trial."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.errors import SettingsError, did_you_mean, quoted
from tuner.space.parameters import Choice
from tuner.space.space import Space

CHECKPOINT = "checkpoint"
OURS = (CHECKPOINT, "folder", "seed")
_PLACEHOLDERS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_SHELL = "/bin/sh"
_UNSAFE_IN_A_SHELL = re.compile(r"[^\w@%+=:,./-]", re.ASCII)


@dataclass(frozen=True)
class CommandTemplate:
    """A command as it was written, with placeholders; each word is filled by itself, so no value becomes two words."""

    text: str
    parts: tuple[str, ...]
    in_a_shell: bool = False

    @classmethod
    def of(cls, command: str | Sequence[str], *, in_a_shell: bool = False) -> CommandTemplate:
        """Splits a command as a shell would, and sees that each brace in it is one that is meant."""
        if not isinstance(command, str):
            parts = tuple(command)
            if not parts or not all(isinstance(each, str) for each in parts):
                raise SettingsError(f"a command is a text, or a list of its words, got {quoted(command)}.")
            text = shlex.join(parts)
        else:
            text = command.strip()
            try:
                parts = (text,) if in_a_shell else tuple(shlex.split(text))
            except ValueError as error:
                raise SettingsError(
                    f"the command {quoted(command)} cannot be split into words: {error}. Close each quote that it "
                    "opens."
                ) from None
        if not any(parts):
            raise SettingsError("the command is empty. Write a program and its arguments: python train.py --lr {lr}.")
        if in_a_shell and not isinstance(command, str):
            raise SettingsError("a shell takes the command as one text, got a list of words. Write them as one text.")
        if "\0" in text:
            raise SettingsError(f"a command holds no NUL character, got {quoted(command)}.")
        found = cls(text, parts, in_a_shell)
        found._check_placeholders()
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """What is filled in, in order."""
        holes = (hole for part in self.parts for hole in _PLACEHOLDERS.finditer(part))
        return tuple(dict.fromkeys(hole[1] for hole in holes if hole[1] is not None))

    def check(self, settings: Iterable[str], space: Space | None = None) -> None:
        """Sees that these settings, and nothing else, go in, and that each value of a choice can."""
        known = list(settings)
        for name in OURS:
            if name in known:
                raise SettingsError(
                    f"{name} is a setting here, and in a command {{{name}}} is what tuner gives the trial. Call the "
                    "setting something else."
                )
        for name in self.names:
            if name not in known and name not in OURS:
                raise SettingsError(
                    f"the command has {{{name}}}, and there is no such setting. {did_you_mean(name, [*known, *OURS])} "
                    "A brace that is meant as one is written twice: {{ and }}."
                )
        for name in known:
            if name not in self.names:
                raise SettingsError(
                    f"{name} is a setting, and the command has no {{{name}}}: the program would never hear of it, and "
                    f"its values would change nothing. Write it where the program takes it, as in "
                    f"--{name.replace('_', '-')} {{{name}}}, or leave {name} out. The command: {self.text}"
                )
        for name, parameter in (space or {}).items():
            for value in parameter.options if isinstance(parameter, Choice) else ():
                self.filled({name: value}, partly=True)

    def missing(self) -> str | None:
        """What is not there to be run, in a sentence; None where all is, or nobody can know yet."""
        if self.in_a_shell or _PLACEHOLDERS.search(self.parts[0]):
            return None
        program, *rest = self.parts
        if shutil.which(program) is None:
            where = "there" if "/" in program else "on the PATH"
            hint = (
                f"Write the one that tuner runs in, {sys.executable}" if _is_python(program) else "Write where it lies"
            )
            return f"the program {program!r} is not {where}, or may not be run. {hint}. The command: {self.text}"
        script = rest[0] if rest and _is_python(Path(program).name) else ""
        if script.endswith(".py") and not _PLACEHOLDERS.search(script) and not Path(script).is_file():
            return (
                f"there is no file {script} in {Path.cwd()}, from where the command runs. Name it from there. "
                f"The command: {self.text}"
            )
        return None

    def filled(self, values: Mapping[str, Any], *, partly: bool = False) -> list[str]:
        """The words of one trial.

        A word whose setting this trial has not, as one that exists under a condition, is left out, with the option
        before it. `partly` fills what there is and leaves the rest as it is.
        """
        words: list[str] = []
        for part in self.parts:
            names = [hole[1] for hole in _PLACEHOLDERS.finditer(part) if hole[1] is not None]
            if not partly and any(name not in values for name in names):
                if part == f"{{{names[0]}}}" and words and words[-1].startswith("-"):
                    words.pop()
                continue
            words.append(self._filled(part, values))
        return [_SHELL, "-c", *words] if self.in_a_shell else words

    def _filled(self, part: str, values: Mapping[str, Any]) -> str:
        def fill(hole: re.Match[str]) -> str:
            if hole[1] is None:
                return hole[0][0]
            if hole[1] not in values:
                return hole[0]
            text = _written(values[hole[1]])
            if "\0" in text:
                raise SettingsError(f"{hole[1]}: a word of a command holds no NUL character, got {quoted(text)}.")
            if self.in_a_shell and _UNSAFE_IN_A_SHELL.search(text):
                raise SettingsError(
                    f"{hole[1]}: a shell would read more in {quoted(text)} than a value. Leave the shell out: each "
                    "value then stays one word whatever it holds."
                )
            if hole.start() == 0 and text.startswith("-") and isinstance(values[hole[1]], str):
                raise SettingsError(
                    f"{hole[1]}: the program would take {quoted(text)} for an option of its own. Write the option and "
                    f"its value as one word: --{hole[1].replace('_', '-')}={{{hole[1]}}}."
                )
            return text

        return _PLACEHOLDERS.sub(fill, part)

    def _check_placeholders(self) -> None:
        for part in self.parts:
            for hole in _PLACEHOLDERS.finditer(part):
                if hole[0] in ("{", "}") or hole[1] == "":
                    raise SettingsError(
                        f"the command has a {hole[0]} that holds no name of a setting, in {quoted(part)}. Write "
                        "{learning_rate} for a setting, and {{ or }} for a brace that is meant as one."
                    )
                if hole[1] is not None and re.search(r"[:!]", hole[1]):
                    raise SettingsError(
                        f"the command has {hole[0]}, and a value goes in as it stands on record, so that the same is "
                        f"trained again: leave out what follows the name, {{{re.split('[:!]', hole[1])[0]}}}."
                    )


def _written(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _is_python(program: str) -> bool:
    return re.fullmatch(r"python[\d.]*", program) is not None
