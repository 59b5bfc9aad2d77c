"""A callback for Lightning: `Trainer(callbacks=[lightning_callback(run)])`, and nothing else to do."""

from __future__ import annotations

import sys
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from tuner.callbacks.stepping import Every, Stepping, follow_in_torch, imported, refuse_what_cannot_step, torch_rate
from tuner.errors import TrainingError
from tuner.values.arguments import checked
from tuner.worker.run import Run

_CHECKPOINT = "lightning.ckpt"
_OPTIMIZED = ("epoch_loop.automatic_optimization.optim_progress", "epoch_loop.manual_optimization.optim_step_progress")


@checked(TrainingError)
def lightning_callback(run: Run, *, every: Every = "epoch") -> Any:
    """A Lightning `Callback` that takes a step of the run every epoch, or every update of the weights.

    Reports whatever the module logs, in the step in which it does. Every epoch: resuming and going back give the same
    numbers as long as the global generators, or the epoch, decide the order of the data. Every step: limit training by
    `max_steps`; after a resume an epoch begins at its first batch, and going back keeps the place in the data.

    Args:
        run: What the training function is given.
        every: "epoch", or "step" for every update of the weights; by default epoch.

    Returns:
        The callback, for `Trainer(callbacks=[callback])`.

    Raises:
        TrainingError: No `Run`, another word for `every`, or an argument of another name.
        MissingExtra: Lightning is not installed.

    Example:
        >>> def train(run):
        ...     trainer = Trainer(max_epochs=10, callbacks=[lightning_callback(run)], logger=False)
        ...     trainer.fit(module(run.params), data)
    """
    refuse_what_cannot_step(run, every)
    return _callback_class()(run, every)


@cache
def _callback_class() -> Any:
    older = "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules
    pytorch = imported("pytorch_lightning" if older else "lightning.pytorch", "lightning")
    return type("LightningCallback", (_LightningHooks, pytorch.Callback), {})


class _LightningHooks(Stepping):
    framework = "Lightning"
    _trainer: Any = None
    _is_over = False
    """Whether a step has ended that the run has not been told of."""
    _is_leaving = False

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        """Before the first batch: loads, where the run continues, and takes the first step."""
        self._trainer, self._seen, self._is_leaving = trainer, dict(trainer.callback_metrics), False
        if not self._stepping:
            self._register()
            self._step()
        self._counted = trainer.global_step

    def on_train_epoch_start(self, *_: Any) -> None:
        """After the epoch before, its validation, and whatever the module and the schedulers did at its end."""
        if self._every == "epoch":
            self._leave_or_stay()

    def on_train_batch_start(self, *_: Any) -> None:
        """After the update before and its validation."""
        if self._every == "step":
            self._leave_or_stay()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Looks whether gradients were accumulated, or the weights updated."""
        self._is_over |= self._every == "step" and trainer.global_step != self._counted

    def on_train_epoch_end(self, *_: Any) -> None:
        """An epoch is over."""
        self._is_over |= self._every == "epoch"

    def on_train_end(self, *_: Any) -> None:
        """After the last step."""
        self._is_leaving = True
        if self._is_over:
            self._step()

    def _leave_or_stay(self) -> None:
        if self._is_over and not self._step():
            raise StopIteration  # how Lightning itself leaves its loops

    def _step(self) -> bool:
        if self._is_over:
            self._report(self._fresh())
        self._is_over = False
        goes_on = self._goes_on()
        self._counted = self._trainer.global_step
        if not goes_on:
            self._trainer.should_stop = True
            loop = self._trainer.fit_loop
            loop.min_epochs = loop.epoch_loop.min_steps = None  # a stop by the run is no early stopping
        return goes_on

    def _fresh(self) -> dict[str, Any]:
        """The metrics logged since this was last asked: Lightning keeps old ones beside them."""
        seen, metrics = self._seen, dict(self._trainer.callback_metrics)
        self._seen = metrics  # holds on to the tensors, so that no address is used twice
        return {
            name: value
            for name, value in metrics.items()
            if name not in seen or value.data_ptr() != seen[name].data_ptr()
        }

    @property
    def learning_rate(self) -> float:
        """The effective rate of the next update, read from the optimizer."""
        return torch_rate(self._trainer.optimizers)

    def follow(self, rate: float, before: float) -> None:
        """Scales all optimizers and their schedulers by what brings the first to `rate`."""
        schedulers = [config.scheduler for config in self._trainer.lr_scheduler_configs]
        follow_in_torch(self._trainer.optimizers, schedulers, rate, before)

    @property
    def _turns_back(self) -> bool:
        return not self._is_leaving and (self._every == "epoch" or self._trainer.max_steps != -1)

    def save_state(self, folder: Path) -> None:
        """Writes a checkpoint of Lightning's own."""
        self._trainer.save_checkpoint(folder / _CHECKPOINT, weights_only=False)

    def load_state(self, folder: Path) -> None:
        """Reads it into the trainer as it trains: `ckpt_path` is for a trainer that has not begun."""
        trainer, module = self._trainer, self._trainer.lightning_module
        torch = imported("torch", "torch")
        checkpoint = torch.load(folder / _CHECKPOINT, map_location="cpu", weights_only=False)
        module.on_load_checkpoint(checkpoint)
        trainer.strategy.load_model_state_dict(checkpoint, strict=module.strict_loading)
        trainer.strategy.load_optimizer_state_dict(checkpoint)
        for config, state in zip(trainer.lr_scheduler_configs, checkpoint["lr_schedulers"], strict=True):
            config.scheduler.load_state_dict(state)
        for part in (trainer.precision_plugin, trainer.datamodule):
            if type(part).__qualname__ in checkpoint:
                part.load_state_dict(checkpoint[type(part).__qualname__])
        for callback in trainer.callbacks:
            if callback.state_key in checkpoint["callbacks"]:
                callback.load_state_dict(checkpoint["callbacks"][callback.state_key])
        self._load_progress(checkpoint["loops"]["fit_loop"])

    def _load_progress(self, saved: dict[str, Any]) -> None:
        loop = self._trainer.fit_loop
        for name in _OPTIMIZED:
            attrgetter(name)(loop).load_state_dict(saved[name])
        loop.epoch_loop.on_load_checkpoint(saved["epoch_loop.state_dict"])
        if self._every == "epoch" or not self._stepping:
            done, now = saved["epoch_progress"]["current"]["processed"], loop.epoch_progress.current
            begun, unfinished = now.ready - now.processed, now.processed - now.completed  # depend on the hook we are in
            now.ready, now.started, now.processed, now.completed = done + begun, done, done, done - unfinished
            if self._stepping and not done:
                iter(loop._data_fetcher)  # Lightning begins the data anew in every epoch but the first
