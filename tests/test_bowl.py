from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.worker.run import Report, Run
from tuner.worker.state import State
from tuner.workloads import bowl


class ScriptedControl:
    """Where a run is interrupted: it saves and stops at one step, resumes at another, or has a setting changed."""

    def __init__(
        self,
        folder: Path,
        *,
        stop_at: int | None = None,
        resume_at: int = 0,
        adjust: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.folder, self.stop_at, self.resume_at, self.adjust = folder, stop_at, resume_at, adjust
        self.reports: list[Report] = []

    def report(self, step: int, scores: dict[str, float]) -> None:
        self.reports.append(Report(step, scores))

    def register(self, state: State) -> int:
        self.state = state
        if self.resume_at:
            state.read(self.folder)
        return self.resume_at

    def between(self, done: int) -> str | None:
        self.adjust(done)
        if done != self.stop_at:
            return None
        for name, content in self.state.capture(self.folder).items():
            (self.folder / name).write_bytes(content)
        return "stopped by the test"


def rolled(train: Callable[[Run], None] = bowl.train, *, seed: int = 0, **params: float) -> list[dict[str, float]]:
    run = Run(params, seed=seed)
    train(run)
    return [report.scores for report in run.reports]


def test_the_curve_rises_to_the_floor_of_its_settings() -> None:
    curve = rolled(learning_rate=0.1, beta=0.97)
    scores = [point["score"] for point in curve]
    assert len(scores) == bowl.STEPS
    assert scores[0] < 0.2
    assert all(later > earlier for earlier, later in pairwise(scores[:9]))
    assert scores[-1] == pytest.approx(1, abs=0.02)


@given(
    learning_rate=st.floats(1e-4, 1).filter(lambda rate: abs(math.log10(rate / 0.1)) > 0.3), beta=st.floats(0.9, 0.999)
)
def test_no_other_settings_beat_the_best_by_their_noise(learning_rate: float, beta: float) -> None:
    best = rolled(learning_rate=0.1, beta=0.97)[-1]["score"]
    assert rolled(learning_rate=learning_rate, beta=beta, seed=1)[-1]["score"] < best


def test_a_learning_rate_that_is_too_large_diverges() -> None:
    losses = [point["loss"] for point in rolled(learning_rate=1.01, beta=0.97)]
    assert losses[3:] == [math.inf] * (bowl.STEPS - 3)


def test_noise_is_small_and_another_for_another_seed() -> None:
    one, other = (rolled(learning_rate=0.1, seed=seed) for seed in (1, 2))
    gaps = [abs(a["loss"] - b["loss"]) for a, b in zip(one, other, strict=True)]
    assert 0 < max(gaps) < 10 * bowl.NOISE


@pytest.mark.parametrize("at", [1, 10, 19])
def test_a_resumed_curve_is_the_rest_of_the_uninterrupted_one(at: int, tmp_path: Path) -> None:
    params: dict[str, Any] = {"learning_rate": 0.03, "beta": 0.9}
    before, after = ScriptedControl(tmp_path, stop_at=at), ScriptedControl(tmp_path, resume_at=at)
    bowl.train(Run(params, control=before))
    bowl.train(Run(params, control=after))
    whole = Run(params)
    bowl.train(whole)
    assert before.reports + after.reports == whole.reports


def test_settings_changed_between_two_steps_take_effect_at_once(tmp_path: Path) -> None:
    params = {"learning_rate": 0.001}

    def adjust(done: int) -> None:
        if done == 10:
            params["learning_rate"] = 0.1

    control = ScriptedControl(tmp_path, adjust=adjust)
    bowl.train(Run(params, control=control))
    constant, adjusted = rolled(learning_rate=0.001), [report.scores for report in control.reports]
    assert adjusted[:10] == constant[:10]
    assert adjusted[-1]["score"] > 0.9 > 0.5 > constant[-1]["score"]


def test_the_objective_reports_once_and_without_noise() -> None:
    assert rolled(bowl.objective, learning_rate=0.1, beta=0.97, seed=7) == [{"loss": 0.0, "score": 1.0}]
