"""What one question to a sampler costs when a study has thousands of trials: `Caviar.propose`, as the loop asks it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import optuna
from measures import space
from peers import trivial_score

import tuner
from tuner.caviar.policy import Caviar, Limits
from tuner.caviar.rules import rule_by_name
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
    waited_for = policy("coarse_to_fine", seed)
    waited_for.restore(study)
    turns = timed_asks(study, waited_for, asks // 16 * 16, waiting=16)
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


_TRAINS_S = 0.01  # between two questions, so that there is time to think of each
_PARALLEL = 16


def stalls(*, finished: int, asks: int, seed: int) -> dict[str, float]:
    """Milliseconds for which a loop over 16 workers stands still to end a trial and propose another, by a quantile.

    A round is learned beside it meanwhile, from as many trials as have ended.
    """
    taken: list[float] = []
    for turn in range(5):
        study = StudyState(objective="score", goal="maximize")
        timed_asks(study, policy("random", seed + turn), finished)
        searching = policy("coarse_to_fine", seed + turn, stopping="auto", parallel=_PARALLEL)
        searching.restore(study)
        for number in range(_PARALLEL + asks // 5):
            began = time.perf_counter()
            if number >= _PARALLEL:
                trial = next(iter(study.live.values()))
                end(study, trial)
                searching.ended(study, trial)
            draft = searching.propose(study)
            taken += [time.perf_counter() - began] if number >= _PARALLEL else []
            if not isinstance(draft, Draft):
                raise RuntimeError("nothing was proposed")
            create(study, draft)
            time.sleep(_TRAINS_S)
    return {"longest_ms": 1e3 * max(taken), "median_ms": 1e3 * float(np.median(taken)), "asks": len(taken)}


def conditions(*, finished: int, asks: int, seed: int) -> dict[str, float]:
    """CPU milliseconds of a draw from 12 parameters, where five of them have conditions and where none has any."""
    several = []
    for conditional in (True, False):
        searched = twelve(conditional=conditional)
        several.append((StudyState(objective="score", goal="maximize"), policy("coarse_to_fine", seed, of=searched)))
    for each in several:
        timed_asks(*each, finished)
    spent: list[list[float]] = [[] for _ in several]
    for _ in range(asks // 8):  # in turn, since other programs may run on the machine
        for each, cpu in zip(several, spent, strict=True):
            cpu += [cpu_s for _, cpu_s in timed_asks(*each, 8)]
    conditional_ms, plain_ms = (1e3 * float(np.mean(cpu)) for cpu in spent)
    return {"conditional_ms": conditional_ms, "plain_ms": plain_ms}


def twelve(*, conditional: bool) -> tuner.Space:
    """Twelve parameters, as a network has them; five of them exist only where another asks for them, or all always."""

    def when(**conditions: object) -> dict[str, Any]:
        return {"when": conditions} if conditional else {}

    return tuner.Space(
        learning_rate=tuner.log(1e-4, 1.0),
        beta=tuner.log_one_minus(0.9, 0.999),
        optimizer=tuner.choice("sgd", "momentum", "adam"),
        beta2=tuner.log_one_minus(0.9, 0.9999, **when(optimizer="adam")),
        epsilon=tuner.log(1e-9, 1e-3, **when(optimizer="adam")),
        nesterov=tuner.choice(False, True, **when(optimizer="momentum")),
        decay=tuner.choice("none", "exponential", "step"),
        decay_rate=tuner.log_one_minus(0.9, 0.999, **when(decay=["exponential", "step"])),
        decay_every=tuner.integer(1, 30, **when(decay="step")),
        batch_size=tuner.choice(32, 64, 128, 256),
        dropout=tuner.linear(0.0, 0.5),
        units=tuner.integer(50, 400),
    )


def policy(
    sampler: str | OptunaProposer, seed: int, *, stopping: str = "off", parallel: int = 1, of: tuner.Space | None = None
) -> Caviar:
    return Caviar(
        space=of or space(),
        seed=seed,
        proposer=by_name(sampler) if isinstance(sampler, str) else sampler,
        stopping=rule_by_name(stopping),
        limits=Limits(),
        parallel=parallel,
        overlapping=parallel > 1,
    )


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
