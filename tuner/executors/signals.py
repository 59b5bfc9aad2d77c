"""Signal handlers that a training function sets: Python lets the main thread alone set one, and nobody trains there.

In a worker of Ray the main thread is Ray's and never runs Python again. There a handler is put in place below Python's
`signal.signal`, and called on a thread of its own; what it raises is raised where the function trains.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, TypeAlias

_Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

_PROBED = signal.SIGUSR2
_set_below = ctypes.pythonapi.PyOS_setsig
_get_below = ctypes.pythonapi.PyOS_getsig
for _each in (_set_below, _get_below):
    _each.restype = ctypes.c_void_p
_set_below.argtypes = [ctypes.c_int, ctypes.c_void_p]
_get_below.argtypes = [ctypes.c_int]


class Signals:
    """Takes the place of `signal.signal` in this process; made on its main thread, which then runs no more Python."""

    def __init__(self) -> None:
        self._set_on_the_main_thread, self._get_there = signal.signal, signal.getsignal
        self._trains = ContextVar("trains", default=False)  # a copy of a context goes to the threads of several seeds
        self._handlers: dict[int, _Handler] = {}
        self._set_by: dict[int, int] = {}
        self._before: dict[int, int | None] = {}
        found = signal.signal(_PROBED, lambda *_: None)
        self._pythons_own = _get_below(_PROBED)
        signal.signal(_PROBED, found)
        self._arrivals, arrived = os.pipe()
        os.set_blocking(arrived, False)
        signal.set_wakeup_fd(arrived, warn_on_full_buffer=False)
        threading.Thread(target=self._call_handlers, name="tuner-signals", daemon=True).start()
        signal.signal, signal.getsignal = self._set, self._get  # type: ignore[assignment]

    @contextmanager
    def of_this_thread(self) -> Iterator[None]:
        """Handlers set inside, on this thread, are those of a trial: what was there before returns with its end."""
        training = self._trains.set(True)
        try:
            yield
        finally:
            self._trains.reset(training)
            for number, below in self._before.items():
                _set_below(number, below)
            self._before.clear()
            self._set_by.clear()
            self._handlers.clear()

    def _set(self, number: int, handler: Any, /) -> Any:
        """As `signal.signal`, from the thread that trains as well."""
        if not self._trains.get():
            return self._set_on_the_main_thread(number, handler)
        number = signal.Signals(number)
        if number in (signal.SIGKILL, signal.SIGSTOP):
            raise OSError(22, "Invalid argument")
        if not callable(handler) and handler not in (signal.SIG_DFL, signal.SIG_IGN):
            raise TypeError("signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable object")
        previous = self._get(number)
        self._handlers[number], self._set_by[number] = handler, threading.get_ident()
        below = self._pythons_own if callable(handler) else int(handler)
        replaced = _set_below(number, below)
        self._before.setdefault(number, replaced)
        return previous

    def _get(self, number: int, /) -> Any:
        """As `signal.getsignal`."""
        return self._handlers[number] if number in self._handlers else self._get_there(number)

    def _call_handlers(self) -> None:
        while True:
            for number in os.read(self._arrivals, 64):
                handler, thread = self._handlers.get(number), self._set_by.get(number)
                if thread is None or not callable(handler):
                    continue
                try:
                    handler(number, sys._current_frames().get(thread))
                except BaseException as raised:
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_made(raised)))


def _made(raised: BaseException) -> type[BaseException]:
    """A class that makes this very exception: another thread can be given a class alone."""
    kind = type(raised)
    return type(kind.__name__, (kind,), {"__new__": lambda _: raised})
