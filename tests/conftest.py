"""What several test files say about a study."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tuner.study import StudyState


def facts(state: StudyState) -> dict[str, Any]:
    """Everything the fold knows, curves included, so that two folds can be compared."""
    aside = ("trials", "live", "load_curve", "replaying", "counts")
    known = {spec.name: getattr(state, spec.name) for spec in fields(state) if spec.name not in aside}
    known["counts"] = {name: count for name, count in state.counts.items() if count}
    known["live"] = sorted(state.live)
    known["trials"] = [
        {spec.name: getattr(trial, spec.name) for spec in fields(trial) if spec.name != "curve"}
        | {"curve": (list(state.curve(trial).steps), list(map(repr, state.curve(trial).scores)))}
        for trial in state.trials
    ]
    return known
