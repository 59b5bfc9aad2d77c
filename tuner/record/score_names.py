"""The names of scores, and what they say: a loss is what has that word, as in train_loss, val/loss and lossEpoch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
TRAIN = frozenset({"train", "training"})
DEV = frozenset({"dev", "val", "valid", "validation", "eval"})
_TEST = frozenset({"test", "testing"})
_SIDES = TRAIN | DEV | _TEST
# What may stand behind the word and leaves it a loss: whose it is, or of what it is the mean.
_AFTER = _SIDES | {"mean", "avg", "average", "median", "total", "sum", "epoch", "step", "batch", "ema", "raw"}
# A number of something, or a place in something, is another quantity: tokens_in_loss, num_loss, steps_since_best_loss.
_OTHERS = frozenset(
    {"in", "per", "of", "to", "for", "at", "by", "with", "without", "since", "until", "before", "after"}
    | {"num", "number", "count", "n", "no"}
)


def spread_of(name: str) -> str:
    """What the sample standard deviation of a score is called, where one trial trains with several seeds.

    >>> spread_of("dev_accuracy")
    'dev_accuracy (spread)'
    """
    return f"{name} (spread)"


@lru_cache(maxsize=1024)
def is_loss(name: str) -> bool:
    """Whether a score is a loss by its name.

    >>> [name for name in ("loss", "trainLoss", "val/loss", "loss_scale", "tokens_in_loss") if is_loss(name)]
    ['loss', 'trainLoss', 'val/loss']
    """
    words = words_of(name)
    if "loss" not in words:
        return False
    place = words.index("loss")
    after = words[place + 1 :]
    return _OTHERS.isdisjoint(words) and all(word in _AFTER or word.isdigit() or len(word) == 1 for word in after)


_LOWER = frozenset(
    {"error", "err", "mse", "rmse", "mae", "mape", "perplexity", "ppl", "nll", "wer", "cer", "fid", "regret", "cost"}
)


def is_better_lower(name: str) -> bool:
    """Whether less of a score is better by its name: a loss, an error.

    >>> [name for name in ("val_loss", "dev_error", "testRMSE", "dev_accuracy", "error_free") if is_better_lower(name)]
    ['val_loss', 'dev_error', 'testRMSE']
    """
    words = words_of(name)
    return is_loss(name) or bool(words and (words[-1] in _LOWER or words[0] in _LOWER - {"error", "err", "cost"}))


def training_loss(names: Iterable[str], *, beside: str | None = None) -> str | None:
    """The name that says how well the training set is fitted, or the nearest to it; None where no score is a loss.

    Test scores are for the end alone, and `beside` is the objective where that is shown already.
    """
    losses = [name for name in names if name != beside and is_loss(name) and _TEST.isdisjoint(words_of(name))]
    return min(losses, key=lambda name: (name != "train_loss", TRAIN.isdisjoint(words_of(name))), default=None)


def words_of(name: str) -> list[str]:
    """The words of a name in lower case; what is written together, such as trainloss, is parted."""
    words = []
    for word in map(str.lower, _WORDS.findall(name)):
        side = word.removesuffix("loss")
        words += [side, "loss"] if side != word and side in _SIDES else [word]
    return words
