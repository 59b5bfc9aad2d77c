"""The tree of one run: every segment it trained, which branch counts, and what was given up on the way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tuner.record.curve import Curve
from tuner.record.events import CheckpointSaved, SegmentOpened, TrialEnded
from tuner.record.recipe import Recipe, Schedule
from tuner.record.reports import unpack_reports
from tuner.record.trial import Segment

if TYPE_CHECKING:
    from tuner.record.reader import StudyReader


@dataclass(frozen=True, kw_only=True)
class TrainedSegment:
    """A segment with everything it reported, given up or not, by the score's name; `to_step` is how far it came."""

    segment: Segment
    recipe: Recipe
    at: float
    to_step: int
    scores: Mapping[str, Curve]

    @property
    def number(self) -> int:
        """The segment's number."""
        return self.segment.segment

    @property
    def from_step(self) -> int:
        """The step it began after."""
        return self.segment.from_step


@dataclass(frozen=True, kw_only=True)
class Span:
    """What lies beyond `after`, up to and with `to`, of one segment."""

    trained: TrainedSegment
    after: int
    to: int

    def points(self, name: str) -> Iterator[tuple[int, float]]:
        """The steps and values of one score."""
        curve = self.trained.scores.get(name, Curve())
        return (pair for pair in zip(curve.steps, curve.scores, strict=True) if self.after < pair[0] <= self.to)


Branch = tuple[Span, ...]
"""Spans from the beginning of the run on, each where the one before it ends."""


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """Where a run left the branch it was on: `given_up` is what lies beyond, `trained` what was trained instead."""

    trained: TrainedSegment
    given_up: Branch

    @property
    def from_step(self) -> int:
        """The step at which it left."""
        return self.given_up[-1].to

    @property
    def cause(self) -> str:
        """Why: revert, retry or thaw."""
        return self.trained.segment.cause


@dataclass(frozen=True, kw_only=True)
class Change:
    """One parameter whose value or schedule is another from a step on."""

    parameter: str
    before: Any
    after: Any
    was: Schedule | None
    becomes: Schedule | None


class Tree:
    """All that one run has trained."""

    def __init__(self, segments: tuple[TrainedSegment, ...]) -> None:
        """Use `Tree.of`; segments stand in the order they began, each numbered by its place."""
        self.segments = segments

    @classmethod
    def of(cls, study: StudyReader, trial: int = 0) -> Tree:
        """The tree of one trial, by its records."""
        found = study.trial(trial)
        began = {each.segment: each.at for each in study.records(SegmentOpened) if each.trial == trial}
        scores: dict[int, dict[str, Curve]] = defaultdict(lambda: defaultdict(Curve))
        reached = {segment.segment: segment.from_step for segment in found.segments}
        for saved in study.records(CheckpointSaved, TrialEnded):
            if saved.trial == trial and saved.segment in reached:
                reached[saved.segment] = max(reached[saved.segment], saved.step)
        for flush in study.reported(trial):
            if flush.segment in reached:  # else it began after the fold was taken
                reached[flush.segment] = max(reached[flush.segment], flush.last_step)
                curves = scores[flush.segment]
                for step, name, value, _ in unpack_reports(flush):
                    curves[name].add(step, value)
        for segment in found.segments:
            if segment.parent is not None:
                reached[segment.parent] = max(reached[segment.parent], segment.from_step)
        if found.segments:
            reached[found.head.segment] = max(reached[found.head.segment], found.steps)
        return cls(
            tuple(
                TrainedSegment(
                    segment=segment,
                    recipe=found.recipe_of(segment),
                    at=began[segment.segment],
                    to_step=reached[segment.segment],
                    scores=dict(scores[segment.segment]),
                )
                for segment in found.segments
            )
        )

    def branch(self, tip: int | None = None) -> Branch:
        """The way to the end of a segment; to the newest one's, which is the head, unless told."""
        spans: list[Span] = []
        number: int | None = len(self.segments) - 1 if tip is None else tip
        limit: int | None = None
        while number is not None and number >= 0:
            trained = self.segments[number]
            to = trained.to_step if limit is None else limit
            spans.append(Span(trained=trained, after=trained.from_step, to=max(to, trained.from_step)))
            limit, number = trained.from_step, trained.segment.parent
        return tuple(reversed(spans))

    def rollbacks(self) -> list[Rollback]:
        """Every time the run left its branch: it went back, or began again where its last checkpoint lay."""
        branches = [(trained, self.branch(trained.number)) for trained in self.segments]
        left = ((new, self._beyond(before, after)) for (_, before), (new, after) in pairwise(branches))
        return [Rollback(trained=new, given_up=given_up) for new, given_up in left if given_up]

    def abandoned(self) -> list[Rollback]:
        """The rollbacks whose steps are given up to this day, each step once: undoing a revert brings them back."""
        found: list[Rollback] = []
        counted = self.branch()
        for rollback in reversed(self.rollbacks()):
            if still := self._beyond(rollback.given_up, counted):
                found.append(Rollback(trained=rollback.trained, given_up=still))
                counted = (*counted, *still)
        return found[::-1]

    def value_at(self, branch: Branch, name: str, step: int) -> float | None:
        """The last value of a score at or before a step of a branch, or None."""
        for span in reversed(branch):
            if span.after <= step:
                points = [value for at, value in span.points(name) if at <= step]
                if points:
                    return points[-1]
        return None

    def changes(self, new: TrainedSegment) -> list[Change]:
        """What is set otherwise in a segment than just before it began, whatever it began from."""
        if not new.number:
            return []
        old = self.segments[new.number - 1]
        left = new.from_step if new.segment.cause == "adjust" else old.to_step
        before, after = old.recipe.at(left), new.recipe.at(new.from_step)
        was, becomes = old.recipe.schedules, new.recipe.schedules
        return [
            Change(
                parameter=name, before=before.get(name), after=after[name], was=was.get(name), becomes=becomes.get(name)
            )
            for name in after
            if before.get(name) != after[name] or _shape(was.get(name)) != _shape(becomes.get(name))
        ]

    def names(self) -> list[str]:
        """The scores reported, in the order they were first heard of."""
        return list(dict.fromkeys(name for trained in self.segments for name in trained.scores))

    @staticmethod
    def _beyond(branch: Branch, other: Branch) -> Branch:
        """The spans of a branch that do not lie on another."""
        shared: dict[int, int] = {}
        for span in other:
            shared[span.trained.number] = max(span.to, shared.get(span.trained.number, 0))
        left = []
        for span in branch:
            after = max(span.after, shared.get(span.trained.number, span.after))
            if after < span.to:
                left.append(Span(trained=span.trained, after=after, to=span.to))
        return tuple(left)


def _shape(schedule: Schedule | None) -> tuple[Any, ...] | None:
    """What of a schedule is the same however it is rescaled."""
    return None if schedule is None else (schedule.shape, schedule.rate, schedule.every, schedule.over)
