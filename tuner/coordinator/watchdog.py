"""The watchdog of trials that take too long or fall silent: first a word, then its worker's process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tuner.coordinator.workers import Worker
from tuner.record.trial import Trial
from tuner.values.numbers import duration

# A trial told to stop gets this long to come to the end of a step.
_KILL_GRACE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How the trials of a study are looked after; None: no such limit."""

    checkpoint_every_s: float = 10.0
    time_limit_s: float | None = None
    silence_limit_s: float | None = None
    time_budget_s: float | None = None

    @property
    def limits_trials(self) -> bool:
        """Whether there is anything to watch a trial for."""
        return self.time_limit_s is not None or self.silence_limit_s is not None


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What to do about a trial, and why."""

    action: Literal["stop", "kill"]
    state: Literal["stopped", "failed"]
    why: str


def overdue(worker: Worker, trial: Trial, timing: Timing, now: float) -> Alert | None:
    """What the watchdog makes of a worker and the trial it trains, `now` by `Executor.elapsed`."""
    if worker.started_at is None or trial.state == "paused":
        return None
    limit, silence = timing.time_limit_s, timing.silence_limit_s
    if limit is not None and worker.told_to_stop is not None:
        if now - worker.told_to_stop > _KILL_GRACE_S:
            why = f"its time limit of {duration(limit)} is up, and no step came to an end"
            return Alert(action="kill", state="stopped", why=why)
    elif limit is not None and trial.seconds + now - worker.started_at > limit:
        return Alert(action="stop", state="stopped", why=f"its time limit of {duration(limit)} is up")
    if silence is not None and now - worker.last_sign > silence:
        why = f"no sign of life for {duration(silence)}: no step ended, no report came"
        return Alert(action="kill", state="failed", why=why)
    return None
