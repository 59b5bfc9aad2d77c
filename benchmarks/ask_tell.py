"""How many trials a minute programs can ask for and tell of: coordinator, server and all programs on one core.

    python benchmarks/ask_tell.py
    python benchmarks/ask_tell.py --programs 50 --seconds 30 --sampler coarse_to_fine --reports 1

Each program asks over HTTP, reports as often as it is told to, tells the end with a score, and asks again.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rows import Goal, Row, printed

import tuner
from tuner.errors import TunerError

_STARTS_WITHIN_S = 60.0
GOAL_A_MINUTE = 2_000


@dataclass
class Program:
    """One that asks and tells as fast as it is answered."""

    name: str
    port: int
    token: str
    reports: int
    until: float = 0.0
    pairs: int = 0
    taken: dict[str, list[float]] = field(default_factory=lambda: {"ask": [], "reports": [], "tell": []})

    def run(self) -> None:
        """Until the time is over."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            while time.monotonic() < self.until:
                status, lent = self._call(connection, "ask", {"worker": self.name, "wait_s": 20})
                if status == 204:
                    continue
                path, spoken = f"trials/{lent['trial']}", {"segment": lent["segment"]}
                for step in range(1, self.reports + 1):
                    rows = {**spoken, "batch": step - 1, "rows": [[step, {"score": 0.5}]]}
                    self._call(connection, f"{path}/reports", rows)
                end = {**spoken, "state": "completed", "scores": {"score": secrets.randbelow(1000) / 1000}}
                if self._call(connection, f"{path}/tell", end)[0] == 200:
                    self.pairs += 1

    def _call(
        self, connection: http.client.HTTPConnection, path: str, body: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        began = time.perf_counter()
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        connection.request("POST", f"/v1/studies/lent/{path}", json.dumps(body), headers)
        response = connection.getresponse()
        answer = response.read()
        self.taken[path.rpartition("/")[2]].append(time.perf_counter() - began)
        if response.status not in (200, 204):
            raise RuntimeError(f"{path}: {response.status} {answer.decode()}")
        return response.status, json.loads(answer or b"{}")


def measured(*, programs: int, seconds: float, sampler: str, reports: int, core: int) -> dict[str, float]:
    """Pairs of ask and tell a minute, and how long an ask takes, with everything on that core."""
    os.sched_setaffinity(0, {core})  # what is started from here on inherits it
    token = secrets.token_urlsafe(40)
    with tempfile.TemporaryDirectory() as folder, socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
        found.close()
        results, env = Path(folder), {**os.environ, "TUNER_TOKEN": token}
        lent = ["--executor", "external", "--space", "sgd_momentum", "--objective", "score", "--name", "lent"]
        options = ["--trials", "1000000", "--sampler", sampler, "--stopping", "off", "--no-plot", "--results", folder]
        words = (["sweep", *lent, *options], ["serve", "--port", str(port), "--results", folder])
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running = [subprocess.Popen([sys.executable, "-m", "tuner", *each], env=env, **quiet) for each in words]  # type: ignore[call-overload]
        try:
            _wait_until_lent(results, port)
            asking = [Program(f"program-{number}", port, token, reports) for number in range(programs)]
            began = time.monotonic()
            for each in asking:
                each.until = began + seconds
            threads = [threading.Thread(target=each.run) for each in asking]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            took = time.monotonic() - began
        finally:
            for process in running:
                process.kill()
                process.wait()
    asks = sorted(taken for each in asking for taken in each.taken["ask"])
    tells = sorted(taken for each in asking for taken in each.taken["tell"])
    return {
        "pairs_a_minute": 60 * sum(each.pairs for each in asking) / took,
        "ask_median_ms": 1e3 * statistics.median(asks),
        "ask_p95_ms": 1e3 * asks[int(0.95 * len(asks))],
        "tell_median_ms": 1e3 * statistics.median(tells),
        "tell_p95_ms": 1e3 * tells[int(0.95 * len(tells))],
    }


def _wait_until_lent(results: Path, port: int) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < deadline:
        with suppress(TunerError, OSError), tuner.open("lent", results=results) as study:
            if study.coordinator(time.time()) is not None:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
                return
        time.sleep(0.1)
    raise RuntimeError("the coordinator or the server did not start")


def rows_of(found: Mapping[str, float], programs: int) -> list[Row]:
    """What was measured, with its goal."""
    goal = Goal(at_least=GOAL_A_MINUTE)
    return [
        Row(f"ask and tell by {programs} programs, all on one core", found["pairs_a_minute"], "pairs/min", goal=goal),
        Row("an ask, median", found["ask_median_ms"], "ms"),
        Row("an ask, p95", found["ask_p95_ms"], "ms"),
        Row("a tell, median", found["tell_median_ms"], "ms"),
        Row("a tell, p95", found["tell_p95_ms"], "ms"),
    ]


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--programs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--reports", type=int, default=0, help="of a trial, beside the score told with its end")
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    given = parser.parse_args()
    found = measured(**vars(given))
    title = f"{given.sampler} draws, {given.reports} reports a trial"
    Console(width=140).print(printed(rows_of(found, given.programs), title))


if __name__ == "__main__":
    main()
