"""The beginnings of rounds and trials: what is written down, and what a worker is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.coordinator.checkpoint_keeper import CheckpointKeeper
from tuner.policy.proposals import RoundPlan
from tuner.policy.protocol import Draft, Policy
from tuner.policy.segments import outstanding
from tuner.record.events import Cause, CheckpointSaved, Record, RoundOpened, SegmentOpened, TrialCreated
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.worker import checkpoints
from tuner.worker.messages import Order

if TYPE_CHECKING:
    from pathlib import Path


def round_opened(study: StudyState, plan: RoundPlan, now: float) -> RoundOpened:
    """A round begins."""
    return RoundOpened(
        round=plan.round,
        first_trial=plan.first_trial,
        box=dict(plan.box),
        memo=plan.memo,
        seen=len(study.ended_order),
        why=plan.why,
        at=now,
    )


def created(study: StudyState, draft: Draft, folder: Path | None, now: float) -> list[Record]:
    """A trial begins, and its round where it opens one; from scratch, or from a checkpoint of another run.

    That checkpoint becomes one of its own. `folder` is the study's; None: nothing is kept on disk.
    """
    number = len(study.trials)
    records: list[Record] = [] if draft.opened is None else [round_opened(study, draft.opened, now)]
    trial = TrialCreated(
        trial=number,
        purpose=draft.purpose,
        round=draft.round,
        parent=draft.parent,
        seed=draft.seed,
        params=draft.params,
        seen=len(study.ended_order),
        why=draft.why,
        memo=draft.memo,
        at=now,
    )
    if draft.beginning is None or folder is None:
        return [*records, trial, _segment(number, "start", draft, now)]
    manifest = checkpoints.verify(draft.beginning)
    saved = CheckpointSaved(
        checkpoint=len(study.checkpoints),
        trial=number,
        segment=0,
        step=draft.from_step,
        kind="beginning",
        bytes=manifest.bytes,
        sha256=manifest.sha256,
        path=str(draft.beginning.relative_to(folder)),
        at=now,
    )
    cause: Cause = "promote" if draft.purpose == "promote" else "fork"
    return [*records, trial, saved, _segment(number, cause, draft, now, saved)]  # the segment names the checkpoint


def _segment(trial: int, cause: Cause, draft: Draft, now: float, start: CheckpointSaved | None = None) -> SegmentOpened:
    return SegmentOpened(
        trial=trial,
        segment=0,
        parent_segment=None,
        from_step=0 if start is None else start.step,
        checkpoint=None if start is None else start.checkpoint,
        cause=cause,
        by="tuner" if start is None else draft.by,
        why=draft.why,
        params=None,
        schedules=None if start is None else draft.schedules,
        at=now,
    )


def order(
    study: StudyState,
    trial: Trial,
    policy: Policy,
    keeper: CheckpointKeeper | None,
    checkpoint_every_s: float,
    step: int | None = None,
) -> Order:
    """What a worker is given to train; `step` is how far it has come, None: to where its segment begins."""
    segment = trial.head
    step = segment.from_step if step is None else step
    start = sha256 = None
    if segment.checkpoint is not None and keeper is not None:
        checkpoint = study.checkpoints[segment.checkpoint]
        start, sha256 = keeper.path(checkpoint), study.sha256_of(checkpoint)
    return Order(
        trial=trial.trial,
        segment=segment.segment,
        recipe=trial.recipe,
        seed=trial.seed,
        changes=outstanding(trial),
        extra_steps=study.extension,
        paused=trial.stands_still,
        from_step=segment.from_step,
        checkpoint=start,
        sha256=sha256,
        folder=None if keeper is None else keeper.root,
        checkpoint_every_s=checkpoint_every_s,
        rung=policy.first_ask(trial.trial, step),
        ask_at=policy.allowance(study, trial, step),
        haste_s=policy.haste_s,
    )
