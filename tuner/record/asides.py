"""The asides of a team's database: what is set aside for the studies that somebody begins, by whichever service.

They are counted before one is added, and it is added only if they are still the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ProgrammingError

from tuner.record.postgres import complete, misses_tables, reached
from tuner.record.schema import shared
from tuner.record.team import InDatabase

_COMES_WITHIN_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Aside:
    """What is set aside for a study; None: without a bound."""

    trials: int | None
    steps: int | None
    is_coming: bool = True
    """Whether nobody has held the study since, and somebody may be about to."""


@dataclass(frozen=True, kw_only=True)
class Asides:
    """All that is set aside for somebody, by study."""

    studies: Mapping[str, Aside]
    number: int
    """Of the newest; 0: there is none."""


def asides(url: str, by: str) -> Asides:
    """What is set aside for `by`."""
    table, lease, clock = shared().asides, shared().lease, shared().clock
    is_coming = sa.and_(
        sa.func.coalesce(lease.c.epoch, 0) == table.c.epoch, clock - table.c.at < sa.literal(_COMES_WITHIN_S)
    )
    query = sa.select(table.c.name, table.c.trials, table.c.steps, is_coming, table.c.number)
    query = query.select_from(table.outerjoin(lease, lease.c.name == table.c.name)).where(table.c.by == by)
    with reached(_all_of(url)) as connection:
        try:
            rows = connection.execute(query).all()
        except ProgrammingError as error:
            if not misses_tables(error):
                raise
            rows = []
    found = {name: Aside(trials=trials, steps=steps, is_coming=comes) for name, trials, steps, comes, _ in rows}
    return Asides(studies=found, number=max((row[-1] for row in rows), default=0))


def set_aside(url: str, by: str, study: str, aside: Aside, *, seen: int | None = None) -> bool:
    """Sets aside for a study of `by`, in place of what was; not where more is set aside for `by` than was `seen`."""
    table, lease, clock = shared().asides, shared().lease, shared().clock
    newest = sa.func.coalesce(sa.func.max(table.c.number), 0)
    complete(_all_of(url))
    with reached(_all_of(url)) as connection:
        connection.exec_driver_sql("LOCK TABLE tuner.asides IN SHARE ROW EXCLUSIVE MODE")
        if seen not in (None, connection.execute(sa.select(newest).where(table.c.by == by)).scalar_one()):
            return False
        epoch = connection.execute(sa.select(lease.c.epoch).where(lease.c.name == study)).scalar() or 0
        told = {"trials": aside.trials, "steps": aside.steps, "epoch": epoch, "at": clock}
        added = insert(table).values(by=by, name=study, **told)
        told["number"] = added.excluded.number
        connection.execute(added.on_conflict_do_update(index_elements=[table.c.by, table.c.name], set_=told))
        connection.commit()
    return True


def take_back(url: str, by: str, study: str) -> None:
    """Nothing is set aside any more."""
    table = shared().asides
    with reached(_all_of(url)) as connection:
        connection.execute(table.delete().where(table.c.by == by, table.c.name == study))
        connection.commit()


def beginner(url: str, study: str) -> str | None:
    """Who has begun a study, where anything is set aside for it; of several the first."""
    table = shared().asides
    query = sa.select(table.c.by).where(table.c.name == study).order_by(table.c.number).limit(1)
    with reached(_all_of(url)) as connection:
        try:
            found: str | None = connection.execute(query).scalar()
        except ProgrammingError as error:
            if not misses_tables(error):
                raise
            found = None
    return found


def _all_of(url: str) -> InDatabase:
    return InDatabase(url=url, study="all studies")
