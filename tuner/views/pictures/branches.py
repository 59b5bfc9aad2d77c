"""The tree of a babysat run: the path that counts as one line, and below it every path that was left."""

from __future__ import annotations

from typing import Any

from tuner.record.lineage import Branch, Tree
from tuner.record.state import StudyState
from tuner.values.numbers import count
from tuner.views.pictures.diagram import FONT, INKS, Diagram, Ink, Rows, Theme, blank, in_steps, item
from tuner.views.pictures.run import changed

_LANE, _FRAME = 34, 64


def branches(study: StudyState, tree: Tree, theme: Theme = "light") -> Diagram:
    """A dot where each segment begins, named by its number."""
    left = tree.abandoned()
    label = f"Branches of {study.name}"
    if not tree.segments:
        return Diagram(name="branches", label=label, shown="The run has not begun.", item=None)
    shown = f"{count(len(tree.segments), 'segment')}, {count(len(left), 'path')} given up"
    paths = [tree.branch(), *(rollback.given_up for rollback in left)]
    return Diagram(
        name="branches",
        label=f"{label}: {shown}.",
        shown=f"{shown}.",
        item=item(_figure(tree, INKS[theme], paths)),
        table=_table(tree),
    )


def _figure(tree: Tree, ink: Ink, paths: list[Branch]) -> Any:
    from bokeh.models import ColumnDataSource, FixedTicker, HoverTool

    last = max(each.to_step for each in tree.segments)
    many = len(paths)
    plot = blank(
        ink, height=_FRAME + _LANE * many, x_range=(-0.02 * last - 0.5, 1.03 * last + 0.5), y_range=(-many + 0.4, 0.6)
    )
    plot.yaxis.ticker = FixedTicker(ticks=[-lane for lane in range(many)])
    plot.yaxis.major_label_overrides = {-lane: "head" if not lane else "given up" for lane in range(many)}
    plot.ygrid.grid_line_color = None
    plot.min_border_left = 64
    plot.xaxis.axis_label = "step"
    in_steps(plot.xaxis[0])
    dots: dict[str, list[Any]] = {name: [] for name in ("x", "y", "segment", "colour", "what", "why")}
    for lane, path in enumerate(paths):
        colour = ink.given_up if lane else ink.head
        first, end = path[0], path[-1]
        plot.line([first.after, end.to], [-lane, -lane], line_color=colour, line_width=2 if lane else 4)
        if lane:  # where it hangs on
            plot.line([first.after] * 2, [0, -lane], line_color=ink.line, line_dash="dotted")
        for span in path:
            if span.after == span.trained.from_step:
                told = (span.after, -lane, str(span.trained.number), colour, changed(tree, span.trained))
                why = f"{span.trained.segment.cause} by {span.trained.segment.by}: {span.trained.segment.why}"
                for name, value in zip(dots, (*told, why), strict=True):
                    dots[name].append(value)
    source = ColumnDataSource(data=dots)
    marks = plot.scatter("x", "y", source=source, size=16, fill_color=ink.paper, line_color="colour", line_width=2)
    font = dict(text_font={"value": FONT}, text_font_size="11px", text_color=ink.text)
    plot.text("x", "y", "segment", source=source, text_align="center", text_baseline="middle", **font)
    tips = [("segment", "@segment"), ("from step", "@x"), ("changed", "@what"), ("why", "@why")]
    plot.add_tools(HoverTool(renderers=[marks], tooltips=tips))
    return plot


def _table(tree: Tree) -> Rows:
    counted = {span.trained.number for span in tree.branch()}
    rows: list[tuple[str, ...]] = [("segment", "cause", "from step", "to step", "changed", "by", "why", "counts")]
    for each in tree.segments:
        steps = (f"{each.from_step:,}", f"{each.to_step:,}")
        segment = each.segment
        counts = "yes" if each.number in counted else "given up"
        rows.append((str(each.number), segment.cause, *steps, changed(tree, each), segment.by, segment.why, counts))
    return rows
