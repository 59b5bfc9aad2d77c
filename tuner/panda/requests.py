"""What a person may ask of a babysat run: checked here, accepted on record, done by the worker between two steps."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tuner.coordinator.recovery import again, go_on, newest_whole, open_segment
from tuner.coordinator.requests import Refused, record_answer
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
from tuner.record.events import (
    READ,
    UNREAD,
    Adjusted,
    Cause,
    Configured,
    Judged,
    Noted,
    Reported,
    Requested,
    SegmentOpened,
)
from tuner.record.recipe import limits, possible, schedule
from tuner.record.requests import understood
from tuner.record.state import Request
from tuner.record.trial import Trial
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.worker import checkpoints
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

if TYPE_CHECKING:
    from tuner.coordinator.loop import Coordinator

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

    def answer(self, coordinator: Coordinator, request: Requested) -> None:
        """Accepts a request, on record before anything happens, or refuses it with the reason."""
        if self._saving is not None and (self._waiting or request.verb == "revert") and request.verb not in _AT_ONCE:
            self._waiting.append(request)
            return
        trial = coordinator.study.trials[0] if coordinator.study.trials else None
        try:
            if request.verb not in self.verbs:
                raise Refused(f"a babysat run knows no {request.verb!r}. {did_you_mean(request.verb, self.verbs)}")
            understood(request.verb, request.arguments)
            if request.verb == "note":
                self._note(coordinator, request)
                return
            if trial is None:
                raise Refused("the run has not begun yet")
            expected(coordinator.study, trial, request.arguments)
            if trial.ended:
                self._revive(coordinator, trial, request)
                return
            command = self._command(coordinator, trial, coordinator.study.requests[request.request])
            _check_step(trial, request.arguments)
        except TunerError as error:
            record_answer(coordinator, request.request, "rejected", str(error))
            return
        except Exception as error:  # whatever is wrong with tuner, training goes on
            told = coordinator.fault(error, f"while answering {request.verb!r}")
            record_answer(coordinator, request.request, "rejected", told)
            return
        desk = coordinator.crew.desk_of(trial.trial)
        if desk is None and trial.state == "paused" and trial.trial not in coordinator.orphans:
            record_answer(coordinator, request.request, "accepted", _unmanned_detail(request), trial.steps)
            self._unmanned(coordinator, trial, request)
            return
        record_answer(coordinator, request.request, "accepted", _when(trial, request), trial.steps)
        if desk is not None and desk.started_at is not None:
            coordinator.tell(desk.name, command)

    def started(self, coordinator: Coordinator, trial: Trial) -> None:
        """What was accepted while no worker had the run reaches the worker now, in the order it was asked."""
        self._saved(coordinator)
        desk = coordinator.crew.desk_of(trial.trial)
        for request in coordinator.study.requests.values():
            if request.state == "accepted" and desk is not None:
                try:
                    coordinator.tell(desk.name, self._command(coordinator, trial, request))
                except TunerError as error:  # what could be done when it was accepted may be possible no longer
                    record_answer(coordinator, request.request, "rejected", str(error), trial.steps)
                except Exception as error:
                    told = coordinator.fault(error, f"while carrying out {request.verb!r}")
                    record_answer(coordinator, request.request, "rejected", told, trial.steps)

    def released(self, coordinator: Coordinator, trial: Trial) -> None:
        """What was accepted and has not reached the worker is carried out without it, in the order it was asked."""
        self._saved(coordinator)
        for request in list(coordinator.study.requests.values()):
            if request.state == "accepted" and trial.state in ("paused", "lost"):
                self._unmanned(coordinator, trial, request)

    def reported(self, coordinator: Coordinator, trial: Trial, record: Reported) -> None:
        """Shows the scores to the supervisor, and writes down what it advises."""
        if self._watch is None:
            return
        began = self._clock()
        try:
            self._watch.take(record, trial)
            if began < self._looks_at:
                return
            advice = self._watch.news(coordinator.study, trial)
        except Exception as error:  # whatever the supervisor makes of a curve, training goes on
            self._looks_at = began + _LOOK_AGAIN_S
            self._failed(coordinator, trial, error)
            return
        self._looks_at = began + max(_LOOK_EVERY_S, _LOOK_SHARE * (self._clock() - began))
        if advice is None:
            return
        text = f"{advice.sentence}. Try: {advice.command}" if advice.command else advice.sentence
        at = coordinator.executor.now()
        coordinator.record(Noted(trial=trial.trial, step=trial.steps, by="supervisor", text=text, at=at))
        changed = [each for each in _requests_of(trial, "adjust") if each not in coordinator.study.unread]
        if advice.symptom == "worse" and advice.urgency == "now" and changed:  # a verdict on the change
            name, value = advice.statistic
            evidence = (
                f"{name} {number(value)}, threshold {number(advice.threshold)}, "
                f"steps {advice.window[0]} to {advice.window[1]}"
            )
            coordinator.record(Judged(request=changed[-1], verdict="worse", evidence=evidence, at=at))

    def _failed(self, coordinator: Coordinator, trial: Trial, error: Exception) -> None:
        """Notes a fault of the supervisor, each kind once."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        if (kind := (type(error), where.filename, where.lineno)) in self._faults:
            return
        self._faults.add(kind)
        told = f"the supervisor failed at this look, and looks again in {duration(_LOOK_AGAIN_S)}"
        bug = coordinator.fault(error, "while the supervisor looked at the curves")
        coordinator.warn(f"{told}: {bug}", trial.trial, trial.steps)

    def ended(self, coordinator: Coordinator, trial: Trial) -> None:
        """What was accepted and can no longer happen says so."""
        waiting = {each.request for each in self._waiting}
        self._saving, self._waiting = None, []
        for request in coordinator.study.requests.values():
            if request.state != "accepted" and request.request not in waiting:
                continue
            if request.verb == "stop":
                record_answer(coordinator, request.request, "applied", f"the run ended: {trial.why}", trial.steps)
            else:
                why = f"the run ended before it took effect: {trial.state}, {trial.why}"
                record_answer(coordinator, request.request, "expired", why, trial.steps)

    def took_effect(self, coordinator: Coordinator, trial: Trial, event: Effect) -> None:
        """Records what the worker did, and answers whoever asked."""
        match event:
            case Changed():
                self._changed(coordinator, trial, event)
            case Reverted():
                self._reverted(coordinator, trial, event)
            case Unread():
                self._unread(coordinator, trial, event)
            case Saved():
                if event.request:
                    number = len(coordinator.study.checkpoints) - 1
                    record_answer(coordinator, event.request, "applied", f"checkpoint {number}", event.step)
                if (event.segment, event.step) == self._saving:
                    self._saved(coordinator)
            case Warned():  # the disk may have refused it
                self._saved(coordinator)
            case Did() if coordinator.study.requests[event.request].state in ("received", "accepted"):
                record_answer(coordinator, event.request, event.state, event.detail, event.step)

    def _saved(self, coordinator: Coordinator) -> None:
        """The moment before the last change is on record, or will never be: what waited for it is answered."""
        waiting, self._saving, self._waiting = self._waiting, None, []
        for request in waiting:
            self.answer(coordinator, request)

    # ── what the worker is told ─────────────────────────────────────────────────────────────────

    def _command(self, coordinator: Coordinator, trial: Trial, request: Request) -> Command:
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
                return self._going_back(coordinator, trial, request)
            case "extend":
                return Extend(trial=number, request=name, steps=given["steps"])
            case "stop":
                return Stop(trial=number, state="stopped", why=why)
        raise Refused(f"{request.verb!r} is not for the worker")

    def _going_back(self, coordinator: Coordinator, trial: Trial, request: Request) -> Adjust | Revert:
        """Undo of an adjustment changes settings alone; everything else goes back to a checkpoint."""
        if request.verb == "undo" and (last := last_change(trial)).cause == "adjust":
            before = trial.recipe_of(parent(trial, last))
            return Adjust(trial=trial.trial, request=request.request, values={}, schedules={}, recipe=before)
        return self._revert_command(coordinator, trial, request)

    def _revert_command(self, coordinator: Coordinator, trial: Trial, request: Request) -> Revert:
        given = request.arguments
        desk = coordinator.crew.desk_of(trial.trial)
        checkpoint = destination(
            coordinator.study, trial, request.verb, given, trial.steps if desk is None else desk.last_step
        )
        if coordinator.shelf is None:
            raise Refused("nothing of this run is kept on disk, so there is nothing to go back to")
        segment = trial.segment(checkpoint.segment)
        return Revert(
            trial=trial.trial,
            request=request.request,
            checkpoint=checkpoint.checkpoint,
            path=coordinator.shelf.path(checkpoint),
            step=checkpoint.step,
            sha256=coordinator.study.sha256_of(checkpoint),
            recipe=None if given.get("keep_settings") else trial.recipe_of(segment),
        )

    def _revive(self, coordinator: Coordinator, trial: Trial, request: Requested) -> None:
        """A run that is over goes on from a checkpoint: extended from its newest, or set back."""
        if (done := settled(trial, request.verb)) is not None:
            record_answer(coordinator, request.request, "applied", done, trial.steps)
            return
        check_revival(coordinator.study, trial, request.verb, request.arguments)
        why = request.why or f"{request.verb} by {request.by}"
        if request.verb == "extend":
            steps = request.arguments["steps"]
            checkpoint = newest_whole(coordinator, trial)
            if checkpoint is None:
                raise Refused(NO_CHECKPOINT)
            ends = self._shorten(coordinator, trial, request, steps)
            go_on(coordinator, trial, "thaw", why, checkpoint, by=request.by, request=request.request)
            detail = f"goes on from step {checkpoint.step}{until(ends)}"
        else:
            going = self._revert_command(coordinator, trial, coordinator.study.requests[request.request])
            try:
                checkpoints.verify(going.path, sha256=going.sha256)
            except CheckpointError as error:
                raise Refused(str(error)) from error
            checkpoint = coordinator.study.checkpoints[going.checkpoint]
            before, left_at = _requests_of(trial, "adjust"), trial.steps
            open_segment(
                coordinator,
                trial,
                cause="revert",
                why=why,
                start=checkpoint,
                recipe=going.recipe or trial.recipe,
                by=request.by,
                request=request.request,
            )
            coordinator.crew.ready.append(trial.trial)
            _judge_by_the_head(
                coordinator,
                trial,
                before,
                f"step {left_at} went back to step {checkpoint.step}",
                coordinator.executor.now(),
            )
            detail = f"goes on from step {checkpoint.step}{until(trial.planned)}{_instead(request, checkpoint.step)}"
        record_answer(coordinator, request.request, "applied", detail, checkpoint.step)

    def _shorten(self, coordinator: Coordinator, trial: Trial, request: Requested, steps: int) -> int | None:
        """The step at which a run that is over will end once it is extended; None where its loop does not say.

        A run that came to all its steps goes on beyond them. One that ended before trains that many more from where it
        stood, and no longer all that its function asks for.
        """
        planned, stood = trial.planned, trial.steps
        if planned is None:
            return None
        if stood < planned:
            study, why = coordinator.study, f"the run ended at step {stood} of {planned}"
            extra = int(study.options.get("extra_steps", 0)) + stood - planned
            at = coordinator.executor.now()
            coordinator.record(Configured(options={"extra_steps": extra}, by=request.by, why=why, at=at))
        return min(stood, planned) + steps

    def _unmanned(self, coordinator: Coordinator, trial: Trial, request: Request | Requested) -> None:
        """A run without a worker that stands still: it was released, or its coordinator died while it stood."""
        why = request.why or f"{request.verb} by {request.by}"
        match request.verb:
            case "resume":
                again(coordinator, trial, "thaw", why)
                record_answer(coordinator, request.request, "applied", "it goes on from its checkpoint", trial.steps)
            case "pause":
                record_answer(coordinator, request.request, "applied", "it stood still already", trial.steps)
            case "stop":
                coordinator.stop(trial, why)
            case "set" | "schedule" | "extend":
                pass  # it takes effect when the run is resumed
            case _:  # a worker is needed: it stands still until told otherwise
                again(coordinator, trial, "retry", why)

    # ── what the worker did ─────────────────────────────────────────────────────────────────────

    def _changed(self, coordinator: Coordinator, trial: Trial, event: Changed) -> None:
        asked = coordinator.study.requests.get(event.request)
        by, why = (asked.by, asked.why) if asked is not None else ("tuner", "")
        recipe = event.recipe.to_json()
        before = (trial.head.segment, event.step)
        saved = any((each.segment, each.step) == before for each in coordinator.study.kept(trial))
        if trial.resumable and not event.repeated and not saved:
            self._saving = before
        coordinator.record(
            SegmentOpened(
                trial=trial.trial,
                segment=event.segment,
                parent_segment=trial.head.segment,
                from_step=event.step,
                checkpoint=None,
                cause="adjust",
                by=by,
                why=f"{why} (done again after a retry)" if event.repeated else why,
                params=event.recipe.at(event.step),
                schedules=recipe["schedules"] or None,
                request=event.request,
                at=event.at,
            )
        )
        if event.repeated or asked is None:
            return
        for name in event.after:
            coordinator.record(
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
            )
        changes = ", ".join(_change(event, name) for name in event.after)
        record_answer(coordinator, event.request, "applied", changes or "nothing changed", event.step)

    def _reverted(self, coordinator: Coordinator, trial: Trial, event: Reverted) -> None:
        asked = coordinator.study.requests[event.request]
        start = coordinator.study.checkpoints[event.checkpoint]
        before = _requests_of(trial, "adjust")
        recipe = event.recipe.to_json()
        coordinator.record(
            SegmentOpened(
                trial=trial.trial,
                segment=event.segment,
                parent_segment=start.segment,
                from_step=event.step,
                checkpoint=start.checkpoint,
                cause="revert",
                by=asked.by,
                why=asked.why,
                params=event.recipe.at(event.step),
                schedules=recipe["schedules"] or None,
                request=event.request,
                at=event.at,
            )
        )
        _judge_by_the_head(
            coordinator, trial, before, f"step {event.from_step} went back to step {event.step}", event.at
        )
        detail = f"from step {event.from_step} back to step {event.step}{_instead(asked, event.step)}"
        record_answer(coordinator, event.request, "applied", detail, event.step)

    def _unread(self, coordinator: Coordinator, trial: Trial, event: Unread) -> None:
        """Says that a change has no effect, or that it has now; what nobody read is not judged."""
        names = " and ".join(event.names)
        if event.again:
            told, verdict = f"{names}: read at step {event.step}, so the change of step {event.since} acts", READ
        else:
            told = f"nothing has read {names} since the change at step {event.since}, and step {event.step} is over"
            told, verdict = f"{told}, so it has had no effect", UNREAD
            if event.before:
                told += f". No step ever has: read run.params[{event.names[0]!r}] in the loop, at every step"
        coordinator.warn(told, trial.trial, event.step)
        if event.request and not (event.heeded and verdict == UNREAD):
            evidence = f"steps {event.since} to {event.step}"
            coordinator.record(
                Judged(request=event.request, verdict=verdict, evidence=evidence, at=coordinator.executor.now())
            )

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

    def _note(self, coordinator: Coordinator, request: Requested) -> None:
        trial = coordinator.study.trials[0] if coordinator.study.trials else None
        coordinator.record(
            Noted(
                trial=None if trial is None else trial.trial,
                step=None if trial is None else trial.steps,
                by=request.by,
                text=str(request.arguments["text"]),
                at=coordinator.executor.now(),
            )
        )
        record_answer(coordinator, request.request, "applied", "noted")


def _judge_by_the_head(coordinator: Coordinator, trial: Trial, before: Sequence[str], evidence: str, at: float) -> None:
    """After a revert: what left the head was taken back; what lies there again is judged as it had been."""
    after = _requests_of(trial, "adjust")
    for name in before:
        if name not in after:
            coordinator.record(Judged(request=name, verdict=_TAKEN_BACK, evidence=evidence, at=at))
    back = [name for name in after if name not in before]
    earlier = list(coordinator.store.read(Judged)) if back else []
    for name in back:
        known = [each for each in earlier if each.request == name and each.verdict not in (_TAKEN_BACK, _BROUGHT_BACK)]
        if known:
            coordinator.record(replace(known[-1], at=at))
        else:
            coordinator.record(Judged(request=name, verdict=_BROUGHT_BACK, evidence=evidence, at=at))


def _requests_of(trial: Trial, cause: Cause) -> list[str]:
    """What asked for the changes on the head, in their order."""
    return [segment.request for segment in trial.path() if segment.cause == cause and segment.request]


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
