from __future__ import annotations

import ast
import asyncio
import functools
import gc
import linecache
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import tuner
from tuner import Run, Space, linear
from tuner.errors import IdentityMismatch, SweepFailed, TrainingError
from tuner.worker.function import portable
from tuner.worker.sources import has_changed, import_name, source_sha256, syntax_of
from tuner.worker.training import resolve, sources_of

SPACE = Space(x=linear(0.0, 1.0))


def scaled(run: Run, factor: float) -> None:
    for _ in run.steps(2):
        run.report(score=factor * run.params["x"])


def shifted(run: Run, offset: float) -> None:
    for _ in run.steps(2):
        run.report(score=offset + run.params["x"])


async def coroutine(run: Run) -> None:
    run.report(score=1.0)


def generator(run: Run) -> Iterator[int]:
    for step in run.steps(3):
        run.report(score=1.0)
        yield step


async def async_generator(run: Run) -> AsyncIterator[int]:
    run.report(score=1.0)
    yield 1


class Trainer:
    """A function in the shape of an object."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def __call__(self, run: Run) -> None:
        scaled(run, self.factor)

    def train(self, run: Run) -> None:
        scaled(run, self.factor)

    @classmethod
    def of_class(cls, run: Run) -> None:
        scaled(run, 1.0)

    async def later(self, run: Run) -> None:
        run.report(score=1.0)


class OtherTrainer(Trainer):
    """Another one."""


class AsyncTrainer:
    """One that never trains."""

    async def __call__(self, run: Run) -> None:
        run.report(score=1.0)


def sweep(train: Any, results: Path, *, trials: int = 2) -> tuner.Study:
    found = tuner.sweep(
        train,
        SPACE,
        name="s",
        objective="score",
        trials=trials,
        executor="local",
        stopping="off",
        results=results,
        progress="off",
    )
    found.close()
    return found


def scaling(factor: float) -> Callable[[Run], None]:
    def train(run: Run) -> None:
        scaled(run, factor)

    return train


# ── what never trains ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("train", "word"),
    [
        (coroutine, "coroutine"),
        (generator, "yield"),
        (async_generator, "async generator"),
        (functools.partial(coroutine), "coroutine"),
        (functools.partial(functools.partial(generator)), "yield"),
        (AsyncTrainer(), "coroutine"),
        (functools.partial(AsyncTrainer()), "coroutine"),
        (Trainer().later, "coroutine"),
        (AsyncTrainer, "object"),
        ("test_sources:coroutine", "coroutine"),
    ],
    ids=[
        "coroutine",
        "generator",
        "async generator",
        "partial of a coroutine",
        "partial of partials",
        "object",
        "partial of an object",
        "method",
        "class",
        "import path",
    ],
)
def test_what_is_called_and_never_trains_is_refused_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Any, word: str
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with pytest.raises(TrainingError, match=word):
        sweep(train, tmp_path)
    with pytest.raises(TrainingError, match=word):
        tuner.babysit(train, {"x": 0.5}, name="one", objective="score", executor="local", results=tmp_path)
    with pytest.raises(TrainingError, match=word):
        tuner.check(train, {"x": 0.5})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("train", "word"),
    [
        (lambda run: coroutine(run), "coroutine"),
        (lambda run: generator(run), "generator"),
        (lambda run: async_generator(run), "async_generator"),
    ],
    ids=["coroutine", "generator", "async generator"],
)
def test_what_only_the_call_shows_never_to_train_ends_its_trial_with_a_sentence(
    tmp_path: Path, train: Callable[[Run], Any], word: str
) -> None:
    with pytest.raises(SweepFailed, match=rf"the first trial failed.*{word}.*never ran"):
        sweep(train, tmp_path)


def runs_to_its_end(train: Callable[[Run], Coroutine[Any, Any, None]]) -> Callable[[Run], None]:
    @functools.wraps(train)
    def wrapped(run: Run) -> None:
        asyncio.run(train(run))

    return wrapped


@pytest.mark.parametrize(
    "train",
    [
        lambda run: scaled(run, 1.0),
        functools.partial(scaled, factor=1.0),
        functools.partial(functools.partial(scaled), factor=1.0),
        Trainer(),
        Trainer().train,
        Trainer.of_class,
        scaling(1.0),
        runs_to_its_end(coroutine),
    ],
    ids=["lambda", "partial", "of a partial", "object", "method", "class method", "closure", "wrapped coroutine"],
)
def test_whatever_trains_when_it_is_called_is_taken_and_taken_again(tmp_path: Path, train: Any) -> None:
    sweep(train, tmp_path)
    assert {trial.state for trial in sweep(train, tmp_path, trials=3).state.trials} == {"completed"}


# ── who is who ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (functools.partial(scaled, factor=1.0), functools.partial(shifted, offset=1000.0)),
        (Trainer(), OtherTrainer()),
        (Trainer().train, Trainer()),
        (Trainer().train, OtherTrainer().train),
        (functools.partial(Trainer()), functools.partial(OtherTrainer())),
    ],
    ids=["partials", "objects", "a method and its object", "methods", "partials of objects"],
)
def test_another_function_under_the_same_name_is_refused_whatever_stands_around_it(
    tmp_path: Path, one: Any, other: Any
) -> None:
    sweep(one, tmp_path)
    with pytest.raises(IdentityMismatch, match="another training function"):
        sweep(other, tmp_path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (functools.partial(scaled, factor=1.0), functools.partial(scaled, factor=2.0)),
        (functools.partial(lambda factor, run: scaled(run, factor), 1.0), functools.partial(shifted, offset=1.0)),
        (Trainer(1.0), Trainer(2.0)),
        (Trainer(1.0).train, Trainer(2.0).train),
        (scaling(1.0), scaling(2.0)),
    ],
    ids=["partials", "partial of a lambda", "objects", "methods", "closures"],
)
def test_what_a_function_holds_is_part_of_what_it_is(one: Any, other: Any) -> None:
    assert source_sha256(one) != source_sha256(other)
    assert source_sha256(one) == source_sha256(one) != ""


class Counts(Trainer):
    """One that remembers what it has done."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.seen = 0, [0.0]

    def __call__(self, run: Run) -> None:
        self.calls += 1
        self.seen.append(run.params["x"])
        super().__call__(run)


def counting() -> Callable[[Run], None]:
    calls, seen = 0, {0.0}

    def train(run: Run) -> None:
        nonlocal calls
        calls += 1
        seen.add(run.params["x"])
        scaled(run, 1.0)

    return train


@pytest.mark.parametrize("train", [Counts(), counting()], ids=["object", "closure"])
def test_what_training_changes_in_a_function_makes_no_other_of_it(tmp_path: Path, train: Callable[[Run], None]) -> None:
    before = source_sha256(train)
    sweep(train, tmp_path)
    assert source_sha256(train) == before


def test_what_a_partial_is_given_may_be_anything() -> None:
    circle: list[Any] = [object(), {1: 2.0}, float("nan"), "\udcff"]
    circle.append(circle)
    partial: Any = functools.partial(scaled, factor=circle)  # type: ignore[arg-type]
    assert source_sha256(partial) != ""


def test_a_number_of_more_digits_than_python_writes_is_part_of_what_it_is_too() -> None:
    def holding(number: int) -> Callable[[Run], None]:
        return lambda run: run.report(score=float(len(str(number % 7))))

    hashes = {source_sha256(holding(10**5000 + more)) for more in (0, 1)}
    assert len(hashes) == 2


def test_the_same_function_with_other_values_is_warned_of_and_noted(tmp_path: Path) -> None:
    sweep(functools.partial(scaled, factor=1.0), tmp_path)
    with pytest.warns(UserWarning, match="has changed"):
        sweep(functools.partial(scaled, factor=2.0), tmp_path, trials=3)
    study = tuner.open("s", results=tmp_path)
    assert len(study.notes) == 1
    study.close()


def test_a_function_that_is_refused_leaves_the_one_that_was_kept(tmp_path: Path) -> None:
    sweep(functools.partial(scaled, factor=1.0), tmp_path)
    kept = (tmp_path / "s" / "function.pickle").read_bytes()
    with pytest.raises(IdentityMismatch):
        sweep(functools.partial(shifted, offset=1.0), tmp_path)
    assert (tmp_path / "s" / "function.pickle").read_bytes() == kept


def test_names_say_what_stands_around_a_function() -> None:
    assert import_name(functools.partial(scaled, factor=1.0)) == "functools.partial(test_sources:scaled)"
    assert import_name(Trainer()) == "test_sources:Trainer()"
    assert import_name(Trainer().train) == "test_sources:Trainer().train"
    assert import_name(Trainer.of_class) == "test_sources:Trainer.of_class"


# ── lines ───────────────────────────────────────────────────────────────────────────────────────

SCRIPT = """
def helps(run):
    raise ValueError("shapes do not match")  # in a helper


def train(run):
    helps(run)


def makes():
    def train(run):
        helps(run)

    return train
"""


def script(path: Path, text: str = SCRIPT) -> dict[str, Any]:
    """What a script defines, as nobody else could import it."""
    path.write_text(text)
    names: dict[str, Any] = {"__name__": "scribbled"}
    exec(compile(text, str(path), "exec"), names)
    return names


def test_a_function_that_travels_by_value_keeps_its_lines_where_its_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    payload = portable(script(path)["train"]).payload
    path.unlink()
    linecache.clearcache()
    with pytest.raises(ValueError, match="shapes") as caught:
        resolve(payload)(Run({}))
    told = "".join(traceback.format_exception(caught.value))
    assert f'File "{path}", line 3, in helps' in told
    assert 'raise ValueError("shapes do not match")  # in a helper' in told


def test_a_script_that_has_changed_since_is_told_from_one_that_has_not(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    functions = script(path)
    for train in (functions["train"], functions["makes"]()):
        path.write_text(SCRIPT)
        payload = portable(train).payload
        assert isinstance(payload, bytes)
        kept, lines = resolve(payload), sources_of(payload)
        assert not has_changed(kept, lines)
        path.write_text("import os\n\n" + SCRIPT)  # it only moved
        assert not has_changed(kept, lines)
        path.write_text(SCRIPT.replace("helps(run)\n", "helps(run)  # differently\n"))
        assert has_changed(kept, lines)
        path.write_text("")
        assert not has_changed(kept, lines)  # there is no other that it could be
        linecache.clearcache()


@pytest.mark.parametrize(
    "kept", [b"", b"no pickle", b"cno_such_module\ntrain\n."], ids=["empty", "text", "a module that is gone"]
)
def test_a_kept_function_that_cannot_be_read_is_told_of_in_a_sentence(kept: bytes) -> None:
    with pytest.raises(TrainingError, match="cannot be read here"):
        resolve(kept)


class ParsesElsewhere:
    """Garbage, whose end lets another thread parse."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        other = threading.Thread(target=ast.parse, args=("a = (1 + 2) * 3",))
        other.start()
        other.join()


def test_a_text_is_parsed_whatever_other_threads_parse_meanwhile() -> None:
    deep = "(" * 40 + "1" + "+ 1)" * 40
    usual = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(20):
            ParsesElsewhere()
            assert isinstance(syntax_of(deep), ast.Module)
        assert gc.isenabled()
    finally:
        gc.set_threshold(*usual)
