"""What one question to a sampler costs when a study has thousands of trials: `Caviar.propose`, as the loop asks it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import optuna
from measures import space
from peers import trivial_score

from tuner.caviar.policy import Caviar, Limits
from tuner.caviar.stopping import Off
from tuner.policy.protocol import Draft
from tuner.record.events import RoundOpened, TrialCreated, TrialEnded
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.samplers import by_name
from tuner.samplers.optuna import OptunaProposer


def ask_times(*, finished: int, asks: int, seed: int) -> dict[str, float]:
    """Milliseconds that one `propose` takes after so many finished trials: alone, early, of 16 at a time; and TPE's."""
    study = StudyState(objective="score", goal="maximize")
    early, late = min(1_000, finished // 10), finished
    taken = timed_asks(study, policy("coarse_to_fine", seed), finished + asks)
    wall, cpu = (1e3 * np.array(column) for column in zip(*taken, strict=True))
    turns = timed_asks(study, policy("coarse_to_fine", seed), asks // 16 * 16, waiting=16)
    waiting, waiting_cpu = 1e3 * np.mean(turns[16:], axis=0)  # the first turn builds up
    tpe = OptunaProposer(optuna.samplers.TPESampler())
    tpe.attach(study, space())
    through = [wall_s for wall_s, _ in timed_asks(study, policy(tpe, seed), asks // 10)[1:]]  # the first one builds up
    return {
        "median_ms": float(np.median(wall[late:])),
        "p99_ms": float(np.percentile(wall[late:], 99)),
        "cpu_p99_ms": float(np.percentile(cpu[late:], 99)),
        "early_p99_ms": float(np.percentile(wall[early : early + asks], 99)),
        "waiting_mean_ms": float(waiting),
        "waiting_cpu_ms": float(waiting_cpu),
        "tpe_median_ms": 1e3 * float(np.median(through)),
    }


def policy(sampler: str | OptunaProposer, seed: int) -> Caviar:
    proposer = by_name(sampler) if isinstance(sampler, str) else sampler
    return Caviar(space=space(), seed=seed, proposer=proposer, stopping=Off(), limits=Limits())


def timed_asks(study: StudyState, policy: Caviar, count: int, waiting: int = 1) -> list[tuple[float, float]]:
    """Wall and CPU seconds of each of `count` proposals, `waiting` at a time; all of them end before the next."""
    taken, first = [], len(study.trials)
    for number in range(first, first + count):
        began, began_cpu = time.perf_counter(), time.thread_time()
        draft = policy.propose(study)
        taken.append((time.perf_counter() - began, time.thread_time() - began_cpu))
        if not isinstance(draft, Draft):
            raise RuntimeError(f"nothing was proposed for trial {number}")
        create(study, draft)
        if (number + 1 - first) % waiting == 0:
            for trial in list(study.live.values()):
                end(study, trial)
                policy.ended(study, trial)
    return taken


def create(study: StudyState, draft: Draft) -> None:
    """Puts a trial on record, and the round that it opens."""
    number, seen = len(study.trials), len(study.ended_order)
    if (opened := draft.opened) is not None:
        plan: dict[str, Any] = {name: getattr(opened, name) for name in ("round", "first_trial", "why", "memo")}
        study.apply(RoundOpened(box=dict(opened.box), seen=seen, at=0.0, **plan))
    drawn: dict[str, Any] = {name: getattr(draft, name) for name in ("params", "round", "seed", "why", "memo")}
    study.apply(TrialCreated(trial=number, purpose="search", parent=None, seen=seen, at=0.0, **drawn))


def end(study: StudyState, trial: Trial) -> None:
    """Ends a trial at its first step with the score of its settings."""
    score = trivial_score(float(trial.params["learning_rate"])) - abs(float(trial.params["beta"]) - 0.95)
    study.apply(
        TrialEnded(
            trial=trial.trial,
            segment=0,
            state="completed",
            why="the function returned",
            step=1,
            best_step=1,
            best_score=score,
            started=0.0,
            seconds=1.0,
            node="",
            error="",
            traceback="",
            at=0.0,
        )
    )
