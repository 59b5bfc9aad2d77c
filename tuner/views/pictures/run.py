"""The curves of a babysat run as it trains: the path that counts, what was given up, and a mark at every change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tuner.numbers import number, setting
from tuner.record.lineage import Branch, TrainedSegment, Tree
from tuner.record.score_names import training_loss
from tuner.record.state import StudyState
from tuner.record.trial import Checkpoint
from tuner.views.pictures.chart import INKS, MOST_ROWS, Chart, Ink, Rows, Theme, blank, item, plural, short
from tuner.views.pictures.thinning import thinned, width_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Points: TypeAlias = tuple[NDArray[np.int64], Floats]

MOST_POINTS = 2_000
_HIGH, _LOSS = 300, 180


def run(study: StudyState, tree: Tree, theme: Theme = "light", trial: int = 0) -> Chart:
    """The objective, and the train loss where one is reported, over the same steps."""
    label = f"Curves of {study.name}: {study.objective} by step"
    loss = training_loss(tree.names(), beside=study.objective)
    names = [name for name in (study.objective, loss) if name is not None]
    head = {name: points_of(tree.branch(), name) for name in names}
    told = sum(len(steps) for steps, _ in head.values())
    if not told:
        return Chart(name="run", label=label, shown=f"{study.objective} has not been reported yet.", item=None)
    longest = max((int(steps[-1]) for steps, _ in head.values() if len(steps)), default=1)
    width = width_for(max(len(steps) for steps, _ in head.values()), longest, 1, MOST_POINTS)
    drawn = {name: thinned(*points, width) for name, points in head.items()}
    given_up = sum(span.to - span.after for rollback in tree.abandoned() for span in rollback.given_up)
    count = sum(len(steps) for steps, _ in drawn.values())
    shown = f"{count:,} of {plural(told, 'report')}"
    shown += f": of every {width:,} steps the lowest and the highest" if width > 1 else ""
    shown += f"; grey: {plural(given_up, 'step')} given up" if given_up else ""
    best = study.trials[trial].best_score
    at = f" The best is {number(best)} at step {study.trials[trial].best_step}." if best is not None else ""
    return Chart(
        name="run",
        label=f"{label}. {shown}.{at}",
        shown=f"{shown}.",
        item=item(_figure(study, tree, INKS[theme], names, drawn, width)),
        table=_table(names, drawn),
    )


def points_of(branch: Branch, name: str) -> Points:
    """The finite reports of one score on a branch."""
    pairs = [pair for span in branch for pair in span.points(name)]
    steps = np.array([step for step, _ in pairs], dtype=np.int64)
    values = np.array([value for _, value in pairs], dtype=np.float64)
    finite = np.isfinite(values)
    return steps[finite], values[finite]


def _tail(tree: Tree, given_up: Branch, name: str) -> Points:
    """What was given up, begun where it left the path that counts."""
    steps, values = points_of(given_up, name)
    left = given_up[0].after
    before = tree.value_at(tree.branch(), name, left)
    return (steps, values) if before is None else (np.r_[left, steps], np.r_[before, values])


def changed(tree: Tree, trained: TrainedSegment) -> str:
    """What a segment changed, in words; empty where it changed nothing."""
    return ", ".join(
        f"{each.parameter} {setting(each.before)} → {setting(each.after)}"
        if each.becomes is None or each.was == each.becomes
        else f"{each.parameter} follows {each.becomes}"
        for each in tree.changes(trained)
    )


def _figure(study: StudyState, tree: Tree, ink: Ink, names: Sequence[str], drawn: Any, width: int) -> Any:
    from bokeh.layouts import column
    from bokeh.models import Range1d

    last = max(each.to_step for each in tree.segments)
    steps = Range1d(-0.01 * last - 0.5, 1.02 * last + 0.5)
    panels = []
    for at, name in enumerate(names):
        colour = ink.head if not at else ink.train
        panels.append(_panel(study, tree, ink, name, drawn[name], width, steps, colour, _LOSS if at else _HIGH))
    panels[-1].xaxis.axis_label = "step"
    for panel in panels[:-1]:
        panel.xaxis.visible = False
    return panels[0] if len(panels) == 1 else column(*panels, sizing_mode="stretch_width", spacing=0)


def _panel(
    study: StudyState, tree: Tree, ink: Ink, name: str, points: Points, width: int, steps: Any, colour: str, height: int
) -> Any:
    from bokeh.models import ColumnDataSource, HoverTool, NumeralTickFormatter

    plot = blank(ink, height=height, x_range=steps)
    plot.yaxis.axis_label, plot.min_border_left = name, 64
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
    for rollback in tree.abandoned():
        xs, ys = thinned(*_tail(tree, rollback.given_up, name), width)
        plot.line(np.array(xs, dtype=np.int32), short(ys), line_color=ink.given_up, line_width=1.4, line_dash="dotted")
    source = ColumnDataSource(name=name, data={"x": np.array(points[0], dtype=np.int32), "y": short(points[1])})
    line = plot.line("x", "y", source=source, line_color=colour, line_width=2)
    plot.scatter(points[0][-1:], short(points[1][-1:]), size=7, color=colour)
    plot.add_tools(HoverTool(renderers=[line], tooltips=[("step", "@x"), (name, "@y{0.0000}")], mode="vline"))
    _mark_changes(plot, tree, ink, name)
    if name == study.objective:
        _mark_best(plot, study, ink)
        _mark_checkpoints(plot, study.kept(study.trials[0]), ink)
    return plot


def _mark_changes(plot: Any, tree: Tree, ink: Ink, name: str) -> None:
    """A dot where a change took effect, on the curve as it was; what it was is told by a hover and the logbook."""
    from bokeh.models import ColumnDataSource, HoverTool, Span

    marks = list(_marks(tree, name))
    if not marks:
        return
    for step, *_ in marks:
        plot.add_layout(
            Span(location=step, dimension="height", line_color=ink.line, line_dash="dotted", line_alpha=0.7)
        )
    source = ColumnDataSource(
        data={
            "x": np.array([step for step, *_ in marks], dtype=np.int32),
            "y": short([value for _, value, _, _ in marks]),
            "what": [what for *_, what, _ in marks],
            "why": [why for *_, why in marks],
        }
    )
    dots = plot.scatter("x", "y", source=source, size=10, fill_color=ink.paper, line_color=ink.text, line_width=2)
    plot.add_tools(HoverTool(renderers=[dots], tooltips=[("step", "@x"), ("change", "@what"), ("why", "@why")]))


def _marks(tree: Tree, name: str) -> Iterator[tuple[int, float, str, str]]:
    for trained in tree.segments[1:]:
        value = tree.value_at(tree.branch(trained.number), name, trained.from_step)
        if value is not None and np.isfinite(value):
            what = changed(tree, trained)
            cause = trained.segment.cause
            yield trained.from_step, value, what or cause, f"{trained.segment.by}: {trained.segment.why}"


def _mark_best(plot: Any, study: StudyState, ink: Ink) -> None:
    trial = study.trials[0]
    if trial.best_score is not None and trial.best_step is not None:
        star = dict(marker="star", size=16, fill_color=ink.best, line_color=ink.paper)
        plot.scatter([trial.best_step], [trial.best_score], **star)


def _mark_checkpoints(plot: Any, kept: Iterable[Checkpoint], ink: Ink) -> None:
    """Ticks at the foot where one can go back to."""
    from bokeh.models import Range1d

    steps = sorted({each.step for each in kept})
    if steps:
        foot = [0.0] * len(steps)
        plot.extra_y_ranges = {"foot": Range1d(0.0, 1.0)}
        top = [0.03] * len(steps)
        plot.segment(steps, foot, steps, top, y_range_name="foot", line_color=ink.text, line_width=2)


def _table(names: Sequence[str], drawn: dict[str, Points]) -> Rows:
    """The newest reports of the head, the newest first."""
    by_step: dict[int, dict[str, float]] = {}
    for name, (steps, values) in drawn.items():
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            by_step.setdefault(step, {})[name] = value
    newest = sorted(by_step, reverse=True)[:MOST_ROWS]
    return [("step", *names), *((f"{at:,}", *(number(by_step[at].get(name)) for name in names)) for at in newest)]
