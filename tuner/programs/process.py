"""A program under way: started under its guard, its lines as they come, and its end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from tuner.programs import guard
from tuner.programs.reporting import PLACE
from tuner.record.atomic import write_whole
from tuner.values.numbers import memory

OUT, ERR, REPORTS = "stdout.log", "stderr.log", "reports.jsonl"
_PAUSE_S = 0.01
_LONGEST_LINE = 100_000  # bytes; what is longer is cut
_KEPT_BYTES = 10_000_000  # of each file once the program is over, half of them from its beginning
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Lines:
    """The lines that come to stand in a file after it was opened here."""

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        self._file: BinaryIO = path.open("rb")
        self._file.seek(0, os.SEEK_END)
        self._begun = b""

    def new(self, *, all_: bool = False) -> Iterator[str]:
        """Those that are whole by now, of a megabyte at most; with `all_` the rest too, and a last one cut short."""
        while content := self._file.read(1_000_000):
            *whole, self._begun = re.split(rb"[\r\n]+", self._begun + content)
            self._begun = self._begun[:_LONGEST_LINE]
            yield from map(_text, whole)
            if not all_:
                return
        if all_ and self._begun:
            last, self._begun = self._begun, b""
            yield _text(last)

    def close(self) -> None:
        """Reads no more of it."""
        self._file.close()


class Process:
    """A program that runs in a folder of its own, where it leaves what it prints; over at the end of the `with`."""

    def __init__(self, words: Sequence[str], folder: Path, *, grace_s: float, env: Mapping[str, str]) -> None:
        """`words` are the program and its arguments; `env` is put beside what this process has."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.said: deque[str] = deque(maxlen=20)
        """Its last lines."""
        self.complained: deque[str] = deque(maxlen=20)
        """The last lines of its standard error."""
        self._folder, self._grace_s = folder, grace_s
        with ExitStack() as opened:
            self._sources = {name: opened.enter_context(closing(Lines(folder / name))) for name in (OUT, ERR, REPORTS)}
            self._guard, self._lifeline = self._started(words, env)
            self._open = opened.pop_all()

    def _started(self, words: Sequence[str], env: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], int]:
        """The guard, which starts the program, and the pipe that it ends with."""
        listening, lifeline = os.pipe()
        command = [sys.executable, "-I", "-S", guard.__file__, str(listening), str(self._grace_s), *words]
        try:
            with (self._folder / OUT).open("ab") as out, (self._folder / ERR).open("ab") as err:
                started = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    pass_fds=(listening,),
                    start_new_session=True,  # a Ctrl-C is the coordinator's to hear
                    env={**os.environ, "PYTHONUNBUFFERED": "1", **env, PLACE: str(self._folder / REPORTS)},
                )
        except BaseException:
            os.close(lifeline)
            raise
        finally:
            os.close(listening)
        return started, lifeline

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._open.close()
        for name in (OUT, ERR):
            with suppress(OSError):  # a disk that refuses loses words, never the trial
                _shortened(self._folder / name)

    @property
    def code(self) -> int | None:
        """How it ended, as a shell says it; None while it runs."""
        return self._guard.poll()

    def lines(self, goes_on: Callable[[], bool]) -> Iterator[tuple[str, str]]:
        """What it says until it is over, line by line with the file's name; also until it is not to go on."""
        while True:
            over, heard = self.code is not None, False
            for name, source in self._sources.items():
                for line in source.new(all_=over):
                    heard = True
                    if name != REPORTS and line.strip():
                        self.said.append(line)
                    if name == ERR and line.strip():
                        self.complained.append(line)
                    yield name, line
            if over or not goes_on():
                return
            if not heard:
                time.sleep(_PAUSE_S)

    def stand_still(self) -> None:
        """Stops it where it is, with all its children."""
        self._order(guard.STAND_STILL)

    def go_on(self) -> None:
        """Lets it go on from where it was stopped."""
        self._order(guard.GO_ON)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Whatever is done inside, be it to save, to wait for a verdict or to pause, finds it where it stood."""
        self.stand_still()
        try:
            yield
        finally:
            self.go_on()

    def end(self) -> None:
        """Ends it with all its children: asked first, and made to after the grace."""
        self._order(guard.END)
        try:
            self._guard.wait(self._grace_s + 10.0)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        lifeline, self._lifeline = self._lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)

    def _order(self, what: bytes) -> None:
        with suppress(OSError):  # it is over already
            if self._lifeline >= 0:
                os.write(self._lifeline, what)


def _text(line: bytes) -> str:
    text = line[:_LONGEST_LINE].decode("utf-8", "replace")
    return _COLOURS.sub("", text) if "\x1b" in text else text


def _shortened(path: Path) -> None:
    """Takes the middle out of a file that is longer than anybody reads."""
    size = path.stat().st_size
    if size <= _KEPT_BYTES:
        return
    half = _KEPT_BYTES // 2
    with path.open("rb") as whole:
        beginning = whole.read(half)
        whole.seek(size - half)
        left_out = f"\n… {memory(size - _KEPT_BYTES)} are left out here …\n".encode()
        write_whole(path, beginning + left_out + whole.read(), mode=0o600)
