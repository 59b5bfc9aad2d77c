"""Parallel coordinates of a sweep: a line a trial across all settings, each axis on its parameter's own scale.

The last axis is the objective. A setting that a trial does not have (it is conditional) keeps a place below its axis.
Each crossing of a line and an axis is a point of the source `crossings`, so that a box drawn over an axis selects the
trials that pass there. It is sent empty: whoever draws the picture has all of it in the lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.space import Space
from tuner.values.numbers import count, number, round_to, scored, setting
from tuner.views.pictures.axis import SettingAxis
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
    drawable,
    item,
    numbered,
    short,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_HIGH, _WIDE = 340, 90  # pixels: of all, and of one axis
CROSSINGS = "crossings"
_ABSENT = -0.14
"""Where a line crosses the axis of a setting it does not have."""


def parallel(study: StudyState, space: Space, theme: Theme = "light") -> Diagram:
    """Every trial that has a score, the best on top."""
    trials = [trial for trial in best_first(study, study.searched()) if np.isfinite(score_of(trial))][::-1]
    name = f"Parallel coordinates of {study.name}: {', '.join(space)} and {study.objective}"
    if not trials:
        return Diagram(name="parallel", label=name, shown=f"No trial has a {study.objective} yet.", item=None)
    axes = [SettingAxis(dimension) for dimension in space.values()]
    crossings = np.column_stack([*(axis.units(trials) for axis in axes), _scores(trials)])
    without = len(study.searched()) - len(trials)
    shown = f"{count(len(trials), 'trial')}" + (f"; {without:,} without a score are left out" if without else "")
    if np.isnan(crossings).any():
        shown += "; where a trial has no such setting its line passes below"
    crossings = np.where(np.isnan(crossings), _ABSENT, crossings)
    figure = _figure(study, INKS[theme], trials, axes, crossings)
    return Diagram(
        name="parallel",
        label=f"{name}. {shown}.",
        shown=f"{shown}.",
        item=item(figure),
        table=_table(study, space, trials),
    )


def _figure(
    study: StudyState, ink: Ink, trials: Sequence[Trial], axes: Sequence[SettingAxis], crossings: Floats
) -> Any:
    from bokeh.models import BoxSelectTool, ColumnDataSource, FixedTicker

    many = crossings.shape[1]
    plot = blank(ink, height=_HIGH, min_width=_WIDE * many, x_range=(-0.35, many - 0.55), y_range=(-0.22, 1.1))
    plot.grid.visible = plot.yaxis.visible = False
    plot.xaxis.ticker = FixedTicker(ticks=list(range(many)))
    plot.xaxis.major_label_overrides = {at: axis.dimension.name for at, axis in enumerate(axes)} | {
        many - 1: study.objective
    }
    plot.xaxis.major_label_text_color, plot.xaxis.major_label_text_font_style = ink.text, "bold"
    plot.xaxis.axis_line_color = plot.xaxis.major_tick_line_color = None
    crowd = min(1.0, (80 / len(trials)) ** 0.5)
    best = [trial is study.best for trial in trials]
    lines = ColumnDataSource(
        name=SOURCE,
        data={
            "xs": [list(range(many))] * len(trials),
            "ys": drawable(list(crossings), 1.0),
            "trial": numbered([trial.trial for trial in trials]),
            "colour": Colours(study, ink).of(trials),
            "alpha": short([1.0 if each else 0.2 + 0.5 * crowd for each in best]),
            "width": short([2.5 if each else 0.6 + 0.8 * crowd for each in best]),
        },
    )
    plot.multi_line(
        "xs",
        "ys",
        source=lines,
        line_color="colour",
        line_alpha="alpha",
        line_width="width",
        nonselection_line_alpha=0.04,
    )
    points = ColumnDataSource(name=CROSSINGS, data={"x": [], "y": [], "trial": []})
    # A level of its own: once the points have come the lines beneath need not be drawn again.
    brushed = plot.scatter("x", "y", source=points, size=1, alpha=0.0, nonselection_alpha=0.0, level="overlay")
    brush = BoxSelectTool(renderers=[brushed], persistent=False, description="Select the trials that pass here")
    plot.add_tools(brush)
    plot.toolbar.active_drag = brush
    _draw_axes(plot, ink, trials, axes)
    return plot


def _draw_axes(plot: Any, ink: Ink, trials: Sequence[Trial], axes: Sequence[SettingAxis]) -> None:
    """A line up for each setting and the objective, with the values that stand on it."""
    from bokeh.models import ColumnDataSource

    many = len(axes) + 1
    plot.segment(x0=list(range(many)), x1=list(range(many)), y0=[0.0] * many, y1=[1.0] * many, line_color=ink.line)
    marks = [(at, place, text) for at, axis in enumerate(axes) for place, text in axis.ticks()]
    low, high = _ends(trials)
    marks += [(many - 1, at, number(round_to(low + at * (high - low), 4))) for at in (0.0, 0.25, 0.5, 0.75, 1.0)]
    marks += [
        (at, _ABSENT, "not set")
        for at, axis in enumerate(axes)
        if any(axis.dimension.name not in t.params for t in trials)
    ]
    told = ColumnDataSource(
        data={
            "x": [float(at) for at, _, _ in marks],
            "y": [float(place) for _, place, _ in marks],
            "text": [text for _, _, text in marks],
        }
    )
    plot.text(
        "x",
        "y",
        "text",
        source=told,
        x_offset=6,
        text_baseline="middle",
        text_font_size="12px",
        text_font={"value": FONT},
        text_color=ink.text,
        background_fill_color=ink.paper,
        background_fill_alpha=0.75,
    )


def _ends(trials: Sequence[Trial]) -> tuple[float, float]:
    scores = [score_of(trial) for trial in trials]
    low, high = min(scores), max(scores)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _scores(trials: Sequence[Trial]) -> Floats:
    """The scores between the lowest and the highest."""
    low, high = _ends(trials)
    return (np.array([score_of(trial) for trial in trials], dtype=np.float64) - low) / (high - low)


def _table(study: StudyState, space: Space, trials: Sequence[Trial]) -> Rows:
    rows: list[tuple[str, ...]] = [("trial", *space, study.objective)]
    for trial in trials[::-1][:MOST_ROWS]:
        values = (setting(trial.params[name]) if name in trial.params else "-" for name in space)
        rows.append((str(trial.trial), *values, scored(trial.best_score, study.spread(trial))))
    return rows
