"""The pictures of an explanation: how much each parameter matters, each one isolated, and how the best fit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.errors import StudyError
from tuner.insight.isolation import buckets_of
from tuner.record.leaders import leaders
from tuner.space.parameters import Choice, Parameter
from tuner.values.numbers import percent
from tuner.views.plots.axes import (
    INK,
    MUTED,
    RED,
    blank_figure,
    count_in_whole_numbers,
    option_label,
    quiet,
    save,
    set_limits,
    set_log_ticks,
    set_score_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tuner.insight.findings import Findings
    from tuner.insight.fit import Fit

_TEAL, _PALE = "#2a788e", "#b9d3da"
_COLUMNS = 3
_CROSS: dict[str, Any] = dict(clip_on=False, marker="x", color="#8c8c8c", linewidths=1.0, zorder=4)


def portraits(found: Findings) -> dict[str, Figure]:
    """The pictures there is something to show in, by name."""
    figures: dict[str, Figure] = {}
    if found.importance.shares:
        figures["importance"] = importance(found)
    if found.winner is not None:
        figures["isolation"] = isolation(found)
    if found.fits:
        figures["fits"] = fits(found)
    return figures


def write_portraits(found: Findings, folder: Path) -> list[Path]:
    """Each as a PNG file in a folder, made when it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [save(figure, folder / f"{name}.png") for name, figure in portraits(found).items()]
    except OSError as error:
        raise StudyError(f"plots cannot be written to {folder}: {error}. Choose another folder.") from error


def importance(found: Findings) -> Figure:
    """A bar a parameter: its share in all, with its standard error, and within it the share alone."""
    shares = found.importance.shares[::-1]
    figure = blank_figure(8.0, 1.3 + 0.42 * len(shares))
    axes = quiet(figure.add_subplot())
    places = np.arange(len(shares))
    total, alone = [each.total for each in shares], [min(each.alone, each.total) for each in shares]
    axes.barh(places, total, height=0.6, color=_PALE, label="with others", zorder=2)
    axes.barh(places, alone, height=0.6, color=_TEAL, label="alone", zorder=3)
    error = [each.error for each in shares]
    axes.errorbar(total, places, xerr=error, fmt="none", ecolor=INK, elinewidth=1.0, capsize=3, zorder=4)
    axes.set_yticks(places, [each.parameter for each in shares], parse_math=False)
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0.0, max(1.0, max(a + b for a, b in zip(total, error, strict=True))))
    axes.xaxis.set_major_formatter(lambda value, _: percent(value))
    axes.set_xlabel(f"share of how {found.objective} varies over the space, by rank", parse_math=False)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    _title(axes, "What matters")
    return figure


def isolation(found: Findings) -> Figure:
    """A panel a parameter: every score over it, and the best in each stretch, the others optimised out."""
    names = list(found.space)
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = blank_figure(4.0 * columns if columns > 1 else 6.0, 3.1 * rows + 0.2)
    for place, name in enumerate(names):
        axes = quiet(figure.add_subplot(rows, columns, place + 1))
        _isolate(axes, found, name)
        if place % columns == 0:
            axes.set_ylabel(found.objective, parse_math=False)
    return figure


def _isolate(axes: Axes, found: Findings, name: str) -> None:
    parameter = found.space[name]
    trials = [trial for trial in leaders(found.state) if name in trial.params]
    scores = np.array([trial.best_score for trial in trials], dtype=float)
    low, high = set_score_axis(axes, scores, found.state.goal)
    places = np.array([_on_axis(parameter, trial.params[name]) for trial in trials])
    axes.scatter(places, np.clip(scores, low, high), s=14, color=_PALE, zorder=2, linewidths=0)
    bad = [trial.params[name] for trial in found.state.searched() if trial.state == "diverged" and name in trial.params]
    edge = low if found.state.goal == "maximize" else high
    axes.scatter([_on_axis(parameter, value) for value in bad], [edge] * len(bad), s=20, **_CROSS)
    shown = [each for each in buckets_of(found.state, found.space, name) if each.score is not None]
    best = np.clip(np.array([each.score for each in shown], dtype=float), low, high)
    at = [_on_axis(parameter, found.state.trials[each.best or 0].params[name]) for each in shown]
    order = np.argsort(at)
    line = "none" if isinstance(parameter, Choice) else "solid"
    look = dict(color=_TEAL, marker="o", markersize=5, linewidth=1.4, linestyle=line, zorder=3)
    axes.plot(np.array(at)[order], best[order], **look)  # type: ignore[arg-type]
    if found.winner is not None and name in found.winner.params:
        axes.scatter(
            [_on_axis(parameter, found.winner.params[name])],
            [found.winner.score],
            s=110,
            marker="*",
            color=RED,
            edgecolors="white",
            linewidths=0.8,
            zorder=5,
        )
    _set_parameter(axes, parameter)
    _title(axes, name)


def _on_axis(parameter: Parameter | Choice, value: object) -> float:
    if isinstance(parameter, Choice):
        return float(next(place for place, option in enumerate(parameter.options) if option == value))
    number = float(value)  # type: ignore[arg-type]  # a parameter's values are numbers
    return 1.0 - number if parameter.scale == "log_one_minus" else number


def _set_parameter(axes: Axes, parameter: Parameter | Choice) -> None:
    """The parameter's own scale, from end to end."""
    if isinstance(parameter, Choice):
        axes.set_xticks(
            range(len(parameter.options)), [option_label(option) for option in parameter.options], parse_math=False
        )
        set_limits(axes, "x", -0.5, len(parameter.options) - 0.5)
        return
    low, high = sorted((_on_axis(parameter, parameter.low), _on_axis(parameter, parameter.high)))
    if parameter.scale == "linear":
        margin = 0.04 * (high - low)
        set_limits(axes, "x", low - margin, high + margin)
        if parameter.type == "integer":
            count_in_whole_numbers(axes, "x")
        return
    margin = (high / low) ** 0.04
    set_log_ticks(axes, "x", low / margin, high * margin)
    set_limits(axes, "x", low / margin, high * margin)
    if parameter.scale == "log_one_minus":
        axes.invert_xaxis()
        axes.set_xlabel(f"1 − {parameter.name}", parse_math=False)


def fits(found: Findings) -> Figure:
    """A panel a trial: train and dev by step, with the step where dev is best."""
    figure = blank_figure(4.0 * len(found.fits) if len(found.fits) > 1 else 6.0, 3.3)
    first: Axes | None = None
    for place, fit in enumerate(found.fits):
        axes = quiet(figure.add_subplot(1, len(found.fits), place + 1, sharey=first))
        first = first or axes
        _fit(axes, fit)
        if place == 0:
            axes.set_ylabel("loss" if fit.pair.measure == "loss" else "error")
            axes.legend(frameon=False, fontsize=9, loc="upper right")
    return figure


def _fit(axes: Axes, fit: Fit) -> None:
    axes.plot(fit.pair.steps, fit.pair.train, color=_TEAL, linewidth=1.5, linestyle=(0, (4, 2)), label="train")
    axes.plot(fit.pair.steps, fit.pair.dev, color=RED, linewidth=1.7, label="dev")
    axes.scatter([fit.step], [fit.dev], s=26, color=RED, edgecolors="white", zorder=4)
    axes.axhline(fit.target, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    count_in_whole_numbers(axes, "x")
    axes.set_xlabel("step")
    words = [word for word, high in (("high bias", fit.high_bias), ("high variance", fit.high_variance)) if high]
    course: list[str] = [fit.course] if fit.course in ("overfitting", "still improving") else []
    _title(axes, f"trial {fit.trial}: {', '.join(words + course) or 'fits well'}")


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10.5, fontweight="bold", color=INK, parse_math=False)
