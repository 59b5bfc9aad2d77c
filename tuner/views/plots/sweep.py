"""The three pictures of a study: its learning curves, where in the space its scores lie, and its progress.

Good scores are dark, poor ones pale, the best trial is red. Axes and colours leave outliers at their edge, so that a
few bad trials do not flatten the rest. Figures are made without pyplot, so nothing global changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tuner.errors import StudyError, did_you_mean
from tuner.insight.importance import by_importance
from tuner.insight.model import Model
from tuner.record.events import Goal
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.values.numbers import scored
from tuner.views.plots.axes import (
    INK,
    MUTED,
    RED,
    Which,
    axis_of,
    blank_figure,
    count_in_whole_numbers,
    halo,
    option_label,
    quiet,
    save,
    set_limits,
    set_log_ticks,
    set_score_axis,
    spans_decades,
)
from tuner.views.plots.labels import inches, stack

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

MOST_CURVES = 1000
"""Beyond so many trials the best quarter of that number is drawn, and an even sample of the others."""

_WIDTH, _AXES_WIDE, _NAME_SIZE = 8.0, 6.2, 8  # inches of a figure, and of its axes beside a colorbar; points of a name
_BAND_HIGH = (3.0, 2.4)  # inches of the panel of the best, and of that of all
_NARROW = 0.4  # a band of less than this share of the axis is too narrow to read
_FANS = (0.6180339887, 0.7548776662)  # golden ratios of one and two dimensions: neighbours fall apart
_MOST_BOXES = 4

_PALEST, _WHITENED = 0.85, 0.5  # viridis ends in a yellow that would draw the eye to the worst
_OPEN: dict[str, Any] = dict(facecolors="none", edgecolors="#8c8c8c", linewidths=0.9)
_CROSS: dict[str, Any] = dict(clip_on=False, marker="x", color="#8c8c8c", linewidths=1.0)


def plot_all(
    study: StudyState, space: Space | None, folder: Path, *, x: str | None = None, y: str | None = None
) -> list[Path]:
    """Writes curves.png, scatter.png and progress.png into a folder, made when it is not there.

    `x` and `y` name the settings of the scatter plot's axes; `y` may be the objective.
    """
    figures = {"curves": curves(study), "scatter": scatter(study, space, x, y), "progress": progress(study)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [save(figure, folder / f"{name}.png") for name, figure in figures.items()]
    except OSError as error:
        raise StudyError(f"plots cannot be written to {folder}: {error}. Choose another folder.") from error


# ── the three pictures ──────────────────────────────────────────────────────────────────────────


def curves(study: StudyState) -> Figure:
    """Every trial's head reports of the objective, by step; those pruned are faded, those diverged end in a cross.

    Where the better half of the trials ends in a narrow band of all that was scored, the band has a panel of its own.
    """
    view = _View(study)
    drawn = [(trial, points) for trial in view.sample() if len(points := _points(study, trial))]
    drawn.sort(key=lambda pair: view.rank(pair[0]))
    up = study.goal == "maximize"
    sound = [points[:, 1] for trial, points in drawn if trial.state != "diverged"]
    scores = np.concatenate(sound or [points[:, 1] for _, points in drawn] or [np.empty(0)])
    figure, axes = _blank()
    low, high = set_score_axis(axes, scores, study.goal, [points.min() if up else points.max() for points in sound])
    told = f"{len(drawn):,} curves drawn" if len(study.searched()) > MOST_CURVES else ""
    if not drawn:
        _title(axes, view, told)
        return _nothing(figure, axes, view)
    band = None if axes.get_yscale() == "log" else _top_band(view.scores, study.goal, (low, high))
    if band is not None:
        figure, (top, axes) = _stacked(*_BAND_HIGH)
        set_score_axis(axes, scores, study.goal, [points.min() if up else points.max() for points in sound])
        _draw_curves(top, view, drawn)
        set_limits(top, "y", *band)
        top.set_ylabel(f"{study.objective}, the best half", parse_math=False)
    shown = [(trial, np.clip(points, (-math.inf, low), (math.inf, high))) for trial, points in drawn]
    _draw_curves(axes, view, shown)
    _title(figure.axes[0], view, told)
    axes.set_xlabel("step")
    axes.set_ylabel(study.objective, parse_math=False)
    count_in_whole_numbers(axes, "x")
    _add_colorbar(figure, list(figure.axes), view)
    _add_legend(axes, view, _LINES)
    return figure


def scatter(study: StudyState, space: Space | None, x: str | None = None, y: str | None = None) -> Figure:
    """Scores over two settings on their own scales, with the rounds' boxes.

    The two are those named, else those that matter most (`tuner explain`), else the first. With one setting, or where
    `y` is the objective, the score is the other axis.
    """
    figure, axes = _blank()
    view = _View(study)
    across, up = _axes_of(study, space or Space(), x, y)
    _title(axes, view)
    if across is None or not study.searched():
        return _nothing(figure, axes, view)
    scores = np.array([view.score(trial) for trial in study.searched()])
    places = _places_of(across, study.searched(), _FANS[0])
    _set_parameter_axis(axes, "x", across, places)
    if up is not None:
        heights = _places_of(up, study.searched(), _FANS[1])
        _set_parameter_axis(axes, "y", up, heights)
    else:
        low, high = set_score_axis(axes, scores[view.sound], study.goal)
        axes.set_ylabel(study.objective, parse_math=False)
        bad = low if study.goal == "maximize" else high
        heights = np.clip(np.where(np.isfinite(scores) & view.sound, scores, bad), low, high)
    _draw_trials(axes, view, study.searched(), places, heights)
    if isinstance(up, Parameter) and isinstance(across, Parameter):
        _draw_boxes(axes, study, across, up)
    _add_colorbar(figure, [axes], view)
    _add_legend(axes, view, _MARKS)
    return figure


def progress(study: StudyState) -> Figure:
    """Each trial's own score, ended or set aside, in the order the trials began, and the best so far."""
    figure, axes = _blank()
    view = _View(study)
    begun = [trial for trial in study.searched() if trial.started is not None or trial.best_score is not None]
    _title(axes, view)
    axes.set_xlabel("trial")
    if not begun:
        return _nothing(figure, axes, view)
    order = np.array([float(trial.trial) for trial in begun])
    sound = np.array([trial.state != "diverged" for trial in begun])
    scores = np.array([view.score(trial) for trial in begun])
    low, high = set_score_axis(axes, scores[sound], study.goal)
    bad = low if study.goal == "maximize" else high
    margin = 0.6 + 0.01 * len(begun)
    axes.set_xlim(order[0] - margin, order[-1] + margin)
    count_in_whole_numbers(axes, "x")
    axes.set_ylabel(study.objective, parse_math=False)
    _draw_trials(axes, view, begun, order, np.clip(np.where(np.isfinite(scores) & sound, scores, bad), low, high))
    best = _best_so_far(np.where(sound, scores, np.nan), study.goal)
    axes.step(order, np.clip(best, low, high), where="post", color=RED, linewidth=1.8, zorder=4, label="best so far")
    _mark_rounds(axes, begun, study.goal)
    _add_colorbar(figure, [axes], view)
    _add_legend(axes, view, _MARKS | {"best": dict(color=RED, linewidth=1.8, label="best so far")})
    return figure


def _axes_of(
    study: StudyState, space: Space, x: str | None, y: str | None
) -> tuple[Parameter | Choice | None, Parameter | Choice | None]:
    """The settings of a scatter plot's two axes; None where there is none, or the score takes its place."""
    for word, name in (("x", x), ("y", y)):
        if name is not None and name not in space and (word == "x" or name != study.objective):
            raise StudyError(f"{word}={name!r} is no setting of {study.name}. {did_you_mean(name, space.names)}")
    named = [name for name in (x, y) if name is not None]
    order = [*named, *(name for name in _by_importance(study, space) if name not in named)] if len(named) < 2 else named
    across = x if x is not None else next((name for name in order if name != y), None)
    up = y if y is not None else next((name for name in order if name != across), None)
    return (None if across is None else space[across]), (None if up is None or up not in space else space[up])


def _by_importance(study: StudyState, space: Space) -> list[str]:
    """The settings, those that matter most first; as declared, numbers first, where that cannot be told yet."""
    declared = sorted(space, key=lambda name: not isinstance(space[name], Parameter))
    if len(space) < 3:
        return declared
    model = Model.of_ranks(study, space)
    return declared if model is None else by_importance(model)


def _top_band(scores: Floats, goal: Goal, limits: tuple[float, float]) -> tuple[float, float] | None:
    """Between which scores the better half of the trials lies; None where the axis shows them well enough."""
    if len(scores) < 2:
        return None
    middle, best = float(np.median(scores)), float(scores.max() if goal == "maximize" else scores.min())
    margin = 0.08 * abs(best - middle)
    if not 0 < abs(best - middle) + 2 * margin < _NARROW * (limits[1] - limits[0]):
        return None
    return min(best, middle) - margin, max(best, middle) + margin


# ── what is seen ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _View:
    """A study with the colours of its scores."""

    study: StudyState

    @cached_property
    def sound(self) -> NDArray[np.bool_]:
        """Which trials did not diverge."""
        return np.array([trial.state != "diverged" for trial in self.study.searched()], dtype=bool)

    @cached_property
    def scores(self) -> Floats:
        """The scores that colours speak of."""
        scores = np.array([self.score(trial) for trial in self.study.searched() if trial.state != "diverged"])
        return scores[np.isfinite(scores)] if len(scores) else np.empty(0)

    def score(self, trial: Trial) -> float:
        """The trial's best score, or nan."""
        return math.nan if trial.best_score is None else trial.best_score

    def rank(self, trial: Trial) -> tuple[bool, float]:
        """Orders trials from worst to best, so that the best are drawn on top."""
        score = self.score(trial)
        known = math.isfinite(score) and trial.state != "diverged"
        return known, self.study.signed(score) if known else 0.0

    def sample(self) -> list[Trial]:
        """The trials whose curves are drawn."""
        trials = [trial for trial in self.study.searched() if trial.started is not None or trial.best_score is not None]
        if len(trials) <= MOST_CURVES:
            return trials
        ranked = sorted(trials, key=self.rank, reverse=True)
        best, others = ranked[: MOST_CURVES // 4], ranked[MOST_CURVES // 4 :]
        even = np.linspace(0, len(others) - 1, MOST_CURVES - len(best)).astype(int)
        return best + [others[place] for place in even]

    @cached_property
    def norm(self) -> Normalize:
        """From the worst quarter of the scores to the best one."""
        from matplotlib.colors import LogNorm, Normalize

        if not len(self.scores):
            return Normalize(0.0, 1.0)
        low, high = float(self.scores.min()), float(self.scores.max())
        if self.study.goal == "maximize":
            low = float(np.quantile(self.scores, 0.25))
        else:
            high = float(np.quantile(self.scores, 0.75))
        if low == high:
            low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
        return LogNorm(low, high) if spans_decades(self.scores, self.study.goal) else Normalize(low, high)

    @cached_property
    def colormap(self) -> Colormap:
        """Viridis, turned so that good scores are dark."""
        from matplotlib import colormaps
        from matplotlib.colors import ListedColormap

        pale_to_dark = colormaps["viridis"](np.linspace(_PALEST, 0.0, 256))
        pale_to_dark += np.linspace(_WHITENED, 0.0, 256)[:, None] * (1.0 - pale_to_dark)
        return ListedColormap(pale_to_dark if self.study.goal == "maximize" else pale_to_dark[::-1])

    def colour(self, trial: Trial) -> Any:
        """The colour of the trial's score; grey where it has none or diverged, red for the best trial."""
        if trial is self.study.best:
            return RED
        score = self.score(trial)
        return self.colormap(self.norm(score)) if self.line(trial) != "diverged" and math.isfinite(score) else "#b0b0b0"

    def mark(self, trial: Trial) -> str:
        """What kind of mark the trial gets."""
        if trial is self.study.best:
            return "best"
        if trial.state in ("diverged", "failed"):
            return trial.state
        if not math.isfinite(self.score(trial)):
            return "waiting"
        return "pruned" if trial.state == "pruned" else "scored"

    def line(self, trial: Trial) -> str:
        """What kind of line the trial gets."""
        mark = self.mark(trial)
        return mark if mark in ("best", "diverged", "pruned") else "scored"

    def count(self, state: str) -> int:
        """How many trials of the search are in that state."""
        return sum(trial.state == state for trial in self.study.searched())


def _points(study: StudyState, trial: Trial) -> Floats:
    """The finite (step, score) rows of a head curve."""
    curve = study.curve(trial)
    points = np.column_stack([np.asarray(curve.steps, dtype=np.float64), np.asarray(curve.scores, dtype=np.float64)])
    return points[np.isfinite(points[:, 1])]


def _best_so_far(scores: Floats, goal: Goal) -> Floats:
    """The running best; nan until there is one."""
    better: Any = np.fmax if goal == "maximize" else np.fmin
    best: Floats = better.accumulate(scores)
    return best


# ── axes ────────────────────────────────────────────────────────────────────────────────────────


def _set_parameter_axis(axes: Axes, which: Which, dimension: Parameter | Choice, places: Floats) -> None:
    """The parameter's own scale, from bound to bound and beyond where a trial lies beyond."""
    axis = axis_of(axes, which)
    if isinstance(dimension, Choice):
        axis.set_ticks(
            range(len(dimension.options)), [option_label(option) for option in dimension.options], parse_math=False
        )
        set_limits(axes, which, -0.6, len(dimension.options) - 0.4)
        axis.set_label_text(dimension.name)
        return
    ends = [*_side(dimension, (0.0, 1.0)), *places[np.isfinite(places)]]
    low, high = float(min(ends)), float(max(ends))
    axis.set_label_text(f"1 − {dimension.name}" if dimension.scale == "log_one_minus" else dimension.name)
    if dimension.scale == "linear":
        set_limits(axes, which, low - 0.06 * (high - low), high + 0.06 * (high - low))
        if dimension.type == "integer":
            count_in_whole_numbers(axes, which)
        return
    margin = (high / low) ** 0.06
    set_log_ticks(axes, which, low / margin, high * margin)
    set_limits(axes, which, low / margin, high * margin)


def _on_axis(parameter: Parameter, values: Floats) -> Floats:
    """Values as the axis shows them."""
    return 1.0 - values if parameter.scale == "log_one_minus" else values


def _side(parameter: Parameter, interval: tuple[float, float]) -> tuple[float, float]:
    """Where an interval of [0, 1] begins and ends on the axis; a whole number stands in the middle of its cell."""
    half = 0.5 if parameter.type == "integer" else 0.0
    values = np.array([parameter.from_unit(interval[0]) - half, parameter.from_unit(interval[1]) + half])
    low, high = sorted(_on_axis(parameter, values).tolist())
    return low, high


def _places_of(dimension: Parameter | Choice, trials: Sequence[Trial], spread: float) -> Floats:
    """Where trials stand along a parameter's axis; those of one option, or of one of a few numbers, are fanned out."""
    values = [trial.params.get(dimension.name) for trial in trials]
    fan = 0.5 * (np.arange(len(trials)) * spread % 1.0 - 0.5)
    if isinstance(dimension, Choice):
        number = {repr(option): float(place) for place, option in enumerate(dimension.options)}
        return np.array([number.get(repr(value), math.nan) for value in values], dtype=np.float64) + fan
    numbers = np.array([value if isinstance(value, int | float) else math.nan for value in values], dtype=np.float64)
    few = dimension.type == "integer" and dimension.scale == "linear" and dimension.high - dimension.low <= 12
    return _on_axis(dimension, numbers + fan if few else numbers)


# ── what is drawn ───────────────────────────────────────────────────────────────────────────────


def _draw_curves(axes: Axes, view: _View, curves: Sequence[tuple[Trial, Floats]]) -> None:
    """Lines from the worst trial to the best; the more there are, the thinner and fainter."""
    from matplotlib.collections import LineCollection

    crowd = min(1.0, math.sqrt(40 / len(curves)))
    looks: Mapping[str, dict[str, Any]] = {
        "diverged": dict(linewidths=0.5 + 0.4 * crowd, alpha=0.4 + 0.4 * crowd, zorder=1.4),
        "pruned": dict(linewidths=0.5 + 0.5 * crowd, alpha=0.15 + 0.25 * crowd, zorder=1.6),
        "scored": dict(linewidths=0.6 + 0.8 * crowd, alpha=0.45 + 0.45 * crowd, zorder=2.0),
        "best": dict(linewidths=2.0, zorder=4.0, path_effects=halo(3.4)),
    }
    for kind, look in looks.items():
        group = [(trial, points) for trial, points in curves if view.line(trial) == kind]
        colours = [view.colour(trial) for trial, _ in group]
        axes.add_collection(LineCollection([points for _, points in group], colors=colours, capstyle="round", **look))
        dots = [place for place, (_, points) in enumerate(group) if len(points) == 1]
        if dots:
            where = np.array([group[place][1][0] for place in dots])
            axes.scatter(
                where[:, 0], where[:, 1], s=14, color=[colours[place] for place in dots], zorder=look["zorder"]
            )
        if kind == "diverged" and group:
            where = np.array([points[-1] for _, points in group])
            axes.scatter(where[:, 0], where[:, 1], s=10 + 16 * crowd, zorder=2.5, **_CROSS)
        elif kind == "best" and group:
            trial, points = group[0]
            where = points[points[:, 0] == trial.best_step]
            axes.scatter(where[:, 0], where[:, 1], s=34, color=RED, edgecolors="white", zorder=5)
    first = min(points[0, 0] for _, points in curves)
    last = max(points[-1, 0] for _, points in curves)
    margin = 0.02 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)


def _draw_trials(axes: Axes, view: _View, trials: Sequence[Trial], x: Floats, y: Floats) -> None:
    """A mark a trial: dots coloured by score, crosses where it diverged, open ones where it failed, a star the best."""
    size = float(np.clip(2600 / len(trials), 9, 44))
    looks: Mapping[str, Any] = {
        "waiting": dict(s=0.3 * size, zorder=2.1, color="#bdbdbd", linewidths=0),
        "failed": dict(s=0.7 * size, zorder=2.2, clip_on=False, **_OPEN),
        "diverged": dict(s=0.7 * size, zorder=2.3, **_CROSS),
        "pruned": dict(s=0.5 * size, zorder=2.5, edgecolors="white", linewidths=0.3, alpha=0.8),
        "scored": dict(s=size, zorder=3.0, edgecolors="white", linewidths=0.4),
        "best": dict(s=size + 90, zorder=5.0, color=RED, marker="*", edgecolors="white", linewidths=0.9),
    }
    seen = np.isfinite(x) & np.isfinite(y)
    order = [place for place in sorted(range(len(trials)), key=lambda i: view.rank(trials[i])) if seen[place]]
    for kind, look in looks.items():
        group = [place for place in order if view.mark(trials[place]) == kind]
        colours = [view.colour(trials[place]) for place in group]
        if group:
            axes.scatter(x[group], y[group], **({"color": colours} | look))


def _draw_boxes(axes: Axes, study: StudyState, across: Parameter, up: Parameter) -> None:
    """The first and the last round's boxes and two between, darker by time, each named where no other name stands."""
    from matplotlib.patches import Rectangle

    taken: list[tuple[float, float]] = []
    moved = [each for at, each in enumerate(study.rounds) if not at or each.box != study.rounds[at - 1].box]
    rounds = (
        [moved[at] for at in sorted({round(at) for at in np.linspace(0, len(moved) - 1, _MOST_BOXES)})] if moved else []
    )
    for place, each in enumerate(rounds):
        late = (place + 1) / len(rounds)
        (left, right), (bottom, top) = (_side(one, each.box.get(one.name, (0.0, 1.0))) for one in (across, up))
        colour = str(round(0.72 - 0.5 * late, 3))
        line = ((0, (1, 2.5)), (0, (5, 2.5)), "solid")[min(2, int(3 * late - 1e-9))]
        axes.add_patch(
            Rectangle(
                (left, bottom),
                right - left,
                top - bottom,
                fill=False,
                edgecolor=colour,
                linestyle=line,
                linewidth=0.8 + 0.6 * late,
                zorder=3.5,
            )
        )
        _name_box(axes, f"round {each.round}", (left, right, bottom, top), colour, taken)


def _name_box(
    axes: Axes, name: str, box: tuple[float, float, float, float], colour: str, taken: list[tuple[float, float]]
) -> None:
    left, right, bottom, top = box
    to_axes = axes.transData + axes.transAxes.inverted()
    for x, y, across, up, shift in (
        (left, top, "left", "bottom", 3),
        (right, bottom, "right", "top", -3),
        (right, top, "right", "bottom", 3),
        (left, bottom, "left", "top", -3),
    ):
        spot = to_axes.transform((x, y))
        middle = (spot[0] + (0.05 if across == "left" else -0.05), spot[1] + 0.006 * shift)
        if all(abs(middle[0] - other[0]) > 0.12 or abs(middle[1] - other[1]) > 0.04 for other in taken):
            taken.append(middle)
            axes.annotate(
                name,
                (x, y),
                xytext=(0, shift),
                textcoords="offset points",
                ha=across,
                va=up,
                fontsize=8,
                color=colour,
                path_effects=halo(2.5),
                zorder=6,
            )
            return


def _mark_rounds(axes: Axes, begun: Sequence[Trial], goal: Goal) -> None:
    """A line where the first trial of each later round began, named where there is room for its name."""
    starts: dict[int, int] = {}
    for trial in begun:
        if trial.round is not None:
            starts.setdefault(trial.round, trial.trial)
    shown = {number: place for number, place in starts.items() if number > 0}
    if len(shown) > 12:
        return
    up = goal == "maximize"
    names = [(f"round {opened}", place - 0.5) for opened, place in shown.items()]
    spots = stack([(at, inches(name, _NAME_SIZE)) for name, at in names], axes.get_xlim(), _AXES_WIDE)
    for (name, at), spot in zip(names, spots, strict=True):
        axes.axvline(at, color="#c4c4c4", linewidth=0.8, linestyle=(0, (5, 2.5)), zorder=1)
        if spot.row != 0:
            continue
        axes.annotate(
            name,
            (spot.left, float(up)),
            xytext=(3, -3 if up else 3),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            va="top" if up else "bottom",
            fontsize=_NAME_SIZE,
            color=MUTED,
            path_effects=halo(2.0),
        )


# ── frame, words, file ──────────────────────────────────────────────────────────────────────────


def _blank() -> tuple[Figure, Axes]:
    """An empty figure with quiet axes."""
    figure = blank_figure(_WIDTH, 5.2)
    return figure, quiet(figure.add_subplot())


def _stacked(*heights: float) -> tuple[Figure, list[Axes]]:
    """A figure of quiet axes one above the other, that share their steps."""
    figure = blank_figure(_WIDTH, 1.2 + sum(heights))
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    return figure, [quiet(axes) for axes in panels]


def _title(axes: Axes, view: _View, more: str = "") -> None:
    """The study and its best in bold, what became of the others below."""
    study, best = view.study, view.study.best
    trials = f"{len(study.searched()):,} trial{'s' if len(study.searched()) != 1 else ''}"
    name = study.name if len(study.name) <= 40 else f"{study.name[:39]}…"
    score = f"best {scored(best.best_score, study.spread(best))} (trial {best.trial})" if best else "no score yet"
    text = f"{name}: {study.objective} of {trials}; {score}"
    counts = [f"{view.count(state)} {state}" for state in _TOLD if view.count(state)]
    size = 11.5 * min(1.0, 72 / len(text))
    axes.set_title(text, loc="left", fontsize=size, fontweight="bold", color=INK, pad=22, parse_math=False)
    axes.annotate(
        " · ".join([f"{study.goal}", *counts, *filter(None, [more])]),
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 8),
        textcoords="offset points",
        fontsize=9,
        color=MUTED,
        parse_math=False,
    )


_TOLD = ("completed", "pruned", "diverged", "failed", "stopped", "running", "paused", "waiting", "lost")


def _nothing(figure: Figure, axes: Axes, view: _View) -> Figure:
    axes.set(xticks=[], yticks=[], xlabel="")
    axes.spines[:].set_visible(False)
    axes.text(
        0.5,
        0.5,
        f"no trial has reported {view.study.objective} yet",
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=MUTED,
        fontsize=11,
        parse_math=False,
    )
    return figure


def _add_colorbar(figure: Figure, axes: Sequence[Axes], view: _View) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    if len(view.scores) < 2:
        return
    beyond = {"maximize": view.scores.min() < view.norm.vmin, "minimize": view.scores.max() > view.norm.vmax}
    side = {"maximize": "min", "minimize": "max"}[view.study.goal] if beyond[view.study.goal] else "neither"
    bar = figure.colorbar(ScalarMappable(view.norm, view.colormap), ax=list(axes), extend=side, aspect=32, pad=0.02)
    if isinstance(view.norm, LogNorm):
        set_log_ticks(bar.ax, "y", float(view.norm.vmin or 0), float(view.norm.vmax or 1))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8.5, color="#9a9a9a", labelcolor=INK, which="both")
    bar.set_label(f"best {view.study.objective} of the trial", fontsize=9, color=MUTED, parse_math=False)


def _add_legend(axes: Axes, view: _View, looks: Mapping[str, dict[str, Any]]) -> None:
    """What the marks mean, below the axes, of those that are there."""
    from matplotlib.lines import Line2D

    there = {view.mark(trial) for trial in view.study.searched()}
    handles = [Line2D([], [], **look) for kind, look in looks.items() if kind in there]
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, -0.125),
        ncols=6,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=1.5,
        handletextpad=0.5,
        columnspacing=1.8,
        borderpad=0.0,
        borderaxespad=0.0,
    )


# How the legend shows each kind of trial; colours come from the middle of the colormap.
_DOT, _GREY = "#2a788e", "#8c8c8c"
_LINES: Mapping[str, dict[str, Any]] = {
    "best": dict(color=RED, linewidth=2.0, label="best trial"),
    "scored": dict(color=_DOT, linewidth=1.4, label="other trials"),
    "pruned": dict(color=_DOT, linewidth=1.0, alpha=0.4, label="pruned"),
    "diverged": dict(color="#b0b0b0", linewidth=0.9, marker="x", markersize=5, markeredgecolor=_GREY, label="diverged"),
}
_MARKS: dict[str, dict[str, Any]] = {
    "best": dict(color=RED, marker="*", markersize=10, linestyle="none", label="best trial"),
    "scored": dict(color=_DOT, marker="o", markersize=6, linestyle="none", label="other trials"),
    "pruned": dict(color=_DOT, marker="o", markersize=4, alpha=0.8, linestyle="none", label="pruned"),
    "diverged": dict(color=_GREY, marker="x", markersize=5, linestyle="none", label="diverged"),
    "failed": dict(
        markeredgecolor=_GREY, marker="o", markerfacecolor="none", markersize=5, linestyle="none", label="failed"
    ),
    "waiting": dict(color="#bdbdbd", marker="o", markersize=3, linestyle="none", label="no score yet"),
}
