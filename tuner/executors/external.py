"""The executor for programs that train by themselves, in any language: each asks for a trial and is lent one.

A lease is a trial in a program's hands: it lasts as long as the program is heard of, and is known by the trial and the
number of its segment. What a program says arrives as `Said`, in the order of the record, and each of it is answered
`Told`: at once, or once the coordinator has given a verdict. When a lease runs out the trial is lost, and goes to the
next program that asks; until then it is still the first one's, should that be heard of again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.numbers import duration
from tuner.record.dialogue import LEASE_S, Orders, incarnation, telling
from tuner.record.events import TrialState
from tuner.record.reports import Row, pack_reports
from tuner.record.state import StudyState
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
_RENEWALS = 3  # so often a lease should be renewed while it lasts
_STATES: Mapping[str, TrialState] = {
    "completed": "completed",
    "infeasible": "diverged",  # settings to keep away from, which no fault of the program brought about
    "failed": "failed",
    "stopped": "stopped",
}


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


@dataclass(slots=True)
class _Lease:
    """One trial in a program's hands."""

    worker: str
    trial: int
    segment: int
    started: float
    until: float
    order: Order | None = None
    """None: the coordinator that gave it has ended, and this one has not said yet how it goes on."""
    batch: int = -1
    last: Any = None
    """The rows of the last batch, so that a repeated one is told from another; None: not known."""
    done: int = 0
    scored: bool = False
    scored_at: int = -1
    first: dict[str, float] = field(default_factory=dict)
    ask_at: int | None = None
    rung: int | None = None
    asks: bool = False
    """Whether it waits for a verdict."""
    unanswered: list[Said] = field(default_factory=list)
    unanswered_since: float = 0.0
    stop: Stop | None = None
    pause: str | None = None
    state: str = "running"
    """Or "paused", or "lost": as the record has it."""


@dataclass(slots=True)
class _Caller:
    """A program that waits for a trial."""

    until: float
    node: str
    pid: int
    standing: str
    unanswered: list[Said]
    steps: int | None
    ready: bool = False
    """Whether the coordinator knows of it."""


class ExternalExecutor:
    """Lends trials to programs that ask for them; it starts none, and ends none."""

    outlives = True

    def __init__(self, *, lease_s: float = LEASE_S, now: Callable[[], float] = time.time) -> None:
        """`lease_s` is how long a program may be silent; `now` its clock, in Unix seconds."""
        self.lease_s, self.now = lease_s, now
        self._job: Job | None = None
        self._most: int | None = None
        self._leases: dict[str, _Lease] = {}
        self._holder: dict[int, str] = {}
        self._callers: dict[str, _Caller] = {}
        self._queues: dict[str, deque[Order]] = {}
        self._over: dict[tuple[int, int], dict[str, Any]] = {}
        self._given: dict[str, tuple[str, str]] = {}
        self._restored: tuple[Lent, ...] = ()
        self._events: deque[Event] = deque()
        self._ever_asked = False

    def restore(self, lent: Iterable[Lent]) -> None:
        """What programs had when an earlier coordinator ended: each lease gets one full period; before `open`."""
        self._restored = tuple(lent)

    # ── the contract ────────────────────────────────────────────────────────────────────────────

    def open(
        self,
        job: Job,
        parallel: int | None,
        delivered: Mapping[str, int] | None = None,  # noqa: ARG002 - `restore` says it of each lease
    ) -> int:
        """Takes up what was lent before. At most `parallel` trials are lent at a time; None: as many as are asked for.

        What comes back is how many programs are expected.
        """
        self._job, self._most = job, parallel
        for each in self._restored:
            lease = _Lease(
                worker=each.worker,
                trial=each.trial,
                segment=each.segment,
                started=each.started,
                until=self.now() + self.lease_s,
                batch=each.batch,
                done=each.step,
                scored=each.scored,
                state="paused" if each.paused else "running",
            )
            self._leases[each.worker], self._holder[each.trial] = lease, each.worker
            self._events.append(WorkerReady(worker=each.worker, node=each.node, pid=0, training=each.trial, lent=True))
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
        lease = self._leases.get(worker)
        if lease is None or lease.trial != command.trial:
            return
        match command:
            case Stop():
                lease.stop = command
                if lease.state == "lost" or lease.unanswered:
                    self._end(lease, command.state, command.why)
            case Continue():
                lease.ask_at, lease.rung, lease.asks = command.ask_at, command.rung, False
                self._go_on(lease)
            case Pause(release=True):
                lease.asks = False  # nothing can be saved here: it trains on
                self._go_on(lease)
            case Pause():
                lease.pause = command.why
                self._go_on(lease)
            case Resume():
                lease.pause = None

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
        lease = self._leases.get(worker)
        if lease is not None:
            self._take_away(lease, telling(orders="stop", why=why, until=None))
        self._queues.pop(worker, None)
        self._events.append(WorkerLost(worker=worker, why=why))

    def resize(self, parallel: int) -> None:
        """Changes how many trials are lent at a time; what is lent stays so."""
        self._most = parallel
        ready = [name for name, caller in self._callers.items() if caller.ready]
        for name in reversed(ready):
            if self._at_a_time <= parallel:
                break
            self._callers[name].ready = False
            self._events.append(WorkerLost(worker=name, why="no longer needed", preempted=True))
        self._admit()

    def obstacle(self) -> str | None:
        """That nobody has asked."""
        return "no program asks for a trial" if self._ever_asked else "no program has asked for a trial yet"

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
        given = said.arguments
        self._ever_asked = True
        lease = self._leases.get(worker)
        if lease is not None:
            self._renew(lease)
            if lease.asks or lease.order is None:
                self._keep(lease, said)
            else:
                self._answer(said, self._loan(lease, given.get("request")))
            return
        request = given.get("request")
        if request is not None and self._given.get(worker, ("", ""))[0] == request:
            self._answer(said, self._given[worker][1])  # it had ended by then
            return
        until = self.now() + (given.get("wait_s") or 0.0)
        caller = self._callers.get(worker)
        if caller is None:
            self._callers[worker] = _Caller(
                until=until,
                node=given.get("node") or "elsewhere",
                pid=given.get("pid") or 0,
                standing=said.standing,
                unanswered=[said],
                steps=given.get("steps"),
            )
        else:
            caller.until, caller.standing = max(until, caller.until), said.standing
            caller.unanswered.append(said)
        self._take_over()
        self._admit()
        self._lend(worker)

    def _reported(self, said: Said) -> None:
        lease = self._lease_of(said)
        if lease is None:
            over = self._over.get((said.trial, said.arguments["segment"]))
            why = "it is in nobody's hands: ask again" if over is None else over["why"]
            self._answer(said, telling(orders="stop", why=why, until=None))
            return
        self._renew(lease)
        rows, batch = said.arguments["rows"], said.arguments.get("batch")
        if rows and batch is None:
            self._refuse(said, "batch: number what you report, from 0 up, so that nothing is taken twice.")
            return
        if rows and batch == lease.batch:
            if lease.last is not None and lease.last != rows:
                told = f"batch {batch} is on record with other rows: the next is {batch + 1}"
                self._refuse(said, told, batch=batch + 1)
                return
        elif rows and batch != lease.batch + 1:
            self._refuse(said, f"batch {lease.batch + 1} comes next, got {batch}", batch=lease.batch + 1)
            return
        elif rows:
            lease.batch, lease.last = lease.batch + 1, rows
            diverged = self._record(lease, rows)
            name = incarnation(lease.trial, lease.segment)
            self._events.append(Delivered(worker=lease.worker, incarnation=name, batch=lease.batch))
            if diverged is not None:
                lease.unanswered.append(said)
                self._end(lease, "diverged", diverged)
                return
        if lease.stop is not None:
            lease.unanswered.append(said)
            self._end(lease, lease.stop.state, lease.stop.why)
            return
        self._ask_for_a_verdict(lease)
        self._keep(lease, said)
        self._go_on(lease)

    def _told_the_end(self, said: Said) -> None:
        lease, given = self._lease_of(said), said.arguments
        if lease is None:
            over = self._over.get((said.trial, given["segment"]))
            if over is None:
                self._refuse(said, f"trial {said.trial} is in nobody's hands: ask again")
            else:
                self._answer(said, telling(**over))
            return
        self._renew(lease)
        scores, ends = given.get("scores"), given["state"]
        diverged = None
        objective = "" if self._job is None else self._job.objective
        if ends == "completed" and not lease.scored and objective not in (scores or {}):
            told = (
                f"trial {lease.trial} has no report of {objective!r}, so nothing is known of it: tell scores, or say "
                "that it is infeasible, failed or stopped"
            )
            self._refuse(said, told)
            return
        if ends in ("infeasible", "failed") and not said.why:
            self._refuse(said, f"why: say why it is {ends}, for whoever reads it later")
            return
        if scores:
            step = given.get("step")
            diverged = self._record(lease, [[max(1, lease.done) if step is None else step, scores]])
        lease.unanswered.append(said)
        why = said.why or {"completed": f"trained all {lease.done} steps"}.get(ends, f"{lease.worker} ended it")
        if diverged is not None and ends == "completed":
            self._end(lease, "diverged", diverged)
        elif ends == "infeasible":
            self._end(lease, "diverged", f"infeasible: {why}", error="Infeasible")
        else:
            self._end(lease, _STATES[ends], why, error="ProgramFailed" if ends == "failed" else "")

    # ── leases ──────────────────────────────────────────────────────────────────────────────────

    def _lease_of(self, said: Said) -> _Lease | None:
        lease = self._leases.get(self._holder.get(said.trial, ""))
        return lease if lease is not None and lease.segment == said.arguments["segment"] else None

    def _lend(self, worker: str) -> None:
        """A program that asks takes up the first order that waits for it, or its lease learns how it goes on."""
        queue, lease = self._queues.get(worker), self._leases.get(worker)
        if lease is not None and queue and queue[0].trial == lease.trial and lease.order is None:
            order = lease.order = queue.popleft()
            lease.ask_at, lease.rung = order.ask_at, order.rung
            self._go_on(lease)
            return
        caller = self._callers.get(worker)
        if not queue or lease is not None or caller is None:
            return
        order, now = queue.popleft(), self.now()
        del self._callers[worker]
        lease = self._leases[worker] = _Lease(
            worker=worker,
            trial=order.trial,
            segment=order.segment,
            started=now,
            until=now + self.lease_s,
            order=order,
            done=order.from_step,
            ask_at=order.ask_at,
            rung=order.rung,
        )
        self._holder[order.trial] = worker
        self._say(worker, Started(trial=order.trial, segment=order.segment, at=now))
        if caller.steps is not None:
            plan = Planned(trial=order.trial, segment=order.segment, steps=caller.steps, resumable=False, at=now)
            self._say(worker, plan)
        self._ask_for_a_verdict(lease)
        lease.unanswered, lease.unanswered_since = caller.unanswered, now
        self._go_on(lease)

    def _loan(self, lease: _Lease, request: str | None) -> str:
        """What a program is told that is lent a trial."""
        order = lease.order
        loan = telling(
            trial=lease.trial,
            segment=lease.segment,
            settings={} if order is None else dict(order.recipe.at(lease.done)),
            seed=0 if order is None else order.seed,
            step=lease.done,
            batch=lease.batch + 1,
            lease={"until": lease.until, "renew_every_s": self.lease_s / _RENEWALS},
        )
        if request is not None:
            self._given[lease.worker] = request, loan
        return loan

    def _renew(self, lease: _Lease) -> None:
        lease.until = self.now() + self.lease_s
        if lease.state == "lost":
            self._hold(lease, "running", "its program is heard of again")

    def _hold(self, lease: _Lease, state: Any, why: str) -> None:
        if lease.state != state:
            lease.state = state
            self._say(lease.worker, Held(trial=lease.trial, state=state, step=lease.done, why=why, at=self.now()))

    def _record(self, lease: _Lease, rows: list[list[Any]]) -> str | None:
        """Puts reports on record; of a trial that diverges, up to there, with what there is to say of it."""
        job, now, found = self._job, self.now(), None
        packed: list[Row] = []
        for step, scores in rows:
            packed.extend((step, name, value, now) for name, value in scores.items())
            lease.done = max(lease.done, step)
            if job is not None and job.objective in scores:
                lease.scored, lease.scored_at = True, step
            reason = None if job is None or job.alarm is None else job.alarm(lease.first, scores)
            for name, value in scores.items():
                lease.first.setdefault(name, value)
            if reason is not None:
                found = f"{reason} at step {step}"
                break
        if packed:
            self._say(lease.worker, pack_reports(lease.trial, lease.segment, packed))
        return found

    def _ask_for_a_verdict(self, lease: _Lease) -> None:
        """Asks where one is due: at `ask_at`, whatever was reported, and at a rung where the objective was."""
        due = lease.ask_at is not None and lease.done >= lease.ask_at
        at_rung = lease.rung is not None and lease.scored_at == lease.done >= lease.rung
        if not lease.asks and (due or at_rung):
            lease.asks, lease.ask_at, lease.rung = True, None, None
            self._say(lease.worker, Waiting(trial=lease.trial, segment=lease.segment, step=lease.done))

    def _keep(self, lease: _Lease, said: Said) -> None:
        """Whoever said this waits for its answer."""
        if not lease.unanswered:
            lease.unanswered_since = self.now()
        lease.unanswered.append(said)

    def _go_on(self, lease: _Lease) -> None:
        """Answers whoever waits, unless the verdict is not there yet."""
        if lease.order is None or (lease.asks and lease.pause is None):
            return
        unanswered, lease.unanswered = lease.unanswered, []
        if not unanswered:
            return
        lease.until = self.now() + self.lease_s  # it is we who kept it waiting
        orders: Orders = "go on"
        if lease.pause is not None:
            orders = "pause"
            self._hold(lease, "paused", lease.pause)
        else:
            self._hold(lease, "running", "resumed")
        for said in unanswered:
            if said.verb == "ask":
                self._answer(said, self._loan(lease, said.arguments.get("request")))
            else:
                self._answer(said, self._ordered(lease, orders, lease.pause or ""))

    def _ordered(self, lease: _Lease, orders: Orders, why: str) -> str:
        return telling(orders=orders, why=why, until=lease.until, batch=lease.batch + 1)

    def _end(self, lease: _Lease, state: TrialState, why: str, *, error: str = "") -> None:
        """A trial is over, and its program free; whoever waits for an answer hears that it is to stop."""
        ended = Ended(
            trial=lease.trial,
            segment=lease.segment,
            state=state,
            why=why,
            step=lease.done,
            started=lease.started,
            at=self.now(),
            error=(error,) if error else (),
        )
        self._say(lease.worker, ended)
        over = {"trial": lease.trial, "segment": lease.segment, "state": state, "why": why}
        self._over[lease.trial, lease.segment] = over
        ends = [said for said in lease.unanswered if said.verb == "tell"]
        lease.unanswered = [said for said in lease.unanswered if said.verb != "tell"]
        for said in ends:
            self._answer(said, telling(**over))
        self._take_away(lease, telling(orders="stop", why=why, until=None, batch=lease.batch + 1))
        if not self._queues.get(lease.worker):
            self._events.append(WorkerLost(worker=lease.worker, why="its trial is over", preempted=True))
        self._admit()

    def _take_away(self, lease: _Lease, told: str) -> None:
        """The program has this trial no more; whoever asked for it, and was never told, asks anew."""
        del self._leases[lease.worker], self._holder[lease.trial]
        for said in lease.unanswered:
            if said.verb == "ask":
                self._answer(said, telling(why="its trial ended before it began: ask again"), state="expired")
            else:
                self._answer(said, told)
        lease.unanswered = []

    def _forget(self, worker: str, trial: int) -> None:
        queue = self._queues.get(worker, deque())
        for order in [each for each in queue if each.trial == trial]:
            queue.remove(order)
            self._say(worker, Forgot(trial=order.trial, segment=order.segment))

    # ── who asks ────────────────────────────────────────────────────────────────────────────────

    @property
    def _at_a_time(self) -> int:
        """How many trials are lent, or are about to be."""
        lent = sum(lease.state != "lost" for lease in self._leases.values())
        return lent + sum(caller.ready for caller in self._callers.values())

    def _admit(self) -> None:
        """Says who stands ready, as far as there may be more, whoever asked first before the others."""
        for name, caller in self._callers.items():
            if self._most is not None and self._at_a_time >= self._most:
                return
            if not caller.ready:
                caller.ready = True
                ready = WorkerReady(worker=name, node=caller.node, pid=caller.pid, lent=True)
                self._events.append(ready)

    def _take_over(self) -> None:
        """What silent programs had goes to those that ask, one each; who fell silent first gives first."""
        lost = [lease for lease in self._leases.values() if lease.state == "lost"]
        for lease in sorted(lost, key=lambda each: each.until)[: len(self._callers)]:
            self._take_away(lease, telling(orders="stop", why="another program has it now", until=None))
            self._events.append(WorkerLost(worker=lease.worker, why=self._silence(lease), preempted=True))

    def _silence(self, lease: _Lease) -> str:
        return f"nothing was heard of {lease.worker} for {duration(self.lease_s)}"

    def _look(self) -> None:
        """What has run out: leases, calls for a trial, and the patience of whoever waits for a verdict."""
        now, lapsed = self.now(), False
        for lease in list(self._leases.values()):
            if lease.unanswered and now - lease.unanswered_since > _VERDICT_WITHIN_S:
                self._put_off(lease)
            if lease.until < now and not lease.unanswered and lease.state != "lost":
                lapsed = True
                if lease.stop is not None:
                    self._end(lease, lease.stop.state, lease.stop.why)
                else:
                    self._hold(lease, "lost", self._silence(lease))
        for name, caller in list(self._callers.items()):
            if caller.until < now:
                self._dismiss(name, caller)
        if lapsed:
            self._take_over()
            self._admit()

    def _put_off(self, lease: _Lease) -> None:
        """Whoever waits for a verdict stands still meanwhile, and asks again with its next report."""
        waiting = [said for said in lease.unanswered if said.verb != "ask"]
        lease.unanswered = [said for said in lease.unanswered if said.verb == "ask"]
        lease.until = self.now() + self.lease_s
        for said in waiting:
            self._answer(said, self._ordered(lease, "pause", "it is still weighed against others"))

    def _dismiss(self, name: str, caller: _Caller) -> None:
        """A program has waited as long as it would."""
        del self._callers[name]
        why = caller.standing or "nothing is to be trained at the moment"
        if not caller.ready:
            why = f"{self._most} trials are being trained, as many as may be at a time"
        for said in caller.unanswered:
            self._answer(said, telling(why=why), state="expired")
        if caller.ready:
            self._events.append(WorkerLost(worker=name, why="it asks no longer", preempted=True))

    # ── saying ──────────────────────────────────────────────────────────────────────────────────

    def _say(self, worker: str, event: WorkerEvent) -> None:
        self._events.append((worker, event))

    def _answer(self, said: Said, detail: str, state: Any = "applied") -> None:
        self._events.append(Told(request=said.request, state=state, detail=detail, at=self.now()))

    def _refuse(self, said: Said, why: str, **further: Any) -> None:
        self._answer(said, telling(why=why, **further), state="rejected")
