"""The best score so far of one study or several, over the steps they have spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tuner.record.state import StudyState
from tuner.values.numbers import count, number
from tuner.views.pictures.colours import score_of
from tuner.views.pictures.diagram import INKS, MOST_ROWS, Diagram, Ink, Rows, Theme, blank, in_steps, item, short

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_HIGH = 300
_LONGEST_NAME = 28  # characters
_DASHES = ("solid", "dashed", "dotdash", "dotted")


def progress(studies: Sequence[StudyState], theme: Theme = "light") -> Diagram:
    """A stair a study: trials in the order they began, each counted with the steps it took."""
    names = " and ".join(study.name for study in studies)
    label = f"Best so far of {names}"
    stairs = [_stair(study) for study in studies]
    if not any(len(steps) for steps, _ in stairs):
        return Diagram(name="progress", label=label, shown="No trial has a score yet.", item=None)
    objectives = dict.fromkeys(study.objective for study in studies)
    shown = _counted(studies, stairs)
    shown += "" if len(objectives) == 1 else f"; mind that {' and '.join(objectives)} are not the same score"
    return Diagram(
        name="progress",
        label=f"{label}. {shown}.",
        shown=f"{shown}.",
        item=item(_figure(studies, stairs, INKS[theme])),
        table=_table(studies, stairs),
    )


def _counted(studies: Sequence[StudyState], stairs: Sequence[tuple[Floats, Floats]]) -> str:
    """How many trials, and how many reports of babysat runs, the stairs are made of."""
    told = {"sweep": 0, "babysitting": 0}
    for study, (steps, _) in zip(studies, stairs, strict=True):
        told[study.kind] += len(steps)
    trials = f"{count(told['sweep'], 'trial')} in the order they began" if told["sweep"] else ""
    reports = count(told["babysitting"], "report") if told["babysitting"] else ""
    return " and ".join(filter(None, (trials, reports)))


def _stair(study: StudyState) -> tuple[Floats, Floats]:
    """Steps spent and the best so far, a point a trial; a babysat run has one for each of its reports."""
    if study.kind == "babysitting" and study.trials:
        curve = study.curve(study.trials[0])
        steps, scores = np.array(curve.steps, dtype=np.float64), np.array(curve.scores, dtype=np.float64)
    else:
        trials = [trial for trial in study.searched() if trial.steps]
        steps = np.cumsum(np.array([trial.steps for trial in trials], dtype=np.float64))
        scores = np.array([score_of(trial) for trial in trials], dtype=np.float64)
    best: Any = np.fmax if study.goal == "maximize" else np.fmin
    running = best.accumulate(scores) if len(scores) else scores
    known = np.isfinite(running)
    return steps[known], running[known]


def _corners(stair: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """The points where a stair begins, rises and ends: between them nothing is to be seen."""
    steps, scores = stair
    kept = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]]) if len(scores) else np.arange(0)
    kept = np.union1d(kept, np.arange(len(scores))[-1:])
    return steps[kept], scores[kept]


def _figure(studies: Sequence[StudyState], stairs: Sequence[tuple[Floats, Floats]], ink: Ink) -> Any:
    from bokeh.models import ColumnDataSource, HoverTool
    from bokeh.models.annotations import Legend

    plot = blank(ink, height=_HIGH)
    plot.add_layout(Legend(orientation="horizontal"), "above")  # where no line can pass beneath it
    plot.xaxis.axis_label = "steps spent"
    in_steps(plot.xaxis[0])
    plot.yaxis.axis_label = " / ".join(dict.fromkeys(study.objective for study in studies))
    colours = (ink.head, ink.train, ink.best, ink.text)
    for at, (study, (steps, scores)) in enumerate(zip(studies, map(_corners, stairs), strict=True)):
        source = ColumnDataSource(data={"x": short(steps), "y": short(scores)})
        look = dict(line_color=colours[at % 4], line_dash=_DASHES[at % 4], line_width=2.5)
        line = plot.step("x", "y", source=source, mode="after", legend_label=_named(study), **look)
        plot.scatter(short(steps[-1:]), short(scores[-1:]), size=7, color=colours[at % 4])  # all there is of one trial
        plot.add_tools(
            HoverTool(renderers=[line], tooltips=[("steps", "@x{0,0}"), (study.objective, "@y")], mode="vline")
        )
    plot.legend.visible = len(studies) > 1
    plot.legend.background_fill_alpha, plot.legend.border_line_color = 0.0, None
    plot.legend.label_text_color = ink.text
    return plot


def _named(study: StudyState) -> str:
    """The study's name, of a long one both ends, so that a phone has room for it."""
    name = study.name
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 2]}…{name[-_LONGEST_NAME // 2 + 1 :]}"


def _table(studies: Sequence[StudyState], stairs: Sequence[tuple[Floats, Floats]]) -> Rows:
    """Where the best became another, the last first."""
    rows: list[tuple[str, ...]] = [("study", "steps spent", "best so far")]
    for study, (steps, scores) in zip(studies, stairs, strict=True):
        steps_up = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])[::-1] if len(scores) else ()
        rows += [(study.name, f"{int(steps[at]):,}", number(float(scores[at]))) for at in steps_up][:MOST_ROWS]
    return rows
