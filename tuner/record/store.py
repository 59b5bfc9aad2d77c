"""Where records live: append, read, follow, lease. The only file that knows the database.

One table per record type (`records.TABLES`), written in group commits by the one coordinator that holds the lease;
`requests` alone is open to everybody. A commit that returns survives `kill -9` and, with SQLite's
`synchronous=FULL`, a power cut.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
import types
import typing
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, OperationalError

from tuner.errors import SettingsError, StudyBusy, StudyError, StudyNotFound
from tuner.plain import clean
from tuner.record.atomic import sync_folder
from tuner.record.events import (
    NOT_A_PERSON,
    REPEATING,
    TABLES,
    Answered,
    Record,
    Reported,
    Requested,
    StudyOpened,
    TrialCreated,
    TrialEnded,
)
from tuner.record.requests import understood

SCHEMA_VERSION = 1
HEARTBEAT_S = 2.0
FOREIGN_LEASE_S = 15.0
NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "beegfs"}
)

Idle: TypeAlias = Literal["open", "closed"]

_METADATA = sa.MetaData()
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


@dataclass(frozen=True)
class _Shape:
    """How one record type lies in its table."""

    table: sa.Table
    record: type[Any]
    names: tuple[str, ...]
    json_names: tuple[str, ...]
    json_places: tuple[int, ...]
    setters: tuple[Callable[[Any, Any], None], ...]

    @property
    def columns(self) -> list[sa.Column[Any]]:
        """Its columns, in the order of the record's fields."""
        return [self.table.c[name] for name in self.names]

    def row(self, sequence: int, record: Record) -> dict[str, Any]:
        """A record as a row."""
        row = {name: getattr(record, name) for name in self.names}
        for name in self.json_names:
            if row[name] is not None:
                row[name] = json.dumps(row[name])
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
            raise StudyError(f"a row of {self.table.name} is damaged: {row!r:.200}. Restore it from a copy.") from None
        record = object.__new__(self.record)  # a frozen dataclass's own way takes four times as long
        for put, value in zip(self.setters, values, strict=True):
            put(record, value)
        return record


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


def _shape(name: str, record: type[Any]) -> _Shape:
    hints = typing.get_type_hints(record)
    columns, json_names = [], []
    for spec in fields(record):
        column, is_json = _column(spec.name, hints[spec.name])
        columns.append(column)
        if is_json:
            json_names.append(spec.name)
    key = sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
    indexes = [sa.Index(f"{name}_by_trial", "trial")] if name in ("reports", "segments") else []
    table = sa.Table(name, _METADATA, key, *columns, *indexes)
    names = tuple(spec.name for spec in fields(record))
    return _Shape(
        table=table,
        record=record,
        names=names,
        json_names=tuple(json_names),
        json_places=tuple(names.index(each) for each in json_names),
        setters=tuple(getattr(record, each).__set__ for each in names),
    )


_SHAPES: dict[type[Any], _Shape] = {record: _shape(name, record) for name, record in TABLES.items()}
_LONGEST_ARGUMENTS, _LONGEST_WORD, _SHOWN = 1_000_000, 200, 200
_REPORTS = _SHAPES[Reported].table
_REQUESTS = _SHAPES[Requested].table
# Anybody may have written anything into any column: texts are read as the bytes they are, a time if it is a number.
_AS_WRITTEN = [
    sa.case((sa.func.typeof(each).in_(("real", "integer")), each))
    if each.name == "at"
    else sa.cast(each, sa.LargeBinary)
    for each in _SHAPES[Requested].columns
]
_LEASE = sa.Table(
    "lease",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("born", sa.Text, nullable=False),
    sa.Column("heartbeat", sa.Double, nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
)


class Store:
    """A study's records. Opened by `Store.create`, `Store.open` or `Store.in_memory`.

    Closed by `close`, by the end of a `with`, or once nobody refers to it any more.
    """

    def __init__(self, engine: sa.Engine, where: str, idle: Idle = "open") -> None:
        """`where` is what error messages call the place."""
        self._engine, self._idle, self._closed = engine, idle, False
        self.where = where
        self._connected: list[sa.Connection] = []  # one, or none
        # an engine is full of circles, which would keep its files open until garbage is next looked for
        weakref.finalize(self, _let_go, self._connected, engine).atexit = False
        try:
            _ = self._connection
        except StudyError:
            engine.dispose()
            raise
        self._epoch: int | None = None
        self._sequence = 0
        self._requests_seen = 0
        self._requests_read_at: int | None = None
        self._last_beat = 0.0
        self._snapshot = False
        self.left_clean = True
        """Whether every trial on record as waiting has truly not begun.

        Once the lease is held it says how the coordinator before left; who holds the lease says with it how they leave.
        """
        self.left_at = 0.0
        """Once the lease is held: when the coordinator before was last heard of, in Unix seconds; 0: there was none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── opening and closing ─────────────────────────────────────────────────────────────────────

    @classmethod
    def create(cls, path: Path) -> Store:
        """The store in a database file, made when it is not there yet; a new folder is private (0700)."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(
                f"{path.parent} cannot be made: {error.strerror or error}. Choose a folder you may write to: --results."
            ) from error
        refuse_network_filesystem(path.parent)
        if not path.exists():
            _make(path)
        return cls._completed(path, str(path))

    @classmethod
    def _completed(cls, path: Path, where: str) -> Store:
        """The store in a database file, with whatever tables it lacks: all of them, or those of a newer tuner."""
        store = cls(_sqlite(path, "create"), where)
        store._guard(lambda: _METADATA.create_all(store._connection))
        store._connection.commit()
        return store

    @classmethod
    def open(cls, path: Path, *, idle: Idle = "open") -> Store:
        """An existing study's store, for reading and for requests.

        With `idle="closed"` it holds no file between two reads, so that there may be any number of them.
        """
        if not path.is_file():
            raise StudyNotFound(
                f"no study lies in {path.parent}: {path.name} is missing. `tuner ls` shows what there is."
            )
        writable = os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)
        store = cls(_sqlite(path, "write" if writable else "read"), str(path), idle)
        store._guard(lambda: store._quick(_HELD).fetchall())
        store._release()
        return store

    @classmethod
    def in_memory(cls) -> Store:
        """A store that ends with the process: for replays and tests."""
        engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool, connect_args={"check_same_thread": False})
        store = cls(engine, "memory")
        _METADATA.create_all(store._connection)
        store._connection.commit()
        return store

    def close(self) -> None:
        """Gives the lease back and folds SQLite's write-ahead log into the one database file."""
        if self._closed:
            return
        try:
            self._rollback()  # an interrupt may have come in the middle of a commit
            if self._epoch is not None:
                heartbeat = time.time() if self.left_clean else -time.time()
                self._connection.execute(
                    _LEASE.update().where(_LEASE.c.epoch == self._epoch).values(pid=0, heartbeat=heartbeat)
                )
                self._connection.commit()
                self._connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        except DatabaseError:
            self._rollback()  # a full or vanished disk: the lease falls to the next by our dead pid
        finally:
            self._epoch = None
            self._closed = True
            _let_go(self._connected, self._engine)

    # ── the lease ───────────────────────────────────────────────────────────────────────────────

    def acquire(self, now: float) -> None:
        """Becomes the one writer. `StudyBusy` names the host and pid of a living holder."""
        self._guard(lambda: self._acquire(now))

    def _acquire(self, now: float) -> None:
        host, pid = socket.gethostname(), os.getpid()
        self._begin_immediate()
        row = self._connection.execute(sa.select(_LEASE)).mappings().first()
        if row is not None and row["pid"] and _alive(dict(row), host, now):
            self._connection.rollback()
            raise StudyBusy(
                f"{self.where} is in the hands of another coordinator: pid {row['pid']} on {row['host']}, last heard "
                f"{max(0.0, now - row['heartbeat']):.0f} s ago. Watch it with `tuner watch`, or stop it first."
            )
        self.left_clean = row is None or (row["pid"] == 0 and row["heartbeat"] >= 0)
        self.left_at = 0.0 if row is None else abs(row["heartbeat"])
        epoch = (row["epoch"] if row else 0) + 1
        values = dict(
            id=1, epoch=epoch, host=host, pid=pid, born=_born(pid), heartbeat=now, schema_version=SCHEMA_VERSION
        )
        self._connection.execute(_LEASE.insert().values(values) if row is None else _LEASE.update().values(values))
        self._connection.commit()
        self._epoch = epoch
        self._sequence = self._highest_sequence()
        self._last_beat = now

    def holder(self, now: float) -> tuple[str, int] | None:
        """Host and pid of the living coordinator, or None."""
        row = self._quick(_HELD).mappings().first()
        self._release()
        if row is None or not row["pid"] or not _alive(dict(row), socket.gethostname(), now):
            return None
        return row["host"], row["pid"]

    # ── writing ─────────────────────────────────────────────────────────────────────────────────

    def append(self, records: Sequence[Record], now: float) -> None:
        """Commits the records, all or none, if this process still holds the lease."""
        if self._epoch is None:
            raise StudyError(f"{self.where}: nobody may append without the lease")
        groups: dict[type[Any], list[dict[str, Any]]] = {}
        sequence = self._sequence
        for record in records:
            sequence += 1
            groups.setdefault(type(record), []).append(_SHAPES[type(record)].row(sequence, record))

        def write() -> None:
            connection = self._connection
            held = connection.execute(_BEAT, {"held": self._epoch, "now": now})
            if held.rowcount != 1:
                connection.rollback()
                raise StudyBusy(f"{self.where}: another coordinator took the study over; this one stops writing.")
            for kind, rows in groups.items():
                connection.execute(_SHAPES[kind].table.insert(), rows)
            connection.commit()

        self._guard(write)
        self._sequence = sequence
        self._last_beat = now

    def beat(self, now: float) -> None:
        """Renews the lease when nothing has been written for a while."""
        if self._epoch is not None and now - self._last_beat > HEARTBEAT_S:
            self.append((), now)

    def request(self, verb: str, arguments: dict[str, Any], by: str, why: str, request: str = "") -> str:
        """Inserts a request for the coordinator; the answer's id. The same id twice is one request."""
        asked = Requested(
            request=request or uuid.uuid4().hex[:12], verb=verb, arguments=arguments, by=by, why=why, at=time.time()
        )
        name, row = asked.request, _SHAPES[Requested].row(0, asked)
        del row["sequence"]

        def write() -> None:
            self._begin_immediate()
            known = self._connection.execute(sa.select(_REQUESTS.c.request).where(_REQUESTS.c.request == name)).first()
            if known is None:
                self._connection.execute(_REQUESTS.insert().values(row))
            self._connection.commit()

        self._guard(write)
        self._release()
        self._requests_read_at = None  # what this connection writes, SQLite does not count
        return name

    # ── reading ─────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside is of one moment."""
        self._rollback()
        if self._engine.dialect.name == "sqlite":  # whose driver would begin a transaction with the first write only
            self._guard(lambda: self._connection.exec_driver_sql("BEGIN"))
        self._snapshot = True
        try:
            yield
        finally:
            self._snapshot = False
            self._release()

    def read(self, *kinds: type[Any]) -> Iterator[Any]:
        """Records of the given types in the order written; without types, all but `Reported` and `Requested`."""
        wanted = kinds or tuple(kind for kind in _SHAPES if kind not in (Reported, Requested))
        rows: list[tuple[int, int, Any]] = []
        for order, kind in enumerate(wanted):
            rows.extend((row[0], order, row) for row in self._rows(kind))
        self._release()
        if len(wanted) > 1:
            rows.sort()  # no two have the same place
        shapes = [_SHAPES[kind] for kind in wanted]
        for _, order, row in rows:
            yield shapes[order].record_of(row[1:])

    def follow(self, after: int) -> tuple[list[Any], int]:
        """Everything the coordinator has written beyond `after`, reports included, and the new place to go on from."""
        with self.snapshot():
            rows = [
                (row[0], _SHAPES[kind], row)
                for kind in _SHAPES
                if kind is not Requested
                for row in self._rows(kind, _SHAPES[kind].table.c.sequence > after)
            ]
        rows.sort(key=lambda item: item[0])
        return [shape.record_of(row[1:]) for _, shape, row in rows], rows[-1][0] if rows else after

    def answer(self, request: str) -> Answered | None:
        """What became of a request, once the coordinator has said so."""
        rows = self._rows(Answered, _SHAPES[Answered].table.c.request == request)
        self._release()
        return _SHAPES[Answered].record_of(rows[-1][1:]) if rows else None

    def reports(self, trial: int | None = None) -> Iterator[Reported]:
        """Flushes of reports in the order recorded, of one trial or of all."""
        condition = None if trial is None else _REPORTS.c.trial == trial
        shape = _SHAPES[Reported]
        rows = self._rows(Reported, condition)
        self._release()
        for row in rows:
            yield shape.record_of(row[1:])

    def new_requests(self) -> list[Requested]:
        """Requests inserted since the last call; the first call returns all."""
        version = self._data_version()
        if version is not None and version == self._requests_read_at:
            return []
        self._requests_read_at = version
        shape = _SHAPES[Requested]
        rows = self._rows(Requested, _REQUESTS.c.sequence > self._requests_seen)
        self._release()
        if rows:
            self._requests_seen = rows[-1][0]
        return [shape.record_of(row[1:]) for row in rows]

    def brief(self) -> dict[str, Any]:
        """What one line about the study needs, without folding it."""
        opened = self._guard(lambda: self._quick(_OPENED).first())
        kind, identity, trials, ended = opened or ("", "{}", 0, 0)
        identity = json.loads(identity)
        winner = self._guard(lambda: self._quick(_WINNERS[identity.get("goal", "maximize")]).first())
        self._release()
        best_trial, best = winner or (None, None)
        return {
            "kind": kind,
            "objective": identity.get("objective", ""),
            "trials": trials,
            "ended": ended,
            "best": best,
            "best_trial": best_trial,
        }

    def version(self) -> int:
        """A number that grows whenever anything is written: cheap to poll."""
        version = self._highest_sequence()
        self._release()
        return version

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _data_version(self) -> int | None:
        """A number that changes when another connection commits: far cheaper to ask for than to look. None: unknown."""
        if self._idle == "closed":
            return None  # each connection counts for itself
        driver = self._connection.connection.dbapi_connection
        if not isinstance(driver, sqlite3.Connection):
            return None
        return int(driver.execute("PRAGMA data_version").fetchone()[0])

    def _release(self) -> None:
        """Ends the read transaction, unless a snapshot holds it."""
        if not self._snapshot:
            self._rollback()
            if self._idle == "closed":
                _let_go(self._connected)

    @property
    def _connection(self) -> sa.Connection:
        if not self._connected:
            if self._closed:
                raise StudyError(f"{self.where} was closed. Open it again to go on: tuner.open or tuner.attach.")
            try:
                self._connected.append(self._engine.connect())
            except DatabaseError as error:
                raise _refusal(self.where, error) from error
        return self._connected[0]

    def _rollback(self) -> None:
        for connection in self._connected:
            connection.rollback()

    def _rows(self, kind: type[Any], condition: Any = None) -> Sequence[Any]:
        shape = _SHAPES[kind]
        query = sa.select(shape.table.c.sequence, *(_AS_WRITTEN if kind is Requested else shape.columns))
        if condition is not None:
            query = query.where(condition)
        rows: Sequence[Any] = self._guard(
            lambda: self._connection.execute(query.order_by(shape.table.c.sequence)).fetchall()
        )
        return rows

    def _highest_sequence(self) -> int:
        tables = [shape.table for kind, shape in _SHAPES.items() if kind is not Requested]
        query = sa.select(*[sa.select(sa.func.max(t.c.sequence)).scalar_subquery() for t in tables])
        return max((value or 0 for value in self._guard(lambda: self._connection.execute(query).one())), default=0)

    def _quick(self, statement: sa.Select[Any]) -> sa.CursorResult[Any]:
        """Runs one of the module's own queries, compiled once for all stores: `tuner ls` opens hundreds."""
        return self._connection.exec_driver_sql(_compiled(statement, self._engine.dialect.name))

    def _begin_immediate(self) -> None:
        self._rollback()
        if self._engine.dialect.name == "sqlite":
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _guard(self, act: Callable[[], Any]) -> Any:
        """Runs a database action; the driver's errors become sentences."""
        try:
            return act()
        except DatabaseError as error:
            self._rollback()
            raise _refusal(self.where, error) from error
        except BaseException:
            self._rollback()  # half a transaction must not leave with the next
            raise


def _winner(order: Callable[[Any], Any]) -> sa.Select[Any]:
    """The trial of the search that ended best, by its last end, and its score."""
    ends, created = _SHAPES[TrialEnded].table.c, _SHAPES[TrialCreated].table.c
    repeats = sa.select(created.trial).where(created.purpose.in_(sorted(REPEATING)))
    latest = sa.select(sa.func.max(ends.sequence)).group_by(ends.trial)
    counting = (
        ends.sequence.in_(latest),
        ends.best_score.is_not(None),
        ends.state != "diverged",
        ends.trial.not_in(repeats),
    )
    return sa.select(ends.trial, ends.best_score).where(*counting).order_by(order(ends.best_score), ends.trial).limit(1)


def _opened() -> sa.Select[Any]:
    """Kind and identity of the study, and how many trials it has and have ended."""
    opened, ended = _SHAPES[StudyOpened].table.c, _SHAPES[TrialEnded].table.c.trial
    trials = sa.select(sa.func.count()).select_from(_SHAPES[TrialCreated].table).scalar_subquery()
    ends = sa.select(sa.func.count(sa.distinct(ended))).scalar_subquery()
    return sa.select(opened.kind, opened.identity, trials, ends).order_by(opened.sequence).limit(1)


_HELD = sa.select(_LEASE)
_OPENED = _opened()
_WINNERS = {"maximize": _winner(sa.desc), "minimize": _winner(sa.asc)}
_BEAT = _LEASE.update().where(_LEASE.c.epoch == sa.bindparam("held")).values(heartbeat=sa.bindparam("now"))


@lru_cache
def _compiled(statement: sa.Select[Any], dialect: str) -> str:
    spoken = import_module(f"sqlalchemy.dialects.{dialect}").dialect()
    return str(statement.compile(dialect=spoken, compile_kwargs={"literal_binds": True}))


def _make(path: Path) -> None:
    """Makes a new database aside and gives it its name once it is whole.

    Whoever opens a database while its journal mode changes may wait for the other until both give up.
    """
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        _make_private(aside)
        Store._completed(aside, str(path)).close()
        try:
            os.link(aside, path)
            sync_folder(path.parent)
        except FileExistsError:
            pass  # another process was faster
        except OSError:  # a filesystem without links
            aside.replace(path)
    finally:
        for leftover in path.parent.glob(f"{aside.name}*"):
            leftover.unlink()


def _make_private(path: Path) -> None:
    """An empty file that only its owner may read, whatever the umask; SQLite gives its log the same rights."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise StudyError(
            f"{path.parent} cannot be written to: {error.strerror or error}. Choose a folder you may write to: "
            "--results, or --store for the record alone."
        ) from error
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _let_go(connected: list[sa.Connection], engine: sa.Engine | None = None) -> None:
    while connected:
        connected.pop().close()
    if engine is not None:
        engine.dispose()


def _sqlite(path: Path, access: Literal["create", "write", "read"]) -> sa.Engine:
    mode: dict[str, str] = {}
    if access == "read":
        # A read-only folder cannot hold SQLite's shared memory file; without a log beside it the file alone is whole.
        mode = {"mode": "ro"} if path.with_name(path.name + "-wal").exists() else {"immutable": "1"}
    elif access == "write":
        mode = {"mode": "rw"}  # one that is gone meanwhile is not made anew
    url = sa.URL.create("sqlite", database=f"file:{quote(os.fsencode(path))}", query={**mode, "uri": "true"})
    engine = sa.create_engine(
        url, connect_args={"timeout": 30.0, "check_same_thread": False}, poolclass=sa.pool.NullPool
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = "DEFERRED"
        if access == "create":
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    return engine


def _refusal(where: str, error: DatabaseError) -> StudyError:
    """What the database refused, as a sentence."""
    reason = str(error.orig)
    if not isinstance(error, OperationalError):
        return StudyError(f"{where} is damaged or no study: {reason}. Restore it from a copy.")
    if "no such table" in reason:
        return StudyError(f"{where} holds no study yet: its coordinator has not begun. Try again in a moment.")
    if "full" in reason:
        return StudyError(f"the disk under {where} is full: nothing more can be recorded. Free some space and go on.")
    if "locked" in reason:
        return StudyError(f"{where} stayed locked for 30 s: {reason}. Close the program that holds it and try again.")
    if "readonly" in reason or "read-only" in reason or "unable to open" in reason:
        return StudyError(f"{where} cannot be written or opened: {reason}. Check who owns the study's folder.")
    if "I/O" in reason:
        return StudyError(
            f"{where} cannot be used: {reason}. The disk refuses: look whether it is full, over quota or failing. "
            "What was recorded before is kept."
        )
    return StudyError(f"{where} cannot be used: {reason}.")


def _alive(lease: dict[str, Any], host: str, now: float) -> bool:
    if lease["host"] == host:
        return bool(_born(lease["pid"]) == lease["born"] != "")
    return bool(now - lease["heartbeat"] < FOREIGN_LEASE_S)


def alive(pid: int) -> bool:
    """Whether a process of this host lives."""
    return bool(_born(pid))


def _born(pid: int) -> str:
    """When the process began, so that a reused pid is not mistaken for it; empty where no such process lives."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if words[0] == "Z" else words[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive" if not Path("/proc/self").exists() else ""


def refuse_network_filesystem(folder: Path, mounts: Iterable[str] | None = None) -> None:
    """SQLite's locks do not hold on network filesystems, so a study's database is refused there."""
    if mounts is None:
        table = Path("/proc/mounts")
        mounts = table.read_text().splitlines() if table.exists() else ()
    target = str(folder.resolve()) + "/"
    found = ("", "")
    for line in mounts:
        _, point, kind, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if target.startswith(point.rstrip("/") + "/") and len(point) >= len(found[0]):
            found = (point, kind)
    if found[1] in NETWORK_FILESYSTEMS:
        raise StudyError(
            f"{folder} lies on {found[0]}, a network filesystem ({found[1]}), where SQLite's locks do not hold and "
            'studies get corrupted. Keep the records on a local disk with store="sqlite:////local/disk/NAME.db" '
            "(--store); the results folder itself may stay on the shared one."
        )
