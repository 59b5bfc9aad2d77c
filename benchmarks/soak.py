"""A day of a sweep in compressed time: the real coordinator and its in-process workers on a virtual clock.

A step takes a virtual second. Trials fail and diverge, workers are lost in the middle of a step, trials are paused for
others and go on from their checkpoints, and every hour somebody outside pauses the sweep and lets it go on. What a
process must not do in a day is to grow by anything but its record.
"""

from __future__ import annotations

import gc
import statistics
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import measures

import tuner
from tuner.api.session import Session
from tuner.caviar.policy import Caviar, Limits
from tuner.caviar.requests import SweepRequests
from tuner.caviar.rules import rule_by_name
from tuner.coordinator.observers import Status
from tuner.coordinator.watchdog import Timing
from tuner.executors.local import LocalExecutor
from tuner.record.location import Place
from tuner.record.state import StudyState
from tuner.samplers import by_name
from tuner.worker.messages import Event

HOUR_S = 3_600
_LOST_EVERY_S = 1_100.0
_ENDS = 3  # hours at either end that are compared


class Perilous(LocalExecutor):
    """One whose workers are lost, one after the other."""

    def __init__(self) -> None:
        super().__init__(clock="virtual")
        self.lost, self._next = 0, _LOST_EVERY_S

    def poll(self, timeout_s: float) -> list[Event]:
        if self.now() >= self._next and self._workers:
            self._next += _LOST_EVERY_S
            self.lost += 1
            self.kill(sorted(self._workers)[self.lost % len(self._workers)], "its machine went away")
        return super().poll(timeout_s)


class Outsider:
    """Somebody who asks by the record, as a shell does."""

    def __init__(self, name: str, results: str) -> None:
        self._name, self._results, self._due, self._over = name, results, threading.Semaphore(0), False
        self.asked = 0
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def is_due(self) -> None:
        """An hour is over."""
        self._due.release()

    def leave(self) -> None:
        """Asks no more, and is gone."""
        self._over = True
        self._due.release()
        self._thread.join()

    def _ask(self) -> None:
        while self._due.acquire() and not self._over:
            with closing(tuner.attach(self._name, results=self._results)) as handle:
                handle.pause(why="to look at it")
                handle.resume()
                self.asked += 2


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The process as an hour was over."""

    memory: float
    threads: int
    files: int
    trials: int

    @classmethod
    def taken(cls, study: StudyState) -> Sample:
        gc.collect()
        return cls(
            memory=measures.memory_bytes("VmRSS"),
            threads=sum(1 for _ in Path("/proc/self/task").iterdir()),
            files=sum(1 for _ in Path("/proc/self/fd").iterdir()),
            trials=len(study.trials),
        )


class Hourly:
    """A face that looks at this process whenever a virtual hour is over."""

    def __init__(self, executor: Perilous, outsider: Outsider) -> None:
        self.samples: list[Sample] = []
        self._executor, self._outsider = executor, outsider

    def show(self, study: StudyState, status: Status) -> None:  # noqa: ARG002 - a face is also told how busy all are
        if self._executor.now() >= (len(self.samples) + 1) * HOUR_S:
            self.samples.append(Sample.taken(study))
            self._outsider.is_due()

    def close(self) -> None:
        pass


def soak(*, hours: int, workers: int, folder: str) -> dict[str, float]:
    """By how much the process has grown between the second hour and the last, and what the day was full of."""
    place, executor, space = Place.of("soak", folder, None), Perilous(), measures.space()
    identity = {
        "space": space.to_dict(),
        "objective": "score",
        "goal": "maximize",
        "seed": 0,
        "sampler": "coarse_to_fine",
    }
    began = time.perf_counter()
    with Session(place, place.existing_or_new()) as session:
        session.begin("sweep", "training:perilous", "", identity, {"trials": None})
        parallel = executor.open(session.job("training:perilous", (str(Path(__file__).parent),)), workers)
        policy = Caviar(
            space=space,
            seed=0,
            proposer=by_name("coarse_to_fine"),
            stopping=rule_by_name("auto"),
            limits=Limits(budget_steps=hours * HOUR_S * workers, losses=1_000, failures_in_a_row=1_000),
            parallel=parallel,
            overlapping=True,
        )
        outsider = Outsider(place.name, folder)
        hourly = Hourly(executor, outsider)
        try:
            timing = Timing(checkpoint_every_s=600.0)
            session.coordinator(executor, policy, SweepRequests(policy), timing, progress=hourly).run()
        finally:
            outsider.leave()
            executor.close()
        study = session.state
    first, last = hourly.samples[1 : 1 + _ENDS], hourly.samples[-_ENDS:]

    def grown(what: str) -> float:
        one, other = ([getattr(each, what) for each in samples] for samples in (first, last))
        return float(statistics.median(other) - statistics.median(one))

    causes = [segment.cause for trial in study.trials for segment in trial.segments]
    return {
        "hours": len(hourly.samples),
        "seconds": time.perf_counter() - began,
        "memory_mb": grown("memory") / 2**20,
        "memory_bytes_per_trial": grown("memory") / max(1.0, grown("trials")),
        "threads": grown("threads"),
        "files": grown("files"),
        "trials": len(study.trials),
        "steps": study.steps_done,
        "failed": study.counts.get("failed", 0) + study.counts.get("diverged", 0),
        "lost": executor.lost,
        "retries": causes.count("retry"),
        "thaws": causes.count("thaw"),
        "checkpoints": len(study.checkpoints),
        "requests": outsider.asked,
    }
