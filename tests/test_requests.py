"""What is asked is decided from values alone, and nothing happens by it until somebody carries it out."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from stories import Part, story

from tuner import Space, log
from tuner.caviar.policy import Caviar, Limits
from tuner.caviar.requests import RepeatRequests, SweepRequests
from tuner.caviar.rules import rule_by_name
from tuner.coordinator.checkpoint_keeper import CheckpointKeeper
from tuner.coordinator.standing import Standing, Standings
from tuner.coordinator.takeover import take_over
from tuner.coordinator.workers import WorkerPool
from tuner.panda.policy import Panda
from tuner.panda.requests import RunRequests
from tuner.policy.requests import Decision, Refused, RequestPolicy, Situation
from tuner.record import events as rec
from tuner.record.state import StudyState
from tuner.samplers import by_name
from tuner.worker.messages import Forget, Pause, Stop

SPACE = Space(learning_rate=log(1e-4, 0.5))


def asked(verb: str, arguments: dict[str, Any] | None = None, why: str = "") -> rec.Requested:
    return rec.Requested(request="r", verb=verb, arguments=arguments or {}, by="ann", why=why, at=1.0)


def begun(number: int) -> list[rec.Record]:
    return [
        rec.TrialCreated(
            trial=number,
            purpose="search",
            round=None,
            parent=None,
            seed=0,
            params={"learning_rate": 0.1},
            seen=0,
            memo=None,
            why="x",
            at=1.0,
        ),
        rec.SegmentOpened(
            trial=number,
            segment=0,
            parent_segment=None,
            from_step=0,
            checkpoint=None,
            cause="start",
            by="tuner",
            why="x",
            params=None,
            schedules=None,
            at=1.0,
        ),
    ]


def sweep(trials: int) -> tuple[StudyState, SweepRequests]:
    study = StudyState(name="s", objective="score")
    for number in range(trials):
        for record in begun(number):
            study.apply(record)
    policy = Caviar(
        space=SPACE, seed=0, proposer=by_name("random"), stopping=rule_by_name("off"), limits=Limits(trials=9)
    )
    return study, SweepRequests(policy)


def busy(*trials: int) -> WorkerPool:
    """One worker that trains the first of these; the others wait behind it."""
    pool = WorkerPool()
    pool.join("worker-1", "here", 1, 1.0)
    for trial in trials:
        pool.assign(pool.workers["worker-1"], trial, 1.0)
    return pool


def answer(
    requests: RequestPolicy, study: StudyState, request: rec.Requested, workers: WorkerPool | None = None
) -> Decision:
    """The decision; a study that it changes is not the one it was given."""
    study.apply(request)
    before = repr(study)
    decision = requests.answer(study, request, Situation(now=2.0, workers=workers or WorkerPool(), checkpoints=None))
    assert repr(study) == before
    return decision


def states(decision: Decision) -> list[str]:
    return [each.state for each in decision.records if isinstance(each, rec.Answered)]


def test_a_pause_holds_what_trains_and_what_would_start() -> None:
    study, requests = sweep(2)
    decision = answer(requests, study, asked("pause", why="lunch"), busy(0, 1))
    assert decision.paused is True
    assert decision.commands == (("worker-1", Pause(trial=0, why="lunch")),)
    assert states(decision) == ["applied"]


def test_a_trial_that_trains_is_told_to_stop_and_one_that_waits_ends_at_once() -> None:
    study, requests = sweep(3)
    training = answer(requests, study, asked("stop_trial", {"trial": 0}), busy(0, 1))
    assert (training.commands, training.stopped) == (
        (("worker-1", Stop(trial=0, state="stopped", why="stopped by ann")),),
        (),
    )
    queued = answer(requests, study, asked("stop_trial", {"trial": 1}), busy(0, 1))
    assert (queued.commands, queued.stopped) == ((("worker-1", Forget(trial=1)),), ((1, "stopped by ann"),))
    nowhere = answer(requests, study, asked("stop_trial", {"trial": 2}), busy(0, 1))
    assert (nowhere.commands, nowhere.stopped) == ((), ((2, "stopped by ann"),))


def test_settings_of_a_person_become_a_draft() -> None:
    study, requests = sweep(1)
    decision = answer(requests, study, asked("add", {"settings": {"learning_rate": 0.2}}))
    (draft,) = decision.drafts
    assert draft.params == {"learning_rate": 0.2}
    assert [each.detail for each in decision.records if isinstance(each, rec.Answered)] == [
        "trial 1 will train with these settings next"
    ]


def test_what_speaks_of_the_search_is_refused_while_leaders_are_repeated() -> None:
    study, _ = sweep(1)
    with pytest.raises(Refused, match="knows no 'set_box'"):
        answer(RepeatRequests(), study, asked("set_box", {"ranges": {}}))


def test_an_answer_to_a_run_that_stands_still_is_accepted_before_it_ends(tmp_path: Path) -> None:
    with closing(story(tmp_path / "one", Part(start=0, to=20, params={"learning_rate": 0.1}))) as told:
        study = told.state
        study.apply(rec.TrialHeld(trial=0, state="paused", step=20, why="asked", at=2.0))
        decision = answer(RunRequests(None, None), study, asked("stop"))
    assert states(decision) == ["accepted"]
    assert decision.stopped == ((0, "stop by ann"),)
    assert decision.commands == ()


def test_a_run_whose_worker_may_still_be_there_is_left_to_it(tmp_path: Path) -> None:
    with closing(story(tmp_path / "one", Part(start=0, to=20, params={"learning_rate": 0.1}))) as told:
        study = told.state
        study.apply(rec.TrialHeld(trial=0, state="paused", step=20, why="asked", at=2.0))
        study.apply(request := asked("stop"))
        situation = Situation(now=2.0, workers=WorkerPool(), checkpoints=None, unheard=lambda trial: trial == 0)
        decision = RunRequests(None, None).answer(study, request, situation)
    assert (states(decision), decision.stopped) == (["accepted"], ())


def test_recovery_says_what_goes_on_and_who_has_not_been_heard_of(tmp_path: Path) -> None:
    study, _ = sweep(2)
    study.apply(rec.TrialStarted(trial=0, segment=0, worker="w", node="here", pid=1, at=1.0))
    before, keeper = repr(study), CheckpointKeeper(tmp_path, None)
    takeover = take_over(study, Panda(), keeper, 2.0, outlives=False, clean=False, failed_too=False)
    assert repr(study) == before
    assert (takeover.decision.ready, takeover.unheard) == ((0, 1), frozenset())
    assert [type(each).__name__ for each in takeover.decision.records] == [
        "TrialHeld",
        "SegmentOpened",
        "SegmentOpened",
    ]
    outlived = take_over(study, Panda(), keeper, 2.0, outlives=True, clean=False, failed_too=False)
    assert (outlived.decision, outlived.unheard) == (Decision(), frozenset({0, 1}))
    clean = take_over(study, Panda(), keeper, 2.0, outlives=False, clean=True, failed_too=False)
    assert clean.decision.ready == (0, 1)
    assert [type(each).__name__ for each in clean.decision.records] == ["TrialHeld", "SegmentOpened"]


def test_workers_lost_at_one_place_count_and_those_lost_further_on_begin_anew() -> None:
    standing = Standing()
    counts = []
    for step in (0, 0, 5, 5, 3, 6):
        standing.lost(step)
        counts.append(standing.losses)
    assert counts == [1, 2, 1, 2, 3, 1]


def test_nothing_is_held_against_a_trial_that_is_over() -> None:
    standings = Standings()
    standings[3].suspect = standings[3].unheard = True
    assert (standings.is_suspect(3), standings.is_unheard(3), standings.unheard()) == (True, True, [3])
    standings.forget(3)
    assert (standings.is_suspect(3), standings.is_unheard(3), standings.unheard()) == (False, False, [])
