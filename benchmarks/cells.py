"""Searches as they are run and kept: a cell is one search, its result a line of a cache, so that work goes on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regret
import replaying
import rivals
import sources

import tuner


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One search: what, by which method, how wide, from which seed."""

    bench: str
    task: str
    method: str
    workers: int
    seed: int
    budget: int
    """Steps in all."""
    trials: int | None = None
    """How many in all, where they are the budget and not steps."""
    noise: float = 0.0
    """The luck of a run, as a share of the range from floor to best."""

    @property
    def key(self) -> str:
        """Under which its result is kept: the cell, and the code that runs it."""
        return json.dumps({**dataclasses.asdict(self), "code": code_of(self.method)}, sort_keys=True)


@functools.cache
def code_of(method: str) -> str:
    """The version of what searches: for ours, with a hash of its source, so that no edit goes unmeasured."""
    if method in replaying.OURS:
        digest = hashlib.sha256()
        root = Path(tuner.__file__).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
        return f"tuner {importlib.metadata.version('tuner')} {digest.hexdigest()[:12]}"
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in rivals.packages(method))


class Cache:
    """Results on disk, a line each; a line cut short by a crash is passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Mapping[str, Any]] = {}
        text = path.read_text() if path.exists() else ""
        self._torn = text != "" and not text.endswith("\n")
        for line in text.splitlines():
            try:
                kept = json.loads(line)
                self._found[kept["key"]] = kept["result"]
            except (ValueError, KeyError):
                continue

    def __contains__(self, cell: Cell) -> bool:
        return cell.key in self._found

    def __getitem__(self, cell: Cell) -> Mapping[str, Any]:
        return self._found[cell.key]

    def put(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """Keeps a result; it is on disk when this returns."""
        self._found[cell.key] = result
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write("\n" * self._torn + json.dumps({"key": cell.key, "result": result}) + "\n")
        self._torn = False

    def search(self, cell: Cell, scale: str) -> regret.Search:
        """The result on a scale: `floor` or `median`."""
        kept = self[cell]
        same = {name: kept[name] for name in ("steps", "trials", "rises", "best", "claim", "worth", "border")}
        return regret.Search(**same, seconds=kept["simulated_s"], bad=kept[scale], cpu_s=kept.get("cpu_s", math.nan))


def measured(cells: Sequence[Cell], data: str | None, jobs: int) -> Iterator[tuple[Cell, Mapping[str, Any] | str]]:
    """Runs cells in processes of one thread each, and yields each with its result, or the sentence why it has none."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # before a child imports numpy
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="search-", dir=memory if memory.is_dir() else None) as folder:
        pool = multiprocessing.get_context("spawn").Pool(jobs, initializer=os.setsid)  # Ctrl-C is for this process
        with pool:
            yield from pool.imap_unordered(functools.partial(_measured, data=data, folder=folder), cells)


def _measured(cell: Cell, *, data: str | None, folder: str) -> tuple[Cell, Mapping[str, Any] | str]:
    try:
        return cell, _result(cell, data, Path(folder))
    except KeyboardInterrupt:  # told to go: tuner has kept its study and says so
        os._exit(1)
    except Exception as error:  # one search that fails must not end the others
        return cell, f"{type(error).__name__}: {error}"


def _result(cell: Cell, data: str | None, folder: Path) -> Mapping[str, Any]:
    recording = sources.opened(cell.bench, data)
    names = ("workers", "seed", "budget", "trials", "noise")
    how: dict[str, Any] = {name: getattr(cell, name) for name in names}
    began, began_cpu = time.perf_counter(), time.process_time()
    if cell.method in replaying.OURS:
        trained = replaying.searched(recording, cell.task, cell.method, folder=folder, **how)
    else:
        trained = rivals.searched(recording, cell.task, cell.method, **how)
    took, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    return {
        "steps": len(trained.epochs),
        "trials": trained.trials,
        "simulated_s": trained.epochs[-1].at,
        "rises": regret.rises(trained.epochs),
        "claim": trained.claim,
        "worth": trained.worth,
        "border": round(trained.border, 4),
        "best": recording.best(cell.task),
        "floor": recording.floor(cell.task),
        "median": recording.median(cell.task),
        "took_s": round(took, 2),
        "cpu_s": round(cpu, 2),
    }
