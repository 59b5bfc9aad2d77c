"""The Matérn-5/2 correlation of points by their distance (Rasmussen & Williams 2006, eq. 4.17)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tuner.surrogate.factors import Floats

_CACHED = 1 << 13  # numbers of a matrix, 64 kB: beyond that memory takes longer than what is computed


def squares(one: Floats, other: Floats) -> Floats:
    """Squared distances between rows, by the cosine rule: rounding may leave a small negative one."""
    apart = -2 * one @ other.T
    apart += np.square(one).sum(axis=1)[:, None]
    apart += np.square(other).sum(axis=1)[None, :]
    return np.maximum(apart, 0.0, out=apart)


def matern(squared: Floats) -> Floats:
    """The Matérn-5/2 correlation of points at these squared distances, in lengths."""
    correlation: Floats = squared.copy()
    to_matern(correlation)
    return correlation


def to_matern(squared: Floats) -> None:
    """The same in the place of the distances."""
    r = squared * 5
    np.sqrt(r, out=r)
    squared *= 5 / 3
    squared += r
    squared += 1
    squared *= np.exp(np.negative(r, out=r), out=r)


def in_cache(matrix: Floats) -> Iterator[slice]:
    """The lines of a matrix, so many at a time that what is done to them one thing after another stays in the cache."""
    lines = max(1, _CACHED // max(1, matrix.shape[1]))
    return (slice(first, first + lines) for first in range(0, len(matrix), lines))
