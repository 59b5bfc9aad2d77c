"""The winners of one study as the first trials of another: by name, within the other's space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.errors import SettingsError
from tuner.record.events import Settings
from tuner.record.leaders import leaders
from tuner.record.state import StudyState
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.values.numbers import number, setting

WINNERS = 5
"""How many of another study's best trials a search begins with."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """Settings to try first, where they come from, and how they were made to fit."""

    settings: Settings
    why: str


def winners_of(other: StudyState, space: Space, count: int = WINNERS) -> list[WarmStart]:
    """The other study's best settings that stay distinct in this space, best first; what is missing is left to draw.

    A number beyond the space moves to its end. An option that the space has not, and a parameter of another name, are
    left out. Nothing in common, or nothing scored: `SettingsError`.
    """
    best = leaders(other)
    if not best:
        raise SettingsError(
            f"warm_start: no trial of {other.name!r} has a score yet, so it has no winners to begin from. Wait for "
            "one, or leave warm_start out."
        )
    found: list[WarmStart] = []
    for trial in best:
        settings, moved = _fitted(trial.settings, space)
        if settings and all(settings != each.settings for each in found):
            why = "; ".join([f"a winner of {other.name} (trial {trial.trial}, {number(trial.best_score)})", *moved])
            found.append(WarmStart(settings=settings, why=why))
        if len(found) == count:
            break
    if not found:
        raise SettingsError(
            f"warm_start: {other.name!r} and this space have no setting in common. It searched "
            f"{', '.join(best[0].settings)}; this space has {', '.join(space)}. Begin from a study of the same "
            "settings."
        )
    return found


def _fitted(settings: Settings, space: Space) -> tuple[dict[str, Any], list[str]]:
    """What of these settings this space can take, and what had to change."""
    kept: dict[str, Any] = {}
    moved: list[str] = []
    for name in (name for name in space if name in settings):
        value, parameter = settings[name], space[name]
        try:
            kept[name] = parameter.check(value)
        except SettingsError:
            nearest = _nearest(parameter, value)
            if nearest is None:
                moved.append(f"{name} {setting(value)} is nothing that this space tries, and is drawn")
            else:
                kept[name] = nearest
                moved.append(f"{name} {setting(value)} lies outside this space, and becomes {setting(nearest)}")
    return _existing(space, kept), moved


def _existing(space: Space, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Without what does not exist under the settings it depends on, where those are kept too."""
    gone = {
        name
        for name in kept
        for parent, values in (space[name].when or {}).items()
        if parent in kept and kept[parent] not in values
    }
    return {name: value for name, value in kept.items() if name not in gone}


def _nearest(parameter: Parameter | Choice, value: Any) -> Any:
    """The nearest number of the range; None where there is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if isinstance(parameter, Choice) or not is_number:
        return None
    near = round(value) if parameter.type == "integer" else value
    return parameter.check(min(max(near, parameter.low), parameter.high))
