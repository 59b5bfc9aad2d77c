"""A real PostgreSQL: Debian's, run by an ordinary user on a free port in a folder; and a proxy that loses words.

The server ends with the process that started it, also where that is killed.
"""

from __future__ import annotations

import itertools
import os
import pwd
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal

import psycopg
from lifeline import Lifeline

_WHERE = Path("/usr/lib/postgresql")
_NOBODY = "nobody"  # the server refuses to be run by root
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # a machine that loses its power is not among the faults tried
    "max_connections": "120",
    "shared_buffers": "16MB",
    "max_wal_size": "64MB",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}


def programs() -> Path | None:
    """The folder of the newest server installed, or None."""
    there = [path.parent for path in _WHERE.glob("*/bin/initdb")]
    return max(there, key=lambda path: int(path.parent.name), default=None)


class Server:
    """A PostgreSQL server of its own, in a folder that it may write to."""

    def __init__(self, folder: Path, bin_: Path) -> None:
        self.folder = folder
        self._bin, self._data, self._count = bin_, folder / "data", itertools.count()
        self._lifeline: Lifeline | None = None
        if os.geteuid() == 0:
            os.chown(folder, pwd.getpwnam(_NOBODY).pw_uid, -1)
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._run(
            "initdb", "-D", str(self._data), "-U", "tuner", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"
        )

    def start(self) -> None:
        self._lifeline = Lifeline(
            '"$0" -D "$1" -m immediate -w stop; rm -rf "$2"',
            *(str(self._bin / "pg_ctl"), str(self._data), str(self.folder)),
            **_as_an_ordinary_user(),
        )
        options = " ".join(f"-c {name}='{value}'" for name, value in _SETTINGS.items())
        log = str(self._data.parent / "log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-o", f"-p {self.port} {options}", "-w", "start")

    def stop(self, how: str = "immediate") -> None:
        """ "immediate" is as if its machine had failed."""
        if self._lifeline is not None:
            self._lifeline.let_go()
            self._lifeline = None
        self._run("pg_ctl", "-D", str(self._data), "-m", how, "-w", "stop")

    def database(self, *, port: int | None = None) -> str:
        """The URL of a new database."""
        name = f"team{next(self._count)}"
        self.ask("postgres", f"CREATE DATABASE {name}")
        return self.url(name, port=port)

    def url(self, name: str, *, port: int | None = None) -> str:
        return f"postgresql://tuner:hush-hush@127.0.0.1:{port or self.port}/{name}"

    def ask(self, database: str, statement: str, *values: Any) -> list[Any]:
        """Runs a statement in a database, named or by its URL."""
        url = database if "://" in database else self.url(database)
        with psycopg.connect(url, autocommit=True) as connection:
            found = connection.execute(statement, values)
            return found.fetchall() if found.description else []

    def _run(self, program: str, *words: str) -> None:
        command = [str(self._bin / program), *words]
        # what is started must not keep a pipe of ours open
        with tempfile.TemporaryFile() as told:
            done = subprocess.run(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
                check=False,
                **_as_an_ordinary_user(),
            )
            told.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program}: {told.read().decode(errors='replace')}")


def _as_an_ordinary_user() -> dict[str, Any]:
    """Who runs the server, as `subprocess` takes it."""
    if os.geteuid() != 0:
        return {}
    return {"user": _NOBODY, "group": pwd.getpwnam(_NOBODY).pw_gid, "extra_groups": []}


class Proxy:
    """What stands between clients and the server, and once cuts the connection of whoever sends a certain word.

    With `loses="answer"` the word is passed on, and what the server says to it is lost; with `loses="word"` it is the
    word that never arrives.
    """

    def __init__(self, server: Server) -> None:
        self._server, self._cut_at, self._loses, self.cuts = server, b"", "answer", 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_next(self, word: bytes, *, loses: Literal["answer", "word"]) -> None:
        """Cuts once more: the next connection that sends this."""
        self._cut_at, self._loses = word, loses

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server.port))
            cut = threading.Event()
            threading.Thread(target=self._listen, args=(client, server, cut), daemon=True).start()
            threading.Thread(target=_pass, args=(server, client, cut), daemon=True).start()

    def _listen(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self._cut_at and self._cut_at in data:
                    self._cut_at, self.cuts = b"", self.cuts + 1
                    cut.set()  # before the server can have answered
                    if self._loses == "answer":
                        server.sendall(data)
                        while server.fileno() >= 0:  # the other thread hangs up once it has had the answer
                            time.sleep(0.005)
                    break
                server.sendall(data)
        _hang_up(client, server)

    def close(self) -> None:
        self._listening.close()


def _pass(server: socket.socket, client: socket.socket, cut: threading.Event) -> None:
    with suppress(OSError):
        while data := server.recv(65536):
            if cut.is_set():
                break
            client.sendall(data)
    _hang_up(client, server)


def _hang_up(*ends: socket.socket) -> None:
    for each in ends:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
