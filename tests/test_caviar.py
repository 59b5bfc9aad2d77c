from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.caviar.budget import StepBudget
from tuner.caviar.outcomes import PROGRAMMING_ERRORS, outcome
from tuner.caviar.policy import Caviar, Limits
from tuner.caviar.seeds import trial_seed
from tuner.caviar.stopping import Off
from tuner.errors import TunerError
from tuner.policy.proposals import Outcome, Proposal, RoundPlan
from tuner.policy.protocol import Draft
from tuner.policy.verdicts import Verdict
from tuner.record import events as rec
from tuner.record.reports import pack_reports
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.constructors import choice, integer, linear, log
from tuner.space.space import Space

SPACE = Space(rate=log(1e-4, 1.0), units=integer(50, 100))
CONDITIONAL = Space(
    rate=log(1e-4, 1.0),
    decay=choice("none", "step"),
    every=integer(2, 20, when={"decay": "step"}),
    momentum=linear(0.0, 1.0),
)


class Script:
    """A proposer that says what it is told, and remembers what it was shown."""

    def __init__(self, points: Sequence[tuple[float, ...]], *, adaptive: bool = True) -> None:
        self.adaptive = adaptive
        self.shown: list[tuple[Outcome, ...]] = []
        self._points = points

    def propose(
        self, space: Space, seed: int, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> Proposal | None:
        self.shown.append(tuple(outcomes))
        return Proposal(point=self._points[trial], why=f"line {trial}") if trial < len(self._points) else None


class Rungs:
    """A rule that asks at these steps and prunes where it is told."""

    name = "rungs"

    def __init__(self, *steps: int, prune: Callable[[int, int], bool] = lambda trial, step: False) -> None:
        self._steps, self._prune = steps, prune

    def first_ask(self, after: int = 0) -> int | None:
        return next((step for step in self._steps if step > after), None)

    def judge(self, study: StudyState, trial: Trial, step: int) -> Verdict:
        if self._prune(trial.trial, step):
            return Verdict(action="prune", why=f"pruned at {step}", ask_at=None)
        return Verdict(action="continue", why="", ask_at=self.first_ask(step))


def caviar(
    *,
    space: Space = SPACE,
    proposer: Any = None,
    stopping: Any = None,
    start: Sequence[Mapping[str, Any]] = (),
    parallel: int = 1,
    **limits: Any,
) -> Caviar:
    proposer = proposer or Script([(0.5,) * len(space)] * 100)
    return Caviar(
        space=space,
        seed=0,
        proposer=proposer,
        stopping=stopping or Off(),
        limits=Limits(**limits),
        start=start,
        parallel=parallel,
    )


def study_of(space: Space = SPACE, goal: rec.Goal = "maximize") -> StudyState:
    study = StudyState()
    study.apply(
        rec.StudyOpened(
            name="night",
            kind="sweep",
            identity={"space": space.to_dict(), "objective": "score", "goal": goal},
            function="m:f",
            source_sha256="",
            version="0",
            at=0.0,
        )
    )
    return study


def add(
    study: StudyState,
    state: rec.TrialState = "completed",
    *,
    score: float | None = 0.5,
    steps: int = 5,
    why: str = "over",
    error: str = "",
    params: Mapping[str, Any] | None = None,
) -> Trial:
    number = len(study.trials)
    study.apply(
        rec.TrialCreated(
            trial=number,
            purpose="search",
            round=None,
            parent=None,
            seed=0,
            seen=0,
            why="",
            memo=None,
            at=0.0,
            params=params or {"rate": 0.01, "units": 75},
        )
    )
    if state == "waiting":
        return study.trials[number]
    study.apply(
        rec.TrialEnded(
            trial=number,
            segment=0,
            state=state,
            why=why,
            step=steps,
            best_step=steps,
            best_score=score,
            started=0.0,
            seconds=1.0,
            node="",
            error=error,
            traceback="",
            at=1.0,
        )
    )
    return study.trials[number]


def report(study: StudyState, trial: Trial, step: int, score: float = 0.5) -> None:
    study.apply(pack_reports(trial.trial, 0, [(step, "score", score, 0.0)]))


# ── what to start ───────────────────────────────────────────────────────────────────────────────


def test_a_draft_holds_the_settings_of_the_proposed_point_its_reason_and_a_seed_of_its_own() -> None:
    policy = caviar(proposer=Script([(0.5, 0.0), (1.0, 1.0)]), trials=9)
    study = study_of()
    first = policy.propose(study)
    assert isinstance(first, Draft)
    assert first.params == {"rate": pytest.approx(0.01), "units": 50}
    assert (first.why, first.seed, first.purpose) == ("line 0", trial_seed(0, 0), "search")
    add(study, "waiting")
    second = policy.propose(study)
    assert isinstance(second, Draft)
    assert second.params == {"rate": 1.0, "units": 100}
    assert second.seed != first.seed


def test_starting_points_come_first_and_what_they_leave_open_is_drawn() -> None:
    policy = caviar(proposer=Script([(0.5, 0.0)] * 3), start=[{"rate": 0.1}, {"rate": 0.2, "units": 60}], trials=9)
    study = study_of()
    drafts = []
    for _ in range(3):
        drafts.append(policy.propose(study))
        add(study, "waiting")
    assert [draft.params for draft in drafts if isinstance(draft, Draft)] == [
        {"rate": 0.1, "units": 50},
        {"rate": 0.2, "units": 60},
        {"rate": pytest.approx(0.01), "units": 50},
    ]
    assert drafts[0] is not None
    assert drafts[0].why == "a known-good starting point"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"decay": "step"}, {"decay": "step", "every": 11, "momentum": 0.25}),  # a condition that the draw left out
        ({"decay": "none"}, {"decay": "none", "momentum": 0.25}),
        ({"decay": "step", "every": 3}, {"decay": "step", "every": 3, "momentum": 0.25}),
    ],
)
def test_a_conditional_starting_point_is_completed_to_valid_settings(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    point = CONDITIONAL.to_unit({"rate": 0.01, "decay": "none", "momentum": 0.25})
    policy = caviar(space=CONDITIONAL, proposer=Script([point]), start=[given], trials=9)
    draft = policy.propose(study_of(CONDITIONAL))
    assert isinstance(draft, Draft)
    assert dict(draft.params) == {"rate": pytest.approx(0.01), **expected}


def test_a_starting_point_outside_the_space_is_refused() -> None:
    with pytest.raises(TunerError, match="units"):
        caviar(start=[{"units": 7}], trials=9).propose(study_of())


def test_no_more_trials_than_asked_for_are_proposed() -> None:
    policy, study = caviar(trials=2), study_of()
    for _ in range(2):
        assert policy.propose(study) is not None
        assert policy.spent(study) is None
        add(study, "waiting")
    assert policy.propose(study) is None
    assert policy.spent(study) == "all 2 trials were tried"
    assert policy.wanted == 2


def test_a_grid_that_is_done_ends_the_sweep_before_its_trials_are_used_up() -> None:
    policy, study = caviar(proposer=Script([(0.5, 0.5)]), trials=9), study_of()
    policy.propose(study)
    add(study, "waiting")
    assert policy.propose(study) is None
    assert "grid" in (policy.spent(study) or "")


def test_an_adaptive_proposer_sees_every_trial_as_far_as_it_is_known() -> None:
    script = Script([(0.5, 0.5)] * 9)
    policy, study = caviar(proposer=script, trials=9), study_of()
    policy.propose(study)
    add(study, score=0.4)
    policy.ended(study, study.trials[0])
    policy.propose(study)
    add(study, "waiting")
    policy.propose(study)
    add(study, "diverged", score=0.9)
    policy.ended(study, study.trials[2])
    policy.propose(study)
    assert [[each.state for each in shown] for shown in script.shown] == [
        [],
        ["completed"],
        ["completed", "waiting"],
        ["completed", "waiting", "diverged"],
    ]
    assert [each.score for each in script.shown[-1]] == [0.4, None, None]  # a diverged trial has no score to learn from


def test_settings_that_a_person_adds_are_known_before_they_are_trained() -> None:
    script = Script([(0.5, 0.5)] * 9)
    policy, study = caviar(proposer=script, trials=9), study_of()
    draft = policy.draft_of(study, SPACE.from_unit((0.1, 0.9)), "a hunch")
    add(study, "waiting")
    policy.propose(study)
    (known,) = script.shown[-1]
    assert (known.trial, known.state) == (0, "waiting")
    assert SPACE.from_unit(known.point) == draft.params


def test_a_non_adaptive_proposer_is_shown_nothing() -> None:
    script = Script([(0.5, 0.5)] * 9, adaptive=False)
    policy, study = caviar(proposer=script, trials=9), study_of()
    add(study)
    policy.propose(study)
    assert script.shown == [()]
    assert not policy.adaptive


@pytest.mark.parametrize(("goal", "seen"), [("maximize", 0.25), ("minimize", -0.25)])
def test_an_outcome_is_signed_so_that_higher_is_better(goal: rec.Goal, seen: float) -> None:
    study = study_of(goal=goal)
    found = outcome(SPACE, study, add(study, "pruned", score=0.25, steps=3))
    assert (found.score, found.state, found.steps, found.trial) == (seen, "pruned", 3, 0)
    assert SPACE.from_unit(found.point) == {"rate": pytest.approx(0.01), "units": 75}


def test_seeds_depend_on_the_studys_seed_and_the_trials_number_alone() -> None:
    assert trial_seed(0, 5) == trial_seed(0, 5)
    assert len({trial_seed(seed, trial) for seed in range(20) for trial in range(20)}) == 400


# ── verdicts ────────────────────────────────────────────────────────────────────────────────────


def test_without_a_rule_or_a_budget_nothing_is_ever_asked() -> None:
    policy = caviar(trials=9)
    assert policy.first_ask(0, 0) is None
    assert not policy.asks


def test_the_rules_verdict_is_passed_on_with_its_reason() -> None:
    policy = caviar(stopping=Rungs(3, 9, prune=lambda trial, step: step == 9), trials=9)
    study = study_of()
    trial = add(study, "waiting")
    assert policy.first_ask(0, 0) == 3
    assert policy.first_ask(0, 4) == 9  # a trial that goes on from a checkpoint
    assert policy.first_ask(0, 0) == 3
    report(study, trial, 3)
    verdict = policy.judge(study, trial, 3)
    assert (verdict.action, verdict.ask_at) == ("continue", 9)
    report(study, trial, 9)
    verdict = policy.judge(study, trial, 9)
    assert (verdict.action, verdict.why) == ("prune", "pruned at 9")


def test_a_budget_question_between_rungs_does_not_reach_the_rule() -> None:
    policy = caviar(stopping=Rungs(100, prune=lambda trial, step: True), budget_steps=40)
    study = study_of()
    trial = add(study, "waiting")
    assert policy.first_ask(0, 0) == 100
    assert policy.allowance(study, trial, 0) == 0
    verdict = policy.judge(study, trial, 0)
    assert (verdict.action, verdict.limit, verdict.ask_at) == ("continue", 20, 100)


def test_a_budget_that_is_spent_stops_the_trial_that_asks_and_every_new_one() -> None:
    policy = caviar(budget_steps=1)
    study = study_of()
    trial = add(study, "waiting")
    assert policy.judge(study, trial, 0).limit == 1
    report(study, trial, 1)
    verdict = policy.judge(study, trial, 1)
    assert verdict.action == "stop"
    assert "budget of 1 steps" in verdict.why
    assert "budget of 1 steps" in (policy.spent(study) or "")
    assert policy.allowance(study, add(study, "waiting"), 0) == 0  # asks before its first step


def test_a_restart_counts_the_steps_already_taken() -> None:
    study = study_of()
    add(study, steps=7)
    policy = caviar(budget_steps=7)
    policy.restore(study)
    assert "budget of 7 steps" in (policy.spent(study) or "")


# ── the budget ──────────────────────────────────────────────────────────────────────────────────


@given(
    total=st.integers(1, 200),
    parallel=st.integers(1, 8),
    lengths=st.lists(st.integers(1, 60), min_size=1),
    rungs=st.sets(st.integers(1, 50), max_size=4),
    choices=st.randoms(use_true_random=False),
)
def test_a_step_budget_is_never_exceeded(
    total: int, parallel: int, lengths: list[int], rungs: set[int], choices: Any
) -> None:
    """`parallel` workers train trials of these lengths, each a step at a time, asking where it must."""
    budget = StepBudget(total, parallel)
    asks = sorted(rungs)
    waiting = list(enumerate(lengths))
    running: dict[int, int] = {}  # trial → steps it may reach
    done: dict[int, int] = {}

    def next_rung(step: int) -> int | None:
        return next((rung for rung in asks if rung > step), None)

    while running or waiting:
        if waiting and len(running) < parallel:
            trial, _ = waiting.pop(0)
            limit = budget.grant(trial, 0, next_rung(0))
            if limit is None:
                break
            running[trial], done[trial] = limit, 0
            continue
        trial = choices.choice(sorted(running))
        if done[trial] < min(running[trial], lengths[trial]):
            done[trial] += 1
        elif done[trial] == lengths[trial]:
            del running[trial]
            budget.note(trial, done[trial])
        else:
            limit = budget.grant(trial, done[trial], next_rung(done[trial]))
            if limit is None:
                del running[trial]
            else:
                assert limit > done[trial]
                running[trial] = limit
        assert sum(done.values()) <= total
    assert sum(done.values()) + budget.left <= total


def test_a_lone_trial_can_use_the_whole_budget() -> None:
    budget, step = StepBudget(100, parallel=4), 0
    while (limit := budget.grant(0, step, None)) is not None:
        assert limit > step
        step = limit
    assert step == 100


def test_what_an_ended_trial_did_not_use_returns() -> None:
    budget = StepBudget(10, parallel=1)
    assert budget.grant(0, 0, None) == 5
    budget.note(0, 2)
    assert budget.left == 8


def test_a_retry_from_the_start_is_granted_what_it_held() -> None:
    budget = StepBudget(10, parallel=1)
    for step in (0, 5, 7, 8, 9):
        budget.grant(0, step, None)
    assert budget.left == 0
    assert budget.grant(0, 0, None) == 10


# ── failures ────────────────────────────────────────────────────────────────────────────────────


def test_a_failure_is_tried_again_as_often_as_its_class_or_one_above_allows() -> None:
    policy = caviar(retries={"OSError": 2, "Exception": 1, "MemoryError": 0})
    assert policy.may_retry(("ConnectionError", "OSError", "Exception"), 2)
    assert not policy.may_retry(("ConnectionError", "OSError", "Exception"), 3)
    assert policy.may_retry(("ValueError", "Exception"), 1)
    assert not policy.may_retry(("ValueError", "Exception"), 2)
    assert not caviar().may_retry(("ValueError", "Exception"), 1)
    assert not policy.may_retry(("SystemExit",), 1)


def test_a_sweep_without_failures_goes_on() -> None:
    study = study_of()
    add(study)
    assert caviar(max_failures=1).collapsed(study) is None


def test_a_first_trial_that_failed_by_a_programming_error_ends_the_sweep() -> None:
    study = study_of()
    add(study, "failed", why="NameError: name 'x' is not defined", error="NameError")
    assert "NameError" in PROGRAMMING_ERRORS
    assert "first trial failed" in (told := caviar().collapsed(study) or "")
    assert "NameError: name 'x'" in told


def test_a_first_trial_that_failed_by_its_settings_does_not() -> None:
    study = study_of()
    add(study, "failed", error="ValueError")
    assert caviar().collapsed(study) is None


def test_a_programming_error_after_others_did_well_does_not() -> None:
    study = study_of()
    add(study)
    add(study, "failed", error="TypeError")
    assert caviar().collapsed(study) is None


def test_failures_in_a_row_end_the_sweep_and_quote_the_last() -> None:
    study = study_of()
    for _ in range(4):
        add(study, "failed", why="ValueError: bad", error="ValueError", steps=3)
    assert caviar().collapsed(study) is None
    add(study)
    for _ in range(5):
        add(study, "failed", why="ValueError: bad", error="ValueError", steps=3)
    assert caviar(failures_in_a_row=6).collapsed(study) is None
    assert "5 trials failed in a row" in (told := caviar().collapsed(study) or "")
    assert "trial 9 at step 3: ValueError" in told


def test_as_many_failures_as_allowed_end_the_sweep() -> None:
    study = study_of()
    for _ in range(3):
        add(study, "failed", why="OSError: disk", error="OSError", steps=1)
        add(study)
    assert caviar(max_failures=4).collapsed(study) is None
    assert "3 trials failed, as many as max_failures" in (caviar(max_failures=3).collapsed(study) or "")


def test_a_trial_without_a_score_has_none_to_learn_from() -> None:
    study = study_of()
    assert outcome(SPACE, study, add(study, score=None)).score is None
