"""Sweeps as most tests want them: in this process, silent, called night, their objective `score`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import tuner
from tuner.space.space import Space
from tuner.workloads import bowl

MOMENTUM = Space.load("sgd_momentum")

Train: TypeAlias = Callable[[tuner.Run], Any] | str


class Sweep(Protocol):
    """`tuner.sweep` into a results folder; what is given wins over what is usual."""

    def __call__(
        self, results: Path | str, train: Train | None = None, space: Space | str | Path | None = None, **options: Any
    ) -> tuner.Study: ...


def usually(train: Train = bowl.train, space: Space = MOMENTUM, **usual: Any) -> Sweep:
    """A sweep that trains this unless told otherwise."""
    usual_train, usual_space = train, space
    here: dict[str, Any] = {"name": "night", "objective": "score", "trials": 8, "executor": "local", "progress": "off"}

    def sweep(
        results: Path | str, train: Train | None = None, space: Space | str | Path | None = None, **options: Any
    ) -> tuner.Study:
        return tuner.sweep(train or usual_train, space or usual_space, results=results, **(here | usual | options))

    return sweep


sweep = usually()
