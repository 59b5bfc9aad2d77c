"""A callback for Lightning: `Trainer(callbacks=[lightning_callback(run)])`, and nothing else to do."""

from __future__ import annotations

import sys
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from tuner.callbacks.stepping import Every, Stepping, follow_in_torch, imported, torch_rate
from tuner.run import Run

_CHECKPOINT = "lightning.ckpt"
_OPTIMIZED = ("epoch_loop.automatic_optimization.optim_progress", "epoch_loop.manual_optimization.optim_step_progress")


def lightning_callback(run: Run, *, every: Every = "epoch") -> Any:
    """A Lightning `Callback` that takes a step of the run every epoch, or every update of the weights.

    Reports whatever the module logs in its training and validation steps, when it is logged. Every epoch: resuming and
    going back give the same numbers as long as the global generators, or the epoch, decide the order of the data.
    Every step: limit training by `max_steps`; after a resume an epoch begins at its first batch, and going back leaves
    the place in the data as it is.
    """
    return _callback_class()(run, every)


@cache
def _callback_class() -> Any:
    older = "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules
    pytorch = imported("pytorch_lightning" if older else "lightning.pytorch", "lightning")
    return type("LightningCallback", (_Hooks, pytorch.Callback), {})


class _Hooks(Stepping):
    framework = "Lightning"
    _trainer: Any = None

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        """Before the first batch: loads, where the run continues, and takes the first step."""
        self._trainer, self._seen = trainer, dict(trainer.callback_metrics)
        if not self._stepping:
            self._register()
            self._step()
        self._counted = trainer.global_step

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        """After an update and its validation."""
        if self._every == "step" and trainer.global_step != self._counted and not self._step():
            raise StopIteration  # how Lightning itself leaves an epoch before a batch

    def on_train_batch_end(self, *_: Any) -> None:
        """Reports what the update logged."""
        if self._every == "step":
            self._report(self._fresh())

    def on_validation_end(self, trainer: Any, *_: Any) -> None:
        """Reports dev scores, those of the sanity check apart."""
        if self._every == "step" and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._report(self._fresh())

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        """After the epoch's last update and its validation."""
        self._report(self._fresh())
        if self._every == "epoch" or trainer.global_step != self._counted:
            self._step()

    def _step(self) -> bool:
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
        return self._every == "epoch" or self._trainer.max_steps != -1

    def save_state(self, folder: Path) -> None:
        """Writes a checkpoint of Lightning's own."""
        self._trainer.save_checkpoint(folder / _CHECKPOINT)

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
            loop.epoch_progress.load_state_dict(saved["epoch_progress"])
        if not self._stepping:  # between two epochs, where the loop stands when it starts
            loop.epoch_progress.current.completed = loop.epoch_progress.current.processed
            loop.epoch_progress.reset_on_restart()
