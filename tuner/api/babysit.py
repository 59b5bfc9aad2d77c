"""The verbs that begin a babysat run: a new one, or the continuation of a sweep's trial."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, Literal

from tuner.api import environment, placement, process
from tuner.api.assignment import Assignment, assign, from_record
from tuner.api.fork import complete, continuation
from tuner.api.handles import RunHandle, person
from tuner.api.identity import same_search
from tuner.api.wiring import lasting, refuse_memory
from tuner.caviar.seeds import trial_seed
from tuner.errors import IdentityMismatch, SettingsError
from tuner.executors import FUNCTION_EXECUTORS, FunctionExecutor
from tuner.programs.command import Program
from tuner.record.events import Goal, Settings
from tuner.record.lease import alive
from tuner.record.location import ASSIGNMENT, Place
from tuner.record.requests import check_asker
from tuner.record.store import Store
from tuner.record.team import InDatabase
from tuner.space.space import Space
from tuner.values import arguments
from tuner.values.arguments import (
    amount,
    checked,
    folder_or_url,
    gigabytes,
    gpus,
    one_of,
    optional,
    patience,
    seed,
    settings,
    training_function,
)
from tuner.worker.function import Portable, is_same, portable
from tuner.worker.run import Run


@checked(
    train=training_function,
    params=optional(settings),
    objective=arguments.name,
    goal=one_of("maximize", "minimize"),
    seed=seed,
    executor=one_of(*FUNCTION_EXECUTORS),
    cpus=amount(least=0, most=10_000),
    gpus=gpus,
    resources=optional(placement.resources),
    runtime_env=optional(environment.runtime_env),
    address=optional(arguments.name),
    checkpoint_every_s=amount(least=0, unit="seconds"),
    disk_budget_gb=optional(gigabytes),
    revert=one_of("in place", "reenter"),
    level=one_of("advise", "off"),
    smallest_gain=optional(amount()),
    why=arguments.text,
    by=arguments.text,
    timeout_s=patience,
    results=folder_or_url,
)
def babysit(
    train: Callable[[Run], Any] | str,
    params: Settings | None = None,
    *,
    name: str,
    objective: str,
    goal: Goal = "maximize",
    space: Space | str | Path | None = None,
    seed: int = 0,
    executor: FunctionExecutor = "ray",
    cpus: float = 1,
    gpus: float = 0,
    resources: Mapping[str, float] | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    address: str | None = None,
    checkpoint_every_s: float = 10.0,
    disk_budget_gb: float | None = None,
    revert: Literal["in place", "reenter"] = "in place",
    level: Literal["off", "advise"] = "advise",
    smallest_gain: float | None = None,
    why: str = "",
    by: str = "",
    timeout_s: float | None = None,
    results: str | Path = "results",
    store: str | None = None,
) -> RunHandle:
    """Trains one model under supervision, and returns the handle to steer it; the same `name` again attaches to it.

    The run belongs to a process of its own and goes on when this one ends.

    Args:
        train: A function of a `Run`, its import path `package.module:function`, or a `tuner.command`.
        params: The settings to begin with. What they leave open is drawn from the space; None: all of it.
        name: What the run is called, and its folder in `results`.
        objective: The score that counts, under the name by which `train` reports it.
        goal: "maximize" or "minimize" the objective; by default maximize.
        space: What the settings may be: a `Space`, the name of one that tuner brings, or a TOML file. None: any value.
        seed: Of all draws, 0 to 2**63 − 1; by default 0.
        executor: "ray", or "local" for one process without Ray; by default ray.
        cpus: CPUs of the run, 0 to 10,000; by default 1.
        gpus: GPUs of the run: a share of one, or whole ones, 10,000 at most; by default 0.
        resources: All that the run takes of a node of Ray, by name: CPU and GPU in place of `cpus` and `gpus`, bytes of
            memory, and what the cluster calls its own, each 0 or from 0.0001 up. None: CPUs and GPUs alone.
        runtime_env: What Ray makes ready for the worker, as `ray.init` takes it: env_vars, working_dir, pip … None: as
            this process is. What looks like a secret in it is kept out of the record: whoever takes the run up later
            has it among its own variables.
        address: A Ray cluster to join, as `ray.init` takes it. None: this machine; in a Ray job, the job's cluster.
        checkpoint_every_s: Seconds between two checkpoints, from 0 (every step) up; by default 10.0.
        disk_budget_gb: GB (2**30 bytes) that the run's checkpoints may take, above 0. None: 10, or half of what is free
            where that is less.
        revert: "reenter" calls `train` again after a revert, for functions that carry values across steps outside
            `run.state`; by default in place.
        level: "advise" lets the supervisor watch the curves and say what it sees, "off" does not; by default advise.
        smallest_gain: Where the supervisor is sure that the objective gains less than this until the end of the loop,
            it calls the run flat; above 0, in units of the objective. None: it never does for that reason.
        why: The reason for it, for the record.
        by: Who asks, as the record will say of all that the handle asks, "agent:…" for a program that acts by itself,
            which must give a why; the user's name where it is left out.
        timeout_s: Seconds to wait for it to begin, from 0; then an error, and it begins all the same. None: 300.
        results: The folder in which studies lie; by default results. Or "s3://BUCKET/FOLDER", or another address that
            fsspec knows, for their checkpoints, with copies of tables and plots: all else lies in the folder results.
        store: A team's database, as postgresql://USER@HOST/DATABASE. None: `study.db` in the run's folder.

    Returns:
        The handle of the run. Its coordinator has begun; the first step may be yet to come.

    Raises:
        SettingsError: An argument of another name, settings that do not fit the space, or neither settings nor space.
        SpaceError: A space that cannot be searched.
        IdentityMismatch: The name exists with another function, objective, goal, seed, space or beginning.
        TrainingError: A function that cannot be found, or that never trains.
        StudyError: Its coordinator could not be started, or has not begun within `timeout_s`.

    Example:
        >>> from tuner.workloads import bowl
        >>> run = tuner.babysit(bowl.train, {"learning_rate": 0.1}, name="mine", objective="loss", goal="minimize",
        ...                     executor="local")
        >>> run.wait(timeout_s=60).best.step
        20
    """
    found = space if isinstance(space, Space) or space is None else Space.load(space)
    if isinstance(train, Program):
        settings_given = dict.fromkeys([*(params or ()), *(found or ())])
        train.check(settings_given, found, here=address in (None, "local"))
    if executor == "ray":
        address = placement.cluster(address)
    asker = person(by)
    check_asker("babysit", asker, why)
    cpus, gpus, resources = placement.shared_out(cpus, gpus, resources)
    place = lasting(Place.of(name, results, store))
    refuse_memory(place, "a sweep with executor='local' trains in this one")
    if store is not None and not isinstance(place.database, InDatabase):
        raise SettingsError(
            f"store={store!r}: a babysat run keeps its record in its folder, or in a team's database. Leave it out, or "
            "write postgresql://USER@HOST/DATABASE."
        )
    if smallest_gain is not None and not 0 < smallest_gain < inf:
        raise SettingsError(f"smallest_gain must be above 0, in units of {objective!r}, got {smallest_gain!r}.")
    function, identity = portable(train), {"objective": objective, "goal": goal, "seed": seed, "space": found}
    how: dict[str, Any] = {
        "executor": executor,
        "cpus": cpus,
        "gpus": gpus,
        "resources": resources,
        "runtime_env": environment.as_recorded(runtime_env),
        "address": address,
        "checkpoint_every_s": checkpoint_every_s,
        "disk_budget_gb": disk_budget_gb,
        "revert": revert,
        "level": level,
        "smallest_gain": smallest_gain,
    }
    if place.is_there:
        elsewhere = place.objects is not None and not (place.folder / ASSIGNMENT).is_file()
        there = from_record(place, function, **how) if elsewhere else Assignment.read(place.folder)
        _check_same(place, there, function, identity, params or {})
        if elsewhere:
            environment.remember(place.folder, runtime_env)
            there.write(place.folder, function.payload)
            place.point()
        _take_up(place, function, timeout_s)
        return attach_run(place, by)
    if executor == "local" and (resources or runtime_env):
        word = "resources" if resources else "runtime_env"
        raise SettingsError(f'{word} is for workers of Ray, and executor="local" has none. Leave it out.')
    environment.remember(place.folder, runtime_env)
    assign(
        function,
        place.folder,
        name=name,
        params=complete(found, params, seed),
        objective=objective,
        goal=goal,
        space=None if found is None else found.to_dict(),
        seed=seed,
        trial_seed=trial_seed(seed, 0),
        why=why or ("the settings given" if params else "a random start from the space"),
        by=asker if by else "tuner",
        **how,
    )
    place.point()
    process.start(place, timeout_s)
    return attach_run(place, by)


def attach_run(place: Place, by: str = "") -> RunHandle:
    """The handle of a babysat run."""
    return RunHandle(place, Store.open(place.existing()), by=by)


def promote(
    sweep: Place,
    trial: int,
    *,
    name: str | None = None,
    why: str = "",
    by: str = "",
    request: str = "",
    timeout_s: float | None = None,
) -> RunHandle:
    """A trial of a sweep, continued from its checkpoint as a babysat run."""
    by = person(by)
    check_asker("promote", by, why)
    found = continuation(sweep, trial, by=by, name=name, why=why, request=request, timeout_s=timeout_s)
    return attach_run(found, by=by)


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _check_same(
    place: Place, assignment: Assignment, function: Portable, identity: Mapping[str, Any], params: Settings
) -> None:
    """What is there already must be the run that is meant."""
    if not is_same(assignment, function.name, function.source_sha256):
        raise IdentityMismatch(
            f"the run {place.name!r} exists with another training function: it has {assignment.function}, this call "
            f"has {function.name}. Choose another name, or the same function; tuner.attach({place.name!r}) steers it "
            "as it is."
        )
    there = {word: getattr(assignment, word) for word in identity}
    there["space"] = None if assignment.space is None else Space.from_dict(assignment.space)
    for word, given in identity.items():
        if not (same_search(there[word], given) if word == "space" else there[word] == given):
            raise IdentityMismatch(
                f"the run {place.name!r} exists with another {word}: it has {there[word]!r}, this call has {given!r}. "
                f"Choose another name, or the same {word}; tuner.attach({place.name!r}) steers it as it is."
            )
    for word, value in params.items():
        began = assignment.params.get(word)
        if began != value:
            raise IdentityMismatch(
                f"the run {place.name!r} began with {word}={began!r}, this call has {word}={value!r}. Choose another "
                f"name, or change it as it trains: tuner.attach({place.name!r}).set({word}={value!r})."
            )


def _take_up(place: Place, function: Portable, timeout_s: float | None) -> None:
    """A run that is not over and whose coordinator is gone goes on, with the function as it is now."""
    with closing(Store.open(place.existing())) as store:
        brief = store.brief()
        if (brief["trials"] and brief["ended"] == brief["trials"]) or _is_coordinated(store):
            return
    replace(
        Assignment.read(place.folder),
        function=function.name,
        source_sha256=function.source_sha256,
        search_path=function.search_path,
    ).write(place.folder, function.payload)
    process.start(place, timeout_s)


def _is_coordinated(store: Store) -> bool:
    """Whether a coordinator lives; one on another machine is believed to once it is heard of again."""
    first = store.held(time.time())
    while (lease := store.held(time.time())) is not None:
        if (lease.host == socket.gethostname() and alive(lease.pid)) or lease != first:
            return True
        time.sleep(0.1)
    return False
