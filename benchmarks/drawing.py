"""Draws regret over the budget, and over simulated time, as PNG."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import regret

_COLOURS = {"random": "#7f7f7f", "qmc": "#bcbd22", "tpe": "#1f77b4", "gp": "#2ca02c", "cma": "#9467bd"} | {
    "smac": "#17becf",
    "cqr": "#8c564b",
    "bore": "#e377c2",
}
_OURS = ("#d62728", "#ff7f0e", "#e377c2", "#8c564b", "#17becf", "#1a1a1a")
_DASHES = {"": "-", "asha": "--", "hyperband": "-.", "median": ":"}
_LOWEST = 1e-3  # what is better is drawn there: zero has no place on a logarithmic axis


def draw(
    curves: Mapping[str, regret.Traces], when: regret.Array, *, title: str, axis: str, to: Path, first: float = 10
) -> Path:
    """Mean with one standard error, and median, of each method over `when`, beginning at `first`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.6), layout="constrained")
    mean_axes, median_axes = figure.subplots(1, 2, sharey=True)
    shown = when >= first
    ours = itertools.cycle(_OURS)
    by_end = sorted(curves, key=lambda name: float(np.mean([trace[-1] for trace in curves[name].values()])))
    for name in by_end:
        stacked = np.array(list(curves[name].values()))
        mean, pairs = stacked.mean(0), len(stacked)
        error = stacked.std(0, ddof=1) / np.sqrt(pairs) if pairs > 1 else np.zeros_like(mean)
        style = _style(name, next(ours) if name.startswith("tuner") else None)
        label = f"{mean[-1]:.3f}  {name}"
        mean_axes.plot(when[shown], np.maximum(mean, _LOWEST)[shown], label=label, **style)
        if name.startswith("tuner"):
            band = (np.maximum(mean - error, _LOWEST)[shown], np.maximum(mean + error, _LOWEST)[shown])
            mean_axes.fill_between(when[shown], *band, color=style["color"], alpha=0.15, linewidth=0)
        median_axes.plot(when[shown], np.maximum(np.median(stacked, 0), _LOWEST)[shown], **style)
    pairs = max(len(traces) for traces in curves.values())
    mean_axes.set(title=f"mean of {pairs} pairs of task and seed (band: one standard error)", ylabel="regret")
    median_axes.set(title=f"median (at most {_LOWEST:g} is drawn at {_LOWEST:g})")
    for axes in (mean_axes, median_axes):
        axes.set(xscale="log", yscale="log", xlabel=axis, xlim=(when[shown][0], when[-1]))
        axes.grid(which="both", alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.legend(loc="outside right center", title="mean in the end", fontsize="small", frameon=False)
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to, dpi=110)
    return to


def _style(name: str, ours: str | None) -> dict[str, object]:
    """Colour by sampler, dashes by pruner; the number of workers may follow in brackets, where one worker is faint."""
    method, _, workers = name.partition(" (")
    sampler, _, pruner = method.partition("+")
    if ours is not None:
        return {"color": ours, "linestyle": "-", "linewidth": 2.4, "zorder": 3}
    return {
        "color": _COLOURS.get(sampler, "black"),
        "linestyle": _DASHES.get(pruner, "-"),
        "linewidth": 1.1,
        "alpha": 0.45 if workers == "1)" else 1.0,
    }
