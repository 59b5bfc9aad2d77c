"""The contract of an executor, whichever way it runs what it is given.

In order: the events of one worker arrive as they happened, and what was reported before an event comes before it;
nothing is guaranteed between two workers. A worker trains its orders in the order they were submitted, and takes
its commands in the order they were sent, each between two steps; one for a trial that it does not train does nothing.

Once: every order ends in one `Ended` or `Forgot`, or with its worker in `WorkerLost`. After `WorkerLost` nothing more
comes from that worker until its next `WorkerReady`. A worker that outlives its coordinator sends again what was not
on record, and `Delivered` says how far that is.

At once: `submit` and `send` never wait for training. Each is held to this by `tests/contracts/test_executors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tuner.worker.messages import Command, Event, Job, Order


class Executor(Protocol):
    """Where training functions run. Workers have names; each trains its orders one after another."""

    outlives: bool
    """Whether workers may go on when their coordinator dies, and be there already when the next one opens."""

    def open(self, job: Job, parallel: int | None, delivered: Mapping[str, int] | None = None) -> int:
        """Makes the workers; returns how many there will be.

        `delivered` says what is on record already of workers that outlived their coordinator, by incarnation.
        """
        ...

    def submit(self, worker: str, orders: tuple[Order, ...]) -> None:
        """Queues orders on a worker."""
        ...

    def send(self, worker: str, command: Command) -> None:
        """Sends a command that takes effect between two steps."""
        ...

    def poll(self, timeout_s: float) -> list[Event]:
        """Events since the last call; waits at most `timeout_s` for the first."""
        ...

    def kill(self, worker: str, why: str) -> None:
        """Ends a worker that does not answer; `WorkerLost` and a fresh `WorkerReady` follow."""
        ...

    def resize(self, parallel: int) -> None:
        """Changes the number of workers; those not needed go when they are idle."""
        ...

    def obstacle(self) -> str | None:
        """Why workers that were asked for do not stand yet, as a sentence, or None."""
        ...

    def now(self) -> float:
        """Unix seconds by this executor's clock."""
        ...

    def elapsed(self) -> float:
        """Seconds that pass evenly, from some moment on: limits are measured by them, whatever the clock is set to."""
        ...

    def leave(self) -> None:
        """Goes without ending the workers that outlive their coordinator; what they train goes on. Else `close`."""
        ...

    def close(self) -> None:
        """Ends the workers."""
        ...
