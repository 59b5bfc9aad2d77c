"""How tests are dealt out to processes: what shares a Ray cluster, what starts its own, a file that shares fixtures.

Only tests are named to whoever deals them out, so their files are read for the marks. (`--dist loadgroup` of xdist 3.8
does not see its groups under pytest 9.2.)
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_MOST = {"tests/test_ray.py"}
"""The files that start about half of the clusters that are not shared."""


@dataclass(frozen=True, kw_only=True)
class File:
    """What matters of a file of tests here."""

    starts_ray: bool
    tests_that_start_ray: frozenset[str]
    tests_on_the_shared_cluster: frozenset[str]
    shares_fixtures: bool


class Groups(LoadScopeScheduling):  # type: ignore[misc] # xdist says nothing of its types
    """One cluster is shared, two of their own start side by side, and no fixture of a file is made twice."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid, Path(self.config.rootpath))


def group_of(test: str, root: Path) -> str:
    """What is to run in one process with this test, one after another."""
    path, _, rest = test.partition("::")
    file = read(root / path)
    name, _, parameters = rest.partition("[")
    if file.starts_ray or name in file.tests_that_start_ray or parameters.startswith("ray"):
        shares = name in file.tests_on_the_shared_cluster or parameters.startswith("ray")
        return "the shared cluster" if shares else f"clusters of their own, {'one' if path in _MOST else 'another'}"
    return path if file.shares_fixtures else test


@cache
def read(path: Path) -> File:
    """Reads a file of tests."""
    text = path.read_text()
    body = ast.parse(text).body
    tests = [each for each in body if isinstance(each, ast.FunctionDef)]
    return File(
        starts_ray=any(isinstance(each, ast.Assign) and "mark.ray" in ast.unparse(each) for each in body),
        tests_that_start_ray=frozenset(
            test.name for test in tests if any("mark.ray" in ast.unparse(mark) for mark in test.decorator_list)
        ),
        tests_on_the_shared_cluster=frozenset(
            test.name for test in tests if any(argument.arg == "cluster" for argument in test.args.args)
        ),
        shares_fixtures='scope="module"' in text,
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each process names the tests for itself, so that no name may hold an address of one of them."""
    if wrong := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"{wrong[0]} is called otherwise in every process: name its parameters with ids=[…]")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """Called where tests run side by side."""
    return Groups(config, log)
