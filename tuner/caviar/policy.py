"""The policy of a sweep: what to answer and when it is done, what to start being its search's to say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tuner.caviar.budget import Shares, is_over
from tuner.caviar.freeze_thaw import Thawing
from tuner.caviar.outcomes import PROGRAMMING_ERRORS
from tuner.caviar.repeats_within import RepeatsWithin
from tuner.caviar.search import Search
from tuner.policy.proposals import Proposer
from tuner.policy.protocol import Draft
from tuner.policy.verdicts import StoppingRule, Verdict
from tuner.record.events import Settings, TrialState
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.space import Space

_VERDICT_S = 0.005  # from a worker that waits to its answer, through Ray
_REPEATED = 0.25  # of a whole training, where runs are paused and steps are scarce: a seed tells early what it changes


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a sweep is done or given up. None: no such limit."""

    trials: int | None = None
    budget_steps: int | None = None
    time_budget_s: float | None = None
    max_failures: int | None = None
    failures_in_a_row: int = 5
    retries: Mapping[str, int] = field(default_factory=dict)
    losses: int = 3


class Caviar:
    """Many models in parallel: samples, stops or pauses those that fall behind, keeps count."""

    def __init__(
        self,
        *,
        space: Space,
        seed: int,
        proposer: Proposer,
        stopping: StoppingRule,
        limits: Limits,
        start: Sequence[Settings] = (),
        reasons: Sequence[str] = (),
        parallel: int = 1,
        overlapping: bool = False,
        repeats: str | None = None,
        seeds: int = 1,
    ) -> None:
        """`overlapping`: whether the other of `parallel` trials train while it thinks of one; else all of them wait.

        `repeats` "auto": part of the budget goes to training leaders again. With `seeds` each trial trains, so many
        steps at a time.
        """
        self.space, self.limits = space, limits
        self._budget = None if limits.budget_steps is None else Shares(limits.budget_steps, parallel, seeds)
        self._stopping = stopping
        # asked once: whether an object keeps a protocol takes longer than a draw
        self._thawing = stopping if isinstance(stopping, Thawing) else None
        # A rung that pauses says that early scores count; elsewhere nobody has asked for less than whole trainings.
        length = _REPEATED if self._thawing is not None and self._budget is not None else 1.0
        self._repeats = None if repeats is None else RepeatsWithin(space, seed, length)
        self.search = Search(
            space=space,
            seed=seed,
            proposer=proposer,
            trials=limits.trials,
            budget=self._budget,
            sparing=limits.trials is not None and limits.budget_steps is None and limits.time_budget_s is None,
            start=start,
            reasons=reasons,
            overlapping=overlapping and parallel > 1,
            thaw=None if self._thawing is None else self._thawing.thaw,
            repeats=self._repeats,
        )
        """What it knows, and what trains next."""
        self.propose = self.search.propose
        """The trial to take up again or the next one to begin, or None when there is none to train."""
        if self._thawing is not None:
            self._thawing.join(self.search)
        self._rule_asks: dict[int, int | None] = {}
        self._remarked = False

    @property
    def losses(self) -> int:
        """How many workers a trial may lose."""
        return self.limits.losses

    @property
    def wanted(self) -> int | None:
        """How many trials there are to be."""
        return self.limits.trials

    @property
    def adaptive(self) -> bool:
        """Whether what to try next depends on what came out."""
        return self.search.learns or self._repeats is not None

    @property
    def asks(self) -> bool:
        """Whether running trials wait for verdicts."""
        return self._budget is not None or self._stopping.first_ask(0) is not None

    @property
    def overlapping(self) -> bool:
        """Whether some trials train while it thinks of others."""
        return self.search.overlapping

    @property
    def haste_s(self) -> float:
        """About as long as a verdict takes to come, where steps are not what is counted."""
        return _VERDICT_S if self.overlapping and self.thaws and self._budget is None else 0.0

    @property
    def thaws(self) -> bool:
        """Whether it decides when a trial that it has paused goes on."""
        return self._thawing is not None

    def trains(self, trial: Trial) -> bool:
        """The trials of the search and its own repeats; others that repeat wait for whoever asked for them."""
        return not trial.repeats or trial.purpose == "repeat"

    def restore(self, study: StudyState) -> None:
        """Takes in a study that already has trials."""
        self.search.ledger.goal = study.goal
        self._remarked = any(trial.resumable is False for trial in study.trials)
        trials = [trial for trial in study.trials if not trial.repeats]
        for trial in (each for each in study.trials if each.purpose == "repeat"):
            self.search.repeating.add(trial.trial)
            if self._budget is not None:
                self._budget.note(study, trial)
            if trial.ended:
                self.search.learn_from(study, trial)
        if self._thawing is not None:  # a trial may be a duplicate of a later one
            for trial in trials:
                self.search.look_for_duplicates(study, trial, self._as_last_weighed(study, trial)[1])
        for trial in trials:
            if self._budget is not None:
                self._budget.note(study, trial)
            if self.search.learns:
                self.search.observe(study, trial, *self._as_last_weighed(study, trial))

    def _as_last_weighed(self, study: StudyState, trial: Trial) -> tuple[TrialState, int | None]:
        """State and step at which a trial last waited for a verdict; of one that stands still or is over, the last."""
        if trial.ended or trial.frozen:
            return trial.state, None
        curve, weighed = study.curve(trial), 0
        while (ask := self._stopping.first_ask(weighed)) is not None and (place := curve.place(ask)) < len(curve):
            weighed = int(curve.steps[place])
        return "running", weighed

    # ── what to start ───────────────────────────────────────────────────────────────────────────

    def draft_of(self, study: StudyState, settings: Settings, why: str) -> Draft:
        """A trial with settings that a person gave."""
        return self.search.given(study, settings, why)

    def first_ask(self, trial: int, step: int) -> int | None:
        """The step from which on a trial that starts at `step` waits for a verdict at its next score; None: never."""
        if trial in self.search.repeating:
            horizon = self.search.ledger.horizon if self._thawing is not None else None
            ask = None if self._repeats is None else self._repeats.ask_at(horizon, step)
        else:
            ask = self._stopping.first_ask(step)
        self._rule_asks[trial] = ask
        return ask

    def allowance(self, study: StudyState, trial: Trial, step: int) -> int | None:
        """The step at which a trial that starts at `step` has to ask for more steps; None: never."""
        if self._budget is None:
            return None
        return self._budget.at_first(study, trial, step, self._rule_asks.get(trial.trial))

    def spent(self, study: StudyState) -> str | None:
        """Why no further trial starts, or None."""
        return self.search.spent(study)

    def parting(self, study: StudyState) -> str | None:
        """What was given up before it had a score, which says nothing of its settings, and what was left alone."""
        left = None if self._thawing is None else self._thawing.left(study)
        return "; ".join(remark for remark in (self._unscored(study), left) if remark is not None) or None

    def _unscored(self, study: StudyState) -> str | None:
        searched = study.searched()
        unscored = [trial for trial in searched if trial.best_score is None and trial.state in ("paused", "stopped")]
        if not unscored:
            return None
        never = sum(not trial.steps for trial in unscored)
        which = f"{never} of them before their first step" if never else "nothing is known of their settings"
        return f"{len(unscored)} of {len(searched)} trials ended without a score of {study.objective!r}, {which}"

    # ── what to answer ──────────────────────────────────────────────────────────────────────────

    def judge(self, study: StudyState, trial: Trial, step: int) -> Verdict:
        """What a trial that waits at `step` is told. Only where it was just scored is it judged."""
        ask, budget = self._rule_asks.get(trial.trial), self._budget
        verdict = Verdict(action="continue", why="", ask_at=ask)
        if ask is not None and step >= ask and _is_scored(study, trial, step):
            if trial.repeats:
                return Verdict(action="stop", why=f"by step {step} it has told what a seed changes", ask_at=None)
            if self.search.learns and self._thawing is None:
                self.search.observe(study, trial, "running")
            verdict = self._stopping.judge(study, trial, step)
            if verdict.action == "pause" and budget is not None:
                budget.note(study, trial, step)
            if verdict.action != "continue":
                return verdict
            self._rule_asks[trial.trial] = verdict.ask_at
        return verdict if budget is None else budget.allowed(study, trial, step, verdict)

    def planned(self, trial: Trial) -> str | None:
        """Remarks once where no trial can be paused."""
        if self._thawing is None or trial.resumable or self._remarked:
            return None
        self._remarked = True
        return (
            "training cannot be taken up where it stood, so trials that fall behind are stopped for good; with "
            "run.state, or {checkpoint} in a program's command, they are paused, and go on where the most is expected"
        )

    def ended(self, study: StudyState, trial: Trial) -> None:
        """A trial is over: its place and unused steps are free again."""
        self._rule_asks.pop(trial.trial, None)
        if trial.repeats:
            self.search.learn_from(study, trial)
        elif self.search.learns:
            self.search.observe(study, trial, trial.state)
        if self._budget is not None:
            self._budget.note(study, trial)

    def may_retry(self, error: Sequence[str], tries: int) -> bool:
        """Whether a trial that failed with an exception of these classes for the `tries`-th time is tried again."""
        allowed = max((self.limits.retries.get(name, 0) for name in error), default=0)
        return tries <= allowed

    def collapsed(self, study: StudyState) -> str | None:
        """Why the sweep should be given up, or None: too many failures, or all of one kind."""
        failed, over = study.counts.get("failed", 0), study.ended_order
        if failed and study.repeating:
            over = [number for number in over if not study.trials[number].repeats]
            failed = sum(study.trials[number].state == "failed" for number in over)
        if not failed:
            return None
        limits = self.limits
        last = study.trials[over[-1]]
        quote = f"the last: trial {last.trial} at step {last.steps}: {last.why}" if last.state == "failed" else ""
        if limits.max_failures is not None and failed >= limits.max_failures:
            return f"{failed} trials failed, as many as max_failures allows; {quote}"
        missing = last.error == "UnknownSetting" and len(last.params) == len(self.space)  # no condition left it out
        if len(over) == 1 and (last.error in PROGRAMMING_ERRORS or missing):
            return f"the first trial failed, and the next would too: {last.why}"
        row = 0
        for number in reversed(over):
            if study.trials[number].state != "failed":
                break
            row += 1
        if row >= limits.failures_in_a_row:
            return f"{row} trials failed in a row; {quote}"
        return None


def _is_scored(study: StudyState, trial: Trial, step: int) -> bool:
    """Whether the objective was reported at this very step, and training goes on beyond it."""
    curve = study.curve(trial)
    return not is_over(trial, step) and len(curve) > 0 and curve.steps[-1] == step
