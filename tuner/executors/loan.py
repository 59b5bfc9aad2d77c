"""A loan: a trial in the hands of a program, by the number of its segment, for as long as the program is heard of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tuner.record.dialogue import Orders, format_answer, incarnation
from tuner.record.events import Reported
from tuner.record.reports import Row, pack_reports
from tuner.record.state import StudyState
from tuner.worker.messages import Job, Order, Said, Stop

_RENEWALS = 3  # so often a loan should be renewed while it lasts


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """A trial that a program had when an earlier coordinator ended."""

    worker: str
    node: str
    trial: int
    segment: int
    batch: int
    """The last of its reports on record, -1 where there is none."""
    step: int
    scored: bool
    started: float
    paused: bool


def lent(study: StudyState) -> Iterator[Lent]:
    """What programs have by the record, whoever coordinated meanwhile."""
    for trial in study.live.values():
        if trial.state in ("running", "paused") and not trial.frozen:
            yield Lent(
                worker=trial.worker,
                node=trial.node,
                trial=trial.trial,
                segment=trial.head.segment,
                batch=study.received.get(incarnation(trial.trial, trial.head.segment), -1),
                step=trial.steps,
                scored=trial.best_score is not None,
                started=trial.started or 0.0,
                paused=trial.state == "paused",
            )


@dataclass(slots=True, kw_only=True)
class Loan:
    """One trial in a program's hands: how far it is, what it is to be told, and who waits for an answer."""

    worker: str
    trial: int
    segment: int
    started: float
    until: float
    order: Order | None = None
    """None: the coordinator that gave it has ended, and this one has not said yet how it goes on."""
    batch: int = -1
    last: list[list[Any]] | None = None
    """The rows of the last batch, so that a repeated one is told from another; None: not known."""
    done: int = 0
    scored: bool = False
    asks: bool = False
    """Whether it waits for a verdict."""
    unanswered: list[Said] = field(default_factory=list)
    unanswered_since: float = 0.0
    stop: Stop | None = None
    """How it is to end, as soon as its program is heard of."""
    pause: str | None = None
    """Why it is to stand still."""
    state: Literal["running", "paused", "lost"] = "running"
    """As the record has it."""
    _scored_at: int = -1
    _first: dict[str, float] = field(default_factory=dict)
    _ask_at: int | None = None
    _rung: int | None = None

    @classmethod
    def of(cls, was: Lent, until: float) -> Loan:
        """One that an earlier coordinator gave."""
        return cls(
            worker=was.worker,
            trial=was.trial,
            segment=was.segment,
            started=was.started,
            until=until,
            batch=was.batch,
            done=was.step,
            scored=was.scored,
            state="paused" if was.paused else "running",
        )

    @classmethod
    def begun(cls, worker: str, order: Order, now: float, until: float) -> Loan:
        """One that begins."""
        begun = cls(
            worker=worker, trial=order.trial, segment=order.segment, started=now, until=until, done=order.from_step
        )
        begun.goes_by(order)
        return begun

    def goes_by(self, order: Order) -> None:
        """What the coordinator says of it: settings, seed, and when it waits for a verdict."""
        self.order = order
        self.weigh_at(order.ask_at, order.rung)

    def weigh_at(self, ask_at: int | None, rung: int | None) -> None:
        """It trains on, and waits for a verdict at step `ask_at`, or at the first score from step `rung` on."""
        self._ask_at, self._rung, self.asks = ask_at, rung, False

    def comes_to_be_weighed(self) -> bool:
        """Whether a verdict is due here, and was not waited for before."""
        due = self._ask_at is not None and self.done >= self._ask_at
        at_rung = self._rung is not None and self._scored_at == self.done >= self._rung
        if self.asks or not (due or at_rung):
            return False
        self._ask_at, self._rung, self.asks = None, None, True
        return True

    def unfit(self, rows: list[list[Any]], batch: int | None) -> str | None:
        """Why a batch of reports cannot be taken, or None: each follows the one before, which may be repeated."""
        if not rows:
            return None
        if batch is None:
            return "batch: number what you report, from 0 up, so that nothing is taken twice"
        if batch == self.batch and self.last not in (None, rows):
            return f"batch {batch} is on record with other rows: the next is {batch + 1}"
        if batch not in (self.batch, self.batch + 1):
            return f"batch {self.batch + 1} comes next, got {batch}"
        return None

    def unfinished(self, said: Said, objective: str) -> str | None:
        """Why the trial cannot have ended as it is told, or None."""
        ends, scores = said.arguments["state"], said.arguments.get("scores") or {}
        if ends in ("infeasible", "failed") and not said.why:
            return f"why: say why it is {ends}, for whoever reads it later"
        if ends == "completed" and not self.scored and objective not in scores:
            return (
                f"trial {self.trial} has no report of {objective!r}, so nothing would be known of it: tell scores, or "
                "say that it is infeasible, failed or stopped"
            )
        return None

    def take(self, rows: list[list[Any]], job: Job, now: float) -> tuple[Reported | None, str | None]:
        """Reports as they are recorded; of a trial that diverges, up to there, with what there is to say of it."""
        packed: list[Row] = []
        reason: str | None = None
        for step, scores in rows:
            packed.extend((step, name, value, now) for name, value in scores.items())
            self.done = max(self.done, step)
            if job.objective in scores:
                self.scored, self._scored_at = True, step
            reason = None if job.alarm is None else job.alarm(self._first, scores)
            for name, value in scores.items():
                self._first.setdefault(name, value)
            if reason is not None:
                reason = f"{reason} at step {step}"
                break
        return (pack_reports(self.trial, self.segment, packed) if packed else None), reason

    # ── what its program is told ────────────────────────────────────────────────────────────────

    def terms(self, lease_s: float) -> str:
        """What there is to train, where its reports go on, and how long it is lent."""
        order = self.order
        return format_answer(
            trial=self.trial,
            segment=self.segment,
            settings={} if order is None else dict(order.recipe.at(self.done)),
            seed=0 if order is None else order.seed,
            step=self.done,
            batch=self.batch + 1,
            lease={"until": self.until, "renew_every_s": lease_s / _RENEWALS},
        )

    def told(self, orders: Orders, why: str) -> str:
        """What it is to do now."""
        return format_answer(
            orders=orders, why=why, until=None if orders == "stop" else self.until, batch=self.batch + 1
        )
