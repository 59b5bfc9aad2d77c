"""What all tests start from, and what several test files say about a study."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import clusters
import pytest
from hypothesis import HealthCheck, settings

from tuner.record.state import StudyState

pytest_plugins = ["processes", "postgres", "side_by_side"]

# A shell starts what runs in its background deaf to Ctrl-C, and so would be all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Ray lets whatever else runs on the machine go before its workers, so that beside a busy loop they would hardly get on.
os.environ.setdefault("RAY_worker_niceness", "0")

# Tests read what a person does, unless they say otherwise: stdout is no terminal in any of them.
os.environ.setdefault("TUNER_OUTPUT", "text")

# How long an example takes says how busy the machine is, and nothing about tuner.
settings.register_profile(
    "quick", max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", parent=settings.get_profile("quick"), max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster of one node with four CPUs, shared by all tests of a session."""
    pytest.importorskip("ray.cluster_utils")
    with clusters.running() as address:
        yield address


@pytest.fixture(scope="module", params=["in folders", "in a team's database"])
def new_store(request: pytest.FixtureRequest) -> Iterator[Callable[[], str | None]]:
    """Where records are to lie: each in its study's folder (None), or all in a new database of one server."""
    if request.param == "in folders":
        yield lambda: None
        return
    yield request.getfixturevalue("team_server").database


def facts(state: StudyState) -> dict[str, Any]:
    """Everything the fold knows, curves included, so that two folds can be compared."""
    aside = ("trials", "live", "load_curves", "replaying", "moves", "moved", "counts")
    known = {spec.name: getattr(state, spec.name) for spec in fields(state) if spec.name not in aside}
    known["counts"] = {name: count for name, count in state.counts.items() if count}
    known["live"] = sorted(state.live)
    known["trials"] = [
        {spec.name: getattr(trial, spec.name) for spec in fields(trial) if spec.name != "curve"}
        | {"curve": (list(state.curve(trial).steps), list(map(repr, state.curve(trial).scores)))}
        for trial in state.trials
    ]
    return known
