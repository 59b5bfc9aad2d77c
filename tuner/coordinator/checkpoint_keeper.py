"""The keeper of a study's checkpoints: reads the fold, asks `retention.py`, deletes what was let go."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

from tuner.coordinator.retention import CheckpointFacts, evict, retain
from tuner.errors import CheckpointError, StorageAway
from tuner.record.events import CheckpointDropped
from tuner.record.state import StudyState
from tuner.record.trial import Checkpoint, Trial
from tuner.worker.storage import FolderStorage, Storage

_BUDGET_BYTES = 10 * 2**30
# After a coordinator was last heard of, a worker that dies with it may still finish a save: large ones take a minute.
_UNHEARD_S = 120.0
# A store that did not answer is left alone for so long: the loop waits for each answer.
_REST_S = 30.0


def disk_budget(folder: Path, gigabytes: float | None, *, elsewhere: bool = False) -> int:
    """What checkpoints may take, in bytes: as told, else 10 GB, or half of what is free where they lie on this disk."""
    if gigabytes is not None:
        return int(gigabytes * 2**30)
    if elsewhere:
        return _BUDGET_BYTES
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return min(_BUDGET_BYTES, shutil.disk_usage(folder).free // 2)


class CheckpointKeeper:
    """A study's checkpoints, in its folder or in a storage elsewhere, within `budget_bytes` (None: no budget)."""

    def __init__(self, folder: Path, budget_bytes: int | None, storage: Storage | None = None) -> None:
        self.folder, self._budget = folder, budget_bytes
        self.storage: Storage = FolderStorage(folder) if storage is None else storage
        self._undeleted: list[str] = []
        self._rests_until = 0.0

    def verify(self, study: StudyState, checkpoint: Checkpoint) -> None:
        """Raises `CheckpointError` unless a checkpoint is there, whole, as the record has it."""
        self.storage.look(checkpoint.path, sha256=study.sha256_of(checkpoint))

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
        """Removes the files of checkpoints whose drop is on record; returns what was refused, in words.

        What a store that is away has still to lose is removed with the next.
        """
        names, self._undeleted = self._undeleted, []
        for drop in drops:
            dropped = study.checkpoints[drop.checkpoint]
            if any(each.path == dropped.path for each in study.kept(study.trials[dropped.trial])):
                continue  # saved twice at one step: the later one stays
            names.append(dropped.path)
        return [complaint for name in names for complaint in self._delete(name)]

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
            if self._rests():
                return each, torn  # nobody knows: whoever fetches it waits, and sees
            try:
                self.verify(study, each)
            except StorageAway:
                self._rest()
                return each, torn
            except CheckpointError as error:
                torn.append(CheckpointDropped(checkpoint=each.checkpoint, why=str(error), at=now))
            else:
                return each, torn
        return None, torn

    def mend(self) -> None:
        """After a crash: removes folders that a dead process left half-written; whoever writes still is let be."""
        with suppress(OSError):  # the sweep says what the disk refuses
            self.storage.mend()

    def sweep(self, study: StudyState, left_at: float) -> list[str]:
        """After a crash: removes half-written folders, and checkpoints that the record drops or cannot have heard of.

        `left_at` is when the record was last written to, in Unix seconds. A checkpoint of which it says nothing though
        it is younger, or of a trial that it does not know, belongs to a record that is gone: it is set aside, and
        what is no checkpoint of tuner's is left alone. Returns what there is to say of all this.
        """
        storage, said = self.storage, list[str]()
        try:
            storage.mend()
            known = {each.path: each for each in study.checkpoints.values()}
            kept = {each.path for each in study.checkpoints.values() if each.kept}
            lost: list[str] = []
            for name in storage.lying():
                if name in kept:
                    continue
                dropped = name in known and self._is_dropped(name, known[name])
                if dropped or (name not in known and self._is_leftover(name, study, left_at)):
                    said += self._delete(name)
                else:
                    lost.append(name)
            for name in storage.halves():
                if name not in kept and self._is_leftover(name, study, left_at):
                    said += self._delete(name)
            if lost:
                said.append(self._set_aside(lost))
        except (OSError, CheckpointError) as error:
            said.append(
                f"{storage.shown('checkpoints')} could not be looked through for leftovers: {error}. Nothing more was "
                "removed."
            )
        return said

    def _delete(self, name: str) -> list[str]:
        if self._rests():
            self._undeleted.append(name)
            return []
        try:
            self.storage.delete(name)
        except StorageAway as error:
            self._rest()
            self._undeleted.append(name)
            return [f"{error} It is removed once the store answers."]
        except CheckpointError as error:
            return [str(error)]
        return []

    def _rests(self) -> bool:
        """Whether the store is left alone."""
        return time.monotonic() < self._rests_until

    def _rest(self) -> None:
        self._rests_until = time.monotonic() + _REST_S

    def _set_aside(self, lost: list[str]) -> str:
        """Moves checkpoints of a record that is gone to where no trial writes; the sentence that says so."""
        aside = self.storage.set_aside(lost)
        what = "1 checkpoint" if len(lost) == 1 else f"{len(lost)} checkpoints"
        return (
            f"{what} of which the record knows nothing, the first {lost[0].partition('/')[2]}: it is older than "
            f"they are, or another one was begun in its place. They were set aside in {aside}, count towards no "
            "budget, and are yours to delete; where the record was lost, restore it from a copy and move them back."
        )

    def _is_dropped(self, name: str, known: Checkpoint) -> bool:
        """Whether this is what the record has let go: a torn one is, another in its place is not."""
        found = self.storage.claimed(name)
        return found is None or not known.sha256 or found == known.sha256

    def _is_leftover(self, name: str, study: StudyState, left_at: float) -> bool:
        """Whether a crash alone explains that the record has not heard of a checkpoint of a segment that it knows."""
        _, trial, place = name.split("/")
        segment = int(place.partition("-")[0])
        if int(trial) >= len(study.trials) or segment >= len(study.trials[int(trial)].segments):
            return False
        return self.storage.saved_at(name) <= left_at + _UNHEARD_S

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
