"""The policy that trains settings again: which, with which seeds, and that nobody cuts them short. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tuner.caviar.outcomes import PROGRAMMING_ERRORS
from tuner.caviar.seeds import trial_seed
from tuner.policy.protocol import Draft
from tuner.policy.verdicts import Verdict
from tuner.record.leaders import distinct, leaders
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.values.numbers import number

MEASURED = frozenset({"completed", "diverged", "pruned"})
"""How a repeat ends that says something of its settings; one that failed or was stopped is trained once more."""
_FAILURES_IN_A_ROW = 5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Whose settings are trained again, how often, and for what; `occasion` counts the rechecks of a study from 1.

    Repeat r has the same seed for everybody, so that they are compared like with like; no trial of the search has it.
    """

    purpose: Literal["confirm", "recheck"]
    trials: tuple[int, ...]
    repeats: int
    occasion: int = 0

    @classmethod
    def to_confirm(cls, study: StudyState, top: int, repeats: int) -> Plan:
        """The best distinct settings, whatever else they are."""
        best = distinct(leaders(study), top)
        return cls(purpose="confirm", trials=tuple(trial.trial for trial in best), repeats=repeats)

    @classmethod
    def to_recheck(cls, study: StudyState, top: int, repeats: int, occasion: int) -> Plan:
        """The best distinct settings among those that were trained to the end: what they score now is comparable."""
        best = distinct(leaders(study, whole=True), top)
        return cls(purpose="recheck", trials=tuple(trial.trial for trial in best), repeats=repeats, occasion=occasion)

    def seeds(self, study: StudyState) -> list[int]:
        """The seed of each repeat."""
        block = (1 + self.occasion) << 32  # numbers that no trial has
        return [trial_seed(study.identity["seed"], block + repeat) for repeat in range(self.repeats)]

    def found(self, study: StudyState) -> dict[tuple[int, int], Trial]:
        """The repeats on record that count or may yet, by whom they repeat and the number of the repeat."""
        place_of = {seed: repeat for repeat, seed in enumerate(self.seeds(study))}
        by_parent = {f"{study.name}/{trial}": trial for trial in self.trials}
        return {
            (by_parent[trial.parent], place_of[trial.seed]): trial
            for trial in study.trials
            if trial.purpose == self.purpose
            and trial.parent in by_parent
            and trial.seed in place_of
            and (not trial.ended or trial.state in MEASURED)
        }

    def done(self, study: StudyState) -> bool:
        """Whether each repeat was trained, though some may have failed."""
        failed = {(trial.parent, trial.seed) for trial in study.trials if trial.state == "failed"}
        seeds, there = self.seeds(study), self.found(study)
        return all(
            there[trial, repeat].ended
            if (trial, repeat) in there
            else (f"{study.name}/{trial}", seeds[repeat]) in failed
            for trial in self.trials
            for repeat in range(self.repeats)
        )

    def missing(self, study: StudyState) -> list[tuple[int, int]]:
        """The repeats to train, the first of everybody first."""
        there = self.found(study)
        wanted = [(trial, repeat) for repeat in range(self.repeats) for trial in self.trials]
        return [each for each in wanted if each not in there]


class Repetition:
    """Trains what a plan asks for and nothing else: every trial to its full length, beside the search."""

    adaptive = False
    asks = False
    overlapping, haste_s = False, 0.0
    thaws = True  # what the search has put to sleep stays asleep
    losses = 3

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.wanted: int | None = None
        self._missing: list[tuple[int, int]] = []
        self._seeds: list[int] = []
        self._over: list[Trial] = []

    def trains(self, trial: Trial) -> bool:
        """Repeats that an earlier call left unfinished; trials of the search wait for `sweep`."""
        return trial.purpose == self.plan.purpose

    def restore(self, study: StudyState) -> None:
        """Sees what is there already."""
        self._missing, self._seeds = self.plan.missing(study), self.plan.seeds(study)
        self.wanted = len(study.trials) + len(self._missing)

    def propose(self, study: StudyState) -> Draft | None:
        """The next repeat."""
        if not self._missing:
            return None
        repeated, repeat = self._missing.pop(0)
        trial = study.trials[repeated]
        done = f"repeat {repeat + 1} of {self.plan.repeats} of trial {repeated}"
        return Draft(
            params=dict(trial.settings),
            seed=self._seeds[repeat],
            purpose=self.plan.purpose,
            parent=f"{study.name}/{repeated}",
            why=f"{done}, which scored {number(trial.best_score, 6)}",
        )

    def spent(self, study: StudyState) -> str | None:  # noqa: ARG002 - a policy's word
        """Why no further trial starts, or None."""
        return None if self._missing else "every repeat has been trained"

    def planned(self, trial: Trial) -> str | None:  # noqa: ARG002
        """However long it means to train."""
        return None

    def parting(self, study: StudyState) -> str | None:  # noqa: ARG002
        """Nothing is remarked."""
        return None

    def first_ask(self, trial: int, step: int) -> int | None:  # noqa: ARG002
        """Nothing waits for a verdict."""
        return None

    def allowance(self, study: StudyState, trial: Trial, step: int) -> int | None:  # noqa: ARG002
        """Nothing is rationed."""
        return None

    def judge(self, study: StudyState, trial: Trial, step: int) -> Verdict:  # noqa: ARG002
        """On it goes."""
        return Verdict(action="continue", why="a repeat is trained to its end", ask_at=None)

    def ended(self, study: StudyState, trial: Trial) -> None:  # noqa: ARG002
        """A repeat is over."""
        self._over.append(trial)

    def may_retry(self, error: Sequence[str], tries: int) -> bool:  # noqa: ARG002
        """The same command tries it again."""
        return False

    def collapsed(self, study: StudyState) -> str | None:  # noqa: ARG002
        """Why everything should be given up, or None: the code does not run, or nothing works any more."""
        row = 0
        for trial in reversed(self._over):
            if trial.state != "failed":
                break
            row += 1
        if row == 1 and len(self._over) == 1 and self._over[0].error in PROGRAMMING_ERRORS:
            return f"the first repeat failed, and the next would too: {self._over[0].why}"
        if row >= _FAILURES_IN_A_ROW:
            return f"{row} repeats failed in a row; the last: {self._over[-1].why}"
        return None
