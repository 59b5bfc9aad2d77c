"""A PyTorch network on handwritten digits: needs torch and scikit-learn.

tuner sweep examples.torch_digits:train --space sgd_momentum --trials 48
tuner sweep examples.torch_digits:train --space sgd_momentum --trials 48 --gpus 0.5    # two at a time on each GPU
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import tuner

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(run: tuner.Run) -> None:
    """Train with momentum; settings are read at every epoch."""
    torch.manual_seed(run.seed)
    (x, y), (dev_x, dev_y) = digits()
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)).to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters())
    run.state(model, optimizer)
    for _ in run.steps(30):
        for group in optimizer.param_groups:
            group["lr"], group["momentum"] = run.params["learning_rate"], run.params["beta"]
            group["dampening"] = run.params["beta"]  # v = βv + (1−β)g, so that β does not change the rate
        for batch in torch.randperm(len(x)).split(64):
            loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        dev_accuracy = (model(dev_x).argmax(1) == dev_y).float().mean()
        run.report(dev_accuracy=dev_accuracy, train_loss=loss.detach())


def digits() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images (m, 64) between 0 and 1 with their digits (m,), to train on and to select by."""
    x, y = load_digits(return_X_y=True)
    train_x, dev_x, train_y, dev_y = train_test_split(x / 16, y, test_size=0.2, random_state=0, stratify=y)
    pairs = (train_x, train_y), (dev_x, dev_y)
    return [
        (torch.tensor(images, dtype=torch.float32, device=DEVICE), torch.tensor(labels, device=DEVICE))
        for images, labels in pairs
    ]
