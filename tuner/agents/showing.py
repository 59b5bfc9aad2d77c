"""A study and a trial as an agent is shown them: short enough to read, and plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner.record.leaders import leaders

if TYPE_CHECKING:
    from tuner.api.study import Study


def study_shown(study: Study) -> dict[str, Any]:
    """How it stands, with its leaders; of a babysat run the run."""
    state = study.state
    best = [
        {
            "trial": each.trial,
            "score": each.best_score,
            "spread": state.spread(each),
            "state": each.state,
            "params": each.settings,
        }
        for each in leaders(state, 5)
    ]
    told: dict[str, Any] = {
        "study": state.name,
        "kind": state.kind,
        "function": state.function,
        "objective": state.objective,
        "goal": state.goal,
        "trials": len(state.trials),
        "states": {name: count for name, count in state.counts.items() if count},
        "best": study.best,
        "recommended": study.recommended,
        "leaders": best,
        "round": state.rounds[-1].round if state.rounds else None,
    }
    if state.kind == "babysitting" and state.trials:
        trial = state.trials[0]
        told["run"] = {
            "state": trial.state,
            "why": trial.why,
            "step": trial.steps,
            "settings": trial.recipe.at(trial.steps),
            "segment": trial.head.segment if trial.segments else None,
            "checkpoints": [each.step for each in state.kept(trial)],
        }
    return told


def trial_shown(study: Study, number: int) -> dict[str, Any]:
    """All about one trial; of a long curve every few points."""
    trial, curve = study.trial(number), study.curve(number)
    every = max(1, -(-len(curve) // 50))
    return {
        "study": study.name,
        "trial": number,
        "state": trial.state,
        "why": trial.why,
        "purpose": trial.purpose,
        "params": trial.settings,
        "score": trial.best_score,
        "spread": study.state.spread(trial),
        "best_step": trial.best_step,
        "steps": trial.steps,
        "curve": {"steps": list(curve.steps)[::every], "scores": list(curve.scores)[::every], "every": every},
        "segments": [
            {"from_step": each.from_step, "cause": each.cause, "by": each.by, "why": each.why}
            for each in trial.segments
        ],
        "traceback": study.traceback(number)[-2000:],
    }
