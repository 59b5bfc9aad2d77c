"""The service does as its description says, whatever it is sent: no mistake of its own, and no answer untold."""

from __future__ import annotations

from typing import Any, cast

import pytest
import schemathesis
import serving
from hypothesis import HealthCheck, given, settings
from sweeping import sweep

from tuner.server.gate import Gate

pytestmark = pytest.mark.long

HOST = {"host": f"127.0.0.1:{serving.PORT}"}
ENDLESS = "/events"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    results = tmp_path_factory.mktemp("results")
    sweep(results, trials=3).close()
    return serving.app(results)


def operations(gate: Gate) -> list[Any]:
    """Everything that the description offers, but for the stream, which ends with whoever listens."""
    bearer = {"authorization": f"Bearer {serving.OPERATOR}"}
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", gate, headers={**HOST, **bearer})
    found: list[Any] = [each.ok() for each in cast("Any", schema.get_all_operations())]
    assert len(found) > 12
    return [each for each in found if not each.path.endswith(ENDLESS)]


def called(case: Any, **headers: str) -> Any:
    if "name" in (case.path_parameters or {}):
        case.path_parameters["name"] = "night"
    case.headers = {**HOST, **headers}
    return case.call()


def test_nothing_that_is_sent_makes_it_fail_or_answer_as_it_does_not_tell(gate: Gate) -> None:
    for operation in operations(gate):
        told = set(operation.definition.raw["responses"])

        @settings(max_examples=10, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def tried(case: Any) -> None:
            answer = called(case, authorization=f"Bearer {serving.OPERATOR}")
            assert answer.status_code < 500
            assert str(answer.status_code) in told  # noqa: B023 - called before the next

        tried()


def test_nothing_is_written_and_nothing_read_without_a_token(gate: Gate) -> None:
    for operation in operations(gate):

        @settings(max_examples=3, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def tried(case: Any) -> None:
            assert called(case).status_code == 401

        tried()
