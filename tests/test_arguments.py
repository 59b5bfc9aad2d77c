"""Every public call checks what it is given, and says what to write instead."""

from __future__ import annotations

import contextlib
import enum
import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from babysat import at_home
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sweeping import usually

import tuner
from tuner import Space, choice, integer, linear, log, log_one_minus
from tuner.api.answers import Reply
from tuner.api.handles import RunHandle
from tuner.api.sweep_handle import SweepHandle
from tuner.errors import SettingsError, SpaceError, StudyError, TunerError
from tuner.record.requests import understood
from tuner.samplers import CoarseToFineSampler, GridSampler, RandomSampler, SobolSampler
from tuner.values.arguments import checked, count, one_of, plain_value


def once(run: tuner.Run) -> None:
    """A trial of one step."""
    run.report(score=float(run.params.get("x", 0.5)))


def long(run: tuner.Run) -> None:
    """A run that goes on until it is told to end."""

    class Nothing:
        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            """There is nothing."""

    run.state(Nothing())
    for _ in run.steps(100_000):
        time.sleep(0.002)
        run.report(score=float(len(dict(run.params))))


SPACE = Space(x=linear(0.0, 1.0), units=integer(1, 100))
sweep = usually(once, SPACE, trials=2, stopping="off", store="memory", sampler="random")


# ── the words of a mistake ──────────────────────────────────────────────────────────────────────

MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: sweep("r", space={"x": linear(0.0, 1.0)}), "Space(**that)"),  # type: ignore[arg-type]
    (lambda: sweep("r", space=5), "sgd_momentum"),  # type: ignore[arg-type]
    (lambda: sweep("r", trials="3"), "Write trials=3."),
    (lambda: sweep("r", trials=True), "whole number from 1 up"),
    (lambda: sweep("r", trials=0), "whole number from 1 up"),
    (lambda: sweep("r", time_budget="2h"), "Write time_budget_s=7200"),
    (lambda: sweep("r", time_budget_s="2h"), "Write time_budget_s=7200"),
    (lambda: sweep("r", n_trials=10), "Write trials=64"),
    (lambda: sweep("r", trails=10), "Did you mean trials?"),
    (lambda: sweep("r", metric="loss"), 'Write objective="dev_accuracy"'),
    (lambda: sweep("r", mode="min"), 'Write goal="minimize"'),
    (lambda: sweep("r", goal="minimise"), "Did you mean minimize?"),
    (lambda: sweep("r", seed=None), "Try seed=0"),
    (lambda: sweep("r", seed=-1), "Try seed=0"),
    (lambda: sweep("r", seed="abc"), "Try seed=0"),
    (lambda: sweep("r", retries="2"), "Write retries=2"),
    (lambda: sweep("r", retries=1.5), "Write retries=2"),
    (lambda: sweep("r", retries=-1), "retries must be"),
    (lambda: sweep("r", retries={int: 2}), "exception's class"),
    (lambda: sweep("r", retries={OSError: -2}), "retries of"),
    (lambda: sweep("r", gpus=1.5), "Write gpus=2"),
    (lambda: sweep("r", gpus=-1), "gpus must be"),
    (lambda: sweep("r", cpus=math.nan), "cpus must be"),
    (lambda: sweep("r", parallel=10**9), "at most 10,000"),
    (lambda: sweep("r", start=pd.DataFrame({"x": [0.1]})), "to_dict('records')"),
    (lambda: sweep("r", start="x=0.1"), 'start={"learning_rate": 0.1}'),
    (lambda: sweep("r", start={"y": 0.1}), "y is no parameter"),
    (lambda: sweep("r", objective=None), "objective must be a name"),
    (lambda: sweep("r", objective="caf\udce9"), "objective must be a name"),
    (lambda: sweep("r", sampler=SobolSampler), "Write sampler=SobolSampler()"),
    (lambda: sweep("r", sampler=5), "sampler must be"),
    (lambda: sweep("r", stopping=5), "stopping must be"),
    (lambda: sweep("r", progress=5), "progress must be"),
    (lambda: sweep("r", executor="spark"), "'ray' or 'local'"),
    (lambda: sweep(None), "results must be"),  # type: ignore[arg-type]
    (lambda: sweep("a\x00b"), "without NUL"),
    (lambda: sweep("a" * 300), "at most 255 bytes"),
    (lambda: sweep("r", train=5), "package.module:function"),  # type: ignore[arg-type]
    (lambda: sweep("r", train="..x:train"), "names no function"),
    (lambda: sweep("r", train=":train"), "names no function"),
    (lambda: tuner.sweep(once), "sweep(train, space, name=…, objective=…)"),  # type: ignore[call-arg]
    (lambda: tuner.sweep(once, SPACE, "night"), "by name"),  # type: ignore[call-arg]
    (lambda: linear(0.0, 1.0, step=0.1), "choice(0.1, 0.2, 0.3)"),  # type: ignore[call-arg]
    (lambda: integer(16, 256, step=16), "choice(16, 32, 48)"),  # type: ignore[call-arg]
    (lambda: integer(16, 1024, log=True), 'integer(low, high, scale="log")'),  # type: ignore[call-arg]
    (lambda: log(1, 0.1), "low=0.1, high=1"),
    (lambda: log_one_minus(0.9, 1.0), "Try high=0.9999"),
    (lambda: choice([1, 2]), "choice(1, 2)"),
    (lambda: choice(), "no options"),
    (lambda: choice("caf\udce9"), "written down"),
    (lambda: choice(10**6000), "bits"),
    (lambda: linear(0.0), "needs high"),  # type: ignore[call-arg]
    (lambda: linear("0", 1), "low must be a number"),  # type: ignore[arg-type]
    (lambda: Space({"x": linear(0, 1)}), "by name"),  # type: ignore[arg-type]
    (lambda: Space(x=(0, 1)), "Try choice(0, 1)"),  # type: ignore[arg-type]
    (lambda: SPACE.from_unit(0.5), "number from 0 to 1"),  # type: ignore[arg-type]
    (lambda: SPACE.check([1, 2]), "mapping"),  # type: ignore[arg-type]
    (lambda: SPACE.sample(5), "default_rng"),  # type: ignore[arg-type]
    (lambda: Space.from_toml(5), "not TOML"),  # type: ignore[arg-type]
    (lambda: Space.load({"x": 1}), "Space(**that)"),  # type: ignore[arg-type]
    (lambda: Space.load("a\x00.toml"), "there is no file"),
    (lambda: tuner.open("night", result="r"), "Did you mean results?"),  # type: ignore[call-arg]
    (lambda: tuner.open(5), "cannot be called 5"),  # type: ignore[arg-type]
    (lambda: tuner.attach("night", results="r", by=5), "by must be a text"),  # type: ignore[arg-type]
    (lambda: tuner.promote("night", "x"), "trial must be"),  # type: ignore[arg-type]
    (lambda: tuner.studies(5), "results must be"),  # type: ignore[arg-type]
    (lambda: tuner.check(once, steps=1), "from 2 up"),
    (lambda: tuner.check(once, {"f": object()}), "look the rest up"),
    (lambda: tuner.confirm("night", top="3"), "Write top=3"),  # type: ignore[arg-type]
    (lambda: tuner.recheck("night", repeats=0), "repeats must be"),
    (lambda: GridSampler(pionts=3), "GridSampler takes no pionts. Did you mean points?"),  # type: ignore[call-arg]
    (lambda: SobolSampler(seed="1"), "Try seed=0"),  # type: ignore[arg-type]
    (lambda: tuner.babysit(once, {"f": object()}, name="k", objective="score"), "look the rest up"),
    (lambda: tuner.babysit(once, [1], name="k", objective="score"), "mapping of names"),  # type: ignore[arg-type]
    (lambda: tuner.babysit(once, {"lr": -1}, name="k", objective="score"), "lr must be 0 or above"),
    (lambda: tuner.babysit(once, {"beta1": 1}, name="k", objective="score"), "beta1 must be from 0 to below 1"),
    (lambda: tuner.babysit(once, {"x": 1}, name="k", objective="score", level="loud"), "level must be"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "words"), MISTAKES, ids=[words[:40] for _, words in MISTAKES])
def test_a_mistake_is_told_with_what_to_write_instead(call: Callable[[], Any], words: str, tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path), pytest.raises(TunerError) as refused:
        call()
    assert words in str(refused.value)
    assert not list(tmp_path.iterdir())


# ── what is taken ───────────────────────────────────────────────────────────────────────────────


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Number(enum.IntEnum):
    ONE = 1


class Old(str, enum.Enum):  # noqa: UP042 - as code before Python 3.11 has it
    ONE = "one"


class Scalar:
    """As torch has it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def item(self) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (np.array(2), 2),
        (np.array(2.0), 2.0),
        (np.str_("a"), "a"),
        (Colour.RED, "red"),
        (Old.ONE, "one"),
        (Number.ONE, 1),
        (Decimal("0.1"), 0.1),
        (Fraction(1, 4), 0.25),
        (Scalar(0.5), 0.5),
        ((1, 2), [1, 2]),
        ({"a": np.int8(1)}, {"a": 1}),
        (None, None),
        (True, True),
        ("text", "text"),
    ],
)
def test_a_setting_is_kept_as_a_record_gives_it_back(given_: Any, kept: Any) -> None:
    found = plain_value("x", given_)
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize("given_", [math.nan, math.inf, 10**30, object(), 1j, b"x", {1: 2}, "caf\udce9", max, Colour])
def test_a_setting_that_no_record_gives_back_is_refused(given_: Any) -> None:
    with pytest.raises(SettingsError, match="must be"):
        plain_value("x", given_)


def test_what_a_table_says_can_be_given_back(tmp_path: Path) -> None:
    row = sweep(tmp_path, trials=3).trials.sort_values("objective").iloc[-1]
    best = {name.removeprefix("params."): row[name] for name in row.index if name.startswith("params.")}
    study = sweep(
        tmp_path, start=best, trials=np.int64(2), seed=np.int64(2), parallel=np.int8(1), budget_steps=np.float64(50)
    )
    assert study.trials["params.units"].tolist()[0] == best["units"]
    assert {type(value) for value in study.state.trials[0].params.values()} == {int, float}
    assert study.state.identity["seed"] == 2


@pytest.mark.parametrize(
    "kind", [OSError, "OSError", "builtins.ConnectionError", Exception, BaseException, "ConnectionResetError"]
)
def test_retries_go_by_the_class_of_an_error_or_of_what_it_inherits_from(kind: Any, tmp_path: Path) -> None:
    failed: set[int] = set()

    def fails_once(run: tuner.Run) -> None:
        run.report(score=1.0)
        if run.seed not in failed:
            failed.add(run.seed)
            raise ConnectionResetError("a share that was away for a moment")

    assert sweep(tmp_path, fails_once, retries={kind: 2}).trials["state"].tolist() == ["completed", "completed"]


SEEN: list[Any] = []


def looks(run: tuner.Run) -> None:
    """Remembers what it was given, and fails once."""
    SEEN.append(run.params["colour"])
    run.report(score=1.0)
    if len(SEEN) == 1:
        raise ValueError("once")


def test_an_option_of_an_enumeration_is_the_same_text_first_and_after_a_resume(tmp_path: Path) -> None:
    SEEN.clear()
    space = Space(colour=choice(*Colour))
    for rerun in ("nothing", "failed"):
        sweep(tmp_path, looks, space, trials=2, store=None, rerun=rerun, sampler="grid").close()
    assert len(SEEN) == 3
    assert {type(each) for each in SEEN} == {str}
    assert {Colour(each) for each in SEEN} == set(Colour)


# ── every name can be said ──────────────────────────────────────────────────────────────────────


def test_settings_called_as_the_verbs_own_words_can_be_set_scheduled_and_forked(tmp_path: Path) -> None:
    names = ("step", "name", "why", "at", "expect", "request", "values", "changes", "shape", "self", "text")
    with at_home(tmp_path):
        run = tuner.babysit(
            long, dict.fromkeys(names, 0.5), name="one", objective="score", executor="local", results=tmp_path
        )
        assert run.set(dict.fromkeys(names, 0.25), why="all of them").state == "applied"
        assert run.schedule("why", "cosine", over=1000).state == "applied"
        assert run.checkpoint().state == "applied"
        child = run.fork({"step": 0.1, "name": 0.2, "why": 0.3}, name="two", why="to see")
        with contextlib.closing(child.study) as study:
            settings_ = study.state.trials[0].params
        assert (settings_["step"], settings_["name"], settings_["why"], settings_["at"]) == (0.1, 0.2, 0.3, 0.25)
        run.close()
        child.close()


def test_a_box_bounds_a_parameter_of_any_name() -> None:
    with alone(SweepHandle) as handle, pytest.raises(StudyError, match="nobody"):
        handle.set_box({"why": (0.1, 0.2)}, x=(0.1, 0.3), why="so it is")


# ── a run without a space ───────────────────────────────────────────────────────────────────────


def test_a_run_without_a_space_says_so_and_refuses_what_cannot_be(tmp_path: Path) -> None:
    with at_home(tmp_path):
        run = tuner.babysit(
            long,
            {"learning_rate": 1, "momentum": 0.9, "units": 3},
            name="one",
            objective="score",
            executor="local",
            results=tmp_path,
        )
        with contextlib.closing(run.study) as study:
            (told,) = study.notes["text"]
            assert "no space" in told
            assert type(study.state.trials[0].params["learning_rate"]) is float
        run.checkpoint()
        refused: list[tuple[dict[str, Any], str]] = [
            ({"learning_rate": -1}, "0 or above"),
            ({"momentum": 1.0}, "below 1"),
            ({"momentum": -0.1}, "from 0"),
            ({"units": "many"}, "stay a number"),
            ({"learning_rate": True}, "stay a number"),
        ]
        for change, words in refused:
            with pytest.raises(TunerError, match=words):
                run.set(change)
        with pytest.raises(TunerError, match="0 or above"):
            run.fork(learning_rate=-0.1)
        with pytest.raises(TunerError, match="0 or above"):
            run.schedule("learning_rate", "cosine", over=10, floor=-1.0)
        assert "0.5" in run.set(learning_rate=0.5).detail
        run.close()


# ── over all signatures ─────────────────────────────────────────────────────────────────────────


class Alone:
    """A handle of a study that nobody coordinates: what it would write down is checked, and then refused."""

    def _unattended(self, verb: str, arguments: Mapping[str, Any], why: str, request: str) -> Reply | None:
        raise StudyError(f"nobody would {verb}")


class AloneWithRun(Alone, RunHandle):
    pass


class AloneWithSweep(Alone, SweepHandle):
    pass


@contextlib.contextmanager
def alone(kind: type[Any], results: str = "") -> Iterator[Any]:
    """A handle of a study that is over."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        results = results or folder
        sweep(results, store=None, trials=2).close()
        with contextlib.closing(tuner.attach("night", results=results)) as handle:
            mine = {RunHandle: AloneWithRun, SweepHandle: AloneWithSweep}[kind]
            yield mine(handle._place, handle._store, by="me")


class Moody:
    """It will not be compared, called a number or written down."""

    def __float__(self) -> float:
        raise RuntimeError("not today")

    __index__ = __float__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("nor like this")

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        raise RuntimeError("nor this")


PLAIN: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 5),
    st.sampled_from([2**31, 2**63, 10**30, -(10**400), 10**6000]),
    st.floats(),
    st.text("abc \n\x00é\ud800=:,1", max_size=6),
    st.binary(max_size=3),
    st.complex_numbers(),
    st.sampled_from(
        [
            np.int64(2),
            np.float32(0.5),
            np.bool_(True),
            np.array(1),
            np.array([1.0, 2.0]),
            np.array("x"),
            "3",
            Decimal("sNaN"),
            Fraction(1, 3),
            Colour.RED,
            Colour,
            object(),
            Moody(),
            max,
            Path("x"),
            range(3),
            set(),
            "2h",
            frozenset("ab"),
            "x" * 300,
            pd.DataFrame({"x": [1]}),
            pd.NA,
            linear(0, 1),
            SPACE,
            CoarseToFineSampler,
            {"x": 0.5},
            {"x": Moody()},
        ]
    ),
    st.lists(st.integers(0, 3) | st.text("ab", max_size=2), max_size=3),
    st.dictionaries(st.text("xab\ud800", max_size=2) | st.integers(0, 2), st.floats() | st.integers(), max_size=2),
)


def calls(study: tuner.Study, run: Any, a_sweep: Any) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Public calls by name, each with arguments that are right."""
    rate = log(1e-4, 1.0)
    usual = {"space": SPACE, "name": "s", "objective": "score", "executor": "local", "trials": 1, "progress": "off"}
    found: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "sweep": (tuner.sweep, {"train": once, "store": "memory", "stopping": "off", "sampler": "random", **usual}),
        "babysit": (tuner.babysit, {"train": once, "name": "gone/astray", "objective": "score", "params": {"x": 0.5}}),
        "open": (tuner.open, {"name": "gone"}),
        "attach": (tuner.attach, {"name": "gone"}),
        "promote": (tuner.promote, {"study": "gone", "trial": 0}),
        "studies": (tuner.studies, {"results": "r"}),
        "explain": (tuner.explain, {"name": "gone"}),
        "confirm": (tuner.confirm, {"name": "gone"}),
        "recheck": (tuner.recheck, {"name": "gone"}),
        "check": (tuner.check, {"train": once, "params": {"x": 0.5}}),
        "linear": (linear, {"low": 0.0, "high": 1.0}),
        "log": (log, {"low": 0.1, "high": 1.0}),
        "log_one_minus": (log_one_minus, {"low": 0.9, "high": 0.99}),
        "integer": (integer, {"low": 1, "high": 9}),
        "choice": (lambda *args, **given_: choice(1, *args, *given_.values()), {"a": 2}),
        "options": (choice, {"when": None, "changes": "live", "priority": None, "why": None}),
        "Space": (Space, {"x": rate}),
        "Space.load": (Space.load, {"name_or_path": "adam"}),
        "Space.from_toml": (Space.from_toml, {"text": "", "source": "text"}),
        "Space.from_dict": (Space.from_dict, {"description": {}}),
        "to_unit": (SPACE.to_unit, {"params": {}}),
        "from_unit": (SPACE.from_unit, {"point": [0.5, 0.5]}),
        "space.check": (SPACE.check, {"params": {}}),
        "active": (SPACE.active, {"params": {}}),
        "sample": (SPACE.sample, {"rng": np.random.default_rng(0)}),
        "rate.check": (rate.check, {"value": 0.1}),
        "rate.from_unit": (rate.from_unit, {"u": 0.5}),
        "rate.to_unit": (rate.to_unit, {"value": 0.5}),
        "choice.check": (choice("a", 1).check, {"value": 1}),
        "choice.from_unit": (choice("a", 1).from_unit, {"u": 0.5}),
        "study.export": (study.export, {"format": "jsonl", "to": "t"}),
        "study.trial": (study.trial, {"number": 0}),
        "study.explain": (study.explain, {"target_error": 0.0, "more": None}),
        "curve": (study.curve, {"trial": 0}),
        "study.plot": (study.plot, {"x": "no such setting"}),
        "records": (lambda *args, **given_: list(study.records(*args, *given_.values())), {"kind": 1}),
        "reported": (lambda *args, **given_: list(study.reported(*args, **given_)), {"trial": 0}),
        "traceback": (study.traceback, {"trial": 0}),
        "printed": (study.printed, {"trial": 0}),
        "coordinator": (study.coordinator, {"now": 0.0}),
        "Run": (tuner.Run, {"params": {}, "seed": 0}),
        "run.state": (tuner.Run({}).state, {"save": max, "load": max}),
        "run.report": (lambda *args, **given_: tuner.Run({}).report(*args, **given_), {"score": 1.0}),
        "run.steps": (lambda *args, **given_: next(tuner.Run({}).steps(*args, **given_), None), {"count": 3}),
        "set_box": (a_sweep.set_box, {"why": "", "x": (0.1, 0.2)}),
        "add": (a_sweep.add, {"settings": {"x": 0.5}}),
        "pause_trial": (a_sweep.pause_trial, {"trial": 0}),
        "resume_trial": (a_sweep.resume_trial, {"trial": 0}),
        "stop_trial": (a_sweep.stop_trial, {"trial": 0}),
        "set_parallel": (a_sweep.set_parallel, {"parallel": 2}),
        "set": (run.set, {"x": 0.5, "at": 3, "expect": 0, "evidence": "", "request": "", "why": ""}),
        "schedule": (run.schedule, {"parameter": "x", "shape": "cosine", "over": 10, "at": 5, "why": "so"}),
        "revert": (run.revert, {"step": 1, "checkpoint": None, "keep_settings": False, "why": "", "expect": None}),
        "undo": (run.undo, {"why": "", "expect": 3}),
        "extend": (run.extend, {"steps": 3}),
        "step": (run.step, {"steps": 3, "why": ""}),
        "resume": (run.resume, {"why": ""}),
        "run.pause": (run.pause, {"why": "", "release": True}),
        "note": (run.note, {"text": "x", "trial": 0}),
        "checkpoint": (run.checkpoint, {"why": ""}),
        "stop": (run.stop, {"why": ""}),
        "wait": (run.wait, {"timeout_s": 0.01}),
        "compare": (run.compare, {"other": "gone"}),
        "fork": (run.fork, {"name": None, "step": 3, "why": "", "x": 0.5}),
    }
    for sampler in (CoarseToFineSampler, RandomSampler, SobolSampler, GridSampler):
        found[sampler.__name__] = (sampler, {"seed": 0, **({"points": 3} if sampler is GridSampler else {})})
    return found


NAMES = sorted(calls(*(type("Any", (), {"__getattr__": lambda self, name: name})() for _ in range(3))))


MANY = settings.default.max_examples if settings.default is not None else 25
WITHIN_A_SPACE = ("rate.", "choice.")  # who calls these is a sampler, and they are called often


@pytest.mark.long
@settings(max_examples=12 * MANY, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_no_error_of_pythons_own_escapes_from_any_public_call(data: st.DataObject, public: Any) -> None:
    name = data.draw(st.sampled_from(NAMES))
    call, right = public[name]
    words = [*right, *right] if name.startswith(WITHIN_A_SPACE) else [*right, *right, "no_such_word"]
    wrong = data.draw(st.dictionaries(st.sampled_from(words), PLAIN, min_size=1, max_size=2), label=name)
    by_place = data.draw(st.lists(PLAIN, max_size=2)) if "no_such_word" in wrong else []
    with contextlib.suppress(TunerError):
        call(*by_place, **{**right, **wrong})


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Every public call, in a folder where it may write."""
    folder = tmp_path_factory.mktemp("public")
    with (
        contextlib.chdir(folder),
        alone(RunHandle) as run,
        alone(SweepHandle) as a_sweep,
        contextlib.closing(sweep(folder, trials=3)) as study,
    ):
        yield calls(study, run, a_sweep)


BY_THEMSELVES = {"Run.report", "Run.step", "Study.records"}  # a report and a step must cost little
WITHOUT_ARGUMENTS = 1


def test_every_public_call_is_checked() -> None:
    unchecked = []
    for name in tuner.__all__:
        thing = getattr(tuner, name)
        if inspect.isfunction(thing) and not hasattr(thing, "__wrapped__"):
            unchecked.append(name)
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            unchecked += [
                f"{name}.{method}"
                for method, function in inspect.getmembers(thing, inspect.isfunction)
                if not method.startswith("_")
                and function.__module__.startswith("tuner")
                and not hasattr(function, "__wrapped__")
                and len(inspect.signature(function).parameters) > WITHOUT_ARGUMENTS
            ]
    assert sorted(set(unchecked) - BY_THEMSELVES) == []


def test_a_checked_call_keeps_its_signature_and_its_words() -> None:
    @checked(steps=count, how=one_of("fast", "well"))
    def train(steps: int, *, how: str = "well") -> tuple[int, str]:
        """Trains."""
        return steps, how

    assert str(inspect.signature(train)) == "(steps: 'int', *, how: 'str' = 'well') -> 'tuple[int, str]'"
    assert train(np.int64(3)) == (3, "well")  # type: ignore[arg-type]
    assert train.__doc__ == "Trains."
    with pytest.raises(ValueError, match="no stpes to check"):
        checked(stpes=count)(train)


def test_what_is_asked_is_understood_the_same_wherever_it_is_read() -> None:
    assert understood("set", {"values": {"x": np.float32(0.5)}, "at": None}) == {"values": {"x": 0.5}, "at": None}
    assert understood("no_such", {"a": 1}) == {"a": 1}
    for verb, arguments in [
        ("step", {}),
        ("step", {"steps": 0}),
        ("step", {"steps": True}),
        ("note", {}),
        ("set", {"values": [1]}),
        ("set", {"vlaues": {}}),
        ("revert", {"step": -1}),
        ("set_box", {"ranges": {"x": [1]}}),
        ("pause", [1]),
    ]:
        with pytest.raises(SettingsError):
            understood(verb, arguments)


def test_a_replys_words_are_those_of_its_verb() -> None:
    assert str(Reply(request="r", verb="set", state="applied", step=3, detail="x 1 → 2")).startswith("set: applied")
    assert issubclass(SpaceError, TunerError)
