"""Knows the peers: Optuna's samplers and pruners in their own ask-and-tell loop, in the unit cube that tuner searches.

A method is a sampler, or sampler+pruner: `random`, `tpe+asha`, `gp+hyperband`. Nothing of tuner's slows them down or
steers them; only `Space.from_unit` is shared, so that all search one cube.
"""

from __future__ import annotations

import heapq
import importlib.util
import itertools
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from recordings import Curve, Recording
from replaying import Epochs

from tuner import Space
from tuner.space import Choice

SAMPLERS: Mapping[str, Callable[[int, int], optuna.samplers.BaseSampler]] = {
    "random": lambda seed, workers: optuna.samplers.RandomSampler(seed=seed),  # noqa: ARG005
    "qmc": lambda seed, workers: optuna.samplers.QMCSampler(seed=seed, scramble=True),  # noqa: ARG005
    # What is still training counts as bad, as Optuna advises where several workers ask at a time.
    "tpe": lambda seed, workers: optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=workers > 1),
    "gp": lambda seed, workers: optuna.samplers.GPSampler(seed=seed),  # noqa: ARG005
    "cma": lambda seed, workers: optuna.samplers.CmaEsSampler(seed=seed),  # noqa: ARG005
}
PRUNERS: Mapping[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "": lambda length: optuna.pruners.NopPruner(),  # noqa: ARG005
    "asha": lambda length: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),  # noqa: ARG005
    "hyperband": lambda length: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=length, reduction_factor=3),
    "median": lambda length: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),  # noqa: ARG005
}
METHODS = tuple(f"{sampler}+{pruner}".rstrip("+") for sampler in SAMPLERS for pruner in PRUNERS)
_NEEDS = {"gp": ("torch", "pip install torch"), "cma": ("cmaes", "pip install cmaes")}


def missing(method: str) -> str | None:
    """The sentence that says what a method lacks here, or None."""
    sampler = method.partition("+")[0]
    package, command = _NEEDS.get(sampler, ("optuna", ""))
    if importlib.util.find_spec(package) is None:
        return f"{method} is left out: Optuna's sampler needs {package}. Try: {command}"
    return None


@dataclass
class _Training:
    """What one simulated worker trains."""

    trial: optuna.Trial
    curve: Curve
    done: int = 0
    best: float = -math.inf


def searched(recording: Recording, task: str, method: str, *, workers: int, seed: int, budget: int) -> Epochs:
    """What the peer trains with a budget of epochs; a worker asks for new settings as soon as it is free.

    With one worker this is the plain ask-and-tell loop. An epoch takes one simulated second.
    """
    study, space = _study(method, seed, workers, recording.length(task)), recording.space(task)
    epochs: Epochs = []
    due: list[tuple[float, int, _Training]] = []  # when the epoch in progress ends, who trains it
    begun = itertools.count(1)

    def begin(now: float, worker: int, training: _Training | None) -> None:
        if next(begun) <= budget:
            heapq.heappush(due, (now + 1.0, worker, training or _asked(study, recording, task, space)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental features, and pruned trials that a sampler passes over
        for worker in range(workers):
            begin(0.0, worker, None)
        while due:
            now, worker, training = heapq.heappop(due)
            score = training.curve[training.done]
            epochs.append((score, now))
            begin(now, worker, training if _goes_on(study, training, score) else None)
    return epochs


def _study(method: str, seed: int, workers: int, length: int) -> optuna.Study:
    sampler, _, pruner = method.partition("+")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.create_study(
            direction="maximize", sampler=SAMPLERS[sampler](seed, workers), pruner=PRUNERS[pruner](length),
            study_name=f"s{seed}",
        )  # fmt: skip


def _asked(study: optuna.Study, recording: Recording, task: str, space: Space) -> _Training:
    trial = study.ask()
    return _Training(trial, recording.curve(task, _suggested(trial, space)))


def _suggested(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, parameter in space.items():
        if isinstance(parameter, Choice):
            settings[name] = trial.suggest_categorical(name, parameter.options)
        else:
            settings[name] = parameter.from_unit(trial.suggest_float(name, 0.0, 1.0))
    return settings


def _goes_on(study: optuna.Study, training: _Training, score: float) -> bool:
    """Takes in the score of an epoch; whether another follows, else the trial is told."""
    training.done, training.best = training.done + 1, max(training.best, score)
    training.trial.report(score, training.done)
    if training.done == len(training.curve):
        study.tell(training.trial, training.best)
        return False
    if training.trial.should_prune():
        study.tell(training.trial, state=optuna.trial.TrialState.PRUNED)
        return False
    return True
