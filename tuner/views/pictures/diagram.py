"""A picture as a value: what Bokeh is to draw, what is shown of how much, and the same as words and a table.

Whoever draws it needs BokehJS alone. No figure holds code (a `CustomJS` would need eval): what a person selects is
carried from one picture to the next by the page, through the column `trial` of the sources called `trials…`.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tuner.errors import MissingExtra

if TYPE_CHECKING:
    from bokeh.models import Model
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Floats32: TypeAlias = NDArray[np.float32]

Theme: TypeAlias = Literal["light", "dark"]
Rows: TypeAlias = Sequence[tuple[str, ...]]

SOURCE = "trials"
"""What the sources are called whose rows are trials; several in one picture are numbered behind it."""
_FINE, _COARSE = 4_000, 500  # parts of what an axis spans: a tenth of a pixel, and half of one
_CROWD = 1_000  # lines or marks, from which on half a pixel is more than one sees
MOST_ROWS = 200
"""The table beside a picture is for reading: so many rows at most."""


@dataclass(frozen=True, kw_only=True)
class Ink:
    """The colours of one theme; `scores` run from the poorest to the best."""

    text: str
    muted: str
    line: str
    faint: str
    paper: str
    best: str
    head: str
    train: str
    given_up: str
    scores: tuple[str, str, str, str]


# Contrast on the page's ground: text 7:1 and more, muted 4.5:1, what is drawn 3:1 (WCAG 2.2, 1.4.3, 1.4.6 and 1.4.11).
INKS: Mapping[Theme, Ink] = {
    "light": Ink(
        text="#1c2024",
        muted="#60646c",
        line="#8b8d98",
        faint="#e4e6ea",
        paper="#ffffff",
        best="#c8102e",
        head="#0b68cb",
        train="#a35200",
        given_up="#8b8d98",
        scores=("#b9c6cf", "#6fb0b6", "#2a788e", "#30236e"),
    ),
    "dark": Ink(
        text="#edeef0",
        muted="#b0b4ba",
        line="#777b84",
        faint="#2b2f36",
        paper="#16181c",
        best="#ff6b7d",
        head="#6cb6ff",
        train="#f0a35e",
        given_up="#777b84",
        scores=("#3f4752", "#3f7f86", "#52c0a8", "#e3f27a"),
    ),
}
FONT = "system-ui, sans-serif"


@dataclass(frozen=True, kw_only=True)
class Diagram:
    """One picture: `item` is what `Bokeh.embed.embed_item` takes, None where there is nothing to draw and `shown` why.

    `label` is for who cannot see it, `table` has its heading first.
    """

    name: str
    label: str
    shown: str
    item: Mapping[str, Any] | None
    table: Rows = ()


def blank(ink: Ink, *, height: int, tools: str = "", **more: Any) -> Any:
    """An empty figure as wide as its place, on the ground of the page, with quiet axes."""
    if importlib.util.find_spec("bokeh") is None:
        raise MissingExtra("the page's pictures need bokeh. Install it: pip install 'tuner[web]'")
    from bokeh.plotting import figure

    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools=tools,
        output_backend="canvas",
        min_border_right=12,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        **more,
    )
    for axis in plot.axis:
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size, axis.major_label_text_font_size = "13px", "12px"
        axis.axis_label_text_color = axis.major_label_text_color = ink.muted
        axis.axis_line_color = axis.major_tick_line_color = ink.line
        axis.minor_tick_line_color = None
        axis.major_tick_in = 0
    plot.grid.grid_line_color = ink.faint
    return plot


def prepare() -> None:
    """Imports what draws, which takes several times as long as a drawing. Without it `blank` says so."""
    with suppress(ImportError):
        import bokeh.embed
        import bokeh.layouts
        import bokeh.plotting  # noqa: F401


def in_steps(axis: Any) -> None:
    """Has an axis count steps: whole numbers only, in groups of three digits."""
    from bokeh.models import NumeralTickFormatter

    axis.formatter = NumeralTickFormatter(format="0,0")
    axis.ticker.min_interval = 1


def item(model: Model) -> Mapping[str, Any]:
    """The picture as JSON can hold it."""
    from bokeh.embed import json_item

    return dict(json_item(model))


def short(values: Sequence[float] | NDArray[np.floating[Any]]) -> Floats32:
    """Numbers to draw, at half the bytes: no screen shows the eighth digit. Always a fresh array."""
    return np.array(values, dtype=np.float32)


def drawable(lines: Sequence[Floats], span: float) -> list[list[float]]:
    """Many short lines, each number as exact as a screen shows it: a whole number of steps of 1, 2 or 5 · 10^n.

    `span` is what their axis spans. In JSON that is half of what arrays take, and where lines are many half a pixel is
    exact enough: a third less again.

    >>> drawable([np.array([0.123456, 0.5])], span=1.0)
    [[0.1234, 0.5]]
    """
    step, digits = _step(abs(span) or 1.0, len(lines))
    return [(np.rint(line / step) * step).round(digits).tolist() for line in lines]


def placed(values: Floats, limits: tuple[float, float], kind: str) -> Floats32 | list[float]:
    """Where marks stand on an axis: where they are many, as exact as a screen shows it. Always fresh.

    `kind` is Bokeh's word for the axis: on a "log" one it is digits that count.

    >>> placed(np.full(2_000, 0.000123456), (1e-4, 1.0), "log")[0]
    0.000123
    """
    low, high = limits
    if len(values) <= _CROWD:
        return short(values)
    if kind != "log" or low <= 0:
        step, digits = _step(high - low or 1.0, len(values))
        found: list[float] = (np.rint(values / step) * step).round(digits).tolist()
        return found
    digits = 1 + math.ceil(math.log10(_COARSE / math.log(high / low)))
    decades = np.floor(np.log10(values)).astype(int).tolist()
    return [round(value, digits - 1 - decade) for value, decade in zip(values.tolist(), decades, strict=True)]


def _step(span: float, count: int) -> tuple[float, int]:
    """How far apart two places on an axis have to be, and how many digits behind the point that takes."""
    most = span / (_COARSE if count > _CROWD else _FINE)
    decade = math.floor(math.log10(most))
    step = max(each for each in (1, 2, 5) if each * 10.0**decade <= most * (1 + 1e-9))
    return step * 10.0**decade, -decade


def numbered(trials: Sequence[int]) -> NDArray[np.integer[Any]]:
    """The numbers of trials, in as few bytes as they take. Always a fresh array."""
    return np.array(trials, dtype=np.uint16 if max(trials, default=0) < 2**16 else np.int32)
