"""The callers: programs that wait for a trial, in the order in which they asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tuner.worker.messages import Said, WorkerReady


@dataclass(slots=True)
class Caller:
    """A program that waits for a trial."""

    name: str
    node: str
    pid: int
    steps: int | None
    """How many steps it means to train."""
    until: float
    standing: str
    """What there is to say to it where it gets none."""
    unanswered: list[Said]
    ready: bool = False
    """Whether the coordinator knows of it."""

    def stands_ready(self) -> WorkerReady:
        """The coordinator gets to know of it."""
        self.ready = True
        return WorkerReady(worker=self.name, node=self.node, pid=self.pid, lent=True)


class Callers:
    """All who wait."""

    def __init__(self) -> None:
        self._waiting: dict[str, Caller] = {}
        self.ever = False
        """Whether anybody has ever asked."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Caller]:
        return iter(list(self._waiting.values()))

    def hear(self, worker: str, said: Said, now: float) -> None:
        """A program asks, for the first time or again."""
        given = said.arguments
        until, self.ever = now + (given.get("wait_s") or 0.0), True
        caller = self._waiting.get(worker)
        if caller is not None:
            caller.until, caller.standing = max(until, caller.until), said.standing
            caller.unanswered.append(said)
            return
        self._waiting[worker] = Caller(
            name=worker,
            node=given.get("node") or "elsewhere",
            pid=given.get("pid") or 0,
            steps=given.get("steps"),
            until=until,
            standing=said.standing,
            unanswered=[said],
        )

    def served(self, worker: str) -> Caller | None:
        """A program that waits, which it does no longer; None where that one does not."""
        return self._waiting.pop(worker, None)

    @property
    def ready(self) -> list[Caller]:
        """Those that the coordinator knows of."""
        return [caller for caller in self._waiting.values() if caller.ready]
