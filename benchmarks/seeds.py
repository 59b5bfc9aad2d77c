"""How often "about N more seeds would tell" is so, on repeats whose truth is drawn.

Two or three settings have true means from N(0, 2²) and a noise of 1; 3, 5 or 8 repeats are seen. Where N more are
called for, they are made, the first ones among them, and the same rule looks again. It should tell about as often as
not: that is what "about" says. Where settings are equal, whoever follows the advice to its end should be told so at
most one time in twenty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sentences import confirmed, repeated


@dataclass(frozen=True, kw_only=True)
class Told:
    """Of so many situations: in how many more seeds were called for, and how often they told, in percent."""

    asked: int
    called_for: int
    by_then: float
    by_half: float
    by_twice: float


def told_by_then(seed: int, runs: int) -> Told:
    """After N more, after half of them, and after twice as many."""
    by = {0.5: 0, 1.0: 0, 2.0: 0}
    called_for = 0
    for run in range(runs):
        rng = np.random.default_rng([seed, 711, run])
        merits = (2 * rng.standard_normal(int(rng.integers(2, 4)))).tolist()
        repeats, again = int(rng.choice([3, 5, 8])), int(rng.integers(2**32))
        found = confirmed(repeated(np.random.default_rng(again), merits, repeats))
        if found.more is None:
            continue
        called_for += 1
        for share in by:
            further = max(1, round(share * found.more))
            later = confirmed(repeated(np.random.default_rng(again), merits, repeats + further))
            by[share] += later.confirmed
    shares = {share: 100 * count / max(1, called_for) for share, count in by.items()}
    return Told(asked=runs, called_for=called_for, by_then=shares[1.0], by_half=shares[0.5], by_twice=shares[2.0])


def equals_told_apart(seed: int, runs: int) -> float:
    """In percent, where the advice is followed until it tells, or gives up, or has come to 150 repeats."""
    told = 0
    for run in range(runs):
        rng = np.random.default_rng([seed, 712, run])
        count, repeats, again = int(rng.integers(2, 4)), 5, int(rng.integers(2**32))
        while True:
            found = confirmed(repeated(np.random.default_rng(again), [0.0] * count, repeats))
            if found.confirmed:
                told += 1
                break
            if found.more is None or repeats + found.more > 150:
                break
            repeats += found.more
    return 100 * told / runs
