"""How the tree reads beside others': names at the top, lengths of modules and functions, annotations.

    python benchmarks/tree.py tuner httpx submitit optuna

Each package is read from where it is installed, by its syntax tree alone: nothing of it runs.
"""

from __future__ import annotations

import ast
import importlib.util
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rows import Goal, Row, grid, lines_of

from tuner.worker.sources import syntax_of

LENGTHS = "module: median, longest; function: median, 95 %, longest"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What is counted of one package; lengths are in lines."""

    name: str
    top: int
    modules: Sequence[int]
    functions: Sequence[int]
    annotated: float
    homonyms: int

    @classmethod
    def of(cls, name: str) -> Tree:
        """Reads an installed package."""
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f"{name} is no installed package. Install it: pip install {name}")
        folder = Path(next(iter(spec.submodule_search_locations)))
        return cls.below(folder, name)

    @classmethod
    def below(cls, folder: Path, name: str) -> Tree:
        """Reads a folder; tests and what begins with a dot or two underscores do not count."""
        top = [each for each in folder.iterdir() if is_counted(each)]
        files = [
            each for each in sorted(folder.rglob("*.py")) if "tests" not in each.parts and "testing" not in each.parts
        ]
        trees = [syntax_of(each.read_text(encoding="utf-8")) for each in files]
        functions = [each for tree in trees for each in functions_of(tree)]
        classes = [each.name for tree in trees for each in tree.body if isinstance(each, ast.ClassDef)]
        return cls(
            name=name,
            top=len(top),
            modules=[len(each.read_text(encoding="utf-8").splitlines()) for each in files],
            functions=[(each.end_lineno or each.lineno) - each.lineno + 1 for each in functions],
            annotated=sum(map(is_annotated, functions)) / max(1, len(functions)),
            homonyms=len(classes) - len(set(classes)),
        )


def is_counted(path: Path) -> bool:
    """Whether `ls` of a package shows an entry that says something."""
    return not path.name.startswith((".", "__")) and (path.suffix == ".py" or path.is_dir())


def functions_of(tree: ast.Module) -> Iterator[Function]:
    """Every function and method."""
    return (each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))


def is_annotated(function: Function) -> bool:
    """Whether what it returns, and every parameter but self and cls, has a type."""
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return function.returns is not None and all(
        each.annotation is not None for each in given if each.arg not in ("self", "cls")
    )


def share(values: Sequence[int], quantile: float) -> int:
    """The value that this share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(quantile * len(values)))]


def main(names: Sequence[str]) -> None:
    """Prints one line a package, and what is promised of ours."""
    lines = [("package", "names at the top", "modules", LENGTHS, "annotated", "classes of one name")]
    for tree in map(Tree.of, names or ["tuner"]):
        modules = f"{statistics.median(tree.modules):.0f}, {max(tree.modules)}"
        functions = f"{statistics.median(tree.functions):.0f}, {share(tree.functions, 0.95)}, {max(tree.functions)}"
        counted = str(tree.top), str(len(tree.modules)), f"{modules}; {functions}"
        lines.append((tree.name, *counted, f"{tree.annotated:.0%}", str(tree.homonyms)))
    ours = Tree.of("tuner")
    annotated = Row("tuner: annotated functions", 100 * ours.annotated, "%", goal=Goal(at_least=100))
    homonyms = Row("tuner: classes of one name", ours.homonyms, goal=Goal(at_most=0))
    print(f"{grid(lines)}\n\n{grid(lines_of([annotated, homonyms]))}")


if __name__ == "__main__":
    main(sys.argv[1:])
