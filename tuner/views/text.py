"""Knows how names, values, reasons and times read in a Markdown text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tuner.record.recipe import Schedule


def who(by: str) -> str:
    """Who did it: people go by their names."""
    return "The supervisor" if by == "supervisor" else safe(by)


def because(why: str) -> str:
    """The reason as a sentence of its own; nothing where none was given."""
    return f" Why: {quoted(why)}." if why.strip() else ""


def quoted(text: str) -> str:
    """Somebody's own words."""
    return f"“{safe(text).rstrip('.')}”"


def safe(text: str) -> str:
    """A text in one line that Markdown leaves as it is."""
    return re.sub(r"([\\`*\[\]<>|]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def settings(values: Mapping[str, Any]) -> str:
    """Settings in a line."""
    return ", ".join(f"`{name}` {value(each)}" for name, each in values.items()) or "no settings"


def value(given: Any) -> str:
    """A setting as it was given; a long fraction with six digits, counted from 1 where it lies close."""
    if isinstance(given, float) and len(repr(given)) > 10:
        return f"1 − {1 - given:.6g}" if 0.99 < given < 1 else f"{given:.6g}"
    return safe(str(given))


def score(given: float) -> str:
    """A score with four digits."""
    return f"{given:.4g}"


def course(each: Schedule) -> str:
    """A schedule's shape in words."""
    match each.shape:
        case "cosine":
            return f"cosine over {each.over} steps" + (f" down to {value(each.floor)}" if each.floor else "")
        case "staircase":
            return f"times {each.rate:g} every {count(each.every, 'step')}"
        case "exponential":
            return f"times {each.rate:g} every step"
    return f"{each.shape.replace('_', ' ')} decay, rate {each.rate:g}"


def listed(words: Iterable[object]) -> str:
    """Words in a row."""
    return ", ".join(map(str, words))


def count(number: int, word: str) -> str:
    """How many, with the word in its number."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def day(at: float) -> str:
    """The date in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def clock(at: float) -> str:
    """The time of day in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
