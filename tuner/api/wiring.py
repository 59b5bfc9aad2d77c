"""The wiring of a study: its executor by name, what its workers must be able to read, and its observers."""

from __future__ import annotations

import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuner.errors import StudyError
from tuner.executors import ExecutorName
from tuner.record.atomic import write_whole
from tuner.record.dialogue import LEASE_S

if TYPE_CHECKING:
    from tuner.coordinator.observers import Observer
    from tuner.executors.base import Executor
    from tuner.policy.proposals import Proposer
    from tuner.record.location import Place
    from tuner.space.space import Space
    from tuner.worker.function import Portable


def executor_of(
    kind: ExecutorName,
    address: str | None,
    cpus: float,
    gpus: float,
    *,
    function: Portable | None = None,
    clock: Literal["wall", "virtual"] = "wall",
    keep: str | None = None,
    lease_s: float = LEASE_S,
) -> Executor:
    """The executor of that name, not opened yet; `lease_s` is how long a program that has a trial may be silent.

    `function` None: what the job says of it is all there is, and code of one's own lies in the present directory. With
    `keep` workers on a cluster outlive it, see `RayExecutor`.
    """
    if kind == "local":
        from tuner.executors.local import LocalExecutor

        return LocalExecutor(clock=clock, function=None if function is None else function.function)
    if kind == "external":
        from tuner.executors.external import ExternalExecutor

        return ExternalExecutor(lease_s=lease_s)
    from tuner.executors.ray import RayExecutor

    own_code = function is None or function.module_folder is not None or isinstance(function.payload, bytes)
    return RayExecutor(address=address, cpus=cpus, gpus=gpus, ship=Path.cwd() if own_code else None, keep=keep)


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


def shared_file(place: Place, address: str | None) -> dict[str, Any]:
    """On a cluster, a small file that every worker must be able to read."""
    if address in (None, "local") or place.database is None:
        return {}
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
