"""The trials under way: how each begins, goes on and ends, on record, with its worker and with its checkpoints."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from tuner.coordinator.checkpoint_keeper import CheckpointKeeper
from tuner.coordinator.endings import End, Ending, scoreless
from tuner.coordinator.journal import Journal
from tuner.coordinator.standing import Standings
from tuner.coordinator.takeover import taken_up
from tuner.coordinator.workers import Worker, WorkerPool
from tuner.executors.base import Executor
from tuner.policy.protocol import Policy
from tuner.policy.requests import NOTHING, Decision, RequestPolicy, Situation
from tuner.policy.segments import again
from tuner.record.events import Cause, CheckpointDropped, Judged, TrialHeld
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.record.trial import Trial
from tuner.worker.messages import Command, Ended, Forget, Pause, Stop, WorkerLost, WorkerReady


class Trials:
    """Carries out what was decided, by a person's request, by the policy, or by what became of a worker."""

    def __init__(
        self,
        *,
        study: StudyState,
        store: Store,
        policy: Policy,
        requests: RequestPolicy,
        executor: Executor,
        keeper: CheckpointKeeper | None,
    ) -> None:
        self.study, self.journal = study, Journal(study, store, keeper, executor)
        self.pool, self.standings = WorkerPool(), Standings()
        self.outgoing: list[tuple[str, Command]] = []
        """What workers are to be told after the commit, by their names."""
        self.paused = False
        self.ending: Ending | None = None
        self.collapsed: str | None = None
        """Why the sweep was given up."""
        self.names_reported: set[str] = set()
        self._store, self._policy, self._requests = store, policy, requests
        self._executor, self._keeper = executor, keeper

    # ── what was decided ────────────────────────────────────────────────────────────────────────

    def situation(self) -> Situation:
        """What an answer depends on beside the study."""
        return Situation(
            now=self._executor.now(),
            workers=self.pool,
            checkpoints=self._keeper,
            paused=self.paused,
            unheard=self.standings.is_unheard,
            judged=lambda: self._store.read(Judged),
        )

    def carry_out(self, decision: Decision) -> None:
        """Does what was decided, in the order of the fields of a decision: why it is so stands there."""
        if decision is NOTHING:
            return
        if decision.parallel is not None:
            self._executor.resize(decision.parallel)
        for record in decision.records:
            self.journal.record(record)
        for draft in decision.drafts:
            self.pool.ready.append(self.journal.begin(draft))
        self.pool.ready.extend(decision.ready)
        for number, why in decision.stopped:
            self.pool.release(number)
            self.close(self.study.trials[number], End(state="stopped", why=why, at=self._executor.now()))
        if decision.paused is not None:
            self.paused = decision.paused
        if decision.ending is not None:
            self.wind_down(Ending(decision.ending, keeps=False))
        self.outgoing += decision.commands
        for fault in decision.faults:
            self.journal.record(fault.becomes(self.journal.fault(fault.error, fault.during)))

    def again(self, trial: Trial, cause: Cause, why: str) -> None:
        """Lets a trial go on from its newest whole checkpoint as soon as a worker is free."""
        self.carry_out(again(self.study, trial, self._keeper, self._executor.now(), cause, why))

    # ── ending ──────────────────────────────────────────────────────────────────────────────────

    def end(self, worker: Worker, trial: Trial, event: Ended) -> None:
        """A worker is done with a trial: it stands still, is tried again, or is over."""
        self.pool.release(trial.trial)
        standing, ending = self.standings[trial.trial], self.ending
        state, why = event.state, event.why
        frozen, standing.freezing = standing.freezing, False
        if event.released and ending is not None and not ending.keeps:
            state, why = "stopped", ending.why  # it was interrupted, and then stopped
        elif event.released:
            interrupted = ending is not None and self.study.kind == "babysitting" and not trial.stands_still
            held: Literal["paused", "lost"] = "lost" if interrupted else "paused"  # nobody asked for it to stand still
            self.journal.record(
                TrialHeld(trial=trial.trial, state=held, step=event.step, why=why, at=event.at, frozen=frozen)
            )
            self.thin(trial)
            self.carry_out(self._requests.released(self.study, trial, self.situation()))
            return
        if state == "failed" and "CheckpointTorn" in event.error and trial.head.checkpoint is not None:
            self._pass_over(trial, trial.head.checkpoint, event)
            return
        if state == "failed":
            standing.failures += 1
            if self._policy.may_retry(event.error, standing.failures):
                lost = TrialHeld(trial=trial.trial, state="lost", step=event.step, why=why, at=event.at)
                self.journal.record(lost)
                self.again(trial, "retry", f"tried again after {why}")
                return
        elif state in ("completed", "stopped") and trial.best_score is None:
            state, why = scoreless(self.study, trial, event, self.names_reported)
        seconds = trial.seconds + event.at - (trial.resumed_at or event.started)
        self.pool.took(seconds)
        end = End(
            state=state,
            why=why,
            at=event.at,
            step=event.step,
            started=trial.started or event.started,
            seconds=seconds,
            node=worker.node,
            error=event.error[0] if event.error else "",
            traceback=event.traceback,
        )
        self.close(trial, end)

    def _pass_over(self, trial: Trial, torn: int, event: Ended) -> None:
        """A trial goes on from an earlier checkpoint than the one that its worker fetched, and found torn."""
        self.journal.record(TrialHeld(trial=trial.trial, state="lost", step=event.step, why=event.why, at=event.at))
        self.journal.drop(CheckpointDropped(checkpoint=torn, why=event.why, at=event.at))
        self.journal.warn(f"trial {trial.trial}: {event.why}", trial.trial)
        self.again(trial, "retry", "its checkpoint was torn")

    def close(self, trial: Trial, end: End) -> None:
        """A trial is over: on record first, since whoever is told of it below reads the fold."""
        self.journal.record(end.of(trial))
        self._policy.ended(self.study, trial)
        self.carry_out(self._requests.ended(self.study, trial, self._executor.now()))
        self.standings.forget(trial.trial)
        if end.state == "failed":
            where = f"tuner show {self.study.name}/{trial.trial}"
            step = trial.steps if end.step is None else end.step
            self.journal.note = f"trial {trial.trial} failed at step {step}: {end.why} ({where})"
        self.thin(trial)
        if self.collapsed is None and (collapsed := self._policy.collapsed(self.study)) is not None:
            self.collapsed = collapsed
            self.wind_down(Ending("the sweep was given up", keeps=False))

    def adopt(self, event: WorkerReady, now: float, elsewhere: Collection[int | None]) -> None:
        """A worker is there: it goes on with what it trains, and whatever else was left goes on without its worker.

        `elsewhere` is what others train that are there too.
        """
        unheard = [number for number in self.standings.unheard() if number not in elsewhere]
        for number in unheard:
            self.standings[number].unheard = False
        worker = self.pool.workers[event.worker]
        for number in unheard:
            trial = self.study.trials[number]
            if number == event.training:
                elapsed = self._executor.elapsed()
                self.pool.assign(worker, number, elapsed)
                worker.started_at = elapsed - max(0.0, now - (trial.resumed_at or now))
                self.carry_out(self._requests.started(self.study, trial, self.situation()))
            elif trial.state == "paused":
                self.carry_out(self._requests.released(self.study, trial, self.situation()))
            else:
                self.carry_out(taken_up(self.study, trial, self._keeper, now))

    def lose(self, event: WorkerLost, now: float) -> None:
        """A worker is gone: what it had goes on elsewhere, unless it is what kills workers."""
        worker = self.pool.leave(event.worker)
        for place, number in enumerate(worker.queue if worker is not None else ()):
            trial, standing = self.study.trials[number], self.standings[number]
            if trial.ended:
                continue
            standing.freezing = False
            started = trial.state in ("running", "paused", "lost")
            if started and trial.state != "lost":
                self.journal.record(TrialHeld(trial=number, state="lost", step=trial.steps, why=event.why, at=now))
            if not event.preempted:
                standing.suspect = True  # any of them may be the one that kills its worker
                if started or place == 0:  # it may have died before its start was heard of
                    standing.lost(trial.steps)
            if standing.losses > self._policy.losses:
                why = f"it lost its worker {standing.losses} times in a row at the same place, because {event.why}"
                self.close(trial, End(state="failed", why=why, at=now, error="WorkerLost"))
            else:
                self.again(trial, "retry", event.why if started else f"it may have begun before: {event.why}")
        if worker is not None and worker.queue and not event.preempted:
            self.journal.warn(f"{event.worker} on {worker.node} was lost: {event.why}; its trials go on")

    def thin(self, trial: Trial) -> None:
        """Lets checkpoints go that nobody needs; a trial that stood still on one of them cannot go on."""
        if self._keeper is None or not trial.checkpoints:
            return
        drops = self._keeper.drops(self.study, trial, self._executor.now())
        for drop in drops:
            self.journal.drop(drop)
            if drop.why.startswith("evicted"):
                self.journal.warn(f"checkpoint {drop.checkpoint} {drop.why}")
        for drop in drops:
            other = self.study.trials[self.study.checkpoints[drop.checkpoint].trial]
            if other.frozen and not self.study.kept(other):
                why = f"paused at step {other.steps}, and cannot go on: its checkpoint was {drop.why}"
                self.close(other, End(state="pruned", why=why, at=self._executor.now()))

    def wind_down(self, ending: Ending) -> None:
        """Starts nothing more. Whoever stops a study that is being interrupted has it stopped."""
        if self.ending is not None and (ending.keeps or not self.ending.keeps):
            return
        self.ending = ending
        for worker in self.pool.busy():
            if ending.keeps and worker.lent:
                continue  # it trains on while there is no coordinator
            for number in list(worker.queue)[1 if worker.started_at is not None else 0 :]:
                self.tell(worker, Forget(trial=number))
            self.tell_to_end(ending, worker, worker.queue[0])

    def tell_to_end(self, ending: Ending, worker: Worker, trial: int) -> None:
        """Has a trial come to its end after its present step."""
        self.standings[trial].freezing = False
        if ending.keeps:
            self.tell(worker, Pause(trial=trial, why=ending.why, release=True, must=True))
        else:
            self.tell(worker, Stop(trial=trial, state="stopped", why=ending.why))

    def tell(self, worker: Worker, command: Command) -> None:
        """Sends a command after the commit."""
        self.outgoing.append((worker.name, command))
