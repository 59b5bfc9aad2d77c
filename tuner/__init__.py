"""Hyperparameter search for people who train neural networks: sweep many models, babysit one, read every score."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner import samplers, workloads
    from tuner.api import Summary, attach, explain, open, promote, studies, sweep  # noqa: A004 - tuner.open reads like open
    from tuner.babysitting import babysit
    from tuner.errors import TunerError
    from tuner.explaining import Explanation
    from tuner.handle import Handle, Reply, RunHandle, SweepHandle
    from tuner.insight.confirmation import Confirmation
    from tuner.insight.ranking import Recheck
    from tuner.reading import Best, Study
    from tuner.repeating import confirm, recheck
    from tuner.run import Run
    from tuner.selfcheck import check
    from tuner.space import Space, choice, integer, linear, log, log_one_minus

__all__ = [
    "Best",
    "Confirmation",
    "Explanation",
    "Handle",
    "Recheck",
    "Reply",
    "Run",
    "RunHandle",
    "Space",
    "Study",
    "Summary",
    "SweepHandle",
    "TunerError",
    "attach",
    "babysit",
    "check",
    "choice",
    "confirm",
    "explain",
    "integer",
    "linear",
    "log",
    "log_one_minus",
    "open",
    "promote",
    "recheck",
    "samplers",
    "studies",
    "sweep",
    "workloads",
]

# Imported when first used: the shell must answer at once, and a worker needs `Run` alone.
_HOMES = {
    "api": ("Summary", "attach", "explain", "open", "promote", "studies", "sweep"),
    "errors": ("TunerError",),
    "babysitting": ("babysit",),
    "explaining": ("Explanation",),
    "handle": ("Handle", "Reply", "RunHandle", "SweepHandle"),
    "insight.confirmation": ("Confirmation",),
    "insight.ranking": ("Recheck",),
    "reading": ("Best", "Study"),
    "repeating": ("confirm", "recheck"),
    "run": ("Run",),
    "selfcheck": ("check",),
    "space": ("Space", "choice", "integer", "linear", "log", "log_one_minus"),
}
_HOME_OF = {name: home for home, exported in _HOMES.items() for name in exported}


def __getattr__(name: str) -> Any:
    if name in ("samplers", "workloads"):
        return import_module(f"tuner.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tuner' has no attribute {name!r}")
    return getattr(import_module(f"tuner.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
