"""Reports as they are packed: the scores of one flush in one record, 26 bytes each.

A row of the database for every report takes ten times the space and the time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

from tuner.record.events import Reported

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# One report in `Reported.data`: step, index of its name, value, Unix seconds; little-endian, 26 bytes.
_REPORT = struct.Struct("<qHdd")
REPORT_FIELDS = (("step", "<i8"), ("name", "<u2"), ("value", "<f8"), ("at", "<f8"))

Row: TypeAlias = tuple[int, str, float, float]
"""One report: step, name, value, Unix seconds."""


def pack_reports(trial: int, segment: int, rows: Sequence[Row]) -> Reported:
    """Rows of one segment, in the order reported, as one record."""
    index: dict[str, int] = {}
    pack = _REPORT.pack
    data = b"".join([pack(step, index.setdefault(name, len(index)), value, at) for step, name, value, at in rows])
    return Reported(trial=trial, segment=segment, last_step=rows[-1][0], names=list(index), data=data)


def unpack_reports(record: Reported) -> Iterator[Row]:
    """The rows of a `Reported`, in the order reported."""
    for step, name, value, at in _REPORT.iter_unpack(record.data):
        yield step, record.names[name], value, at


def objective_rows(record: Reported, objective: str) -> Iterable[tuple[int, float]]:
    """The (step, value) pairs of one score."""
    try:
        wanted = record.names.index(objective)
    except ValueError:
        return ()
    return [(step, value) for step, name, value, _ in _REPORT.iter_unpack(record.data) if name == wanted]


def last_at(records: Iterable[Reported], name: str, step: int | None) -> float | None:
    """What a score was at a step by the last report of it; None where it was not reported there."""
    return dict(row for record in records for row in objective_rows(record, name)).get(-1 if step is None else step)


def runs_of(records: Iterable[Reported]) -> Iterator[list[Reported]]:
    """Flushes that follow one another in a segment and call their scores alike, some at a time."""
    for _, alike in groupby(records, key=lambda each: (each.segment, each.names)):
        some: list[Reported] = []
        for record in alike:
            some.append(record)
            if len(some) == _SOME:
                yield some
                some = []
        if some:
            yield some


def score_columns(
    records: Sequence[Reported], name: str, up_to: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps and values of one score, up to a step, in flushes that call their scores alike: of millions in no time."""
    import numpy as np  # only who reads scores waits for it

    names = records[0].names
    rows = np.frombuffer(b"".join([each.data for each in records]), np.dtype(list(REPORT_FIELDS)))
    wanted = rows["name"] == (names.index(name) if name in names else len(names))
    if up_to is not None:
        wanted &= rows["step"] <= up_to
    found = rows if wanted.all() else rows[wanted]
    return found["step"].astype(np.int64), found["value"].astype(np.float64)


_SOME = 4096
