"""What is public, where it comes from, and what it costs to import."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tuner
from tuner.worker.sources import syntax_of

HEAVY = {"ray", "optuna", "pandas", "sqlalchemy", "numpy", "scipy", "matplotlib", "sklearn", "rich", "click"}


def test_what_is_exported_is_what_is_listed() -> None:
    assert sorted(tuner.__all__) == tuner.__all__
    assert dir(tuner) == tuner.__all__
    for name in tuner.__all__:
        assert getattr(tuner, name) is not None


def test_what_type_checkers_see_is_what_is_exported() -> None:
    tree = syntax_of(inspect.getsource(tuner))
    seen = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.If)
        for line in node.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert seen == set(tuner.__all__)


def test_everything_public_says_what_it_is() -> None:
    for name in tuner.__all__:
        thing = getattr(tuner, name)
        assert inspect.getdoc(thing), f"tuner.{name} has no docstring"
        if inspect.isclass(thing):
            for method, value in vars(thing).items():
                if not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                    assert inspect.getdoc(value), f"tuner.{name}.{method} has no docstring"


def test_public_functions_are_annotated_to_the_last_argument() -> None:
    for name in tuner.__all__:
        thing = getattr(tuner, name)
        if inspect.isfunction(thing):
            signature = inspect.signature(thing)
            assert signature.return_annotation is not signature.empty
            assert all(each.annotation is not signature.empty for each in signature.parameters.values())


def test_names_of_modules_do_not_leak() -> None:
    public = {name for name in tuner.__all__ if isinstance(getattr(tuner, name), ModuleType)}
    assert public == {"samplers", "workloads"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'tuner' has no attribute 'swep'"):
        tuner.swep  # noqa: B018 - the point of it


def imported_by(code: str, folder: Path) -> set[str]:
    """The heavy packages in memory after `code` ran in a fresh interpreter."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted({HEAVY!r} & set(sys.modules))))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, check=True, timeout=120
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_tuner_imports_nothing_heavy(tmp_path: Path) -> None:
    assert imported_by("import tuner; tuner.Run, tuner.TunerError, tuner.Space", tmp_path) == set()


@pytest.mark.long
def test_a_service_at_rest_holds_nothing_that_only_its_tables_and_pictures_need(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    code = """
from starlette.testclient import TestClient
from tuner.server.app import create_app
from tuner.server.gate import Door
from tuner.server.tokens import Tokens, made
gate = create_app("results", Tokens([made("one", "viewer", "x" * 40)], b"secret"), Door.on(8765))
with TestClient(gate, base_url="http://127.0.0.1:8765", headers={"authorization": "Bearer " + "x" * 40}) as client:
    assert client.get("/v1/studies").status_code == client.get("/").status_code == 200
"""
    assert imported_by(code, tmp_path) <= {"sqlalchemy", "numpy", "click"}


def test_a_worker_of_plain_python_needs_nothing_heavy(tmp_path: Path) -> None:
    code = """
from tuner.executors.thread import WorkerThread
from tuner.worker.messages import Job, Order
from tuner.record.recipe import Recipe
def train(run):
    for step in run.steps(3):
        run.report(score=step)
worker = WorkerThread(train, Job(study="s", function="m:f", search_path=(), objective="score"))
worker.submit((Order(trial=0, segment=0, recipe=Recipe.constant({}), seed=0),))
_, events = worker.poll(0, 5.0)
assert events
"""
    assert imported_by(code, tmp_path) == set()


def test_a_local_sweep_and_its_reading_need_neither_ray_nor_pandas(tmp_path: Path) -> None:
    code = """
import tuner
space = tuner.Space(x=tuner.linear(0.0, 1.0))
study = tuner.sweep(lambda run: run.params["x"], space, name="a", objective="score", trials=3, executor="local",
                    progress="off", results=".")
assert study.best is not None
"""
    assert not imported_by(code, tmp_path) & {"ray", "pandas", "matplotlib", "rich", "click", "sklearn"}
    reading = "import tuner; assert tuner.open('a', results='.').best is not None; assert tuner.studies('.')"
    assert imported_by(reading, tmp_path) <= {"sqlalchemy", "numpy", "click"}
    file = "import sys, tuner; tuner.open('a', results='.'); assert 'sqlalchemy.dialects.postgresql' not in sys.modules"
    imported_by(file, tmp_path)  # that is a third of the rest
    learned = "import sys, tuner; tuner.open('a', results='.').explain(); assert 'scipy.stats' not in sys.modules"
    imported_by(learned, tmp_path)  # it takes half a second
    tables = "import tuner; assert len(tuner.open('a', results='.').trials) == 3"
    assert not imported_by(tables, tmp_path) & {"ray", "optuna", "matplotlib", "rich", "click"}


def test_the_shells_help_needs_click_alone(tmp_path: Path) -> None:
    code = """
from tuner.cli import main
try:
    main(["--help"])
except SystemExit as ended:
    assert not ended.code
"""
    assert imported_by(code, tmp_path) == {"click"}
