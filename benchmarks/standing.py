"""What an earlier page says of kinds that were not tried since: their rows, and what went wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Rows by their first cell, complaints by the name of their kind."""

    rows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    complaints: Mapping[str, Sequence[str]] = field(default_factory=dict)


def standing(page: Path | None, headers: Sequence[str]) -> Standing:
    """What stands on a page whose tables have these headers; nothing where there is no page, or another kind of one."""
    if page is None or not page.exists():
        return Standing()
    rows: dict[str, tuple[str, ...]] = {}
    complaints: dict[str, list[str]] = {}
    fits = False
    for line in page.read_text().splitlines():
        if cells := _cells(line):
            fits = cells == tuple(headers) or (fits and len(cells) == len(headers))
            if fits and cells[1].isdecimal():
                rows[cells[0]] = cells
        elif complaint := re.match(r"- (`(\w+)`, .*)", line):
            complaints.setdefault(complaint[2], []).append(complaint[1])
    return Standing(rows=rows, complaints=complaints)


def _cells(line: str) -> tuple[str, ...]:
    """The cells of a line of a table, none of any other line."""
    if not line.startswith("|"):
        return ()
    return tuple(cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
