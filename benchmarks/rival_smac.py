"""SMAC as a peer: random forests over full trainings, and the same with Hyperband over epochs."""

from __future__ import annotations

import logging
import math
import tempfile
from typing import Any

import rivals
import smac
from ConfigSpace import Categorical, Configuration, ConfigurationSpace, Float
from recordings import Recording
from smac.runhistory import StatusType, TrialInfo, TrialValue


class Smac:
    """SMAC's facade for hyperparameters or for several fidelities, asked and told. What it trains longer goes on."""

    def __init__(self, recording: Recording, task: str, method: str, workers: int, seed: int, budget: int) -> None:  # noqa: ARG002
        self._recording, self._task, self._space = recording, task, recording.space(task)
        self._length = recording.length(task)
        self._trainings: dict[Configuration, rivals.Training] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="smac-")
        halves = method.endswith("+hyperband")
        scenario = smac.Scenario(
            _configurations(self._space),
            deterministic=True,
            n_trials=max(1, budget // self._length),
            seed=seed,
            output_directory=self._folder.name,
            **({"min_budget": 1, "max_budget": self._length} if halves else {}),
        )
        if halves:
            facade: Any = smac.MultiFidelityFacade
            how = {"intensifier": facade.get_intensifier(scenario, eta=3)}
        else:
            facade, how = smac.HyperparameterOptimizationFacade, {}
        self._search = facade(scenario, _not_called, logging_level=logging.ERROR, overwrite=True, **how)

    def ask(self) -> rivals.Training:
        """A new configuration, or one that may train longer."""
        while True:
            info = self._search.ask()
            until = self._length if info.budget is None else math.ceil(info.budget)
            training = self._trainings.get(info.config)
            if training is None:
                settings = rivals.settings(self._space, info.config)
                training = rivals.begun(self._recording, self._task, info, settings, until)
                self._trainings[info.config] = training
            training.trial, training.until = info, min(until, len(training.curve))
            if training.done < training.until:
                return training
            self._tell(info, training.best)  # it has trained so long already

    def goes_on(self, training: rivals.Training, score: float) -> bool:  # noqa: ARG002
        """Tells SMAC once the training has come to its end, or to the end of its rung."""
        if training.done < training.until:
            return True
        self._tell(training.trial, training.best)
        return False

    def _tell(self, info: TrialInfo, best: float) -> None:
        crashed = not math.isfinite(best)
        value = TrialValue(
            cost=math.inf if crashed else -best, status=StatusType.CRASHED if crashed else StatusType.SUCCESS
        )
        self._search.tell(info, value, save=False)


def _configurations(space: Any) -> ConfigurationSpace:
    parameters = {
        name: Float(name, (0.0, 1.0)) if options is None else Categorical(name, list(options))
        for name, options in rivals.options_of(space).items()
    }
    return ConfigurationSpace(space=parameters)


def _not_called(config: Configuration, seed: int = 0, budget: float = 0.0) -> float:
    raise NotImplementedError("asked and told, SMAC calls nothing")
