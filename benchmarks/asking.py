"""What one question to a sampler costs when a study has thousands of trials: `Caviar.propose`, as the loop asks it."""

from __future__ import annotations

import time

import numpy as np
import optuna
from measures import space
from peers import trivial_score

from tuner.caviar.policy import Caviar, Limits
from tuner.caviar.stopping import Off
from tuner.policy.protocol import Draft
from tuner.record.events import RoundOpened, TrialCreated, TrialEnded
from tuner.record.state import StudyState
from tuner.samplers import by_name
from tuner.samplers.optuna import OptunaProposer


def ask_times(*, finished: int, asks: int, seed: int) -> dict[str, float]:
    """Milliseconds that one `propose` takes after so many finished trials, early ones beside; and with Optuna's TPE."""
    study = StudyState(objective="score", goal="maximize")
    early, late = min(1_000, finished // 10), finished
    taken = timed_asks(study, policy("coarse_to_fine", seed), finished + asks)
    wall, cpu = (1e3 * np.array(column) for column in zip(*taken, strict=True))
    tpe = OptunaProposer(optuna.samplers.TPESampler())
    tpe.attach(study, space())
    through = [wall_s for wall_s, _ in timed_asks(study, policy(tpe, seed), asks // 10)[1:]]  # the first one builds up
    return {
        "median_ms": float(np.median(wall[late:])),
        "p99_ms": float(np.percentile(wall[late:], 99)),
        "cpu_p99_ms": float(np.percentile(cpu[late:], 99)),
        "early_p99_ms": float(np.percentile(wall[early : early + asks], 99)),
        "tpe_median_ms": 1e3 * float(np.median(through)),
    }


def policy(sampler: str | OptunaProposer, seed: int) -> Caviar:
    proposer = by_name(sampler) if isinstance(sampler, str) else sampler
    return Caviar(space=space(), seed=seed, proposer=proposer, stopping=Off(), limits=Limits())


def timed_asks(study: StudyState, policy: Caviar, count: int) -> list[tuple[float, float]]:
    """Wall and CPU seconds of each of `count` proposals; every trial ends before the next is asked for."""
    taken = []
    for number in range(len(study.trials), len(study.trials) + count):
        began, began_cpu = time.perf_counter(), time.thread_time()
        draft = policy.propose(study)
        taken.append((time.perf_counter() - began, time.thread_time() - began_cpu))
        if not isinstance(draft, Draft):
            raise RuntimeError(f"nothing was proposed for trial {number}")
        if (opened := draft.opened) is not None:
            study.apply(
                RoundOpened(
                    round=opened.round,
                    first_trial=opened.first_trial,
                    box=dict(opened.box),
                    seen=number,
                    why=opened.why,
                    memo=opened.memo,
                    at=0.0,
                )
            )
        study.apply(
            TrialCreated(
                trial=number,
                purpose="search",
                round=draft.round,
                parent=None,
                seed=draft.seed,
                params=draft.params,
                seen=number,
                why=draft.why,
                memo=draft.memo,
                at=0.0,
            )
        )
        score = trivial_score(float(draft.params["learning_rate"])) - abs(float(draft.params["beta"]) - 0.95)
        study.apply(
            TrialEnded(
                trial=number,
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
        policy.ended(study, study.trials[number])
    return taken
