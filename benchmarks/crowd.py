"""What one coordinator bears: the real one over 1,000 workers that are simulated, a report a second each.

The workers live in `Crowd`, an executor that says on time what they would say and trains nothing. So this measures the
loop, the pruner, the sampler, the fold and the database, and leaves out what Ray's messages cost.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import measures
import numpy as np
from peers import trivial_score

from tuner.api.identity import begin
from tuner.caviar.policy import Caviar, Limits
from tuner.caviar.requests import SweepRequests
from tuner.caviar.rules import rule_by_name
from tuner.coordinator.loop import Coordinator
from tuner.coordinator.watchdog import Timing
from tuner.record.events import StudyOpened, TrialState
from tuner.record.reports import pack_reports
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.samplers import by_name
from tuner.worker.messages import (
    Command,
    Continue,
    Ended,
    Event,
    Forget,
    Forgot,
    Job,
    Order,
    Started,
    Stop,
    Waiting,
    WorkerReady,
)

STEPS = 60
WARM_S = 6.0


@dataclass(slots=True)
class Member:
    """One simulated worker: its orders, the step it has reached, and since when it waits for a verdict."""

    name: str
    orders: deque[Order] = field(default_factory=deque)
    started: float | None = None
    step: int = 0
    rung: int | None = None
    asked: float | None = None
    level: float = 0.0


class Crowd:
    """An executor of simulated workers; each takes a step a second and reports its score."""

    outlives = False

    def __init__(self, seed: int) -> None:
        self.own_s = 0.0
        """CPU seconds that the simulation itself took, to be taken off."""
        self.decisions: list[tuple[float, float]] = []
        """When each verdict was sent, and how long its trial had waited for it, in seconds."""
        self.sent = 0
        self._noise = np.random.default_rng(seed)
        self._members: dict[str, Member] = {}
        self._due: list[tuple[float, str]] = []
        self._said: list[Event] = []

    # ── the executor's contract ─────────────────────────────────────────────────────────────────

    def open(self, job: Job, parallel: int | None, delivered: Mapping[str, int] | None = None) -> int:  # noqa: ARG002
        for number in range(parallel or 1):
            name = f"worker-{number}"
            self._members[name] = Member(name)
            self._said.append(WorkerReady(worker=name, node="simulated", pid=0))
        return len(self._members)

    def submit(self, worker: str, orders: tuple[Order, ...]) -> None:
        began, member = time.thread_time(), self._members[worker]
        member.orders.extend(orders)
        if member.started is None and len(member.orders) == len(orders):
            self._start(member, time.time())
        self.own_s += time.thread_time() - began

    def send(self, worker: str, command: Command) -> None:
        began, member, now = time.thread_time(), self._members[worker], time.time()
        if isinstance(command, Forget):
            order = next(each for each in member.orders if each.trial == command.trial)
            member.orders.remove(order)
            self._said.append((worker, Forgot(trial=order.trial, segment=order.segment)))
        elif isinstance(command, Continue | Stop) and member.orders and member.orders[0].trial == command.trial:
            if member.asked is not None:
                self.decisions.append((now, now - member.asked))
            if isinstance(command, Stop):
                self._end(member, command.state, command.why, now)
            else:
                member.rung = command.rung
                heapq.heappush(self._due, (max(now, (member.asked or now) + 1.0), worker))
            member.asked = None
        self.own_s += time.thread_time() - began

    def poll(self, timeout_s: float) -> list[Event]:
        began = time.thread_time()
        if not self._said and self._due:
            time.sleep(max(0.0, min(timeout_s, self._due[0][0] - time.time())))
        now = time.time()
        while self._due and self._due[0][0] <= now:
            at, worker = heapq.heappop(self._due)
            self._step(self._members[worker], at)
        said, self._said = self._said, []
        self.own_s += time.thread_time() - began
        return said

    def kill(self, worker: str, why: str) -> None:
        raise NotImplementedError(f"{worker} never hangs: {why}")

    def resize(self, parallel: int) -> None:
        raise NotImplementedError(f"nobody asks for {parallel} workers")

    def elapsed(self) -> float:
        return self.now()

    def obstacle(self) -> str | None:
        return None

    def now(self) -> float:
        return time.time()

    def leave(self) -> None:
        """Nobody outlives the benchmark."""

    def close(self) -> None:
        self._members.clear()

    # ── what the workers do ─────────────────────────────────────────────────────────────────────

    def _start(self, member: Member, now: float) -> None:
        order = member.orders[0]
        member.started, member.step, member.rung, member.asked = now, 0, order.rung, None
        member.level = trivial_score(float(order.recipe.values["learning_rate"]))
        self._said.append((member.name, Started(trial=order.trial, segment=order.segment, at=now)))
        heapq.heappush(self._due, (now + float(self._noise.uniform(0.5, 1.5)), member.name))

    def _step(self, member: Member, at: float) -> None:
        """One step and its report; then the end, a question, or the next step a second later."""
        if not member.orders or member.asked is not None or member.started is None:
            return
        order = member.orders[0]
        member.step += 1
        score = member.level - 1.0 / member.step + 0.01 * float(self._noise.normal())
        rows = [(member.step, "score", score, at)]
        self._said.append((member.name, pack_reports(order.trial, order.segment, rows)))
        self.sent += 1
        if member.step >= STEPS:
            self._end(member, "completed", "the function returned", at)
        elif member.rung is not None and member.step >= member.rung:
            member.asked = at
            self._said.append((member.name, Waiting(trial=order.trial, segment=order.segment, step=member.step)))
        else:
            heapq.heappush(self._due, (at + 1.0, member.name))

    def _end(self, member: Member, state: TrialState, why: str, at: float) -> None:
        order = member.orders.popleft()
        started, member.started = member.started or at, None
        ended = Ended(
            trial=order.trial, segment=order.segment, state=state, why=why, step=member.step, started=started, at=at
        )
        self._said.append((member.name, ended))
        if member.orders:
            self._start(member, at)


class Meter:
    """A face that notes CPU seconds ten times a second, those of what is thought beside the loop included."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.marks: list[tuple[float, float, int]] = []

    def show(self, study: object, status: object) -> None:  # noqa: ARG002 - it looks at the clock alone
        self.marks.append((time.time(), time.process_time() - self.crowd.own_s, self.crowd.sent))

    def close(self) -> None:
        pass


def crowd(*, workers: int, seconds: float, sampler: str, stopping: str, seed: int, folder: str) -> dict[str, float]:
    """The share of one core that the coordinator takes, and how long a trial waits for its verdict, once all train."""
    space, executor = measures.space(), Crowd(seed)
    state, store = StudyState(), Store.create(Path(folder) / "study.db")
    identity = {"space": space.to_dict(), "objective": "score", "goal": "maximize", "seed": seed, "sampler": sampler}
    store.acquire(time.time())
    opened = StudyOpened(
        name="crowd",
        kind="sweep",
        function="simulated",
        source_sha256="",
        version="",
        identity=identity,
        at=time.time(),
    )
    begin(state, store, opened, {})
    meter = Meter(executor)
    parallel = executor.open(Job(study="crowd", function="simulated", search_path=(), objective="score"), workers)
    policy = Caviar(
        space=space,
        seed=seed,
        proposer=by_name(sampler),
        stopping=rule_by_name(stopping),
        limits=Limits(),
        parallel=parallel,
        overlapping=True,
    )
    Coordinator(
        study=state,
        store=store,
        policy=policy,
        requests=SweepRequests(policy),
        executor=executor,
        keeper=None,
        timing=Timing(time_budget_s=WARM_S + seconds),
        observers=[meter],
    ).run()
    store.close()
    first = meter.marks[0][0]
    inside = [mark for mark in meter.marks if first + WARM_S <= mark[0] <= first + WARM_S + seconds]
    (begin_s, begin_cpu, begin_sent), (end_s, end_cpu, end_sent) = inside[0], inside[-1]
    waits = [wait for at, wait in executor.decisions if begin_s <= at <= end_s]
    wall_s = end_s - begin_s
    return {
        "core_share": (end_cpu - begin_cpu) / wall_s,
        "decision_median_s": float(np.median(waits)),
        "decision_p99_s": float(np.percentile(waits, 99)),
        "decisions_per_s": len(waits) / wall_s,
        "reports_per_s": (end_sent - begin_sent) / wall_s,
        "trials": len(state.trials),
    }
