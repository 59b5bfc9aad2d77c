"""The requests of programs that train a sweep's trials by themselves: each is passed on, or answered here. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.caviar.requests import SweepRequests
from tuner.policy.requests import Decision, Refused, Situation, answered
from tuner.record.dialogue import DIALOGUE, format_answer, incarnation
from tuner.record.events import Configured, Received, Record, Requested
from tuner.record.reports import Row, pack_reports
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.values.numbers import count
from tuner.worker.messages import Said

_GRACE_S = 5.0  # of a call for a trial, beyond what it would wait: whoever made it is gone by then


class ExternalRequests(SweepRequests):
    """The verbs of a sweep whose trials are lent to programs: they ask for one, report, and tell its end.

    What a trial's holder says goes to the executor. Whoever is late, since the trial is over or was taken over, is
    answered from the record.
    """

    attention_s = 0.01  # a program waits for each answer
    verbs = (*SweepRequests.verbs, *DIALOGUE)

    def closed(self, study: StudyState, why: str, now: float) -> Decision:
        """Whoever asks learns that all is over, then and later."""
        over = Configured(options={"over": why}, by="tuner", why=why, at=now)
        asks = [each for each in study.requests.values() if each.verb == "ask" and each.state == "received"]
        told = [answered(each.request, "rejected", format_answer(over=True, why=why), now) for each in asks]
        return Decision(records=(over, *told))

    def _ask(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        given = request.arguments
        worker, wait_s = given["worker"], given.get("wait_s") or 0.0
        if request.at + wait_s + _GRACE_S < situation.now:
            gone = format_answer(why="nobody coordinated the study while it asked")
            return Decision(records=(answered(request.request, "expired", gone, situation.now),))
        said = Said(
            trial=-1,
            request=request.request,
            verb="ask",
            arguments=given,
            standing="the study is paused" if situation.paused else self._standing(study),
        )
        return Decision(commands=((worker, said),))

    def _standing(self, study: StudyState) -> str:
        """What there is to say to whoever gets no trial."""
        spent = self.policy.spent(study)
        if spent is None:
            return "the next trial is being thought of"
        return f"{spent}, and {count(len(study.live), 'trial')} still in training: whoever falls silent loses its own"

    def _report(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        trial, segment = _spoken_of(study, request.arguments)
        if segment != trial.head.segment:
            return self._late(trial, segment, request, study.received, situation.now)
        if trial.ended:
            why = f"trial {trial.trial} is over, {trial.state}: {trial.why}"
            return _applied(request, format_answer(orders="stop", why=why, until=None), situation)
        return _passed_on(trial, request, situation)

    def _late(
        self, trial: Trial, segment: int, request: Requested, received: Mapping[str, int], now: float
    ) -> Decision:
        """What the program before says of a trial that went on elsewhere is kept, once, and counts for nothing."""
        rows, batch = request.arguments["rows"], request.arguments.get("batch")
        name = incarnation(trial.trial, segment)
        last = received.get(name, -1)
        records: list[Record] = []
        if rows and batch is not None and batch > last:
            packed: list[Row] = [(step, key, value, now) for step, scores in rows for key, value in scores.items()]
            records = [Received(worker=request.by, incarnation=name, batch=batch)]
            if packed:
                records.insert(0, pack_reports(trial.trial, segment, packed))
        told = format_answer(
            orders="stop", why=_superseded(trial, segment), until=None, superseded_by=trial.head.segment
        )
        return Decision(records=(*records, answered(request.request, "applied", told, now)))

    def _tell(self, study: StudyState, request: Requested, situation: Situation) -> Decision:
        trial, segment = _spoken_of(study, request.arguments)
        if segment != trial.head.segment:
            told = format_answer(why=_superseded(trial, segment), superseded_by=trial.head.segment)
            return Decision(records=(answered(request.request, "rejected", told, situation.now),))
        if trial.ended:  # a repeated one is told the same again
            told = format_answer(trial=trial.trial, segment=segment, state=trial.state, why=trial.why)
            return _applied(request, told, situation)
        return _passed_on(trial, request, situation)


def _spoken_of(study: StudyState, given: Mapping[str, Any]) -> tuple[Trial, int]:
    """The trial and the segment that a program speaks of."""
    number, segment = given["trial"], given["segment"]
    if number >= len(study.trials):
        raise Refused(f"there is no trial {number}: the study has {len(study.trials)}.", code="no_such_trial")
    trial = study.trials[number]
    if segment > trial.head.segment:
        raise Refused(f"trial {number} has no segment {segment}: its last is {trial.head.segment}.")
    return trial, segment


def _superseded(trial: Trial, segment: int) -> str:
    return f"segment {segment} was given up ({trial.head.why}): trial {trial.trial} went on as {trial.head.segment}"


def _passed_on(trial: Trial, request: Requested, situation: Situation) -> Decision:
    """The executor hears it from whoever has the trial."""
    worker = situation.workers.worker_of(trial.trial)
    if worker is None and not situation.unheard(trial.trial):
        raise Refused(f"trial {trial.trial} waits for whoever asks next: ask for a trial before you speak of it.")
    said = Said(
        trial=trial.trial, request=request.request, verb=request.verb, arguments=request.arguments, why=request.why
    )
    return Decision(commands=((trial.worker if worker is None else worker.name, said),))


def _applied(request: Requested, told: str, situation: Situation) -> Decision:
    return Decision(records=(answered(request.request, "applied", told, situation.now),))
