"""Reports as they are packed: the scores of one flush in one record, 26 bytes each.

A row of the database for every report takes ten times the space and the time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from tuner.record.events import Reported

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
