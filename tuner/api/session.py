"""A study in one call's hands: its record, which nobody else writes meanwhile, and the coordinator that trains it."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from tuner.api.identity import begin
from tuner.api.wiring import observers_of, shared_file, storage_of
from tuner.errors import StudyError
from tuner.record.events import StudyOpened
from tuner.record.kept import keep, worthwhile
from tuner.record.location import Place
from tuner.record.reader import fold
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.record.team import InDatabase
from tuner.version import version
from tuner.worker.object_storage import ObjectStorage

if TYPE_CHECKING:
    from tuner.coordinator.loop import Coordinator
    from tuner.coordinator.observers import Observer
    from tuner.coordinator.watchdog import Timing
    from tuner.executors.base import Executor
    from tuner.policy.protocol import Policy
    from tuner.policy.requests import RequestPolicy
    from tuner.worker.messages import Job


class Session:
    """Holds the lease of a study from its beginning to its end; what is made in it is made of what it is.

    An executor is opened inside and closed before it ends, so that no worker is left to a record that anybody may take.
    """

    state: StudyState

    def __init__(self, place: Place, database: Path | InDatabase | None) -> None:
        """`database` may be yet to come; None: the record lies in memory, and nothing of the study on disk."""
        self.place = place
        self.records = Store.in_memory() if database is None else Store.create(database)
        place.point()
        self._on_disk = database is not None
        self._stays_open = False

    def __enter__(self) -> Self:
        try:
            self.records.acquire(time.time())
            self.state, self._begun_at = fold(
                self.records, self.place.name, self.place.folder if self._on_disk else None
            )
            self.state.read(self.state.live.values())  # before anything of them is folded that is not on record yet
        except BaseException:
            self.records.close()
            raise
        return self

    def __exit__(self, raised: object, *_: object) -> None:
        if raised is None and self._on_disk and worthwhile(place := self.records.version(), self._begun_at):
            keep(self.place.folder, self.records, self.state, place)
        if raised is not None or not self._stays_open:
            self.records.close()

    def keep_open(self) -> Store:
        """The record, which does not close with the session unless something is raised: for one in memory."""
        self._stays_open = True
        return self.records

    def begin(
        self,
        kind: Literal["sweep", "babysitting"],
        function: str,
        source_sha256: str,
        identity: dict[str, Any],
        options: dict[str, Any],
        *,
        by: str = "caller",
        why: str = "",
    ) -> None:
        """Opens a new study, or checks that an existing one is the same."""
        opened = StudyOpened(
            name=self.place.name,
            kind=kind,
            function=function,
            source_sha256=source_sha256,
            version=version(),
            identity=identity,
            at=time.time(),
        )
        begin(self.state, self.records, opened, {**options, **self._objects()}, by=by, why=why)
        if (owner := self.state.options.get("owner")) is not None and self.place.objects is not None:
            ObjectStorage(self.place.objects).claim(owner)

    def _objects(self) -> dict[str, str]:
        """What is on record of the object store that has the checkpoints; refused where it has another study's."""
        place, known = self.place, self.state.options
        if self.state.identity and self._on_disk and known.get("objects") != place.objects:
            raise StudyError(
                f"{place.name} keeps its checkpoints in {known.get('objects') or 'a folder'}, and is now given "
                f"{place.objects or place.folder.parent}, where they would be missed. Give --results as at first."
            )
        if place.objects is None or not self._on_disk:
            return {}
        owner = ObjectStorage(place.objects).owner()
        if owner is not None and owner != known.get("owner"):
            raise StudyError(
                f"{place.objects} has the checkpoints of another study, whose record is not in {place.folder}. Choose "
                "another name, continue that study where its record is (--store, or its folder), or remove what lies "
                "there."
            )
        return {"objects": place.objects, "owner": known.get("owner") or uuid.uuid4().hex}

    def job(
        self, function: str | bytes, search_path: tuple[str, ...], *, address: str | None = None, **further: Any
    ) -> Job:
        """What every order of the study has in common; `address` None: no worker need find a shared file."""
        from tuner.worker.divergence import DivergenceAlarm
        from tuner.worker.messages import Job

        return Job(
            study=self.place.name,
            function=function,
            search_path=search_path,
            objective=self.state.objective,
            alarm=DivergenceAlarm(objective=self.state.objective, goal=self.state.goal),
            log_folder=self.place.folder / "logs" if self._on_disk else None,
            trials_folder=self.place.folder.absolute() / "trials" if self._on_disk else None,
            seeds=self.state.seeds,
            **shared_file(self.place, address),
            **further,
        )

    def coordinator(
        self,
        executor: Executor,
        policy: Policy,
        requests: RequestPolicy,
        timing: Timing,
        *,
        disk_budget_gb: float | None = None,
        progress: Literal["auto", "off"] | Observer = "off",
        rerun: Literal["nothing", "failed"] = "nothing",
    ) -> Coordinator:
        """What drives the policy over the executor, which is open by the time it runs."""
        from tuner.coordinator.checkpoint_keeper import CheckpointKeeper, disk_budget
        from tuner.coordinator.loop import Coordinator

        keeper = None
        if self._on_disk:
            elsewhere = self.place.objects is not None
            budget = disk_budget(self.place.folder, disk_budget_gb, elsewhere=elsewhere)
            keeper = CheckpointKeeper(self.place.folder, budget, storage_of(self.place))
        return Coordinator(
            study=self.state,
            store=self.records,
            policy=policy,
            requests=requests,
            executor=executor,
            keeper=keeper,
            timing=timing,
            observers=observers_of(progress),
            rerun=rerun,
        )
