"""Records as they travel: one JSON object each, with nothing in it that JSON cannot say, and back without a loss.

    >>> from tuner.record.events import Noted
    >>> note = Noted(trial=None, step=None, by="ann", text="day 2", at=1.5)
    >>> record_to_json(7, note)
    {'sequence': 7, 'table': 'notes', 'row': [None, None, 'ann', 'day 2', 1.5]}
    >>> record_from_json(record_to_json(7, note)) == (7, note)
    True

A row has the fields of its record in their order. Bytes are base64, numbers that are not finite are texts, and what the
database keeps as JSON is the text it keeps.
"""

from __future__ import annotations

import base64
import math
from typing import Any

from tuner.errors import SettingsError, did_you_mean, quoted
from tuner.record.events import TABLES, Requested
from tuner.record.schema import SHAPES, DamagedRow
from tuner.record.store import Store
from tuner.record.told import not_understood
from tuner.values.plain import bounded

TABLE_OF = {record: table for table, record in TABLES.items()}
_REQUESTS = TABLE_OF[Requested]
_OF_TRIALS = frozenset(table for table, record in TABLES.items() if "trial" in SHAPES[record].names)


def page_of(
    store: Store, tables: str, after: int, most: int, *, until: int | None = None, trial: int | None = None
) -> dict[str, Any]:
    """A page of records as it travels: `records`, where the `next` page begins (None: there is none), and the `last`.

    `tables` are separated by commas; `requests`, which are counted by themselves, stand alone.
    """
    wanted = [each for each in tables.split(",") if each]
    for each in wanted:
        if each not in TABLES:
            raise SettingsError(f"there is no table {quoted(each)}. {did_you_mean(each, TABLES)}")
        if each == _REQUESTS and len(wanted) > 1:
            raise SettingsError("requests are counted by themselves: ask for them alone.")
        if trial is not None and each not in _OF_TRIALS:
            raise SettingsError(f"{each} is of no trial. Leave trial out, or ask for {', '.join(sorted(_OF_TRIALS))}.")
    with store.snapshot():
        last = store.version()
        found = store.page([TABLES[each] for each in wanted], after, most, until=until, trial=trial)
    more = found[-1][0] if len(found) == most else None
    return {"records": [record_to_json(place, record) for place, record in found], "next": more, "last": last}


def record_to_json(sequence: int, record: Any) -> dict[str, Any]:
    """A record as it travels."""
    shape = SHAPES[type(record)]
    row = shape.row(sequence, record)
    values = [_sayable(row[name]) for name in shape.names]
    return {"sequence": sequence, "table": TABLE_OF[type(record)], "row": values}


def record_from_json(said: Any) -> tuple[int, Any]:
    """The record that travelled, and its place."""
    try:
        kind, sequence, values = TABLES[said["table"]], said["sequence"], said["row"]
        shape = SHAPES[kind]
        if kind is Requested:
            values = [value.encode() if isinstance(value, str) else value for value in values]
        elif len(values) != len(shape.names):
            raise ValueError
        else:
            pairs = zip(shape.columns, values, strict=True)
            values = [_back(column.type.python_type, value) for column, value in pairs]
        return int(sequence), shape.record_of(values)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, DamagedRow) as error:
        raise not_understood(said) from error


def _sayable(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def _back(kind: type, value: Any) -> Any:
    if kind is bytes and isinstance(value, str):
        return base64.b64decode(value, validate=True)
    if isinstance(value, int) and bounded(value) != value:
        raise ValueError
    return float(value) if kind is float and isinstance(value, str | int) else value
