"""The takeover of a study: what an earlier coordinator left, and who takes it up. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tuner.policy.protocol import Policy
from tuner.policy.requests import Decision, KeptCheckpoints
from tuner.policy.segments import again
from tuner.record.events import TrialHeld
from tuner.record.state import StudyState, unfinished
from tuner.record.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """What a coordinator finds at its start."""

    decision: Decision
    """Trials that go on."""
    unheard: frozenset[int]
    """Trials whose worker may still be there: the first worker that reports will tell."""


def take_over(
    study: StudyState,
    policy: Policy,
    checkpoints: KeptCheckpoints | None,
    now: float,
    *,
    outlives: bool,
    clean: bool,
    failed_too: bool,
) -> Takeover:
    """Takes up what an earlier coordinator left: nothing that may have begun begins again without saying so.

    `outlives`: workers may have outlived it. `clean`: it ended with nothing under way. `failed_too`: what had failed is
    tried again.
    """
    decisions = [
        again(study, trial, checkpoints, now, "retry", "failed before, and asked for again")
        for trial in (study.ended() if failed_too else ())
        if trial.state == "failed" and policy.trains(trial)
    ]
    unheard: set[int] = set()
    for trial in unfinished(study):
        if not policy.trains(trial):
            continue
        if trial.state == "paused" and study.kind == "babysitting":
            if outlives:
                unheard.add(trial.trial)  # its worker may still stand there
            continue  # whoever paused it resumes it
        if trial.frozen and policy.thaws:
            continue
        if trial.state == "paused" and outlives:
            unheard.add(trial.trial)
        elif trial.state == "paused":
            decisions.append(again(study, trial, checkpoints, now, "thaw", f"goes on after: {trial.why}"))
        elif trial.state == "waiting" and clean:
            decisions.append(Decision(ready=(trial.trial,)))  # no worker was ever given it
        elif trial.state in ("waiting", "running") and outlives:
            unheard.add(trial.trial)  # its worker may still be training
        elif trial.state == "waiting":
            why = "it may have begun: its coordinator ended without a word"
            decisions.append(again(study, trial, checkpoints, now, "retry", why))
        else:
            decisions.append(taken_up(study, trial, checkpoints, now))
    return Takeover(
        decision=Decision(
            records=tuple(record for each in decisions for record in each.records),
            ready=tuple(number for each in decisions for number in each.ready),
        ),
        unheard=frozenset(unheard),
    )


def taken_up(study: StudyState, trial: Trial, checkpoints: KeptCheckpoints | None, now: float) -> Decision:
    """A trial whose worker is gone goes on from its newest checkpoint.

    That it was lost comes first: the record of its next segment has it wait again.
    """
    further = again(study, trial, checkpoints, now, "retry", "its coordinator ended")
    if trial.state != "running":
        return further
    lost = TrialHeld(
        trial=trial.trial, state="lost", step=trial.steps, why="its coordinator ended without a word", at=now
    )
    return replace(further, records=(lost, *further.records))
