"""The search of a sweep: what is known of its trials, what trains next, and in which round.

The stopping rule weighs those that train against what it would try.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from tuner.caviar.budget import Shares
from tuner.caviar.combinations import Combinations
from tuner.caviar.duplicates import Duplicates
from tuner.caviar.outcomes import outcome, plan
from tuner.caviar.repeats_within import RepeatsWithin
from tuner.caviar.seeds import trial_seed
from tuner.policy.proposals import Learner, Outcome, Proposal, Proposer, RoundPlan
from tuner.policy.protocol import Draft
from tuner.policy.verdicts import Thaw
from tuner.record.events import Settings, TrialState
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.space import Space
from tuner.surrogate.ledger import Ledger
from tuner.surrogate.thinking import Thinking, Time

_Thought = TypeVar("_Thought")

_QUICK = 24  # trials that tell something: a round is learned from so few in ten milliseconds
_PATIENCE = 1 / 128  # where trials do not wait: so much more has to be known before it is weighed with the rest
_INFORMATION_A_TRIAL = 3  # of each trial so much is known, all in all, before drawn settings begin unweighed


class Search:
    """What a sweep knows, and what follows from that.

    What it knows of each trial stands in `ledger`: of a running one as it was when it last waited for a verdict. So
    with one worker every decision follows from the record, also across a restart. A round that is due belongs to what
    is known, and stays due until it is on record: whoever decides meanwhile takes it along.
    """

    def __init__(
        self,
        *,
        space: Space,
        seed: int,
        proposer: Proposer,
        trials: int | None = None,
        budget: Shares | None = None,
        sparing: bool = False,
        start: Sequence[Settings] = (),
        reasons: Sequence[str] = (),
        overlapping: bool = False,
        thaw: Callable[[StudyState], Thaw | None] | None = None,
        repeats: RepeatsWithin | None = None,
    ) -> None:
        """`thaw` says which run goes on that stands still; None: none are weighed against one another.

        `repeats`: whose settings are trained again, and when; None: nobody's. `overlapping`: whether trials train while
        it thinks, so that none waits for what takes long to learn.
        """
        self.space, self.seed, self.budget, weighs = space, seed, budget, thaw is not None
        self.sparing = sparing
        """Whether steps count though none were granted: a number of trials is all the budget there is."""
        self.learns = proposer.adaptive or weighs
        """Whether what is decided depends on what came out."""
        self.ledger = Ledger(patience=_PATIENCE if overlapping else 0.0)
        """What each trial is known by."""
        self.ledger.most_trials, self.ledger.most_steps = trials, None if budget is None else budget.left
        self._proposer = proposer
        # asked once: whether an object keeps a protocol takes longer than a draw
        self._learner = proposer if isinstance(proposer, Learner) else None
        self._weighs, self._trials, self._thaw, self._repeats = weighs, trials, thaw, repeats
        self.repeating = set[int]()
        """The trials that repeat others."""
        self.overlapping, self._learning = overlapping, Thinking[RoundPlan | None](beside=overlapping)
        self._time = Time() if overlapping else None  # None: everybody waits for what is thought
        self._start, self._reasons = tuple(start), tuple(reasons)
        self._duplicates = Duplicates()
        # what draws points of the cube may be led elsewhere; an Optuna sampler knows what it has drawn
        self._combinations = Combinations.of(space) if getattr(proposer, "avoids_repeats", False) else None
        self._exhausted = ""
        self._recorded: list[RoundPlan] = []
        # The last answers, each with the state of the study that it was given in: trials, entries, rounds.
        self._due: tuple[tuple[int, int, int], RoundPlan | None] = (-1, -1, -1), None
        self._next: tuple[tuple[int, int, int], Proposal] | None = None

    # ── what is known ───────────────────────────────────────────────────────────────────────────

    def observe(self, study: StudyState, trial: Trial, state: TrialState, up_to: int | None = None) -> None:
        """Enters into the ledger how far a trial has come, or had at step `up_to`."""
        known = outcome(self.space, study, trial, state, up_to, self.ledger.point_of(trial.trial))
        if self._weighs:
            self.look_for_duplicates(study, trial, up_to)
            known = replace(known, duplicate_of=self._original(study, trial.trial))
        self.ledger.put(known)

    def learn_from(self, study: StudyState, trial: Trial) -> None:
        """Enters how a repeat ended: another run of settings that are known."""
        if self.learns:
            self.ledger.put(outcome(self.space, study, trial))

    def look_for_duplicates(self, study: StudyState, trial: Trial, up_to: int | None) -> None:
        """Takes in a trial's curve up to a step; two that are whole tell whether duplicates stay duplicates."""
        curve, believed = study.curve(trial), self._duplicates.hold
        self._duplicates.enter(trial.trial, curve, up_to)
        if trial.state == "completed":
            for other in (study.trials[number] for number in self._duplicates.once_alike(trial.trial)):
                if other.state == "completed" and other.params != trial.params:
                    self._duplicates.compare(curve, study.curve(other))
        if self._duplicates.hold != believed:
            for known in tuple(self.ledger):
                self.ledger.put(replace(known, duplicate_of=self._original(study, known.trial)))

    def _original(self, study: StudyState, trial: int) -> int | None:
        """The trial that this one is a duplicate of; one that failed says nothing of others."""
        if not self._duplicates.hold:
            return None
        alike = [number for number in self._duplicates.alike(trial) if study.trials[number].state != "failed"]
        return self._duplicates.original(trial, alike)

    # ── rounds ──────────────────────────────────────────────────────────────────────────────────

    def due(self, study: StudyState) -> RoundPlan | None:
        """The round that opens with whatever is decided next; None: not yet."""
        if self._learner is None:
            return None
        state = len(study.trials), self.ledger.version, len(study.rounds)
        asked, due = self._due
        if asked[2] != state[2] or (due is None and (asked != state or self._learning.busy)):
            due = self._learned(study, self._learner)
            self._due = state, due
        return due

    def _learned(self, study: StudyState, learner: Learner) -> RoundPlan | None:
        """The round that opens now; a large one is learned beside the loop, and opens once it is."""
        number, rounds = len(study.trials), self._on_record(study)
        if self._learning.busy:
            found = self._learning.end(len(rounds))
            if found is not None:
                return replace(found, first_trial=number)
        if self._learning.busy or not learner.opens(number, self.ledger, rounds):
            return None
        known = self.ledger.copy() if self.overlapping else self.ledger
        thought = partial(learner.due, self.space, self.seed, number, known, tuple(rounds))
        return self._learning.begin(len(rounds), thought, short=not rounds or self.ledger.telling < _QUICK)

    def hyperparameters(self, study: StudyState) -> list[float] | None:
        """What the sampler has learned, a round that is due included; None where it learns nothing."""
        return None if self._learner is None else self._learner.hyperparameters(self._rounds(study))

    def needle(self, study: StudyState) -> bool:
        """Whether settings that learn are rare, by the latest round, one that is due included."""
        rounds = self._rounds(study)
        memo = rounds[-1].memo if rounds and self._learner is not None else None
        return memo is not None and ("numbers" not in memo or memo.get("rare", False))

    def _rounds(self, study: StudyState) -> Sequence[RoundPlan]:
        """All rounds: those on record, and the one that is due."""
        on_record, due = self._on_record(study), self.due(study)
        return on_record if due is None else [*on_record, due]

    def _on_record(self, study: StudyState) -> Sequence[RoundPlan]:
        self._recorded.extend(plan(each) for each in study.rounds[len(self._recorded) :])
        return self._recorded

    # ── what comes next ─────────────────────────────────────────────────────────────────────────

    def propose(self, study: StudyState) -> Draft | Thaw | None:
        """What trains next: a leader's settings again, a run that stands still, or new settings; None: nothing."""
        if self.budget is not None and self.budget.left <= 0:
            return None
        return self._again(study) or (self._thaw and self._thaw(study)) or self.begin(study)

    def _again(self, study: StudyState) -> Draft | None:
        """The repeat that comes next, where one is worth more than what would be tried."""
        if self._repeats is None or len(study.trials) < len(self._start) or self.spent(study) is not None:
            return None
        shares = [0.0 if self.budget is None else self.budget.share_spent]
        if self._trials is not None:
            shares.append(study.budgeted / self._trials)
        found = self._repeats.next(study, max(shares))
        if found is not None:
            self.repeating.add(len(study.trials))
        return found

    def spent(self, study: StudyState) -> str | None:
        """Why no further trial starts, or None."""
        if self._exhausted:
            return self._exhausted
        if self._trials is not None and study.budgeted >= self._trials:
            return f"all {self._trials} trials were tried"
        return None if self.budget is None else self.budget.spent(study)

    def affordable(self, study: StudyState, trials: list[int]) -> list[int]:
        """Which of these trials the budget still brings to their next score."""
        budget = self.budget
        if budget is None or budget.left >= self.ledger.horizon:
            return trials
        return [number for number in trials if budget.affords(study, study.trials[number])]

    def upcoming(self, study: StudyState) -> Proposal | None:
        """What would be tried next; None when no further trial may begin."""
        if self.spent(study) is not None:
            return None
        number, adaptive = len(study.trials), self._proposer.adaptive
        state = number, self.ledger.edition if adaptive else 0, len(study.rounds)
        if self._next is None or self._next[0] != state:
            # What learns nothing goes through a list: a trial that repeats another, or was given, takes no place.
            given = len(self._start) * getattr(self._proposer, "in_order", False)
            place = number if adaptive else max(0, number - study.repeating - given)
            proposal = self._drawn(study, place)
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
            waits = adaptive or self.ledger.information < _INFORMATION_A_TRIAL * number
            at_once = proposal.at_once or number < len(self._start) or not waits
            self._next = state, replace(proposal, at_once=at_once)
        return self._next[1]

    @property
    def in_haste(self) -> bool:
        """Whether trials end faster than it can think."""
        return self._time is not None and not self._time.is_left()

    def thought(self, thought: Callable[[], _Thought]) -> _Thought:
        """What comes of a thought; where trials do not wait for it, the time that it takes is counted."""
        return thought() if self._time is None else self._time.spent_on(thought)

    def _drawn(self, study: StudyState, place: int) -> Proposal | None:
        learner, space, seed = self._learner, self.space, self.seed
        rounds = self._rounds(study)
        if learner is None:
            return self._proposer.propose(space, seed, place, self.ledger, rounds)
        if self.in_haste:
            return learner.in_haste(space, seed, place, rounds)
        draw = learner.draw if self._learning.busy else learner.propose  # which would learn what is being learned
        return self.thought(partial(draw, space, seed, place, self.ledger, rounds))

    def begin(self, study: StudyState) -> Draft | None:
        """The next trial, and the round that opens with it; None when no further trial may begin."""
        proposal, number = self.upcoming(study), len(study.trials)
        if proposal is None:
            return None
        params, why = self.space.from_unit(proposal.point), proposal.why
        if number < len(self._start):
            params = self.space.check(self._complete(self._start[number], params))
            why = self._reasons[number] if number < len(self._reasons) else "a known-good starting point"
        opened = self.due(study)
        return self.given(study, params, why, round=proposal.round, opened=opened, memo=proposal.memo)

    def given(
        self,
        study: StudyState,
        settings: Settings,
        why: str,
        *,
        round: int | None = None,  # noqa: A002 - the record's word
        opened: RoundPlan | None = None,
        memo: object = None,
    ) -> Draft:
        """The next trial with these settings; from now on known, so that no other gets the like of them."""
        number = len(study.trials)
        if self.learns:
            point = self.space.to_unit(settings)
            self.ledger.put(Outcome(trial=number, point=point, state="waiting", score=None, steps=0, round=round))
        seed = trial_seed(self.seed, number)
        return Draft(params=settings, seed=seed, why=why, round=round, opened=opened, memo=memo)

    def _complete(self, given: Settings, drawn: Settings) -> Settings:
        """A starting point with whatever it leaves open taken from the draw."""
        merged = {**drawn, **given}
        active = set(self.space.active(merged))
        middle = self.space.from_unit([0.5] * len(self.space))
        return {name: merged.get(name, middle.get(name)) for name in self.space.names if name in active}
