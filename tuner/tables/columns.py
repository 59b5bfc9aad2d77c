"""The columns of every table, in order, and how values become them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, get_args

import numpy as np
import pandas as pd

from tuner.record.events import Cause, Purpose, RequestState, TrialState
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.values.plain import bounded

Columns: TypeAlias = dict[str, Any]
"""Finished columns by name."""

_TIME = "datetime64[us, UTC]"
_PURPOSE, _STATE, _CAUSE, _REQUEST_STATE = (
    pd.CategoricalDtype(list(get_args(words))) for words in (Purpose, TrialState, Cause, RequestState)
)

COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "trials": {
        "trial": "int64",
        "purpose": _PURPOSE,
        "state": _STATE,
        "why": "string",
        "round": "Int64",
        "parent": "string",
        "seed": "int64",
        "params.*": "as declared",
        "one_minus.*": "float64",
        "objective": "float64",
        "spread": "float64",
        "best_step": "Int64",
        "score.*": "float64",
        "steps": "int64",
        "started": _TIME,
        "seconds": "float64",
        "node": "string",
    },
    "reports": {
        "trial": "int64",
        "segment": "int64",
        "step": "int64",
        "name": "category",
        "value": "float64",
        "head": "bool",
        "at": _TIME,
    },
    "segments": {
        "trial": "int64",
        "segment": "int64",
        "parent_segment": "Int64",
        "from_step": "int64",
        "to_step": "int64",
        "cause": _CAUSE,
        "by": "string",
        "why": "string",
        "params.*": "as declared",
    },
    "rounds": {
        "round": "int64",
        "parameter": "string",
        "scale": "string",
        "low": "float64",
        "high": "float64",
        "trials": "int64",
        "best": "float64",
        "diverged": "float64",
        "why": "string",
    },
    "adjustments": {
        "request": "string",
        "trial": "int64",
        "step": "int64",
        "parameter": "string",
        "before": "object",
        "after": "object",
        "read_back": "object",
        "by": "string",
        "why": "string",
        "evidence": "string",
        "requested_at": _TIME,
        "accepted_at": _TIME,
        "verdict": "string",
    },
    "checkpoints": {
        "checkpoint": "int64",
        "trial": "int64",
        "segment": "int64",
        "step": "int64",
        "kind": "string",
        "bytes": "int64",
        "sha256": "string",
        "path": "string",
        "kept": "bool",
    },
    "notes": {"trial": "Int64", "step": "Int64", "by": "string", "text": "string", "at": _TIME},
    "requests": {
        "request": "string",
        "verb": "string",
        "arguments": "object",
        "by": "string",
        "why": "string",
        "state": _REQUEST_STATE,
        "detail": "string",
        "at": _TIME,
    },
    "winners": {
        "which": pd.CategoricalDtype(["best", "recommended"]),
        "trial": "int64",
        "params.*": "as declared",
        "one_minus.*": "float64",
        "score": "float64",
        "doubt": "float64",
        "tried": "int64",
    },
}
"""Every table's columns in order, with their dtypes; `.*` stands for one column per parameter or score."""


def frame(table: str, values: Mapping[str, Any], spread: Mapping[str, Columns] | None = None) -> pd.DataFrame:
    """The table's columns in their order and dtypes; `spread` holds those that a `.*` stands for."""
    columns: Columns = {}
    for name, dtype in COLUMNS[table].items():
        columns |= (spread or {})[name] if name.endswith(".*") else {name: _array(values[name], dtype)}
    return pd.DataFrame(columns, copy=False)


def _array(values: Any, dtype: Any) -> Any:
    """Values as a column of that dtype; None becomes what is missing there."""
    if isinstance(dtype, pd.CategoricalDtype):
        return pd.Categorical(values, dtype=dtype)
    if dtype == "category":
        return values
    if dtype == _TIME:
        return _times(np.asarray(values, dtype=np.float64))
    if dtype == "object":
        column = np.empty(len(values), dtype=object)
        column[:] = list(values)
        return column
    if dtype in ("int64", "float64", "bool"):
        return np.asarray(values, dtype=dtype)
    return pd.array(values, dtype=dtype)


def _times(seconds: np.ndarray[Any, np.dtype[np.float64]]) -> pd.DatetimeIndex:
    """Unix seconds as times in UTC to the microsecond, which is what a float of seconds can tell; nan as NaT."""
    known = np.isfinite(seconds)
    micro = np.round(np.where(known, seconds, 0.0) * 1e6).astype(np.int64).view("datetime64[us]")
    micro[~known] = np.datetime64("NaT", "us")
    return pd.DatetimeIndex(micro).tz_localize("UTC")


def fields(records: Sequence[Any], names: Iterable[str]) -> dict[str, list[Any]]:
    """Columns of the fields that records have, by name."""
    return {name: [getattr(record, name) for record in records] for name in names}


def params(space: Space | None, known: Iterable[str], settings: Sequence[Mapping[str, Any]]) -> Columns:
    """One column a parameter of the space, then one a setting known beyond it; NA where the settings leave it out."""
    declared: dict[str, str | None] = {name: _declared(dimension) for name, dimension in (space or {}).items()}
    for name in known:
        declared.setdefault(name, None)
    return {
        f"params.{name}": _param([each.get(name, pd.NA) for each in settings], dtype)
        for name, dtype in declared.items()
    }


def one_minus(name: str, settings: Sequence[Mapping[str, Any]]) -> Any:
    """The column of 1 − a setting; nan where that is no number."""
    values = [each.get(name) for each in settings]
    return np.array([1.0 - value if isinstance(value, int | float) else np.nan for value in values], dtype=np.float64)


def _declared(dimension: Parameter | Choice) -> str:
    """The dtype that holds a parameter's values and the lack of one."""
    if isinstance(dimension, Parameter):
        return "Int64" if dimension.type == "integer" else "float64"
    return _dtype(dimension.options)


def _dtype(values: Iterable[Any]) -> str:
    """The narrowest dtype that holds the values as they are."""
    values = list(values)
    if any(type(value) is int and bounded(value) != value for value in values):
        return "object"
    found = set(map(type, values))
    kinds = frozenset(next((kind for kind in _DTYPES if issubclass(each, kind)), object) for each in found)
    if len(kinds) == 1:
        return _DTYPES.get(next(iter(kinds)), "object")
    return "float64" if kinds == {int, float} else "object"


_DTYPES: Mapping[type, str] = {bool: "boolean", int: "Int64", float: "float64", str: "string"}


def _param(values: list[Any], dtype: str | None) -> Any:
    """A parameter's column; one that holds what was not declared, such as a schedule, becomes an object column."""
    found = [value for value in values if value is not pd.NA]
    needed = _dtype(found)
    if dtype is None:
        dtype = needed
    elif found and needed != dtype and (dtype, needed) != ("float64", "Int64"):
        dtype = "object"
    if dtype == "float64":
        return np.array([np.nan if value is pd.NA else value for value in values], dtype=np.float64)
    return _array(values, dtype)
