"""The one loop: events in, records committed, verdicts and new trials out.

Each turn takes what the workers say, folds it into the study, decides, commits everything in one transaction, and only
then sends and shows. So whatever a worker or a person has seen is on record.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from tuner.coordinator import notices
from tuner.coordinator.checkpoint_keeper import CheckpointKeeper
from tuner.coordinator.endings import End, Ending, Interrupts, awaited, parted
from tuner.coordinator.observers import Observer, Observers, Status
from tuner.coordinator.orders import order_of
from tuner.coordinator.outage import Outage
from tuner.coordinator.takeover import take_over
from tuner.coordinator.trials import Trials
from tuner.coordinator.watchdog import Timing, overdue
from tuner.coordinator.workers import Worker
from tuner.errors import SweepFailed, TunerError, coded, interrupted
from tuner.executors.base import Executor
from tuner.policy.protocol import Policy
from tuner.policy.requests import RequestPolicy, answered
from tuner.policy.verdicts import Thaw
from tuner.record.events import Received, Reported, Requested, TrialHeld
from tuner.record.requests import check_asker
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.record.trial import Trial
from tuner.values.numbers import duration
from tuner.worker.messages import (
    Beat,
    Changed,
    Continue,
    Delayed,
    Delivered,
    Did,
    Effect,
    Ended,
    Forget,
    Forgot,
    Held,
    Order,
    Pause,
    Planned,
    Reverted,
    Said,
    Saved,
    Started,
    Stop,
    Told,
    Unread,
    Waiting,
    Warned,
    WorkerEvent,
    WorkerLost,
    WorkerReady,
)


class Coordinator:
    """Drives a policy over an executor, and keeps the record."""

    def __init__(
        self,
        *,
        study: StudyState,
        store: Store,
        policy: Policy,
        requests: RequestPolicy,
        executor: Executor,
        keeper: CheckpointKeeper | None,
        timing: Timing,
        observers: Sequence[Observer] = (),
        rerun: Literal["nothing", "failed"] = "nothing",
    ) -> None:
        """`keeper` None: nothing is kept on disk, as in a replay in memory."""
        self.study = study
        self.trials = Trials(
            study=study, store=store, policy=policy, requests=requests, executor=executor, keeper=keeper
        )
        self.journal, self._pool, self._standings = self.trials.journal, self.trials.pool, self.trials.standings
        self._store, self._policy, self._requests, self._executor = store, policy, requests, executor
        self._keeper, self._timing, self._rerun = keeper, timing, rerun
        self._observers = Observers(observers, self.journal.folder)
        self._interrupts = Interrupts(f"everything so far is kept: the same call goes on with {study.name}")
        store.patience = Outage(self.journal.folder, lambda: self._interrupts.count > 1, self._show)
        self._swept = keeper is None
        self._orders: dict[str, list[Order]] = {}
        self._waiting: list[Waiting] = []
        self._started_at = self._next_requests = 0.0

    # ── the loop ────────────────────────────────────────────────────────────────────────────────

    def run(self) -> str:
        """Runs until the policy is done; returns why.

        Raises `SweepFailed` when the sweep was given up, `KeyboardInterrupt` on Ctrl-C.
        """
        self._started_at = time.monotonic()
        try:
            with self._interrupts.caught():
                finished = self._run()
        finally:
            self._observers.close()
        if self._interrupts.count:
            raise interrupted(self._interrupts.going_on)
        if self.trials.collapsed is not None:
            raise SweepFailed(self.trials.collapsed)
        return finished

    def _run(self) -> str:
        self._take_over()
        while (finished := self._finished()) is None:
            waits = not (self.trials.outgoing or self._orders)
            if waits and self._pool.company_s:
                time.sleep(self._pool.company_s)
            self._turn(self._executor.poll(self._requests.attention_s if waits else 0.0))
        self._part()
        ending = self.trials.ending
        if ending is None or not ending.keeps:
            if (remark := self._policy.parting(self.study)) is not None:
                self.journal.warn(f"{finished}: {remark}")
            self.trials.carry_out(self._requests.closed(self.study, finished, self._executor.now()))
        self._turn([])
        self._store.left_clean = not self._pool.busy()
        self._show(last=True)
        self.journal.commit()  # a display that has just failed is noted
        return finished

    def _take_over(self) -> None:
        self._policy.restore(self.study)
        if self._keeper is not None and self._executor.outlives:
            self._keeper.mend()
        self._sweep()  # before anything is saved anew: whatever the record does not know is a leftover, then
        takeover = take_over(
            self.study,
            self._policy,
            self._keeper,
            self._executor.now(),
            outlives=self._executor.outlives,
            clean=self._store.left_clean,
            failed_too=self._rerun == "failed",
        )
        for number in takeover.unheard:
            self._standings[number].unheard = True
        self.trials.carry_out(takeover.decision)
        self._take_requests()  # whoever asked while nobody ran the study comes before its first trial
        # Only from here on are workers given trials: after a crash, one that waits may have begun.
        self.journal.commit()
        self._store.left_clean = False

    def _turn(self, events: Sequence[Any]) -> None:
        now, elapsed = self._executor.now(), self._executor.elapsed()
        if self._interrupts.count and self.trials.ending is None:
            self.trials.wind_down(Ending("interrupted", keeps=True))
        over = {(event.trial, event.segment) for _, event in _of_workers(events) if isinstance(event, Ended)}
        held = {event.training for event in events if isinstance(event, WorkerReady)}
        for event in events:  # in the order they were said: a report before the end it belongs to
            match event:
                case WorkerReady():
                    self._pool.join(event.worker, event.node, event.pid, elapsed, lent=event.lent)
                    self.trials.adopt(event, now, held - {event.training})
                    self._go_on_lending(event)
                case WorkerLost():
                    self.trials.lose(event, now)
                case Delivered():  # in one transaction with the reports it delivered, so none is lost or taken twice
                    received = Received(worker=event.worker, incarnation=event.incarnation, batch=event.batch)
                    self.journal.record(received)
                case Told():
                    self.journal.record(answered(event.request, event.state, event.detail, event.at))
                case (worker, said) if worker in self._pool.workers:
                    self._take(self._pool.workers[worker], said, over)
        self._sweep()
        self._take_requests()  # before verdicts: what a person asked for outdoes what the policy would decide
        self._judge()
        self._watch(elapsed)
        self._fill(elapsed)  # last, when all is known that may free a worker or hold one back
        # Commit before telling: after a crash in between, a command is repeated from the record. The other way round, a
        # worker would have obeyed what nobody knows of, and a person have seen what never was.
        self.journal.commit()
        self._dispatch()
        self._show()

    def _dispatch(self) -> None:
        orders, self._orders = self._orders, {}
        outgoing, self.trials.outgoing = self.trials.outgoing, []
        for worker, batch in orders.items():  # orders first: a command may be for a trial that was just assigned
            self._executor.submit(worker, tuple(batch))
        for worker, command in outgoing:
            if worker in self._pool.workers or isinstance(command, Said):  # who asks is no worker yet
                self._executor.send(worker, command)

    def _finished(self) -> str | None:
        if (ending := self.trials.ending) is not None:
            awaited = [worker for worker in self._pool.busy() if not (ending.keeps and worker.lent)]
            return ending.why if self._interrupts.count > 1 or not awaited else None
        idle = not self._pool.ready and self._pool.idle and not self._orders and not self._standings.unheard()
        return self._policy.spent(self.study) if idle else None

    def _show(self, *, last: bool = False) -> None:
        if not self._observers.due(last=last):
            return
        busy = [worker.queue[0] for worker in self._pool.busy()]
        awaiting = awaited(self.trials.ending, busy, self._interrupts.count)
        held_up = awaiting if self._pool.workers else self._executor.obstacle()
        note, self.journal.note = self.journal.note, None
        status = Status(
            workers=len(self._pool.workers),
            busy=len(busy),
            elapsed_s=time.monotonic() - self._started_at,
            trials_wanted=self._policy.wanted,
            waiting_because=self._store.patience.said or held_up,
            note=note,
        )
        for complaint in self._observers.show(self.study, status):
            self.journal.warn(complaint)

    # ── requests ────────────────────────────────────────────────────────────────────────────────

    def _take_requests(self) -> None:
        """Has every request decided, and that carried out; whatever goes wrong becomes the answer."""
        fresh = deque[Requested]()
        if time.monotonic() >= self._next_requests:
            self._next_requests = time.monotonic() + max(self._requests.attention_s, self._store.looks_every_s)
            for each in self._store.new_requests():
                if each.request not in self.study.requests:
                    self.study.apply(each)  # whoever asked has recorded it
                if self.study.requests[each.request].state == "received":
                    fresh.append(each)
        while waiting := self._requests.due or fresh:
            request = waiting.popleft()
            try:
                check_asker(request.verb, request.by, request.why)
                self.trials.carry_out(self._requests.answer(self.study, request, self.trials.situation()))
            except TunerError as error:
                self.journal.record(answered(request.request, "rejected", coded(error), self._executor.now()))
            except Exception as error:  # training goes on
                told = self.journal.fault(error, f"while answering {request.verb!r}")
                self.journal.record(answered(request.request, "rejected", told, self._executor.now()))

    # ── events ──────────────────────────────────────────────────────────────────────────────────

    def _take(self, worker: Worker, event: WorkerEvent, over: set[tuple[int, int]]) -> None:
        trial = self.study.trials[event.trial]
        if isinstance(event, Saved) and self._keeper is not None:  # it counts whatever has become of its trial
            self.journal.record(notices.saved(self.study, event))
            self.trials.thin(trial)
        if isinstance(event, Saved | Changed | Reverted | Did | Unread):
            worker.last_sign = self._executor.elapsed()
            self._write_down(trial, event)
            return
        if trial.ended or getattr(event, "segment", trial.head.segment) != trial.head.segment:
            return  # of a segment that was given up
        if not isinstance(event, Beat) or event.step != worker.last_step:
            worker.last_sign = self._executor.elapsed()
        match event:
            case Beat():
                worker.last_step = event.step
            case Reported():
                self.trials.names_reported.update(event.names)
                self.journal.record(event)  # before anybody looks: the supervisor and the rules read the fold
                self.trials.carry_out(self._requests.reported(self.study, trial, event, self._executor.now()))
            case Forgot():
                self._pool.release(trial.trial)
                if self.trials.ending is None:
                    self._pool.ready.appendleft(trial.trial)
            case Started():
                worker.started_at, worker.last_step, worker.told_to_stop = self._executor.elapsed(), -1, None
                if (event.trial, event.segment) not in over:  # its end says all that its start would
                    self.journal.record(notices.started(worker, trial, event.at))
                if self.trials.ending is not None:
                    self.trials.tell_to_end(self.trials.ending, worker, trial.trial)
                else:
                    self.trials.carry_out(self._requests.started(self.study, trial, self.trials.situation()))
            case Planned():
                self.journal.record(notices.planned(event))
                if (remark := self._policy.planned(trial)) is not None:
                    self.journal.warn(remark)
            case Waiting():
                self._waiting.append(event)
            case Held() | Delayed():  # what it stands still, or waits, is no training of its
                worker.started_at = self._executor.elapsed()
                self.journal.record(notices.held(event))
            case Warned():
                self.journal.warn(event.text, trial.trial, event.step)
                self._write_down(trial, event)
            case Ended():
                self.trials.end(worker, trial, event)

    def _write_down(self, trial: Trial, event: Effect) -> None:
        for record in self._requests.took_effect(self.study, trial, event, self.trials.situation()):
            self.journal.record(record)

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────────

    def _sweep(self) -> None:
        """Clears away checkpoints that the record never heard of, once nobody is left who may have saved them.

        A worker that outlived its coordinator tells only later what it has saved meanwhile.
        """
        if self._swept or self._keeper is None:
            return
        if self._executor.outlives and (not self._pool.workers or self._standings.unheard() or self._pool.busy()):
            return
        self._swept = True
        for remark in self._keeper.sweep(self.study, self._store.left_at):
            self.journal.warn(remark)

    # ── decisions ───────────────────────────────────────────────────────────────────────────────

    def _judge(self) -> None:
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            trial = self.study.trials[event.trial]
            worker = self._pool.worker_of(event.trial)
            if trial.ended or worker is None or event.segment != trial.head.segment or self.trials.ending is not None:
                continue  # whoever is to end has been told so
            verdict = self._policy.judge(self.study, trial, event.step)
            self.journal.open_round(verdict.opened)
            match verdict.action:
                case "continue":
                    self.trials.tell(worker, Continue(trial=trial.trial, ask_at=verdict.limit, rung=verdict.ask_at))
                case "wait":
                    worker.last_sign = self._executor.elapsed()  # it is we who keep it
                    self._waiting.append(event)
                case "pause":
                    self._standings[trial.trial].freezing = True
                    self.trials.tell(worker, Pause(trial=trial.trial, why=verdict.why, release=True))
                case "prune":
                    self.trials.tell(worker, Stop(trial=trial.trial, state="pruned", why=verdict.why))
                case "stop":
                    self.trials.tell(worker, Stop(trial=trial.trial, state="stopped", why=verdict.why))

    def _watch(self, elapsed: float) -> None:
        """Time limits and silence."""
        budget = self._timing.time_budget_s
        if budget is not None and self.trials.ending is None and time.monotonic() - self._started_at >= budget:
            self.trials.wind_down(Ending(f"the time budget of {duration(budget)} is spent", keeps=False))
        for worker in self._pool.busy() if self._timing.limits_trials else ():
            trial = self.study.trials[worker.queue[0]]
            alert = overdue(worker, trial, self._timing, elapsed)
            if alert is not None and alert.action == "stop":
                worker.told_to_stop = elapsed
                self.trials.tell(worker, Stop(trial=trial.trial, state=alert.state, why=alert.why))
            elif alert is not None:
                self._kill(worker, trial, End(state=alert.state, why=alert.why, at=self._executor.now(), error="Hung"))

    def _kill(self, worker: Worker, trial: Trial, end: End) -> None:
        """Ends a trial whose worker does not answer, and the worker with it.

        The trial may have come to its end this moment, and what waited behind it have begun.
        """
        self.trials.close(trial, end)
        self._pool.leave(worker.name)
        for number in worker.queue:
            if number != trial.trial:
                why = f"it may have begun: its worker was ended, since trial {trial.trial} before it hung"
                self.trials.again(self.study.trials[number], "retry", why)
        self.journal.commit()  # before the worker dies: a crash in between must not train the hung trial again
        self._executor.kill(worker.name, f"tuner ended it, since trial {trial.trial} hung")

    # ── starting trials ─────────────────────────────────────────────────────────────────────────

    def _fill(self, elapsed: float) -> None:
        if self.trials.paused or self.trials.ending is not None:
            return
        policy = self._policy
        depth = self._pool.depth(adaptive=policy.adaptive, asks=policy.asks, overlapping=policy.overlapping)
        for worker in self._pool.openings(depth):
            number = self._next()
            if number is None:
                for other, behind in self._pool.recall():
                    self.trials.tell(other, Forget(trial=behind))
                return
            alone = self._standings.is_suspect(number)
            if alone and worker.queue:
                self._pool.ready.appendleft(number)
                return
            self._pool.assign(worker, number, elapsed, alone=alone)
            self._order(worker.name, self.study.trials[number])

    def _order(self, worker: str, trial: Trial, step: int | None = None) -> None:
        every_s = self._timing.checkpoint_every_s
        order = order_of(self.study, trial, self._policy, self._keeper, every_s, step)
        self._orders.setdefault(worker, []).append(order)

    def _go_on_lending(self, event: WorkerReady) -> None:
        """A program that had its trial before this coordinator began waits for its verdicts from where it stands."""
        if event.lent and event.training is not None:
            trial = self.study.trials[event.training]
            self._order(event.worker, trial, trial.steps)

    def _next(self) -> int | None:
        """The trial to train next, or None."""
        if self._pool.ready:
            return self._pool.ready.popleft()
        match self._policy.propose(self.study):
            case None:
                return None
            case Thaw() as thaw:
                self.journal.open_round(thaw.opened)
                self.trials.again(self.study.trials[thaw.trial], "thaw", thaw.why)
                return self._pool.ready.popleft()
            case draft:
                return self.journal.begin(draft)

    def _part(self) -> None:
        """Whatever has not come to an end gets one on record, unless its worker outlives this process."""
        if self.trials.ending is None or self._executor.outlives:
            return
        decision = parted(self.study, self._policy, self._pool, self.trials.ending, self._executor.now())
        self.trials.carry_out(decision)
        for record in decision.records:
            if isinstance(record, TrialHeld):
                self._pool.release(record.trial)


def _of_workers(events: Sequence[Any]) -> Iterator[tuple[str, WorkerEvent]]:
    return (event for event in events if isinstance(event, tuple))
