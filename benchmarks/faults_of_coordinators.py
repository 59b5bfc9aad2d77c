"""Faults of the process that holds a study: killed, told to end, stopped, or not alone."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from functools import partial

from injuries import Try, Unwell, kind, wait_until
from struck import HANGS_AFTER


def _goes_on(one: Try) -> None:
    """The same command again brings the study to its end."""
    child = one.sweep("slow")
    one.completes(child)


@kind("coordinator_killed", "SIGKILL of a sweep's coordinator, at a random moment", times=100, strikes=5)
def coordinator_killed(one: Try) -> None:
    one.follow()
    for _ in range(5):
        child = one.sweep(trials=12)
        wait_until(partial(_holds, one, child.pid), "it did not begin")
        one.well()  # of the kill before
        one.a_moment(1.0)
        one.struck()
        child.send(signal.SIGKILL)
        child.ended()
    one.completes(one.sweep(trials=12), trials=12)


def _holds(one: Try, pid: int) -> bool:
    """Whether this process is the study's coordinator."""
    import tuner

    with suppress(tuner.TunerError), one.study() as study:
        holder = study.coordinator(time.time())
        return holder is not None and holder[1] == pid
    return False


@kind("coordinator_terminated", "SIGTERM to a coordinator")
def coordinator_terminated(one: Try) -> None:
    _asked_to_end(one, signal.SIGTERM)


@kind("coordinator_interrupted", "SIGINT to a coordinator")
def coordinator_interrupted(one: Try) -> None:
    _asked_to_end(one, signal.SIGINT)


def _asked_to_end(one: Try, number: signal.Signals) -> None:
    child = one.sweep("slow")
    one.follow()
    one.under_way()
    one.a_moment(0.5)
    one.struck()
    child.send(number)
    one.said = child.ends_with(130)
    one.well()
    with one.study() as study:
        if not study.state.counts.get("paused") or study.state.counts.get("running"):
            raise Unwell(f"the trials were left as {study.state.counts}")
    _goes_on(one)


@kind("coordinator_interrupted_twice", "SIGINT twice to a coordinator whose trial hangs")
def coordinator_interrupted_twice(one: Try) -> None:
    child = one.sweep("hangs_once")
    one.follow()
    one.once(lambda study: any(trial.steps == HANGS_AFTER for trial in study.state.trials), "no trial hung")
    time.sleep(0.3)
    one.a_moment(0.5)
    child.send(signal.SIGINT)
    one.a_moment(1.0)
    one.struck()
    child.send(signal.SIGINT)
    one.said = child.ends_with(130)
    one.well()
    one.completes(one.sweep("hangs_once"))


@kind("two_coordinators", "a second coordinator for the same study")
def two_coordinators(one: Try) -> None:
    first = one.sweep("slow", trials=8)
    one.follow()
    one.under_way()
    one.a_moment(0.5)
    one.struck()
    second = one.sweep("slow", trials=8)
    one.said = second.ends_with(1)
    one.well()
    if f"pid {first.pid} " not in one.said:
        raise Unwell(f"whoever came second was not told who holds it: {one.said}")
    one.completes(first, trials=8)


@kind("two_coordinators_at_once", "two coordinators that begin the same study at the same moment")
def two_coordinators_at_once(one: Try) -> None:
    one.struck()
    both = [one.sweep(), one.sweep()]
    one.follow()
    wait_until(lambda: any(child.process.poll() is not None for child in both), "neither ended")
    refused = [child for child in both if child.process.poll() == 1]
    one.well()
    for child in both:
        child.ends_with(0, 1)
    if refused:
        one.said = refused[0].last_words
    one.completes(one.sweep())
