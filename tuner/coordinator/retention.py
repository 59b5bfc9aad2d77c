"""The retention of checkpoints, with reasons: by age, score and milestone within a trial, by score across trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from tuner.values.numbers import memory, ordinal


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """What retention needs to know of one whole checkpoint; higher scores are better, whatever the goal."""

    checkpoint: int
    trial: int
    sequence: int  # the order written: after a revert steps go backwards, sequence does not
    step: int
    bytes: int
    score: float | None
    trial_score: float | None
    trial_alive: bool  # running or paused: it may go on from its newest checkpoint
    trial_frozen: bool = False  # paused by the stopping rule: it may be taken up again
    trial_steps: int = 0
    pinned: bool  # by a person, before an adjustment without a verdict, or the parent of a live segment


@dataclass(frozen=True, kw_only=True)
class Drop:
    """A checkpoint to delete, and the reason."""

    checkpoint: int
    why: str


def retain(
    checkpoints: Iterable[CheckpointFacts], *, last: int = 3, best: int = 2, milestones: bool = True
) -> list[Drop]:
    """What each trial may let go of, oldest first.

    Kept are the pinned, the `last` by sequence, the `best` by score, and one milestone, the newest, in every octave of
    steps (1, 2-3, 4-7, 8-15, …). Applied after every save it never drops what it would later have kept. A trial that
    is over needs no `milestones`.
    """
    drops: list[Drop] = []
    for _, group in groupby(sorted(checkpoints, key=lambda each: (each.trial, each.sequence)), lambda each: each.trial):
        trial = list(group)
        newest_first = trial[::-1]
        scored = [each for each in newest_first if _number(each.score) > -math.inf]
        scored.sort(key=lambda each: _number(each.score), reverse=True)  # stable: of equals the newest
        octaves = {each.step.bit_length(): each for each in trial} if milestones else {}
        kept = {each.checkpoint for each in (*newest_first[:last], *scored[:best], *octaves.values())}
        for each in trial:
            if each.pinned or each.checkpoint in kept:
                continue
            age = ordinal(newest_first.index(each) + 1)
            standing = f"ranks {ordinal(scored.index(each) + 1)} by score" if each in scored else "has no score"
            why = f"rotated: step {each.step} is the {age} newest (the last {last} are kept), {standing} "
            why += f"(the best {best} are kept)"
            if octaves:
                why += f", and step {octaves[each.step.bit_length()].step} is its milestone"
            drops.append(Drop(checkpoint=each.checkpoint, why=why))
    return drops


def evict(checkpoints: Sequence[CheckpointFacts], *, budget_bytes: int) -> list[Drop]:
    """What to delete, lowest score first, until the rest fits the budget.

    Ended trials go before live ones, the worst trial first; within a trial the oldest first and its best last. Between
    them go those that the stopping rule has paused: first what is least to train again, since scores at different steps
    do not compare. Never chosen: the pinned, the newest of a trial in training or paused by a person, and the best of
    the best trial; so the rest may exceed the budget.
    """
    excess = sum(each.bytes for each in checkpoints) - budget_bytes
    newest = {each.trial: each for each in sorted(checkpoints, key=lambda each: each.sequence)}
    best = {each.trial: each for each in sorted(checkpoints, key=lambda each: (_number(each.score), each.sequence))}
    worst_first = sorted(newest, key=lambda trial: (_number(newest[trial].trial_score), -trial))
    place = {trial: position for position, trial in enumerate(worst_first)}

    def protected(each: CheckpointFacts) -> bool:
        kept_best = each.trial == worst_first[-1] and each == best[each.trial]
        goes_on = each.trial_alive and not each.trial_frozen
        return each.pinned or kept_best or (goes_on and each == newest[each.trial])

    def order(each: CheckpointFacts) -> tuple[int, int, int, bool, int]:
        standing = 1 if each.trial_frozen else 2 if each.trial_alive else 0
        steps = each.trial_steps if each.trial_frozen else 0
        return (standing, steps, place[each.trial], each == best[each.trial], each.sequence)

    drops: list[Drop] = []
    for each in sorted((each for each in checkpoints if not protected(each)), key=order):
        if excess <= 0:
            break
        excess -= each.bytes
        scored = _number(each.trial_score) > -math.inf
        rank = ordinal(len(place) - place[each.trial])
        standing = f"ranks {rank} of {len(place)} with checkpoints" if scored else "has no score"
        if each.trial_frozen:
            standing = f"is paused after {each.trial_steps} steps, least to train again"
        why = f"evicted: disk budget {memory(budget_bytes)}, trial {each.trial} {standing}"
        drops.append(Drop(checkpoint=each.checkpoint, why=why))
    return drops


def _number(score: float | None) -> float:
    return -math.inf if score is None or math.isnan(score) else score
