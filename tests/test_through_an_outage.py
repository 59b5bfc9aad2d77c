"""Whoever follows a study while its team's database is away: says so, and goes on once it is back."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import postgres
import pytest
from served import VIEWER, served
from sweeping import sweep
from waiting import PATIENCE_S, wait_until

import tuner
from tuner import Space, choice
from tuner.api import process
from tuner.errors import DatabaseAway

LET_IN = {"Authorization": f"Bearer {VIEWER}"}


def until_enough(run: tuner.Run) -> None:
    """Trains until somebody writes a file that says so."""
    for step in run.steps(1_000_000):
        run.report(score=float(step))
        time.sleep(0.02)
        if (Path(run.params["folder"]) / "enough").exists():
            return


@contextmanager
def training(results: Path, url: str) -> Iterator[threading.Thread]:
    """A sweep that is under way, and ends with the block."""
    results.mkdir()
    given = {"store": url, "trials": 1, "stopping": "off"}
    space = Space(folder=choice(str(results)))
    thread = threading.Thread(target=lambda: sweep(results, until_enough, space, **given).close())
    thread.start()
    try:
        wait_until(lambda: [each.trials for each in tuner.studies(results) if each.trials])
        yield thread
    finally:
        (results / "enough").touch()
        thread.join(PATIENCE_S)


@contextmanager
def watching(folder: Path, url: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`tuner watch` in a process of its own, and the file of what it says."""
    said = folder / "said.txt"
    command = [sys.executable, "-m", "tuner", "watch", "night", "--store", url, "--results", str(folder / "elsewhere")]
    with said.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            wait_until(lambda: "tried" in said.read_text())
            yield process, said
        finally:
            process.kill()


def test_whoever_follows_a_study_says_that_its_database_is_away_and_goes_on_once_it_is_back(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    said: list[str] = []
    told: list[tuner.Waited] = []

    with (
        training(results, team_url),
        watching(tmp_path, team_url) as (watch, shown),
        tuner.open("night", results=results) as study,
        study.outlasting(said.append),
    ):
        waiting = threading.Thread(target=lambda: told.append(study.wait(timeout_s=PATIENCE_S)))
        waiting.start()
        with team_server.away():
            wait_until(lambda: "waiting for the database since" in shown.read_text() and said)
        wait_until(lambda: "the database is back after" in shown.read_text() and len(said) > 1)
        (results / "enough").touch()
        waiting.join(PATIENCE_S)
        assert watch.wait(PATIENCE_S) == 0
    assert [each.event for each in told] == ["ended"]
    assert ["waiting for the database since" in said[0], "the database is back after" in said[1]] == [True, True]
    assert len(said) == shown.read_text().count("waiting for the database since") + 1 == 2


@pytest.mark.long
def test_a_handle_waits_through_an_outage_and_says_so(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    said: list[str] = []
    with process.on_threads(), closing(tended(tmp_path, team_url)) as handle:
        handle.on_wait = said.append
        over: list[tuner.Study] = []
        waiting = threading.Thread(target=lambda: over.append(handle.wait(PATIENCE_S)))
        with team_server.away():
            waiting.start()
            wait_until(lambda: said)
            time.sleep(6.0)  # longer than whoever reads once has patience
        wait_until(lambda: len(said) > 1)
        (tmp_path / "enough").touch()
        waiting.join(PATIENCE_S)
        with closing(over[0]) as study:
            assert study.state.trials[0].state == "completed"
    assert ["waiting for the database since" in said[0], "the database is back after" in said[1]] == [True, True]


def test_a_handle_whose_time_is_over_says_that_the_database_is_away(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    with process.on_threads(), closing(tended(tmp_path, team_url)) as handle:
        with team_server.away(), pytest.raises(DatabaseAway, match="cannot be reached"):
            waited_for(handle, 0.5)
        (tmp_path / "enough").touch()
        handle.wait(PATIENCE_S).close()


def waited_for(handle: tuner.RunHandle, seconds: float) -> None:
    """Waits no longer than told."""
    began = time.monotonic()
    try:
        handle.wait(seconds)
    finally:
        assert time.monotonic() - began < seconds + 3.0


def tended(folder: Path, url: str) -> tuner.RunHandle:
    """A babysat run that is under way."""
    settings = {"folder": str(folder)}
    handle = tuner.babysit(
        until_enough, settings, name="night", objective="score", store=url, executor="local", results=folder
    )
    wait_until(lambda: handle.study.state.steps_done)
    return handle


def test_a_verb_that_reads_once_waits_for_a_server_that_restarts(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    sweep(tmp_path, store=team_url, trials=1).close()
    restarted = threading.Timer(1.0, team_server.start)
    team_server.stop()
    restarted.start()
    try:
        with closing(tuner.open("night", results=tmp_path)) as study:
            assert study.digest().spent["trials"] == 1
    finally:
        restarted.join()


def test_a_wait_ends_with_its_own_time_though_the_database_is_away(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    with closing(sweep(tmp_path, store=team_url, trials=1)) as study, team_server.away():
        found = study.wait("improved", timeout_s=0.5)
    assert (found.event, found.came) == ("timeout", False)
    assert "cannot be reached" in found.sentence


def asked(address: str) -> tuple[int, str]:
    """What a service answers, to be shown."""
    try:
        with urlopen(Request(address, headers=LET_IN), timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@contextmanager
def listening(address: str) -> Iterator[list[str]]:
    """The lines of a stream, as they come."""
    lines: list[str] = []
    with urlopen(Request(address, headers=LET_IN), timeout=PATIENCE_S) as stream:
        thread = threading.Thread(target=lambda: lines.extend(line.decode() for line in stream))
        thread.start()
        yield lines
        stream.fp.raw._sock.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_pages_say_that_the_database_is_away_and_are_there_again_once_it_is_back(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    sweep(tmp_path / "another", trials=1, store=team_url).close()
    pages = ("/", "/studies/night", "/studies/night?part=sweep_head", "/studies/night/trials/0")
    with served(tmp_path, store=team_url) as address:
        before = [asked(address + page)[0] for page in pages]
        with team_server.away():
            answers = [asked(address + page) for page in pages]
        after = [asked(address + page)[0] for page in pages]
    assert before == after == [200, 200, 200, 200]
    assert [status for status, _ in answers] == [503, 503, 503, 503]
    assert all("cannot be reached" in text and "looks again by itself" in text for _, text in answers)


def test_a_stream_says_that_the_database_is_away_also_one_that_is_opened_then_and_goes_on_once_it_is_back(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    sweep(tmp_path / "another", trials=1, store=team_url).close()
    events = "v1/studies/night/events?beat_s=1"
    with served(tmp_path, store=team_url) as one, served(tmp_path, store=team_url) as other, ExitStack() as open_:
        before = open_.enter_context(listening(f"{one}/{events}"))
        wait_until(lambda: any(line.startswith("id: ") for line in before))
        with team_server.away():
            wait_until(lambda: "event: away\n" in before)
            meanwhile = open_.enter_context(listening(f"{other}/{events}"))
            wait_until(lambda: "event: away\n" in meanwhile)
            assert "event: beat\n" not in meanwhile
        wait_until(lambda: any(line.startswith("id: ") for line in meanwhile))
        wait_until(lambda: "event: beat\n" in before[before.index("event: away\n") :])
