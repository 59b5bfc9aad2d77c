"""The effects of requests on a babysat run: what its worker did, and what the supervisor made of it, as records."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from tuner.panda.supervisor import Advice
from tuner.policy.requests import Decision, Situation, answered, warning
from tuner.policy.segments import ancestry
from tuner.record.events import READ, UNREAD, Adjusted, Cause, Judged, Noted, Record, Requested, SegmentOpened
from tuner.record.requests import Request
from tuner.record.state import StudyState
from tuner.record.trial import Checkpoint, Segment, Trial
from tuner.values.numbers import number, setting
from tuner.worker.messages import Changed, Did, Effect, Reverted, Saved, Unread, Warned

_BACK = ("revert", "undo")
_TAKEN_BACK, _BROUGHT_BACK = "taken back", "brought back"


class Effects:
    """What workers say of what was asked, written down; and the requests that wait for a checkpoint to be on record."""

    def __init__(self) -> None:
        self.due = deque[Requested]()
        """Requests that had to wait, and whose turn has come."""
        self._saving: tuple[int, int] | None = None  # segment and step of the moment before the last change
        self.waiting: list[Requested] = []
        """What may go back there, and what was asked after it."""

    def took_effect(self, study: StudyState, trial: Trial, event: Effect, situation: Situation) -> Sequence[Record]:
        """What the worker did, and the answer to whoever asked."""
        at = situation.now
        match event:
            case Changed():
                if not event.repeated:
                    self._await_save(study, trial, event.step)
                return _changed(study, trial, event, at)
            case Reverted():
                self._await_save(study, trial, event.from_step)
                return _reverted(study, trial, event, situation)
            case Unread():
                return _unread(event, trial, at)
            case Saved():
                if (event.segment, event.step) == self._saving:
                    self.all_saved()
                detail = f"checkpoint {len(study.checkpoints) - 1}"
                return [answered(event.request, "applied", detail, at, event.step)] if event.request else ()
            case Warned():  # the disk may have refused it
                self.all_saved()
            case Did() if study.requests[event.request].state in ("received", "accepted"):
                return [answered(event.request, event.state, event.detail, at, event.step)]
        return ()

    def holds_up(self, verb: str) -> bool:
        """Whether such a request waits until the moment before the last change is on record."""
        return self._saving is not None and (bool(self.waiting) or verb in _BACK)

    def all_saved(self) -> None:
        """The moment before the last change is on record, or will never be: what waited for it is due."""
        self.due += self.waiting
        self._saving, self.waiting = None, []

    def _await_save(self, study: StudyState, trial: Trial, step: int) -> None:
        """Remembers the moment before a change or a way back until it is on record."""
        before = (trial.head.segment, step)
        saved = any((each.segment, each.step) == before for each in study.kept(trial))
        if trial.resumable and not saved:
            self._saving = before


def _changed(study: StudyState, trial: Trial, event: Changed, at: float) -> list[Record]:
    """The recipe was changed between two steps: another segment, and each value as it was and as it is."""
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
        return [segment]
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
    return [segment, *adjusted, done]


def _reverted(study: StudyState, trial: Trial, event: Reverted, situation: Situation) -> list[Record]:
    """The run went back to a checkpoint."""
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
    judged = judged_by_the_head(trial, start, evidence, replace(situation, now=event.at))
    detail = f"from step {event.from_step} back to step {event.step}{instead(asked, event.step)}"
    done = answered(event.request, "applied", detail, situation.now, event.step)
    return [segment, *judged, done]


def judged_by_the_head(trial: Trial, start: Checkpoint, evidence: str, situation: Situation) -> list[Record]:
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


def _unread(event: Unread, trial: Trial, at: float) -> list[Record]:
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
    if event.request and not (event.partly_read and verdict == UNREAD):
        evidence = f"steps {event.since} to {event.step}"
        records.append(Judged(request=event.request, verdict=verdict, evidence=evidence, at=at))
    return records


def advised(study: StudyState, trial: Trial, advice: Advice, at: float) -> Decision:
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


def instead(asked: Request | Requested, step: int) -> str:
    """Why a run did not go back to the very step that was asked for."""
    wanted = asked.arguments.get("step")
    return "" if wanted is None or int(wanted) == step else f", the newest checkpoint kept at or before step {wanted}"
