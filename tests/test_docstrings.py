"""The docstrings of everything public say every parameter and every error, and their examples run as written."""

from __future__ import annotations

import ast
import builtins
import contextlib
import doctest
import importlib
import inspect
import os
import re
import shutil
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any, Never

import pytest
from served import OPERATOR, served
from waiting import wait_until

import tuner
import tuner.errors
from tuner.worker.sources import syntax_of
from tuner.workloads import bowl

PACKAGE = Path(tuner.__file__).parent
MODULES = (
    "tuner",
    "tuner.samplers",
    "tuner.callbacks",
    *(f"tuner.workloads.{each}" for each in ("bowl", "decay", "digits", "network", "optimizers")),
)
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example")
PATIENCE_S = 60.0


# ── what is public ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Public:
    """A function, a method or a class that somebody outside may call."""

    name: str
    thing: Any
    module: str
    """Where it is found."""

    @property
    def called(self) -> Any:
        """What its arguments go to."""
        return self.thing.__init__ if inspect.isclass(self.thing) else self.thing

    @cached_property
    def sections(self) -> dict[str, str]:
        """The docstring's sections by their heading; "" is what stands before the first."""
        found, heading = {"": ""}, ""
        for line in (inspect.getdoc(self.thing) or "").splitlines():
            begun = re.fullmatch(rf"({'|'.join(SECTIONS)}):", line)
            if begun is not None:
                heading = begun[1]
                found[heading] = ""
            else:
                found[heading] += line + "\n"
        return found

    def entries(self, *headings: str) -> dict[str, str]:
        """What sections say of each name in them."""
        found: dict[str, str] = {}
        for heading in headings:
            name = ""
            for line in textwrap.dedent(self.sections.get(heading, "")).splitlines():
                begins = re.match(r"(\*{0,2}\w+): ", line)
                name = begins[1].lstrip("*") if begins else name
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
        return found

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """What a caller may give; what is caught only to be refused is nothing to give."""
        if issubclass(self.thing, BaseException) if inspect.isclass(self.thing) else False:
            return {}
        given = dict(inspect.signature(self.thing if inspect.isclass(self.thing) else self.called).parameters)
        return {
            word: each for word, each in given.items() if word != "self" and each.annotation not in (Never, "Never")
        }

    @property
    def named(self) -> list[str]:
        """The parameters that the docstring tells of."""
        told = self.entries("Args", "Attributes")
        return [word for word in self.parameters if word in told]

    @property
    def silent_defaults(self) -> list[str]:
        """The parameters of which the docstring does not tell what stands in for them; a text is empty where it may."""
        told = self.entries("Args", "Attributes")
        silent = []
        for word, each in self.parameters.items():
            if each.default is None:
                found = re.search(r"\bNone\b", told.get(word, ""))
            else:
                found = re.search(rf"(?i)by default {re.escape(str(each.default))}", told.get(word, ""))
            if each.default not in (each.empty, "") and not found:
                silent.append(word)
        return silent

    @property
    def can_raise(self) -> bool:
        """Whether it refuses what it is given: it is checked, or raises by itself."""
        if hasattr(self.called, "__wrapped__"):
            return True
        if not isinstance(self.called, FunctionType) or not Path(inspect.getfile(self.called)).is_file():
            return False  # made by a dataclass
        code = syntax_of(textwrap.dedent(inspect.getsource(self.called)))
        return any(isinstance(node, ast.Raise) for node in ast.walk(code))

    @property
    def raised(self) -> list[str]:
        """The classes of error that the docstring names."""
        return [name for name in self.entries("Raises") if name]

    @property
    def examples(self) -> list[doctest.Example]:
        """What a reader can type."""
        return doctest.DocTestParser().get_examples(inspect.getdoc(self.thing) or "")


def public() -> Iterator[Public]:
    """Everything public that can be called, each once, under the name by which it is reached."""
    seen: set[Any] = set()
    for where in MODULES:
        module = importlib.import_module(where)
        for name in getattr(module, "__all__", sorted(vars(module))):
            thing = getattr(module, name)
            if not name.startswith("_") and _is_ours(thing, module):
                for each in (Public(f"{where}.{name}", thing, where), *_methods(f"{where}.{name}", thing, where)):
                    called = getattr(each.thing, "__func__", each.thing)
                    if called not in seen:
                        seen.add(called)
                        yield each


def _is_ours(thing: Any, module: ModuleType) -> bool:
    if not inspect.isfunction(thing) and not inspect.isclass(thing):
        return False
    return hasattr(module, "__all__") or thing.__module__ == module.__name__


def _methods(name: str, thing: Any, where: str) -> Iterator[Public]:
    """Its methods, inherited ones too, where they are written here and not by a class of somebody else."""
    if not inspect.isclass(thing) or issubclass(thing, BaseException):
        return
    for method in dir(thing):
        found = inspect.getattr_static(thing, method)
        value = getattr(thing, method)
        callable_ = isinstance(found, FunctionType | classmethod | staticmethod)
        if callable_ and not method.startswith("_") and value.__module__.startswith("tuner."):
            yield Public(f"{name}.{method}", value, where)


PUBLIC = list(public())


def properties() -> Iterator[tuple[str, property]]:
    """What may be read of the public classes beside their fields, by name."""
    for each in PUBLIC:
        for name in dir(each.thing) if inspect.isclass(each.thing) else ():
            value = inspect.getattr_static(each.thing, name)
            if isinstance(value, property) and not name.startswith("_"):
                yield f"{each.name}.{name}", value


# ── what they say ───────────────────────────────────────────────────────────────────────────────


def counted(what: str, found: int, of: int) -> str:
    """One figure, for whoever runs this with `pytest -s`."""
    return f"{what:34} {found:4} of {of}"


def test_everything_public_says_what_it_takes_what_it_refuses_and_how_it_is_called() -> None:
    parameters = {each.name: list(each.parameters) for each in PUBLIC}
    silent = {each.name: missing for each in PUBLIC if (missing := sorted({*each.parameters} - {*each.named}))}
    defaults = {each.name: each.silent_defaults for each in PUBLIC if each.silent_defaults}
    raising = [each for each in PUBLIC if each.can_raise]
    mute = [each.name for each in raising if not each.raised]
    bare = [each.name for each in PUBLIC if not each.examples]
    values = dict(properties())
    wordless = [name for name, value in values.items() if not inspect.getdoc(value)]
    given = sum(map(len, parameters.values()))
    print()
    print(counted("public callables with a docstring", sum(bool(inspect.getdoc(e.thing)) for e in PUBLIC), len(PUBLIC)))
    print(counted("parameters told of", given - sum(map(len, silent.values())), given))
    print(counted("callables that say what they raise", len(raising) - len(mute), len(raising)))
    print(counted("callables with an example", len(PUBLIC) - len(bare), len(PUBLIC)))
    print(counted("properties with a docstring", len(values) - len(wordless), len(values)))

    assert len(PUBLIC) > 90
    assert not silent, f"parameters without a word: {silent}"
    assert not mute, f"what these raise is not said: {mute}"
    assert not bare, f"no example: {bare}"
    assert not wordless, f"properties without a word: {wordless}"
    assert not defaults, f"defaults without a word: {defaults}"


def test_a_docstring_tells_of_no_parameter_and_no_error_that_is_not_there() -> None:
    for each in PUBLIC:
        assert set(each.entries("Args", "Attributes")) - {""} <= set(each.parameters), each.name
        for name in each.raised:
            kind = getattr(tuner.errors, name, None) or getattr(builtins, name, None)
            assert inspect.isclass(kind), f"{each.name} raises {name}, which is no class"
            assert issubclass(kind, BaseException), f"{each.name} raises {name}, which is no error"


def test_what_an_unknown_argument_raises_is_among_what_is_said() -> None:
    checked = [each for each in PUBLIC if hasattr(each.called, "__wrapped__")]
    for each in checked:
        signature = inspect.signature(each.called)
        if any(given.kind == given.VAR_KEYWORD for given in signature.parameters.values()):
            continue  # every argument is known to it
        itself = [None] if "self" in signature.parameters else []
        with pytest.raises(tuner.TunerError) as caught:
            each.called(*itself, no_such_argument=1)
        assert {kind.__name__ for kind in caught.type.__mro__} & set(each.raised), f"{each.name}: {caught.value}"
    assert len(checked) > 50


def test_a_time_is_told_in_seconds_and_a_size_in_gigabytes() -> None:
    units = {"_s": "econds", "_gb": "GB"}
    for each in PUBLIC:
        for word, told in each.entries("Args", "Attributes").items():
            for ending, unit in units.items():
                assert not word.endswith(ending) or unit in told, f"{each.name}: {word} is in {unit}"


# ── and it is so ────────────────────────────────────────────────────────────────────────────────


def endless(run: tuner.Run) -> None:
    ball = bowl.Ball()
    run.state(ball)
    for _ in run.steps(1_000_000):
        time.sleep(0.002)
        ball.roll(run.params["learning_rate"], run.params.get("beta", bowl.BEST_BETA))
        run.report(loss=ball.height)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all examples stand, one after another: `night` is a sweep that is over, `tended` a run that is."""
    folder, before = tmp_path_factory.mktemp("examples"), Path.cwd()
    os.chdir(folder)
    try:
        shared: dict[str, Any] = {"objective": "loss", "goal": "minimize", "executor": "local"}
        swept = {"stopping": "off", "checkpoint_every_s": 0.0, "progress": "off", **shared}
        tuner.sweep(bowl.train, "sgd_momentum", name="night", trials=12, **swept).close()
        shutil.move("results/night", "kept")
        with tuner.babysit(bowl.train, {"learning_rate": 0.1}, name="tended", **shared) as tended:
            tended.wait(PATIENCE_S).close()
        yield folder
    finally:
        os.chdir(before)


@pytest.fixture
def night(place: Path) -> None:
    """The sweep as it ended: what an example adds to it is not there for the next."""
    shutil.rmtree("results/night", ignore_errors=True)
    shutil.copytree("kept", "results/night")


@pytest.fixture
def study(night: None) -> Iterator[tuner.Study]:
    with tuner.open("night") as study:
        yield study


@pytest.fixture(scope="module")
def handle(place: Path) -> Iterator[tuner.RunHandle]:
    given: dict[str, Any] = {"objective": "loss", "goal": "minimize", "executor": "local"}
    with tuner.babysit(endless, {"learning_rate": 0.1}, name="one", **given) as handle:
        yield handle
        handle.stop()
        handle.wait(PATIENCE_S).close()


@pytest.fixture(scope="module")
def sweeping(place: Path) -> Iterator[tuner.SweepHandle]:
    given: dict[str, Any] = {"objective": "loss", "goal": "minimize", "executor": "local", "progress": "off"}

    def sweep() -> None:
        tuner.sweep(endless, "sgd_momentum", name="long", trials=1000, **given).close()

    thread = threading.Thread(target=sweep)
    thread.start()
    wait_until(lambda: _has_begun("long"), within_s=PATIENCE_S)
    with tuner.attach("long") as sweeping:
        assert isinstance(sweeping, tuner.SweepHandle)
        yield sweeping
        sweeping.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def lending(place: Path) -> Iterator[tuner.SweepHandle]:
    given: dict[str, Any] = {"objective": "score", "executor": "external", "progress": "off", "sampler": "random"}

    def sweep() -> None:
        tuner.sweep(None, "sgd_momentum", name="asked", trials=1000, **given).close()

    thread = threading.Thread(target=sweep)
    thread.start()
    wait_until(lambda: Path("results/asked/study.db").exists(), within_s=PATIENCE_S)
    with tuner.attach("asked") as lending:
        assert isinstance(lending, tuner.SweepHandle)
        yield lending
        lending.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def _has_begun(name: str) -> bool:
    with contextlib.suppress(tuner.TunerError), tuner.open(name) as study:
        return study.state.steps_done > 0
    return False


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[SimpleNamespace]:
    with served(place / "results") as url:
        yield SimpleNamespace(url=url, token=OPERATOR)


@pytest.mark.long
@pytest.mark.parametrize("each", PUBLIC, ids=lambda each: each.name)
def test_an_example_runs_as_written(each: Public, night: None, request: pytest.FixtureRequest) -> None:
    source = "\n".join(example.source for example in each.examples)
    around = (tuner, importlib.import_module(each.module))
    names = {"tuner": tuner, **{name: getattr(module, name) for module in around for name in dir(module)}}
    for fixture in ("study", "handle", "sweeping", "lending", "service"):
        if re.search(rf"\b{fixture}\b", source):
            names[fixture] = request.getfixturevalue(fixture)
    run_doctest(inspect.getdoc(each.thing) or "", each.name, names)


def others() -> list[Path]:
    """The modules of the package with an example in them."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text()]


@pytest.mark.parametrize("path", others(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_example_of_what_is_not_public_runs_too(path: Path) -> None:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    shown = {inspect.getdoc(each.thing) for each in PUBLIC}
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        if inspect.cleandoc(test.docstring or "") not in shown:
            run_doctest(test.docstring or "", test.name, {**vars(module), "tuner": tuner})


def run_doctest(text: str, name: str, names: dict[str, Any]) -> None:
    said: list[str] = []
    test = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert not said, "".join(said)
