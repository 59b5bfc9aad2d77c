"""Whatever comes over the wire, be it no answer of tuner's at all, is read as what it is or refused in words."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from typing import Any

import pytest
import serving
from diaries import NOON, beginning, diary, ended, reported
from hostile import commands_in
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Said, scripted
from starlette.testclient import TestClient
from stories import Part, story

import tuner
from tuner.api.connect import RemoteStudies
from tuner.api.external import ask
from tuner.api.lending import ServiceLender
from tuner.errors import StudyError, TunerError
from tuner.record.client import ServiceClient
from tuner.record.events import TABLES, Requested
from tuner.record.schema import SHAPES
from tuner.record.wire import record_from_json, record_to_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from([10**400, "9" * 5000, "\x1b[2J", "nan", "requests", "notes", "reports", -1]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def refused_in_words(act: Callable[[], Any]) -> Any:
    """What comes of it; None where it is refused."""
    try:
        return act()
    except TunerError as refused:
        sentence = str(refused)
    assert len(sentence) < 500
    assert commands_in(sentence) == []
    return None


# ── a record ────────────────────────────────────────────────────────────────────────────────────


def values_of(table: str) -> st.SearchStrategy[dict[str, Any]]:
    """Fields as a record of a table may have them."""
    shape = SHAPES[TABLES[table]]
    words = dict(shape.words)
    texts = st.text(max_size=20)
    by_class: dict[type, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(),
        str: texts,
        bytes: st.binary(max_size=60),
    }
    found = {}
    for place, column in enumerate(shape.columns):
        value = by_class[column.type.python_type]
        if column.name in shape.json_names:
            value = st.recursive(texts | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(texts, inner))
        if place in words:
            value = st.sampled_from(sorted(each for each in words[place] if each is not None))
        found[column.name] = value if place in shape.required_places else value | st.none()
    return st.fixed_dictionaries(found)


@given(data=st.data(), table=st.sampled_from(sorted(set(TABLES) - {"requests"})), place=st.integers(0, 2**53))
def test_any_record_comes_back_as_it_was(data: st.DataObject, table: str, place: int) -> None:
    record = TABLES[table](**data.draw(values_of(table)))
    said = json.dumps(record_to_json(place, record), allow_nan=False)
    came, back = record_from_json(json.loads(said))
    assert (came, repr(back)) == (place, repr(record))  # nan is none of its own equals


@given(verb=st.text(max_size=20), why=st.text(max_size=20), arguments=JSON)
def test_any_request_comes_back_as_a_request_that_can_be_told(verb: str, why: str, arguments: Any) -> None:
    asked = Requested(request="r", verb=verb, arguments={"text": arguments}, by="ada", why=why, at=NOON)
    _, back = record_from_json(json.loads(json.dumps(record_to_json(1, asked))))
    assert (back.verb, back.why, back.by) == (asked.verb, asked.why, "ada")


@given(
    said=JSON | st.fixed_dictionaries({"table": st.sampled_from(sorted(TABLES)) | JSON, "sequence": JSON, "row": JSON})
)
def test_what_is_no_record_is_refused_in_words(said: Any) -> None:
    refused_in_words(lambda: record_from_json(said))


# ── the answers of a service, each with something in it that is none of its own ─────────────────


class Tampering(ServiceClient):
    """A service whose answers come changed, as somebody between or another version would have them."""

    def __init__(self, service: TestClient, tamper: Callable[[bytes], bytes]) -> None:
        super().__init__(serving.ORIGIN, serving.OPERATOR, patience_s=0.0)
        self._asking, self._tamper = service, tamper

    def _exchanged(self, method: str, path: Any, query: Any, body: bytes | None, wait_s: float) -> Any:
        given = {name: value for name, value in query.items() if value is not None and name != "wait_s"}
        answer = self._asking.request(method, f"/v1/{'/'.join(path)}", params=given, content=body)
        return answer.status_code, HTTPMessage(), self._tamper(answer.content)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A sweep and a babysat run that nobody coordinates."""
    folder = tmp_path_factory.mktemp("results")
    with diary(folder) as store:
        store.append([*beginning(0), reported(0, 0, [(1, 0.5), (2, 0.25)]), ended(0, 0.25), *beginning(1)], NOON)
    story(folder / "one", Part(start=0, to=5), Part(start=5, to=9, parent=0)).close()
    with serving.client(serving.app(folder)) as asking:
        yield asking


def everything_asked(client: ServiceClient, name: str) -> None:
    """All that a program may want to know of a study or say; each is done, or refused in words."""
    there = RemoteStudies(client)
    acts: list[Callable[[], object]] = [
        there.studies,
        lambda: there.attach("one").study,
        lambda: there.promote("night", 0),
        lambda: ask(ServiceLender(client, "night"), "night", "ada", request="r", wait_s=0.0, steps=None),
    ]
    for act in acts:
        refused_in_words(act)
    if (study := refused_in_words(lambda: there.open(name))) is not None:
        refused_in_words(lambda: (str(study), study.best, study.printed(0)))
        refused_in_words(lambda: (study.coordinator(NOON), study.forks()))
        refused_in_words(lambda: (str(study.reports), str(study.notes), str(study.requests)))


def changed(text: bytes, place: int, value: Any) -> bytes:
    """An answer with one of its values, counted through, in place of another."""
    count, values = -1, text.count(b":") + text.count(b",") + 1

    def walked(each: Any) -> Any:
        nonlocal count
        count += 1
        if count == place % values:
            return value
        if isinstance(each, dict):
            return {name: walked(inner) for name, inner in each.items()}
        return [walked(inner) for inner in each] if isinstance(each, list) else each

    return json.dumps(walked(json.loads(text))).encode() if text else text


@settings(max_examples=settings().max_examples // 2)  # each asks a dozen times and more
@given(
    at=st.integers(0, 15),
    name=st.sampled_from(["night", "one"]),
    value=st.tuples(st.integers(0, 200), JSON)
    | st.binary(max_size=60)
    | st.sampled_from([b"[" * 100_000, b"1" * 5000]),
)
def test_an_answer_with_anything_in_it_is_read_or_refused_in_words(
    service: TestClient, at: int, name: str, value: Any
) -> None:
    answers = itertools.count()

    def tampered(text: bytes) -> bytes:
        if next(answers) != at:
            return text
        return value if isinstance(value, bytes) else changed(text, *value)

    everything_asked(Tampering(service, tampered), name)


@pytest.mark.parametrize(
    "said",
    [
        (200, {"Content-Encoding": "gzip"}, b"no gzip"),
        (503, {"Retry-After": "nan"}, b"later"),
        (404, {}, {"code": "\x1b[2J", "why": "\x1b]0;owned\x07 gone"}),
        (409, {}, {"code": ["a"], "why": {"b": 1}}),
        (302, {"Location": "http://evil.example/"}, b""),
    ],
    ids=["no gzip", "no time", "escapes", "no texts", "elsewhere"],
)
def test_what_is_no_answer_at_all_is_told_in_words(said: Said) -> None:
    with scripted(*[said] * 4) as (url, _), pytest.raises(StudyError) as refused:
        tuner.connect(url, serving.OPERATOR, patience_s=0.0)
    assert commands_in(str(refused.value)) == []


# ── what a service is sent ──────────────────────────────────────────────────────────────────────

WRITES = [
    ("PUT", "/v1/studies/new"),
    ("PUT", "/v1/studies/night/requests/r1"),
    ("POST", "/v1/studies/night/ask"),
    ("POST", "/v1/studies/night/trials/0/reports"),
    ("POST", "/v1/studies/night/trials/0/tell"),
    ("POST", "/login"),
    ("POST", "/mcp"),
]
KNOWN = st.sampled_from(
    ["train", "space", "objective", "verb", "arguments", "why", "worker", "rows", "segment", "name"]
)
BODIES = [
    b"",
    b"\xff\xfe{}",
    '{"why": "é"}'.encode("utf-16"),
    b"[" * 100_000,
    b'{"why":' * 50_000,
    b'{"verb": "note", "verb": "stop", "arguments": {"text": "\\ud800"}, "why": "\\u001b[2J\\u0000"}',
    b'{"worker": "\\ud800", "wait_s": 0}',
    b'{"worker": "ada", "wait_s": NaN}',
    b'{"segment": 0, "batch": 0, "rows": [[1, {"score": 1e999}], [' + b"9" * 5000 + b', {"score": null}]]}',
    b'{"segment": -0.0, "state": "completed", "scores": {"\\ud800": NaN}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "show", "arguments": {"a": "\\ud800"}}}',
    b'{"train": "a:b", "space": {"x": {"scale": "log", "low": 1e-999, "high": Infinity}}, "objective": "\\u0000"}',
]
KINDS = [
    "application/json",
    "application/x-www-form-urlencoded",
    "text/plain",
    "multipart/form-data; boundary=x",
    "\x00",
]


@given(
    body=st.binary(max_size=80)
    | st.sampled_from(BODIES)
    | st.dictionaries(KNOWN | st.text(max_size=5), JSON, max_size=5).map(lambda said: json.dumps(said).encode()),
    kind=st.sampled_from(KINDS[:1] * 4 + KINDS[1:]),
)
def test_a_body_of_any_bytes_is_answered_with_a_reason(service: TestClient, body: bytes, kind: str) -> None:
    for method, path in WRITES:
        headers = {"content-type": kind, "accept": "application/json, text/event-stream"}
        answer = service.request(method, path, content=body, headers=headers, follow_redirects=False)
        assert answer.status_code < 500, (path, answer.text)
        assert commands_in(answer.text) == [], path
