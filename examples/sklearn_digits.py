"""A scikit-learn network on handwritten digits: a model without `state_dict` saves itself into a folder.

tuner sweep examples.sklearn_digits:train --space sgd_momentum --trials 48
"""

from __future__ import annotations

import math
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import tuner


def train(run: tuner.Run) -> None:
    """Train with momentum, one pass over the data a step."""
    x, y = load_digits(return_X_y=True)
    x, dev_x, y, dev_y = train_test_split(x / 16, y, test_size=0.2, random_state=0, stratify=y)
    model = MLPClassifier((64,), solver="sgd", random_state=run.seed)

    def save(folder: Path) -> None:
        joblib.dump(model, folder / "model.joblib")

    def load(folder: Path) -> None:
        vars(model).update(vars(joblib.load(folder / "model.joblib")))

    run.state(save=save, load=load)
    for _ in run.steps(30):
        model.set_params(learning_rate_init=run.params["learning_rate"], momentum=run.params["beta"])
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                model.partial_fit(x, y, classes=range(10))
        except ValueError:  # scikit-learn's word for weights that are no numbers any more
            run.report(train_loss=math.nan)  # and tuner's: the trial ends here, as diverged
        else:
            run.report(dev_accuracy=model.score(dev_x, dev_y), train_loss=model.loss_)
