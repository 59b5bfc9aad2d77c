"""The combinations of a space that has few, and which of them were not tried yet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

from tuner.policy.proposals import Point, Proposal
from tuner.record.events import Settings
from tuner.record.state import StudyState
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space

_MOST = 2048  # combinations: of more a search tries a part, and seldom one of them twice


class Combinations:
    """All settings that a small finite space has, by place; those tried are struck off."""

    def __init__(self, space: Space) -> None:
        places = [_places(dimension) for dimension in space.values()]
        points = {_key(space.from_unit(point)): point for point in itertools.product(*places)}
        self.count = len(points)
        """How many there are; settings that differ in parameters that do not exist are one."""
        self._space, self._struck = space, 0
        self._untried = {key: space.to_unit(space.from_unit(point)) for key, point in points.items()}

    @classmethod
    def of(cls, space: Space) -> Combinations | None:
        """Those of this space; None where it has more than a few, or a number that is not whole."""
        sizes = [_size(dimension) for dimension in space.values()]
        return cls(space) if math.prod(sizes) <= _MOST else None

    def untried(self, study: StudyState, proposal: Proposal) -> Proposal | None:
        """The proposal, or the nearest settings that were not tried where these were; None once all were."""
        for trial in study.trials[self._struck :]:
            self.strike(trial.params)
        self._struck = len(study.trials)
        if _key(self._space.from_unit(proposal.point)) in self._untried:
            return proposal
        point = self.nearest(proposal.point)
        why = f"{proposal.why}; tried before, so the nearest settings that were not"
        return None if point is None else replace(proposal, point=point, why=why)

    def strike(self, settings: Settings) -> None:
        """These were tried."""
        self._untried.pop(_key(settings), None)

    def nearest(self, point: Sequence[float]) -> Point | None:
        """Of what was not tried the settings nearest to a point; None once all were."""
        return min(self._untried.values(), key=lambda other: _apart(point, other), default=None)


def _size(dimension: Parameter | Choice) -> float:
    if isinstance(dimension, Choice):
        return len(dimension.options)
    return dimension.high - dimension.low + 1 if dimension.type == "integer" else math.inf


def _places(dimension: Parameter | Choice) -> list[float]:
    if isinstance(dimension, Choice):
        return [dimension.to_unit(option) for option in dimension.options]
    return [dimension.to_unit(number) for number in range(int(dimension.low), int(dimension.high) + 1)]


def _key(settings: Settings) -> str:
    return repr(sorted(settings.items()))


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    """Squared distance, over the parameters that both have."""
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True) if not math.isnan(a - b))
