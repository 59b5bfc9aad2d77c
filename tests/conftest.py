"""What all tests start from, and what several test files say about a study."""

from __future__ import annotations

import signal
from dataclasses import fields
from typing import Any

from tuner.study import StudyState

# A shell starts what runs in its background deaf to Ctrl-C, and so would be all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def facts(state: StudyState) -> dict[str, Any]:
    """Everything the fold knows, curves included, so that two folds can be compared."""
    aside = ("trials", "live", "load_curve", "replaying", "moves", "moved", "counts")
    known = {spec.name: getattr(state, spec.name) for spec in fields(state) if spec.name not in aside}
    known["counts"] = {name: count for name, count in state.counts.items() if count}
    known["live"] = sorted(state.live)
    known["trials"] = [
        {spec.name: getattr(trial, spec.name) for spec in fields(trial) if spec.name != "curve"}
        | {"curve": (list(state.curve(trial).steps), list(map(repr, state.curve(trial).scores)))}
        for trial in state.trials
    ]
    return known
