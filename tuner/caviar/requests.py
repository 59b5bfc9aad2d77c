"""What a person may ask of a running sweep: each request becomes an answer, and what it changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuner.coordinator.requests import Refused, record_answer
from tuner.errors import TunerError, did_you_mean
from tuner.record.events import Configured, Noted, Reported, Requested, RoundOpened, TrialEnded
from tuner.record.requests import understood
from tuner.record.trial import Trial
from tuner.worker.messages import Effect, Forget, Pause, Resume, Stop

if TYPE_CHECKING:
    from tuner.caviar.policy import Caviar
    from tuner.coordinator.loop import Coordinator


class SweepSteering:
    """The verbs of a sweep: all are carried out by the coordinator at once."""

    attention_s = 0.05
    verbs: tuple[str, ...] = ("pause", "resume", "stop", "stop_trial", "add", "set_box", "set_parallel", "note")

    def __init__(self, policy: Caviar) -> None:
        self.policy = policy

    def answer(self, coordinator: Coordinator, request: Requested) -> None:
        """Carries a request out, or refuses it."""
        try:
            if request.verb not in self.verbs:
                raise Refused(f"a sweep knows no {request.verb!r}. {did_you_mean(request.verb, self.verbs)}")
            understood(request.verb, request.arguments)
            detail: str = getattr(self, f"_{request.verb}")(coordinator, request)
        except TunerError as error:
            record_answer(coordinator, request.request, "rejected", str(error))
        except Exception as error:  # whatever is wrong with tuner, the sweep goes on
            told = coordinator.fault(error, f"while answering {request.verb!r}")
            record_answer(coordinator, request.request, "rejected", told)
        else:
            record_answer(coordinator, request.request, "applied", detail)

    def started(self, coordinator: Coordinator, trial: Trial) -> None:
        """What was in a worker's queue when a pause came stands still too."""
        desk = coordinator.crew.desk_of(trial.trial)
        if coordinator.paused and desk is not None:
            coordinator.tell(desk.name, Pause(trial=trial.trial, why="the sweep is paused"))

    def reported(self, coordinator: Coordinator, trial: Trial, record: Reported) -> None:
        """The stopping rule looks at them."""

    def ended(self, coordinator: Coordinator, trial: Trial) -> None:
        """Every answer has been given."""

    def released(self, coordinator: Coordinator, trial: Trial) -> None:
        """Every answer has been given."""

    def took_effect(self, coordinator: Coordinator, trial: Trial, event: Effect) -> None:
        """Nobody asks a sweep's workers for anything."""

    def _pause(self, coordinator: Coordinator, request: Requested) -> str:
        coordinator.paused = True
        for desk in coordinator.crew.busy():
            coordinator.tell(desk.name, Pause(trial=desk.queue[0], why=request.why or f"paused by {request.by}"))
        return "no trial starts; those that train stand still between two steps"

    def _resume(self, coordinator: Coordinator, request: Requested) -> str:
        coordinator.paused = False
        for desk in coordinator.crew.busy():
            coordinator.tell(desk.name, Resume(trial=desk.queue[0]))
        return "training goes on"

    def _stop(self, coordinator: Coordinator, request: Requested) -> str:
        coordinator.wind_down(request.why or f"stopped by {request.by}")
        return "no further trial starts; those that train are ending"

    def _stop_trial(self, coordinator: Coordinator, request: Requested) -> str:
        trial = _live_trial(coordinator, request.arguments)
        why = request.why or f"stopped by {request.by}"
        desk = coordinator.crew.desk_of(trial.trial)
        if desk is not None and desk.training == trial.trial:
            coordinator.tell(desk.name, Stop(trial=trial.trial, state="stopped", why=why))
            return f"trial {trial.trial} ends after its present step"
        if desk is not None:
            coordinator.tell(desk.name, Forget(trial=trial.trial))
        coordinator.crew.release(trial.trial)
        coordinator.record(
            TrialEnded(
                trial=trial.trial,
                segment=trial.head.segment,
                state="stopped",
                why=why,
                step=trial.steps,
                best_step=trial.best_step,
                best_score=trial.best_score,
                started=trial.started,
                seconds=trial.seconds,
                node=trial.node,
                error="",
                traceback="",
                at=coordinator.executor.now(),
            )
        )
        coordinator.policy.ended(coordinator.study, trial)
        return f"trial {trial.trial} will not start"

    def _add(self, coordinator: Coordinator, request: Requested) -> str:
        settings = self.policy.space.check(request.arguments["settings"])
        number = coordinator.create(
            self.policy.draft_of(coordinator.study, settings, request.why or f"added by {request.by}")
        )
        return f"trial {number} will train with these settings next"

    def _set_box(self, coordinator: Coordinator, request: Requested) -> str:
        study, space = coordinator.study, self.policy.space
        box = dict(study.rounds[-1].box) if study.rounds else dict.fromkeys(space.names, (0.0, 1.0))
        for name, bounds in request.arguments["ranges"].items():
            if name not in space:
                raise Refused(f"{name} is no parameter of this space. {did_you_mean(name, space.names)}")
            low, high = (space[name].to_unit(space[name].check(bound)) for bound in bounds)
            if not low < high or math.isnan(low):
                raise Refused(f"{name}: low must be below high, got {bounds[0]!r} … {bounds[1]!r}.")
            box[name] = (low, high)
        number = study.rounds[-1].round + 1 if study.rounds else 0
        coordinator.record(
            RoundOpened(
                round=number,
                first_trial=len(study.trials),
                box=box,
                seen=len(study.ended_order),
                why=request.why or f"set by {request.by}",
                at=coordinator.executor.now(),
            )
        )
        return f"round {number} begins with trial {len(study.trials)}"

    def _set_parallel(self, coordinator: Coordinator, request: Requested) -> str:
        now = coordinator.executor.resize(request.arguments["parallel"])
        coordinator.record(
            Configured(options={"parallel": now}, by=request.by, why=request.why, at=coordinator.executor.now())
        )
        return f"{now} trials train at a time"

    def _note(self, coordinator: Coordinator, request: Requested) -> str:
        trial = request.arguments.get("trial")
        if trial is not None and trial >= len(coordinator.study.trials):
            raise Refused(f"there is no trial {trial}: the study has {len(coordinator.study.trials)}.")
        coordinator.record(
            Noted(trial=trial, step=None, by=request.by, text=request.arguments["text"], at=coordinator.executor.now())
        )
        return "noted"


class RepeatSteering(SweepSteering):
    """The verbs of a sweep while its leaders are trained again: all but those that speak of the search."""

    verbs = ("pause", "resume", "stop", "stop_trial", "set_parallel", "note")

    def __init__(self) -> None:
        """No policy is asked: nothing is added, and there is no box."""


def _live_trial(coordinator: Coordinator, arguments: Mapping[str, Any]) -> Trial:
    number: int = arguments["trial"]
    study = coordinator.study
    if number >= len(study.trials):
        raise Refused(f"there is no trial {number}: the study has {len(study.trials)}.")
    trial: Trial = study.trials[number]
    if trial.ended:
        raise Refused(f"trial {number} is over already: {trial.state}, {trial.why}.")
    return trial
