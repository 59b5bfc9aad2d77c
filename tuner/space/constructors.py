"""The words a parameter is declared with: linear, log, log_one_minus, integer, choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from tuner.errors import SpaceError
from tuner.space.parameters import Changes, Choice, Parameter, Priority
from tuner.values.arguments import checked, unknown


class Declared(TypedDict, total=False):
    """What may be said of any parameter beside its values."""

    when: Mapping[str, Any] | None
    changes: Changes
    priority: Priority | None
    why: str | None
    likely: Any


@checked(SpaceError)
def linear(low: float, high: float, **declared: Unpack[Declared]) -> Parameter:
    """A number drawn evenly: value = low + u·(high − low) for an even u in [0, 1].

    Args:
        low: The least value, included; finite.
        high: The largest value, included; finite and above `low`.
        **declared: `when`, the settings under which it exists (none: always); `changes`, "live" or "never" while a
            model trains (live); `priority`, "first", "second" or "third" to tune; `why`, the reason, for people;
            `likely`, a value in the range that practice has found good: a search looks around it first, and lets
            scores overrule it (none: nothing is known).

    Returns:
        The parameter, for a `Space`.

    Raises:
        SpaceError: Bounds that leave nothing to search, a likely value outside them, or an argument of another name.

    Example:
        >>> linear(0, 10).from_unit(0.25)
        2.5
    """
    return _declared("linear", Parameter, declared, low=low, high=high, scale="linear")


@checked(SpaceError)
def log(low: float, high: float, **declared: Unpack[Declared]) -> Parameter:
    """A positive number whose every decade is as likely as the others: value = 10^r, r even.

    Args:
        low: The least value, included; above 0.
        high: The largest value, included; finite and above `low`.
        **declared: `when`, `changes` (live), `priority`, `why`, `likely`: see `linear`.

    Returns:
        The parameter, for a `Space`.

    Raises:
        SpaceError: Bounds that leave nothing to search or begin at 0, or an argument of another name.

    Example:
        >>> round(log(1e-4, 1.0).from_unit(0.5), 12)
        0.01
        >>> log(1e-5, 1.0, likely=1e-3)
        log(1e-05, 1.0, likely=0.001)
    """
    return _declared("log", Parameter, declared, low=low, high=high, scale="log")


@checked(SpaceError)
def log_one_minus(low: float, high: float, **declared: Unpack[Declared]) -> Parameter:
    """A number β below 1 whose 1−β is drawn on a log scale: β = 1 − 10^r, r even.

    Draws are dense where the averaging window 1/(1−β) is sensitive: 0.9 averages 10 steps, 0.999 averages 1000.

    Args:
        low: The least β, included; at least 0.
        high: The largest β, included; below 1 and above `low`.
        **declared: `when`, `changes` (live), `priority`, `why`, `likely`: see `linear`.

    Returns:
        The parameter, for a `Space`.

    Raises:
        SpaceError: Bounds that leave nothing to search or reach 1, or an argument of another name.

    Example:
        >>> round(log_one_minus(0.9, 0.999).from_unit(0.5), 12)
        0.99
    """
    return _declared("log_one_minus", Parameter, declared, low=low, high=high, scale="log_one_minus")


@checked(SpaceError)
def integer(low: int, high: int, scale: Literal["linear", "log"] = "linear", **declared: Unpack[Declared]) -> Parameter:
    """A whole number; on a log scale each covers its own stretch from n − ½ to n + ½.

    Args:
        low: The least number, included; from −2**40.
        high: The largest number, included; up to 2**40, above `low`.
        scale: "linear" or "log", which begins at 1; by default linear.
        **declared: `when`, `changes` (never), `priority`, `why`, `likely`: see `linear`.

    Returns:
        The parameter, for a `Space`.

    Raises:
        SpaceError: Bounds that leave nothing to search or are not whole, or an argument of another name.

    Example:
        >>> [integer(1, 4).from_unit(u) for u in (0.0, 0.3, 0.9)]
        [1, 2, 4]
    """
    built_in = Declared(changes="never") | declared
    return _declared("integer", Parameter, built_in, low=low, high=high, scale=scale, type="integer")


@checked(SpaceError)
def choice(*options: Any, **declared: Unpack[Declared]) -> Choice:
    """One of a few options, each as likely as the others.

    Args:
        *options: Texts, finite numbers, true, false or None, all different, at least one.
        **declared: `when`, `changes` (never), `priority`, `why`, `likely`: see `linear`.

    Returns:
        The choice, for a `Space`.

    Raises:
        SpaceError: No options, one twice, one that cannot be recorded, a likely one that is none of them, or an
            argument of another name.

    Example:
        >>> choice("relu", "tanh").from_unit(0.7)
        'tanh'
    """
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
