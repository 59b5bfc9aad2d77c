"""The seed a training function gets: a function of the study's seed and the trial's number alone."""

from __future__ import annotations

import numpy as np


def trial_seed(seed: int, trial: int) -> int:
    """32 bits, well mixed (O'Neill's hash, as in NumPy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
