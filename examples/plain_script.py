r"""A script that knows nothing of tuner: options in, lines out, as most training scripts are.

tuner sweep --command 'python examples/plain_script.py --lr {learning_rate} --momentum {beta}' --metric 'val_acc=([\d.]+)' --space sgd_momentum
"""  # noqa: E501 - a command stands in one line

from __future__ import annotations

import argparse
import math

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()

    x, y = load_digits(return_X_y=True)
    x, dev_x, y, dev_y = train_test_split(x / 16, y, test_size=0.2, random_state=0, stratify=y)
    model = MLPClassifier(
        (32,), solver="sgd", learning_rate_init=given.lr, momentum=given.momentum, max_iter=1, random_state=0
    )
    for epoch in range(1, given.epochs + 1):
        try:
            model.partial_fit(x, y, classes=range(10))
        except ValueError:  # weights that are no numbers any more
            print(f"epoch {epoch}: train_loss={math.nan}")
            raise
        print(f"epoch {epoch}: train_loss={model.loss_:.4f} val_acc={model.score(dev_x, dev_y):.4f}")


if __name__ == "__main__":
    main()
