"""The service in process, as tests want it: a folder with studies, tokens, and whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from tuner.server.app import create_app
from tuner.server.gate import Door, Gate
from tuner.server.tokens import Tokens, made

OPERATOR, VIEWER = "operator-" + "o" * 40, "viewer-" + "v" * 40
PORT = 8765
ORIGIN = f"http://127.0.0.1:{PORT}"
TRAINING = """
import time


def train(run):
    for step in run.steps(3):
        run.report(score=run.params["rate"])


def crawl(run):
    for step in run.steps(100_000):
        time.sleep(0.01)
        run.report(score=run.params["rate"])
"""


def tokens() -> Tokens:
    return Tokens([made("operator", "operator", OPERATOR), made("viewer", "viewer", VIEWER)], b"secret of a test")


def app(results: Path, **options: Any) -> Gate:
    door = options.pop("door", None) or Door.on(PORT)
    return create_app(results, tokens(), door, **options)


def client(gate: Gate, token: str | None = OPERATOR, headers: Mapping[str, str] | None = None) -> TestClient:
    """Whoever presents that token; `with` starts and ends the service."""
    bearer = {} if token is None else {"authorization": f"Bearer {token}"}
    return TestClient(gate, base_url=ORIGIN, headers={**bearer, **(headers or {})}, raise_server_exceptions=False)
