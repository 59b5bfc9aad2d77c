"""A loss off its course: divergence, which is acted on at once, and spikes, which may heal (R1, R2)."""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass
from math import ceil, inf, isfinite, sqrt
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tuner.panda.supervisor.series import (
    MAD_TO_SD,
    Array,
    Series,
    autocorrelation_time,
    block_means,
    coarse_deviation,
    is_sane,
    robust_level,
)
from tuner.values.numbers import number

LIMIT = 6.0  # robust standard deviations
ACCEPTED = 128  # values that a spike is measured against
FEWEST = 16  # accepted values below which nothing is called a spike
TRAINED_RISE = 0.5  # of where a run began that was trained before: less is a level that its settings settle at
HIGH_BLOCKS = 5  # successive block means that make a divergence
REFERENCE_BLOCKS = 16

SpikeState: TypeAlias = Literal["waiting", "recovered", "lasting", "returning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """A loss that will not come back: since when, and by which sign."""

    onset: int
    statistic: tuple[str, float]
    threshold: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spike:
    """The newest spike: where it began, how far it went (`peak`, in the score's own sign), and what became of it."""

    onset: int
    peak: float
    z: float
    state: SpikeState
    why: str


def divergence(series: Series, window: int, *, change: float = -inf) -> Divergence | None:
    """Not finite; or five block means above the reference; or a whole window above where the loss began.

    Five blocks that rise one after another count at once, if they are an eighth of a window long. Else they are half a
    window and at least 2τ: five of them outlast the two windows in which a spike may heal. A level is compared with
    levels since the last `change` alone, for a change of settings may shift it and still be good.
    """
    broken = ~is_sane(series.values)
    if broken.any():
        first = int(np.argmax(broken))
        step = int(series.steps[first])
        # What ends in nan has often left its course before.
        earlier = divergence(series.until(step - 1), window, change=change)
        return Divergence(
            onset=earlier.onset if earlier else step,
            statistic=("values that are not finite", float(broken.sum())),
            threshold=0.0,
            why=f"it is no finite number since step {step}",
        )
    return _above_start(series, window) or _rising(series, window) or _high(series.after(change), window)


def _rising(series: Series, window: int) -> Divergence | None:
    length = ceil(window / 8)
    size = max(FEWEST, window)
    before = series.values[: -HIGH_BLOCKS * length][-8 * size :]
    if len(before) < size:
        return None
    means = block_means(series.values[-HIGH_BLOCKS * length :], length)
    levels = [robust_level(block) for block in np.split(before[len(before) % size :], len(before) // size)]
    # The lowest level of late, for the latest may be rising already; its noise is that of most levels.
    lowest, noise = min(median for median, _ in levels), float(np.median([deviation for _, deviation in levels]))
    return _beyond(series, (lowest, noise), means, length) if (np.diff(means) > 0).all() else None


def _high(series: Series, window: int) -> Divergence | None:
    length = ceil(window / 2)
    before = series.values[: -HIGH_BLOCKS * length]
    if len(before) < FEWEST:
        return None
    length = max(length, ceil(2 * autocorrelation_time(before[-REFERENCE_BLOCKS * length :], degree=2)))
    means = block_means(series.values, length)
    reference = means[-HIGH_BLOCKS - REFERENCE_BLOCKS : -HIGH_BLOCKS]
    return _beyond(series, robust_level(reference), means[-HIGH_BLOCKS:], length) if len(reference) >= 4 else None


def _beyond(series: Series, reference: tuple[float, float], means: Array, length: int) -> Divergence | None:
    """A divergence if all of `means`, of the newest blocks, are too far above the `reference` level and its noise."""
    median, deviation = reference
    lowest = float(means.min())
    if lowest <= median + LIMIT * deviation or series.is_slight(lowest - median):
        return None
    onset = int(series.steps[-HIGH_BLOCKS * length])
    above, edge = series.way("above", "below"), series.as_reported(lowest)
    usual = f"{number(series.as_reported(median))} ± {number(deviation, 2)}"
    why = f"five blocks since step {onset} stay {above} {number(edge)}, it was {usual}"
    statistic = f"{series.way('lowest', 'highest')} of five block means, robust sd {above} the reference"
    return Divergence(
        onset=onset, statistic=(statistic, _in_deviations(lowest - median, deviation)), threshold=LIMIT, why=why
    )


def _above_start(series: Series, window: int) -> Divergence | None:
    if len(series) < 3 * window:
        return None
    first, level = float(series.values[0]), float(np.median(series.values[-window:]))
    noise = robust_level(series.values[: len(series) * 2 // 3])[1]
    if level <= first + LIMIT * noise or series.is_slight(level - first):
        return None
    if _began_trained(series) and level - first < TRAINED_RISE * abs(first):
        return None
    # A report of the last window may lie below the first once more.
    onset = int(series.steps[int(np.flatnonzero(series.values[:-window] <= first)[-1]) + 1])
    above, around, began = series.way("above", "below"), series.as_reported(level), series.as_reported(first)
    why = f"the last {window} reports lie around {number(around)}, {above} the {number(began)} it began with"
    statistic = f"median of the last window, robust sd {above} the first value"
    return Divergence(
        onset=onset, statistic=(statistic, _in_deviations(level - first, noise)), threshold=LIMIT, why=why
    )


def _began_trained(series: Series) -> bool:
    """Whether the first report is of a model that a checkpoint brought along, as after promote and fork.

    What it begins with is then near its best, and new settings may settle above that without harm.
    """
    return int(series.steps[0]) > 2 * series.spacing


def _in_deviations(excess: float, deviation: float) -> float:
    return excess / deviation if deviation else inf


def accepted(series: Series) -> npt.NDArray[np.bool_]:
    """Which values are no spikes: z = (x - median)/(1.4826 MAD) of the last 128 accepted ones at most 6, one-sided.

    Spikes stay out of the window they are measured against, so that a second one is not excused by the first.
    """
    kept = np.ones(len(series), dtype=np.bool_)
    window: deque[float] = deque()
    ordered: list[float] = []
    for place, value in enumerate(series.values.tolist()):
        if len(ordered) >= FEWEST:
            median, deviation = _level_of_sorted(ordered)
            # A whole new level is no spike: after as many values as the window holds it is accepted.
            outlasted = place >= ACCEPTED and not kept[place - ACCEPTED : place].any()
            kept[place] = isfinite(value) and (value - median <= LIMIT * deviation or outlasted)
            if not kept[place]:
                continue
        window.append(value)
        insort(ordered, value)
        if len(window) > ACCEPTED:
            ordered.remove(window.popleft())
    return kept


def spike(series: Series, window: int, *, reverts: tuple[int, ...] = ()) -> Spike | None:
    """The newest spike that still matters, or None; four windows after its onset a recovered one is forgotten.

    For two windows it is left alone. Then it has recovered if the last window's mean lies within two standard errors of
    the accepted values before it. One that comes soon after going back, or for the third time, returns: not the data
    are at fault but the state.
    """
    outliers = np.flatnonzero(~accepted(series))
    if not len(outliers):
        return None
    starts = outliers[np.concatenate([[True], np.diff(outliers) > window])]
    start, now = int(starts[-1]), len(series)
    recent = int(np.sum(starts > start - 8 * window))
    before = series.values[np.setdiff1d(np.arange(max(0, start - ACCEPTED), start), outliers)]
    median, deviation = robust_level(before)
    onset = int(series.steps[start])
    highest = float(series.values[start : start + 2 * window].max())
    if series.is_slight(highest - median):
        return None
    z = _in_deviations(highest - median, deviation)
    tau = autocorrelation_time(before, degree=1)
    error = deviation * sqrt(tau / min(window, now - start) + tau / len(before))
    last = float(np.mean(series.values[-min(window, now - start) :]))
    back = last <= median + 2 * error
    around, usual = number(series.as_reported(last)), f"two SE of {number(series.as_reported(median))}"
    soon = any(0 < onset - went_back <= 2 * window * series.spacing for went_back in reverts)
    if recent >= 3 or soon:
        state: SpikeState = "returning"
        why = f"it comes back: {recent} spikes lately" if recent >= 3 else "it comes back soon after going back"
    elif now - start < 2 * window:
        state, why = "waiting", f"{now - start} of the {2 * window} reports in which it may heal have passed"
    elif back:
        state, why = "recovered", f"the last {window} reports lie around {around}, within {usual}"
    else:
        state, why = "lasting", f"two windows later it lies around {around}, not within {usual}"
    if state in ("recovered", "returning") and now - start > 4 * window:
        return None
    return Spike(onset=onset, peak=series.as_reported(highest), z=z, state=state, why=why)


def _level_of_sorted(ordered: list[float]) -> tuple[float, float]:
    """Median and robust standard deviation of values in ascending order, in linear time."""
    count = len(ordered)
    median = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    distances = np.sort(np.abs(np.asarray(ordered) - median))
    deviation = MAD_TO_SD * float(distances[(count - 1) // 2] + distances[count // 2]) / 2
    return median, deviation or coarse_deviation(np.asarray(ordered), median)
