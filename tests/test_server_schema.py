"""The service does as its description says, whatever it is sent: no mistake of its own, and no answer untold."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import babysat
import pytest
import serving
from hypothesis import HealthCheck, given, settings
from sweeping import sweep
from waiting import PATIENCE_S, wait_until

import tuner
from tuner.errors import TunerError
from tuner.server.gate import Gate

pytestmark = pytest.mark.long

HOST = {"host": f"127.0.0.1:{serving.PORT}"}
ENDLESS = "/events"
BEGIN, REQUEST = "/v1/studies/{name}", "/v1/studies/{name}/requests/{request}"
ASK, REPORT, TELL = (f"{BEGIN}/{rest}" for rest in ("ask", "trials/{number}/reports", "trials/{number}/tell"))


# ── what is served ──────────────────────────────────────────────────────────────────────────────


@contextmanager
def idle(folder: Path) -> Iterator[Gate]:
    """A sweep that is over, and nothing may be launched."""
    sweep(folder, trials=3).close()
    yield serving.app(folder)


@contextmanager
def with_projects(folder: Path) -> Iterator[Gate]:
    """A sweep that is over, and a function that may be launched."""
    (folder / "mine.py").write_text("def train(run):\n    run.report(score=run.params['learning_rate'])\n")
    sweep(folder / "results", trials=3).close()
    try:
        yield serving.app(folder / "results", projects=folder)
    finally:
        babysat.end_all(folder / "results")


def crawl(run: tuner.Run) -> None:
    for step in run.steps(1_000_000):
        time.sleep(0.01)
        run.report(score=float(step))


@contextmanager
def live(folder: Path) -> Iterator[Gate]:
    """A babysat run that trains."""
    given: dict[str, Any] = {"name": "night", "objective": "score", "executor": "local", "results": folder}
    with babysat.at_home(folder), tuner.babysit(crawl, {"rate": 0.1}, **given):
        yield serving.app(folder)


@contextmanager
def lending(folder: Path) -> Iterator[Gate]:
    """A sweep that lends its trials."""

    def coordinate() -> None:
        options: dict[str, Any] = {"sampler": "random", "stopping": "off", "progress": "off", "trials": 1000}
        space = tuner.Space(rate=tuner.log(1e-4, 1.0))
        names: dict[str, Any] = {"name": "night", "objective": "score", "executor": "external", "results": folder}
        tuner.sweep(None, space, **names, **options).close()

    def is_there() -> bool:
        with suppress(TunerError), tuner.open("night", results=folder) as study:
            return study.coordinator(time.time()) is not None
        return False

    coordinator = threading.Thread(target=coordinate)
    coordinator.start()
    try:
        wait_until(is_there)
        yield serving.app(folder)
    finally:
        with suppress(TunerError), tuner.attach("night", results=folder) as handle:
            handle.stop()
        coordinator.join(PATIENCE_S)
    assert not coordinator.is_alive()


# ── what is sent ────────────────────────────────────────────────────────────────────────────────


def operations(gate: Gate) -> list[Any]:
    """Everything that the description offers, but for the stream, which ends with whoever listens."""
    import schemathesis  # which takes long to load, and each process looks through all files

    bearer = {"authorization": f"Bearer {serving.OPERATOR}"}
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", gate, headers={**HOST, **bearer})
    found: list[Any] = [each.ok() for each in cast("Any", schema.get_all_operations())]
    assert len(found) > 12
    return [each for each in found if not each.path.endswith(ENDLESS)]


def called(case: Any, **headers: str) -> Any:
    if "name" in (case.path_parameters or {}):
        case.path_parameters["name"] = "night"
    if "wait_s" in (case.query or {}):
        case.query["wait_s"] = 0
    if isinstance(case.body, dict) and "wait_s" in case.body:
        case.body["wait_s"] = 0
    case.headers = {**HOST, **headers}
    return case.call()


def asked(case: Any, number: int) -> None:
    """A call for a trial by one of many."""
    case.body = {**case.body, "worker": f"worker {number}", "wait_s": 0}
    case.body.pop("request", None)


def of_trial(case: Any, number: int) -> None:
    case.path_parameters["number"] = number % 5
    case.body = {**case.body, "segment": 0}
    if "rows" in case.body:
        case.body |= {"batch": 0, "rows": [[1, {"score": 0.5}]]}
    else:
        case.body |= {"state": "completed", "scores": {"score": 0.5}, "step": None}


def noted(case: Any, number: int) -> None:
    case.path_parameters["request"] = f"r{number}"
    case.body = {**case.body, "verb": "note", "arguments": {"text": case.body.get("why", "")}, "expect": None}


def launched(case: Any, number: int) -> None:
    """A small sweep or a run, of the function that there is, with whatever else was drawn."""
    kind = "babysitting" if case.body.get("kind") == "babysitting" else "sweep"
    small = {"objective": "score", "executor": "local", "train": "mine:train", "space": "sgd_momentum"}
    kept = {word: value for word, value in case.body.items() if word in ("goal", "seed", "why", "level", "revert")}
    case.path_parameters["name"] = f"dawn{number}"
    case.body = {**kept, **small, "kind": kind, **({"trials": 1} if kind == "sweep" else {})}


def send_all(gate: Gate, examples: int, makes_sense: dict[str, Callable[[Any, int], None]]) -> dict[str, Counter[int]]:
    """Sends whatever can be drawn, for some routes every other time so that it makes sense; the statuses by route."""
    found: dict[str, Counter[int]] = {}
    for operation in operations(gate):
        told, path = set(operation.definition.raw["responses"]), operation.path
        statuses, sensible = Counter[int](), makes_sense.get(path) if operation.method != "get" else None
        sent = iter(range(10_000))

        @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None, deadline=None)
        @given(case=operation.as_strategy())
        def tried(case: Any) -> None:
            number = next(sent)  # noqa: B023 - called before the next
            answer = called(case, authorization=f"Bearer {serving.OPERATOR}")
            statuses[answer.status_code] += 1  # noqa: B023
            assert answer.status_code < 500, answer.text
            assert str(answer.status_code) in told, (path, answer.text)  # noqa: B023
            if sensible is not None and isinstance(case.body, dict):  # noqa: B023
                sensible(case, number)  # noqa: B023
                answer = case.call()
                statuses[answer.status_code] += 1  # noqa: B023
                assert str(answer.status_code) in told, (path, answer.text)  # noqa: B023

        tried()
        found[f"{operation.method} {path}"] = statuses
    return found


def succeeded(statuses: Counter[int]) -> int:
    return sum(count for status, count in statuses.items() if status < 300)


def test_nothing_that_is_sent_makes_it_fail_or_answer_as_it_does_not_tell(tmp_path: Path) -> None:
    with idle(tmp_path) as gate:
        send_all(gate, 10, {})


def test_nothing_that_is_sent_to_a_run_that_trains_makes_it_fail(tmp_path: Path) -> None:
    with live(tmp_path) as gate:
        found = send_all(gate, 6, {REQUEST: noted})
    assert succeeded(found[f"put {REQUEST}"]) > 0
    with tuner.open("night", results=tmp_path) as study:
        assert not study.state.trials[0].error


def test_nothing_that_programs_send_to_a_study_that_lends_makes_it_fail(tmp_path: Path) -> None:
    with lending(tmp_path) as gate:
        found = send_all(gate, 8, {ASK: asked, REPORT: of_trial, TELL: of_trial, REQUEST: noted})
    for path in (ASK, REPORT, TELL):
        assert succeeded(found[f"post {path}"]) > 0, (path, found)


def test_nothing_that_is_launched_makes_it_fail(tmp_path: Path) -> None:
    with with_projects(tmp_path) as gate:
        found = send_all(gate, 4, {BEGIN: launched})
    assert succeeded(found[f"put {BEGIN}"]) > 0, found


def test_nothing_is_written_and_nothing_read_without_a_token(tmp_path: Path) -> None:
    with idle(tmp_path) as gate:
        for operation in operations(gate):

            @settings(max_examples=3, suppress_health_check=list(HealthCheck), database=None)
            @given(case=operation.as_strategy())
            def tried(case: Any) -> None:
                assert called(case).status_code == 401

            tried()
