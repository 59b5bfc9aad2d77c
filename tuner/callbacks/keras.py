"""A callback for Keras 3: `model.fit(..., callbacks=[keras_callback(run)])`, and nothing else to do."""

from __future__ import annotations

from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from tuner.callbacks.stepping import Every, Stepping, imported, refuse_what_cannot_step
from tuner.errors import TrainingError
from tuner.values.arguments import checked
from tuner.worker.run import Run

_WEIGHTS, _SEEDS, _EFFECTIVE = "model.weights.h5", "seeds.npz", "learning_rate.txt"


@checked(TrainingError)
def keras_callback(run: Run, *, every: Every = "epoch") -> Any:
    """A Keras `Callback` that takes a step of the run every epoch, or every batch, and reports all logs.

    The model is built when `fit` is called. After a resume `fit` begins at the epoch where the run stands; an epoch
    that was interrupted begins at its first batch, and training still ends after as many steps. `fit` cannot be turned
    back: babysit with `revert="reenter"`.

    Args:
        run: What the training function is given.
        every: "epoch", or "step" for every batch; by default epoch.

    Returns:
        The callback, for `model.fit(..., callbacks=[callback])`.

    Raises:
        TrainingError: No `Run`, another word for `every`, or an argument of another name.
        MissingExtra: Keras is not installed.

    Example:
        >>> def train(run):
        ...     model = build(run.params)
        ...     model.fit(x, y, epochs=10, callbacks=[keras_callback(run)], verbose=0)
    """
    refuse_what_cannot_step(run, every)
    return _callback_class()(run, every)


@cache
def _callback_class() -> Any:
    return type("KerasCallback", (_KerasHooks, imported("keras", "keras").callbacks.Callback), {})


class _KerasHooks(Stepping):
    framework = "Keras"
    model: Any
    params: dict[str, Any]

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Before the first epoch: loads, where the run continues, and takes the first step."""
        if self._stepping:
            return
        rate = getattr(self.model.optimizer, "_learning_rate", None)
        self._schedule = rate if isinstance(rate, _schedule_class()) else None
        self._factor, self._waits = 1.0, False
        self._register()
        steps = self._steps_an_epoch if self._every == "step" else 1
        # Where Keras' own BackupAndRestore says at which epoch to begin.
        if not self._goes_on():
            self.model._initial_epoch = self.params["epochs"]
        elif self._run.done:
            self.model._initial_epoch = self._run.done // steps if steps else 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After an update; the validation that follows an epoch's last one belongs to it."""
        if self._every == "epoch":
            return
        self._report(logs or {})
        steps = self._steps_an_epoch
        if steps and self._run.done + 1 >= steps * self.params["epochs"]:
            self.model.stop_training = True  # a resumed epoch has begun at its first batch again
        self._waits = bool(steps) and (batch + 1 >= self.params["steps"] or self.model.stop_training)
        if not self._waits:
            self._step()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras names it
        """After an epoch and its validation."""
        self._report(logs or {})
        if self._every == "epoch" or self._waits:
            self._step()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """A second `fit` begins where it says."""
        self.model._initial_epoch = None

    def _step(self) -> None:
        self._waits = False
        if not self._goes_on():
            self.model.stop_training = True

    @property
    def _steps_an_epoch(self) -> int:
        """Updates an epoch, 0 where Keras does not know."""
        batches: int = self.params["steps"] or 0
        at_once: int = self.model.steps_per_execution
        return ceil(batches / at_once)

    @property
    def _seeds(self) -> list[Any]:
        """The states of generators inside layers, such as Dropout's."""
        weights = {id(each) for each in self.model.non_trainable_weights}
        return [each for each in self.model.non_trainable_variables if id(each) not in weights]

    @property
    def learning_rate(self) -> float:
        """The effective rate of the next update, read from the optimizer."""
        return float(imported("keras", "keras").ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def follow(self, rate: float, before: float) -> None:
        """Sets the optimizer's rate, or scales its schedule."""
        if self._schedule is None:
            self.model.optimizer.learning_rate = rate
        else:
            self._scale((self._factor or 1.0) * rate / (self.learning_rate or before))

    def _scale(self, factor: float) -> None:
        self._factor = factor
        self.model.optimizer.learning_rate = _scaled_class()(self._schedule, factor)
        self.model.make_train_function(force=True)  # what is compiled holds the old schedule

    def save_state(self, folder: Path) -> None:
        """Writes the model's weights, the optimizer's variables, and the seeds that Keras leaves out of both."""
        self.model.save_weights(folder / _WEIGHTS)
        np.savez(folder / _SEEDS, *(each.numpy() for each in self._seeds))
        (folder / _EFFECTIVE).write_text(repr(self.learning_rate))

    def load_state(self, folder: Path) -> None:
        """Reads them; the optimizer must have its variables before."""
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        self.model.load_weights(folder / _WEIGHTS)
        with np.load(folder / _SEEDS) as saved_seeds:
            for seed, name in zip(self._seeds, saved_seeds.files, strict=True):
                seed.assign(saved_seeds[name])
        saved, now = float((folder / _EFFECTIVE).read_text()), self.learning_rate
        if self._schedule is not None and now and saved != now:  # built from a rate that was changed since
            self._scale(self._factor * saved / now)


def _schedule_class() -> Any:
    return imported("keras", "keras").optimizers.schedules.LearningRateSchedule


class _Scaled:
    """A schedule of Keras times a factor."""

    def __init__(self, schedule: Any, factor: float) -> None:
        self.schedule, self.factor = schedule, factor

    def __call__(self, step: Any) -> Any:
        return self.schedule(step) * self.factor

    def get_config(self) -> dict[str, Any]:
        """What a saved model says of it."""
        return {"schedule": self.schedule, "factor": self.factor}


@cache
def _scaled_class() -> Any:
    return type("ScaledSchedule", (_Scaled, _schedule_class()), {})
