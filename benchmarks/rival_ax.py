"""Ax as a peer: its Gaussian process over full trainings, by its client."""

from __future__ import annotations

import logging
import math
from typing import Any

import ax
import rivals
from ax.utils.common.logger import set_ax_logger_levels
from recordings import Recording


class Ax:
    """Ax's client with what it chooses by itself, asked for one trial at a time and told its best score."""

    def __init__(self, recording: Recording, task: str, method: str, workers: int, seed: int, budget: int) -> None:  # noqa: ARG002
        set_ax_logger_levels(logging.ERROR)
        self._recording, self._task, self._space = recording, task, recording.space(task)
        self._client = ax.Client(random_seed=seed)
        self._client.configure_experiment(
            parameters=[
                ax.RangeParameterConfig(name=name, bounds=(0.0, 1.0), parameter_type="float")
                if options is None
                else ax.ChoiceParameterConfig(name=name, values=list(options), parameter_type="str")
                for name, options in rivals.options_of(self._space).items()
            ]
        )
        self._client.configure_optimization(objective="score")

    def ask(self) -> rivals.Training:
        """What Ax proposes next."""
        ((trial, chosen),) = self._client.get_next_trials(max_trials=1).items()
        settings: dict[str, Any] = rivals.settings(self._space, chosen)
        return rivals.begun(self._recording, self._task, trial, settings, None)

    def goes_on(self, training: rivals.Training, score: float) -> bool:  # noqa: ARG002
        """Tells Ax once the training has come to its end."""
        if training.done < training.until:
            return True
        if math.isfinite(training.best):
            self._client.complete_trial(training.trial, raw_data={"score": training.best})
        else:
            self._client.mark_trial_failed(training.trial)
        return False
