"""The colours of scores: from pale to strong as they get better, and the best trial in a colour of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.views.pictures.diagram import INKS, Ink

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_POOREST = 0.25  # of the scores share the palest colour, so that a few bad ones do not take all the others


def score_of(trial: Trial) -> float:
    """The trial's best score; nan where there is none, or it diverged."""
    return math.nan if trial.best_score is None or trial.state == "diverged" else trial.best_score


def best_first(study: StudyState, trials: Sequence[Trial]) -> list[Trial]:
    """The trials by their best score; those without one last, in the order they began."""

    def place(trial: Trial) -> tuple[bool, float, int]:
        score = score_of(trial)
        known = math.isfinite(score)
        return not known, -study.signed(score) if known else 0.0, trial.trial

    return sorted(trials, key=place)


@dataclass(frozen=True)
class Colours:
    """What colour each trial of a search is drawn in."""

    study: StudyState
    ink: Ink

    def of(self, trials: Sequence[Trial]) -> list[str]:
        """A colour a trial: by the rank of its score, since good scores lie close together."""
        signed = np.array([self.study.signed(score_of(trial)) for trial in trials], dtype=np.float64)
        known = np.sort(signed[np.isfinite(signed)])
        if not len(known):
            return [self.ink.given_up] * len(trials)
        rank = (np.searchsorted(known, signed, "left") + np.searchsorted(known, signed, "right")) / (2 * len(known))
        shade = np.clip((rank - _POOREST) / (1 - _POOREST), 0.0, 1.0)
        ramp = _ramp(self.ink.scores)
        colours = [ramp[round(each * (len(ramp) - 1))] for each in np.where(np.isfinite(signed), shade, 0.0)]
        return [
            self.ink.best if trial is self.study.best else colour if math.isfinite(value) else self.ink.given_up
            for trial, colour, value in zip(trials, colours, signed, strict=True)
        ]


def _ramp(stops: Sequence[str], count: int = 64) -> list[str]:
    """Colours between the stops."""
    rgb = np.array([[int(stop[at : at + 2], 16) for at in (1, 3, 5)] for stop in stops], dtype=np.float64)
    where, places = np.linspace(0, len(stops) - 1, count), np.arange(len(stops))
    channels = np.stack([np.interp(where, places, rgb[:, channel]) for channel in range(3)], axis=1)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in channels.round().astype(int).tolist()]


def _palette(ink: Ink) -> Iterator[str]:
    """Every colour that pictures of a theme are drawn in."""
    for each in asdict(ink).values():
        yield from (each,) if isinstance(each, str) else _ramp(each)


INKS_IN_THE_DARK: Mapping[str, str] = dict(zip(_palette(INKS["light"]), _palette(INKS["dark"]), strict=True))
"""What each colour of the light theme is in the dark one: the same picture in another theme has other colours alone."""
