"""Optuna's samplers and pruners as peers, in Optuna's own ask-and-tell loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optuna
import rivals
from recordings import Recording

_SAMPLERS: Mapping[str, Callable[[int, int], optuna.samplers.BaseSampler]] = {
    "random": lambda seed, workers: optuna.samplers.RandomSampler(seed=seed),  # noqa: ARG005
    "qmc": lambda seed, workers: optuna.samplers.QMCSampler(seed=seed, scramble=True),  # noqa: ARG005
    # What is still training counts as bad, as Optuna advises where several workers ask at a time.
    "tpe": lambda seed, workers: optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=workers > 1),
    "gp": lambda seed, workers: optuna.samplers.GPSampler(seed=seed),  # noqa: ARG005
    "cma": lambda seed, workers: optuna.samplers.CmaEsSampler(seed=seed),  # noqa: ARG005
}
_PRUNERS: Mapping[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "": lambda length: optuna.pruners.NopPruner(),  # noqa: ARG005
    "asha": lambda length: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),  # noqa: ARG005
    "hyperband": lambda length: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=length, reduction_factor=3),
    "median": lambda length: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),  # noqa: ARG005
}


class Optuna:
    """A study of Optuna's."""

    def __init__(self, recording: Recording, task: str, method: str, workers: int, seed: int, budget: int) -> None:  # noqa: ARG002
        sampler, _, pruner = method.partition("+")
        self._recording, self._task, self._space = recording, task, recording.space(task)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(
            direction="maximize",
            sampler=_SAMPLERS[sampler](seed, workers),
            pruner=_PRUNERS[pruner](recording.length(task)),
            study_name=f"s{seed}",
        )

    def ask(self) -> rivals.Training:
        """A new trial."""
        trial = self._study.ask()
        options = rivals.options_of(self._space)

        def suggested(name: str) -> Any:
            if (several := options[name]) is not None:
                return trial.suggest_categorical(name, several)
            return self._space[name].from_unit(trial.suggest_float(name, 0.0, 1.0))

        settings = rivals.walked(self._space, suggested)
        return rivals.begun(self._recording, self._task, trial, settings, None)

    def goes_on(self, training: rivals.Training, score: float) -> bool:
        """Reports the score; a trial that is over or pruned is told."""
        training.trial.report(score, training.done)
        if training.done == training.until:
            self._study.tell(training.trial, training.best)
            return False
        if training.trial.should_prune():
            self._study.tell(training.trial, state=optuna.trial.TrialState.PRUNED)
            return False
        return True
