"""Optimizers: the direction of a step, W -= α · direction, from the gradient dW and the moments of those before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(kw_only=True)
class Moments:
    """What an optimizer remembers of past gradients; an optimizer updates it in place."""

    velocity: Array
    square: Array
    beta_power: float = 1.0  # Πβ over the steps: β^t, and still the right correction when β changes in mid-run
    beta2_power: float = 1.0


def plain(gradient: Array, _moments: Moments, _beta: float, _beta2: float, _epsilon: float) -> Array:
    """dW."""
    return gradient


def momentum(gradient: Array, moments: Moments, beta: float, _beta2: float, _epsilon: float) -> Array:
    """v = β v + (1-β) dW: the averaged form, in which β leaves the effective learning rate alone."""
    moments.velocity *= beta
    moments.velocity += (1 - beta) * gradient
    return moments.velocity


def rmsprop(gradient: Array, moments: Moments, _beta: float, beta2: float, epsilon: float) -> Array:
    """dW / (√s + ε) with s = β2 s + (1-β2) dW²."""
    moments.square *= beta2
    moments.square += (1 - beta2) * gradient**2
    return gradient / (np.sqrt(moments.square) + epsilon)


def adam(gradient: Array, moments: Moments, beta: float, beta2: float, epsilon: float) -> Array:
    """v̂ / (√ŝ + ε), v and s corrected by 1-β1^t and 1-β2^t (Kingma & Ba 2015, alg. 1)."""
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
