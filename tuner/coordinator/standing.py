"""The standing of a trial: what the coordinator knows of it beside the record, until it is over."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass


@dataclass(slots=True)
class Standing:
    """How one trial stands with the coordinator."""

    unheard: bool = False
    """Whether its worker may have outlived the coordinator before, and has not been heard of."""
    freezing: bool = False
    """Whether it was told to stand still because the stopping rule says so."""
    suspect: bool = False
    """Whether it may be the one that kills its worker: it trains alone now."""
    failures: int = 0
    """How often its function raised."""
    losses: int = 0
    """How many workers it lost in a row without getting any further."""
    furthest: int = -1
    """The furthest step at which it lost one."""

    def lost(self, step: int) -> None:
        """Its worker was lost at a step."""
        self.losses = 1 if step > self.furthest else self.losses + 1
        self.furthest = max(step, self.furthest)


class Standings:
    """The standing of every trial that has one."""

    def __init__(self) -> None:
        self._of: defaultdict[int, Standing] = defaultdict(Standing)

    def __getitem__(self, trial: int) -> Standing:
        return self._of[trial]

    def forget(self, trial: int) -> None:
        """It is over: should it ever be taken up again, nothing is held against it."""
        self._of.pop(trial, None)

    def is_suspect(self, trial: int) -> bool:
        """Whether it trains alone."""
        return trial in self._of and self._of[trial].suspect

    def is_unheard(self, trial: int) -> bool:
        """Whether its worker may still be there."""
        return trial in self._of and self._of[trial].unheard

    def unheard(self) -> list[int]:
        """The trials whose worker may still be there."""
        return [trial for trial, standing in self._of.items() if standing.unheard]
