"""Two curves equal to the last digit are one training; equal by chance they are two."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweeping import usually

import tuner
from tuner.caviar.duplicates import Duplicates, Report
from tuner.caviar.freeze_thaw import FreezeThaw
from tuner.caviar.policy import Caviar, Limits
from tuner.policy.proposals import Outcome
from tuner.record.curve import Curve
from tuner.record.state import StudyState
from tuner.samplers import CoarseToFineSampler
from tuner.space.constructors import choice, integer, linear
from tuner.space.space import Space
from tuner.surrogate.ledger import Ledger


def rising(end: float, steps: int) -> Curve:
    return Curve((step, end * (1 - math.exp(-step / 3))) for step in range(1, steps + 1))


def pairs(curve: Curve) -> list[Report]:
    return list(zip(curve.steps, curve.scores, strict=True))


def entered(*curves: Curve) -> Duplicates:
    """Curves of trials 0, 1, …"""
    duplicates = Duplicates()
    for trial, curve in enumerate(curves):
        duplicates.enter(trial, curve)
    return duplicates


def originals(duplicates: Duplicates, trials: int) -> list[int | None]:
    return [duplicates.original(trial, duplicates.alike(trial)) for trial in range(trials)]


def test_a_curve_equal_to_another_is_a_copy_of_it() -> None:
    duplicates = entered(rising(0.7, 8), rising(0.8, 2), rising(0.7, 2), rising(0.7, 1))
    assert originals(duplicates, 5) == [None, None, 0, None, None]  # one report says too little, and none nothing


def test_the_one_that_is_ahead_is_the_original_whichever_began_first() -> None:
    duplicates = entered(rising(0.7, 2), rising(0.7, 4))
    assert originals(duplicates, 2) == [1, None]
    duplicates.enter(0, rising(0.7, 4))
    assert originals(duplicates, 2) == [None, 0]


@given(st.permutations(range(6)))
def test_who_is_a_copy_does_not_depend_on_the_order_in_which_curves_are_entered(order: list[int]) -> None:
    curves = [rising(end, steps) for end, steps in ((0.7, 8), (0.7, 2), (0.8, 4), (0.8, 4), (0.9, 4), (0.7, 4))]
    duplicates = Duplicates()
    for trial in order:
        duplicates.enter(trial, curves[trial])
    assert originals(duplicates, 6) == [None, 0, None, 2, None, 0]


def test_curves_that_stand_still_are_not_told_apart_by_it() -> None:
    duplicates = entered(Curve((step, 0.1) for step in range(1, 20)), Curve((step, 0.1) for step in range(1, 9)))
    assert duplicates.alike(1) == []


def test_scores_counted_in_a_few_examples_are_equal_by_chance_and_say_nothing() -> None:
    rng = np.random.default_rng(0)
    duplicates, found, equal = Duplicates(), 0, 0
    begun: set[tuple[Report, ...]] = set()
    for trial in range(300):
        curve = [(step, round(float(rng.normal(0.9, 0.03)) * 100) / 100) for step in (1, 2)]
        equal += tuple(curve) in begun
        begun.add(tuple(curve))
        duplicates.enter(trial, Curve(curve))
        found += duplicates.alike(trial) != []
    assert equal > 100
    assert found <= 3


def test_a_curve_that_changes_its_beginning_is_no_copy_any_more() -> None:
    duplicates = entered(rising(0.7, 8), rising(0.7, 4))
    assert duplicates.alike(1) == [0]
    duplicates.enter(1, rising(0.6, 4))
    assert duplicates.alike(1) == []


def test_a_score_that_is_not_finite_is_passed_over() -> None:
    reports = [(1, math.nan), (2, math.inf), (3, 0.4), (4, 0.5)]
    assert entered(Curve(reports), Curve(reports[:2])).alike(1) == []
    assert entered(Curve(reports), Curve(reports)).alike(1) == [0]


def test_those_that_have_parted_were_once_alike() -> None:
    parted = Curve([*pairs(rising(0.7, 3)), (4, 0.9), (5, 0.95)])
    duplicates = entered(rising(0.7, 8), parted, rising(0.6, 8))
    assert duplicates.alike(1) == []
    assert duplicates.once_alike(1) == [0]
    assert duplicates.once_alike(0) == [1]
    assert duplicates.once_alike(2) == []


def test_duplicates_are_believed_in_once_two_have_stayed_so_and_never_again_when_two_have_parted() -> None:
    duplicates = Duplicates()
    assert not duplicates.hold
    duplicates.compare(rising(0.7, 8), rising(0.7, 8))
    assert duplicates.hold
    duplicates.compare(rising(0.7, 8), Curve([*pairs(rising(0.7, 7)), (8, 0.9)]))
    assert not duplicates.hold
    duplicates.compare(rising(0.7, 8), rising(0.7, 8))
    assert not duplicates.hold


def test_a_copy_is_known_by_all_that_became_of_its_original() -> None:
    space = Space(x=linear(0.0, 1.0))
    observations = ((1, 0.3), (4, 0.6), (10, 0.8))
    original = Outcome(trial=0, point=(0.2,), state="completed", score=0.8, steps=10, observations=observations)
    copy = Outcome(
        trial=1, point=(0.3,), state="pruned", score=0.4, steps=2, observations=((1, 0.3), (2, 0.4)), duplicate_of=0
    )
    (_, known) = Ledger([original, copy]).surrogate(space).informative
    assert (known.trial, known.point, known.score, known.observations) == (1, (0.3,), 0.8, observations)
    gone = Outcome(trial=0, point=(0.2,), state="diverged", score=None, steps=10)
    (_, known) = Ledger([gone, copy]).surrogate(space).informative
    assert known.state == "diverged"


# ── a whole sweep ────────────────────────────────────────────────────────────────────────────────────────────────────

_SPACE = Space(rate=linear(0.0, 1.0), unused=linear(0.0, 1.0), batch=choice(32, 64))


class _Count:
    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


def rounds(run: tuner.Run) -> None:
    """Looks at the rate by tenths alone."""
    run.state(count := _Count())
    rate = round(run.params["rate"], 1)
    for _ in run.steps(64):
        count.steps += 1
        run.report(score=(1 - (rate - 0.7) ** 2) * (1 - math.exp(-count.steps / (3 + rate))))


sweep = usually(rounds, _SPACE, budget_steps=10_000, clock="virtual", parallel=1)


def restored(state: StudyState) -> Caviar:
    """The policy of a coordinator that takes this study up again."""
    policy = Caviar(
        space=_SPACE, seed=0, proposer=CoarseToFineSampler(), stopping=FreezeThaw(), limits=Limits(trials=70)
    )
    policy.restore(state)
    return policy


@pytest.mark.long
def test_where_a_function_rounds_its_settings_hardly_a_training_is_done_twice(tmp_path: Path) -> None:
    study = sweep(tmp_path, trials=60)
    trials = study.trials
    copied = trials[trials["why"].str.contains("to the last digit its curve so far is that of trial")]
    assert len(copied) >= 20
    assert set(copied["state"]) == {"pruned"}
    assert copied["steps"].median() <= 2
    assert study.best is not None
    assert round(study.best.params["rate"], 1) == 0.7
    whole = trials.loc[trials["state"] == "completed", "params.rate"].round(1)
    assert len(whole) <= whole.nunique() + 2


def test_settings_that_act_late_are_not_taken_for_copies(tmp_path: Path) -> None:
    def late(run: tuner.Run) -> None:
        """The seed changes nothing, and the rate falls at a step of its own."""
        run.state(count := _Count())
        for _ in run.steps(64):
            count.steps += 1
            after = max(0, count.steps - run.params["drop"])
            run.report(score=1 - math.exp(-count.steps / 20) + 0.01 * after)

    study = tuner.sweep(
        late,
        Space(drop=integer(30, 60)),
        name="night",
        objective="score",
        results=tmp_path,
        progress="off",
        trials=31,
        executor="local",
        clock="virtual",
        parallel=1,
    )
    assert not study.trials["why"].str.contains("to the last digit").any()
    assert study.best is not None
    assert study.best.params["drop"] <= 33


@pytest.mark.long
def test_a_sweep_taken_up_again_knows_the_copies_it_had(tmp_path: Path) -> None:
    study = sweep(tmp_path, trials=60)
    policy = restored(study.state)
    said = {
        trial.trial: int(found.group(1))
        for trial in study.state.trials
        if (found := re.search(r"to the last digit its curve so far is that of trial (\d+)", trial.why))
    }
    assert len(said) >= 10
    assert {trial: policy.search.ledger.of(trial).duplicate_of for trial in said} == said


def test_a_trial_that_failed_says_nothing_of_those_like_it(tmp_path: Path) -> None:
    failed: list[int] = []

    def breaks(run: tuner.Run) -> None:
        run.state(count := _Count())
        for _ in run.steps(8):
            count.steps += 1
            run.report(score=math.sqrt(count.steps))
            if count.steps == 3 and not failed:
                failed.append(3)
                raise OSError("the disk is away for a moment")

    study = tuner.sweep(
        breaks,
        Space(unused=linear(0.0, 1.0)),
        name="night",
        objective="score",
        results=tmp_path,
        progress="off",
        trials=8,
        executor="local",
        clock="virtual",
        parallel=1,
        failures_in_a_row=9,
    )
    counts = study.trials["state"].value_counts()
    assert counts["failed"] == 1
    assert counts["completed"] >= 1


@pytest.mark.long
def test_a_sweep_taken_up_again_knows_a_copy_of_a_later_trial(tmp_path: Path) -> None:
    study = sweep(tmp_path, trials=60)
    policy = restored(study.state)
    copy = next(outcome for outcome in policy.search.ledger if outcome.duplicate_of is not None)
    assert copy.duplicate_of is not None
    later = study.state
    later.trials[copy.trial], later.trials[copy.duplicate_of] = (
        later.trials[copy.duplicate_of],
        later.trials[copy.trial],
    )
    ahead, behind = later.trials[copy.trial], later.trials[copy.duplicate_of]
    ahead.trial, behind.trial = copy.trial, copy.duplicate_of
    again = restored(later)
    assert again.search.ledger.of(copy.duplicate_of).duplicate_of == copy.trial
