"""The common ground of tuner's pictures: blank figures, quiet axes that leave outliers at their edge, whole files.

Figures are made without pyplot, so nothing global changes.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tuner.errors import MissingExtra
from tuner.record.atomic import write_whole
from tuner.record.events import Goal
from tuner.values.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

Which: TypeAlias = Literal["x", "y"]

INK, MUTED, FAINT, RED = "#222222", "#6f6f6f", "#e6e6e6", "#d62839"

_LONGEST_LABEL = 30  # characters


def blank_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra("plots need matplotlib. Install it: pip install 'tuner[plots]'")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # type: ignore[union-attr, call-arg]
    return figure


def quiet(axes: Axes) -> Axes:
    """The axes with thin grey lines that leave the eye to the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9a9a9a")
    axes.tick_params(colors=INK, labelsize=9, width=0.8, color="#9a9a9a", which="both")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def set_score_axis(axes: Axes, scores: Floats, goal: Goal, lows: Sequence[float] = ()) -> tuple[float, float]:
    """Limits that hold every good score, and bad ones up to three quartile ranges from the middle (Tukey 1977).

    `lows` are the worst scores of whole curves: nine in ten of them are held as well.
    """
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        axes.set(ylim=(0.0, 1.0), yticks=[])
        return 0.0, 1.0
    logarithmic = spans_decades(scores, goal)
    bent, ends = (np.log10(scores), np.log10(lows or scores)) if logarithmic else (scores, np.asarray(lows or scores))
    first, third = np.quantile(bent, (0.25, 0.75))
    reach = 3.0 * (third - first) or math.inf
    if goal == "maximize":
        low, high = max(bent.min(), min(first - reach, np.quantile(ends, 0.1))), bent.max()
    else:
        low, high = bent.min(), min(bent.max(), max(third + reach, np.quantile(ends, 0.9)))
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 0.06
    low, high = float(low - margin), float(high + margin)  # the names of rounds stand in the margin of the good side
    if logarithmic:
        low, high = 10.0**low, 10.0**high
        set_log_ticks(axes, "y", low, high)
    set_limits(axes, "y", low, high)
    return low, high


def spans_decades(scores: Floats, goal: Goal) -> bool:
    """Whether a score that is minimised is better seen on a log scale."""
    if goal == "maximize" or not len(scores) or scores.min() <= 0:
        return False
    return bool(np.quantile(scores, 0.9) > 30 * scores.min())


def set_log_ticks(axes: Axes, which: Which, low: float, high: float) -> None:
    """A log scale whose ticks are few and written short."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = axis_of(axes, which)
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 1.7 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 6)))
    axis.set_minor_formatter(NullFormatter())


def count_in_whole_numbers(axes: Axes, which: Which) -> None:
    """Ticks at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis_of(axes, which).set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def set_limits(axes: Axes, which: Which, low: float, high: float) -> None:
    """What the axis spans."""
    axes.set(**{f"{which}lim": (low, high)})


def option_label(option: object) -> str:
    """An option as it is written on an axis: on one line, and in short."""
    text = " ".join(str(option).split())
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"


def axis_of(axes: Axes, which: Which) -> Axis:
    """The axis by its letter."""
    return axes.xaxis if which == "x" else axes.yaxis


def halo(width: float) -> list[Any]:
    """A white rim that keeps text and lines legible over others."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width, foreground="white"), Normal()]


def save(figure: Figure, path: Path) -> Path:
    """Writes the picture, whole or not at all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a study's name may be in any script
        return write_whole(path, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))
