"""Whatever a trial says ends that trial at most, and whatever a person types is refused at most."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sweeping import usually

import tuner
from tuner import Space, integer, linear
from tuner.errors import TrainingError, format_error, quoted
from tuner.record.events import Noted
from tuner.record.store import Store
from tuner.values.plain import clean, tidy

SPACE = Space(x=linear(0.0, 1.0))
FEW = settings(
    max_examples=settings().max_examples // 4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)

STRAY = os.fsdecode(b"caf\xe9")  # as a shell hands over a byte that is no UTF-8


# Each trial's number is its `n`.
sweep = usually(space=SPACE, name="s", trials=2, sampler="grid", stopping="off", failures_in_a_row=99)


# ── what a trial says ───────────────────────────────────────────────────────────────────────────


class Unsayable(Exception):
    """It cannot be told."""

    def __str__(self) -> str:
        raise SystemExit("not even this")

    def __repr__(self) -> str:
        raise RuntimeError("nor this")


class Unpicklable(Exception):
    """It cannot travel."""

    def __reduce__(self) -> Any:
        raise TypeError("never")


class WithBadNotes(Exception):
    """Its notes cannot be read."""

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise ValueError("no notes")


class Meta(type):
    """Its classes have no name worth the word."""

    __name__ = property(lambda self: 5)


class Nameless(Exception, metaclass=Meta):
    """Its name is a number."""


class Scalar:
    """As torch has it: a value behind `item`, and nothing else."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def item(self) -> Any:
        return self.value


class Moody:
    """A number that will not be one, and will not say so."""

    def __float__(self) -> float:
        raise RuntimeError("not today")

    def __repr__(self) -> str:
        raise RuntimeError("nor this")


def in_a_circle() -> Exception:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


TEXTS = st.one_of(
    st.text(st.characters(), max_size=40),  # lone surrogates and NUL among them
    st.sampled_from(["", "\x00", "\ud800", STRAY, "a/b", "\n", "x" * 300, "\x1b[31m", "🙂", "step", "self", "name"]),
)
EXCEPTIONS = st.one_of(
    st.builds(
        lambda kind, text: kind(text),
        st.sampled_from(
            [
                ValueError,
                SystemExit,
                KeyboardInterrupt,
                GeneratorExit,
                StopIteration,
                BaseException,
                KeyError,
                OSError,
                MemoryError,
                Unpicklable,
                WithBadNotes,
                Nameless,
                Unsayable,
                RecursionError,
                UnicodeError,
                TrainingError,
            ]
        ),
        TEXTS,
    ),
    st.builds(in_a_circle),
    st.just(ExceptionGroup("several", [ValueError(STRAY), Unsayable()])),
)
NUMBERS: st.SearchStrategy[Any] = st.one_of(
    st.floats(),
    st.integers(),
    st.booleans(),
    st.none(),
    st.complex_numbers(),
    TEXTS,
    st.decimals(),
    st.fractions(),
    st.sampled_from(
        [
            10**400,
            -(10**400),
            10**6000,
            Fraction(10**500),
            Decimal("1e9999"),
            Decimal("sNaN"),
            np.float32(0.5),
            np.int64(3),
            np.bool_(True),
            np.array(0.25),
            np.array([1.0, 2.0]),
            np.array("x"),
            Scalar(0.5),
            Scalar(None),
            Scalar(Scalar(1)),
            Moody(),
            b"0.5",
            [],
            {},
            math.nan,
            math.inf,
            object(),
        ]
    ),
)
DOES = st.one_of(
    st.tuples(st.just("report"), st.dictionaries(TEXTS, NUMBERS, max_size=3)),
    st.tuples(st.just("return"), st.one_of(NUMBERS, st.dictionaries(TEXTS | st.integers(), NUMBERS, max_size=3))),
    st.tuples(st.just("raise"), EXCEPTIONS),
    st.tuples(st.just("print"), TEXTS),
    st.tuples(st.just("steps"), NUMBERS),
    st.tuples(st.just("params"), st.sampled_from([None, 5, [], {"x": STRAY}])),
)


def do(run: tuner.Run, what: str, said: Any) -> Any:
    match what:
        case "report":
            run.report(**said)
        case "raise":
            raise said
        case "print":
            print(said.encode("utf-8", "surrogatepass"))
        case "steps":
            for step in run.steps(said):
                run.report(score=float(step))
                if step == 3:
                    break
        case "params":
            run.params = said
            raise KeyError("what was params?")
    return said if what == "return" else None


@FEW
@given(does=st.lists(DOES, min_size=5, max_size=9))
def test_whatever_trials_report_raise_print_return_or_name_ends_those_trials_at_most(
    does: list[tuple[str, Any]],
) -> None:
    left = [*does, ("report", {"score": 1.0})]  # were the first trial to fail, the sweep would be given up

    def train(run: tuner.Run) -> Any:
        run.report(score=0.5)
        return do(run, *left.pop())

    with TemporaryDirectory() as folder:
        study = sweep(folder, train, trials=len(left), sampler="random", stopping="asha")
        assert study.trials["state"].isin(["completed", "failed", "diverged", "pruned"]).all()
        assert (study.trials["why"].str.len() > 0).all()
        assert len(study.reports) >= len(study.trials) - 1
        study.export("jsonl", to=Path(folder) / "t")
        with contextlib.closing(tuner.open("s", results=folder)) as again:
            assert again.trials["why"].tolist() == study.trials["why"].tolist()
            assert all(again.traceback(trial.trial) for trial in again.state.trials if trial.state == "failed")
            str(again), again._repr_html_()
        study.close()


def test_an_exception_with_a_stray_byte_is_the_reason_of_its_trial_and_no_more(tmp_path: Path) -> None:
    def train(run: tuner.Run) -> None:
        run.report(score=1.0)
        if run.params["n"] == 1:
            raise ValueError(f"cannot read {STRAY}.png")

    study = sweep(tmp_path, train, space=Space(n=integer(1, 2)))
    assert sorted(study.trials["state"]) == ["completed", "failed"]
    assert "caf�.png" in " ".join(study.trials["why"])


def test_a_score_that_no_float_holds_has_diverged(tmp_path: Path) -> None:
    study = sweep(tmp_path, lambda run: run.report(score=10**400), trials=1)
    assert study.trials["state"].tolist() == ["diverged"]


def test_a_loop_without_an_end_in_sight_plans_no_end(tmp_path: Path) -> None:
    def train(run: tuner.Run) -> None:
        for step in run.steps(10**20):
            run.report(score=1.0)
            if step == 3:
                return

    study = sweep(tmp_path, train, stopping="auto")
    assert study.trials["state"].tolist() == ["completed", "completed"]
    assert [trial.planned for trial in study.state.trials] == [None, None]


def test_a_name_with_a_stray_byte_is_kept_readable(tmp_path: Path) -> None:
    study = sweep(tmp_path, lambda run: run.report(score=1.0, **{STRAY: 2.0}), trials=1)
    assert set(study.reports["name"]) == {"score", "caf�"}
    study.close()
    assert set(tuner.open("s", results=tmp_path).reports["name"]) == {"score", "caf�"}


@pytest.mark.parametrize(
    ("report", "word"),
    [
        (lambda run: run.report({"score": 1.0}), "by name"),
        (lambda run: run.report(), "by name"),
        (lambda run: run.report(score=1.0, step=3), "leave step="),
        (lambda run: run.report(score="0.5"), "one number"),
        (lambda run: run.report(score=None), "NoneType"),
        (lambda run: run.report(score=1j), "complex"),
        (lambda run: run.report(**{"": 1.0}), "1 to 200 characters"),
        (lambda run: run.report(**{"x" * 201: 1.0}), "got 201"),
        (lambda run: [run.report(**{f"loss of batch {n}": 1.0}) for n in range(10_001)], "10,000 names"),
        (lambda run: run.steps(math.inf), "while run.step()"),
        (lambda run: run.steps("10"), "whole number"),
        (lambda run: run.steps(-1), "0 or more"),
        (lambda run: run.state(), "nothing to save"),
        (lambda run: run.state(5), "state_dict"),
        (lambda run: run.state(save=1, load=2), "function"),
        (lambda run: tuner.Run(5), "settings by name"),  # type: ignore[arg-type]
    ],
)
def test_what_a_run_cannot_take_is_said_where_it_is_written(report: Callable[[tuner.Run], Any], word: str) -> None:
    with pytest.raises(TrainingError, match=word.replace("(", r"\(").replace(")", r"\)")):
        report(tuner.Run({"x": 1.0}))


def test_scores_of_any_class_of_number_are_taken() -> None:
    run = tuner.Run({})
    run.report(a=np.float32(0.5), b=np.array(0.5), c=Decimal("0.5"), d=Fraction(1, 2), e=Scalar(0.5), f=True, g=2**70)
    assert list(run.reports[0].scores.values()) == [0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 2.0**70]
    assert {type(score) for score in run.reports[0].scores.values()} == {float}


# ── what people and other programs ask ──────────────────────────────────────────────────────────

VERBS = (
    "pause",
    "resume",
    "note",
    "pause_trial",
    "resume_trial",
    "stop_trial",
    "add",
    "set_box",
    "set_parallel",
    "set",
    "schedule",
    "step",
    "checkpoint",
    "revert",
    "undo",
    "extend",
)
WORDS = (
    "text",
    "trial",
    "settings",
    "ranges",
    "parallel",
    "values",
    "at",
    "expect",
    "evidence",
    "parameter",
    "shape",
    "shape_settings",
    "steps",
    "step",
    "checkpoint",
    "keep_settings",
    "release",
    "before",
)
PLAIN: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON: st.SearchStrategy[Any] = st.recursive(
    PLAIN | st.sampled_from(["x", "cosine", 2**70, -1, 10**30, 1e308]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("x"), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.tuples(
    st.sampled_from(VERBS) | TEXTS | st.binary(max_size=9),
    st.dictionaries(st.sampled_from(WORDS) | TEXTS, JSON, max_size=4).map(json.dumps)
    | JSON.map(json.dumps)
    | TEXTS
    | st.binary(max_size=30)
    | st.sampled_from(["[" * 5000, "{", '{"steps": 1e999}', "NaN"]),
    TEXTS | st.binary(max_size=9) | st.integers(-5, 5),
    st.floats(allow_nan=False) | st.sampled_from(["soon", b"\xff", 2**62]),
)


def as_sqlite_takes_it(value: Any) -> Any:
    """A text with stray bytes as another program would write them: as they are, in a column of texts."""
    return (
        value.encode("utf-8", "surrogateescape" if value.isprintable() else "surrogatepass")
        if isinstance(value, str)
        else value
    )


def insert(database: Path, rows: list[tuple[Any, Any, Any, Any]]) -> None:
    """What another program writes straight into the table of requests."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for number, (verb, arguments, by, at) in enumerate(rows):
            raw = [as_sqlite_takes_it(each) for each in (f"r{number}", verb, arguments, by, by)]
            connection.execute(
                "INSERT INTO requests (request, verb, arguments, by, why, at) VALUES (CAST(? AS TEXT), CAST(? AS TEXT),"
                " CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?)",
                (*raw, at),
            )


def everything_reads(name: str, folder: str) -> tuner.Study:
    """Reads a study in every way there is."""
    from tuner.cli import pages
    from tuner.room.language import format_request
    from tuner.views.terminal import summary

    study = tuner.open(name, results=folder)
    study.export("jsonl", to=Path(folder) / "tables")
    str(study), study._repr_html_()
    summary(study)
    if study.state.kind == "babysitting":
        study.export("markdown", to=Path(folder))
        study.advice()
    for request in study.state.requests.values():
        format_request(request.verb, request.arguments, request.why)
        assert request.state in ("applied", "rejected", "expired", "superseded"), request
    assert pages is not None
    return study


@pytest.mark.long
@FEW
@given(rows=st.lists(ROWS, min_size=1, max_size=12))
def test_a_sweep_refuses_or_does_whatever_stands_in_the_table_of_requests(rows: list[tuple[Any, ...]]) -> None:
    def train(run: tuner.Run) -> None:
        for _ in run.steps(2):
            run.report(score=run.params["x"])

    with TemporaryDirectory() as folder:
        sweep(folder, train, trials=1).close()
        megabytes = json.dumps({"text": "x" * 2_000_000})
        insert(Path(folder) / "s" / "study.db", [*rows, ("note", megabytes, "me", 0.0), ("resume", "{}", "me", 0.0)])
        sweep(folder, train, trials=3, parallel=1).close()
        study = everything_reads("s", folder)
        assert len(study.state.ended_order) >= 3
        study.close()


@pytest.mark.long
@FEW
@given(rows=st.lists(ROWS, min_size=1, max_size=12))
def test_a_babysat_run_refuses_or_does_whatever_stands_in_the_table_of_requests(rows: list[tuple[Any, ...]]) -> None:
    from tuner.api import assignment, process
    from tuner.executors.local import LocalExecutor
    from tuner.worker.function import portable

    def train(run: tuner.Run) -> None:
        for step in run.steps(30):
            run.report(score=run.params["x"] * step)

    with TemporaryDirectory() as folder:
        place = Path(folder) / "one"
        assignment.assign(
            portable(train),
            place,
            name="one",
            params={"x": 0.5},
            objective="score",
            goal="maximize",
            space=None,
            seed=0,
            trial_seed=1,
            executor="local",
            cpus=1,
            gpus=0,
            address=None,
            checkpoint_every_s=10.0,
            disk_budget_gb=None,
            revert="in place",
            purpose="search",
            parent=None,
            checkpoint=None,
            from_step=0,
            extra_steps=0,
            level="advise",
            smallest_gain=None,
            why="the settings given",
        )
        Store.create(place / "study.db").close()
        extends = [(verb, arguments, by, at) for verb, arguments, by, at in rows if verb not in ("extend", "pause")]
        insert(place / "study.db", [*extends, ("resume", "{}", "me", 0.0)])
        process.run_coordinator(place, LocalExecutor(function=train))
        study = everything_reads("one", folder)
        assert study.state.trials[0].state == "completed"
        study.close()


def test_a_study_whose_requests_had_stopped_it_goes_on(tmp_path: Path) -> None:
    def train(run: tuner.Run) -> None:
        run.report(score=run.params["x"])

    sweep(tmp_path, train, trials=1).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "s" / "study.db")) as connection, connection:
        connection.execute(
            "INSERT INTO requests (request, verb, arguments, by, why, at) VALUES ('a', 'note', ?, 'me', '', 1.0)",
            (json.dumps({"text": f"{STRAY} images removed", "trial": None}),),
        )
    study = sweep(tmp_path, train, trials=2)
    assert len(study.trials) == 2
    assert study.notes["text"].tolist() == ["caf� images removed"]


# ── the border itself ───────────────────────────────────────────────────────────────────────────


@given(st.text(st.characters()))
def test_a_clean_text_can_be_written_anywhere_and_stays_as_it_is(text: str) -> None:
    once = clean(text)
    assert "\x00" not in once
    once.encode()
    assert clean(once) == once


@given(JSON)
def test_what_is_tidy_can_be_written_as_json_and_comes_back_the_same(value: Any) -> None:
    once = json.dumps(tidy(value))
    assert json.dumps(json.loads(once)) == once
    json.loads(once.encode())


def test_a_record_is_made_of_what_can_be_written_down() -> None:
    noted = Noted(trial=2**70, step=-(2**70), by=STRAY, text="x" * 1_000_000, at=0.0)
    assert (noted.trial, noted.step, noted.by) == (2**63 - 1, -(2**63), "caf�")
    assert len(noted.text) < 101_000
    assert "characters left out" in noted.text


@given(NUMBERS | EXCEPTIONS)
def test_whatever_it_is_an_error_can_quote_it(value: Any) -> None:
    assert 0 < len(quoted(value)) < 120
    if isinstance(value, BaseException):
        assert format_error(value)
