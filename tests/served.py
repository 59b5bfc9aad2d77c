"""A service over a folder on a thread of the test's own process, at a port of its own, and who connects to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from serving import OPERATOR, VIEWER, tokens
from waiting import PATIENCE_S, wait_until

import tuner
from tuner.server.app import create_app, service_of
from tuner.server.gate import Door
from tuner.server.running import bound, run, server_of

__all__ = ["OPERATOR", "VIEWER", "connected", "served"]


@contextmanager
def served(results: Path, projects: Path | None = None, store: str | None = None) -> Iterator[str]:
    """The address of a service over these studies, or those of a team's database, which ends with the test."""
    results.mkdir(parents=True, exist_ok=True)
    with closing(bound("127.0.0.1", 0, 0)) as listening:
        port = listening.getsockname()[1]
        gate = create_app(results, tokens(), Door.on(port), projects=projects, store=store)
        server = server_of(gate, service_of(gate))
        thread = threading.Thread(target=run, args=(server, listening), daemon=True)
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
    assert not thread.is_alive(), "the service did not end"


@contextmanager
def connected(results: Path, token: str = OPERATOR, projects: Path | None = None) -> Iterator[tuner.RemoteStudies]:
    """The studies of a folder, by way of a service."""
    with served(results, projects) as url, tuner.connect(url, token) as there:
        yield there
