"""Faults, each done for real: how often tuner was struck, and what it lost, did twice, left unsaid and left behind.

    python benchmarks/faults.py --quick
    python benchmarks/faults.py --only coordinator_killed --times 100 --seed 0
    python benchmarks/faults.py --markdown results/benchmarks/faults.md

Every try is a study of its own in processes of its own, which a follower reads meanwhile. Exit code 1 where anything
was lost or done twice, or did not recover.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import faults_of_coordinators  # noqa: F401 - each of these declares its kinds
import faults_of_disks  # noqa: F401
import faults_of_hosts  # noqa: F401
import faults_of_peers
import faults_of_services  # noqa: F401
import faults_of_time  # noqa: F401
import faults_of_trials  # noqa: F401
import faults_of_workers  # noqa: F401
from clearing import cleared
from injuries import KINDS, Kind, NotTried, Outcome, Try, Unwell
from rich.console import Console
from rich.table import Table
from rows import facts_of, grid, load, machine, revision, shown, written
from standing import standing

HEADERS = ("fault", "tried", "recovered", "lost", "doubled", "unsaid", "left", "seconds", "what a person reads", "at")
_NARROW = -2  # what a person reads stands beside each try on a terminal, and at which commit on the page
_QUICK = 1
_PEER = "peer_"


# ── tries ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def tried(each: Kind, number: int, seed: int, fixture: Mapping[str, str]) -> Outcome:
    """One try of a kind, in a folder that goes."""
    with tempfile.TemporaryDirectory(prefix="", ignore_cleanup_errors=True) as folder:
        one = Try(Path(folder), number, random.Random(f"{seed} {each.name} {number}"), fixture)
        trouble = ""
        try:
            each.strike(one)
        except Unwell as unwell:
            trouble = str(unwell)
        except NotTried:
            one.outcome()
            raise
        except BaseException:
            one.outcome("broken off", leaves_within_s=0.0)
            raise
        return one.outcome(trouble)


def all_tries(each: Kind, times: int, seed: int, cache: Path) -> None:
    """Tries a kind as often as told, less what the cache holds of it, and writes down each outcome."""
    done = {line["number"] for line in cached(cache, each.name, seed)}
    todo = [number for number in range(-(-times // each.strikes)) if number not in done]
    if not todo:
        return
    with tempfile.TemporaryDirectory(prefix="", ignore_cleanup_errors=True) as folder:
        try:
            with each.around(Path(folder)) if each.around else nullcontext({}) as fixture:
                for number in todo:
                    outcome = tried(each, number, seed, fixture)
                    keep(cache, each.name, seed, number, {"outcome": asdict(outcome)})
                    print(f"{each.name} {number}: {in_words(outcome)}", flush=True)
        except NotTried as why:
            keep(cache, each.name, seed, -1, {"not_tried": str(why)})
            print(f"{each.name}: not tried: {why}", flush=True)


def in_words(outcome: Outcome) -> str:
    """A try in a line."""
    took = f" in {statistics.median(outcome.seconds):.2f} s" if outcome.seconds else ""
    told = f"NOT RECOVERED: {outcome.trouble}" if outcome.trouble else f"{outcome.recovered} recovered{took}"
    bad = [f"{word.upper()}: {found[0]}" for word in COUNTED if (found := getattr(outcome, word))]
    return "; ".join([told, *bad, *([outcome.said] if outcome.said else [])])


COUNTED = ("lost", "doubled", "unsaid", "left")


# ── what is kept of them ─────────────────────────────────────────────────────────────────────────────────────────────


def keep(cache: Path, name: str, seed: int, number: int, what: Mapping[str, object]) -> None:
    """A try is a line of the cache: whoever breaks off loses none."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    line = {"kind": name, "seed": seed, "number": number, "revision": revision(), "at": time.time(), "load": load()}
    with cache.open("a") as lines:
        lines.write(json.dumps({**line, **what}) + "\n")


def cached(cache: Path, name: str, seed: int) -> list[dict[str, object]]:
    """The tries of a kind that were written down."""
    lines = [json.loads(line) for line in cache.read_text().splitlines()] if cache.exists() else []
    return [line for line in lines if (line["kind"], line["seed"]) == (name, seed)]


def outcomes(lines: Sequence[Mapping[str, object]]) -> list[Outcome]:
    """What became of the tries."""
    return [Outcome(**line["outcome"]) for line in lines if "outcome" in line]  # type: ignore[arg-type]


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def row(each: Kind, lines: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """The line of a kind."""
    found = outcomes(lines)
    if not found:
        why = next((str(line["not_tried"]) for line in lines if "not_tried" in line), "left out")
        return (each.what, f"not tried: {why}", *[""] * (len(HEADERS) - 2))
    counts = [str(sum(bool(getattr(one, word)) for one in found)) for word in COUNTED]
    seconds = [each for one in found for each in one.seconds]
    said = next((one.said for one in reversed(found) if one.said), "")
    return (
        each.what,
        str(sum(one.tried for one in found)),
        str(sum(one.recovered for one in found)),
        *counts,
        shown(statistics.median(seconds)) if seconds else "",
        said if len(said) < 160 else said[:157] + "…",
        ", ".join(dict.fromkeys(str(line["revision"]) for line in lines)),
    )


def complaints(each: Kind, lines: Sequence[Mapping[str, object]]) -> list[str]:
    """Everything that went wrong with a kind, in words."""
    return [
        f"`{each.name}`, {word}: {what}"
        for one in outcomes(lines)
        for word, found in (
            ("not recovered", [one.trouble] if one.trouble else []),
            *((w, getattr(one, w)) for w in COUNTED),
        )
        for what in found
    ]


def strain(lines: Mapping[str, Sequence[Mapping[str, object]]]) -> str:
    """What the machine had to do in the minute before each try ended, by which seconds are to be taken."""
    known = [[float(str(line["load"])) for line in found if "load" in line] for found in lines.values()]
    loads = [each for found in known for each in found]
    if not loads:
        return f"{load()} as the page was written; of the tries it is not known"
    of = f"of {sum(map(bool, known))} of {len(KINDS)} kinds"
    wanted = f"processes that wanted one of the {os.cpu_count()} cores"
    return f"{min(loads):.1f} to {max(loads):.1f} during the tries {of} ({wanted})"


def page(rows: Mapping[str, tuple[str, ...]], wrong: Sequence[str], facts: Mapping[str, str]) -> str:
    """The page for the repository."""
    about = (
        "What was done to tuner, and what became of it: how often it was tried and recovered, and how often anything "
        "was lost, done twice, left without a reason or left behind. Seconds are medians; *at* is the commit "
        "that was tried. The words and the kinds: `benchmarks/README.md`."
    )
    ours, peers = (
        [cells for name, cells in rows.items() if name.startswith(_PEER) is beside] for beside in (False, True)
    )
    parts = ["# Faults", about, grid([HEADERS, *ours])]
    if peers:
        parts.append("Others, under the kinds that they can be given:")
        parts.append(grid([HEADERS, *peers]))
    if wrong:
        parts.append("What went wrong:\n\n" + "\n".join(f"- {each}" for each in wrong))
    return "\n\n".join([*parts, facts_of(facts)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"kinds, by comma: {', '.join(KINDS)}")
    parser.add_argument("--times", type=int, help="of each kind; default: each its own")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--quick", action="store_true", help="each kind once")
    parser.add_argument("--markdown", type=Path, help="write the page here; rows of kinds not tried stand")
    parser.add_argument("--cache", type=Path, help="keep each try in this file, and go on with it")
    parser.add_argument("--page", action="store_true", help="try nothing: show what the cache holds")
    parser.add_argument("--peers", help="a Python that has optuna and ray[tune], for the kinds that begin with peer_")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # as Ctrl-C: what was started is ended
    if given.peers:
        os.environ[faults_of_peers.PYTHON] = given.peers
    chosen = [name for name in given.only.split(",") if name] or list(KINDS)
    if unknown := [name for name in chosen if name not in KINDS]:
        parser.error(f"no such kind: {', '.join(unknown)}. There are {', '.join(KINDS)}")
    with cleared() as folder:
        cache = given.cache or folder / "tries.jsonl"
        for name in () if given.page else chosen:
            times = given.times or (_QUICK if given.quick else KINDS[name].times)
            all_tries(KINDS[name], times, given.seed, cache)
        shows = KINDS if given.cache or given.markdown else chosen
        lines = {name: cached(cache, name, given.seed) for name in shows}
    earlier = standing(given.markdown, HEADERS)
    rows: dict[str, tuple[str, ...]] = {}
    wrong: list[str] = []
    stood: list[str] = []
    for name, found in lines.items():
        stands = None if outcomes(found) else earlier.rows.get(KINDS[name].what)
        rows[name] = stands or row(KINDS[name], found)
        wrong += complaints(KINDS[name], found)
        stood += earlier.complaints.get(name, ()) if stands else ()
    table = Table(*HEADERS[:_NARROW], title="Faults")
    for cells in rows.values():
        table.add_row(*cells[:_NARROW])
    Console().print(table)
    for complaint in wrong:
        print(complaint)
    facts = {**machine(Path(tempfile.gettempdir())), "load": strain(lines), "seed": str(given.seed)}
    written(given.markdown, page(rows, [*wrong, *stood], facts))
    return 1 if any(not each.startswith(f"`{_PEER}") for each in wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
