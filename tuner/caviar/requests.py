"""The requests to a running sweep: each becomes a decision. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuner.errors import did_you_mean
from tuner.policy.requests import NOTHING, Decision, Refused, Situation, WorkerStatus, answered
from tuner.record.events import Configured, Noted, Record, Reported, Requested, RoundOpened
from tuner.record.requests import understood
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.worker.messages import Effect, Forget, Pause, Resume, Stop

if TYPE_CHECKING:
    from tuner.caviar.policy import Caviar


class SweepRequests:
    """The verbs of a sweep: each is done at once."""

    attention_s = 0.05
    verbs: tuple[str, ...] = (
        *("pause", "resume", "stop", "pause_trial", "resume_trial", "stop_trial"),
        *("add", "set_box", "set_parallel", "note"),
    )

    def __init__(self, policy: Caviar) -> None:
        self.policy = policy
        self.due = deque[Requested]()  # none ever waits

    def answer(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        """Does a request, or refuses it."""
        if request.verb not in self.verbs:
            meant = did_you_mean(request.verb, self.verbs)
            raise Refused(f"a sweep knows no {request.verb!r}. {meant}", code="unknown_verb")
        understood(request.verb, request.arguments)
        _expected(study, request.arguments)
        decision: Decision = getattr(self, f"_{request.verb}")(study, request, situation)
        return decision

    def started(self, study: StudyState, trial: Trial, situation: Situation) -> Decision:
        """What was in a worker's queue when a pause came stands still too."""
        worker = situation.workers.worker_of(trial.trial)
        if not situation.paused or worker is None:
            return NOTHING
        return Decision(commands=((worker.name, Pause(trial=trial.trial, why="the sweep is paused")),))

    def reported(self, study: StudyState, trial: Trial, record: Reported, now: float) -> Decision:
        """The stopping rule looks at them."""
        return NOTHING

    def ended(self, study: StudyState, trial: Trial, now: float) -> Decision:
        """Every answer has been given."""
        return NOTHING

    def released(self, study: StudyState, trial: Trial, situation: Situation) -> Decision:
        """Every answer has been given."""
        return NOTHING

    def took_effect(self, study: StudyState, trial: Trial, event: Effect, situation: Situation) -> Sequence[Record]:
        """Nobody asks a sweep's workers for anything."""
        return ()

    def closed(self, study: StudyState, why: str, now: float) -> Decision:
        """Every answer has been given."""
        return NOTHING

    def _pause(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        why = request.why or f"paused by {request.by}"
        commands = tuple((worker.name, Pause(trial=trial, why=why)) for worker, trial in _training(situation))
        done = _applied(request, situation, "no trial starts; those that train stand still between two steps")
        return Decision(records=(done,), paused=True, commands=commands)

    def _resume(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        commands = tuple((worker.name, Resume(trial=trial)) for worker, trial in _training(situation))
        return Decision(records=(_applied(request, situation, "training goes on"),), paused=False, commands=commands)

    def _stop(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        done = _applied(request, situation, "no further trial starts; those that train are ending")
        return Decision(records=(done,), ending=request.why or f"stopped by {request.by}")

    def _pause_trial(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        worker, number = _training_it(study, request, situation)
        done = _applied(request, situation, f"trial {number} stands still between two steps, and keeps its worker")
        why = request.why or f"paused by {request.by}"
        return Decision(records=(done,), commands=((worker.name, Pause(trial=number, why=why)),))

    def _resume_trial(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        worker, number = _training_it(study, request, situation)
        if situation.paused:
            raise Refused("the whole sweep is paused: resume that.", code="paused")
        done = _applied(request, situation, f"trial {number} trains on")
        return Decision(records=(done,), commands=((worker.name, Resume(trial=number)),))

    def _stop_trial(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        number = _live_trial(study, request.arguments).trial
        why = request.why or f"stopped by {request.by}"
        worker = situation.workers.worker_of(number)
        if worker is not None and worker.training == number:
            done = _applied(request, situation, f"trial {number} ends after its present step")
            return Decision(records=(done,), commands=((worker.name, Stop(trial=number, state="stopped", why=why)),))
        return Decision(
            records=(_applied(request, situation, f"trial {number} will not start"),),
            stopped=((number, why),),
            commands=() if worker is None else ((worker.name, Forget(trial=number)),),
        )

    def _add(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        settings = self.policy.space.check(request.arguments["settings"])
        draft = self.policy.draft_of(study, settings, request.why or f"added by {request.by}")
        done = _applied(request, situation, f"trial {len(study.trials)} will train with these settings next")
        return Decision(records=(done,), drafts=(draft,))

    def _set_box(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        space = self.policy.space
        box = dict(study.rounds[-1].box) if study.rounds else dict.fromkeys(space.names, (0.0, 1.0))
        for name, bounds in request.arguments["ranges"].items():
            if name not in space:
                raise Refused(
                    f"{name} is no parameter of this space. {did_you_mean(name, space.names)}", code="settings"
                )
            low, high = (space[name].to_unit(space[name].check(bound)) for bound in bounds)
            if not low < high or math.isnan(low):
                raise Refused(f"{name}: low must be below high, got {bounds[0]!r} … {bounds[1]!r}.", code="settings")
            box[name] = (low, high)
        number = study.rounds[-1].round + 1 if study.rounds else 0
        opened = RoundOpened(
            round=number,
            first_trial=len(study.trials),
            box=box,
            seen=len(study.ended_order),
            why=request.why or f"set by {request.by}",
            at=situation.now,
        )
        done = _applied(request, situation, f"round {number} begins with trial {len(study.trials)}")
        return Decision(records=(opened, done))

    def _set_parallel(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        parallel: int = request.arguments["parallel"]
        configured = Configured(options={"parallel": parallel}, by=request.by, why=request.why, at=situation.now)
        done = _applied(request, situation, f"{parallel} trials train at a time")
        return Decision(parallel=parallel, records=(configured, done))

    def _note(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        trial = request.arguments.get("trial")
        if trial is not None and trial >= len(study.trials):
            raise Refused(f"there is no trial {trial}: the study has {len(study.trials)}.", code="no_such_trial")
        noted = Noted(trial=trial, step=None, by=request.by, text=request.arguments["text"], at=situation.now)
        return Decision(records=(noted, _applied(request, situation, "noted")))


class RepeatRequests(SweepRequests):
    """The verbs of a sweep while its leaders are trained again: all but those that speak of the search."""

    verbs = ("pause", "resume", "stop", "pause_trial", "resume_trial", "stop_trial", "set_parallel", "note")

    def __init__(self) -> None:
        """No policy is asked: nothing is added, and there is no box."""
        self.due = deque[Requested]()


def _expected(study: StudyState, given: Mapping[str, Any]) -> None:
    """Whoever says which round they last saw must have seen the newest."""
    seen, latest = given.get("expect"), study.rounds[-1] if study.rounds else None
    if seen is None or (latest is not None and seen == latest.round):
        return
    if latest is None or seen > latest.round:
        newest = "there is none yet" if latest is None else f"the newest is round {latest.round}"
        raise Refused(f"expect must be the number of a round: {newest}, got {seen}.", code="expect")
    raise Refused(
        f"the sweep has changed since you looked: round {latest.round} began with trial {latest.first_trial} "
        f"({latest.why}). Look again, then ask again.",
        code="changed_since",
    )


def _applied(request: Requested, situation: Situation, detail: str) -> Record:
    return answered(request.request, "applied", detail, situation.now)


def _training(situation: Situation) -> Iterator[tuple[WorkerStatus, int]]:
    """The workers with something to train, and what that is."""
    for worker in situation.workers.busy():
        if worker.training is not None:
            yield worker, worker.training


def _training_it(study: StudyState, request: Requested, situation: Situation) -> tuple[WorkerStatus, int]:
    """The worker that has the trial in question in its hands."""
    trial = _live_trial(study, request.arguments)
    for worker, number in _training(situation):
        if number == trial.trial:
            return worker, number
    stands = "was set aside by the stopping rule, which takes it up again" if trial.frozen else f"is {trial.state}"
    raise Refused(f"trial {trial.trial} is in no worker's hands: it {stands}.", code="not_running")


def _live_trial(study: StudyState, arguments: Mapping[str, Any]) -> Trial:
    number: int = arguments["trial"]
    if number >= len(study.trials):
        raise Refused(f"there is no trial {number}: the study has {len(study.trials)}.", code="no_such_trial")
    trial: Trial = study.trials[number]
    if trial.ended:
        raise Refused(f"trial {number} is over already: {trial.state}, {trial.why}.", code="over")
    return trial
