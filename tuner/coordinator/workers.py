"""The workers as the coordinator sees them: what each trains, what waits in its queue, and who gets the next trial."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

# Non-adaptive samplers are drawn ahead by this much work a worker, at most this many trials.
_AHEAD_S = 0.25
_AHEAD_TRIALS = 512
# Adaptive ones wait for what they can learn from, unless trials are so short that workers would starve.
_SHORT_TRIAL_S = 0.05


@dataclass(slots=True)
class Desk:
    """One worker: the first trial of its queue trains, the others wait there."""

    name: str
    node: str
    pid: int
    queue: deque[int] = field(default_factory=deque)
    started_at: float | None = None
    last_sign: float = 0.0
    last_step: int = -1
    told_to_stop: float | None = None
    alone: bool = False
    """Whether nothing may wait behind what it trains."""

    @property
    def training(self) -> int | None:
        """The trial it trains, or is about to."""
        return self.queue[0] if self.queue else None


class Crew:
    """All workers, and the trials that wait for one."""

    def __init__(self) -> None:
        self.desks: dict[str, Desk] = {}
        self.ready: deque[int] = deque()
        self._desk_of: dict[int, Desk] = {}
        self._recalled: set[int] = set()
        self._mean_s: float | None = None

    def join(self, name: str, node: str, pid: int, now: float) -> None:
        """A worker stands ready."""
        self.desks[name] = Desk(name, node, pid, last_sign=now)

    def leave(self, name: str) -> Desk | None:
        """A worker is gone; its desk is handed back with whatever lay on it."""
        desk = self.desks.pop(name, None)
        for trial in desk.queue if desk is not None else ():
            del self._desk_of[trial]
            self._recalled.discard(trial)
        return desk

    def assign(self, desk: Desk, trial: int, now: float, *, alone: bool = False) -> None:
        """Puts a trial into a worker's queue; with `alone`, nothing may wait behind it."""
        if not desk.queue:
            desk.last_sign = now
        desk.alone = alone
        desk.queue.append(trial)
        self._desk_of[trial] = desk

    def release(self, trial: int) -> None:
        """Takes a trial away from wherever it is."""
        self._recalled.discard(trial)
        desk = self._desk_of.pop(trial, None)
        if desk is None:
            if trial in self.ready:
                self.ready.remove(trial)
            return
        if desk.training == trial:
            desk.started_at, desk.alone = None, False
        desk.queue.remove(trial)

    def recall(self) -> list[tuple[Desk, int]]:
        """What waits behind other trials while workers stand idle, to be asked back: one trial for each of those."""
        idle = sum(not desk.queue for desk in self.desks.values())
        waiting = [(desk, trial) for desk in self.desks.values() for trial in list(desk.queue)[1:]]
        found = [(desk, trial) for desk, trial in waiting if trial not in self._recalled]
        recalled = found[max(0, len(found) - max(0, idle - len(self._recalled))) :]
        self._recalled.update(trial for _, trial in recalled)
        return recalled

    def desk_of(self, trial: int) -> Desk | None:
        """The worker that has the trial, in training or in its queue."""
        return self._desk_of.get(trial)

    def busy(self) -> list[Desk]:
        """The workers with something to train."""
        return [desk for desk in self.desks.values() if desk.queue]

    def took(self, seconds: float) -> None:
        """Notes how long a trial took."""
        self._mean_s = seconds if self._mean_s is None else 0.8 * self._mean_s + 0.2 * seconds

    def depth(self, *, adaptive: bool, asks: bool) -> int:
        """How many trials a queue may hold, the one in training included.

        Deep queues are for short trials that nobody stops: `asks` says that running trials wait for verdicts.
        """
        mean_s = self._mean_s
        if adaptive:
            return 2 if mean_s is not None and mean_s < _SHORT_TRIAL_S and len(self.desks) > 1 else 1
        if mean_s is None or asks:
            return 2
        return max(2, min(_AHEAD_TRIALS, int(_AHEAD_S / max(mean_s, 1e-6))))

    def openings(self, depth: int) -> Iterator[Desk]:
        """Workers with room for one more trial, the shortest queue first; each expects to be given one."""
        open_desks = [desk for desk in self.desks.values() if len(desk.queue) < depth and not desk.alone]
        heap = [(len(desk.queue), place, desk) for place, desk in enumerate(open_desks)]
        heapq.heapify(heap)
        while heap and heap[0][0] < depth:
            length, place, desk = heap[0]
            yield desk
            if desk.alone:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (length + 1, place, desk))
