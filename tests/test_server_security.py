"""The rules by which the service keeps others out; each test names the rule it holds."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import babysat
import pytest
import serving
from click.testing import CliRunner
from diaries import NOON, beginning, diary, ended, segment
from serving import OPERATOR, VIEWER
from starlette.testclient import TestClient
from sweeping import sweep
from waiting import wait_until

import tuner
import tuner.tables
from tuner.cli import cli
from tuner.policy.requests import answered
from tuner.record.events import Noted
from tuner.server.app import create_app
from tuner.server.gate import Door, Gate
from tuner.server.rates import Rate
from tuner.server.running import announced, those_running
from tuner.server.tokens import KeptTokens, Tokens, given_in
from tuner.values.plain import clean


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    results = tmp_path_factory.mktemp("results")
    sweep(results, trials=3).close()
    return serving.app(results)


@pytest.fixture(scope="module")
def nobody(gate: Gate) -> Iterator[TestClient]:
    with serving.client(gate, None) as client:
        yield client


def routes(gate: Gate) -> list[tuple[str, str]]:
    """Every method and path that the application answers, its parameters filled in, and some that it does not."""
    found = []
    for route in flat(gate.app.routes):  # type: ignore[attr-defined]
        path = re.sub(r"\{number\}", "0", re.sub(r"\{name\}", "night", route.path))
        path = re.sub(r"\{\w+(:\w+)?\}", "x", path)
        found += [(method, path) for method in getattr(route, "methods", None) or ("GET", "POST")]
    return [*found, ("GET", "/nothing"), ("POST", "/mcp"), ("DELETE", "/v1/studies/night"), ("OPTIONS", "/v1/studies")]


def flat(some: Iterable[Any]) -> Iterator[Any]:
    """Routes, those of routers within included."""
    for route in some:
        within = getattr(getattr(route, "original_router", route), "routes", None)
        if within is None:
            yield route
        else:
            yield from flat(within)


def test_rule_1_elsewhere_than_on_this_machine_only_with_tls_or_insecure_spelt_out(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        told = CliRunner().invoke(cli, ["serve", "--host", host, "--results", str(tmp_path)])
        assert told.exit_code == 2
        assert "--insecure" in told.output
    assert not list(tmp_path.iterdir())


async def _refuse() -> Any:
    raise AssertionError("read from a websocket")


def test_rule_2_a_websocket_is_closed_before_anything_sees_it(gate: Gate) -> None:
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    headers = [(b"host", b"127.0.0.1:8765"), (b"authorization", f"Bearer {OPERATOR}".encode())]
    asyncio.run(gate({"type": "websocket", "path": "/v1/studies", "headers": headers}, _refuse, send))
    assert [each["type"] for each in said] == ["websocket.close"]


def test_rule_3_every_route_says_no_to_whoever_has_no_token(gate: Gate, nobody: TestClient) -> None:
    assert len(routes(gate)) > 8
    for method, path in routes(gate):
        if path == "/login":
            continue
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {OPERATOR}"},
            {"cookie": "tuner-8765=forged.cookie"},
        ):
            assert nobody.request(method, path, headers=headers).status_code == 401, (method, path)


def test_rule_3_every_route_says_no_to_a_wrong_host_and_a_foreign_origin(gate: Gate, nobody: TestClient) -> None:
    for method, path in routes(gate):
        for token in (OPERATOR, VIEWER):
            for wrong in (
                {"host": "evil.example"},
                {"host": "evil.example:8765"},
                {"host": ""},
                {"origin": "http://evil.example"},
                {"origin": "null"},
                {"origin": "http://127.0.0.1:8766"},
                {"origin": "https://127.0.0.1:8765"},
            ):
                answer = nobody.request(method, path, headers={"authorization": f"Bearer {token}", **wrong})
                assert answer.status_code == 403, (method, path, wrong)


@pytest.mark.parametrize(("token", "methods"), [(OPERATOR, None), (VIEWER, ("GET", "HEAD"))])
def test_rule_3_every_route_lets_in_whoever_may_use_it(gate: Gate, token: str, methods: tuple[str, ...] | None) -> None:
    with serving.client(gate, token) as client:
        tried = 0
        for method, path in routes(gate):
            if (methods is not None and method not in methods) or path.endswith(("/events", "/login")):
                continue  # a stream has no end, and the login wants a token of its own
            answer = client.request(method, path, json={})
            tried += 1
            assert answer.status_code not in (401, 403), (method, path)
            assert answer.status_code < 500, (method, path, answer.text)
        assert tried > 12


def test_rule_3_a_second_host_or_token_beside_the_right_one_is_refused(nobody: TestClient) -> None:
    for twice in (
        [("host", "127.0.0.1:8765"), ("host", "evil.example"), ("authorization", f"Bearer {OPERATOR}")],
        [("authorization", f"Bearer {OPERATOR}"), ("authorization", f"Bearer {VIEWER}")],
    ):
        assert nobody.get("/v1/studies", headers=twice).status_code in (401, 403)


def test_rule_4_a_token_has_256_bits_and_is_kept_as_its_hash_in_a_file_of_0600(tmp_path: Path) -> None:
    tokens = KeptTokens(tmp_path)
    text = tokens.add("agent-7", "viewer")
    assert len(text) >= 43
    assert (tokens.path.stat().st_mode & 0o777, tokens.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert text not in tokens.path.read_text()
    found = KeptTokens(tmp_path).presented(text)
    assert found is not None
    assert (found.name, found.role) == ("agent-7", "viewer")
    assert KeptTokens(tmp_path).presented(text + "x") is None


def test_rule_4_a_token_made_by_another_process_counts_at_once_and_one_replaced_no_longer(tmp_path: Path) -> None:
    running = KeptTokens(tmp_path)
    first = KeptTokens(tmp_path).add("agent", "operator")
    assert running.presented(first) is not None
    cookie = running.cookie("agent", 0.0)
    assert running.carried(cookie, 1.0) is not None
    second = KeptTokens(tmp_path).add("agent", "operator")
    assert running.presented(first) is None
    assert running.presented(second) is not None
    assert running.carried(cookie, 1.0) is None


def test_rule_4_a_token_of_the_environment_that_can_be_guessed_is_refused() -> None:
    from tuner.errors import SettingsError

    assert [each.role for each in given_in({"TUNER_TOKEN": OPERATOR, "TUNER_VIEWER_TOKEN": VIEWER})] == [
        "operator",
        "viewer",
    ]
    for given in (
        {"TUNER_TOKEN": "secret"},
        {"TUNER_TOKEN": ""},
        {"TUNER_TOKEN": OPERATOR, "TUNER_VIEWER_TOKEN": OPERATOR},
    ):
        with pytest.raises(SettingsError, match="TUNER_TOKEN"):
            given_in(given)


def link(gate: Gate, role: str = "operator") -> str:
    from tuner.server.tokens import now

    return f"/login?code={gate.tokens.code(role, now())}"


def test_rule_17_the_printed_link_has_what_a_proxy_puts_before_every_path(tmp_path: Path) -> None:
    tokens = KeptTokens(tmp_path)
    with announced(tmp_path, "http://127.0.0.1:8765", 8765, "/tuner"):
        (found,) = those_running(tmp_path)
    link = found.link(tokens, "operator")
    assert link.startswith("http://127.0.0.1:8765/tuner/login?code=")
    gate = create_app(tmp_path, tokens, Door.on(8765, root_path="/tuner"))
    with serving.client(gate, token=None) as client:
        assert client.get(link.removeprefix("http://127.0.0.1:8765")).status_code == 200


def test_rule_5_the_code_of_a_link_works_once_and_becomes_a_cookie(gate: Gate, nobody: TestClient) -> None:
    path = link(gate)
    with serving.client(gate, None) as browser:
        entered = browser.get(path)
        assert entered.status_code == 200
        assert OPERATOR not in entered.text
        assert browser.get("/v1/studies").status_code == 200
        again = browser.get(path)  # whoever is in stays in, by the cookie
        assert (again.status_code, "set-cookie" in again.headers) == (200, False)
        assert browser.get(path, headers={"cookie": ""}).status_code == 401
    assert nobody.get(path).status_code == 401
    assert nobody.get(path[:-1] + ("0" if path[-1] != "0" else "1")).status_code == 401
    assert nobody.get(path + "0").status_code == 401


def test_rule_5_a_code_ends_after_ten_minutes_and_with_the_start_it_was_for() -> None:
    tokens = serving.tokens()
    assert tokens.redeemed(tokens.code("operator", 0.0), 599.0) is not None
    assert tokens.redeemed(tokens.code("operator", 0.0), 601.0) is None
    code = tokens.code("operator", 0.0)
    tokens.start = "another"
    assert tokens.redeemed(code, 1.0) is None


def test_rule_5_a_cookie_is_no_code_and_a_code_no_cookie() -> None:
    tokens: Tokens = serving.tokens()
    assert tokens.redeemed(tokens.cookie("operator", 0.0), 1.0) is None
    assert tokens.carried(tokens.code("operator", 0.0), 1.0) is None


def test_rule_6_the_cookie_is_for_this_site_and_port_and_no_script(gate: Gate) -> None:
    with serving.client(gate, None) as browser:
        cookie = browser.get(link(gate)).headers["set-cookie"]
    assert cookie.startswith("tuner-8765=")
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "Secure" not in cookie  # it came by http


def test_rule_7_the_refusal_of_a_host_names_the_option_that_allows_it(tmp_path: Path, nobody: TestClient) -> None:
    told = nobody.get("/v1/studies", headers={"host": "lab.example:8765"})
    assert "--allow-host lab.example" in told.json()["why"]
    gate = serving.app(tmp_path, door=Door.on(8765, allowed=("lab.example",)))
    with serving.client(gate) as client:
        for host, status in (
            ("lab.example", 200),
            ("LAB.example:99", 200),
            ("127.0.0.1", 200),
            ("localhost:1", 200),
            ("[::1]:8765", 200),
            ("a.lab.example", 403),
            ("lab.example.evil", 403),
            ("*", 403),
            ("127.0.0.1:x", 403),
        ):
            assert client.get("/v1/studies", headers={"host": host}).status_code == status, host


def test_rule_8_a_change_by_cookie_must_come_from_a_page_of_its_own(gate: Gate) -> None:
    with serving.client(gate, None) as browser:
        browser.get(link(gate))
        own = {"origin": serving.ORIGIN}
        for headers, gets_through in (
            (own, True),
            ({"sec-fetch-site": "same-origin"}, True),
            ({}, False),
            ({"origin": "http://127.0.0.1:1"}, False),
            ({**own, "sec-fetch-site": "cross-site"}, False),
            ({"sec-fetch-site": "same-site"}, False),
        ):
            status = browser.put("/v1/nothing", headers=headers).status_code
            assert (status == 404) == gets_through, (headers, status)
            assert gets_through or status in (401, 403)


def test_rule_9_no_other_site_is_ever_let_read(gate: Gate) -> None:
    with serving.client(gate) as client:
        answers = [
            client.get("/v1/studies", headers={"origin": serving.ORIGIN}),
            client.options("/v1/studies", headers={"origin": serving.ORIGIN, "access-control-request-method": "PUT"}),
            client.options(
                "/v1/studies", headers={"origin": "http://evil.example", "access-control-request-method": "PUT"}
            ),
        ]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert [each.status_code for each in answers] == [200, 405, 403]


def test_rule_10_every_answer_carries_the_policy(gate: Gate, nobody: TestClient) -> None:
    answers = [nobody.get("/v1/studies"), nobody.get("/login"), nobody.get("/v1/studies", headers={"host": "x"})]
    with serving.client(gate) as client:
        answers += [client.get(path) for path in ("/v1/studies", "/v1/nothing", "/v1/openapi.json")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "unsafe-eval" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert (
            answer.headers["cross-origin-opener-policy"]
            == answer.headers["cross-origin-resource-policy"]
            == "same-origin"
        )
        assert answer.headers["cache-control"] == "no-store"


def test_rule_11_a_viewer_changes_nothing(gate: Gate) -> None:
    with serving.client(gate, VIEWER) as viewer:
        for method, path in routes(gate):
            if method not in ("GET", "HEAD") and path != "/login":
                assert viewer.request(method, path, json={}).status_code == 403, (method, path)
        assert "sha256" not in str(viewer.get("/v1/studies").json())


class Weights:
    """What nobody may have who only looks."""

    def __init__(self) -> None:
        self.held = "weights-" + "w" * 40

    def state_dict(self) -> dict[str, str]:
        return {"held": self.held}

    def load_state_dict(self, state: dict[str, str]) -> None:
        self.held = state["held"]


def keep(run: tuner.Run) -> None:
    run.state(Weights())
    for step in run.steps(3):
        run.report(score=float(step))


def test_rule_11_no_bytes_of_a_checkpoint_are_handed_out(tmp_path: Path) -> None:
    with (
        babysat.at_home(tmp_path),
        tuner.babysit(keep, {"rate": 1.0}, name="night", objective="score", results=tmp_path, executor="local") as run,
    ):
        run.wait(timeout_s=60).close()
    files = [each for each in (tmp_path / "night").rglob("*") if each.is_file()]
    secrets = [each for each in files if b"weights-www" in each.read_bytes()]
    assert secrets, "no checkpoint was saved"
    gate = serving.app(tmp_path)
    within = [str(each.relative_to(tmp_path)) for each in secrets]
    tries = [f"/{start}/{path}" for start in ("files", "studies", "v1/studies") for path in within]
    tables = [f"/v1/studies/night/tables/{name}.{kind}" for name in tuner.tables.COLUMNS for kind in ("csv", "jsonl")]
    known = [path for method, path in routes(gate) if method == "GET" and not path.endswith("/events")]
    for token in (VIEWER, OPERATOR):
        with serving.client(gate, token) as client:
            for path in [
                *known,
                *tables,
                *tries,
                "/v1/studies/night/trials/0/checkpoints/0",
                "/v1/studies/night/study.db",
            ]:
                assert b"weights-www" not in client.get(path).content, path
            for path in tries:
                assert client.get(path).status_code in (404, 422), path


def test_rule_14_whoever_asks_for_trials_too_often_has_to_wait(tmp_path: Path) -> None:
    clock = [0.0]
    door = Door.on(8765, asks=Rate(burst=3, per_s=0.5, clock=lambda: clock[0]))
    with serving.client(serving.app(tmp_path, door=door)) as client:

        def asked() -> Any:
            return client.post("/v1/studies/night/ask", json={"worker": "a", "wait_s": 0})

        assert [asked().status_code for _ in range(4)] == [404, 404, 404, 429]
        refused = asked()
        assert (refused.json()["code"], int(refused.headers["retry-after"])) == ("rate", 3)
        clock[0] += 2.0
        assert [asked().status_code for _ in range(2)] == [404, 429]


def test_rule_14_a_body_beyond_4_mib_is_refused_also_where_its_length_is_not_said(gate: Gate) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(5):
            yield b" " * 2**20

    with serving.client(gate) as client:
        for body in (b" " * (4 * 2**20 + 1), parts()):
            answer = client.post("/login", content=body, headers={"content-type": "application/x-www-form-urlencoded"})
            assert answer.status_code == 413
            assert answer.json()["code"] == "too_large"


def test_rule_14_whoever_tries_to_log_in_too_often_has_to_wait(tmp_path: Path) -> None:
    with serving.client(serving.app(tmp_path), None) as guesser:
        statuses = [guesser.post("/login", data={"token": f"guess {each}"}).status_code for each in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        refused = guesser.post("/login", data={"token": OPERATOR})
        assert int(refused.headers["retry-after"]) >= 1
        assert guesser.get("/login").status_code == 200  # to look at the page costs nothing


def test_rule_15_a_mistake_inside_is_a_sentence_without_a_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = serving.app(tmp_path)

    @gate.app.get("/v1/broken")  # type: ignore[attr-defined,untyped-decorator]
    def broken() -> None:
        raise ZeroDivisionError("secret of the house")

    with serving.client(gate) as client:
        answer = client.get("/v1/broken")
    assert answer.status_code == 500
    assert answer.json() == {
        "code": "fault",
        "why": "a mistake inside tuner: ZeroDivisionError. The service's own output tells where.",
    }
    assert "secret of the house" in caplog.text


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>'\"`",
    "</textarea><svg/onload=alert(3)>",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "javascript:alert(4)",
    '=HYPERLINK("http://evil.example")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "a\r\nSet-Cookie: mine=1\r\n\r\n<b>",
    "data: {}\rid: 7\r\revent: mine",
    "\u202e\u2028backwards",
    "%0d%0a%00..%2f..%2fetc%2fpasswd",
]


@pytest.fixture(scope="module")
def soiled(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """A service over a study in which people and programs wrote whatever might harm whoever reads it."""
    results = tmp_path_factory.mktemp("soiled")
    with diary(results) as store:
        for number, text in enumerate(HOSTILE):
            store.append([beginning(number)[0], segment(number, why=text, by=text), beginning(number)[2]], NOON)
            over = replace(ended(number, 0.5, "failed"), why=text, error=text, traceback=text, node=text)
            noted = Noted(trial=number, step=None, by=text, text=text, at=NOON)
            store.append([over, noted, answered(f"r{number}", "rejected", text, NOON)], NOON)
            store.request("note", {"text": text}, by=text, why=text, request=f"r{number}")
    return serving.app(results)


def test_rule_15_what_anybody_wrote_is_data_in_every_answer_of_the_api(soiled: Gate) -> None:
    paths = [
        path for method, path in routes(soiled) if method == "GET" and path.startswith("/v1") and "events" not in path
    ]
    paths += [f"/v1/studies/night/trials/{number}" for number in range(len(HOSTILE))]
    paths += [f"/v1/studies/night/requests/r{number}" for number in range(len(HOSTILE))]
    paths += [f"/v1/studies/night/tables/{name}.jsonl" for name in tuner.tables.COLUMNS]
    paths += ["/v1/studies/night/records?tables=notes,trials_ended,requests"]
    harmless, found = {clean(text) for text in HOSTILE}, set[str]()
    with serving.client(soiled) as client:
        for path in paths:
            answer = client.get(path)
            kind = answer.headers["content-type"].split(";")[0]
            assert kind in ("application/json", "application/jsonl", "text/csv"), (path, kind)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "set-cookie" not in answer.headers
            found |= {text for text in harmless if json.dumps(text)[1:-1] in answer.text or text in answer.text}
    assert found == harmless, "the corpus was not in what was read"


def test_rule_15_a_table_runs_no_formula_where_it_is_opened(soiled: Gate) -> None:
    with serving.client(soiled) as client:
        for name in tuner.tables.COLUMNS:
            answer = client.get(f"/v1/studies/night/tables/{name}.csv")
            assert answer.headers["content-disposition"].startswith("attachment")
            for row in csv.reader(io.StringIO(answer.text, newline="")):
                assert not [cell for cell in row if cell[:1] in ("=", "+", "@") or cell[:4] == "-1+c"], name


def test_rule_15_what_is_refused_quotes_nothing_but_as_data(soiled: Gate) -> None:
    with serving.client(soiled) as client:
        for text in HOSTILE:
            quoted = quote(text, safe="")
            answers = [
                client.get(f"/v1/studies/{quoted}"),
                client.get("/v1/studies/night/trials", params={"state": text}),
                client.get("/v1/studies/night/curves", params={"trials": text}),
                client.get(f"/v1/studies/night/tables/{quoted}.csv"),
                client.get(f"/v1/{quoted}"),
                client.put(f"/v1/studies/night/requests/{quoted}", json={"verb": text}),
                client.put("/v1/studies/night/requests/new", json={"verb": text, "why": text, "by": text}),
                client.put("/v1/studies/dawn", json={"executor": text, "space": text, "objective": text}),
                client.put("/v1/studies/dawn", json={"executor": "external", "space": text, "objective": "score"}),
                client.post("/v1/studies/night/ask", json={"worker": text, text: text}),
                client.post("/v1/studies/night/trials/0/tell", json={"segment": 0, "state": text, "why": text}),
                client.post("/mcp", content=json.dumps(text), headers={"content-type": "application/json"}),
            ]
            for answer in answers:
                assert 400 <= answer.status_code < 500, (text, answer.request.url, answer.status_code)
                assert answer.headers["content-type"].split(";")[0] == "application/json", answer.request.url
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert "set-cookie" not in answer.headers
                assert "Traceback" not in answer.text


def test_rule_17_what_a_proxy_says_counts_only_where_it_was_asked_for(tmp_path: Path) -> None:
    said = {"x-forwarded-host": "lab.example", "x-forwarded-proto": "https", "origin": "https://lab.example"}
    for trusts, statuses in ((False, 403), (True, 200)):
        door = Door.on(8765, allowed=("lab.example",), trusts_proxy=trusts, root_path="/tuner")
        with serving.client(serving.app(tmp_path, door=door)) as client:
            for path in ("/v1/studies", "/tuner/v1/studies"):
                assert client.get(path, headers=said).status_code == statuses
            if trusts:
                entered = client.post("/tuner/login", data={"token": OPERATOR}, headers=said)
                assert "Secure" in entered.headers["set-cookie"]
                assert "Path=/tuner" in entered.headers["set-cookie"]
                assert 'url=/tuner/"' in entered.text
    with serving.client(serving.app(tmp_path)) as client:
        assert client.get("/v1/studies", headers={"x-forwarded-host": "evil.example"}).status_code == 200


def test_rule_13_a_name_is_no_path_and_nothing_is_fetched_by_one(gate: Gate) -> None:
    with serving.client(gate) as client:
        for name in (
            "..",
            "%2e%2e",
            "..%2f..%2fetc",
            "night%2f..",
            "night%00",
            ".service",
            "a" * 101,
            "-x",
            "~",
            "%5c",
        ):
            for rest in ("", "/trials", "/tables/trials.csv", "/records"):
                assert client.get(f"/v1/studies/{name}{rest}").status_code in (404, 422), (name, rest)
        for table in ("..%2f..%2fstudy.db", "study.db", "trials.py", "..csv", "%2fetc%2fpasswd.csv"):
            assert client.get(f"/v1/studies/night/tables/{table}").status_code in (404, 422), table


def test_rule_14_a_page_has_a_thousand_rows_at_most(gate: Gate) -> None:
    with serving.client(gate) as client:
        assert client.get("/v1/studies/night/trials?limit=1000").status_code == 200
        assert client.get("/v1/studies/night/trials?limit=1001").status_code == 422


def test_rule_14_there_are_a_hundred_streams_at_most(tmp_path: Path) -> None:
    sweep(tmp_path, trials=3).close()
    gate = serving.app(tmp_path)  # one that nobody has closed

    async def crowd() -> tuple[int, int]:
        """The answers to the last of a hundred listeners, and to the one after."""
        statuses: list[int] = []

        async def listen() -> None:
            async def nothing() -> Any:
                await asyncio.Event().wait()

            async def heard(message: Any) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])

            headers = [(b"host", b"127.0.0.1:8765"), (b"authorization", f"Bearer {VIEWER}".encode())]
            path = "/v1/studies/night/events"
            scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
            await gate(scope, nothing, heard)

        listeners = []
        for number in range(1, 102):
            listeners.append(asyncio.create_task(listen()))
            async with asyncio.timeout(30):
                while len(statuses) < number:
                    await asyncio.sleep(0.001)
        for each in listeners:
            each.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
        return statuses[99], statuses[100]

    assert asyncio.run(crowd()) == (200, 503)


def test_rule_16_nothing_is_called_from_the_service(tmp_path: Path) -> None:
    sweep(tmp_path, trials=3).close()
    told = subprocess.run(
        [sys.executable, "-c", _WATCHED, str(tmp_path)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert told.returncode == 0, told.stderr
    answered, called = json.loads(told.stdout)
    assert answered > 8
    assert called == []


_WATCHED = """
import json, sys
from pathlib import Path
called = []
def watch(event, given):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"):
        called.append([event, repr(given[1:])])
sys.addaudithook(watch)
import serving
from test_server_security import routes
gate, answered = serving.app(Path(sys.argv[1])), 0
with serving.client(gate) as client:
    for method, path in routes(gate):
        if not path.endswith("/events"):
            client.request(method, path, json={})
            answered += 1
print(json.dumps([answered, called]))
"""


def test_rule_18_what_is_launched_has_rays_token_and_not_the_services(tmp_path: Path) -> None:
    code = (
        "import json, os, pathlib\n"
        "def train(run):\n"
        "    pathlib.Path(__file__).with_name('found').write_text(json.dumps(dict(os.environ)))\n"
        "    run.report(score=1.0)\n"
    )
    (tmp_path / "mine.py").write_text(code)
    rays = "ray-" + "r" * 40
    environment = {**os.environ, "RAY_AUTH_TOKEN": rays, "TUNER_TOKEN": OPERATOR, "TUNER_VIEWER_TOKEN": VIEWER}
    told = subprocess.run(
        [sys.executable, "-c", _LAUNCHING, str(tmp_path)],
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert told.returncode == 0, told.stderr
    wait_until((tmp_path / "results" / "dawn" / "study.db").exists)
    wait_until(lambda: tuner.studies(tmp_path / "results")[0].activity == "idle")
    inherited = json.loads((tmp_path / "found").read_text())
    assert inherited["RAY_AUTH_TOKEN"] == rays
    assert not {OPERATOR, VIEWER} & set(inherited.values())
    written = b"".join(each.read_bytes() for each in (tmp_path / "results").rglob("*") if each.is_file())
    assert not [token for token in (rays, OPERATOR, VIEWER) if token.encode() in written]


_LAUNCHING = """
import os, sys
from pathlib import Path
import serving
from tuner.server.app import create_app
from tuner.server.tokens import Tokens, taken_from
home = Path(sys.argv[1])
gate = create_app(home / "results", Tokens(taken_from(os.environ), b"secret"), projects=home)
body = {"train": "mine:train", "space": "sgd_momentum", "objective": "score", "trials": 1, "executor": "local"}
with serving.client(gate) as client:
    answer = client.put("/v1/studies/dawn", json=body)
assert answer.status_code in (200, 201), answer.text
"""


def test_rule_19_the_threats_are_written_down() -> None:
    told = (Path(__file__).parents[1] / "SECURITY.md").read_text()
    for heading in ("What is protected", "From whom", "What is not", "Tell of a hole"):
        assert f"## {heading}" in told
    for word in ("--projects", "--insecure", "--allow-host", "0600", "0700", "viewer", "TUNER_TOKEN"):
        assert word in told


def test_every_rule_has_a_test_of_its_number() -> None:
    told = "".join(each.read_text() for each in Path(__file__).parent.glob("test_*.py"))
    numbers = {int(number) for number in re.findall(r"^def test_rule_(\d+)_", told, re.MULTILINE)}
    assert numbers == set(range(1, 21))
