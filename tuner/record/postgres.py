"""A team's PostgreSQL database: how it is reached and made, whose rows are whose, and what it refuses, in sentences."""

from __future__ import annotations

import atexit
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, ProgrammingError

from tuner.errors import DatabaseAway, MissingExtra, StudyBusy, StudyError, StudyNotFound, did_you_mean
from tuner.record.curve import better
from tuner.record.events import REPEATING, Led, StudyOpened, TrialCreated, TrialEnded
from tuner.record.lease import Lease
from tuner.record.patience import delayed
from tuner.record.schema import VERSION, Schema, newer, shared
from tuner.record.team import InDatabase

_MOST_CONNECTIONS = 5  # a process
# A connection whose other end is gone is found out within half a minute, instead of two hours.
_GIVEN = {
    "application_name": "tuner",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
# Whoever is stopped in the middle of a transaction must not keep the lease of a study locked.
_PREPARED = "SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '30s'; SET client_encoding = 'UTF8'"
_SNAPSHOT = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; "
    "SET LOCAL idle_in_transaction_session_timeout = '10min'"
)
_TRIES = 20  # to make tables that others make at the same moment
_NO_TABLES = ("42P01", "3F000")
_NOT_ALLOWED = "42501"

# What may pass by itself (PostgreSQL's appendix A): it ends, starts, is full or read only, gave up on a deadlock, or
# cut off whoever stood still in a transaction. A connection that could not be made, or broke, has no state.
_PASSING = ("08", "57P01", "57P02", "57P03", "57P05", "53300", "25006", "25P03", "40001", "40P01")


class Team:
    """One study's share of a team's database, as a store has it."""

    looks_every_s = 0.02

    def __init__(self, place: InDatabase, study: int) -> None:
        """`study` is the number by which its rows go."""
        self.where, self.engine, self.schema = str(place), engine_of(place.url), shared()
        self.scope: Mapping[str, Any] = {"of_study": study}
        self.own: Mapping[str, Any] = {"study": study}
        self.asked = Unordered(self.schema, self.scope)

    def begin(self, connection: sa.Connection, intent: Literal["read", "write"]) -> None:
        """Begins a transaction, to read all of one moment or to write."""
        if intent == "read":
            connection.exec_driver_sql(_SNAPSHOT)

    def quick(self, connection: sa.Connection, statement: sa.Select[Any]) -> sa.CursorResult[Any]:
        """Runs one of the schema's own queries."""
        return connection.execute(statement, self.scope)

    def insert(self, connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        """Writes rows, each with every column, in one statement however many they are."""
        statement, names = _insertion(table, connection.dialect)
        connection.exec_driver_sql(statement, tuple([row[name] for row in rows] for name in names))

    def stamp(self, connection: sa.Connection) -> int | None:  # noqa: ARG002 - there is nothing cheap to ask for
        """Unknown."""
        return None

    def now(self, connection: sa.Connection, here: float) -> float:  # noqa: ARG002 - machines differ, and it does not
        """The time that leases go by, in Unix seconds: the server's."""
        return float(connection.execute(sa.select(self.schema.clock)).scalar_one())

    def part(self, connection: sa.Connection) -> None:
        """The one writer leaves nothing to tidy."""

    def is_away(self, error: DatabaseError) -> bool:
        """Whether the server did not answer, or not now."""
        return is_away(error)

    def refusal(self, error: DatabaseError) -> StudyError:
        """What the server refused, as a sentence."""
        return refusal(self.where, error)


class Unordered:
    """Requests that have been handed out, where a lower number may be seen later than a higher one.

    The database numbers a request when it is written, and shows it when that is committed. So those without an answer
    are looked through, and those that got their first since.
    """

    def __init__(self, schema: Schema, scope: Mapping[str, Any]) -> None:
        self._schema, self._scope = schema, scope
        self._known: frozenset[int] = frozenset()  # what the last look found
        self._answered: int | None = None  # up to where the answers had been seen then; None: nobody has looked
        self._next = 0

    def looked(self, connection: sa.Connection) -> None:
        """Somebody is about to look for others: answers that come later will be found the next time."""
        answers = self._schema.answers
        newest = sa.select(sa.func.max(answers.c.sequence)).where(*self._schema.of(answers))
        self._next = connection.execute(newest, self._scope).scalar_one() or 0

    def others(self) -> sa.ColumnElement[bool] | None:
        """Which requests to look through; None: all."""
        if self._answered is None:
            return None
        requests, answers = self._schema.requests.c, self._schema.answers
        before = answers.alias()
        of_study = self._schema.of(answers)
        earlier = sa.exists().where(
            before.c.study == answers.c.study,
            before.c.request == answers.c.request,
            before.c.sequence <= self._answered,
        )
        first = sa.select(answers.c.request).where(*of_study, answers.c.sequence > self._answered, ~earlier)
        return sa.or_(requests.unanswered, requests.request.in_(first))

    def new(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Those of the rows found that have not been handed out; from now on they have."""
        found = [row for row in rows if row[0] not in self._known]
        self._known, self._answered = frozenset(row[0] for row in rows), self._next
        return found


@cache
def _insertion(table: sa.Table, dialect: sa.Dialect) -> tuple[str, tuple[str, ...]]:
    """What writes rows that are given column by column, and the columns."""
    kinds = {column.name: str(column.type.compile(dialect)) for column in table.columns}
    columns = ", ".join(f'"{name}"' for name in kinds)
    arrays = ", ".join(f"%{'b' if kind == 'BYTEA' else 's'}::{kind}[]" for kind in kinds.values())
    return f'INSERT INTO tuner."{table.name}" ({columns}) SELECT * FROM unnest({arrays})', tuple(kinds)


# ── reaching it ─────────────────────────────────────────────────────────────────────────────────────


def engine_of(url: str) -> sa.Engine:
    """The connections of this process to a database, five at most, shared by all that it reads and writes there."""
    return _engine(url, os.getpid())


@lru_cache
def _engine(url: str, pid: int) -> sa.Engine:  # a child process must not use its parent's connections
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise MissingExtra("a team's database needs psycopg. Install it: pip install 'tuner[postgres]'") from error
    parsed = sa.make_url(url)
    given = {word: value for word, value in _GIVEN.items() if word not in parsed.query}
    engine = sa.create_engine(
        parsed,
        connect_args={**given, "prepare_threshold": None},  # a pooler in between may not know what was prepared
        pool_size=_MOST_CONNECTIONS,
        max_overflow=0,
        pool_pre_ping=True,
        pool_timeout=60.0,
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        try:
            connection.autocommit = True
            connection.execute(_PREPARED)
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise

    atexit.register(_part, engine, pid)
    return engine


def _part(engine: sa.Engine, pid: int) -> None:
    """Closes the connections that nobody uses, so that the server is told and does not find out; a parent's are not."""
    if os.getpid() == pid:
        engine.dispose()


@contextmanager
def reached(place: InDatabase) -> Iterator[sa.Connection]:
    """A connection; a server that cannot be reached, or refuses, says so in a sentence."""
    try:
        with engine_of(place.url).connect() as connection:
            yield connection
    except DatabaseError as error:
        raise refusal(str(place), error) from error


def mark(place: InDatabase) -> int:
    """The number that a study's rows go by; 0: it is not there."""
    with reached(place) as connection:
        try:
            return _number(connection, place.study) or 0
        except ProgrammingError as error:
            if not misses_tables(error):
                raise
            return 0


def _number(connection: sa.Connection, study: str) -> int | None:
    lease = shared().lease.c
    number: int | None = connection.execute(sa.select(lease.id).where(lease.name == study)).scalar()
    return number


def existing(place: InDatabase) -> Team:
    """A study that is there; otherwise `StudyNotFound` with the nearest name."""
    study = mark(place)
    if not study:
        known = [each.name for each in listed(place.url)]
        raise StudyNotFound(f"there is no study {place.study!r} in {place.shown}. {did_you_mean(place.study, known)}")
    _update(place)
    return Team(place, study)


def begun(place: InDatabase) -> Team:
    """A study that is there, or is from now on, with whatever tables the database lacks."""
    complete(place)
    with reached(place) as connection:
        return Team(place, _added(connection, place.study))


def complete(place: InDatabase) -> None:
    """Makes the tables that the database lacks."""
    tried = 0
    while True:
        with reached(place) as connection:
            try:
                return _make(connection)
            except (IntegrityError, ProgrammingError) as error:  # somebody else makes the same at this moment
                connection.rollback()
                tried += 1
                if tried == _TRIES or getattr(error.orig, "sqlstate", "") == _NOT_ALLOWED:
                    raise
        time.sleep(0.05)


def _update(place: InDatabase) -> None:
    """Makes the tables that an older tuner has not made, where it made some."""
    with reached(place) as connection:
        there = _tables(connection)
    if there and not there.issuperset(table.name for table in shared().metadata.sorted_tables):
        complete(place)


def _tables(connection: sa.Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names(schema="tuner"))


def _make(connection: sa.Connection) -> None:
    there = _tables(connection)
    if missing := [table for table in shared().metadata.sorted_tables if table.name not in there]:
        connection.execute(sa.schema.CreateSchema("tuner", if_not_exists=True))
        shared().metadata.create_all(connection, tables=missing, checkfirst=False)
    connection.commit()


def _added(connection: sa.Connection, study: str) -> int:
    lease = shared().lease
    row = {"name": study, "epoch": 0, "host": "", "pid": 0, "born": "", "heartbeat": 0.0, "schema_version": VERSION}
    connection.execute(insert(lease).values(row).on_conflict_do_nothing())
    connection.commit()
    return _number(connection, study) or 0


# ── all studies at once ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A study as a list of many tells of it."""

    name: str
    brief: dict[str, Any]
    """As `Store.brief` has it, but for how far seeds differ."""
    has_seeds: bool
    """Whether each trial is trained with several seeds."""
    lease: Lease
    now: float
    """By the server's clock, in Unix seconds."""
    schema_version: int

    def refused(self) -> str | None:
        """Why it cannot be read; None: it can."""
        return newer(self.name, self.schema_version)


def listed(url: str) -> list[Listed]:
    """All studies of a database, in a few questions however many there are."""
    place = InDatabase(url=url, study="all studies")
    _update(place)
    schema = shared()
    with reached(place) as connection:
        try:
            leases = connection.execute(sa.select(schema.lease, schema.clock.label("now"))).mappings().all()
        except ProgrammingError as error:
            if not misses_tables(error):
                raise
            return []
        opened, briefs = _briefs(connection)
    return [
        Listed(
            name=row["name"],
            brief=briefs[row["id"]],
            has_seeds=opened[row["id"]][1].get("seeds", 1) > 1,
            lease=Lease.of(row),
            now=row["now"],
            schema_version=row["schema_version"],
        )
        for row in leases
    ]


_Opened: TypeAlias = tuple[str, Mapping[str, Any]]
"""A study's kind and identity."""


def _briefs(connection: sa.Connection) -> tuple[Mapping[int, _Opened], Mapping[int, dict[str, Any]]]:
    """What every study was opened as, and what one line about it says, by the numbers of the studies."""
    schema = shared()
    first, begun_, ended, leads = (schema.shapes[each].table for each in (StudyOpened, TrialCreated, TrialEnded, Led))
    opening = sa.select(first.c.study, first.c.kind, first.c.identity).order_by(first.c.sequence.desc())
    counted = {
        "trials": sa.select(begun_.c.study, sa.func.count()).group_by(begun_.c.study),
        "ended": sa.select(ended.c.study, sa.func.count(sa.distinct(ended.c.trial))).group_by(ended.c.study),
        "aside": schema.set_aside(everywhere=True),
    }
    latest = sa.select(leads.c.study, sa.func.max(leads.c.sequence)).group_by(leads.c.study)
    newest = sa.select(leads.c.study, leads.c.score, leads.c.trial).where(
        sa.tuple_(leads.c.study, leads.c.sequence).in_(latest)
    )

    opened: dict[int, _Opened] = defaultdict(lambda: ("", {}))
    opened |= {study: (kind, json.loads(identity)) for study, kind, identity in connection.execute(opening)}
    best: dict[int, tuple[float | None, int | None]] = defaultdict(lambda: (None, None))
    best |= {study: (score, trial) for study, score, trial in connection.execute(newest)}
    best |= _winners(connection, {study: identity for study, (_, identity) in opened.items() if study not in best})
    briefs: dict[int, dict[str, Any]] = defaultdict(lambda: _brief("", {}, None, None))
    briefs |= {study: _brief(*told, *best[study]) for study, told in opened.items()}
    for what, query in counted.items():
        for study, count in connection.execute(query):
            briefs[study][what] = count
    for study, trial, why in reversed(connection.execute(schema.delays(everywhere=True)).all()):
        briefs[study]["delay"] = delayed(trial, why)  # in the end of the first
    return opened, briefs


def branches(url: str, parent: str) -> list[str]:
    """The studies of a database that begin from a checkpoint of another, by name."""
    begun_, lease = shared().shapes[TrialCreated].table, shared().lease
    query = sa.select(lease.c.name).join(begun_, begun_.c.study == lease.c.id).order_by(lease.c.name).distinct()
    query = query.where(begun_.c.parent.startswith(f"{parent}/", autoescape=True))
    with reached(InDatabase(url=url, study="all studies")) as connection:
        return list(connection.execute(query).scalars())


def _winners(connection: sa.Connection, identities: Mapping[int, Mapping[str, Any]]) -> dict[int, tuple[float, int]]:
    """Score and trial that ended best, of studies on record since before their best was put there."""
    ended, begun_ = (shared().shapes[kind].table for kind in (TrialEnded, TrialCreated))
    of_them = ended.c.study.in_(identities)
    newest = sa.select(ended.c.study, sa.func.max(ended.c.sequence).label("sequence")).where(of_them)
    newest_of = newest.group_by(ended.c.study, ended.c.trial).subquery()
    last = (
        sa.select(ended.c.study, ended.c.trial, ended.c.best_score)
        .join(newest_of, sa.and_(newest_of.c.study == ended.c.study, newest_of.c.sequence == ended.c.sequence))
        .join(begun_, sa.and_(begun_.c.study == ended.c.study, begun_.c.trial == ended.c.trial))
        .where(ended.c.best_score.is_not(None), ended.c.state != "diverged", begun_.c.purpose.not_in(REPEATING))
    )
    best: dict[int, tuple[float, int]] = {}
    for study, trial, score in connection.execute(last.order_by(ended.c.trial)):
        if study not in best or better(identities[study].get("goal", "maximize"), score, best[study][0]):
            best[study] = (score, trial)
    return best


def _brief(kind: str, identity: Mapping[str, Any], best: float | None, trial: int | None) -> dict[str, Any]:
    told = {"kind": kind, "objective": identity.get("objective", ""), "trials": 0, "ended": 0, "aside": 0, "delay": ""}
    return told | {"best": best, "best_trial": trial}


# ── what it refuses ─────────────────────────────────────────────────────────────────────────────────


def misses_tables(error: DatabaseError) -> bool:
    """Whether nobody has made the tables yet."""
    return getattr(error.orig, "sqlstate", "") in _NO_TABLES


def is_away(error: DatabaseError) -> bool:
    """Whether the server did not answer, or not now, so that to try again may help."""
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or (state is None and isinstance(error, OperationalError)):
        return True
    return state is not None and state.startswith(_PASSING)


def refusal(where: str, error: DatabaseError) -> StudyError:
    """What the server refused, as a sentence."""
    state = getattr(error.orig, "sqlstate", None) or ""
    lines = str(error.orig).splitlines()
    reason = " ".join(" ".join(line for line in lines if not line.startswith("\t")).split())  # the driver's own hints
    if is_away(error):
        return DatabaseAway(
            f"{where} cannot be reached: {reason}. Nothing on record is lost. Is the server running there, and may "
            "this machine and user reach it (the password: ~/.pgpass or PGPASSWORD)?"
        )
    if state in _NO_TABLES:
        return StudyError(f"{where} holds no study yet: its coordinator has not begun. Try again in a moment.")
    if state == _NOT_ALLOWED:
        return StudyError(
            f"{where} does not let this user do that: {reason}. Whoever owns the database grants it: GRANT CREATE ON "
            "DATABASE … TO …, once, and then the tables of the schema tuner."
        )
    if state == "53100":
        return StudyError(f"the disk under {where} is full: nothing more can be recorded. Free some space and go on.")
    if state == "55P03":
        return StudyBusy(f"{where} is being written to by somebody who does not come to an end: {reason}. Try again.")
    return StudyError(f"{where} cannot be used: {reason}.")
