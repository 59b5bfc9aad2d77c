"""The records of a study: append, read, follow.

One table per record type (`events.TABLES`), written in group commits by the one coordinator that holds the lease;
`requests` alone is open to everybody. A commit that returns survives `kill -9` and, with SQLite's
`synchronous=FULL`, a power cut.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from tuner.errors import StudyBusy, StudyError, StudyNotFound
from tuner.record.access import Access, Database, Idle
from tuner.record.database import File, let_go, make, refuse_network_filesystem, sqlite_engine
from tuner.record.events import Answered, Record, Reported, Requested
from tuner.record.glance import brief_of
from tuner.record.lease import HEARTBEAT_S, Lease, given_back
from tuner.record.patience import Patience
from tuner.record.reports import last_at
from tuner.record.requests import refuse_another
from tuner.record.schema import ALONE, VERSION, newer
from tuner.record.score_names import spread_of
from tuner.record.team import InDatabase
from tuner.values.numbers import duration

_FLUSHES = 1_024  # that are read at a time; each holds some hundred reports at most
_TRIALS = 256  # whose reports are read at a time


class Store(Access):
    """A study's records. Opened by `Store.create`, `Store.open` or `Store.in_memory`.

    Closed by `close`, by the end of a `with`, or once nobody refers to it any more.
    """

    def __init__(self, database: Database, idle: Idle = "open", patience: Patience | None = None) -> None:
        """Use `Store.create`, `Store.open` or `Store.in_memory`."""
        super().__init__(database, idle, patience)
        self._epoch: int | None = None
        self._taken: Lease | None = None
        self._requests_read_at: int | None = None
        self._sequence, self._last_beat = 0, 0.0
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
    def create(cls, place: Path | InDatabase) -> Store:
        """The store in a database, made when it is not there yet; the folder of a file is private then (0700)."""
        if isinstance(place, InDatabase):
            from tuner.record.postgres import begun

            store = cls(begun(place), "closed")
            store._release()
            return store
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(
                f"{place.parent} cannot be made: {error.strerror or error}. Choose a folder you may write to: "
                "--results."
            ) from error
        refuse_network_filesystem(place.parent)
        if not place.exists():
            make(place, lambda aside: cls._completed(aside, str(place)).close())
        return cls._completed(place, str(place))

    @classmethod
    def _completed(cls, path: Path, where: str) -> Store:
        """The store in a database file, with whatever tables it lacks: all of them, or those of a newer tuner."""
        store = cls(File(sqlite_engine(path, "create"), where))
        store._guard(lambda: ALONE.metadata.create_all(store._connection))
        store._connection.commit()
        return store

    @classmethod
    def open(cls, place: Path | InDatabase, *, idle: Idle = "open", patience: Patience | None = None) -> Store:
        """An existing study's store, for reading and for requests.

        With `idle="closed"` it holds no file between two reads, so that there may be any number of them. A team's
        database that is away is waited for with this patience, already now. None: that of whoever reads once.
        """
        if isinstance(place, InDatabase):
            from tuner.record.postgres import existing

            database: Database = (patience or Patience()).outlast(lambda: existing(place))
            idle = "closed"  # to whoever else in this process needs it
        elif not place.is_file():
            raise StudyNotFound(
                f"no study lies in {place.parent}: {place.name} is missing. `tuner ls` shows what there is."
            )
        else:
            writable = os.access(place.parent, os.W_OK) and os.access(place, os.W_OK)
            database = File(sqlite_engine(place, "write" if writable else "read"), str(place))
        store = cls(database, idle, patience)
        store._guard(lambda: store._known(store._quick(database.schema.held).mappings().first()))
        store._release()
        return store

    @classmethod
    def in_memory(cls) -> Store:
        """A store that ends with the process: for replays and tests."""
        engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool, connect_args={"check_same_thread": False})
        store = cls(File(engine, "memory"))
        ALONE.metadata.create_all(store._connection)
        store._connection.commit()
        return store

    def close(self) -> None:
        """Gives the lease back and folds SQLite's write-ahead log into the one database file."""
        if self._closed:
            return
        try:
            self._rollback()  # an interrupt may have come in the middle of a commit
            if self._epoch is not None:
                lease, connection = self._schema.lease, self._connection
                back = given_back(self._database.now(connection, time.time()), clean=self.left_clean)
                mine = lease.update().where(lease.c.epoch == self._epoch, *self._schema.leased()).values(back)
                connection.execute(mine, self._database.scope)
                connection.commit()
                self._database.part(connection)
        except DatabaseError:
            self._rollback()  # a full or vanished disk: the lease falls to the next by our dead pid
        finally:
            self._epoch = None
            self._closed = True
            let_go(self._connected, self._database.engine if isinstance(self._database, File) else None)

    # ── the lease ───────────────────────────────────────────────────────────────────────────────

    def acquire(self, now: float) -> None:
        """Becomes the one writer. `StudyBusy` names the host and pid of a living holder."""
        self._guard(lambda: self._acquire(now))

    def _acquire(self, now: float) -> None:
        self._begin("write")
        connection, scope = self._connection, self._database.scope
        row = connection.execute(self._schema.held.with_for_update(), scope).mappings().first()
        self._known(row)
        now = self._database.now(connection, now)
        before = None if row is None else Lease.of(row)
        if before is not None and before == self._taken:  # as the answer that was lost would have said
            connection.rollback()
            return self._hold(before.epoch, now)
        if before is not None and before.is_held(now):
            connection.rollback()
            raise StudyBusy(
                f"{self.where} is in the hands of another coordinator: pid {before.pid} on {before.host}, last heard "
                f"{duration(max(0.0, now - before.heartbeat))} ago. Watch it with `tuner watch`, or stop it first."
            )
        self.left_clean = before is None or before.left_clean
        self.left_at = 0.0 if before is None else before.last_heard
        lease, table = Lease.taken(before, now, one_machine=not self._database.own), self._schema.lease
        self._taken = lease
        values = {**asdict(lease), "schema_version": VERSION}
        if row is None:
            connection.execute(table.insert().values(id=1, **values))
        else:
            connection.execute(table.update().where(*self._schema.leased()).values(values), scope)
        connection.commit()
        return self._hold(lease.epoch, now)

    def _hold(self, epoch: int, now: float) -> None:
        self._sequence = self._highest_sequence()
        self._last_beat = time.time() if self._database.own else now
        self._epoch = epoch
        self._release()

    def holder(self, now: float) -> tuple[str, int] | None:
        """Host and pid of the living coordinator, or None."""
        return None if (lease := self.held(now)) is None else (lease.host, lease.pid)

    def held(self, now: float) -> Lease | None:
        """The lease of the living coordinator, or None.

        While the database was away nothing could be heard of a coordinator on another host: that does not count.
        """
        row, now = self._guard(
            lambda: (self._quick(self._schema.held).mappings().first(), self._database.now(self._connection, now))
        )
        self._release()
        lease = None if row is None else Lease.of(row)
        return lease if lease and lease.is_held(self.patience.judged_at(now, lease.heartbeat)) else None

    def _known(self, row: Mapping[Any, Any] | None) -> None:
        """Refuses a study that a newer tuner has written."""
        if row is not None and (refused := newer(self.where, row["schema_version"])) is not None:
            raise StudyError(refused)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────

    def append(self, records: Sequence[Record], now: float) -> None:
        """Commits the records, all or none, if this process still holds the lease."""
        if self._epoch is None:
            raise StudyError(f"{self.where}: nobody may append without the lease")
        groups: dict[type[Any], list[dict[str, Any]]] = {}
        sequence = self._sequence
        for record in records:
            sequence += 1
            groups.setdefault(type(record), []).append(self._shapes[type(record)].row(sequence, record))
        if own := self._database.own:
            for rows in groups.values():
                for row in rows:
                    row.update(own)
        lease = {"held": self._epoch, "now": now, **self._database.scope}
        sent = False

        def write() -> None:
            nonlocal sent
            connection = self._connection
            held = connection.execute(self._schema.beat, lease)
            if held.rowcount != 1:
                connection.rollback()
                raise StudyBusy(f"{self.where}: another coordinator took the study over; this one stops writing.")
            # the lease's row is locked by now, so whatever was sent before is either whole or will never be
            if not (sent and self._arrived(sequence)):
                sent = True
                for kind, rows in groups.items():
                    self._database.insert(connection, self._shapes[kind].table, rows)
                if own and Answered in groups:
                    answered = [row["request"] for row in groups[Answered]]
                    requests = self._schema.requests
                    mine = requests.update().where(*self._schema.of(requests), requests.c.request.in_(answered))
                    connection.execute(mine.values(unanswered=False), self._database.scope)
            connection.commit()

        self._guard(write)
        if self._idle == "closed":
            self._release()
        self._sequence = sequence
        self._last_beat = now

    def _arrived(self, sequence: int) -> bool:
        """Whether what was sent is on record, up to this place, though the answer was lost."""
        there = self._highest_sequence()
        if there not in (self._sequence, sequence):
            raise StudyError(
                f"{self.where} holds records up to {there} where {self._sequence} were acknowledged: it was set back, "
                "or somebody else has written to it. Nothing more is written. Restore it, or go on under another name."
            )
        return there == sequence

    def beat(self, now: float) -> None:
        """Renews the lease when nothing has been written for a while."""
        if self._epoch is not None and abs(now - self._last_beat) > HEARTBEAT_S:  # clocks are set back, too
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
        name, shape, requests = asked.request, self._shapes[Requested], self._schema.requests
        row = {**shape.row(None, asked), **self._database.own}
        same = sa.select(*self._schema.as_written).where(requests.c.request == name, *self._schema.of(requests))

        def write() -> None:
            self._begin("write")
            connection, scope = self._connection, self._database.scope
            known = connection.execute(same, scope).first()
            if known is None and not connection.execute(self._schema.ask, row).rowcount:
                known = connection.execute(same, scope).first()  # asked meanwhile
            connection.commit()
            if known is not None:
                refuse_another(asked, shape.record_of(known))

        self._guard(write)
        self._release()
        self._requests_read_at = None  # what this connection writes, SQLite does not count
        return name

    def put(self, asked: Sequence[Requested]) -> None:
        """Inserts requests, each under an id that is nobody else's, all in one transaction."""

        shape, own = self._shapes[Requested], self._database.own

        def write() -> None:
            self._begin("write")
            self._connection.execute(self._schema.ask, [{**shape.row(None, each), **own} for each in asked])
            self._connection.commit()

        self._guard(write)
        self._release()
        self._requests_read_at = None

    # ── reading ─────────────────────────────────────────────────────────────────────────────────

    def read(self, *kinds: type[Any], trial: int | None = None) -> Iterator[Any]:
        """Records of the given types in the order written; without types, all but `Reported` and `Requested`.

        With `trial` those of one trial alone, of types that name one.
        """
        wanted = kinds or tuple(kind for kind in self._shapes if kind not in (Reported, Requested))
        rows: list[tuple[int, int, Any]] = []
        for order, kind in enumerate(wanted):
            of_it = None if trial is None else self._shapes[kind].table.c.trial == trial
            rows.extend((row[0], order, row) for row in self._rows(kind, of_it))
        self._release()
        if len(wanted) > 1:
            rows.sort()  # no two have the same place
        for _, order, row in rows:
            yield self._record(self._shapes[wanted[order]], row)

    def follow(self, after: int) -> tuple[list[Any], int]:
        """Everything the coordinator has written beyond `after`, reports included, and the new place to go on from."""
        written = [kind for kind in self._shapes if kind is not Requested]
        rows = self._at_once(
            lambda: [
                (row[0], self._shapes[kind], row)
                for kind in written
                for row in self._rows(kind, self._shapes[kind].table.c.sequence > after)
            ]
        )
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
            columns = self._shapes[kind].table.c
            wanted = [columns.sequence > after]
            wanted += [] if until is None else [columns.sequence <= until]
            wanted += [] if trial is None else [columns.trial == trial]
            found.extend((row[0], order, row) for row in self._rows(kind, sa.and_(*wanted), most))
        self._release()
        found.sort(key=lambda each: each[:2])
        return [(place, self._record(self._shapes[kinds[order]], row)) for place, order, row in found[:most]]

    def reporting(self, after: int) -> set[int]:
        """The trials that have reported beyond `after`."""
        table = self._shapes[Reported].table
        told = sa.select(table.c.trial).distinct().where(table.c.sequence > after, *self._schema.of(table))
        rows = self._guard(lambda: self._connection.execute(told, self._database.scope).fetchall())
        self._release()
        return {trial for (trial,) in rows}

    def answer(self, request: str) -> Answered | None:
        """What became of a request, once the coordinator has said so."""
        rows = self._rows(Answered, self._shapes[Answered].table.c.request == request)
        self._release()
        return self._record(self._shapes[Answered], rows[-1]) if rows else None

    def asked(self, request: str) -> Requested | None:
        """What was asked under an id."""
        rows = self._rows(Requested, self._schema.requests.c.request == request)
        self._release()
        return self._record(self._shapes[Requested], rows[0]) if rows else None

    def answers(self, after: int) -> tuple[list[Answered], int]:
        """All answers written beyond `after`, and the new place to go on from: for whoever waits for many."""
        rows = self._rows(Answered, self._shapes[Answered].table.c.sequence > after)
        self._release()
        return [self._record(self._shapes[Answered], row) for row in rows], rows[-1][0] if rows else after

    def reports(self, trial: int | None = None, step: int = 0) -> Iterator[Reported]:
        """Flushes of reports in the order recorded, of one trial or of all, read bit by bit.

        With `step` those alone that come to it.
        """
        shape, after = self._shapes[Reported], 0
        columns = shape.table.c
        wanted = ([columns.trial == trial] if trial is not None else []) + ([columns.last_step >= step] if step else [])
        while rows := self._rows(Reported, sa.and_(columns.sequence > after, *wanted), _FLUSHES):
            self._release()
            yield from (self._record(shape, row) for row in rows)
            after = rows[-1][0] if len(rows) == _FLUSHES else 2**62
        self._release()

    def reports_of(self, trials: Sequence[int]) -> Iterator[Reported]:
        """Flushes of reports of these trials; those of one trial in the order recorded, and trial by trial."""
        shape, by = self._shapes[Reported], self._shapes[Reported].table.c.trial
        for first in range(0, len(trials), _TRIALS):
            rows = self._rows(Reported, by.in_(trials[first : first + _TRIALS]), order=(by,))
            self._release()
            yield from (self._record(shape, row) for row in rows)

    def new_requests(self) -> list[Requested]:
        """Requests inserted since the last call; the first call returns all."""
        version = self.stamp()
        if version is not None and version == self._requests_read_at:
            return []
        self._requests_read_at = version
        asked = self._database.asked
        self._guard(lambda: asked.looked(self._connection))
        rows = asked.new(self._rows(Requested, asked.others()))
        self._release()
        return [self._record(self._shapes[Requested], row) for row in rows]

    def brief(self) -> dict[str, Any]:
        """What one line about the study needs, without folding it."""
        told, step = brief_of(self._schema, lambda statement: self._guard(lambda: self._quick(statement).first()))
        self._release()
        if step is not None:
            told["spread"] = last_at(self.reports(told["best_trial"]), spread_of(told["objective"]), step)
        return told

    def written_at(self) -> float | None:
        """When the newest record came to be, in Unix seconds; None where there is none."""
        newest = self._guard(lambda: self._quick(self._schema.written).one())
        self._release()
        return max((at for at in newest if at is not None), default=None)

    def version(self) -> int:
        """A number that grows whenever anything is written: cheap to poll."""
        version = int(self._guard(self._highest_sequence))
        self._release()
        return version

    def stamp(self) -> int | None:
        """A number that changes once anybody else has written: cheaper still. None: this store cannot tell."""
        if self._idle == "closed":
            return None  # each connection counts alone
        return self._database.stamp(self._connection)
