"""The activity of a babysat run in a few words, and what can be asked of it as it stands."""

from __future__ import annotations

from tuner.record.patience import delayed
from tuner.record.state import StudyState
from tuner.values.numbers import count


def activity(study: StudyState, *, running: bool) -> str:
    """What a babysat run is doing, in a few words."""
    trial = study.trials[0]
    if trial.ended:
        return f"{trial.state}: {trial.why}"
    if not running:
        return f"{trial.state}, and nobody tends it: the next request wakes it"
    asked = [_DOING[each.verb] for each in study.requests.values() if each.state == "accepted" and each.verb in _DOING]
    if asked:
        return f"{trial.state}, {asked[-1]}"
    if trial.delay:
        return f"{trial.state}, {trial.delay}"
    doing = {"waiting": "waiting for a worker", "lost": "recovering"}.get(trial.state, trial.state)
    return f"{doing}: {trial.why}" if trial.state in ("paused", "lost") else doing


def delay(study: StudyState) -> str:
    """Whose training waits for what it needs in a worker's hands, for what, and why; empty: nobody's."""
    waiting = [trial for trial in study.live.values() if trial.delay]
    if not waiting:
        return ""
    others = f", and {count(len(waiting) - 1, 'other trial')} as well" if len(waiting) > 1 else ""
    return f"{delayed(waiting[0].trial, waiting[0].delay)}{others}"


_DOING = {"revert": "reverting", "undo": "undoing", "checkpoint": "checkpointing", "stop": "stopping"}


def ways_on(study: StudyState) -> str:
    """What can be asked of a babysat run as it stands."""
    trial, name = study.trials[0], study.name
    if not trial.ended:
        return f"watch it: tuner watch {name} · change it: tuner set {name} NAME=VALUE"
    if not study.kept(trial):
        return "it cannot go on, for there is no checkpoint of it: begin anew under another name"
    if trial.state == "diverged":
        return f"go back: tuner revert {name}"
    mended = ", once what failed is mended" if trial.state == "failed" else ""
    return f"go on{mended}: tuner extend {name} STEPS"
