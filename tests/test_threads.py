"""Linear algebra on one thread while it is computed, and on as many as before afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, Event

import scipy.linalg  # noqa: F401 - brings the library that is asked
from threadpoolctl import threadpool_info, threadpool_limits
from waiting import PATIENCE_S

from tuner.surrogate.threads import on_one_thread


def threads_of_linear_algebra() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_computations_that_overlap_leave_as_many_threads_as_there_were() -> None:
    both_compute, first_is_done = Barrier(2), Event()
    seen: list[set[int]] = []

    @on_one_thread
    def first() -> None:
        both_compute.wait(PATIENCE_S)

    @on_one_thread
    def second() -> None:
        both_compute.wait(PATIENCE_S)
        assert first_is_done.wait(PATIENCE_S)
        seen.append(threads_of_linear_algebra())

    with threadpool_limits(2, user_api="blas"), ThreadPoolExecutor(2) as threads:
        ends_later = threads.submit(second)
        threads.submit(first).result()
        first_is_done.set()
        ends_later.result()
        assert seen == [{1}]
        assert threads_of_linear_algebra() == {2}


def test_a_computation_that_fails_leaves_as_many_threads_as_there_were() -> None:
    @on_one_thread
    def fails() -> float:
        return 1 / 0

    with threadpool_limits(2, user_api="blas"):
        with suppress(ZeroDivisionError):
            fails()
        assert threads_of_linear_algebra() == {2}
