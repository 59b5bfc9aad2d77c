"""Whoever connects to a service: what it is told of addresses, tokens and absences, and that nothing is done twice."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from pathlib import Path

import pytest
from scripted import NOTHING, Said, scripted
from served import OPERATOR, VIEWER, served
from sweeping import sweep

import tuner
from tuner.errors import SettingsError, StudyError
from tuner.server.running import bound


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    sweep(folder, trials=4).close()
    return folder


def test_a_link_for_a_browser_is_no_address() -> None:
    with pytest.raises(SettingsError, match="link for a browser"):
        tuner.connect("http://127.0.0.1:8765/login?code=abc", OPERATOR)


def test_without_a_token_it_says_how_one_is_made(monkeypatch: pytest.MonkeyPatch, results: Path) -> None:
    monkeypatch.delenv("TUNER_TOKEN", raising=False)
    with pytest.raises(SettingsError, match="tuner serve --token"):
        tuner.connect("http://127.0.0.1:8765")
    monkeypatch.setenv("TUNER_TOKEN", OPERATOR)
    with served(results) as url, tuner.connect(url) as there:
        assert [each.name for each in there.studies()] == ["night"]


def test_a_wrong_token_is_told_at_once(results: Path) -> None:
    with served(results) as url, pytest.raises(StudyError, match="does not know this token") as refused:
        tuner.connect(url, "wrong" * 10)
    assert refused.value.code == "unauthorized"


def test_a_viewer_reads_and_cannot_steer(results: Path) -> None:
    with served(results) as url, tuner.connect(url, VIEWER) as there:
        assert there.open("night").best is not None
        with pytest.raises(StudyError, match="viewer"):
            there.attach("night").pause()


def test_a_request_whose_answer_was_lost_is_sent_again_under_its_id() -> None:
    facts = {"kind": "sweep", "objective": "score", "trials": 0, "ended": 0, "best": None}
    done = {"request": "r", "verb": "pause", "state": "applied", "step": None, "why": "it stands"}
    answers: tuple[Said, ...] = (NOTHING, (200, {}, facts), None, (200, {}, done))
    with scripted(*answers) as (url, seen), tuner.connect(url, OPERATOR) as there:
        assert there.attach("night").pause("lunch").detail == "it stands"
    first, second = seen[2:]
    assert first == second
    assert first[0] == "PUT"
    assert json.loads(first[2])["why"] == "lunch"


def test_a_verb_waits_for_what_is_on_record_as_long_as_told() -> None:
    facts = {"kind": "babysitting", "objective": "score", "trials": 1, "ended": 0, "best": None}
    on_its_way = {
        "request": "r",
        "verb": "set",
        "state": "received",
        "step": None,
        "why": "the coordinator is starting",
    }
    done = {**on_its_way, "state": "applied", "step": 7, "why": ""}
    answers: tuple[Said, ...] = (
        NOTHING,
        (200, {}, facts),
        (202, {}, on_its_way),
        (200, {}, on_its_way),
        (200, {}, done),
    )
    said: list[str] = []
    with scripted(*answers) as (url, seen), tuner.connect(url, OPERATOR) as there:
        handle = there.attach("one")
        handle.on_wait = said.append
        assert isinstance(handle, tuner.RunHandle)
        assert handle.set(learning_rate=0.1).step == 7
    assert said == ["waiting: the coordinator is starting"]
    assert "wait_s=" in seen[-1][1]


def test_a_connection_that_was_closed_asks_nothing_more(results: Path) -> None:
    with served(results) as url:
        there = tuner.connect(url, OPERATOR)
        study = there.open("night")
        there.close()
        with pytest.raises(StudyError, match=r"tuner\.connect"):
            study.refresh()
        assert study.best is not None


def test_a_token_is_in_no_word_that_is_shown(results: Path) -> None:
    with served(results) as url, tuner.connect(url, OPERATOR) as there:
        assert OPERATOR not in repr(there) + repr(there.attach("night")) + repr(there.open("night"))


def test_what_is_answered_is_sent_at_once() -> None:
    with closing(bound("127.0.0.1", 0, 0)) as listening:
        assert listening.proto == socket.IPPROTO_TCP, "without it each answer on a kept connection comes 40 ms late"
