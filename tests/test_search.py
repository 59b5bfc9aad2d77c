"""The search of a sweep: a round that is due goes to the record with whoever decides first."""

from __future__ import annotations

from collections.abc import Sequence

from test_caviar import SPACE, add, study_of

from tuner.caviar.search import Search
from tuner.policy.proposals import Outcome, Proposal, RoundPlan
from tuner.record.events import RoundOpened
from tuner.record.state import StudyState
from tuner.space.space import Space
from tuner.surrogate.ledger import Ledger


class EveryFew:
    """A learner whose rounds open with every third entry of the ledger, each with a number that it learned."""

    adaptive = True

    def __init__(self) -> None:
        self.asked = 0

    def propose(
        self, space: Space, seed: int, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> Proposal | None:
        return Proposal(point=(0.5,) * len(space), why=f"in {len(rounds)} rounds", round=rounds[-1].round)

    draw = propose

    def in_haste(self, space: Space, seed: int, trial: int, rounds: Sequence[RoundPlan]) -> Proposal:
        return Proposal(point=(0.5,) * len(space), why="in haste", at_once=True, round=rounds[-1].round)

    def opens(self, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]) -> bool:
        self.asked += 1
        return len(outcomes) >= 3 * len(rounds)

    def due(
        self, space: Space, seed: int, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> RoundPlan | None:
        assert isinstance(outcomes, Ledger)
        memo = {"numbers": [float(outcomes.version)]}
        return RoundPlan(round=len(rounds), first_trial=trial, box={}, why="due", memo=memo)

    def hyperparameters(self, rounds: Sequence[RoundPlan]) -> list[float] | None:
        found: list[float] | None = rounds[-1].memo["numbers"] if rounds else None
        return found


def record(study: StudyState, plan: RoundPlan) -> None:
    study.apply(
        RoundOpened(
            round=plan.round, first_trial=plan.first_trial, box=plan.box, seen=0, why=plan.why, at=0.0, memo=plan.memo
        )
    )


def test_a_round_stays_due_until_it_is_on_record_whatever_is_learned_meanwhile() -> None:
    learner, study = EveryFew(), study_of()
    search = Search(space=SPACE, seed=0, proposer=learner)
    first = search.due(study)
    assert first is not None
    search.observe(study, add(study), "completed")
    assert search.due(study) is first
    assert search.hyperparameters(study) == [0.0]
    record(study, first)
    assert search.due(study) is None
    assert search.hyperparameters(study) == [0.0]


def test_a_trial_begins_in_the_round_that_opens_with_it_and_the_next_in_the_same() -> None:
    study = study_of()
    search = Search(space=SPACE, seed=0, proposer=EveryFew())
    draft = search.begin(study)
    assert draft is not None
    assert draft.opened is not None
    assert (draft.round, draft.opened.round, draft.why) == (0, 0, "in 1 rounds")
    record(study, draft.opened)
    add(study)
    after = search.begin(study)
    assert after is not None
    assert (after.round, after.opened) == (0, None)


def test_whether_a_round_is_due_is_asked_once_for_each_state_of_what_is_known() -> None:
    learner, study = EveryFew(), study_of()
    search = Search(space=SPACE, seed=0, proposer=learner)
    due = search.due(study)
    assert due is not None
    record(study, due)
    asked = learner.asked
    for _ in range(5):
        search.due(study)
        search.upcoming(study)
    assert learner.asked == asked + 1
    search.observe(study, add(study), "completed")
    search.due(study)
    assert learner.asked == asked + 2
