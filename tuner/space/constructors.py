"""The words a parameter is declared with: linear, log, log_one_minus, integer, choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from tuner.arguments import checked, unknown
from tuner.errors import SpaceError
from tuner.space.parameters import Changes, Choice, Parameter, Priority


class Declared(TypedDict, total=False):
    """What may be said of any parameter beside its values."""

    when: Mapping[str, Any] | None
    changes: Changes
    priority: Priority | None
    why: str | None


@checked(SpaceError)
def linear(low: float, high: float, **declared: Unpack[Declared]) -> Parameter:
    """A number drawn evenly from low to high.  `when`, `changes`, `priority`, `why`: see `Parameter`."""
    return _declared("linear", Parameter, declared, low=low, high=high, scale="linear")


@checked(SpaceError)
def log(low: float, high: float, **declared: Unpack[Declared]) -> Parameter:
    """A positive number whose every decade is as likely as the others: value = 10^r, r even.

    >>> round(log(1e-4, 1.0).from_unit(0.5), 12)
    0.01
    """
    return _declared("log", Parameter, declared, low=low, high=high, scale="log")


@checked(SpaceError)
def log_one_minus(low: float, high: float, **declared: Unpack[Declared]) -> Parameter:
    """A number β below 1 whose 1−β is drawn on a log scale: β = 1 − 10^r, r even; bounds are given in β.

    Draws are dense where the averaging window 1/(1−β) is sensitive: 0.9 averages 10 steps, 0.999 averages 1000.

    >>> round(log_one_minus(0.9, 0.999).from_unit(0.5), 12)
    0.99
    """
    return _declared("log_one_minus", Parameter, declared, low=low, high=high, scale="log_one_minus")


@checked(SpaceError)
def integer(low: int, high: int, scale: Literal["linear", "log"] = "linear", **declared: Unpack[Declared]) -> Parameter:
    """A whole number from low to high; on a log scale each covers its own stretch from n − ½ to n + ½."""
    built_in = Declared(changes="never") | declared
    return _declared("integer", Parameter, built_in, low=low, high=high, scale=scale, type="integer")


@checked(SpaceError)
def choice(*options: Any, **declared: Unpack[Declared]) -> Choice:
    """One of the options, each as likely as the others."""
    return _declared("choice", Choice, declared, options=options)


_Made = TypeVar("_Made", Parameter, Choice)


def _declared(maker: str, kind: type[_Made], declared: Declared, **values: Any) -> _Made:
    """What a call has declared, or a `SpaceError` where it cannot be searched."""
    known = Declared.__annotations__
    for word in declared:
        if word not in known:
            raise SpaceError(unknown(maker, word, known))
    made = kind(**values, **declared)
    problem = made.problem()
    if problem:
        raise SpaceError(problem)
    return made
