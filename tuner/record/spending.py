"""The budget of a study: what it may spend, what it has, and what is left."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.record.state import StudyState
from tuner.values.numbers import count


@dataclass(frozen=True, kw_only=True)
class Spending:
    """Trials and training steps, those that count against a budget, with the budget where there is one.

    Attributes:
        trials: Those that have begun.
        trials_most: How many there may be. None: any number.
        steps: Those trained, on the heads of all trials, with every seed of a trial.
        steps_most: How many there may be. None: any number.
        seconds: The time that trials have trained, added up.
        seeds: So many steps are trained at a time.
    """

    trials: int
    trials_most: int | None
    steps: int
    steps_most: int | None
    seconds: float
    seeds: int = 1

    @property
    def used_up(self) -> str:
        """In a sentence what of it is spent; empty while there is some left, or no budget."""
        if self.trials_most is not None and self.trials >= self.trials_most:
            return f"all of its {count(self.trials_most, 'trial')} have begun"
        if self.steps_most is not None and self.steps > self.steps_most - self.seeds:
            return f"all of its {count(self.steps_most, 'step')} are trained"
        return ""


def spending(study: StudyState) -> Spending:
    """What a study has spent of its budget; a babysat run's is the steps of its loop, with those it was extended by."""
    seconds = sum(trial.seconds for trial in study.trials)
    if study.kind == "babysitting":
        trial = study.trials[0] if study.trials else None
        planned = None if trial is None or trial.planned is None else trial.planned + study.extension
        steps = 0 if trial is None else trial.steps
        return Spending(trials=len(study.trials), trials_most=None, steps=steps, steps_most=planned, seconds=seconds)
    return Spending(
        trials=study.budgeted,
        trials_most=study.options.get("trials"),
        steps=study.steps_done * study.seeds,
        steps_most=study.options.get("budget_steps"),
        seconds=seconds,
        seeds=study.seeds,
    )
