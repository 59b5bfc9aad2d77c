"""A callback for the Trainer of Hugging Face's Transformers, with checkpoints in the Trainer's own format.

callback = transformers_callback(run)
trainer = Trainer(model, arguments, ..., callbacks=[callback])
trainer.train(resume_from_checkpoint=callback.resume_from)
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tuner.callbacks.stepping import Every, Stepping, follow_in_torch, imported, refuse_what_cannot_step, torch_rate
from tuner.errors import TrainingError
from tuner.values.arguments import checked
from tuner.worker.run import Run

# The names that Trainer looks for in a checkpoint.
_MODEL, _OPTIMIZER, _SCHEDULER, _GENERATORS = "pytorch_model.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"
_PROGRESS = "trainer_state.json"


@checked(TrainingError)
def transformers_callback(run: Run, *, every: Every = "step") -> Any:
    """A `TrainerCallback` that takes a step of the run every optimizer step, or every epoch, and reports all logs.

    The Trainer's loop cannot be turned back: babysit with `revert="reenter"`. Saves the whole model of one process;
    sharded training needs a state of its own.

    Args:
        run: What the training function is given.
        every: "step" for every optimizer step, or "epoch"; by default step.

    Returns:
        The callback; pass its `resume_from` to `trainer.train`.

    Raises:
        TrainingError: No `Run`, another word for `every`, or an argument of another name.
        MissingExtra: Transformers is not installed.

    Example:
        >>> def train(run):
        ...     callback = transformers_callback(run)
        ...     trainer = Trainer(model(run.params), arguments, callbacks=[callback])
        ...     trainer.train(resume_from_checkpoint=callback.resume_from)
    """
    refuse_what_cannot_step(run, every)
    return _callback_class()(run, every)


@cache
def _callback_class() -> Any:
    return type(
        "TransformersCallback", (_TransformersHooks, imported("transformers", "transformers").TrainerCallback), {}
    )


class _TransformersHooks(Stepping):
    framework = "Transformers' Trainer"
    resume_from: str | None = None
    """The checkpoint that the run continues from, for `trainer.train(resume_from_checkpoint=...)`."""

    def __init__(self, run: Run, every: Every) -> None:
        super().__init__(run, every)
        self._objects: dict[str, Any] = {}
        self._training = self._step_is_over = False
        self._register()

    def on_train_begin(self, _arguments: Any, state: Any, control: Any, **objects: Any) -> None:
        """Before the first batch, everything loaded."""
        if self._run.done and not state.global_step:
            raise TrainingError(
                f"this run continues from its checkpoint of step {self._run.done}, but the Trainer starts from "
                "nothing. Call trainer.train(resume_from_checkpoint=callback.resume_from)."
            )
        self._objects, self._state = objects, state
        self._training, self._begun_at, self._logged_at = True, state.global_step, state.global_step
        if not self._stepping:
            control.should_training_stop = not self._goes_on()

    def on_step_end(self, _arguments: Any, state: Any, control: Any, **_: Any) -> None:
        """After an update; its logs and its evaluation may follow."""
        self._step_is_over |= self._every == "step"
        self._step_when_told(state, control)

    def on_epoch_end(self, _arguments: Any, state: Any, control: Any, **_: Any) -> None:
        """After an epoch; its logs and its evaluation may follow."""
        self._step_is_over |= self._every == "epoch"
        self._step_when_told(state, control)

    def on_log(self, _arguments: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """Reports the logs, the summary at the end and an evaluation before the beginning apart."""
        if self._training and state.global_step > self._begun_at and "train_runtime" not in logs:
            self._logged_at = state.global_step if "loss" in logs else self._logged_at
            numbers = {name: value for name, value in logs.items() if isinstance(value, int | float)}
            numbers.pop("epoch", None)
            self._report(numbers)
        self._step_when_told(state, control)

    def on_evaluate(self, _arguments: Any, state: Any, control: Any, **_: Any) -> None:
        """The last that a step has to tell."""
        self._step_when_told(state, control)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """What is evaluated afterwards belongs to no step."""
        self._training = False

    def _step_when_told(self, state: Any, control: Any) -> None:
        """Steps once everything of the step before is reported."""
        to_log = control.should_log and state.global_step > self._logged_at
        if self._step_is_over and not to_log and not control.should_evaluate:
            self._step_is_over = False
            if not self._goes_on():
                control.should_training_stop = True

    @property
    def learning_rate(self) -> float:
        """The effective rate of the next update, read from the optimizer."""
        return torch_rate([self._objects["optimizer"]])

    def follow(self, rate: float, before: float) -> None:
        """Scales the optimizer and its scheduler."""
        follow_in_torch([self._objects["optimizer"]], [self._objects["lr_scheduler"]], rate, before)

    def save_state(self, folder: Path) -> None:
        """Writes a checkpoint as the Trainer reads it."""
        torch = imported("torch", "torch")
        for name, part in (_MODEL, "model"), (_OPTIMIZER, "optimizer"), (_SCHEDULER, "lr_scheduler"):
            torch.save(self._objects[part].state_dict(), folder / name)
        generators = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            generators["cuda"] = torch.cuda.get_rng_state()
        torch.save(generators, folder / _GENERATORS)
        self._state.save_to_json(str(folder / _PROGRESS))

    def load_state(self, folder: Path) -> None:
        """Before training, tells the Trainer where to read; between two steps, reads all but the Trainer's counters."""
        if not self._stepping:
            self.resume_from = str(folder)
            return
        torch = imported("torch", "torch")
        for name, part in (_MODEL, "model"), (_OPTIMIZER, "optimizer"), (_SCHEDULER, "lr_scheduler"):
            self._objects[part].load_state_dict(torch.load(folder / name, map_location="cpu", weights_only=True))
