"""Which checkpoints of a study stay on disk: reads the fold, asks `retention.py`, deletes what was let go."""

from __future__ import annotations

import shutil
from pathlib import Path

from tuner import checkpoints
from tuner.errors import CheckpointError
from tuner.records import CheckpointDropped
from tuner.retention import CheckpointFacts, evict, retain
from tuner.study import Checkpoint, StudyState, Trial

_BUDGET_BYTES = 10 * 2**30


def disk_budget(folder: Path, gigabytes: float | None) -> int:
    """What checkpoints may take, in bytes: as told, else 10 GB or half of what is free."""
    if gigabytes is not None:
        return int(gigabytes * 2**30)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return min(_BUDGET_BYTES, shutil.disk_usage(folder).free // 2)


class Shelf:
    """A study's checkpoints under `folder`, within `budget_bytes` (None: no budget)."""

    def __init__(self, folder: Path, budget_bytes: int | None) -> None:
        self.root = folder / "checkpoints"
        self.folder, self._budget = folder, budget_bytes

    def path(self, checkpoint: Checkpoint) -> Path:
        """Where a checkpoint lies."""
        return self.folder / checkpoint.path

    def drops(self, study: StudyState, trial: Trial, now: float) -> list[CheckpointDropped]:
        """What may go after a checkpoint of `trial` was saved or the trial ended."""
        facts = [self._facts(study, each) for each in study.kept(trial)]
        settled = trial.frozen or _over(study, trial)
        chosen = retain(facts, last=1, best=1, milestones=False) if settled else retain(facts)
        gone = {each.checkpoint for each in chosen}
        if self._budget is not None:
            everything = [each for each in study.checkpoints.values() if each.kept and each.checkpoint not in gone]
            if sum(each.bytes for each in everything) > self._budget:
                chosen += evict([self._facts(study, each) for each in everything], budget_bytes=self._budget)
        return [CheckpointDropped(checkpoint=each.checkpoint, why=each.why, at=now) for each in chosen]

    def delete(self, study: StudyState, drops: list[CheckpointDropped]) -> list[str]:
        """Removes the files of checkpoints whose drop is on record; returns what the disk refused, in words."""
        return self._remove([self.path(study.checkpoints[drop.checkpoint]) for drop in drops], study)

    def newest_whole(
        self, study: StudyState, trial: Trial, now: float
    ) -> tuple[Checkpoint | None, list[CheckpointDropped]]:
        """The checkpoint a trial goes on from, and those found torn on the way to it."""
        torn: list[CheckpointDropped] = []
        limits = trial.head_limits()
        for each in reversed(study.kept(trial)):
            limit = limits.get(each.segment, -1)
            if limit is not None and each.step > limit:
                continue  # on an abandoned tail
            try:
                checkpoints.verify(self.path(each))
            except CheckpointError as error:
                torn.append(CheckpointDropped(checkpoint=each.checkpoint, why=str(error), at=now))
            else:
                return each, torn
        return None, torn

    def sweep(self, study: StudyState) -> None:
        """After a crash: removes half-written folders, and whole ones that the record drops or never heard of."""
        if not self.root.is_dir():
            return
        checkpoints.sweep_leftovers(self.root)
        kept = {self.path(each) for each in study.checkpoints.values() if each.kept}
        found = [manifest.parent for manifest in self.root.glob(f"*/*/{checkpoints.MANIFEST}")]
        self._remove([path for path in found if path not in kept and not path.name.startswith(".")], study)

    def _remove(self, paths: list[Path], study: StudyState) -> list[str]:
        complaints = []
        for path in paths:
            trial = study.trials[int(path.parent.name)]
            if any(self.path(each) == path for each in study.kept(trial)):
                continue  # saved twice at one step: the later one stays
            try:
                checkpoints.delete(path, root=self.root)
            except CheckpointError as error:
                complaints.append(str(error))
        return complaints

    def _facts(self, study: StudyState, each: Checkpoint) -> CheckpointFacts:
        trial = study.trials[each.trial]
        score = study.curve(trial).at(each.step) if not trial.ended or trial.curve is not None else None
        return CheckpointFacts(
            checkpoint=each.checkpoint,
            trial=each.trial,
            sequence=each.checkpoint,
            step=each.step,
            bytes=each.bytes,
            score=None if score is None else study.signed(score),
            trial_score=None if trial.best_score is None else study.signed(trial.best_score),
            trial_alive=not _over(study, trial),
            trial_frozen=trial.frozen,
            trial_steps=trial.steps,
            pinned=each.kind in ("pinned", "beginning")
            or (not trial.frozen and not _over(study, trial) and _needed(trial, each)),
        )


def _over(study: StudyState, trial: Trial) -> bool:
    """Whether nobody will go back to where a trial was; a babysat run that has ended may still be set back."""
    return trial.ended and study.kind == "sweep"


def _needed(trial: Trial, each: Checkpoint) -> bool:
    """What a live trial may have to go back to: where its segments began, and the moment before each change."""
    return each.kind in ("before adjustment", "before revert") or any(
        segment.checkpoint == each.checkpoint for segment in trial.segments
    )
