"""A sweep as most tests want it: in this process, silent, called night, its objective `score`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tuner
from tuner.space import Space
from tuner.workloads import bowl

MOMENTUM = Space.load("sgd_momentum")


def sweep(
    results: Path,
    train: Callable[[tuner.Run], Any] | str = bowl.train,
    space: Space | str | Path = MOMENTUM,
    **options: Any,
) -> tuner.Study:
    """`tuner.sweep` over the in-process executor; `options` are its own, and win over what is usual here."""
    usual: dict[str, Any] = {
        "name": "night", "objective": "score", "trials": 8, "executor": "local", "progress": "off"
    }  # fmt: skip
    return tuner.sweep(train, space, results=results, **(usual | options))
