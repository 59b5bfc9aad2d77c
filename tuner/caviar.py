"""The policy of a sweep: what to start, what to answer, when it is done. Pure: values in, values and reasons out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tuner.policy import Draft
from tuner.proposals import Outcome, Proposer, RoundPlan
from tuner.records import ENDED, Settings
from tuner.seeds import trial_seed
from tuner.space import Space
from tuner.stopping import StoppingRule, Verdict
from tuner.study import Round, StudyState, Trial

# The function itself is wrong, not its settings: no other trial would fare better.
PROGRAMMING_ERRORS = frozenset(
    {"ImportError", "ModuleNotFoundError", "NameError", "UnboundLocalError", "SyntaxError", "IndentationError"}
    | {"AttributeError", "TypeError", "TrainingError"}
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a sweep is done or given up. None: no such limit."""

    trials: int | None = None
    budget_steps: int | None = None
    max_failures: int | None = None
    failures_in_a_row: int = 5
    retries: Mapping[str, int] = field(default_factory=dict)
    losses: int = 3


class StepBudget:
    """Total training steps over all trials, granted in portions so that it is never exceeded."""

    def __init__(self, total: int, parallel: int) -> None:
        self._parallel = max(1, parallel)
        self._granted: dict[int, int] = {}
        self.left = total
        """Steps not granted yet."""

    def note(self, trial: int, step: int) -> None:
        """A trial has `step` steps, and no more: what it was granted beyond returns."""
        self.left += self._granted.get(trial, 0) - step
        self._granted[trial] = step

    def grant(self, trial: int, step: int, ask_at: int | None) -> int | None:
        """The step up to which the trial may train now, at most `ask_at`; None when nothing is left."""
        if trial not in self._granted:
            self.note(trial, step)
        held = self._granted[trial]
        wanted = None if ask_at is None else ask_at - held
        if wanted is not None and wanted <= 0:
            return ask_at
        portion = max(1, self.left // (2 * self._parallel))
        more = min(self.left, portion if wanted is None else min(wanted, portion))
        if more <= 0:
            return None if held <= step else held
        self.note(trial, held + more)
        return held + more


class Caviar:
    """Many models in parallel: samples, stops the hopeless, keeps count."""

    def __init__(
        self,
        *,
        space: Space,
        seed: int,
        proposer: Proposer,
        stopping: StoppingRule,
        limits: Limits,
        start: Sequence[Settings] = (),
        parallel: int = 1,
    ) -> None:
        self.space, self.seed, self.limits = space, seed, limits
        self._proposer, self._stopping, self._start = proposer, stopping, tuple(start)
        self._budget = None if limits.budget_steps is None else StepBudget(limits.budget_steps, parallel)
        self._rule_asks: dict[int, int | None] = {}
        self._outcomes: list[Outcome] = []
        self._revivals = 0
        self._rounds: list[RoundPlan] = []
        self._exhausted = False

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
        return self._proposer.adaptive

    @property
    def asks(self) -> bool:
        """Whether running trials wait for verdicts."""
        return self._budget is not None or self._stopping.first_ask(0) is not None

    def restore(self, study: StudyState) -> None:
        """Takes in a study that already has trials."""
        if self._budget is not None:
            for trial in study.trials:
                self._budget.note(trial.trial, trial.steps)

    # ── what to start ───────────────────────────────────────────────────────────────────────────

    def propose(self, study: StudyState) -> Draft | None:
        """The next trial, or None when there is none to start."""
        number = len(study.trials)
        if self._exhausted or self.spent(study) is not None:
            return None
        if self._proposer.adaptive:
            self._catch_up(study)
        proposal = self._proposer.propose(self.space, self.seed, number, self._outcomes, self._rounds_of(study))
        if proposal is None:
            self._exhausted = True
            return None
        params, why = self.space.from_unit(proposal.point), proposal.why
        if number < len(self._start):
            params, why = self.space.check(self._complete(self._start[number], params)), "a known-good starting point"
        return Draft(
            params=params, seed=trial_seed(self.seed, number), why=why, round=proposal.round,
            opened=proposal.opened, memo=proposal.memo,
        )  # fmt: skip

    def draft_of(self, study: StudyState, settings: Settings, why: str) -> Draft:
        """A trial with settings that a person gave."""
        return Draft(params=settings, seed=trial_seed(self.seed, len(study.trials)), why=why)

    def first_ask(self, trial: int, step: int) -> int | None:
        """The step at which a trial that starts at `step` first waits for a verdict; None: never."""
        ask = self._rule_asks[trial] = self._stopping.first_ask(step)
        if self._budget is None:
            return ask
        granted = self._budget.grant(trial, step, ask)
        return step if granted is None else granted  # where nothing is left it asks before its first step

    def spent(self, study: StudyState) -> str | None:
        """Why no further trial starts, or None."""
        if self._exhausted:
            return "every point of the grid has been tried"
        if self.limits.trials is not None and len(study.trials) >= self.limits.trials:
            return f"all {self.limits.trials} trials were tried"
        if self._budget is not None and self._budget.left <= 0:
            return f"the budget of {self.limits.budget_steps} steps is spent"
        return None

    # ── what to answer ──────────────────────────────────────────────────────────────────────────

    def judge(self, study: StudyState, trial: Trial, step: int) -> Verdict:
        """What a trial that waits at `step` is told."""
        ask = self._rule_asks.get(trial.trial)
        if ask is not None and step >= ask:
            verdict = self._stopping.judge(study, trial, step)
            if verdict.action == "prune":
                return verdict
            ask = self._rule_asks[trial.trial] = verdict.ask_at
        if self._budget is None:
            return Verdict(action="continue", why="", ask_at=ask)
        granted = self._budget.grant(trial.trial, step, ask)
        if granted is None:
            why = f"the budget of {self.limits.budget_steps} steps is spent"
            return Verdict(action="stop", why=why, ask_at=None)
        return Verdict(action="continue", why="", ask_at=granted)

    def ended(self, trial: Trial) -> None:
        """A trial is over: its place and unused steps are free again."""
        self._rule_asks.pop(trial.trial, None)
        if self._budget is not None:
            self._budget.note(trial.trial, trial.steps)

    def may_retry(self, error: Sequence[str], tries: int) -> bool:
        """Whether a trial that failed with an exception of these classes for the `tries`-th time is tried again."""
        allowed = max((self.limits.retries.get(name, 0) for name in error), default=0)
        return tries <= allowed

    def collapsed(self, study: StudyState) -> str | None:
        """Why the sweep should be given up, or None: too many failures, or all of one kind."""
        failed = study.counts.get("failed", 0)
        if not failed:
            return None
        limits = self.limits
        last = study.trials[study.ended_order[-1]]
        quote = f"the last: trial {last.trial} at step {last.steps}: {last.why}" if last.state == "failed" else ""
        if limits.max_failures is not None and failed >= limits.max_failures:
            return f"{failed} trials failed, as many as max_failures allows; {quote}"
        if len(study.ended_order) == 1 and last.error in PROGRAMMING_ERRORS:
            return f"the first trial failed, and the next would too: {last.why}"
        row = 0
        for number in reversed(study.ended_order):
            if study.trials[number].state != "failed":
                break
            row += 1
        if row >= limits.failures_in_a_row:
            return f"{row} trials failed in a row; {quote}"
        return None

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _complete(self, given: Settings, drawn: Settings) -> Settings:
        """A starting point with whatever it leaves open taken from the draw."""
        merged = {**drawn, **given}
        active = set(self.space.active(merged))
        middle = self.space.from_unit([0.5] * len(self.space))
        return {name: merged.get(name, middle.get(name)) for name in self.space.names if name in active}

    def _catch_up(self, study: StudyState) -> None:
        if self._revivals != study.revivals:
            self._revivals = study.revivals
            self._outcomes = []
        for number in study.ended_order[len(self._outcomes) :]:
            self._outcomes.append(outcome(self.space, study, study.trials[number]))

    def _rounds_of(self, study: StudyState) -> Sequence[RoundPlan]:
        for each in study.rounds[len(self._rounds) :]:
            self._rounds.append(plan(each))
        return self._rounds


def outcome(space: Space, study: StudyState, trial: Trial) -> Outcome:
    """An ended trial as a sampler sees it."""
    score = None
    if trial.state in ENDED and trial.state != "diverged" and trial.best_score is not None:
        score = study.signed(trial.best_score)
    return Outcome(
        trial=trial.trial, point=space.to_unit(trial.params), state=trial.state, score=score,
        steps=trial.steps, round=trial.round,
    )  # fmt: skip


def plan(each: Round) -> RoundPlan:
    """A recorded round as a sampler sees it."""
    return RoundPlan(round=each.round, first_trial=each.first_trial, box=each.box, why=each.why)
