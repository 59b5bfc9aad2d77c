"""The picture of a babysat run: what it scored over its steps, what was changed where, and what was given up.

The head is dark, tails that were given up are grey, changes are dots with their labels above, going back is an
arrow, checkpoints are ticks, the best report is a red star.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tuner.errors import StudyError
from tuner.record.events import Goal
from tuner.record.lineage import Branch, Change, Rollback, TrainedSegment, Tree
from tuner.record.score_names import training_loss
from tuner.values.numbers import number, setting
from tuner.views.plots.axes import (
    INK,
    MUTED,
    RED,
    blank_figure,
    count_in_whole_numbers,
    halo,
    quiet,
    save,
    set_limits,
    set_score_axis,
)
from tuner.views.plots.labels import Spot, inches, stack
from tuner.views.plots.zoom import Zoom

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from tuner.record.reader import StudyReader

    Floats: TypeAlias = NDArray[np.float64]

_HEAD, _TAIL, _TRAIN, _BACK, _LINE = "#2a788e", "#b4b4b4", "#7a5195", "#c1702b", "#d9d9d9"
_STAR: dict[str, Any] = dict(color=RED, marker="*", edgecolors="white", linewidths=0.9)
_WIDTH, _SCORES_HIGH, _LOSS_HIGH = 8.0, 3.9, 1.7  # inches
_ENDS = (-0.02, 1.02)  # of the step axis, as shares of the way from the first step to the last: a margin
_LONG = 150  # points, beyond which a curve is too noisy to read without its running median
_ROW_HIGH, _LABEL_SIZE = 0.17, 7.5  # inches of one row of labels, points


def plot_lineage(study: StudyReader, folder: Path) -> list[Path]:
    """Writes lineage.png into a folder, made when it is not there."""
    figure = lineage(study)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [save(figure, folder / "lineage.png")]
    except OSError as error:
        raise StudyError(f"plots cannot be written to {folder}: {error}. Choose another folder.") from error


def lineage(study: StudyReader) -> Figure:
    """The objective over the steps, and beneath it the training loss where the run reports one."""
    figure = blank_figure(_WIDTH, _SCORES_HIGH)
    tree = Tree.of(study)
    objective, goal = study.state.objective, study.state.goal
    loss = training_loss(tree.names(), beside=objective)
    labels = _labels(tree)
    zoom = Zoom.of(_span(tree), [label.step for label in labels])
    widths = [(float(zoom.place(label.step)), inches(label.text, _LABEL_SIZE)) for label in labels]
    places = stack(widths, _ENDS, _WIDTH - 1.0)
    heights = [0.1 + _ROW_HIGH * (max((place.row for place in places), default=-1) + 1), _SCORES_HIGH]
    heights += [_LOSS_HIGH] if loss else []
    figure.set_size_inches(_WIDTH, 1.5 + sum(heights))
    figure.get_layout_engine().set(hspace=0.0, h_pad=0.04)  # type: ignore[union-attr, call-arg]
    above, *panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    zoom.apply(above)
    set_limits(above, "x", *map(float, zoom.step(np.array(_ENDS))))
    curves: list[tuple[str, Goal, str]] = [(objective, goal, _HEAD)]
    if loss:
        curves.append((loss, "minimize", _TRAIN))
    for axes, (name, direction, colour) in zip(panels, curves, strict=True):
        quiet(axes).set_ylabel(name, parse_math=False)
        if name in tree.names():
            _draw_branches(axes, tree, name, direction, colour, zoom)
        else:
            _draw_nothing(axes, name)
        _draw_changes(axes, labels)
    _draw_labels(above, labels, places, zoom)
    _draw_marks(panels[0], tree, labels, objective)
    _draw_best(panels[0], study)
    _draw_checkpoints(panels[0], study)
    _title(above, study, tree)
    if zoom.even:
        count_in_whole_numbers(panels[-1], "x")
    panels[-1].set_xlabel("step" if zoom.even else "step (wider where changes lie close together)")
    _legend(panels[-1], study, tree, labels, loss=loss is not None)
    figure.align_ylabels(panels)
    return figure


# ── what is shown ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Label:
    """A change in a few words, at its step; one that was given up is grey."""

    step: int
    text: str
    counts: bool
    trained: int


def _labels(tree: Tree) -> list[_Label]:
    head = {span.trained.number for span in tree.branch()}
    told: list[_Label] = []
    seen: set[str] = set()
    for trained in tree.segments[1:]:
        changes = tree.changes(trained)
        if trained.segment.cause == "adjust" and trained.segment.request not in seen and changes:
            seen.add(trained.segment.request)
            text = ", ".join(map(_short, changes))
            told.append(_Label(trained.from_step, text, trained.number in head, trained.number))
    return told


def _short(change: Change) -> str:
    """A change as a label has room for it: `learning_rate 0.003 → 0.03`."""
    if change.becomes is not None and change.becomes != change.was:
        return f"{change.parameter} {change.becomes.shape.replace('_', ' ')} from {number(change.after, 3)}"
    if change.was is not None and change.becomes is None:
        return f"{change.parameter} constant at {number(change.after, 3)}"
    before, after = (_settled(value) for value in (change.before, change.after))
    return f"{change.parameter} {before} → {after}"


def _settled(value: Any) -> str:
    close = isinstance(value, float) and 0.99 < value < 1
    return setting(value) if close else number(value, 3)


def _span(tree: Tree) -> tuple[float, float]:
    """From the first step to the last that was ever trained."""
    first = min((trained.from_step for trained in tree.segments), default=0)
    last = max((trained.to_step for trained in tree.segments), default=0)
    return (first, last) if first < last else (first - 0.5, last + 0.5)


# ── what is drawn ───────────────────────────────────────────────────────────────────────────────


def _draw_labels(axes: Axes, labels: Sequence[_Label], places: Sequence[Spot], zoom: Zoom) -> None:
    """Texts in rows above the curve, each on a thin line down to its mark."""
    axes.axis("off")
    axes.set_ylim(0.0, max((place.row for place in places), default=0) + 1.0)
    for label, place in zip(labels, places, strict=True):
        high = place.row + 0.5
        axes.plot([label.step] * 2, [-0.7, max(0.0, high)], color=_LINE, linewidth=0.7, clip_on=False, zorder=1)
        if place.row >= 0:
            left = float(zoom.step(place.left))
            axes.annotate(
                label.text,
                (left, high),
                xytext=(3, 0),
                textcoords="offset points",
                ha="left",
                va="center",
                fontsize=_LABEL_SIZE,
                color=INK if label.counts else "#8c8c8c",
                annotation_clip=False,
                parse_math=False,
                zorder=2,
                bbox=dict(facecolor="white", edgecolor="none", pad=1.0),
            )


def _draw_branches(axes: Axes, tree: Tree, name: str, goal: Goal, colour: str, zoom: Zoom) -> None:
    """The head over the tails, each tail hanging on where it left; what runs off the scale is held at its edge.

    A long curve is drawn faintly, its running median over it.
    """
    head = _joined(tree, tree.branch(), name)
    tails = [_joined(tree, rollback.given_up, name) for rollback in tree.abandoned()]
    drawn = [_as_wide(curve, zoom) for curve in (head, *tails)]
    limits = set_score_axis(axes, np.concatenate(drawn), goal, _worst(drawn[0], goal))
    for curve, ink, wide, order in [*((tail, _TAIL, 1.1, 2.0) for tail in tails), (head, colour, 1.6, 3.0)]:
        steps, values = curve[:, 0], np.clip(curve[:, 1], *limits)
        if len(head) > _LONG:
            axes.plot(steps, values, color=ink, linewidth=0.7, alpha=0.4, zorder=order)
            values = _running_median(values, _window(len(head)))
        axes.plot(steps, values, color=ink, linewidth=wide, zorder=order + 0.5)
    for rollback in tree.rollbacks():
        _draw_return(axes, tree, rollback, name, limits)


def _as_wide(curve: Floats, zoom: Zoom) -> Floats:
    """The scores of a curve, each as often as its step is wide, with the best and the worst of all."""
    if not len(curve) or zoom.even:
        return curve[:, 1]
    places = zoom.place(curve[:, 0])
    evenly = np.searchsorted(places, np.linspace(places[0], places[-1], len(curve))).clip(max=len(curve) - 1)
    return np.concatenate([curve[evenly, 1], [curve[:, 1].min(), curve[:, 1].max()]])


def _worst(head: Floats, goal: Goal) -> list[float]:
    """The worst score of the head, which the axis is to hold, unless it would flatten all others."""
    if not len(head):
        return []
    first, middle, third = np.quantile(head, (0.25, 0.5, 0.75))
    worst = float(head.min() if goal == "maximize" else head.max())
    return [worst] if abs(worst - middle) <= 40 * (third - first) else []


def _window(points: int) -> int:
    """How many points the running median looks at: an odd number."""
    return 2 * max(2, points // 120) + 1


def _running_median(values: Floats, window: int) -> Floats:
    """The median of each point's neighbourhood, which keeps a jump where it is."""
    if len(values) < window:
        return values
    padded = np.pad(values, window // 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1))


def _joined(tree: Tree, branch: Branch, name: str) -> Floats:
    """The finite (step, score) rows of a branch, begun with the last point of what it hangs on."""
    rows = [point for span in branch for point in span.points(name)]
    first = branch[0]
    if rows and first.after > first.trained.from_step:  # it goes on within a segment
        rows = [*_last(first.trained, name, first.after), *rows]
    elif rows and first.trained.segment.parent is not None:
        before = tree.branch(first.trained.segment.parent)
        value = tree.value_at(before, name, first.after)
        rows = [*([] if value is None else [(first.after, value)]), *rows]
    points = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return points[np.isfinite(points[:, 1])]


def _last(trained: TrainedSegment, name: str, step: int) -> list[tuple[int, float]]:
    """The last point of a segment at or before a step, where there is one."""
    curve = trained.scores[name]
    return [(at, value) for at, value in zip(curve.steps, curve.scores, strict=True) if at <= step][-1:]


def _draw_return(axes: Axes, tree: Tree, rollback: Rollback, name: str, limits: tuple[float, float]) -> None:
    """An arrow from the last score before a path was left back to where training went on."""
    from matplotlib.patches import FancyArrowPatch

    left, goes_on = _joined(tree, rollback.given_up, name), rollback.trained.from_step
    value = tree.value_at(tree.branch(rollback.trained.number), name, goes_on)
    if not len(left) or value is None or not np.isfinite(value) or left[-1, 0] <= goes_on:
        return
    start, end = ((step, float(np.clip(at, *limits))) for step, at in ((left[-1, 0], left[-1, 1]), (goes_on, value)))
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            connectionstyle="arc3,rad=0.28",
            arrowstyle="-|>",
            mutation_scale=9,
            shrinkA=1,
            shrinkB=3,
            color=_BACK,
            linewidth=1.0,
            linestyle="-" if rollback.cause == "revert" else (0, (3, 2)),
            zorder=4,
        )
    )


def _draw_changes(axes: Axes, labels: Sequence[_Label]) -> None:
    """A thin line through the panel at every change."""
    for label in labels:
        axes.axvline(label.step, color=_LINE, linewidth=0.7, zorder=1)


def _draw_marks(axes: Axes, tree: Tree, labels: Sequence[_Label], name: str) -> None:
    """A dot where a change took effect, on the curve as it is drawn."""
    low, high = axes.get_ylim()
    long = len(_joined(tree, tree.branch(), name))
    half = _window(long) // 2 if long > _LONG else 0
    for label in labels:
        curve = _joined(tree, tree.branch() if label.counts else tree.branch(label.trained), name)
        at = int(np.searchsorted(curve[:, 0], label.step, side="right")) - 1
        if at >= 0:
            value = float(np.clip(np.median(curve[max(0, at - half) : at + half + 1, 1]), low, high))
            colour = _HEAD if label.counts else "#8c8c8c"
            axes.scatter([label.step], [value], s=22, zorder=5, edgecolors="white", linewidths=0.8, color=colour)


def _draw_best(axes: Axes, study: StudyReader) -> None:
    trial = study.state.trials[0]
    if trial.best_score is None or trial.best_step is None:
        return
    axes.scatter([trial.best_step], [trial.best_score], **_STAR, s=130, zorder=6)
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    near_the_end = trial.best_step > left + 0.8 * (right - left)
    upper = (trial.best_score - low) / (high - low) > 0.96  # below it lies the curve
    axes.annotate(
        number(trial.best_score),
        (trial.best_step, trial.best_score),
        xytext=(-7 if near_the_end else 7, -9 if upper else 5),
        textcoords="offset points",
        ha="right" if near_the_end else "left",
        fontsize=9,
        color=RED,
        fontweight="bold",
        path_effects=halo(2.5),
        zorder=7,
    )


def _draw_checkpoints(axes: Axes, study: StudyReader) -> None:
    """Ticks at the foot: tall ones are kept, short ones have been let go."""
    from matplotlib.collections import LineCollection

    for kept, tall, colour in ((False, 0.018, "#b0b0b0"), (True, 0.035, INK)):
        steps = [each.step for each in study.state.checkpoints.values() if each.kept is kept]
        lines = [[(step, 0.0), (step, tall)] for step in steps]
        axes.add_collection(
            LineCollection(lines, colors=colour, linewidths=1.1, transform=axes.get_xaxis_transform(), zorder=3),
            autolim=False,
        )


def _draw_nothing(axes: Axes, name: str) -> None:
    axes.set(yticks=[])
    axes.text(
        0.5,
        0.5,
        f"{name} has not been reported yet",
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=MUTED,
        fontsize=11,
        parse_math=False,
    )


# ── frame and words ─────────────────────────────────────────────────────────────────────────────


def _title(axes: Axes, study: StudyReader, tree: Tree) -> None:
    """The run and its best in bold, how it stands below."""
    trial = study.state.trials[0]
    best = "no score yet" if trial.best_score is None else f"best {number(trial.best_score)} at step {trial.best_step}"
    name = study.name if len(study.name) <= 40 else f"{study.name[:39]}…"
    settings = ", ".join(f"{word} {_settled(value)}" for word, value in trial.recipe.at(trial.steps).items())
    given_up = sum(span.to - span.after for rollback in tree.abandoned() for span in rollback.given_up)
    told = [study.state.goal, f"{trial.state} at step {trial.steps:,}", settings if len(settings) < 70 else ""]
    told += [f"{given_up:,} steps given up"] if given_up else []
    axes.set_title(
        f"{name}: {study.state.objective}, {best}",
        loc="left",
        fontsize=11.5,
        fontweight="bold",
        color=INK,
        pad=20,
        parse_math=False,
    )
    axes.annotate(
        " · ".join(filter(None, told)),
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 7),
        textcoords="offset points",
        fontsize=9,
        color=MUTED,
        parse_math=False,
    )


def _legend(axes: Axes, study: StudyReader, tree: Tree, labels: Sequence[_Label], *, loss: bool) -> None:
    """What the marks mean, below the axes, of those that are there."""
    from matplotlib.lines import Line2D

    returns = {"revert" if rollback.cause == "revert" else "retry" for rollback in tree.rollbacks()}
    there = {
        "head": True,
        "loss": loss,
        "tail": bool(tree.abandoned()),
        "change": bool(labels),
        **dict.fromkeys(returns, True),
        "kept": any(each.kept for each in study.state.checkpoints.values()),
        "gone": any(not each.kept for each in study.state.checkpoints.values()),
        "best": study.state.trials[0].best_score is not None,
    }
    handles = [Line2D([], [], **look) for kind, look in _LEGEND.items() if there.get(kind)]
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        bbox_transform=_below(axes),
        ncols=5,
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handlelength=1.5,
        handletextpad=0.5,
        columnspacing=1.6,
        borderpad=0.0,
        borderaxespad=0.0,
    )


def _below(axes: Axes) -> Any:
    """The axes' own coordinates, moved below the name of the axis."""
    from matplotlib.transforms import ScaledTranslation

    figure: Any = axes.figure
    return axes.transAxes + ScaledTranslation(0.0, -0.46, figure.dpi_scale_trans)


_LEGEND: dict[str, dict[str, Any]] = {
    "head": dict(color=_HEAD, linewidth=1.6, label="head"),
    "loss": dict(color=_TRAIN, linewidth=1.6, label="training loss"),
    "tail": dict(color=_TAIL, linewidth=1.2, label="given up"),
    "change": dict(color=_HEAD, marker="o", markersize=5, linestyle="none", label="change"),
    "revert": dict(color=_BACK, linewidth=1.1, label="went back"),
    "retry": dict(color=_BACK, linewidth=1.1, linestyle=(0, (3, 2)), label="taken up again"),
    "kept": dict(color=INK, marker="|", markersize=8, linestyle="none", label="checkpoint kept"),
    "gone": dict(color="#b0b0b0", marker="|", markersize=5, linestyle="none", label="let go"),
    "best": dict(color=RED, marker="*", markersize=10, markeredgecolor="white", linestyle="none", label="best"),
}
