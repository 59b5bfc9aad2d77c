"""The records of a study: append, read, follow.

One table per record type (`events.TABLES`), written in group commits by the one coordinator that holds the lease;
`requests` alone is open to everybody. A commit that returns survives `kill -9` and, with SQLite's
`synchronous=FULL`, a power cut.
"""

from __future__ import annotations

import json
import os
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from tuner.errors import StudyBusy, StudyError, StudyNotFound
from tuner.numbers import duration
from tuner.record.database import data_version, let_go, make, refusal, refuse_network_filesystem, sqlite_engine
from tuner.record.events import Answered, Record, Reported, Requested
from tuner.record.lease import HEARTBEAT_S, Lease, given_back
from tuner.record.reports import last_at
from tuner.record.requests import refuse_another
from tuner.record.schema import (
    AS_WRITTEN,
    BEAT,
    HELD,
    LEASE,
    METADATA,
    OPENED,
    REQUESTS,
    SHAPES,
    VERSION,
    WINNERS,
    DamagedRow,
    Shape,
    compiled,
)
from tuner.record.score_names import spread_of

Idle: TypeAlias = Literal["open", "closed"]


_FLUSHES = 256  # that are read at a time; each holds some hundred reports at most


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
        weakref.finalize(self, let_go, self._connected, engine).atexit = False
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
            make(path, lambda aside: cls._completed(aside, str(path)).close())
        return cls._completed(path, str(path))

    @classmethod
    def _completed(cls, path: Path, where: str) -> Store:
        """The store in a database file, with whatever tables it lacks: all of them, or those of a newer tuner."""
        store = cls(sqlite_engine(path, "create"), where)
        store._guard(lambda: METADATA.create_all(store._connection))
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
        store = cls(sqlite_engine(path, "write" if writable else "read"), str(path), idle)
        store._guard(lambda: store._quick(HELD).fetchall())
        store._release()
        return store

    @classmethod
    def in_memory(cls) -> Store:
        """A store that ends with the process: for replays and tests."""
        engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool, connect_args={"check_same_thread": False})
        store = cls(engine, "memory")
        METADATA.create_all(store._connection)
        store._connection.commit()
        return store

    def close(self) -> None:
        """Gives the lease back and folds SQLite's write-ahead log into the one database file."""
        if self._closed:
            return
        try:
            self._rollback()  # an interrupt may have come in the middle of a commit
            if self._epoch is not None:
                back = given_back(time.time(), clean=self.left_clean)
                self._connection.execute(LEASE.update().where(LEASE.c.epoch == self._epoch).values(back))
                self._connection.commit()
                self._connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        except DatabaseError:
            self._rollback()  # a full or vanished disk: the lease falls to the next by our dead pid
        finally:
            self._epoch = None
            self._closed = True
            let_go(self._connected, self._engine)

    # ── the lease ───────────────────────────────────────────────────────────────────────────────

    def acquire(self, now: float) -> None:
        """Becomes the one writer. `StudyBusy` names the host and pid of a living holder."""
        self._guard(lambda: self._acquire(now))

    def _acquire(self, now: float) -> None:
        self._begin_immediate()
        row = self._connection.execute(sa.select(LEASE)).mappings().first()
        before = None if row is None else Lease.of(row)
        if before is not None and before.is_held(now):
            self._connection.rollback()
            raise StudyBusy(
                f"{self.where} is in the hands of another coordinator: pid {before.pid} on {before.host}, last heard "
                f"{duration(max(0.0, now - before.heartbeat))} ago. Watch it with `tuner watch`, or stop it first."
            )
        self.left_clean = before is None or before.left_clean
        self.left_at = 0.0 if before is None else before.last_heard
        lease = Lease.taken(before, now)
        values = {"id": 1, **asdict(lease), "schema_version": VERSION}
        self._connection.execute(LEASE.insert().values(values) if row is None else LEASE.update().values(values))
        self._connection.commit()
        self._epoch = lease.epoch
        self._sequence = self._highest_sequence()
        self._last_beat = now

    def holder(self, now: float) -> tuple[str, int] | None:
        """Host and pid of the living coordinator, or None."""
        row = self._quick(HELD).mappings().first()
        self._release()
        if row is None or not (lease := Lease.of(row)).is_held(now):
            return None
        return lease.host, lease.pid

    # ── writing ─────────────────────────────────────────────────────────────────────────────────

    def append(self, records: Sequence[Record], now: float) -> None:
        """Commits the records, all or none, if this process still holds the lease."""
        if self._epoch is None:
            raise StudyError(f"{self.where}: nobody may append without the lease")
        groups: dict[type[Any], list[dict[str, Any]]] = {}
        sequence = self._sequence
        for record in records:
            sequence += 1
            groups.setdefault(type(record), []).append(SHAPES[type(record)].row(sequence, record))

        def write() -> None:
            connection = self._connection
            held = connection.execute(BEAT, {"held": self._epoch, "now": now})
            if held.rowcount != 1:
                connection.rollback()
                raise StudyBusy(f"{self.where}: another coordinator took the study over; this one stops writing.")
            for kind, rows in groups.items():
                connection.execute(SHAPES[kind].table.insert(), rows)
            connection.commit()

        self._guard(write)
        self._sequence = sequence
        self._last_beat = now

    def beat(self, now: float) -> None:
        """Renews the lease when nothing has been written for a while."""
        if self._epoch is not None and now - self._last_beat > HEARTBEAT_S:
            self.append((), now)

    def request(
        self, verb: str, arguments: dict[str, Any], by: str, why: str, request: str = "", *, at: float | None = None
    ) -> str:
        """Inserts a request for the coordinator; the answer's id. `at` None: now.

        The same id twice is one request, and `RequestReused` where it was another one.
        """
        asked = Requested(
            request=request or uuid.uuid4().hex[:12],
            verb=verb,
            arguments=arguments,
            by=by,
            why=why,
            at=time.time() if at is None else at,
        )
        name, row = asked.request, SHAPES[Requested].row(None, asked)

        def write() -> None:
            self._begin_immediate()
            known = self._connection.execute(sa.select(*AS_WRITTEN).where(REQUESTS.c.request == name)).first()
            if known is None:
                self._connection.execute(REQUESTS.insert().values(row))
            self._connection.commit()
            if known is not None:
                refuse_another(asked, SHAPES[Requested].record_of(known))

        self._guard(write)
        self._release()
        self._requests_read_at = None  # what this connection writes, SQLite does not count
        return name

    def put(self, asked: Sequence[Requested]) -> None:
        """Inserts requests, each under an id that is nobody else's, all in one transaction."""

        def write() -> None:
            self._begin_immediate()
            self._connection.execute(REQUESTS.insert(), [SHAPES[Requested].row(None, each) for each in asked])
            self._connection.commit()

        self._guard(write)
        self._release()
        self._requests_read_at = None

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
        wanted = kinds or tuple(kind for kind in SHAPES if kind not in (Reported, Requested))
        rows: list[tuple[int, int, Any]] = []
        for order, kind in enumerate(wanted):
            rows.extend((row[0], order, row) for row in self._rows(kind))
        self._release()
        if len(wanted) > 1:
            rows.sort()  # no two have the same place
        shapes = [SHAPES[kind] for kind in wanted]
        for _, order, row in rows:
            yield self._record(shapes[order], row)

    def follow(self, after: int) -> tuple[list[Any], int]:
        """Everything the coordinator has written beyond `after`, reports included, and the new place to go on from."""
        with self.snapshot():
            rows = [
                (row[0], SHAPES[kind], row)
                for kind in SHAPES
                if kind is not Requested
                for row in self._rows(kind, SHAPES[kind].table.c.sequence > after)
            ]
        rows.sort(key=lambda item: item[0])
        return [self._record(shape, row) for _, shape, row in rows], rows[-1][0] if rows else after

    def page(
        self, kinds: Sequence[type[Any]], after: int, most: int, *, until: int | None = None, trial: int | None = None
    ) -> list[tuple[int, Any]]:
        """The first `most` records of these types beyond `after`, up to `until`, each with its place.

        With `trial` those of one trial alone. Requests are counted by themselves, so they share no page with others.
        """
        found: list[tuple[int, int, Any]] = []
        for order, kind in enumerate(kinds):
            columns = SHAPES[kind].table.c
            wanted = [columns.sequence > after]
            wanted += [] if until is None else [columns.sequence <= until]
            wanted += [] if trial is None else [columns.trial == trial]
            found.extend((row[0], order, row) for row in self._rows(kind, sa.and_(*wanted), most))
        self._release()
        found.sort(key=lambda each: each[:2])
        return [(place, self._record(SHAPES[kinds[order]], row)) for place, order, row in found[:most]]

    def answer(self, request: str) -> Answered | None:
        """What became of a request, once the coordinator has said so."""
        rows = self._rows(Answered, SHAPES[Answered].table.c.request == request)
        self._release()
        return self._record(SHAPES[Answered], rows[-1]) if rows else None

    def answers(self, after: int) -> tuple[list[Answered], int]:
        """All answers written beyond `after`, and the new place to go on from: for whoever waits for many."""
        rows = self._rows(Answered, SHAPES[Answered].table.c.sequence > after)
        self._release()
        return [self._record(SHAPES[Answered], row) for row in rows], rows[-1][0] if rows else after

    def reports(self, trial: int | None = None) -> Iterator[Reported]:
        """Flushes of reports in the order recorded, of one trial or of all; those of all are read bit by bit."""
        after, most = 0, _FLUSHES if trial is None else 2**62  # those of one are few
        while found := self.page([Reported], after, most, trial=trial):
            yield from (flush for _, flush in found)
            after = found[-1][0]

    def new_requests(self) -> list[Requested]:
        """Requests inserted since the last call; the first call returns all."""
        version = self.stamp()
        if version is not None and version == self._requests_read_at:
            return []
        self._requests_read_at = version
        shape = SHAPES[Requested]
        rows = self._rows(Requested, REQUESTS.c.sequence > self._requests_seen)
        self._release()
        if rows:
            self._requests_seen = rows[-1][0]
        return [self._record(shape, row) for row in rows]

    def brief(self) -> dict[str, Any]:
        """What one line about the study needs, without folding it."""
        opened = self._guard(lambda: self._quick(OPENED).first())
        kind, identity, trials, ended = opened or ("", "{}", 0, 0)
        identity = json.loads(identity)
        winner = self._guard(lambda: self._quick(WINNERS[identity.get("goal", "maximize")]).first())
        self._release()
        best_trial, best, step = winner or (None, None, None)
        told = {"kind": kind, "objective": identity.get("objective", ""), "trials": trials, "ended": ended}
        told |= {"best": best, "best_trial": best_trial}
        if identity.get("seeds", 1) > 1 and best_trial is not None:
            told["spread"] = last_at(self.reports(best_trial), spread_of(told["objective"]), step)
        return told

    def version(self) -> int:
        """A number that grows whenever anything is written: cheap to poll."""
        version = self._highest_sequence()
        self._release()
        return version

    def stamp(self) -> int | None:
        """A number that changes once anybody else has written: cheaper still. None: this store cannot tell."""
        return None if self._idle == "closed" else data_version(self._connection)  # else each connection counts alone

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _release(self) -> None:
        """Ends the read transaction, unless a snapshot holds it."""
        if not self._snapshot:
            self._rollback()
            if self._idle == "closed":
                let_go(self._connected)

    @property
    def _connection(self) -> sa.Connection:
        if not self._connected:
            if self._closed:
                raise StudyError(f"{self.where} was closed. Open it again to go on: tuner.open or tuner.attach.")
            try:
                self._connected.append(self._engine.connect())
            except DatabaseError as error:
                raise refusal(self.where, error) from error
        return self._connected[0]

    def _rollback(self) -> None:
        for connection in self._connected:
            connection.rollback()

    def _rows(self, kind: type[Any], condition: Any = None, most: int | None = None) -> Sequence[Any]:
        shape = SHAPES[kind]
        query = sa.select(shape.table.c.sequence, *(AS_WRITTEN if kind is Requested else shape.columns))
        if condition is not None:
            query = query.where(condition)
        rows: Sequence[Any] = self._guard(
            lambda: self._connection.execute(query.order_by(shape.table.c.sequence).limit(most)).fetchall()
        )
        return rows

    def _highest_sequence(self) -> int:
        tables = [shape.table for kind, shape in SHAPES.items() if kind is not Requested]
        query = sa.select(*[sa.select(sa.func.max(t.c.sequence)).scalar_subquery() for t in tables])
        return max((value or 0 for value in self._guard(lambda: self._connection.execute(query).one())), default=0)

    def _quick(self, statement: sa.Select[Any]) -> sa.CursorResult[Any]:
        """Runs one of the module's own queries, compiled once for all stores: `tuner ls` opens hundreds."""
        return self._connection.exec_driver_sql(compiled(statement, self._engine.dialect.name))

    def _begin_immediate(self) -> None:
        self._rollback()
        if self._engine.dialect.name == "sqlite":
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _record(self, shape: Shape, row: Sequence[Any]) -> Any:
        try:
            return shape.record_of(row[1:])
        except DamagedRow as error:
            raise StudyError(f"{self.where} is damaged: {error}. Restore it from a copy.") from None

    def _guard(self, act: Callable[[], Any]) -> Any:
        """Runs a database action; the driver's errors become sentences."""
        try:
            return act()
        except DatabaseError as error:
            self._rollback()
            raise refusal(self.where, error) from error
        except BaseException:
            self._rollback()  # half a transaction must not leave with the next
            raise
