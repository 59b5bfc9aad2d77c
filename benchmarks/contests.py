"""The contests: on which data, at which budgets, by which methods, and what was promised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import reaching
import regret
import rivals
from regret import Pair, Results, Traces
from rows import Goal, Measured, Row

WORKERS = 8
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One comparison of our search with its peers."""

    name: str
    about: str
    bench: str
    family: str = ""
    """The name that it shares with other contests; `--only` knows both."""
    ours: str = "tuner"
    parts: tuple[str, ...] = ()
    """Others of ours that always stand beside."""
    peers: tuple[str, ...] = rivals.METHODS
    budget: int = 1000
    """Steps in all; at most, where trials are the budget."""
    trials: int | None = None
    """How many in all, where they are the budget."""
    noise: float = 0.0
    """The luck of a run, as a share of the range from floor to best."""
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
    ends: bool = False
    """Whether what is chosen in the end is compared too."""
    interior: bool = False
    """Whether the optimum is known to lie inside, so that draws at a bound are wasted."""

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


# Each family beside three of ours: as it comes, and with the stopping rules of others.
_PARTS = ("tuner:asha", "tuner:off")
_TRAININGS = 100
_UNLEARNED = "tuner:random+off", "random"  # ours and theirs where draws cost nothing: what all else of a search takes
_LCBENCH_EPOCHS = 51
ONNX = Contest(name="lcbench_onnx", about="continuous LCBench, 7 settings: the headline", bench="lcbench_onnx")
_ADAM8_EPOCHS = 50


def _of_trials(bench: str, trials: int, epochs: int, points: tuple[int, ...]) -> Contest:
    """So many trials as the budget, and nothing said of steps."""
    return Contest(
        name=f"trials_{bench}_{trials}",
        about=f"{trials} trials of {bench} as the budget",
        bench=bench,
        family="trials",
        parts=_PARTS,
        peers=("random", "random+asha", "tpe"),
        trials=trials,
        budget=trials * epochs,
        points=(*(point for point in points if point < trials * epochs), trials * epochs),
        ends=True,
    )


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
        Contest(
            name="trainings_dear",
            about="full trainings beside those whose draws take seconds",
            bench="lcbench_onnx",
            ours="tuner:off",
            parts=(_UNLEARNED[0],),
            peers=("tpe", "gp", "ax", "hebo", _UNLEARNED[1]),
            budget=50 * _LCBENCH_EPOCHS,
            points=(10, 25, 50),
            unit="trainings",
            steps_a_unit=_LCBENCH_EPOCHS,
            seeds=2,
            most_tasks=8,
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
            about="HPOBench's tables, end values only",
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
        Contest(
            name="adam8",
            about="eight settings of Adam over six to thirteen decades, most of which do not learn",
            bench="adam8",
            parts=_PARTS,
            peers=("random", "random+asha", "tpe", "gp", "smac+hyperband"),
        ),
        Contest(
            name="adam8_trainings",
            about="the same by full trainings",
            bench="adam8",
            family="adam8",
            ours="tuner:off",
            peers=("random", "tpe", "gp", "smac"),
            budget=50 * _ADAM8_EPOCHS,
            points=(10, 25, 50),
            unit="trainings",
            steps_a_unit=_ADAM8_EPOCHS,
            ablates=False,
        ),
        *(_of_trials("lcbench_onnx", trials, _LCBENCH_EPOCHS, (100, 250, 500)) for trials in (48, 16)),
        # The demo: seeds of one network differ by half a hundredth of accuracy.
        replace(_of_trials("digits_demo", 48, 30, (100, 250, 500)), noise=0.005),
        *(
            replace(
                ONNX,
                name=f"noise_{share:g}",
                about=f"continuous LCBench, each run lucky or not by {share:g} of the range; true regret of the leader",
                family="noise",
                parts=_PARTS,
                peers=("random", "random+asha", "tpe", "gp"),
                noise=share,
                ends=True,
            )
            for share in (0.1, 0.3)
        ),
        Contest(
            name="conditional",
            about="constructed problems of 9 to 16 settings in branches, best inside; regret is 1 at the median",
            bench="conditional",
            parts=_PARTS,
            peers=("random", "random+asha", "tpe", "gp", "smac+hyperband"),
            budget=640,
            points=(80, 160, 320, 640),
            seeds=3,
            scale="median",
            interior=True,
        ),
        Contest(
            name="wide",
            about="real training by eight settings over five to ten decades; regret is the loss, 1 at guessing",
            bench="wide",
            parts=_PARTS,
            peers=("random", "random+asha", "tpe", "gp", "smac+hyperband"),
            interior=True,
        ),
    )
}

KNOWN = tuple(dict.fromkeys([*CONTESTS, *filter(None, (contest.family for contest in CONTESTS.values()))]))
"""Contests and families by name."""


def named(asked: Sequence[str]) -> list[str]:
    """The contests of these names and families; names of neither are kept as they are."""
    return list(dict.fromkeys(name for each in asked for name in (_family(each) or [each])))


def _family(name: str) -> list[str]:
    return [contest.name for contest in CONTESTS.values() if name in (contest.name, contest.family)]


QUICK_PEERS = ("random", "random+asha", "random+hyperband", "tpe", "tpe+asha", "cma", "gp")


def traces(contest: Contest, results: Results, method: str, workers: int = 1) -> Traces:
    """Regret by step; empty where nothing was measured."""
    found = results.get((method, workers), {})
    return {pair: search.by_step(contest.budget) for pair, search in found.items()}


# ── what was promised ────────────────────────────────────────────────────────────────────────────────────────────────


def goals(contest: Contest, results: Results) -> list[Row]:
    """The goals of a contest with what was reached."""
    goals_of = _GOALS.get(contest.name) or _GOALS.get(contest.family)
    if not results.get((contest.ours, 1)) or (goals_of is None and not contest.interior):
        return []
    found = [] if goals_of is None else list(goals_of(contest, results))
    return [*found, *_border(contest, results)] if contest.interior else found


def _ours_at(contest: Contest, results: Results, point: int | None, at_most: float) -> Row:
    found = traces(contest, results, contest.ours)
    where = "area" if point is None else f"regret at {point:,} {contest.unit}"
    value = regret.area(found) if point is None else contest.at(found, point)
    return Row(f"{contest.name}: {where}", value.measured, goal=Goal(at_most=at_most))


def _onnx(contest: Contest, results: Results) -> Iterator[Row]:
    ours, last = traces(contest, results, contest.ours), contest.points[-1]
    yield _ours_at(contest, results, 250, 0.073)
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
    yield _ours_at(contest, results, last, 0.025)
    yield _ours_at(contest, results, None, 0.062)


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


def _trainings_dear(contest: Contest, results: Results) -> Iterator[Row]:
    """Regret beside each of them, and how long a whole search takes beside theirs."""
    for peer in rivals.DEAREST:
        for point in contest.points:
            yield _no_worse(contest, results, (peer,), point)
    ours = results.get((contest.ours, 1), {})
    plain, plainly = (results.get((method, 1), {}) for method in _UNLEARNED)
    for peer in rivals.DEAREST:
        theirs = _shared(results.get((peer, 1), {}), ours)
        pairs = sorted(theirs.keys() & plain.keys() & plainly.keys())
        what = f"{contest.name}: what a draw takes of the processor, beyond a random one"
        goal = Goal(at_most=0.02, times=True)
        if not pairs:
            yield Row(what, f"{peer} and random draws were not measured beside it", goal=goal)
            continue
        both = (ours, plain), (theirs, plainly)
        took = [
            Measured.of([1e3 * (of[p].cpu_s - less[p].cpu_s) / contest.points[-1] for p in pairs]) for of, less in both
        ]
        yield Row(what, took[0], "ms", beside=peer, other=took[1], goal=goal)
        took = [Measured.of([of[p].cpu_s for p in pairs]) for of, _ in both]
        yield Row("… and a whole search, ours with its record", took[0], "s", beside=peer, other=took[1])


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


def _adam8(contest: Contest, results: Results) -> Iterator[Row]:
    yield _ours_at(contest, results, 250, 0.16)
    yield _ours_at(contest, results, 1000, 0.08)
    yield _ours_at(contest, results, None, 0.19)


def _adam8_trainings(contest: Contest, results: Results) -> Iterator[Row]:
    for point in contest.points:
        yield _no_worse(contest, results, ("tpe",), point)


def _trials(contest: Contest, results: Results) -> Iterator[Row]:
    """Steps beside those of ASHA, regret beside that of training all to their end."""
    ours, mean = results[contest.ours, 1], dict[str, Measured]()
    for name in (contest.ours, "tuner:asha"):
        if found := _shared(results.get((name, 1), {}), ours):
            mean[name] = regret.Estimate.of([each.steps for each in found.values()]).measured
    asha = mean.get("tuner:asha")
    what = f"{contest.name}: steps, of {contest.budget:,}"
    yield Row(what, mean[contest.ours], beside="tuner:asha", other=asha, goal=Goal(at_most=1, times=True))
    if contest.bench == "digits_demo":
        yield Row(f"{contest.name}: steps", mean[contest.ours], goal=Goal(at_most=400))
    chosen = {name: regret.in_the_end(results.get((name, 1), {})) for name in (contest.ours, "tuner:off")}
    yield Row(f"{contest.name}: regret of what is chosen", regret.area(chosen[contest.ours]).measured)
    yield _behind(f"{contest.name}: regret of what is chosen, less that of tuner:off", chosen, contest.ours, 2)


def _noise(contest: Contest, results: Results) -> Iterator[Row]:
    searches = results[contest.ours, 1]
    judged = contest.noise >= 0.3
    goals = (Goal(at_most=0.15), Goal(at_least=-0.1, at_most=0.1)) if judged else (None, None)
    chosen = regret.area(regret.in_the_end(searches)).measured
    boast = regret.Estimate.of([search.boast for search in searches.values()]).measured
    yield Row(f"{contest.name}: true regret of what is chosen", chosen, goal=goals[0])
    yield Row(f"{contest.name}: the score claimed, less the truth, of the range", boast, goal=goals[1])


def _wide(contest: Contest, results: Results) -> Iterator[Row]:
    """At no budget behind the best of these peers, in the end before all."""
    for point in contest.points:
        yield _no_worse(contest, results, ("random", "random+asha", "tpe"), point)
    ours, last = traces(contest, results, contest.ours), contest.points[-1]
    for peer in ("random", "random+asha", "tpe"):
        if theirs := _shared(traces(contest, results, peer), ours):
            both = [contest.at(_shared(one, other), last).measured for one, other in ((ours, theirs), (theirs, ours))]
            what, goal = f"{contest.name}: regret at {last:,} {contest.unit}", Goal(at_most=1, times=True)
            yield Row(what, both[0], beside=peer, other=both[1], goal=goal)


def _no_worse(contest: Contest, results: Results, peers: Sequence[str], point: int) -> Row:
    """How many standard errors ours is behind the best of these peers."""
    ours = traces(contest, results, contest.ours)
    found = {name: theirs for name in peers if (theirs := _shared(traces(contest, results, name), ours))}
    best = min(found, key=lambda name: contest.at(found[name], point).mean, default="")
    what = f"{contest.name}: regret at {point:,} {contest.unit}, less that of {best or ' or '.join(peers)}"
    step = point * contest.steps_a_unit - 1
    several = {**found, contest.ours: ours}
    there = {name: {pair: trace[step : step + 1] for pair, trace in each.items()} for name, each in several.items()}
    return _behind(what, there, contest.ours, 2)


def _behind(what: str, several: Mapping[str, Traces], ours: str, errors: float) -> Row:
    """The regret of ours less the best other's, in standard errors of the paired difference."""
    others = {name: each for name, each in several.items() if name != ours and each}
    goal = Goal(at_most=errors)
    if not others:
        return Row(what, "it was not measured beside it", "standard errors", goal=goal)
    best = min(others, key=lambda name: regret.area(others[name]).mean)
    less = regret.difference(others[best], several[ours], None)
    if less is None or not less.error > 0:
        return Row(what, 0.0 if less is not None and not less.mean else "of one pair nothing can be said", goal=goal)
    return Row(f"{what}, {less.pairs} pairs", -less.mean / less.error, "standard errors", goal=goal)


def _border(contest: Contest, results: Results) -> Iterator[Row]:
    for method in (contest.ours, "tpe", "random"):
        if found := results.get((method, 1)):
            share = regret.Estimate.of([100 * search.border for search in found.values()]).measured
            what = f"{contest.name}: coordinates drawn within 1 % of a bound, {method}"
            yield Row(what, share, "%", goal=Goal(at_most=10) if method == contest.ours else None)


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
            goal=Goal(at_most=0.5, times=True) if method == contest.target else None,
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


def _shared(some: Mapping[Pair, Value], others: Mapping[Pair, object]) -> dict[Pair, Value]:
    return {pair: trace for pair, trace in some.items() if pair in others}


_GOALS: Mapping[str, Callable[[Contest, Results], Iterator[Row]]] = {
    "lcbench_onnx": _onnx,
    "lcbench": _table,
    "deepobs": _deepobs,
    "trainings": _trainings,
    "trainings_dear": _trainings_dear,
    "workers": _workers,
    "fashion": _fashion,
    "adam8": _adam8,
    "adam8_trainings": _adam8_trainings,
    "trials": _trials,
    "noise": _noise,
    "wide": _wide,
    "hpobench": _wide,
    "conditional": _wide,
}
