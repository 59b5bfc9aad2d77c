"""Knows that what is computed here is too small for several threads: they would wait for each other, and training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import scipy.linalg  # noqa: F401 - so that its library is there to be found
from threadpoolctl import ThreadpoolController

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def on_one_thread(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """The function with linear algebra on one thread; elsewhere it keeps as many as it has."""

    @functools.wraps(function)
    def alone(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with _libraries().limit(limits=1):
            return function(*args, **kwargs)

    return alone
