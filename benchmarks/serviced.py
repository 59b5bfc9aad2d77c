"""The service as it is measured: studies of any size, the server in a process of its own, and its clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from bulk import AT_A_TIME, begun, opened, over

from tuner.record import events as rec
from tuner.record.reports import pack_reports
from tuner.space.space import Space

_STARTS_WITHIN_S = 60.0
SPACE = "sgd_momentum"


# ── studies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def written(results: Path, name: str, trials: int, points: int, seed: int = 0) -> None:
    """A sweep that is over: so many trials of so many reports each, of random settings."""
    space = Space.load(SPACE)
    draws = np.random.default_rng(seed)
    with closing(opened(results, name, space=SPACE)) as store:
        waiting: list[rec.Record] = []
        for number in range(trials):
            params = {key: space[key].from_unit(float(draws.random())) for key in space}
            at = time.time()
            waiting += [*begun(number, params, at), *over(number, _curve(draws, points), at)]
            if len(waiting) >= AT_A_TIME or number == trials - 1:
                store.append(waiting, time.time())
                waiting = []


def _curve(draws: np.random.Generator, points: int) -> list[float]:
    steps = np.arange(1, points + 1)
    noise = draws.normal(0, 0.01, points)
    return list(map(float, draws.uniform(0.5, 1) * (1 - np.exp(-steps / points * draws.uniform(1, 6))) + noise))


# ── the server ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Served:
    """A service that runs for as long as it is measured."""

    url: str
    link: str
    token: str
    process: psutil.Process
    started_s: float
    """From the start of the process to its first answer."""

    @property
    def port(self) -> int:
        """Where it listens on this machine."""
        return int(self.url.rpartition(":")[2])

    @property
    def headers(self) -> dict[str, str]:
        """What a program sends."""
        return {"Authorization": f"Bearer {self.token}"}

    def rss_mb(self) -> float:
        """The memory that it holds."""
        return float(self.process.memory_info().rss) / 1e6

    def cpu_s(self) -> float:
        """The processor time that it has taken."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    def asked(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with closing(connection):
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {**self.headers, "Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()


@contextmanager
def served(results: Path, *more: str) -> Iterator[Served]:
    """`tuner serve` over a folder, in a process of its own."""
    token = secrets.token_urlsafe(48)
    began = time.monotonic()
    with (results / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tuner", "serve", "--results", str(results), "--port", "0", "--json", *more],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "TUNER_TOKEN": token},
        )
    try:
        told = _first_json(process)
        found = Served(
            url=told["url"], link=told["link"], token=token, process=psutil.Process(process.pid), started_s=0.0
        )
        while True:
            try:
                status, _ = found.asked("GET", "/v1/studies")
            except ConnectionError:
                status = 0
            if status == 200:
                break
            if time.monotonic() - began > _STARTS_WITHIN_S:
                raise RuntimeError(f"the service answers with {status}: {(results / 'serve.log').read_text()[-500:]}")
            time.sleep(0.01)
        yield Served(**{**vars(found), "started_s": time.monotonic() - began})
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _first_json(process: subprocess.Popen[bytes]) -> Any:
    text = b""
    while line := process.stdout.readline() if process.stdout is not None else b"":
        text += line
        try:
            return json.loads(text)
        except ValueError:
            continue
    raise RuntimeError(f"tuner serve ended before it said where it runs: {text.decode(errors='replace')!r}")


class Follower(threading.Thread):
    """Somebody who follows a study: when each place of its record was first heard of."""

    def __init__(self, service: Served, study: str) -> None:
        super().__init__(daemon=True)
        self.heard: dict[int, float] = {}
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        self._connection.request("GET", f"/v1/studies/{study}/events", headers=service.headers)
        self._sock = self._connection.sock
        self._answer = self._connection.getresponse()
        if self._answer.status != 200:
            raise RuntimeError(f"no stream: {self._answer.status} {self._answer.read()[:200]!r}")

    def run(self) -> None:
        """Listens until it is closed."""
        try:
            for line in self._answer:
                if line.startswith(b"id:"):
                    self.heard.setdefault(int(line[3:]), time.monotonic())
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass

    def close(self) -> None:
        """Hears nothing more."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # a close would wait for the next heartbeat
        self.join(10)
        self._connection.close()


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all lie at or below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


# ── what is measured, each in a process of its own ───────────────────────────────────────────────────────────────────


def starting(folder: str, times: int) -> dict[str, float]:
    """From the start of the process to its first answer."""
    taken = []
    for _ in range(times):
        with served(Path(folder)) as service:
            taken.append(service.started_s)
    return {"median_s": statistics.median(taken), "low_s": min(taken), "high_s": max(taken)}


def updates(folder: str, readers: int, reports: int, pause_s: float) -> dict[str, float]:
    """How long after its commit an update has reached every one of several followers."""
    results = Path(folder)
    with closing(opened(results, "live", space=SPACE)) as store, served(results) as service:
        store.append(begun(0, {"learning_rate": 0.1, "beta": 0.9}, time.time()), time.time())
        followers = [Follower(service, "live") for _ in range(readers)]
        for each in followers:
            each.start()
        time.sleep(1.0)
        durable: dict[int, float] = {}
        for step in range(1, reports + 1):
            store.append([pack_reports(0, 0, [(step, "score", 0.5, time.time())])], time.time())
            durable[store.version()] = time.monotonic()
            time.sleep(pause_s)
        time.sleep(2.0)
        delays = [
            min((at for place, at in each.heard.items() if place >= sequence), default=float("inf")) - written_at
            for each in followers
            for sequence, written_at in durable.items()
        ]
        for each in followers:
            each.close()
    return {"p50_s": percentile(delays, 0.5), "p95_s": percentile(delays, 0.95), "max_s": max(delays)}


def idle(folder: str, seconds: float) -> dict[str, float]:
    """The share of a core that the server takes while a page is open and nothing happens."""
    results = Path(folder)
    written(results, "still", 100, 24)
    with served(results) as service:
        follower = Follower(service, "still")
        follower.start()
        time.sleep(2.0)
        before, began = service.cpu_s(), time.monotonic()
        time.sleep(seconds)
        share = (service.cpu_s() - before) / (time.monotonic() - began)
        follower.close()
    return {"share": share}


def streams(folder: str, count: int) -> dict[str, float]:
    """The memory of the server with so many streams open."""
    results = Path(folder)
    written(results, "followed", 100, 24)
    with served(results) as service:
        alone = service.rss_mb()
        followers = [Follower(service, "followed") for _ in range(count)]
        for each in followers:
            each.start()
        time.sleep(2.0)
        with_all = service.rss_mb()
        for each in followers:
            each.close()
    return {"alone_mb": alone, "with_streams_mb": with_all}


def setting(folder: str, times: int) -> dict[str, float]:
    """From the sending of a `set` to its answer, of a run that trains in steps of ten milliseconds."""
    import tuner
    from tuner.api.process import on_threads

    results = Path(folder)
    taken = []
    with on_threads() as threads, served(results) as service:
        handle = tuner.babysit(
            unhurried, {"learning_rate": 0.1}, name="one", objective="score", executor="local", results=results
        )
        for number in range(times):
            body = {"verb": "set", "arguments": {"values": {"learning_rate": 0.1 / (1 + number)}}, "why": "measured"}
            began = time.monotonic()
            status, text = service.asked("PUT", f"/v1/studies/one/requests/r{number}", body)
            taken.append(time.monotonic() - began)
            if status >= 300 or json.loads(text)["state"] not in ("accepted", "applied"):
                raise RuntimeError(f"set was answered with {status}: {text[:200]!r}")
        handle.stop()
        handle.close()
        for thread in threads:
            thread.join(30)
    return {"p50_s": percentile(taken, 0.5), "p95_s": percentile(taken, 0.95)}


def unhurried(run: Any) -> None:
    """Trains in steps of ten milliseconds."""
    for step in run.steps(1_000_000):
        time.sleep(0.01)
        run.report(score=float(step) * run.params["learning_rate"])


def lending(folder: str, clients: int, seconds: float) -> dict[str, float]:
    """Pairs of ask and tell by clients of one service, each on a thread with a connection of its own."""
    results = Path(folder)
    sweep = (
        "import sys, tuner; tuner.sweep(None, 'sgd_momentum', name='lent', objective='score', trials=1_000_000, "
        "sampler='random', stopping='off', executor='external', parallel=64, progress='off', results=sys.argv[1])"
    )
    with (results / "sweep.log").open("wb") as log:
        coordinator = subprocess.Popen([sys.executable, "-c", sweep, folder], stdout=log, stderr=log)
    try:
        with served(results) as service:
            _until_begun(service, results)
            running = psutil.Process(coordinator.pid)
            ends, pairs = threading.Event(), [0] * clients
            threads = [
                threading.Thread(target=_borrow, args=(service, f"w{each}", pairs, each, ends), daemon=True)
                for each in range(clients)
            ]
            for each in threads:
                each.start()
            time.sleep(3.0)
            before, used, began = sum(pairs), _used(running) + service.cpu_s(), time.monotonic()
            time.sleep(seconds)
            done, took = sum(pairs) - before, time.monotonic() - began
            cores = (_used(running) + service.cpu_s() - used) / took
            ends.set()
            for each in threads:
                each.join(30)
    finally:
        coordinator.terminate()
        coordinator.wait(30)
    if not done:
        raise RuntimeError(f"no pair was completed: {(results / 'sweep.log').read_text()[-300:]}")
    return {"pairs_per_min": 60 * done / took, "cores": cores}


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _until_begun(service: Served, results: Path) -> None:
    until = time.monotonic() + _STARTS_WITHIN_S
    while service.asked("GET", "/v1/studies/lent")[0] != 200:
        if time.monotonic() > until:
            raise RuntimeError(f"the sweep has not begun: {(results / 'sweep.log').read_text()[-300:]}")
        time.sleep(0.1)


def _borrow(service: Served, worker: str, pairs: list[int], place: int, ends: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    headers = {**service.headers, "Content-Type": "application/json"}

    def post(path: str, body: Any) -> tuple[int, Any]:
        connection.request("POST", f"/v1/studies/lent/{path}", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None

    with closing(connection):
        number = 0
        while not ends.is_set():
            number += 1
            status, lent = post("ask", {"worker": worker, "request": f"{worker}-{number}", "wait_s": 5})
            if status != 200:
                time.sleep(0.1)
                continue
            told = {"segment": lent["segment"], "state": "completed", "scores": {"score": 0.5}, "why": "measured"}
            status, _ = post(f"trials/{lent['trial']}/tell", told)
            pairs[place] += status == 200
