"""The schema of a study's database: one table a record type, derived from its fields, and the lease beside them.

A file holds one study. A team's database holds many, in the same tables: there each row says with `study` whose it is.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal

import sqlalchemy as sa

from tuner.errors import SettingsError, StudyError
from tuner.record.events import (
    NOT_A_PERSON,
    REPEATING,
    TABLES,
    Answered,
    Led,
    Record,
    Requested,
    SegmentOpened,
    StudyOpened,
    TrialCreated,
    TrialDelayed,
    TrialEnded,
    TrialHeld,
)
from tuner.record.requests import understood
from tuner.values.plain import clean

VERSION = 1
"""What every lease says; a study of a higher one is refused."""

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


def _classes(column: sa.Column[Any]) -> frozenset[type]:
    """The classes of the values that a column is read as."""
    kind = column.type.python_type
    return frozenset({kind, type(None)} | ({int} if kind in (float, bool) else set()))  # as SQLite has them


def _words(annotation: Any) -> frozenset[str] | None:
    """The words that a field may be; None: it is no such field."""
    kinds = (annotation, *typing.get_args(annotation))
    return next((frozenset(typing.get_args(each)) for each in kinds if typing.get_origin(each) is Literal), None)


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
    classes: tuple[frozenset[type], ...]
    """What a value of each column may be; on SQLite any column takes anything."""
    words: tuple[tuple[int, frozenset[str | None]], ...]
    """The columns that hold one word of a few, and those."""
    seen: set[tuple[type, ...]] = field(default_factory=set)
    """The classes of rows that were found right, so that most rows need one look."""

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
        kinds = tuple(map(type, values))
        if kinds not in self.seen:
            if len(kinds) != len(self.classes) or any(map(lambda kind, may: kind not in may, kinds, self.classes)):
                raise self._damaged(row)
            self.seen.add(kinds)
        if any(values[place] not in words for place, words in self.words):
            raise self._damaged(row)
        try:
            for place in self.json_places:
                if values[place] is not None:
                    values[place], _ = _scan(values[place], 0)
        except (StopIteration, ValueError, RecursionError):
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
    texts = {name: text if isinstance(text, str) else _decoded(text) for name, text in texts.items()}
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


def _decoded(text: bytes | None) -> str:
    return (text or b"").decode("utf-8", "replace")


_LOOKED_UP = {"reports": ("trial",), "segments": ("trial",), "requests": ("request",), "answers": ("request",)}
_LONGEST_ARGUMENTS, _LONGEST_WORD, _SHOWN = 1_000_000, 200, 200


def newer(where: str, version: int | None) -> str | None:
    """Why a study cannot be read that was written as this version has it; None: it can."""
    if not isinstance(version, int):  # what a bad disk has left of it
        return f"{where} is damaged: its schema is {version!r}. Restore it from a copy."
    if version <= VERSION:
        return None
    return (
        f"{where} was written by a newer tuner: its schema is {version}, and this one knows up to {VERSION}. Update "
        "tuner to go on: pip install --upgrade tuner"
    )


class Schema:
    """The tables of a database, and the statements that every store of it makes."""

    asides: sa.Table
    """Of a team's database alone."""

    def __init__(self, *, shared: bool) -> None:
        """`shared`: many studies lie in the same tables, on PostgreSQL; else one does alone, on SQLite."""
        self._shared = shared
        self.metadata = sa.MetaData(schema="tuner" if shared else None)
        self.shapes: dict[type[Any], Shape] = {record: self._shape(name, record) for name, record in TABLES.items()}
        self.requests = self.shapes[Requested].table
        self.answers = self.shapes[Answered].table
        self.lease = self._lease()
        if shared:
            self.asides = self._asides()
        self.as_written: list[Any] = self._as_written()
        """The columns of a request as anybody may have written them."""
        self.held = sa.select(self.lease).where(*self.leased())
        self.opened = self._opened()
        self.aside = self.set_aside(everywhere=False)
        self.delay = self.delays(everywhere=False).limit(1)
        self.written = self._written()
        self.leader = self._leader()
        self.winners = {"maximize": self._winner(sa.desc), "minimize": self._winner(sa.asc)}
        self.clock = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)
        """The time by a server's clock, in Unix seconds."""
        heartbeat = self.clock if shared else sa.bindparam("now")
        self.beat = (
            self.lease.update()
            .where(self.lease.c.epoch == sa.bindparam("held"), *self.leased())
            .values(heartbeat=heartbeat)
        )
        self.ask = self._asking() if shared else self.requests.insert()

    def _asking(self) -> sa.Insert:
        """How a request is added to a team's database: one that is sent again is there once."""
        from sqlalchemy.dialects.postgresql import insert  # as long as a third of the rest: who reads a file needs none

        return insert(self.requests).on_conflict_do_nothing()

    def of(self, *tables: sa.Table) -> list[sa.ColumnElement[bool]]:
        """That rows of these tables are of the one study, by the parameter `of_study`; alone, all are."""
        return [table.c.study == sa.bindparam("of_study") for table in tables] if self._shared else []

    def leased(self) -> list[sa.ColumnElement[bool]]:
        """That the lease is the study's."""
        return [self.lease.c.id == sa.bindparam("of_study")] if self._shared else []

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _shape(self, name: str, record: type[Any]) -> Shape:
        hints = typing.get_type_hints(record)
        columns, json_names = [], []
        for spec in fields(record):
            column, is_json = _column(spec.name, hints[spec.name])
            columns.append(column)
            if is_json:
                json_names.append(spec.name)
        looked_up = _LOOKED_UP.get(name, ())
        keys = self._keys(record)
        own = ("study",) if self._shared else ()
        asked = self._shared and record is Requested
        indexes = [sa.Index(f"{name}_by_{each}", *own, each, unique=asked) for each in looked_up]
        if asked:
            indexes.append(sa.Index("requests_unanswered", "study", postgresql_where=sa.text("unanswered")))
        names = tuple(spec.name for spec in fields(record))
        return Shape(
            table=sa.Table(name, self.metadata, *keys, *columns, *indexes),
            record=record,
            names=names,
            json_names=tuple(json_names),
            json_places=tuple(names.index(each) for each in json_names),
            required_places=tuple(place for place, column in enumerate(columns) if not column.nullable),
            setters=tuple(getattr(record, each).__set__ for each in names),
            classes=tuple(_classes(column) for column in columns),
            words=tuple(
                (place, words | {None})
                for place, spec in enumerate(fields(record))
                if (words := _words(hints[spec.name])) is not None
            ),
        )

    def _keys(self, record: type[Any]) -> list[sa.Column[Any]]:
        """What a row has beside the fields of its record: its place, and whose it is."""
        if not self._shared:
            return [sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)]
        study = sa.Column("study", sa.BigInteger, primary_key=True, autoincrement=False)
        if record is not Requested:
            return [study, sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False)]
        # others than the one writer insert here, so the database counts; and a lower number may be seen later
        return [
            study,
            sa.Column("sequence", sa.BigInteger, sa.Identity(), primary_key=True),
            sa.Column("unanswered", sa.Boolean, nullable=False, server_default=sa.true()),
        ]

    def _lease(self) -> sa.Table:
        columns: list[sa.Column[Any]] = [
            sa.Column("epoch", sa.BigInteger, nullable=False),
            sa.Column("host", sa.Text, nullable=False),
            sa.Column("pid", sa.BigInteger, nullable=False),
            sa.Column("born", sa.Text, nullable=False),
            sa.Column("heartbeat", sa.Double, nullable=False),
            sa.Column("schema_version", sa.Integer, nullable=False),
        ]
        if not self._shared:
            return sa.Table("lease", self.metadata, sa.Column("id", sa.Integer, primary_key=True), *columns)
        key = sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True)
        return sa.Table("lease", self.metadata, key, sa.Column("name", sa.Text, nullable=False, unique=True), *columns)

    def _asides(self) -> sa.Table:
        """What is set aside for studies about to be begun, which have no number yet."""
        return sa.Table(
            "asides",
            self.metadata,
            sa.Column("by", sa.Text, primary_key=True),
            sa.Column("name", sa.Text, primary_key=True),
            sa.Column("trials", sa.BigInteger),
            sa.Column("steps", sa.BigInteger),
            sa.Column("epoch", sa.BigInteger, nullable=False),
            sa.Column("at", sa.Double, nullable=False),
            sa.Column("number", sa.BigInteger, sa.Identity(), nullable=False),  # no two that were ever written have one
        )

    def _as_written(self) -> list[Any]:
        """On SQLite anybody may have written anything: texts are read as their bytes, a time if it is a number."""
        columns = self.shapes[Requested].columns
        if self._shared:
            return list(columns)
        return [
            sa.case((sa.func.typeof(each).in_(("real", "integer")), each))
            if each.name == "at"
            else sa.cast(each, sa.LargeBinary)
            for each in columns
        ]

    def _leader(self) -> sa.Select[Any]:
        """The best trial of the study as it was last told, its score, and at which step."""
        leads = self.shapes[Led].table
        found = sa.select(leads.c.trial, leads.c.score, leads.c.step).where(*self.of(leads))
        return found.order_by(leads.c.sequence.desc()).limit(1)

    def _winner(self, order: Callable[[Any], Any]) -> sa.Select[Any]:
        """The trial of the search that ended best, by its last end, its score, and at which step.

        For studies on record since before their best was put there.
        """
        ended, begun = self.shapes[TrialEnded].table, self.shapes[TrialCreated].table
        ends, created = ended.c, begun.c
        repeats = sa.select(created.trial).where(created.purpose.in_(sorted(REPEATING)), *self.of(begun))
        latest = sa.select(sa.func.max(ends.sequence)).where(*self.of(ended)).group_by(ends.trial)
        counting = (
            ends.sequence.in_(latest),
            ends.best_score.is_not(None),
            ends.state != "diverged",
            ends.trial.not_in(repeats),
            *self.of(ended),
        )
        found = sa.select(ends.trial, ends.best_score, ends.best_step).where(*counting)
        return found.order_by(order(ends.best_score), ends.trial).limit(1)

    def _opened(self) -> sa.Select[Any]:
        """Kind and identity of the study, and how many trials it has and have ended."""
        first, begun, ended = (self.shapes[kind].table for kind in (StudyOpened, TrialCreated, TrialEnded))
        trials = sa.select(sa.func.count()).select_from(begun).where(*self.of(begun)).scalar_subquery()
        ends = sa.select(sa.func.count(sa.distinct(ended.c.trial))).where(*self.of(ended)).scalar_subquery()
        found = sa.select(first.c.kind, first.c.identity, trials, ends).where(*self.of(first))
        return found.order_by(first.c.sequence).limit(1)

    def set_aside(self, *, everywhere: bool) -> sa.Select[Any]:
        """How many trials stand still since the stopping rule paused them: neither thawed nor ended after that.

        `everywhere`: of each study of a team's database, by its number there.
        """
        held, segments, ended = (self.shapes[kind].table for kind in (TrialHeld, SegmentOpened, TrialEnded))

        def key(table: Any) -> list[Any]:
            return [table.c.study, table.c.trial] if everywhere else [table.c.trial]

        def last(table: sa.Table, *which: Any) -> Any:
            which = which if everywhere else (*which, *self.of(table))
            newest = sa.select(*key(table), sa.func.max(table.c.sequence).label("sequence"))
            return newest.where(*which).group_by(*key(table)).subquery()

        def same(other: Any) -> Any:
            return sa.and_(*(one == two for one, two in zip(key(held), key(other), strict=True)))

        stands, goes_on, over = last(held), last(segments, segments.c.cause == "thaw"), last(ended)
        found = sa.select(*([held.c.study] if everywhere else []), sa.func.count()).select_from(held)
        found = found.join(stands, sa.and_(same(stands), held.c.sequence == stands.c.sequence))
        for later in (goes_on, over):
            found = found.outerjoin(later, same(later))
            found = found.where(sa.func.coalesce(later.c.sequence, 0) < held.c.sequence)
        if everywhere:
            return found.where(held.c.frozen).group_by(held.c.study)
        return found.where(held.c.frozen, *self.of(held))

    def delays(self, *, everywhere: bool) -> sa.Select[Any]:
        """The trials that wait for what they need in a worker's hands, and why, the first first.

        `everywhere`: of each study of a team's database, by its number there. They are few, so each is looked after.
        """
        told = self.shapes[TrialDelayed].table

        def followed(kind: type[Any]) -> Any:
            """Whether a record of a kind has come of the trial since."""
            later = self.shapes[kind].table.alias()
            same = [later.c[name] == told.c[name] for name in ("study", "trial") if name in later.c]
            return sa.exists().where(*same, later.c.sequence > told.c.sequence)

        found = sa.select(*([told.c.study] if everywhere else []), told.c.trial, told.c.why).where(told.c.why != "")
        for kind in (TrialDelayed, TrialHeld, SegmentOpened, TrialEnded):
            found = found.where(~followed(kind))
        return (found if everywhere else found.where(*self.of(told))).order_by(told.c.trial)

    def _written(self) -> sa.Select[Any]:
        """The moments of the newest record of each type, but for requests, which anybody may write."""
        tables = [shape.table for kind, shape in self.shapes.items() if kind is not Requested and "at" in shape.names]
        newest = [sa.select(each.c.at).where(*self.of(each)).order_by(each.c.sequence.desc()) for each in tables]
        return sa.select(*[each.limit(1).scalar_subquery() for each in newest])


ALONE = Schema(shared=False)
SHAPES = ALONE.shapes


@lru_cache
def shared() -> Schema:
    """The schema of a team's database."""
    return Schema(shared=True)


@lru_cache
def compiled(statement: sa.Select[Any], dialect: str) -> str:
    """A statement as text, made once for all stores."""
    spoken = import_module(f"sqlalchemy.dialects.{dialect}").dialect()
    return str(statement.compile(dialect=spoken, compile_kwargs={"literal_binds": True}))
