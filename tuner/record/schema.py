"""The schema of a study's database: one table a record type, derived from its fields, and the lease beside them."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import import_module
from typing import Any

import sqlalchemy as sa

from tuner.errors import SettingsError, StudyError
from tuner.plain import clean
from tuner.record.events import (
    NOT_A_PERSON,
    REPEATING,
    TABLES,
    Record,
    Reported,
    Requested,
    StudyOpened,
    TrialCreated,
    TrialEnded,
)
from tuner.record.requests import understood

VERSION = 1

METADATA = sa.MetaData()
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # `json.loads` without looking for spaces
_COLUMN_TYPES: dict[Any, Any] = {
    bool: sa.Boolean,
    int: sa.BigInteger,
    float: sa.Double,
    str: sa.Text,
    bytes: sa.LargeBinary,
}


def _column(name: str, annotation: Any) -> tuple[sa.Column[Any], bool]:
    """The column for one field, and whether it holds JSON text."""
    if annotation is Any:
        return sa.Column(name, sa.Text), True
    nullable = False
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        annotation, nullable = inner[0], True
    if typing.get_origin(annotation) is typing.Literal:
        annotation = str
    return sa.Column(name, _COLUMN_TYPES[annotation], nullable=nullable), False


class DamagedRow(StudyError):
    """A row that no record was ever written as; whoever reads says where."""


@dataclass(frozen=True)
class Shape:
    """How one record type lies in its table."""

    table: sa.Table
    record: type[Any]
    names: tuple[str, ...]
    json_names: tuple[str, ...]
    json_places: tuple[int, ...]
    required_places: tuple[int, ...]
    setters: tuple[Callable[[Any, Any], None], ...]

    @property
    def columns(self) -> list[sa.Column[Any]]:
        """Its columns, in the order of the record's fields."""
        return [self.table.c[name] for name in self.names]

    def row(self, sequence: int | None, record: Record) -> dict[str, Any]:
        """A record as a row, at its place; None: the database gives it one."""
        row = {name: getattr(record, name) for name in self.names}
        for name in self.json_names:
            if row[name] is not None:
                row[name] = json.dumps(row[name])
        if sequence is not None:
            row["sequence"] = sequence
        return row

    def record_of(self, row: Sequence[Any]) -> Any:
        """A row (without its sequence) as a record."""
        if self.record is Requested:
            return _read_request(dict(zip(self.names, row, strict=True)))
        values = list(row)
        try:
            for place in self.json_places:
                if values[place] is not None:
                    values[place], _ = _scan(values[place], 0)
        except StopIteration:
            raise self._damaged(row) from None
        if None in values and any(values[place] is None for place in self.required_places):
            raise self._damaged(row)
        record = object.__new__(self.record)  # a frozen dataclass's own way takes four times as long
        for put, value in zip(self.setters, values, strict=True):
            put(record, value)
        return record

    def _damaged(self, row: Sequence[Any]) -> DamagedRow:
        return DamagedRow(f"a row of {self.table.name} makes no sense: {row!r:.200}")


def _read_request(values: dict[str, Any]) -> Requested:
    """A row that anybody may have written: what makes no sense in it is kept as text, for its refusal to show."""
    texts = {name: values[name] for name in ("request", "verb", "by", "why", "arguments")}
    texts = {name: (text or b"").decode("utf-8", "replace") for name, text in texts.items()}
    written = texts.pop("arguments") or "{}"
    arguments: Any
    try:
        if len(written) > _LONGEST_ARGUMENTS:
            raise ValueError
        arguments = json.loads(written)
        arguments = understood(texts["verb"], arguments)
    except SettingsError:
        arguments = arguments if isinstance(arguments, dict) else {"unreadable": written[:_SHOWN]}
    except (ValueError, RecursionError):
        arguments = {"unreadable": written[:_SHOWN]}
    at = values["at"] if isinstance(values["at"], int | float) and 0 <= values["at"] < 1e11 else 0.0
    short = {name: clean(text, _LONGEST_WORD) for name, text in texts.items() if name != "why"}
    if short["by"].strip().casefold() in NOT_A_PERSON:
        short["by"] = f"{short['by'].strip()} (so called)"  # only people ask
    return Requested(arguments=arguments, at=float(at), why=texts["why"], **short)


_LOOKED_UP = {"reports": ("trial",), "segments": ("trial",), "requests": ("request",), "answers": ("request",)}


def _shape(name: str, record: type[Any]) -> Shape:
    hints = typing.get_type_hints(record)
    columns, json_names = [], []
    for spec in fields(record):
        column, is_json = _column(spec.name, hints[spec.name])
        columns.append(column)
        if is_json:
            json_names.append(spec.name)
    key = sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
    indexes = [sa.Index(f"{name}_by_{each}", each) for each in _LOOKED_UP.get(name, ())]
    table = sa.Table(name, METADATA, key, *columns, *indexes)
    names = tuple(spec.name for spec in fields(record))
    return Shape(
        table=table,
        record=record,
        names=names,
        json_names=tuple(json_names),
        json_places=tuple(names.index(each) for each in json_names),
        required_places=tuple(place for place, column in enumerate(columns) if not column.nullable),
        setters=tuple(getattr(record, each).__set__ for each in names),
    )


SHAPES: dict[type[Any], Shape] = {record: _shape(name, record) for name, record in TABLES.items()}
_LONGEST_ARGUMENTS, _LONGEST_WORD, _SHOWN = 1_000_000, 200, 200
REPORTS = SHAPES[Reported].table
REQUESTS = SHAPES[Requested].table
# Anybody may have written anything into any column: texts are read as the bytes they are, a time if it is a number.
AS_WRITTEN = [
    sa.case((sa.func.typeof(each).in_(("real", "integer")), each))
    if each.name == "at"
    else sa.cast(each, sa.LargeBinary)
    for each in SHAPES[Requested].columns
]
LEASE = sa.Table(
    "lease",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("born", sa.Text, nullable=False),
    sa.Column("heartbeat", sa.Double, nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
)


def _winner(order: Callable[[Any], Any]) -> sa.Select[Any]:
    """The trial of the search that ended best, by its last end, its score, and at which step."""
    ends, created = SHAPES[TrialEnded].table.c, SHAPES[TrialCreated].table.c
    repeats = sa.select(created.trial).where(created.purpose.in_(sorted(REPEATING)))
    latest = sa.select(sa.func.max(ends.sequence)).group_by(ends.trial)
    counting = (
        ends.sequence.in_(latest),
        ends.best_score.is_not(None),
        ends.state != "diverged",
        ends.trial.not_in(repeats),
    )
    found = sa.select(ends.trial, ends.best_score, ends.best_step).where(*counting)
    return found.order_by(order(ends.best_score), ends.trial).limit(1)


def _opened() -> sa.Select[Any]:
    """Kind and identity of the study, and how many trials it has and have ended."""
    opened, ended = SHAPES[StudyOpened].table.c, SHAPES[TrialEnded].table.c.trial
    trials = sa.select(sa.func.count()).select_from(SHAPES[TrialCreated].table).scalar_subquery()
    ends = sa.select(sa.func.count(sa.distinct(ended))).scalar_subquery()
    return sa.select(opened.kind, opened.identity, trials, ends).order_by(opened.sequence).limit(1)


HELD = sa.select(LEASE)
OPENED = _opened()
WINNERS = {"maximize": _winner(sa.desc), "minimize": _winner(sa.asc)}
BEAT = LEASE.update().where(LEASE.c.epoch == sa.bindparam("held")).values(heartbeat=sa.bindparam("now"))


@lru_cache
def compiled(statement: sa.Select[Any], dialect: str) -> str:
    """A statement as text, made once for all stores."""
    spoken = import_module(f"sqlalchemy.dialects.{dialect}").dialect()
    return str(statement.compile(dialect=spoken, compile_kwargs={"literal_binds": True}))
