"""What others do under the faults that they can be given: Optuna and Ray Tune, each in a process of its own.

    python peers_struck.py optuna_sqlite FOLDER TRIALS
    python peers_struck.py ray_tune FOLDER TRIALS

Every trial leaves a line in `FOLDER/calls.txt` when it begins, and one in `FOLDER/told.txt` once what it reported was
accepted. Nothing of tuner is imported: the Python that runs this may have none.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

STEPS, STEP_S = 10, 0.05


def _note(folder: Path, name: str, **what: Any) -> None:
    with (folder / name).open("a") as lines:
        lines.write(json.dumps(what) + "\n")


def _optuna(folder: Path, trials: int, storage: Any, score: float | None = None) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="s", storage=storage, direction="maximize", load_if_exists=True)

    def objective(trial: Any) -> float:
        rate = trial.suggest_float("learning_rate", 1e-4, 0.5, log=True)
        _note(folder, "calls.txt", trial=trial.number)
        for step in range(STEPS):
            time.sleep(STEP_S)
            trial.report(step + rate, step)
            _note(folder, "told.txt", trial=trial.number, step=step)
        return STEPS + rate if score is None else score

    left = trials - sum(each.state.is_finished() for each in study.get_trials())
    study.optimize(objective, n_trials=max(0, left))
    states: dict[str, int] = {}
    for each in study.get_trials():
        states[each.state.name] = states.get(each.state.name, 0) + 1
    print(json.dumps(states))


def optuna_sqlite(folder: Path, trials: int, score: float | None = None) -> None:
    """A study in SQLite."""
    _optuna(folder, trials, f"sqlite:///{folder}/optuna.db", score)


def optuna_journal(folder: Path, trials: int) -> None:
    """A study in Optuna's journal."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    _optuna(folder, trials, JournalStorage(JournalFileBackend(str(folder / "optuna.log"))))


def optuna_nan(folder: Path, trials: int) -> None:
    """Every score is NaN."""
    optuna_sqlite(folder, trials, math.nan)


def optuna_held(folder: Path, trials: int) -> None:  # noqa: ARG001 - all are called alike
    """What the study holds: steps by trial."""
    import optuna

    study = optuna.load_study(study_name="s", storage=f"sqlite:///{folder}/optuna.db")
    print(json.dumps({each.number: sorted(each.intermediate_values) for each in study.get_trials()}))


def ray_tune(folder: Path, trials: int, score: float | None = None) -> None:
    """A search of Ray Tune, which goes on with what lies in its folder."""
    import ray
    from ray import tune

    def train(config: dict[str, float]) -> None:
        name = tune.get_context().get_trial_id()
        _note(folder, "calls.txt", trial=name, pid=os.getpid())
        for step in range(STEPS):
            time.sleep(STEP_S)
            tune.report({"score": step + config["learning_rate"] if score is None else score})
            _note(folder, "told.txt", trial=name, step=step)

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    place = folder / "tune" / "s"
    if tune.Tuner.can_restore(str(place)):
        tuner = tune.Tuner.restore(str(place), trainable=train, resume_unfinished=True, restart_errored=True)
    else:
        tuner = tune.Tuner(
            train,
            param_space={"learning_rate": tune.loguniform(1e-4, 0.5)},
            tune_config=tune.TuneConfig(metric="score", mode="max", num_samples=trials),
            run_config=tune.RunConfig(storage_path=str(folder / "tune"), name="s", verbose=0),
        )
    results = tuner.fit()
    found = [results[place] for place in range(len(results))]
    ended = sum(not each.error and (each.metrics or {}).get("training_iteration") == STEPS for each in found)
    print(json.dumps({"ended": ended, "failed": len(results.errors), "of": len(results)}))
    ray.shutdown()


def ray_tune_nan(folder: Path, trials: int) -> None:
    """Every score is NaN."""
    ray_tune(folder, trials, math.nan)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
