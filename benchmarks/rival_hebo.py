"""HEBO as a peer: its Gaussian process with warped inputs over full trainings."""

from __future__ import annotations

import math

import numpy as np
import rivals
from hebo.design_space.design_space import DesignSpace
from hebo.optimizers.hebo import HEBO
from recordings import Recording


class Hebo:
    """HEBO as its authors' example drives it, one suggestion at a time; what it minimises is minus the best score."""

    def __init__(self, recording: Recording, task: str, method: str, workers: int, seed: int, budget: int) -> None:  # noqa: ARG002
        self._recording, self._task, self._space = recording, task, recording.space(task)
        design = DesignSpace().parse(
            [
                {"name": name, "type": "num", "lb": 0.0, "ub": 1.0}
                if options is None
                else {"name": name, "type": "cat", "categories": list(options)}
                for name, options in rivals.options_of(self._space).items()
            ]
        )
        np.random.seed(seed % 2**32)  # it draws from there
        self._search = HEBO(design, scramble_seed=seed)
        self._worst = 0.0

    def ask(self) -> rivals.Training:
        """What HEBO suggests next."""
        suggested = self._search.suggest(n_suggestions=1)
        settings = rivals.settings(self._space, suggested.iloc[0].to_dict())
        return rivals.begun(self._recording, self._task, suggested, settings, None)

    def goes_on(self, training: rivals.Training, score: float) -> bool:  # noqa: ARG002
        """Tells HEBO once the training has come to its end; one without a score counts as the worst seen."""
        if training.done < training.until:
            return True
        cost = -training.best if math.isfinite(training.best) else self._worst
        self._worst = max(self._worst, cost)
        self._search.observe(training.trial, np.array([[cost]]))
        return False
