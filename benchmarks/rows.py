"""The rows of every benchmark: a figure with its unit and spread, what stands beside it, and what was promised."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured, and where."""

    quick: bool
    folder: Path

    def size(self, full: int, quick: int) -> int:
        """The count for this run."""
        return quick if self.quick else full

    def fresh(self, name: str) -> str:
        """An empty folder for one measurement."""
        (folder := self.folder / name).mkdir(parents=True, exist_ok=True)
        return str(folder)


@contextmanager
def workspace(name: str, inside: Path | None) -> Iterator[Path]:
    """A folder for what is written while measuring, gone afterwards: in one that is made where it is missing."""
    if inside is not None:
        inside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=inside) as folder:
        yield Path(folder)


class Measured(NamedTuple):
    """A figure, and from where to where several rounds, or one standard error, reach."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Measured:
        """The median of several rounds, and the least and the most of them."""
        return cls(statistics.median(rounds), min(rounds), max(rounds))


Figure: TypeAlias = float | Measured | str
"""A number, with its spread where there is one, or the sentence that says why there is none."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Bounds on the figure itself or, with `times`, on its ratio to the other's."""

    at_least: float | None = None
    at_most: float | None = None
    times: bool = False

    def reached(self, value: float) -> bool:
        """Whether `value` keeps the bounds."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def shown(self, unit: str) -> str:
        """The bounds as a reader wants them."""
        bounds = (("≥", self.at_least), ("≤", self.at_most))
        told = " and ".join(f"{sign} {bound:,g}" for sign, bound in bounds if bound is not None)
        return f"{told} {'×' if self.times else unit}".rstrip()


@dataclass(frozen=True)
class Row:
    """One comparison: what tuner reaches, what stands beside it, and what was promised."""

    what: str
    value: Figure
    unit: str = ""
    _: KW_ONLY
    beside: str = ""
    other: Figure | None = None
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the other's figure tuner's is."""
        value, other = number(self.value), number(self.other)
        return value / other if value is not None and other else None

    @property
    def verdict(self) -> str:
        """reached, missed, or not measured; empty where nothing was promised."""
        if self.goal is None:
            return ""
        value = self.ratio if self.goal.times else number(self.value)
        return "not measured" if value is None else "reached" if self.goal.reached(value) else "missed"

    def cells(self) -> tuple[str, ...]:
        """The row as text, column by column of `HEADERS`."""
        value, spread = self.value, ""
        if isinstance(value, Measured) and value.low < value.high:
            spread = f"{shown(value.low)} to {shown(value.high)}"
        return (
            self.what,
            shown(value) if isinstance(value, str) else f"{shown(value)} {self.unit}".rstrip(),
            spread,
            f"{shown(self.other)} ({self.beside})" if self.beside else "",
            "" if self.ratio is None else f"{shown(self.ratio)} ×",
            self.goal.shown(self.unit) if self.goal else "",
            self.verdict,
        )


HEADERS = ("row", "tuner", "spread", "limit or peer", "ratio", "goal", "verdict")
STYLES = {"reached": "green", "missed": "bold red", "not measured": "yellow", "": ""}


def number(figure: Figure | None) -> float | None:
    """The number of a figure, where it is one."""
    return None if figure is None or isinstance(figure, str) else figure[0] if isinstance(figure, tuple) else figure


def shown(figure: Figure | None) -> str:
    """A number as a reader wants it, or the reason that there is none."""
    if isinstance(figure, str):
        return textwrap.shorten(figure, 90, placeholder=" …")
    value = number(figure)
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


# ── tables and pages ─────────────────────────────────────────────────────────────────────────────────────────────────


def lines_of(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Headers and rows as text, without the columns that none of them fills."""
    every = [HEADERS, *(row.cells() for row in rows)]
    filled = [place for place in range(len(HEADERS)) if any(line[place] for line in every[1:])]
    return [tuple(line[place] for place in filled) for line in every]


def printed(rows: Sequence[Row], title: str) -> Table:
    """The rows for a terminal."""
    heads, *lines = lines_of(rows)
    table = Table(*heads, title=title)
    for line in lines:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in line))
    return table


def grid(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first line is its head."""
    marked = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in marked)


def tally(rows: Sequence[Row]) -> str:
    """How many goals were reached, and which were not."""
    counted = {verdict: [row.what for row in rows if row.verdict == verdict] for verdict in STYLES if verdict}
    told = ", ".join(f"{len(found)} {verdict}" for verdict, found in counted.items())
    missed = [*counted["missed"], *counted["not measured"]]
    return f"Goals: {told}." + (f" Not reached: {'; '.join(dict.fromkeys(missed))}." if missed else "")


def facts_of(facts: Mapping[str, str]) -> str:
    """What a reader needs to repeat it, as a Markdown list."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def page(title: str, rows: Sequence[Row], facts: Mapping[str, str]) -> str:
    """The page for the repository, with everything that a reader needs to repeat it."""
    about = f"{tally(rows)} Rows and goals: `benchmarks/README.md`."
    return "\n\n".join([f"# {title}", about, grid(lines_of(rows)), facts_of(facts)]) + "\n"


def written(path: Path | None, text: str) -> None:
    """Writes a page where it was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# ── where it was measured ────────────────────────────────────────────────────────────────────────────────────────────


def machine(folder: Path) -> dict[str, str]:
    """Where and with what this was measured; `folder` is on the disk that was written to."""
    information = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in information.splitlines() if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    packages = ("tuner", "ray", "optuna", "numpy", "pandas", "sqlalchemy")
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "disk": f"{shutil.disk_usage(folder).total / 2**30:.0f} GiB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages),
        "revision": revision(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command(),
    }


def revision() -> str:
    """The commit that was measured, as far as git knows."""
    told = subprocess.run(
        ["git", "log", "-1", "--format=%h of %cs"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return told.stdout.strip() or "unknown"


def command() -> str:
    """What was typed."""
    return shlex.join(["python", *sys.argv])


def load() -> str:
    """How many processes wanted a core in the last minute."""
    return f"{os.getloadavg()[0]:.1f}"
