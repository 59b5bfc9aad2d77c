"""Real training as learning curves: the network of `tuner.workloads` on images and tables, trained as far as asked."""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from recordings import Absent, Curve

from tuner import Space, integer, log, log_one_minus
from tuner.workloads.decay import decayed
from tuner.workloads.network import Labels, Network, normalised
from tuner.workloads.optimizers import Array


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


DIGITS = {
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
        found = _realdata(data)
        self._task = "digits" if found is None else "fashion_mnist"
        images = _digits() if found is None else _clothes(found, self._IMAGES)
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


def _realdata(data: str | None) -> Path | None:
    """The file of images in the data folder, where there is one."""
    places = () if data is None else (Path(data) / "data", Path(data))
    return next((place / "realdata.npz" for place in places if (place / "realdata.npz").is_file()), None)


def _clothes(path: Path, images: int) -> Images:
    """Fashion-MNIST, each image halved to 14 × 14 by the mean of four pixels."""
    with np.load(path) as arrays:
        wholes = [arrays["fashion_train_x"][:images], arrays["fashion_dev_x"]]
        classes = [arrays[f"fashion_{part}_y"].astype(np.int64) for part in ("train", "dev")]
    halves = [x.reshape(len(x), 14, 2, 14, 2).mean((2, 4)).reshape(len(x), -1) / 255 for x in wholes]
    train, dev = normalised(*halves)
    return Images((train, classes[0][:images]), (dev, classes[1]))


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


class Wide:
    """Real training by eight settings of Adam over six to ten decades each: most of the space does not learn.

    A score is minus the dev cross-entropy, cut off at twice that of guessing, where divergence ends too. Regret is 1 at
    guessing and 0 at a loss of 0, which no network reaches.
    """

    step = "epoch"
    _EPOCHS = 30
    _IMAGES = 2000
    _SPACE = Space(
        learning_rate=log(1e-8, 100.0),
        beta=log_one_minus(0.0, 1 - 1e-6),
        beta2=log_one_minus(0.0, 1 - 1e-6),
        epsilon=log(1e-10, 1.0),
        l2=log(1e-6, 1e3),
        dropout=log(1e-6, 0.9),
        decay_rate=log(1e-5, 10.0),
        input_noise=log(1e-5, 10.0),
    )

    def __init__(self, data: str | None) -> None:
        if importlib.util.find_spec("sklearn") is None:
            raise Absent("wide needs scikit-learn, which brings its data. Try: pip install 'tuner[digits]'")
        self._clothes = _realdata(data)
        # The quickest first. Where there are no clothes, their tasks are left out; every other one is reported apart.
        every = (
            ("wine", "tanh", True),
            ("wine", "relu", False),
            ("breast_cancer", "relu", True),
            ("breast_cancer", "tanh", False),
            ("digits", "relu", False),
            ("digits", "tanh", True),
            ("fashion", "tanh", False),
            ("fashion", "relu", True),
        )
        self._tasks = {
            f"{name}, {activation}{', batch norm' if norm else ''}": (name, activation, norm)
            for name, activation, norm in every
            if name != "fashion" or self._clothes is not None
        }
        self._examples = functools.cache(self._loaded)

    def tasks(self) -> list[str]:
        return list(self._tasks)

    def space(self, task: str) -> Space:  # noqa: ARG002 - all tasks share one
        return self._SPACE

    def curve(self, task: str, settings: Mapping[str, Any]) -> Curve:
        return Unrolled(lambda: self._scores(task, settings), self._EPOCHS)

    def length(self, task: str) -> int:  # noqa: ARG002
        return self._EPOCHS

    def best(self, task: str) -> float:  # noqa: ARG002
        return 0.0

    def floor(self, task: str) -> float:
        return -float(np.log(self._classes(task)))

    def median(self, task: str) -> float:
        return self.floor(task)

    def _classes(self, task: str) -> int:
        return int(self._examples(self._tasks[task][0]).train[1].max()) + 1

    def _loaded(self, name: str) -> Images:
        from sklearn import datasets

        if name == "digits":
            return _digits()
        if name == "fashion" and self._clothes is not None:
            clothes = _clothes(self._clothes, self._IMAGES)
            return Images(clothes.train, (clothes.dev[0][:1000], clothes.dev[1][:1000]))
        table = getattr(datasets, f"load_{name}")()
        order = np.random.default_rng(0).permutation(len(table.target))
        cut = 2 * len(order) // 3
        train, dev = normalised(table.data[order[:cut]], table.data[order[cut:]])
        classes = table.target[order].astype(np.int64)
        return Images((train, classes[:cut]), (dev, classes[cut:]))

    def _scores(self, task: str, settings: Mapping[str, Any]) -> Iterator[float]:
        name, activation, norm = self._tasks[task]
        (x, y), dev = self._examples(name)
        worst, rng = 2 * self.floor(task), np.random.default_rng(0)
        network = Network(
            [x.shape[1], 32, self._classes(task)], activation=activation, batch_norm=norm, optimizer="adam", seed=0
        )
        held = {each: settings[each] for each in ("beta", "beta2", "epsilon", "l2", "dropout")}
        for epoch in range(self._EPOCHS):
            with np.errstate(all="ignore"):  # never across a yield: whoever trains on may be another thread
                rate = decayed(settings["learning_rate"], epoch, decay="time_based", decay_rate=settings["decay_rate"])
                noisy = x + settings["input_noise"] * rng.standard_normal(x.shape)
                network.train_epoch(noisy, y, learning_rate=rate, batch_size=32, **held)
                loss = network.evaluate(*dev)[0]
            yield max(-loss, worst) if np.isfinite(loss) else worst
