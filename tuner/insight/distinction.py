"""The further seeds that would tell the best settings from the others, by what the repeats so far let one expect.

What n repeats show is a posterior over the true means and over the noise of a repeat; m more are drawn from it, and the
same rule looks at all n + m (predictive power: Spiegelhalter, Freedman and Blackburn 1986). The fewest m with which
more than half of the draws tell is the answer, so that about as often fewer would do as more are needed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

MOST = 100
"""Further seeds beyond which nobody would go: what they would not tell counts as equal."""
_TRIED = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 70, MOST)
_DRAWS = 2_000
_HALF = 0.5


def seeds_to_tell(
    means: NDArray[np.float64],
    variance: float,
    repeats: int,
    sure_from: Callable[[int, int], float],
    rng: np.random.Generator,
) -> int | None:
    """How many more repeats would probably tell the best; None where even `MOST` would not.

    Args:
        means: Of each candidate over its repeats, higher is better; at least two.
        variance: Of a repeat beside what its seed does to all alike, with (repeats − 1)(candidates − 1) degrees of
            freedom.
        repeats: How many there are, at least two.
        sure_from: The chance from which the best of so many candidates counts as such after so many repeats.
        rng: For the draws.
    """
    count = len(means)
    freedom = (repeats - 1) * (count - 1)
    if variance <= 0:
        return None
    true_variance = variance * freedom / rng.chisquare(freedom, size=_DRAWS)
    true_means = means + np.sqrt(true_variance / repeats)[:, None] * rng.standard_normal((_DRAWS, count))
    luck = rng.standard_normal((_DRAWS, count))
    for more in _TRIED:
        together = repeats + more
        of_more = true_means + np.sqrt(true_variance / more)[:, None] * luck
        seen = (repeats * means + more * of_more) / together
        further = more * (count - 1)
        spread = (freedom * variance + true_variance * rng.chisquare(further, size=_DRAWS)) / (freedom + further)
        told = _chance_of_the_best(seen, spread, together, freedom + further) >= sure_from(together, count)
        if float(told.mean()) > _HALF:
            return more
    return None


def _chance_of_the_best(
    means: NDArray[np.float64], variance: NDArray[np.float64], repeats: int, freedom: int
) -> NDArray[np.float64]:
    """Of the candidate with the best mean in each row, by Bonferroni's bound, which is close where it is near 1."""
    ahead = means.max(axis=1, keepdims=True) - means
    away = ahead / np.sqrt(2 * variance / repeats)[:, None]
    doubt = stdtr(freedom, -away).sum(axis=1) - _HALF  # its doubt about itself
    return np.asarray(1 - doubt)


def about(seeds: int) -> str:
    """So many seeds in words.

    >>> about(1), about(5)
    ('about 1 more seed', 'about 5 more seeds')
    """
    return f"about {seeds} more seed{'' if seeds == 1 else 's'}"


def in_one_value(repeats: int, more: int | None, *, told: bool) -> str:
    """The answer to whether two can be told apart, in one sentence.

    >>> in_one_value(3, 5, told=False)
    'not distinguishable with 3 seeds; about 5 more seeds would tell'
    """
    seeds = f"{repeats} seed{'' if repeats == 1 else 's'}"
    if told:
        return f"distinguishable with {seeds}"
    if more is None:
        return f"not distinguishable with {seeds}; {MOST} more would probably not tell either"
    return f"not distinguishable with {seeds}; {about(more)} would tell"
