"""Faults of what trains on a Ray cluster: a worker, a node, the head, and a run whose coordinator is gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import nodes
import psutil
from injuries import PATIENCE_S, Try, Unwell, kind, surroundings, wait_until
from struck import CALLS


@contextmanager
def one_cluster(folder: Path) -> Iterator[Mapping[str, str]]:
    """A cluster that all tries of a kind share."""
    environment = surroundings(folder)
    with nodes.running(4, environment=environment) as cluster:
        yield {"address": cluster.address, "calls": environment[CALLS]}


def training(one: Try, struck: Mapping[int, int]) -> list[tuple[int, int, int]]:
    """The processes that train just now, each with its trial and its steps, where it came further than it was `struck`.

    Four in a row at one place, and tuner holds the trial to be what kills them.
    """
    with one.study() as study:
        pids, trials = _pids(study), study.state.trials
    return [
        (pid, trial, trials[trial].steps) for trial, pid in pids.items() if trials[trial].steps > struck.get(trial, -1)
    ]


def _pids(study: Any) -> dict[int, int]:
    """The processes that train, by trial."""
    from tuner.record.events import TrialStarted

    running = {trial.trial for trial in study.state.trials if trial.state == "running"}
    started = {each.trial: each.pid for each in study.records(TrialStarted)}
    return {trial: pid for trial, pid in started.items() if trial in running and psutil.pid_exists(pid)}


def _victim(one: Try, struck: dict[int, int] | None = None) -> int:
    """A process that trains, by chance; where it is noted in `struck`."""
    struck = {} if struck is None else struck
    found = wait_until(lambda: training(one, struck), "nothing trained")
    pid, trial, steps = one.moments.choice(sorted(found))
    struck[trial] = steps
    return pid


@kind("worker_killed", "SIGKILL of a worker, at a random moment", times=100, strikes=10, around=one_cluster)
def worker_killed(one: Try) -> None:
    child = one.sweep("slow", executor="ray", address=one.fixture["address"], trials=8)
    one.follow()
    one.under_way(1)
    struck: dict[int, int] = {}
    for _ in range(10):
        one.a_moment(0.8)
        victim = _victim(one, struck)
        one.struck()
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        with suppress(psutil.NoSuchProcess):
            psutil.Process(victim).wait(PATIENCE_S)
        one.trains_on()
    one.completes(child, trials=8)


@kind("worker_stopped", "SIGSTOP of a worker for 20 s, longer than a lease", times=3, around=one_cluster)
def worker_stopped(one: Try) -> None:
    child = one.sweep("slow", executor="ray", address=one.fixture["address"])
    one.follow()
    one.under_way()
    victim = _victim(one)
    one.struck()
    os.kill(victim, signal.SIGSTOP)
    time.sleep(20.0)
    os.kill(victim, signal.SIGCONT)
    one.completes(child)


@kind(
    "worker_stopped_for_good", "SIGSTOP of a worker for ever, with a silence limit of 3 s", times=3, around=one_cluster
)
def worker_stopped_for_good(one: Try) -> None:
    child = one.sweep("slow", executor="ray", address=one.fixture["address"], silence_limit_s=3.0)
    one.follow()
    one.under_way()
    victim = _victim(one)
    one.struck()
    os.kill(victim, signal.SIGSTOP)
    child.ends_with(0)
    one.well()
    with one.study() as study:
        states = study.state.counts
        if (states.get("completed"), states.get("failed")) != (2, 1):
            raise Unwell(f"the trials ended as {states}")


@kind("raylet_killed", "SIGKILL of the raylet of one of two nodes", times=5)
def raylet_killed(one: Try) -> None:
    with nodes.running(1, 1, environment=one.surroundings()) as cluster:
        child = one.sweep("slow", executor="ray", address=cluster.address, trials=12)
        one.follow()
        one.once(lambda study: len(_pids(study)) == 2, "two nodes did not train")
        one.a_moment(1.0)
        one.struck()
        os.kill(cluster.nodes[1]["raylet"][0], signal.SIGKILL)
        one.completes(child, trials=12)


@kind("head_killed", "SIGKILL of all of the head; the sweep begins again on another cluster", times=3)
def head_killed(one: Try) -> None:
    one.environment["RAY_gcs_rpc_server_reconnect_timeout_s"] = "5"  # Ray gives a head a minute to come back
    with nodes.running(0, 2, environment=one.surroundings()) as cluster:
        child = one.sweep("slow", executor="ray", address=cluster.address, trials=12)
        one.follow()
        one.under_way()
        one.a_moment(1.0)
        one.struck()
        for pids in cluster.nodes[0].values():
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        one.said = child.ends_with(1)
    with nodes.running(2, environment=one.surroundings()) as cluster:
        one.completes(one.sweep("slow", executor="ray", address=cluster.address, trials=12), trials=12)


@kind(
    "babysat_coordinator_killed",
    "SIGKILL of a babysat run's coordinator, its worker detached on a cluster",
    times=10,
    around=one_cluster,
)
def babysat_coordinator_killed(one: Try) -> None:
    import tuner

    one.name = f"run-{one.number}"
    with _inherited(one.surroundings()):
        handle = tuner.babysit(
            "struck:endless",
            {"learning_rate": 0.1},
            name=one.name,
            objective="score",
            address=one.fixture["address"],
            checkpoint_every_s=0.1,
            seed=one.number,
            results=one.results,
        )
    with closing(handle), _inherited(one.surroundings()):
        one.follow()
        one.under_way(10)
        one.a_moment(0.5)
        reached = handle.study.state.trials[0].steps
        one.struck()
        os.kill(_coordinator(one), signal.SIGKILL)
        time.sleep(1.0)  # it trains on, and nobody listens
        if handle.note("is anybody there?").state != "applied":
            raise Unwell("nobody answers")
        one.once(lambda study: study.state.trials[0].steps > reached + 20, "it trains no more")
        one.well()
        handle.stop(why="the try is over")
        handle.wait(PATIENCE_S).close()
    with one.study() as study:
        steps = study.reports["step"].tolist()
        if study.segments["cause"].tolist() != ["start"] or steps != list(range(1, len(steps) + 1)):
            raise Unwell(f"it was not one run of one worker: {study.segments['cause'].tolist()}")


def _coordinator(one: Try) -> int:
    with one.study() as study:
        holder = study.coordinator(time.time())
    if holder is None:
        raise Unwell("the run has no coordinator")
    pid: int = holder[1]
    return pid


@contextmanager
def _inherited(environment: Mapping[str, str]) -> Iterator[None]:
    """Meanwhile what this process starts inherits a try's surroundings."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
