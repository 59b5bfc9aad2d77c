"""Knows what is searched: each parameter's values, and their places in the unit interval by the right scale.

A `Space` names its parameters. A `Parameter` is a range of numbers on a scale; a `Choice` is one of a few options.
Both map a value to a place in [0, 1] and back, so that a sampler draws evenly there and knows nothing of scales:

    linear          value = low + u·(high − low)
    log             log(value) is even in u: every decade gets the same share
    log_one_minus   log(1 − value) is even in u: every decade of 1−β gets the same share
"""

from __future__ import annotations

import graphlib
import keyword
import math
import numbers
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Never, TypedDict, TypeVar, Unpack

from tuner.arguments import checked, plain_value, unknown
from tuner.errors import SettingsError, SpaceError, did_you_mean, shown
from tuner.plain import clean, real, writable

if TYPE_CHECKING:
    from typing import Self

    from numpy import float64
    from numpy.random import Generator
    from numpy.typing import NDArray

Scale = Literal["linear", "log", "log_one_minus"]
Changes = Literal["live", "never"]
Priority = Literal["first", "second", "third"]


def _bent_by_one_minus(value: float) -> float:
    # log1p keeps small β exact to the last digits; near 1 the difference 1-β is exact (Sterbenz 1974).
    return -math.log1p(-value)


def _unbent_by_one_minus(bent: float) -> float:
    return -math.expm1(-bent)


# Each scale is a pair: what bends the range until draws are even in it, and the way back.
_SCALES: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "linear": (float, float),
    "log": (math.log, math.exp),
    "log_one_minus": (_bent_by_one_minus, _unbent_by_one_minus),
}
# Beyond this the cells of neighbouring whole numbers are finer than the unit interval's floats can tell apart.
_LARGEST_INTEGER = 2**40
_MOST_BITS = 1000  # Python writes no whole number of more than 4300 digits


class Declared(TypedDict, total=False):
    """What may be said of any parameter beside its values."""

    when: Mapping[str, Any] | None
    changes: Changes
    priority: Priority | None
    why: str | None


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

    def __post_init__(self) -> None:
        """Gives `when` its one form, each name with a tuple of values."""
        when = {} if self.when is None else self.when
        if isinstance(when, Mapping):
            when = {name: tuple(v) if isinstance(v, list | tuple) else (v,) for name, v in when.items()}
        object.__setattr__(self, "when", when)

    def problem(self) -> str | None:
        """Why this cannot be searched, and what to write in its place; None when it can."""
        if self.changes not in ("live", "never"):
            return f'changes must be "live" or "never", got changes={shown(self.changes)}.'
        if self.priority not in (None, "first", "second", "third"):
            return f'priority must be "first", "second" or "third", got priority={shown(self.priority)}.'
        if not isinstance(self.when, Mapping):
            return f'when must be a mapping, got when={shown(self.when)}. Try when={{"optimizer": "adam"}}.'
        if self.why is not None and not isinstance(self.why, str):
            return f"why must be a text, got why={shown(self.why)}."
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

    def to_dict(self) -> dict[str, Any]:
        """What decides what is searched, as JSON can hold it."""
        when = {name: list(values) for name, values in (self.when or {}).items()}
        return {"changes": self.changes, **({"when": when} if when else {})}

    def _nowhere(self, u: object) -> SettingsError:
        return self._refuse(f"has no place in the unit interval, got {shown(u)}. Give a number from 0 to 1.")

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
        """Gives the bounds the type of the values."""
        super().__post_init__()
        for bound in ("low", "high"):
            number = _number(getattr(self, bound), self.type)
            if number is not None:
                object.__setattr__(self, bound, number)

    def __repr__(self) -> str:
        maker, scale = (self.scale, "") if self.type == "float" else ("integer", f", scale={self.scale!r}")
        return f"{maker}({self.low!r}, {self.high!r}{'' if scale.endswith(repr('linear')) else scale}{_said(self)})"

    def problem(self) -> str | None:
        """Why this range cannot be searched, and what to write in its place; None when it can."""
        return super().problem() or _problem_of_words(self) or _problem_of_bounds(self) or _problem_of_scale(self)

    @cached_property
    def _line(self) -> tuple[Callable[[float], float], Callable[[float], float], float, float]:
        problem = self.problem()
        if problem:
            raise SpaceError(f"{self.name}: {problem}" if self.name else problem)
        bend, unbend = _SCALES[self.scale]
        start, end = (bend(bound) for bound in _ends(self))
        return bend, unbend, start, end - start

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
            raise self._refuse(f"must be a number from {self.low:g} to {self.high:g}, got {shown(value)}.")
        if not self.low <= number <= self.high:
            raise self._refuse(
                f"must lie from {self.low:g} to {self.high:g}, got {shown(number)}. "
                "Choose a value in that range, or widen the space."
            )
        if self.type == "integer" and not isinstance(number, int):
            raise self._refuse(f"must be a whole number, got {shown(number)}. Try {round(number)}.")
        return number

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

    def __repr__(self) -> str:
        return f"choice({', '.join(map(repr, self.options))}{_said(self)})"

    def problem(self) -> str | None:
        """Why these options cannot be searched, and what to write in their place; None when they can."""
        if isinstance(self.options, tuple) and len(self.options) == 1 and isinstance(self.options[0], list | tuple):
            inside = ", ".join(map(shown, self.options[0][:9]))
            return f"the options of a choice stand in a row, without brackets. Try choice({inside})."
        if not isinstance(self.options, tuple) or not self.options:
            return f'choice has no options, got {shown(self.options)}. Try choice("relu", "tanh").'
        for index, option in enumerate(self.options):
            if not isinstance(option, str | int | float | None):
                return (
                    "options are texts, numbers, true, false or None, so that they can be recorded, got "
                    f"{shown(option)}. Try a name, and look the rest up in the training function."
                )
            if isinstance(option, float) and not math.isfinite(option):
                return f"options must be finite, got {shown(option)}. Leave it out."
            if isinstance(option, int) and option.bit_length() > _MOST_BITS:
                return f"options have at most {_MOST_BITS} bits, got {shown(option)}. Try its logarithm, or a text."
            if isinstance(option, str) and not writable(option):
                return f"options must be texts that can be written down, got {shown(option)}. Try a name for it."
            if option in self.options[:index]:
                return f"options must differ, got {shown(option)} twice. Leave one out."
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
        raise self._refuse(f"must be one of {known}, got {shown(value)}. Choose one of them, or add it to the space.")

    def to_dict(self) -> dict[str, Any]:
        """What decides what is searched, as JSON can hold it."""
        return {"choice": list(self.options), **super().to_dict()}


@checked(SpaceError)
def linear(low: float, high: float, **declared: Unpack[Declared]) -> Parameter:
    """A number drawn evenly from low to high.  `when`, `changes`, `priority`, `why`: see `Parameter`."""
    return _declared("linear", Parameter, declared, low=low, high=high, scale="linear")


@checked(SpaceError)
def log(low: float, high: float, **declared: Unpack[Declared]) -> Parameter:
    """A positive number whose every decade is as likely as the others: value = 10^r, r even.

    >>> round(log(1e-4, 1.0).from_unit(0.5), 12)
    0.01
    """
    return _declared("log", Parameter, declared, low=low, high=high, scale="log")


@checked(SpaceError)
def log_one_minus(low: float, high: float, **declared: Unpack[Declared]) -> Parameter:
    """A number β below 1 whose 1−β is drawn on a log scale: β = 1 − 10^r, r even; bounds are given in β.

    Draws are dense where the averaging window 1/(1−β) is sensitive: 0.9 averages 10 steps, 0.999 averages 1000.

    >>> round(log_one_minus(0.9, 0.999).from_unit(0.5), 12)
    0.99
    """
    return _declared("log_one_minus", Parameter, declared, low=low, high=high, scale="log_one_minus")


@checked(SpaceError)
def integer(low: int, high: int, scale: Literal["linear", "log"] = "linear", **declared: Unpack[Declared]) -> Parameter:
    """A whole number from low to high; on a log scale each covers its own stretch from n − ½ to n + ½."""
    built_in = Declared(changes="never") | declared
    return _declared("integer", Parameter, built_in, low=low, high=high, scale=scale, type="integer")


@checked(SpaceError)
def choice(*options: Any, **declared: Unpack[Declared]) -> Choice:
    """One of the options, each as likely as the others."""
    return _declared("choice", Choice, declared, options=options)


_Made = TypeVar("_Made", Parameter, Choice)


def _declared(maker: str, kind: type[_Made], declared: Declared, **values: Any) -> _Made:
    """What a call has declared, or a `SpaceError` where it cannot be searched."""
    known = Declared.__annotations__
    for word in declared:
        if word not in known:
            raise SpaceError(unknown(maker, word, known))
    made = kind(**values, **declared)
    problem = made.problem()
    if problem:
        raise SpaceError(problem)
    return made


class Space(Mapping[str, Parameter | Choice]):
    """The parameters that are searched, by name and in order.

    >>> space = Space(learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.9, 0.999))
    >>> space.to_unit({"learning_rate": 1e-4, "beta": 0.999})
    (0.0, 1.0)
    """

    def __init__(self, /, *misplaced: Never, **parameters: Parameter | Choice) -> None:
        if misplaced:
            raise SpaceError(
                f"Space takes its parameters by name, got {shown(misplaced[0])}. "
                "Try Space(learning_rate=log(1e-4, 1.0)), or Space(**that)."
            )
        if not parameters:
            raise SpaceError("a space needs a parameter, got none. Try Space(learning_rate=log(1e-4, 1.0)).")
        named = {name: _named(name, parameter) for name, parameter in parameters.items()}
        self._parameters = {name: _with_conditions(parameter, named) for name, parameter in named.items()}
        self._order = _dependency_order(self._parameters)
        self._conditional = any(parameter.when for parameter in self.values())

    def __getitem__(self, name: str) -> Parameter | Choice:
        return self._parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # equality is by contents

    def __repr__(self) -> str:
        return f"Space({', '.join(f'{name}={parameter!r}' for name, parameter in self.items())})"

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in the order of a point's coordinates."""
        return tuple(self._parameters)

    @property
    def one_minus_names(self) -> tuple[str, ...]:
        """The parameters whose 1−value is what matters: tables show it beside them."""
        return tuple(name for name, parameter in self.items() if parameter.scale == "log_one_minus")

    @checked()
    def active(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """The names that exist under these settings; a child of an inactive parameter does not."""
        _by_name(params)
        if not self._conditional:
            return self.names
        exists: set[str] = set()
        for name in self._order:
            if self._holds(name, params, exists):
                exists.add(name)
        return tuple(name for name in self if name in exists)

    @checked()
    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The settings in the space's order and types, or a `SettingsError` that says which one does not fit."""
        _by_name(params)
        for name in params:
            if name not in self._parameters:
                told = clean(name, 80) if isinstance(name, str) else shown(name)
                raise SettingsError(f"{told} is not a parameter of this space. {did_you_mean(told, self)}")
        checked: dict[str, Any] = {}
        for name in self._order:
            parameter = self._parameters[name]
            if not self._holds(name, checked, checked):
                if name in params:
                    raise SettingsError(
                        f"{name} exists only when {_condition(parameter)}, got {name}={shown(params[name])}. "
                        "Leave it out."
                    )
            elif name not in params:
                raise SettingsError(f"{name} is missing. Add {name}, {_range(parameter)}.")
            else:
                checked[name] = parameter.check(params[name])
        return {name: checked[name] for name in self if name in checked}

    @checked()
    def to_unit(self, params: Mapping[str, Any]) -> tuple[float, ...]:
        """One place in [0, 1] per parameter, in order; nan for a parameter that these settings leave inactive."""
        checked = self.check(params)
        return tuple(
            parameter.to_unit(checked[name]) if name in checked else math.nan for name, parameter in self.items()
        )

    @checked()
    def from_unit(self, point: Sequence[float] | NDArray[float64]) -> dict[str, Any]:
        """The settings at a point, one coordinate per parameter; inactive parameters are left out."""
        try:
            point = [float(place) for place in point]
        except (TypeError, ValueError, OverflowError):
            raise SettingsError(
                f"a point of this space has a number from 0 to 1 for each of {', '.join(self)}, got {shown(point)}."
            ) from None
        if len(point) != len(self._parameters):
            raise SettingsError(
                f"a point of this space has {len(self)} coordinates ({', '.join(self)}), got {len(point)}."
            )
        if not self._conditional:
            return {
                name: parameter.from_unit(u)
                for (name, parameter), u in zip(self._parameters.items(), point, strict=True)
            }
        places = dict(zip(self._parameters, point, strict=True))
        params: dict[str, Any] = {}
        for name in self._order:
            if self._holds(name, params, params):
                params[name] = self._parameters[name].from_unit(places[name])
        return {name: params[name] for name in self._parameters if name in params}

    @checked()
    def sample(self, rng: Generator) -> dict[str, Any]:
        """Settings drawn at random, evenly on every parameter's own scale."""
        if not hasattr(rng, "bit_generator"):
            raise SettingsError(
                f"a draw takes a generator of NumPy, got {shown(rng)}. Try numpy.random.default_rng(0)."
            )
        return self.from_unit(rng.random(len(self)))

    def _holds(self, name: str, params: Mapping[str, Any], exists: Mapping[str, Any] | set[str]) -> bool:
        when = self._parameters[name].when or {}
        return all(parent in exists and params.get(parent) in values for parent, values in when.items())

    def to_dict(self) -> dict[str, Any]:
        """The identity of the space as JSON can hold it: order, scales, bounds, conditions; no comments."""
        return {"parameters": [{"name": name, **parameter.to_dict()} for name, parameter in self.items()]}

    @classmethod
    @checked(SpaceError)
    def from_dict(cls, description: Mapping[str, Any]) -> Self:
        """The space that `to_dict` described."""
        tables = description.get("parameters") if isinstance(description, Mapping) else None
        if not isinstance(tables, list) or not all(
            isinstance(table, Mapping) and isinstance(table.get("name"), str) for table in tables
        ):
            raise SpaceError("a space is described by a list of parameters, each with its name: see Space.to_dict.")
        return cls(**{t["name"]: _read(t["name"], {key: t[key] for key in t if key != "name"}) for t in tables})

    @classmethod
    @checked(SpaceError)
    def from_toml(cls, text: str, source: str = "the text") -> Self:
        """The space that a TOML text declares, one table per parameter; `source` is what errors call it."""
        source = source if isinstance(source, str) else shown(source)
        if not isinstance(text, str):
            raise SpaceError(f"{source} is not TOML: it is no text, got {shown(text)}.")
        try:
            tables = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise SpaceError(f"{source} is not TOML: {error}. Mend that line.") from None
        try:
            return cls(**{name: _read(name, table) for name, table in tables.items()})
        except SpaceError as error:
            raise SpaceError(f"{source}: {error}") from None

    @classmethod
    @checked(SpaceError)
    def load(cls, name_or_path: str | Path) -> Self:
        """The space of that name among `available_spaces`, or the one in a TOML file."""
        if not isinstance(name_or_path, str | Path):
            written = (
                "Write Space(**that)." if isinstance(name_or_path, Mapping) else 'Write Space.load("sgd_momentum").'
            )
            raise SpaceError(f"a space is named, or lies in a TOML file, got {shown(name_or_path)}. {written}")
        try:
            path = _find(name_or_path)
        except (OSError, ValueError, RuntimeError) as error:
            raise SpaceError(f"{shown(name_or_path)} is no file of a space: {error}.") from None
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise SpaceError(f"{path} cannot be read: {error}.") from None
        return cls.from_toml(text, source=str(path))


def available_spaces() -> dict[str, Path]:
    """The spaces that tuner brings, by name: within the package where installed, beside it in a source checkout."""
    return {path.stem: path for path in sorted(_spaces_folder().glob("*.toml"))}


def preview(parameter: Parameter | Choice) -> list[tuple[str, float]]:
    """Labelled stretches of the values and the share of draws each gets.

    One per option, per whole number (up to 12), per decade (of 1−β for `log_one_minus`), or per fifth if linear.
    """
    if isinstance(parameter, Choice):
        return [(str(option), 1 / len(parameter.options)) for option in parameter.options]
    edges = _edges(parameter)
    places = [parameter.place(edge) for edge in edges]
    return [
        (_stretch(parameter, low, high), right - left)
        for low, high, left, right in zip(edges, edges[1:], places, places[1:], strict=False)
    ]


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


def _by_name(params: object) -> None:
    if not isinstance(params, Mapping):
        raise SettingsError(f"settings are a mapping of names to values, got {shown(params)}.")


def _ends(parameter: Parameter) -> tuple[float, float]:
    half = 0.5 if parameter.type == "integer" else 0
    return parameter.low - half, parameter.high + half


def _text(number: float) -> str:
    """A number as a person writes it: 1e-6, not 1e-06."""
    return f"{number:.6g}".replace("e-0", "e-").replace("e+0", "e+")


def _problem_of_words(parameter: Parameter) -> str | None:
    if str(parameter.scale).startswith("int"):
        return f'a whole number is a type and not a scale, got scale={shown(parameter.scale)}. Try type="integer".'
    if parameter.scale not in _SCALES:
        return f"scale={shown(parameter.scale)} is unknown. {did_you_mean(str(parameter.scale), _SCALES)}"
    if parameter.type not in ("float", "integer"):
        return f"type={shown(parameter.type)} is unknown. {did_you_mean(str(parameter.type), ['float', 'integer'])}"
    if parameter.type == "integer" and parameter.scale == "log_one_minus":
        return 'a whole number is never between 0 and 1, got scale="log_one_minus". Try scale="linear".'
    return None


def _problem_of_bounds(parameter: Parameter) -> str | None:
    for bound, value in (("low", parameter.low), ("high", parameter.high)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{bound} must be a number, got {bound}={shown(value)}."
        if not abs(value) <= sys.float_info.max:  # false for nan; a whole number may be larger than any float
            return f"{bound} must be finite, got {bound}={shown(value)}. Try the {bound}est value worth training."
        if parameter.type == "integer":
            if not isinstance(value, int):
                near = f"Try {bound}={round(value)}, or a float."
                return f"{bound} must be a whole number, got {bound}={shown(value)}. {near}"
            if abs(value) > _LARGEST_INTEGER:
                return f"{bound} must lie within ±2**40, got {bound}={shown(value)}. Try log(…), and round."
    return None


def _problem_of_scale(parameter: Parameter) -> str | None:
    low, high, scale = parameter.low, parameter.high, parameter.scale
    if scale == "log" and low <= 0:
        smaller = "1" if parameter.type == "integer" else _text(high * 1e-6)
        other = f'Try low={smaller}, or scale="linear".' if high > 0 else 'Try scale="linear".'
        return f"low must be above 0 on a log scale, got low={_text(low)}. {other}"
    if scale == "log_one_minus":
        if high >= 1:
            return f"high must be below 1, as 1-high is put on a log scale, got high={_text(high)}. Try high=0.9999."
        if low < 0:
            return f'low must be at least 0 on a 1-β scale, got low={_text(low)}. Try low=0, or scale="linear".'
    if low == high:
        return f"low and high are both {low!r}, so there is nothing to search. Try choice({low!r}), or widen the range."
    if low > high:
        return f"low must be below high, got low={low!r}, high={high!r}. Try low={high!r}, high={low!r}."
    bend, _ = _SCALES[scale]
    start, end = (bend(bound) for bound in _ends(parameter))
    if not 0 < end - start < math.inf:
        return (
            f"low={low!r} and high={high!r} are too {'near' if end == start else 'far apart'} to place values between."
        )
    return None


def _said(parameter: Dimension) -> str:
    """What the constructor was told beside the values, as it was written."""
    usual = "live" if getattr(parameter, "type", "choice") == "float" else "never"
    when = f", when={dict(parameter.when)!r}" if parameter.when else ""
    return when + (f", changes={parameter.changes!r}" if parameter.changes != usual else "")


def _range(parameter: Parameter | Choice) -> str:
    if isinstance(parameter, Choice):
        return f"one of {', '.join(map(repr, parameter.options))}"
    return f"from {_text(parameter.low)} to {_text(parameter.high)}"


def _condition(parameter: Dimension) -> str:
    when = parameter.when or {}
    return " and ".join(f"{name} is {' or '.join(map(repr, values))}" for name, values in when.items())


def _named(name: str, parameter: Parameter | Choice) -> Parameter | Choice:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise SpaceError(
            f"{shown(name)} cannot name a parameter: it must be a word that Python takes as a name, "
            "without an underscore in front. Try learning_rate."
        )
    if not isinstance(parameter, Parameter | Choice):
        options = ", ".join(map(shown, parameter[:9])) if isinstance(parameter, list | tuple) else shown(parameter)
        raise SpaceError(
            f"{name}: a parameter is made with linear, log, log_one_minus, integer or choice, got {shown(parameter)}. "
            f"Try choice({options})."
        )
    problem = parameter.problem()
    if problem:
        raise SpaceError(f"{name}: {problem}")
    return replace(parameter, name=name)


def _with_conditions(parameter: Parameter | Choice, named: Mapping[str, Parameter | Choice]) -> Parameter | Choice:
    """The parameter with its `when` checked against the parameters it speaks of."""
    when: dict[str, tuple[Any, ...]] = {}
    for parent, values in (parameter.when or {}).items():
        if parent not in named:
            others = [name for name in named if name != parameter.name]
            raise SpaceError(
                f"{parameter.name}: when speaks of {parent}, which is not in the space. {did_you_mean(parent, others)}"
            )
        try:
            when[parent] = tuple(named[parent].check(value) for value in values)
        except SettingsError as error:
            raise SpaceError(f"{parameter.name}: when can never hold: {error}") from None
    return replace(parameter, when=when)


def _dependency_order(parameters: Mapping[str, Dimension]) -> tuple[str, ...]:
    """Parents before their children."""
    try:
        graph = {name: tuple(parameter.when or ()) for name, parameter in parameters.items()}
        return tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        circle = error.args[1]
        raise SpaceError(
            f"{circle[0]}: when runs in a circle: {' → '.join(circle)}. Take one of these conditions away."
        ) from None


_SAID = ("when", "changes", "priority", "why")
_OTHERWISE = {"min": "low", "max": "high", "distribution": "scale", "values": "choice", "choices": "choice"}
_NUMBER_KEYS = ("type", "scale", "low", "high", *_SAID)
_CHOICE_KEYS = ("choice", *_SAID)


def _read(name: str, table: Any) -> Parameter | Choice:
    """A parameter from its TOML table or its dict."""
    if not isinstance(table, Mapping):
        raise SpaceError(f"{name}: a parameter is a table, got {shown(table)}. Try [{name}] with scale, low and high.")
    known = _CHOICE_KEYS if "choice" in table else _NUMBER_KEYS
    for key in table:
        if key not in known:
            word = _OTHERWISE.get(key, "")
            meant = f"Did you mean {word}?" if word in (*known, "choice") else did_you_mean(key, known)
            raise SpaceError(f"{name}: key {key!r} is unknown here. {meant}")
    said: dict[str, Any] = {key: table[key] for key in _SAID if key in table}
    if "choice" in table:
        options = table["choice"]
        return Choice(options=tuple(options) if isinstance(options, list) else (options,), **said)
    whole = table.get("type") == "integer"
    for key in ("low", "high") if whole else ("scale", "low", "high"):
        if key not in table:
            example = "50" if whole else '"log"' if key == "scale" else "1e-4" if key == "low" else "1.0"
            raise SpaceError(f"{name}: {key} is missing. Add {key} = {example}, or choice = [ … ] for a few options.")
    numbers_ = {key: table[key] for key in ("type", "scale", "low", "high") if key in table}
    return Parameter(**({"changes": "never"} if whole else {}) | numbers_ | said)


def _spaces_folder() -> Path:
    package = Path(__file__).resolve().parents[1]
    installed = package / "search_spaces"
    return installed if installed.is_dir() else package.parent / "search_spaces"


def _find(name_or_path: str | Path) -> Path:
    """The TOML file meant by a name or a path."""
    spaces = available_spaces()
    path = Path(name_or_path).expanduser()
    if isinstance(name_or_path, str) and name_or_path in spaces:
        return spaces[name_or_path]
    if isinstance(name_or_path, str) and path.suffix != ".toml" and len(path.parts) < 2:
        raise SpaceError(
            f"there is no space {name_or_path!r}. {did_you_mean(name_or_path, spaces)} "
            f"A file of your own is given with its ending: {name_or_path}.toml."
        )
    if not path.is_file():
        brought = f" tuner brings a space of that name: {path.stem!r}." if path.stem in spaces else ""
        beside = [each.name for each in path.parent.glob("*.toml")]
        brought = brought or (f" {did_you_mean(path.name, beside)}" if beside else "")
        raise SpaceError(f"there is no file {path} (looked in {Path.cwd()}).{brought}")
    return path


def _edges(parameter: Parameter) -> list[float]:
    """Where a person would cut the range to see what is drawn."""
    low, high = _ends(parameter)
    if parameter.type == "integer" and high - low <= 12:
        return [low + step for step in range(int(high - low) + 1)]
    if parameter.scale == "linear":
        inner = [low + (high - low) * fifth / 5 for fifth in range(1, 5)]
    elif parameter.scale == "log":
        inner = _round_numbers(low, high)
    else:
        inner = [1 - number for number in reversed(_round_numbers(1 - high, 1 - low))]
    if parameter.type == "integer":
        inner = sorted({math.floor(edge) + 0.5 for edge in inner})
    return [low, *(edge for edge in inner if low < edge < high), high]


def _round_numbers(low: float, high: float) -> list[float]:
    """The powers of ten strictly between two positive numbers, thinned to a dozen; 2 and 5 times them where few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first < 2 else (1,)
    numbers_ = [float(f"{k}e{power}") for power in range(first, last + 1, (last - first) // 12 + 1) for k in factors]
    return [number for number in numbers_ if low * (1 + 1e-9) < number < high * (1 - 1e-9)]


def _stretch(parameter: Parameter, low: float, high: float) -> str:
    """A stretch of the range in words."""
    if parameter.type == "integer":
        low, high = low + 0.5, high - 0.5
    return _text(low) if low == high else f"{_text(low)} to {_text(high)}"
