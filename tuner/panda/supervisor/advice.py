"""The facts that the supervisor is told, and the advice that it gives, with the exact command it proposes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan, sqrt
from typing import Any, Literal, TypeAlias

from tuner.panda.supervisor.series import Series
from tuner.panda.supervisor.verdict import Comparison
from tuner.record.events import Goal, Settings
from tuner.record.score_names import training_loss
from tuner.values.numbers import round_to

Symptom: TypeAlias = Literal["diverged", "spike", "worse", "oscillating", "slow", "flat", "improving", "unknown"]
Urgency: TypeAlias = Literal["now", "consider", "none"]
Remedy: TypeAlias = Literal["set", "revert", "fork", "none"]

LARGEST_FACTOR = sqrt(10)  # no setting is moved further at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known of one run when it is looked at; every series is the head's.

    `settings` are those in force, `previous_settings` those before `last_change_step`. `checkpoints` are steps.
    `bounds` are the low and high of parameters in their own units. `smallest_gain` is in units of the objective:
    without it nothing is ever called flat. `control` is a branch that went on with the previous settings, and
    `comparison` how it came about. `reverts` are steps the run has gone back to on account of a spike. `momentum` says
    which form the run uses: v = βv + g (heavy_ball), where β moves the effective rate α/(1-β), or v = βv + (1-β)g
    (averaged), where it does not.
    """

    study: str
    scores: Mapping[str, Series]
    objective: str
    goal: Goal
    settings: Settings
    steps_left: int | None = None
    smallest_gain: float | None = None
    checkpoints: Sequence[int] = ()
    last_change_step: int | None = None
    previous_settings: Settings | None = None
    control: Mapping[str, Series] | None = None
    comparison: Comparison = "raw"
    reverts: Sequence[int] = ()
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    momentum: Literal["heavy_ball", "averaged"] = "averaged"
    rate_name: str = "learning_rate"
    beta_name: str = "beta"
    update_cos_name: str = "update_cos"

    @property
    def rate(self) -> float | None:
        """The learning rate, or None where the run has no such setting."""
        return self._number(self.rate_name)

    @property
    def beta(self) -> float | None:
        """The momentum, or None."""
        return self._number(self.beta_name)

    @property
    def losses(self) -> tuple[str, Series]:
        """What loss-like rules watch: the train loss, else another loss, by their names, else the objective.

        Lower is better in what is returned. Test scores are for the end alone.
        """
        name = training_loss(self.scores)
        if name is not None:
            return name, self.scores[name]
        return self.objective, self.worth()

    def worth(self) -> Series:
        """The objective, turned so that lower is better."""
        series = self.scores.get(self.objective, Series.of(()))
        return series.mirrored() if self.goal == "maximize" else series

    def checkpoint_before(self, step: int, margin: int = 0) -> int | None:
        """The newest checkpoint at least `margin` before `step`, or the oldest one before it, or None."""
        sound = [saved for saved in self.checkpoints if saved <= step]
        old_enough = [saved for saved in sound if saved <= step - margin]
        return max(old_enough) if old_enough else min(sound, default=None)

    def scaled(self, name: str, factor: float) -> dict[str, float]:
        """The setting times `factor`, kept within its bounds and a factor of √10; empty where nothing would change."""
        value = self._number(name)
        if value is None or value <= 0:
            return {}
        factor = min(max(factor, 1 / LARGEST_FACTOR), LARGEST_FACTOR)
        return self._changed(name, value, value * factor)

    def less_momentum(self) -> dict[str, float]:
        """1-β times √10, within bounds; empty where β is none, 0, or cannot be lowered."""
        beta = self.beta
        if beta is None or not 0 < beta < 1:
            return {}
        return self._changed(self.beta_name, beta, max(0.0, 1 - (1 - beta) * LARGEST_FACTOR))

    def _changed(self, name: str, old: float, new: float) -> dict[str, float]:
        low, high = self.bounds.get(name, (float("-inf"), float("inf")))
        new = min(max(new, min(low, old)), max(high, old))  # a value out of bounds already is not pushed back
        rounded = round_to(new, 4)
        rounded = rounded if low <= rounded <= high else new
        return {} if rounded == old else {name: rounded}

    @staticmethod
    def number(settings: Settings, name: str, otherwise: float = 0.0) -> float:
        """A setting as a number; `otherwise` where it is none."""
        value = settings.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise

    def _number(self, name: str) -> float | None:
        value = self.number(self.settings, name, nan)
        return None if isnan(value) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One finding with its evidence, and what to do about it in words for people and in values for programs.

    `verb`, `settings` and `revert_step` say what `command` says: revert first, then set. A fork starts a branch at
    `revert_step` (None: now) with `settings`.
    """

    symptom: Symptom
    sentence: str
    statistic: tuple[str, float]
    threshold: float
    window: tuple[int, int]
    urgency: Urgency = "none"
    verb: Remedy = "none"
    settings: Mapping[str, Any] = field(default_factory=dict)
    revert_step: int | None = None
    command: str = ""


def command_of(study: str, verb: Remedy, settings: Mapping[str, Any], step: int | None, why: str) -> str:
    """The shell command that does it; a revert that also changes settings is two, joined by &&.

    >>> command_of("one", "revert", {"learning_rate": 0.003}, 120, "it diverged")
    "tuner revert one --step 120 --why 'it diverged' && tuner set one learning_rate=0.003 --why 'it diverged'"
    """
    name, because = shlex.quote(study), f"--why {shlex.quote(why)}"
    values = " ".join(shlex.quote(f"{key}={value}") for key, value in settings.items())
    set_ = f"tuner set {name} {values} {because}" if values else ""
    if verb == "revert":
        back = f"tuner revert {name} --step {step} {because}"
        return f"{back} && {set_}" if set_ else back
    if verb == "fork":
        at = "" if step is None else f" --step {step}"
        each = " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in settings.items())
        return f"tuner fork {name} {each}{at} {because}"
    return set_ if verb == "set" else ""
