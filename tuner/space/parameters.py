"""The parameters of a space: a range of numbers on a scale, or a choice of a few options.

Both map a value to a place in [0, 1] and back, so that a sampler draws evenly there and knows nothing of scales.
"""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from tuner.errors import SettingsError, SpaceError, did_you_mean, quoted
from tuner.space.scales import SCALES, Scale
from tuner.values.arguments import plain_value
from tuner.values.numbers import exact, setting
from tuner.values.plain import real, writable

Changes = Literal["live", "never"]
Priority = Literal["first", "second", "third"]

# Beyond this the cells of neighbouring whole numbers are finer than the unit interval's floats can tell apart.
_LARGEST_INTEGER = 2**40
_MOST_BITS = 1000  # Python writes no whole number of more than 4300 digits


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """What a `Parameter` and a `Choice` have in common."""

    name: str = field(default="", compare=False)
    """Given by the space that holds it."""
    when: Mapping[str, Any] | None = field(default=None, hash=False)
    """The settings under which it exists: {other parameter: tuple of values}. Empty: always."""
    changes: Changes = "live"
    """`live` may change while a model trains; `never` is built into the model or its data."""
    priority: Priority | None = field(default=None, compare=False)
    """What to tune first, second, third."""
    why: str | None = field(default=None, compare=False)
    """Why it is searched so, in the words of whoever wrote the space."""
    likely: Any = None
    """A value that practice has found good, around which a search looks first; None: nothing is known."""

    def __post_init__(self) -> None:
        """Gives `when` its one form, each name with a tuple of values."""
        when = {} if self.when is None else self.when
        if isinstance(when, Mapping):
            when = {name: tuple(v) if isinstance(v, list | tuple) else (v,) for name, v in when.items()}
        object.__setattr__(self, "when", when)

    def problem(self) -> str | None:
        """Why this cannot be searched, and what to write in its place; None when it can."""
        if self.changes not in ("live", "never"):
            return f'changes must be "live" or "never", got changes={quoted(self.changes)}.'
        if self.priority not in (None, "first", "second", "third"):
            return f'priority must be "first", "second" or "third", got priority={quoted(self.priority)}.'
        if not isinstance(self.when, Mapping):
            return f'when must be a mapping, got when={quoted(self.when)}. Try when={{"optimizer": "adam"}}.'
        if self.why is not None and not isinstance(self.why, str):
            return f"why must be a text, got why={quoted(self.why)}."
        if self.likely is not None:
            try:
                replace(self, name="", likely=None).check(self.likely)
            except SettingsError as refused:
                return f"likely {refused}"
        return next((f"when {name} has no value to hold. Name one." for name, v in self.when.items() if not v), None)

    def to_unit(self, value: Any) -> float:
        """The value's place in [0, 1]; of a whole number or an option, the middle of its cell."""
        raise NotImplementedError

    def from_unit(self, u: float) -> Any:
        """The value at a place in [0, 1]; a place beyond an end gives that end."""
        raise NotImplementedError

    def check(self, value: Any) -> Any:
        """The value in its own type (int, float, the option itself), or a `SettingsError`."""
        raise NotImplementedError

    def in_words(self) -> str:
        """The values there are, as a person would say it."""
        raise NotImplementedError

    @property
    def condition(self) -> str:
        """When it exists, in words; empty: always."""
        when = self.when or {}
        return " and ".join(f"{name} is {' or '.join(map(repr, values))}" for name, values in when.items())

    def to_dict(self) -> dict[str, Any]:
        """What decides what is searched, as JSON can hold it."""
        when = {name: list(values) for name, values in (self.when or {}).items()}
        likely = {} if self.likely is None else {"likely": self.likely}
        return {"changes": self.changes, **({"when": when} if when else {}), **likely}

    def _nowhere(self, u: object) -> SettingsError:
        return self._refuse(f"has no place in the unit interval, got {quoted(u)}. Give a number from 0 to 1.")

    def _refuse(self, reason: str) -> SettingsError:
        return SettingsError(f"{self.name}: {reason}" if self.name else reason)


@dataclass(frozen=True, kw_only=True)
class Parameter(Dimension):
    """A range of numbers, both ends included, drawn evenly on its scale."""

    low: float
    high: float
    scale: Scale = "linear"
    type: Literal["float", "integer"] = "float"

    def __post_init__(self) -> None:
        """Gives the bounds, and the likely value, the type of the values."""
        super().__post_init__()
        for word in ("low", "high", "likely"):
            number = _number(getattr(self, word), self.type)
            if number is not None:
                object.__setattr__(self, word, number)

    def __repr__(self) -> str:
        maker, scale = (self.scale, "") if self.type == "float" else ("integer", f", scale={self.scale!r}")
        return f"{maker}({self.low!r}, {self.high!r}{'' if scale.endswith(repr('linear')) else scale}{_said(self)})"

    def problem(self) -> str | None:
        """Why this range cannot be searched, and what to write in its place; None when it can."""
        return _problem_of_words(self) or _problem_of_bounds(self) or _problem_of_scale(self) or super().problem()

    @cached_property
    def _line(self) -> tuple[Callable[[float], float], Callable[[float], float], float, float]:
        problem = self.problem()
        if problem:
            raise SpaceError(f"{self.name}: {problem}" if self.name else problem)
        bend, unbend = SCALES[self.scale]
        start, end = (bend(bound) for bound in self.ends)
        return bend, unbend, start, end - start

    @property
    def ends(self) -> tuple[float, float]:
        """Where draws begin and end: of whole numbers, half a number beyond the bounds."""
        half = 0.5 if self.type == "integer" else 0
        return self.low - half, self.high + half

    def place(self, value: float) -> float:
        """Where a number falls on the scale, without regard to cells: (bent value − start) / span."""
        bend, _, start, span = self._line
        return (bend(value) - start) / span

    def to_unit(self, value: Any) -> float:
        """The value's place in [0, 1]: exactly 0 and 1 at the bounds; of a whole number, the middle of its cell."""
        number = self.check(value)
        if self.type == "integer":
            return (self.place(number - 0.5) + self.place(number + 0.5)) / 2
        return self.place(number)

    def from_unit(self, u: float) -> Any:
        """The value at a place in [0, 1], within 1e-14 relative of the one that was placed there, exact at the bounds.

        That holds for ranges of up to 15 decades; on a linear scale the error is relative to the larger bound. A place
        beyond an end gives that end.
        """
        _, unbend, start, span = self._line
        try:
            inside = 0.0 < u < 1.0
        except TypeError:
            raise self._nowhere(u) from None
        if not inside:
            return self._end(u)
        value = unbend(start + span * u)
        if self.type == "integer":
            value = math.floor(value + 0.5)
        return min(max(value, self.low), self.high)

    def _end(self, u: float) -> float:
        if u != u:
            raise self._nowhere(u)
        return self.low if u <= 0 else self.high

    def check(self, value: Any) -> Any:
        """The value as int or float, or a `SettingsError`: not a number, not whole, outside the range."""
        number = _number(value, self.type)
        if number is None:
            raise self._refuse(f"must be a number from {exact(self.low)} to {exact(self.high)}, got {quoted(value)}.")
        if not self.low <= number <= self.high:
            raise self._refuse(
                f"must lie from {exact(self.low)} to {exact(self.high)}, got {quoted(number)}. "
                "Choose a value in that range, or widen the space."
            )
        if self.type == "integer" and not isinstance(number, int):
            raise self._refuse(f"must be a whole number, got {quoted(number)}. Try {round(number)}.")
        return number

    def in_words(self) -> str:
        """The values there are, as a person would say it."""
        return f"from {exact(self.low)} to {exact(self.high)}"

    def to_dict(self) -> dict[str, Any]:
        """What decides what is searched, as JSON can hold it."""
        return {"type": self.type, "scale": self.scale, "low": self.low, "high": self.high, **super().to_dict()}


@dataclass(frozen=True, kw_only=True)
class Choice(Dimension):
    """One of a few options, each as likely as the others; an option is a text, a number, true, false or None."""

    scale: ClassVar[str] = "choice"
    options: tuple[Any, ...]
    changes: Changes = "never"

    def __post_init__(self) -> None:
        """Takes values out of what NumPy or an enumeration wraps them in, so that a resumed trial is given the same."""
        super().__post_init__()
        if isinstance(self.options, list | tuple):
            object.__setattr__(self, "options", tuple(_unboxed(option) for option in self.options))
        object.__setattr__(self, "likely", _unboxed(self.likely))

    def __repr__(self) -> str:
        return f"choice({', '.join(map(repr, self.options))}{_said(self)})"

    def problem(self) -> str | None:
        """Why these options cannot be searched, and what to write in their place; None when they can."""
        if isinstance(self.options, tuple) and len(self.options) == 1 and isinstance(self.options[0], list | tuple):
            inside = ", ".join(map(quoted, self.options[0][:9]))
            return f"the options of a choice stand in a row, without brackets. Try choice({inside})."
        if not isinstance(self.options, tuple) or not self.options:
            return f'choice has no options, got {quoted(self.options)}. Try choice("relu", "tanh").'
        for index, option in enumerate(self.options):
            if not isinstance(option, str | int | float | None):
                return (
                    "options are texts, numbers, true, false or None, so that they can be recorded, got "
                    f"{quoted(option)}. Try a name, and look the rest up in the training function."
                )
            if isinstance(option, float) and not math.isfinite(option):
                return f"options must be finite, got {quoted(option)}. Leave it out."
            if isinstance(option, int) and option.bit_length() > _MOST_BITS:
                return f"options have at most {_MOST_BITS} bits, got {quoted(option)}. Try its logarithm, or a text."
            if isinstance(option, str) and not writable(option):
                return f"options must be texts that can be written down, got {quoted(option)}. Try a name for it."
            if option in self.options[:index]:
                return f"options must differ, got {quoted(option)} twice. Leave one out."
        return super().problem()

    def to_unit(self, value: Any) -> float:
        """The middle of the option's cell; the cells are equal and in the order the options were given."""
        return (self.options.index(self.check(value)) + 0.5) / len(self.options)

    def from_unit(self, u: float) -> Any:
        """The option whose cell holds the place; a place beyond an end gives the option at that end."""
        if (place := real(u)) is None or math.isnan(place):
            raise self._nowhere(u)
        return self.options[int(min(max(u, 0.0), 1.0) * len(self.options)) if u < 1 else -1]

    def check(self, value: Any) -> Any:
        """The option itself, or a `SettingsError`."""
        plain = _unboxed(value)
        for option in self.options if isinstance(plain, str | int | float | None) else ():
            if option == plain and isinstance(option, bool) == isinstance(plain, bool):
                return option
        known = ", ".join(map(repr, self.options))
        raise self._refuse(f"must be one of {known}, got {quoted(value)}. Choose one of them, or add it to the space.")

    def in_words(self) -> str:
        """The values there are, as a person would say it."""
        return f"one of {', '.join(map(repr, self.options))}"

    def to_dict(self) -> dict[str, Any]:
        """What decides what is searched, as JSON can hold it."""
        return {"choice": list(self.options), **super().to_dict()}


def _number(value: Any, type_: str) -> float | None:
    """The value as int or float; None when it is no number."""
    if type_ == "integer" and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    number = real(value)
    return int(number) if number is not None and type_ == "integer" and number.is_integer() else number


def _unboxed(value: Any) -> Any:
    """What NumPy or an enumeration wraps, as the Python value that a record gives back; what it cannot, as it is."""
    try:
        return plain_value("", value)
    except SettingsError:
        return value


def _problem_of_words(parameter: Parameter) -> str | None:
    if str(parameter.scale).startswith("int"):
        return f'a whole number is a type and not a scale, got scale={quoted(parameter.scale)}. Try type="integer".'
    if parameter.scale not in SCALES:
        return f"scale={quoted(parameter.scale)} is unknown. {did_you_mean(str(parameter.scale), SCALES)}"
    if parameter.type not in ("float", "integer"):
        return f"type={quoted(parameter.type)} is unknown. {did_you_mean(str(parameter.type), ['float', 'integer'])}"
    if parameter.type == "integer" and parameter.scale == "log_one_minus":
        return 'a whole number is never between 0 and 1, got scale="log_one_minus". Try scale="linear".'
    return None


def _problem_of_bounds(parameter: Parameter) -> str | None:
    for bound, value in (("low", parameter.low), ("high", parameter.high)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{bound} must be a number, got {bound}={quoted(value)}."
        if not abs(value) <= sys.float_info.max:  # false for nan; a whole number may be larger than any float
            return f"{bound} must be finite, got {bound}={quoted(value)}. Try the {bound}est value worth training."
        if parameter.type == "integer":
            if not isinstance(value, int):
                near = f"Try {bound}={round(value)}, or a float."
                return f"{bound} must be a whole number, got {bound}={quoted(value)}. {near}"
            if abs(value) > _LARGEST_INTEGER:
                return f"{bound} must lie within ±2**40, got {bound}={quoted(value)}. Try log(…), and round."
    return None


def _problem_of_scale(parameter: Parameter) -> str | None:
    low, high, scale = parameter.low, parameter.high, parameter.scale
    if scale == "log" and low <= 0:
        smaller = "1" if parameter.type == "integer" else setting(high * 1e-6)
        other = f'Try low={smaller}, or scale="linear".' if high > 0 else 'Try scale="linear".'
        return f"low must be above 0 on a log scale, got low={exact(low)}. {other}"
    if scale == "log_one_minus":
        if high >= 1:
            return f"high must be below 1, as 1-high is put on a log scale, got high={exact(high)}. Try high=0.9999."
        if low < 0:
            return f'low must be at least 0 on a 1-β scale, got low={exact(low)}. Try low=0, or scale="linear".'
    if low == high:
        return f"low and high are both {low!r}, so there is nothing to search. Try choice({low!r}), or widen the range."
    if low > high:
        return f"low must be below high, got low={low!r}, high={high!r}. Try low={high!r}, high={low!r}."
    bend, _ = SCALES[scale]
    start, end = (bend(bound) for bound in parameter.ends)
    if not 0 < end - start < math.inf:
        return (
            f"low={low!r} and high={high!r} are too {'near' if end == start else 'far apart'} to place values between."
        )
    return None


def _said(parameter: Dimension) -> str:
    """What the constructor was told beside the values, as it was written."""
    usual = "live" if getattr(parameter, "type", "choice") == "float" else "never"
    when = f", when={dict(parameter.when)!r}" if parameter.when else ""
    changes = f", changes={parameter.changes!r}" if parameter.changes != usual else ""
    return when + changes + ("" if parameter.likely is None else f", likely={parameter.likely!r}")
