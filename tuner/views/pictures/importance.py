"""The share of each setting in the differences between scores, with its doubt."""

from __future__ import annotations

from typing import Any

from tuner.insight.importance import Importance
from tuner.values.numbers import percent
from tuner.views.pictures.diagram import INKS, Diagram, Ink, Theme, blank, item, short

_ROW, _FRAME = 34, 56


def importance(study: str, found: Importance, theme: Theme = "light") -> Diagram:
    """A bar a setting, the largest first: in all, and within it alone; whiskers are a standard error."""
    label = f"What matters in {study}"
    if not found.shares:
        return Diagram(name="importance", label=label, shown=found.sentence, item=None)
    rows: list[tuple[str, ...]] = [("setting", "in all", "± standard error", "alone")]
    rows += [(each.parameter, percent(each.total), percent(each.error), percent(each.alone)) for each in found.shares]
    return Diagram(
        name="importance",
        label=f"{label}. {found.sentence}",
        shown="Pale: in all, together with others; strong: alone; lines: one standard error.",
        item=item(_figure(INKS[theme], found)),
        table=rows,
    )


def _figure(ink: Ink, found: Importance) -> Any:
    from bokeh.models import ColumnDataSource, HoverTool, NumeralTickFormatter

    names = [each.parameter for each in reversed(found.shares)]
    plot = blank(ink, height=_FRAME + _ROW * len(names), y_range=names, x_range=(0.0, 1.0))
    plot.xaxis.formatter = NumeralTickFormatter(format="0%")
    plot.ygrid.grid_line_color = None
    source = ColumnDataSource(
        data={
            "name": names,
            "total": short([each.total for each in reversed(found.shares)]),
            "alone": short([each.alone for each in reversed(found.shares)]),
            "low": short([max(0.0, each.total - each.error) for each in reversed(found.shares)]),
            "high": short([min(1.0, each.total + each.error) for each in reversed(found.shares)]),
            "told": [f"{percent(each.total)} ± {percent(each.error)}" for each in reversed(found.shares)],
        }
    )
    bars = plot.hbar(y="name", right="total", height=0.6, source=source, color=ink.head, alpha=0.35)
    plot.hbar(y="name", right="alone", height=0.6, source=source, color=ink.head)
    plot.segment("low", "name", "high", "name", source=source, line_color=ink.text, line_width=1.5)
    plot.add_tools(HoverTool(renderers=[bars], tooltips=[("setting", "@name"), ("in all", "@told")]))
    return plot
