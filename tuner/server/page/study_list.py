"""A study at a glance: what one line of the list says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.errors import TunerError
from tuner.server.page.status import Tone, coordinator_of, mood_of_a_sweep, status_of, tone_of
from tuner.values.numbers import count

if TYPE_CHECKING:
    from tuner.api.studies import Summary
    from tuner.server.page.source import StudySource


@dataclass(frozen=True, kw_only=True)
class Glance:
    """One study, as far as it can be read."""

    name: str
    kind: str
    tone: Tone
    state: str
    progress: str
    objective: str
    best: float | None
    where: str
    """Where the best is: its trial, or the step of a run."""
    coordinator: str
    updated: float
    spread: float | None = None
    """How far the seeds of the best differ, where it has several."""


def glance(summary: Summary, library: StudySource, now: float) -> Glance:
    """What is said of a study; a sweep is not folded for it."""
    told: dict[str, Any] = {
        "name": summary.name,
        "objective": summary.objective,
        "updated": summary.updated,
        "best": summary.best,
        "spread": summary.spread,
    }
    holder = re.search(r"\(pid (\d+) on (.*)\)$", summary.activity)
    coordinator = coordinator_of(holder[2], int(holder[1]), now) if holder else "nobody"
    if summary.kind == "babysitting":
        try:
            with library.study(summary.name) as study:
                found, trial = status_of(study, now), study.state.trials[0]
                where = "" if trial.best_step is None else f"step {trial.best_step:,}"
                told |= {"best": trial.best_score, "where": where, "progress": f"step {trial.steps:,}"}
                told |= {"tone": found.tone, "state": "lost" if found.mood == "lost" else trial.state}
                return Glance(**told, kind="babysat run", coordinator=coordinator)
        except (TunerError, IndexError):
            pass
    begun = summary.activity == "idle" or summary.activity.startswith("running")
    waiting = summary.trials - summary.ended - summary.aside
    mood = mood_of_a_sweep(summary.trials, waiting, held=holder is not None)
    progress = f"{count(summary.trials, 'trial')}, {summary.ended:,} ended"
    where = "" if summary.best_trial is None else f"trial {summary.best_trial}"
    return Glance(
        **told,
        kind="sweep" if summary.kind == "sweep" else "babysat run" if summary.kind else "?",
        tone=tone_of(mood, has_score=summary.best is not None),
        state=mood if begun or holder else summary.activity,
        progress=progress + (f", {summary.aside:,} set aside" if summary.aside else ""),
        where=where,
        coordinator=coordinator,
    )
