"""The likely values that a space names, beside the values that have turned out best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuner.errors import SettingsError
from tuner.record.leaders import leaders
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.samplers.prior import Peak
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.values.numbers import setting

_LEADERS = 5
_MOSTLY = 0.5


@dataclass(frozen=True, kw_only=True)
class Belief:
    """A value said to be likely and the `best` trial's; of the best `leaders`, `away` lie elsewhere."""

    parameter: str
    likely: Any
    best: Any
    near: bool
    away: int
    leaders: int

    @property
    def sentence(self) -> str:
        """Whether the best is where it was said to be likely."""
        said = f"{self.parameter} {setting(self.likely)} was said to be likely"
        if self.near:
            return f"{said}, and the best trial has {setting(self.best)}."
        others = f"{said}, but the best trial has {setting(self.best)}"
        if self.away <= _MOSTLY * self.leaders:
            return f"{others}; of the best {self.leaders} most lie near."
        return (
            f"{others}, and {self.away} of the best {self.leaders} lie elsewhere: next time, leave it out or move it."
        )


def beliefs_of(study: StudyState, space: Space, ranked: Sequence[Trial] | None = None) -> tuple[Belief, ...]:
    """What became of each likely value that the best trial has a setting for.

    `ranked`: the leaders, where they are at hand.
    """
    best = leaders(study, _LEADERS) if ranked is None else ranked[:_LEADERS]
    found = []
    for name, dimension in space.items():
        if dimension.likely is None or not best or name not in best[0].settings:
            continue
        having = [trial.settings[name] for trial in best if name in trial.settings]
        near = [_near(dimension, value) for value in having]
        found.append(
            Belief(
                parameter=name,
                likely=dimension.likely,
                best=having[0],
                near=near[0],
                away=near.count(False),
                leaders=len(near),
            )
        )
    return tuple(found)


def _near(dimension: Parameter | Choice, value: Any) -> bool:
    """Whether a value lies where draws around the likely one do; one from outside the space does not."""
    try:
        return Peak.of(dimension).near(dimension.to_unit(value))
    except SettingsError:
        return False
