"""Ask and tell over HTTP: what each call answers, and that nothing is lost or doubled whoever dies meanwhile."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from serving import OPERATOR, VIEWER, app, client
from starlette.testclient import TestClient
from waiting import PATIENCE_S, wait_until

import tuner
from tuner.errors import TunerError
from tuner.record.events import TrialEnded
from tuner.record.reports import unpack_reports

SPACE = tuner.Space(rate=tuner.log(1e-4, 1.0))
EXAMPLES = Path(__file__).parents[1] / "examples" / "external"

# ── a sweep that lends its trials, in a thread ──────────────────────────────────────────────────


@pytest.fixture
def lending(tmp_path: Path) -> Iterator[Path]:
    """The results folder in which `night` lends four trials."""

    def sweep() -> None:
        options: dict[str, Any] = {
            "sampler": "random",
            "stopping": "off",
            "progress": "off",
            "trials": 4,
            "lease_s": 3.0,
        }
        tuner.sweep(
            None, SPACE, name="night", objective="score", executor="external", results=tmp_path, **options
        ).close()

    coordinator = threading.Thread(target=sweep)
    coordinator.start()
    wait_until(lambda: _coordinated(tmp_path))
    yield tmp_path
    with suppress(TunerError), tuner.attach("night", results=tmp_path) as handle:
        handle.stop()
    coordinator.join(PATIENCE_S)
    assert not coordinator.is_alive()


def _coordinated(results: Path) -> bool:
    with suppress(TunerError), tuner.open("night", results=results) as study:
        return study.coordinator(time.time()) is not None
    return False


@pytest.fixture
def caller(lending: Path) -> Iterator[TestClient]:
    with client(app(lending)) as calling:
        yield calling


def ask(caller: TestClient, **body: Any) -> Any:
    return caller.post("/v1/studies/night/ask", json={"worker": "a", "wait_s": 20, **body})


def report(caller: TestClient, trial: int, **body: Any) -> Any:
    return caller.post(f"/v1/studies/night/trials/{trial}/reports", json={"segment": 0, "rows": [], **body})


def tell(caller: TestClient, trial: int, **body: Any) -> Any:
    return caller.post(f"/v1/studies/night/trials/{trial}/tell", json={"segment": 0, "state": "completed", **body})


# ── what is answered ────────────────────────────────────────────────────────────────────────────


def test_a_trial_is_asked_for_reported_on_and_told_of(caller: TestClient, lending: Path) -> None:
    lent = ask(caller, node="gpu-3").json()
    assert (lent["trial"], lent["segment"], lent["batch"], lent["step"]) == (0, 0, 0, 0)
    assert 1e-4 <= lent["settings"]["rate"] <= 1
    assert lent["lease"]["renew_every_s"] == 1.0
    assert lent["lease"]["until"] > time.time()
    orders = report(caller, 0, batch=0, rows=[[1, {"score": 0.5}], [2, {"score": 0.75, "seconds": 3}]])
    assert orders.status_code == 200
    assert (orders.json()["orders"], orders.json()["batch"]) == ("go on", 1)
    ended = tell(caller, 0)
    assert (ended.status_code, ended.json()["state"]) == (200, "completed")
    with tuner.open("night", results=lending) as study:
        trial = study.trial(0)
    assert (trial.best_score, trial.steps, trial.node) == (0.75, 2, "gpu-3")


def test_every_call_can_be_made_again(caller: TestClient) -> None:
    first, again = ask(caller, request="r").json(), ask(caller, request="r").json()
    assert {**first, "lease": None} == {**again, "lease": None}
    rows = [[1, {"score": 0.5}]]
    assert [report(caller, 0, batch=0, rows=rows).json()["orders"] for _ in range(3)] == ["go on"] * 3
    ends = [tell(caller, 0) for _ in range(3)]
    assert [each.status_code for each in ends] == [200] * 3
    assert [each.json() for each in ends] == [ends[0].json()] * 3
    assert ask(caller, request="r").json()["trial"] == 0
    assert ask(caller, request="s").json()["trial"] == 1


def test_no_trial_within_the_wait_is_204_with_when_to_come_again_and_why(caller: TestClient) -> None:
    for worker in "abcd":
        assert ask(caller, worker=worker).status_code == 200
    none = ask(caller, worker="e", wait_s=0)
    assert (none.status_code, none.content) == (204, b"")
    assert int(none.headers["retry-after"]) > 0
    assert "all 4 trials were tried" in none.headers["tuner-why"]


def test_once_all_is_over_asking_is_410_with_why(caller: TestClient, lending: Path) -> None:
    for trial in range(4):
        ask(caller)
        assert tell(caller, trial, scores={"score": 1.0}).status_code == 200
    wait_until(lambda: not _coordinated(lending))
    over = ask(caller)
    assert (over.status_code, over.json()["code"]) == (410, "over")
    assert "all 4 trials were tried" in over.json()["why"]
    assert tell(caller, 3).status_code == 202  # on record, for whoever coordinates next


def test_what_nobody_answers_is_on_record_and_taken_up_by_whoever_coordinates_next(tmp_path: Path) -> None:
    options: dict[str, Any] = {"sampler": "random", "stopping": "off", "progress": "off", "executor": "external"}

    def sweep(trials: int) -> threading.Thread:
        given = {**options, "trials": trials, "results": tmp_path}
        thread = threading.Thread(
            target=lambda: tuner.sweep(None, SPACE, name="night", objective="score", **given).close()
        )
        thread.start()
        wait_until(lambda: _coordinated(tmp_path))
        return thread

    first = sweep(1)
    with client(app(tmp_path)) as caller:
        ask(caller)
        tell(caller, 0, scores={"score": 1.0})
        first.join(PATIENCE_S)
        second = sweep(2)
        lent = ask(caller).json()
        assert lent["trial"] == 1
        assert tell(caller, 1, scores={"score": 2.0}).status_code == 200
        second.join(PATIENCE_S)


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("ask", {"worker": ""}, "worker"),
        ("ask", {"worker": "a", "request": ""}, "request"),
        ("ask", {}, "worker"),
        ("ask", {"worker": "a", "wait_s": 1e6}, "wait_s"),
        ("ask", {"worker": "a", "woker": "b"}, "woker"),
        ("trials/0/reports", {"segment": 0, "batch": 0, "rows": [[1, {"score": "high"}]]}, "rows"),
        ("trials/0/reports", {"segment": 0, "batch": -1, "rows": []}, "batch"),
        ("trials/0/tell", {"segment": 0, "state": "perfect"}, "state"),
        ("trials/0/tell", {"state": "completed"}, "segment"),
    ],
)
def test_what_makes_no_sense_is_422_with_the_word(lending: Path, path: str, body: dict[str, Any], word: str) -> None:
    with client(app(lending)) as caller:
        refused = caller.post(f"/v1/studies/night/{path}", json=body)
    assert refused.status_code == 422
    assert word in refused.text


def test_what_cannot_be_done_is_refused_with_its_reason(caller: TestClient) -> None:
    ask(caller)
    unscored = tell(caller, 0)
    assert unscored.status_code == 409
    assert "'score'" in unscored.json()["why"]
    ahead = report(caller, 0, batch=7, rows=[[1, {"score": 0.5}]])
    assert (ahead.status_code, ahead.json()["batch"]) == (409, 0)
    assert report(caller, 9, batch=0).status_code == 404
    assert tell(caller, 9).json()["code"] == "no_such_trial"
    assert caller.post("/v1/studies/nigth/ask", json={"worker": "a"}).status_code == 404


# What programs that ask Vizier know (google/vizier, vizier_service: SuggestTrials, CompleteTrial, StopTrial).


def test_the_same_worker_is_lent_its_pending_trial_and_another_one_another(caller: TestClient) -> None:
    trials = [ask(caller, worker=worker).json()["trial"] for worker in ("a", "a", "b", "a", "b")]
    assert trials == [0, 0, 1, 0, 1]


def test_a_trial_is_completed_without_a_measurement_where_it_has_reported_and_only_there(caller: TestClient) -> None:
    ask(caller)
    unmeasured = tell(caller, 0)
    assert unmeasured.status_code == 409
    assert "score" in unmeasured.json()["why"]
    report(caller, 0, batch=0, rows=[[1, {"score": 0.5}], [2, {"score": 0.25}]])
    assert (tell(caller, 0).status_code, tell(caller, 0).json()["state"]) == (200, "completed")
    assert caller.get("/v1/studies/night/trials/0").json()["score"] == 0.5


def test_infeasible_settings_are_told_with_a_reason(caller: TestClient) -> None:
    ask(caller)
    assert tell(caller, 0, state="infeasible").status_code == 409
    told = tell(caller, 0, state="infeasible", why="it does not fit into memory")
    assert (told.status_code, told.json()["state"]) == (200, "diverged")
    assert ask(caller).json()["trial"] == 1


def test_a_trial_is_stopped_by_a_request_and_again_and_hears_so_and_so_is_the_study(caller: TestClient) -> None:
    def request(number: int, verb: str, **arguments: Any) -> Any:
        body = {"verb": verb, "arguments": arguments, "why": "seen enough"}
        return caller.put(f"/v1/studies/night/requests/r{number}", json=body)

    ask(caller)
    assert [request(1, "stop_trial", trial=0).status_code for _ in range(2)] == [200, 200]
    assert request(2, "stop_trial", trial=0).status_code in (200, 409)  # by then it may be over
    heard = report(caller, 0, batch=0, rows=[[1, {"score": 0.5}]]).json()
    assert (heard["orders"], heard["why"]) == ("stop", "seen enough")
    assert tell(caller, 0).json()["state"] == "stopped"
    over = request(3, "stop_trial", trial=0)
    assert (over.status_code, over.json()["code"]) == (409, "over")
    assert [request(number, "stop").status_code for number in (4, 4)] == [200, 200]
    wait_until(lambda: ask(caller, wait_s=0).status_code == 410)
    assert request(5, "stop").status_code == 200


def test_whoever_may_only_look_is_lent_nothing(lending: Path) -> None:
    with client(app(lending), VIEWER) as viewer:
        assert ask(viewer).status_code == 403
    with client(app(lending), None) as nobody:
        assert ask(nobody).status_code == 401


def test_a_study_that_trains_its_own_function_lends_nothing_and_says_so(tmp_path: Path) -> None:
    from sweeping import sweep

    sweep(tmp_path, trials=2).close()
    with client(app(tmp_path)) as caller:
        refused = ask(caller)
    assert refused.status_code == 409
    assert "external" in refused.json()["why"]


# ── beginning a study ───────────────────────────────────────────────────────────────────────────

BODY = {
    "space": {"x": {"scale": "linear", "low": 0.0, "high": 1.0}, "kind": {"choice": ["a", "b"]}},
    "objective": "score",
    "trials": 2,
    "executor": "external",
    "sampler": "random",
}


@pytest.mark.long
def test_a_study_is_begun_over_http_and_sent_again_it_is_the_same(tmp_path: Path) -> None:
    with client(app(tmp_path)) as caller:
        began = caller.put("/v1/studies/night", json=BODY)
        assert began.status_code == 201, began.text
        again = caller.put("/v1/studies/night", json=BODY)
        assert (again.status_code, again.json()) == (200, began.json())
        other = caller.put("/v1/studies/night", json={**BODY, "objective": "loss", "seed": 5})
        assert other.status_code == 409
        assert "another objective and another seed" in other.json()["why"]
        for trial in range(2):
            lent = ask(caller).json()
            assert set(lent["settings"]) == {"x", "kind"}
            assert tell(caller, trial, scores={"score": lent["settings"]["x"]}).status_code == 200
        wait_until(lambda: not _coordinated(tmp_path))
        assert ask(caller).status_code == 410
        assert caller.put("/v1/studies/night", json=BODY).status_code == 200
        more = caller.put("/v1/studies/night", json={**BODY, "trials": 3})
        assert more.status_code == 200
        assert ask(caller).json()["trial"] == 2
        assert tell(caller, 2, scores={"score": 1.0}).status_code == 200
    with tuner.open("night", results=tmp_path) as study:
        assert study.space is not None
        assert study.space.to_dict() == tuner.Space(x=tuner.linear(0.0, 1.0), kind=tuner.choice("a", "b")).to_dict()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"space": {"x": {"scale": "log", "low": 0.0, "high": 1.0}}}, "low"),
        ({"space": "/etc/passwd"}, "name"),
        ({"space": "sgd_momentun"}, "sgd_momentum"),
        ({"trials": 0}, "trials"),
        ({"sampler": "randon"}, "random"),
        ({"space": {}}, "space"),
        ({"executor": "local"}, "train"),  # which imports a function
        ({"executor": "slurm"}, "executor"),
        ({"train": "os:system"}, "train"),
    ],
)
def test_a_study_that_makes_no_sense_is_not_begun(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    with client(app(tmp_path)) as caller:
        refused = caller.put("/v1/studies/night", json={**BODY, **change})
    assert refused.status_code == 422
    assert word in refused.text
    assert not (tmp_path / "night").exists()


# ── processes that die ──────────────────────────────────────────────────────────────────────────

PYTHON = sys.executable


class Town:
    """A coordinator and a server, each in a process of its own, which can be killed and started again."""

    def __init__(self, results: Path, *, trials: int, lease_s: float, space: str) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port: int = found.getsockname()[1]
        self.results, self.url = results, f"http://127.0.0.1:{self.port}"
        self.env = {**os.environ, "TUNER_TOKEN": OPERATOR, "TUNER_URL": self.url}
        shared = ["--results", str(results)]
        self._words = [
            *("--executor", "external", "--space", space, "--objective", "score", "--name", "night", *shared),
            *("--trials", str(trials), "--lease", f"{lease_s:g}s", "--sampler", "random", "--stopping", "off"),
            "--no-plot",
        ]
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, verb: str) -> subprocess.Popen[bytes]:
        """Starts the coordinator, `sweep`, or the server, `serve`."""
        with (self.results / f"{verb}.log").open("ab") as log:
            words = {
                "sweep": ["-m", "tuner", "sweep", *self._words],
                "serve": ["-m", "tuner", "serve", "--port", str(self.port), "--results", str(self.results)],
            }
            process = subprocess.Popen([PYTHON, *words[verb]], stdout=log, stderr=log, env=self.env)
        self._running[verb] = process
        return process

    def kill(self, verb: str) -> None:
        """Kills it, without a chance to say anything, and starts it again."""
        self._running[verb].kill()
        self._running[verb].wait(PATIENCE_S)
        self.start(verb)

    def interrupt(self, verb: str) -> int:
        """Presses Ctrl-C; the exit code."""
        self._running[verb].send_signal(signal.SIGINT)
        return self._running.pop(verb).wait(PATIENCE_S)

    def close(self) -> None:
        """Ends both."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            process.wait(PATIENCE_S)


class Erratic:
    """A program that dies in the midst of anything, says things twice, and forgets answers."""

    def __init__(self, number: int, port: int) -> None:
        self.name, self._port = f"worker-{number}", port
        self._chance = random.Random(number)
        self._lives = 0
        self.reported: list[tuple[int, int, int, float]] = []
        self.told: list[tuple[int, int]] = []
        self.failed: BaseException | None = None
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        try:
            while self._trains_one():
                pass
        except BaseException as error:  # shown by the test
            self.failed = error
        finally:
            self._hang_up()

    def _trains_one(self) -> bool:
        status, lent = self._call("ask", {"worker": self._worker, "wait_s": 3})
        if status == 410:
            return False
        if status == 204:
            time.sleep(0.2)
            return True
        assert status == 200, (status, lent)
        trial, segment, batch = lent["trial"], lent["segment"], lent["batch"]
        for step in range(lent["step"] + 1, 4):
            if self._chance.random() < 0.08:
                self._dies()
                return True
            score = trial + segment / 100 + step / 1000
            rows = {"segment": segment, "batch": batch, "rows": [[step, {"score": score}]]}
            status, answer = self._call(f"trials/{trial}/reports", rows)
            assert status in (200, 202), (status, answer)
            self.reported.append((trial, segment, step, score))
            if answer["orders"] == "stop":
                return True
            batch += 1
        status, answer = self._call(f"trials/{trial}/tell", {"segment": segment, "state": "completed"})
        assert status in (200, 202) or answer["code"] == "superseded", (status, answer)
        if status == 200:
            self.told.append((trial, segment))
        return True

    @property
    def _worker(self) -> str:
        return f"{self.name}-{self._lives}"

    def _dies(self) -> None:
        """Somebody under another name takes its place, or it comes back as itself."""
        if self._chance.random() < 0.5:
            self._lives += 1

    def _call(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and answer; made again while nobody answers, and sometimes though somebody did."""
        deadline = time.monotonic() + PATIENCE_S
        times = 2 if self._chance.random() < 0.15 else 1
        while True:
            try:
                status, answer = self._once(path, body)
            except (OSError, http.client.HTTPException):
                self._hang_up()
                assert time.monotonic() < deadline, "the server is gone"
                time.sleep(0.1)
                continue
            times -= 1
            if times <= 0 and status not in (429, 503):
                return status, answer

    def _once(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        headers = {"authorization": f"Bearer {OPERATOR}", "content-type": "application/json"}
        self._connection.request("POST", f"/v1/studies/night/{path}", json.dumps(body), headers)
        if self._chance.random() < 0.05:
            self._hang_up()  # it was sent, and who answers finds nobody
            raise OSError
        response = self._connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@pytest.mark.long
def test_fifty_programs_that_die_and_repeat_themselves_lose_and_double_nothing_though_all_are_killed(
    tmp_path: Path,
) -> None:
    trials = 150
    (tmp_path / "space.toml").write_text('[rate]\nscale = "log"\nlow = 1e-4\nhigh = 1.0\n')
    with closing(Town(tmp_path, trials=trials, lease_s=3.0, space=str(tmp_path / "space.toml"))) as town:
        town.start("sweep")
        town.start("serve")
        wait_until(lambda: _coordinated(tmp_path) and _answers(town.port))
        programs = [Erratic(number, town.port) for number in range(50)]
        threads = [threading.Thread(target=each.run) for each in programs]
        for thread in threads:
            thread.start()
        wait_until(lambda: _ended(tmp_path) > trials // 5)
        town.kill("sweep")
        wait_until(lambda: _ended(tmp_path) > 2 * trials // 5)
        town.kill("serve")
        wait_until(lambda: _ended(tmp_path) > 3 * trials // 5)
        town.kill("sweep")
        for thread in threads:
            thread.join(2 * PATIENCE_S)
        assert not [each.failed for each in programs if each.failed is not None]
    with tuner.open("night", results=tmp_path) as study:
        recorded = Counter(
            (trial.trial, flush.segment, step, value)
            for trial in study.state.trials
            for flush in study.reported(trial.trial)
            for step, _, value, _ in unpack_reports(flush)
        )
        ends = Counter(each.trial for each in study.records(TrialEnded))
        segments = {trial.trial: trial.head.segment for trial in study.state.trials}
        states = {trial.state for trial in study.state.trials}
        heads = [list(study.curve(number).steps) for number in range(trials)]
    said = {each for program in programs for each in program.reported}
    assert said <= set(recorded), f"lost: {sorted(said - set(recorded))[:5]}"
    assert set(recorded.values()) == {1}, f"doubled: {[each for each in recorded if recorded[each] > 1][:5]}"
    assert len(segments) == trials
    assert (ends, states) == (Counter(range(trials)), {"completed"})
    assert heads == [[1, 2, 3]] * trials
    assert all(segments[trial] == segment for program in programs for trial, segment in program.told)
    assert sum(segments.values()) > 0  # some were taken over


@pytest.mark.long
def test_a_program_trains_on_while_its_coordinator_is_interrupted_and_begun_again(tmp_path: Path) -> None:
    with closing(Town(tmp_path, trials=2, lease_s=30.0, space="sgd_momentum")) as town:
        town.start("sweep")
        wait_until(lambda: _coordinated(tmp_path))
        with client(app(tmp_path)) as caller:
            assert ask(caller).json()["trial"] == 0
            interrupted = town.interrupt("sweep")
            assert interrupted == 130
            on_record = report(caller, 0, batch=0, rows=[[1, {"score": 0.5}]])
            assert (on_record.status_code, on_record.json()["orders"]) == (202, "go on")
            none = ask(caller, worker="b", wait_s=0)
            assert none.status_code == 204
            assert "coordinate" in none.headers["tuner-why"]
            town.start("sweep")
            wait_until(lambda: _coordinated(tmp_path))
            again = ask(caller).json()
            assert (again["trial"], again["segment"], again["batch"], again["step"]) == (0, 0, 1, 1)
            assert tell(caller, 0).status_code == 200
            assert ask(caller).json()["trial"] == 1
            assert tell(caller, 1, scores={"score": 1.0}).status_code == 200
    with tuner.open("night", results=tmp_path) as study:
        assert [len(trial.segments) for trial in study.state.trials] == [1, 1]
        assert list(study.curve(0).scores) == [0.5]


def _answers(port: int) -> bool:
    with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), timeout=1.0)):
        return True
    return False


def _ended(results: Path) -> int:
    with suppress(TunerError), tuner.open("night", results=results) as study:
        return len(study.state.ended_order)
    return 0


# ── the examples ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.long
@pytest.mark.parametrize("words", [[PYTHON, "client.py"], ["sh", "client.sh"]], ids=["python", "curl"])
def test_the_example_clients_train_a_study_to_its_end(tmp_path: Path, words: list[str]) -> None:
    with closing(Town(tmp_path, trials=3, lease_s=30.0, space="sgd_momentum")) as town:
        town.start("sweep")
        town.start("serve")
        wait_until(lambda: _coordinated(tmp_path) and _answers(town.port))
        command = [words[0], str(EXAMPLES / words[1]), "night", "worker-1"]
        ran = subprocess.run(command, env=town.env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert ran.returncode == 0, ran.stderr
    with tuner.open("night", results=tmp_path) as study:
        assert [trial.state for trial in study.state.trials] == ["completed"] * 3
        assert [list(study.curve(trial).steps) for trial in range(3)] == [[1, 2, 3, 4, 5]] * 3


def test_the_example_client_needs_nothing_but_the_standard_library_and_is_short() -> None:
    lines = (EXAMPLES / "client.py").read_text().splitlines()
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names
    assert sum(bool(line.strip()) for line in lines) <= 75
