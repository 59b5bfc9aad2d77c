"""A trial as far as it has come, with its segments and its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.record.curve import Curve
from tuner.record.events import ENDED, REPEATING, Cause, Purpose, Settings, TrialState
from tuner.record.recipe import Recipe


@dataclass(slots=True)
class Segment:
    """One constant recipe from one step on, with a parent."""

    segment: int
    parent: int | None
    from_step: int
    checkpoint: int | None
    cause: Cause
    by: str
    why: str
    params: Settings | None
    schedules: Mapping[str, Any] | None
    request: str


@dataclass(slots=True)
class Checkpoint:
    """A checkpoint as recorded, and whether its files are still kept."""

    checkpoint: int
    trial: int
    segment: int
    step: int
    kind: str
    bytes: int
    path: str
    sha256: str
    kept: bool = True


@dataclass(slots=True)
class Trial:
    """One model being trained, as far as it has come."""

    trial: int
    purpose: Purpose
    round: int | None
    parent: str | None
    seed: int
    params: Settings
    seen: int
    memo: Any
    created_at: float
    state: TrialState = "waiting"
    why: str = ""
    segments: tuple[Segment, ...] = ()
    steps: int = 0
    best_step: int | None = None
    best_score: float | None = None
    started: float | None = None
    resumed_at: float | None = None
    seconds: float = 0.0
    node: str = ""
    worker: str = ""
    error: str = ""
    ended_at: float | None = None
    curve: Curve | None = None
    checkpoints: tuple[int, ...] = ()
    stands_still: bool = False
    frozen: bool = False
    """Whether it is paused because the stopping rule said so."""
    planned: int | None = None
    """How many steps its function means to take, where it has said so."""
    delay: str = ""
    """What it waits for in its worker's hands, such as a checkpoint whose store is away, and why; empty: nothing."""
    resumable: bool | None = None
    """Whether its function has told how to save its state; None while that is not known."""

    @property
    def head(self) -> Segment:
        """The segment that counts."""
        return self.segments[-1]

    @property
    def ended(self) -> bool:
        """Whether the trial is over."""
        return self.state in ENDED

    @property
    def repeats(self) -> bool:
        """Whether it trains the settings of an earlier trial again, and so is no part of the search."""
        return self.purpose in REPEATING

    @property
    def settings(self) -> Settings:
        """The values in force on the head."""
        return self.head.params or self.params if self.segments else self.params

    @property
    def recipe(self) -> Recipe:
        """Values and schedules in force on the head."""
        return self.recipe_of(self.head) if self.segments else Recipe.constant(self.params)

    def recipe_of(self, segment: Segment) -> Recipe:
        """Values and schedules of one segment."""
        return Recipe.from_json({"values": segment.params or self.params, "schedules": segment.schedules or {}})

    def segment(self, number: int) -> Segment:
        """The segment of that number."""
        return next(each for each in self.segments if each.segment == number)

    def path(self) -> list[Segment]:
        """The segments on the head, the first first."""
        on_head = self.head_limits()
        return [segment for segment in self.segments if segment.segment in on_head]

    def head_limits(self) -> dict[int, int | None]:
        """For each segment on the head, the last step that counts there (None: no limit)."""
        limits: dict[int, int | None] = {}
        if not self.segments:
            return limits
        by_number = {segment.segment: segment for segment in self.segments}
        segment: Segment | None = self.segments[-1]
        limit: int | None = None
        while segment is not None:
            limits[segment.segment] = limit
            limit = segment.from_step if limit is None else min(limit, segment.from_step)
            segment = None if segment.parent is None else by_number.get(segment.parent)
        return limits

    def on_head(self, checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
        """Those of its checkpoints that lie on the head, in their order."""
        limits = self.head_limits()
        return [
            each
            for each in checkpoints
            if each.segment in limits and ((limit := limits[each.segment]) is None or each.step <= limit)
        ]


def latest_steps(checkpoints: Sequence[Checkpoint]) -> str:
    """The steps of the last few checkpoints, each once, as a sentence names them."""
    steps = list(dict.fromkeys(each.step for each in checkpoints))
    return ", ".join(map(str, steps[-8:]))
