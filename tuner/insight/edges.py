"""The edges of a space near which the best lies, and to where it is to be widened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Literal

from tuner.record.leaders import leaders
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.parameters import Parameter
from tuner.space.space import Space
from tuner.values.numbers import near_one, number, percent

NEAR = 0.05
"""Nearer to an end than this share of the range, on its own scale, is at the edge."""
_LOG_STEP, _LINEAR_STEP = 1 / 8, 1 / 4  # of the range, on its own scale
_LEAST_DECADES = 0.45
_LEADERS = 5
_NEIGHBOURS = 5
_MOSTLY = 0.5
_MATTERS = 0.02  # of the variance: where less depends on it, its best place is luck


@dataclass(frozen=True, kw_only=True)
class Edge:
    """The best trial sits at an end of a parameter's range; `to` is the bound proposed, None where none is.

    `u` is its place in [0, 1]; of the best `leaders`, `near` lie in the outer tenth; `diverged` is the share of the
    trials nearest to that end that diverged, and mostly diverging there is no reason to go on.
    """

    parameter: str
    end: Literal["lower", "upper"]
    value: float
    u: float
    near: int
    leaders: int
    diverged: float
    to: float | None

    @property
    def sentence(self) -> str:
        """What to do about it."""
        way = "upward" if self.end == "upper" else "downward"
        where = (
            f"the best trial has {self.parameter} {text(self.value)}, at the {self.end} end of what was searched, "
            f"and {self.near} of the best {self.leaders} lie in that tenth"
        )
        if self.to is None:
            diverged = f"{percent(self.diverged)} of the trials there diverged"
            return f"Leave {self.parameter} as it is: {where}, but {diverged}."
        return f"Widen {self.parameter} {way} to {text(self.to)}: {where}."


def edges_of(
    study: StudyState, space: Space, shares: Mapping[str, float] | None = None, ranked: Sequence[Trial] | None = None
) -> tuple[Edge, ...]:
    """The parameters whose best value lies at an end, with what to do; by their `shares`, if known, those that matter.

    A natural end, such as 0 for what is never negative, is no edge. `ranked`: its leaders, where they are at hand.
    """
    best = leaders(study, _LEADERS) if ranked is None else ranked[:_LEADERS]
    if not best:
        return ()
    found = [
        edge
        for parameter in space.values()
        if isinstance(parameter, Parameter)
        and parameter.name in best[0].settings
        and (shares is None or shares.get(parameter.name, 0.0) >= _MATTERS)
        for edge in _edges(study, parameter, best)
    ]
    return tuple(found)


def _edges(study: StudyState, parameter: Parameter, best: Sequence[Trial]) -> list[Edge]:
    name = parameter.name
    places = [_place(parameter, trial) for trial in best]
    u = places[0]
    if u is None:
        return []
    at_end = best[0].settings[name] in (parameter.low, parameter.high)
    if not at_end and NEAR < u < 1 - NEAR:
        return []
    end: Literal["lower", "upper"] = "lower" if u < 0.5 else "upper"
    outer = [place for place in places if place is not None and (place < 0.1 if end == "lower" else place > 0.9)]
    towards = 1 if end == "lower" else -1  # places are in the order of values, and those are quicker to look at
    around = nsmallest(
        _NEIGHBOURS,
        (
            (towards * value, trial.state == "diverged")
            for trial in study.searched()
            if trial.ended and (value := _value(parameter, trial)) is not None
        ),
    )
    diverged = sum(bad for _, bad in around) / max(1, len(around))  # all may stand paused, and none be over
    bound = widened(parameter, end)
    if bound is None:
        return []
    return [
        Edge(
            parameter=name,
            end=end,
            value=best[0].settings[name],
            u=u,
            near=len(outer),
            leaders=len(best),
            diverged=diverged,
            to=None if diverged >= _MOSTLY else bound,
        )
    ]


def _place(parameter: Parameter, trial: Trial) -> float | None:
    value = _value(parameter, trial)
    return None if value is None else parameter.place(value)


def _value(parameter: Parameter, trial: Trial) -> float | None:
    value = trial.settings.get(parameter.name)
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value


def widened(parameter: Parameter, end: Literal["lower", "upper"]) -> float | None:
    """A round bound beyond an end: by an eighth of its decades, at least about half a one, or a linear quarter.

    None at a natural end, which 0 is for what is never negative, and 1 for a share.

    >>> from tuner.space import linear, log, log_one_minus
    >>> [widened(each, "upper") for each in (log(1e-4, 1.0), log_one_minus(0.9, 0.999), linear(0.0, 0.5))]
    [3.0, 0.9997, 0.6]
    """
    low, high = float(parameter.low), float(parameter.high)
    up = end == "upper"
    if parameter.scale == "linear":
        bound = _beyond(low, high, up=up)
    elif parameter.scale == "log":
        bound = _round(high if up else low, _decades(high / low), up=up)
    else:  # in 1−value, where up is down
        bound = 1.0 - _round(1 - high if up else 1 - low, _decades((1 - low) / (1 - high)), up=not up)
        bound = round(bound, 12)
    if parameter.type == "integer":
        bound = float(max(round(bound), parameter.high + 1) if up else min(round(bound), parameter.low - 1))
        if not up and low >= 1 and bound < 1:
            return None
    return bound if (bound > high if up else bound < low) else None


def _decades(ratio: float) -> float:
    return max(_LEAST_DECADES, _LOG_STEP * math.log10(ratio))


def _round(number: float, decades: float, *, up: bool) -> float:
    """The number so many decades away, as 1, 2, 3, 5 or 7 times a power of ten."""
    away = math.log10(number) + (decades if up else -decades)
    power = math.floor(away)
    candidates = [float(f"{digit}e{exponent}") for exponent in (power, power + 1) for digit in (1, 2, 3, 5, 7)]
    return min(candidates, key=lambda each: abs(math.log10(each) - away))


def _beyond(low: float, high: float, *, up: bool) -> float:
    """A quarter of the range further, in whole tens of about a tenth of the range."""
    step = _LINEAR_STEP * (high - low)
    unit = 10.0 ** math.floor(math.log10(step))
    moved = high + step if up else low - step
    bound = round(round(moved / unit) * unit, 12)
    if not up and low >= 0:
        return max(bound, 0.0)
    return min(bound, 1.0) if up and low >= 0 and high <= 1 else bound


def text(value: float) -> str:
    """A value for people; near 1 with the digits that its distance from 1 needs."""
    if isinstance(value, float) and 0.9 < value < 1:
        return near_one(value, 2)
    return number(value, 3)
