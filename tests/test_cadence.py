from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_stopping import a_study, ended, train

import tuner
from tuner import Run, Space, linear
from tuner.caviar.cadence import Cadence
from tuner.record.state import StudyState

STEPS = 60
When = Callable[[int], bool]
CADENCES: dict[str, When] = {
    "every second": lambda step: step % 2 == 0,
    "every tenth": lambda step: step % 10 == 0,
    "late, then often": lambda step: step >= 20,
    "as it comes": lambda step: step in (5, 11, 12, 29, 31, 58),
    "at the end": lambda step: step == STEPS,
}


class Count:
    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


def scored(when: When, *, resumable: bool = True, times: int = 1) -> Callable[[Run], None]:
    """A training that reports its loss at every step and its score where it is told to."""

    def training(run: Run) -> None:
        count = Count()
        if resumable:
            run.state(count)
        for step in run.steps(STEPS):
            count.steps += 1
            run.report(train_loss=1.0 / (step + 1))
            for _ in range(times * when(step + 1)):
                run.report(score=-((run.params["x"] - 0.3) ** 2) - run.params["y"] * (1 - (step + 1) / STEPS))

    return training


def sweep(results: Path, training: Callable[[Run], None], **more: Any) -> tuner.Study:
    space = Space(x=linear(0.0, 1.0), y=linear(0.0, 1.0))
    settings = {"executor": "local", "clock": "virtual", "progress": "off", **more}
    return tuner.sweep(training, space, name="s", objective="score", results=results, **settings)


def scoreless(study: tuner.Study) -> int:
    return int(study.trials["objective"].isna().sum())


def ends_where_it_was_scored(study: tuner.Study, when: When) -> bool:
    return all(step in (0, STEPS) or when(step) for step in study.trials["steps"])


# ── what a sweep makes of it ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cadence", CADENCES)
@pytest.mark.parametrize("stopping", ["auto", "asha", "median", "off"])
def test_no_step_of_a_budget_goes_to_a_trial_that_is_given_up_before_its_next_score(
    tmp_path: Path, stopping: str, cadence: str
) -> None:
    when = CADENCES[cadence]
    study = sweep(tmp_path, scored(when), budget_steps=300, stopping=stopping)
    assert study.trials["steps"].sum() <= 300
    assert scoreless(study) == 0
    assert ends_where_it_was_scored(study, when)


@pytest.mark.parametrize("stopping", ["auto", "asha", "median", "off"])
def test_several_workers_keep_to_it_too(tmp_path: Path, stopping: str) -> None:
    when = CADENCES["every tenth"]
    study = sweep(tmp_path, scored(when), budget_steps=400, stopping=stopping, parallel=4)
    assert 350 <= study.trials["steps"].sum() <= 400
    assert scoreless(study) == 0
    assert ends_where_it_was_scored(study, when)


def test_workers_wait_for_one_another_rather_than_spend_the_budget_on_beginnings(tmp_path: Path) -> None:
    study = sweep(tmp_path, scored(CADENCES["at the end"]), budget_steps=130, parallel=4)
    assert study.trials["steps"].tolist() == [60, 60, 0, 0]  # never 33 each, of which none is scored
    assert study.trials["why"].str.contains("budget of 130 steps").sum() == 2
    assert study.notes["text"].str.contains("2 of 4 trials").any()


@pytest.mark.parametrize("cadence", CADENCES)
@pytest.mark.parametrize("resumable", [True, False])
def test_every_trial_that_is_paused_or_stopped_as_the_worse_one_has_been_scored(
    tmp_path: Path, resumable: bool, cadence: str
) -> None:
    study = sweep(tmp_path, scored(CADENCES[cadence], resumable=resumable), trials=12)
    assert scoreless(study) == 0
    assert ends_where_it_was_scored(study, CADENCES[cadence])


@pytest.mark.long
def test_the_default_finds_what_a_search_that_stops_nothing_finds(tmp_path: Path) -> None:
    when = CADENCES["every tenth"]
    found = [sweep(tmp_path / stopping, scored(when), trials=30, stopping=stopping) for stopping in ("auto", "off")]
    assert [study.best is not None and study.best.score > -0.01 for study in found] == [True, True]
    assert found[0].trials["steps"].sum() < 0.7 * found[1].trials["steps"].sum()


def test_scores_that_come_several_times_a_step_are_judged_once(tmp_path: Path) -> None:
    when = CADENCES["every tenth"]
    once, thrice = (sweep(tmp_path / str(times), scored(when, times=times), trials=12) for times in (1, 3))
    assert once.trials["steps"].tolist() == thrice.trials["steps"].tolist()


def test_an_optuna_pruner_is_asked_where_the_objective_was_reported(tmp_path: Path) -> None:
    import optuna

    class Pedant(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            asked.append(trial.last_step)
            return trial.number > 0

    asked: list[int | None] = []
    study = sweep(tmp_path, scored(CADENCES["every tenth"]), trials=3, stopping=Pedant())
    assert asked == [10, 20, 30, 40, 50, 10, 10]
    assert study.trials["steps"].tolist() == [60, 10, 10]


def test_a_budget_that_ends_with_a_training_leaves_it_completed(tmp_path: Path) -> None:
    study = sweep(tmp_path, scored(CADENCES["every tenth"]), budget_steps=120, stopping="off")
    assert study.trials["state"].tolist() == ["completed", "completed"]


def test_a_function_that_never_reports_the_objective_is_given_up_soon(tmp_path: Path) -> None:
    with pytest.raises(tuner.TunerError, match="without reporting 'score'"):
        sweep(tmp_path, scored(lambda step: False), budget_steps=900)


def test_a_resumed_study_goes_on_by_the_scores_on_record(tmp_path: Path) -> None:
    when = CADENCES["every tenth"]
    more: dict[str, Any] = {"stopping": "auto"}
    sweep(tmp_path, scored(when), budget_steps=95, **more).close()
    study = sweep(tmp_path, scored(when), budget_steps=185, **more)
    assert study.trials["steps"].sum() == 180
    assert scoreless(study) == 0
    assert ends_where_it_was_scored(study, when)


def test_a_trial_that_was_not_scored_when_the_time_was_up_is_counted_in_a_note(tmp_path: Path) -> None:
    def endless(run: Run) -> None:
        for _ in run.steps(10**9):
            pass

    study = sweep(tmp_path, endless, trials=1, clock="wall", time_budget_s=0.05, stopping="off")
    assert study.trials["objective"].isna().all()
    assert study.notes["text"].str.contains("1 of 1 trials").any()


# ── when the next score is due ──────────────────────────────────────────────────────────────────


def looked_at(study: StudyState, *numbers: int) -> Cadence:
    cadence = Cadence()
    for number in numbers:
        cadence.look(study, study.trials[number])
    return cadence


def test_before_the_first_score_nobody_can_say_when_one_is_due() -> None:
    study = a_study()
    cadence = looked_at(study, train(study, {}))
    assert not cadence.knows(study)
    assert cadence.due(study, None) is None


def test_a_new_trial_is_expected_to_be_scored_where_the_others_were() -> None:
    study = a_study()
    cadence = looked_at(study, ended(study, {20: 0.1, 21: 0.2, 22: 0.3}))
    assert cadence.due(study, None) == 20
    assert cadence.due(study, None, standing=3, reach=22) == 22
    assert cadence.due(study, None, standing=3, reach=25) == 25  # as it went on last


def test_a_trial_follows_the_one_that_was_scored_furthest_until_it_has_a_habit_of_its_own() -> None:
    study = a_study()
    cadence = looked_at(study, ended(study, {5: 0.1, 11: 0.2, 30: 0.3}))
    follows, differs = train(study, {5: 0.1, 11: 0.2}), train(study, {4: 0.1, 8: 0.2})
    assert cadence.due(study, study.trials[follows], standing=12) == 30
    assert cadence.due(study, study.trials[differs], standing=8) == 12


def test_of_a_score_that_is_overdue_nobody_can_say() -> None:
    study = a_study()
    cadence = looked_at(study, ended(study, {10: 0.1, 20: 0.2}))
    assert cadence.due(study, study.trials[train(study, {10: 0.1})], standing=20) is None


@given(
    guide=st.sets(st.integers(1, 90), max_size=9),
    own=st.sets(st.integers(1, 90), max_size=9),
    ahead=st.integers(0, 40),
    reach=st.integers(0, 150),
)
def test_what_is_due_lies_ahead_and_not_before_it_is_asked_for(
    guide: set[int], own: set[int], ahead: int, reach: int
) -> None:
    study = a_study()
    cadence = looked_at(study, ended(study, dict.fromkeys(sorted(guide), 0.5)))
    number, standing = train(study, dict.fromkeys(sorted(own), 0.5)), max(own, default=0) + ahead
    due = cadence.due(study, study.trials[number], standing, reach)
    assert due is None or due >= max(standing + 1, reach)
    assert due is not None or ahead or not (guide or own)
