"""The space that is searched: its parameters by name, settings and points, and which of them exist together."""

from __future__ import annotations

import graphlib
import keyword
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from tuner.errors import SettingsError, SpaceError, did_you_mean, quoted
from tuner.space.files import parameter_of, read, tables_of, tables_of_json
from tuner.space.parameters import Choice, Dimension, Parameter
from tuner.values.arguments import checked
from tuner.values.plain import clean

if TYPE_CHECKING:
    from typing import Self

    from numpy import float64
    from numpy.random import Generator
    from numpy.typing import NDArray


class Space(Mapping[str, Parameter | Choice]):
    """The parameters that are searched: a mapping of their names, in order.

    Args:
        **parameters: What `linear`, `log`, `log_one_minus`, `integer` and `choice` return, by name; at least one. A
            name is an identifier of Python, without an underscore in front.

    Raises:
        SpaceError: No parameters, a name that is none, or conditions that no settings can meet.

    Example:
        >>> space = Space(learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.9, 0.999))
        >>> space.to_unit({"learning_rate": 1e-4, "beta": 0.999})
        (0.0, 1.0)
    """

    def __init__(self, /, *misplaced: Never, **parameters: Parameter | Choice) -> None:
        if misplaced:
            raise SpaceError(
                f"Space takes its parameters by name, got {quoted(misplaced[0])}. "
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
        """The names that exist under these settings; a child of an inactive parameter does not.

        Args:
            params: Settings by name; what is missing holds for no condition.

        Returns:
            The names, in the space's order.

        Raises:
            SettingsError: No mapping.

        Example:
            >>> beta2 = log_one_minus(0.9, 0.9999, when={"optimizer": "adam"})
            >>> space = Space(optimizer=choice("sgd", "adam"), beta2=beta2)
            >>> space.active({"optimizer": "sgd"})
            ('optimizer',)
        """
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
        """The settings in the space's order and types, where they fit.

        Args:
            params: Every active parameter with a value in its range, and no other.

        Returns:
            The settings: whole numbers as int, others as float, options as they were declared.

        Raises:
            SettingsError: One that is unknown, missing, inactive or out of range; it says which.

        Example:
            >>> Space(units=integer(50, 100)).check({"units": 64.0})
            {'units': 64}
        """
        _by_name(params)
        for name in params:
            if name not in self._parameters:
                told = clean(name, 80) if isinstance(name, str) else quoted(name)
                raise SettingsError(f"{told} is not a parameter of this space. {did_you_mean(told, self)}")
        checked: dict[str, Any] = {}
        for name in self._order:
            parameter = self._parameters[name]
            if not self._holds(name, checked, checked):
                if name in params:
                    raise SettingsError(
                        f"{name} exists only when {parameter.condition}, got {name}={quoted(params[name])}. "
                        "Leave it out."
                    )
            elif name not in params:
                raise SettingsError(f"{name} is missing. Add {name}, {parameter.in_words()}.")
            else:
                checked[name] = parameter.check(params[name])
        return {name: checked[name] for name in self if name in checked}

    @checked()
    def to_unit(self, params: Mapping[str, Any]) -> tuple[float, ...]:
        """Where settings lie in the unit cube; `from_unit` leads back within 1e-14 relative, exactly at bounds.

        Args:
            params: Every active parameter with a value in its range, and no other.

        Returns:
            One place in [0, 1] per parameter, in order; nan for one that is inactive.

        Raises:
            SettingsError: Settings that do not fit.

        Example:
            >>> Space(rate=log(1e-4, 1.0)).to_unit({"rate": 0.01})
            (0.5,)
        """
        checked = self.check(params)
        return tuple(
            parameter.to_unit(checked[name]) if name in checked else math.nan for name, parameter in self.items()
        )

    @checked()
    def from_unit(self, point: Sequence[float] | NDArray[float64]) -> dict[str, Any]:
        """The settings at a point of the unit cube.

        Args:
            point: One number per parameter, in order; one beyond 0 or 1 gives that end.

        Returns:
            The settings; inactive parameters are left out.

        Raises:
            SettingsError: Another number of coordinates, or what is no number.

        Example:
            >>> Space(units=integer(50, 100), batch=choice(32, 64)).from_unit([0.0, 1.0])
            {'units': 50, 'batch': 64}
        """
        try:
            point = [float(place) for place in point]
        except (TypeError, ValueError, OverflowError):
            raise SettingsError(
                f"a point of this space has a number from 0 to 1 for each of {', '.join(self)}, got {quoted(point)}."
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
        """Settings drawn at random, evenly on every parameter's own scale.

        Args:
            rng: A generator of NumPy; it moves on by one number per parameter.

        Returns:
            The settings; inactive parameters are left out.

        Raises:
            SettingsError: What is no generator.

        Example:
            >>> import numpy
            >>> space = Space(rate=log(1e-4, 1.0))
            >>> space.sample(numpy.random.default_rng(0)) == space.sample(numpy.random.default_rng(0))
            True
        """
        if not hasattr(rng, "bit_generator"):
            raise SettingsError(
                f"a draw takes a generator of NumPy, got {quoted(rng)}. Try numpy.random.default_rng(0)."
            )
        return self.from_unit(rng.random(len(self)))

    def _holds(self, name: str, params: Mapping[str, Any], exists: Mapping[str, Any] | set[str]) -> bool:
        when = self._parameters[name].when
        return not when or all(parent in exists and params.get(parent) in values for parent, values in when.items())

    def to_dict(self) -> dict[str, Any]:
        """The space as JSON can hold it: order, scales, bounds, conditions, likely values; no comments.

        Returns:
            A mapping that `from_dict` reads.

        Example:
            >>> Space(rate=log(1e-4, 1.0)).to_dict()["parameters"][0]["scale"]
            'log'
        """
        return {"parameters": [{"name": name, **parameter.to_dict()} for name, parameter in self.items()]}

    @classmethod
    @checked(SpaceError)
    def from_dict(cls, description: Mapping[str, Any]) -> Self:
        """The space that `to_dict` described.

        Args:
            description: Such a mapping.

        Returns:
            An equal space.

        Raises:
            SpaceError: What describes no space, or one that cannot be searched.

        Example:
            >>> space = Space(rate=log(1e-4, 1.0))
            >>> Space.from_dict(space.to_dict()) == space
            True
        """
        tables = description.get("parameters") if isinstance(description, Mapping) else None
        if not isinstance(tables, list) or not all(
            isinstance(table, Mapping) and isinstance(table.get("name"), str) for table in tables
        ):
            raise SpaceError("a space is described by a list of parameters, each with its name: see Space.to_dict.")
        return cls(**{t["name"]: parameter_of(t["name"], {key: t[key] for key in t if key != "name"}) for t in tables})

    @classmethod
    @checked(SpaceError)
    def from_toml(cls, text: str, source: str = "the text") -> Self:
        r"""The space that a TOML text declares, one table per parameter.

        Args:
            text: TOML; a table has `low`, `high` and `scale`, or `choice`, and what else is declared.
            source: What errors call it; by default the text.

        Returns:
            The space, its parameters in the text's order.

        Raises:
            SpaceError: No TOML, or what cannot be searched.

        Example:
            >>> Space.from_toml('[rate]\nscale = "log"\nlow = 1e-4\nhigh = 1.0')
            Space(rate=log(0.0001, 1.0))
        """
        source = source if isinstance(source, str) else quoted(source)
        return cls._of(tables_of(text, source), source)

    @classmethod
    def _of(cls, tables: Mapping[str, Any], source: str) -> Self:
        try:
            return cls(**{name: parameter_of(name, table) for name, table in tables.items()})
        except SpaceError as error:
            raise SpaceError(f"{source}: {error}") from None

    @classmethod
    @checked(SpaceError)
    def load(cls, name_or_path: str | Path) -> Self:
        """The space of a name, or the one in a file: TOML, or JSON, which has a word for an option that is None.

        Args:
            name_or_path: One of those that tuner brings, such as "sgd_momentum", or a file; JSON ends with .json.

        Returns:
            The space.

        Raises:
            SpaceError: No such name or file, or what cannot be searched.

        Example:
            >>> "learning_rate" in Space.load("sgd_momentum")
            True
        """
        path, text = read(name_or_path)
        if path.suffix != ".json":
            return cls.from_toml(text, source=str(path))
        return cls._of(tables_of_json(text, str(path)), str(path))


def _by_name(params: object) -> None:
    if not isinstance(params, Mapping):
        raise SettingsError(f"settings are a mapping of names to values, got {quoted(params)}.")


def _named(name: str, parameter: Parameter | Choice) -> Parameter | Choice:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise SpaceError(
            f"{quoted(name)} cannot name a parameter: it must be a word that Python takes as a name, "
            "without an underscore in front. Try learning_rate."
        )
    if not isinstance(parameter, Parameter | Choice):
        options = ", ".join(map(quoted, parameter[:9])) if isinstance(parameter, list | tuple) else quoted(parameter)
        raise SpaceError(
            f"{name}: a parameter is made with linear, log, log_one_minus, integer or choice, got {quoted(parameter)}. "
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
