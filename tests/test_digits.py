from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuner.errors import SettingsError
from tuner.worker.run import Report, Run
from tuner.worker.state import State
from tuner.workloads import digits
from tuner.workloads.network import Network

pytest.importorskip("sklearn", reason="the digits are an extra: pip install 'tuner[digits]'")


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


def trained(train: Callable[[Run], None] = digits.train, **params: Any) -> list[dict[str, float]]:
    run = Run(params)
    train(run)
    return [report.scores for report in run.reports]


def test_the_split_is_70_15_15_with_every_digit_in_each_part() -> None:
    data = digits.load()
    shares = [len(part.y) / 1797 for part in data]
    assert shares == pytest.approx([0.70, 0.15, 0.15], abs=0.002)
    everywhere = np.bincount(np.concatenate([part.y for part in data])) / 1797
    for part in data:
        assert np.bincount(part.y) / len(part.y) == pytest.approx(everywhere, abs=0.015)


def test_no_image_is_in_two_parts() -> None:
    images = np.concatenate([part.x for part in digits.load()])
    assert len(np.unique(images, axis=0)) == 1797


def test_inputs_are_normalised_by_the_training_part_alone() -> None:
    train, dev, _ = digits.load(seed=3)
    live = train.x.std(axis=0) > 0
    assert train.x.mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert train.x[:, live].std(axis=0) == pytest.approx(1, abs=1e-6)
    assert 0 < np.abs(dev.x.mean(axis=0)).max() < 1
    assert np.abs(dev.x).max() < 100


def test_the_digits_are_read_once_and_shuffled_by_the_seed() -> None:
    assert digits.load(1) is digits.load(1)
    assert not np.array_equal(digits.load(1).dev.x, digits.load(2).dev.x)


def test_five_seeded_splits_reach_97_percent_on_the_test_set() -> None:
    accuracies = []
    for seed in range(5):
        data = digits.load(seed)
        network = Network([64, 128, 10], seed=seed)
        for _ in range(30):
            network.train_epoch(*data.train, learning_rate=0.3, batch_size=32, dropout=0.2)
        accuracies.append(network.accuracy(*data.test))
    mean = float(np.mean(accuracies))
    print(f"digits: mean test accuracy {mean:.4f} of {[round(one, 4) for one in accuracies]}")
    assert mean >= 0.97


@pytest.mark.parametrize("train", [digits.train, digits.train_adam, digits.train_rmsprop])
def test_each_training_function_learns_with_its_defaults(train: Callable[[Run], None]) -> None:
    curve = trained(train)
    assert len(curve) == 30
    assert curve[-1]["dev_accuracy"] > 0.95
    assert set(curve[-1]) == {"dev_accuracy", "dev_loss", "train_accuracy", "train_loss", "test_accuracy", "update_cos"}


@pytest.mark.parametrize("optimizer", ["plain", "momentum", "rmsprop", "adam"])
def test_a_resumed_run_reports_what_the_uninterrupted_one_reports(optimizer: str, tmp_path: Path) -> None:
    params: dict[str, Any] = {
        "epochs": 6,
        "optimizer": optimizer,
        "learning_rate": 0.01,
        "layers": 3,
        "hidden_units": 20,
        "batch_norm": True,
        "dropout": 0.2,
        "l2": 0.1,
        "decay": "exponential",
    }
    before, after = ScriptedControl(tmp_path, stop_at=3), ScriptedControl(tmp_path, resume_at=3)
    digits.train(Run(params, control=before))
    digits.train(Run(params, control=after))
    whole = Run(params)
    digits.train(whole)
    assert before.reports + after.reports == whole.reports


def test_early_stopping_counts_on_after_a_resume(tmp_path: Path) -> None:
    params: dict[str, Any] = {"learning_rate": 0.0, "patience": 4}  # the first epoch stays the best
    before, after = ScriptedControl(tmp_path, stop_at=3), ScriptedControl(tmp_path, resume_at=3)
    digits.train(Run(params, control=before))
    digits.train(Run(params, control=after))
    assert (len(before.reports), len(after.reports)) == (3, 2)
    assert len(trained(**params)) == 5


def test_a_learning_rate_changed_in_mid_run_is_read_at_the_next_epoch(tmp_path: Path) -> None:
    params: dict[str, Any] = {"epochs": 3, "learning_rate": 0.1}

    def adjust(done: int) -> None:
        params["learning_rate"] = 0.1 if done == 0 else 0.0

    control = ScriptedControl(tmp_path, adjust=adjust)
    digits.train(Run(params, control=control))
    losses = [report.scores["dev_loss"] for report in control.reports]
    assert losses[0] == losses[1] == losses[2]


def test_a_learning_rate_far_too_large_diverges_without_an_error() -> None:
    curve = trained(epochs=3, learning_rate=1e200)
    assert not np.isfinite(curve[-1]["train_loss"])


def test_an_unknown_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match=r"'hiden_units' .*mean hidden_units"):
        trained(hiden_units=50)


def test_every_ready_made_space_names_settings_that_digits_knows() -> None:
    spaces = sorted((Path(__file__).parents[1] / "search_spaces").glob("*.toml"))
    assert spaces
    for space in spaces:
        assert set(tomllib.loads(space.read_text())) <= set(digits.DEFAULTS)
