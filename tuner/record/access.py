"""The access to a study's database: a connection when one is needed, a sentence for what is refused, and a next try.

What a database is to a store stands here too; `database.py` has a file of SQLite's, `postgres.py` a team's.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from tuner.errors import DatabaseAway, StudyError
from tuner.record.database import File, let_go
from tuner.record.events import Requested
from tuner.record.patience import Patience
from tuner.record.schema import DamagedRow, Schema, Shape

Found = TypeVar("Found")
Idle: TypeAlias = Literal["open", "closed"]


class Unseen(Protocol):
    """Which requests a store has handed out."""

    def looked(self, connection: sa.Connection) -> None:
        """Somebody is about to look for others."""

    def others(self) -> sa.ColumnElement[bool] | None:
        """Which requests to look through; None: all."""

    def new(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Those of the rows found that have not been handed out; from now on they have."""


class Database(Protocol):
    """What a store needs of the database that it lies in."""

    where: str
    """What error messages call the place."""
    engine: sa.Engine
    schema: Schema
    looks_every_s: float
    """How often one user may look for what others have written, in seconds, and cost it little."""

    @property
    def asked(self) -> Unseen:
        """Which requests have been handed out."""

    @property
    def scope(self) -> Mapping[str, Any]:
        """Which study a statement is about."""

    @property
    def own(self) -> Mapping[str, Any]:
        """What every row has that is the study's."""

    def begin(self, connection: sa.Connection, intent: Literal["read", "write"]) -> None:
        """Begins a transaction, to read all of one moment or to write."""

    def quick(self, connection: sa.Connection, statement: sa.Select[Any]) -> sa.CursorResult[Any]:
        """Runs one of the schema's own queries."""

    def insert(self, connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        """Writes rows, each with every column."""

    def stamp(self, connection: sa.Connection) -> int | None:
        """A number that changes when another connection commits. None: unknown."""

    def now(self, connection: sa.Connection, here: float) -> float:
        """The time that leases go by, in Unix seconds."""

    def part(self, connection: sa.Connection) -> None:
        """The one writer has done, and leaves."""

    def is_away(self, error: DatabaseError) -> bool:
        """Whether the database did not answer, so that to try again may help."""

    def refusal(self, error: DatabaseError) -> StudyError:
        """What the database refused, as a sentence."""


class _Broken(DatabaseAway):
    """It went away in the middle of what was to be of one moment."""


class Access:
    """One user's of a database, who reads and writes in turn."""

    def __init__(self, database: Database, idle: Idle = "open", patience: Patience | None = None) -> None:
        """With `idle="closed"` it holds no connection between two uses."""
        self._database, self._schema, self._shapes = database, database.schema, database.schema.shapes
        self._idle, self._closed = idle, False
        self.where, self.looks_every_s = database.where, database.looks_every_s
        self.patience: Patience = patience or Patience()
        """What happens between two tries where the database is away."""
        self._connected: list[sa.Connection] = []  # one, or none
        # an engine is full of circles, which would keep its files open until garbage is next looked for
        engine = database.engine if isinstance(database, File) else None  # a server's is the whole process's
        weakref.finalize(self, let_go, self._connected, engine).atexit = False
        self._snapshot = False
        try:
            self._guard(lambda: self._connection)
        except StudyError:
            let_go(self._connected, engine)
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside is of one moment."""
        self._guard(lambda: self._begin("read"))
        self._snapshot = True
        try:
            yield
        finally:
            self._snapshot = False
            self._release()

    @contextmanager
    def lasting(self, *, until: float = math.inf, say: Callable[[str], None] | None = None) -> Iterator[None]:
        """Meanwhile a database that is away is waited for as long as it takes, or `until`, by the monotonic clock.

        `say` is told so in words, once, and once it is back; None: whoever has been told before.
        """
        before = self.patience
        self.patience = Patience(within_s=math.inf, until=until, say=say or before.say)
        try:
            yield
        finally:
            self.patience = before

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
                self._connected.append(self._database.engine.connect())
            except sa.exc.TimeoutError as error:
                raise StudyError(
                    f"{self.where}: all connections of this process were busy for long. Look at fewer studies at once."
                ) from error
        return self._connected[0]

    def _rollback(self) -> None:
        """Ends the transaction, and where that fails the connection, which takes the transaction with it."""
        for connection in self._connected:
            try:
                connection.rollback()
            except DatabaseError:
                self._drop()
                return

    def _drop(self) -> None:
        """Lets go of a connection that is broken."""
        while self._connected:
            connection = self._connected.pop()
            with suppress(DatabaseError):
                connection.invalidate()
            with suppress(DatabaseError):
                connection.close()

    def _rows(
        self, kind: type[Any], condition: Any = None, most: int | None = None, order: Sequence[Any] = ()
    ) -> Sequence[Any]:
        shape = self._shapes[kind]
        query = sa.select(shape.table.c.sequence, *(self._schema.as_written if kind is Requested else shape.columns))
        query = query.where(*self._schema.of(shape.table), *(() if condition is None else (condition,)))
        query = query.order_by(*order, shape.table.c.sequence).limit(most)
        rows: Sequence[Any] = self._guard(lambda: self._connection.execute(query, self._database.scope).fetchall())
        return rows

    def _highest_sequence(self) -> int:
        tables = [shape.table for kind, shape in self._shapes.items() if kind is not Requested]
        query = sa.select(
            *[sa.select(sa.func.max(t.c.sequence)).where(*self._schema.of(t)).scalar_subquery() for t in tables]
        )
        found = self._connection.execute(query, self._database.scope).one()
        return max((value or 0 for value in found), default=0)

    def _quick(self, statement: sa.Select[Any]) -> sa.CursorResult[Any]:
        return self._database.quick(self._connection, statement)

    def _begin(self, intent: Literal["read", "write"]) -> None:
        self._rollback()
        self._database.begin(self._connection, intent)

    def _record(self, shape: Shape, row: Sequence[Any]) -> Any:
        try:
            return shape.record_of(row[1:])
        except DamagedRow as error:
            raise StudyError(f"{self.where} is damaged: {error}. Restore it from a copy.") from None

    def _at_once(self, read: Callable[[], Found]) -> Found:
        """What is read, all of one moment; anew where the database goes away meanwhile."""

        def look() -> Found:
            with self.snapshot():
                return read()

        found: Found = self._guard(look)
        return found

    def _guard(self, act: Callable[[], Any]) -> Any:
        """Runs a database action, again where the database is away; the driver's errors become sentences.

        Inside a snapshot it is all of that which must be done again: by whoever has it as one action.
        """
        away = False
        while True:
            try:
                found = act()
            except DatabaseError as error:
                self._rollback()
                refusal = self._database.refusal(error)
                if not self._database.is_away(error):
                    raise refusal from error
                self._drop()
                if self._snapshot:
                    raise _Broken(str(refusal)) from error
                away = True
                self.patience.wait(refusal)
            except _Broken as broken:
                if self._snapshot:
                    raise
                away = True
                self.patience.wait(broken)
            except BaseException:
                self._rollback()  # half a transaction must not leave with the next
                raise
            else:
                if away:
                    self.patience.over()
                return found
