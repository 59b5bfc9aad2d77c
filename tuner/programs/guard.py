"""The guard of a program: started in place of it, it starts it, and ends it with all its children.

Run as a script by a bare interpreter: `guard.py LIFELINE GRACE_S WORD…`. It reads orders from the pipe LIFELINE, a byte
each, and when that closes, which it does however the worker dies, the program is ended. It imports the standard library
alone, and nothing of tuner.

The worker's own child is a relay, which waits for the guard and ends as it does: where Ray ends a worker it first kills
the worker's children, and a guard among them could end nothing any more.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

END, STAND_STILL, GO_ON = b"e", b"s", b"c"
NOT_STARTED = 127  # as a shell says it
_LOOKS_EVERY_S = 0.02
_ADOPTS_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER, prctl(2)


class Guard:
    """One program, in a process group of its own."""

    def __init__(self, words: list[str], grace_s: float) -> None:
        self._grace_s = grace_s
        with suppress(OSError, AttributeError):  # on Linux what a child leaves behind comes to us
            ctypes.CDLL(None).prctl(_ADOPTS_ORPHANS, 1, 0, 0, 0)
        self._woken, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self.code: int | None = None
        self._child = os.fork()
        if self._child == 0:
            os.setpgid(0, 0)
            try:
                os.execvp(words[0], words)
            except OSError as error:
                print(f"{words[0]} cannot be started: {error.strerror}", file=sys.stderr, flush=True)
            os._exit(NOT_STARTED)
        with suppress(OSError):  # the child may have done so, or be gone
            os.setpgid(self._child, self._child)

    def watch(self, lifeline: int) -> int:
        """Until the program is over: how it ended, as a shell says it."""
        while self.code is None:
            ready, _, _ = select.select([lifeline, self._woken], [], [])
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._collect()
            if lifeline in ready:
                order = os.read(lifeline, 1)
                if order in (b"", END):
                    break
                self._signal(signal.SIGSTOP if order == STAND_STILL else signal.SIGCONT)
        self._end()
        return NOT_STARTED if self.code is None else self.code

    def _end(self) -> None:
        """Asks all that is left to end, and after the grace makes it."""
        if not self._collect():
            return
        deadline, asked_all = time.monotonic() + self._grace_s, False
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # what stands still hears nothing
        while self._collect() and time.monotonic() < deadline:
            if self.code is not None and not asked_all:  # whoever was to end what has left its group is gone
                self._signal_all(signal.SIGTERM)
                asked_all = True
            time.sleep(_LOOKS_EVERY_S)
        while self._collect():
            self._signal_all(signal.SIGKILL)
            time.sleep(_LOOKS_EVERY_S)

    def _signal_all(self, number: int) -> None:
        self._signal(number)
        for child in self._descendants():
            with suppress(OSError):
                os.kill(child, number)

    def _signal(self, number: int) -> None:
        with suppress(OSError):
            os.killpg(self._child, number)

    def _collect(self) -> bool:
        """Takes note of children that have ended; whether there are others."""
        while True:
            try:
                found, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not found:
                return True
            if found == self._child:
                self.code = _as_a_shell(os.waitstatus_to_exitcode(status))

    def _descendants(self) -> list[int]:
        """Every process below this one, where the system shows them as files."""
        parents: dict[int, int] = {}
        for place in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError, ValueError, IndexError):
                parents[int(place.parent.name)] = int(place.read_text(errors="replace").rpartition(")")[2].split()[1])
        found: list[int] = []
        newest = {os.getpid()}
        while newest:
            newest = {each for each, parent in parents.items() if parent in newest}
            found += newest
        return found


def _as_a_shell(code: int) -> int:
    """How a process ended, by its exit code or minus the signal that killed it."""
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, lambda *_: None)  # a handler, since the program would inherit what is ignored
    if (guarding := os.fork()) == 0:
        sys.exit(Guard(sys.argv[3:], float(sys.argv[2])).watch(int(sys.argv[1])))
    sys.exit(_as_a_shell(os.waitstatus_to_exitcode(os.waitpid(guarding, 0)[1])))
