"""The Ray executor: a pool of warm workers, each an actor with a control channel.

Ray restarts a worker that died (`max_restarts=-1`) but never repeats a call (`max_task_retries=0`): what to train
again is the coordinator's to decide. Each life of a worker has an incarnation, so that a command meant for a dead one
never reaches its successor.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # both are read when Ray is imported, here and below
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a FutureWarning

import ray
import ray.exceptions

from tuner.errors import ExecutorError, TunerError
from tuner.executors.connection import Connection, attach, detach, environment, sent_along
from tuner.executors.resources import Resources
from tuner.executors.scaling import Demand, grows, is_beyond, is_taken_away
from tuner.executors.signals import Signals
from tuner.executors.thread import Batch, WorkerThread
from tuner.executors.trial_log import TrialLog
from tuner.worker.messages import Command, Delivered, Ended, Event, Forgot, Job, Order, Started, WorkerLost, WorkerReady
from tuner.worker.training import check_results_are_shared, resolve

_POLL_WAIT_S = 1.0
_MOMENT_S = 3.0
_MOST_UNASKED = 64
_RETRY_S = 0.5
_GROUPS = {"poll": 1, "control": 1}


@dataclass(frozen=True, kw_only=True)
class _Hello:
    """How a worker introduces itself; `problem` says why it cannot train."""

    incarnation: str
    node: str
    pid: int
    problem: str | None
    training: int | None


class _RayWorker:
    """The actor: forwards to a `WorkerThread`."""

    def __init__(self, job: Job) -> None:
        self._problem: str | None = None
        home = Path(job.search_path[0]) if job.search_path else None
        if home is not None and home.is_dir():
            os.chdir(home)  # a training function's relative paths mean what they mean to its author
        try:
            check_results_are_shared(job)
            self._log = None if job.log_folder is None else TrialLog(job.log_folder)
            signals = Signals() if threading.current_thread() is threading.main_thread() else None
            self._thread = WorkerThread(resolve(job.function, job.search_path), job, self._log, signals)
        except TunerError as error:
            self._problem = str(error)
        except BaseException as error:  # the user's module may do anything when it is imported, also exit
            self._problem = f"{job.function!r:.200} cannot be imported on this worker: {type(error).__name__}: {error}"

    def hello(self, delivered: dict[str, int]) -> _Hello:
        incarnation = "" if self._problem else self._thread.incarnation
        node = f"{os.uname().nodename}:{ray.get_runtime_context().get_node_id()[:6]}"
        training = None if self._problem else self._thread.training(delivered.get(incarnation, 0))
        return _Hello(incarnation=incarnation, node=node, pid=os.getpid(), problem=self._problem, training=training)

    def tell(self, incarnation: str, orders: tuple[Order, ...], command: Command | None) -> None:
        if incarnation != self._thread.incarnation:
            return
        if orders:
            self._thread.submit(orders)
        if command is not None:
            self._thread.send(command)

    def poll(self, incarnation: str, acknowledged: int) -> Batch | None:
        if incarnation != self._thread.incarnation:
            return None
        if self._log is not None:
            self._log.trim()
        return self._thread.poll(acknowledged, _POLL_WAIT_S)


@dataclass(slots=True)
class _Seat:
    """What the executor knows of one worker."""

    name: str
    number: int
    actor: Any
    incarnation: str = ""
    node: str = ""
    killed_because: str = ""
    retry_at: float | None = None
    busy: bool = False
    leaving: bool = False
    gone: bool = False


class RayExecutor:
    """Runs training functions on a Ray cluster, `address="local"` starting one on this machine."""

    def __init__(
        self,
        *,
        address: str | None = None,
        resources: Resources | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        ship: Path | None = None,
        keep: str | None = None,
        most: int | None = None,
    ) -> None:
        """`resources` are those of a trial, `runtime_env` what Ray makes ready for it; `ship` is a folder of code that
        other nodes need, where `runtime_env` has no `working_dir`. No more workers are asked for by themselves than
        `most`, the trials that there will be. With `keep`, a name, workers outlive this process on a cluster, and the
        next executor of that name takes them over with everything they have said meanwhile.
        """
        self.outlives = keep is not None and address not in (None, "local")
        self._keep = keep if self.outlives else None
        self._delivered: dict[str, int] = {}
        self._heard: list[tuple[_Seat, int]] = []
        self._address = address or "local"
        self._resources = Resources() if resources is None else resources
        self._runtime_env = environment(runtime_env or {})
        self._ship, self._most = None if "working_dir" in self._runtime_env else ship, most
        self._demand = Demand()
        self._job: Job | None = None
        self._seats: dict[str, _Seat] = {}
        self._arrived: queue.SimpleQueue[tuple[_Seat, str, Any]] = queue.SimpleQueue()
        self._events: list[Event] = []
        self._connection: Connection | None = None
        self._names, self.elapsed = 0, time.monotonic
        self._opened_at = self._looks_again_at = 0.0

    # ── the contract ────────────────────────────────────────────────────────────────────────────

    def open(self, job: Job, parallel: int | None, delivered: Mapping[str, int] | None = None) -> int:
        """Connects, or starts Ray, and asks for the workers; they announce themselves in `poll`."""
        # what lies in the folder that it is given comes before what lies at home
        self._job = replace(job, search_path=()) if "working_dir" in self._runtime_env else job
        self._delivered = dict(delivered or {})
        self._connection = attach(self._address, (parallel or 1) * self._resources.cpus, self._ship)
        self._runtime_env = sent_along(self._runtime_env)
        self._opened_at = time.monotonic()
        workers = parallel or self._as_many_as_fit()
        if self._address == "local" and self._fitting() < 1:
            raise self._nowhere()
        self.resize(workers)
        return workers

    def submit(self, worker: str, orders: tuple[Order, ...]) -> None:
        """Queues orders on a worker."""
        if (seat := self._seats.get(worker)) is not None:  # else it was dismissed meanwhile, which the next poll says
            seat.busy = True
            seat.actor.tell.options(concurrency_group="control").remote(seat.incarnation, orders, None)

    def send(self, worker: str, command: Command) -> None:
        """Sends a command."""
        if (seat := self._seats.get(worker)) is not None:
            seat.actor.tell.options(concurrency_group="control").remote(seat.incarnation, (), command)

    def poll(self, timeout_s: float) -> list[Event]:
        """Events of all workers; waits for the first. What came with the last call counts as recorded now."""
        self._retry_lost()
        self._check_it_can_be_placed()
        heard, self._heard = self._heard, []
        for seat, batch in heard:
            if not seat.gone and seat.incarnation:
                self._ask(seat, batch)
        timeout = 0.0 if self._events else timeout_s
        try:
            while True:
                self._take(*self._arrived.get(timeout=timeout) if timeout else self._arrived.get_nowait())
                timeout = 0.0
        except queue.Empty:
            pass
        events, self._events = self._events, []
        return events

    def kill(self, worker: str, why: str) -> None:
        """Kills the worker's process; Ray starts another in its place."""
        seat = self._seats[worker]
        seat.killed_because = why
        ray.kill(seat.actor, no_restart=False)

    def resize(self, parallel: int) -> None:
        """Adds workers, or lets some go: idle ones first, then the newest, each after its trial."""
        idle_last = sorted(self._seats.values(), key=lambda seat: not seat.busy)
        for place, seat in enumerate(idle_last):
            seat.leaving = place >= parallel
            if seat.leaving and not seat.busy:
                self._dismiss(seat)
        if self._address != "local" and parallel > len(idle_last):
            self._demand.ask(self._resources.bundle, parallel if self._most is None else min(parallel, self._most))
        for _ in range(parallel - len(idle_last)):
            self._hire()

    def obstacle(self) -> str | None:
        """Why workers wait for a place."""
        waiting = sum(not seat.incarnation for seat in self._seats.values())
        if not waiting or ((fitting := self._fitting()) and time.monotonic() - self._opened_at < _MOMENT_S):
            return None
        total, free = ray.cluster_resources(), ray.available_resources()  # type: ignore[no-untyped-call]
        return self._resources.obstacle(waiting, len(self._seats), fitting, _nodes(), total, free)

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def leave(self) -> None:
        """Goes without ending the workers that outlive this process."""
        self._close(ends=not self.outlives)

    def close(self) -> None:
        """Ends the workers, and Ray where this executor started it."""
        self._close(ends=True)

    def _close(self, *, ends: bool) -> None:
        for seat in self._seats.values():
            seat.gone = True
            try:
                if ends:
                    ray.kill(seat.actor)
            except Exception as error:  # the cluster may be gone already
                logging.getLogger("tuner").debug("a worker could not be ended: %s", error)
            self._leave_seat(seat)
        self._seats.clear()
        self._demand.take_back()
        connection, self._connection = self._connection, None
        if connection is not None:
            detach(connection)

    # ── workers ─────────────────────────────────────────────────────────────────────────────────

    def _hire(self) -> None:
        if self._connection is None:
            raise RuntimeError("the executor has not been opened")
        self._names += 1
        remote = ray.remote(concurrency_groups=_GROUPS)(_RayWorker).options(  # type: ignore[call-overload]
            num_cpus=self._connection.seat((id(self), self._names), self._resources.cpus),
            num_gpus=self._resources.gpus,
            memory=self._resources.others.get("memory"),
            resources={kind: each for kind, each in self._resources.others.items() if kind != "memory"},
            max_restarts=-1,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            **({"runtime_env": self._runtime_env} if self._runtime_env else {}),
            **self._kept(self._names),
        )
        seat = _Seat(f"worker-{self._names}", self._names, remote.remote(self._job))
        self._seats[seat.name] = seat
        self._greet(seat)

    def _kept(self, number: int) -> dict[str, Any]:
        """What makes a worker outlive its coordinator, and be found again."""
        if self._keep is None:
            return {}
        name = f"{self._keep}-{number}"
        return {"name": name, "namespace": "tuner", "lifetime": "detached", "get_if_exists": True}

    def _greet(self, seat: _Seat) -> None:
        self._listen(seat, "hello", seat.actor.hello.options(concurrency_group="control").remote(self._delivered))

    def _ask(self, seat: _Seat, acknowledged: int) -> None:
        call = seat.actor.poll.options(concurrency_group="poll")
        self._listen(seat, "poll", call.remote(seat.incarnation, acknowledged))

    def _listen(self, seat: _Seat, kind: str, reference: Any) -> None:
        arrived = self._arrived
        reference.future().add_done_callback(lambda future: arrived.put((seat, kind, _outcome(future))))

    def _take(self, seat: _Seat, kind: str, outcome: Any) -> None:
        """One answer of one worker."""
        if seat.gone:
            return
        match outcome:
            case ray.exceptions.RayActorError() if "creation task" in str(outcome):
                last = str(outcome).strip().splitlines()[-1].strip()
                ray.kill(seat.actor)  # one that is to outlive this process would be found again, as it is
                raise ExecutorError(f"workers cannot start: {last}. Is the same tuner installed on every node?")
            case ray.exceptions.RuntimeEnvSetupError():
                last = str(outcome).strip().splitlines()[-1].strip()
                raise ExecutorError(f"workers cannot start: their runtime_env could not be made ready: {last}")
            case ray.exceptions.RayActorError():
                self._mourn(seat, outcome)
            case BaseException():
                raise ExecutorError(f"{seat.name} answered with an error of its own: {outcome}") from outcome
            case _Hello(problem=str(problem)):
                ray.kill(seat.actor)
                raise ExecutorError(problem)
            case _Hello():
                seat.incarnation = outcome.incarnation
                seat.node = outcome.node.rpartition(":")[2]
                training = outcome.training if self.outlives else None
                self._events.append(
                    WorkerReady(worker=seat.name, node=outcome.node, pid=outcome.pid, training=training)
                )
                self._ask(seat, self._delivered.get(seat.incarnation, 0))
                if all(each.incarnation for each in self._seats.values()):
                    self._demand.take_back()
            case (int(number), list(events)):
                self._events.extend((seat.name, event) for event in events)
                if self.outlives:
                    self._events.append(Delivered(worker=seat.name, incarnation=seat.incarnation, batch=number))
                self._see_whether_busy(seat, events)
                self._heard.append((seat, number))
            case None:  # a poll meant for the incarnation before
                self._mourn(seat, None)
            case _:
                raise ExecutorError(f"{seat.name} answered {kind} with {outcome!r:.200}")

    def _mourn(self, seat: _Seat, error: ray.exceptions.RayActorError | None) -> None:
        """The worker died: says so once, then waits for the next life."""
        if seat.incarnation:
            # an error of a connection that broke says nothing of the node behind it
            preempted = bool(getattr(error, "preempted", False)) or is_taken_away(seat.node)
            why = seat.killed_because or (_PREEMPTED if preempted else _why(error))
            self._events.append(WorkerLost(worker=seat.name, why=why, preempted=preempted))
            if isinstance(error, ray.exceptions.ActorUnavailableError) and not seat.killed_because:
                ray.kill(seat.actor, no_restart=False)  # it may live on behind a broken connection
        seat.incarnation = seat.killed_because = ""
        seat.busy = False
        if seat.leaving:
            self._remove(seat)
            return
        seat.retry_at = time.monotonic() + _RETRY_S

    def _see_whether_busy(self, seat: _Seat, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, Started | Ended | Forgot):
                seat.busy = isinstance(event, Started)
        if seat.leaving and not seat.busy:
            self._dismiss(seat)

    def _dismiss(self, seat: _Seat) -> None:
        """Lets a worker go that is not needed any more and trains nothing now."""
        if seat.incarnation:
            self._events.append(WorkerLost(worker=seat.name, why="no longer needed", preempted=True))
        self._remove(seat)

    def _remove(self, seat: _Seat) -> None:
        seat.gone = True
        del self._seats[seat.name]
        self._leave_seat(seat)
        ray.kill(seat.actor)

    def _leave_seat(self, seat: _Seat) -> None:
        if self._connection is not None:
            self._connection.leave_seat((id(self), seat.number))

    def _retry_lost(self) -> None:
        for seat in self._seats.values():
            if seat.retry_at is not None and time.monotonic() >= seat.retry_at:
                seat.retry_at = None
                self._greet(seat)

    # ── the cluster ─────────────────────────────────────────────────────────────────────────────

    def _as_many_as_fit(self) -> int:
        """How many workers the cluster holds, or may come to hold: where it grows, only its autoscaler knows."""
        fitting = self._fitting()
        if self._address != "local" and grows():
            fitting = max(fitting, _MOST_UNASKED if self._most is None else min(self._most, _MOST_UNASKED))
        if fitting < 1:
            raise self._nowhere()
        return fitting if self._most is None else max(1, min(fitting, self._most))

    def _fitting(self) -> int:
        """How many trials the nodes that are there hold at a time."""
        held = sum(self._resources.on(node) for node in _nodes())
        return (os.cpu_count() or 1) if held == inf else int(held)

    def _check_it_can_be_placed(self) -> None:
        """Gives up where workers wait for a node that the autoscaler says it cannot start."""
        if not self._demand.asked or time.monotonic() < self._looks_again_at:
            return
        self._looks_again_at = time.monotonic() + _MOMENT_S
        stands = any(seat.incarnation for seat in self._seats.values())
        if not stands and is_beyond(self._resources.bundle) and self._fitting() < 1:  # in this order, as nodes arrive
            raise self._nowhere(", and the autoscaler has no kind of node that is larger")

    def _nowhere(self, further: str = "") -> ExecutorError:
        return ExecutorError(
            f"no trial can be placed: asked for {self._resources.beside(_nodes())}{further}. Ask for less (cpus=, "
            "gpus=, resources=) or add a node."
        )


def _nodes() -> list[dict[str, float]]:
    """What each node of the cluster has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _outcome(future: Any) -> Any:
    error = future.exception()
    return error if error is not None else future.result()


def _why(error: ray.exceptions.RayActorError | None) -> str:
    if error is None:
        return "its process was replaced"
    text = str(error)
    for sign, sentence in _CAUSES.items():
        if sign in text:
            return sentence
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return "its process died, or its node cannot be reached"
    return "its process died"


_PREEMPTED = "its node was preempted"
# By what Ray's messages say; how a process died stands in Ray's own logs.
_CAUSES = {
    "out of memory": "its process was killed: the node ran out of memory",
    "OOM": "its process was killed: the node ran out of memory",
    "its node has died": "its node died",
    "preempted": _PREEMPTED,
}
