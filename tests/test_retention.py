from __future__ import annotations

import math
import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tuner.coordinator.retention import CheckpointFacts, evict, retain


def facts(sequence: int, **changes: object) -> CheckpointFacts:
    plain = CheckpointFacts(
        checkpoint=sequence,
        trial=0,
        sequence=sequence,
        step=sequence,
        bytes=100,
        score=None,
        trial_score=None,
        trial_alive=False,
        pinned=False,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def dropped(drops: object) -> list[int]:
    return [each.checkpoint for each in drops]  # type: ignore[attr-defined]


scores = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.integers(0, 3).map(float)


@st.composite
def histories(draw: st.DrawFn) -> list[CheckpointFacts]:
    """Checkpoints of a few trials in the order written; steps go backwards now and then."""
    count = draw(st.integers(0, 40))
    trials = {trial: (draw(scores), draw(st.booleans())) for trial in range(4)}
    history = []
    for sequence in range(count):
        trial = draw(st.integers(0, 3))
        history.append(
            facts(
                sequence,
                trial=trial,
                step=draw(st.integers(0, 300)),
                bytes=draw(st.integers(0, 1000)),
                score=draw(scores),
                trial_score=trials[trial][0],
                trial_alive=trials[trial][1],
                pinned=draw(st.integers(0, 5)) == 0,
            )
        )
    return history


def test_the_last_three_the_best_two_and_a_milestone_in_every_octave_stay() -> None:
    history = [facts(step, score=1.0 if step in (21, 37) else 0.0) for step in range(1, 51)]
    kept = {each.step for each in history} - {*dropped(retain(history))}
    assert kept == {1, 3, 7, 15, 31} | {21, 37} | {48, 49, 50}


def test_rotation_follows_the_order_written_and_not_the_step() -> None:
    before_revert = [facts(sequence, step=1000 + sequence) for sequence in range(5)]  # one octave
    after_revert = [facts(sequence, step=600 + sequence) for sequence in range(5, 8)]
    assert dropped(retain([*before_revert, *after_revert])) == [0, 1, 2, 3, 4]


def test_a_pinned_checkpoint_is_neither_rotated_nor_evicted() -> None:
    history = [facts(sequence, step=600 + sequence, pinned=sequence == 2) for sequence in range(9)]
    assert 2 not in dropped(retain(history))
    assert 2 not in dropped(evict(history, budget_bytes=0))


def test_each_drop_says_why() -> None:
    history = [facts(sequence, step=600 + sequence, score=sequence / 10) for sequence in range(5)]
    (first, *_) = retain(history)
    assert first.why.startswith("rotated: step 600 is the 5th newest")
    assert "the last 3" in first.why
    assert "ranks 5th by score" in first.why
    assert "the best 2" in first.why
    assert "step 604" in first.why


def test_of_equal_scores_the_newest_are_the_best_and_nan_is_no_score() -> None:
    history = [facts(sequence, step=600 + sequence, score=0.5) for sequence in range(4)]
    history += [facts(4, step=700, score=math.nan), facts(5, step=701, score=None), facts(6, step=702)]
    assert dropped(retain(history, last=3, best=2)) == [0, 1]


@given(histories())
def test_rotating_after_every_save_keeps_what_rotating_once_keeps(history: list[CheckpointFacts]) -> None:
    alive: list[CheckpointFacts] = []
    for each in history:
        alive.append(each)
        gone = {*dropped(retain(alive))}
        alive = [each for each in alive if each.checkpoint not in gone]
    gone = {*dropped(retain(history))}
    assert alive == [each for each in history if each.checkpoint not in gone]


@given(histories(), st.randoms())
def test_rotation_does_not_depend_on_the_order_given(history: list[CheckpointFacts], shuffler: random.Random) -> None:
    shuffled = shuffler.sample(history, len(history))
    assert retain(shuffled) == retain(history)


def test_nothing_is_evicted_within_the_budget() -> None:
    assert evict([facts(0), facts(1)], budget_bytes=200) == []
    assert evict([], budget_bytes=0) == []


def test_the_worst_ended_trial_is_evicted_first_and_its_best_checkpoint_last() -> None:
    worst = [facts(sequence, trial=1, trial_score=0.1, score=0.1 if sequence == 0 else 0.0) for sequence in range(3)]
    middle = [facts(3, trial=2, trial_score=0.5)]
    winner = [facts(4, trial=3, trial_score=0.9, score=0.9), facts(5, trial=3, trial_score=0.9, score=0.8)]
    running = [facts(sequence, trial=4, trial_score=0.0, trial_alive=True) for sequence in (6, 7)]
    everything = [*worst, *middle, *winner, *running]
    assert dropped(evict(everything, budget_bytes=0)) == [1, 2, 0, 3, 5, 6]
    assert dropped(evict(everything, budget_bytes=550)) == [1, 2, 0]


def test_an_eviction_tells_the_budget_and_the_rank() -> None:
    history = [facts(trial, trial=trial, bytes=10**9, trial_score=-float(trial)) for trial in range(3)]
    (only,) = evict(history, budget_bytes=2 * 10**9)
    assert "disk budget 2 GB" in only.why
    assert "trial 2 ranks 3rd of 3" in only.why


def test_trials_without_a_score_are_let_go_of_first() -> None:
    history = [facts(0, trial=0, trial_score=math.nan), facts(1, trial=1, trial_score=-1e9), facts(2, trial=2)]
    first, second = evict(history, budget_bytes=0)
    assert (first.checkpoint, second.checkpoint) == (2, 0)
    assert first.why.endswith("trial 2 has no score")


@given(histories(), st.integers(0, 5000))
def test_eviction_spares_what_is_pinned_or_needed_and_takes_no_more_than_it_must(
    history: list[CheckpointFacts], budget: int
) -> None:
    gone = dropped(evict(history, budget_bytes=budget))
    taken = [each for each in history if each.checkpoint in gone]
    newest = {each.trial: each for each in history}
    assert len(gone) == len({*gone})
    assert not any(each.pinned for each in taken)
    assert not any(each.trial_alive and each == newest[each.trial] for each in taken)
    if taken:
        last = next(each for each in history if each.checkpoint == gone[-1])
        rest = sum(each.bytes for each in history if each not in taken)
        assert rest + last.bytes > budget
