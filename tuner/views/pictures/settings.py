"""Two settings of a sweep against one another, each on its own scale, with the boxes of its rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tuner.record.round import Round
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.values.numbers import count, scored, setting
from tuner.views.pictures.axis import SettingAxis, set_axis
from tuner.views.pictures.colours import Colours, best_first, score_of
from tuner.views.pictures.diagram import (
    FONT,
    INKS,
    MOST_ROWS,
    SOURCE,
    Diagram,
    Ink,
    Rows,
    Theme,
    blank,
    item,
    numbered,
    placed,
    short,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_HIGH = 380
_MOST_BOXES = 4
_ORDER = {"first": 0, "second": 1, "third": 2, None: 3}
_LARGE, _SMALL, _STAR = 11.0, 4.0, 18.0  # pixels: of a mark among few trials, among thousands, and of the best


def axes_of(space: Space, x: str = "", y: str = "", by_importance: Sequence[str] = ()) -> tuple[str, str]:
    """The settings of the two axes: those named, else those that matter most, else those to be tuned first.

    The second is empty where the space has one setting alone.
    """
    declared = sorted(space, key=lambda name: (not isinstance(space[name], Parameter), _ORDER[space[name].priority]))
    order = [name for name in (*by_importance, *declared) if name in space]
    across = x if x in space else next(name for name in order if name != y or len(space) == 1)
    up = y if y in space and y != across else next((name for name in order if name != across), "")
    return across, up


def settings(study: StudyState, space: Space, across: str, up: str, theme: Theme = "light") -> Diagram:
    """A mark a trial, coloured by its score; with one setting alone the score is the other axis."""
    trials = best_first(study, study.searched())[::-1]  # the best is drawn on top
    name = f"Settings of {study.name}: {across} and {up or study.objective}"
    x, y = SettingAxis(space[across]), SettingAxis(space[up]) if up else None
    places = x.places(trials)
    heights = np.array([score_of(trial) for trial in trials]) if y is None else y.places(trials)
    seen = np.flatnonzero(np.isfinite(places) & np.isfinite(heights))
    if not len(seen):
        return Diagram(name="settings", label=name, shown="No trial has begun yet.", item=None)
    boxes = _boxes(study) if y is not None else []
    shown = f"{len(seen):,} of {count(len(trials), 'trial')}"
    if len(seen) < len(trials):
        absent = [name for name, at in ((across, places), (up or "score", heights)) if not np.isfinite(at).all()]
        shown += f"; the others have no {' or no '.join(absent)}"
    if boxes:
        numbers = ", ".join(str(each.round) for each in boxes)
        told = (
            f"the box of round {numbers}" if len(boxes) == 1 else f"the later the firmer: the boxes of rounds {numbers}"
        )
        shown += f"; dashed, {told}"
    drawing = _Drawing(study, INKS[theme], x, y, [trials[at] for at in seen], places[seen], heights[seen])
    return Diagram(
        name="settings",
        label=f"{name}. {shown}.",
        shown=f"{shown}.",
        item=item(drawing.figure(boxes)),
        table=_table(study, across, up),
    )


@dataclass(frozen=True)
class _Drawing:
    """The marks of one picture, in the order drawn."""

    study: StudyState
    ink: Ink
    x: SettingAxis
    y: SettingAxis | None
    trials: Sequence[Trial]
    places: Floats
    heights: Floats

    def figure(self, boxes: Sequence[Round]) -> Any:
        from bokeh.models import HoverTool

        kinds = {"x_axis_type": self.x.kind, "y_axis_type": self._kind_up}
        plot = blank(self.ink, height=_HIGH, tools="tap,box_select", **kinds, **self._ranges())
        set_axis(plot, "x", self.x)
        if self.y is None:
            plot.yaxis.axis_label = self.study.objective
        else:
            set_axis(plot, "y", self.y)
            for at, box in enumerate(boxes):
                self._draw_box(plot, self.y, box, (at + 1) / len(boxes), named=at in (0, len(boxes) - 1))
        told = [("trial", "@trial"), ("best", "@best"), ("state", "@state"), _told(self.x, "x", "across")]
        told += [] if self.y is None else [_told(self.y, "y", "up")]
        plot.add_tools(
            HoverTool(renderers=[self._draw(plot)], tooltips=told, formatters={"@x": "printf", "@y": "printf"})
        )
        return plot

    @property
    def _kind_up(self) -> str:
        return "linear" if self.y is None else self.y.kind

    def _ranges(self) -> dict[str, tuple[float, float]]:
        across, up = self.x.limits, None if self.y is None else self.y.limits
        ranges = {"x_range": (min(across[0], *self.places), max(across[1], *self.places))}
        if up is not None:
            ranges["y_range"] = (min(up[0], *self.heights), max(up[1], *self.heights))
        return ranges

    def _marker(self, trial: Trial) -> str:
        if trial is self.study.best:
            return "star"
        return "x" if trial.state in ("diverged", "failed") else "circle"

    def _draw(self, plot: Any) -> Any:
        """All marks in one source: what is selected stands out from all others."""
        from bokeh.models import ColumnDataSource

        markers = [self._marker(trial) for trial in self.trials]
        ranges = self._ranges()
        up = ranges.get("y_range", (float(np.min(self.heights)), float(np.max(self.heights))))
        size = float(np.clip(_LARGE - 2.5 * np.log10(len(markers) / 30), _SMALL, _LARGE))
        source = ColumnDataSource(
            name=SOURCE,
            data={
                "x": placed(self.places, ranges["x_range"], self.x.kind),
                "y": placed(self.heights, up, self._kind_up),
                "trial": numbered([trial.trial for trial in self.trials]),
                "marker": markers,
                "size": short([_STAR if marker == "star" else size for marker in markers]),
                "colour": Colours(self.study, self.ink).of(self.trials),
                "rim": [self.ink.muted if marker == "x" else self.ink.paper for marker in markers],
                "best": [scored(trial.best_score, self.study.spread(trial)) for trial in self.trials],
                "state": [trial.state for trial in self.trials],
                **_options(self.x, "across", self.trials),
                **({} if self.y is None else _options(self.y, "up", self.trials)),
            },
        )
        look: dict[str, Any] = dict(fill_color="colour", line_color="rim", line_width=1.0, nonselection_alpha=0.08)
        return plot.scatter("x", "y", source=source, marker="marker", size="size", **look)

    def _draw_box(self, plot: Any, up: SettingAxis, box: Round, late: float, *, named: bool) -> None:
        """A round's box, the later the firmer, with its number at a corner."""
        from bokeh.models.annotations import BoxAnnotation, Label

        left, right = self.x.interval(*box.box.get(self.x.dimension.name, (0.0, 1.0)))
        bottom, top = up.interval(*box.box.get(up.dimension.name, (0.0, 1.0)))
        plot.add_layout(
            BoxAnnotation(
                left=left,
                right=right,
                bottom=bottom,
                top=top,
                fill_color=None,
                line_color=self.ink.text,
                line_alpha=0.3 + 0.6 * late,
                line_dash="dashed",
                line_width=1 + late,
            )
        )
        if not named:  # names of boxes one in the other would stand on each other
            return
        first = late < 1.0
        plot.add_layout(
            Label(
                x=left if first else right,
                y=top if first else bottom,
                x_offset=4 if first else -4,
                y_offset=-4 if first else 4,
                text_align="left" if first else "right",
                text_baseline="top" if first else "bottom",
                text=f"round {box.round}",
                text_color=self.ink.text,
                text_alpha=0.5 + 0.5 * late,
                text_font_size="12px",
                text_font=FONT,
            )
        )


def _told(axis: SettingAxis, place: str, word: str) -> tuple[str, str]:
    """A line of what is told of a mark: where it stands, or which option that is."""
    return (
        (axis.dimension.name, f"@{word}") if isinstance(axis.dimension, Choice) else (axis.label, f"@{place}{{%.6g}}")
    )


def _options(axis: SettingAxis, word: str, trials: Sequence[Trial]) -> dict[str, list[str]]:
    """The options by name, since marks of one option are fanned out; a number is told by its place."""
    if not isinstance(axis.dimension, Choice):
        return {}
    return {word: [setting(trial.params.get(axis.dimension.name)) for trial in trials]}


def _boxes(study: StudyState) -> list[Round]:
    """The first and the last round whose box is another than the one before, and two between."""
    moved = [each for at, each in enumerate(study.rounds) if not at or each.box != study.rounds[at - 1].box]
    picks = sorted({round(at) for at in np.linspace(0, len(moved) - 1, _MOST_BOXES)}) if moved else []
    return [moved[at] for at in picks]


def _table(study: StudyState, across: str, up: str) -> Rows:
    names = [name for name in (across, up) if name]
    rows: list[tuple[str, ...]] = [("trial", *names, f"best {study.objective}", "state")]
    for trial in best_first(study, study.searched())[:MOST_ROWS]:
        values = (setting(trial.params[name]) if name in trial.params else "-" for name in names)
        rows.append((str(trial.trial), *values, scored(trial.best_score, study.spread(trial)), trial.state))
    return rows
