"""Answers of another process, each field taken as what it has to be: anything else is an error in words."""

from __future__ import annotations

from typing import Any

from tuner.errors import StudyError, quoted
from tuner.values.plain import bounded


def told(said: Any, /, **kinds: Any) -> dict[str, Any]:
    """These fields of an answer, each of the class that it has to be; one that may be None may be missing.

    >>> told({"trial": 3, "more": 1}, trial=int, why=str | None)
    {'trial': 3, 'why': None}
    """
    if not isinstance(said, dict):
        raise not_understood(said)
    found = {name: said.get(name) for name in kinds}
    for name, kind in kinds.items():
        value = found[name]
        if not isinstance(value, kind) or (isinstance(value, int) and bounded(value) != value):
            raise not_understood(said)
    return found


def not_understood(said: Any) -> StudyError:
    """That this is none of the answers there are."""
    return StudyError(
        f"the answer is nothing that this tuner understands: {quoted(said)}. Use the same version at both ends."
    )
