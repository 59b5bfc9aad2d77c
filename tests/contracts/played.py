"""Programs that ask for trials, played by threads of this process: each trains the job's function and asks again."""

from __future__ import annotations

import itertools
import os
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any

from tuner.executors.external import ExternalExecutor
from tuner.record.dialogue import LONGEST_WAIT_S, parse_answer
from tuner.worker.messages import Delivered, Event, Job, Said, Told
from tuner.worker.run import Run
from tuner.worker.state import State
from tuner.worker.training import TrainingFunction, resolve


class _Dead(BaseException):
    """The program was killed."""


class Program:
    """One thread that asks, trains and tells; whoever answers to its `Run`."""

    def __init__(self, name: str, function: TrainingFunction, executor: Played) -> None:
        self.name, self.killed = name, False
        self.answers: queue.Queue[Told] = queue.Queue()
        self._function, self._executor = function, executor
        self._lent: dict[str, Any] = {}
        self._rows: list[list[Any]] = []
        self._stopped = False
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        try:
            while True:
                asked: dict[str, Any] = {
                    "worker": self.name,
                    "wait_s": LONGEST_WAIT_S,
                    "node": "played",
                    "pid": os.getpid(),
                }
                self._lent = self._call("ask", **asked)
                if "trial" in self._lent:
                    self._train()
        except _Dead:
            pass

    def _train(self) -> None:
        self._rows, self._stopped = [], False
        run = Run(self._lent["settings"], seed=self._lent["seed"], control=self)
        try:
            self._function(run)
        except Exception as error:
            self._spoken("tell", state="failed", why=f"{type(error).__name__}: {error}")
        else:
            if not self._stopped and self.between(run.done) is None:
                self._spoken("tell", state="completed")

    def _spoken(self, verb: str, **said: Any) -> dict[str, Any]:
        return self._call(verb, trial=self._lent["trial"], segment=self._lent["segment"], **said)

    def _call(self, verb: str, *, why: str = "", **said: Any) -> dict[str, Any]:
        self._executor.hear(self, verb, said, why)
        while True:
            try:
                return parse_answer(self.answers.get(timeout=0.1).detail)
            except queue.Empty:
                if self.killed:
                    raise _Dead from None

    # ── what its run asks ───────────────────────────────────────────────────────────────────────

    def report(self, step: int, scores: dict[str, float]) -> None:
        self._rows.append([step, scores])

    def register(self, state: State) -> int:
        return 0

    def between(self, done: int) -> str | None:
        rows, self._rows = self._rows, []
        batch = self._lent["batch"]
        answer = self._spoken("report", batch=batch, rows=rows)
        self._lent["batch"] = batch + bool(rows)
        while answer["orders"] == "pause":
            time.sleep(0.002)
            answer = self._spoken("report", rows=[])
        self._stopped = answer["orders"] == "stop"
        return answer["why"] if self._stopped else None


class Played(ExternalExecutor):
    """The executor and its programs, which come back under their names when they are killed."""

    def __init__(self) -> None:
        super().__init__(lease_s=3600.0)
        self._said: queue.Queue[tuple[Program, Said]] = queue.Queue()
        self._who: dict[str, Program] = {}
        self._programs: dict[str, Program] = {}
        self._function: TrainingFunction | None = None
        self._numbers = itertools.count()

    def hear(self, program: Program, verb: str, said: dict[str, Any], why: str) -> None:
        """From any program's thread; the coordinator hears it with its next poll."""
        request = f"r{next(self._numbers)}"
        self._said.put(
            (program, Said(trial=said.get("trial", -1), request=request, verb=verb, arguments=said, why=why))
        )

    def open(self, job: Job, parallel: int | None, delivered: Mapping[str, int] | None = None) -> int:
        self._function = resolve(job.function, job.search_path)
        expected = super().open(job, parallel, delivered)
        self._start_missing(expected)
        return expected

    def resize(self, parallel: int) -> None:
        self._start_missing(parallel)
        super().resize(parallel)

    def _start_missing(self, parallel: int) -> None:
        for number in range(len(self._programs), parallel):
            self._start_program(f"program-{number}")

    def _start_program(self, name: str) -> None:
        assert self._function is not None
        self._programs[name] = Program(name, self._function, self)

    def poll(self, timeout_s: float) -> list[Event]:
        while not self._said.empty():
            program, said = self._said.get()
            if not program.killed:
                self._who[said.request] = program
                self.send(program.name, said)
        heard = super().poll(min(timeout_s, 0.002))
        for event in heard:
            if isinstance(event, Told):
                self._who.pop(event.request).answers.put(event)
        return [event for event in heard if not isinstance(event, Told | Delivered)]

    def kill(self, worker: str, why: str) -> None:
        self._programs[worker].killed = True
        super().kill(worker, why)
        self._start_program(worker)

    def close(self) -> None:
        for program in self._programs.values():
            program.killed = True
