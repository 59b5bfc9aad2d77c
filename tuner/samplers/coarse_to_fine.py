"""Knows coarse to fine: spread the trials over the whole space, then look closer and closer where they do best.

Round 0 covers the unit cube evenly. Each later round has a box, drawn when its first trial is, from the outcomes seen
by then; the box and its reason are recorded. What keeps a wrong zoom from being final:

* a box is never below 0.4 of the one before, nor below 0.05, on any parameter;
* every fifth draw of a fine round comes from the whole cube, every second once the box is narrow; a good one there
  moves or widens the box;
* a box grows beyond an edge where the best trial sits.

The promising trials are the best d+1 of d parameters. Those that diverged or failed never count as promising, and a
stretch of a parameter where most did is left out. A pruned trial counts by the score it had reached: it stands above a
completed one only where it had already beaten it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tuner.proposals import Outcome, Proposal, RoundPlan
from tuner.samplers.base import UnitCubeSampler
from tuner.samplers.quasi_random import random_point, sobol_point
from tuner.space import Choice, Parameter, Space

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Rows: TypeAlias = NDArray[np.intp]

_WHOLE = (0.0, 1.0)
_SHRINK = 0.4  # a round's width is at least this share of the one before
_NARROWEST = 0.05  # of the whole range: beyond, settings differ less than two runs of the same settings do
_MARGIN = 0.05  # of the box before, kept on both sides of the promising trials
_EDGE = 0.15  # of the box before: the best trial sits at the edge when it is nearer than this
_STRIDE = 0.1  # of the whole range: how far a box grows beyond that edge at least, so that a narrow one is not stuck
_GLOBAL_EVERY, _GLOBAL_EVERY_WHEN_NARROW = 5, 2  # a box with little left to find leaves draws to look elsewhere
_NARROW = 0.15
_ENOUGH_BAD, _MOSTLY_BAD = 4, 0.75  # trials, and their share, that speak against a stretch
_TRIED = 3  # an option tried more seldom is not given up
_TELLING = 0.8  # promising values spread over more than this say nothing

_SPREAD = "an even spread over the whole space"
_GLOBAL = "a global draw, so that a wrong zoom is never final"
_KEPT = "the box stays as it was"


class CoarseToFineSampler(UnitCubeSampler):
    """Searches the whole space first, then boxes around the trials that did best, round after round.

    Of d parameters, round 0 has max(12, 3(d+1)) trials and each later round 2(d+2). Which round a trial belongs to
    follows from its number alone, so parallel trials never wait for one another. A box that a person sets holds for
    one round; the next one starts from it.
    """

    def propose(
        self, space: Space, seed: int, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> Proposal:
        """A point of the round that the trial's number falls in; `opened` carries the round where it is a new one."""
        latest = next((plan for plan in reversed(rounds) if plan.first_trial <= trial), None)
        due = _due(latest, trial, len(space))
        if latest is not None and due.round == latest.round:
            return _draw(space, seed, trial, latest, None)
        plan = _open(space, due, latest, outcomes)
        return _draw(space, seed, trial, plan, plan)


@dataclass(frozen=True)
class _Due:
    round: int
    first_trial: int


def _due(latest: RoundPlan | None, trial: int, dimensions: int) -> _Due:
    """The round of this trial, counted on from the latest one known."""
    number, first = (latest.round, latest.first_trial) if latest else (0, 0)
    size = _size(number, dimensions)
    if trial < first + size:
        return _Due(number, first)
    fine = _size(1, dimensions)
    further = (trial - first - size) // fine
    return _Due(number + 1 + further, first + size + further * fine)


def _size(round_: int, dimensions: int) -> int:
    return max(12, 3 * (dimensions + 1)) if round_ == 0 else 2 * (dimensions + 2)


def _draw(space: Space, seed: int, trial: int, plan: RoundPlan, opened: RoundPlan | None) -> Proposal:
    """A point of the plan's box; without a box the sequence of the whole cube goes on."""
    sides = [plan.box.get(name, _WHOLE) for name in space]
    index = trial - plan.first_trial
    every = _GLOBAL_EVERY if max(high - low for low, high in sides) > _NARROW else _GLOBAL_EVERY_WHEN_NARROW
    if all(side == _WHOLE for side in sides):
        point, why = sobol_point(len(space), seed, trial), _SPREAD
    elif index % every == every - 1:
        # Random, not the next of Sobol's points: every second or fifth of those fills a part of the cube alone.
        point, why = random_point(len(space), seed, trial), _GLOBAL
    else:
        even = sobol_point(len(space), seed, index, stream=1 + plan.first_trial)
        point = tuple(low + u * (high - low) for u, (low, high) in zip(even, sides, strict=True))
        why = f"drawn inside the box of round {plan.round}"
    return Proposal(point=point, why=why, round=plan.round, opened=opened)


# ── where the box of a new round lies ───────────────────────────────────────────────────────────


def _open(space: Space, due: _Due, before: RoundPlan | None, outcomes: Sequence[Outcome]) -> RoundPlan:
    """The plan of a round that is due, from the one before and all outcomes so far."""
    box = {name: before.box.get(name, _WHOLE) if before else _WHOLE for name in space}
    if due.round == 0:
        return _plan(due, box, f"{_SPREAD}: nothing is known yet")
    since = before.first_trial if before else 0
    fresh = sum(outcome.trial >= since for outcome in outcomes)
    if fresh == 0:
        return _plan(due, box, f"{_KEPT}: no trial of the round before has ended")
    seen = _Seen.of(outcomes)
    needed = len(space) + 1
    if len(seen.ranked) < needed:
        scored = f"{len(seen.ranked)} of {len(seen.bad)} trials have a score"
        return _plan(due, box, f"{_KEPT}: {scored}, and {needed} are needed to tell where it is good")
    # Many workers open a round before the last one has ended: what is not known yet narrows nothing.
    shrink = 1 - (1 - _SHRINK) * min(1.0, fresh / (due.first_trial - since))
    promising = seen.ranked[:needed]
    sides = {
        name: _choice_side(dimension, box[name], seen.points[:, column], promising)
        if isinstance(dimension, Choice)
        else _side(dimension, box[name], seen.points[:, column], promising, seen.bad, shrink)
        for column, (name, dimension) in enumerate(space.items())
    }
    where = " and ".join(f"{name} {side.where}" for name, side in sides.items() if side.where) or "values of all kinds"
    why = f"the best {len(promising)} of {len(seen.bad)} trials have {where}"
    notes = [f"{name} {note}" for name, side in sides.items() for note in side.notes]
    return _plan(due, {name: side.interval for name, side in sides.items()}, "; ".join([why, *notes]))


def _plan(due: _Due, box: Mapping[str, tuple[float, float]], why: str) -> RoundPlan:
    return RoundPlan(round=due.round, first_trial=due.first_trial, box=box, why=f"round {due.round}: {why}")


@dataclass(frozen=True)
class _Seen:
    """The ended trials as arrays: a row of `points` each, which went bad, and those with a score, best first."""

    points: Floats
    bad: Flags
    ranked: Rows

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> _Seen:
        bad = np.array([outcome.state in ("diverged", "failed") for outcome in outcomes])
        scores = np.array([math.nan if outcome.score is None else outcome.score for outcome in outcomes], dtype=float)
        scores[bad | ~np.isfinite(scores)] = -math.inf
        order = np.argsort(-scores, kind="stable")
        points = np.array([outcome.point for outcome in outcomes], dtype=float)
        return cls(points, bad, order[: int(np.isfinite(scores).sum())])


@dataclass(frozen=True)
class _Side:
    """One side of a box: its interval, where the promising values lie, and what else there is to say of it."""

    interval: tuple[float, float]
    where: str = ""
    notes: tuple[str, ...] = ()


def _side(parameter: Parameter, before: tuple[float, float], u: Floats, best: Rows, bad: Flags, shrink: float) -> _Side:
    """The interval around the promising values of a numeric parameter."""
    promising = u[best][~np.isnan(u[best])]
    if len(promising) < 2:  # it exists in too few of the promising trials to say where it does well
        return _Side(before)
    leader, inner_low, inner_high = float(promising[0]), float(promising.min()), float(promising.max())
    width = before[1] - before[0]
    low, high = inner_low - _MARGIN * width, inner_high + _MARGIN * width
    narrowest = min(1.0, max(shrink * width, _NARROWEST, _cell(parameter)))
    if high - low < narrowest:
        low = min(max(leader - narrowest / 2, high - narrowest), low)
        high = low + narrowest
    notes = []
    if before[0] > 0 and abs(leader - before[0]) < _EDGE * width:
        low -= max(width / 2, _STRIDE)
        notes.append("is widened downward because the best trial sits at the edge of the box")
    if before[1] < 1 and abs(leader - before[1]) < _EDGE * width:
        high += max(width / 2, _STRIDE)
        notes.append("is widened upward because the best trial sits at the edge of the box")
    low, high = max(0.0, min(low, 1.0 - narrowest)), min(1.0, max(high, narrowest))
    top = _cut(u, bad)
    if top < high:
        high = max(top, inner_high)
        notes.append(f"above {_text(parameter, top)} is left out because most trials there diverged or failed")
    bottom = 1 - _cut(1 - u, bad)
    if bottom > low:
        low = min(bottom, inner_low)
        notes.append(f"below {_text(parameter, bottom)} is left out because most trials there diverged or failed")
    for end, near in (("lower", leader), ("upper", 1 - leader)):
        if near < _NARROWEST:
            notes.append(f"does best at the {end} end of the space: a wider space may hold a better value")
    first, last = _text(parameter, inner_low), _text(parameter, inner_high)
    where = "" if inner_high - inner_low > _TELLING else first if first == last else f"{first} to {last}"
    return _Side((round(low, 6), round(high, 6)), where, tuple(notes))


def _choice_side(choice: Choice, before: tuple[float, float], u: Floats, best: Rows) -> _Side:
    """The neighbouring options that hold all promising and all hardly tried ones: order means nothing among options."""
    count = len(choice.options)
    cells = np.minimum(np.nan_to_num(u, nan=-1.0) * count, count - 1).astype(int)
    cells[np.isnan(u)] = -1
    promising = sorted(set(cells[best].tolist()) - {-1})
    if not promising:
        return _Side(before)
    hardly_tried = [option for option in range(count) if np.count_nonzero(cells == option) < _TRIED]
    kept = [*promising, *hardly_tried]
    where = "" if len(promising) == count else " or ".join(str(choice.options[option]) for option in promising)
    return _Side((min(kept) / count, (max(kept) + 1) / count), where)


def _cut(u: Floats, bad: Flags) -> float:
    """The place above which nearly all trials went bad; 1 where there is none."""
    if np.count_nonzero(bad) < _ENOUGH_BAD:
        return 1.0
    there = ~np.isnan(u)
    order = np.argsort(-u[there], kind="stable")
    places, went_bad = u[there][order], bad[there][order]
    bad_above = np.cumsum(went_bad)
    enough = (bad_above >= _ENOUGH_BAD) & (bad_above >= _MOSTLY_BAD * np.arange(1, len(places) + 1)) & went_bad
    if not enough.any() or went_bad.all():
        return 1.0
    last = int(np.flatnonzero(enough)[-1])
    return float((places[last] + places[last + 1]) / 2) if last + 1 < len(places) else 1.0


def _cell(parameter: Parameter) -> float:
    """The share of the unit interval that the widest whole number takes; 0 for floats."""
    if parameter.type == "float":
        return 0.0
    return max(parameter.place(end + 0.5) - parameter.place(end - 0.5) for end in (parameter.low, parameter.high))


def _text(parameter: Parameter, u: float) -> str:
    """The value at a place as a person reads it: three digits, of 1−β two where that is what counts."""
    value = parameter.from_unit(min(max(u, 0.0), 1.0))
    if parameter.scale == "log_one_minus" and value < 1:
        return f"{value:.{max(2, 1 - math.floor(math.log10(1 - value)))}f}"
    return str(value) if isinstance(value, int) else f"{value:.3g}"
