"""The keeper of a study's checkpoints on disk: reads the fold, asks `retention.py`, deletes what was let go."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from tuner.coordinator.retention import CheckpointFacts, evict, retain
from tuner.errors import CheckpointError
from tuner.record.events import CheckpointDropped
from tuner.record.state import StudyState
from tuner.record.trial import Checkpoint, Trial
from tuner.worker import checkpoints
from tuner.worker.leftovers import sweep_leftovers
from tuner.worker.manifest import MANIFEST, claimed_sha256

_BUDGET_BYTES = 10 * 2**30
# After a coordinator was last heard of, a worker that dies with it may still finish a save: large ones take a minute.
_UNHEARD_S = 120.0


def disk_budget(folder: Path, gigabytes: float | None) -> int:
    """What checkpoints may take, in bytes: as told, else 10 GB or half of what is free."""
    if gigabytes is not None:
        return int(gigabytes * 2**30)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return min(_BUDGET_BYTES, shutil.disk_usage(folder).free // 2)


class CheckpointKeeper:
    """A study's checkpoints under `folder`, within `budget_bytes` (None: no budget)."""

    def __init__(self, folder: Path, budget_bytes: int | None) -> None:
        self.root = folder / checkpoints.FOLDER
        self.folder, self._budget = folder, budget_bytes

    def path(self, checkpoint: Checkpoint) -> Path:
        """Where a checkpoint lies."""
        return self.folder / checkpoint.path

    def verify(self, study: StudyState, checkpoint: Checkpoint) -> None:
        """Raises `CheckpointError` unless a checkpoint is there, whole, as the record has it."""
        checkpoints.verify(self.path(checkpoint), sha256=study.sha256_of(checkpoint))

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
        complaints = []
        for drop in drops:
            dropped = study.checkpoints[drop.checkpoint]
            if any(each.path == dropped.path for each in study.kept(study.trials[dropped.trial])):
                continue  # saved twice at one step: the later one stays
            complaints += self._delete(self.path(dropped))
        return complaints

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
                self.verify(study, each)
            except CheckpointError as error:
                torn.append(CheckpointDropped(checkpoint=each.checkpoint, why=str(error), at=now))
            else:
                return each, torn
        return None, torn

    def mend(self) -> None:
        """After a crash: removes folders that a dead process left half-written; whoever writes still is let be."""
        with suppress(OSError):  # the sweep says what the disk refuses
            sweep_leftovers(self.root)

    def sweep(self, study: StudyState, left_at: float) -> list[str]:
        """After a crash: removes half-written folders, and checkpoints that the record drops or cannot have heard of.

        `left_at` is when the record was last written to, in Unix seconds. A checkpoint of which it says nothing though
        it is younger, or of a trial that it does not know, belongs to a record that is gone: it is set aside, and
        what is no checkpoint of tuner's is left alone. Returns what there is to say of all this.
        """
        if not self.root.is_dir():
            return []
        said: list[str] = []
        try:
            sweep_leftovers(self.root)
            known = {each.path: each for each in study.checkpoints.values()}
            kept = {each.path for each in study.checkpoints.values() if each.kept}
            found = {str(path.relative_to(self.folder)): path for path in sorted(checkpoints.lying_below(self.root))}
            lost: list[Path] = []
            for name, path in found.items():
                if name in kept:
                    continue
                if _is_dropped(path, known[name]) if name in known else _is_leftover(path, study, left_at):
                    said += self._delete(path)
                else:
                    lost.append(path)
            if lost:
                said.append(self._set_aside(lost))
        except OSError as error:
            said.append(f"{self.root} could not be looked through for leftovers: {error}. Nothing more was removed.")
        return said

    def _delete(self, path: Path) -> list[str]:
        try:
            checkpoints.delete(path, root=self.root)
        except CheckpointError as error:
            return [str(error)]
        return []

    def _set_aside(self, lost: list[Path]) -> str:
        """Moves checkpoints of a record that is gone to where no trial writes; the sentence that says so."""
        number = 1
        while (aside := self.root / f"set-aside-{number}").exists():
            number += 1
        for path in lost:
            target = aside / path.relative_to(self.root)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.rename(target)
        what = "1 checkpoint" if len(lost) == 1 else f"{len(lost)} checkpoints"
        return (
            f"{what} of which the record knows nothing, the first {lost[0].relative_to(self.root)}: it is older than "
            f"they are, or another one was begun in its place. They were set aside in {aside}, count towards no "
            "budget, and are yours to delete; where the record was lost, restore it from a copy and move them back."
        )

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


def _is_dropped(path: Path, known: Checkpoint) -> bool:
    """Whether this is what the record has let go: a torn one is, another in its place is not."""
    found = claimed_sha256(path)
    return found is None or not known.sha256 or found == known.sha256


def _is_leftover(path: Path, study: StudyState, left_at: float) -> bool:
    """Whether a crash alone explains that the record has not heard of a checkpoint of a segment that it knows."""
    trial, segment = int(path.parent.name), int(path.name.partition("-")[0])
    if trial >= len(study.trials) or segment >= len(study.trials[trial].segments):
        return False
    return (path / MANIFEST).lstat().st_mtime <= left_at + _UNHEARD_S


def _over(study: StudyState, trial: Trial) -> bool:
    """Whether nobody will go back to where a trial was; a babysat run that has ended may still be set back."""
    return trial.ended and study.kind == "sweep"


def _needed(trial: Trial, each: Checkpoint) -> bool:
    """What a live trial may have to go back to: where its segments began, and the moment before each change."""
    return each.kind in ("before adjustment", "before revert") or any(
        segment.checkpoint == each.checkpoint for segment in trial.segments
    )
