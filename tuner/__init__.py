"""Hyperparameter search for people who train neural networks: sweep many models, babysit one, read every score.

Every example of the reference runs as a test, in a folder where `night` is a sweep that is over and `study` that sweep
opened, `handle` steers a babysat run, `one`, `tended` is another that is over, `sweeping` steers a sweep that runs,
`long`, `lending` one that lends its trials, `asked`, and `service` is the address and the token of a service. All names
of `tuner` are at hand, and those of the module that a page is about.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner import samplers, workloads
    from tuner.api.answers import Reply
    from tuner.api.babysit import babysit
    from tuner.api.check import check
    from tuner.api.connect import RemoteStudies, connect
    from tuner.api.explanation import Explanation
    from tuner.api.external import LeasedTrial
    from tuner.api.handles import Handle, RunHandle
    from tuner.api.pricing import Price, price
    from tuner.api.repeats import confirm, recheck
    from tuner.api.studies import Summary, attach, explain, open, promote, studies  # noqa: A004 - tuner.open reads like open
    from tuner.api.study import Study
    from tuner.api.sweep import sweep
    from tuner.api.sweep_handle import SweepHandle
    from tuner.api.waiting import Waited
    from tuner.errors import TunerError
    from tuner.insight.confirmation import Confirmation
    from tuner.insight.ranking import Recheck
    from tuner.insight.recommendation import Recommended
    from tuner.programs.command import command
    from tuner.programs.reporting import report
    from tuner.record.reader import Best
    from tuner.space.constructors import choice, integer, linear, log, log_one_minus
    from tuner.space.space import Space
    from tuner.views.digest import Digest
    from tuner.worker.run import Run

__all__ = [
    "Best",
    "Confirmation",
    "Digest",
    "Explanation",
    "Handle",
    "LeasedTrial",
    "Price",
    "Recheck",
    "Recommended",
    "RemoteStudies",
    "Reply",
    "Run",
    "RunHandle",
    "Space",
    "Study",
    "Summary",
    "SweepHandle",
    "TunerError",
    "Waited",
    "attach",
    "babysit",
    "check",
    "choice",
    "command",
    "confirm",
    "connect",
    "explain",
    "integer",
    "linear",
    "log",
    "log_one_minus",
    "open",
    "price",
    "promote",
    "recheck",
    "report",
    "samplers",
    "studies",
    "sweep",
    "workloads",
]

# Imported when first used: the shell must answer at once, and a worker needs `Run` alone.
_HOMES = {
    "api.answers": ("Reply",),
    "api.babysit": ("babysit",),
    "api.check": ("check",),
    "api.connect": ("RemoteStudies", "connect"),
    "api.explanation": ("Explanation",),
    "api.external": ("LeasedTrial",),
    "api.handles": ("Handle", "RunHandle"),
    "api.pricing": ("Price", "price"),
    "api.repeats": ("confirm", "recheck"),
    "api.study": ("Study",),
    "api.studies": ("Summary", "attach", "explain", "open", "promote", "studies"),
    "api.sweep": ("sweep",),
    "api.sweep_handle": ("SweepHandle",),
    "api.waiting": ("Waited",),
    "errors": ("TunerError",),
    "insight.confirmation": ("Confirmation",),
    "insight.ranking": ("Recheck",),
    "insight.recommendation": ("Recommended",),
    "programs.command": ("command",),
    "programs.reporting": ("report",),
    "record.reader": ("Best",),
    "space": ("Space", "choice", "integer", "linear", "log", "log_one_minus"),
    "views.digest": ("Digest",),
    "worker.run": ("Run",),
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
