from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tuner.errors import StudyError
from tuner.record import events as rec
from tuner.record.events import RequestState
from tuner.record.reports import pack_reports
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.space.constructors import choice, integer, linear, log, log_one_minus
from tuner.space.space import Space
from tuner.tables import frames as tables

NOON = 1_700_000_000.0
SPACE = Space(
    learning_rate=log(1e-4, 1.0),
    beta=log_one_minus(0.9, 0.999),
    hidden_units=integer(50, 100),
    optimizer=choice("momentum", "adam"),
    nesterov=choice(False, True, when={"optimizer": "momentum"}),
    warmup=choice(None, 10, "auto"),
)
SETTINGS = {
    "learning_rate": 0.01,
    "beta": 0.99,
    "hidden_units": 64,
    "optimizer": "momentum",
    "nesterov": True,
    "warmup": None,
}


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store.in_memory()
    store.acquire(time.time())
    yield store
    store.close()


def opened(goal: str = "maximize") -> rec.StudyOpened:
    identity = {"objective": "dev_accuracy", "goal": goal, "space": SPACE.to_dict()}
    return rec.StudyOpened(
        name="night", kind="sweep", identity=identity, function="a:train", source_sha256="", version="0", at=NOON
    )


def created(trial: int, **changes: object) -> rec.TrialCreated:
    plain = dict(
        trial=trial,
        purpose="search",
        round=None,
        parent=None,
        seed=7,
        params=SETTINGS,
        seen=0,
        why="drawn",
        memo=None,
        at=NOON,
    )
    return rec.TrialCreated(**plain | changes)  # type: ignore[arg-type]


def segment(trial: int, number: int = 0, **changes: object) -> rec.SegmentOpened:
    plain = dict(
        trial=trial,
        segment=number,
        parent_segment=None,
        from_step=0,
        checkpoint=None,
        cause="start",
        by="tuner",
        why="a new trial",
        params=None,
        at=NOON,
    )
    return rec.SegmentOpened(**plain | changes)  # type: ignore[arg-type]


def started(trial: int, number: int = 0) -> rec.TrialStarted:
    return rec.TrialStarted(trial=trial, segment=number, worker="w0", node="node-3", pid=1, at=NOON + 1)


def reported(trial: int, scores: dict[int, float], number: int = 0, name: str = "dev_accuracy") -> rec.Reported:
    return pack_reports(trial, number, [(step, name, score, NOON + step) for step, score in scores.items()])


def ended(trial: int, state: str, step: int, best: tuple[int, float] | None = None, number: int = 0) -> rec.TrialEnded:
    best_step, best_score = best or (None, None)
    return rec.TrialEnded(
        trial=trial,
        segment=number,
        state=state,  # type: ignore[arg-type]
        why=f"{state} at step {step}",
        step=step,
        best_step=best_step,
        best_score=best_score,
        started=NOON + 1,
        seconds=2.5,
        node="node-3",
        error="",
        traceback="",
        at=NOON + 9,
    )


def whole(trial: int, scores: dict[int, float], state: str = "completed", **changes: Any) -> list[rec.Record]:
    best = max(scores.items(), key=lambda pair: pair[1]) if scores else None
    flush = [reported(trial, scores)] if scores else []
    life: list[rec.Record] = [created(trial, **changes), segment(trial), started(trial)]
    return [*life, *flush, ended(trial, state, max(scores, default=0), best)]


def fold(store: Store, *records: rec.Record) -> StudyState:
    study = StudyState()
    for record in records:
        study.apply(record)
    store.append([record for record in records if not isinstance(record, rec.Requested)], time.time())
    return study


def reverted(store: Store) -> StudyState:
    """A trial that trained to step 4, went back to 2 with another learning rate, and came to 3."""
    faster = SETTINGS | {"learning_rate": 0.1}
    return fold(
        store,
        opened(),
        created(0),
        segment(0),
        started(0),
        reported(0, {1: 0.1, 2: 0.2, 3: 0.9, 4: 0.05}),
        segment(0, 1, parent_segment=0, from_step=2, cause="revert", by="ada", params=faster),
        started(0, 1),
        reported(0, {3: 0.3}, 1),
    )


# ── the contract ────────────────────────────────────────────────────────────────────────────────


def test_every_table_has_the_columns_that_scripts_rely_on(store: Store) -> None:
    params = [f"params.{name}" for name in SPACE]
    expected = {
        "trials": [
            *("trial", "purpose", "state", "why", "round", "parent", "seed", *params, "one_minus.beta"),
            *("objective", "spread", "best_step", "score.dev_accuracy", "steps", "started", "seconds", "node"),
        ],
        "reports": ["trial", "segment", "step", "name", "value", "head", "at"],
        "segments": ["trial", "segment", "parent_segment", "from_step", "to_step", "cause", "by", "why", *params],
        "rounds": ["round", "parameter", "scale", "low", "high", "trials", "best", "diverged", "why"],
        "adjustments": [
            *("request", "trial", "step", "parameter", "before", "after", "read_back", "by", "why"),
            *("evidence", "requested_at", "accepted_at", "verdict"),
        ],
        "checkpoints": ["checkpoint", "trial", "segment", "step", "kind", "bytes", "sha256", "path", "kept"],
        "notes": ["trial", "step", "by", "text", "at"],
        "requests": ["request", "verb", "arguments", "by", "why", "state", "detail", "at"],
    }
    built = built_all(fold(store, opened()), store, SPACE)
    built["winners"] = tables.winners([], fold(store, opened()), SPACE)
    expected["winners"] = ["which", "trial", *params, "one_minus.beta", "score", "doubt", "tried"]
    assert {name: list(frame) for name, frame in built.items()} == expected


def built_all(study: StudyState, store: Store, space: Space) -> dict[str, pd.DataFrame]:
    """All tables of a study, as an export writes them."""
    return {name: pd.concat(list(rows)) for name, rows in tables.all_in_chunks(study, store, space).items()}


def test_an_empty_table_has_the_dtypes_of_a_full_one(store: Store) -> None:
    study = fold(store, opened())
    empty = built_all(study, store, SPACE)
    for record in every_kind():
        study.apply(record)
    store.append([record for record in every_kind() if not isinstance(record, rec.Requested)], time.time())
    store.request("set", {"learning_rate": 0.1}, "ada", "slow")
    full = built_all(study, store, SPACE)
    for name, frame in full.items():
        assert len(frame) > 0, name
        assert len(empty[name]) == 0, name
        kinds = [{column: dtype.name for column, dtype in each.dtypes.items()} for each in (empty[name], frame)]
        assert kinds[0] == kinds[1]


def every_kind() -> list[rec.Record]:
    saved = dict(trial=0, segment=0, step=2, kind="periodic", bytes=10, sha256="ab", at=NOON)
    return [
        rec.RoundOpened(round=0, first_trial=0, box={}, seen=0, why="the whole space", at=NOON),
        *whole(0, {1: 0.5, 2: 0.75}, round=0),
        rec.CheckpointSaved(checkpoint=0, path="checkpoints/0/0-2", **saved),  # type: ignore[arg-type]
        rec.CheckpointSaved(checkpoint=1, path="checkpoints/0/0-3", **saved),  # type: ignore[arg-type]
        rec.CheckpointDropped(checkpoint=0, why="space", at=NOON),
        rec.Noted(trial=None, step=None, by="ada", text="day 2", at=NOON),
        rec.Adjusted(
            request="r1",
            trial=0,
            step=2,
            parameter="learning_rate",
            before=0.01,
            after=0.1,
            read_back=0.1,
            by="ada",
            why="slow",
            evidence="flat for 9 steps",
            requested_at=NOON,
            accepted_at=NOON + 1,
        ),
        rec.Judged(request="r1", verdict="better", evidence="0.75 beats 0.5", at=NOON),
    ]


def test_a_wrong_table_name_is_answered_with_the_nearest(store: Store) -> None:
    with pytest.raises(StudyError, match="Did you mean reports"):
        tables.build("report", StudyState(), store, SPACE)


# ── trials ──────────────────────────────────────────────────────────────────────────────────────


def test_trials_show_settings_as_recorded_and_leave_inactive_ones_missing(store: Store) -> None:
    adam = {name: value for name, value in SETTINGS.items() if name != "nesterov"} | {"optimizer": "adam", "warmup": 10}
    study = fold(store, opened(), *whole(0, {1: 0.5}), *whole(1, {1: 0.25}, params=adam))
    frame = tables.trials(study, store, SPACE)
    assert frame["params.learning_rate"].tolist() == [0.01, 0.01]
    assert frame["params.hidden_units"].dtype == "Int64"
    assert frame["params.nesterov"].tolist() == [True, pd.NA]
    assert frame["params.warmup"].tolist() == [None, 10]
    assert frame["one_minus.beta"].tolist() == [1 - 0.99] * 2
    assert frame["objective"].tolist() == [0.5, 0.25]
    assert frame["started"].dt.tz is not None
    assert frame["started"][0] == pd.Timestamp("2023-11-14 22:13:21", tz="UTC")


def test_a_trial_that_waits_has_no_score_no_start_and_no_node(store: Store) -> None:
    frame = tables.trials(fold(store, opened(), created(0), segment(0)), store, SPACE)
    assert frame["state"].tolist() == ["waiting"]
    assert frame[["objective", "best_step", "started", "node", "round", "parent"]].isna().all(axis=None)


def test_trials_show_every_score_as_it_was_at_the_best_step(store: Store) -> None:
    losses = {1: 0.9, 2: 0.4, 3: 0.3}
    study = fold(
        store,
        opened(),
        created(0),
        segment(0),
        started(0),
        reported(0, {1: 0.5, 2: 0.8, 3: 0.7}),
        reported(0, losses, name="train_loss"),
        *whole(1, {1: 0.6}),
        created(2),
        segment(2),
    )
    frame = tables.trials(study, store, SPACE)
    assert frame["best_step"].tolist() == [2, 1, pd.NA]
    assert frame["score.dev_accuracy"].tolist()[:2] == frame["objective"].tolist()[:2] == [0.8, 0.6]
    assert frame["score.train_loss"][0] == 0.4
    assert frame["score.train_loss"][1:].isna().all()


def test_a_score_of_an_abandoned_tail_is_not_the_one_at_the_best_step(store: Store) -> None:
    study = reverted(store)
    frame = tables.trials(study, store, SPACE)
    assert (frame["best_step"][0], frame["score.dev_accuracy"][0]) == (3, 0.3)


def test_settings_beyond_the_space_get_columns_of_their_own(store: Store) -> None:
    study = fold(store, opened(), *whole(0, {1: 0.5}, params=SETTINGS | {"dropout": 0.5, "patience": 3}))
    frame = tables.trials(study, store, SPACE)
    assert frame["params.dropout"].dtype == "float64"
    assert frame["params.patience"].dtype == "Int64"
    assert list(tables.trials(study, store))[7:9] == ["params.learning_rate", "params.beta"]


# ── reports and segments ────────────────────────────────────────────────────────────────────────


def test_reports_keep_the_abandoned_tail_and_say_that_it_does_not_count(store: Store) -> None:
    frame = tables.reports(reverted(store), store)
    assert frame["step"].tolist() == [1, 2, 3, 4, 3]
    assert frame["head"].tolist() == [True, True, False, False, True]
    assert frame["value"].tolist() == [0.1, 0.2, 0.9, 0.05, 0.3]


def test_names_of_scores_hold_across_flushes_that_count_them_differently(store: Store) -> None:
    flushes = [
        pack_reports(0, 0, [(1, "loss", 1.0, NOON), (1, "dev_accuracy", 0.5, NOON)]),
        pack_reports(0, 0, [(2, "dev_accuracy", 0.6, NOON), (2, "loss", float("nan"), NOON)]),
    ]
    frame = tables.reports(fold(store, opened(), created(0), segment(0), started(0), *flushes), store)
    assert frame["name"].tolist() == ["loss", "dev_accuracy", "dev_accuracy", "loss"]
    assert frame["name"].dtype == "category"
    assert np.isnan(frame["value"].iloc[-1])


def test_a_report_newer_than_the_fold_is_taken_to_count(store: Store) -> None:
    study = fold(store, opened())
    store.append([created(0), segment(0), started(0), reported(0, {1: 0.5})], time.time())
    assert tables.reports(study, store)["head"].tolist() == [True]


def test_segments_say_how_far_each_recipe_came(store: Store) -> None:
    frame = tables.segments(reverted(store), store, SPACE)
    assert frame["from_step"].tolist() == [0, 2]
    assert frame["to_step"].tolist() == [4, 3]
    assert frame["parent_segment"].tolist() == [pd.NA, 0]
    assert frame["params.learning_rate"].tolist() == [0.01, 0.1]
    assert frame["by"].tolist() == ["tuner", "ada"]


def test_a_schedule_in_place_of_a_number_is_shown_as_it_is(store: Store) -> None:
    cosine = {"schedule": "cosine", "over": 2000}
    study = fold(store, opened(), created(0), segment(0, params=SETTINGS | {"learning_rate": cosine}))
    assert tables.segments(study, store, SPACE)["params.learning_rate"].tolist() == [cosine]


# ── rounds ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("goal", "best"), [("maximize", 0.5), ("minimize", 0.25)])
def test_rounds_give_each_box_in_values_with_what_came_of_it(store: Store, goal: str, best: float) -> None:
    box = {"learning_rate": [0.25, 0.5], "beta": [0.5, 1.0]}
    study = fold(
        store,
        opened(goal),
        rec.RoundOpened(round=3, first_trial=0, box=box, seen=0, why="zoom", at=NOON),
        *whole(0, {1: 0.5}, round=3),
        *whole(1, {1: 0.25}, round=3),
        *whole(2, {1: 0.9}, "diverged", round=3),
        *whole(3, {1: 0.99}),
        *whole(4, {}, "failed", round=3),
    )
    frame = tables.rounds(study, SPACE).set_index("parameter")
    assert frame["round"].tolist() == [3] * 6
    assert frame[["low", "high"]].T["learning_rate"].tolist() == pytest.approx([1e-3, 1e-2], rel=1e-12)
    assert frame[["low", "high"]].T["beta"].tolist() == pytest.approx([0.99, 0.999], rel=1e-12)
    assert frame[["low", "high"]].T["hidden_units"].tolist() == [50, 100]
    assert frame.loc["optimizer", ["low", "high"]].isna().all()
    assert frame.loc["beta", "scale"] == "log_one_minus"
    assert frame["best"].tolist() == [best] * 6
    assert frame["trials"].tolist() == [4] * 6
    assert frame["diverged"].tolist() == [0.25] * 6


def test_a_sampler_without_rounds_leaves_no_rows(store: Store) -> None:
    assert tables.rounds(fold(store, opened(), *whole(0, {1: 0.5})), SPACE).empty


# ── what people did ─────────────────────────────────────────────────────────────────────────────


def test_an_adjustment_carries_its_verdict_and_what_spoke_for_both(store: Store) -> None:
    fold(store, opened(), *every_kind())
    row = tables.adjustments(store).iloc[0]
    assert (row["before"], row["after"], row["verdict"]) == (0.01, 0.1, "better")
    assert "0.75" in row["evidence"]


def test_a_checkpoint_that_was_let_go_stays_in_the_table(store: Store) -> None:
    fold(store, opened(), *every_kind())
    assert tables.checkpoints(store)["kept"].tolist() == [False, True]


def test_a_request_shows_its_last_answer_and_is_received_until_then(store: Store) -> None:
    store.request("set", {"learning_rate": 0.1}, "ada", "slow", request="r1")
    store.request("pause", {}, "ada", "lunch", request="r2")
    told: tuple[tuple[RequestState, str], ...] = (("accepted", "at the next step"), ("applied", "at step 4"))
    answers = [rec.Answered(request="r1", state=state, step=4, detail=detail, at=NOON) for state, detail in told]
    fold(store, opened())
    store.append(answers, time.time())
    frame = tables.requests(store)
    assert frame["state"].tolist() == ["applied", "received"]
    assert frame["detail"].tolist() == ["at step 4", ""]
    assert frame["arguments"][0] == {"learning_rate": 0.1}


def test_a_hundred_thousand_reports_become_one_frame(store: Store) -> None:
    rows = [(step, "dev_accuracy", 0.5, NOON) for step in range(1000)]
    fold_ = fold(store, opened(), created(0), segment(0))
    store.append([pack_reports(0, 0, rows)] * 100, time.time())
    assert len(tables.reports(fold_, store)) == 100_000


def test_a_space_of_another_kind_is_read_as_declared(store: Store) -> None:
    space = Space(rate=linear(0.0, 1.0), levels=choice(0, 0.5))
    study = fold(store, opened(), *whole(0, {1: 0.5}, params={"rate": 1, "levels": 0}))
    assert tables.trials(study, store, space)[["params.rate", "params.levels"]].dtypes.tolist() == [
        "float64",
        "float64",
    ]
