"""The trend of a curve: whether it improves, worsens, is flat, or cannot be told; losses, so lower is better (R3)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, copysign, inf, nan, sqrt
from typing import Literal, TypeAlias

import numpy as np

from tuner.panda.supervisor.series import (
    BLOCKS,
    MAD_TO_SD,
    Array,
    Series,
    autocorrelation_time,
    block_means,
    kept_correlation,
    resolution,
)
from tuner.values.numbers import number

TrendWord: TypeAlias = Literal["improving", "worsening", "flat", "constant", "unknown"]

STUDENT_95 = 1.8595  # one-sided 95 % of Student's t with 8 degrees of freedom: ten block means less a line
_JUMPS = 2.0  # times what neighbouring reports differ by: a fall within that is noise, and has no pace
MIN_REPORTS = 2 * BLOCKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """What a curve does. `slope` is per step and of a loss; `low` and `high` are each its one-sided 95 % bound.

    `statistic` names the test that spoke: the slope of ten block means, or, where the autocorrelation is too long for
    that, how many of the nine differences between them are gains. It and `why` are of the score as it was reported.
    """

    word: TrendWord
    slope: float
    low: float
    high: float
    tau: float
    statistic: tuple[str, float]
    threshold: float
    why: str


def trend(series: Series, *, smallest_gain: float | None = None, steps_left: int | None = None) -> Trend:
    """Improving if the upper bound of the slope is below 0; flat only if what is still to gain is too little to care.

    Constant is what differs by less than numbers can tell apart. Flat is a finding, not the absence of one: the upper
    bound of the gain over `steps_left` is below `smallest_gain`. With fewer than ten blocks of 2τ it is unknown, unless
    all nine differences between ten shorter blocks agree: a smooth descent always does that, a random walk, the worst
    an autocorrelation can do, about 3 times in 100 a side.
    """
    if len(series) < MIN_REPORTS:
        why = f"{len(series)} reports are fewer than the {MIN_REPORTS} it takes"
        return Trend(
            word="unknown",
            slope=nan,
            low=-inf,
            high=inf,
            tau=nan,
            statistic=("reports", len(series)),
            threshold=MIN_REPORTS,
            why=why,
        )
    spread = float(np.ptp(series.values))
    if spread <= resolution(series.values):
        value = number(series.as_reported(float(series.values[-1])), 6)
        why = f"all {len(series)} reports since step {series.steps[0]} are {value}"
        return Trend(
            word="constant",
            slope=0.0,
            low=0.0,
            high=0.0,
            tau=nan,
            statistic=("range of the reports", spread),
            threshold=resolution(series.values),
            why=why,
        )
    length = len(series) // BLOCKS
    means = block_means(series.values, length)
    tau = autocorrelation_time(series.values, degree=2)
    per_step = length * series.spacing
    if length < ceil(2 * tau):
        return _by_signs(means, tau, per_step, series)
    slope, error = _slope(means)
    correlation = kept_correlation(tau, length)
    error *= sqrt((1 + correlation) / (1 - correlation))
    low, high = (slope - STUDENT_95 * error) / per_step, (slope + STUDENT_95 * error) / per_step
    t = series.as_reported(slope / error if error else copysign(inf, slope) if slope else 0.0)
    word, why = _word(series, low, high, smallest_gain, steps_left)
    return Trend(
        word=word,
        slope=slope / per_step,
        low=low,
        high=high,
        tau=tau,
        statistic=("t of the slope of ten block means", t),
        threshold=STUDENT_95,
        why=why,
    )


def bend(series: Series, now: Trend) -> float:
    """The pace now over the mean pace since the first report: 1 on a straight stretch, towards 0 once a curve has bent.

    Needs no floor of the loss. 0 where the curve has not fallen at all, or no further than it jumps between reports.
    """
    edge = series.edge
    fallen = float(np.median(series.values[:edge]) - np.median(series.values[-edge:]))
    steps = float(series.steps[-1] - series.steps[0]) * (1 - edge / len(series))
    jumps = MAD_TO_SD * float(np.median(np.abs(np.diff(series.values)))) if len(series) > 1 else 0.0
    return -now.slope * steps / fallen if fallen > max(0.0, _JUMPS * jumps) and steps > 0 else 0.0


def _by_signs(means: Array, tau: float, per_step: float, series: Series) -> Trend:
    differences = np.diff(means)
    downs, ups = int(np.sum(differences < 0)), int(np.sum(differences > 0))
    word: TrendWord = (
        "improving" if downs == len(differences) else "worsening" if ups == len(differences) else "unknown"
    )
    length = len(series) // BLOCKS
    way = series.way("down", "up") if downs else series.way("up", "down")
    why = (
        f"all {len(differences)} differences between ten block means go {way}"
        if word != "unknown"
        else f"blocks of {length} reports are shorter than 2τ = {2 * tau:.0f}: too few independent values"
    )
    return Trend(
        word=word,
        slope=_slope(means)[0] / per_step,
        low=-inf,
        high=inf,
        tau=tau,
        statistic=("differences of ten block means that are gains", float(downs)),
        threshold=float(len(differences)),
        why=why,
    )


def _slope(means: Array) -> tuple[float, float]:
    """The least-squares slope per block, and its standard error."""
    place = np.arange(len(means)) - (len(means) - 1) / 2
    spread = float(place @ place)
    slope = float(place @ means) / spread
    residuals = means - means.mean() - slope * place
    return slope, sqrt(float(residuals @ residuals) / (len(means) - 2) / spread)


def _word(
    series: Series, low: float, high: float, smallest_gain: float | None, steps_left: int | None
) -> tuple[TrendWord, str]:
    if smallest_gain is not None and steps_left is not None and low > -inf:
        most = max(0.0, -low * steps_left)
        if most < smallest_gain:
            gain = f"at most {number(most, 3)} is still to gain in {steps_left} steps"
            return "flat", f"{gain}, less than {number(smallest_gain)}"
    if high < 0:
        return "improving", f"it {series.way('falls', 'rises')} by at least {number(-high, 3)} a step (95 %)"
    if low > 0:
        return "worsening", f"it {series.way('rises', 'falls')} by at least {number(low, 3)} a step (95 %)"
    least, most = sorted((series.as_reported(low), series.as_reported(high)))
    slope = f"its slope lies between {number(least, 3)} and {number(most, 3)} a step (95 %)"
    return "unknown", f"{slope}, which tells neither way"
