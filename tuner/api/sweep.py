"""The verb that trains many models: sweep."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from tuner.api import environment, placement
from tuner.api.handles import person
from tuner.api.identity import as_begun
from tuner.api.session import Session
from tuner.api.study import Study
from tuner.api.wiring import executor_of, get_ready, lasting, refuse_memory
from tuner.errors import SettingsError, did_you_mean, quoted
from tuner.executors import EXECUTORS, PROGRAMS, ExecutorName
from tuner.programs.command import Program
from tuner.record.dialogue import LEASE_S
from tuner.record.events import Goal, Settings
from tuner.record.location import Place
from tuner.record.reader import fold
from tuner.record.requests import check_asker
from tuner.record.requests import parallel as parallels
from tuner.record.store import Store
from tuner.space.space import Space
from tuner.values import arguments
from tuner.values.arguments import (
    amount,
    checked,
    count,
    folder_or_url,
    gigabytes,
    gpus,
    object_with,
    one_of,
    optional,
    retries,
    seconds,
    seed,
    starts,
    training_function,
    whole_number,
)
from tuner.worker.function import Portable, keep_function, portable
from tuner.worker.run import Run

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

    from tuner.coordinator.observers import Observer
    from tuner.executors.base import Executor
    from tuner.policy.proposals import Proposer
    from tuner.policy.verdicts import StoppingRule
    from tuner.record.state import StudyState
    from tuner.worker.messages import Job

DEFAULT_TRIALS = 64
MOST_SEEDS = 100


_optunas = object_with("sample_relative", "sample_independent", like="the name of a sampler")
_pruner = object_with("prune", like="the name of a stopping rule")
_face = object_with("show", "close", like='"auto", "off"')


def _sampler(word: str, given: Any) -> Any:
    return given if hasattr(given, "propose") and not isinstance(given, type) else _optunas(word, given)


def _watched_by(word: str, given: Any) -> Any:
    return one_of("auto", "off")(word, given) if isinstance(given, str) else _face(word, given)


@checked(
    train=optional(training_function),
    objective=arguments.name,
    goal=one_of("maximize", "minimize"),
    trials=optional(count),
    sampler=_sampler,
    stopping=_pruner,
    budget_steps=optional(count),
    min_steps=optional(count),
    executor=one_of(*EXECUTORS),
    clock=one_of("wall", "virtual"),
    seed=seed,
    seeds=whole_number(1, MOST_SEEDS),
    cpus=amount(above=0, most=10_000),
    gpus=gpus,
    resources=optional(placement.resources),
    runtime_env=optional(environment.runtime_env),
    parallel=optional(parallels),
    address=optional(arguments.name),
    time_budget_s=optional(seconds),
    start=optional(starts),
    warm_start=optional(arguments.name),
    max_failures=optional(count),
    failures_in_a_row=count,
    retries=retries,
    time_limit_s=optional(seconds),
    silence_limit_s=optional(seconds),
    checkpoint_every_s=amount(least=0, unit="seconds"),
    disk_budget_gb=optional(gigabytes),
    lease_s=seconds,
    rerun=one_of("nothing", "failed"),
    repeats=optional(one_of("auto")),
    why=arguments.text,
    by=arguments.text,
    results=folder_or_url,
    progress=_watched_by,
)
def sweep(
    train: Callable[[Run], Any] | str | None,
    space: Space | str | Path,
    *,
    name: str,
    objective: str,
    goal: Goal = "maximize",
    trials: int | None = None,
    sampler: str | BaseSampler = "coarse_to_fine",
    stopping: str | BasePruner = "auto",
    budget_steps: int | None = None,
    min_steps: int | None = None,
    executor: ExecutorName = "ray",
    clock: Literal["wall", "virtual"] = "wall",
    seed: int = 0,
    seeds: int = 1,
    cpus: float = 1,
    gpus: float = 0,
    resources: Mapping[str, float] | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    parallel: int | None = None,
    address: str | None = None,
    time_budget_s: float | None = None,
    start: Settings | Sequence[Settings] | None = None,
    warm_start: str | None = None,
    max_failures: int | None = None,
    failures_in_a_row: int = 5,
    retries: int | Mapping[str | type[BaseException], int] = 0,
    time_limit_s: float | None = None,
    silence_limit_s: float | None = None,
    checkpoint_every_s: float = 10.0,
    disk_budget_gb: float | None = None,
    lease_s: float = LEASE_S,
    rerun: Literal["nothing", "failed"] = "nothing",
    repeats: Literal["auto"] | None = None,
    why: str = "",
    by: str = "",
    results: str | Path = "results",
    store: str | None = None,
    progress: Literal["auto", "off"] | Observer = "auto",
) -> Study:
    """Trains many models and returns their study; the same `name` again goes on where it ended.

    The space, the objective, the goal, the seed, the seeds and the sampler are the study's identity and cannot change
    (of the space, what is `likely` stays as it was at first); trials, budgets, limits and where it trains may, and the
    change is recorded.

    Args:
        train: A function of a `Run`, its import path `package.module:function`, or a `tuner.command`. None with
            `executor="external"` alone.
        space: A `Space`, the name of one that tuner brings, such as "sgd_momentum", or a TOML file.
        name: What the study is called, and its folder in `results`.
        objective: The score that counts, under the name by which `train` reports it.
        goal: "maximize" or "minimize" the objective; by default maximize.
        trials: How many in all, those of earlier calls included, from 1 up. None: 64 where neither `budget_steps` nor
            `time_budget_s` is given, else no bound.
        sampler: "coarse_to_fine", "random", "sobol", "grid", or an Optuna sampler; by default coarse_to_fine.
        stopping: "auto" freezes and thaws trials by their curves; "asha", "median", "off", or an Optuna pruner; by
            default auto.
        budget_steps: Training steps over all trials and their seeds, from 1 up, in place of `trials` or beside it.
            None: no bound.
        min_steps: The step before which no trial is judged, from 1 up, for functions that start slowly. None: what the
            study has, else what the stopping rule has.
        executor: "ray", "local" for one process without Ray, or "external" for programs of any kind that ask for their
            trials (`ask` of the handle that `tuner.attach` opens, or HTTP); by default ray.
        clock: "virtual" lets an in-process sweep play many workers in no time; needs `executor="local"`. By default
            wall.
        seed: Of all draws, 0 to 2**63 − 1; by default 0.
        seeds: With how many seeds each trial trains, 1 to 100; by default 1. With more of them `train` is called once
            for each, side by side in one worker, and the trial scores their mean; how far they differ is the score
            "<objective> (spread)". Each takes the time and the memory of a training, and each of their steps counts.
        cpus: CPUs of a trial, above 0, 10,000 at most; by default 1.
        gpus: GPUs of a trial: a share of one, or whole ones, 10,000 at most; by default 0.
        resources: All that a trial takes of a node of Ray, by name: CPU and GPU in place of `cpus` and `gpus`, bytes of
            memory, and what the cluster calls its own, each 0 or from 0.0001 up. None: CPUs and GPUs alone.
        runtime_env: What Ray makes ready for the workers, as `ray.init` takes it: env_vars, working_dir, pip … None:
            as this process is. What looks like a secret in it is kept out of the record.
        parallel: How many train at a time, 1 to 10,000. None: as many as the cluster holds, and one without Ray.
        address: A Ray cluster to join, as `ray.init` takes it. None: this machine; in a Ray job, the job's cluster.
        time_budget_s: Seconds that this call may take, above 0; what trains then ends after its step. None: no bound.
        start: Known-good settings to try first, one mapping or a list; what they leave open is drawn. None: none.
        warm_start: Another study in `results`, whose five best settings come next, as far as they fit the space. None:
            no other.
        max_failures: So many failed trials end the sweep, from 1 up. None: any number may fail.
        failures_in_a_row: Failures one after another that end the sweep, from 1 up; by default 5.
        retries: How often a trial that raised is tried again, or a mapping from a class of error to that number; by
            default 0. A worker that dies costs no retry.
        time_limit_s: Seconds that one trial may train, above 0. None: no limit.
        silence_limit_s: Seconds that a trial may go without a step or a report, above 0. None: no limit.
        checkpoint_every_s: Seconds between two checkpoints of a trial, from 0 (every step) up; by default 10.0.
        disk_budget_gb: GB (2**30 bytes) that the study's checkpoints may take, above 0. None: 10, or half of what is
            free where that is less.
        lease_s: Seconds, above 0, after which a trial that a program has asked for goes to another if nothing was
            heard of it; by default 60.0.
        rerun: "failed" trains failed trials again; by default nothing.
        repeats: "auto" spends part of `trials` or `budget_steps` on training leaders again with new seeds, where luck
            is what separates them; the study's `recommended` gains by it. None: no repeats.
        why: The reason for it, for the record.
        by: Who asks, as the record will say, "agent:…" for a program that acts by itself, which must give a why. Empty:
            nobody is named.
        results: The folder in which studies lie; by default results. Or "s3://BUCKET/FOLDER", or another address that
            fsspec knows, for their checkpoints, with copies of tables and plots: all else lies in the folder results.
        store: A team's database, as postgresql://USER@HOST/DATABASE; "sqlite:////absolute/path/night.db"; or "memory"
            for none on disk. None: `study.db` in the study's folder.
        progress: "auto" shows progress where there is a terminal, "off" nothing; or an object with `show` and `close`.
            By default auto.

    Returns:
        The study, to read. It holds the database until it is closed.

    Raises:
        SettingsError: An argument of another name, or one that makes no sense.
        SpaceError: A space that cannot be searched.
        IdentityMismatch: The name exists with another space, objective, goal, seed, sampler or function, or with
            another number of seeds.
        StudyBusy: Another coordinator holds the study.
        ExecutorError: Trials that cannot be placed, or a cluster that cannot be reached.
        TrainingError: A function that cannot be found, or that never trains.
        SweepFailed: Trials kept failing.
        KeyboardInterrupt: Ctrl-C; everything is kept.

    Example:
        >>> from tuner.workloads import bowl
        >>> space = tuner.Space(learning_rate=tuner.log(1e-4, 1.0))
        >>> study = tuner.sweep(bowl.train, space, name="first", objective="loss", goal="minimize", trials=8,
        ...                     executor="local", progress="off")
        >>> len(study.trials), study.best.score < 0.5
        (8, True)
        >>> study.close()
    """
    if clock == "virtual" and executor != "local":
        raise SettingsError('clock="virtual" needs executor="local": real workers keep real time.')
    by = person(by) if by else "caller"
    check_asker("sweep", by, why)
    cpus, gpus, resources = placement.shared_out(cpus, gpus, resources)
    place = lasting(Place.of(name, results, store))
    if executor == "ray":
        address = placement.cluster(address)
        refuse_memory(place, 'executor="local" trains in this one')
    space = space if isinstance(space, Space) else Space.load(space)
    if isinstance(train, Program):
        _check_program(train, space, address, clock)
    function = _function(train, executor)
    if trials is None and budget_steps is None and time_budget_s is None:
        trials = DEFAULT_TRIALS
    _check_repeats(repeats, trials, budget_steps)
    _check_seeds(seeds, executor, budget_steps)
    starts = _Starts.of(space, cast("list[Settings]", start or []), warm_start, place)
    proposer, sampler_name = _proposer(sampler)
    rule = _stopping(stopping, sampler, min_steps)

    identity = {"space": space.to_dict(), "objective": objective, "goal": goal, "seed": seed, "sampler": sampler_name}
    if seeds > 1:
        identity["seeds"] = seeds
    bounds: dict[str, Any] = {"trials": trials, "budget_steps": budget_steps, "time_budget_s": time_budget_s}
    bounds["max_failures"] = max_failures
    placed: dict[str, Any] = {"executor": executor, "parallel": parallel, "address": address}
    placed |= {"cpus": cpus, "gpus": gpus, "resources": resources, "runtime_env": environment.as_recorded(runtime_env)}
    searched = {"stopping": repr(rule), "min_steps": min_steps, "rerun": rerun, "repeats": repeats}
    options = {**bounds, **placed, **searched, **starts.options, **_trained(function)}
    if executor == "external":
        options |= {"lease_s": lease_s, "over": None}

    from tuner.caviar.external import ExternalRequests
    from tuner.caviar.policy import Caviar, Limits
    from tuner.caviar.requests import SweepRequests
    from tuner.coordinator.watchdog import Timing

    # loads Ray: before there is a study to see
    chosen = executor_of(
        executor,
        address,
        cpus,
        gpus,
        resources=resources,
        runtime_env=runtime_env,
        most=trials,
        function=function,
        clock=clock,
        lease_s=lease_s,
    )
    with Session(place, place.database) as session, closing(chosen):
        if min_steps is None and (kept := session.state.options.get("min_steps")) is not None:
            rule = _stopping(stopping, sampler, kept)
            options |= {"min_steps": kept, "stopping": repr(rule)}
        called, source = (PROGRAMS, "") if function is None else (function.name, function.source_sha256)
        session.begin("sweep", called, source, identity, options, by=by, why=why)
        space = as_begun(session.state, space)
        job = _job(session, place, function, address)
        if executor == "ray":
            get_ready(proposer, space, seed)
        _take_up_loans(chosen, session)
        policy = Caviar(
            space=space,
            seed=seed,
            proposer=_attached(proposer, session.state, space),
            stopping=_attached(rule, session.state, space),
            start=starts.settings,
            reasons=starts.reasons,
            repeats=repeats,
            seeds=seeds,
            parallel=chosen.open(job, parallel),
            overlapping=executor != "local",
            limits=Limits(**bounds, failures_in_a_row=failures_in_a_row, retries=cast("Mapping[str, int]", retries)),
        )
        timing = Timing(
            checkpoint_every_s=checkpoint_every_s,
            time_limit_s=time_limit_s,
            silence_limit_s=silence_limit_s,
            time_budget_s=time_budget_s,
        )
        requests = ExternalRequests(policy) if executor == "external" else SweepRequests(policy)
        given: dict[str, Any] = {"disk_budget_gb": disk_budget_gb, "progress": progress, "rerun": rerun}
        session.coordinator(chosen, policy, requests, timing, **given).run()
        folded = session.state, session.records.version()
        records = session.keep_open() if place.database is None else None
    return Study(place, records or Store.open(place.existing(), idle="closed"), folded)


def _function(train: Callable[[Run], Any] | str | None, executor: ExecutorName) -> Portable | None:
    """The function that trains, ready to travel; None where programs ask for their trials, which call none."""
    if executor != "external" and train is None:
        raise SettingsError(
            f'executor="{executor}" calls a training function, and there is none. Give it first, or let programs ask '
            'for their trials with executor="external".'
        )
    if executor == "external" and train is not None:
        raise SettingsError(
            f'executor="external" calls no function: programs ask for their trials. Give None in place of '
            f'{quoted(train)}, or train it with executor="ray" or "local".'
        )
    return None if train is None else portable(train, travels=executor != "local")


def _check_program(program: Program, space: Space, address: str | None, clock: str) -> None:
    """Refuses a program that cannot be trained with these settings there."""
    program.check(space.names, space, here=address in (None, "local"))
    if clock == "virtual":
        raise SettingsError('clock="virtual" is for training functions: a program keeps real time. Leave it out.')


def _trained(function: Portable | None) -> dict[str, Any]:
    """What trains, for the record."""
    return {
        "search_path": [] if function is None else list(function.search_path),
        "function": PROGRAMS if function is None else function.name,
        "by_value": function is not None and isinstance(function.payload, bytes),
        "home": str(Path.cwd()),
    }


def _job(session: Session, place: Place, function: Portable | None, address: str | None) -> Job:
    """What every order has in common, of a study that has begun: the function is kept once it is known to be its."""
    if place.database is not None and function is not None:
        keep_function(function, place.folder)
    payload, search_path = ("", ()) if function is None else (function.payload, function.search_path)
    return session.job(payload, search_path, address=address)


def _take_up_loans(executor: Executor, session: Session) -> None:
    """Tells the executor of programs which of them have a trial already."""
    from tuner.executors.external import ExternalExecutor
    from tuner.executors.loan import lent

    if isinstance(executor, ExternalExecutor):
        executor.restore(lent(session.state))


def _check_repeats(repeats: str | None, trials: int | None, budget_steps: int | None) -> None:
    """Refuses repeats where there is nothing to pay them from."""
    if repeats is not None and trials is None and budget_steps is None:
        raise SettingsError(
            'repeats="auto" spends part of a budget of trials or steps, and there is only one of time. Give trials= '
            "or budget_steps= too."
        )


def _check_seeds(seeds: int, executor: ExecutorName, budget_steps: int | None) -> None:
    """Refuses several seeds where nothing could train with them."""
    if seeds == 1:
        return
    if executor == "external":
        raise SettingsError(
            f'seeds={seeds} needs a function that tuner calls once a seed, and with executor="external" programs train '
            "by themselves. Leave seeds out, and let a program report the mean of its own seeds."
        )
    if budget_steps is not None and budget_steps < seeds:
        raise SettingsError(
            f"budget_steps={budget_steps} is less than one step with each of seeds={seeds}: every step that a trial "
            f"takes with one of them counts. Give budget_steps={50 * seeds}, say."
        )


@dataclass(frozen=True, kw_only=True)
class _Starts:
    """The settings that are tried first: those given as known to be good, then those that another study lends."""

    given: list[dict[str, Any]]
    lender: str | None
    lent: list[dict[str, Any]]

    @classmethod
    def of(cls, space: Space, start: Sequence[Settings], lender: str | None, place: Place) -> _Starts:
        """Refused where they do not fit the space."""
        given = [_in_space(space, settings) for settings in start]
        return cls(given=given, lender=lender, lent=_warm(lender, place, space))

    @property
    def settings(self) -> list[dict[str, Any]]:
        return [*self.given, *(each["settings"] for each in self.lent)]

    @property
    def reasons(self) -> list[str]:
        return [*["a known-good starting point"] * len(self.given), *(each["why"] for each in self.lent)]

    @property
    def options(self) -> dict[str, Any]:
        """As they stand on record."""
        warm = {"study": self.lender, "winners": self.lent} if self.lender else None
        return {"start": self.given, "warm_start": warm}


def _in_space(space: Space, settings: Settings) -> dict[str, Any]:
    """Settings to start with, in the parameters' own types."""
    for parameter in settings:
        if parameter not in space:
            raise SettingsError(f"start: {parameter} is no parameter. {did_you_mean(parameter, space.names)}")
    return {parameter: space[parameter].check(value) for parameter, value in settings.items()}


def _warm(other: str | None, place: Place, space: Space) -> list[dict[str, Any]]:
    """The settings that another study lends, with where they come from; a study that has begun keeps those it has."""
    if other is None:
        return []
    if other == place.name:
        raise SettingsError(f"warm_start={other!r} is the study itself. Name another one in {place.folder.parent}.")
    if place.is_there:
        begun = Store.open(place.existing())
        try:
            state, _ = fold(begun)
        finally:
            begun.close()
        lent = state.options.get("warm_start") or {}
        if lent.get("study") == other:
            winners: list[dict[str, Any]] = lent["winners"]
            return winners
        if state.trials:
            warnings.warn(f"{place.name} has begun already: warm_start={other!r} changes nothing", stacklevel=5)
            return []
    from tuner.caviar.warm_start import winners_of

    there = place.beside(other)
    with closing(Study(there, Store.open(there.existing(), idle="closed"))) as lender:
        if lender.state.kind != "sweep":
            raise SettingsError(f"warm_start={other!r} is a babysat run: give its settings with start= instead.")
        return [{"settings": dict(each.settings), "why": each.why} for each in winners_of(lender.state, space)]


def _proposer(sampler: str | BaseSampler) -> tuple[Proposer, str]:
    """What proposes settings, and its name in the study's identity."""
    if isinstance(sampler, str):
        from tuner.samplers import by_name

        return by_name(sampler), sampler
    if hasattr(sampler, "propose"):
        return cast("Proposer", sampler), type(sampler).__name__
    from tuner.samplers.optuna import OptunaProposer, describe

    return OptunaProposer(sampler), describe(sampler)


def _stopping(stopping: str | BasePruner, sampler: str | BaseSampler, min_steps: int | None) -> StoppingRule:
    if isinstance(stopping, str):
        from tuner.caviar.rules import rule_by_name

        # what an Optuna sampler would try next is not known before it is asked, and each question leaves its traces
        name = "asha" if stopping == "auto" and not isinstance(sampler, str) else stopping
        return rule_by_name(name, min_steps)
    from tuner.samplers.optuna import OptunaPruning

    return OptunaPruning(stopping, min_steps or 1)


def _attached(part: Any, state: StudyState, space: Space) -> Any:
    """Shows an Optuna part the study it serves; ours need none."""
    if hasattr(part, "attach"):
        part.attach(state, space)
    return part
