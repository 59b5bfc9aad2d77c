"""A real PostgreSQL for the tests, which ends with them: the fixtures `team_server` and `team_url`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import unmarked

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # the folder is no package

import database_server
from database_server import Proxy

from tuner.record.location import team_url as normalised
from tuner.record.postgres import engine_of

__all__ = ["Proxy", "Server", "serving"]


class Server(database_server.Server):
    """One that outlives the test that starts it."""

    def start(self) -> None:
        with unmarked():
            super().start()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Meanwhile it is down, as if its machine had failed."""
        self.stop()
        try:
            yield
        finally:
            self.start()


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs meanwhile; a test that needs it is skipped where none is installed."""
    bin_ = database_server.programs()
    if bin_ is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="tuner-postgres-"))
    try:
        server = Server(folder, bin_)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def team_server() -> Iterator[Server]:
    """The server of all tests of a session; one that stops it starts it again."""
    with serving() as server:
        yield server


@pytest.fixture
def team_url(team_server: Server) -> Iterator[str]:
    """A new database."""
    url = team_server.database()
    yield url
    engine_of(normalised(url)).dispose()  # the server has room for some hundred connections
