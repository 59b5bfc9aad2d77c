from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.workloads.optimizers import OPTIMIZERS, Moments, adam


def directions(optimizer: str, gradients: Sequence[float], beta: float = 0.9, beta2: float = 0.99) -> list[float]:
    moments = Moments(velocity=np.zeros(1), square=np.zeros(1))
    step = OPTIMIZERS[optimizer]
    return [float(step(np.array([gradient]), moments, beta, beta2, 1e-8)[0]) for gradient in gradients]


def test_plain_descent_follows_the_gradient() -> None:
    assert directions("plain", [2, 4]) == [2, 4]


def test_momentum_averages_gradients() -> None:
    assert directions("momentum", [2, 4]) == pytest.approx([0.2, 0.58])  # .1·2, then .9·.2 + .1·4


def test_rmsprop_divides_by_the_root_of_the_mean_square() -> None:
    # s = .1·4 = .4, then .9·.4 + .1·16 = 1.96
    assert directions("rmsprop", [2, 4], beta2=0.9) == pytest.approx([2 / sqrt(0.4), 4 / 1.4])


def test_adam_corrects_both_moments_for_their_start_at_zero() -> None:
    first = 1.0  # v̂ = .2/.1 = 2, ŝ = .04/.01 = 4
    second = (0.58 / 0.19) / sqrt(0.1996 / 0.0199)  # 1 - .9² = .19, 1 - .99² = .0199
    assert directions("adam", [2, 4]) == pytest.approx([first, second])


@given(
    gradient=st.floats(0.01, 100),
    betas=st.lists(st.tuples(st.floats(0.0, 0.999), st.floats(0.5, 0.9999)), min_size=1, max_size=20),
)
def test_adam_stays_unbiased_when_beta_changes_in_mid_run(gradient: float, betas: list[tuple[float, float]]) -> None:
    moments = Moments(velocity=np.zeros(1), square=np.zeros(1))
    for beta, beta2 in betas:
        direction = adam(np.array([gradient]), moments, beta, beta2, 0.0)
    assert direction[0] == pytest.approx(1, rel=1e-9)  # the average of equal gradients is that gradient
