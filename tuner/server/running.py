"""The running of the service: its socket, its process, and where others find it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvicorn

from tuner.errors import StudyError
from tuner.record.atomic import write_whole
from tuner.record.lease import alive
from tuner.server.gate import Gate
from tuner.server.service import Service
from tuner.server.tokens import FOLDER, KeptTokens, Role

_PORTS = 20  # that are tried, from the first on
_ENDS_WITHIN_S = 5


@dataclass(frozen=True, kw_only=True)
class Running:
    """A service that runs, as its folder tells."""

    url: str
    pid: int
    port: int
    start: str
    """Which start this is: codes are for one."""
    at: float
    root_path: str = ""
    """What a proxy puts before every path."""
    store: str = ""
    """The team's database that it serves, as it may be shown; empty: the folder's own studies."""

    def link(self, tokens: KeptTokens, role: Role) -> str:
        """A link that lets a browser in, once."""
        if tokens.named(role) is None:
            tokens.add(role, role)  # its text is kept nowhere: browsers need none
        tokens.start = self.start
        return f"{self.url}{self.root_path}/login?code={tokens.code(role, time.time())}"


def bound(host: str, port: int | None, first: int) -> socket.socket:
    """A socket at the port, or without one at the first free one from `first` on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    refusal: OSError | None = None
    for tried in range(first, first + _PORTS) if port is None else (port,):
        # asyncio sends at once where TCP is named, and else waits 40 ms for the other side's word on the headers
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, tried))
        except OSError as error:
            listening.close()
            refusal = error
            continue
        listening.listen(2048)
        listening.setblocking(False)
        return listening
    where = f"{host}:{port}" if port is not None else f"{host}, ports {first} to {first + _PORTS - 1}"
    told = "" if refusal is None else f": {refusal.strerror or refusal}"
    raise StudyError(f"the service cannot listen at {where}{told}. Choose another with --port, or --port 0 for any.")


@contextmanager
def announced(results: Path, url: str, port: int, root_path: str = "", store: str = "") -> Iterator[Running]:
    """Tells in the folder where the service runs, for as long as it does."""
    known: dict[str, Any] = {"pid": os.getpid(), "start": secrets.token_hex(8), "at": time.time()}
    told = Running(url=url, port=port, root_path=root_path, store=store, **known)
    path = results / FOLDER / f"running-{port}.json"
    write_whole(path, json.dumps(asdict(told)).encode(), mode=0o600)
    try:
        yield told
    finally:
        with suppress(OSError):
            path.unlink()


def those_running(results: Path) -> list[Running]:
    """The services of a folder that run on this machine."""
    found = []
    for path in sorted((results / FOLDER).glob("running-*.json")):
        with suppress(OSError, ValueError, TypeError):
            told = Running(**json.loads(path.read_text()))
            if alive(told.pid):
                found.append(told)
            else:
                path.unlink()
    return found


class _Server(uvicorn.Server):
    """Ends streams when it is to end: they would keep it."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.closing.set()
        await super().shutdown(sockets)


def server_of(
    gate: Gate, service: Service, *, certificate: Path | None = None, key: Path | None = None
) -> uvicorn.Server:
    """What serves an application; `serve` of it takes the socket."""
    config = uvicorn.Config(
        gate,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,  # it would write down the codes of links
        proxy_headers=False,  # the gate knows whether to trust them
        server_header=False,
        timeout_graceful_shutdown=_ENDS_WITHIN_S,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    return _Server(config, service)


def run(server: uvicorn.Server, listening: socket.socket) -> None:
    """Serves until somebody ends the process."""
    asyncio.run(server.serve(sockets=[listening]))
