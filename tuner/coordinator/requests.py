"""What the loop asks of whoever answers people: each request becomes an answer, and what it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tuner.errors import TunerError
from tuner.record.events import Answered, Reported, Requested, RequestState
from tuner.record.trial import Trial
from tuner.worker.messages import Effect

if TYPE_CHECKING:
    from tuner.coordinator.loop import Coordinator


class Refused(TunerError):
    """A request that cannot be done, and why."""


class Steering(Protocol):
    """What people may ask of a running study, and what workers say of it."""

    attention_s: float
    """How long a request may lie before somebody looks."""

    def answer(self, coordinator: Coordinator, request: Requested) -> None:
        """Carries a request out, passes it on, or refuses it; the answer is recorded with the change."""
        ...

    def reported(self, coordinator: Coordinator, trial: Trial, record: Reported) -> None:
        """Scores of the head came in."""
        ...

    def ended(self, coordinator: Coordinator, trial: Trial) -> None:
        """A trial is over: whatever was asked of it is settled."""
        ...

    def started(self, coordinator: Coordinator, trial: Trial) -> None:
        """A worker took the trial up: what was accepted before reaches it now."""
        ...

    def released(self, coordinator: Coordinator, trial: Trial) -> None:
        """A trial stands still and has given its worker back: what was asked of it meanwhile needs none."""
        ...

    def took_effect(self, coordinator: Coordinator, trial: Trial, event: Effect) -> None:
        """A worker did something that somebody had asked for."""
        ...


def record_answer(
    coordinator: Coordinator, request: str, state: RequestState, detail: str, step: int | None = None
) -> None:
    """What became of a request."""
    coordinator.record(Answered(request=request, state=state, step=step, detail=detail, at=coordinator.executor.now()))
