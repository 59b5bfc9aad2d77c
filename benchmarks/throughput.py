"""How fast tuner runs, beside raw Ray, Ray Tune, Optuna and SQLite on the same machine in the same run.

    python benchmarks/throughput.py --quick
    python benchmarks/throughput.py --only trials,reports --markdown results/benchmarks/throughput.md

A measurement, not a test: nothing here fails because a machine is slow. A goal that was not reached says "missed".
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import asking
import crowd as crowds
import measures
import peers
from apart import Outcome, measured_apart
from rich.console import Console
from rows import Extent, Figure, Goal, Measured, Row, load, machine, page, printed, workspace, written

DEFAULT = "… with the default sampler and stopping"


@dataclass(frozen=True, kw_only=True)
class Bench(Extent):
    """What every row needs to know: how wide, how long, where; and each measurement, taken once."""

    parallel: int
    seed: int

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
    """One figure of an outcome, of several their median with its spread, or why there is none."""
    several = [outcomes] if isinstance(outcomes, str | Mapping) else outcomes
    found = [outcome[name] for outcome in several if not isinstance(outcome, str)]
    return Measured.of(found) if found else next(each for each in several if isinstance(each, str))


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def trials(bench: Bench) -> Iterator[Row]:
    """Durable trials per second through Ray: trivial objective, one report each."""
    count, tune_count = bench.size(20_000, 4_000), bench.size(60, 30)
    turns = [(bench.raw_ray(), bench.sweep(count, 1), bench.ray_tune(tune_count, 1)) for _ in bench.rounds]
    raw, ours, tune = zip(*turns, strict=True)
    steady, tune_rate = figure(ours, "trials_per_s"), figure(tune, "trials_per_s")
    rate = "durable trials, one report each", steady, "/s"
    closed, three = (figure(raw, name) for name in ("closed_loop", "three_in_flight"))
    yield Row(*rate, beside="raw Ray, closed loop", other=closed, goal=Goal(at_least=2, times=True))
    yield Row(*rate, beside="raw Ray, three in flight", other=three)
    yield Row(*rate, beside="Ray Tune", other=tune_rate, goal=Goal(at_least=60, times=True))
    default = figure(bench.sweep(bench.size(2_000, 300), 1, adaptive=True), "trials_per_s")
    yield Row(DEFAULT, default, "/s", beside="Ray Tune, random", other=tune_rate, goal=Goal(at_least=1_000))
    optuna = bench.optuna(bench.size(300, 80), 1)
    yield Row(*rate, beside="Optuna SQLite, no Ray", other=figure(optuna, "trials_per_s"))
    whole, tune_whole = figure(ours, "whole_trials_per_s"), figure(tune, "whole_trials_per_s")
    yield Row("… of the whole sweep, with ray.init", whole, "/s", beside="Ray Tune", other=tune_whole)


def reports(bench: Bench) -> Iterator[Row]:
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
    rate = "durable reports, 100 a trial", figure(ours, "reports_per_s"), "/s"
    tune_rate = figure(tune, "reports_per_s")
    yield Row(*rate, goal=Goal(at_least=50_000))
    yield Row(*rate, beside="Ray Tune", other=tune_rate, goal=Goal(at_least=600, times=True))
    default = figure(bench.sweep(bench.size(500, 150), 100, adaptive=True), "reports_per_s")
    yield Row(DEFAULT, default, "/s", beside="Ray Tune, random", other=tune_rate, goal=Goal(at_least=20_000))
    optuna = bench.optuna(bench.size(20, 6), 100)
    yield Row(*rate, beside="Optuna SQLite, no Ray", other=figure(optuna, "reports_per_s"))
    for key, size in (("group_rows", "1,000 rows"), ("single_commits", "one row")):
        yield Row(*rate, beside=f"SQLite alone, {size} a commit", other=figure(limit, f"{key}_per_s"))


def replay(bench: Bench) -> Iterator[Row]:
    """Steps per second in the coordinator's own process, records in memory: what a replay of curves costs."""
    for what, adaptive, steps, goal in (
        ("steps in process and in memory, 50 a trial", False, bench.size(100_000, 20_000), Goal(at_least=5_000)),
        (f"{DEFAULT}, 1,000 steps", True, 1_000, None),
    ):
        turns = [
            measured_apart(
                measures.replay_rate, steps=steps, seed=bench.seed, folder=bench.fresh("replay"), adaptive=adaptive
            )
            for _ in bench.rounds
        ]
        yield Row(what, figure(turns, "steps_per_s"), "/s", goal=goal)


def worker(bench: Bench) -> Iterator[Row]:
    """What `run.report` and an idle `run.steps` cost the training thread of a Ray worker."""
    costs = measured_apart(measures.worker_costs, folder=bench.fresh("worker"), seed=bench.seed)
    for key, how in (("", "back to back"), ("paced_", "one a millisecond")):
        median, p99 = figure(costs, f"{key}median_us"), figure(costs, f"{key}p99_us")
        yield Row(f"run.report, {how}, median", median, "µs", goal=Goal(at_most=20))
        yield Row(f"run.report, {how}, p99", p99, "µs", goal=Goal(at_most=1000))
    yield Row("run.steps, idle, a step", figure(costs, "step_us"), "µs", goal=Goal(at_most=10))


def busy(bench: Bench) -> Iterator[Row]:
    """The share of the workers' time that trials of one second train."""
    count = bench.size(15, 5) * bench.parallel
    tune = figure(bench.ray_tune(count, 1, sleep_s=1.0), "busy")
    for what, adaptive, beside in (
        ("share of their time that workers train, trials of 1 s", False, "Ray Tune"),
        (DEFAULT, True, "Ray Tune, random"),
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
        yield Row(what, figure(ours, "busy"), beside=beside, other=tune, goal=goal)


def ask(bench: Bench) -> Iterator[Row]:
    """What one proposal costs once thousands of trials have ended."""
    finished, asks = bench.size(10_000, 2_000), bench.size(1_000, 500)
    ours = measured_apart(asking.ask_times, finished=finished, asks=asks, seed=bench.seed)
    tpe = measured_apart(peers.optuna_tpe, finished=finished, asks=bench.size(100, 30), seed=bench.seed)
    what, beside = f"ask after {finished:,} trials", "Optuna's TPE alone"
    median, p99 = figure(tpe, "median_ms"), figure(tpe, "p99_ms")
    yield Row(f"{what}, p99", figure(ours, "p99_ms"), "ms", beside=beside, other=p99, goal=Goal(at_most=20))
    yield Row("… CPU time of the same, p99", figure(ours, "cpu_p99_ms"), "ms")
    yield Row(f"ask after {min(1_000, finished // 10):,} trials, p99", figure(ours, "early_p99_ms"), "ms")
    yield Row(f"{what}, median", figure(ours, "median_ms"), "ms", beside=beside, other=median, goal=Goal(at_most=5))
    yield Row("… for 16 waiting workers, mean", figure(ours, "waiting_mean_ms"), "ms", goal=Goal(at_most=1))
    yield Row("… CPU time of the same, mean", figure(ours, "waiting_cpu_ms"), "ms")
    through = figure(ours, "tpe_median_ms")
    yield Row(f"{what}, median, sampler=TPESampler()", through, "ms", beside=beside, other=median)
    still = measured_apart(asking.stalls, finished=finished, asks=bench.size(500, 200), seed=bench.seed)
    longest = figure(still, "longest_ms")
    yield Row(f"longest turn of 16 workers' loop after {finished:,} trials", longest, "ms", goal=Goal(at_most=20))
    cost = measured_apart(asking.conditions, finished=200, asks=bench.size(160, 48), seed=bench.seed)
    draw, plain = figure(cost, "conditional_ms"), figure(cost, "plain_ms")
    twelve = "CPU time of a draw from 12 parameters, 5 of them with conditions"
    yield Row(twelve, draw, "ms", beside="without conditions", other=plain, goal=Goal(at_most=1.5, times=True))


def crowd(bench: Bench) -> Iterator[Row]:
    """What the coordinator takes while 1,000 workers report once a second, and how long a verdict takes."""
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
        share, wait = figure(loops, "core_share"), figure(loops, "decision_p99_s")
        begins = DEFAULT if sampler == "coarse_to_fine" else "1,000 simulated workers"
        yield Row(f"{begins}: share of a core", share, goal=Goal(at_most=0.5))
        yield Row(f"{begins}: wait for a verdict, p99", wait, "s", goal=Goal(at_most=0.25))
        yield Row("… verdicts meanwhile", figure(loops, "decisions_per_s"), "/s")
        yield Row("… reports meanwhile", figure(loops, "reports_per_s"), "/s")


def memory(bench: Bench) -> Iterator[Row]:
    """What the coordinator's memory grows by."""
    what = f"coordinator after {bench.big_trials:,} trials × 10 reports, a trial"
    peak, kept = figure(bench.big_study, "peak_bytes_per_trial"), figure(bench.big_study, "kept_bytes_per_trial")
    yield Row(f"{what}, peak", peak, "bytes", goal=Goal(at_most=5_000))
    yield Row(f"{what}, kept", kept, "bytes")
    yield Row("… that sweep, with ray.init", figure(bench.big_study, "seconds"), "s")


def reopen(bench: Bench) -> Iterator[Row]:
    """Opening and exporting the big study in a fresh process."""
    seconds: Outcome = bench.big_study
    if not isinstance(seconds, str):
        seconds = measured_apart(measures.reopen_and_export, folder=bench.fresh("big"))
    size = f"{bench.big_trials:,} trials × 10 reports"
    yield Row(f"reopen {size}", figure(seconds, "reopen_s"), "s", goal=Goal(at_most=3))
    yield Row("… CPU time of the same", figure(seconds, "reopen_cpu_s"), "s")
    yield Row(f"export {size} to parquet", figure(seconds, "parquet_s"), "s", goal=Goal(at_most=5))
    yield Row(f"export {size} to csv", figure(seconds, "csv_s"), "s", goal=Goal(at_most=15))


def shell(bench: Bench) -> Iterator[Row]:
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
        yield Row(f"{what}", wall, "s", beside=beside, other=other, goal=Goal(at_most=goal))
        yield Row("… CPU time of the same", figure(ours, "cpu_s"), "s")


def first_trial(bench: Bench) -> Iterator[Row]:
    """From `tuner sweep` in a shell to the first finished trial, less `ray.init` of the same round."""

    def shell(turn: int, *, adaptive: bool) -> Outcome:
        folder = bench.fresh(f"shell-{turn}-{adaptive}")
        return measured_apart(
            measures.shell_first_trial, parallel=bench.parallel, seed=bench.seed, folder=folder, adaptive=adaptive
        )

    turns = [
        (
            measured_apart(peers.ray_start, parallel=bench.parallel),
            shell(turn, adaptive=False),
            shell(turn, adaptive=True),
        )
        for turn in range(2 * len(bench.rounds) - 1)
    ]
    for place, what in ((1, "tuner sweep in a shell to its first finished trial"), (2, DEFAULT)):
        both = [
            (ray["init_s"], shell["first_trial_s"])
            for ray, shell in ((turn[0], turn[place]) for turn in turns)
            if not isinstance(ray, str) and not isinstance(shell, str)
        ]
        if not both:
            yield Row(
                what, next(each for turn in turns for each in (turn[0], turn[place]) if isinstance(each, str)), "s"
            )
            continue
        alone, whole = (Measured.of(column) for column in zip(*both, strict=True))
        yield Row(what, whole, "s", beside="ray.init alone", other=alone)
        beyond = Measured.of([shell_s - init_s for init_s, shell_s in both])
        yield Row("… beyond ray.init", beyond, "s", goal=Goal(at_most=2))


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    row.__name__: row for row in (trials, reports, replay, worker, busy, ask, crowd, memory, reopen, shell, first_trial)
}


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
    lines: list[Row] = []
    with workspace("throughput", options.folder) as folder:
        bench = Bench(quick=options.quick, parallel=options.parallel, seed=options.seed, folder=folder)
        facts = machine(bench.folder) | {
            "workers": str(bench.parallel),
            "seed": str(bench.seed),
            "rounds": f"{len(bench.rounds)}, the median is shown (trials, reports, replay, crowd and first_trial)",
            "load before": f"{load()} (processes that wanted one of the {os.cpu_count()} cores in the minute before)",
        }
        for name in names:
            console.print(f"[dim]measuring {name} …[/]")
            lines += ROWS[name](bench)
        facts["load after"] = f"{load()} (this measurement's own processes included)"
    console.print(printed(lines, f"{facts['cpu']}, {facts['cores']} cores, {facts['date']}"))
    written(options.markdown, page("Throughput", lines, facts))
    figures = [asdict(line) | {"ratio": line.ratio, "verdict": line.verdict} for line in lines]
    written(options.json, json.dumps({"facts": facts, "lines": figures}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
