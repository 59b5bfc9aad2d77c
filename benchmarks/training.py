"""The training functions that are measured; workers import this file, so it imports little."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from peers import trivial_score

if TYPE_CHECKING:
    from tuner import Run

CALLS = 10_000
PACED_CALLS = 1_000


def one_report(run: Run) -> None:
    report_each_step(run, 1)


def ten_reports(run: Run) -> None:
    report_each_step(run, 10)


def hundred_reports(run: Run) -> None:
    report_each_step(run, 100)


class Taken:
    """How many steps a training has taken: all the state that it has."""

    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.steps = state["steps"]


def fifty_steps(run: Run) -> None:
    """As a recorded curve is replayed: a report a step, and a state that tells how to be paused."""
    taken = Taken()
    run.state(taken)
    for _ in run.steps(50):
        taken.steps += 1
        run.report(score=trivial_score(run.params["learning_rate"]))


def forty_paced_steps(run: Run) -> None:
    """Ten seconds that need next to no CPU, and a state that tells how to be paused."""
    taken = Taken()
    run.state(taken)
    for _ in run.steps(40):
        taken.steps += 1
        time.sleep(0.25)
        run.report(score=trivial_score(run.params["learning_rate"]))


def report_each_step(run: Run, steps: int) -> None:
    for _ in run.steps(steps):
        run.report(score=trivial_score(run.params["learning_rate"]))


def one_second(run: Run) -> None:
    """Train for one second, by the clock of the worker."""
    for _ in run.steps(1):
        began = time.time()
        time.sleep(1.0)
        run.report(score=trivial_score(run.params["learning_rate"]), began=began, ended=time.time())


def timed_reports(run: Run) -> None:
    """Time `run.report` back to back, then with a millisecond of training between two, and report what it cost."""
    costs: list[int] = []
    for number, _ in enumerate(run.steps(CALLS + PACED_CALLS)):
        if number >= CALLS:
            time.sleep(0.001)
        began = time.perf_counter_ns()
        run.report(score=0.5)
        costs.append(time.perf_counter_ns() - began)
        if len(costs) == CALLS + PACED_CALLS:  # inside the last step, where a report counts
            back_to_back, paced = np.array(costs[:CALLS]) / 1e3, np.array(costs[CALLS:]) / 1e3
            run.report(
                median_us=float(np.median(back_to_back)),
                p99_us=float(np.percentile(back_to_back, 99)),
                paced_median_us=float(np.median(paced)),
                paced_p99_us=float(np.percentile(paced, 99)),
            )


def timed_steps(run: Run) -> None:
    """Time an empty loop over `run.steps`, less the same loop over `range`, and report the cost of one step."""
    steps = 100_000
    began = time.perf_counter_ns()
    for taken, _ in enumerate(range(steps), start=1):
        if taken == steps:
            break
    empty = time.perf_counter_ns() - began
    began = time.perf_counter_ns()
    for taken, _ in enumerate(run.steps(steps), start=1):
        if taken == steps:
            step_us = (time.perf_counter_ns() - began - empty) / steps / 1e3
            run.report(score=0.5, step_us=step_us)


def perilous(run: Run) -> None:
    """300 steps with a state, of which one training in 29 fails on the way, and one in 31 diverges."""
    taken = Taken()
    run.state(taken)
    for step in run.steps(300):
        taken.steps += 1
        if step > 40 and run.seed % 29 == 0:
            raise RuntimeError("out of luck")
        score = trivial_score(run.params["learning_rate"]) - 1.0 / (1 + step)
        run.report(score=float("nan") if step > 60 and run.seed % 31 == 0 else score)
