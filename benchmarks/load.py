"""How tuner bears a heavy load: a thousand workers, a hundred thousand trials, ten million reports, a thousand studies.

    python benchmarks/load.py --quick
    python benchmarks/load.py --markdown results/benchmarks/load.md
    python benchmarks/load.py --only reading,many

A measurement, not a test: nothing here fails because a machine is slow. A goal that was not reached says "missed".
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import crowd as crowds
import loaded
import peers_loaded
import soak as soaking
import spread as spreads
from apart import Outcome, measured_apart
from rich.console import Console
from rows import Extent, Goal, Row, load, machine, page, printed, workspace, written
from throughput import figure

_POINTS = 100
_LOOK = Goal(at_most=2.0)


@dataclass(frozen=True, kw_only=True)
class Bench(Extent):
    """What every row needs to know: how much, and where; and each study, written once."""

    @property
    def trials(self) -> int:
        """How many the large sweep has."""
        return self.size(100_000, 10_000)

    @property
    def large(self) -> str:
        """What the large sweep is called in a row."""
        return f"{self.trials:,} trials × {_POINTS}"

    @functools.cached_property
    def grown(self) -> Outcome:
        """The large sweep, as a coordinator has written it."""
        folder = self.fresh("large")
        return measured_apart(loaded.grown, trials=self.trials, points=_POINTS, folder=folder, timeout_s=1_200.0)

    @functools.cached_property
    def long(self) -> Outcome:
        """The babysat run of as many reports."""
        return measured_apart(
            loaded.run_written, reports=self.trials * _POINTS, folder=self.fresh("long"), timeout_s=600.0
        )

    def look(self, *words: str, folder: str) -> Outcome:
        """A verb in a shell."""
        return measured_apart(
            loaded.verb, words=list(words), folder=self.fresh(folder), times=self.size(5, 2), timeout_s=900.0
        )


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def crowd(bench: Bench) -> Iterator[Row]:
    """What the coordinator takes while 1,000 workers report once a second, by default, and how long a verdict takes."""
    found = measured_apart(
        crowds.crowd,
        workers=1_000,
        seconds=bench.size(60, 8),
        sampler="coarse_to_fine",
        stopping="auto",
        seed=0,
        folder=bench.fresh("crowd"),
    )
    begins = "1,000 simulated workers, the default search"
    yield Row(f"{begins}: share of a core", figure(found, "core_share"), goal=Goal(at_most=0.5))
    yield Row(f"{begins}: wait for a verdict, p99", figure(found, "decision_p99_s"), "s", goal=Goal(at_most=0.25))
    yield Row("… verdicts meanwhile", figure(found, "decisions_per_s"), "/s")
    yield Row("… reports meanwhile", figure(found, "reports_per_s"), "/s", goal=Goal(at_least=950))


def growth(bench: Bench) -> Iterator[Row]:
    """What a sweep of many reports takes of the coordinator's memory and of the disk."""
    what = f"coordinator after {bench.large} reports, a trial"
    yield Row(f"{what}, peak", figure(bench.grown, "peak_bytes_per_trial"), "bytes", goal=Goal(at_most=5_000))
    yield Row(f"{what}, kept", figure(bench.grown, "kept_bytes_per_trial"), "bytes")
    yield Row("… on the disk, a report", figure(bench.grown, "disk_bytes_per_report"), "bytes")
    yield Row("… that sweep, its workers taking no time", figure(bench.grown, "seconds"), "s")


def reading(bench: Bench) -> Iterator[Row]:
    """How long whoever looks at that sweep waits, in a fresh process each time."""
    if isinstance(bench.grown, str):
        yield Row(f"reading {bench.large} reports", bench.grown)
        return
    opened = measured_apart(loaded.reopened, name="grown", folder=bench.fresh("large"), timeout_s=600.0)
    yield Row(f"reopen {bench.large} reports", figure(opened, "wall_s"), "s", goal=Goal(at_most=5))
    yield Row("… CPU time of the same", figure(opened, "cpu_s"), "s")
    for words in (("ls",), ("show", "grown"), ("show", "grown/17"), ("watch", "grown", "--once"), ("explain", "grown")):
        yield from _looked(
            f"tuner {words[0]}{' of one trial' if '/' in words[-1] else ''}", bench.look(*words, folder="large")
        )


def watching(bench: Bench) -> Iterator[Row]:
    """How long whoever looks at a babysat run of millions of reports waits."""
    if isinstance(bench.long, str):
        yield Row("a babysat run", bench.long)
        return
    of = f"of a run of {bench.trials * _POINTS:,} reports"
    for words in (("ls",), ("show", "long"), ("watch", "long", "--once")):
        yield from _looked(f"tuner {words[0]} {of}", bench.look(*words, folder="long"))


def _looked(what: str, found: Outcome) -> Iterator[Row]:
    yield Row(what, figure(found, "wall_s"), "s", goal=_LOOK)
    yield Row("… the first time", figure(found, "first_s"), "s")
    yield Row("… CPU time", figure(found, "cpu_s"), "s")
    yield Row("… memory", figure(found, "memory_mb"), "MB")


def export(bench: Bench) -> Iterator[Row]:
    """Every table of that sweep as files."""
    for kind, goal in (("csv", None), ("parquet", None)):
        found: Outcome = bench.grown
        if not isinstance(found, str):
            found = measured_apart(
                loaded.exported, name="grown", folder=bench.fresh("large"), kind=kind, timeout_s=900.0
            )
        yield Row(f"export {bench.large} reports to {kind}", figure(found, "seconds"), "s", goal=goal)
        yield Row("… memory at its peak", figure(found, "peak_mb"), "MB", goal=Goal(at_most=1_000))


def many(bench: Bench) -> Iterator[Row]:
    """A thousand studies in one folder."""
    studies, folder = bench.size(1_000, 100), bench.fresh("many")
    made = measured_apart(loaded.many_written, studies=studies, folder=folder, timeout_s=600.0)
    if isinstance(made, str):
        yield Row(f"{studies:,} studies", made)
        return
    yield from _looked(f"tuner ls of {studies:,} studies in a folder", bench.look("ls", folder="many"))
    served = measured_apart(loaded.list_page, folder=folder)
    yield Row(f"the page of {studies:,} studies", figure(served, "wall_s"), "s", goal=_LOOK)
    yield Row("… the first time", figure(served, "first_s"), "s")
    yield Row("… the server's memory", figure(served, "memory_mb"), "MB", goal=Goal(at_most=300))


def team(bench: Bench) -> Iterator[Row]:
    """As many studies in one database of a PostgreSQL server, which is on this machine."""
    studies = bench.size(1_000, 100)
    found = measured_apart(loaded.team, studies=studies, folder=bench.fresh("team"), timeout_s=900.0)
    yield from _looked(f"tuner ls of {studies:,} studies in one PostgreSQL database", found)
    yield Row("… the page that lists them", figure(found, "page_wall_s"), "s", goal=_LOOK)
    yield Row("… the first time", figure(found, "page_first_s"), "s")
    yield Row("… the memory of the service", figure(found, "page_memory_mb"), "MB", goal=Goal(at_most=300))
    yield Row("… the database", figure(found, "disk_mb"), "MB")
    yield Row("… until all were written, one after the other", figure(found, "made_s"), "s")


def peers(bench: Bench) -> Iterator[Row]:
    """Optuna on SQLite with as many trials as it can be given in some minutes, and tuner with as many."""
    trials, points, studies = bench.size(5_000, 500), 10, bench.size(1_000, 100)
    theirs, ours = bench.fresh("optuna"), bench.fresh("beside")
    written = measured_apart(peers_loaded.optuna_written, trials=trials, points=points, folder=theirs, timeout_s=900.0)
    found = written if isinstance(written, str) else measured_apart(peers_loaded.optuna_read, folder=theirs)
    measured_apart(peers_loaded.tuner_written, trials=trials, points=points, folder=ours, timeout_s=600.0)
    own = measured_apart(peers_loaded.tuner_read, folder=ours)
    for what, name in (
        (f"open {trials:,} trials × {points} reports, up to the best", "best_s"),
        ("… and the table of all trials", "table_s"),
    ):
        yield Row(what, figure(own, name), "s", beside="Optuna", other=figure(found, name))
    listed = measured_apart(
        peers_loaded.optuna_listed, studies=studies, trials=5, folder=bench.fresh("optuna-many"), timeout_s=900.0
    )
    many = bench.fresh("many")
    if not any(Path(many).iterdir()):
        measured_apart(loaded.many_written, studies=studies, folder=many, timeout_s=600.0)
    own = measured_apart(peers_loaded.tuner_listed, folder=many)
    what = f"sum up {studies:,} studies in Python, of 20 trials × 10 reports, Optuna's of 5 trials without reports"
    yield Row(what, figure(own, "seconds"), "s", beside="Optuna", other=figure(listed, "seconds"))


def soak(bench: Bench) -> Iterator[Row]:
    """A day's sweep on a virtual clock, with whatever happens in a day: by how much its process grows."""
    found = measured_apart(
        soaking.soak, hours=bench.size(24, 6), workers=2, folder=bench.fresh("soak"), timeout_s=1_200.0
    )
    what = "a day's sweep" if isinstance(found, str) else f"a sweep of {found['hours']:.0f} hours"
    yield Row(f"{what}, from the second to the last: threads more", figure(found, "threads"), goal=Goal(at_most=0))
    yield Row("… open files more", figure(found, "files"), goal=Goal(at_most=0))
    yield Row("… memory more", figure(found, "memory_mb"), "MB", goal=Goal(at_most=20))
    yield Row("… that is, a trial that began meanwhile", figure(found, "memory_bytes_per_trial"), "bytes")
    yield Row("… trials", figure(found, "trials"))
    yield Row("… steps", figure(found, "steps"))
    yield Row("… trials that failed or diverged", figure(found, "failed"))
    yield Row("… workers lost", figure(found, "lost"))
    yield Row("… returns from a pause", figure(found, "thaws"))
    yield Row("… checkpoints", figure(found, "checkpoints"))
    yield Row("… requests from outside", figure(found, "requests"))
    yield Row("… seconds that the day took", figure(found, "seconds"), "s")


def spread(bench: Bench) -> Iterator[Row]:
    """64 real processes on a Ray of 16 nodes, all on this machine, every trial to its end."""
    small, trials = bench.size(16, 4), bench.size(320, 64)
    found = measured_apart(
        spreads.spread, small=small, cpus=4, trials=trials, folder=bench.fresh("spread"), timeout_s=1_200.0
    )
    what = f"{trials} trials of 10 s on {small * 4} workers, {small} nodes of Ray on this machine"
    yield Row(f"{what}: all of it", figure(found, "seconds"), "s")
    yield Row("… the cluster stands after", figure(found, "cluster_s"), "s")
    yield Row("… processes that trained", figure(found, "processes"), goal=Goal(at_least=small * 4))
    yield Row("… from the first that trains to the last", figure(found, "all_train_s"), "s")
    yield Row("… trials trained to their end", figure(found, "trained"))
    yield Row("… trials that ended otherwise, or not at all", figure(found, "astray"), goal=Goal(at_most=0))
    yield Row("… workers lost on the way", figure(found, "lost"), goal=Goal(at_most=0))
    yield Row("… reports", figure(found, "reports"))


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    row.__name__: row for row in (crowd, growth, reading, watching, export, many, team, peers, soak, spread)
}


def main() -> None:
    """Measure the rows, print them, and write the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size: about five minutes")
    parser.add_argument("--only", default=",".join(ROWS), help=f"rows, separated by commas: {', '.join(ROWS)}")
    parser.add_argument("--folder", type=Path, help="where studies are written while measuring (default: a temporary)")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    names = [name.strip() for name in options.only.split(",")]
    if unknown := sorted(set(names) - set(ROWS)):
        parser.error(f"no row named {', '.join(unknown)}; rows: {', '.join(ROWS)}")

    console = Console() if sys.stdout.isatty() else Console(width=160)
    lines: list[Row] = []
    with workspace("load", options.folder) as folder:
        bench = Bench(quick=options.quick, folder=folder)
        facts = machine(bench.folder) | {
            "load before": f"{load()} (processes that wanted one of the {os.cpu_count()} cores in the minute before)"
        }
        for name in names:
            console.print(f"[dim]measuring {name} …[/]")
            measured = list(ROWS[name](bench))
            console.print(printed(measured, name))
            lines += measured
        facts["load after"] = f"{load()} (this measurement's own processes included)"
    written(options.markdown, page("Load", lines, facts))


if __name__ == "__main__":
    main()
