"""A budget of training steps, shared out: up to scores where it can be, and never more than there are.

Steps that lead to no score are of no use to anybody. So what is granted ends where a score is due, by what the curves
show (`cadence.py`), and a trial for whose next score too little is left waits for what others may return, or ends where
it was scored.
"""

from __future__ import annotations

from dataclasses import replace

from tuner.caviar.cadence import Cadence
from tuner.policy.verdicts import Verdict
from tuner.record.state import StudyState
from tuner.record.trial import Trial


class StepBudget:
    """Total training steps over all trials, granted in portions so that it is never exceeded."""

    def __init__(self, total: int, parallel: int) -> None:
        self._parallel = max(1, parallel)
        self._granted: dict[int, int] = {}
        self.total = total
        self.left = total
        """Steps not granted yet."""

    @property
    def portion(self) -> int:
        """How many steps to grant at a time, so that all workers keep busy to the end; at least 1."""
        return max(1, self.left // (2 * self._parallel))

    def note(self, trial: int, step: int) -> None:
        """A trial has `step` steps, and no more: what it was granted beyond returns."""
        self.left += self._granted.get(trial, 0) - step
        self._granted[trial] = step

    def held(self, trial: int, step: int) -> int:
        """How far a trial that stands at `step` may train."""
        if trial not in self._granted:
            self.note(trial, step)
        return self._granted[trial]

    def grant(self, trial: int, step: int, up_to: int | None) -> int | None:
        """The step up to which a trial that stands at `step` may train now: `up_to`, or a portion where that is None.

        None when so much is not left.
        """
        held = self.held(trial, step)
        more = min(self.left, self.portion) if up_to is None else up_to - held
        if more > self.left or (more <= 0 and held <= step):
            return None
        if more > 0:
            self.note(trial, held + more)
        return self._granted[trial]


class Shares:
    """The step budget of one study, and who holds what of it."""

    def __init__(self, total: int, parallel: int, seeds: int = 1) -> None:
        """With several `seeds` a step of a trial is trained so often, and costs as much."""
        self._total, self._seeds = total, seeds
        self._steps = StepBudget(total // seeds, parallel)
        self._cadence = Cadence()
        self._kept_waiting: set[int] = set()

    @property
    def left(self) -> int:
        """Steps not granted yet."""
        return self._steps.left

    @property
    def share_spent(self) -> float:
        """How much of it was granted, 0 to 1."""
        return 1.0 - self._steps.left / self._steps.total

    def note(self, study: StudyState, trial: Trial, step: int | None = None) -> None:
        """A trial stands still or is over: what it was granted beyond its steps returns."""
        self._steps.note(trial.trial, trial.steps if step is None else step)
        self._kept_waiting.discard(trial.trial)
        self._cadence.look(study, trial)

    def spent(self, study: StudyState) -> str | None:
        """Why no further trial starts, or None."""
        due = self._cadence.due(study, None)
        if self.left <= 0:
            return f"the budget of {self._total} steps is spent"
        if due is not None and due > self.left:
            return f"the budget of {self._total} steps is spent: {self.left * self._seeds} steps more reach no score"
        return None

    def affords(self, study: StudyState, trial: Trial) -> bool:
        """Whether a trial that stands still may still come to its next score."""
        due = self._cadence.due(study, trial, trial.steps)
        return due is None or due - trial.steps <= self.left

    def at_first(self, study: StudyState, trial: Trial, step: int, rung: int | None) -> int:
        """The step at which a trial that starts at `step` has to ask for more."""
        if not self._cadence.knows(study):
            return self._steps.held(trial.trial, step)  # it asks once its function has said how long it trains
        granted = self._grant(study, trial, step, rung)
        return step if granted is None else granted  # where nothing is left it asks before its first step

    def allowed(self, study: StudyState, trial: Trial, step: int, verdict: Verdict) -> Verdict:
        """The verdict on a trial that may go on, with the step up to which it may."""
        self._cadence.look(study, trial)
        self._kept_waiting.discard(trial.trial)
        granted = self._grant(study, trial, step, verdict.ask_at)
        if granted is not None:
            return replace(verdict, limit=granted)
        if not is_over(trial, step) and self._may_return(study, trial):
            self._kept_waiting.add(trial.trial)
            return replace(verdict, action="wait", why="others may leave it some of their steps")
        why = f"the budget of {self._total} steps is spent"
        return Verdict(action="stop", why=why, ask_at=None, opened=verdict.opened)

    def _grant(self, study: StudyState, trial: Trial, step: int, rung: int | None) -> int | None:
        """The step up to which a trial may train now, a score if it can be; None where that is too much."""
        steps, cadence, number = self._steps, self._cadence, trial.trial
        if not cadence.knows(study):
            for other in study.live.values():
                cadence.look(study, other)
        if not cadence.knows(study):
            return self._grant_unscored(study, trial, step)
        due = cadence.due(study, trial, step)
        if due is None or is_over(trial, step):  # it is overdue, or goes on beyond what it said: who knows
            return steps.grant(number, step, None)
        goal = cadence.due(study, trial, step, steps.held(number, step) + steps.portion) or due
        if rung is not None:
            goal = min(goal, cadence.due(study, trial, step, rung) or due)
        end = trial.planned or goal
        return steps.grant(number, step, min(goal, end)) or steps.grant(number, step, min(due, end))

    def _grant_unscored(self, study: StudyState, trial: Trial, step: int) -> int | None:
        """The same while nobody knows when scores come: to the end, where that is known, else one after the other."""
        steps = self._steps
        if trial.planned is not None and not is_over(trial, step):
            whole = steps.grant(trial.trial, step, trial.planned)
            if whole is not None:
                return whole
        if 2 * steps.left < steps.total and self._may_return(study, trial):
            return None
        return steps.grant(trial.trial, step, None)

    def _may_return(self, study: StudyState, trial: Trial) -> bool:
        """Whether another trial that trains holds steps, which it may not need."""
        return any(
            other.state == "running"
            and other.trial not in self._kept_waiting
            and other is not trial
            and not other.repeats
            and self._steps.held(other.trial, other.steps) > other.steps
            for other in study.live.values()
        )


def is_over(trial: Trial, step: int) -> bool:
    """Whether a trial has trained as long as its function meant to."""
    return trial.planned is not None and step >= trial.planned
