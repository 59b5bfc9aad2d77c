"""The way a setting should go: the angle between updates, and whether a curve alternates or rings (R4)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import Literal, TypeAlias

import numpy as np

from tuner.panda.supervisor.series import Array, Series, autocorrelation_time, detrended
from tuner.values.numbers import number

DirectionWord: TypeAlias = Literal["raise", "lower", "hold", "unknown"]

TIMID, BOLD = 0.1, 0.7  # shares of the largest stable rate
LONG_PERIOD = 8.0  # steps: longer ringing is momentum's, shorter is the rate's
ROUNDED = 1e-6
CYCLES = 4  # fewer than this are no rhythm
RINGING_LEVEL = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """Where the rate stands: `share` is learning rate / largest stable learning rate, with its standard error."""

    word: DirectionWord
    share: float
    error: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Oscillation:
    """A rhythm in a curve; `period` in steps of the run."""

    period: float
    statistic: tuple[str, float]
    threshold: float
    why: str


def direction(update_cos: Series | None, beta: float, window: int) -> Direction:
    """From c = cos(update_t, update_{t-1}): on a quadratic c = β - ηλ/2, hence η/η_max = (β - c)/(1 + β).

    η is the rate of the heavy-ball form v = βv + g; the averaged form v = βv + (1-β)g takes the same steps with
    η = α(1-β), and so has the same share. Without momentum β = 0. A negative share is a descent on which the gradients
    still agree.
    """
    values = np.array([]) if update_cos is None else update_cos.last(2 * window).values
    values = values[np.abs(values) <= 1 + ROUNDED]  # whatever else is called so is no cosine
    if len(values) < 4:
        return Direction(word="unknown", share=float("nan"), error=float("nan"), why="the run reports no update_cos")
    share = (beta - float(values.mean())) / (1 + beta)
    error = float(values.std(ddof=1)) * sqrt(autocorrelation_time(values) / len(values)) / (1 + beta)
    said = (
        f"the angle between updates puts the rate at {number(share, 2)} ± {number(error, 1)} of the largest stable one"
        if share > 0
        else "the angle between updates says that gradients still agree, far below the largest stable rate"
    )
    word: DirectionWord = "raise" if share + error < TIMID else "lower" if share - error > BOLD else "hold"
    return Direction(word=word, share=share, error=error, why=said)


def alternating(series: Series) -> Oscillation | None:
    """Neighbours differ more than strangers: the von Neumann ratio Σ(x_t+1 - x_t)²/Σ(x_t - x̄)² above 2 + 1.64·2/√n."""
    count = len(series)
    if count < 16:
        return None
    residuals = detrended(series.values, 2)
    spread = float(residuals @ residuals)
    ratio = float(np.sum(np.diff(residuals) ** 2)) / spread if spread else 0.0
    threshold = 2 * (count - 1) / (count - 3) + 1.64 * 2 / sqrt(count)  # the parabola taken off also takes spread
    if ratio <= threshold:
        return None
    period = 2 * series.spacing
    return Oscillation(
        period=period,
        statistic=("von Neumann ratio", ratio),
        threshold=threshold,
        why=f"it goes up and down from report to report (von Neumann ratio {ratio:.2f})",
    )


def ringing(series: Series) -> Oscillation | None:
    """A rhythm of at least four cycles: the highest peak of the tapered periodogram over the spectrum of red noise.

    The peak over its background is exponential under the noise alone (Torrence & Compo 1998, sec. 4), and the largest
    of K of them exceeds -ln(1 - 0.99^(1/K)) one time in a hundred.
    """
    count = len(series)
    if count < 6 * CYCLES:
        return None
    residuals = detrended(_on_log_scale(series.values), 2)
    if float(residuals @ residuals) <= 1e-24 * count:
        return None
    power = np.abs(np.fft.rfft(residuals * np.hanning(count)))[1:] ** 2
    places = np.arange(1, len(power) + 1)
    excess = (power / _red_noise(power, 2 * np.pi * places / count))[CYCLES - 1 :]
    threshold = -log(1 - (1 - RINGING_LEVEL) ** (1 / len(excess)))
    peak = int(np.argmax(excess))
    if excess[peak] <= threshold:
        return None
    period = count / places[CYCLES - 1 + peak] * series.spacing
    return Oscillation(
        period=float(period),
        statistic=("spectral peak over red noise", float(excess[peak])),
        threshold=threshold,
        why=f"it swings with a period of {number(period, 3)} steps",
    )


def _red_noise(power: Array, angles: Array) -> Array:
    """The likeliest spectrum of AR(1) plus white noise behind a periodogram, its level profiled out (Whittle 1953).

    A loss is such a sum: mini-batches are white, the weights wander slowly.
    """
    phi = 1 - np.geomspace(1, 1e-3, 16)[:, None]
    red = 1 / (1 + phi**2 - 2 * phi * np.cos(angles))
    red /= red.mean(axis=1, keepdims=True)
    white = np.array([0.0, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3])[:, None, None]
    shapes = ((1 - white) * red + white).reshape(-1, len(angles))
    levels = (power / shapes).mean(axis=1)
    best = int(np.argmin(np.log(levels) + np.log(shapes).mean(axis=1)))
    spectrum: Array = levels[best] * shapes[best]
    return spectrum


def _on_log_scale(values: Array) -> Array:
    """Logarithms where all are positive: a swing that shrinks with the loss then stays one."""
    scaled: Array = np.log(values) if values.min() > 0 else values
    return scaled
