"""Programs that know nothing of tuner, as most people have them, and the sweeps that train them."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

from sweeping import usually

import tuner
from tuner.space.space import Space

PYTHON = sys.executable
SPACE = Space(rate=tuner.log(1e-3, 1.0))
# What most scripts look like: options in, lines out.
TRAIN = """
    import argparse
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float)
    given = parser.parse_args()
    for epoch in range(3):
        print(f"epoch {epoch}: train_loss=0.5 val_acc={1 - abs(given.rate - 0.1) / (epoch + 1):.6f}")
"""
PATTERN = r"val_acc=([-\d.]+)"


def script(folder: Path, text: str = TRAIN, name: str = "train.py") -> Path:
    """A script of one's own."""
    path = folder / name
    path.write_text(dedent(text))
    return path


def train(folder: Path, text: str = TRAIN, words: str = "--rate {rate}", **options: Any) -> Any:
    """Such a script as a training function."""
    return tuner.command(f"{PYTHON} {script(folder, text)} {words}", **options)


sweep = usually(space=SPACE, trials=3, stopping="off", objective="val_acc")
