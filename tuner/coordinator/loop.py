"""The one loop: events in, records committed, verdicts and new trials out.

Each turn takes what the workers say, folds it into the study, decides, commits everything in one transaction, and only
then sends and shows. So whatever a worker or a person has seen is on record.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal, Protocol

from tuner.coordinator import faults
from tuner.coordinator.checkpoint_keeper import Shelf
from tuner.coordinator.recovery import begun, recover, taken_up
from tuner.coordinator.watchdog import Alert, Care, look
from tuner.coordinator.workers import Crew, Desk
from tuner.errors import SweepFailed, TunerError, first_line
from tuner.executors.base import Executor
from tuner.policy.proposals import RoundPlan
from tuner.policy.protocol import Draft, Policy
from tuner.policy.requests import NOTHING, Decision, Situation, Steering, answered, warning
from tuner.policy.segments import again, outstanding
from tuner.policy.verdicts import Thaw
from tuner.record.events import (
    Cause,
    CheckpointDropped,
    CheckpointSaved,
    Judged,
    Noted,
    Received,
    Record,
    Reported,
    Requested,
    RoundOpened,
    TrialCreated,
    TrialEnded,
    TrialHeld,
    TrialPlanned,
    TrialStarted,
    TrialState,
)
from tuner.record.state import StudyState, unfinished
from tuner.record.store import Store
from tuner.record.trial import Trial
from tuner.worker.messages import (
    Beat,
    Changed,
    Command,
    Continue,
    Delivered,
    Did,
    Ended,
    Forget,
    Forgot,
    Held,
    Order,
    Pause,
    Planned,
    Reverted,
    Saved,
    Started,
    Stop,
    Unread,
    Waiting,
    Warned,
    WorkerEvent,
    WorkerLost,
    WorkerReady,
)

_SHOW_EVERY_S = 0.1
# A step that ends within a moment is waited for without a word.
_MOMENT_S = 0.5
_NAMED = 5  # trials in one sentence
# The first waits for the step, the second leaves it and puts that on record, any further ends the loop wherever it is.
_PATIENT_INTERRUPTS = 2


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a face shows beside the study itself."""

    workers: int
    busy: int
    elapsed_s: float
    trials_wanted: int | None
    waiting_because: str | None
    note: str | None


class Face(Protocol):
    """Whoever watches a running study: a terminal, a notebook, a test.

    One that raises an `Exception` is asked no more, and the study goes on: a note says so.
    """

    def show(self, study: StudyState, status: Status) -> None:
        """Called at most ten times a second, always after the commit."""
        ...

    def close(self) -> None:
        """The loop is over."""
        ...


class Coordinator:
    """Drives a policy over an executor, and keeps the record."""

    def __init__(
        self,
        *,
        study: StudyState,
        store: Store,
        policy: Policy,
        steering: Steering,
        executor: Executor,
        shelf: Shelf | None,
        care: Care,
        faces: Sequence[Face] = (),
        rerun: Literal["nothing", "failed"] = "nothing",
    ) -> None:
        """`shelf` None: nothing is kept on disk, as in a replay in memory."""
        self.study, self.store, self.policy, self.executor, self.shelf = study, store, policy, executor, shelf
        self.crew = Crew()
        self.steering = steering
        self.paused = False
        self._unheard: set[int] = set()
        self._care, self._faces, self._rerun = care, list(faces), rerun
        self._swept = shelf is None
        self._pending: list[Record] = []
        self._outgoing: list[tuple[str, Command]] = []
        self._orders: dict[str, list[Order]] = {}
        self._waiting: list[Waiting] = []
        self._drops: list[CheckpointDropped] = []
        self._tries: dict[int, int] = {}
        self._losses: dict[int, int] = {}  # in a row, without getting any further
        self._furthest: dict[int, int] = {}
        self._suspects: set[int] = set()
        self._freezing: set[int] = set()  # told to stand still because the stopping rule says so
        self._names_reported: set[str] = set()
        self._ending: str | None = None
        self._ending_since = 0.0
        self._ending_keeps = False
        self._collapsed: str | None = None
        self._interrupts = 0
        self._note: str | None = None
        self._started_at = 0.0
        self._next_requests = self._next_show = 0.0

    # ── the loop ────────────────────────────────────────────────────────────────────────────────

    def run(self) -> str:
        """Runs until the policy is done; returns why.

        Raises `SweepFailed` when the sweep was given up, `KeyboardInterrupt` on Ctrl-C.
        """
        self._started_at = time.monotonic()
        handlers = self._catch_signals()
        try:
            self.policy.restore(self.study)
            if self.shelf is not None and self.executor.outlives:
                self.shelf.mend()
            self._sweep()
            legacy = recover(
                self.study,
                self.policy,
                self.shelf,
                self.executor.now(),
                outlives=self.executor.outlives,
                clean=self.store.left_clean,
                failed_too=self._rerun == "failed",
            )
            self._unheard |= legacy.unheard
            self._carry_out(legacy.decision)
            self._take_requests()
            self.commit()
            self.store.left_clean = False
            while (finished := self._finished()) is None:
                self._turn(self.executor.poll(0.0 if self._outgoing or self._orders else self.steering.attention_s))
            self._part()
            if not self._ending_keeps and (remark := self.policy.parting(self.study)) is not None:
                self.warn(f"{finished}: {remark}", None, None)
            self._turn([])
            self.store.left_clean = not self.crew.busy()
            self._show(last=True)
            self.commit()  # a display that has just failed is noted
        finally:
            for number, handler in handlers:
                signal.signal(number, handler)
            self._close_faces()
        if self._interrupts:
            raise KeyboardInterrupt(f"everything so far is kept: the same call goes on with {self.study.name}")
        if self._collapsed is not None:
            raise SweepFailed(self._collapsed)
        return finished

    def _turn(self, events: Sequence[Any]) -> None:
        now = self.executor.now()
        if self._interrupts and self._ending is None:
            self.wind_down("interrupted", keep=True)
        over = {(event.trial, event.segment) for _, event in _of_workers(events) if isinstance(event, Ended)}
        for event in events:
            match event:
                case WorkerReady():
                    self.crew.join(event.worker, event.node, event.pid, now)
                    self._adopt(event, now)
                case WorkerLost():
                    self._lose(event, now)
                case Delivered():
                    self.record(Received(worker=event.worker, incarnation=event.incarnation, batch=event.batch))
                case (worker, said) if worker in self.crew.desks:
                    self._take(self.crew.desks[worker], said, over)
        self._sweep()
        self._take_requests()
        self._judge()
        self._watch(now)
        self._fill(now)
        self.commit()
        self._dispatch()
        self._show()

    def commit(self) -> None:
        """One transaction for everything this turn has learned and decided."""
        if self._pending:
            self.store.append(self._pending, time.time())
            self._pending = []
        else:
            self.store.beat(time.time())
        drops, self._drops = self._drops, []
        if drops and self.shelf is not None:
            for complaint in self.shelf.delete(self.study, drops):
                self.warn(complaint, None, None)

    def _dispatch(self) -> None:
        orders, self._orders = self._orders, {}
        outgoing, self._outgoing = self._outgoing, []
        for worker, batch in orders.items():
            self.executor.submit(worker, tuple(batch))
        for worker, command in outgoing:
            if worker in self.crew.desks:
                self.executor.send(worker, command)

    # ── carrying out ────────────────────────────────────────────────────────────────────────────

    def situation(self) -> Situation:
        """What an answer depends on beside the study."""
        return Situation(
            now=self.executor.now(),
            workers=self.crew,
            saves=self.shelf,
            paused=self.paused,
            unheard=self._unheard,
            judged=lambda: self.store.read(Judged),
        )

    def answer(self, request: Requested) -> None:
        """Has a request decided, and carries that out; whatever goes wrong becomes the answer, and training goes on."""
        try:
            self._carry_out(self.steering.answer(self.study, request, self.situation()))
        except TunerError as error:
            self.record(answered(request.request, "rejected", str(error), self.executor.now()))
        except Exception as error:
            told = self.fault(error, f"while answering {request.verb!r}")
            self.record(answered(request.request, "rejected", told, self.executor.now()))

    def _carry_out(self, decision: Decision) -> None:
        """The order is that of the fields of a decision; see there."""
        if decision is NOTHING:
            return
        if decision.parallel is not None:
            self.executor.resize(decision.parallel)
        for record in decision.records:
            self.record(record)
        for draft in decision.drafts:
            self.create(draft)
        self.crew.ready.extend(decision.ready)
        for number, why in decision.stopped:
            self.crew.release(number)
            self.stop(self.study.trials[number], why)
        if decision.paused is not None:
            self.paused = decision.paused
        if decision.ending is not None:
            self.wind_down(decision.ending)
        for worker, command in decision.commands:
            self.tell(worker, command)
        for fault in decision.faults:
            self.record(fault.becomes(self.fault(fault.error, fault.during)))
        for request in decision.due:
            self.answer(request)

    def _again(self, trial: Trial, cause: Cause, why: str) -> None:
        self._carry_out(again(self.study, trial, self.shelf, self.executor.now(), cause, why))

    def _adopt(self, event: WorkerReady, now: float) -> None:
        """A worker is there: it goes on with what it trains, and whatever else was left goes on without its worker."""
        unheard, self._unheard = self._unheard, set()
        desk = self.crew.desks[event.worker]
        for number in unheard:
            trial = self.study.trials[number]
            if number == event.training:
                self.crew.assign(desk, number, now)
                desk.started_at = now
                self._carry_out(self.steering.started(self.study, trial, self.situation()))
            elif trial.state == "paused":
                self._carry_out(self.steering.released(self.study, trial, self.situation()))
            else:
                self._carry_out(taken_up(self.study, trial, self.shelf, now))

    # ── what others of the house use ────────────────────────────────────────────────────────────

    def record(self, record: Record) -> None:
        """Folds a record in; it is committed before this turn ends."""
        self._pending.append(record)
        self.study.apply(record)
        if isinstance(record, Noted) and record.by == "tuner":
            self._note = record.text

    def tell(self, worker: str, command: Command) -> None:
        """Sends a command after the commit."""
        self._outgoing.append((worker, command))

    def create(self, draft: Draft, *, next_up: bool = True) -> int:
        """Records a new trial; it trains next, or is handed to a worker by the caller."""
        now, number = self.executor.now(), len(self.study.trials)
        self._open_round(draft.opened)
        self.record(
            TrialCreated(
                trial=number,
                purpose=draft.purpose,
                round=draft.round,
                parent=draft.parent,
                seed=draft.seed,
                params=draft.params,
                seen=len(self.study.ended_order),
                why=draft.why,
                memo=draft.memo,
                at=now,
            )
        )
        folder = None if self.shelf is None else self.shelf.folder
        for record in begun(self.study, self.study.trials[number], draft, folder, now):
            self.record(record)
        if next_up:
            self.crew.ready.append(number)
        return number

    def _open_round(self, plan: RoundPlan | None) -> None:
        if plan is not None:
            self.record(
                RoundOpened(
                    round=plan.round,
                    first_trial=plan.first_trial,
                    box=dict(plan.box),
                    memo=plan.memo,
                    seen=len(self.study.ended_order),
                    why=plan.why,
                    at=self.executor.now(),
                )
            )

    def stop(self, trial: Trial, why: str, state: Literal["stopped", "pruned"] = "stopped") -> None:
        """Ends a trial that no worker has, or that is left in its midst."""
        now = self.executor.now()
        self._close(
            trial,
            state,
            why,
            step=trial.steps,
            started=trial.started,
            node=trial.node,
            at=now,
            seconds=trial.seconds + (0.0 if trial.resumed_at is None else now - trial.resumed_at),
        )

    def wind_down(self, why: str, *, keep: bool = False) -> None:
        """Starts nothing more; what trains comes to the end of its step.

        Then it ends as `stopped`, or with `keep` goes on at the next start of the study. Whoever stops a study that is
        being interrupted has it stopped.
        """
        if self._ending is not None and (keep or not self._ending_keeps):
            return
        self._ending, self._ending_since, self._ending_keeps = why, time.monotonic(), keep
        for desk in self.crew.busy():
            for number in list(desk.queue)[1 if desk.started_at is not None else 0 :]:
                self.tell(desk.name, Forget(trial=number))
            self._tell_to_end(desk, desk.queue[0])

    def warn(self, text: str, trial: int | None, step: int | None) -> None:
        """Writes down, and shows once, what went wrong without ending a trial."""
        self.record(warning(text, trial, step, self.executor.now()))

    def fault(self, error: BaseException, during: str) -> str:
        """Keeps the traceback of what went wrong inside tuner; the sentence to tell of it."""
        kept = faults.keep(None if self.shelf is None else self.shelf.folder, error, during)
        return f"a bug in tuner, not a mistake of yours: {first_line(error)} ({kept})"

    def _tell_to_end(self, desk: Desk, trial: int) -> None:
        why = self._ending or ""
        self._freezing.discard(trial)
        if self._ending_keeps:
            self.tell(desk.name, Pause(trial=trial, why=why, release=True, must=True))
        else:
            self.tell(desk.name, Stop(trial=trial, state="stopped", why=why))

    # ── events ──────────────────────────────────────────────────────────────────────────────────

    def _take(self, desk: Desk, event: WorkerEvent, over: set[tuple[int, int]]) -> None:
        trial = self.study.trials[event.trial]
        if isinstance(event, Saved):  # a checkpoint counts whatever has become of its trial
            self._shelve(trial, event)
        if isinstance(event, Saved | Changed | Reverted | Did | Unread):
            desk.last_sign = self.executor.now()
            self._carry_out(self.steering.took_effect(self.study, trial, event, self.situation()))
            return
        if trial.ended or getattr(event, "segment", trial.head.segment) != trial.head.segment:
            return
        if not isinstance(event, Beat) or event.step != desk.last_step:
            desk.last_sign = self.executor.now()
        match event:
            case Beat():
                desk.last_step = event.step
            case Reported():
                self._names_reported.update(event.names)
                self.record(event)
                self._carry_out(self.steering.reported(self.study, trial, event, self.situation()))
            case Forgot():
                self.crew.release(trial.trial)
                if self._ending is None:
                    self.crew.ready.appendleft(trial.trial)
            case Started():
                desk.started_at, desk.last_step, desk.told_to_stop = event.at, -1, None
                if (event.trial, event.segment) not in over:
                    self._start(desk, trial, event.at)
                if self._ending is not None:
                    self._tell_to_end(desk, trial.trial)
                else:
                    self._carry_out(self.steering.started(self.study, trial, self.situation()))
            case Planned():
                self.record(
                    TrialPlanned(
                        trial=event.trial,
                        segment=event.segment,
                        steps=event.steps,
                        resumable=event.resumable,
                        at=event.at,
                    )
                )
                if (remark := self.policy.planned(trial)) is not None:
                    self.warn(remark, None, None)
            case Waiting():
                self._waiting.append(event)
            case Held():
                self.record(
                    TrialHeld(trial=event.trial, state=event.state, step=event.step, why=event.why, at=event.at)
                )
            case Warned():
                self.warn(event.text, trial.trial, event.step)
                self._carry_out(self.steering.took_effect(self.study, trial, event, self.situation()))
            case Ended():
                self._end(desk, trial, event)

    def _start(self, desk: Desk, trial: Trial, at: float) -> None:
        self.record(
            TrialStarted(
                trial=trial.trial, segment=trial.head.segment, worker=desk.name, node=desk.node, pid=desk.pid, at=at
            )
        )

    def _end(self, desk: Desk, trial: Trial, event: Ended) -> None:
        self.crew.release(trial.trial)
        state, why = event.state, event.why
        frozen = trial.trial in self._freezing
        self._freezing.discard(trial.trial)
        if event.released and self._ending is not None and not self._ending_keeps:
            state, why = "stopped", self._ending  # it was interrupted, and then stopped
        elif event.released:
            interrupted = self._ending_keeps and self.study.kind == "babysitting" and not trial.stands_still
            held: Literal["paused", "lost"] = "lost" if interrupted else "paused"  # nobody asked for it to stand still
            self.record(TrialHeld(trial=trial.trial, state=held, step=event.step, why=why, at=event.at, frozen=frozen))
            self._thin(trial)
            self._carry_out(self.steering.released(self.study, trial, self.situation()))
            return
        if state == "failed":
            tries = self._tries[trial.trial] = self._tries.get(trial.trial, 0) + 1
            if self.policy.may_retry(event.error, tries):
                self.record(TrialHeld(trial=trial.trial, state="lost", step=event.step, why=why, at=event.at))
                self._again(trial, "retry", f"tried again after {why}")
                return
        elif state in ("completed", "stopped") and trial.best_score is None:
            state, why = self._scoreless(trial, event)
        seconds = trial.seconds + event.at - (trial.resumed_at or event.started)
        self.crew.took(seconds)
        self._close(
            trial,
            state,
            why,
            step=event.step,
            started=trial.started or event.started,
            seconds=seconds,
            error=event.error[0] if event.error else "",
            traceback=event.traceback,
            at=event.at,
            node=desk.node,
        )

    def _scoreless(self, trial: Trial, event: Ended) -> tuple[TrialState, str]:
        if event.state == "stopped":
            return "stopped", event.why
        if trial.parent is not None and 0 < event.step == trial.segments[0].from_step:  # it began where it was to end
            return "completed", f"trained all {event.step} steps before: tuner extend {self.study.name} STEPS goes on"
        seen = ", ".join(sorted(self._names_reported)) or "nothing"
        return "failed", f"the function ended without reporting {self.study.objective!r}; reported: {seen}"

    def _close(
        self,
        trial: Trial,
        state: TrialState,
        why: str,
        *,
        step: int,
        at: float,
        started: float | None,
        seconds: float,
        node: str,
        error: str = "",
        traceback: str = "",
    ) -> None:
        self.record(
            TrialEnded(
                trial=trial.trial,
                segment=trial.head.segment,
                state=state,
                why=why,
                step=step,
                best_step=trial.best_step,
                best_score=trial.best_score,
                started=started,
                seconds=seconds,
                node=node,
                error=error,
                traceback=traceback,
                at=at,
            )
        )
        self.policy.ended(self.study, trial)
        self._carry_out(self.steering.ended(self.study, trial, self.situation()))
        self._losses.pop(trial.trial, None)
        self._furthest.pop(trial.trial, None)
        self._suspects.discard(trial.trial)
        if state == "failed":
            where = f"tuner show {self.study.name}/{trial.trial}"
            self._note = f"trial {trial.trial} failed at step {step}: {why} ({where})"
        self._thin(trial)
        if self._collapsed is None and (collapsed := self.policy.collapsed(self.study)) is not None:
            self._collapsed = collapsed
            self.wind_down("the sweep was given up")

    def _lose(self, event: WorkerLost, now: float) -> None:
        desk = self.crew.leave(event.worker)
        for place, number in enumerate(desk.queue if desk is not None else ()):
            trial = self.study.trials[number]
            if trial.ended:
                continue
            self._freezing.discard(number)
            started = trial.state == "running" or trial.state == "paused"
            if started:
                self.record(TrialHeld(trial=number, state="lost", step=trial.steps, why=event.why, at=now))
            if not event.preempted:
                self._suspects.add(number)  # any of them may be the one that kills its worker: each trains alone now
                if started or place == 0:  # it may have died before its start was heard of
                    further = trial.steps > self._furthest.get(number, -1)
                    self._furthest[number] = max(trial.steps, self._furthest.get(number, 0))
                    self._losses[number] = 1 if further else self._losses.get(number, 0) + 1
            if self._losses.get(number, 0) > self.policy.losses:
                why = f"it lost its worker {self._losses[number]} times in a row at the same place, because {event.why}"
                self._close(
                    trial,
                    "failed",
                    why,
                    step=trial.steps,
                    started=trial.started,
                    seconds=trial.seconds,
                    node=trial.node,
                    error="WorkerLost",
                    at=now,
                )
                continue
            self._again(trial, "retry", event.why if started else f"it may have begun before: {event.why}")
        if desk is not None and desk.queue and not event.preempted:
            self.warn(f"{event.worker} on {desk.node} was lost: {event.why}; its trials go on", None, None)

    def _sweep(self) -> None:
        """Clears away checkpoints that the record never heard of, once nobody is left who may have saved them.

        A worker that outlived its coordinator tells only later what it has saved meanwhile.
        """
        if self._swept or self.shelf is None:
            return
        if self.executor.outlives and (not self.crew.desks or self._unheard or self.crew.busy()):
            return
        self._swept = True
        for remark in self.shelf.sweep(self.study, self.store.left_at):
            self.warn(remark, None, None)

    def _shelve(self, trial: Trial, event: Saved) -> None:
        if self.shelf is None:
            return
        number = len(self.study.checkpoints)
        path = str(event.path.relative_to(self.shelf.root.parent))
        self.record(
            CheckpointSaved(
                checkpoint=number,
                trial=event.trial,
                segment=event.segment,
                step=event.step,
                kind=event.kind,
                bytes=event.bytes,
                sha256=event.sha256,
                path=path,
                at=event.at,
            )
        )
        self._thin(trial)

    def _thin(self, trial: Trial) -> None:
        if self.shelf is None or not trial.checkpoints:
            return
        drops = self.shelf.drops(self.study, trial, self.executor.now())
        for drop in drops:
            self.record(drop)
            if drop.why.startswith("evicted"):
                self.warn(f"checkpoint {drop.checkpoint} {drop.why}", None, None)
        self._drops.extend(drops)
        for drop in drops:
            other = self.study.trials[self.study.checkpoints[drop.checkpoint].trial]
            if other.frozen and not self.study.kept(other):
                why = f"paused at step {other.steps}, and cannot go on: its checkpoint was {drop.why}"
                self.stop(other, why, "pruned")

    # ── decisions ───────────────────────────────────────────────────────────────────────────────

    def _judge(self) -> None:
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            trial = self.study.trials[event.trial]
            desk = self.crew.desk_of(event.trial)
            if trial.ended or desk is None or event.segment != trial.head.segment or self._ending is not None:
                continue  # whoever is to end has been told so
            verdict = self.policy.judge(self.study, trial, event.step)
            self._open_round(verdict.opened)
            match verdict.action:
                case "continue":
                    answer = Continue(trial=trial.trial, ask_at=verdict.limit, rung=verdict.ask_at)
                    self.tell(desk.name, answer)
                case "wait":
                    desk.last_sign = self.executor.now()  # it is we who keep it
                    self._waiting.append(event)
                case "pause":
                    self._freezing.add(trial.trial)
                    self.tell(desk.name, Pause(trial=trial.trial, why=verdict.why, release=True))
                case "prune":
                    self.tell(desk.name, Stop(trial=trial.trial, state="pruned", why=verdict.why))
                case "stop":
                    self.tell(desk.name, Stop(trial=trial.trial, state="stopped", why=verdict.why))

    def _watch(self, now: float) -> None:
        """Time limits and silence."""
        budget = self._care.time_budget_s
        if budget is not None and self._ending is None and time.monotonic() - self._started_at >= budget:
            self.wind_down(f"the time budget of {budget:g} s is spent")
        for desk in self.crew.busy() if self._care.limits_trials else ():
            trial = self.study.trials[desk.queue[0]]
            alert = look(desk, trial, self._care, now)
            if alert is None:
                continue
            if alert.action == "stop":
                desk.told_to_stop = now
                self.tell(desk.name, Stop(trial=trial.trial, state=alert.state, why=alert.why))
            else:
                self._kill(desk, trial, alert, now)

    def _kill(self, desk: Desk, trial: Trial, alert: Alert, now: float) -> None:
        """Ends a trial whose worker does not answer, and the worker with it; what waited behind it has not begun."""
        self._close(
            trial,
            alert.state,
            alert.why,
            step=trial.steps,
            started=trial.started,
            node=trial.node,
            at=now,
            seconds=trial.seconds + now - (trial.resumed_at or now),
            error="Hung",
        )
        self.crew.leave(desk.name)
        self.crew.ready.extendleft(number for number in reversed(desk.queue) if number != trial.trial)
        self.commit()
        self.executor.kill(desk.name, f"tuner ended it, since trial {trial.trial} hung")

    # ── starting trials ─────────────────────────────────────────────────────────────────────────

    def _fill(self, now: float) -> None:
        if self.paused or self._ending is not None:
            return
        for desk in self.crew.openings(self.crew.depth(adaptive=self.policy.adaptive, asks=self.policy.asks)):
            number = self._next()
            if number is None:
                for other, behind in self.crew.recall():
                    self.tell(other.name, Forget(trial=behind))
                return
            alone = number in self._suspects
            if alone and desk.queue:
                self.crew.ready.appendleft(number)
                return
            self.crew.assign(desk, number, now, alone=alone)
            self._orders.setdefault(desk.name, []).append(self._order(self.study.trials[number]))

    def _next(self) -> int | None:
        """The trial to train next, or None."""
        if self.crew.ready:
            return self.crew.ready.popleft()
        match self.policy.propose(self.study):
            case None:
                return None
            case Thaw() as thaw:
                self._open_round(thaw.opened)
                self._again(self.study.trials[thaw.trial], "thaw", thaw.why)
                return self.crew.ready.popleft()
            case draft:
                return self.create(draft, next_up=False)

    def _order(self, trial: Trial) -> Order:
        segment, shelf = trial.head, self.shelf
        start = sha256 = None
        if segment.checkpoint is not None and shelf is not None:
            checkpoint = self.study.checkpoints[segment.checkpoint]
            start, sha256 = shelf.path(checkpoint), self.study.sha256_of(checkpoint)
        return Order(
            trial=trial.trial,
            segment=segment.segment,
            recipe=trial.recipe,
            seed=trial.seed,
            changes=outstanding(trial),
            extra_steps=self.study.extension,
            paused=trial.stands_still,
            from_step=segment.from_step,
            checkpoint=start,
            sha256=sha256,
            folder=None if shelf is None else shelf.root,
            checkpoint_every_s=self._care.checkpoint_every_s,
            rung=self.policy.first_ask(trial.trial, segment.from_step),
            ask_at=self.policy.allowance(self.study, trial, segment.from_step),
        )

    # ── ending ──────────────────────────────────────────────────────────────────────────────────

    def _finished(self) -> str | None:
        idle = not self.crew.ready and not self.crew.busy() and not self._unheard
        if self._ending is not None:
            return self._ending if self._interrupts > 1 or not self.crew.busy() else None
        return self.policy.spent(self.study) if idle and not self._orders else None

    def _part(self) -> None:
        """What was begun and has not come to an end gets one on record, unless its worker outlives this process."""
        if self._ending is None or self.executor.outlives:
            return
        for trial in unfinished(self.study):
            left = self.crew.desk_of(trial.trial) is not None
            if trial.started is None or (trial.state == "paused" and not left) or not self.policy.trains(trial):
                continue
            why = f"{self._ending}; it was left in the midst of a step" if left else self._ending
            if not self._ending_keeps:
                self.crew.release(trial.trial)
                self.stop(trial, why)
            elif trial.state == "running":
                self.crew.release(trial.trial)
                self.record(
                    TrialHeld(trial=trial.trial, state="lost", step=trial.steps, why=why, at=self.executor.now())
                )

    def _awaited(self) -> str | None:
        """Whose steps the end waits for, once that takes more than a moment."""
        trials = [desk.queue[0] for desk in self.crew.busy()]
        if self._ending is None or not trials or time.monotonic() - self._ending_since < _MOMENT_S:
            return None
        if len(trials) == 1:
            whose, left = f"trial {trials[0]} to finish its step", "it"
        else:
            named = f"trials {', '.join(map(str, trials))}" if len(trials) <= _NAMED else f"{len(trials)} trials"
            whose, left = f"{named} to finish their steps", "them"
        if threading.current_thread() is not threading.main_thread():
            return f"waiting for {whose}"  # no Ctrl-C comes here
        return f"waiting for {whose} (Ctrl-C {'again' if self._interrupts else 'twice'} to leave {left})"

    def _catch_signals(self) -> list[tuple[int, Any]]:
        if threading.current_thread() is not threading.main_thread():
            return []
        return [(number, signal.signal(number, self._interrupt)) for number in (signal.SIGINT, signal.SIGTERM)]

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's signature
        self._interrupts += 1
        if self._interrupts > _PATIENT_INTERRUPTS:
            raise KeyboardInterrupt(f"everything so far is kept: the same call goes on with {self.study.name}")

    # ── requests and faces ──────────────────────────────────────────────────────────────────────

    def _take_requests(self) -> None:
        if time.monotonic() < self._next_requests:
            return
        self._next_requests = time.monotonic() + self.steering.attention_s
        for request in self.store.new_requests():
            if request.request not in self.study.requests:
                self.study.apply(request)
            if self.study.requests[request.request].state == "received":
                self.answer(request)

    def _show(self, *, last: bool = False) -> None:
        if not self._faces or (not last and time.monotonic() < self._next_show):
            return
        self._next_show = time.monotonic() + _SHOW_EVERY_S
        status = Status(
            workers=len(self.crew.desks),
            busy=len(self.crew.busy()),
            elapsed_s=time.monotonic() - self._started_at,
            trials_wanted=self.policy.wanted,
            waiting_because=self._awaited() if self.crew.desks else self.executor.obstacle(),
            note=self._note,
        )
        self._note = None
        for face in list(self._faces):
            try:
                face.show(self.study, status)
            except Exception as error:  # a terminal that went away, a full disk under a log: training goes on
                self._faces.remove(face)
                kept = faults.keep(None if self.shelf is None else self.shelf.folder, error, "while showing the study")
                told = f"{first_line(error)} ({kept})"
                self.warn(f"the display failed and shows nothing more: {told}", None, None)
                self._close_face(face)

    def _close_faces(self) -> None:
        for face in self._faces:
            self._close_face(face)

    def _close_face(self, face: Face) -> None:
        try:
            face.close()
        except Exception as error:
            faults.keep(None if self.shelf is None else self.shelf.folder, error, "while closing the display")


def _of_workers(events: Sequence[Any]) -> Iterator[tuple[str, WorkerEvent]]:
    return (event for event in events if isinstance(event, tuple))
