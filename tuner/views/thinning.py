"""The thinning of a long curve for a picture: no spike is lost, and no old point moves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.record.curve import Curve


def thinned(curve: Curve, points: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps and scores of a curve, at most `points` of them (from 4 up), all where they are so few.

    Buckets hold as many reports as a power of two says, counted from the first: what a full one shows stays as it is
    while the curve grows, until all buckets double and show a part of what they showed. Of a full bucket its lowest and
    its highest score are shown; beyond the last full one, the last report.
    """
    steps = np.array(curve.steps, dtype=np.int64)
    scores = np.array(curve.scores, dtype=np.float64)
    if len(steps) <= points:
        return steps, scores
    width = 2
    while 2 * (len(steps) // width) + 1 > points:
        width *= 2
    whole = len(steps) // width
    buckets = scores[: whole * width].reshape(whole, width)
    missing = np.isnan(buckets)
    first = np.arange(whole) * width
    lowest = first + np.where(missing, np.inf, buckets).argmin(axis=1)
    highest = first + np.where(missing, -np.inf, buckets).argmax(axis=1)
    kept = np.unique(np.concatenate([lowest, highest, [len(steps) - 1]]))
    return steps[kept], scores[kept]
