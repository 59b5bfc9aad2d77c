"""The recipe of a segment: constant values, and schedules that give a value at every step.

The effective value is what people set and read: `set` under a schedule rescales it so that its value *now* is the one
asked for, and its shape goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast, get_args

from tuner.errors import SettingsError, did_you_mean, quoted
from tuner.values.numbers import exact

# What people call them, the first the name that is meant where none is there.
RATES = ("learning_rate", "lr", "alpha", "eta")
BETAS = ("beta", "momentum", "beta1", "beta_1")
_AVERAGING = (*BETAS, "beta2", "beta_2")
_BELOW_1 = math.nextafter(1.0, 0.0)
UNBOUNDED = (
    "no space bounds the settings of this run: a learning rate below 0 is refused, a momentum below 0 or from 1 up, "
    "and anything else may be set. With space= (--space) each stays within its range."
)

Shape: TypeAlias = Literal["time_based", "exponential", "square_root", "staircase", "cosine"]

# What each shape needs beside the value it starts from, with its default; `over` has none.
_NEEDS: dict[str, dict[str, float]] = {
    "time_based": {"rate": 1.0},
    "exponential": {"rate": 0.95},
    "square_root": {"rate": 1.0},
    "staircase": {"rate": 0.5, "every": 10},
    "cosine": {"over": math.nan, "floor": 0.0},
}
_LEAST = {
    "rate": (5e-324, "above 0"),
    "every": (1, "at least 1"),
    "over": (1, "at least 1"),
    "floor": (0.0, "0 or above"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One parameter's value as a function of the step: `value` at `since`, falling in the given shape afterwards.

    `least` and `most` are the bounds of its space, None where there are none: there it stays once it has come to them.
    """

    shape: Shape
    value: float
    since: int
    rate: float = 1.0
    every: int = 1
    over: int = 1
    floor: float = 0.0
    least: float | None = None
    most: float | None = None

    def at(self, step: int) -> float:
        """The effective value while `step` steps are done; before `since`, the value it starts from."""
        value = self.unbounded(step)
        value = value if self.least is None else max(value, min(self.least, self.value))
        return value if self.most is None else min(value, max(self.most, self.value))

    def unbounded(self, step: int) -> float:
        """What the shape alone gives."""
        t = step - self.since
        if t <= 0:
            return self.value
        match self.shape:
            case "time_based":
                return self.value / (1.0 + self.rate * t)
            case "exponential":
                return self.value * self.rate**t
            case "square_root":
                return self.value * self.rate / math.sqrt(t)
            case "staircase":
                return self.value * self.rate ** (t // self.every)
            case "cosine":
                share = min(1.0, t / self.over)
                return self.floor + (self.value - self.floor) * 0.5 * (1.0 + math.cos(math.pi * share))

    def __str__(self) -> str:
        """As one would ask for it."""
        words = [word for word in _NEEDS[self.shape] if word != "floor" or self.floor]
        return " ".join([self.shape, *(f"{word}={exact(getattr(self, word))}" for word in words)])

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {name: getattr(self, name) for name in self.__slots__}


def limits(name: str) -> tuple[float | None, float | None]:
    """What a setting of that name cannot leave in any space: a rate is 0 or above, a momentum from 0 to below 1."""
    return (0.0, None) if name in RATES else (0.0, _BELOW_1) if name in _AVERAGING else (None, None)


def possible(name: str, value: Any) -> Any:
    """The value, a rate or momentum as a float that can be one; else a `SettingsError`."""
    least, most = limits(name)
    if least is None or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if not value >= least or (most is not None and value > most):
        must = "0 or above, since below it a loss is climbed" if most is None else "from 0 to below 1, to forget at all"
        raise SettingsError(f"{name} must be {must}, got {quoted(value)}.")
    return float(value)


def schedule(
    parameter: str,
    shape: str,
    settings: Mapping[str, Any] | None = None,
    /,
    *,
    bounds: tuple[float | None, float | None] = (None, None),
    **others: float,
) -> Schedule:
    """Checks what was asked for; where it begins, and at which value, is settled when it takes effect.

    `bounds` are those of the parameter in its space.

    Unknown words and impossible numbers are a `SettingsError`.
    """
    if shape not in get_args(Shape):
        raise SettingsError(f"{parameter}: there is no schedule {shape!r}. {did_you_mean(shape, get_args(Shape))}")
    needs, given = _NEEDS[shape], {**(settings or {}), **others}
    for word, number in given.items():
        if word not in needs:
            raise SettingsError(f"{parameter}: {shape} takes {', '.join(needs)}, got {word}={quoted(number)}.")
        least, said = _LEAST[word]
        plain = isinstance(number, int | float) and not isinstance(number, bool)
        if not plain or not least <= number < math.inf:
            raise SettingsError(f"{parameter}: {word} must be {said}, got {quoted(number)}.")
    settled = {**needs, **given}
    for word, number in settled.items():
        if math.isnan(number):
            raise SettingsError(f"{parameter}: {shape} needs {word}=STEPS, the number of steps it takes.")
    whole = {word: int(number) for word, number in settled.items() if word in ("over", "every")}
    drawn = Schedule(shape=cast(Shape, shape), value=math.nan, since=0, **{**settled, **whole})
    return replace(drawn, least=bounds[0], most=bounds[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Values and schedules by parameter; a schedule overrules the value of the same name."""

    values: Mapping[str, Any]
    schedules: Mapping[str, Schedule]

    @classmethod
    def constant(cls, values: Mapping[str, Any]) -> Recipe:
        """Values alone."""
        return cls(values=dict(values), schedules={})

    def at(self, step: int) -> dict[str, Any]:
        """The effective value of every parameter while `step` steps are done."""
        if not self.schedules:
            return dict(self.values)
        return {**self.values, **{name: each.at(step) for name, each in self.schedules.items()}}

    def set(self, changes: Mapping[str, Any], step: int) -> Recipe:
        """These effective values from `step` on; a schedule keeps its shape and is rescaled to the value asked for."""
        schedules = dict(self.schedules)
        for name, value in changes.items():
            if name in schedules:
                now = schedules[name].unbounded(step)
                factor = value / now if now else math.inf
                if not math.isfinite(factor):
                    raise SettingsError(
                        f"{name}: its schedule has come to {now!r} and cannot be rescaled to {value!r}. End it first, "
                        f"by schedule {name} constant, and ask again; or go back to a step before, or fork from one."
                    )
                old = schedules[name]
                schedules[name] = replace(old, value=old.value * factor, floor=old.floor * factor)
        return Recipe(values={**self.values, **changes}, schedules=schedules)

    def scheduled(self, name: str, each: Schedule | None, step: int) -> Recipe:
        """With a schedule for one parameter that begins now at its present value; None: constant from now on."""
        now = self.at(step)[name]
        schedules = {other: one for other, one in self.schedules.items() if other != name}
        if each is not None:
            schedules[name] = replace(each, value=now, since=step)
        return Recipe(values={**self.values, name: now}, schedules=schedules)

    def to_json(self) -> dict[str, Any]:
        """As the record holds it."""
        return {
            "values": dict(self.values),
            "schedules": {name: each.to_dict() for name, each in self.schedules.items()},
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Recipe:
        """The recipe of a record."""
        return cls(
            values=found["values"], schedules={name: Schedule(**each) for name, each in found["schedules"].items()}
        )
