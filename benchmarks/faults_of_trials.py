"""Faults of the training function itself: it hangs, dies, eats, floods, forks, or takes away what it stands on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from faults_of_workers import one_cluster
from injuries import NotTried, Try, Unwell, kind
from struck import memory_limit


def _ends_alone(one: Try, train: str, word: str, **given: Any) -> None:
    """One trial fails with a reason that has this word in it, and the others are trained to their end."""
    child = one.sweep(train, executor="ray", address=one.fixture["address"], trials=4, **given)
    one.follow()
    one.under_way(1)
    one.struck()
    child.ends_with(0)
    one.well()
    with one.study() as study:
        ended = [(trial.state, trial.why) for trial in study.state.trials]
    failed = [why for state, why in ended if state == "failed"]
    if len(failed) != 1 or [state for state, _ in ended].count("completed") != 3 or word not in failed[0]:
        raise Unwell(f"the trials ended as {ended}")
    one.said = failed[0]


def _comes_to_its_end(one: Try, train: str) -> None:
    child = one.sweep(train, executor="ray", address=one.fixture["address"], trials=4)
    one.follow()
    one.struck()
    one.completes(child, trials=4)


@kind("trial_hangs", "a step that never ends, with a silence limit of 3 s", around=one_cluster)
def trial_hangs(one: Try) -> None:
    _ends_alone(one, "hangs_in_one", "no sign of life", silence_limit_s=3.0)


@kind("trial_exits", "a training function that calls os._exit, whoever trains it", around=one_cluster)
def trial_exits(one: Try) -> None:
    _ends_alone(one, "exits_in_one", "worker")


@kind(
    "trial_eats_memory", "a training function that eats memory until the kernel kills it", times=5, around=one_cluster
)
def trial_eats_memory(one: Try) -> None:
    limit = memory_limit()
    if limit is None:
        raise NotTried("no control group that limits memory can be made here")
    try:
        _comes_to_its_end(one, "eats_memory_once")
    finally:
        with suppress(OSError):
            limit.parent.rmdir()


@kind("trial_prints", "a training function that prints 100 MB", times=5, around=one_cluster)
def trial_prints(one: Try) -> None:
    _comes_to_its_end(one, "prints_much_once")
    size = sum(each.stat().st_size for each in Path(one.study_folder).rglob("*.log"))
    if not 5_000_000 < size < 12_000_000:
        raise Unwell(f"{size:,} bytes of what it printed are kept")


@kind("trial_forks", "a training function that leaves children behind, some of them sessions of their own", times=5)
def trial_forks(one: Try) -> None:
    child = one.sweep("leaves_children_once", executor="ray")
    one.follow()
    one.struck()
    one.completes(child)


@kind("trial_removes_its_folder", "a training function that changes directory and removes it", around=one_cluster)
def trial_removes_its_folder(one: Try) -> None:
    _comes_to_its_end(one, "removes_its_folder")


@kind(
    "trial_closes_stdout",
    "a training function that closes stdout and stderr, and their descriptors",
    around=one_cluster,
)
def trial_closes_stdout(one: Try) -> None:
    _comes_to_its_end(one, "closes_its_streams")
