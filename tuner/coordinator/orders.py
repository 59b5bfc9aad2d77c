"""The orders to workers: what each is given to train."""

from __future__ import annotations

from tuner.coordinator.checkpoint_keeper import CheckpointKeeper
from tuner.policy.protocol import Policy
from tuner.policy.segments import outstanding
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.worker.messages import Order


def order_of(
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
        start, sha256 = checkpoint.path, study.sha256_of(checkpoint)
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
        storage=None if keeper is None else keeper.storage,
        checkpoint_every_s=checkpoint_every_s,
        rung=policy.first_ask(trial.trial, step),
        ask_at=policy.allowance(study, trial, step),
        haste_s=policy.haste_s,
    )
