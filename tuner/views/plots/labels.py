"""The places of labels above a curve, so that all can be read: each on a line up from its step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_ROWS = 8


@dataclass(frozen=True)
class Spot:
    """Where a label stands: from `left` to `right` in steps, in a row, or in none (-1) where there is no room."""

    left: float
    right: float
    step: float
    row: int

    def meets(self, other: Spot) -> bool:
        """Whether the two texts overlap."""
        return self.row == other.row and self.left < other.right and other.left < self.right

    def crosses(self, other: Spot) -> bool:
        """Whether the line to one's mark runs through the other's text."""
        high, low = (self, other) if self.row > other.row else (other, self)
        return high.row > low.row and low.left < high.step < low.right


def inches(text: str, points: float) -> float:
    """How wide a label is drawn in letters of so many points, with the gap around it."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text.replace("$", r"\$"), size=points).get_extents().width) / 72 + 0.16


def stack(labels: Sequence[tuple[float, float]], limits: tuple[float, float], wide: float) -> list[Spot]:
    """A row for each label (its step and its inches), 0 nearest to the curve; the axes are `wide` inches wide.

    No two texts meet, and where it can be no line crosses one. Taken from the right: a text begins at its own line, so
    those further left pass above.
    """
    placed: dict[int, Spot] = {}
    for at in sorted(range(len(labels)), key=lambda at: -labels[at][0]):
        step, width = labels[at]
        long = (limits[1] - limits[0]) * width / wide
        left = max(limits[0], min(step, limits[1] - long))
        rows = [Spot(left, left + long, step, row) for row in range(MOST_ROWS)]
        free = [each for each in rows if not any(each.meets(other) for other in placed.values())]
        clear = [each for each in free if not any(each.crosses(other) for other in placed.values())]
        placed[at] = next(iter([*clear, *free]), Spot(left, left, step, -1))
    return [placed[at] for at in range(len(labels))]
