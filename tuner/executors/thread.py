"""A worker that trains on a thread of its own while others talk to it: what lives inside each Ray actor."""

from __future__ import annotations

import os
import queue
import threading
import time
import uuid
from collections import deque
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tuner.executors.signals import Signals
from tuner.executors.trial_log import TrialLog
from tuner.record.reports import Row, pack_reports
from tuner.worker.device_memory import give_back
from tuner.worker.messages import (
    Beat,
    Changed,
    Command,
    Did,
    Ended,
    Forget,
    Forgot,
    Held,
    Job,
    Order,
    Reverted,
    Saved,
    Waiting,
    WorkerEvent,
)
from tuner.worker.position import Position
from tuner.worker.training import TrainingFunction, train

# Ended trials leave at least this often; reports alone may gather a little longer.
FLUSH_ENDED_S = 0.02
FLUSH_REPORTS_S = 0.1

_AWAITED = Waiting | Changed | Reverted | Did | Held | Forgot

Batch: TypeAlias = tuple[int, list[WorkerEvent]]


@dataclass(slots=True)
class _Rows:
    """Reports of one segment that have not left yet."""

    trial: int
    segment: int
    rows: list[Row]


class WorkerThread:
    """Trains orders one after another; `send` and `poll` may be called from other threads at any time.

    A batch of events is kept until the next `poll` acknowledges it, so that an answer lost on the way is sent again.
    """

    background_writes = True

    def __init__(
        self, function: TrainingFunction, job: Job, log: TrialLog | None = None, signals: Signals | None = None
    ) -> None:
        self.incarnation = uuid.uuid4().hex
        self._function, self._job, self._log, self._signals = function, job, log, signals
        self._home = Path.cwd()
        self._orders: queue.SimpleQueue[tuple[int, Order]] = queue.SimpleQueue()
        self._commands: queue.SimpleQueue[tuple[int, Command]] = queue.SimpleQueue()
        self._given = self._taken = 0  # orders
        self._changed = threading.Condition()
        self._outbox: deque[WorkerEvent | _Rows] = deque()
        self._leaves_at = 0.0
        self._sent: Batch = (0, [])
        self._progress: tuple[int, int] | None = None
        self._unheard: list[int] = []  # the trials whose orders have not been heard to end, in their order
        threading.Thread(target=self._work, name="tuner-training", daemon=True).start()

    # ── what the coordinator calls ──────────────────────────────────────────────────────────────

    def training(self, acknowledged: int) -> int | None:
        """The trial whose order has not been heard to end by whoever has on record what was said up to a batch."""
        with self._changed:
            self._acknowledge(acknowledged)
            return self._unheard[0] if self._unheard else None

    def submit(self, orders: tuple[Order, ...]) -> None:
        """Queues orders."""
        for order in orders:
            self._given += 1
            with self._changed:
                self._unheard.append(order.trial)
            self._orders.put((self._given, order))

    def send(self, command: Command) -> None:
        """Leaves a command for the next control point."""
        if isinstance(command, Forget):
            self._forget(command.trial)
        else:
            self._commands.put((self._given, command))

    def poll(self, acknowledged: int, wait_s: float) -> Batch:
        """The next batch of events; the one before again where it was not acknowledged."""
        with self._changed:
            self._acknowledge(acknowledged)
        if acknowledged < self._sent[0]:
            return self._sent
        deadline = time.monotonic() + wait_s
        with self._changed:
            while (now := time.monotonic()) < deadline:
                if not self._outbox:
                    self._changed.wait(deadline - now)
                elif now < self._leaves_at:
                    self._changed.wait(min(self._leaves_at, deadline) - now)
                else:
                    break
            gathered, self._outbox = self._outbox, deque()
        events = [
            pack_reports(item.trial, item.segment, item.rows) if isinstance(item, _Rows) else item for item in gathered
        ]
        progress = self._progress  # once: the other thread may end its trial meanwhile
        if not events and progress is not None:
            events = [Beat(trial=progress[0], step=progress[1])]
        self._sent = (self._sent[0] + 1, events)
        return self._sent

    # ── the channel ─────────────────────────────────────────────────────────────────────────────

    def emit(self, event: WorkerEvent) -> None:
        """Sends an event: at once where an answer or new work is needed."""
        if isinstance(event, _AWAITED) or (isinstance(event, Saved) and event.request):
            wait_s = 0.0
        elif isinstance(event, Ended):
            wait_s = 0.0 if self._orders.empty() else FLUSH_ENDED_S
        else:
            wait_s = FLUSH_REPORTS_S
        with self._changed:
            self._schedule(wait_s)
            self._outbox.append(event)

    def add_report(self, trial: int, segment: int, rows: list[Row]) -> None:
        """Buffers reports."""
        with self._changed:
            last = self._outbox[-1] if self._outbox else None
            if isinstance(last, _Rows) and last.trial == trial and last.segment == segment:
                last.rows.extend(rows)
                return
            self._schedule(FLUSH_REPORTS_S)
            self._outbox.append(_Rows(trial, segment, rows))

    def passed(self, trial: int, step: int) -> None:
        """Notes how far the trial has come."""
        self._progress = trial, step  # a Beat made at every step would double its cost

    def receive(self, *, wait: bool) -> Command | None:
        """The next command; what was meant for an order before, which ended without taking it, is passed over."""
        while wait or not self._commands.empty():
            given, command = self._commands.get()
            if given >= self._taken:
                return command
        return None

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _schedule(self, wait_s: float) -> None:
        """The outbox leaves in `wait_s` at the latest."""
        leaves_at = time.monotonic() + wait_s
        if not self._outbox or leaves_at < self._leaves_at:
            self._leaves_at = leaves_at
            self._changed.notify()

    def _acknowledge(self, batch: int) -> None:
        """What was said up to a batch has been heard: of orders that ended in it nothing is left to hear."""
        if batch < self._sent[0]:
            return
        over = [event.trial for event in self._sent[1] if isinstance(event, Ended | Forgot)]
        self._sent = (self._sent[0], [])
        for trial in over:
            self._unheard.remove(trial)

    def _forget(self, trial: int) -> None:
        """Drops an order that has not been taken up; one that has is trained."""
        queued: list[tuple[int, Order]] = []
        while not self._orders.empty():
            with suppress(queue.Empty):  # the training thread may be quicker
                queued.append(self._orders.get_nowait())
        for given, order in queued:
            if order.trial == trial:
                self.emit(Forgot(trial=trial, segment=order.segment))
            else:
                self._orders.put((given, order))

    def _work(self) -> None:
        while True:
            self._taken, order = self._orders.get()
            os.chdir(self._home)  # the trial before may have gone elsewhere
            with (
                self._log.of(order.trial) if self._log is not None else nullcontext(),
                self._signals.of_this_thread() if self._signals is not None else nullcontext(),
            ):
                ended = train(self._function, Position(order, self._job, self))
                give_back()  # before anybody hears of the end: who trains next on this GPU may sit in another process
            self._progress = None
            self.emit(ended)
