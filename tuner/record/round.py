"""The rounds of a search, and the lead in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Lead: TypeAlias = tuple[int | None, int | None, float | None]
"""The best trial, its best step, and its score there."""


@dataclass(slots=True)
class Round:
    """One stage of coarse-to-fine: its box in the unit cube, and the reason it is where it is."""

    round: int
    first_trial: int
    box: Mapping[str, tuple[float, float]]
    seen: int
    why: str
    memo: Any
