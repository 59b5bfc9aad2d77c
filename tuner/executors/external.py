"""The executor for programs that train by themselves, in any language: each asks for a trial and is lent one.

What a program says arrives as `Said`, in the order of the record, and each of it is answered `Told`: at once, or once
the coordinator has given a verdict. When a lease runs out the trial is lost, and goes to the next program that asks;
until then it is still the first one's, should that be heard of again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from tuner.executors.callers import Caller, Callers
from tuner.executors.loan import Lent, Loan
from tuner.record.dialogue import LEASE_S, Orders, format_answer, incarnation
from tuner.record.events import RequestState, TrialState
from tuner.values.numbers import count, duration
from tuner.worker.messages import (
    Command,
    Continue,
    Delivered,
    Ended,
    Event,
    Forget,
    Forgot,
    Held,
    Job,
    Order,
    Pause,
    Planned,
    Resume,
    Said,
    Started,
    Stop,
    Told,
    Waiting,
    WorkerEvent,
    WorkerLost,
    WorkerReady,
)

USUAL_PROGRAMS = 16
"""How many programs a step budget is shared out to where nobody said how many there are."""
# A program that waits for a verdict longer is told to stand still meanwhile: no call takes for ever.
_VERDICT_WITHIN_S = 2.0
_STATES: Mapping[str, TrialState] = {
    "completed": "completed",
    "infeasible": "diverged",  # settings to keep away from, which no fault of the program brought about
    "failed": "failed",
    "stopped": "stopped",
}
_ERRORS = {"infeasible": "Infeasible", "failed": "ProgramFailed"}


class ExternalExecutor:
    """Lends trials to programs that ask for them; it starts none, and ends none."""

    outlives = True

    def __init__(self, *, lease_s: float = LEASE_S, now: Callable[[], float] = time.time) -> None:
        """`lease_s` is how long a program may be silent; `now` its clock, in Unix seconds."""
        self.lease_s, self.now, self.elapsed = lease_s, now, time.monotonic if now is time.time else now
        self._job = Job(study="", function="", search_path=(), objective="")
        self._most: int | None = None
        self._callers = Callers()
        self._loans: dict[str, Loan] = {}
        self._holder: dict[int, str] = {}
        self._queues: dict[str, deque[Order]] = {}
        self._over: dict[tuple[int, int], dict[str, Any]] = {}
        self._given: dict[str, tuple[str | None, str]] = {}
        self._restored: tuple[Lent, ...] = ()
        self._events: deque[Event] = deque()

    def restore(self, lent: Iterable[Lent]) -> None:
        """What programs had when an earlier coordinator ended: each loan gets one full period; before `open`."""
        self._restored = tuple(lent)

    # ── the contract ────────────────────────────────────────────────────────────────────────────

    def open(
        self,
        job: Job,
        parallel: int | None,
        delivered: Mapping[str, int] | None = None,  # noqa: ARG002 - `restore` says it of each loan
    ) -> int:
        """Takes up what was lent before; returns how many programs are expected.

        At most `parallel` trials are lent at a time; None: as many as are asked for.
        """
        self._job, self._most = job, parallel
        for was in self._restored:
            self._loans[was.worker] = Loan.of(was, self.now() + self.lease_s)
            self._holder[was.trial] = was.worker
            self._events.append(WorkerReady(worker=was.worker, node=was.node, pid=0, training=was.trial, lent=True))
        return parallel or USUAL_PROGRAMS

    def submit(self, worker: str, orders: tuple[Order, ...]) -> None:
        """Lends the first order to a program that asks; the others wait until it asks again."""
        self._queues.setdefault(worker, deque()).extend(orders)
        self._lend(worker)

    def send(self, worker: str, command: Command) -> None:
        """Hears what a program says, or keeps a command for when it is heard of next."""
        if isinstance(command, Said):
            self._hear(worker, command)
            return
        if isinstance(command, Forget):
            self._forget(worker, command.trial)
            return
        loan = self._loans.get(worker)
        if loan is None or loan.trial != command.trial:
            return
        match command:
            case Stop():
                loan.stop = command
                if loan.state == "lost" or loan.unanswered:
                    self._end(loan, command.state, command.why)
            case Continue():
                loan.weigh_at(command.ask_at, command.rung)
                self._go_on(loan)
            case Pause(release=True):
                loan.asks = False  # nothing can be saved here: it trains on
                self._go_on(loan)
            case Pause():
                loan.pause = command.why
                self._go_on(loan)
            case Resume():
                loan.pause = None

    def poll(self, timeout_s: float) -> list[Event]:
        """What was said since the last call, and who has not been heard of; waits where there is nothing."""
        self._look()
        if not self._events and timeout_s > 0:
            time.sleep(timeout_s)
            self._look()
        events, self._events = list(self._events), deque()
        return events

    def kill(self, worker: str, why: str) -> None:
        """Takes a program's trial away; it stands ready again when it asks."""
        if (loan := self._loans.get(worker)) is not None:
            self._take_away(loan, why)
        self._queues.pop(worker, None)
        self._events.append(WorkerLost(worker=worker, why=why))

    def resize(self, parallel: int) -> None:
        """Changes how many trials are lent at a time; what is lent stays so."""
        self._most = parallel
        for caller in reversed(self._callers.ready):
            if self._at_a_time > parallel:
                caller.ready = False
                self._events.append(WorkerLost(worker=caller.name, why="no longer needed", preempted=True))
        self._admit()

    def obstacle(self) -> str | None:
        """That nobody asks, where nobody does."""
        if self._callers or self._loans:
            return None
        return "no program asks for a trial" if self._callers.ever else "no program has asked for a trial yet"

    def leave(self) -> None:
        """Goes; programs keep what they have, and whoever coordinates next hears of it."""

    def close(self) -> None:
        """The same: no program is ours to end."""

    # ── what programs say ───────────────────────────────────────────────────────────────────────

    def _hear(self, worker: str, said: Said) -> None:
        match said.verb:
            case "ask":
                self._asked(worker, said)
            case "report":
                self._reported(said)
            case "tell":
                self._told_the_end(said)

    def _asked(self, worker: str, said: Said) -> None:
        request = said.arguments.get("request")
        if (loan := self._loans.get(worker)) is not None:
            self._renew(loan)
            self._keep(loan, said)
            self._go_on(loan)
        elif request is not None and self._given.get(worker, (None, ""))[0] == request:
            self._answer(said, self._given[worker][1])  # what it was lent then has ended meanwhile
        else:
            self._callers.hear(worker, said, self.now())
            self._admit()
            self._lend(worker)

    def _reported(self, said: Said) -> None:
        loan, rows = self._loan_of(said), said.arguments["rows"]
        if loan is None:
            over = self._over.get((said.trial, said.arguments["segment"]))
            why = "it is in nobody's hands: ask again" if over is None else over["why"]
            self._answer(said, format_answer(orders="stop", why=why, until=None))
            return
        self._renew(loan)
        batch = said.arguments.get("batch")
        if (unfit := loan.unfit(rows, batch)) is not None:
            self._answer(said, format_answer(why=unfit, batch=loan.batch + 1), "rejected")
            return
        diverged = None
        if rows and batch != loan.batch:
            loan.batch, loan.last = loan.batch + 1, rows
            diverged = self._record(loan, rows)
            name = incarnation(loan.trial, loan.segment)
            self._events.append(Delivered(worker=loan.worker, incarnation=name, batch=loan.batch))
        self._keep(loan, said)
        if diverged is not None:
            self._end(loan, "diverged", diverged)
        elif loan.stop is not None:
            self._end(loan, loan.stop.state, loan.stop.why)
        else:
            self._weigh(loan)
            self._go_on(loan)

    def _told_the_end(self, said: Said) -> None:
        loan, given = self._loan_of(said), said.arguments
        if loan is None:
            over = self._over.get((said.trial, given["segment"]))
            if over is not None:
                self._answer(said, format_answer(**over))
            else:
                told = format_answer(why=f"trial {said.trial} is in nobody's hands: ask again")
                self._answer(said, told, "rejected")
            return
        self._renew(loan)
        ends, scores = given["state"], given.get("scores") or {}
        if (why := loan.unfinished(said, self._job.objective)) is not None:
            self._answer(said, format_answer(why=why), "rejected")
            return
        step = given.get("step")
        at = max(1, loan.done) if step is None else step
        diverged = self._record(loan, [[at, scores]]) if scores else None
        self._keep(loan, said)
        if diverged is not None and ends == "completed":
            self._end(loan, "diverged", diverged)
            return
        done = f"trained all {count(loan.done, 'step')}" if ends == "completed" else f"{loan.worker} ended it"
        why = f"infeasible: {said.why}" if ends == "infeasible" else said.why or done
        self._end(loan, _STATES[ends], why, error=_ERRORS.get(ends, ""))

    # ── leases ──────────────────────────────────────────────────────────────────────────────────

    def _loan_of(self, said: Said) -> Loan | None:
        loan = self._loans.get(self._holder.get(said.trial, ""))
        return loan if loan is not None and loan.segment == said.arguments["segment"] else None

    def _lend(self, worker: str) -> None:
        """A program that asks takes up the first order that waits for it; one that has a trial hears how it goes on."""
        queue, loan = self._queues.get(worker), self._loans.get(worker)
        if not queue:
            return
        if loan is not None:
            if loan.order is None and queue[0].trial == loan.trial:
                loan.goes_by(queue.popleft())
                self._go_on(loan)
            return
        if (caller := self._callers.served(worker)) is not None:
            self._begin(caller, queue.popleft())

    def _begin(self, caller: Caller, order: Order) -> None:
        now, trial, segment = self.now(), order.trial, order.segment
        loan = Loan.begun(caller.name, order, now, now + self.lease_s)
        self._loans[caller.name], self._holder[order.trial] = loan, caller.name
        self._say(caller.name, Started(trial=trial, segment=segment, at=now))
        if caller.steps is not None:
            plan = Planned(trial=trial, segment=segment, steps=caller.steps, resumable=False, at=now)
            self._say(caller.name, plan)
        loan.unanswered, loan.unanswered_since = caller.unanswered, now
        self._weigh(loan)
        self._go_on(loan)

    def _renew(self, loan: Loan) -> None:
        loan.until = self.now() + self.lease_s
        if loan.state == "lost":
            self._hold(loan, "running", "its program is heard of again")

    def _hold(self, loan: Loan, state: Literal["running", "paused", "lost"], why: str) -> None:
        if loan.state != state:
            loan.state = state
            self._say(loan.worker, Held(trial=loan.trial, state=state, step=loan.done, why=why, at=self.now()))

    def _record(self, loan: Loan, rows: list[list[Any]]) -> str | None:
        """Puts reports on record; what there is to say of a trial that diverges by them, or None."""
        reported, diverged = loan.take(rows, self._job, self.now())
        if reported is not None:
            self._say(loan.worker, reported)
        return diverged

    def _weigh(self, loan: Loan) -> None:
        """Asks for a verdict where one is due."""
        if loan.comes_to_be_weighed():
            self._say(loan.worker, Waiting(trial=loan.trial, segment=loan.segment, step=loan.done))

    def _keep(self, loan: Loan, said: Said) -> None:
        """Whoever said this waits for its answer."""
        if not loan.unanswered:
            loan.unanswered_since = self.now()
        loan.unanswered.append(said)

    def _go_on(self, loan: Loan) -> None:
        """Answers whoever waits, unless a verdict is still to come."""
        if loan.order is None or not loan.unanswered or (loan.asks and loan.pause is None):
            return
        loan.until = self.now() + self.lease_s  # it is we who kept it waiting
        orders: Orders = "go on" if loan.pause is None else "pause"
        self._hold(loan, "running" if loan.pause is None else "paused", loan.pause or "resumed")
        self._answer_all(loan, loan.told(orders, loan.pause or ""))

    def _answer_all(self, loan: Loan, told: str) -> None:
        """Whoever asked is told of the loan, and whoever reported what to do."""
        unanswered, loan.unanswered = loan.unanswered, []
        for said in unanswered:
            if said.verb != "ask":
                self._answer(said, told)
                continue
            terms = loan.terms(self.lease_s)
            self._given[loan.worker] = said.arguments.get("request"), terms
            self._answer(said, terms)

    def _end(self, loan: Loan, state: TrialState, why: str, *, error: str = "") -> None:
        """A trial is over, and its program free; whoever waits for an answer hears that it is to stop."""
        over = {"trial": loan.trial, "segment": loan.segment, "state": state, "why": why}
        ended = Ended(
            trial=loan.trial,
            segment=loan.segment,
            state=state,
            why=why,
            step=loan.done,
            started=loan.started,
            at=self.now(),
            error=(error,) if error else (),
        )
        self._say(loan.worker, ended)
        self._over[loan.trial, loan.segment] = over
        for said in [each for each in loan.unanswered if each.verb == "tell"]:
            loan.unanswered.remove(said)
            self._answer(said, format_answer(**over))
        self._take_away(loan, why)
        if not self._queues.get(loan.worker):
            self._events.append(WorkerLost(worker=loan.worker, why="no longer needed", preempted=True))
        self._admit()

    def _take_away(self, loan: Loan, why: str) -> None:
        """The program has this trial no more; whoever asked for it, and was never told, asks anew."""
        del self._loans[loan.worker], self._holder[loan.trial]
        for said in loan.unanswered:
            if said.verb == "ask":
                self._answer(said, format_answer(why=f"its trial is over before it began, {why}: ask again"), "expired")
            else:
                self._answer(said, loan.told("stop", why))
        loan.unanswered = []

    def _forget(self, worker: str, trial: int) -> None:
        queue = self._queues.get(worker, deque())
        for order in [each for each in queue if each.trial == trial]:
            queue.remove(order)
            self._say(worker, Forgot(trial=order.trial, segment=order.segment))

    # ── who comes and goes ──────────────────────────────────────────────────────────────────────

    @property
    def _at_a_time(self) -> int:
        """How many trials are lent, or are about to be."""
        return sum(loan.state != "lost" for loan in self._loans.values()) + len(self._callers.ready)

    def _admit(self) -> None:
        """Says who stands ready, as far as there may be more, whoever asked first before the others."""
        for caller in self._callers:
            if self._most is not None and self._at_a_time >= self._most:
                return
            if not caller.ready:
                self._events.append(caller.stands_ready())

    def _take_over(self) -> None:
        """What silent programs had goes to those that ask, one each; who fell silent first gives first."""
        lost = sorted((each for each in self._loans.values() if each.state == "lost"), key=lambda each: each.until)
        for loan in lost[: len(self._callers)]:
            self._take_away(loan, "another program has it now")
            self._events.append(WorkerLost(worker=loan.worker, why=self._silence(loan), preempted=True))

    def _silence(self, loan: Loan) -> str:
        return f"nothing was heard of {loan.worker} for {duration(self.lease_s)}"

    def _look(self) -> None:
        """What has run out: leases, calls for a trial, and the patience of whoever waits for a verdict."""
        now = self.now()
        for loan in list(self._loans.values()):
            if loan.unanswered and now - loan.unanswered_since > _VERDICT_WITHIN_S:
                self._put_off(loan)
            if now <= loan.until or loan.state == "lost":
                continue
            if loan.stop is not None:
                self._end(loan, loan.stop.state, loan.stop.why)
            else:
                self._hold(loan, "lost", self._silence(loan))
        for caller in self._callers:
            if now > caller.until:
                self._dismiss(caller)
        # here alone, so that whoever speaks of a trial next is answered by a record that knows who has it
        self._take_over()
        self._admit()

    def _put_off(self, loan: Loan) -> None:
        """Whoever waits for a verdict stands still meanwhile, and hears more with its next report."""
        asks = [said for said in loan.unanswered if said.verb == "ask"]
        loan.unanswered = [said for said in loan.unanswered if said.verb != "ask"]
        loan.until = self.now() + self.lease_s
        self._answer_all(loan, loan.told("pause", "it is still weighed against others"))
        loan.unanswered = asks

    def _dismiss(self, caller: Caller) -> None:
        """A program has waited as long as it would."""
        self._callers.served(caller.name)
        why = caller.standing or "nothing is to be trained at the moment"
        if caller.ready:
            self._events.append(WorkerLost(worker=caller.name, why="it asks no longer", preempted=True))
        else:
            why = f"{count(self._most or 0, 'trial')} at a time, and so many are being trained"
        for said in caller.unanswered:
            self._answer(said, format_answer(why=why), "expired")

    # ── saying ──────────────────────────────────────────────────────────────────────────────────

    def _say(self, worker: str, event: WorkerEvent) -> None:
        self._events.append((worker, event))

    def _answer(self, said: Said, detail: str, state: RequestState = "applied") -> None:
        self._events.append(Told(request=said.request, state=state, detail=detail, at=self.now()))
