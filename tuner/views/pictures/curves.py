"""The learning curves of all trials of a sweep; those that diverged have a rail of their own below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.values.numbers import count, number, scored
from tuner.views.pictures.colours import Colours, best_first
from tuner.views.pictures.diagram import (
    INKS,
    MOST_ROWS,
    SOURCE,
    Diagram,
    Ink,
    Rows,
    Theme,
    blank,
    drawable,
    in_steps,
    item,
    numbered,
    short,
)
from tuner.views.pictures.thinning import thinned, width_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Points: TypeAlias = tuple[NDArray[np.int64], Floats]

MOST_POINTS = 120_000
_HIGH, _RAIL = 340, 52  # pixels
_MARGIN = 0.06
_REACH = 3.0  # quartile ranges beyond which a poor score is held at the edge (Tukey 1977)


def curves(study: StudyState, theme: Theme = "light") -> Diagram:
    """Every trial's head reports of the objective by step, the best in a colour of its own."""
    begun = [trial for trial in study.searched() if len(study.curve(trial))]
    name = f"Learning curves of {study.name}: {study.objective} by step"
    if not begun:
        return Diagram(name="curves", label=name, shown=f"No trial has reported {study.objective} yet.", item=None)
    ranked = best_first(study, begun)
    sound = [trial for trial in reversed(ranked) if trial.state != "diverged"]  # the best is drawn on top
    diverged = [trial for trial in begun if trial.state == "diverged"]
    whole = {trial.trial: _points(study, trial) for trial in sound}
    told = sum(len(steps) for steps, _ in whole.values())
    longest = max((int(steps[-1]) for steps, _ in whole.values() if len(steps)), default=1)
    width = width_for(told, longest, len(sound), MOST_POINTS)
    drawn = [thinned(*whole[trial.trial], width) for trial in sound]
    points = sum(len(steps) for steps, _ in drawn)
    shown = f"{count(len(sound), 'curve')}, {points:,} of {count(told, 'report')}"
    if width > 1:
        shown += f": of every {width:,} steps the lowest and the highest"
    if diverged:
        shown += f"; {count(len(diverged), 'run')} diverged, below"
    first = study.best
    score = "" if first is None else scored(first.best_score, study.spread(first))
    best = "" if first is None else f" The best is trial {first.trial} with {score}."
    return Diagram(
        name="curves",
        label=f"{name}. {shown}.{best}",
        shown=f"{shown}.",
        item=item(_figure(study, INKS[theme], sound, drawn, diverged)),
        table=_table(study, ranked),
    )


def _figure(
    study: StudyState, ink: Ink, sound: Sequence[Trial], drawn: Sequence[Points], diverged: Sequence[Trial]
) -> Any:
    from bokeh.models import HoverTool

    low, high = _limits(study, [scores for _, scores in drawn])
    plot = blank(ink, height=_HIGH, tools="tap", y_range=(low, high), x_range=_span([*sound, *diverged], drawn))
    plot.yaxis.axis_label = study.objective
    in_steps(plot.xaxis[0])
    plot.min_border_left = 64
    lines = _lines(plot, study, ink, sound, drawn, (low, high))
    plot.add_tools(HoverTool(renderers=[lines], line_policy="nearest", tooltips=_TOLD, attachment="above"))
    if not diverged:
        plot.xaxis.axis_label = "step"
        return plot
    return _with_rail(plot, study, ink, diverged)


_TOLD = [("trial", "@trial"), ("best", "@best"), ("state", "@state")]


def _lines(
    plot: Any, study: StudyState, ink: Ink, sound: Sequence[Trial], drawn: Any, limits: tuple[float, float]
) -> Any:
    from bokeh.models import ColumnDataSource

    crowd = min(1.0, (60 / max(1, len(sound))) ** 0.5)
    best = [trial is study.best for trial in sound]
    source = ColumnDataSource(
        name=SOURCE,
        data={
            "xs": [steps.tolist() for steps, _ in drawn],
            "ys": drawable([np.clip(scores, *limits) for _, scores in drawn], limits[1] - limits[0]),
            **_columns(study, ink, sound),
            "width": short([2.5 if each else 0.7 + 0.9 * crowd for each in best]),
            "alpha": short([1.0 if each else 0.35 + 0.5 * crowd for each in best]),
        },
    )
    line = dict(line_color="colour", line_width="width", line_join="round")
    lines = plot.multi_line("xs", "ys", source=source, line_alpha="alpha", nonselection_line_alpha=0.06, **line)
    lone = [at for at, (steps, _) in enumerate(drawn) if len(steps) == 1]  # one report makes no line
    if lone:
        dots = ColumnDataSource(
            name=f"{SOURCE}-1",
            data={
                "x": short([drawn[at][0][0] for at in lone]),
                "y": short(np.clip([drawn[at][1][0] for at in lone], *limits)),
                **_columns(study, ink, [sound[at] for at in lone]),
            },
        )
        plot.scatter("x", "y", source=dots, color="colour", size=5)
    return lines


def _columns(study: StudyState, ink: Ink, trials: Sequence[Trial]) -> dict[str, Any]:
    """What a line tells of its trial."""
    return {
        "trial": numbered([trial.trial for trial in trials]),
        "colour": Colours(study, ink).of(trials),
        "best": [scored(trial.best_score, study.spread(trial)) for trial in trials],
        "state": [trial.state for trial in trials],
    }


def _with_rail(plot: Any, study: StudyState, ink: Ink, diverged: Sequence[Trial]) -> Any:
    """A strip below the curves with a cross where each diverged run ended."""
    from bokeh.layouts import column
    from bokeh.models import ColumnDataSource, FixedTicker, HoverTool

    rail = blank(ink, height=_RAIL + 40, tools="tap", x_range=plot.x_range, y_range=(-1.0, 1.0))
    rail.min_border_left = plot.min_border_left
    rail.yaxis.ticker = FixedTicker(ticks=[0])
    rail.yaxis.major_label_overrides = {0: "diverged"}
    rail.ygrid.grid_line_color = None
    rail.xaxis.axis_label = "step"
    in_steps(rail.xaxis[0])
    plot.xaxis.visible = False
    fan = np.arange(len(diverged)) * 0.6180339887 % 1.0 - 0.5  # those of one step stand side by side
    source = ColumnDataSource(
        name=f"{SOURCE}-2",
        data={"x": short([trial.steps for trial in diverged]), "y": short(fan), **_columns(study, ink, diverged)},
    )
    marks = rail.scatter(
        "x", "y", source=source, marker="x", size=8, line_width=1.6, color=ink.muted, nonselection_alpha=0.15
    )
    rail.add_tools(HoverTool(renderers=[marks], tooltips=_TOLD[:1] + _TOLD[2:]))
    return column(plot, rail, sizing_mode="stretch_width", spacing=0)


def _points(study: StudyState, trial: Trial) -> Points:
    """The finite reports of a head curve."""
    curve = study.curve(trial)
    steps, scores = np.array(curve.steps, dtype=np.int64), np.array(curve.scores, dtype=np.float64)
    finite = np.isfinite(scores)
    return steps[finite], scores[finite]


def _limits(study: StudyState, scores: Sequence[Floats]) -> tuple[float, float]:
    """Every good score, and poor ones up to three quartile ranges from the middle."""
    known = np.concatenate([*scores, np.empty(0)])
    if not len(known):
        return 0.0, 1.0
    first, third = np.quantile(known, (0.25, 0.75))
    reach = _REACH * (third - first) or np.inf
    low, high = float(max(known.min(), first - reach)), float(min(known.max(), third + reach))
    if study.goal == "maximize":
        high = float(known.max())
    else:
        low = float(known.min())
    margin = _MARGIN * (high - low) or _MARGIN * abs(high) or _MARGIN
    return low - margin, high + margin


def _span(trials: Sequence[Trial], drawn: Sequence[Points]) -> tuple[float, float]:
    """From the first step to the last."""
    first = min((int(steps[0]) for steps, _ in drawn if len(steps)), default=0)
    last = max((trial.steps for trial in trials), default=1)
    margin = 0.02 * (last - first) or 0.5
    return first - margin, last + margin


def _table(study: StudyState, ranked: Sequence[Trial]) -> Rows:
    """The best trials, a row each: where a curve began, came to, and was best."""
    rows: list[tuple[str, ...]] = [("trial", "state", "steps", f"best {study.objective}", "at step", "last")]
    for trial in ranked[:MOST_ROWS]:
        curve = study.curve(trial)
        last = number(curve.scores[-1]) if len(curve) else "-"
        best = scored(trial.best_score, study.spread(trial))
        cells = (trial.trial, trial.state, trial.steps, best, number(trial.best_step), last)
        rows.append(tuple(map(str, cells)))
    return rows
