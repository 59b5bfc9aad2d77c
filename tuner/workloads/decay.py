"""Learning-rate decay: α at epoch t = 0, 1, 2 … from the α0 a run starts with."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

from tuner.errors import SettingsError, did_you_mean


def time_based(alpha0: float, t: int, d: float = 1.0) -> float:
    """α0 / (1 + d·t)."""
    return alpha0 / (1 + d * t)


def exponential(alpha0: float, t: int, k: float = 0.95) -> float:
    """α0 · k^t."""
    return alpha0 * k**t


def square_root(alpha0: float, t: int, k: float = 1.0) -> float:
    """α0 · k/√t; epoch 0, where the formula has no value, takes that of epoch 1."""
    return alpha0 * k / sqrt(max(t, 1))


def staircase(alpha0: float, t: int, every: int = 10, factor: float = 0.5) -> float:
    """α0 · factor^⌊t/every⌋."""
    return alpha0 * factor ** (t // every)


def decayed(
    alpha0: float, t: int, *, decay: str = "none", decay_rate: float | None = None, decay_every: int = 10
) -> float:
    """α at epoch t by the name of the decay.

    `decay_rate` is d of `time_based`, k of `exponential` and `square_root`, the factor of `staircase`; None takes the
    default of each.
    """
    rate = () if decay_rate is None else (decay_rate,)
    schedules: dict[str, Callable[[], float]] = {
        "none": lambda: alpha0,
        "time_based": lambda: time_based(alpha0, t, *rate),
        "exponential": lambda: exponential(alpha0, t, *rate),
        "square_root": lambda: square_root(alpha0, t, *rate),
        "staircase": lambda: staircase(alpha0, t, decay_every, *rate),
    }
    if decay not in schedules:
        raise SettingsError(f"decay: {decay!r} is not a decay known here. {did_you_mean(decay, schedules)}")
    return schedules[decay]()
