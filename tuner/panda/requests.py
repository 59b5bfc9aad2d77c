"""What a person may ask of a babysat run: checked here, accepted on record, done by the worker between two steps.

Decides; the loop carries out.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tuner.errors import CheckpointError, SettingsError, TunerError, did_you_mean, shown
from tuner.numbers import duration, number, setting
from tuner.panda.advisor import Watch
from tuner.panda.going_back import (
    NO_CHECKPOINT,
    check_revival,
    destination,
    expected,
    last_change,
    parent,
    settled,
    until,
)
from tuner.panda.supervisor import Advice
from tuner.policy.requests import NOTHING, Decision, Fault, Refused, Situation, answered, warning
from tuner.policy.segments import again, ancestry, gone_on, newest_whole, opened
from tuner.record.events import (
    READ,
    UNREAD,
    Adjusted,
    Answered,
    Cause,
    Configured,
    Judged,
    Noted,
    Record,
    Reported,
    Requested,
    RequestState,
    SegmentOpened,
)
from tuner.record.recipe import limits, possible, schedule
from tuner.record.requests import understood
from tuner.record.state import Request, StudyState
from tuner.record.trial import Checkpoint, Segment, Trial
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.worker.messages import (
    Adjust,
    Advance,
    Changed,
    Command,
    Did,
    Effect,
    Extend,
    Pause,
    Resume,
    Revert,
    Reverted,
    Save,
    Saved,
    Stop,
    Unread,
    Warned,
)

# The supervisor looks this often, and for at most a twentieth of the time.
_LOOK_EVERY_S = 0.5
_LOOK_SHARE = 20.0
_LOOK_AGAIN_S = 30.0  # after a fault of its own
_TAKEN_BACK, _BROUGHT_BACK = "taken back", "brought back"
# What waits for nothing, not even for a checkpoint that a revert before it may go back to.
_AT_ONCE = ("stop", "note", "checkpoint")


class RunSteering:
    """The verbs of a babysat run."""

    attention_s = 0.004
    verbs = ("set", "schedule", "pause", "resume", "step", "checkpoint", "revert", "undo", "extend", "note", "stop")

    def __init__(self, space: Space | None, watch: Watch | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`space` bounds what may be set; without one, names and types are those of the run's own settings.

        `watch` None: the supervisor keeps silent. `clock` says when it looks again, in seconds.
        """
        self._space, self._watch, self._clock = space, watch, clock
        self._looks_at = -math.inf
        self._faults: set[tuple[object, ...]] = set()
        self._saving: tuple[int, int] | None = None  # segment and step of the moment before the last change
        self._waiting: list[Requested] = []  # a revert that may go back there, and what was asked after it

    # ── what the loop calls ─────────────────────────────────────────────────────────────────────

    def answer(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        """Accepts a request, on record before anything happens, or refuses it with the reason."""
        if self._saving is not None and (self._waiting or request.verb == "revert") and request.verb not in _AT_ONCE:
            self._waiting.append(request)
            return NOTHING
        if request.verb not in self.verbs:
            raise Refused(f"a babysat run knows no {request.verb!r}. {did_you_mean(request.verb, self.verbs)}")
        understood(request.verb, request.arguments)
        trial = study.trials[0] if study.trials else None
        if request.verb == "note":
            return _note(trial, request, situation.now)
        if trial is None:
            raise Refused("the run has not begun yet")
        expected(study, trial, request.arguments)
        if trial.ended:
            return _revived(study, trial, request, situation)
        command = self._command(study, trial, study.requests[request.request], situation)
        _check_step(trial, request.arguments)
        desk = situation.workers.desk_of(trial.trial)
        if desk is None and trial.state == "paused" and trial.trial not in situation.unheard:
            accepted = answered(request.request, "accepted", _unmanned_detail(request), situation.now, trial.steps)
            further = _unmanned(study, trial, request, situation)
            return replace(further, records=(accepted, *further.records))
        told = desk is not None and desk.started_at is not None
        return Decision(
            records=(answered(request.request, "accepted", _when(trial, request), situation.now, trial.steps),),
            commands=((desk.name, command),) if desk is not None and told else (),
        )

    def started(self, study: StudyState, trial: Trial, situation: Situation) -> Decision:
        """What was accepted while no worker had the run reaches the worker now, in the order it was asked."""
        desk = situation.workers.desk_of(trial.trial)
        if desk is None:
            return Decision(due=self._saved())
        commands: list[tuple[str, Command]] = []
        records: list[Record] = []
        faults: list[Fault] = []
        for request in study.requests.values():
            if request.state != "accepted":
                continue
            refused = partial(_rejected, request.request, at=situation.now, step=trial.steps)
            try:
                commands.append((desk.name, self._command(study, trial, request, situation)))
            except TunerError as error:  # what could be done when it was accepted may be possible no longer
                records.append(refused(str(error)))
            except Exception as error:
                faults.append(Fault(error=error, during=f"while carrying out {request.verb!r}", becomes=refused))
        return Decision(records=tuple(records), commands=tuple(commands), faults=tuple(faults), due=self._saved())

    def released(self, study: StudyState, trial: Trial, situation: Situation) -> Decision:
        """What was accepted and has not reached the worker is carried out without it, in the order it was asked."""
        records: list[Record] = []
        further = NOTHING
        for request in study.requests.values() if trial.state in ("paused", "lost") else ():
            if request.state == "accepted":
                further = _unmanned(study, trial, request, situation)
                records += further.records
                if further.ready or further.stopped:  # it stands still no longer: the rest is for its next worker
                    break
        return replace(further, records=tuple(records), due=self._saved())

    def reported(self, study: StudyState, trial: Trial, record: Reported, situation: Situation) -> Decision:
        """Shows the scores to the supervisor, and writes down what it advises."""
        if self._watch is None:
            return NOTHING
        began = self._clock()
        try:
            self._watch.take(record, trial)
            if began < self._looks_at:
                return NOTHING
            advice = self._watch.news(study, trial)
        except Exception as error:  # whatever the supervisor makes of a curve, training goes on
            self._looks_at = began + _LOOK_AGAIN_S
            return self._failed(trial, error, situation.now)
        self._looks_at = began + max(_LOOK_EVERY_S, _LOOK_SHARE * (self._clock() - began))
        return NOTHING if advice is None else _noted(study, trial, advice, situation.now)

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

    def ended(self, study: StudyState, trial: Trial, situation: Situation) -> Decision:
        """What was accepted and can no longer happen says so."""
        waiting = {each.request for each in self._saved()}
        records: list[Record] = []
        for request in study.requests.values():
            if request.state != "accepted" and request.request not in waiting:
                continue
            state: RequestState = "applied" if request.verb == "stop" else "expired"
            if state == "applied":
                detail = f"the run ended: {trial.why}"
            else:
                detail = f"the run ended before it took effect: {trial.state}, {trial.why}"
            records.append(answered(request.request, state, detail, situation.now, trial.steps))
        return Decision(records=tuple(records))

    def took_effect(self, study: StudyState, trial: Trial, event: Effect, situation: Situation) -> Decision:
        """Writes down what the worker did, and answers whoever asked."""
        at = situation.now
        match event:
            case Changed():
                self._await_save(study, trial, event)
                return _changed(study, trial, event, at)
            case Reverted():
                return _reverted(study, trial, event, situation)
            case Unread():
                return _unread(event, trial, at)
            case Saved():
                detail = f"checkpoint {len(study.checkpoints) - 1}"
                return Decision(
                    records=(answered(event.request, "applied", detail, at, event.step),) if event.request else (),
                    due=self._saved() if (event.segment, event.step) == self._saving else (),
                )
            case Warned():  # the disk may have refused it
                return Decision(due=self._saved())
            case Did() if study.requests[event.request].state in ("received", "accepted"):
                return Decision(records=(answered(event.request, event.state, event.detail, at, event.step),))
        return NOTHING

    def _await_save(self, study: StudyState, trial: Trial, event: Changed) -> None:
        """Remembers the moment before a change until it is on record."""
        before = (trial.head.segment, event.step)
        saved = any((each.segment, each.step) == before for each in study.kept(trial))
        if trial.resumable and not event.repeated and not saved:
            self._saving = before

    def _saved(self) -> tuple[Requested, ...]:
        """The moment before the last change is on record, or will never be: what waited for it is to be answered."""
        waiting, self._saving, self._waiting = self._waiting, None, []
        return tuple(waiting)

    # ── what the worker is told ─────────────────────────────────────────────────────────────────

    def _command(self, study: StudyState, trial: Trial, request: Request, situation: Situation) -> Command:
        """The command that carries a request out; raises what refuses it."""
        number, name, given = trial.trial, request.request, request.arguments
        why = request.why or f"asked by {request.by}"
        match request.verb:
            case "set":
                values = self._checked(trial, given["values"])
                return Adjust(trial=number, request=name, values=values, schedules={}, at_step=given.get("at"))
            case "schedule":
                return Adjust(
                    trial=number,
                    request=name,
                    values={},
                    schedules=self._schedules(trial, given),
                    at_step=given.get("at"),
                )
            case "pause":
                return Pause(trial=number, why=why, release=bool(given.get("release")), request=name)
            case "resume":
                return Resume(trial=number, request=name)
            case "step":
                return Advance(trial=number, request=name, steps=given["steps"])
            case "checkpoint":
                return Save(trial=number, kind="pinned", request=name)
            case "revert" | "undo":
                return _going_back(study, trial, request, situation)
            case "extend":
                return Extend(trial=number, request=name, steps=given["steps"])
            case "stop":
                return Stop(trial=number, state="stopped", why=why)
        raise Refused(f"{request.verb!r} is not for the worker")

    # ── checks ──────────────────────────────────────────────────────────────────────────────────

    def _checked(self, trial: Trial, values: Mapping[str, Any]) -> dict[str, Any]:
        if not values:
            raise SettingsError("nothing to set: name at least one parameter, as in learning_rate=0.003.")
        return {name: self._check(trial, name, value) for name, value in values.items()}

    def _changeable(self, trial: Trial, name: str) -> Parameter | Choice | None:
        """What the space says of a setting that may change; None where it says nothing."""
        now = trial.recipe.values
        if name not in now:
            raise SettingsError(f"{name} is no setting of this run. {did_you_mean(name, now)}")
        if self._space is None or name not in self._space:
            return None
        if self._space[name].changes == "never":
            raise SettingsError(
                f"{name} is built into the model and cannot change while it trains: so its space says, as it does of "
                'every whole number without changes = "live". Start another run with it.'
            )
        return self._space[name]

    def _check(self, trial: Trial, name: str, value: Any) -> Any:
        dimension = self._changeable(trial, name)
        if dimension is not None:
            return dimension.check(value)
        old = trial.recipe.values[name]
        number = isinstance(old, int | float) and not isinstance(old, bool)
        if number != (isinstance(value, int | float) and not isinstance(value, bool)) or (
            not number and type(value) is not type(old)
        ):
            kind = "number" if number else type(old).__name__
            raise SettingsError(f"{name} is {shown(old)}, so it must stay a {kind}, got {shown(value)}.")
        return possible(name, value)

    def _schedules(self, trial: Trial, given: Mapping[str, Any]) -> dict[str, Any]:
        name, shape = given["parameter"], given["shape"]
        dimension = self._changeable(trial, name)
        value = trial.recipe.at(trial.steps)[name]
        whole = isinstance(dimension, Parameter) and dimension.type == "integer"
        if whole or isinstance(value, bool) or not isinstance(value, int | float):
            raise SettingsError(f"{name} is {value!r}: only a number that need not be whole can follow a schedule.")
        if shape == "constant":
            return {name: None}
        asked: Mapping[str, Any] = given.get("shape_settings") or {}
        bounds = limits(name)
        if "floor" in asked:
            possible(name, asked["floor"])
        if isinstance(dimension, Parameter):
            bounds = dimension.low, dimension.high
            if "floor" in asked:
                dimension.check(asked["floor"])
        return {name: schedule(name, shape, asked, bounds=bounds)}


# ── what is decided ─────────────────────────────────────────────────────────────────────────────


def _going_back(study: StudyState, trial: Trial, request: Request, situation: Situation) -> Adjust | Revert:
    """Undo of an adjustment changes settings alone; everything else goes back to a checkpoint."""
    if request.verb == "undo" and (last := last_change(trial)).cause == "adjust":
        before = trial.recipe_of(parent(trial, last))
        return Adjust(trial=trial.trial, request=request.request, values={}, schedules={}, recipe=before)
    return _revert(study, trial, request, situation)


def _revert(study: StudyState, trial: Trial, request: Request, situation: Situation) -> Revert:
    given = request.arguments
    desk = situation.workers.desk_of(trial.trial)
    checkpoint = destination(study, trial, request.verb, given, trial.steps if desk is None else desk.last_step)
    if situation.saves is None:
        raise Refused("nothing of this run is kept on disk, so there is nothing to go back to")
    return Revert(
        trial=trial.trial,
        request=request.request,
        checkpoint=checkpoint.checkpoint,
        path=situation.saves.path(checkpoint),
        step=checkpoint.step,
        sha256=study.sha256_of(checkpoint),
        recipe=None if given.get("keep_settings") else trial.recipe_of(trial.segment(checkpoint.segment)),
    )


def _revived(study: StudyState, trial: Trial, request: Requested, situation: Situation) -> Decision:
    """A run that is over goes on from a checkpoint: extended from its newest, or set back."""
    if (done := settled(trial, request.verb)) is not None:
        return Decision(records=(answered(request.request, "applied", done, situation.now, trial.steps),))
    check_revival(study, trial, request.verb, request.arguments)
    return (_extended if request.verb == "extend" else _set_back)(study, trial, request, situation)


def _extended(study: StudyState, trial: Trial, request: Requested, situation: Situation) -> Decision:
    """A run that came to all its steps goes on beyond them.

    One that ended before trains that many more from where it stood, and no longer all that its function asks for.
    """
    at, why = situation.now, request.why or f"{request.verb} by {request.by}"
    checkpoint, torn = newest_whole(study, trial, situation.saves, at)
    if checkpoint is None:
        return Decision(records=(*torn, _rejected(request.request, NO_CHECKPOINT, at=at, step=None)))
    planned, stood, steps = trial.planned, trial.steps, request.arguments["steps"]
    shortened: tuple[Record, ...] = ()
    if planned is not None and stood < planned:
        extra = int(study.options.get("extra_steps", 0)) + stood - planned
        short = f"the run ended at step {stood} of {planned}"
        shortened = (Configured(options={"extra_steps": extra}, by=request.by, why=short, at=at),)
    ends = None if planned is None else min(stood, planned) + steps  # None: its loop does not say
    detail = f"goes on from step {checkpoint.step}{until(ends)}"
    return Decision(
        records=(
            *torn,
            *shortened,
            gone_on(trial, checkpoint, at=at, cause="thaw", why=why, by=request.by, request=request.request),
            answered(request.request, "applied", detail, at, checkpoint.step),
        ),
        ready=(trial.trial,),
    )


def _set_back(study: StudyState, trial: Trial, request: Requested, situation: Situation) -> Decision:
    at, why = situation.now, request.why or f"{request.verb} by {request.by}"
    going = _revert(study, trial, study.requests[request.request], situation)
    checkpoint = study.checkpoints[going.checkpoint]
    if situation.saves is not None:
        try:
            situation.saves.verify(study, checkpoint)
        except CheckpointError as error:
            raise Refused(str(error)) from error
    segment = opened(
        trial,
        at=at,
        cause="revert",
        why=why,
        start=checkpoint,
        recipe=going.recipe or trial.recipe,
        by=request.by,
        request=request.request,
    )
    judged = _judged_by_the_head(
        trial, checkpoint, f"step {trial.steps} went back to step {checkpoint.step}", situation
    )
    detail = f"goes on from step {checkpoint.step}{until(trial.planned)}{_instead(request, checkpoint.step)}"
    done = answered(request.request, "applied", detail, at, checkpoint.step)
    return Decision(records=(segment, *judged, done), ready=(trial.trial,))


def _unmanned(study: StudyState, trial: Trial, request: Request | Requested, situation: Situation) -> Decision:
    """A run without a worker that stands still: it was released, or its coordinator died while it stood."""
    at, why = situation.now, request.why or f"{request.verb} by {request.by}"
    match request.verb:
        case "resume":
            further = again(study, trial, situation.saves, at, "thaw", why)
            done = answered(request.request, "applied", "it goes on from its checkpoint", at, trial.steps)
            return replace(further, records=(*further.records, done))
        case "pause":
            return Decision(records=(answered(request.request, "applied", "it stood still already", at, trial.steps),))
        case "stop":
            return Decision(stopped=((trial.trial, why),))
        case "set" | "schedule" | "extend":
            return NOTHING  # it takes effect when the run is resumed
    return again(study, trial, situation.saves, at, "retry", why)  # a worker is needed: it stands still until told


def _changed(study: StudyState, trial: Trial, event: Changed, at: float) -> Decision:
    asked = study.requests.get(event.request)
    by, why = (asked.by, asked.why) if asked is not None else ("tuner", "")
    segment = SegmentOpened(
        trial=trial.trial,
        segment=event.segment,
        parent_segment=trial.head.segment,
        from_step=event.step,
        checkpoint=None,
        cause="adjust",
        by=by,
        why=f"{why} (done again after a retry)" if event.repeated else why,
        params=event.recipe.at(event.step),
        schedules=event.recipe.to_json()["schedules"] or None,
        request=event.request,
        at=event.at,
    )
    if event.repeated or asked is None:
        return Decision(records=(segment,))
    adjusted = [
        Adjusted(
            request=event.request,
            trial=trial.trial,
            step=event.step,
            parameter=name,
            before=event.before[name],
            after=event.after[name],
            read_back=event.read_back[name],
            by=by,
            why=why,
            evidence=str(asked.arguments.get("evidence", "")),
            requested_at=asked.at,
            accepted_at=asked.accepted_at,
        )
        for name in event.after
    ]
    changes = ", ".join(_change(event, name) for name in event.after)
    done = answered(event.request, "applied", changes or "nothing changed", at, event.step)
    return Decision(records=(segment, *adjusted, done))


def _reverted(study: StudyState, trial: Trial, event: Reverted, situation: Situation) -> Decision:
    asked = study.requests[event.request]
    start = study.checkpoints[event.checkpoint]
    segment = SegmentOpened(
        trial=trial.trial,
        segment=event.segment,
        parent_segment=start.segment,
        from_step=event.step,
        checkpoint=start.checkpoint,
        cause="revert",
        by=asked.by,
        why=asked.why,
        params=event.recipe.at(event.step),
        schedules=event.recipe.to_json()["schedules"] or None,
        request=event.request,
        at=event.at,
    )
    evidence = f"step {event.from_step} went back to step {event.step}"
    judged = _judged_by_the_head(trial, start, evidence, replace(situation, now=event.at))
    detail = f"from step {event.from_step} back to step {event.step}{_instead(asked, event.step)}"
    done = answered(event.request, "applied", detail, situation.now, event.step)
    return Decision(records=(segment, *judged, done))


def _judged_by_the_head(trial: Trial, start: Checkpoint, evidence: str, situation: Situation) -> list[Record]:
    """After a revert to `start`: what left the head was taken back; what lies there again is judged as it had been."""
    before, at = _requests_of(trial.path(), "adjust"), situation.now
    after = _requests_of(list(reversed(ancestry(trial, start.segment))), "adjust")
    records: list[Record] = [
        Judged(request=name, verdict=_TAKEN_BACK, evidence=evidence, at=at) for name in before if name not in after
    ]
    back = [name for name in after if name not in before]
    earlier = list(situation.judged()) if back else []
    for name in back:
        known = [each for each in earlier if each.request == name and each.verdict not in (_TAKEN_BACK, _BROUGHT_BACK)]
        fresh = Judged(request=name, verdict=_BROUGHT_BACK, evidence=evidence, at=at)
        records.append(replace(known[-1], at=at) if known else fresh)
    return records


def _unread(event: Unread, trial: Trial, at: float) -> Decision:
    """Says that a change has no effect, or that it has now; what nobody read is not judged."""
    names = " and ".join(event.names)
    if event.again:
        told, verdict = f"{names}: read at step {event.step}, so the change of step {event.since} acts", READ
    else:
        told = f"nothing has read {names} since the change at step {event.since}, and step {event.step} is over"
        told, verdict = f"{told}, so it has had no effect", UNREAD
        if event.before:
            told += f". No step ever has: read run.params[{event.names[0]!r}] in the loop, at every step"
    records: list[Record] = [warning(told, trial.trial, event.step, at)]
    if event.request and not (event.heeded and verdict == UNREAD):
        evidence = f"steps {event.since} to {event.step}"
        records.append(Judged(request=event.request, verdict=verdict, evidence=evidence, at=at))
    return Decision(records=tuple(records))


def _noted(study: StudyState, trial: Trial, advice: Advice, at: float) -> Decision:
    """The supervisor's advice; what speaks against the last change is a verdict on it too."""
    text = f"{advice.sentence}. Try: {advice.command}" if advice.command else advice.sentence
    noted = Noted(trial=trial.trial, step=trial.steps, by="supervisor", text=text, at=at)
    changed = [each for each in _requests_of(trial.path(), "adjust") if each not in study.unread]
    if advice.symptom != "worse" or advice.urgency != "now" or not changed:
        return Decision(records=(noted,))
    name, value = advice.statistic
    steps = f"steps {advice.window[0]} to {advice.window[1]}"
    evidence = f"{name} {number(value)}, threshold {number(advice.threshold)}, {steps}"
    return Decision(records=(noted, Judged(request=changed[-1], verdict="worse", evidence=evidence, at=at)))


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


def _requests_of(path: Sequence[Segment], cause: Cause) -> list[str]:
    """What asked for the changes on a path, in their order."""
    return [segment.request for segment in path if segment.cause == cause and segment.request]


def _change(event: Changed, name: str) -> str:
    """What became of a setting; a schedule begins at the value that was there."""
    before, now = event.before[name], event.read_back[name]
    each = event.recipe.schedules.get(name)
    shape = "" if each is None or each.since != event.step else f", {each}"
    if before != now:
        return f"{name} {setting(before)} → {setting(now)}{shape}"
    return f"{name} from {setting(now)} on{shape}" if each is not None else f"{name} stays {setting(now)}"


def _instead(asked: Request | Requested, step: int) -> str:
    """Why a run did not go back to the very step that was asked for."""
    wanted = asked.arguments.get("step")
    return "" if wanted is None or int(wanted) == step else f", the newest checkpoint kept at or before step {wanted}"


def _check_step(trial: Trial, given: Mapping[str, Any]) -> None:
    at = given.get("at")
    if at is None:
        return
    if at < trial.steps:
        raise SettingsError(f"step {at} is over: the run has come to step {trial.steps}. Leave `at` out for now.")


def _unmanned_detail(request: Requested) -> str:
    """When a change of a run that stands still without a worker takes effect; empty: now."""
    return "takes effect when the run is resumed" if request.verb in ("set", "schedule", "extend") else ""


def _when(trial: Trial, request: Requested) -> str:
    """When a change for a step to come takes effect; empty: between this step and the next."""
    at = request.arguments.get("at")
    if at is None:
        return ""
    beyond = trial.planned is not None and at >= trial.planned
    return f"takes effect at step {at}" + (f", which lies beyond the {trial.planned} of the loop" if beyond else "")
