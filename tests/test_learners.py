"""The tally of settings that learn at all, told from how far training raises their scores."""

from __future__ import annotations

from tuner.policy.proposals import Outcome
from tuner.surrogate.learners import Learners


def seen(trial: int, score: float, rise: float | None = None, steps: int = 2) -> Outcome:
    return Outcome(trial=trial, point=(0.5,), state="paused", score=score, steps=steps, rise=rise)


def diverged(trial: int) -> Outcome:
    return Outcome(trial=trial, point=(0.5,), state="diverged", score=None, steps=1)


def tally(*outcomes: Outcome) -> Learners:
    learners = Learners()
    for outcome in outcomes:
        learners.put(None, outcome)
    return learners


def test_settings_learn_where_training_raises_the_score_by_a_part_of_all_there_is_between_worst_and_best() -> None:
    learners = tally(seen(0, 0.9, 0.5), seen(1, 0.12, 0.02), seen(2, 0.1, 0.0), seen(3, 0.2, 0.1))
    assert learners.learned == 2
    assert learners.words == "2 of 4 settings learn at all"


def test_one_that_diverged_was_tried_and_does_not_learn() -> None:
    learners = tally(seen(0, 0.9, 0.5), diverged(1), diverged(2))
    assert (learners.learned, learners.tried) == (1, 3)
    assert learners.words == "1 of 3 settings learns at all"
    assert learners.too_few
    assert learners.rare


def test_where_no_score_could_rise_nothing_is_said() -> None:
    learners = tally(*(seen(trial, trial / 10) for trial in range(10)), diverged(10))
    assert not learners.too_few
    assert not learners.rare


def test_three_that_learn_are_enough_and_rare_is_told_by_the_share() -> None:
    learners = tally(*(seen(trial, 0.9, 0.5) for trial in range(3)))
    assert not learners.too_few
    assert not learners.rare
    for trial in range(3, 20):
        learners.put(None, seen(trial, 0.1, 0.0))
    assert not learners.too_few
    assert learners.rare


def test_where_runs_differ_by_luck_rises_small_beside_that_do_not_make_learning_rare() -> None:
    lucky = [0.2, 1.1, -0.4, 0.7, 1.4, -0.1, 0.5, 0.9, -0.6, 1.2]
    learners = tally(*(seen(trial, score, 0.15 if trial == 3 else 0.07) for trial, score in enumerate(lucky)))
    assert learners.learned == 1  # a twentieth of what luck makes of the scores is more than training raises most
    assert not learners.rare
    for trial in (10, 11):
        assert learners.too_few
        learners.put(None, seen(trial, trial / 20))
    assert not learners.too_few  # twelve first scores say that it is not where all begin that most of them stay


def test_until_one_learns_all_may_stand_where_all_begin_however_their_scores_differ() -> None:
    learners = tally(*(seen(trial, 0.1 + trial / 1000, 0.0) for trial in range(20)))
    assert learners.too_few
    assert learners.rare


def test_where_most_stay_where_all_begin_learning_is_rare_for_all_that_went_far_down() -> None:
    stuck = [seen(trial, -0.7 + trial / 1000, 0.001) for trial in range(10)]
    fallen = [seen(trial, -2.0 + trial / 50, 0.0) for trial in range(10, 14)]
    assert tally(*stuck, *fallen, *(seen(trial, -0.4, 0.3) for trial in range(14, 17))).rare


def test_one_terrible_score_does_not_make_all_others_look_as_if_they_stood_still() -> None:
    risen = [seen(trial, score, 1.0) for trial, score in enumerate((-0.3, -0.5, -0.8, -1.0))]
    assert tally(*risen, seen(4, -1e6, 0.0)).learned == 4


def test_what_a_trial_is_known_by_is_replaced_not_counted_again() -> None:
    first = [seen(0, 0.1), seen(1, 0.1, 0.0), seen(2, 0.3, 0.2)]
    learners = tally(*first)
    later = [seen(0, 0.8, 0.7, steps=8), diverged(1), seen(2, 0.3, 0.2)]
    for known, outcome in zip(first, later, strict=True):
        learners.put(known, outcome)
    fresh = tally(*later)
    assert (learners.learned, learners.tried, learners.steps) == (fresh.learned, fresh.tried, fresh.steps) == (2, 3, 11)
