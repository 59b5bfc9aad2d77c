"""The scores in what a program prints: by patterns, or as JSON objects, one on a line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.errors import CommandFailed, SettingsError, quoted
from tuner.values.plain import real, whole

STEP = "step"
_GOES_ON = re.compile(r"[\d.]*[eE][-+]?\d|\d|\.\d")


@dataclass(frozen=True)
class ParsedScores:
    """Scores that a line holds, and the step it names, if it names one."""

    step: int | None
    scores: Mapping[str, float]


@dataclass(frozen=True)
class ScoreParser:
    """Reads scores off lines: by these patterns, or, without any, from lines that are JSON objects."""

    patterns: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def of(cls, metric: str | Sequence[str] | None) -> ScoreParser:
        """Patterns as they were given, each with what it is to catch in brackets."""
        texts = () if metric is None else (metric,) if isinstance(metric, str) else tuple(metric)
        return cls(tuple(map(_pattern, texts)))

    def of_line(self, line: str, objective: str) -> ParsedScores | None:
        """What a line that the program printed holds; None where that is nothing."""
        if not self.patterns:
            return of_json(line)
        step: int | None = None
        scores: dict[str, float] = {}
        for pattern in self.patterns:
            for match in pattern.finditer(line):
                for number, name in _groups(pattern):
                    if match[number] is None:
                        continue
                    if name == STEP:
                        step = _step(match[number], line)
                    else:
                        scores[name or objective] = _number(match, number, pattern)
        return ParsedScores(step, scores) if scores else None

    @property
    def looked_for(self) -> str:
        """What was looked for, for a sentence."""
        if not self.patterns:
            return 'no line was a JSON object with a number in it, as {"step": 1, "dev_accuracy": 0.9}'
        return f"no line matched {' or '.join(quoted(each.pattern) for each in self.patterns)}"


def of_json(line: str) -> ParsedScores | None:
    """The numbers of a JSON object, by their names; None for any other line, and for an object without any."""
    text = line.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        given: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    step = given.pop(STEP, None)
    scores = {name: found for name, value in given.items() if (found := real(value)) is not None}
    return ParsedScores(None if step is None else _step(step, line), scores) if scores else None


class Steps:
    """Which step the scores of a line belong to: the one it names, else they are counted.

    A line that names none belongs to the step before it, unless that has a score of such a name already.
    """

    def __init__(self, done: int, *, first: int | None = None, known: int = 0) -> None:
        """The program begins at `done`, and what it says up to the step `known` is on record already.

        `first` is the first step that it named in an earlier life, if it named one.
        """
        self.first = first
        self._now, self._known, self._names = done, known, frozenset[str]()
        self._named = -1

    def of(self, found: ParsedScores) -> int | None:
        """The step of these scores, from 1 up; a program that counts from 0 is one behind. None: on record already."""
        if found.step is None:
            begins = not self._names or bool(self._names & found.scores.keys())
            step = self._now + begins
        else:
            if found.step < self._named:
                raise CommandFailed(
                    f"the program gave scores of step {found.step} after those of step {self._named}: "
                    "the steps of one training never fall. Count them through, as epoch * batches + batch, or leave "
                    "the step out, and each line is one."
                )
            self._named = found.step
            self.first = found.step if self.first is None else self.first
            step = found.step + (self.first == 0)
        self._names = frozenset(found.scores) | (self._names if step == self._now else frozenset())
        self._now = step
        return step if step > self._known else None


def _pattern(text: str) -> re.Pattern[str]:
    if not isinstance(text, str):
        raise SettingsError(f"metric must be a pattern, or a list of them, got {quoted(text)}.")
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise SettingsError(
            f"metric {quoted(text)} is no pattern: {error}. Write a regular expression, such as val_acc=([\\d.]+)."
        ) from None
    names = [name for _, name in _groups(pattern)]
    if not any(name != STEP for name in names):
        raise SettingsError(
            f"metric {quoted(text)} has no group for a score, so it catches nothing. Put brackets around the number: "
            "val_acc=([\\d.]+) is the objective, (?P<train_loss>[\\d.]+) a score of that name."
        )
    if names.count(None) > 1:
        raise SettingsError(
            f"metric {quoted(text)} has {names.count(None)} groups without a name, and one alone can be the objective. "
            "Name the others, as in (?P<train_loss>[\\d.]+), or write (?:…) where nothing is to be caught."
        )
    return pattern


def _groups(pattern: re.Pattern[str]) -> list[tuple[int, str | None]]:
    names = {number: name for name, number in pattern.groupindex.items()}
    return [(number, names.get(number)) for number in range(1, pattern.groups + 1)]


def _number(match: re.Match[str], group: int, pattern: re.Pattern[str]) -> float:
    caught, rest = match[group].strip().rstrip(".,;"), match.string[match.end(group) :]
    advice = "Let its group take the whole number: (\\S+)."
    if _GOES_ON.match(rest) and not match[group].endswith((",", ";")):
        raise CommandFailed(
            f"metric {quoted(pattern.pattern)} caught {quoted(caught, 40)} of {quoted(caught + rest, 40)}, which is "
            f"another number. {advice}"
        )
    try:
        return float(caught)
    except ValueError:
        raise CommandFailed(
            f"metric {quoted(pattern.pattern)} caught {quoted(match[group], 40)}, which is no number, in the line "
            f"{quoted(match.string.strip())}. {advice}"
        ) from None


def _step(given: Any, line: str) -> int:
    try:
        step = int(given) if isinstance(given, str) else whole(given)
    except ValueError:
        step = None
    if step is None or not 0 <= step < 2**53:
        raise CommandFailed(
            f"the step of a score is a whole number, 0 or above, got {quoted(given, 40)}: {quoted(line.strip())}."
        )
    return step
