"""Knows the three pictures of a study: its learning curves, where in the space its scores lie, and its progress.

Good scores are dark, poor ones pale, the best trial is red; axes and colours leave outliers at their edge, so that a few
bad trials do not flatten the rest. Figures are made without pyplot, so nothing global changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tuner.errors import StudyError
from tuner.records import Goal
from tuner.space import Choice, Parameter, Space
from tuner.study import StudyState, Trial

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

MOST_CURVES = 1000
"""Beyond so many trials the best quarter of that number is drawn, and an even sample of the others."""

_INK, _MUTED, _FAINT, _RED = "#222222", "#6f6f6f", "#e6e6e6", "#d62839"
_PALEST = 0.9  # of viridis: its last tenth is too bright a yellow on white
_SHAPES: Mapping[str, dict[str, Any]] = {
    "diverged": dict(marker="x", color="#8c8c8c", linewidths=1.0),
    "failed": dict(marker="o", facecolors="none", edgecolors="#8c8c8c", linewidths=0.9),
}


def plot_all(study: StudyState, space: Space | None, folder: Path) -> list[Path]:
    """Writes curves.png, scatter.png and progress.png into a folder, made when it is not there."""
    figures = {"curves": curves(study), "scatter": scatter(study, space), "progress": progress(study)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_save(figure, folder / f"{name}.png") for name, figure in figures.items()]
    except OSError as error:
        raise StudyError(f"plots cannot be written to {folder}: {error}. Choose another folder.") from error


# ── the three pictures ──────────────────────────────────────────────────────────────────────────


def curves(study: StudyState) -> Figure:
    """Every trial's head reports of the objective, by step; those pruned are faded, those diverged end in a cross."""
    figure, axes = _blank()
    view = _View(study)
    drawn = [(trial, points) for trial in view.sample() if len(points := _points(study, trial))]
    sound = [points[:, 1] for trial, points in drawn if trial.state != "diverged"]
    scores = np.concatenate(sound or [points[:, 1] for _, points in drawn] or [np.empty(0)])
    low, high = _set_score_axis(axes.yaxis, scores, study.goal)
    _title(axes, view, f"{len(drawn):,} of {len(study.trials):,} curves drawn" if len(drawn) == MOST_CURVES else "")
    axes.set_xlabel("step")
    if not drawn:
        return _nothing(figure, axes, view)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(study.objective, parse_math=False)
    crowd = min(1.0, math.sqrt(40 / len(drawn)))
    ends: dict[str, list[tuple[float, float]]] = {}
    for trial, points in sorted(drawn, key=lambda pair: view.rank(pair[0])):
        shown = np.clip(points, (-math.inf, low), (math.inf, high))
        state = trial.state if trial.state in ("pruned", "diverged") else "others"
        ends.setdefault(state, []).append((shown[-1, 0], shown[-1, 1]))
        _draw_curve(axes, trial, shown, view, crowd)
    if "diverged" in ends:
        axes.scatter(*np.array(ends["diverged"]).T, s=26, zorder=2.5, **_SHAPES["diverged"])
    _add_colorbar(figure, axes, view)
    _add_legend(figure, axes, view)
    return figure


def scatter(study: StudyState, space: Space | None) -> Figure:
    """Scores over the first two numeric parameters on their own scales, with the rounds' boxes.

    With one numeric parameter the score is the other axis; with none, scores stand above the first choice's options.
    """
    figure, axes = _blank()
    view = _View(study)
    numeric = [each for each in (space or {}).values() if isinstance(each, Parameter)][:2]
    choices = [each for each in (space or {}).values() if isinstance(each, Choice)][:1]
    across: Parameter | Choice | None = next(iter([*numeric, *choices]), None)
    _title(axes, view)
    if across is None or not study.trials:
        return _nothing(figure, axes, view)
    up = numeric[1] if len(numeric) == 2 else None
    x = _places_of(across, study.trials)
    scores = np.array([view.score(trial) for trial in study.trials])
    _set_parameter_axis(axes.xaxis, across, x)
    if up is not None:
        y = _places_of(up, study.trials)
        _set_parameter_axis(axes.yaxis, up, y)
    else:
        low, high = _set_score_axis(axes.yaxis, scores[view.sound], study.goal)
        axes.set_ylabel(study.objective, parse_math=False)
        bad = low if study.goal == "maximize" else high
        y = np.clip(np.where(np.isfinite(scores) & view.sound, scores, bad), low, high)
    _draw_trials(axes, view, study.trials, x, y)
    if up is not None and isinstance(across, Parameter):
        _draw_boxes(axes, study, across, up)
    _add_colorbar(figure, axes, view)
    _add_legend(figure, axes, view)
    return figure


def progress(study: StudyState) -> Figure:
    """Each trial's own score in the order the trials ended, and the best so far."""
    figure, axes = _blank()
    view = _View(study)
    ended = study.ended()
    _title(axes, view)
    axes.set_xlabel("trials ended")
    if not ended:
        return _nothing(figure, axes, view)
    order = np.arange(1.0, len(ended) + 1)
    sound = np.array([trial.state != "diverged" for trial in ended])
    scores = np.array([view.score(trial) for trial in ended])
    low, high = _set_score_axis(axes.yaxis, scores[sound], study.goal)
    bad = low if study.goal == "maximize" else high
    axes.set_xlim(0.5 - 0.015 * len(ended), len(ended) + 0.5 + 0.015 * len(ended))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(study.objective, parse_math=False)
    _draw_trials(axes, view, ended, order, np.clip(np.where(np.isfinite(scores) & sound, scores, bad), low, high))
    best = _best_so_far(np.where(sound, scores, np.nan), study.goal)
    axes.step(order, np.clip(best, low, high), where="post", color=_RED, linewidth=1.8, zorder=4, label="best so far")
    _mark_rounds(axes, ended)
    _add_colorbar(figure, axes, view)
    _add_legend(figure, axes, view)
    return figure


# ── what is seen ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _View:
    """A study with the colours of its scores."""

    study: StudyState

    @cached_property
    def sound(self) -> NDArray[np.bool_]:
        """Which trials did not diverge."""
        return np.array([trial.state != "diverged" for trial in self.study.trials], dtype=bool)

    @cached_property
    def scores(self) -> Floats:
        """The scores that colours speak of."""
        scores = np.array([self.score(trial) for trial in self.study.trials if trial.state != "diverged"])
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
        trials = [trial for trial in self.study.trials if trial.started is not None or trial.best_score is not None]
        if len(trials) <= MOST_CURVES:
            return trials
        ranked = sorted(trials, key=self.rank, reverse=True)
        best, others = ranked[: MOST_CURVES // 4], ranked[MOST_CURVES // 4 :]
        even = np.linspace(0, len(others) - 1, MOST_CURVES - len(best)).astype(int)
        return best + [others[place] for place in even]

    @cached_property
    def norm(self) -> Normalize:
        """From the worst tenth of the scores to the best one."""
        from matplotlib.colors import LogNorm, Normalize

        if not len(self.scores):
            return Normalize(0.0, 1.0)
        low, high = float(self.scores.min()), float(self.scores.max())
        if self.study.goal == "maximize":
            low = float(np.quantile(self.scores, 0.1))
        else:
            high = float(np.quantile(self.scores, 0.9))
        if low == high:
            low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
        return LogNorm(low, high) if _spans_decades(self.scores, self.study.goal) else Normalize(low, high)

    @cached_property
    def colormap(self) -> Colormap:
        """Viridis, turned so that good scores are dark."""
        from matplotlib import colormaps
        from matplotlib.colors import ListedColormap

        pale_to_dark = colormaps["viridis"](np.linspace(_PALEST, 0.0, 256))
        return ListedColormap(pale_to_dark if self.study.goal == "maximize" else pale_to_dark[::-1])

    def colour(self, trial: Trial) -> Any:
        """The colour of the trial's score; grey where it has none."""
        score = self.score(trial)
        return self.colormap(self.norm(score)) if math.isfinite(score) else "#bdbdbd"

    def count(self, *states: str) -> int:
        """How many trials are in one of the states."""
        return sum(self.study.counts.get(state, 0) for state in states)


def _points(study: StudyState, trial: Trial) -> Floats:
    """The finite (step, score) rows of a head curve."""
    curve = study.curve(trial)
    points = np.column_stack([np.asarray(curve.steps, dtype=np.float64), np.asarray(curve.scores, dtype=np.float64)])
    return points[np.isfinite(points[:, 1])]


def _best_so_far(scores: Floats, goal: Goal) -> Floats:
    """The running best; nan until there is one."""
    return np.fmax.accumulate(scores) if goal == "maximize" else np.fmin.accumulate(scores)


def _spans_decades(scores: Floats, goal: Goal) -> bool:
    """Whether a score that is minimised is better seen on a log scale."""
    if goal == "maximize" or not len(scores) or scores.min() <= 0:
        return False
    return bool(np.quantile(scores, 0.9) > 30 * scores.min())


# ── axes ────────────────────────────────────────────────────────────────────────────────────────


def _set_score_axis(axis: Axis, scores: Floats, goal: Goal) -> tuple[float, float]:
    """Limits that hold every good score, and bad ones up to three quartile ranges from the middle (Tukey 1977)."""
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return 0.0, 1.0
    logarithmic = _spans_decades(scores, goal)
    bent = np.log10(scores) if logarithmic else scores
    first, third = np.quantile(bent, (0.25, 0.75))
    reach = 3.0 * (third - first)
    low, high = bent.min(), bent.max()
    if reach > 0:
        low, high = (max(low, first - reach), high) if goal == "maximize" else (low, min(high, third + reach))
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    low, high = float(low - margin), float(high + margin)
    if logarithmic:
        low, high = 10.0**low, 10.0**high
        _set_log_ticks(axis, low, high)
    _set_limits(axis, low, high)
    return low, high


def _set_parameter_axis(axis: Axis, dimension: Parameter | Choice, places: Floats) -> None:
    """The parameter's own scale, from bound to bound and beyond where a trial lies beyond."""
    if isinstance(dimension, Choice):
        axis.set_ticks(range(len(dimension.options)), [str(option) for option in dimension.options], parse_math=False)
        _set_limits(axis, -0.6, len(dimension.options) - 0.4)
        axis.set_label_text(dimension.name)
        return
    known = places[np.isfinite(places)]
    ends = [*_on_axis(dimension, np.array([dimension.low, dimension.high], dtype=np.float64)), *known]
    low, high = float(min(ends)), float(max(ends))
    axis.set_label_text(f"1 − {dimension.name}" if dimension.scale == "log_one_minus" else dimension.name)
    if dimension.scale == "linear":
        _set_limits(axis, low - 0.06 * (high - low), high + 0.06 * (high - low))
        return
    margin = (high / low) ** 0.06
    _set_log_ticks(axis, low / margin, high * margin)
    _set_limits(axis, low / margin, high * margin)


def _set_log_ticks(axis: Axis, low: float, high: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 1.7 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("e-0", "e-")))
    axis.set_minor_formatter(NullFormatter())


def _set_limits(axis: Axis, low: float, high: float) -> None:
    axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})


def _on_axis(parameter: Parameter, values: Floats) -> Floats:
    """Values as the axis shows them."""
    return 1.0 - values if parameter.scale == "log_one_minus" else values


def _places_of(dimension: Parameter | Choice, trials: Sequence[Trial]) -> Floats:
    """Where trials stand along a parameter's axis; options are numbered and their trials fanned out."""
    values = [trial.params.get(dimension.name) for trial in trials]
    if isinstance(dimension, Choice):
        number = {repr(option): float(place) for place, option in enumerate(dimension.options)}
        fan = 0.5 * (np.arange(len(trials)) * 0.6180339887 % 1.0 - 0.5)  # golden ratio: neighbours fall apart
        return np.array([number.get(repr(value), math.nan) for value in values]) + fan
    return _on_axis(dimension, np.array([value if isinstance(value, int | float) else math.nan for value in values]))


# ── what is drawn ───────────────────────────────────────────────────────────────────────────────


def _draw_curve(axes: Axes, trial: Trial, points: Floats, view: _View, crowd: float) -> None:
    """One trial's curve; `crowd` thins the lines where there are many."""
    best = trial is view.study.best
    look: dict[str, Any] = dict(color=view.colour(trial), linewidth=0.6 + 0.9 * crowd, alpha=0.5 + 0.4 * crowd, zorder=2)
    if trial.state == "pruned":
        look |= dict(alpha=0.18 + 0.22 * crowd, zorder=1.5)
    elif trial.state == "diverged":
        look |= dict(color="#b0b0b0", alpha=0.5 + 0.3 * crowd, linewidth=0.5 + 0.4 * crowd, zorder=1.4)
    if best:
        look |= dict(color=_RED, linewidth=2.0, alpha=1.0, zorder=4, path_effects=_halo(3.6))
    axes.plot(*points.T, marker="o" if len(points) == 1 else None, markersize=4, solid_capstyle="round", **look)
    if best:
        axes.scatter([trial.best_step], [trial.best_score], s=30, color=_RED, edgecolors="white", zorder=5)


def _draw_trials(axes: Axes, view: _View, trials: Sequence[Trial], x: Floats, y: Floats) -> None:
    """A mark a trial: dots coloured by score, crosses where it diverged, open ones where it failed or has no score."""
    size = float(np.clip(2400 / len(trials), 9, 44))
    for order, trial in sorted(enumerate(trials), key=lambda pair: view.rank(pair[1])):
        if not (math.isfinite(x[order]) and math.isfinite(y[order])):
            continue
        look: dict[str, Any] = dict(s=size, zorder=3, color=view.colour(trial), edgecolors="white", linewidths=0.5)
        if trial.state in _SHAPES:
            look = dict(s=0.7 * size, zorder=2.2, **_SHAPES[trial.state])
        elif trial.best_score is None:
            look = dict(s=0.3 * size, zorder=2.1, color="#bdbdbd")
        elif trial.state == "pruned":
            look |= dict(s=0.5 * size, zorder=2.5, alpha=0.8)
        if trial is view.study.best:
            look = dict(s=size + 60, zorder=5, color=_RED, marker="*", edgecolors="white", linewidths=0.8)
        axes.scatter(x[order : order + 1], y[order : order + 1], clip_on=False, **look)
