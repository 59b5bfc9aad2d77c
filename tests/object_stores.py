"""Object stores for the tests: moto's S3 server in a process of its own, and one in memory that can be away."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.memory import MemoryFileSystem
from processes import unmarked
from waiting import wait_until

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # the folder is no package

from lifeline import Lifeline

KEYS = {"AWS_ACCESS_KEY_ID": "tuner", "AWS_SECRET_ACCESS_KEY": "hush-hush", "AWS_DEFAULT_REGION": "us-east-1"}


class S3Server:
    """A server that speaks S3, on a port of its own; killed and started again it knows what it was told before."""

    def __init__(self, folder: Path, *, remembers: bool = True) -> None:
        self._remembers = remembers
        self.folder = folder
        self._log, self._told = folder / "log", folder / "told"
        self._port = "0"
        self.environment = KEYS
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: Lifeline | None = None

    def start(self) -> None:
        """The server names its port, once it has one: any that is looked for before may be taken by then."""
        command = [sys.executable, str(Path(__file__).with_name("s3_server.py")), self._port]
        recorded = {"MOTO_RECORDER_FILEPATH": str(self._told)}
        recorded |= {"MOTO_ENABLE_RECORDING": "yes"} if self._remembers else {}
        with unmarked(), self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **recorded}
            )
            # also one that hangs ends with the tests, whatever kills them
            self._lifeline = Lifeline('kill -9 "$0"; rm -rf "$1"', str(self._process.pid), str(self.folder))
        address = str(wait_until(self._address, look_every_s=0.05))
        self._port = address.rpartition(":")[2]
        self.environment = {**KEYS, "AWS_ENDPOINT_URL_S3": address}

    def stop(self) -> None:
        """As a machine that fails."""
        if self._lifeline is not None:
            self._lifeline.let_go()
            self._lifeline = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """From now on it takes what it is sent, and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """It answers what it was asked meanwhile, and what it will be."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def bucket(self) -> str:
        """The URL of a new bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.files().mkdir(name)
        return f"s3://{name}"

    def files(self) -> Any:
        """What the server holds, as fsspec sees it."""
        return fsspec.filesystem("s3", use_listings_cache=False)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def port(self) -> int:
        return int(self._port)

    def _address(self) -> str | None:
        """Where it says that it listens; None until then."""
        said = self._log.read_text()
        assert self._process is not None
        assert self._process.poll() is None, said
        found = re.search(r"http://127\.0\.0\.1:\d+(?=\s)", said)
        return None if found is None else found[0]


class Silence:
    """What stands between clients and a server, which from a certain word on hears all, and is not heard any more.

    Before that it may be slow.
    """

    def __init__(self, port: int) -> None:
        self._port, self._word = port, b""
        self.silent = False
        self.bytes_a_second = 0.0
        """How fast a client is heard, each of its connections by itself; 0: at once."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def begin_at(self, word: bytes) -> None:
        """Silence, once a client has said this."""
        self._word = word

    def end(self) -> None:
        """The server is heard again, though not with what it has said meanwhile."""
        self._word, self.silent = b"", False

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                for listens, speaks in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(listens, speaks, client), daemon=True).start()

    def _pass(self, listens: socket.socket, speaks: socket.socket, client: socket.socket) -> None:
        last = b""
        with suppress(OSError):
            while data := listens.recv(2**20):
                if listens is client:
                    time.sleep(len(data) / self.bytes_a_second if self.bytes_a_second else 0.0)
                    self.silent = self.silent or bool(self._word and self._word in last + data)
                    last = data[-200:]
                elif self.silent:
                    continue
                speaks.sendall(data)
            if self.silent and listens is not client:
                return  # that it has hung up is not heard either
        for each in (listens, speaks):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def serving(*, remembers: bool = True) -> Iterator[S3Server]:
    """A server, whose keys and address this process and its children have in their environment meanwhile.

    One that need not remember what is large is not started again.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="tuner-s3-") as folder:
        server = S3Server(Path(folder), remembers=remembers)
        try:
            server.start()
            os.environ.update(server.environment)
            forget_where()
            yield server
        finally:
            server.stop()
            forget_where()
            for word in server.environment:
                os.environ.pop(word, None)
                if word in before:
                    os.environ[word] = before[word]


def forget_where() -> None:
    """File systems of before would go on to where another server was."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


class MovableFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """A store in memory that is away while `away` says so, and that can break off in the midst of what is sent."""

    protocol = "movable"
    store: dict[str, Any] = {}  # noqa: RUF012 - as fsspec's own has it: one for all instances
    pseudo_dirs = [""]  # noqa: RUF012
    away = False
    breaks_after: int | None = None
    """How many more objects arrive before it is away."""
    calls = 0

    def _answer(self) -> None:
        type(self).calls += 1
        if self.away:
            raise ConnectionError("no route to the store")

    def put_file(self, lpath: str, rpath: str, **more: Any) -> None:
        self._answer()
        if (left := self.breaks_after) is not None:
            type(self).breaks_after, type(self).away = left - 1, left == 0
            self._answer()
        super().put_file(lpath, rpath, **more)

    def get_file(self, rpath: str, lpath: str, **more: Any) -> None:
        self._answer()
        super().get_file(rpath, lpath, **more)

    def pipe_file(self, path: str, value: bytes, **more: Any) -> None:
        self._answer()
        super().pipe_file(path, value, **more)

    def cat_file(self, path: str, *given: Any, **more: Any) -> Any:
        self._answer()
        return super().cat_file(path, *given, **more)

    def info(self, path: str, **more: Any) -> Any:
        self._answer()
        return super().info(path, **more)

    def find(self, path: str, *given: Any, **more: Any) -> Any:
        self._answer()
        return super().find(path, *given, **more)

    def rm_file(self, path: str) -> None:
        self._answer()
        super().rm_file(path)


fsspec.register_implementation("movable", MovableFileSystem, clobber=True)


@contextmanager
def movable() -> Iterator[type[MovableFileSystem]]:
    """The store in memory, there and empty at first and at last."""
    kind = MovableFileSystem
    kind.store.clear()
    kind.away, kind.breaks_after, kind.calls = False, None, 0
    try:
        yield kind
    finally:
        kind.store.clear()
        kind.away, kind.breaks_after = False, None
