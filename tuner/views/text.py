"""Names, values, reasons and times in a Markdown text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tuner.record.recipe import Schedule
from tuner.values.numbers import count, exact, setting


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
    """A setting as it was given."""
    return safe(setting(given))


def course(each: Schedule) -> str:
    """A schedule's shape in words."""
    match each.shape:
        case "cosine":
            return f"cosine over {each.over} steps" + (f" down to {exact(each.floor)}" if each.floor else "")
        case "staircase":
            return f"times {exact(each.rate)} every {count(each.every, 'step')}"
        case "exponential":
            return f"times {exact(each.rate)} every step"
    return f"{each.shape.replace('_', ' ')} decay, rate {exact(each.rate)}"


def listed(words: Iterable[object]) -> str:
    """Words in a row."""
    return ", ".join(map(str, words))


def day(at: float) -> str:
    """The date in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def clock(at: float) -> str:
    """The time of day in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
