"""Faults of time: a clock that jumps, and a coordinator that stands still for longer than its lease."""

from __future__ import annotations

import shutil
import signal
import time
from typing import Any

from faults_of_workers import one_cluster
from injuries import NotTried, Try, Unwell, kind
from struck import CLOCK

_STANDS_STILL_S = 20.0
_HOUR = 3600.0
_ELSEWHERE = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh")


@kind(
    "clock_forward",
    "the coordinator's clock jumping two hours forward, with limits on time and silence",
    around=one_cluster,
)
def clock_forward(one: Try) -> None:
    _jumps(one, 2 * _HOUR)


@kind(
    "clock_back", "the coordinator's clock jumping two hours back, with limits on time and silence", around=one_cluster
)
def clock_back(one: Try) -> None:
    _jumps(one, -2 * _HOUR)


@kind(
    "clock_back_hung",
    "the clock jumping two hours back while a trial hangs, with a silence limit of 3 s",
    around=one_cluster,
)
def clock_back_hung(one: Try) -> None:
    child = _jumps_in(one, "hangs_in_one", -2 * _HOUR, trials=4, silence_limit_s=3.0)
    child.ends_with(0, within_s=60.0)
    one.well()
    with one.study() as study:
        states = [(trial.state, trial.why) for trial in study.state.trials]
    if [state for state, _ in states].count("failed") != 1:
        raise Unwell(f"the trials ended as {states}")


def _jumps(one: Try, seconds: float) -> None:
    one.completes(_jumps_in(one, "slow", seconds, time_limit_s=600.0, silence_limit_s=60.0))


def _jumps_in(one: Try, train: str, seconds: float, **given: Any) -> Any:
    told = one.folder / "clock"
    told.write_text("0")
    one.environment[CLOCK] = str(told)
    child = one.sweep(train, executor="ray", address=one.fixture["address"], **given)
    one.follow()
    one.under_way()
    one.a_moment(0.5)
    one.struck()
    aside = told.with_name("clock.new")
    aside.write_text(str(seconds))
    aside.replace(told)
    return child


@kind("coordinator_stopped", "SIGSTOP of a coordinator for 20 s, longer than its lease", times=5)
def coordinator_stopped(one: Try) -> None:
    child = one.sweep("slow")
    one.follow()
    one.under_way()
    one.a_moment(0.5)
    one.struck()
    child.send(signal.SIGSTOP)
    time.sleep(_STANDS_STILL_S)
    child.send(signal.SIGCONT)
    one.completes(child)


@kind("coordinator_replaced", "the same, and meanwhile another host takes the study over", times=5)
def coordinator_replaced(one: Try) -> None:
    if shutil.which("unshare") is None:
        raise NotTried("unshare is missing, so no other host can be played")
    child = one.sweep("slow")
    one.follow()
    one.under_way()
    one.a_moment(0.5)
    one.struck()
    child.send(signal.SIGSTOP)
    time.sleep(_STANDS_STILL_S)
    other = one.sweep("slow", through=_ELSEWHERE)
    one.trains_on()
    child.send(signal.SIGCONT)
    one.said = child.ends_with(1)
    one.completes(other)
