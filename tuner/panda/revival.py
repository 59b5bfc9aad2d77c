"""Going back, and going on without a worker: of a run that is over, or that stands still."""

from __future__ import annotations

from dataclasses import replace

from tuner.errors import CheckpointError
from tuner.panda.effects import instead, judged_by_the_head
from tuner.panda.going_back import NO_CHECKPOINT, check_revival, destination, last_change, parent, settled, until
from tuner.policy.requests import NOTHING, Decision, Refused, Situation, answered
from tuner.policy.segments import again, gone_on, newest_whole, opened
from tuner.record.events import Configured, Record, Requested
from tuner.record.requests import Request
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.worker.messages import Adjust, Revert


def going_back(study: StudyState, trial: Trial, request: Request, situation: Situation) -> Adjust | Revert:
    """Undo of an adjustment changes settings alone; everything else goes back to a checkpoint."""
    if request.verb == "undo" and (last := last_change(trial)).cause == "adjust":
        before = trial.recipe_of(parent(trial, last))
        return Adjust(trial=trial.trial, request=request.request, values={}, schedules={}, recipe=before)
    return revert(study, trial, request, situation)


def revert(study: StudyState, trial: Trial, request: Request, situation: Situation) -> Revert:
    """What a worker is told that is to go back to a checkpoint."""
    given = request.arguments
    worker = situation.workers.worker_of(trial.trial)
    checkpoint = destination(study, trial, request.verb, given, trial.steps if worker is None else worker.last_step)
    if situation.checkpoints is None:
        raise Refused("nothing of this run is kept on disk, so there is nothing to go back to", code="no_checkpoint")
    return Revert(
        trial=trial.trial,
        request=request.request,
        checkpoint=checkpoint.checkpoint,
        path=checkpoint.path,
        step=checkpoint.step,
        sha256=study.sha256_of(checkpoint),
        recipe=None if given.get("keep_settings") else trial.recipe_of(trial.segment(checkpoint.segment)),
    )


def revived(study: StudyState, trial: Trial, request: Requested, situation: Situation) -> Decision:
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
    checkpoint, torn = newest_whole(study, trial, situation.checkpoints, at)
    if checkpoint is None:
        return Decision(records=(*torn, answered(request.request, "rejected", NO_CHECKPOINT, at)))
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
    going = revert(study, trial, study.requests[request.request], situation)
    checkpoint = study.checkpoints[going.checkpoint]
    if situation.checkpoints is not None:
        try:
            situation.checkpoints.verify(study, checkpoint)
        except CheckpointError as error:
            raise Refused(str(error), code=error.code) from error
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
    judged = judged_by_the_head(trial, checkpoint, f"step {trial.steps} went back to step {checkpoint.step}", situation)
    detail = f"goes on from step {checkpoint.step}{until(trial.planned)}{instead(request, checkpoint.step)}"
    done = answered(request.request, "applied", detail, at, checkpoint.step)
    return Decision(records=(segment, *judged, done), ready=(trial.trial,))


def without_worker(study: StudyState, trial: Trial, request: Request | Requested, situation: Situation) -> Decision:
    """A run without a worker that stands still: it was released, or its coordinator died while it stood."""
    at, why = situation.now, request.why or f"{request.verb} by {request.by}"
    match request.verb:
        case "resume":
            further = again(study, trial, situation.checkpoints, at, "thaw", why)
            done = answered(request.request, "applied", "it goes on from its checkpoint", at, trial.steps)
            return replace(further, records=(*further.records, done))
        case "pause":
            return Decision(records=(answered(request.request, "applied", "it stood still already", at, trial.steps),))
        case "stop":
            return Decision(stopped=((trial.trial, why),))
        case "set" | "schedule" | "extend":
            return NOTHING  # it takes effect when the run is resumed
    # A worker is needed, though it stands still until it is told to go on.
    return again(study, trial, situation.checkpoints, at, "retry", why)
