"""Handwritten digits: the demo's training functions, on 1,797 real images of 8 × 8 pixels from scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tuner.errors import MissingExtra, SettingsError, did_you_mean
from tuner.workloads.decay import decayed
from tuner.workloads.network import EarlyStopping, Labels, Network, normalised
from tuner.workloads.optimizers import Array

if TYPE_CHECKING:
    from tuner.worker.run import Run

DEFAULTS: Mapping[str, Any] = {
    "epochs": 30,
    # structure, fixed once training starts
    "layers": 2,  # layers of weights: hidden layers and the output
    "hidden_units": 64,
    "activation": "relu",
    "init": "auto",
    "batch_norm": False,
    "optimizer": "momentum",
    "patience": None,  # epochs without a better dev accuracy before training stops early; None goes on to the end
    # read anew each epoch, so that a babysitter may change them
    "learning_rate": 0.1,
    "beta": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "batch_size": 64,
    "l2": 0.0,
    "dropout": 0.0,
    "decay": "none",
    "decay_rate": None,
    "decay_every": 10,
}
ADAM = {"optimizer": "adam", "learning_rate": 0.001}
RMSPROP = {"optimizer": "rmsprop", "learning_rate": 0.001, "beta2": 0.9}


class Split(NamedTuple):
    """Images with their digits.

    Attributes:
        x: (m, 64) pixels, normalised.
        y: (m,) digits, 0 to 9.

    Example:
        >>> load().dev.x.shape
        (270, 64)
    """

    x: Array
    y: Labels


class Digits(NamedTuple):
    """70 % to train on, 15 % to select by, 15 % to look at once; dev and test come from one distribution.

    Attributes:
        train: What is trained on.
        dev: What settings are selected by.
        test: What is looked at once, in the end.

    Example:
        >>> [len(split.y) for split in load()]
        [1260, 270, 267]
    """

    train: Split
    dev: Split
    test: Split


@cache
def load(seed: int = 0) -> Digits:
    """The digits, each dealt 14 : 3 : 3, normalised by the training set; read once a process.

    Args:
        seed: Of the order, at least 0; by default 0.

    Returns:
        The three splits of 1,797 images.

    Raises:
        MissingExtra: scikit-learn, which brings the images, is not installed.

    Example:
        >>> sum(len(split.y) for split in load())
        1797
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra(
            "tuner.workloads.digits needs scikit-learn, which is not installed: it brings the images. "
            "Try: pip install 'tuner[digits]'"
        ) from error
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    place = np.arange(len(y)) % 20
    parts = [order[place < 14], order[(place >= 14) & (place < 17)], order[place >= 17]]
    images = normalised(*(x[part] for part in parts))
    return Digits(*(Split(image, y[part]) for image, part in zip(images, parts, strict=True)))


def train(run: Run) -> None:
    """Trains with momentum.

    Args:
        run: Its settings may be any of `DEFAULTS`, which fill in the rest.

    Raises:
        SettingsError: A setting of another name.
        MissingExtra: scikit-learn is not installed.

    Example:
        >>> run = tuner.Run({"epochs": 1, "hidden_units": 8})
        >>> train(run)
        >>> 0.0 <= run.reports[0].scores["dev_accuracy"] <= 1.0
        True
    """
    _train(run, DEFAULTS)


def train_adam(run: Run) -> None:
    """Trains with Adam (Kingma & Ba 2015); `beta` is its β1.

    Args:
        run: Its settings may be any of `DEFAULTS`, which fill in the rest; the learning rate is 0.001.

    Raises:
        SettingsError: A setting of another name.
        MissingExtra: scikit-learn is not installed.

    Example:
        >>> run = tuner.Run({"epochs": 1, "hidden_units": 8})
        >>> train_adam(run)
        >>> len(run.reports)
        1
    """
    _train(run, {**DEFAULTS, **ADAM})


def train_rmsprop(run: Run) -> None:
    """Trains with RMSprop (Tieleman & Hinton 2012); `beta2` is its β.

    Args:
        run: Its settings may be any of `DEFAULTS`, which fill in the rest; the learning rate is 0.001, beta2 0.9.

    Raises:
        SettingsError: A setting of another name.
        MissingExtra: scikit-learn is not installed.

    Example:
        >>> run = tuner.Run({"epochs": 1, "hidden_units": 8})
        >>> train_rmsprop(run)
        >>> len(run.reports)
        1
    """
    _train(run, {**DEFAULTS, **RMSPROP})


def _train(run: Run, defaults: Mapping[str, Any]) -> None:
    settings = _settings(run, defaults)
    data = load()
    network = Network(
        [64, *[settings["hidden_units"]] * (settings["layers"] - 1), 10],
        activation=settings["activation"],
        init=settings["init"],
        batch_norm=settings["batch_norm"],
        optimizer=settings["optimizer"],
        seed=run.seed,
    )
    stopping = EarlyStopping(inf if settings["patience"] is None else settings["patience"])
    run.state(network, stopping)
    for epoch in run.steps(settings["epochs"]):
        settings = _settings(run, defaults)
        schedule = {name: settings[name] for name in ("decay", "decay_rate", "decay_every")}
        train_loss = network.train_epoch(
            *data.train,
            learning_rate=decayed(settings["learning_rate"], epoch, **schedule),
            **{name: settings[name] for name in ("beta", "beta2", "epsilon", "batch_size", "l2", "dropout")},
        )
        dev_loss, dev_accuracy = network.evaluate(*data.dev)
        run.report(
            dev_accuracy=dev_accuracy,
            dev_loss=dev_loss,
            train_accuracy=network.accuracy(*data.train),
            train_loss=train_loss,
            test_accuracy=network.accuracy(*data.test),  # to look at in the end: selecting by it would spoil it
            update_cos=network.update_cos,
        )
        if stopping.stops(dev_accuracy):
            break


def _settings(run: Run, defaults: Mapping[str, Any]) -> dict[str, Any]:
    for name in run.params:
        if name not in defaults:
            raise SettingsError(f"digits: there is no setting {name!r} to train with. {did_you_mean(name, defaults)}")
    return {**defaults, **run.params}
