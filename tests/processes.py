"""What a test starts ends with it: every process that inherits the test's mark, however far it has detached itself."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

_MARK = "TUNER_TESTS_STARTED_BY"
_LEAVES_WITHIN_S = 3.0


@contextmanager
def unmarked() -> Iterator[None]:
    """What is started meanwhile belongs to no test: it is ended by whoever started it."""
    mark = os.environ.pop(_MARK, None)
    try:
        yield
    finally:
        if mark is not None:
            os.environ[_MARK] = mark


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
    """A fixture that outlives the test starts its processes for all who use it."""
    if fixturedef.scope == "function":
        return (yield)
    with unmarked():
        return (yield)


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    """Ends by its pid whatever the test has started and left running, also where the test failed."""
    there, mark = set(psutil.pids()), f"{os.getpid()}-{uuid.uuid4().hex}"
    os.environ[_MARK] = mark
    yield
    os.environ.pop(_MARK, None)
    left = [each for pid in set(psutil.pids()) - there if (each := _marked(pid, mark)) is not None]
    _, staying = psutil.wait_procs(left, timeout=_LEAVES_WITHIN_S if left else 0.0)
    for each in staying:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(staying, timeout=_LEAVES_WITHIN_S)


def _marked(pid: int, mark: str) -> psutil.Process | None:
    """The process, if it inherited this mark and is not just waiting to be collected."""
    with suppress(psutil.Error, OSError):
        found = psutil.Process(pid)
        if found.environ().get(_MARK) == mark and found.status() != psutil.STATUS_ZOMBIE:
            return found
    return None
