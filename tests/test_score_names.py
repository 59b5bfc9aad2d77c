"""Which scores are losses, by their names."""

from __future__ import annotations

import pytest

from tuner.record.score_names import is_loss, training_loss
from tuner.worker.divergence import DivergenceAlarm

LOSSES = (
    "loss",
    "train_loss",
    "trainLoss",
    "val/loss",
    "loss/train",
    "LOSS",
    "Loss_D",
    "CELoss",
    "trainloss",
    "nll_loss",
    "loss_1",
    "train_loss_epoch",
    "log_loss",
    "dev-loss",
    "eval.loss",
)
OTHERS = (
    "loss_scale",
    "lossScale",
    "tokens_in_loss",
    "glossary_size",
    "lossless",
    "loss_weight",
    "num_losses",
    "num_loss",
    "gloss",
    "steps_since_best_loss",
    "loss_scaler",
    "lossy_bytes",
    "accuracy",
    "",
)


@pytest.mark.parametrize("name", LOSSES)
def test_a_name_whose_word_is_loss_is_one(name: str) -> None:
    assert is_loss(name)
    assert DivergenceAlarm(objective="score", goal="maximize")({name: 1.0}, {name: 1e7}) is not None


@pytest.mark.parametrize("name", OTHERS)
def test_a_name_that_merely_holds_the_word_is_none(name: str) -> None:
    assert not is_loss(name)
    assert DivergenceAlarm(objective="score", goal="maximize")({name: 1.0}, {name: 1e7}) is None
    assert DivergenceAlarm(objective="score", goal="maximize")({name: 1.0}, {name: float("inf")}) is None


def test_the_training_loss_is_taken_for_what_it_is_called() -> None:
    assert training_loss(["val_loss", "loss/train", "train_loss"]) == "train_loss"
    assert training_loss(["val_loss", "trainLoss", "loss_scale"]) == "trainLoss"
    assert training_loss(["loss_scale", "test_loss", "val_loss"]) == "val_loss"
    assert training_loss(["loss_scale", "test_loss", "accuracy"]) is None
