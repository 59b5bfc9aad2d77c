"""The checks of what is set while a babysat run trains: against its space, or against its own settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.errors import SettingsError, did_you_mean, quoted
from tuner.record.recipe import limits, possible, schedule
from tuner.record.trial import Trial
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space


def checked(space: Space | None, trial: Trial, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they are to be set."""
    if not values:
        raise SettingsError("nothing to set: name at least one parameter, as in learning_rate=0.003.")
    return {name: _check(space, trial, name, value) for name, value in values.items()}


def _changeable(space: Space | None, trial: Trial, name: str) -> Parameter | Choice | None:
    """What the space says of a setting that may change; None where it says nothing."""
    now = trial.recipe.values
    if name not in now:
        raise SettingsError(f"{name} is no setting of this run. {did_you_mean(name, now)}", code="unknown_setting")
    if space is None or name not in space:
        return None
    if space[name].changes == "never":
        raise SettingsError(
            f"{name} is built into the model and cannot change while it trains: so its space says, as it does of "
            'every whole number without changes = "live". Start another run with it.'
        )
    return space[name]


def _check(space: Space | None, trial: Trial, name: str, value: Any) -> Any:
    dimension = _changeable(space, trial, name)
    if dimension is not None:
        return dimension.check(value)
    old = trial.recipe.values[name]
    number = isinstance(old, int | float) and not isinstance(old, bool)
    if number != (isinstance(value, int | float) and not isinstance(value, bool)) or (
        not number and type(value) is not type(old)
    ):
        kind = "number" if number else type(old).__name__
        raise SettingsError(f"{name} is {quoted(old)}, so it must stay a {kind}, got {quoted(value)}.")
    return possible(name, value)


def scheduled(space: Space | None, trial: Trial, given: Mapping[str, Any]) -> dict[str, Any]:
    """The schedule that a setting is to follow, by its name; None: it stays where it is."""
    name, shape = given["parameter"], given["shape"]
    dimension = _changeable(space, trial, name)
    value = trial.recipe.at(trial.steps)[name]
    whole = isinstance(dimension, Parameter) and dimension.type == "integer"
    if whole or isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{name} is {value!r}: only a number that need not be whole can follow a schedule.")
    if shape == "constant":
        return {name: None}
    asked: Mapping[str, Any] = given.get("shape_settings") or {}
    bounds = limits(name)
    if "floor" in asked:
        possible(name, asked["floor"])
    if isinstance(dimension, Parameter):
        bounds = dimension.low, dimension.high
        if "floor" in asked:
            dimension.check(asked["floor"])
    return {name: schedule(name, shape, asked, bounds=bounds)}
