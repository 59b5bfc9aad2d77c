"""The service reads a study as `tuner.open` does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving
from starlette.testclient import TestClient
from sweeping import sweep

import tuner
from tuner.record.curve import Curve
from tuner.views.thinning import thinned


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    sweep(results, trials=12, seed=3).close()
    return results


@pytest.fixture(scope="module")
def night(folder: Path) -> Iterator[TestClient]:
    with serving.client(serving.app(folder), serving.VIEWER) as client:
        yield client


def test_the_list_has_a_line_for_each_study(night: TestClient) -> None:
    [line] = night.get("/v1/studies").json()["studies"]
    assert (line["name"], line["kind"], line["trials"], line["activity"]) == ("night", "sweep", 12, "idle")


def test_a_study_is_as_it_is_when_opened(night: TestClient, folder: Path) -> None:
    facts = night.get("/v1/studies/night").json()
    with tuner.open("night", results=folder) as study:
        assert study.best is not None
        assert facts["best"] == {
            "trial": study.best.trial,
            "score": study.best.score,
            "step": study.best.step,
            "params": study.best.params,
        }
        assert (facts["objective"], facts["goal"], facts["coordinator"]) == ("score", "maximize", None)
        assert facts["states"] == {word: count for word, count in study.state.counts.items() if count}
        assert facts["sequence"] == study.sequence


def test_pages_of_trials_hold_each_trial_once(night: TestClient) -> None:
    numbers, after = [], -1
    while after is not None:
        page = night.get("/v1/studies/night/trials", params={"after": after, "limit": 5}).json()
        assert page["of"] == 12
        assert page["shown"] == len(page["trials"])
        numbers += [each["trial"] for each in page["trials"]]
        after = page["next"]
    assert numbers == list(range(12))


def test_trials_are_found_by_their_state(night: TestClient, folder: Path) -> None:
    with tuner.open("night", results=folder) as study:
        counts = study.state.counts
    for state, count in counts.items():
        page = night.get("/v1/studies/night/trials", params={"state": state}).json()
        assert page["of"] == count
        assert {each["state"] for each in page["trials"]} <= {state}


def test_a_trial_tells_all_of_itself(night: TestClient, folder: Path) -> None:
    told = night.get("/v1/studies/night/trials/4").json()
    with tuner.open("night", results=folder) as study:
        trial = study.trial(4)
        assert (told["params"], told["score"], told["why"]) == (dict(trial.params), trial.best_score, trial.why)
        assert [each["cause"] for each in told["segments"]] == [each.cause for each in trial.segments]


def test_curves_are_those_of_the_study(night: TestClient, folder: Path) -> None:
    told = night.get("/v1/studies/night/curves", params={"trials": "0,4-6"}).json()
    with tuner.open("night", results=folder) as study:
        for line in told["curves"]:
            curve = study.curve(line["trial"])
            assert (line["steps"], line["scores"]) == (list(curve.steps), list(curve.scores))
        assert told["shown"] == told["of"] == sum(len(study.curve(each)) for each in (0, 4, 5, 6))
        assert night.get("/v1/studies/night/curves").json()["of"] == sum(len(study.curve(each)) for each in range(12))


def test_a_thinned_curve_says_how_much_of_how_much_it_shows(night: TestClient) -> None:
    told = night.get("/v1/studies/night/curves", params={"points": 4}).json()
    assert told["shown"] < told["of"]
    assert all(len(each["steps"]) <= 4 for each in told["curves"])


def test_rounds_tell_their_box_and_reason(night: TestClient, folder: Path) -> None:
    rounds = night.get("/v1/studies/night/rounds").json()["rounds"]
    with tuner.open("night", results=folder) as study:
        assert [each["why"] for each in rounds] == [each.why for each in study.state.rounds]
    assert sum(each["trials"] for each in rounds) == 12


def test_what_is_not_there_is_said_in_a_sentence(night: TestClient) -> None:
    for path, word in (
        ("/v1/studies/nigth", "Did you mean night"),
        ("/v1/studies/night/trials/99", "12 began"),
        ("/v1/studies/night/curves?trials=99", "12 began"),
        ("/v1/nothing", "nothing at /v1/nothing"),
    ):
        answer = night.get(path)
        assert answer.status_code == 404
        assert word in answer.json()["why"]
    for path in ("/v1/studies/..%2f", "/v1/studies/night/trials?limit=1001", "/v1/studies/night/curves?trials=x"):
        assert night.get(path).status_code in (404, 422)


def test_what_is_written_meanwhile_is_seen_at_once(tmp_path: Path) -> None:
    sweep(tmp_path, trials=3).close()
    with serving.client(serving.app(tmp_path)) as client:
        assert client.get("/v1/studies/night").json()["trials"] == 3
        sweep(tmp_path, trials=5).close()
        assert client.get("/v1/studies/night").json()["trials"] == 5
        assert client.get("/v1/studies/night/curves").json()["trials"] == 5


def test_a_study_that_was_replaced_is_not_mixed_with_the_old_one(tmp_path: Path) -> None:
    sweep(tmp_path, trials=3).close()
    with serving.client(serving.app(tmp_path)) as client:
        client.get("/v1/studies/night")
        (tmp_path / "night").rename(tmp_path / "before")
        sweep(tmp_path, trials=2, seed=8).close()
        assert client.get("/v1/studies/night").json()["trials"] == 2
        assert client.get("/v1/studies/before").json()["trials"] == 3


def test_thinning_keeps_the_extremes_and_moves_no_old_point() -> None:
    scores = [math.sin(step / 7) + (9 if step == 333 else 0) for step in range(5000)]
    shown: dict[int, set[int]] = {}
    for length in range(100, 5000, 37):
        steps, _ = thinned(Curve(enumerate(scores[:length])), 64)
        assert len(steps) <= 64
        assert steps[-1] == length - 1
        assert length < 334 or 333 in steps
        shown[length] = set(steps[:-1].tolist())
    # while buckets stay as wide, or double: what is shown of an older stretch is part of what was
    for length, later in zip(shown, list(shown)[1:], strict=False):
        width = max(1, length // 16)
        old = {step for step in shown[later] if step < length - 2 * width}
        assert old <= shown[length]


def test_a_short_curve_is_shown_whole_and_what_is_missing_never_wins() -> None:
    steps, scores = thinned(Curve(enumerate([1.0, math.nan, 3.0])), 4)
    assert steps.tolist() == [0, 1, 2]
    assert math.isnan(scores[1])
    steps, _ = thinned(Curve(enumerate([math.nan, 2.0, math.nan, 5.0, 1.0, math.nan])), 5)
    assert {1, 3, 4} & set(steps.tolist())
