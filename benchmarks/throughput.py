"""How fast tuner runs, beside raw Ray, Ray Tune, Optuna and SQLite on the same machine in the same run.

    python benchmarks/throughput.py --quick
    python benchmarks/throughput.py --only trials,reports --markdown results/benchmarks/throughput.md

A measurement, not a test: nothing here fails because a machine is slow. A goal that was not reached says "missed".
"""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import measures
import peers
from apart import Outcome, measured_apart
from rich.console import Console
from rich.table import Table
from rich.text import Text

Figure: TypeAlias = float | str
"""A number, or the sentence that says why there is none."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A bound on the figure itself or, with `times`, on its ratio to the other's."""

    at_least: float | None = None
    at_most: float | None = None
    times: bool = False

    def __str__(self) -> str:
        sign, bound = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{sign} {bound:,g}{' ×' if self.times else ''}"

    def reached(self, value: float) -> bool:
        """Whether `value` keeps the bound."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One comparison: what tuner reaches, what stands beside it, and what was promised."""

    what: str
    tuner: Figure
    beside: str = ""
    other: Figure | None = None
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the other's figure tuner's is."""
        if isinstance(self.tuner, str) or not isinstance(self.other, int | float) or not self.other:
            return None
        return self.tuner / self.other

    @property
    def verdict(self) -> str:
        """reached, missed, or not measured; empty where nothing was promised."""
        if self.goal is None:
            return ""
        value = self.ratio if self.goal.times else self.tuner
        if value is None or isinstance(value, str):
            return "not measured"
        return "reached" if self.goal.reached(value) else "missed"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every row needs to know: how wide, how long, where; and each measurement, taken once."""

    quick: bool
    parallel: int
    seed: int
    folder: Path

    def size(self, full: int, quick: int) -> int:
        """The count for this run."""
        return quick if self.quick else full

    def fresh(self, name: str) -> str:
        """An empty folder for one measurement."""
        (folder := self.folder / name).mkdir(parents=True, exist_ok=True)
        return str(folder)

    @functools.cached_property
    def raw_ray(self) -> Outcome:
        return measured_apart(peers.raw_ray, parallel=self.parallel, trials=self.size(6000, 2000), seed=self.seed)

    @functools.cached_property
    def ray_tune_trials(self) -> Outcome:
        folder, trials = self.fresh("tune-trials"), self.size(100, 30)
        return measured_apart(peers.ray_tune, parallel=self.parallel, trials=trials, reports=1, folder=folder)

    @functools.cached_property
    def ray_tune_reports(self) -> Outcome:
        folder, trials = self.fresh("tune-reports"), self.size(20, 6)
        return measured_apart(peers.ray_tune, parallel=self.parallel, trials=trials, reports=100, folder=folder)

    @functools.cached_property
    def ray_tune_busy(self) -> Outcome:
        return measured_apart(
            peers.ray_tune,
            parallel=self.parallel,
            trials=self.size(10, 5) * self.parallel,
            reports=1,
            folder=self.fresh("tune-busy"),
            sleep_s=1.0,
        )

    @functools.cached_property
    def big_study(self) -> Outcome:
        return measured_apart(
            measures.big_study,
            parallel=self.parallel,
            trials=self.big_trials,
            seed=self.seed,
            folder=self.fresh("big"),
        )

    @property
    def big_trials(self) -> int:
        return self.size(100_000, 10_000)

    def optuna(self, trials: int, reports: int) -> Outcome:
        folder = self.fresh("optuna")
        return measured_apart(peers.optuna_sqlite, trials=trials, reports=reports, seed=self.seed, folder=folder)

    def sweep(self, trials: int, reports: int, *, adaptive: bool = False) -> Outcome:
        return measured_apart(
            measures.sweep_rate,
            parallel=self.parallel,
            trials=trials,
            reports=reports,
            seed=self.seed,
            folder=self.fresh("sweeps"),
            adaptive=adaptive,
        )


def figure(outcome: Outcome, name: str) -> Figure:
    """One figure of an outcome, or why there is none."""
    return outcome if isinstance(outcome, str) else outcome[name]


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def trials(bench: Bench) -> Iterator[Line]:
    """Durable trials per second through Ray: trivial objective, one report each."""
    ours = bench.sweep(bench.size(20_000, 4_000), 1)
    tune, optuna = bench.ray_tune_trials, bench.optuna(bench.size(300, 80), 1)
    steady, whole = figure(ours, "trials_per_s"), figure(ours, "whole_trials_per_s")
    what = "trials/s, durable, one report each"
    loop, three = figure(bench.raw_ray, "closed_loop"), figure(bench.raw_ray, "three_in_flight")
    yield Line(what=what, tuner=steady, beside="raw Ray, closed loop", other=loop, goal=Goal(at_least=2, times=True))
    yield Line(what=what, tuner=steady, beside="raw Ray, three in flight", other=three)
    tune_rate = figure(tune, "trials_per_s")
    yield Line(what=what, tuner=steady, beside="Ray Tune", other=tune_rate, goal=Goal(at_least=60, times=True))
    yield Line(what=what, tuner=steady, beside="Optuna SQLite, no Ray", other=figure(optuna, "trials_per_s"))
    tune_whole = figure(tune, "whole_trials_per_s")
    yield Line(what="trials/s, whole sweep with ray.init", tuner=whole, beside="Ray Tune", other=tune_whole)
    adaptive = bench.sweep(bench.size(400, 150), 1, adaptive=True)
    default = figure(adaptive, "trials_per_s")
    yield Line(what="trials/s, default sampler and stopping", tuner=default, beside="Ray Tune, random", other=tune_rate)


def reports(bench: Bench) -> Iterator[Line]:
    """Durable reports per second through Ray, 100 a trial."""
    ours = bench.sweep(bench.size(4_000, 800), 100)
    what, steady = "reports/s, durable, 100 a trial", figure(ours, "reports_per_s")
    limit = measured_apart(peers.raw_sqlite, rows=bench.size(1_000_000, 300_000), folder=bench.fresh("sqlite"))
    rows, commits = figure(limit, "group_rows_per_s"), figure(limit, "single_commits_per_s")
    tune, optuna = bench.ray_tune_reports, bench.optuna(bench.size(30, 8), 100)
    yield Line(what=what, tuner=steady, beside="raw SQLite WAL, 1,000 rows a commit", other=rows)
    yield Line(what=what, tuner=steady, beside="raw SQLite WAL, one row a commit", other=commits)
    yield Line(what=what, tuner=steady, goal=Goal(at_least=50_000))
    tune_rate = figure(tune, "reports_per_s")
    yield Line(what=what, tuner=steady, beside="Ray Tune", other=tune_rate, goal=Goal(at_least=600, times=True))
    yield Line(what=what, tuner=steady, beside="Optuna SQLite, no Ray", other=figure(optuna, "reports_per_s"))
    whole = figure(ours, "whole_reports_per_s")
    yield Line(what="reports/s, whole sweep with ray.init", tuner=whole)


def worker(bench: Bench) -> Iterator[Line]:
    """What `run.report` and an idle `run.steps` cost the training thread of a Ray worker."""
    costs = measured_apart(measures.worker_costs, folder=bench.fresh("worker"), seed=bench.seed)
    for key, how in (("", "back to back"), ("paced_", "one a millisecond")):
        median, p99 = figure(costs, f"{key}median_us"), figure(costs, f"{key}p99_us")
        yield Line(what=f"run.report, {how}, median µs", tuner=median, goal=Goal(at_most=20))
        yield Line(what=f"run.report, {how}, p99 µs", tuner=p99, goal=Goal(at_most=1000))
    yield Line(what="run.steps, idle, µs a step", tuner=figure(costs, "step_us"), goal=Goal(at_most=10))


def busy(bench: Bench) -> Iterator[Line]:
    """The share of the workers' time that trials of one second train."""
    ours = measured_apart(
        measures.busy_share,
        parallel=bench.parallel,
        trials=bench.size(10, 5) * bench.parallel,
        seed=bench.seed,
        folder=bench.fresh("busy"),
    )
    tune, goal = figure(bench.ray_tune_busy, "busy"), Goal(at_least=0.97)
    yield Line(what="busy share, trials of 1 s", tuner=figure(ours, "busy"), beside="Ray Tune", other=tune, goal=goal)


def memory(bench: Bench) -> Iterator[Line]:
    """What the coordinator's memory grows by."""
    what = f"coordinator, bytes a trial ({bench.big_trials:,} × 10 reports)"
    peak, kept = figure(bench.big_study, "peak_bytes_per_trial"), figure(bench.big_study, "kept_bytes_per_trial")
    yield Line(what=f"{what}, peak", tuner=peak, goal=Goal(at_most=5_000))
    yield Line(what=f"{what}, kept at the end", tuner=kept)
    yield Line(what="… seconds of that sweep", tuner=figure(bench.big_study, "seconds"))


def reopen(bench: Bench) -> Iterator[Line]:
    """Opening and exporting the big study in a fresh process."""
    seconds: Outcome = bench.big_study
    if not isinstance(seconds, str):
        seconds = measured_apart(measures.reopen_and_export, folder=bench.fresh("big"))
    size = f"{bench.big_trials:,} × 10 reports"
    yield Line(what=f"reopen {size}, s", tuner=figure(seconds, "reopen_s"), goal=Goal(at_most=3))
    yield Line(what=f"export {size} to parquet, s", tuner=figure(seconds, "parquet_s"), goal=Goal(at_most=5))
    yield Line(what=f"export {size} to csv, s", tuner=figure(seconds, "csv_s"), goal=Goal(at_most=15))


def shell(bench: Bench) -> Iterator[Line]:
    """What somebody at a terminal waits for."""
    usage = measured_apart(measures.shell_help, times=7)
    median, least = figure(usage, "median_s"), figure(usage, "min_s")
    yield Line(what="tuner --help, s, median of 7", tuner=median, beside="least", other=least, goal=Goal(at_most=0.3))
    listing = measured_apart(measures.shell_list, studies=100, seed=bench.seed, folder=bench.fresh("list"))
    median, least = figure(listing, "median_s"), figure(listing, "min_s")
    yield Line(what="tuner ls of 100 studies, s", tuner=median, beside="least", other=least, goal=Goal(at_most=1.0))


def first_trial(bench: Bench) -> Iterator[Line]:
    """From `tuner sweep` in a shell to the first finished trial, less `ray.init` of the same run."""
    rounds = []
    for number in range(bench.size(3, 1)):
        folder = bench.fresh(f"shell-{number}")
        ray = figure(measured_apart(peers.ray_start, parallel=bench.parallel), "init_s")
        shell = measured_apart(measures.shell_first_trial, parallel=bench.parallel, seed=bench.seed, folder=folder)
        rounds.append((figure(shell, "first_trial_s"), ray))
    over = sorted(ours - ray for ours, ray in rounds if not isinstance(ours, str) and not isinstance(ray, str))
    ours, ray = rounds[0]
    beyond: Figure = over[len(over) // 2] if over else next(f for f in (ours, ray) if isinstance(f, str))
    what = "tuner sweep to first finished trial, s"
    yield Line(what=what, tuner=ours, beside="ray.init alone", other=ray)
    yield Line(what=f"{what} beyond ray.init", tuner=beyond, goal=Goal(at_most=2.0))


ROWS: dict[str, Callable[[Bench], Iterator[Line]]] = {
    row.__name__: row for row in (trials, reports, worker, busy, memory, reopen, shell, first_trial)
}


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def shown(value: Figure | None) -> str:
    """A number as a reader wants it, or the reason that there is none."""
    if value is None:
        return ""
    if isinstance(value, str):
        return textwrap.shorten(value, 90, placeholder=" …")
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cells(line: Line) -> tuple[str, ...]:
    """The line as text, column by column."""
    other = f"{shown(line.other)} ({line.beside})" if line.beside else ""
    ratio = "" if line.ratio is None else f"{shown(line.ratio)} ×"
    return line.what, shown(line.tuner), other, ratio, str(line.goal or ""), line.verdict


HEADERS = ("row", "tuner", "limit or peer", "ratio", "goal", "verdict")
STYLES = {"reached": "green", "missed": "bold red", "not measured": "yellow", "": ""}


def printed(lines: list[Line], title: str) -> Table:
    """The table for a terminal."""
    table = Table(*HEADERS, title=title)
    for line in lines:
        *plain, verdict = cells(line)
        table.add_row(*map(Text, plain), Text(verdict, style=STYLES[verdict]))
    return table


def machine(folder: Path) -> dict[str, str]:
    """Where and with what this was measured."""
    information = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in information.splitlines() if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    packages = ("tuner", "ray", "optuna", "numpy", "pandas", "sqlalchemy")
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "disk": f"{shutil.disk_usage(folder).total / 2**30:.0f} GiB at {folder.parent}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def markdown(lines: list[Line], facts: dict[str, str]) -> str:
    """The table for the repository, with everything that a reader needs to repeat it."""
    rows = [HEADERS, tuple("---" for _ in HEADERS), *map(cells, lines)]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    about = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    counted = {verdict: sum(line.verdict == verdict for line in lines) for verdict in STYLES if verdict}
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counted.items())
    return f"# Throughput\n\nGoals: {tally}. Rows and goals: `benchmarks/README.md`.\n\n{table}\n\n{about}\n"


def main() -> None:
    """Measure the rows, print them as they come, and write the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller counts: under three minutes")
    parser.add_argument("--only", default=",".join(ROWS), help=f"rows, separated by commas: {', '.join(ROWS)}")
    parser.add_argument("--parallel", type=int, default=os.cpu_count() or 1, help="workers (default: every core)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where studies are written while measuring (default: a temporary)")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    names = [name.strip() for name in options.only.split(",")]
    if unknown := sorted(set(names) - set(ROWS)):
        parser.error(f"no row named {', '.join(unknown)}; rows: {', '.join(ROWS)}")

    console = Console() if sys.stdout.isatty() else Console(width=160)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="throughput-", dir=options.folder) as folder:
        bench = Bench(quick=options.quick, parallel=options.parallel, seed=options.seed, folder=Path(folder))
        facts = machine(bench.folder) | {
            "workers": str(bench.parallel),
            "seed": str(bench.seed),
            "command": shlex.join(["python", *sys.argv]),
        }
        for name in names:
            console.print(f"[dim]measuring {name} …[/]")
            lines += ROWS[name](bench)
    console.print(printed(lines, f"{facts['cpu']}, {facts['cores']} cores, {facts['date']}"))
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(markdown(lines, facts))
    if options.json:
        figures = [asdict(line) | {"ratio": line.ratio, "verdict": line.verdict} for line in lines]
        options.json.write_text(json.dumps({"facts": facts, "lines": figures}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
