"""The stations of a report, a request and a proposal: the modules of tuner they pass, found by running.

    python benchmarks/stations.py

A small study trains in this process while every call is looked at. A module is entered where one of its functions is
handed the thing itself (the score, the setting, or a record, row or message that holds it), or hands it back; calls one
after another in one module count once. Those that only look at it or translate it are counted, and then left out of the
way that is printed: `ASIDE` says which and why. A module that is new on a way stands there until it is on that list.
Whoever is handed the thing back by another module has it too, if only to pass it on: the last rows count them as well.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
from rows import Goal, Row, grid, lines_of

import tuner
from tuner.api.process import on_threads
from tuner.policy.proposals import Proposal
from tuner.policy.protocol import Draft
from tuner.policy.requests import Decision
from tuner.record.events import Reported
from tuner.record.reports import unpack_reports

PACKAGE = Path(tuner.__file__).parent
HELD = {"tuner.worker.messages", "tuner.record.events", "tuner.record.recipe", "tuner.worker.run"}
DEEP = 6
SCORE, RATE = 0.12345678912345, 0.0031234567
SPACE = tuner.Space(learning_rate=tuner.log(1e-4, 1.0))

# Who is handed the thing without carrying it on.
ASIDE = {
    "values/arguments": "checks what a public call is given",
    "values/plain": "checks that it can be written down",
    "values/numbers": "writes it as a person reads it",
    "space/": "knows the scales",
    "record/reports": "packs rows",
    "record/schema": "makes a row of it",
    "record/access": "makes a record of a row",
    "record/requests": "checks what a verb takes",
    "record/recipe": "knows settings under schedules",
    "record/state": "folds it, in memory",
    "record/trial": "folds it, in memory",
    "record/curve": "folds it, in memory",
    "worker/divergence": "looks whether the training diverged",
    "worker/reads": "notes whether the function reads it",
    "worker/saving": "writes it into checkpoints",
    "worker/function": "packs the function, and whatever it holds",
    "caviar/requests": "looks whether anybody waits for it",
    "caviar/outcomes": "learns from it",
    "caviar/duplicates": "learns from it",
    "policy/proposals": "learns from it",
    "samplers/prior": "says where draws are likely",
    "surrogate/": "learns from it",
    "panda/checks": "checks what may be set",
    "panda/going_back": "checks what the asker has seen",
}


@dataclass(frozen=True, kw_only=True)
class Way:
    """Where a thing went: every module entered, in order."""

    name: str
    entered: Sequence[str]
    held: Sequence[str]
    """Every module entered or handed the thing back, in order."""
    goal: int

    @property
    def stations(self) -> list[str]:
        """The modules that carry it, in order."""
        return carrying(self.entered)

    @property
    def line(self) -> str:
        """A row of the table in ARCHITECTURE.md."""
        again = ", ".join(f"`{each}`" for each in self.again) or "none"
        return f"| {self.name} | {len(self.stations)} | {' → '.join(self.stations)} | {again} |"

    @property
    def again(self) -> list[str]:
        """The stations that it comes to again after another one."""
        return sorted({each for each in self.stations if self.stations.count(each) > 1})

    @property
    def both_ways(self) -> list[tuple[str, str]]:
        """The pairs of stations between which it goes back and forth."""
        steps = set(pairwise(self.stations))
        return sorted((one, other) for one, other in steps if one < other and (other, one) in steps)


def carrying(modules: Iterable[str]) -> list[str]:
    """Those of some modules that carry the thing on."""
    return once(each for each in modules if not each.startswith(tuple(ASIDE)))


def once(modules: Iterable[str]) -> list[str]:
    """Without those that follow themselves."""
    return [module for module, _ in groupby(modules)]


def holds(value: Any, mark: tuple[float, ...], deep: int = DEEP) -> bool:
    """Whether a value is the marked number, or a message, record, row or collection around it."""
    if isinstance(value, float):
        return value in mark
    if deep == 0 or value is None or isinstance(value, str | bytes | int):
        return False
    if isinstance(value, Mapping):
        return any(holds(each, mark, deep - 1) for each in list(value.values()))
    if isinstance(value, np.ndarray):
        return value.size < 64 and any(float(each) in mark for each in value.flat)
    if isinstance(value, tuple | list):
        return any(holds(each, mark, deep - 1) for each in list(value))
    if isinstance(value, Reported):
        return any(row[2] in mark for row in unpack_reports(value))
    kind = type(value)
    if isinstance(value, Proposal | Draft | Decision) or kind.__module__ in HELD:
        names = getattr(kind, "__dataclass_fields__", ())
        return any(holds(getattr(value, name, None), mark, deep - 1) for name in names)
    return False


class Watcher:
    """Looks at every call for a marked number."""

    def __init__(self, *mark: float) -> None:
        self._mark = mark
        self._passed: list[tuple[str, bool]] = []  # each module, and whether it was merely handed the thing back
        self._names: dict[CodeType, str | None] = {}

    def __call__(self, frame: FrameType, event: str, given: Any) -> None:
        """Called by the interpreter at each call and return."""
        if event not in ("call", "return"):
            return
        module = self._module(frame.f_code)
        if module is None:
            return
        if event == "return":
            if holds(given, self._mark):
                if not self._handed(frame):
                    self._passed.append((module, False))
                if frame.f_back is not None and (other := self._module(frame.f_back.f_code)) not in (None, module):
                    self._passed.append((str(other), True))
        elif self._handed(frame):
            self._passed.append((module, False))

    def _module(self, code: CodeType) -> str | None:
        if code not in self._names:
            path = Path(code.co_filename)
            self._names[code] = str(path.relative_to(PACKAGE).with_suffix("")) if path.is_relative_to(PACKAGE) else None
        return self._names[code]

    def _handed(self, frame: FrameType) -> bool:
        code = frame.f_code
        count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
        return any(holds(frame.f_locals.get(name), self._mark) for name in code.co_varnames[:count] if name != "self")

    def way(self, name: str, first: str, last: str, *, goal: int) -> Way:
        """Where the thing went, from the first time that one module was entered to the last that another was."""
        entered = [module if not back else "" for module, back in self._passed]
        start, end = entered.index(first), len(entered) - entered[::-1].index(last)
        held = once(module for module, _ in self._passed[start:end])
        return Way(name=name, entered=once(each for each in entered[start:end] if each), held=held, goal=goal)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Looks at what every thread calls meanwhile."""
        sys.setprofile(self)
        threading.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def scores(run: tuner.Run) -> None:
    """Three steps, of which the second reports what is looked for."""
    for step in run.steps(3):
        run.report(score=SCORE if step == 1 else float(step))


def trains_on(run: tuner.Run) -> None:
    """Trains until it is told to stop."""
    for _ in run.steps(10**9):
        time.sleep(0.002)
        run.report(score=1.0)


def swept(name: str, folder: Path, trials: int) -> tuner.Study:
    """A sweep with all defaults, in this process."""
    return tuner.sweep(
        scores, SPACE, name=name, objective="score", trials=trials, executor="local", results=folder, progress="off"
    )


def steps_of(handle: tuner.RunHandle) -> int:
    """How far a run has come."""
    with closing(handle.study) as study:
        return sum(trial.steps for trial in study.state.trials)


def report(folder: Path) -> Way:
    """From `run.report` to the row in the database."""
    seen = Watcher(SCORE)
    with seen.on():
        swept("one", folder, 1)
    return seen.way("report", "worker/run", "record/schema", goal=9)


def request(folder: Path) -> Way:
    """From `handle.set` to the command at the worker, and from there to the adjustment on record."""
    seen = Watcher(RATE)
    with on_threads() as threads, seen.on():
        handle = tuner.babysit(
            trains_on, {"learning_rate": 0.1}, name="two", objective="score", executor="local", results=folder
        )
        while not steps_of(handle):  # what is asked before the worker is there is told it when it comes
            time.sleep(0.01)
        handle.set(learning_rate=RATE)
        handle.stop()
        for thread in threads:
            thread.join(30.0)
    return seen.way("request", "api/handles", "record/schema", goal=12)


def proposal(folder: Path) -> Way:
    """From a free worker to the settings at the trial; the same search, run before, tells which those will be."""
    settings = swept("three", folder, 3).state.trials[2].settings
    seen = Watcher(settings["learning_rate"], *SPACE.to_unit(settings))
    with seen.on():
        swept("four", folder, 3)
    return seen.way("proposal", "samplers/coarse_to_fine", "worker/run", goal=8)


def main() -> None:
    """Prints the three ways, and what they were meant to be."""
    rows = []
    for measure in (report, request, proposal):
        with tempfile.TemporaryDirectory() as folder:
            way = measure(Path(folder))
        print(way.line)
        rows.append(Row(f"stations of a {way.name}", len(way.stations), goal=Goal(at_most=way.goal)))
        rows.append(Row(f"pairs between which a {way.name} goes both ways", len(way.both_ways), goal=Goal(at_most=0)))
        rows.append(Row(f"stations of a {way.name} that come again", len(way.again)))
        rows.append(Row(f"modules entered by a {way.name}", len(way.entered)))
        rows.append(Row(f"stations of a {way.name}, with whoever is handed it back", len(carrying(way.held))))
    print(f"\n{grid(lines_of(rows))}")


if __name__ == "__main__":
    main()
