"""The contests: on which data, at which budgets, by which methods, and what was promised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import reaching
import regret
import rivals
from regret import Results, Traces
from rows import Goal, Row

WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One comparison of our search with its peers."""

    name: str
    about: str
    bench: str
    ours: str = "tuner"
    peers: tuple[str, ...] = rivals.METHODS
    budget: int = 1000
    """Steps in all."""
    points: tuple[int, ...] = (50, 100, 250, 500, 1000)
    """Where regret is read, in `unit`s."""
    judged: int | None = None
    """Where methods are compared; the last point where it is None."""
    unit: str = "epochs"
    steps_a_unit: int = 1
    seeds: int = 10
    most_tasks: int | None = None
    scale: Literal["floor", "median"] = "floor"
    workers: tuple[int, ...] = (1,)
    target: str = ""
    """The method whose best score all are timed to; none where it is empty."""
    ablates: bool = True
    """Whether the parts of our search can differ here."""

    @property
    def judged_at(self) -> int:
        """The point at which methods are compared."""
        return self.judged or self.points[-1]

    def at(self, traces: Traces, point: int) -> regret.Estimate:
        """Regret after `point` units."""
        return regret.at(traces, point * self.steps_a_unit)

    def less_ours(self, theirs: Traces, ours: Traces, point: int | None) -> regret.Estimate | None:
        """Their regret less ours after `point` units, or in area where it is None."""
        return regret.difference(theirs, ours, None if point is None else point * self.steps_a_unit)


_TRAININGS = 100
_LCBENCH_EPOCHS = 51
ONNX = Contest(name="lcbench_onnx", about="continuous LCBench, 7 settings: the headline", bench="lcbench_onnx")
CONTESTS = {
    contest.name: contest
    for contest in (
        ONNX,
        Contest(name="lcbench", about="LCBench's table: settings snap to the nearest of 2,000 rows", bench="lcbench"),
        Contest(
            name="deepobs",
            about="DeepOBS, the learning rate alone, measured, with divergence",
            bench="deepobs",
            judged=250,
        ),
        Contest(
            name="trainings",
            about="continuous LCBench, full trainings only; regret is 1 at a median training",
            bench="lcbench_onnx",
            ours="tuner:off",
            peers=rivals.FULL,
            budget=_TRAININGS * _LCBENCH_EPOCHS,
            points=(10, 25, 50, _TRAININGS),
            unit="trainings",
            steps_a_unit=_LCBENCH_EPOCHS,
            scale="median",
            ablates=False,
        ),
        replace(
            ONNX,
            name="workers",
            about=f"continuous LCBench, alone and by {WORKERS} simulated asynchronous workers",
            workers=(1, WORKERS),
            peers=("random", "random+asha", "random+hyperband", "qmc+asha", "tpe", "tpe+asha"),
        ),
        Contest(
            name="hpobench",
            about="HPOBench's tables from pip, end values only",
            bench="hpobench",
            peers=rivals.FULL,
            budget=_TRAININGS,
            points=(10, 25, 50, _TRAININGS),
            unit="trainings",
            ablates=False,
        ),
        Contest(
            name="digits",
            about="real training of a small network on scikit-learn's digits",
            bench="digits",
            budget=600,
            points=(50, 100, 250, 600),
        ),
        Contest(
            name="fashion",
            about="real training of a small network by learning rate and 1−β",
            bench="fashion",
            target="random",
            peers=("random", "random+asha", "tpe", "tpe+asha", "gp", "gp+asha"),
        ),
    )
}

QUICK_PEERS = ("random", "random+asha", "random+hyperband", "tpe", "tpe+asha", "cma", "gp")


def traces(contest: Contest, results: Results, method: str, workers: int = 1) -> Traces:
    """Regret by step; empty where nothing was measured."""
    found = results.get((method, workers), {})
    return {pair: search.by_step(contest.budget) for pair, search in found.items()}


# ── what was promised ────────────────────────────────────────────────────────────────────────────────────────────────


def goals(contest: Contest, results: Results) -> list[Row]:
    """The goals of a contest with what was reached."""
    if contest.name not in _GOALS or not results.get((contest.ours, 1)):
        return []
    return list(_GOALS[contest.name](contest, results))


def _ours_at(contest: Contest, results: Results, point: int | None, at_most: float) -> Row:
    found = traces(contest, results, contest.ours)
    where = "area" if point is None else f"regret at {point:,} {contest.unit}"
    value = regret.area(found) if point is None else contest.at(found, point)
    return Row(f"{contest.name}: {where}", value.measured, goal=Goal(at_most=at_most))


def _onnx(contest: Contest, results: Results) -> Iterator[Row]:
    ours, last = traces(contest, results, contest.ours), contest.points[-1]
    yield _ours_at(contest, results, 250, 0.077)
    rivals_at_end = {
        method: found for method in contest.peers if (found := _shared(traces(contest, results, method), ours))
    }
    if rivals_at_end:
        best = min(rivals_at_end, key=lambda method: contest.at(rivals_at_end[method], last).mean)
        yield Row(
            f"{contest.name}: regret at 250 epochs, the pairs of {best}",
            contest.at(_shared(ours, rivals_at_end[best]), 250).measured,
            beside=f"best peer, {best}, at {last:,}",
            other=contest.at(rivals_at_end[best], last).measured,
            goal=Goal(at_most=1, times=True),
        )
    yield _ours_at(contest, results, last, 0.03)
    yield _ours_at(contest, results, None, 0.08)


def _table(contest: Contest, results: Results) -> Iterator[Row]:
    ours, peer = traces(contest, results, contest.ours), traces(contest, results, "random+asha")
    differences = [contest.less_ours(peer, ours, point) for point in contest.points]
    behind = [-each.mean / each.error for each in differences if each is not None and each.error > 0]
    yield Row(
        f"{contest.name}: regret less random+asha's at the worst of the budgets",
        max(behind) if behind else "random+asha was not measured beside it",
        "standard errors",
        goal=Goal(at_most=2),
    )
    yield _ours_at(contest, results, contest.points[-1], 0.05)


def _deepobs(contest: Contest, results: Results) -> Iterator[Row]:
    yield _ours_at(contest, results, 250, 0.02)
    yield _ours_at(contest, results, None, 0.05)


def _trainings(contest: Contest, results: Results) -> Iterator[Row]:
    ours, peer = traces(contest, results, contest.ours), traces(contest, results, "gp")
    ours, peer = _shared(ours, peer), _shared(peer, ours)
    for point in contest.points:
        what, goal = f"{contest.name}: regret after {point} trainings, the pairs of gp", Goal(at_most=1, times=True)
        if not peer:
            yield Row(what, "Optuna's GPSampler was not measured beside it", goal=goal)
            continue
        both = [contest.at(each, point).measured for each in (ours, peer)]
        yield Row(what, both[0], beside="GPSampler", other=both[1], goal=goal)


def _workers(contest: Contest, results: Results) -> Iterator[Row]:
    alone, together = (results.get((contest.ours, workers), {}) for workers in (1, WORKERS))
    pairs = sorted(alone.keys() & together.keys())
    start = _start(contest, results)
    for point in contest.points[1:]:
        goal = Goal(at_least=0.85) if point == contest.points[-1] else None
        what = f"{contest.name}: share of the sequential regret reduction after {point:,} epochs"
        share = _share(contest, results, start, point) if pairs and start else math.nan
        yield Row(what, "random was not measured beside it" if math.isnan(share) else share, goal=goal)
    if pairs:
        seconds = [float(np.mean([each[pair].seconds for pair in pairs])) for each in (alone, together)]
        what = f"{contest.name}: times less simulated wall-clock for the whole budget"
        yield Row(what, seconds[0] / seconds[1], goal=Goal(at_least=6))


def _fashion(contest: Contest, results: Results) -> Iterator[Row]:
    reached = reaching.all_reached(results, contest.target, contest.budget)
    ours = reached.get(contest.ours, {})
    for method in contest.peers:
        theirs = reached.get(method, {})
        pairs = sorted(ours.keys() & theirs.keys())
        if not pairs:
            continue
        means = [regret.Estimate.of([each[pair].steps for pair in pairs]).measured for each in (ours, theirs)]
        never = sum(theirs[pair].censored for pair in pairs)
        yield Row(
            f"{contest.name}: epochs to the best accuracy of {contest.target} search in all its trainings",
            means[0],
            "epochs",
            beside=f"{method}, {never} of {len(pairs)} never" if never else method,
            other=means[1],
        )


def _start(contest: Contest, results: Results) -> Traces:
    """Where reduction is counted from: random search after one training, as good as no search."""
    return traces(contest, results, "random")


def _share(contest: Contest, results: Results, start: Traces, point: int) -> float:
    """(start − regret together) / (start − regret alone), of means over the pairs that all have."""
    alone, together = (traces(contest, results, contest.ours, workers) for workers in (1, WORKERS))
    pairs = alone.keys() & together.keys() & start.keys()
    if not pairs:
        return math.nan
    begun = np.mean([start[pair][_LCBENCH_EPOCHS - 1] for pair in pairs])
    left = [np.mean([each[pair][point - 1] for pair in pairs]) for each in (together, alone)]
    return float((begun - left[0]) / (begun - left[1]))


def _shared(some: Traces, others: Traces) -> Traces:
    return {pair: trace for pair, trace in some.items() if pair in others}


_GOALS: Mapping[str, Callable[[Contest, Results], Iterator[Row]]] = {
    "lcbench_onnx": _onnx,
    "lcbench": _table,
    "deepobs": _deepobs,
    "trainings": _trainings,
    "workers": _workers,
    "fashion": _fashion,
}
