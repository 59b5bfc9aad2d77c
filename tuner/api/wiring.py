"""The wiring of a study: its executor by name, what its workers must be able to read, and its observers."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuner.errors import SettingsError, StudyError
from tuner.executors import ExecutorName
from tuner.executors.cluster_job import passes
from tuner.record.atomic import write_whole
from tuner.record.dialogue import LEASE_S
from tuner.record.object_address import IN_MEMORY

if TYPE_CHECKING:
    from tuner.coordinator.observers import Observer
    from tuner.executors.base import Executor
    from tuner.policy.proposals import Proposer
    from tuner.record.location import Place
    from tuner.space.space import Space
    from tuner.worker.function import Portable
    from tuner.worker.storage import Storage


def executor_of(
    kind: ExecutorName,
    address: str | None,
    cpus: float,
    gpus: float,
    *,
    resources: Mapping[str, float] | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    most: int | None = None,
    function: Portable | None = None,
    clock: Literal["wall", "virtual"] = "wall",
    keep: str | None = None,
    lease_s: float = LEASE_S,
) -> Executor:
    """The executor of that name, not opened yet; `lease_s` is how long a program that has a trial may be silent.

    `resources` are those of a trial beside CPUs and GPUs, `most` is how many trials there will be, if that is known.
    `function` None: what the job says of it is all there is, and code of one's own lies in the present directory. With
    `keep` workers on a cluster outlive it, see `RayExecutor`.
    """
    if kind != "ray" and (resources or runtime_env):
        word = "resources" if resources else "runtime_env"
        raise SettingsError(f'{word} is for workers of Ray, and executor="{kind}" has none. Leave it out.')
    if kind == "local":
        from tuner.executors.local import LocalExecutor

        return LocalExecutor(clock=clock, function=None if function is None else function.function)
    if kind == "external":
        from tuner.executors.external import ExternalExecutor

        return ExternalExecutor(lease_s=lease_s)
    from tuner.executors.ray import RayExecutor
    from tuner.executors.resources import Resources

    own_code = function is None or function.module_folder is not None or isinstance(function.payload, bytes)
    return RayExecutor(
        address=address,
        resources=Resources(cpus=cpus, gpus=gpus, others=dict(resources or {})),
        runtime_env=runtime_env,
        ship=Path.cwd() if own_code else None,
        keep=keep,
        most=most,
    )


def get_ready(proposer: Proposer, space: Space, seed: int) -> None:
    """Loads in a thread what the first trial needs, which takes half a second: meanwhile workers start.

    Whatever goes wrong goes wrong again, and is told, where it is needed.
    """

    def load() -> None:
        import_module("tuner.coordinator.loop")
        if isinstance(proposer, UnitCubeSampler):
            proposer.get_ready(space, seed)

    from tuner.samplers.base import UnitCubeSampler

    threads = ThreadPoolExecutor(1, thread_name_prefix="tuner-loading")
    threads.submit(load)
    threads.shutdown(wait=False)


def storage_of(place: Place) -> Storage:
    """Where the checkpoints of a study lie."""
    from tuner.worker.object_storage import ObjectStorage
    from tuner.worker.storage import FolderStorage

    return FolderStorage(place.folder) if place.objects is None else ObjectStorage(place.objects)


def refuse_memory(place: Place, otherwise: str) -> None:
    """Refuses a store that each process has for itself, where training is in another one."""
    if place.objects is not None and place.objects.startswith(f"{IN_MEMORY}://"):
        raise SettingsError(
            f"{place.objects} is a store that each process has for itself, and this trains in another: nothing of it "
            f"would come back. Give a folder or s3://BUCKET/FOLDER; {otherwise}."
        )


def lasting(place: Place) -> Place:
    """The place, unless its record would lie in the folder that a Ray job stands in, a copy that goes with the job."""
    if isinstance(place.database, Path) and passes(place.database):
        raise SettingsError(
            f"the study would lie in {place.database.parent}, in the job's copy of its working directory, which Ray "
            "clears away after the job. Give a folder that stays, and that all nodes share: --results /shared/results."
        )
    return place


def shared_file(place: Place, address: str | None) -> dict[str, Any]:
    """On a cluster, what every worker must be able to read: a small file, or what an object store says of its owner."""
    if address in (None, "local") or place.database is None:
        return {}
    if place.objects is not None:
        from tuner.worker.object_storage import ObjectStorage

        return {"objects": ObjectStorage(place.objects)}
    token = uuid.uuid4().hex
    path = place.folder / ".shared"
    try:
        place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, token.encode(), mode=0o600)
    except OSError as error:
        raise StudyError(f"{path} cannot be written: {error}. Choose a folder you may write to: --results.") from error
    return {"token_file": path, "token": token}


def observers_of(progress: Any) -> list[Observer]:
    """Who watches: the terminal for "auto", nobody for "off", else the one given."""
    if progress == "off" or (progress == "auto" and (sys.stderr is None or sys.stderr.closed)):
        return []  # a process without a terminal may lack it
    if progress == "auto":
        from tuner.views.terminal import Progress

        return [Progress()]
    return [progress]
