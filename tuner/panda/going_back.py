"""The checkpoint a babysat run goes back to, or on from once it is over: found on record, or refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tuner.policy.requests import Refused
from tuner.policy.segments import ancestry, outstanding
from tuner.record.state import StudyState
from tuner.record.trial import Checkpoint, Segment, Trial, latest_steps

# Legal once the run has ended: wherever a checkpoint is, it can go on.
_REVIVES = ("revert", "extend", "undo")
_CHANGES = ("set", "schedule", "revert", "undo")
NO_CHECKPOINT = (
    "it has no checkpoint to go back to: the function never called run.state(...), or none has been saved yet"
)


def settled(trial: Trial, verb: str) -> str | None:
    """What there is to say to a request that a run which is over has fulfilled already; None for any other."""
    return f"the run is over already: {_over(trial)}" if verb == "stop" else None


def check_revival(study: StudyState, trial: Trial, verb: str, given: Mapping[str, Any]) -> None:
    """Raises what speaks against a request of a run that is over, as far as the record tells."""
    if verb not in _REVIVES:
        can = f"{', '.join(_REVIVES)}, fork"
        raise Refused(f"the run is over ({_over(trial)}), so it cannot {verb}. What it can: {can}.", code="over")
    expected(study, trial, given)
    if verb != "extend":
        destination(study, trial, verb, given)
        return
    if not study.kept(trial):
        raise Refused(NO_CHECKPOINT, code="no_checkpoint")


def _over(trial: Trial) -> str:
    since = (
        "" if trial.ended_at is None else f", since {datetime.fromtimestamp(trial.ended_at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    )
    return f"{trial.state}: {trial.why}{since}"


def until(ends: int | None) -> str:
    """How far a run goes on that was over."""
    return " until its own loop ends, which only run.steps(...) can be told" if ends is None else f" to step {ends}"


def expected(study: StudyState, trial: Trial, given: Mapping[str, Any]) -> None:
    """Two people cannot overwrite one another unknowingly: whoever says what they saw must have seen the latest."""
    seen = given.get("expect")
    if seen is None:
        return
    if seen > trial.head.segment:
        raise Refused(
            f"expect must be the number of a segment, 0 to {trial.head.segment}, got {seen!r}.", code="expect"
        )
    known = {each.request for each in trial.segments if each.segment <= seen}
    for each in reversed(trial.segments[seen + 1 :]):
        if each.cause in ("adjust", "revert") and each.request not in known:  # else a retry repeated it
            raise Refused(
                f"the run has changed since you looked: segment {each.segment} began at step {each.from_step} "
                f"({each.cause} by {each.by}: {each.why or 'no reason given'}). Look again, then ask again.",
                code="changed_since",
            )
    for request in study.requests.values():
        if request.state == "accepted" and request.verb in _CHANGES and request.arguments.get("at") is None:
            raise Refused(
                f"the run is about to change: {request.verb} by {request.by} ({request.why or 'no reason given'}). "
                "Look again, then ask again.",
                code="changed_since",
            )


def parent(trial: Trial, segment: Segment) -> Segment:
    """The segment that another one opened from."""
    return trial.segment(-1 if segment.parent is None else segment.parent)


def last_change(trial: Trial) -> Segment:
    """The newest adjustment or revert on the head; refused while a retry has some of them to repeat."""
    if ahead := outstanding(trial):
        raise Refused(
            f"it repeats its adjustments after a loss and has yet to come to step {ahead[-1].step}. Ask again "
            "then, or say where to revert to."
        )
    for segment in reversed(trial.path()):
        if segment.cause in ("adjust", "revert"):
            return segment
    raise Refused("there is nothing to undo or to go back before: no adjustment and no revert lies on the head")


def destination(study: StudyState, trial: Trial, verb: str, given: Mapping[str, Any], beaten: int = 0) -> Checkpoint:
    """The checkpoint that a revert or an undo goes back to; `beaten` is the step last heard of beside the reports."""
    if verb != "undo":
        return _chosen(study, trial, given, beaten)
    last = last_change(trial)
    before = last.segment - 1 if last.cause == "revert" else parent(trial, last).segment
    checkpoint = _newest_of(study, trial, before)
    if last.cause == "revert" and checkpoint.segment in trial.head_limits() and checkpoint.step <= last.from_step:
        raise Refused(
            f"nothing that was given up after step {last.from_step} is kept, so there is nothing to return to"
        )
    return checkpoint


def _chosen(study: StudyState, trial: Trial, given: Mapping[str, Any], beaten: int) -> Checkpoint:
    """The checkpoint that was asked for: by number, by step, before the last adjustment, else the newest."""
    kept = study.kept(trial)
    if not kept:
        raise Refused(NO_CHECKPOINT, code="no_checkpoint")
    if given.get("checkpoint") is not None and given.get("step") is not None:
        raise Refused(
            f"step {given['step']} and checkpoint {given['checkpoint']} both say where to go back to. Give one of them."
        )
    steps = latest_steps(kept)
    if given.get("checkpoint") is not None:
        for each in kept:
            if each.checkpoint == given["checkpoint"]:
                return each
        raise Refused(f"checkpoint {given['checkpoint']} is not kept. Kept are those of steps {steps}.")
    on_head = trial.on_head(kept)
    step = given.get("step")
    if given.get("before") == "adjustment" or (given.get("before") is None and step is None):
        step = last_change(trial).from_step
    where = latest_steps(on_head)
    kept_there = f"Kept on it are those of steps {where}." if where else f"Kept beside it are those of steps {steps}."
    furthest = max([trial.steps, beaten, *(each.step for each in on_head)])
    if step is not None and step > furthest:
        raise Refused(
            f"step {step} lies ahead: the run has come to step {furthest}, and goes back to a checkpoint of its head. "
            f"{kept_there}"
        )
    eligible = [each for each in on_head if step is None or each.step <= step]
    if not eligible:
        raise Refused(f"no checkpoint lies at or before step {step} on the head. {kept_there}")
    return max(eligible, key=lambda each: (each.step, each.checkpoint))


def _newest_of(study: StudyState, trial: Trial, segment: int) -> Checkpoint:
    """The newest checkpoint on the branch that ends with a segment."""
    branch = {each.segment for each in ancestry(trial, segment)}
    kept = [each for each in study.kept(trial) if each.segment in branch]
    if not kept:
        raise Refused("no checkpoint of that branch is kept any more")
    return max(kept, key=lambda each: each.checkpoint)
