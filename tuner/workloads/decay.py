"""Learning-rate decay: α at epoch t = 0, 1, 2 … from the α0 a run starts with."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

from tuner.errors import SettingsError, did_you_mean


def time_based(alpha0: float, t: int, d: float = 1.0) -> float:
    """α0 / (1 + d·t).

    Args:
        alpha0: The rate at epoch 0.
        t: The epoch, from 0.
        d: How fast it falls, at least 0; by default 1.0.

    Returns:
        The rate at epoch t.

    Example:
        >>> time_based(0.2, 1), time_based(0.2, 3)
        (0.1, 0.05)
    """
    return alpha0 / (1 + d * t)


def exponential(alpha0: float, t: int, k: float = 0.95) -> float:
    """α0 · k^t.

    Args:
        alpha0: The rate at epoch 0.
        t: The epoch, from 0.
        k: What is left after each epoch, above 0, up to 1; by default 0.95.

    Returns:
        The rate at epoch t.

    Example:
        >>> exponential(0.2, 2, k=0.5)
        0.05
    """
    return alpha0 * k**t


def square_root(alpha0: float, t: int, k: float = 1.0) -> float:
    """α0 · k/√t; epoch 0, where the formula has no value, takes that of epoch 1.

    Args:
        alpha0: The rate that the formula begins with.
        t: The epoch, from 0.
        k: The share of it at epoch 1, above 0; by default 1.0.

    Returns:
        The rate at epoch t.

    Example:
        >>> square_root(0.2, 0), square_root(0.2, 4)
        (0.2, 0.1)
    """
    return alpha0 * k / sqrt(max(t, 1))


def staircase(alpha0: float, t: int, every: int = 10, factor: float = 0.5) -> float:
    """α0 · factor^⌊t/every⌋.

    Args:
        alpha0: The rate at epoch 0.
        t: The epoch, from 0.
        every: Epochs a stair is long, from 1 up; by default 10.
        factor: What is left after each stair, above 0, up to 1; by default 0.5.

    Returns:
        The rate at epoch t.

    Example:
        >>> staircase(0.2, 9), staircase(0.2, 10)
        (0.2, 0.1)
    """
    return alpha0 * factor ** (t // every)


def decayed(
    alpha0: float, t: int, *, decay: str = "none", decay_rate: float | None = None, decay_every: int = 10
) -> float:
    """α at epoch t by the name of the decay.

    Args:
        alpha0: The rate a run starts with.
        t: The epoch, from 0.
        decay: "none", "time_based", "exponential", "square_root" or "staircase"; by default none.
        decay_rate: d of `time_based`, k of `exponential` and `square_root`, the factor of `staircase`. None: the
            default of each.
        decay_every: Epochs a stair is long, from 1 up; by default 10.

    Returns:
        The rate at epoch t.

    Raises:
        SettingsError: No such decay.

    Example:
        >>> decayed(0.2, 10, decay="staircase", decay_rate=0.1)
        0.020000000000000004
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
