"""A record far away: what is asked over HTTP, what comes of absences, and that every record is the one at home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from diaries import beginning, diary, ended, reported
from scripted import NOTHING, scripted
from sweeping import sweep

import tuner
from tuner.api.study import Study
from tuner.errors import SettingsError, StudyBusy, StudyError, StudyNotFound
from tuner.record.client import ServiceClient
from tuner.record.events import Answered, Reported, Requested, TrialCreated
from tuner.record.location import Place
from tuner.record.remote import RemoteRecords
from tuner.record.store import Store
from tuner.record.wire import page_of, record_from_json, record_to_json

TOKEN = "t" * 40


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    sweep(folder, trials=4).close()
    return folder


class Beside(ServiceClient):
    """A service without a wire between: it answers from the folder, as one that serves would, in small pages."""

    def __init__(self, results: Path) -> None:
        super().__init__("http://127.0.0.1:1", TOKEN)
        self._results = results

    def get(self, *path: str, wait_s: float = 0.0, **query: Any) -> Any:
        place = Place.of(path[1], self._results, None)
        assert path[2] == "records"
        with Store.open(place.existing()) as store:
            page = page_of(store, query["tables"], query["after"], 7, until=query["until"], trial=query["trial"])
        return json.loads(json.dumps(page, allow_nan=False))


@pytest.fixture
def far(results: Path) -> RemoteRecords:
    return RemoteRecords(Beside(results), "night")


# ── records ─────────────────────────────────────────────────────────────────────────────────────


def test_a_record_far_away_is_the_one_at_home(results: Path, far: RemoteRecords) -> None:
    with Store.open(Place.of("night", results, None).existing()) as here:
        assert far.version() == here.version()
        assert list(far.read()) == list(here.read())
        assert list(far.read(TrialCreated)) == list(here.read(TrialCreated))
        assert list(far.reports()) == list(here.reports())
        assert list(far.reports(2)) == list(here.reports(2))
        assert far.follow(0) == here.follow(0)
        assert far.follow(here.version()) == ([], here.version())


def test_a_study_is_made_of_it_as_at_home(results: Path, far: RemoteRecords) -> None:
    place = Place.of("night", results, None)
    with tuner.open("night", results=results) as here:
        there = Study(place, far)
        assert there.best == here.best
        assert there.trials.equals(here.trials)


def test_requests_come_once_each_with_their_answers(tmp_path: Path) -> None:
    with closing(diary(tmp_path)) as store:
        far = RemoteRecords(Beside(tmp_path), "night")
        assert far.new_requests() == []
        store.request("note", {"text": "day 2"}, by="ann", why="", request="mine")
        assert [each.request for each in far.new_requests()] == ["mine"]
        assert far.new_requests() == []
        assert [each.arguments for each in far.read(Requested)] == [{"text": "day 2"}]
        assert far.answer("mine") is None
        answer = Answered(request="mine", state="applied", step=None, detail="noted", at=2.0)
        store.append([answer], 1.0)
        assert far.answer("mine") == answer


def test_what_is_written_during_a_look_at_one_moment_is_not_seen(tmp_path: Path) -> None:
    with closing(diary(tmp_path)) as store:
        far = RemoteRecords(Beside(tmp_path), "night")
        with far.snapshot():
            store.append([*beginning(0), reported(0, 0, [(1, 0.5)]), ended(0, 0.5)], 1.0)
            assert list(far.read(TrialCreated)) == []
            assert list(far.reports()) == []
        assert len(list(far.read(TrialCreated))) == 1


def test_what_of_a_record_makes_no_sense_is_refused(results: Path) -> None:
    with Store.open(Place.of("night", results, None).existing()) as store:
        for tables, trial in (("nights", None), ("requests,notes", None), ("studies", 1)):
            with pytest.raises(SettingsError):
                page_of(store, tables, 0, 10, trial=trial)
        page = page_of(store, "trials,ends", 0, 3)
        assert len(page["records"]) == 3
        assert page["next"] == page["records"][-1]["sequence"] < page["last"]


# ── records as they travel ──────────────────────────────────────────────────────────────────────


def test_every_record_of_a_study_comes_back_as_it_was(results: Path) -> None:
    with closing(tuner.open("night", results=results)) as study:
        records = [*study.records(), *study.records(Reported)]
    assert len(records) > 20
    for place, record in enumerate(records):
        said = json.dumps(record_to_json(place, record), allow_nan=False)
        assert record_from_json(json.loads(said)) == (place, record)


@pytest.mark.parametrize(
    "said",
    [
        None,
        {"table": "notes"},
        {"table": "no table", "sequence": 1, "row": []},
        {"table": "notes", "sequence": 1, "row": [1]},
        {"table": "reports", "sequence": 1, "row": [0, 0, 1, "[]", "no base64!"]},
    ],
)
def test_what_is_no_record_is_told_so(said: Any) -> None:
    with pytest.raises(StudyError, match="same version"):
        record_from_json(said)


# ── a service that is away, or no service ───────────────────────────────────────────────────────


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "ftp://host", "http://", "http://host:port", ""])
def test_what_is_no_address_is_refused_with_how_one_is_written(url: str) -> None:
    with pytest.raises(SettingsError, match=r"8765|no address"):
        ServiceClient(url, TOKEN)


def test_a_link_for_a_browser_is_no_address() -> None:
    with pytest.raises(SettingsError, match="link for a browser"):
        ServiceClient("http://127.0.0.1:8765/login?code=abc", TOKEN)


@pytest.fixture
def patient() -> Iterator[Any]:
    services: list[ServiceClient] = []

    def to(url: str, patience_s: float = 30.0) -> ServiceClient:
        services.append(ServiceClient(url, TOKEN, patience_s=patience_s))
        return services[-1]

    yield to
    for each in services:
        each.close()


def test_nobody_there_is_told_after_as_long_as_one_is_patient(patient: Any) -> None:
    with scripted(NOTHING) as (url, _):
        pass
    with pytest.raises(StudyError, match=r"did not answer within .*tuner serve"):
        patient(url, patience_s=0.0).get("studies")


def test_what_answers_and_is_no_service_of_tuners_is_told_so(patient: Any) -> None:
    with scripted((200, {}, b"<html>hello")) as (url, _), pytest.raises(StudyError, match="no service of tuner"):
        patient(url).get("studies")


def test_a_service_that_starts_anew_meanwhile_is_waited_for(patient: Any) -> None:
    busy = (503, {"Retry-After": "0"}, {"code": "busy", "why": "it starts"})
    with scripted(None, busy, None, NOTHING) as (url, seen):
        assert patient(url).get("studies") == {"studies": []}
    assert len(seen) == 4


def test_what_is_refused_is_the_error_that_it_is_at_home(patient: Any) -> None:
    said = (
        (404, {"code": "not_found", "why": "there is no study 'x'."}, StudyNotFound),
        (409, {"code": "busy", "why": "another one holds it"}, StudyBusy),
        (422, {"code": "arguments", "why": "limit must be less"}, SettingsError),
        (409, {"code": "settings", "why": "x must lie from 0 to 1"}, StudyError),
        (409, {"code": "of a newer service", "why": "not now"}, StudyError),
        (401, {"code": "unauthorized", "why": "it is none"}, StudyError),
    )
    with scripted(*[(status, {}, body) for status, body, _ in said]) as (url, _):
        for _, body, kind in said:
            with pytest.raises(kind, match=str(body["why"])) as refused:
                patient(url).get("studies", "x")
            assert refused.value.code == body["code"]


def test_a_body_is_sent_again_as_it_was_where_its_answer_was_lost(patient: Any) -> None:
    with scripted(None, (200, {}, {"state": "applied"})) as (url, seen):
        assert patient(url).put("studies", "a b", "requests", "1", body={"verb": "pause"}) == {"state": "applied"}
    assert seen == [("PUT", "/v1/studies/a%20b/requests/1", '{"verb": "pause"}')] * 2


def test_one_that_was_closed_asks_nothing_more(patient: Any) -> None:
    service = patient("http://127.0.0.1:1")
    service.close()
    with pytest.raises(StudyError, match=r"tuner\.connect"):
        service.get("studies")
