"""The inputs by which a person sets a setting: within its bounds, a slider on its own scale, or a few options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.values.numbers import exact, near_one, number, setting


@dataclass(frozen=True, kw_only=True)
class Input:
    """One setting as a form has it; `scale` is empty where no space bounds it."""

    name: str
    value: str
    """In full, so that what was not touched is not changed."""
    shown: str
    scale: str = ""
    low: str = ""
    high: str = ""
    step: str = "any"
    options: tuple[str, ...] = ()
    beside: str = ""
    """The same as 1−value, where that is the scale."""
    fixed: bool = False
    """Whether it is built into the model, and cannot be changed while that trains."""


def inputs_of(space: Space | None, settings: Mapping[str, Any]) -> list[Input]:
    """An input for each setting in force."""
    return [_input(name, value, None if space is None else space.get(name)) for name, value in settings.items()]


def _input(name: str, value: Any, dimension: Parameter | Choice | None) -> Input:
    told: dict[str, Any] = {"name": name, "value": exact(value), "shown": setting(value)}
    if dimension is None:
        return Input(**told)
    told["fixed"] = dimension.changes == "never"
    if isinstance(dimension, Choice):
        return Input(**told, scale="choice", options=tuple(exact(option) for option in dimension.options))
    near = dimension.scale == "log_one_minus" and isinstance(value, float)
    told["shown"] = near_one(value) if near else told["shown"]
    return Input(
        **told,
        scale=dimension.scale,
        low=exact(dimension.low),
        high=exact(dimension.high),
        step="1" if dimension.type == "integer" else "any",
        beside=number(1 - value, 3) if near else "",
    )
