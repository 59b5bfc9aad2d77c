"""Plain values for records: text that any file and terminal takes, whole numbers of 64 bits, what JSON gives back.

Whatever a training function or a person says passes here on its way into a record or a message, so that nothing said
can stop who writes it down, or who reads it.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

LONGEST_TEXT = 100_000
"""Characters of one text; what is longer loses its middle."""
COUNTABLE = 2**53
"""Up to here a float tells neighbouring whole numbers apart."""
_DEEPEST = 32
_LEAST, _MOST = -(2**63), 2**63 - 1
# Halves of pairs stand for bytes that are no UTF-8 (PEP 383); NUL ends a text for whatever is written in C. Control
# characters command a terminal (ECMA-48), and the marks that turn the direction of writing show another text than there
# is (CVE-2021-42574). Line ends and tabs stay.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOUR, _RETURN = re.compile(r"\x1b\[[0-9;:]*m"), re.compile(r"\r+\n?")


def clean(text: object, most: int = LONGEST_TEXT) -> str:
    """The text with a � for whatever is no character to be shown, and without its middle where it is too long.

    >>> clean("caf\\udce9"), clean("\\x1b[31mred\\x1b[0m\\x1b[2J")
    ('caf�', 'red�[2J')
    """
    plain = str.__str__(text) if isinstance(text, str) else str(text)
    if len(plain) > most:
        half = most // 2
        plain = f"{plain[:half]}\n… {len(plain) - 2 * half:,} characters left out …\n{plain[-half:]}"
    return shown(plain)


def shown(text: str) -> str:
    """A text as any terminal and file can have it; whatever in it is no character to be shown is a �."""
    if text.isprintable():
        return text
    return _UNSHOWABLE.sub("�", _RETURN.sub("\n", _COLOUR.sub("", text) if "\x1b" in text else text))


def shown_in_json(text: str) -> str:
    """JSON whose texts say by their numbers what no terminal is to be given; it means the same.

    >>> shown_in_json('"\\x9b2J"')
    '"\\\\u009b2J"'
    """
    return text if text.isprintable() else _UNSHOWABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def writable(text: str) -> bool:
    """Whether a record gives a text back as it is."""
    return len(text) <= LONGEST_TEXT and (text.isprintable() or _UNSHOWABLE.search(text) is None)


def bounded(number: Any) -> Any:
    """A whole number as 64 bits hold it; None stays."""
    return number if number is None or _LEAST <= number <= _MOST else _LEAST if number < 0 else _MOST


def tidy(value: Any, depth: int = _DEEPEST) -> Any:
    """What `json` writes, with every text in it clean; what is nested too deeply is cut off."""
    kind = type(value)
    if kind is float or kind is int or value is None or kind is bool:
        return value
    if isinstance(value, str):
        return str.__str__(value) if writable(value) else clean(value)
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        return {tidy(name) if isinstance(name, str) else name: tidy(each, depth - 1) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(each, depth - 1) for each in value]
    return value


def counted(value: Any) -> int | None:
    """The whole number that a value is by its class, Python's, NumPy's or another; None for all others."""
    if is_flag(value):
        return None
    try:
        return operator.index(value)
    except Exception:  # whatever its class thinks of being a number
        return None


def whole(value: Any) -> int | None:
    """The whole number that a value is, by its class or by its value, as 64.0 is; None where it is none."""
    found = counted(value)
    if found is None and (number := real(value)) is not None and math.isfinite(number) and number == int(number):
        return int(number)
    return found


def real(value: Any) -> float | None:
    """The number that a value is, of whatever class but true and false; None where it is none."""
    if type(value) is float:
        return value  # nearly all there is
    return None if is_flag(value) else number(value)


def number(value: Any) -> float | None:
    """What a value is as a float, true being 1; infinite beyond what a float holds, None where it is no number."""
    if isinstance(value, str | bytes | bytearray) or _is_complex(value):
        return None
    try:
        try:
            return float(value if hasattr(value, "__float__") or not hasattr(value, "item") else value.item())
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    except Exception:  # whatever its class thinks of being a number
        return None


def _is_complex(value: Any) -> bool:
    """Whether a value has an imaginary part: `float` of NumPy's drops it with no more than a warning."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return bool(kind == "c")


def is_flag(value: Any) -> bool:
    """Whether a value is true or false, by Python's class or by NumPy's."""
    return isinstance(value, bool) or (type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"))


class Recordable:
    """A record or message whose fields, when it is made, become what can be written down; read back, they are so."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """By each field's annotation: texts clean, whole numbers bounded, JSON tidy."""
        kind = type(self)
        for name, made in _MADE.get(kind) or _MADE.setdefault(kind, _makers(kind)):
            given = getattr(self, name)
            if type(given) is str and len(given) <= LONGEST_TEXT and given.isprintable():
                continue  # nearly all there is, on the way of every report
            if given is not None and (fit := made(given)) is not given:
                object.__setattr__(self, name, fit)


_Makers: TypeAlias = tuple[tuple[str, Callable[[Any], Any]], ...]
_MADE: dict[type[Any], _Makers] = {}


def _makers(kind: type[Any]) -> _Makers:
    return tuple((each.name, _MAKERS[str(each.type)]) for each in fields(kind) if str(each.type) in _MAKERS)


_MAKERS: Mapping[str, Callable[[Any], Any]] = {
    "str": clean,
    "str | None": clean,
    "int": bounded,
    "int | None": bounded,
    "Json": tidy,
    "tuple[str, ...]": lambda texts: tuple(map(clean, texts)),
}


def json_of(value: Any) -> Any:
    """A value as JSON can hold it, dataclasses by their fields: what is no finite number is null.

    >>> json_of({"score": float("nan"), "steps": (1, 2)})
    {'score': None, 'steps': [1, 2]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return json_of({spec.name: getattr(value, spec.name) for spec in fields(value)})
    if isinstance(value, Mapping):
        return {str(key): json_of(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_of(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)
