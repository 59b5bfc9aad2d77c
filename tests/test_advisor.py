"""What the supervisor is told of a run on record."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from stories import Part, story

from tuner.api.study import Study
from tuner.coordinator.workers import WorkerPool
from tuner.panda.advisor import Advisor, facts
from tuner.panda.requests import RunRequests
from tuner.panda.supervisor import Advice
from tuner.policy.requests import Decision, Situation
from tuner.record.events import Judged, Noted, Record
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.worker.messages import Unread

SLOW, STEEP = {"lr": 0.01, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.9}


def run_of(folder: Path, settings: dict[str, Any], **more: Any) -> Study:
    return story(
        folder / "one", Part(start=0, to=50, params=settings, scores=lambda step: {"score": step / 50}), **more
    )


@pytest.mark.parametrize(
    ("settings", "rate", "beta", "form"),
    [
        ({"learning_rate": 0.1, "beta": 0.9}, "learning_rate", "beta", "averaged"),
        ({"lr": 0.1, "momentum": 0.9}, "lr", "momentum", "heavy_ball"),
        ({"alpha": 0.1, "beta1": 0.9}, "alpha", "beta1", "averaged"),
        ({"units": 50}, "learning_rate", "beta", "averaged"),
    ],
)
def test_rate_and_momentum_are_known_by_the_names_people_give_them(
    tmp_path: Path, settings: dict[str, Any], rate: str, beta: str, form: str
) -> None:
    with closing(run_of(tmp_path, settings)) as study:
        found = facts(study.state, study.trial(0), {}, None)
    assert (found.rate_name, found.beta_name, found.momentum) == (rate, beta, form)
    assert found.rate == settings.get(rate)


def test_what_was_given_up_is_no_part_of_what_is_looked_at(tmp_path: Path) -> None:
    def rising(step: int) -> dict[str, float]:
        return {"score": step / 100}

    study = story(
        tmp_path / "one",
        Part(start=0, to=50, params=SLOW, scores=rising),
        Part(start=50, to=90, params=STEEP, parent=0, scores=lambda step: {"score": -float(step)}),
        Part(start=50, to=100, params=SLOW, parent=0, cause="revert", verb="revert", scores=rising),
    )
    with closing(study):
        trial = study.trial(0)
        advisor = Advisor(None)
        for flush in study.reported(0):
            advisor.take(flush, trial)
        seen = advisor.look(study.state, trial)
        assert [each.symptom for each in seen] == [each.symptom for each in study.advice()]
        assert "diverged" not in [each.symptom for each in seen]
        assert seen[0].window[1] == 100


@dataclass
class Loop:
    """As much of a coordinator as the supervisor meets."""

    study: StudyState
    situation: Situation = field(default_factory=lambda: Situation(now=0.0, workers=WorkerPool(), checkpoints=None))
    warned: list[str] = field(default_factory=list)
    recorded: list[Record] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)

    def carry_out(self, decision: Decision) -> None:
        told = [fault.becomes(f"a bug: {type(fault.error).__name__}") for fault in decision.faults]
        self.faults += [fault.error for fault in decision.faults]
        self.write_down([*decision.records, *told])

    def write_down(self, records: Sequence[Record]) -> None:
        for record in records:
            self.study.apply(record)
            if isinstance(record, Noted) and record.by == "tuner":
                self.warned.append(record.text)
            else:
                self.recorded.append(record)


class FailsAtFirst(Advisor):
    """Raises at its first looks, as a bug would."""

    fails = 2

    def news(self, study: StudyState, trial: Trial) -> Advice | None:
        self.fails -= 1
        if self.fails >= 0:
            raise IndexError("index 9 is out of bounds")
        return super().news(study, trial)


def test_a_fault_of_the_supervisor_is_noted_once_and_it_looks_again(tmp_path: Path) -> None:
    diverged = Part(start=0, to=90, params=SLOW, scores=lambda step: {"score": math.nan if step > 80 else step / 90})
    with closing(story(tmp_path / "one", diverged)) as study:
        loop, clock = Loop(study.state), itertools.count(step=40.0)
        requests = RunRequests(None, FailsAtFirst(None), clock=lambda: next(clock))
        for _ in range(3):
            for flush in study.reported(0):
                loop.carry_out(requests.reported(study.state, study.trial(0), flush, loop.situation.now))
    assert len(loop.warned) == 1
    assert "IndexError" in loop.warned[0]
    assert {str(each) for each in loop.faults} == {"index 9 is out of bounds"}
    (note,) = loop.recorded
    assert isinstance(note, Noted)
    assert "diverged" in note.text


def test_a_change_that_nobody_read_is_noted_and_not_judged_until_it_is_read(tmp_path: Path) -> None:
    before, after = Part(start=0, to=50, params=SLOW), Part(start=50, to=90, params=STEEP, parent=0)
    with closing(story(tmp_path / "one", before, after)) as study:
        trial, loop = study.trial(0), Loop(study.state)
        requests, asked = RunRequests(None, None), trial.head.request
        finding = Unread(trial=0, step=60, request=asked, since=50, names=("lr",), partly_read=False, before=True)
        assert facts(study.state, trial, {}, None).last_change_step == 50
        loop.write_down(requests.took_effect(study.state, trial, finding, loop.situation))
        assert facts(study.state, trial, {}, None).last_change_step is None
        assert "nothing has read lr" in loop.warned[0]
        again = replace(finding, step=70, again=True)
        loop.write_down(requests.took_effect(study.state, trial, again, loop.situation))
        assert facts(study.state, trial, {}, None).last_change_step == 50
    assert [(each.request, each.verdict) for each in loop.recorded if isinstance(each, Judged)] == [
        (asked, "not read"),
        (asked, "read since"),
    ]
