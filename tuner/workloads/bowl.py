"""A noisy bowl: a training run of microseconds, best at learning rate 0.1 and momentum 0.97, diverging above 1."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log10
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tuner.worker.run import Run

STEPS = 20
START = 3.0  # loss before the first step
PACE = 0.3  # share of the way to the floor that one step goes
NOISE = 0.005
BEST_LEARNING_RATE, BEST_BETA = 0.1, 0.97
DIVERGES_ABOVE = 1.0


def floor(learning_rate: float, beta: float) -> float:
    """The loss a run comes down to: squared decades from the best learning rate, and from the best 1-β at half weight.

    Args:
        learning_rate: Above 0; best at 0.1.
        beta: From 0 to below 1; best at 0.97.

    Returns:
        0.25·log10(learning_rate / 0.1)² + 0.125·log10((1 − beta) / 0.03)², 0 at the best.

    Example:
        >>> floor(0.1, 0.97)
        0.0
        >>> floor(0.01, 0.97)
        0.25
    """
    decades = log10(learning_rate / BEST_LEARNING_RATE)
    decades_of_window = log10((1 - beta) / (1 - BEST_BETA))
    return 0.25 * decades**2 + 0.125 * decades_of_window**2


class Ball:
    """What rolls in the bowl: its height is the loss, and all it has to carry across a checkpoint.

    Example:
        >>> Ball().height
        3.0
    """

    def __init__(self) -> None:
        self.height = START

    def roll(self, learning_rate: float, beta: float) -> None:
        """Goes one step towards the floor of these settings, or through the roof.

        Args:
            learning_rate: Above 0; above 1 it diverges, and is infinite at the fourth step.
            beta: From 0 to below 1.

        Example:
            >>> ball = Ball()
            >>> ball.roll(0.1, 0.97)
            >>> round(ball.height, 6)
            2.1
        """
        if learning_rate > DIVERGES_ABOVE:
            self.height *= 1e100  # inf at the fourth step
        else:
            self.height += PACE * (floor(learning_rate, beta) - self.height)

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps.

        Returns:
            The height by its name.

        Example:
            >>> Ball().state_dict()
            {'height': 3.0}
        """
        return {"height": self.height}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Continues from a `state_dict`.

        Args:
            state: The height by its name.

        Example:
            >>> ball = Ball()
            >>> ball.load_state_dict({"height": 0.5})
            >>> ball.height
            0.5
        """
        self.height = state["height"]


def train(run: Run) -> None:
    """Rolls for 20 steps, reporting a noisy `loss` and `score` = exp(-loss), higher is better, at most about 1.

    Args:
        run: Its settings are learning_rate, and beta (0.97 where there is none).

    Example:
        >>> run = tuner.Run({"learning_rate": 0.1})
        >>> train(run)
        >>> len(run.reports), run.reports[-1].scores["loss"] < 0.02
        (20, True)
    """
    ball = Ball()
    run.state(ball)
    for step in run.steps(STEPS):
        ball.roll(run.params["learning_rate"], run.params.get("beta", BEST_BETA))
        loss = ball.height + NOISE * _noise(run.seed, step)
        run.report(loss=loss, score=exp(-loss))


def objective(run: Run) -> None:
    """Reports once: the floor of these settings, without noise.

    Args:
        run: Its settings are learning_rate, and beta (0.97 where there is none).

    Example:
        >>> run = tuner.Run({"learning_rate": 0.01})
        >>> objective(run)
        >>> run.reports[0].scores["loss"]
        0.25
    """
    loss = floor(run.params["learning_rate"], run.params.get("beta", BEST_BETA))
    run.report(loss=loss, score=exp(-loss))


def _noise(seed: int, step: int) -> float:
    """A standard normal draw keyed by (seed, step), so that a resumed run sees the same noise."""
    return float(np.random.default_rng([seed, step]).standard_normal())
