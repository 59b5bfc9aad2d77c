"""What the alternatives and the physical limits reach on this machine: raw Ray, Ray Tune, Optuna on SQLite, raw SQLite.

Every function runs a trivial objective to its end and returns its figures; each is called in a process of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from apart import NotInstalled

TUNE = 'pip install "ray[tune]"'


def trivial_score(learning_rate: float) -> float:
    """A parabola in log10, best at 0.01: the objective that every contestant computes."""
    return -float((np.log10(learning_rate) + 2.0) ** 2)


def learning_rates(seed: int) -> Iterator[float]:
    """Endless draws on a log scale over [1e-4, 1]."""
    generator = np.random.default_rng(seed)
    while True:
        yield float(10.0 ** generator.uniform(-4.0, 0.0))


@contextlib.contextmanager
def local_ray(parallel: int) -> Iterator[float]:
    """A private Ray of `parallel` CPUs, quiet; yields the seconds that `ray.init` took."""
    import ray

    began = time.perf_counter()
    ray.init(
        address="local",
        num_cpus=parallel,
        include_dashboard=False,
        object_store_memory=128 * 2**20,  # as tuner starts it: a smaller store starts faster
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield time.perf_counter() - began
    finally:
        ray.shutdown()


def python_start(*, statement: str, times: int) -> dict[str, float]:
    """Seconds of a fresh interpreter that runs one statement: what nobody in Python can be faster than."""
    walls = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        walls.append(time.perf_counter() - began)
    return {"median_s": statistics.median(walls)}


# ── Ray ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ray_start(*, parallel: int) -> dict[str, float]:
    """Seconds of `ray.init` alone, without the import."""
    with local_ray(parallel) as seconds:
        return {"init_s": seconds}


def raw_ray(*, parallel: int, trials: int, seed: int) -> dict[str, float]:
    """One call a trial on warm actors, answered one by one: the loop anybody would write first. Nothing is stored."""
    import ray

    @ray.remote(num_cpus=1)
    class Worker:
        def train(self, learning_rate: float) -> float:
            return trivial_score(learning_rate)

    def rate(in_flight: int, count: int) -> float:
        """Trials per second with `in_flight` calls waiting on each actor."""
        draws = itertools.islice(learning_rates(seed), count)
        began = time.perf_counter()
        running = {worker.train.remote(next(draws)): worker for worker in workers * in_flight}
        while running:
            for answer in ray.wait(list(running), num_returns=1)[0]:
                worker = running.pop(answer)
                ray.get(answer)
                if (draw := next(draws, None)) is not None:
                    running[worker.train.remote(draw)] = worker
        return count / (time.perf_counter() - began)

    with local_ray(parallel) as init_s:
        actor: Any = Worker  # what ray.remote makes of a class, which its types do not say
        workers = [actor.remote() for _ in range(parallel)]
        rate(1, 50 * parallel)  # warm: actors exist, code is loaded
        return {"closed_loop": rate(1, trials), "three_in_flight": rate(3, trials), "init_s": init_s}


# ── Ray Tune ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def ray_tune(*, parallel: int, trials: int, reports: int, folder: str, sleep_s: float = 0.0) -> dict[str, float]:
    """Ray Tune at its fastest: `reuse_actors`, no console, as many trials at once as cores.

    `busy` is the share of the workers' time, from the first start to the last end, that training took.
    """
    os.environ |= {"TUNE_DISABLE_STRICT_METRIC_CHECKING": "1", "RAY_AIR_NEW_OUTPUT": "0"}
    try:
        from ray import tune
    except ImportError as error:
        raise NotInstalled(TUNE) from error

    def train(config: dict[str, float]) -> None:
        began = time.time()
        time.sleep(sleep_s)
        for _ in range(reports):
            tune.report({"score": trivial_score(config["learning_rate"]), "began": began, "ended": time.time()})

    whole = time.perf_counter()
    with local_ray(parallel):
        tuner = tune.Tuner(
            tune.with_resources(train, {"cpu": 1}),
            param_space={"learning_rate": tune.loguniform(1e-4, 1.0)},
            tune_config=tune.TuneConfig(
                metric="score", mode="max", num_samples=trials, reuse_actors=True, max_concurrent_trials=parallel
            ),
            run_config=tune.RunConfig(storage_path=folder, name="tune", verbose=0),
        )
        table = tuner.fit().get_dataframe()
    whole_s = time.perf_counter() - whole
    return _figures(table["began"].tolist(), table["ended"].tolist(), whole_s, parallel=parallel, reports=reports)


def _figures(
    began: list[float], ended: list[float], whole_s: float, *, parallel: int, reports: int
) -> dict[str, float]:
    """Rates between the first and the last end of a trial, the whole, and the busy share."""
    trials, steady_s = len(ended), max(ended) - min(ended)
    trained_s = sum(end - begin for begin, end in zip(began, ended, strict=True))
    return {
        "trials": trials,
        "trials_per_s": (trials - 1) / steady_s,
        "reports_per_s": (trials - 1) * reports / steady_s,
        "whole_s": whole_s,
        "whole_trials_per_s": trials / whole_s,
        "busy": trained_s / (parallel * (max(ended) - min(began))),
    }


# ── Optuna ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def optuna_sqlite(*, trials: int, reports: int, seed: int, folder: str) -> dict[str, float]:
    """Optuna on its RDBStorage over SQLite, in one process, without Ray: random sampler, no pruner."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{Path(folder) / f'optuna-{reports}.db'}",
        sampler=optuna.samplers.RandomSampler(seed=seed),
        pruner=optuna.pruners.NopPruner(),
        direction="maximize",
    )

    def train(trial: optuna.Trial) -> float:
        score = trivial_score(trial.suggest_float("learning_rate", 1e-4, 1.0, log=True))
        for step in range(reports):
            trial.report(score, step)
        return score

    began = time.perf_counter()
    study.optimize(train, n_trials=trials)
    seconds = time.perf_counter() - began
    return {"trials_per_s": trials / seconds, "reports_per_s": trials * reports / seconds}


def optuna_tpe(*, finished: int, asks: int, seed: int) -> dict[str, float]:
    """Milliseconds that Optuna's TPE takes to propose two settings, in memory, after so many finished trials."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), direction="maximize")
    unit = optuna.distributions.FloatDistribution(0.0, 1.0)
    generator = np.random.default_rng(seed)
    for first, second in generator.random((finished, 2)):
        params = {"learning_rate": float(first), "beta": float(second)}
        study.add_trial(
            optuna.create_trial(params=params, distributions=dict.fromkeys(params, unit), value=-float(first))
        )
    taken = []
    for _ in range(asks):
        began = time.perf_counter()
        trial = study.ask(dict.fromkeys(("learning_rate", "beta"), unit))
        taken.append(time.perf_counter() - began)
        study.tell(trial, -trial.params["learning_rate"])
    return {"median_ms": 1e3 * float(np.median(taken)), "p99_ms": 1e3 * float(np.percentile(taken, 99))}


# ── SQLite ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def raw_sqlite(*, rows: int, folder: str) -> dict[str, float]:
    """Rows per second that the standard library's SQLite stores in WAL mode: in groups of 1,000, and one a commit."""
    database = sqlite3.connect(Path(folder) / "raw.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")  # survives a power cut, the promise that tuner makes
    database.execute(
        "CREATE TABLE reports (trial INTEGER, segment INTEGER, step INTEGER, name TEXT, value REAL, at REAL)"
    )

    def rate(count: int, group: int) -> float:
        began = time.perf_counter()
        for first in range(0, count, group):
            batch = [(row // 100, 0, row % 100, "score", float(row), began) for row in range(first, first + group)]
            database.execute("BEGIN")
            database.executemany("INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?)", batch)
            database.execute("COMMIT")
        return count / (time.perf_counter() - began)

    with contextlib.closing(database):
        return {"group_rows_per_s": rate(rows, 1000), "single_commits_per_s": rate(rows // 200, 1)}
