"""How good a model an epoch buys: our search beside Optuna's on the same data, paired by task and seed.

    python benchmarks/search.py --quick
    python benchmarks/search.py --only lcbench_onnx,workers --data FOLDER --markdown results/benchmarks/search.md

A measurement, not a test. It goes on where it was ended: every search that is over is a line of the cache.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import drawing
import numpy as np
import recordings
import regret
import replaying
import report
import rivals
import sources
from cells import Cache, Cell, code_of, measured
from contests import CONTESTS, KNOWN, QUICK_PEERS, Contest, goals, named, traces
from regret import Results
from rich.console import Console
from rows import load, machine, printed, written

# ── what is to be run ────────────────────────────────────────────────────────────────────────────────────────────────


def asked(contest: Contest, options: argparse.Namespace) -> Contest:
    """The contest as the options want it."""
    if options.quick:
        slow = contest.name in ("trainings", "fashion", "conditional", "wide") or contest.family
        peers = tuple(method for method in contest.peers if method in QUICK_PEERS)
        contest = replace(contest, seeds=1 if slow else 2, most_tasks=2, peers=peers, parts=())
    if options.seeds is not None:
        contest = replace(contest, seeds=options.seeds)
    if options.tasks is not None:
        contest = replace(contest, most_tasks=options.tasks)
    if options.methods is not None:
        whole = not contest.ablates  # where all is trained to its end, nobody stops anything
        peers = tuple(m for m in options.methods if m in rivals.KNOWN and not (whole and "+" in m))
        contest = replace(contest, peers=peers)
    return contest


def methods_of(contest: Contest, options: argparse.Namespace) -> list[str]:
    """Ours, its parts where they are asked for, then the peers."""
    parts = list(contest.parts)
    if options.methods is not None:
        parts = [m for m in options.methods if m in replaying.OURS and (contest.ablates or m in contest.parts)]
    every = list(replaying.OURS) if options.ablation and contest.ablates else []
    return list(dict.fromkeys([contest.ours, *parts, *every, *contest.peers]))


def planned(contest: Contest, tasks: Sequence[str], options: argparse.Namespace) -> Iterator[Cell]:
    """Every search of a contest, seed by seed, so that wherever it is ended the methods share their pairs."""
    numbered = [each for each in enumerate(tasks) if options.half in ("both", half_of(each[0]))][: contest.most_tasks]
    for offset, (number, task) in itertools.product(range(contest.seeds), numbered):
        for method, workers in itertools.product(methods_of(contest, options), contest.workers):
            if rivals.is_slow(method) and offset >= options.slow_seeds:
                continue
            yield Cell(
                bench=contest.bench,
                task=task,
                method=method,
                workers=workers,
                seed=1000 * number + offset,
                budget=contest.budget,
                trials=contest.trials,
                noise=contest.noise,
            )


def half_of(number: int) -> str:
    """Which half of a family's tasks a task belongs to: every other one is tuned on, and the rest reported apart."""
    return "report" if number % 2 else "tune"


def reported(results: Results) -> Results:
    """What was found on the half that nothing was tuned on."""
    return {
        key: {pair: search for pair, search in searches.items() if half_of(pair[1] // 1000) == "report"}
        for key, searches in results.items()
    }


def gathered(contest: Contest, plan: Sequence[Cell], cache: Cache) -> Results:
    """What the cache holds of a plan."""
    found: dict[tuple[str, int], dict[regret.Pair, regret.Search]] = {}
    for cell in plan:
        if cell in cache:
            searches = found.setdefault((cell.method, cell.workers), {})
            searches[cell.task, cell.seed] = cache.search(cell, contest.scale)
    return found


# ── the pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────


def pictures_of(contest: Contest, results: Results, folder: Path) -> Iterator[Path]:
    """Regret over the budget; with several workers, also over simulated time."""
    steps = np.arange(1, contest.budget + 1) / contest.steps_a_unit
    first = max(1, contest.points[0] / 5)
    for workers in contest.workers:
        curves = {method: traces(contest, results, method, workers) for method, width in results if width == workers}
        if curves:
            name = f"search_{contest.name}.png" if workers == 1 else f"search_{contest.name}.{workers}.png"
            title = report.title_of(contest, workers).partition(";")[0]
            yield drawing.draw(curves, steps, title=title, axis=contest.unit, to=folder / name, first=first)
    if len(contest.workers) > 1:
        seconds = np.unique(np.geomspace(5, contest.budget, 400).round())
        timed = {
            f"{method} ({width})": {pair: search.by_second(seconds) for pair, search in searches.items()}
            for (method, width), searches in results.items()
            if method in (contest.ours, "random", "random+asha", "tpe+asha")
        }
        if timed:
            yield drawing.draw(
                timed,
                seconds,
                title=f"{contest.name}: by simulated time (in brackets: workers)",
                axis="simulated seconds, one an epoch",
                to=folder / f"search_{contest.name}.seconds.png",
                first=5,
            )


# ── the program ──────────────────────────────────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Run what is not in the cache yet, then print tables and goals of all that is."""
    options = _options()
    console = Console() if sys.stdout.isatty() else Console(width=200)
    notes: list[str] = []

    def note(text: str) -> None:
        if text not in notes:
            notes.append(text)
            console.print(text, highlight=False)

    plans: dict[str, tuple[Contest, list[Cell]]] = {}
    for name in options.only:
        contest = asked(CONTESTS[name], options)
        try:
            tasks = sources.opened(contest.bench, options.data).tasks()
        except recordings.Absent as absent:
            note(f"{name} is skipped: {absent}.")
            continue
        lacking = {method: rivals.missing(method) for method in contest.peers}
        for sentence in filter(None, lacking.values()):
            note(sentence)
        contest = replace(contest, peers=tuple(method for method in contest.peers if not lacking[method]))
        plans[name] = contest, list(planned(contest, tasks, options))
    cache, before = Cache(options.cache), load()
    for failure in _run([cell for _, plan in plans.values() for cell in plan], cache, options, console):
        note(failure)
    found = {name: (contest, gathered(contest, plan, cache)) for name, (contest, plan) in plans.items()}

    lines = [line for contest, results in found.values() for line in goals(contest, results)]
    if options.half == "both":
        apart = [line for contest, results in found.values() for line in goals(contest, reported(results))]
        lines += [replace(line, what=f"{line.what} (tasks reported apart)") for line in apart]
    for contest, results in found.values():
        console.print(*report.shown(contest, results), report.remark(contest, results), sep="\n")
    if lines:
        console.print(printed(lines, "goals"))
    drawn: list[Path] = []
    for contest, results in found.values() if options.plots else ():
        drawn += pictures_of(contest, results, options.plots)
    if options.markdown:
        with tempfile.TemporaryDirectory() as folder:
            facts = machine(Path(folder))
        facts |= {
            "searched by": "; ".join(
                sorted({code_of(method) for _, results in found.values() for method, _ in results})
            ),
            "processes": f"{options.jobs}, one thread each",
            "load before": before,
            "command": asked_for(sys.argv, options.data),
        }
        pictures = [os.path.relpath(path, options.markdown.parent) for path in drawn]
        if options.section:
            section = report.section_of(options.section, found, lines, notes, pictures, facts)
            written(options.markdown, report.within(options.markdown.read_text(), section))
        else:
            written(options.markdown, report.markdown(found, lines, notes, pictures, facts))


def asked_for(argv: Sequence[str], data: str | None) -> str:
    """What was typed, without where things lie here."""
    told = ["FOLDER" if each == data else each for each in argv]
    for name in ("--cache", "--jobs", "--markdown", "--plots", "--section"):
        if name in told:
            del told[told.index(name) : told.index(name) + 2]
    return shlex.join(["python", *told])


def _run(plan: Sequence[Cell], cache: Cache, options: argparse.Namespace, console: Console) -> Iterator[str]:
    """Runs what the cache lacks; yields what went wrong. Ctrl-C ends it early, and nothing that is over is lost."""
    todo = list(dict.fromkeys(cell for cell in plan if cell not in cache))
    console.print(
        f"[dim]{len(set(plan)) - len(todo):,} searches are in {options.cache}, {len(todo):,} are to be run[/]"
    )
    if not todo:
        return
    began = said = time.monotonic()
    done = 0
    try:
        for cell, result in measured(todo, options.data, options.jobs):
            done += 1
            if isinstance(result, str):
                which = f"{cell.bench} {cell.task}, seed {cell.seed}, workers {cell.workers}"
                yield f"{cell.method} failed on {which}: {result}"
            else:
                cache.put(cell, result)
            if time.monotonic() - said > 20:
                said = time.monotonic()
                left_s = (said - began) / done * (len(todo) - done)
                console.print(f"[dim]{done:,} of {len(todo):,}, about {left_s / 60:.0f} min left[/]")
    except KeyboardInterrupt:
        yield f"Interrupted after {done:,} of {len(todo):,} searches; the same command goes on."


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two tasks a contest, few seeds and methods")
    parser.add_argument("--only", default=",".join(CONTESTS), help=f"contests and families: {', '.join(KNOWN)}")
    parser.add_argument(
        "--data",
        default=os.environ.get("TUNER_BENCH_DATA"),
        help="the folder of recorded curves, with loaders/ and data/ (default: the variable TUNER_BENCH_DATA)",
    )
    parser.add_argument(
        "--half",
        choices=("tune", "report", "both"),
        default="both",
        help="every other task of each contest: those to tune on, or those reported apart (default: both)",
    )
    parser.add_argument("--tasks", type=int, help="only the first so many tasks of each contest")
    parser.add_argument("--seeds", type=int, help="seeds a task (default: 10)")
    parser.add_argument(
        "--slow-seeds", type=int, default=3, help=f"seeds a task of the slow peers: {', '.join(rivals.SLOW)}"
    )
    known = (*replaying.OURS, *rivals.KNOWN)
    parser.add_argument("--methods", help=f"beside ours, only these: {', '.join(known)}")
    parser.add_argument("--ablation", action="store_true", help="the parts of our search as well")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--cache", type=Path, default=Path("build/search.jsonl"), help="where results are kept")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    parser.add_argument("--section", help="write them as the section of this title into the page that --markdown names")
    parser.add_argument("--plots", type=Path, help="draw regret over the budget into this folder")
    options = parser.parse_args()
    if options.section and not (options.markdown and options.markdown.exists()):
        parser.error("--section goes into a page: name one that is there with --markdown")
    options.only = named([name.strip() for name in options.only.split(",")])
    if unknown := sorted(set(options.only) - set(CONTESTS)):
        parser.error(f"no contest named {', '.join(unknown)}; contests and families: {', '.join(KNOWN)}")
    if options.methods is not None:
        options.methods = [name.strip() for name in options.methods.split(",")]
        if unknown := sorted(set(options.methods) - set(known)):
            parser.error(f"no method named {', '.join(unknown)}; methods: {', '.join(known)}")
    return options


if __name__ == "__main__":
    main()
