from __future__ import annotations

import base64
import functools
import hashlib
import inspect
import pickle
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import tuner
from tuner import Space, choice, log_one_minus
from tuner.errors import TrainingError
from tuner.worker.function import keep_function, portable
from tuner.worker.run import Run
from tuner.worker.training import resolve, sources_of
from tuner.workloads import bowl


def train(run: Run) -> float:
    return 0.5


class Trainer:
    """A function in the shape of an object."""

    def __init__(self, score: float) -> None:
        self.score = score

    def __call__(self, run: Run) -> float:
        return self.score

    def train(self, run: Run) -> float:
        return self.score

    @staticmethod
    def alone(run: Run) -> float:
        return 0.25


def call(payload: str | bytes) -> Any:
    """What a worker would get."""
    return resolve(payload, (str(Path(__file__).parent),))(Run({}))


def test_a_function_of_a_module_travels_by_its_import_path() -> None:
    found = portable(train)
    assert found.payload == found.name == "test_function:train"
    assert found.function is train
    assert call(found.payload) == 0.5


def test_an_import_path_is_looked_up_and_travels_as_it_is() -> None:
    found = portable("tuner.workloads.bowl:train")
    assert found.payload == "tuner.workloads.bowl:train"
    assert found.function is bowl.train


def test_a_static_method_travels_by_its_import_path() -> None:
    found = portable(Trainer.alone)
    assert found.payload == "test_function:Trainer.alone"
    assert call(found.payload) == 0.25


@pytest.mark.parametrize(
    ("function", "score"),
    [
        (lambda run: 0.75, 0.75),
        (Trainer(0.1), 0.1),
        (Trainer(0.2).train, 0.2),
        (functools.partial(lambda score, run: score, 0.3), 0.3),
    ],
    ids=["lambda", "object", "bound method", "partial"],
)
def test_what_cannot_be_imported_travels_by_value(function: Any, score: float) -> None:
    found = portable(function)
    assert isinstance(found.payload, bytes)
    assert found.name
    assert call(found.payload) == score


def test_a_function_that_a_name_no_longer_leads_to_travels_by_value() -> None:
    def train(run: Run) -> float:
        return 0.9

    train.__qualname__ = "train"  # as after a notebook cell was run twice
    found = portable(train)
    assert isinstance(found.payload, bytes)
    assert call(found.payload) == 0.9


def test_what_holds_something_that_cannot_be_copied_is_refused_unless_it_stays_here() -> None:
    lock = threading.Lock()

    def train(run: Run) -> float:
        with lock:
            return 0.5

    with pytest.raises(TrainingError, match=r"sent to workers: TypeError"):
        portable(train)
    stays = portable(train, travels=False)
    assert stays.function is train
    assert isinstance(stays.payload, str)


@pytest.mark.parametrize("thing", [None, 7, ["tuner.workloads.bowl:train"]])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    with pytest.raises(TrainingError, match="function of a Run"):
        portable(thing)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("tuner.workloads.bowl", "names no function: write package.module:function"),
        ("tuner.workloads.bowl:", "names no function"),
        ("tuner.workloads.bowl:trian", r"Did you mean train\?"),
        ("tuner.workloads.bowl:STEPS", "is a int"),
        ("tuner.workloads.bowls:train", "no module named 'tuner.workloads.bowls'"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_with_a_sentence(path: str, sentence: str) -> None:
    with pytest.raises(TrainingError, match=sentence):
        portable(path)


def test_a_script_that_ends_whoever_imports_it_is_refused_with_how_it_may_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script_that_ends.py").write_text("import argparse\nargparse.ArgumentParser().parse_args(['--no'])\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TrainingError, match=r"by SystemExit: 2\. .*--command 'python script_that_ends\.py --lr"):
        portable("script_that_ends:train")


def test_the_source_is_known_by_its_hash() -> None:
    assert portable(train).source_sha256 == hashlib.sha256(inspect.getsource(train).encode()).hexdigest()
    typed: dict[str, Any] = {}
    exec("def train(run): return 1.0", typed)  # typed at a prompt: its source is nowhere
    assert portable(typed["train"]).source_sha256 == ""


def test_the_users_folder_is_told_from_installed_code() -> None:
    assert portable(train).module_folder == Path(__file__).parent
    assert portable(cloudpickle.dumps).module_folder is None


def test_workers_look_where_the_user_stands_first_and_never_among_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    path = portable(train).search_path
    assert path[0] == str(tmp_path)
    assert str(Path(__file__).parent) in path
    assert sysconfig.get_paths()["stdlib"] not in path
    assert len(path) == len(set(path))


def test_a_module_in_the_working_directory_is_found_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_code_of_today.py").write_text("def train(run):\n    return 0.125\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert call(portable("my_code_of_today:train").payload) == 0.125


def test_a_function_by_value_is_kept_beside_its_study(tmp_path: Path) -> None:
    keep_function(portable(train), tmp_path / "importable")
    assert not (tmp_path / "importable").exists()
    keep_function(portable(lambda run: 0.75), tmp_path / "night")
    (kept,) = (tmp_path / "night").iterdir()
    assert call(kept.read_bytes()) == 0.75


# ── kept by an earlier version ──────────────────────────────────────────────────────────────────

# Where the public names of the front door stood while the package was flat.
STOOD = {
    "api": ("Summary", "attach", "explain", "open", "promote", "studies", "sweep"),
    "asking": ("Handle", "Reply"),
    "babysitting": ("babysit",),
    "explaining": ("Explanation",),
    "handle": ("RunHandle", "SweepHandle"),
    "reading": ("Best", "Study"),
    "repeating": ("confirm", "recheck"),
    "run": ("Run",),
    "selfcheck": ("check",),
    "space": ("Space", "choice", "integer", "linear", "log", "log_one_minus"),
}


def holding(module: str, name: str) -> bytes:
    """A pickled `partial(print, module.name)`, written by hand: what an earlier version wrote refers to names alone."""
    return f"cfunctools\npartial\n(cbuiltins\nprint\nc{module}\n{name}\ntR.".encode()


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in STOOD for name in STOOD[module]])
def test_a_function_that_was_kept_finds_what_has_moved_since(module: str, name: str) -> None:
    function: Any = resolve(holding(f"tuner.{module}", name))
    assert function.args == (getattr(tuner, name),)


def test_a_function_that_was_kept_with_its_sources_by_an_earlier_version_is_read() -> None:
    fields = {"pickled": holding("tuner.run", "Run"), "sources": {"train.py": ["def train(run):\n"]}}
    state = pickle.dumps(fields, protocol=2)[2:-1]  # without its head and its end
    kept = b"\x80\x02ctuner.worker\nWithSources\n)\x81" + state + b"b."  # an object made, its state put in
    function: Any = resolve(kept)
    assert function.args == (Run,)
    assert sources_of(kept) == fields["sources"]


# What the version before its classes had their present names kept of `tuner.command("python -c 'print(1)' --lr {lr}
# --seed {seed}", metric=r"acc=([\d.]+)")`.
PROGRAM = (
    "gAWVbgEAAAAAAACMFnR1bmVyLnByb2dyYW1zLmNvbW1hbmSUjAdQcm9ncmFtlJOUKYGUfZQojAV3b3Jkc5SMFHR1bmVyLnByb2dy"
    "YW1zLndvcmRzlIwFV29yZHOUk5QpgZR9lCiMBHRleHSUjCxweXRob24gLWMgJ3ByaW50KDEpJyAtLWxyIHtscn0gLS1zZWVkIHtz"
    "ZWVkfZSMBXBhcnRzlCiMBnB5dGhvbpSMAi1jlIwIcHJpbnQoMSmUjAQtLWxylIwEe2xyfZSMBi0tc2VlZJSMBntzZWVkfZR0lIwK"
    "aW5fYV9zaGVsbJSJdWKMB3JlYWRpbmeUjBV0dW5lci5wcm9ncmFtcy5zY29yZXOUjAdSZWFkaW5nlJOUKYGUfZSMCHBhdHRlcm5z"
    "lIwCcmWUjAhfY29tcGlsZZSTlIwMYWNjPShbXGQuXSsplEsghpRSlIWUc2KMB2dyYWNlX3OUR0AUAAAAAAAAjAdyZXN1bWVzlIl1"
    "Yi4="
)


def test_a_program_that_was_kept_when_its_classes_had_other_names_is_read() -> None:
    program: Any = resolve(base64.b64decode(PROGRAM))
    assert program == tuner.command("python -c 'print(1)' --lr {lr} --seed {seed}", metric=r"acc=([\d.]+)")
    assert program.words.filled({"lr": 0.5, "seed": 3})[-3:] == ["0.5", "--seed", "3"]


def test_a_space_that_was_kept_once_it_was_drawn_from_gives_the_same_values() -> None:
    space = Space(beta=log_one_minus(0.9, 0.999), layers=choice(1, 2))
    drawn = space.from_unit((0.5, 0.5))
    kept = pickle.dumps(functools.partial(print, space), protocol=2)
    for module in (b"space", b"parameters", b"scales"):
        assert b"ctuner.space." + module + b"\n" in kept
        kept = kept.replace(b"ctuner.space." + module + b"\n", b"ctuner.space\n")  # all of it stood in one file
    function: Any = resolve(kept)
    assert function.args == (space,)
    assert function.args[0].from_unit((0.5, 0.5)) == drawn
