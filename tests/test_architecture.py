"""The tree is the law: what may import what is read from the folders' names, and proved from the syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tuner.caviar.rules import STOPPING
from tuner.executors import EXECUTORS
from tuner.samplers import SAMPLERS
from tuner.worker.sources import syntax_of

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tuner"
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the doors down to the words. A folder imports those below it, for type checkers too; those in one line stand side
# by side and do not know one another.
ORDER = (
    ("cli",),
    ("room", "server"),
    ("agents",),
    ("api",),
    ("views",),
    ("insight",),
    ("caviar", "panda", "samplers"),
    ("coordinator", "surrogate"),
    ("executors", "policy", "callbacks", "programs", "workloads"),
    ("worker", "tables"),
    ("record",),
    ("space",),
    ("values",),
    ("errors", "version"),
)
RANK = {name: rank for rank, names in enumerate(reversed(ORDER)) for name in names}

# What decides does not know what trains; both speak in messages.
THOUGHT = ("insight", "caviar", "panda", "samplers", "surrogate", "policy")
HANDS = ("executors", "worker", "callbacks", "programs")
SPOKEN = "worker/messages.py"
# Each outside package is known to one room, so that replacing it is one room's work.
KNOWN_TO = {
    "ray": ("executors/ray.py", "executors/connection.py", "executors/scaling.py"),
    "sqlalchemy": tuple(
        f"record/{each}.py" for each in ("store", "access", "schema", "database", "postgres", "asides")
    ),
    "psycopg": ("record/postgres.py",),
    "fsspec": ("worker/objects.py", "worker/parts.py"),
    "sqlite3": ("record/database.py",),
    "optuna": ("samplers/", "views/optuna.py"),  # the last as a study looks to them: what writes it is no thought
    "matplotlib": ("views/plots/",),
    "bokeh": ("views/pictures/",),
    "pandas": ("tables/", "views/plots/sweep.py", "api/fork.py"),  # the last for `compare` alone
    "pyarrow": ("tables/files.py",),
    "click": ("cli/",),
    "rich": ("views/terminal.py", "cli/", "room/"),
    "textual": ("room/",),
    "mcp": ("agents/door.py",),
    "mcp_types": ("agents/door.py",),
    "plotext": ("room/drawing.py",),
    "fastapi": ("server/",),
    "starlette": ("server/",),
    "pydantic": ("server/",),
    "uvicorn": ("server/running.py",),
    "jinja2": ("server/page/",),
    "markupsafe": ("server/page/",),
    "sklearn": ("workloads/digits.py",),
    "torch": ("worker/generators.py", "worker/contents.py"),
    "keras": ("callbacks/keras.py",),
    "lightning": ("callbacks/lightning.py",),
    "transformers": ("callbacks/transformers.py",),
}

# Thought is pure: no clock, no disk, no network, no threads, no generator that is not keyed.
IMPURE = {
    "asyncio",
    "concurrent",
    "datetime",
    "http",
    "io",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}

# But for what is about one of them.
MAY_TOUCH = {
    "surrogate/threads.py": {"threading"},
    "surrogate/thinking.py": {"concurrent", "time"},  # where trials do not wait for what is thought
    "panda/requests.py": {"time"},  # its clock is an argument, and this the default
    "panda/going_back.py": {"datetime"},  # to write a moment down
}

LINES = 400
LONGER = {"views/plots/lineage.py": "one picture", "views/plots/sweep.py": "three pictures that share their axes"}


def place(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


def folder_of(module: Path) -> str:
    """The folder at the top of the package that a module lies in, or its own name where it lies there itself."""
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def described() -> dict[str, str]:
    """What the tree of ARCHITECTURE.md says of each folder and file at the top of the package."""
    tree = (ROOT / "ARCHITECTURE.md").read_text().split("```")[1]
    return dict(re.findall(r"^  ([a-z_.]+)/?  +(\S.*(?:\n {6,}\S.*)*)", tree, re.MULTILINE))


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def nodes(tree: ast.AST, *, typing: bool = False) -> Iterator[ast.AST]:
    """Every node that runs, functions included; with `typing` what is there for type checkers too."""
    for child in ast.iter_child_nodes(tree):
        if not typing and is_for_type_checkers(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield other
                yield from nodes(other)
            continue
        yield child
        yield from nodes(child, typing=typing)


@cache
def syntax(module: Path) -> ast.Module:
    return syntax_of(module.read_text())


def file_of(name: str) -> Path | None:
    """The file of a module of tuner; None for anything else."""
    head, *rest = name.split(".")
    path = PACKAGE.joinpath(*rest)
    files = (path.with_suffix(".py"), path / "__init__.py") if rest else (path / "__init__.py",)
    return next((file for file in files if head == "tuner" and file.exists()), None)


@cache
def imports(module: Path, *, typing: bool = False) -> frozenset[str]:
    """The dotted names of the modules that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in nodes(syntax(module), typing=typing):
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
    files = {file_of(name) for name in imports(module, typing=True) if name != "tuner"}
    return {file for file in files if file is not None and file != module}


def is_above_all(module: Path) -> bool:
    """`tuner` itself, and `python -m tuner`."""
    return module in (PACKAGE / "__init__.py", PACKAGE / "__main__.py")


def test_every_folder_has_its_place_in_the_order() -> None:
    assert {folder_of(module) for module in MODULES if not is_above_all(module)} == set(RANK)


def test_imports_point_down() -> None:
    up = [
        f"{place(module)} imports {place(other)}"
        for module in MODULES
        for other in (own_imports(module) if not is_above_all(module) else ())
        if folder_of(module) != folder_of(other) and RANK[folder_of(other)] >= RANK[folder_of(module)]
    ]
    assert not up


def test_what_decides_does_not_know_what_trains() -> None:
    for module in MODULES:
        if folder_of(module) in THOUGHT:
            known = {place(other) for other in own_imports(module) if folder_of(other) in (*HANDS, "coordinator")}
            assert known <= {SPOKEN}, f"{place(module)} imports {sorted(known - {SPOKEN})}"


def test_no_module_imports_itself_in_a_circle() -> None:
    assert not circles(), [sorted(map(place, circle)) for circle in circles()]
    assert not circles(within_folders=False)


def circles(*, within_folders: bool = True) -> list[set[Path]]:
    """The sets of modules that import one another, imports for type checkers included (Tarjan 1972)."""
    order: dict[Path, int] = {}
    lowest: dict[Path, int] = {}
    open_: list[Path] = []
    found: list[set[Path]] = []

    def visit(module: Path) -> None:
        order[module] = lowest[module] = len(order)
        open_.append(module)
        for other in own_imports(module):
            if not within_folders and folder_of(other) == folder_of(module):
                continue
            if other not in order:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in open_:
                lowest[module] = min(lowest[module], order[other])
        if lowest[module] == order[module]:
            place_ = open_.index(module)
            circle = set(open_[place_:])
            del open_[place_:]
            if len(circle) > 1:
                found.append(circle)

    for module in MODULES:
        if module not in order and not is_above_all(module):
            visit(module)
    return found


def test_no_script_of_the_page_imports_itself_in_a_circle() -> None:
    scripts = {script.name: script.read_text() for script in (PACKAGE / "server/page/static").glob("*.js")}
    imported = {name: re.findall(r'^import .* from "\./([^"]+)"', text, re.MULTILINE) for name, text in scripts.items()}
    assert len(imported) > 5
    assert set(TopologicalSorter(imported).static_order()) == set(scripts)  # which raises at a circle


def test_the_map_names_every_folder_and_every_file_in_it() -> None:
    assert set(described()) == {*RANK, "__init__", "__main__"}
    for module in MODULES:
        if module.stem != "__init__" and not is_above_all(module):
            words = re.findall(r"\w+", described()[folder_of(module)])
            assert module.stem in words or module.stem == folder_of(module), f"the map does not name {place(module)}"


def test_whoever_trains_knows_nothing_of_the_front_door() -> None:
    for module in MODULES:
        if not is_above_all(module) and folder_of(module) not in ("cli", "room", "server", "api", "views"):
            assert "tuner" not in imports(module), f"{place(module)} imports from the front door"


@pytest.mark.parametrize("package", KNOWN_TO)
def test_each_outside_package_is_known_to_its_room_alone(package: str) -> None:
    for module in MODULES:
        if any(name.split(".")[0] == package for name in imports(module)):
            assert place(module).startswith(KNOWN_TO[package] or "nowhere"), f"{place(module)} imports {package}"


def test_thought_touches_nothing_outside() -> None:
    for module in MODULES:
        if folder_of(module) in THOUGHT:
            roots = {name.split(".")[0] for name in imports(module)}
            roots -= MAY_TOUCH.get(place(module), set())
            assert not roots & IMPURE, f"{place(module)} imports {sorted(roots & IMPURE)}"
            called = {node.func.id for node in nodes(syntax(module)) if is_call_by_name(node)}  # type: ignore[attr-defined]
            assert not called & {"open", "print", "input"}, f"{place(module)} calls {sorted(called)}"


def is_call_by_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def test_every_module_opens_with_a_sentence() -> None:
    for module in MODULES:
        first = (ast.get_docstring(syntax(module)) or "").split("\n\n")[0]
        assert first[:1].isupper() or first.startswith("`"), f"{place(module)} opens with {first!r}"
        assert re.search(r"[.:]$", first), f"{place(module)}: {first!r} is no sentence"


def test_every_module_names_what_it_is_rather_than_what_it_knows() -> None:
    for module in MODULES:
        docstring = ast.get_docstring(syntax(module)) or ""
        clause = re.match(r"(Knows|What|Which|Who|Whoever|How|Where|When|At which)\b", docstring)
        assert not clause, f"{place(module)} opens with {docstring[:40]!r}: a noun phrase says what it is"


def test_every_module_postpones_its_annotations() -> None:
    eager = [place(each) for each in MODULES if len(syntax(each).body) > 1 and "__future__" not in imports(each)]
    assert not eager


def test_no_two_classes_have_one_name() -> None:
    homes: dict[str, list[str]] = {}
    for module in MODULES:
        for node in ast.walk(syntax(module)):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(f"{place(module)}:{node.lineno}")
    homonyms = {name: places for name, places in homes.items() if len(places) > 1}
    assert not homonyms


@pytest.mark.parametrize("names", [EXECUTORS, SAMPLERS, STOPPING], ids=["executors", "samplers", "stopping rules"])
def test_the_names_of_a_kind_are_written_once(names: tuple[str, ...]) -> None:
    homes = [
        f"{place(module)}:{node.lineno}"
        for module in MODULES
        for node in ast.walk(syntax(module))
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict | ast.Call)
        if set(names) <= {each.value for each in ast.iter_child_nodes(node) if isinstance(each, ast.Constant)}
    ]
    assert len(homes) == 1, homes


def test_no_module_is_called_by_a_word_that_says_nothing() -> None:
    empty = {"utils", "util", "helpers", "helper", "common", "misc", "core", "base_utils", "tools"}
    assert not [place(module) for module in MODULES if module.stem in empty or module.parent.name in empty]


def lines_of_code(module: Path) -> int:
    """Its lines but for docstrings: what tells a caller every argument makes no module do more than one thing."""
    documented = [syntax(module), *nodes(syntax(module))]
    told = [
        node.body[0]
        for node in documented
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
    ]
    docstrings = {line for each in told for line in range(each.lineno, (each.end_lineno or each.lineno) + 1)}
    return len(module.read_text().splitlines()) - len(docstrings)


def test_modules_are_short_but_for_a_few_with_a_reason() -> None:
    lengths = {place(module): lines_of_code(module) for module in MODULES}
    long = {name: length for name, length in lengths.items() if length > LINES and name not in LONGER}
    assert not long, f"longer than {LINES} lines: {long}"
    short = {name for name in LONGER if lengths[name] <= LINES}
    assert not short, f"no longer long: {sorted(short)}"


def test_user_mistakes_are_errors_with_sentences_not_assertions() -> None:
    for module in MODULES:
        lines = [node.lineno for node in nodes(syntax(module)) if isinstance(node, ast.Assert)]
        assert not lines, f"{place(module)} asserts in lines {lines}"
