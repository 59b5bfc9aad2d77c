"""The worth of a noisy, autocorrelated series of scores: how many independent values, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]

BLOCKS = 10  # fewer block means than this say nothing
HUGE = 1e100
SLIGHT_OF_GAIN, SLIGHT_OF_LEVEL = 0.01, 0.1
MAD_TO_SD = 1.4826  # of a normal distribution
MEAN_TO_SD = 1.2533
SINGLE = 2.0**-21  # four times the relative precision of a 32-bit float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One score on the head: `steps` ascend, and `values[i]` is what was reported at `steps[i]`.

    The rules know losses alone, so a score to be maximised comes to them mirrored; `told` and `way` put what they find
    into the words of the score as it was reported.

    >>> accuracy = Series.of([(1, 0.5), (2, 0.25)]).mirrored()
    >>> accuracy.values, accuracy.as_reported(-0.25), accuracy.way("rises", "falls")
    (array([-0.5 , -0.25]), 0.25, 'falls')
    """

    steps: Steps
    values: Array
    is_mirrored: bool = False

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, float]]) -> Series:
        """The series of (step, value) pairs in the order of their steps."""
        rows = list(pairs)
        steps = np.array([step for step, _ in rows], dtype=np.int64)
        return cls(steps=steps, values=np.array([value for _, value in rows], dtype=np.float64))

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def spacing(self) -> float:
        """Steps between two reports, by median; 1 where there are fewer than two."""
        return float(np.median(np.diff(self.steps))) if len(self) > 1 else 1.0

    def after(self, step: float) -> Series:
        """What was reported later than `step`."""
        return self.where(self.steps > step)

    def until(self, step: float) -> Series:
        """What was reported up to `step`, that step included."""
        return self.where(self.steps <= step)

    def last(self, count: int) -> Series:
        """The newest `count` reports."""
        if not count:
            return self.where(self.steps < 0)
        return replace(self, steps=self.steps[-count:], values=self.values[-count:])

    def where(self, kept: npt.NDArray[np.bool_]) -> Series:
        """The reports for which `kept` is true."""
        return replace(self, steps=self.steps[kept], values=self.values[kept])

    def mirrored(self) -> Series:
        """The same with the other sign: what was to be maximised is then to be minimised."""
        return replace(self, values=-self.values, is_mirrored=not self.is_mirrored)

    @property
    def edge(self) -> int:
        """How many of the first reports, and of the last, stand for a curve's ends."""
        return max(1, len(self) // 20)

    def is_slight(self, rise: float) -> bool:
        """Whether `rise` is too little to act on, however sure: 1 % of all that was gained, and 10 % of the level.

        So is what single precision cannot tell apart. Where nothing was gained yet, the level alone counts.
        The level, 5 % of the values below it, guards the curve that began at an absurd height.
        """
        level, began = float(np.quantile(self.values, 0.05)), float(np.median(self.values[: self.edge]))
        same = SINGLE * max(abs(level), abs(began))  # by these two: the largest may lie beyond all measure
        if rise <= same:
            return True
        gained = began - level
        of_gain = rise < SLIGHT_OF_GAIN * gained or gained <= same
        return of_gain and rise < SLIGHT_OF_LEVEL * abs(level)

    def as_reported(self, value: float) -> float:
        """A value, a slope or a difference with the sign it has in what was reported."""
        return 0.0 - value if self.is_mirrored else value

    def way(self, word: str, opposite: str) -> str:
        """The word that says of what was reported what `word` says of `values`."""
        return opposite if self.is_mirrored else word


def detrended(values: Array, degree: int) -> Array:
    """What a least-squares polynomial leaves over; of no more values than it has coefficients, zeros."""
    if len(values) <= degree + 1:
        return np.zeros(len(values))
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(values)), degree)
    coefficients = np.linalg.lstsq(basis, values, rcond=None)[0]
    residuals: Array = values - basis @ coefficients
    return residuals


def autocovariances(values: Array) -> Array:
    """γ_k = Σ x_t x_{t+k} / n of values that are centred already, for k = 0 … n-1."""
    length = len(values)
    spectrum = np.fft.rfft(values, 2 * length)
    products: Array = np.fft.irfft(spectrum * spectrum.conj(), 2 * length)[:length] / length
    return products


def autocorrelation_time(values: Array, *, degree: int = 0) -> float:
    """τ = 1 + 2 Σ ρ_k, at least 1: how many successive values are worth one independent value.

    The sum stops at the first lag beyond 2.5 τ (Sokal 1997, sec. 3; his τ is half of this). A fitted mean or polynomial
    of `degree` takes about (degree+1) σ²τ/n off every γ_k, which is put back before the second pass.
    """
    length = len(values)
    residuals = detrended(values, degree)
    covariances = autocovariances(residuals)
    # What rounding leaves of a perfectly smooth series is not noise.
    if length < 4 or covariances[0] <= (1e-10 * max(1e-300, float(np.abs(values).max()))) ** 2:
        return 1.0
    correlations, tau = covariances[1:] / covariances[0], 1.0
    for _ in range(2):
        lost = min(0.5, (degree + 1) * tau / length)
        sums = 1 + 2 * np.cumsum((correlations + lost) / (1 + lost))
        beyond = np.arange(1, length) >= 2.5 * sums
        tau = max(1.0, float(sums[int(np.argmax(beyond))] if beyond.any() else sums.max()))
    return tau


def effective_sample_size(values: Array, *, degree: int = 0) -> float:
    """n/τ: how many independent values these are worth."""
    return len(values) / autocorrelation_time(values, degree=degree)


def block_means(values: Array, length: int) -> Array:
    """Means of successive blocks of `length` values; the oldest values, too few for a block, are left out."""
    count = len(values) // length
    means: Array = values[len(values) - count * length :].reshape(count, length).mean(axis=1)
    return means


def kept_correlation(tau: float, length: int) -> float:
    """The correlation that neighbouring block means keep if the values are AR(1) with autocorrelation time τ.

    >>> round(kept_correlation(19.0, 38), 2)    # φ = 0.9 and blocks of 2 τ
    0.16
    """
    phi = (tau - 1) / (tau + 1)
    if phi <= 0:
        return 0.0
    lags = np.arange(1, length)
    variance = length + 2 * float(np.sum((length - lags) * phi**lags))
    return float(phi * ((1 - phi**length) / (1 - phi)) ** 2 / variance)


def is_sane(values: Array) -> npt.NDArray[np.bool_]:
    """Which values are finite numbers that a training run can come back from, and whose squares are finite too."""
    sane: npt.NDArray[np.bool_] = np.abs(values) < HUGE
    return sane


def resolution(values: Array) -> float:
    """What differs by no more than this is one number to single precision, in which most networks are trained."""
    return SINGLE * float(np.abs(values).max()) if len(values) else 0.0


def robust_level(values: Array) -> tuple[float, float]:
    """Median, and standard deviation by the median absolute deviation."""
    median = float(np.median(values))
    deviation = MAD_TO_SD * float(np.median(np.abs(values - median)))
    return median, deviation or coarse_deviation(values, median)


def coarse_deviation(values: Array, median: float) -> float:
    """The standard deviation where more than half the values are equal, as those of an accuracy are; 0 if all are.

    By the mean absolute deviation (Iglewicz & Hoaglin 1993), and no less than one notch of the scale.
    """
    notches = np.diff(np.unique(values))
    if not len(notches):
        return 0.0
    return max(MEAN_TO_SD * float(np.mean(np.abs(values - median))), float(notches.min()))


def window_length(reports: int, reports_left: int | None) -> int:
    """How many reports a window of this run holds: a sixteenth of the whole run, from 4 to 128.

    Where the end is not known, an eighth of what has been.
    """
    share = reports / 8 if reports_left is None else (reports + reports_left) / 16
    return int(np.clip(math.ceil(share), 4, 128))
