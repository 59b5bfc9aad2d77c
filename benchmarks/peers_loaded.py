"""Optuna beside the load: what it was given, and how long whoever looks at it waits; and tuner with as much.

Its storage is its own RDBStorage over SQLite. It is given its trials whole, by `add_trials`: told one report at a time,
as in a search, it would take hours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import bulk
import numpy as np
import optuna

import tuner


def _storage(folder: str) -> str:
    return f"sqlite:///{Path(folder) / 'optuna.db'}"


def _trials(trials: int, points: int, seed: int) -> Iterator[optuna.trial.FrozenTrial]:
    """Trials like those of `bulk.sweep`."""
    draws, space = np.random.default_rng(seed), tuner.Space.load(bulk.SPACE)
    kinds: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in space
    }
    for _ in range(trials):
        unit = {name: float(draws.random()) for name in space}
        level = 1.0 - sum((at - 0.6) ** 2 for at in unit.values()) + float(draws.normal(0.0, 0.01))
        scores = level * (1.0 - np.exp(-np.arange(1, points + 1) / points * draws.uniform(2.0, 6.0)))
        yield optuna.trial.create_trial(
            params=unit,
            distributions=kinds,
            value=float(scores.max(initial=level)),
            intermediate_values=dict(enumerate(scores.tolist(), 1)),
        )


def optuna_written(*, trials: int, points: int, folder: str) -> dict[str, float]:
    """One study of so many trials in Optuna's storage."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    began = time.perf_counter()
    study = optuna.create_study(storage=_storage(folder), study_name="large", direction="maximize")
    study.add_trials(_trials(trials, points, 0))
    return {"seconds": time.perf_counter() - began}


def optuna_read(*, folder: str) -> dict[str, float]:
    """Seconds from nothing but the import to the best trial, and on to the table of all trials."""
    began = time.perf_counter()
    study = optuna.load_study(storage=_storage(folder), study_name="large")
    if study.best_trial.value is None:
        raise RuntimeError("the study has no best trial")
    best_s = time.perf_counter() - began
    table = study.trials_dataframe()
    return {"best_s": best_s, "table_s": time.perf_counter() - began, "trials": float(len(table))}


def tuner_written(*, trials: int, points: int, folder: str) -> dict[str, float]:
    """The same study as tuner keeps it."""
    began = time.perf_counter()
    bulk.sweep(Path(folder), "large", trials, points)
    return {"seconds": time.perf_counter() - began}


def tuner_read(*, folder: str) -> dict[str, float]:
    """Seconds from nothing but the import to the best trial, and on to the table of all trials."""
    began = time.perf_counter()
    with tuner.open("large", results=folder) as study:
        if study.best is None:
            raise RuntimeError("the study has no best trial")
        best_s = time.perf_counter() - began
        table = study.trials
        return {"best_s": best_s, "table_s": time.perf_counter() - began, "trials": float(len(table))}


def optuna_listed(*, studies: int, trials: int, folder: str) -> dict[str, float]:
    """Seconds to sum up so many studies of so many trials, which have no reports, in one database."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(_storage(folder))
    for number in range(studies):
        study = optuna.create_study(storage=storage, study_name=f"study-{number:04}", direction="maximize")
        study.add_trials(_trials(trials, 0, number))
    storage.remove_session()
    began = time.perf_counter()
    found = optuna.get_all_study_summaries(_storage(folder))
    if len(found) != studies:
        raise RuntimeError(f"{len(found)} of {studies} studies are listed")
    return {"seconds": time.perf_counter() - began}


def tuner_listed(*, folder: str) -> dict[str, float]:
    """Seconds that `tuner.studies` takes for the studies in a folder."""
    began = time.perf_counter()
    found = tuner.studies(folder)
    return {"seconds": time.perf_counter() - began, "studies": float(len(found))}
