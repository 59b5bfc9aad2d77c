"""The steps of a run inside a framework's loop: when each ends, and a learning rate that is what it is set to."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tuner.errors import MissingExtra, TrainingError, did_you_mean, quoted
from tuner.worker.run import Run

Every: TypeAlias = Literal["epoch", "step"]
RATE = "learning_rate"
_FOLLOWED = "followed.json"

# Where torch's schedulers keep rates beside `lr`: all are scaled, so that a schedule keeps its shape.
_RATES_OF_GROUPS = ("initial_lr", "max_lr", "min_lr")
_RATES_OF_SCHEDULERS = ("base_lrs", "max_lrs", "min_lrs", "eta_min")


def refuse_what_cannot_step(run: Any, every: Any) -> None:
    """Raises what is wrong with what a callback is given, before a framework is imported, which takes seconds."""
    if not isinstance(run, Run):
        raise TrainingError(f"a callback steps the Run that the training function is given, got {quoted(run)}.")
    if every not in ("epoch", "step"):
        raise TrainingError(f"every={quoted(every)} is no step of a run. {did_you_mean(str(every), ('epoch', 'step'))}")


class Stepping:
    """A `Run` stepped from the hooks of a framework; comes before the framework's own callback among the bases."""

    framework: str

    def __init__(self, run: Run, every: Every) -> None:
        super().__init__()
        self._run, self._every = run, every
        self._stepping = False
        self._followed: Any = run.params.get(RATE)
        self._rate: float | None = None

    # ── what a framework's callback says ────────────────────────────────────────────────────────

    @property
    def learning_rate(self) -> float:
        """The effective rate of the next update, read from the optimizer."""
        raise NotImplementedError

    def follow(self, rate: float, before: float) -> None:
        """Makes `rate` the effective one now, and scales the framework's schedule with it; `before` was set last."""
        raise NotImplementedError

    def save_state(self, folder: Path) -> None:
        """Writes what is trained."""
        raise NotImplementedError

    def load_state(self, folder: Path) -> None:
        """Reads what is trained, before the first step or between two."""
        raise NotImplementedError

    @property
    def _turns_back(self) -> bool:
        """Whether the framework's loop still takes all its steps after the state was set back."""
        return False

    # ── what its hooks call ─────────────────────────────────────────────────────────────────────

    def _register(self) -> None:
        self._run.state(save=self._save, load=self._load)

    def _goes_on(self) -> bool:
        """Ends the step before, and lets what waits take effect; False: the framework's loop is to end."""
        expected = self._run.done + self._stepping
        if not self._run.step():
            return False
        self._stepping = True
        if self._run.done < expected and not self._turns_back:
            warnings.warn(
                f"{self.framework} cannot turn its loop back: it goes on from the state of step {self._run.done} with "
                f"its next batches, and ends {expected - self._run.done} steps early. Babysit with revert='reenter' "
                "to train them all.",
                stacklevel=2,
            )
        wanted = self._run.params.get(RATE)
        if wanted is not None and wanted != self._followed:
            self.follow(float(wanted), float(self._followed or wanted))
            self._followed = wanted
        self._rate = self.learning_rate if wanted is not None else None
        return True

    def _report(self, scores: Mapping[str, Any]) -> None:
        """Reports scores, and beside them the effective learning rate that the step began with."""
        scores = {str(name): score for name, score in scores.items() if name != "step"}  # some move an axis by it
        if scores:
            rate = {} if self._rate is None else {RATE: self._rate}
            self._run.report(**{**rate, **scores})

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _save(self, folder: Path) -> None:
        (folder / _FOLLOWED).write_text(json.dumps(self._followed))
        self.save_state(folder)

    def _load(self, folder: Path) -> None:
        self._followed = json.loads((folder / _FOLLOWED).read_text())
        self.load_state(folder)


def imported(module: str, install: str) -> Any:
    """A framework's module, imported now that it is used."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        name = module.partition(".")[0]
        raise MissingExtra(f"tuner.callbacks.{name} needs {error.name}. Install it: pip install {install}") from error


def torch_rate(optimizers: Iterable[Any]) -> float:
    """The effective rate of the first group of the first optimizer."""
    return float(next(iter(optimizers)).param_groups[0]["lr"])


def follow_in_torch(optimizers: Iterable[Any], schedulers: Iterable[Any], rate: float, before: float) -> None:
    """Sets the first group's rate now and scales everything else by the same factor: other groups, and schedules.

    Where the schedule stands at 0 there is no factor; the one from the rate set `before` is taken.
    """
    optimizers = list(optimizers)
    now = torch_rate(optimizers)
    reference = now or before
    factor = rate / reference if rate and reference else 1.0
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        value = rate if not rate or float(group["lr"]) == now else float(group["lr"]) * factor
        if hasattr(group["lr"], "fill_"):  # a tensor, as compiled optimizers keep it
            group["lr"].fill_(value)
        else:
            group["lr"] = value
        group.update({name: group[name] * factor for name in _RATES_OF_GROUPS if name in group})
    for scheduler in _with_inner(schedulers):
        for name in _RATES_OF_SCHEDULERS:
            old = getattr(scheduler, name, None)
            if old is not None:
                setattr(scheduler, name, [each * factor for each in old] if isinstance(old, list) else old * factor)
        scheduler._last_lr = [float(group["lr"]) for group in scheduler.optimizer.param_groups]


def _with_inner(schedulers: Iterable[Any]) -> Iterable[Any]:
    """Schedulers, and those that a sequence or a chain of them holds."""
    for scheduler in schedulers:
        yield scheduler
        yield from _with_inner(getattr(scheduler, "_schedulers", ()))
