"""The time in which searches reach a target: the best score that another search finds in all its steps, by seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from regret import Estimate, Pair, Results, Search

HEADERS = ("method", "pairs", "mean", "median", "of the target's own", "less ours", "", "never")


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How many steps a search took until it was as good as the target; its whole budget where it never was."""

    steps: int
    censored: bool
    """Whether it never was: then `steps` is a lower bound."""


def reached(search: Search, target: float, budget: int) -> Reached:
    """The first step after which the best score is at least the target."""
    for step, score, _ in search.rises:
        if score >= target:
            return Reached(steps=step, censored=False)
    return Reached(steps=budget, censored=True)


def all_reached(results: Results, target: str, budget: int) -> dict[str, dict[Pair, Reached]]:
    """By method, over the task-seed pairs that the method `target` has too; of searches one at a time."""
    targets = {pair: search.rises[-1][1] for pair, search in results.get((target, 1), {}).items() if search.rises}
    return {
        method: {pair: reached(search, targets[pair], budget) for pair, search in searches.items() if pair in targets}
        for (method, workers), searches in results.items()
        if workers == 1
    }


def rows(results: Results, *, ours: str, target: str, budget: int) -> Iterator[tuple[str, ...]]:
    """A line a method, the soonest first: means ± one standard error, and paired differences from ours."""
    found = {method: each for method, each in all_reached(results, target, budget).items() if each}
    for method in sorted(found, key=lambda method: _mean(found[method])):
        steps = [each.steps for each in found[method].values()]
        own = _mean({pair: found[target][pair] for pair in found[method]})
        less = _less(found[method], found.get(ours, {})) if method != ours else None
        never = sum(each.censored for each in found[method].values())
        yield (
            method,
            str(len(steps)),
            _shown(Estimate.of(steps)),
            f"{np.median(steps):,.0f}",
            f"{_mean(found[method]) / own:.2f} ×",
            "" if less is None else _shown(less),
            "" if less is None else less.verdict,
            str(never),
        )


def _mean(found: Mapping[Pair, Reached]) -> float:
    return float(np.mean([each.steps for each in found.values()]))


def _less(theirs: Mapping[Pair, Reached], ours: Mapping[Pair, Reached]) -> Estimate | None:
    pairs = sorted(theirs.keys() & ours.keys())
    return Estimate.of([theirs[pair].steps - ours[pair].steps for pair in pairs]) if pairs else None


def _shown(value: Estimate) -> str:
    return f"{value.mean:,.0f}" if np.isnan(value.error) else f"{value.mean:,.0f} ± {value.error:,.0f}"
