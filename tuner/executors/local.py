"""The in-process executor: for tests, debuggers, and replays on a virtual clock.

Training functions run on threads that hand over to one another, so exactly one thing happens at a time and, on the
virtual clock, everything is deterministic: each step takes one virtual second, and the worker whose clock is furthest
behind always goes first, as `parallel` real workers would.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tuner.record.events import Reported
from tuner.record.reports import Row, pack_reports
from tuner.worker.device_memory import give_back
from tuner.worker.messages import (
    Beat,
    Command,
    Ended,
    Event,
    Forget,
    Forgot,
    Job,
    Order,
    Saved,
    Waiting,
    WorkerEvent,
    WorkerLost,
    WorkerReady,
)
from tuner.worker.position import Position
from tuner.worker.training import TrainingFunction, resolve, train

Clock = Literal["wall", "virtual"]

# A lone worker trains this long before it lets the coordinator look in.
_TURN_S = 0.02
# On the virtual clock what was said is heard after so many virtual seconds, or where an answer is needed: never where
# the machine happens to be by then.
_VIRTUAL_TURN_S = 64.0


def _decides(event: WorkerEvent) -> bool:
    return isinstance(event, Reported | Saved | Waiting | Ended)


class _Abandoned(BaseException):
    """Unwinds a training function whose worker was killed."""


class _LocalWorker:
    """One thread of training; it is its own `Channel`."""

    def __init__(self, name: str, executor: LocalExecutor, function: TrainingFunction, job: Job) -> None:
        self.name = name
        self.background_writes = executor.clock == "wall"  # virtual time would not pass meanwhile
        self.time = executor.reached
        self.queue: deque[Order] = deque()
        self.inbox: deque[tuple[int, Command]] = deque()
        self._given = self._taken = 0  # orders
        self.busy = False
        self.blocked = False
        self.killed = False
        self.leaving = False
        self._executor, self._function, self._job = executor, function, job
        self._go = threading.Semaphore(0)
        self._turn = executor.turn
        self._stepped = False
        self._rows: dict[tuple[int, int], list[Row]] = {}
        self._progress: Beat | None = None
        self._telling = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"tuner-{name}", daemon=True)
        self._thread.start()

    @property
    def runnable(self) -> bool:
        """Whether handing over to this worker would get anything done."""
        return bool(self.queue) if not self.busy else not self.blocked or bool(self.inbox)

    @property
    def behind(self) -> tuple[float, str]:
        """Who has the least of these goes first."""
        return self.time, self.name

    def give(self, orders: tuple[Order, ...]) -> None:
        """Queues orders."""
        self._given += len(orders)
        self.queue.extend(orders)

    def forget(self, trial: int) -> list[Order]:
        """Drops the orders for a trial that have not been taken up; they are handed back."""
        forgotten = [order for order in self.queue if order.trial == trial]
        for order in forgotten:
            self.queue.remove(order)
        return forgotten

    def tell(self, command: Command) -> None:
        """Leaves a command for the order in training or, where there is none, the next."""
        self.inbox.append((self._given, command))

    def run(self) -> None:
        """Lets the worker go on; called by the executor, which then waits for its turn to come back."""
        self._turn = self._executor.turn
        self._go.release()

    def _work(self) -> None:
        self._go.acquire()
        while not self.killed:
            if self.queue:
                order = self.queue.popleft()
                self._taken = self._given - len(self.queue)
                self.busy, self._stepped = True, False
                os.chdir(self._executor.home)  # the trial before may have gone elsewhere
                self.time = max(self.time, self._executor.reached)
                ended = train(self._function, Position(order, self._job, self))
                give_back()
                self.busy, self._progress = False, None
                if self.killed:
                    return
                self.emit(ended)
            self._hand_over()

    def _hand_over(self) -> None:
        self._turn.release()
        self._go.acquire()
        if self.killed and self.busy:
            raise _Abandoned

    # ── the channel ─────────────────────────────────────────────────────────────────────────────

    def emit(self, event: WorkerEvent) -> None:
        """Sends an event; a decision point or an end makes the executor return."""
        with self._telling:
            if not self.killed:
                self._flush()
                self._executor.deliver(self.name, event, urgent=isinstance(event, Waiting | Ended))

    def add_report(self, trial: int, segment: int, rows: list[Row]) -> None:
        """Buffers reports."""
        with self._telling:
            self._rows.setdefault((trial, segment), []).extend(rows)

    def flush(self) -> None:
        """Sends the buffered reports, and how far the trial has come since the last time; from any thread."""
        with self._telling:
            self._flush()
            if self._progress is not None:
                self._executor.deliver(self.name, self._progress, urgent=False)
                self._progress = None

    def _flush(self) -> None:
        for (trial, segment), rows in self._rows.items():
            self._executor.deliver(self.name, pack_reports(trial, segment, rows), urgent=False)
        self._rows.clear()

    def passed(self, trial: int, step: int) -> None:
        """A step is over, or the first is about to begin: whoever is behind goes first."""
        if self.killed:
            raise _Abandoned
        self._progress = Beat(trial=trial, step=step)
        if self._executor.clock == "virtual" and self._stepped:
            self.time += 1.0
        self._stepped = True
        if self._executor.step_is_over(self):
            self._hand_over()

    def receive(self, *, wait: bool) -> Command | None:
        """The next command; what was meant for an order before, which ended without taking it, is passed over."""
        while wait or self.inbox:
            while not self.inbox:
                self.blocked = True
                self._hand_over()
                self.blocked = False
                if self._executor.clock == "virtual":  # an answer may have been long in coming
                    self.time = max(self.time, self._executor.reached)
            given, command = self.inbox.popleft()
            if given >= self._taken:
                return command
        return None

    def now(self) -> float:
        """Unix seconds, or this worker's virtual time."""
        return self.time if self._executor.clock == "virtual" else time.time()


class LocalExecutor:
    """Runs `parallel` training functions in this process, one at a time.

    A function that hangs cannot be killed here, only abandoned on its daemon thread.
    """

    outlives = False

    def __init__(self, *, clock: Clock = "wall", function: TrainingFunction | None = None) -> None:
        """`function` is what to call; without it, whatever the job names."""
        self.clock: Clock = clock
        self.turn = threading.Semaphore(0)
        self._job: Job | None = None
        self._function = function
        self._workers: dict[str, _LocalWorker] = {}
        self._events: deque[Event] = deque()
        self._urgent = self._midway = False
        self._time = self._heard_at = 0.0
        self._turn_ends = 0.0
        self._away: _LocalWorker | None = None
        self._names = 0
        self.home = Path.cwd()

    # ── the contract ────────────────────────────────────────────────────────────────────────────

    def open(
        self,
        job: Job,
        parallel: int | None,
        delivered: Mapping[str, int] | None = None,  # noqa: ARG002
    ) -> int:
        """Makes the workers; without `parallel`, one. None outlives this process, so nothing was `delivered`."""
        self._job = job
        self._function = self._function or resolve(job.function, job.search_path)
        workers = parallel or 1
        self.resize(workers)
        return workers

    def submit(self, worker: str, orders: tuple[Order, ...]) -> None:
        """Queues orders."""
        if worker in self._workers:  # else it was dismissed meanwhile, which the next poll says
            self._workers[worker].give(orders)

    def send(self, worker: str, command: Command) -> None:
        """Leaves a command; one that forgets an order takes effect at once."""
        found = self._workers.get(worker)
        if found is None:
            return  # dismissed meanwhile, which the next poll says
        if isinstance(command, Forget):
            for order in found.forget(command.trial):
                self.deliver(worker, Forgot(trial=order.trial, segment=order.segment), urgent=False)
        else:
            found.tell(command)

    def poll(self, timeout_s: float) -> list[Event]:
        """Trains until something needs an answer, or the turn is over."""
        deadline = time.monotonic() + timeout_s
        self._turn_ends = min(deadline, time.monotonic() + _TURN_S)
        if not self._midway:
            self._urgent = bool(self._events)
        goes_on = True
        while not self._is_due and (goes_on := self._advance(deadline)) and time.monotonic() < self._turn_ends:
            pass
        self._midway = self.clock == "virtual" and not self._is_due and (goes_on or self._away is not None)
        if self._midway:  # what is decided from is kept for the end of the turn, wherever the machine is by now
            return [self._events.popleft() for _ in range(self._harmless())]
        self._heard_at = self._time
        for worker in self._workers.values():
            worker.flush()
        self._dismiss()
        if not self._events and self._away is None and not any(each.runnable for each in self._workers.values()):
            time.sleep(max(0.0, deadline - time.monotonic()))
        return [self._events.popleft() for _ in range(len(self._events))]

    def kill(self, worker: str, why: str) -> None:
        """Abandons the worker's thread and puts a fresh worker in its place."""
        self._abandon(self._workers.pop(worker))
        self._events.append(WorkerLost(worker=worker, why=why))
        self._hire(worker)

    def resize(self, parallel: int) -> None:
        """Adds workers, or lets some go: idle ones first, then the newest, each after its trial."""
        idle_last = sorted(self._workers.values(), key=lambda each: not (each.busy or each.queue))
        for place, worker in enumerate(idle_last):
            worker.leaving = place >= parallel
        for _ in range(parallel - len(idle_last)):
            self._names += 1
            self._hire(f"worker-{self._names}")
        self._dismiss()

    def obstacle(self) -> str | None:
        """Nothing stands in the way of a thread."""
        return None

    def now(self) -> float:
        """Unix seconds, or the virtual time reached when events were last heard."""
        return self._heard_at if self.clock == "virtual" else time.time()

    def elapsed(self) -> float:
        """Seconds by a clock that nobody sets, or the virtual time."""
        return self._heard_at if self.clock == "virtual" else time.monotonic()

    @property
    def reached(self) -> float:
        """Unix seconds, or the virtual time reached by the workers."""
        return self._time if self.clock == "virtual" else time.time()

    def leave(self) -> None:
        """Lets every worker go: none lives longer than this process."""
        self.close()

    def close(self) -> None:
        """Lets every worker go."""
        for worker in self._workers.values():
            self._abandon(worker)
        self._workers.clear()
        os.chdir(self.home)

    # ── for the workers ─────────────────────────────────────────────────────────────────────────

    def deliver(self, worker: str, event: WorkerEvent, *, urgent: bool) -> None:
        """Takes an event from a worker."""
        self._events.append((worker, event))
        self._urgent = self._urgent or urgent

    def step_is_over(self, worker: _LocalWorker) -> bool:
        """Whether the worker should hand over; moves the virtual clock on where it goes first."""
        if self.clock == "virtual":
            if any(other.runnable and other.behind < worker.behind for other in self._workers.values()):
                return True
            self._time = max(self._time, worker.time)
        elif len(self._workers) > 1:
            return True
        return self._urgent or time.monotonic() >= self._turn_ends

    # ── taking turns ────────────────────────────────────────────────────────────────────────────

    @property
    def _is_due(self) -> bool:
        """Whether what was said is to be heard now."""
        if self.clock == "wall":
            return self._urgent
        return self._away is None and (self._urgent or self._time - self._heard_at >= _VIRTUAL_TURN_S)

    def _harmless(self) -> int:
        """How many events may be heard before those that decisions follow from."""
        events = tuple(self._events)  # one that is away may deliver meanwhile
        kept = (place for place, event in enumerate(events) if isinstance(event, tuple) and _decides(event[1]))
        return next(kept, len(events))

    def _advance(self, deadline: float) -> bool:
        """Lets the worker that is furthest behind go on until it hands over; False when nobody can."""
        worker = self._away
        if worker is None:
            runnable = [worker for worker in self._workers.values() if worker.runnable]
            if not runnable:
                return False
            worker = min(runnable, key=lambda each: each.behind)
            if self.clock == "virtual":
                self._time = max(self._time, worker.time)
            worker.run()
        # A function that takes long between two steps keeps the turn; the coordinator goes on without it meanwhile.
        came_back = self.turn.acquire(timeout=max(0.0, deadline - time.monotonic()))
        self._away = None if came_back else worker
        if came_back and self.clock == "wall":
            worker.time = self.now()  # whoever has waited longest goes next
        return came_back

    def _hire(self, name: str) -> None:
        if self._job is None or self._function is None:
            raise RuntimeError("the executor has not been opened")
        self._workers[name] = _LocalWorker(name, self, self._function, self._job)
        self._events.append(WorkerReady(worker=name, node="local", pid=os.getpid()))

    def _dismiss(self) -> None:
        """Lets workers go that are not needed any more and train nothing now."""
        for worker in [each for each in self._workers.values() if each.leaving and not each.busy]:
            if worker is not self._away:
                self._abandon(self._workers.pop(worker.name))
                self._events.append(WorkerLost(worker=worker.name, why="no longer needed", preempted=True))

    def _abandon(self, worker: _LocalWorker) -> None:
        worker.killed = True
        if worker is self._away:
            self._away = None
            self.turn = threading.Semaphore(0)  # the old turn may still come back, to nobody
        else:
            worker.run()
