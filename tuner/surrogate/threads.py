"""Linear algebra on one thread: what is computed here is so small that several would wait for each other."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import scipy.linalg  # noqa: F401 - so that its library is there to be found
import threadpoolctl

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@functools.cache
def _libraries() -> Any:
    return threadpoolctl.ThreadpoolController()


class _OneThread:
    """One thread for linear algebra from the first who comes in to the last who leaves, whichever threads they are.

    The number belongs to the process: whoever came in while another computes would find one, and restore it for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                _let_any_thread_set_it()
                self._limits = _libraries().limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _let_any_thread_set_it()
                self._limits.restore_original_limits()
                _let_any_thread_set_it()


def _let_any_thread_set_it() -> None:
    """From threadpoolctl 3.8 on the first thread to set OpenBLAS's number owns it, and others are ignored."""
    disown = getattr(getattr(threadpoolctl, "OpenBLASController", None), "clear_controlling_thread", None)
    if disown is not None:
        disown(force=True)


_alone = _OneThread()


def on_one_thread(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """The function with linear algebra on one thread; elsewhere it keeps as many as it has."""

    @functools.wraps(function)
    def alone(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with _alone:
            return function(*args, **kwargs)

    return alone
