"""Faults of what others serve: the service killed, and a team's database stopped, restarted or cut off."""

from __future__ import annotations

import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from database_server import Proxy, Server, programs
from injuries import Child, NotTried, Try, Unwell, kind, wait_until

_TRIALS, _PROGRAMS = 24, 3


@kind(
    "server_killed",
    "SIGKILL of `tuner serve` while three programs ask and tell over HTTP, at random moments",
    strikes=3,
)
def server_killed(one: Try) -> None:
    token = secrets.token_urlsafe(40)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = "--executor external --space sgd_momentum --objective score --sampler random --stopping off --no-plot"
    given = ["--name", one.name, "--trials", str(_TRIALS), "--results", str(one.results)]
    coordinator = one.start(sys.executable, "-m", "tuner", "sweep", *words.split(), *given)
    one.follow()

    def served() -> Child:
        where = ["--port", str(port), "--results", str(one.results)]
        return one.start(sys.executable, "-m", "tuner", "serve", *where, TUNER_TOKEN=token)

    server = served()
    wait_until(lambda: _answers(port), f"the service does not answer; {server.log}")
    one.once(lambda study: study.coordinator(time.time()), "nobody lends trials")
    told: dict[int, list[float]] = {}
    failures: list[str] = []
    asking = [
        threading.Thread(target=_ask_and_tell, args=(one.name, port, token, f"program-{number}", told, failures))
        for number in range(_PROGRAMS)
    ]
    for each in asking:
        each.start()
    for _ in range(3):
        one.a_moment(1.0)
        one.struck()
        server.send(signal.SIGKILL)
        server.ended()
        server = served()
        wait_until(lambda: _answers(port), "the service does not answer")
        one.well()
    for each in asking:
        each.join()
    coordinator.ends_with(0)
    server.send(signal.SIGINT)
    server.ended()
    if failures:
        raise Unwell(failures[0])
    with one.study() as study:
        for trial, scores in told.items():
            if study.state.trials[trial].best_score not in scores:
                one.found["lost"].append(f"what was told of trial {trial} is not on record")
            if len(scores) > 1:
                one.found["doubled"].append(f"trial {trial} was lent to {len(scores)} programs that both ended it")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _ask_and_tell(
    name: str, port: int, token: str, program: str, told: dict[int, list[float]], failures: list[str]
) -> None:
    import tuner
    from tuner.api.sweep_handle import SweepHandle

    try:
        with tuner.connect(f"http://127.0.0.1:{port}", token, patience_s=120.0) as there:
            handle = there.attach(name)
            assert isinstance(handle, SweepHandle)
            while (trial := handle.ask(program)) is not None:
                for step in range(1, 3):
                    time.sleep(0.05)
                    trial.report(step, score=step / 10)
                score = secrets.randbelow(10**6) / 10**6 + 1.0
                trial.tell(scores={"score": score}, step=3)
                told.setdefault(trial.trial, []).append(score)
    except tuner.TunerError as error:
        failures.append(f"{program}: {error}")


# ── a team's database ────────────────────────────────────────────────────────────────────────────────────────────────

_servers: dict[str, Server] = {}


@contextmanager
def database(folder: Path) -> Iterator[Mapping[str, str]]:
    """A PostgreSQL that all tries of a kind share."""
    found = programs()
    if found is None:
        raise NotTried("PostgreSQL is not installed")
    folder.chmod(0o755)
    home = folder / "postgres"
    home.mkdir()
    server = Server(home, found)
    server.start()
    _servers[str(folder)] = server
    try:
        yield {"database": str(folder)}
    finally:
        server.stop()


def _under_way(one: Try) -> tuple[Server, Child]:
    server = _servers[one.fixture["database"]]
    one.store = server.database()
    child = one.sweep("slow")
    one.follow()
    one.under_way()
    one.a_moment(1.0)
    return server, child


@kind("database_stopped", "PostgreSQL stopped as by a power cut, for five seconds", around=database)
def database_stopped(one: Try) -> None:
    server, child = _under_way(one)
    one.struck()
    server.stop("immediate")
    time.sleep(5.0)
    server.start()
    one.completes(child)
    _was_told(one)


@kind("database_restarted", "PostgreSQL restarted", around=database)
def database_restarted(one: Try) -> None:
    server, child = _under_way(one)
    one.struck()
    server.stop("fast")
    server.start()
    one.completes(child)


@kind(
    "database_cut",
    "the connection to PostgreSQL cut after COMMIT, its answer lost",
    strikes=5,
    times=20,
    around=database,
)
def database_cut(one: Try) -> None:
    server = _servers[one.fixture["database"]]
    with closing(Proxy(server)) as proxy:
        one.store = server.database(port=proxy.port)
        child = one.sweep("slow")
        one.store = one.store.replace(str(proxy.port), str(server.port))  # whoever reads is not cut off
        one.follow()
        one.under_way()
        for cut in range(1, 6):
            one.a_moment(0.5)
            one.struck()
            proxy.cut_next(b"COMMIT", loses="answer")
            wait_until(partial(_was_cut, proxy, cut, child), "nothing was cut")
            one.well()
        one.completes(child)


def _was_cut(proxy: Proxy, times: int, child: Child) -> bool:
    """Whether it was cut so often, or has nothing to say any more."""
    return proxy.cuts >= times or child.process.poll() is not None


def _was_told(one: Try) -> None:
    with one.study() as study:
        told = [text for text in study.notes["text"] if "the database was away" in text]
    if not told:
        raise Unwell("it is not on record that the database was away")
    one.said = told[0]
