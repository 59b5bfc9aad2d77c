"""What nobody waits for: long thoughts beside the loop, and no more short ones than there is time for."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sweeping import sweep
from test_caviar import SPACE, add, study_of
from test_search import EveryFew, record
from waiting import PATIENCE_S, wait_until

from tuner.api.wiring import get_ready
from tuner.caviar.freeze_thaw import FreezeThaw
from tuner.caviar.policy import Caviar, Limits
from tuner.caviar.search import Search
from tuner.coordinator.workers import WorkerPool
from tuner.executors.local import LocalExecutor
from tuner.policy.proposals import Outcome, RoundPlan
from tuner.policy.protocol import Draft
from tuner.record.state import StudyState
from tuner.samplers import CoarseToFineSampler
from tuner.space.space import Space
from tuner.surrogate.ledger import Ledger
from tuner.surrogate.thinking import Thinking, Time


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class SlowToLearn(EveryFew):
    """Its rounds are learned once it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()
        self.threads: list[str] = []

    def due(
        self, space: Space, seed: int, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> RoundPlan | None:
        self.threads.append(threading.current_thread().name)
        if rounds:
            assert self.told.wait(PATIENCE_S)
        return super().due(space, seed, trial, outcomes, rounds)


def test_a_long_thought_is_not_waited_for_and_its_end_is_found_once() -> None:
    told, thinking = threading.Event(), Thinking[int](beside=True)
    assert thinking.begin("lengths", lambda: 3 if told.wait(PATIENCE_S) else 0) is None
    assert thinking.busy
    assert thinking.end("lengths") is None
    told.set()
    assert wait_until(lambda: thinking.end("lengths")) == 3
    assert not thinking.busy
    assert thinking.end("lengths") is None


def test_what_was_thought_about_another_question_is_forgotten() -> None:
    thinking = Thinking[int](beside=True)
    assert thinking.begin("round 3", lambda: 3) is None
    wait_until(lambda: thinking.end("round 4") is None and not thinking.busy)
    assert thinking.end("round 3") is None


@pytest.mark.parametrize(("beside", "short"), [(True, True), (False, False), (False, True)])
def test_a_short_thought_is_waited_for_and_where_nobody_else_trains_so_is_a_long_one(beside: bool, short: bool) -> None:
    thinking = Thinking[str](beside=beside)
    found = thinking.begin("it", lambda: threading.current_thread().name, short=short)
    assert found == threading.current_thread().name
    assert not thinking.busy


def test_what_goes_wrong_in_a_thought_is_raised_where_its_end_is_asked_for() -> None:
    thinking = Thinking[float](beside=True)
    thinking.begin("it", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: thinking.end("it"))
    assert not thinking.busy


def test_a_quarter_of_the_time_at_most_goes_into_thoughts_and_a_quarter_of_a_second_can_be_saved_up() -> None:
    clock = Clock()
    time = Time(clock)
    thoughts = 0

    def thought() -> None:
        clock.now += 0.02
        time.spent_on(lambda: None)  # a thought within another counts once

    while time.is_left():
        time.spent_on(thought)
        thoughts += 1
    assert thoughts in (16, 17, 18)  # a quarter of a second was saved up, and a quarter of each comes back meanwhile
    clock.now += 0.1
    assert time.is_left()
    for _ in range(6):
        time.spent_on(thought)
    assert not time.is_left()
    clock.now += 1000.0
    time.is_left()
    for _ in range(12):
        time.spent_on(thought)
    assert time.is_left()


def opened_by(search: Search, study: StudyState) -> RoundPlan:
    wait_until(lambda: search.due(study) is not None)
    opened = search.due(study)
    assert opened is not None
    return opened


def test_trials_begin_while_a_round_is_learned_and_it_opens_once_it_is() -> None:
    learner, study = SlowToLearn(), study_of()
    search = Search(space=SPACE, seed=0, proposer=learner, overlapping=True)
    first = search.due(study)
    assert first is not None  # there is next to nothing to learn: it is waited for
    record(study, first)
    for _ in range(30):
        search.observe(study, add(study, score=0.5), "completed")
    for _ in range(3):
        draft = search.begin(study)
        assert draft is not None
        assert (draft.round, draft.opened) == (0, None)
        add(study)
    learner.told.set()
    opened = opened_by(search, study)
    assert (opened.round, opened.first_trial) == (1, 33)
    assert opened.memo == {"numbers": [30.0]}  # of what was known when it was begun
    assert search.due(study) is opened
    assert learner.threads[0] == threading.current_thread().name != learner.threads[1]
    record(study, opened)
    after = search.begin(study)
    assert after is not None
    assert after.round == 1


def test_a_round_that_was_opened_by_a_person_meanwhile_is_not_overruled() -> None:
    learner, study = SlowToLearn(), study_of()
    search = Search(space=SPACE, seed=0, proposer=learner, overlapping=True)
    first = search.due(study)
    assert first is not None
    record(study, first)
    for _ in range(30):
        search.observe(study, add(study, score=0.5), "completed")
    assert search.due(study) is None
    record(study, RoundPlan(round=1, first_trial=30, box={}, why="set", memo={"numbers": [7.0]}))
    learner.told.set()
    assert opened_by(search, study).round == 2


def test_where_much_is_known_and_no_round_has_opened_the_first_one_is_waited_for() -> None:
    study = study_of()
    search = Search(space=SPACE, seed=0, proposer=CoarseToFineSampler(), overlapping=True)
    for _ in range(30):
        search.observe(study, add(study, score=0.5), "completed")
    draft = search.begin(study)
    assert draft is not None
    assert draft.opened is not None
    assert draft.opened.round == 0


class Loading(CoarseToFineSampler):
    """Notes where it is told to get ready, and cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()
        self.thread = ""

    def get_ready(self, space: Space, seed: int) -> None:
        self.thread = threading.current_thread().name
        self.told.set()
        raise MemoryError


def test_what_the_first_trial_needs_is_loaded_while_the_workers_start_and_what_goes_wrong_is_told_later() -> None:
    sampler = Loading()
    get_ready(sampler, SPACE, 0)
    assert sampler.told.wait(PATIENCE_S)
    assert sampler.thread != threading.current_thread().name


def searching(*, overlapping: bool) -> tuple[StudyState, Caviar]:
    policy = Caviar(
        space=SPACE,
        seed=0,
        proposer=CoarseToFineSampler(),
        stopping=FreezeThaw(),
        limits=Limits(),
        parallel=2,
        overlapping=overlapping,
    )
    return study_of(), policy


def test_where_trials_end_faster_than_settings_can_be_weighed_they_are_drawn_evenly_and_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tuner.surrogate.thinking._SAVED_S", 0.0)
    study, policy = searching(overlapping=True)
    draft = policy.propose(study)
    assert isinstance(draft, Draft)
    assert draft.why == "an even draw from the box of round 0, in haste: trials end faster than settings can be weighed"
    assert draft.opened is not None


def test_who_trains_alone_is_never_in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.surrogate.thinking._SAVED_S", 0.0)
    study, policy = searching(overlapping=False)
    draft = policy.propose(study)
    assert isinstance(draft, Draft)
    assert "haste" not in draft.why


@pytest.mark.parametrize(
    ("executor", "parallel", "overlapping"), [("ray", 2, True), ("ray", 1, False), ("local", 2, False)]
)
def test_thoughts_are_beside_the_loop_where_workers_train_meanwhile(
    executor: str, parallel: int, overlapping: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Ray's workers would train is trained here, by an executor that stands in for them."""
    made: list[bool] = []
    original = Search.__init__

    def noted(search: Search, **given: Any) -> None:
        original(search, **given)
        made.append(search.overlapping)

    monkeypatch.setattr(Search, "__init__", noted)
    monkeypatch.setattr(
        "tuner.api.sweep.executor_of",
        lambda *_, function, **__: LocalExecutor(clock="wall", function=function.function),
    )
    study = sweep(tmp_path, executor=executor, parallel=parallel, trials=40)
    assert made == [overlapping]
    assert len(study.trials) == 40
    assert study.rounds["round"].nunique() > 3


def test_a_patient_ledger_makes_its_model_anew_once_enough_more_is_known() -> None:
    def known(trial: int, steps: int) -> Outcome:
        score = ((steps, trial / 100),)
        return Outcome(
            trial=trial, point=(trial / 100, 0.5), state="paused", score=trial / 100, steps=steps, observations=score
        )

    space = Space(x=SPACE[SPACE.names[0]], y=SPACE[SPACE.names[0]])
    eager, patient = Ledger(), Ledger(patience=0.1)
    for ledger in (eager, patient):
        for trial in range(50):
            ledger.put(known(trial, 2))
    assert patient.information == 100
    before, at_first = patient.surrogate(space), eager.surrogate(space)
    for trial in range(50, 54):
        for ledger in (eager, patient):
            ledger.put(known(trial, 2))
    assert patient.surrogate(space) is before
    assert eager.surrogate(space) is not at_first
    for trial in range(54, 58):
        patient.put(known(trial, 2))
    assert patient.surrogate(space) is not before
    assert len(patient.surrogate(space).informative) >= 56
    assert patient.drawn_together(58) == 58
    patient.put(known(58, 2))
    patient.surrogate(space)
    assert patient.drawn_together(59) == 58  # drawn from the same model


def test_in_a_crowd_more_has_to_be_said_before_the_model_is_made_anew_and_the_newest_are_kept_clear_of() -> None:
    def training(trial: int, steps: int) -> Outcome:
        score = ((steps, trial / 1000),)
        return Outcome(
            trial=trial, point=(trial / 1000,), state="running", score=trial / 1000, steps=steps, observations=score
        )

    space = Space(x=SPACE[SPACE.names[0]])
    crowd = Ledger(patience=0.1)
    for trial in range(400):
        crowd.put(training(trial, 1))
    before = crowd.surrogate(space)
    assert before.posterior([0.0, 0.0, 0.0, -1.0, -4.0, -7.0, 0.0]).expecting == 256
    said = 0
    while crowd.surrogate(space) is before:
        crowd.put(training(said, 2))
        said += 1
    assert said == 320  # a tenth of eight for each that trains; of what is known it would have been 44


def test_what_a_run_has_said_last_counts_where_it_is_weighed_though_the_model_is_older() -> None:
    space = Space(x=SPACE[SPACE.names[0]])

    def run(trial: int, *scores: float) -> Outcome:
        seen = tuple((2**place, score) for place, score in enumerate(scores))
        return Outcome(
            trial=trial,
            point=(trial / 10,),
            state="paused",
            score=max(scores),
            steps=2 ** (len(scores) - 1),
            planned=8,
            observations=seen,
        )

    ledger = Ledger([run(trial, 0.1, 0.2) for trial in range(8)])
    posterior = ledger.surrogate(space).posterior([0.0, 0.0, 0.0, -1.0, -4.0, -7.0, 0.0])
    said = run(3, 0.1, 0.2, 0.9)
    (before,), _ = posterior.of_runs([said])
    posterior.hear(said)
    (after,), _ = posterior.of_runs([said])
    posterior.hear(said)
    (again,), _ = posterior.of_runs([said])
    assert after > before + 1.0
    assert again == after


@pytest.mark.parametrize(
    ("workers", "seconds", "depth"), [(1, 0.0001, 1), (2, 10.0, 1), (2, 0.04, 2), (2, 0.004, 5), (2, 0.0001, 64)]
)
def test_the_shorter_trials_are_the_more_are_thought_out_ahead_but_none_for_one_worker(
    workers: int, seconds: float, depth: int
) -> None:
    pool = WorkerPool()
    for number in range(workers):
        pool.join(f"worker-{number}", "here", number, 0.0)
    pool.took(seconds)
    assert pool.depth(adaptive=True, asks=True, overlapping=True) == depth
    assert pool.depth(adaptive=True, asks=True) == min(depth, 2)
