"""The map in ARCHITECTURE.md is the law: what may import what is read from it, and proved from the syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tuner"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Each layer may import itself and what is listed; thought and hands stand side by side.
MAY_IMPORT = {
    "words": set[str](),
    "memory": {"words"},
    "thought": {"words", "memory"},
    "hands": {"words", "memory"},
    "loop": {"words", "memory", "thought", "hands"},
    "doors": {"words", "memory", "thought", "hands", "loop"},
    "company": {"words"},  # what a user's function would import: errors to raise, and `Run` for its type checker alone
}

# Each outside package is known to one room, so that replacing it is one room's work.
KNOWN_TO = {
    "ray": ("executors/ray.py", "executors/connection.py"),
    "sqlalchemy": ("store.py",),
    "sqlite3": ("store.py",),
    "optuna": ("samplers/",),
    "matplotlib": ("canvas.py", "labels.py", "lineage.py", "plots.py", "zoom.py"),
    "pandas": ("tables.py", "export.py", "plots.py", "forking.py"),  # the last for `compare` alone
    "pyarrow": ("export.py",),
    "click": ("cli/",),
    "rich": ("console.py", "cli/", "room/"),
    "textual": ("room/",),
    "plotext": ("room/drawing.py",),
    "sklearn": ("workloads/digits.py",),
    "torch": ("checkpoints.py",),
    "keras": ("callbacks/keras.py",),
    "lightning": ("callbacks/lightning.py",),
    "transformers": ("callbacks/transformers.py",),
}

# Thought is pure: no clock, no disk, no network, no threads, no generator that is not keyed.
IMPURE = {
    "asyncio", "concurrent", "datetime", "http", "io", "multiprocessing", "os", "pathlib", "random", "secrets",
    "select", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip

# But for what is about one of them.
MAY_TOUCH = {"surrogate/threads.py": {"threading"}}

LINES = 400
LONGER = {
    "checkpoints.py": "one format, written and read: its two halves prove each other",
    "coordinator.py": "the one loop, with an answer to everything a worker may say",
    "desk.py": "every command to a worker, one function each",
    "messages.py": "every word between coordinator and worker, one dataclass each",
    "plots.py": "three pictures that share their axes",
    "samplers/optuna.py": "one Optuna study rebuilt from the fold, for samplers and pruners alike",
    "space.py": "three scales, conditions and the file format say the same thing in one place",
    "store.py": "everything the database is asked",
    "study.py": "the fold, one method a record",
    "tending.py": "every verb of a babysat run, one function each",
}


def place(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


@cache
def layers() -> dict[str, str]:
    """The layer of each module, as drawn in the tree of ARCHITECTURE.md."""
    tree = (ROOT / "ARCHITECTURE.md").read_text().split("```")[1]
    found: dict[str, str] = {}
    layer = folder = ""
    for line in tree.splitlines():
        if heading := re.match(r"  ── (\w+)", line):
            layer = heading[1]
        elif entry := re.match(r"( +)(\S+)", line):
            indent, name = entry.groups()
            if name.endswith("/"):
                folder = name
            elif layer:
                found[f"{folder if len(indent) > 2 else ''}{name}"] = layer
    return found


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs; functions count, `if TYPE_CHECKING` does not."""
    for child in ast.iter_child_nodes(tree):
        if is_for_type_checkers(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield other
                yield from nodes(other)
            continue
        yield child
        yield from nodes(child)


@cache
def syntax(module: Path) -> ast.Module:
    return ast.parse(module.read_text())


def file_of(name: str) -> Path | None:
    """The file of a module of tuner; None for anything else."""
    head, *rest = name.split(".")
    path = PACKAGE.joinpath(*rest)
    files = (path.with_suffix(".py"), path / "__init__.py") if rest else (path / "__init__.py",)
    return next((file for file in files if head == "tuner" and file.exists()), None)


@cache
def imports(module: Path) -> frozenset[str]:
    """The dotted names of the modules that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in nodes(syntax(module)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{place(module)} imports relatively"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                names.add(submodule if file_of(submodule) else node.module)
    return frozenset(names)


def own_imports(module: Path) -> set[Path]:
    """The modules of tuner that a module imports; the front door, which the doors use as anybody would, aside."""
    files = {file_of(name) for name in imports(module) if name != "tuner"}
    return {file for file in files if file is not None and file != module}


def layer_of(module: Path) -> str:
    assert place(module) in layers(), f"the tree in ARCHITECTURE.md does not show {place(module)}"
    return layers()[place(module)]


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_imports_point_down_the_map(module: Path) -> None:
    if module in (PACKAGE / "__init__.py", PACKAGE / "__main__.py"):
        return  # they stand above the layers
    layer = layer_of(module)
    for other in own_imports(module):
        below = layer_of(other)
        assert below == layer or below in MAY_IMPORT[layer], (
            f"{place(module)} ({layer}) imports {place(other)} ({below})"
        )


def test_the_map_knows_every_layer() -> None:
    assert set(layers().values()) == set(MAY_IMPORT)


def test_no_module_imports_itself_in_a_circle() -> None:
    finished: set[Path] = set()

    def visit(module: Path, path: tuple[Path, ...]) -> None:
        assert module not in path, " → ".join(map(place, (*path[path.index(module) :], module)))
        if module not in finished:
            for other in sorted(own_imports(module)):
                visit(other, (*path, module))
            finished.add(module)

    for module in MODULES:
        visit(module, ())


def test_whoever_trains_knows_nothing_of_the_front_door() -> None:
    for module in MODULES:
        if layers().get(place(module)) not in (None, "doors"):
            assert "tuner" not in imports(module), f"{place(module)} imports from the front door"


@pytest.mark.parametrize("package", KNOWN_TO)
def test_each_outside_package_is_known_to_its_room_alone(package: str) -> None:
    for module in MODULES:
        if any(name.split(".")[0] == package for name in imports(module)):
            assert place(module).startswith(KNOWN_TO[package] or "nowhere"), f"{place(module)} imports {package}"


def test_thought_touches_nothing_outside() -> None:
    for module in MODULES:
        if layers().get(place(module)) == "thought":
            roots = {name.split(".")[0] for name in imports(module)}
            roots -= MAY_TOUCH.get(place(module), set())
            assert not roots & IMPURE, f"{place(module)} imports {sorted(roots & IMPURE)}"
            called = {node.func.id for node in nodes(syntax(module)) if is_call_by_name(node)}  # type: ignore[attr-defined]
            assert not called & {"open", "print", "input"}, f"{place(module)} calls {sorted(called)}"


def is_call_by_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_every_module_opens_with_a_sentence(module: Path) -> None:
    docstring = ast.get_docstring(syntax(module)) or ""
    first = docstring.split("\n\n")[0]
    assert first[:1].isupper() or first.startswith("`"), f"{place(module)} opens with {first!r}"
    assert re.search(r"[.:]$", first), f"{place(module)}: {first!r} is no sentence"


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_every_module_postpones_its_annotations(module: Path) -> None:
    if len(syntax(module).body) > 1:
        assert "__future__" in imports(module)


def test_no_module_is_called_by_a_word_that_says_nothing() -> None:
    empty = {"utils", "util", "helpers", "helper", "common", "misc", "core", "base_utils", "tools"}
    assert not [place(module) for module in MODULES if module.stem in empty or module.parent.name in empty]


def test_modules_are_short_but_for_a_few_with_a_reason() -> None:
    lengths = {place(module): len(module.read_text().splitlines()) for module in MODULES}
    long = {name: length for name, length in lengths.items() if length > LINES and name not in LONGER}
    assert not long, f"longer than {LINES} lines: {long}"
    short = {name for name in LONGER if lengths[name] <= LINES}
    assert not short, f"no longer long: {sorted(short)}"


def test_user_mistakes_are_errors_with_sentences_not_assertions() -> None:
    for module in MODULES:
        lines = [node.lineno for node in nodes(syntax(module)) if isinstance(node, ast.Assert)]
        assert not lines, f"{place(module)} asserts in lines {lines}"
