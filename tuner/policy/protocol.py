"""The policy as the loop knows it: it decides what to start, what to answer, and when all is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tuner.policy.proposals import RoundPlan
from tuner.policy.verdicts import Thaw, Verdict
from tuner.record.events import Purpose, Settings
from tuner.record.state import StudyState
from tuner.record.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A trial to create."""

    params: Settings
    seed: int
    why: str
    purpose: Purpose = "search"
    parent: str | None = None
    round: int | None = None
    opened: RoundPlan | None = None
    memo: Any = None
    beginning: str | None = None
    """A checkpoint of another run to begin from, at `from_step`; it lies in this study's folder."""
    from_step: int = 0
    schedules: Settings | None = None
    by: str = "tuner"
    """Whose idea it was to begin where another run was saved."""


class Policy(Protocol):
    """Pure: takes the study, returns decisions with their reasons."""

    @property
    def adaptive(self) -> bool:
        """Whether what to try next depends on what came out."""
        ...

    @property
    def asks(self) -> bool:
        """Whether running trials wait for verdicts."""
        ...

    @property
    def losses(self) -> int:
        """How many workers a trial may lose before it counts as failed."""
        ...

    @property
    def wanted(self) -> int | None:
        """How many trials there are to be, where that is known."""
        ...

    def trains(self, trial: Trial) -> bool:
        """Whether a trial that an earlier session left is this policy's to take up again."""
        ...

    def restore(self, study: StudyState) -> None:
        """Takes in a study that already has trials."""
        ...

    @property
    def overlapping(self) -> bool:
        """Whether some trials train while it thinks of others."""
        ...

    @property
    def haste_s(self) -> float:
        """A trial whose rest takes no longer than so many seconds trains on rather than wait for a verdict."""
        ...

    @property
    def thaws(self) -> bool:
        """Whether it decides when a trial that it has paused goes on."""
        ...

    def propose(self, study: StudyState) -> Draft | Thaw | None:
        """The next trial, one to take up again, or None when there is none to train."""
        ...

    def planned(self, trial: Trial) -> str | None:
        """A trial's function has said what it means to do; what to remark about that, or None."""
        ...

    def spent(self, study: StudyState) -> str | None:
        """Why no further trial starts, or None."""
        ...

    def parting(self, study: StudyState) -> str | None:
        """What to remark once nothing more is trained, or None."""
        ...

    def first_ask(self, trial: int, step: int) -> int | None:
        """The step from which on a trial that starts at `step` waits for a verdict at its next score; None: never."""
        ...

    def allowance(self, study: StudyState, trial: Trial, step: int) -> int | None:
        """The step at which a trial that starts at `step` has to ask whether it may train on; None: never."""
        ...

    def judge(self, study: StudyState, trial: Trial, step: int) -> Verdict:
        """What a trial that waits at `step` is told."""
        ...

    def ended(self, study: StudyState, trial: Trial) -> None:
        """A trial is over."""
        ...

    def may_retry(self, error: Sequence[str], tries: int) -> bool:
        """Whether a trial that failed with an exception of these classes for the `tries`-th time is tried again."""
        ...

    def collapsed(self, study: StudyState) -> str | None:
        """Why everything should be given up, or None."""
        ...
