"""The requests to a babysat run: checked here, accepted on record, done by the worker between two steps.

Decides; the loop carries out. What a worker does of its own for a request, its act, stands below the decisions.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tuner.errors import SettingsError, TunerError, coded, did_you_mean
from tuner.panda.advisor import Advisor
from tuner.panda.checks import checked, scheduled
from tuner.panda.effects import Effects, advised
from tuner.panda.going_back import expected
from tuner.panda.revival import going_back, revived, without_worker
from tuner.policy.requests import NOTHING, Decision, Fault, Refused, Situation, answered, warning
from tuner.record.events import Answered, Noted, Record, Reported, Requested, RequestState
from tuner.record.requests import RUN_VERBS, Request, understood
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.space import Space
from tuner.values.numbers import duration
from tuner.worker.messages import Act, Actor, Adjust, AsAsked, Command, Pause, Resume, Save, Stop

# The supervisor looks this often, and for at most a twentieth of the time.
_LOOK_EVERY_S = 0.5
_LOOK_SHARE = 20.0
_LOOK_AGAIN_S = 30.0  # after a fault of its own
# What waits for nothing, not even for a checkpoint that a revert before it may go back to.
_AT_ONCE = ("stop", "note", "checkpoint")


class RunRequests(Effects):
    """The verbs of a babysat run."""

    attention_s = 0.004
    verbs = RUN_VERBS

    def __init__(
        self, space: Space | None, advisor: Advisor | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`space` bounds what may be set; without one, names and types are those of the run's own settings.

        `advisor` None: the supervisor keeps silent. `clock` says when it looks again, in seconds.
        """
        super().__init__()
        self._space, self._advisor, self._clock = space, advisor, clock
        self._looks_at = -math.inf
        self._faults: set[tuple[object, ...]] = set()

    # ── what the loop calls ─────────────────────────────────────────────────────────────────────

    def answer(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        """Accepts a request, on record before anything happens, or refuses it with the reason."""
        if request.verb not in _AT_ONCE and self.holds_up(request.verb):
            self.waiting.append(request)
            return NOTHING
        if request.verb not in self.verbs:
            raise Refused(
                f"a babysat run knows no {request.verb!r}. {did_you_mean(request.verb, self.verbs)}",
                code="unknown_verb",
            )
        understood(request.verb, request.arguments)
        trial = study.trials[0] if study.trials else None
        if request.verb == "note":
            return _note(trial, request, situation.now)
        if trial is None:
            raise Refused("the run has not begun yet", code="not_begun")
        expected(study, trial, request.arguments)
        if trial.ended:
            return revived(study, trial, request, situation)
        command = self._command(study, trial, study.requests[request.request], situation)
        _check_step(trial, request.arguments)
        worker = situation.workers.worker_of(trial.trial)
        if worker is None and trial.state == "paused" and not situation.unheard(trial.trial):
            accepted = answered(
                request.request, "accepted", _detail_without_worker(request), situation.now, trial.steps
            )
            further = without_worker(study, trial, request, situation)
            return replace(further, records=(accepted, *further.records))
        told = worker is not None and worker.started_at is not None
        return Decision(
            records=(answered(request.request, "accepted", _when(trial, request), situation.now, trial.steps),),
            commands=((worker.name, command),) if worker is not None and told else (),
        )

    def started(self, study: StudyState, trial: Trial, situation: Situation) -> Decision:
        """What was accepted while no worker had the run reaches the worker now, in the order it was asked."""
        worker = situation.workers.worker_of(trial.trial)
        if worker is None:
            self.all_saved()
            return NOTHING
        commands: list[tuple[str, Command]] = []
        records: list[Record] = []
        faults: list[Fault] = []
        for request in study.requests.values():
            if request.state != "accepted":
                continue
            refused = partial(_rejected, request.request, at=situation.now, step=trial.steps)
            try:
                commands.append((worker.name, self._command(study, trial, request, situation)))
            except TunerError as error:  # what could be done when it was accepted may be possible no longer
                records.append(refused(coded(error)))
            except Exception as error:
                faults.append(Fault(error=error, during=f"while carrying out {request.verb!r}", becomes=refused))
        self.all_saved()
        return Decision(records=tuple(records), commands=tuple(commands), faults=tuple(faults))

    def released(self, study: StudyState, trial: Trial, situation: Situation) -> Decision:
        """What was accepted and has not reached the worker is carried out without it, in the order it was asked."""
        records: list[Record] = []
        further = NOTHING
        for request in study.requests.values() if trial.state in ("paused", "lost") else ():
            if request.state == "accepted":
                further = without_worker(study, trial, request, situation)
                records += further.records
                if further.ready or further.stopped:  # it stands still no longer: the rest is for its next worker
                    break
        self.all_saved()
        return replace(further, records=tuple(records))

    def reported(self, study: StudyState, trial: Trial, record: Reported, now: float) -> Decision:
        """Shows the scores to the supervisor, and writes down what it advises."""
        if self._advisor is None:
            return NOTHING
        began = self._clock()
        try:
            self._advisor.take(record, trial)
            if began < self._looks_at:
                return NOTHING
            advice = self._advisor.news(study, trial)
        except Exception as error:  # whatever the supervisor makes of a curve, training goes on
            self._looks_at = began + _LOOK_AGAIN_S
            return self._failed(trial, error, now)
        self._looks_at = began + max(_LOOK_EVERY_S, _LOOK_SHARE * (self._clock() - began))
        return NOTHING if advice is None else advised(study, trial, advice, now)

    def _failed(self, trial: Trial, error: Exception, at: float) -> Decision:
        """Notes a fault of the supervisor, each kind once."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        if (kind := (type(error), where.filename, where.lineno)) in self._faults:
            return NOTHING
        self._faults.add(kind)
        told, step = f"the supervisor failed at this look, and looks again in {duration(_LOOK_AGAIN_S)}", trial.steps
        fault = Fault(
            error=error,
            during="while the supervisor looked at the curves",
            becomes=lambda bug: warning(f"{told}: {bug}", trial.trial, step, at),
        )
        return Decision(faults=(fault,))

    def ended(self, study: StudyState, trial: Trial, now: float) -> Decision:
        """What was accepted and can no longer happen says so."""
        self.all_saved()
        waiting = {each.request for each in self.due}
        self.due.clear()
        records: list[Record] = []
        for request in study.requests.values():
            if request.state != "accepted" and request.request not in waiting:
                continue
            state: RequestState = "applied" if request.verb == "stop" else "expired"
            if state == "applied":
                detail = f"the run ended: {trial.why}"
            else:
                detail = f"the run ended before it took effect: {trial.state}, {trial.why}"
            records.append(answered(request.request, state, detail, now, trial.steps))
        return Decision(records=tuple(records))

    def closed(self, study: StudyState, why: str, now: float) -> Decision:
        """Every answer has been given when the trial ended."""
        return NOTHING

    # ── what the worker is told ─────────────────────────────────────────────────────────────────

    def _command(self, study: StudyState, trial: Trial, request: Request, situation: Situation) -> Command:
        """The command that carries a request out; raises what refuses it."""
        number, name, given = trial.trial, request.request, request.arguments
        why = request.why or f"asked by {request.by}"
        match request.verb:
            case "set":
                values = checked(self._space, trial, given["values"])
                return Adjust(trial=number, request=name, values=values, schedules={}, at_step=given.get("at"))
            case "schedule":
                return Adjust(
                    trial=number,
                    request=name,
                    values={},
                    schedules=scheduled(self._space, trial, given),
                    at_step=given.get("at"),
                )
            case "pause":
                return Pause(trial=number, why=why, release=bool(given.get("release")), request=name)
            case "resume":
                return Resume(trial=number, request=name)
            case "checkpoint":
                return Save(trial=number, kind="pinned", request=name)
            case "revert" | "undo":
                return going_back(study, trial, request, situation)
            case "stop":
                return Stop(trial=number, state="stopped", why=why)
            case "extend":
                return AsAsked(trial=number, request=name, verb="extend", arguments=given, act=_name_of(extend))
        return AsAsked(trial=number, request=name, verb=request.verb, arguments=given)


# ── what the worker does ────────────────────────────────────────────────────────────────────────


def extend(trial: Actor, given: Mapping[str, Any]) -> str:
    """Its loop takes more steps than its function asks for."""
    if trial.planned is None:
        raise Refused(
            "only a loop over run.steps(...) can be told how long it is, and this one takes its steps one by one"
        )
    trial.extend(given["steps"])
    return f"{given['steps']} steps longer: to step {trial.planned}"


def _name_of(act: Act) -> str:
    """An act as its command names it: a worker that has no such function refuses."""
    return f"{act.__module__}:{act.__name__}"


def _note(trial: Trial | None, request: Requested, at: float) -> Decision:
    noted = Noted(
        trial=None if trial is None else trial.trial,
        step=None if trial is None else trial.steps,
        by=request.by,
        text=str(request.arguments["text"]),
        at=at,
    )
    return Decision(records=(noted, answered(request.request, "applied", "noted", at)))


def _rejected(request: str, why: str, *, at: float, step: int | None) -> Answered:
    return answered(request, "rejected", why, at, step)


def _check_step(trial: Trial, given: Mapping[str, Any]) -> None:
    at = given.get("at")
    if at is None:
        return
    if at < trial.steps:
        raise SettingsError(f"step {at} is over: the run has come to step {trial.steps}. Leave `at` out for now.")


def _detail_without_worker(request: Requested) -> str:
    """When a change of a run that stands still without a worker takes effect; empty: now."""
    return "takes effect when the run is resumed" if request.verb in ("set", "schedule", "extend") else ""


def _when(trial: Trial, request: Requested) -> str:
    """When a change for a step to come takes effect; empty: between this step and the next."""
    at = request.arguments.get("at")
    if at is None:
        return ""
    beyond = trial.planned is not None and at >= trial.planned
    return f"takes effect at step {at}" + (f", which lies beyond the {trial.planned} of the loop" if beyond else "")
