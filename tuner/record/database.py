"""The database file of a study: how it is made and opened, where it is refused, and what it refuses, in sentences."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, OperationalError

from tuner.errors import StudyError
from tuner.record.atomic import sync_folder
from tuner.record.schema import ALONE, Schema, compiled

NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "beegfs"}
)

Found = TypeVar("Found")


class File:
    """One study's database file, or its like in memory, as a store has it."""

    schema: Schema = ALONE
    looks_every_s = 0.0
    scope: ClassVar[Mapping[str, Any]] = {}
    own: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, engine: sa.Engine, where: str) -> None:
        """`where` is what error messages call the place."""
        self.engine, self.where = engine, where
        self.asked = Counted(self.schema)

    def begin(self, connection: sa.Connection, intent: Literal["read", "write"]) -> None:
        """Begins a transaction: the driver would with the first write only."""
        connection.exec_driver_sql("BEGIN" if intent == "read" else "BEGIN IMMEDIATE")

    def quick(self, connection: sa.Connection, statement: sa.Select[Any]) -> sa.CursorResult[Any]:
        """Runs one of the schema's own queries, compiled once for all stores: `tuner ls` opens hundreds."""
        return connection.exec_driver_sql(compiled(statement, "sqlite"))

    def insert(self, connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        """Writes rows, each with every column."""
        connection.execute(table.insert(), rows)

    def stamp(self, connection: sa.Connection) -> int | None:
        """A number that changes when another connection commits. None: unknown."""
        return data_version(connection)

    def now(self, connection: sa.Connection, here: float) -> float:  # noqa: ARG002 - there is no other
        """The time that leases go by, in Unix seconds, which is this machine's."""
        return here

    def part(self, connection: sa.Connection) -> None:
        """Folds the write-ahead log into the one file, once nobody writes any more."""
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def is_away(self, error: DatabaseError) -> bool:  # noqa: ARG002 - a file is there or not
        """Whether to try again may help."""
        return False

    def refusal(self, error: DatabaseError) -> StudyError:
        """What the database refused, as a sentence."""
        return refusal(self.where, error)


class Counted:
    """Requests that have been handed out, where one number after another is given to what is written."""

    def __init__(self, schema: Schema) -> None:
        self._place, self._seen = schema.requests.c.sequence, 0

    def looked(self, connection: sa.Connection) -> None:
        """Somebody is about to look for others."""

    def others(self) -> sa.ColumnElement[bool] | None:
        """Which requests to look through; None: all."""
        return self._place > self._seen

    def new(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Those of the rows found that have not been handed out; from now on they have."""
        self._seen = rows[-1][0] if rows else self._seen
        return rows


def make(path: Path, fill: Callable[[Path], None]) -> None:
    """Makes a new database aside, has it filled, and gives it its name once it is whole.

    Whoever opens a database while its journal mode changes may wait for the other until both give up.
    """
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        _make_private(aside)
        fill(aside)
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


def sqlite_engine(path: Path, access: Literal["create", "write", "read"]) -> sa.Engine:
    """The way to a SQLite file; nothing is opened before the first statement."""
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

    pools = sa.pool.NullPool
    logging.getLogger(f"{pools.__module__}.{pools.__name__}").addFilter(_is_no_interrupt)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = "DEFERRED"
        if access == "create":
            connection.execute("PRAGMA journal_mode=WAL")
        else:
            _lend_tables(connection)
        connection.execute("PRAGMA synchronous=FULL")

    return engine


def as_it_lies(path: Path, read: Callable[[Callable[[str], Any]], Found | None]) -> Found | None:
    """What is read of a file that nobody writes to, as it lies; None where somebody may, or it cannot be read.

    `read` is given what asks for the first row. Nothing is locked, so the file must be seen not to have changed.
    """
    if (before := _at_rest(path)) is None:
        return None
    try:
        with closing(sqlite3.connect(f"file:{quote(os.fsencode(path))}?immutable=1", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            found = read(lambda statement: connection.execute(statement).fetchone())
    except (sqlite3.Error, ValueError, KeyError, IndexError, TypeError):
        return None
    return found if _at_rest(path) == before else None


def _lend_tables(connection: sqlite3.Connection) -> None:
    """Has the tables that a file of an older tuner lacks stand empty in this connection; the file stays as it is.

    Nothing can be written there, or it would be gone with the connection.
    """
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if ALONE.lease.name in there:  # else nobody has made them yet
        for table in ALONE.metadata.sorted_tables:
            if table.name not in there:
                columns = [sa.Column(each.name, each.type) for each in table.columns]
                lent = sa.Table(table.name, sa.MetaData(), *columns, sa.CheckConstraint("0"), prefixes=["TEMPORARY"])
                connection.execute(str(sa.schema.CreateTable(lent)))


_RESTS_S = 1.0  # a file written to later than so long ago may be written to again and bear the same time


def _at_rest(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from what it was before, or will be; None where it was just written to, or a log lies by it."""
    try:
        if any(_bytes(path.with_name(path.name + ending)) for ending in ("-wal", "-journal")):
            return None
        told = path.stat()
    except OSError:
        return None
    return (told.st_ino, told.st_size, told.st_mtime_ns) if time.time() - told.st_mtime > _RESTS_S else None


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_no_interrupt(record: logging.LogRecord) -> bool:
    """The pool logs with a traceback what it raises again: a Ctrl-C while a connection closes is no error."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or issubclass(kind, Exception)


def let_go(connected: list[sa.Connection], engine: sa.Engine | None = None) -> None:
    """Closes the connection there is, and with it the engine."""
    while connected:
        connected.pop().close()
    if engine is not None:
        engine.dispose()


def data_version(connection: sa.Connection) -> int | None:
    """A number that changes when another connection commits: far cheaper to ask for than to look. None: unknown."""
    driver = connection.connection.dbapi_connection
    if not isinstance(driver, sqlite3.Connection):
        return None
    return int(driver.execute("PRAGMA data_version").fetchone()[0])


def refusal(where: str, error: DatabaseError) -> StudyError:
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
