"""How fast the service is, and what it takes; its page beside those of optuna-dashboard and MLflow.

    python benchmarks/service.py --quick
    python benchmarks/service.py --peers /tmp/peers/bin/python --markdown results/benchmarks/service.md

A measurement, not a test: nothing here fails because a machine is slow. A goal that was not reached says "missed". The
peers need an environment of their own, `pip install optuna-dashboard mlflow`, whose Python is given by `--peers`.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import browsing
import serviced
from apart import Outcome, measured_apart
from rich.console import Console
from rows import Extent, Figure, Goal, Measured, Row, load, machine, page, printed, workspace, written

import tuner

_POINTS = 24
_WITHOUT = (
    "not measured: give its Python by --peers (python -m venv PEERS; PEERS/bin/pip install optuna-dashboard mlflow)"
)


@dataclass(frozen=True, kw_only=True)
class Bench(Extent):
    """What every row needs to know: how much, where, and who stands beside; each measurement, taken once."""

    peers: str | None

    @property
    def trials(self) -> int:
        """How many a large sweep has."""
        return self.size(10_000, 1_000)

    @functools.cached_property
    def large(self) -> Outcome:
        folder = self.fresh("large")
        return measured_apart(browsing.large, folder=folder, trials=self.trials, points=_POINTS, timeout_s=600)

    @functools.cached_property
    def dashboard(self) -> Outcome:
        if self.peers is None:
            return _WITHOUT
        storage = f"sqlite:///{self.folder / 'peers.db'}"
        _ = self.large
        with closing(tuner.open("night", results=self.folder / "large")) as study:
            study.export("optuna", storage)
        folder = self.fresh("dashboard")
        return measured_apart(browsing.dashboard, folder=folder, python=self.peers, storage=storage, timeout_s=600)

    @functools.cached_property
    def tracker(self) -> Outcome:
        if self.peers is None:
            return _WITHOUT
        _ = self.large
        folder, studies = self.fresh("tracker"), str(self.folder / "large")
        return measured_apart(browsing.tracker, folder=folder, python=self.peers, studies=studies, timeout_s=600)


def figure(outcome: Outcome, name: str) -> Figure:
    """One figure of an outcome, with its spread where it has one, or why there is none."""
    if isinstance(outcome, str):
        return outcome
    kind = name.removesuffix("median_s")
    if kind != name and f"{kind}low_s" in outcome:
        return Measured(outcome[name], outcome[f"{kind}low_s"], outcome[f"{kind}high_s"])
    return outcome[name]


def chart(outcome: Outcome) -> Figure:
    """How soon a peer's first chart was there, or that it was not."""
    if isinstance(outcome, str):
        return outcome
    return outcome.get("picture_s", f"none within {browsing.PEERS_WITHIN_S} s")


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def start(bench: Bench) -> Iterator[Row]:
    """From nothing to a page that can be used."""
    times = bench.size(5, 2)
    server = measured_apart(serviced.starting, folder=bench.fresh("start"), times=times)
    usable = measured_apart(browsing.usable, folder=bench.fresh("usable"), times=times)
    yield Row("tuner serve from its start to its first answer", figure(server, "median_s"), "s")
    yield Row("server up → page usable", figure(usable, "median_s"), "s", goal=Goal(at_most=1.5))


def updates(bench: Bench) -> Iterator[Row]:
    """What is durable reaches those who follow, and a page."""
    count = bench.size(100, 20)
    heard = measured_apart(
        serviced.updates, folder=bench.fresh("updates"), readers=20, reports=count, pause_s=0.3, timeout_s=300
    )
    shown = measured_apart(
        browsing.seen, folder=bench.fresh("seen"), updates=bench.size(40, 10), pages=20, timeout_s=300
    )
    yield Row("durable → heard by all of 20 streams, p95", figure(heard, "p95_s"), "s", goal=Goal(at_most=1))
    yield Row("… p50", figure(heard, "p50_s"), "s")
    yield Row("durable → in the text of each of 20 open pages, p95", figure(shown, "p95_s"), "s", goal=Goal(at_most=1))
    yield Row("… p50", figure(shown, "p50_s"), "s")
    yield Row("… cores of the server meanwhile, an update a second", figure(shown, "cores"))


def sweep_page(bench: Bench) -> Iterator[Row]:
    """The page of a large sweep, beside those of others."""
    what = f"{bench.trials:,} trials × {_POINTS} points"
    ours, dashboard, tracker = bench.large, bench.dashboard, bench.tracker
    beside = "optuna-dashboard"
    yield Row(f"{what}: first picture", figure(ours, "picture_s"), "s", goal=Goal(at_most=1.2))
    yield Row("… by whoever comes first after the server's start", figure(ours, "cold_s"), "s")
    yield Row("… drawn anew, with its data", figure(ours, "redraw_s"), "s", goal=Goal(at_most=0.45))
    yield Row("… the same, as nobody has asked for it yet", figure(ours, "redraw_new_s"), "s")
    yield Row("… heap of the browser", figure(ours, "heap_mb"), "MB", goal=Goal(at_most=300))
    yield Row("… bytes of the page, as they came", figure(ours, "page_kb"), "kB", goal=Goal(at_most=600))
    memory = figure(ours, "server_mb")
    yield Row("… memory of the server", memory, "MB", beside=beside, other=figure(dashboard, "server_mb"))
    yield Row("… the same, MLflow", memory, "MB", beside="MLflow", other=figure(tracker, "server_mb"))
    yield Row("optuna-dashboard with the same trials: its list of studies", figure(dashboard, "list_s"), "s")
    yield Row("… its first chart", chart(dashboard), "s")
    yield Row(f"MLflow with {bench.trials:,} runs of {_POINTS} steps: its first table", figure(tracker, "list_s"), "s")
    yield Row("… its first chart", chart(tracker), "s")


def million(bench: Bench) -> Iterator[Row]:
    """A sweep with very many reports."""
    trials, points = bench.size(10_000, 1_000), 100
    found = measured_apart(browsing.large, folder=bench.fresh("million"), trials=trials, points=points, timeout_s=900)
    yield Row(f"{trials * points:,} reports: first picture", figure(found, "picture_s"), "s", goal=Goal(at_most=1.2))
    yield Row("… drawn anew, with its data", figure(found, "redraw_s"), "s", goal=Goal(at_most=0.45))
    yield Row("… heap of the browser", figure(found, "heap_mb"), "MB", goal=Goal(at_most=300))
    yield Row("… bytes of the page, as they came", figure(found, "page_kb"), "kB", goal=Goal(at_most=600))


def rest(bench: Bench) -> Iterator[Row]:
    """What the server takes while nothing happens, and for many who follow."""
    still = measured_apart(serviced.idle, folder=bench.fresh("idle"), seconds=float(bench.size(60, 20)))
    many = measured_apart(serviced.streams, folder=bench.fresh("streams"), count=100)
    yield Row(
        "share of a core with a stream open and nothing happening", figure(still, "share"), goal=Goal(at_most=0.01)
    )
    yield Row("memory with 100 streams", figure(many, "with_streams_mb"), "MB", goal=Goal(at_most=150))
    yield Row("… with none", figure(many, "alone_mb"), "MB")


def steering(bench: Bench) -> Iterator[Row]:
    """A `set`, as the page sends it."""
    taken = measured_apart(serviced.setting, folder=bench.fresh("setting"), times=bench.size(100, 20))
    yield Row("set → its answer, steps of 10 ms, p95", figure(taken, "p95_s"), "s", goal=Goal(at_most=0.1))
    yield Row("… p50", figure(taken, "p50_s"), "s")


def lending(bench: Bench) -> Iterator[Row]:
    """Trials that programs ask for and tell the end of."""
    taken = measured_apart(
        serviced.lending, folder=bench.fresh("lending"), clients=50, seconds=float(bench.size(60, 15)), timeout_s=300
    )
    yield Row("ask and tell by 50 clients, pairs a minute", figure(taken, "pairs_per_min"), goal=Goal(at_least=2_000))
    yield Row("… cores of server and coordinator together", figure(taken, "cores"))


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    row.__name__: row for row in (start, updates, sweep_page, million, rest, steering, lending)
}


def main() -> None:
    """Measure the rows, print them as they come, and write the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller counts: about five minutes")
    parser.add_argument("--only", default=",".join(ROWS), help=f"rows, separated by commas: {', '.join(ROWS)}")
    parser.add_argument("--peers", help="a Python with optuna-dashboard and mlflow (default: they are not measured)")
    parser.add_argument("--folder", type=Path, help="where studies are written while measuring (default: a temporary)")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    names = [name.strip() for name in options.only.split(",")]
    if unknown := sorted(set(names) - set(ROWS)):
        parser.error(f"no row named {', '.join(unknown)}; rows: {', '.join(ROWS)}")

    console = Console() if sys.stdout.isatty() else Console(width=160)
    lines: list[Row] = []
    with workspace("service", options.folder) as folder:
        bench = Bench(quick=options.quick, folder=folder, peers=options.peers)
        facts = machine(bench.folder) | {"load before": f"{load()} (processes that wanted a core in the minute before)"}
        for name in names:
            console.print(f"[dim]measuring {name} …[/]")
            lines += ROWS[name](bench)
        facts["load after"] = f"{load()} (this measurement's own processes included)"
    console.print(printed(lines, f"{facts['cpu']}, {facts['cores']} cores, {facts['date']}"))
    written(options.markdown, page("Service", lines, facts))
    figures = [asdict(line) | {"ratio": line.ratio, "verdict": line.verdict} for line in lines]
    written(options.json, json.dumps({"facts": facts, "lines": figures}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
