"""The workers as the coordinator sees them: what each trains, what waits in its queue, and who gets the next trial."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

# Non-adaptive samplers are drawn ahead by this much work a worker, at most this many trials.
_AHEAD_S = 0.25
_AHEAD_TRIALS = 512
# Adaptive ones wait for what they can learn from, unless trials are so short that workers would starve.
_SHORT_TRIAL_S = 0.05
_THOUGHT_AHEAD_S = 0.02  # of work that waits beside it then: about what a turn with a dozen decisions takes
_THOUGHT_AHEAD_TRIALS = 64  # of a millisecond or less: what is drawn together learns nothing from one another
# Of a thousand workers one speaks every millisecond, and a turn and its commit for each alone would cost half a core.
_COMPANY_S = 5e-6  # a worker
_NOTICEABLE_S, _LONGEST_COMPANY_S = 1e-3, 0.01


@dataclass(slots=True)
class Worker:
    """One worker: the first trial of its queue trains, the others wait there."""

    name: str
    node: str
    pid: int
    place: int = 0
    """How many have joined before it."""
    queue: deque[int] = field(default_factory=deque)
    started_at: float | None = None
    """Since when it trains without a break, as `last_sign` and `told_to_stop` in seconds of `Executor.elapsed`."""
    last_sign: float = 0.0
    last_step: int = -1
    told_to_stop: float | None = None
    alone: bool = False
    """Whether nothing may wait behind what it trains."""
    lent: bool = False
    """Whether it is a program of its own, see `WorkerReady`."""

    @property
    def training(self) -> int | None:
        """The trial it trains, or is about to."""
        return self.queue[0] if self.queue else None


class WorkerPool:
    """All workers, and the trials that wait for one."""

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}
        self.ready: deque[int] = deque()
        # By how much they hold, by place: of a thousand with full queues none is looked at to find an opening.
        self._holding: defaultdict[int, dict[int, Worker]] = defaultdict(dict)
        self._joined = 0
        self._worker_of: dict[int, Worker] = {}
        self._recalled: set[int] = set()
        self._mean_s: float | None = None

    def join(self, name: str, node: str, pid: int, now: float, *, lent: bool = False) -> None:
        """A worker stands ready; one that is `lent` its trials has nothing waiting behind what it trains."""
        if (known := self.workers.get(name)) is not None:
            self._no_longer_holds(known, len(known.queue))
        place = self._joined if known is None else known.place
        self.workers[name] = worker = Worker(name, node, pid, place, last_sign=now, lent=lent)
        self._holding[0][place] = worker
        self._joined += 1

    def leave(self, name: str) -> Worker | None:
        """A worker is gone; it is handed back with what it had in its queue."""
        worker = self.workers.pop(name, None)
        if worker is None:
            return None
        self._no_longer_holds(worker, len(worker.queue))
        for trial in worker.queue:
            del self._worker_of[trial]
            self._recalled.discard(trial)
        return worker

    def assign(self, worker: Worker, trial: int, now: float, *, alone: bool = False) -> None:
        """Puts a trial into a worker's queue; with `alone`, nothing may wait behind it."""
        if not worker.queue:
            worker.last_sign = now
        worker.alone = alone
        before = len(worker.queue)
        worker.queue.append(trial)
        self._holds_now(worker, before)
        self._worker_of[trial] = worker

    def release(self, trial: int) -> None:
        """Takes a trial away from wherever it is."""
        self._recalled.discard(trial)
        worker = self._worker_of.pop(trial, None)
        if worker is None:
            if trial in self.ready:
                self.ready.remove(trial)
            return
        if worker.training == trial:
            worker.started_at, worker.alone = None, False
        before = len(worker.queue)
        worker.queue.remove(trial)
        self._holds_now(worker, before)

    def _holds_now(self, worker: Worker, before: int) -> None:
        if self.workers.get(worker.name) is not worker:
            return  # another has joined under its name
        self._no_longer_holds(worker, before)
        self._holding[len(worker.queue)][worker.place] = worker

    def _no_longer_holds(self, worker: Worker, before: int) -> None:
        del self._holding[before][worker.place]
        if not self._holding[before]:
            del self._holding[before]  # openings look at every length there is

    def recall(self) -> list[tuple[Worker, int]]:
        """What waits behind other trials while workers stand idle, to be asked back: one trial for each of those."""
        idle = len(self._holding[0])
        waiting = [(worker, trial) for worker in self.workers.values() for trial in list(worker.queue)[1:]]
        found = [(worker, trial) for worker, trial in waiting if trial not in self._recalled]
        recalled = found[max(0, len(found) - max(0, idle - len(self._recalled))) :]
        self._recalled.update(trial for _, trial in recalled)
        return recalled

    def worker_of(self, trial: int) -> Worker | None:
        """The worker that has the trial, in training or in its queue."""
        return self._worker_of.get(trial)

    def busy(self) -> list[Worker]:
        """The workers with something to train."""
        return [] if self.idle else [worker for worker in self.workers.values() if worker.queue]

    @property
    def idle(self) -> bool:
        """Whether no worker has anything to train."""
        return len(self._holding[0]) == len(self.workers)

    @property
    def company_s(self) -> float:
        """How long what one worker says waits for what others say, before a turn takes all of it; 0 for few."""
        company_s = _COMPANY_S * len(self.workers)
        return 0.0 if company_s < _NOTICEABLE_S else min(company_s, _LONGEST_COMPANY_S)

    def took(self, seconds: float) -> None:
        """Notes how long a trial took."""
        self._mean_s = seconds if self._mean_s is None else 0.8 * self._mean_s + 0.2 * seconds

    def depth(self, *, adaptive: bool, asks: bool, overlapping: bool = False) -> int:
        """How many trials a queue may hold, the one in training included.

        Deep queues are for short trials: those nobody stops (`asks`: running ones wait for verdicts), or those that end
        while others are thought of (`overlapping`).
        """
        mean_s = self._mean_s
        if adaptive:
            if mean_s is None or mean_s >= _SHORT_TRIAL_S or len(self.workers) < 2:
                return 1
            if not overlapping:
                return 2
            return max(2, min(_THOUGHT_AHEAD_TRIALS, int(_THOUGHT_AHEAD_S / max(mean_s, 1e-6))))
        if mean_s is None or asks:
            return 2
        return max(2, min(_AHEAD_TRIALS, int(_AHEAD_S / max(mean_s, 1e-6))))

    def openings(self, depth: int) -> Iterator[Worker]:
        """Workers with room for one more trial, the shortest queue first; each expects to be given one."""
        heap = [
            (held, place, worker)
            for held, workers in self._holding.items()
            if held < depth
            for place, worker in workers.items()
            if not (worker.alone or (worker.lent and held))
        ]
        heapq.heapify(heap)
        while heap and heap[0][0] < depth:
            length, place, worker = heap[0]
            yield worker
            if worker.alone or worker.lent:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (length + 1, place, worker))
