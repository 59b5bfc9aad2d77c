"""Optimizers: the direction of a step, W -= α · direction, from the gradient dW and the moments of those before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(kw_only=True)
class Moments:
    """What an optimizer remembers of past gradients; an optimizer updates it in place.

    Attributes:
        velocity: The average of gradients, one number a parameter.
        square: The average of squared gradients, one number a parameter.
        beta_power: Πβ over the steps; by default 1.0. It is β^t, and still the right correction when β changes in
            mid-run.
        beta2_power: Πβ2 over the steps; by default 1.0.

    Example:
        >>> Moments(velocity=np.zeros(2), square=np.zeros(2)).beta_power
        1.0
    """

    velocity: Array
    square: Array
    beta_power: float = 1.0  # Πβ over the steps: β^t, and still the right correction when β changes in mid-run
    beta2_power: float = 1.0


def plain(gradient: Array, _moments: Moments, _beta: float, _beta2: float, _epsilon: float) -> Array:
    """dW: gradient descent.

    Args:
        gradient: dW.
        _moments: Not used.
        _beta: Not used.
        _beta2: Not used.
        _epsilon: Not used.

    Returns:
        The direction.

    Example:
        >>> plain(np.array([2.0]), Moments(velocity=np.zeros(1), square=np.zeros(1)), 0.9, 0.999, 1e-8).tolist()
        [2.0]
    """
    return gradient


def momentum(gradient: Array, moments: Moments, beta: float, _beta2: float, _epsilon: float) -> Array:
    """v = β v + (1-β) dW: the averaged form, in which β leaves the effective learning rate alone.

    Args:
        gradient: dW.
        moments: Holds v.
        beta: β, from 0 to below 1.
        _beta2: Not used.
        _epsilon: Not used.

    Returns:
        The direction v, the very array in `moments`.

    Example:
        >>> momentum(np.array([2.0]), Moments(velocity=np.zeros(1), square=np.zeros(1)), 0.5, 0.999, 1e-8).tolist()
        [1.0]
    """
    moments.velocity *= beta
    moments.velocity += (1 - beta) * gradient
    return moments.velocity


def rmsprop(gradient: Array, moments: Moments, _beta: float, beta2: float, epsilon: float) -> Array:
    """dW / (√s + ε) with s = β2 s + (1-β2) dW² (Tieleman & Hinton 2012, lecture 6.5).

    Args:
        gradient: dW.
        moments: Holds s.
        _beta: Not used.
        beta2: β2, from 0 to below 1.
        epsilon: ε, above 0.

    Returns:
        The direction.

    Example:
        >>> rmsprop(np.array([2.0]), Moments(velocity=np.zeros(1), square=np.zeros(1)), 0.9, 0.75, 0.0).tolist()
        [2.0]
    """
    moments.square *= beta2
    moments.square += (1 - beta2) * gradient**2
    return gradient / (np.sqrt(moments.square) + epsilon)


def adam(gradient: Array, moments: Moments, beta: float, beta2: float, epsilon: float) -> Array:
    """v̂ / (√ŝ + ε), v and s corrected by 1-β1^t and 1-β2^t (Kingma & Ba 2015, alg. 1).

    Args:
        gradient: dW.
        moments: Holds v, s, β1^t and β2^t.
        beta: β1, from 0 to below 1.
        beta2: β2, from 0 to below 1.
        epsilon: ε, above 0.

    Returns:
        The direction.

    Example:
        >>> adam(np.array([2.0]), Moments(velocity=np.zeros(1), square=np.zeros(1)), 0.5, 0.75, 0.0).tolist()
        [1.0]
    """
    moments.velocity *= beta
    moments.velocity += (1 - beta) * gradient
    moments.square *= beta2
    moments.square += (1 - beta2) * gradient**2
    moments.beta_power *= beta
    moments.beta2_power *= beta2
    corrected = moments.velocity / (1 - moments.beta_power)
    return corrected / (np.sqrt(moments.square / (1 - moments.beta2_power)) + epsilon)


OPTIMIZERS: Mapping[str, Callable[[Array, Moments, float, float, float], Array]] = {
    "plain": plain,
    "momentum": momentum,
    "rmsprop": rmsprop,
    "adam": adam,
}
