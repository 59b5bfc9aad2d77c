"""The policy of a sweep: what to start, what to answer, when it is done. Pure: values in, values and reasons out."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tuner.caviar.budget import Shares, is_over
from tuner.caviar.combinations import Combinations
from tuner.caviar.duplicates import Copies
from tuner.caviar.freeze_thaw import Thawing
from tuner.caviar.seeds import trial_seed
from tuner.policy.proposals import Learner, Outcome, Proposal, Proposer, RoundPlan, marks_of
from tuner.policy.protocol import Draft
from tuner.policy.verdicts import StoppingRule, Thaw, Verdict
from tuner.record.events import Settings, TrialState
from tuner.record.state import Round, StudyState
from tuner.record.trial import Trial
from tuner.space.space import Space
from tuner.surrogate.ledger import Ledger

# The function itself is wrong, not its settings: no other trial would fare better.
PROGRAMMING_ERRORS = frozenset(
    {"ImportError", "ModuleNotFoundError", "NameError", "UnboundLocalError", "SyntaxError", "IndentationError"}
    | {"AttributeError", "TypeError", "TrainingError"}
)

_LOOKS_A_TRIAL = 3  # so often are trials looked at, all in all, before one with drawn settings begins unweighed


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a sweep is done or given up. None: no such limit."""

    trials: int | None = None
    budget_steps: int | None = None
    max_failures: int | None = None
    failures_in_a_row: int = 5
    retries: Mapping[str, int] = field(default_factory=dict)
    losses: int = 3


class Caviar:
    """Many models in parallel: samples, stops or pauses those that fall behind, keeps count.

    What it knows of each trial stands in `ledger`: of a running one as it was when it last waited for a verdict. So
    with one worker every decision follows from the record, also across a restart.
    """

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
    ) -> None:
        self.space, self.seed, self.limits = space, seed, limits
        self.ledger = Ledger()
        """What each trial is known by."""
        self._proposer, self._stopping = proposer, stopping
        self._start, self._reasons = tuple(start), tuple(reasons)
        # asked once: whether an object keeps a protocol takes longer than a draw
        self._thawing = stopping if isinstance(stopping, Thawing) else None
        self._learner = proposer if isinstance(proposer, Learner) else None
        self._learns = proposer.adaptive or self._thawing is not None
        if self._thawing is not None:
            self._thawing.join(self)
        self._budget = None if limits.budget_steps is None else Shares(limits.budget_steps, parallel)
        self._rule_asks: dict[int, int | None] = {}
        self._rounds: list[RoundPlan] = []
        self._opened: RoundPlan | None = None
        self._next: tuple[tuple[int, int, int], Proposal] | None = None
        self._copies = Copies()
        self._exhausted = ""
        # what draws points of the cube may be led elsewhere; an Optuna sampler knows what it has drawn
        self._combinations = Combinations.of(space) if getattr(proposer, "avoids_repeats", False) else None
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
        return self._learns

    @property
    def asks(self) -> bool:
        """Whether running trials wait for verdicts."""
        return self._budget is not None or self._stopping.first_ask(0) is not None

    @property
    def thaws(self) -> bool:
        """Whether it decides when a trial that it has paused goes on."""
        return self._thawing is not None

    def trains(self, trial: Trial) -> bool:
        """The trials of the search; those that repeat another wait for whoever asked for them."""
        return not trial.repeats

    def restore(self, study: StudyState) -> None:
        """Takes in a study that already has trials."""
        self.ledger.goal = study.goal
        self._remarked = any(trial.resumable is False for trial in study.trials)
        trials = [trial for trial in study.trials if not trial.repeats]
        if self._thawing is not None:  # a trial may be a copy of a later one
            for trial in trials:
                self._look_for_copies(study, trial, self._as_last_weighed(study, trial)[1])
        for trial in trials:
            if self._budget is not None:
                self._budget.note(study, trial)
            if self._learns:
                self.know(study, trial, *self._as_last_weighed(study, trial))

    # ── what to start ───────────────────────────────────────────────────────────────────────────

    def propose(self, study: StudyState) -> Draft | Thaw | None:
        """The trial to take up again or the next one to begin, or None when there is none to train."""
        if self._budget is not None and self._budget.left <= 0:
            return None
        thaw = None if self._thawing is None else self._thawing.thaw(study)
        if thaw is not None:
            return replace(thaw, opened=self._take_opened())
        proposal, number = self.upcoming(study), len(study.trials)
        if proposal is None:
            return None
        params, why = self.space.from_unit(proposal.point), proposal.why
        if number < len(self._start):
            params = self.space.check(self._complete(self._start[number], params))
            why = self._reasons[number] if number < len(self._reasons) else "a known-good starting point"
        draft = Draft(
            params=params,
            seed=trial_seed(self.seed, number),
            why=why,
            round=proposal.round,
            opened=self._take_opened(),
            memo=proposal.memo,
        )
        self._expect(number, draft)
        return draft

    def draft_of(self, study: StudyState, settings: Settings, why: str) -> Draft:
        """A trial with settings that a person gave."""
        number = len(study.trials)
        draft = Draft(params=settings, seed=trial_seed(self.seed, number), why=why)
        self._expect(number, draft)
        return draft

    def first_ask(self, trial: int, step: int) -> int | None:
        """The step from which on a trial that starts at `step` waits for a verdict at its next score; None: never."""
        ask = self._rule_asks[trial] = self._stopping.first_ask(step)
        return ask

    def allowance(self, study: StudyState, trial: Trial, step: int) -> int | None:
        """The step at which a trial that starts at `step` has to ask for more steps; None: never."""
        if self._budget is None:
            return None
        return self._budget.at_first(study, trial, step, self._rule_asks.get(trial.trial))

    def spent(self, study: StudyState) -> str | None:
        """Why no further trial starts, or None."""
        if self._exhausted:
            return self._exhausted
        if self.limits.trials is not None and len(study.trials) - study.repeating >= self.limits.trials:
            return f"all {self.limits.trials} trials were tried"
        return None if self._budget is None else self._budget.spent(study)

    def parting(self, study: StudyState) -> str | None:
        """How many trials were given up before they had a score, which says nothing of their settings."""
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
            if self._learns and self._thawing is None:
                self.know(study, trial, "running")
            verdict = replace(self._stopping.judge(study, trial, step), opened=self._take_opened())
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
            "the training function never tells run.state how to save its model, so trials that fall behind are "
            'stopped for good, as stopping="asha" does; with it they are paused, and go on where they promise more'
        )

    def ended(self, study: StudyState, trial: Trial) -> None:
        """A trial is over: its place and unused steps are free again."""
        self._rule_asks.pop(trial.trial, None)
        if self._learns:
            self.know(study, trial, trial.state)
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

    # ── what the stopping rule may ask ──────────────────────────────────────────────────────────

    def upcoming(self, study: StudyState) -> Proposal | None:
        """What would be tried next; None when no further trial may begin."""
        if self.spent(study) is not None:
            return None
        number = len(study.trials)
        version = self.ledger.version if self._proposer.adaptive else 0
        state = number, version, len(study.rounds)
        if self._next is None or self._next[0] != state:
            self._open_due(study)
            # What learns nothing goes through a list: a trial that repeats another, or was given, takes no place.
            given = len(self._start) * getattr(self._proposer, "in_order", False)
            place = number if self._proposer.adaptive else max(0, number - study.repeating - given)
            proposal = self._proposer.propose(self.space, self.seed, place, self.ledger, self._rounds_of(study))
            if proposal is None:
                self._exhausted = "every point of the grid has been tried"
                return None
            if self._combinations is not None and number >= len(self._start):
                fresh = self._combinations.untried(study, proposal)
                if fresh is None:
                    self._exhausted = f"all {self._combinations.count} combinations of settings have been tried"
                    return None
                proposal = fresh
            # where settings do not follow from what is known, a bad draw would keep all later ones waiting
            waits = self._proposer.adaptive or self.ledger.looks < _LOOKS_A_TRIAL * number
            at_once = proposal.at_once or number < len(self._start) or not waits
            self._next = state, replace(proposal, at_once=at_once)
        return self._next[1]

    def numbers(self, study: StudyState) -> list[float] | None:
        """The process that the sampler has learned, a round that is due included; None where it learns none."""
        if self._learner is None:
            return None
        self._open_due(study)
        return self._learner.numbers(self._rounds_of(study))

    def know(self, study: StudyState, trial: Trial, state: TrialState, up_to: int | None = None) -> None:
        """Enters into the ledger how far a trial has come, or had at step `up_to`."""
        known = outcome(self.space, study, trial, state, up_to)
        if self._thawing is not None:
            self._look_for_copies(study, trial, up_to)
            known = replace(known, like=self._original(study, trial.trial))
        self.ledger.put(known)

    def affordable(self, study: StudyState, trials: list[int]) -> list[int]:
        """Which of these trials the budget still brings to their next score."""
        budget = self._budget
        if budget is None or budget.left >= self.ledger.horizon:
            return trials
        return [number for number in trials if budget.affords(study, study.trials[number])]

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _look_for_copies(self, study: StudyState, trial: Trial, up_to: int | None) -> None:
        """Takes in a trial's curve up to a step; two that are whole tell whether copies stay copies."""
        curve, believed = study.curve(trial), self._copies.hold
        self._copies.enter(trial.trial, curve, up_to)
        if trial.state == "completed":
            for other in (study.trials[number] for number in self._copies.once_alike(trial.trial)):
                if other.state == "completed" and other.params != trial.params:
                    self._copies.compare(curve, study.curve(other))
        if self._copies.hold != believed:
            for known in tuple(self.ledger):
                self.ledger.put(replace(known, like=self._original(study, known.trial)))

    def _original(self, study: StudyState, trial: int) -> int | None:
        """The trial that this one is a copy of; one that failed says nothing of others."""
        if not self._copies.hold:
            return None
        alike = [number for number in self._copies.alike(trial) if study.trials[number].state != "failed"]
        return self._copies.original(trial, alike)

    def _expect(self, number: int, draft: Draft) -> None:
        """Enters a trial that is about to begin into the ledger, so that no other gets the like of its settings."""
        if self._learns:
            point = self.space.to_unit(draft.params)
            self.ledger.put(Outcome(trial=number, point=point, state="waiting", score=None, steps=0, round=draft.round))

    def _as_last_weighed(self, study: StudyState, trial: Trial) -> tuple[TrialState, int | None]:
        """State and step at which a trial last waited for a verdict; of one that stands still or is over, the last."""
        if trial.ended or trial.frozen:
            return trial.state, None
        curve, weighed = study.curve(trial), 0
        while (ask := self._stopping.first_ask(weighed)) is not None and (place := curve.place(ask)) < len(curve):
            weighed = int(curve.steps[place])
        return "running", weighed

    def _open_due(self, study: StudyState) -> None:
        """Opens the round that is due; it is recorded with whatever is decided next."""
        if self._learner is not None:
            rounds = self._rounds_of(study)
            due = self._learner.due(self.space, self.seed, len(study.trials), self.ledger, rounds)
            if due is not None:
                self._rounds.append(due)
                self._opened = due

    def _take_opened(self) -> RoundPlan | None:
        opened, self._opened = self._opened, None
        return opened

    def _complete(self, given: Settings, drawn: Settings) -> Settings:
        """A starting point with whatever it leaves open taken from the draw."""
        merged = {**drawn, **given}
        active = set(self.space.active(merged))
        middle = self.space.from_unit([0.5] * len(self.space))
        return {name: merged.get(name, middle.get(name)) for name in self.space.names if name in active}

    def _rounds_of(self, study: StudyState) -> Sequence[RoundPlan]:
        """All rounds: those on record, and one that is about to be."""
        ahead = self._opened is not None
        for each in study.rounds[len(self._rounds) - ahead :]:
            self._rounds.insert(len(self._rounds) - ahead, plan(each))
        return self._rounds


def outcome(
    space: Space, study: StudyState, trial: Trial, state: TrialState | None = None, up_to: int | None = None
) -> Outcome:
    """A trial as a sampler sees it, by its curve up to a step."""
    state = state or trial.state
    curve = study.curve(trial)
    upper = len(curve) if up_to is None else bisect.bisect_right(curve.steps, up_to)
    sign = 1.0 if study.goal == "maximize" else -1.0
    kept = [place for place in range(upper) if math.isfinite(curve.scores[place])]
    score: float | None = None
    if trial.ended and state != "diverged" and trial.best_score is not None and math.isfinite(trial.best_score):
        score = sign * trial.best_score
    elif not trial.ended and kept:
        score = max(sign * curve.scores[place] for place in kept)
    marks = marks_of([curve.steps[place] for place in kept], [curve.scores[place] for place in kept], sign)
    if score is not None and not marks:
        marks = ((max(1, trial.steps), score),)
    return Outcome(
        trial=trial.trial,
        point=space.to_unit(trial.params),
        state=state,
        score=score,
        round=trial.round,
        steps=trial.steps if up_to is None else min(trial.steps, up_to),
        planned=trial.planned,
        marks=() if state == "diverged" else marks,
    )


def _is_scored(study: StudyState, trial: Trial, step: int) -> bool:
    """Whether the objective was reported at this very step, and training goes on beyond it."""
    curve = study.curve(trial)
    return not is_over(trial, step) and len(curve) > 0 and curve.steps[-1] == step


def plan(each: Round) -> RoundPlan:
    """A recorded round as a sampler sees it."""
    return RoundPlan(round=each.round, first_trial=each.first_trial, box=each.box, why=each.why, memo=each.memo)
