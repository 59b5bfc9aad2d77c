"""The tables of a search benchmark and the page that they make."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import reaching
import regret
from contests import Contest, traces
from regret import Results
from rich.table import Table
from rich.text import Text
from rows import Row, facts_of, grid, lines_of, tally


def header(contest: Contest) -> tuple[str, ...]:
    """The columns of a contest's table."""
    points = (f"{point:,}" for point in contest.points)
    last = f"{contest.judged_at:,}"
    return "method", "pairs", *points, "area", f"less ours at {last}", "", "less ours in area", "", "clipped"


def rows(contest: Contest, results: Results, workers: int) -> list[tuple[str, ...]]:
    """A line a method, the best area first."""
    ours = traces(contest, results, contest.ours, workers)
    lines: list[tuple[float, tuple[str, ...]]] = []
    for (method, width), searches in results.items():
        if width != workers:
            continue
        found = traces(contest, results, method, workers)
        area, same = regret.area(found), method == contest.ours
        compared: list[str] = []
        for point in (contest.judged_at, None):
            less = None if same else contest.less_ours(found, ours, point)
            compared += ["", ""] if less is None else [str(less), less.verdict]
        clipped = str(sum(search.clipped for search in searches.values()))
        read = [str(contest.at(found, point)) for point in contest.points]
        lines.append((area.mean, (method, str(area.pairs), *read, str(area), *compared, clipped)))
    return [line for _, line in sorted(lines)]


ENDS = ("method", "pairs", "trials", "steps", "regret of the chosen", "less ours", "", "claim less truth", "at a bound")


def ends(contest: Contest, results: Results) -> Iterator[tuple[str, ...]]:
    """A line a method: what each search took, what it chooses in the end, and what it claims of it."""
    ours = regret.in_the_end(results.get((contest.ours, 1), {}))
    for (method, width), searches in results.items():
        if width != 1:
            continue
        chosen = regret.in_the_end(searches)
        less = None if method == contest.ours else regret.difference(chosen, ours, None)
        every = list(searches.values())
        yield (
            method,
            str(len(every)),
            f"{np.mean([search.trials for search in every]):,.0f}",
            counted([search.steps for search in every]),
            str(regret.area(chosen)),
            *(("", "") if less is None else (str(less), less.verdict)),
            str(regret.Estimate.of([search.boast for search in every])),
            f"{np.mean([search.border for search in every]):.1%}",
        )


def counted(steps: Sequence[float]) -> str:
    """A mean of steps and its standard error."""
    found = regret.Estimate.of(steps)
    return f"{found.mean:,.0f}" if np.isnan(found.error) else f"{found.mean:,.0f} ± {found.error:,.0f}"


def tables(contest: Contest, results: Results) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Title and lines, heads first, of every table of a contest."""
    for workers in contest.workers:
        yield title_of(contest, workers), [header(contest), *rows(contest, results, workers)]
    if contest.ends or contest.interior:
        yield f"{contest.name}: what is chosen in the end", [ENDS, *ends(contest, results)]
    yield from times_to_target(contest, results)


def title_of(contest: Contest, workers: int) -> str:
    """What a table shows."""
    width = "" if len(contest.workers) == 1 else ", sequential" if workers == 1 else f", {workers} at a time"
    return f"{contest.name}{width}: {contest.about}; regret after {contest.unit}"


def remark(contest: Contest, results: Results) -> str:
    """How many searches found better than the best known."""
    ours = [search for (method, _), found in results.items() if method == contest.ours for search in found.values()]
    every = [search for found in results.values() for search in found.values()]
    counts = [(sum(search.clipped for search in several), len(several)) for several in (ours, every)]
    return (
        f"Clipped at zero regret, having found better than the best known: {counts[0][0]} of {counts[0][1]} searches "
        f"of {contest.ours}, {counts[1][0]} of {counts[1][1]} of all."
    )


def shown(contest: Contest, results: Results) -> Iterator[Table]:
    """The tables for a terminal."""
    for title, (heads, *lines) in tables(contest, results):
        table = Table(*heads, title=title)
        for line in lines:
            table.add_row(*map(Text, line), style="bold" if line[0].startswith("tuner") else "")
        yield table


def times_to_target(contest: Contest, results: Results) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Title and lines of the table of how soon the target is reached, where the contest has one."""
    if contest.target and results:
        tasks = sorted({task for searches in results.values() for task, _ in searches})
        title = (
            f"{contest.name}, on {', '.join(tasks)}: {contest.unit} until the best score that {contest.target} finds "
            f"in {contest.budget:,} is reached; never: counted as {contest.budget:,}"
        )
        lines = list(reaching.rows(results, ours=contest.ours, target=contest.target, budget=contest.budget))
        if lines:
            yield title, [reaching.HEADERS, *lines]


def markdown(
    found: Mapping[str, tuple[Contest, Results]],
    lines: Sequence[Row],
    notes: Sequence[str],
    pictures: Sequence[str],
    facts: Mapping[str, str],
) -> str:
    """The page for the repository, with everything that a reader needs to repeat it."""
    about = (
        f"{tally(lines)} Protocol, methods and goals: "
        "`benchmarks/README.md`. ± is one standard error over pairs of task and seed; `less ours` is paired, and a "
        "difference under two standard errors is none."
    )
    parts = ["# Search quality", about, grid(lines_of(lines)), *notes, *shown_of(found, pictures), facts_of(facts)]
    return "\n\n".join(parts) + "\n"


def section_of(
    title: str,
    found: Mapping[str, tuple[Contest, Results]],
    lines: Sequence[Row],
    notes: Sequence[str],
    pictures: Sequence[str],
    facts: Mapping[str, str],
) -> str:
    """A section of a page of several commands: its command first, and what was measured by what at its end."""
    where = ", ".join(f"{name} {facts[name]}" for name in ("revision", "date", "searched by"))
    goals_of = [grid(lines_of(lines))] if lines else []
    head = [f"## {title}", f"`{facts['command']}`", *goals_of, *notes]
    return "\n\n".join([*head, *shown_of(found, pictures), f"Measured: {where}."]) + "\n\n"


def within(page: str, section: str) -> str:
    """The page with the section in the place of one of its title, or before its last section, which says where."""
    title = section.partition("\n")[0]
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    place = next((number for number, part in enumerate(parts) if part.partition("\n")[0] == title), None)
    if place is None:
        return "".join([*parts[:-1], section, parts[-1]])
    return "".join([*parts[:place], section, *parts[place + 1 :]])


def shown_of(found: Mapping[str, tuple[Contest, Results]], pictures: Sequence[str]) -> Iterator[str]:
    """The tables and pictures of each contest."""
    for contest, results in found.values():
        yield f"### {contest.name}"
        for title, several in tables(contest, results):
            yield from (title + ".", grid(several))
        yield remark(contest, results)
        drawn = [each for each in pictures if Path(each).name.startswith(f"search_{contest.name}.")]
        yield from (f"![{contest.name}]({each})" for each in drawn)
