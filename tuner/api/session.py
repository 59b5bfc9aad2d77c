"""A study in one call's hands: its record, which nobody else writes meanwhile, and the coordinator that trains it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from tuner.api.identity import begin
from tuner.api.wiring import observers_of, shared_file
from tuner.record.events import StudyOpened
from tuner.record.location import Place
from tuner.record.reader import fold
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.record.team import InDatabase
from tuner.version import version

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
            self.state, _ = fold(self.records, self.place.name)
        except BaseException:
            self.records.close()
            raise
        return self

    def __exit__(self, raised: object, *_: object) -> None:
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
        begin(self.state, self.records, opened, options, by=by, why=why)

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

        folder = self.place.folder
        return Coordinator(
            study=self.state,
            store=self.records,
            policy=policy,
            requests=requests,
            executor=executor,
            keeper=CheckpointKeeper(folder, disk_budget(folder, disk_budget_gb)) if self._on_disk else None,
            timing=timing,
            observers=observers_of(progress),
            rerun=rerun,
        )
