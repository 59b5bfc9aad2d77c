"""Figures, durations and sizes as text: every number that a person reads is written here."""

from __future__ import annotations

import math
from typing import Any

_SAME = 1e-10  # what lies nearer to 1 than this is 1 but for the rounding of floats
_LONGEST = 10  # characters of a float that one would write in full
_UNITS = (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))


def number(value: Any, digits: int = 4) -> str:
    """A value with a few significant digits, whole numbers in full; what is no number as it is.

    A fraction below 1 is never rounded to 1.

    >>> number(0.000123456), number(54321.9), number(0.99998), number("relu"), number(None)
    ('0.0001235', '54322', '0.99998', 'relu', '-')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else str(value)
    if isinstance(value, int) or 10**digits <= abs(value) < 1e6 or (value.is_integer() and abs(value) < 1e6):
        return str(round(value))
    text = _tidy(f"{value:.{digits}g}")
    return near_one(value) if text == "1" and _SAME < 1 - value < 1 else text


def scored(score: float | None, spread: float | None, digits: int = 4) -> str:
    """A score as `number` has it, with how far the seeds differ where it is the mean of several.

    >>> scored(0.9713, None), scored(0.9713, 0.00421)
    ('0.9713', '0.9713 ± 0.0042')
    """
    return number(score, digits) + ("" if spread is None else f" ± {number(spread, 2)}")


def near_one(value: float, digits: int = 3) -> str:
    """A number below 1 with as many decimals as its distance from 1 needs to have so many digits.

    >>> near_one(0.99987), near_one(0.9), near_one(0.99987, 1)
    ('0.99987', '0.9', '0.9999')
    """
    distance = 1 - value
    if not 0 < distance < 1:
        return number(value)
    return f"{value:.{digits - 1 - math.floor(math.log10(distance))}f}".rstrip("0")


def exact(value: Any) -> str:
    """A value as one would type it: no digit is lost, and none stands there in vain.

    >>> exact(1e-05), exact(3.0), exact(0.1234567891), exact("relu")
    ('1e-5', '3', '0.1234567891', 'relu')
    """
    if not isinstance(value, float):
        return str(value)
    text = _tidy(f"{value:.6g}")
    return text if float(text) == value else _tidy(repr(value))


def setting(value: Any) -> str:
    """A setting as it was given; a long fraction with six digits, counted from 1 where it lies close.

    >>> setting(0.003), setting(0.012345678901), setting(0.99987654321), setting(64)
    ('0.003', '0.0123457', '0.999876543', '64')
    """
    if not isinstance(value, float) or len(repr(value)) <= _LONGEST:
        return exact(value)
    return near_one(value, 6) if 0.99 < value < 1 else number(value, 6)


def round_to(value: float, digits: int) -> float:
    """A number that is as short as its first few digits."""
    return float(f"{value:.{digits}g}")


def percent(share: float, decimals: int = 0) -> str:
    """A share of 1 in the hundred.

    >>> percent(0.5), percent(0.0123, 1)
    ('50%', '1.2%')
    """
    return f"{share:.{decimals}%}"


def count(amount: int, word: str) -> str:
    """How many, in groups of three digits, with the word in its number.

    >>> count(1, "step"), count(1200, "step")
    ('1 step', '1,200 steps')
    """
    return f"{amount:,} {word}{'' if amount == 1 else 's'}"


def ordinal(number: int) -> str:
    """A place in a row.

    >>> [ordinal(number) for number in (1, 2, 3, 4, 11, 21, 112)]
    ['1st', '2nd', '3rd', '4th', '11th', '21st', '112th']
    """
    teens = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def duration(seconds: float) -> str:
    """A time span with the two units that matter.

    >>> duration(4.2), duration(184), duration(7320)
    ('4.2 s', '3 min 4 s', '2 h 2 min')
    """
    if seconds < 10:
        return f"{number(seconds, 2)} s"
    whole = round(seconds)
    for unit, size, below, below_size in _UNITS:
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // below_size} {below}"
    return f"{whole} s"


def about(seconds: float) -> str:
    """A time span that was only estimated: two digits of its largest unit.

    >>> about(4.23), about(5000), about(200_000)
    ('4.2 s', '1.4 h', '2.3 days')
    """
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{number(seconds / size, 2)} {unit}"
    return f"{number(seconds, 2)} s"


def memory(amount: float) -> str:
    """Bytes, in powers of 1000.

    >>> memory(2_000_000_000), memory(51_234), memory(1)
    ('2 GB', '51.2 kB', '1 byte')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= size:
            return f"{number(amount / size, 3)} {unit}"
    return count(round(amount), "byte")


def _tidy(text: str) -> str:
    """1e-6, not 1e-06."""
    return text.replace("e-0", "e-").replace("e+0", "e+")
