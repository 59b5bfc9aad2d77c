"""Babysat runs whose coordinators live on threads of the test's own process: the real thing, without its processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from waiting import PATIENCE_S

import tuner
from tuner.api.handles import Handle
from tuner.api.process import on_threads
from tuner.errors import TunerError
from tuner.record.location import names


@contextmanager
def at_home(results: Path) -> Iterator[None]:
    """Meanwhile coordinators get threads; in the end every run in `results` is stopped, and its thread is gone."""
    with on_threads() as threads:
        try:
            yield
        finally:
            end_all(results)
            for thread in threads:
                thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads), "a coordinator did not end"


def end_all(results: Path) -> None:
    """Ends whatever still trains in a results folder: asks coordinators of this process, kills those of others."""
    for name in names(results):
        with suppress(TunerError), closing(tuner.attach(name, results=results)) as handle:
            holder = handle._store.holder(time.time())
            if holder is None:
                continue
            if holder[1] == os.getpid():
                handle._store.request("stop", {}, by="tests", why="the test is over")
            else:
                with suppress(ProcessLookupError):
                    os.kill(holder[1], signal.SIGKILL)


def steps_of(handle: Handle) -> int:
    """How far the run has come."""
    with closing(handle.study) as study:
        return study.state.trials[0].steps


def state_of(handle: Handle) -> str:
    """What the run does: `running`, `paused`, …"""
    with closing(handle.study) as study:
        return study.state.trials[0].state
