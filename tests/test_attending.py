"""Whoever does not look on: a wait ends when something came, and a digest tells it in two kilobytes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from babysat import at_home
from hypothesis import given
from hypothesis import strategies as st
from stories import Part, story
from sweeping import sweep
from waiting import PATIENCE_S

import tuner
from tuner.api.waiting import EVENTS
from tuner.cli import attending, main
from tuner.errors import SettingsError
from tuner.record import events as rec
from tuner.record.state import StudyState
from tuner.views.digest import LIMIT_BYTES, as_json, digest, worth_telling
from tuner.worker.run import Run

Shell = Callable[..., tuple[int, str]]


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        return int(ended.value.code or 0), capfd.readouterr().out

    return run


def climbs(run: Run) -> None:
    for step in run.steps(100_000):
        run.report(total=float(step))
        time.sleep(0.002)


def stays(run: Run) -> None:
    for _ in run.steps(100_000):
        run.report(total=1.0)
        time.sleep(0.002)


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Path]:
    with at_home(tmp_path / "results"):
        yield tmp_path / "results"


def begun(train: Any, results: Path) -> tuner.RunHandle:
    return tuner.babysit(
        train, {"rate": 1.0}, name="one", objective="total", goal="maximize", executor="local", results=results
    )


def noted(by: str, text: str) -> rec.Noted:
    return rec.Noted(trial=0, step=3, by=by, text=text, at=1.0)


# ── wait ────────────────────────────────────────────────────────────────────────────────────────


def test_the_events_of_the_shell_are_those_there_are() -> None:
    assert attending.EVENTS == EVENTS


def test_a_wait_ends_when_a_score_is_better_than_all_before(results: Path) -> None:
    with closing(begun(climbs, results)) as run, closing(run.study) as study:
        waited = study.wait("improved", timeout_s=PATIENCE_S)

        assert (waited.event, waited.came) == ("improved", True)
        assert waited.digest.best is not None
        assert any(line.startswith("improved") for line in waited.digest.news)


def test_a_wait_for_what_does_not_come_ends_with_its_time_and_says_so(results: Path) -> None:
    with closing(begun(stays, results)) as run, closing(run.study) as study:
        study.wait("improved", since=0, timeout_s=PATIENCE_S)
        waited = study.wait("improved", timeout_s=0.5)

        assert (waited.event, waited.came) == ("timeout", False)
        assert "improved" in waited.sentence


def test_a_wait_hears_of_an_end_that_somebody_else_brings_about(results: Path) -> None:
    with closing(begun(climbs, results)) as run, closing(run.study) as study:
        stopping = threading.Thread(target=lambda: run.stop("seen enough"))
        stopping.start()
        waited = study.wait(timeout_s=PATIENCE_S)
        stopping.join()

        assert waited.event == "ended"
        assert "seen enough" in waited.sentence


def test_nothing_falls_between_two_calls(tmp_path: Path) -> None:
    advice = noted("supervisor", "flat since step 2")
    with story(tmp_path / "one", Part(start=0, to=4), end=("completed", "all 4 steps"), more=[advice]) as study:
        early = study.wait("advice", since=0, timeout_s=0)
        late = study.wait("advice", since=early.digest.cursor, timeout_s=0)

        assert (early.event, early.came) == ("advice", True)
        assert "flat since step 2" in early.sentence
        assert (late.event, late.came) == ("ended", False)


def test_a_run_that_nobody_coordinates_is_not_waited_for(tmp_path: Path) -> None:
    with story(tmp_path / "one", Part(start=0, to=4)) as study:
        assert study.wait("improved", timeout_s=PATIENCE_S).event == "unattended"


def test_a_budget_is_spent_once_all_trials_have_begun(tmp_path: Path) -> None:
    with sweep(tmp_path, trials=3) as study:
        waited = study.wait("budget", timeout_s=0)

        assert (waited.event, waited.came) == ("budget", True)
        assert "3 trials" in waited.sentence


def test_what_never_comes_cannot_be_waited_for(tmp_path: Path) -> None:
    with sweep(tmp_path, trials=1) as study, pytest.raises(SettingsError, match="Did you mean improved"):
        study.wait("improve", timeout_s=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "code", "came"), [("ended", 0, "ended"), ("improved", 1, "ended"), ("budget", 0, "budget")]
)
def test_the_exit_code_of_a_wait_says_whether_it_came(
    event: str, code: int, came: str, tmp_path: Path, shell: Shell
) -> None:
    sweep(tmp_path / "results", trials=3).close()

    ended, out = shell("wait", "night", "--for", event, "--timeout", "1s", "--json")

    told = json.loads(out)
    assert (ended, told["event"], told["digest"]["study"]) == (code, came, "night")


def test_the_exit_code_of_a_wait_in_vain_is_3(results: Path, shell: Shell) -> None:
    with closing(begun(stays, results)):
        ended, out = shell("wait", "one", "--for", "advice", "--timeout", "0s", "--json")

        assert (ended, json.loads(out)["event"]) == (3, "timeout")


# ── digest ──────────────────────────────────────────────────────────────────────────────────────


def test_a_digest_tells_who_did_what_and_why_and_goes_on_from_its_cursor(tmp_path: Path) -> None:
    parts = (
        Part(start=0, to=4),
        Part(start=4, to=9, parent=0, params={"learning_rate": 0.01, "beta": 0.9}, by="bob", why="loss spikes"),
    )
    with story(tmp_path / "one", *parts, more=[noted("ann", "day 2"), noted("supervisor", "try 0.3")]) as study:
        told = study.digest()
        again = study.digest(since=told.cursor)

        text = str(told)
        assert all(word in text for word in ("set by bob", "loss spikes", "note by ann", "day 2", "advice", "try 0.3"))
        assert told.best is not None
        assert (told.best["step"], again.news, again.cursor) == (9, (), told.cursor)


def test_a_digest_of_a_sweep_counts_what_ended_and_what_is_spent(tmp_path: Path) -> None:
    with sweep(tmp_path, trials=5, stopping="off") as study:
        told = study.digest()

        assert any("5 trials ended: 5 completed" in line for line in told.news)
        assert (told.spent["trials"], told.spent["trials_most"]) == (5, 5)


TEXTS = st.text(max_size=3000)


@given(
    objective=st.text(min_size=1, max_size=300),
    whys=st.lists(TEXTS, max_size=60),
    params=st.dictionaries(st.text(min_size=1, max_size=200), TEXTS | st.floats() | st.integers(), max_size=60),
)
def test_no_digest_is_longer_than_two_kilobytes(objective: str, whys: list[str], params: dict[str, Any]) -> None:
    study = StudyState()
    identity = {"objective": objective, "goal": "maximize", "space": None, "seed": 0, "sampler": "none"}
    opened = rec.StudyOpened(
        name="n" * 200, kind="babysitting", identity=identity, function="f", source_sha256="", version="", at=0.0
    )
    created = rec.TrialCreated(
        trial=0,
        purpose="search",
        round=None,
        parent=None,
        seed=0,
        params=params,
        seen=0,
        why=whys[0] if whys else "",
        memo=None,
        at=0.0,
    )
    ended = rec.TrialEnded(
        trial=0,
        segment=0,
        state="failed",
        why=whys[-1] if whys else "",
        step=1,
        best_step=1,
        best_score=0.5,
        started=0.0,
        seconds=1.0,
        node="",
        error="",
        traceback="",
        at=0.0,
    )
    records: list[rec.Record] = [opened, created, ended, *(noted("ann", why) for why in whys)]
    for record in records:
        study.apply(record)

    told = digest(study, records, cursor=10**12, running=False)

    assert len((as_json(told.as_value()) + "\n").encode()) <= LIMIT_BYTES
    assert len((str(told) + "\n").encode()) <= LIMIT_BYTES
    assert told.news or told.left_out


def test_of_a_long_wait_only_what_a_digest_speaks_of_is_kept(tmp_path: Path) -> None:
    with sweep(tmp_path, trials=20) as study:
        records, _ = study._store.follow(0)
        kept = worth_telling(study.state, records)

        assert digest(study.state, kept, cursor=1, running=False) == digest(
            study.state, records, cursor=1, running=False
        )
        assert sum(isinstance(each, rec.Reported) for each in kept) == 1
        assert sum(isinstance(each, rec.Reported) for each in records) >= 20


def test_what_the_shell_prints_of_a_digest_is_as_long_as_it_was_measured(tmp_path: Path, shell: Shell) -> None:
    parts = [Part(start=step, to=step + 1, parent=step - 1 if step else None, why="x" * 90) for step in range(60)]
    story(tmp_path / "results" / "one", *parts).close()

    for way in ("--json", "--since"):
        code, out = shell("digest", "one", *((way,) if way == "--json" else (way, "0")))
        assert code == 0
        assert 1000 < len(out.encode()) <= LIMIT_BYTES
