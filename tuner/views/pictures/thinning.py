"""Thinner curves: of each whole bucket of steps the lowest and the highest report, so that no spike is lost.

A bucket is thinned once it is whole, and its width is a power of two: points that were drawn never move, but where all
widths double. What is shown are reports as they were made, no means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Steps: TypeAlias = NDArray[np.int64]


def width_for(reports: int, longest: int, curves: int, most: int) -> int:
    """How many steps a bucket has, so that about `most` points are drawn; 1: every report is.

    `longest` is how many steps the longest of the curves spans.

    >>> width_for(900, 100, 9, 1000), width_for(1_000_000, 100_000, 10, 10_000)
    (1, 256)
    """
    if reports <= most or not curves:
        return 1
    buckets = max(4, (most // curves - 1) // 2)
    width = 1
    while longest > buckets * width:
        width *= 2
    return width


def thinned(steps: Steps, scores: Floats, width: int) -> tuple[Steps, Floats]:
    """What is drawn of one curve: two reports of each whole bucket, and the newest of all."""
    if width <= 1 or len(steps) < 3:
        return steps.copy(), scores.copy()
    bucket = steps // width
    starts = np.flatnonzero(np.r_[True, bucket[1:] != bucket[:-1]])
    order = np.lexsort((scores, bucket))
    ends = np.r_[starts[1:], len(steps)] - 1
    keep = np.unique(np.r_[order[starts[:-1]], order[ends[:-1]], len(steps) - 1])  # the last bucket is not whole
    return steps[keep], scores[keep]
