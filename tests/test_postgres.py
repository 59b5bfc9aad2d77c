"""A study in a team's PostgreSQL: who may write, what a lost connection costs, and what nobody is ever shown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import postgres
import psycopg
import pytest
from babysat import at_home, steps_of
from recorded import NOW, note, texts
from sweeping import sweep
from waiting import PATIENCE_S, wait_until

import tuner
from tuner import Space, choice, log
from tuner.cli import main
from tuner.errors import DatabaseAway, NameRefused, StudyBusy, StudyError, StudyNotFound
from tuner.record.events import TABLES, Answered
from tuner.record.lease import FOREIGN_LEASE_S
from tuner.record.location import AWAY, Place
from tuner.record.patience import Patience
from tuner.record.store import Store

SECRET = "hush-hush"
HOLDS = Path(__file__).parent / "workplaces.py"


@pytest.fixture
def proxy(team_server: postgres.Server) -> Iterator[postgres.Proxy]:
    with closing(postgres.Proxy(team_server)) as proxy:
        yield proxy


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.chdir(tmp_path)

    def run(*words: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        assert int(ended.value.code or 0) == code, out + err
        return out + err

    return run


def created(results: Path, team_url: str, name: str = "night") -> Store:
    return Store.create(Place.of(name, results, team_url).existing_or_new())


def opened(results: Path, team_url: str, name: str = "night") -> Store:
    return Store.open(Place.of(name, results, team_url).existing())


def held(results: Path, team_url: str, name: str = "night") -> Store:
    store = created(results, team_url, name)
    store.acquire(NOW)
    return store


class Forever(Patience):
    """That of a coordinator, without one."""

    def wait(self, why: StudyError) -> None:
        time.sleep(min(self.pause_s(), 0.2))


# ── a study in a database ───────────────────────────────────────────────────────────────────────


def test_a_sweep_is_read_back_from_a_database_and_from_its_folder(team_url: str, tmp_path: Path) -> None:
    study = sweep(tmp_path, store=team_url, sampler="random", stopping="off")
    assert len(study.trials) == 8
    elsewhere = tmp_path / "elsewhere"
    for again in (tuner.open("night", results=tmp_path), tuner.open("night", results=elsewhere, store=team_url)):
        assert again.trials.equals(study.trials)
        assert again.reports.equals(study.reports)
        assert again.best == study.best or again.place.folder.parent == elsewhere
    assert not list((tmp_path / "night").glob("study.db*"))
    assert len(sweep(tmp_path, store=team_url, sampler="random", stopping="off", trials=10).trials) == 10


def test_many_studies_lie_side_by_side_and_know_nothing_of_one_another(team_url: str, tmp_path: Path) -> None:
    stores = [held(tmp_path, team_url, name) for name in ("one", "two", "three")]
    for turn in range(3):
        for number, store in enumerate(stores):
            store.append([note(f"{number}: {turn}")], NOW)
            store.request("pause", {}, by="ann", why="", request="the same id")
    for number, store in enumerate(stores):
        assert texts(store) == [f"{number}: {turn}" for turn in range(3)]
        assert store.version() == 3
        assert [each.request for each in store.new_requests()] == ["the same id"]
        store.close()
    assert sorted(each.name for each in tuner.studies(tmp_path, team_url)) == ["one", "three", "two"]


def test_a_study_that_is_not_there_is_named_with_the_nearest(team_url: str, tmp_path: Path) -> None:
    with pytest.raises(StudyNotFound, match="no study 'night'"):
        tuner.open("night", results=tmp_path, store=team_url)  # nor a table
    created(tmp_path, team_url).close()
    with pytest.raises(StudyNotFound, match="Did you mean night"):
        tuner.open("nihgt", results=tmp_path, store=team_url)


def test_a_study_of_a_newer_tuner_is_refused(team_server: postgres.Server, team_url: str, tmp_path: Path) -> None:
    held(tmp_path, team_url).close()
    team_server.ask(team_url, "UPDATE tuner.lease SET schema_version = 99")
    for way in (opened, held):
        with pytest.raises(StudyError, match=r"newer tuner.*99.*pip install"):
            way(tmp_path, team_url)
    assert "newer tuner" in tuner.studies(tmp_path, team_url)[0].activity


def test_tables_that_are_missing_are_made_whoever_else_makes_them(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    failures: list[BaseException] = []

    def begin(number: int) -> None:
        try:
            created(tmp_path, team_url, f"s{number}").close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    team_server.ask(team_url, "DROP TABLE tuner.verdicts")
    created(tmp_path, team_url, "s5").close()
    assert len(team_server.ask(team_url, "SELECT * FROM tuner.lease")) == 6
    assert team_server.ask(team_url, "SELECT * FROM tuner.verdicts") == []


def test_a_database_of_before_is_given_the_tables_that_it_lacks_by_whoever_reads_it(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    sweep(tmp_path, store=team_url).close()
    (before,) = tuner.studies(tmp_path, team_url)
    team_server.ask(team_url, "DROP TABLE tuner.leads")
    assert tuner.studies(tmp_path, team_url) == [before]
    team_server.ask(team_url, "DROP TABLE tuner.leads")
    with tuner.open("night", results=tmp_path, store=team_url) as study:
        assert study.best is not None
        assert study.best.score == before.best


@pytest.mark.parametrize("store", ["postgresql://ann:hush-hush@db.lab", "postgresql://ann:hush-hush@db:port/x"])
def test_an_address_that_makes_no_sense_is_refused_without_its_password(store: str, tmp_path: Path) -> None:
    with pytest.raises(NameRefused, match=r"postgresql://ann@db") as refused:
        tuner.open("night", results=tmp_path, store=store)
    assert SECRET not in str(refused.value)


# ── who may write ───────────────────────────────────────────────────────────────────────────────


def test_a_coordinator_elsewhere_is_taken_over_by_the_clock_of_the_database(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    first = held(tmp_path, team_url)
    team_server.ask(team_url, "UPDATE tuner.lease SET host = 'node-7'")
    second = created(tmp_path, team_url)
    with pytest.raises(StudyBusy, match="on node-7"):
        second.acquire(NOW + 1e6)  # whatever time it is here
    team_server.ask(team_url, "UPDATE tuner.lease SET heartbeat = heartbeat - %s", FOREIGN_LEASE_S + 1)
    second.acquire(NOW - 1e6)
    with pytest.raises(StudyBusy, match="took the study over"):
        first.append([note("late")], NOW)
    second.append([note("mine")], NOW)
    assert texts(second) == ["mine"]
    first.close()
    assert second.holder(NOW) is not None  # what the first left is not the second's
    second.close()


def test_a_machine_of_the_same_name_is_another_machine(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    held(tmp_path, team_url)
    team_server.ask(team_url, "UPDATE tuner.lease SET pid = 4194304, born = '1@another boot'")  # no such process here
    with pytest.raises(StudyBusy):
        held(tmp_path, team_url)


def test_a_dead_coordinator_of_this_machine_is_taken_over_at_once(team_url: str, tmp_path: Path) -> None:
    dies = "import os, sys; from tuner.record.store import Store; from tuner.record.location import Place; "
    dies += "s = Store.create(Place.of('night', sys.argv[1], sys.argv[2]).existing_or_new()); s.acquire(0); os._exit(0)"
    subprocess.run([sys.executable, "-c", dies, str(tmp_path), team_url], check=True, timeout=PATIENCE_S)
    with held(tmp_path, team_url) as store:
        assert not store.left_clean


APPENDS = """
import sys, time
from tuner.record.events import Noted
from tuner.record.location import Place
from tuner.record.store import Store
store = Store.create(Place.of("night", sys.argv[1], sys.argv[2]).existing_or_new())
store.acquire(time.time())
number = 0
while True:
    store.append([Noted(trial=None, step=None, by="first", text=str(number), at=0.0)], time.time())
    print(number, flush=True)
    number += 1
    time.sleep(0.01)
"""


def appending(results: Path, team_url: str) -> subprocess.Popen[str]:
    """A process that writes one note after another, and says each once it is on record."""
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDS, str(results), team_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    return process


def stopped_for_longer_than_its_lease(
    team_server: postgres.Server, team_url: str, results: Path, sleep: Callable[[], object]
) -> None:
    first = appending(results, team_url)
    team_server.ask(team_url, "UPDATE tuner.lease SET host = 'node-7'")
    first.send_signal(signal.SIGSTOP)
    sleep()
    second = created(results, team_url)
    wait_until(lambda: acquired(second))  # it may have been stopped in the middle of a transaction
    second.append([note("second")], NOW)
    first.send_signal(signal.SIGCONT)
    said, complaint = first.communicate(timeout=PATIENCE_S)
    assert "took the study over" in complaint
    acknowledged = said.split()
    found = texts(second)
    assert found[-1] == "second"
    assert found[: len(acknowledged) + 1] == ["0", *acknowledged]
    assert len(found) - 2 - len(acknowledged) in (0, 1)  # one more where it was stopped before it could say so
    second.close()


def acquired(store: Store) -> bool:
    try:
        store.acquire(NOW)
    except StudyBusy:
        return False
    return True


def test_a_coordinator_that_slept_too_long_writes_nothing_more(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    def set_back() -> None:
        team_server.ask(team_url, "UPDATE tuner.lease SET heartbeat = heartbeat - %s", FOREIGN_LEASE_S + 1)

    stopped_for_longer_than_its_lease(team_server, team_url, tmp_path, set_back)


@pytest.mark.long
def test_the_lease_of_a_coordinator_that_sleeps_runs_out_by_itself(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    stopped_for_longer_than_its_lease(team_server, team_url, tmp_path, lambda: None)


@pytest.mark.long
def test_of_two_coordinators_at_once_one_is_refused_and_nothing_is_lost(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    for turn in range(5):
        results = tmp_path / str(turn)
        words = [sys.executable, "-m", "tuner", "sweep", "tuner.workloads.bowl:train", "--space", "sgd_momentum"]
        words += [
            "--objective",
            "score",
            "--trials",
            "8",
            "--executor",
            "local",
            "--name",
            f"night-{turn}",
            "--store",
            team_url,
        ]
        both = [
            subprocess.Popen(
                [*words, "--results", str(results)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        said = [each.communicate(timeout=PATIENCE_S)[1] for each in both]
        assert 0 in [each.returncode for each in both]
        for each, complaint in zip(both, said, strict=True):
            assert each.returncode == 0 or "in the hands of another coordinator" in complaint
        with closing(tuner.open(f"night-{turn}", results=results, store=team_url)) as study:
            assert list(study.trials["trial"]) == list(range(8))
            assert not study.reports.duplicated(["trial", "segment", "step", "name"]).any()


# ── requests ────────────────────────────────────────────────────────────────────────────────────


ASK = (
    "INSERT INTO tuner.requests (study, request, verb, arguments, by, why, at) "
    "VALUES (1, %s, 'pause', '{}', 'x', '', 0)"
)


def test_a_request_that_becomes_visible_late_is_handed_out_all_the_same(team_url: str, tmp_path: Path) -> None:
    store = held(tmp_path, team_url)
    with psycopg.connect(team_url) as early, psycopg.connect(team_url) as later:
        early.execute(ASK, ["numbered first"])
        later.execute(ASK, ["numbered second"])
        later.commit()
        assert [each.request for each in store.new_requests()] == ["numbered second"]
        early.commit()
    assert [each.request for each in store.new_requests()] == ["numbered first"]
    assert store.new_requests() == []
    store.close()


def test_fifty_who_ask_at_once_and_take_their_time_are_each_heard_once(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    store = held(tmp_path, team_url)
    reader = opened(tmp_path, team_url)
    reader.new_requests()
    start = threading.Barrier(51)

    def insist(number: int) -> None:
        with psycopg.connect(team_url) as connection:
            start.wait(PATIENCE_S)
            for turn in range(4):
                connection.execute(ASK, [f"{number}-{turn}"])
                time.sleep((number * 7 + turn * 3) % 11 / 200)
                connection.commit()

    threads = [threading.Thread(target=insist, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    heard: list[str] = []
    seen: list[str] = []
    start.wait(PATIENCE_S)
    while any(thread.is_alive() for thread in threads) or len(heard) < 200:
        fresh = store.new_requests()
        heard += [each.request for each in fresh]
        store.append(
            [
                Answered(request=each.request, state=state, step=None, detail="", at=NOW)
                for each in fresh
                for state in ("accepted", "applied")
            ],
            NOW,
        )
        seen += [each.request for each in reader.new_requests()]
        assert len(heard) <= 200
    for thread in threads:
        thread.join()
    seen += [each.request for each in reader.new_requests()]
    expected = sorted(f"{number}-{turn}" for number in range(50) for turn in range(4))
    assert sorted(heard) == sorted(seen) == expected
    numbered = [row[0] for row in team_server.ask(team_url, "SELECT request FROM tuner.requests ORDER BY sequence")]
    assert heard != numbered  # else nothing came late, and this has shown nothing
    store.close()
    reader.close()


# ── a connection that breaks ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("loses", ["answer", "word"])
def test_a_commit_whose_answer_is_lost_is_on_record_exactly_once(
    team_server: postgres.Server, proxy: postgres.Proxy, team_url: str, tmp_path: Path, loses: str
) -> None:
    held(tmp_path, team_url).close()
    name = team_url.rpartition("/")[2]
    store = created(tmp_path, team_server.url(name, port=proxy.port))
    store.acquire(NOW)
    for number in range(6):
        if number % 2:
            proxy.cut_next(b"COMMIT", loses="answer" if loses == "answer" else "word")
        store.append([note(f"{number}"), note(f"{number} too")], NOW)
    assert proxy.cuts == 3
    assert texts(store) == [text for number in range(6) for text in (f"{number}", f"{number} too")]
    proxy.cut_next(b"COMMIT", loses="answer")
    store.request("pause", {}, by="ann", why="", request="once")
    assert proxy.cuts == 4
    assert [each.request for each in store.new_requests()] == ["once"]
    store.close()


def test_a_lease_whose_answer_is_lost_is_held_all_the_same(
    team_server: postgres.Server, proxy: postgres.Proxy, team_url: str, tmp_path: Path
) -> None:
    held(tmp_path, team_url).close()
    store = created(tmp_path, team_server.url(team_url.rpartition("/")[2], port=proxy.port))
    proxy.cut_next(b"COMMIT", loses="answer")
    store.acquire(NOW)
    assert proxy.cuts == 1
    store.append([note("mine")], NOW)
    assert texts(store) == ["mine"]
    store.close()


def test_a_record_that_was_set_back_is_not_written_to(
    team_server: postgres.Server, proxy: postgres.Proxy, team_url: str, tmp_path: Path
) -> None:
    held(tmp_path, team_url).close()
    store = created(tmp_path, team_server.url(team_url.rpartition("/")[2], port=proxy.port))
    store.acquire(NOW)
    store.append([note("one"), note("two")], NOW)
    team_server.ask(team_url, "DELETE FROM tuner.notes WHERE sequence = 2")  # as a standby would that missed it
    proxy.cut_next(b"COMMIT", loses="word")
    with pytest.raises(StudyError, match=r"up to 1 where 2 were acknowledged"):
        store.append([note("three")], NOW)
    store.close()


def test_whoever_is_cut_off_again_and_again_loses_and_doubles_nothing(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    store = held(tmp_path, team_url)
    store.patience = Forever()
    ended = threading.Event()

    def cut_off() -> None:
        while not ended.wait(0.05):
            team_server.ask(
                "postgres",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                team_url.rpartition("/")[2],
            )

    cutting = threading.Thread(target=cut_off)
    cutting.start()
    try:
        for number in range(25):
            store.append([note(f"{number}"), note("and")], NOW)
            store.request("note", {"text": str(number)}, by="ann", why="")
    finally:
        ended.set()
        cutting.join()
    assert texts(store) == [text for number in range(25) for text in (f"{number}", "and")]
    assert store.version() == 50
    assert len(store.new_requests()) == 25
    store.close()


def test_a_server_that_is_away_is_told_with_what_to_do(team_server: postgres.Server, tmp_path: Path) -> None:
    nowhere = team_server.url("tuner", port=1)
    with pytest.raises(DatabaseAway, match=r"postgresql://tuner@127.0.0.1:1/tuner \(night\) cannot be reached") as away:
        tuner.open("night", results=tmp_path, store=nowhere)
    assert SECRET not in str(away.value)
    assert "Connection refused. Nothing on record is lost." in str(away.value)
    with pytest.raises(DatabaseAway, match=r"127.0.0.1:1/tuner"):
        tuner.studies(tmp_path, nowhere)


def test_a_process_that_ends_leaves_no_connection_open(team_url: str, tmp_path: Path) -> None:
    held(tmp_path, team_url).close()
    looks = "import sys, tuner; print(len(tuner.studies(sys.argv[1], sys.argv[2])))"
    command = [sys.executable, "-X", "dev", "-c", looks, str(tmp_path), team_url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert (done.stdout, "psycopg" in done.stderr) == ("1\n", False)


# ── what nobody is shown ────────────────────────────────────────────────────────────────────────


@pytest.mark.long
def test_a_password_is_in_no_record_file_or_message(
    team_server: postgres.Server, team_url: str, tmp_path: Path, shell: Callable[..., str]
) -> None:
    words = "--space sgd_momentum --objective score --executor local --name night --trials 4"
    said = shell("sweep", "tuner.workloads.bowl:train", *words.split(), "--store", team_url, "--results", tmp_path)
    for line in ("ls", "show night", "show night/1", "explain night", "export night"):
        said += shell(*line.split(), "--store", team_url, "--results", tmp_path)
        said += shell(*line.split(), "--results", tmp_path)
    said += shell("show", "nigth", "--store", team_url, code=1)
    assert "night" in said
    assert SECRET not in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    tables = [
        row[0]
        for row in team_server.ask(
            team_url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'tuner'"
        )
    ]
    assert len(tables) == len(TABLES) + 2, "and the lease, and what is set aside"
    for table in tables:
        assert not team_server.ask(
            team_url, f"SELECT 1 FROM tuner.{table} AS row WHERE row::text LIKE %s", f"%{SECRET}%"
        )
    assert SECRET not in repr(Place.of("night", tmp_path, team_url))


# ── while the server is away ────────────────────────────────────────────────────────────────────


def counts(run: tuner.Run) -> None:
    """Writes down each step beside reporting it, so that both can be compared."""
    for step in run.steps(400):
        with (Path(run.params["folder"]) / "steps").open("a") as file:
            file.write(f"{step}\n")
        time.sleep(0.01)
        run.report(score=float(step))


def through_an_outage(
    team_server: postgres.Server,
    team_url: str,
    results: Path,
    meanwhile: Callable[[Callable[[], int]], object],
    **how: Any,
) -> tuner.Study:
    """A sweep of one trial, with its server killed in the middle; `meanwhile` may look how far it has trained."""
    results.mkdir()
    failures: list[BaseException] = []

    def train() -> None:
        try:
            sweep(
                results, counts, Space(folder=choice(str(results))), store=team_url, trials=1, stopping="off", **how
            ).close()
        except BaseException as error:
            failures.append(error)

    def trained() -> int:
        steps = results / "steps"
        return len(steps.read_text().splitlines()) if steps.exists() else 0

    def activity() -> str:
        (found,) = tuner.studies(results)
        return found.activity

    training = threading.Thread(target=train)
    training.start()
    try:
        wait_until(lambda: trained() > 30 or failures)
        assert not failures
        team_server.stop()
        try:
            wait_until(lambda: "waiting for the database since" in activity(), look_every_s=0.2)
            assert f"(pid {os.getpid()} on " in activity()
            (found,) = tuner.studies(results, team_url)  # which cannot be asked, and the folder knows
            assert "waiting for the database since" in found.activity
            meanwhile(trained)
        finally:
            team_server.start()
    finally:
        training.join(PATIENCE_S)
    assert not failures
    assert not (results / "night" / AWAY).exists()
    assert tuner.studies(results)[0].activity == "idle"
    study = tuner.open("night", results=results)
    assert list(study.reports["step"]) == list(range(1, 401))
    assert list(study.reports["value"]) == [float(step) for step in range(400)]
    assert study.state.trials[0].state == "completed"
    assert any("the database was away for" in text for text in study.notes["text"])
    return study


@pytest.mark.long
def test_a_server_that_fails_costs_no_report(team_server: postgres.Server, team_url: str, tmp_path: Path) -> None:
    through_an_outage(team_server, team_url, tmp_path / "results", lambda trained: None).close()


@pytest.mark.ray
@pytest.mark.long
def test_training_goes_on_while_the_server_is_away(
    team_server: postgres.Server, team_url: str, tmp_path: Path, cluster: str
) -> None:
    def look(trained: Callable[[], int]) -> None:
        before = trained()
        wait_until(lambda: trained() > before + 100)

    study = through_an_outage(team_server, team_url, tmp_path / "results", look, executor="ray", address=cluster)
    assert len(study.segments) == 1  # nothing was trained twice
    study.close()


# ── a run that is babysat ───────────────────────────────────────────────────────────────────────


def test_a_babysat_run_is_steered_and_forked_in_a_database(
    team_server: postgres.Server, team_url: str, tmp_path: Path, shell: Callable[..., str]
) -> None:
    space, results = Space(learning_rate=log(1e-4, 1.0)), tmp_path / "results"
    given: dict[str, Any] = {
        "name": "one",
        "objective": "place",
        "executor": "local",
        "results": results,
        "store": team_url,
    }
    with at_home(results):
        with closing(tuner.babysit(walks, {"learning_rate": 0.1}, space=space, **given)) as run:
            wait_until(lambda: steps_of(run) > 5)
            assert run.checkpoint().state == "applied"
        shell("set", "one", "learning_rate=0.01", "--store", team_url, "--why", "too fast")
        shell("pause", "one")  # the folder says where the record lies
        assert "paused" in shell("ls") + shell("ls", "--store", team_url)
        shell("fork", "one", "--set", "learning_rate=0.2", "--as", "two")
        shell("stop", "two")
        shell("stop", "one", "--store", team_url)
        wait_until(lambda: all("idle" in each.activity for each in tuner.studies(results)))
    assert not list(results.glob("*/study.db"))
    with closing(tuner.open("one", results=results)) as study:
        assert list(study.adjustments["after"]) == [0.01]
        assert [fork.name for fork in study.forks()] == ["two"]
    assert len(team_server.ask(team_url, "SELECT * FROM tuner.lease")) == 2


@pytest.mark.long
def test_a_run_in_a_process_of_its_own_is_told_the_password_and_keeps_it_to_itself(
    team_url: str, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    given: dict[str, Any] = {"name": "one", "objective": "loss", "goal": "minimize", "executor": "local"}
    with closing(
        tuner.babysit("tuner.workloads.bowl:train", {"learning_rate": 0.1}, results=results, store=team_url, **given)
    ) as run:
        run.wait(timeout_s=PATIENCE_S).close()
    assert not [path for path in results.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def walks(run: tuner.Run) -> None:
    place = Walker()
    run.state(place)
    for _ in run.steps(100_000):
        place.at += run.params["learning_rate"]
        time.sleep(0.005)
        run.report(place=place.at)


class Walker:
    """Where somebody who walks has come to."""

    at = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.at = state["at"]


# ── by way of a service ─────────────────────────────────────────────────────────────────────────


@pytest.mark.long
def test_a_service_serves_what_its_folder_says_lies_in_a_database(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    from served import connected

    with closing(sweep(tmp_path, store=team_url, sampler="random")) as study, connected(tmp_path) as there:
        assert [each.name for each in there.studies()] == ["night"]
        with (
            closing(there.open("night")) as far,
            psycopg.connect(team_url) as early,
            psycopg.connect(team_url) as later,
        ):
            assert far.trials.equals(study.trials)
            assert not far.state.requests
            early.execute(ASK, ["numbered first"])
            later.execute(ASK, ["numbered second"])
            later.commit()
            far.refresh()
            assert set(far.state.requests) == {"numbered second"}
            early.commit()
            far.refresh()
            assert set(far.state.requests) == {"numbered first", "numbered second"}
