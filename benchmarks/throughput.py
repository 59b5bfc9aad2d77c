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
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import asking
import crowd as crowds
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

    @property
    def rounds(self) -> range:
        """How often tuner and its peers take turns; the median of the rounds counts."""
        return range(self.size(3, 1))

    def raw_ray(self) -> Outcome:
        return measured_apart(peers.raw_ray, parallel=self.parallel, trials=self.size(6000, 2000), seed=self.seed)

    def ray_tune(self, trials: int, reports: int, sleep_s: float = 0.0) -> Outcome:
        return measured_apart(
            peers.ray_tune,
            parallel=self.parallel,
            trials=trials,
            reports=reports,
            folder=self.fresh("tune"),
            sleep_s=sleep_s,
        )

    @functools.cached_property
    def big_study(self) -> Outcome:
        return measured_apart(
            measures.big_study, parallel=self.parallel, trials=self.big_trials, seed=self.seed, folder=self.fresh("big")
        )

    @property
    def big_trials(self) -> int:
        return self.size(100_000, 10_000)

    def optuna(self, trials: int, reports: int) -> Outcome:
        folder = self.fresh(f"optuna-{trials}")
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


def figure(outcomes: Outcome | Sequence[Outcome], name: str) -> Figure:
    """One figure of an outcome, of several their median, or why there is none."""
    several = [outcomes] if isinstance(outcomes, str | Mapping) else outcomes
    found = [outcome[name] for outcome in several if not isinstance(outcome, str)]
    return statistics.median(found) if found else next(each for each in several if isinstance(each, str))


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def trials(bench: Bench) -> Iterator[Line]:
    """Durable trials per second through Ray: trivial objective, one report each."""
    count, tune_count = bench.size(20_000, 4_000), bench.size(60, 30)
    turns = [(bench.raw_ray(), bench.sweep(count, 1), bench.ray_tune(tune_count, 1)) for _ in bench.rounds]
    raw, ours, tune = zip(*turns, strict=True)
    steady, tune_rate = figure(ours, "trials_per_s"), figure(tune, "trials_per_s")
    what, three = "trials/s, durable, one report each", figure(raw, "three_in_flight")
    yield Line(
        what=what,
        tuner=steady,
        beside="raw Ray, closed loop",
        other=figure(raw, "closed_loop"),
        goal=Goal(at_least=2, times=True),
    )
    yield Line(what=what, tuner=steady, beside="raw Ray, three in flight", other=three)
    yield Line(what=what, tuner=steady, beside="Ray Tune", other=tune_rate, goal=Goal(at_least=60, times=True))
    default = bench.sweep(bench.size(2_000, 300), 1, adaptive=True)
    yield Line(
        what="… with the default sampler and stopping",
        tuner=figure(default, "trials_per_s"),
        beside="Ray Tune, random",
        other=tune_rate,
    )
    optuna = bench.optuna(bench.size(300, 80), 1)
    yield Line(what=what, tuner=steady, beside="Optuna SQLite, no Ray", other=figure(optuna, "trials_per_s"))
    whole, tune_whole = figure(ours, "whole_trials_per_s"), figure(tune, "whole_trials_per_s")
    yield Line(what="… of the whole sweep, with ray.init", tuner=whole, beside="Ray Tune", other=tune_whole)


def reports(bench: Bench) -> Iterator[Line]:
    """Durable reports per second through Ray, 100 a trial."""
    rows, count, tune_count = bench.size(1_000_000, 300_000), bench.size(4_000, 800), bench.size(20, 6)
    turns = [
        (
            measured_apart(peers.raw_sqlite, rows=rows, folder=bench.fresh(f"sqlite-{turn}")),
            bench.sweep(count, 100),
            bench.ray_tune(tune_count, 100),
        )
        for turn in bench.rounds
    ]
    limit, ours, tune = zip(*turns, strict=True)
    what, steady = "reports/s, durable, 100 a trial", figure(ours, "reports_per_s")
    tune_rate = figure(tune, "reports_per_s")
    yield Line(what=what, tuner=steady, goal=Goal(at_least=50_000))
    yield Line(what=what, tuner=steady, beside="Ray Tune", other=tune_rate, goal=Goal(at_least=600, times=True))
    default = bench.sweep(bench.size(500, 150), 100, adaptive=True)
    yield Line(
        what="… with the default sampler and stopping",
        tuner=figure(default, "reports_per_s"),
        beside="Ray Tune, random",
        other=tune_rate,
    )
    optuna = bench.optuna(bench.size(20, 6), 100)
    yield Line(what=what, tuner=steady, beside="Optuna SQLite, no Ray", other=figure(optuna, "reports_per_s"))
    for key, beside in (
        ("group_rows", "SQLite alone, 1,000 rows a commit"),
        ("single_commits", "SQLite alone, one row a commit"),
    ):
        yield Line(what=what, tuner=steady, beside=beside, other=figure(limit, f"{key}_per_s"))


def replay(bench: Bench) -> Iterator[Line]:
    """Steps per second in the coordinator's own process, records in memory: what a replay of curves costs."""
    for what, adaptive, steps, goal in (
        ("steps/s, in process and in memory, 50 a trial", False, bench.size(100_000, 20_000), Goal(at_least=5_000)),
        ("… 1,000 steps with the default sampler and stopping", True, 1_000, None),
    ):
        turns = [
            measured_apart(
                measures.replay_rate, steps=steps, seed=bench.seed, folder=bench.fresh("replay"), adaptive=adaptive
            )
            for _ in bench.rounds
        ]
        yield Line(what=what, tuner=figure(turns, "steps_per_s"), goal=goal)


def worker(bench: Bench) -> Iterator[Line]:
    """What `run.report` and an idle `run.steps` cost the training thread of a Ray worker."""
    costs = measured_apart(measures.worker_costs, folder=bench.fresh("worker"), seed=bench.seed)
    for key, how in (("", "back to back"), ("paced_", "one a millisecond")):
        median, p99 = figure(costs, f"{key}median_us"), figure(costs, f"{key}p99_us")
        yield Line(what=f"run.report, {how}: µs, median", tuner=median, goal=Goal(at_most=20))
        yield Line(what=f"run.report, {how}: µs, p99", tuner=p99, goal=Goal(at_most=1000))
    yield Line(what="run.steps, idle: µs a step", tuner=figure(costs, "step_us"), goal=Goal(at_most=10))


def busy(bench: Bench) -> Iterator[Line]:
    """The share of the workers' time that trials of one second train."""
    count = bench.size(15, 5) * bench.parallel
    tune = figure(bench.ray_tune(count, 1, sleep_s=1.0), "busy")
    for what, adaptive, beside in (
        ("share of their time that workers train, trials of 1 s", False, "Ray Tune"),
        ("… with the default sampler and stopping", True, "Ray Tune, random"),
    ):
        ours = measured_apart(
            measures.busy_share,
            parallel=bench.parallel,
            trials=count,
            seed=bench.seed,
            folder=bench.fresh(f"busy-{adaptive}"),
            adaptive=adaptive,
        )
        goal = None if adaptive else Goal(at_least=0.97)
        yield Line(what=what, tuner=figure(ours, "busy"), beside=beside, other=tune, goal=goal)


def ask(bench: Bench) -> Iterator[Line]:
    """What one proposal costs once thousands of trials have ended."""
    finished, asks = bench.size(10_000, 2_000), bench.size(1_000, 500)
    ours = measured_apart(asking.ask_times, finished=finished, asks=asks, seed=bench.seed)
    tpe = measured_apart(peers.optuna_tpe, finished=finished, asks=bench.size(100, 30), seed=bench.seed)
    what, median = f"ask after {finished:,} trials: ms", figure(tpe, "median_ms")
    yield Line(
        what=f"{what}, p99",
        tuner=figure(ours, "p99_ms"),
        beside="Optuna's TPE alone",
        other=figure(tpe, "p99_ms"),
        goal=Goal(at_most=20),
    )
    yield Line(what="… CPU time of the same: ms, p99", tuner=figure(ours, "cpu_p99_ms"))
    early = f"ask after {min(1_000, finished // 10):,} trials: ms, p99"
    yield Line(what=early, tuner=figure(ours, "early_p99_ms"))
    yield Line(what=f"{what}, median", tuner=figure(ours, "median_ms"), beside="Optuna's TPE alone", other=median)
    through = figure(ours, "tpe_median_ms")
    yield Line(what=f"{what}, median, sampler=TPESampler()", tuner=through, beside="Optuna's TPE alone", other=median)


def crowd(bench: Bench) -> Iterator[Line]:
    """What the coordinator takes while 1,000 workers report once a second, and how long a verdict takes."""
    what = "1,000 simulated workers"
    for sampler, stopping in (("random", "asha"), ("coarse_to_fine", "auto")):
        loops = [
            measured_apart(
                crowds.crowd,
                workers=1_000,
                seconds=bench.size(20, 8),
                sampler=sampler,
                stopping=stopping,
                seed=bench.seed,
                folder=bench.fresh(f"crowd-{sampler}-{turn}"),
            )
            for turn in bench.rounds
        ]
        share, wait, ours = figure(loops, "core_share"), figure(loops, "decision_p99_s"), sampler == "coarse_to_fine"
        begins = "… with the default sampler and stopping" if ours else what
        yield Line(what=f"{begins}: share of a core", tuner=share, goal=None if ours else Goal(at_most=0.5))
        yield Line(what=f"{begins}: s to a verdict, p99", tuner=wait, goal=None if ours else Goal(at_most=0.25))
        yield Line(what="… verdicts/s meanwhile", tuner=figure(loops, "decisions_per_s"))
        yield Line(what="… reports/s meanwhile", tuner=figure(loops, "reports_per_s"))


def memory(bench: Bench) -> Iterator[Line]:
    """What the coordinator's memory grows by."""
    what = f"coordinator after {bench.big_trials:,} trials × 10 reports: bytes a trial"
    peak, kept = figure(bench.big_study, "peak_bytes_per_trial"), figure(bench.big_study, "kept_bytes_per_trial")
    yield Line(what=f"{what}, peak", tuner=peak, goal=Goal(at_most=5_000))
    yield Line(what=f"{what}, kept", tuner=kept)
    yield Line(what="… that sweep, with ray.init: s", tuner=figure(bench.big_study, "seconds"))


def reopen(bench: Bench) -> Iterator[Line]:
    """Opening and exporting the big study in a fresh process."""
    seconds: Outcome = bench.big_study
    if not isinstance(seconds, str):
        seconds = measured_apart(measures.reopen_and_export, folder=bench.fresh("big"))
    size = f"{bench.big_trials:,} trials × 10 reports"
    yield Line(what=f"reopen {size}: s", tuner=figure(seconds, "reopen_s"), goal=Goal(at_most=3))
    yield Line(what="… CPU time of the same: s", tuner=figure(seconds, "reopen_cpu_s"))
    yield Line(what=f"export {size} to parquet: s", tuner=figure(seconds, "parquet_s"), goal=Goal(at_most=5))
    yield Line(what=f"export {size} to csv: s", tuner=figure(seconds, "csv_s"), goal=Goal(at_most=15))


def shell(bench: Bench) -> Iterator[Line]:
    """What somebody at a terminal waits for."""
    python = measured_apart(peers.python_start, statement="pass", times=7)
    usage = measured_apart(measures.shell_help, times=7)
    listing = measured_apart(measures.shell_list, studies=100, times=7, seed=bench.seed, folder=bench.fresh("list"))
    database = measured_apart(peers.python_start, statement="import sqlalchemy", times=7)
    for what, ours, limit, beside, goal in (
        ("tuner --help", usage, python, "python -c pass", 0.3),
        ("tuner ls of 100 studies", listing, database, "python -c 'import sqlalchemy'", 1.0),
    ):
        wall, other = figure(ours, "median_s"), figure(limit, "median_s")
        yield Line(what=f"{what}: s", tuner=wall, beside=beside, other=other, goal=Goal(at_most=goal))
        yield Line(what="… CPU time of the same: s", tuner=figure(ours, "cpu_s"))


def first_trial(bench: Bench) -> Iterator[Line]:
    """From `tuner sweep` in a shell to the first finished trial, less `ray.init` of the same round."""
    turns: list[tuple[Figure, Figure]] = []
    for turn in range(2 * len(bench.rounds) - 1):
        alone = measured_apart(peers.ray_start, parallel=bench.parallel)
        folder = bench.fresh(f"shell-{turn}")
        shell = measured_apart(measures.shell_first_trial, parallel=bench.parallel, seed=bench.seed, folder=folder)
        turns.append((figure(alone, "init_s"), figure(shell, "first_trial_s")))
    both = [(ray, ours) for ray, ours in turns if not isinstance(ray, str) and not isinstance(ours, str)]
    what = "tuner sweep in a shell to its first finished trial: s"
    if not both:
        yield Line(what=what, tuner=next(each for turn in turns for each in turn if isinstance(each, str)))
        return
    ray, ours = (statistics.median(column) for column in zip(*both, strict=True))
    yield Line(what=what, tuner=ours, beside="ray.init alone", other=ray)
    beyond = statistics.median(ours - ray for ray, ours in both)
    yield Line(what="… beyond ray.init: s", tuner=beyond, goal=Goal(at_most=2))


ROWS: dict[str, Callable[[Bench], Iterator[Line]]] = {
    row.__name__: row for row in (trials, reports, replay, worker, busy, ask, crowd, memory, reopen, shell, first_trial)
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
        "disk": f"{shutil.disk_usage(folder).total / 2**30:.0f} GiB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages),
        "revision": revision(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def revision() -> str:
    """The commit that was measured, as far as git knows."""
    told = subprocess.run(
        ["git", "log", "-1", "--format=%h of %cs"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return told.stdout.strip() or "unknown"


def load() -> str:
    """How many processes wanted a core in the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


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
    parser.add_argument("--quick", action="store_true", help="smaller counts: about five minutes")
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
            "rounds": f"{len(bench.rounds)}, the median is shown (trials, reports, replay, crowd and first_trial)",
            "load before": f"{load()} (processes that wanted one of the {os.cpu_count()} cores in the minute before)",
            "command": shlex.join(["python", *sys.argv]),
        }
        for name in names:
            console.print(f"[dim]measuring {name} …[/]")
            lines += ROWS[name](bench)
        facts["load after"] = f"{load()} (this measurement's own processes included)"
    console.print(printed(lines, f"{facts['cpu']}, {facts['cores']} cores, {facts['date']}"))
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(markdown(lines, facts))
    if options.json:
        figures = [asdict(line) | {"ratio": line.ratio, "verdict": line.verdict} for line in lines]
        options.json.write_text(json.dumps({"facts": facts, "lines": figures}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
