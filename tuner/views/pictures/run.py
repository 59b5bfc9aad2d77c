"""The curves of a babysat run as it trains: the path that counts, what was given up, and a mark at every change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tuner.record.lineage import Branch, TrainedSegment, Tree
from tuner.record.score_names import training_loss
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.values.numbers import count, number, setting
from tuner.views.pictures.diagram import INKS, MOST_ROWS, Diagram, Ink, Rows, Theme, blank, in_steps, item, short
from tuner.views.pictures.thinning import thinned, width_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Points: TypeAlias = tuple[NDArray[np.int64], Floats]

MOST_POINTS = 2_000
_HIGH, _LOSS = 300, 180


def run(study: StudyState, tree: Tree, theme: Theme = "light", trial: int = 0) -> Diagram:
    """The objective, and the train loss where one is reported, over the same steps."""
    label = f"Curves of {study.name}: {study.objective} by step"
    loss = training_loss(tree.names(), beside=study.objective)
    names = [name for name in (study.objective, loss) if name is not None]
    head = {name: points_of(tree.branch(), name) for name in names}
    told = sum(len(steps) for steps, _ in head.values())
    if not told:
        return Diagram(name="run", label=label, shown=f"{study.objective} has not been reported yet.", item=None)
    longest = max((int(steps[-1]) for steps, _ in head.values() if len(steps)), default=1)
    width = width_for(max(len(steps) for steps, _ in head.values()), longest, 1, MOST_POINTS)
    drawn = {name: thinned(*points, width) for name, points in head.items()}
    given_up = sum(span.to - span.after for rollback in tree.abandoned() for span in rollback.given_up)
    points = sum(len(steps) for steps, _ in drawn.values())
    shown = f"{points:,} of {count(told, 'report')}"
    shown += f": of every {width:,} steps the lowest and the highest" if width > 1 else ""
    shown += f"; grey: {count(given_up, 'step')} given up" if given_up else ""
    found = study.trials[trial]
    at = "" if found.best_score is None else f" The best is {number(found.best_score)} at step {found.best_step}."
    return Diagram(
        name="run",
        label=f"{label}. {shown}.{at}",
        shown=f"{shown}.",
        item=item(_Course(study, found, tree, INKS[theme], width).figure(drawn)),
        table=_table(names, drawn),
    )


def points_of(branch: Branch, name: str) -> Points:
    """The finite reports of one score on a branch."""
    pairs = [pair for span in branch for pair in span.points(name)]
    steps = np.array([step for step, _ in pairs], dtype=np.int64)
    values = np.array([value for _, value in pairs], dtype=np.float64)
    finite = np.isfinite(values)
    return steps[finite], values[finite]


def changed(tree: Tree, trained: TrainedSegment) -> str:
    """What a segment changed, in words; empty where it changed nothing."""
    return ", ".join(
        f"{each.parameter} {setting(each.before)} → {setting(each.after)}"
        if each.becomes is None or each.was == each.becomes
        else f"{each.parameter} follows {each.becomes}"
        for each in tree.changes(trained)
    )


@dataclass(frozen=True)
class _Course:
    """One trial's path with all that was left beside it."""

    study: StudyState
    trial: Trial
    tree: Tree
    ink: Ink
    width: int

    def figure(self, drawn: Mapping[str, Points]) -> Any:
        """A panel a score, the objective first, over the same steps."""
        from bokeh.layouts import column
        from bokeh.models import Range1d

        last = max(each.to_step for each in self.tree.segments)
        steps = Range1d(start=-0.01 * last - 0.5, end=1.02 * last + 0.5)
        looks = ((self.ink.head, _HIGH), (self.ink.train, _LOSS))
        panels = [self._panel(*each, steps, *look) for each, look in zip(drawn.items(), looks, strict=False)]
        panels[-1].xaxis.axis_label = "step"
        for panel in panels[:-1]:
            panel.xaxis.visible = False
        return panels[0] if len(panels) == 1 else column(*panels, sizing_mode="stretch_width", spacing=0)

    def _panel(self, name: str, points: Points, steps: Any, colour: str, height: int) -> Any:
        from bokeh.models import ColumnDataSource, HoverTool

        ink, plot = self.ink, blank(self.ink, height=height, x_range=steps)
        plot.yaxis.axis_label, plot.min_border_left = name, 64
        in_steps(plot.xaxis[0])
        for rollback in self.tree.abandoned():
            xs, ys = thinned(*self._tail(rollback.given_up, name), self.width)
            plot.line(
                np.array(xs, dtype=np.int32), short(ys), line_color=ink.given_up, line_dash="dotted", line_width=1.4
            )
        source = ColumnDataSource(name=name, data={"x": np.array(points[0], dtype=np.int32), "y": short(points[1])})
        line = plot.line("x", "y", source=source, line_color=colour, line_width=2)
        plot.scatter(points[0][-1:].astype(np.int32), short(points[1][-1:]), size=7, color=colour)
        plot.add_tools(HoverTool(renderers=[line], tooltips=[("step", "@x"), (name, "@y{0.0000}")], mode="vline"))
        self._mark_changes(plot, name)
        if name == self.study.objective:
            self._mark_best(plot)
            self._mark_checkpoints(plot)
        return plot

    def _tail(self, given_up: Branch, name: str) -> Points:
        """What was given up, begun where it left the path that counts."""
        steps, values = points_of(given_up, name)
        left = given_up[0].after
        before = self.tree.value_at(self.tree.branch(), name, left)
        return (steps, values) if before is None else (np.r_[left, steps], np.r_[before, values])

    def _mark_changes(self, plot: Any, name: str) -> None:
        """A dot where a change took effect, on the curve as it was; what it was is told by a hover and the logbook."""
        from bokeh.models import ColumnDataSource, HoverTool

        marks = list(self._changes(name))
        if not marks:
            return
        plot.vspan(x=[step for step, *_ in marks], line_color=self.ink.line, line_dash="dotted", line_alpha=0.7)
        steps, values, whats, whys = map(list, zip(*marks, strict=True))
        source = ColumnDataSource(data={"x": steps, "y": short(values), "what": whats, "why": whys})
        look: dict[str, Any] = dict(size=10, fill_color=self.ink.paper, line_color=self.ink.text, line_width=2)
        dots = plot.scatter("x", "y", source=source, **look)
        plot.add_tools(HoverTool(renderers=[dots], tooltips=[("step", "@x"), ("change", "@what"), ("why", "@why")]))

    def _changes(self, name: str) -> Iterator[tuple[int, float, str, str]]:
        for trained in self.tree.segments[1:]:
            value = self.tree.value_at(self.tree.branch(trained.number), name, trained.from_step)
            if value is not None and np.isfinite(value):
                segment = trained.segment
                what = changed(self.tree, trained) or segment.cause
                yield trained.from_step, value, what, f"{segment.by}: {segment.why}"

    def _mark_best(self, plot: Any) -> None:
        step, score = self.trial.best_step, self.trial.best_score
        if step is not None and score is not None:
            look: dict[str, Any] = dict(size=16, fill_color=self.ink.best, line_color=self.ink.paper)
            plot.scatter([step], short([score]), marker="star", **look)  # as exact as its curve, or a level one is not

    def _mark_checkpoints(self, plot: Any) -> None:
        """Ticks at the foot where one can go back to."""
        from bokeh.models import Range1d

        steps = sorted({each.step for each in self.study.kept(self.trial)})
        if steps:
            foot, top = [0.0] * len(steps), [0.03] * len(steps)
            plot.y_range.renderers = list(plot.renderers)  # the ticks say nothing of scores
            plot.extra_y_ranges = {"foot": Range1d(start=0.0, end=1.0)}
            plot.segment(steps, foot, steps, top, y_range_name="foot", line_color=self.ink.text, line_width=2)


def _table(names: Sequence[str], drawn: Mapping[str, Points]) -> Rows:
    """The newest reports of the head, the newest first."""
    by_step: dict[int, dict[str, float]] = {}
    for name, (steps, values) in drawn.items():
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            by_step.setdefault(step, {})[name] = value
    newest = sorted(by_step, reverse=True)[:MOST_ROWS]
    return [("step", *names), *((f"{at:,}", *(number(by_step[at].get(name)) for name in names)) for at in newest)]
