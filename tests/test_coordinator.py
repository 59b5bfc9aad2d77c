"""The loop from the front door, with the in-process executor: what a sweep does, and what it puts on record."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import facts
from sweeping import usually
from waiting import PATIENCE_S

import tuner
from tuner import Space, choice, integer, linear, log
from tuner.coordinator.observers import Status
from tuner.errors import IdentityMismatch, SettingsError, SweepFailed
from tuner.record.events import Answered, Configured
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.workloads import bowl

SPACE = Space(rate=log(1e-4, 1.0), units=integer(50, 100))


# ── what is trained ─────────────────────────────────────────────────────────────────────────────


def height(params: Mapping[str, Any]) -> float:
    return float(1.0 - abs(params["rate"] - 0.01) ** 0.25 - params["units"] / 1000)


def climb(run: tuner.Run) -> None:
    """Comes closer to its height with every step."""
    for step in run.steps(8):
        run.report(score=height(run.params) * (step + 1) / 8)


def amble(run: tuner.Run) -> None:
    """Takes some hundredths of a second."""
    for step in run.steps(8):
        time.sleep(0.004)
        run.report(score=height(run.params) * (step + 1) / 8)


sweep = usually(climb, SPACE, trials=12)


def drawn(study: tuner.Study) -> list[Mapping[str, Any]]:
    return [trial.params for trial in study.state.trials]


def records(results: Path, *kinds: type[Any]) -> list[Any]:
    store = Store.open(results / "night" / "study.db")
    found = list(store.read(*kinds))
    store.close()
    return found


# ── a sweep ─────────────────────────────────────────────────────────────────────────────────────


def test_as_many_trials_as_asked_for_are_trained_and_every_end_has_its_reason(tmp_path: Path) -> None:
    study = sweep(tmp_path)
    assert len(study.state.trials) == 12
    for trial in study.state.trials:
        assert trial.ended
        assert trial.why
        assert trial.seconds >= 0
        assert SPACE.check(trial.params) == trial.params


def test_the_best_is_the_trial_that_scored_highest(tmp_path: Path) -> None:
    study = sweep(tmp_path, stopping="off")
    assert study.best is not None
    assert study.best.score == pytest.approx(max(map(height, drawn(study))))
    assert height(study.best.params) == pytest.approx(study.best.score)
    assert study.best.step == 8


def test_a_goal_to_minimize_finds_the_lowest(tmp_path: Path) -> None:
    study = sweep(tmp_path, stopping="off", goal="minimize", sampler="random")
    assert study.best is not None
    ends = [height(params) for params in drawn(study)]
    assert study.best.score == pytest.approx(min(end * step / 8 for end in ends for step in (1, 8)))


@pytest.mark.parametrize(
    "options",
    [
        {"parallel": 1},
        {"parallel": 1, "stopping": "median", "sampler": "random"},
        {"parallel": 3, "clock": "virtual"},
        {"parallel": 8, "clock": "virtual", "stopping": "asha", "trials": 30},
        {"parallel": 2, "clock": "virtual", "sampler": "sobol", "budget_steps": 50},
    ],
    ids=repr,
)
def test_the_record_tells_what_the_coordinator_knew(tmp_path: Path, options: dict[str, Any]) -> None:
    study = sweep(tmp_path, **options)
    again = tuner.open("night", results=tmp_path)
    assert facts(again.state) == facts(study.state)


@pytest.mark.parametrize("sampler", ["coarse_to_fine", "random", "sobol", "grid"])
def test_with_one_worker_a_whole_study_is_reproducible(tmp_path: Path, sampler: str) -> None:
    one, other = (sweep(tmp_path / place, sampler=sampler, seed=7) for place in ("one", "other"))
    assert drawn(one) == drawn(other)
    assert one.best_params == other.best_params
    assert [trial.state for trial in one.state.trials] == [trial.state for trial in other.state.trials]


def test_on_the_virtual_clock_eight_workers_are_reproducible_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {"parallel": 8, "clock": "virtual", "trials": 40, "stopping": "asha"}
    one, other = (sweep(tmp_path / place, amble, **options) for place in ("one", "other"))
    ends = [
        [(trial.params, trial.state, trial.why, trial.steps, trial.ended_at) for trial in study.state.trials]
        for study in (one, other)
    ]
    assert ends[0] == ends[1]
    assert one.state.ended_order == other.state.ended_order


def test_eight_workers_take_an_eighth_of_the_virtual_time(tmp_path: Path) -> None:
    spans = []
    for parallel in (1, 8):
        options: dict[str, Any] = {"parallel": parallel, "clock": "virtual", "stopping": "off", "trials": 16}
        study = sweep(tmp_path / str(parallel), sampler="random", **options)
        spans.append(max(trial.ended_at or 0.0 for trial in study.state.trials))
        assert all(trial.seconds == 8.0 for trial in study.state.trials)  # eight steps, a second each
    assert spans == [128.0, 16.0]


def test_other_seeds_draw_other_settings(tmp_path: Path) -> None:
    one, other = (sweep(tmp_path / str(seed), seed=seed, sampler="random") for seed in (1, 2))
    assert not {trial["rate"] for trial in drawn(one)} & {trial["rate"] for trial in drawn(other)}


def test_conditional_parameters_are_there_only_where_they_mean_something(tmp_path: Path) -> None:
    space = Space(rate=log(1e-4, 1.0), decay=choice("none", "step"), every=integer(2, 9, when={"decay": "step"}))

    def train(run: tuner.Run) -> float:
        assert ("every" in run.params) == (run.params["decay"] == "step")
        return float(run.params["rate"])

    study = sweep(tmp_path, train, space=space, trials=20)
    assert study.state.counts["completed"] == 20
    assert {trial.params["decay"] for trial in study.state.trials} == {"none", "step"}


def test_a_study_in_memory_leaves_nothing_on_disk(tmp_path: Path) -> None:
    study = sweep(tmp_path, store="memory")
    assert len(study.state.trials) == 12
    assert len(study.trials) == 12
    assert list(tmp_path.iterdir()) == []
    study.close()


def test_the_records_may_lie_elsewhere(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/records/night.db"
    sweep(tmp_path / "results", store=place).close()
    assert (tmp_path / "records" / "night.db").is_file()
    assert len(tuner.open("night", results=tmp_path / "results", store=place).state.trials) == 12


# ── settings ────────────────────────────────────────────────────────────────────────────────────


def test_known_good_settings_are_tried_first(tmp_path: Path) -> None:
    study = sweep(tmp_path, start=[{"rate": 0.01, "units": 64}, {"rate": 0.5}], trials=4)
    first, second = drawn(study)[:2]
    assert first == {"rate": 0.01, "units": 64}
    assert second["rate"] == 0.5
    assert study.state.trials[0].why


def test_an_adaptive_sampler_with_one_worker_has_seen_every_trial_before(tmp_path: Path) -> None:
    study = sweep(tmp_path, amble, trials=8)
    assert [trial.seen for trial in study.state.trials] == list(range(8))


def test_a_sampler_that_does_not_adapt_is_drawn_ahead_but_not_beyond_the_trials_asked_for(tmp_path: Path) -> None:
    study = sweep(tmp_path, sampler="random", stopping="off", trials=60)
    behind = [trial.trial - trial.seen for trial in study.state.trials]
    assert max(behind) > 2
    assert len(study.state.trials) == 60


def test_a_round_says_of_how_many_trials_it_was_learned_those_set_aside_among_them(tmp_path: Path) -> None:
    study = sweep(tmp_path, bowl.train, "sgd_momentum", trials=24)
    assert study.state.counts["paused"]
    rounds = study.state.rounds_with_trials()
    assert len(rounds) > 2
    assert [each.seen for each in rounds] == [each.first_trial for each in rounds], (
        "one worker: each before has a score"
    )


def test_rounds_are_recorded_with_their_box_and_reason(tmp_path: Path) -> None:
    study = sweep(tmp_path, trials=80, stopping="off")
    rounds = study.state.rounds
    assert len(rounds) > 1
    assert [each.round for each in rounds] == list(range(len(rounds)))
    for each in rounds:
        assert each.why
        assert set(each.box) == set(SPACE.names)
        assert all(0.0 <= low < high <= 1.0 for low, high in each.box.values())
        assert study.state.trials[each.first_trial].round == each.round
    numbers = [trial.round for trial in study.state.trials if trial.round is not None]
    assert set(numbers) == {each.round for each in rounds}
    narrowed = rounds[-1].box["rate"]
    assert narrowed[1] - narrowed[0] < 1.0


def test_any_optuna_sampler_and_pruner_can_be_used(tmp_path: Path) -> None:
    study = sweep(
        tmp_path, sampler=optuna.samplers.TPESampler(seed=1), stopping=optuna.pruners.MedianPruner(), trials=20
    )
    assert len(study.state.trials) == 20
    assert study.best is not None


# ── ends ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stopping", ["auto", "asha", "median"])
def test_hopeless_trials_are_stopped_early_with_the_reason(tmp_path: Path, stopping: str) -> None:
    def long(run: tuner.Run) -> None:
        for step in run.steps(30):
            run.report(score=height(run.params) * (step + 1) / 30)

    study = sweep(tmp_path, long, stopping=stopping, sampler="random", trials=40)
    pruned = [trial for trial in study.state.trials if trial.state == "pruned"]
    assert pruned
    for trial in pruned:
        assert trial.steps < 30
        assert f"at step {trial.steps}" in trial.why
    whole = [height(trial.params) for trial in study.state.trials]
    assert study.best_score is not None
    assert study.best_score > sorted(whole)[len(whole) // 2]


def test_a_trial_that_diverges_ends_at_once_and_is_never_the_best(tmp_path: Path) -> None:
    def wild(run: tuner.Run) -> None:
        for step in run.steps(20):
            run.report(score=float("nan") if step > 2 and run.params["rate"] > 0.01 else height(run.params))

    study = sweep(tmp_path, wild, sampler="random", stopping="off", trials=20)
    diverged = [trial for trial in study.state.trials if trial.state == "diverged"]
    assert diverged
    assert all(trial.steps == 4 and trial.why for trial in diverged)
    assert study.best is not None
    assert study.best.params["rate"] <= 0.01


def test_a_budget_of_steps_is_used_up_and_never_exceeded(tmp_path: Path) -> None:
    study = sweep(tmp_path, trials=None, budget_steps=100, parallel=3, clock="virtual", stopping="off")
    taken = sum(trial.steps for trial in study.state.trials)
    assert taken == study.state.steps_done == 100
    assert any("budget of 100 steps" in trial.why for trial in study.state.trials)


def test_a_time_budget_ends_the_sweep_and_it_can_go_on(tmp_path: Path) -> None:
    def slow(run: tuner.Run) -> None:
        for step in run.steps(1000):
            time.sleep(0.005)
            run.report(score=step)

    study = sweep(tmp_path, slow, trials=None, time_budget_s=0.3, stopping="off")
    assert study.state.trials[-1].state == "stopped"
    assert "time budget of 0.3 s" in study.state.trials[-1].why
    ended = len(study.state.trials)
    assert len(sweep(tmp_path, slow, trials=None, time_budget_s=0.2, stopping="off").state.trials) > ended


def test_a_time_limit_ends_a_trial_not_the_sweep(tmp_path: Path) -> None:
    def slow(run: tuner.Run) -> None:
        for step in run.steps(1000):
            time.sleep(0.005)
            run.report(score=step)

    study = sweep(tmp_path, slow, trials=2, time_limit_s=0.1, stopping="off")
    assert [trial.state for trial in study.state.trials] == ["stopped"] * 2
    assert all("time limit of 0.1 s" in trial.why for trial in study.state.trials)


def test_a_trial_that_hangs_is_given_up_and_the_others_are_trained(tmp_path: Path) -> None:
    released = threading.Event()

    def hangs(run: tuner.Run) -> None:
        for step in run.steps(3):
            if run.params["units"] == 60:
                released.wait(PATIENCE_S)
            run.report(score=step)

    study = sweep(tmp_path, hangs, start=[{"units": 60}, {"units": 70}], trials=2, silence_limit_s=0.3, store="memory")
    released.set()
    hung, well = study.state.trials
    assert (hung.state, well.state) == ("failed", "completed")
    assert "no sign of life for 0.3 s" in hung.why
    study.close()


def test_a_function_may_return_its_score_or_its_scores(tmp_path: Path) -> None:
    one = sweep(tmp_path / "one", lambda run: height(run.params))
    other = sweep(tmp_path / "other", lambda run: {"score": height(run.params), "loss": 1.0})
    assert one.best_score == other.best_score == pytest.approx(max(map(height, drawn(one))))
    assert set(other.reports["name"]) == {"score", "loss"}


def test_a_function_that_never_reports_the_objective_is_told_what_it_reported(tmp_path: Path) -> None:
    def mute(run: tuner.Run) -> None:
        run.report(accuracy=0.5, loss=1.0)

    with pytest.raises(SweepFailed, match="without reporting 'score'; reported: accuracy, loss"):
        sweep(tmp_path, mute)


# ── failures ────────────────────────────────────────────────────────────────────────────────────


def test_a_programming_error_ends_the_sweep_with_the_first_trial(tmp_path: Path) -> None:
    def broken(run: tuner.Run) -> None:
        run.report(score=undefined)  # type: ignore[name-defined]  # noqa: F821 - the point of it

    with pytest.raises(SweepFailed, match=r"first trial failed.*NameError"):
        sweep(tmp_path, broken)
    study = tuner.open("night", results=tmp_path)
    assert study.state.trials[0].error == "NameError"
    assert "run.report(score=undefined)" in study.traceback(0)
    assert not study.state.live


def test_failures_in_a_row_end_the_sweep(tmp_path: Path) -> None:
    def full(run: tuner.Run) -> None:
        raise OSError("no space left")

    with pytest.raises(SweepFailed, match=r"5 trials failed in a row.*trial 4 at step 0: OSError"):
        sweep(tmp_path, full)


def test_max_failures_ends_the_sweep(tmp_path: Path) -> None:
    calls = iter(range(100))

    def every_other(run: tuner.Run) -> None:
        if next(calls) % 2:
            raise OSError("no space left")
        run.report(score=1.0)

    with pytest.raises(SweepFailed, match="2 trials failed, as many as max_failures"):
        sweep(tmp_path, every_other, max_failures=2, store="memory")


def test_a_failed_trial_is_tried_again_as_often_as_allowed_with_the_same_settings_and_seed(tmp_path: Path) -> None:
    seen: list[tuple[float, int]] = []

    def flaky(run: tuner.Run) -> None:
        seen.append((run.params["rate"], run.seed))
        run.report(score=0.1)
        if len(seen) < 3:
            raise ConnectionError("the data did not come")
        run.report(score=0.5)

    study = sweep(tmp_path, flaky, trials=1, retries={"OSError": 2}, store="memory")
    (trial,) = study.state.trials
    assert (trial.state, trial.best_score) == ("completed", 0.5)
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert [segment.cause for segment in trial.segments] == ["start", "retry", "retry"]
    assert "ConnectionError" in trial.segments[1].why
    study.close()


def test_a_retry_goes_on_from_the_checkpoint_and_abandons_the_tail(tmp_path: Path) -> None:
    crashed: list[int] = []

    def flaky(run: tuner.Run) -> None:
        ball = bowl.Ball()
        run.state(ball)
        for step in run.steps(8):
            ball.height += 1.0
            run.report(score=ball.height)
            if step == 5 and not crashed:
                crashed.append(step)
                raise OSError("the data did not come")

    study = sweep(tmp_path, flaky, trials=1, retries=1, checkpoint_every_s=0.0, clock="virtual", stopping="off")
    (trial,) = study.state.trials
    assert trial.state == "completed"
    assert list(study.curve(0).scores) == [bowl.START + step for step in range(1, 9)]
    assert (trial.segments[1].parent, trial.segments[1].from_step) == (0, 5)
    abandoned = study.reports[~study.reports["head"]]
    assert list(abandoned["step"]) == [6]


def test_failed_trials_are_trained_again_when_asked(tmp_path: Path) -> None:
    broken = {"now": True}

    def sometimes(run: tuner.Run) -> None:
        if broken["now"] and run.params["units"] > 75:
            raise OSError("the disk was full")
        run.report(score=height(run.params))

    first = sweep(tmp_path, sometimes, failures_in_a_row=99, sampler="random")
    failed = [trial.trial for trial in first.state.trials if trial.state == "failed"]
    assert failed
    broken["now"] = False
    unchanged = sweep(tmp_path, sometimes, failures_in_a_row=99, sampler="random")
    assert unchanged.state.counts["failed"] == len(failed)
    again = sweep(tmp_path, sometimes, failures_in_a_row=99, sampler="random", rerun="failed")
    assert again.state.counts["completed"] == 12
    assert drawn(again) == drawn(first)
    assert facts(tuner.open("night", results=tmp_path).state) == facts(again.state)


# ── going on ────────────────────────────────────────────────────────────────────────────────────


def test_the_same_name_with_more_trials_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    whole = sweep(tmp_path / "whole", trials=30)
    for trials in (7, 19, 30):
        parts = sweep(tmp_path / "parts", trials=trials)
        assert len(parts.state.trials) == trials
    assert drawn(parts) == drawn(whole)
    assert [each.box for each in parts.state.rounds] == [each.box for each in whole.state.rounds]


def test_a_finished_study_is_returned_as_it_is(tmp_path: Path) -> None:
    first = sweep(tmp_path)
    version = first.state.steps_done
    again = sweep(tmp_path)
    assert again.state.steps_done == version
    assert facts(again.state) == facts(first.state)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"goal": "minimize"}, "another goal.*'minimize'"),
        ({"objective": "loss"}, "another objective.*'loss'"),
        ({"seed": 3}, "another seed.*has 0.*has 3"),
        ({"sampler": "sobol"}, "another sampler.*'sobol'"),
        ({"space": Space(rate=log(1e-4, 1.0), units=integer(50, 200))}, "another space: .*100.*200"),
    ],
)
def test_another_identity_is_refused_with_both_shown(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    sweep(tmp_path)
    with pytest.raises(IdentityMismatch, match=sentence):
        sweep(tmp_path, **change)
    assert len(tuner.open("night", results=tmp_path).state.trials) == 12


def test_options_that_may_change_are_recorded_when_they_do(tmp_path: Path) -> None:
    sweep(tmp_path, trials=3, parallel=1)
    sweep(tmp_path, trials=5, parallel=1)
    sweep(tmp_path, trials=5, parallel=1)
    first, second = records(tmp_path, Configured)
    assert first.options["trials"] == 3
    assert second.options == {"trials": 5}


def test_another_function_is_refused_unless_it_is_the_same_by_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(tmp_path, climb, trials=3)
    told = "another training function: it has test_coordinator:climb, this call has test_coordinator:amble"
    with pytest.raises(IdentityMismatch, match=told):
        sweep(tmp_path, amble, trials=4)
    monkeypatch.setattr(climb, "__module__", "moved")
    assert len(sweep(tmp_path, climb, trials=4).state.trials) == 4


def test_changed_source_is_warned_about_and_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path, climb, trials=3)
    monkeypatch.setattr(amble, "__qualname__", "climb")
    with pytest.warns(UserWarning, match="the source of test_coordinator:climb has changed"):
        study = sweep(tmp_path, amble, trials=4)
    assert any("has changed" in text for text in study.notes["text"])


# ── a person at work ────────────────────────────────────────────────────────────────────────────


class Person:
    """Watches a sweep and asks for things when their time has come."""

    def __init__(self, results: Path, *asks: tuple[Callable[[StudyState], bool], str, dict[str, Any]]) -> None:
        self._place, self._asks = results / "night" / "study.db", list(asks)

    def show(self, study: StudyState, status: Status) -> None:
        if self._asks and self._asks[0][0](study):
            _, verb, arguments = self._asks.pop(0)
            store = Store.open(self._place)
            store.request(verb, arguments, by="ann", why=f"ann wants to {verb}")
            store.close()

    def close(self) -> None:
        pass

    def has_asked(self) -> None:
        assert not self._asks, f"never asked: {self._asks}"


def after(trials: int) -> Callable[[StudyState], bool]:
    return lambda study: len(study.ended_order) >= trials


def answers(results: Path) -> list[tuple[str, str]]:
    return [(each.state, each.detail) for each in records(results, Answered)]


def steered(results: Path, *asks: tuple[Callable[[StudyState], bool], str, dict[str, Any]], **more: Any) -> tuner.Study:
    options: dict[str, Any] = {"sampler": "random", "stopping": "off", "trials": 25, **more}
    person = Person(results, *asks)
    study = sweep(results, amble, progress=person, **options)
    person.has_asked()
    return study


def test_settings_that_a_person_adds_are_trained_next(tmp_path: Path) -> None:
    study = steered(tmp_path, (after(3), "add", {"settings": {"rate": 0.5, "units": 77}}))
    (found,) = [trial for trial in study.state.trials if trial.params == {"rate": 0.5, "units": 77}]
    assert 3 <= found.trial < 25
    assert len(study.state.trials) == 25
    assert found.why == "trained all 8 steps"
    assert found.segments[0].why == "ann wants to add"
    assert answers(tmp_path)[0][0] == "applied"


def test_a_box_that_a_person_sets_is_a_round_of_its_own(tmp_path: Path) -> None:
    study = steered(
        tmp_path, (after(3), "set_box", {"ranges": {"rate": [0.02, 0.05]}}), sampler="coarse_to_fine", trials=20
    )
    person = next(each for each in study.state.rounds if each.why == "ann wants to set_box")
    inside = [trial for trial in study.state.trials if f"box of round {person.round}:" in trial.segments[0].why]
    assert len(inside) >= 6
    assert all(0.0199 < trial.params["rate"] < 0.0501 for trial in inside)


def test_a_trial_that_a_person_stops_ends_and_the_next_is_trained(tmp_path: Path) -> None:
    def endless_at_first(run: tuner.Run) -> None:
        for step in run.steps(1_000_000 if run.params["units"] == 99 else 3):
            time.sleep(0.001)
            run.report(score=step)

    person = Person(tmp_path, (lambda study: study.steps_done > 0, "stop_trial", {"trial": 0}))
    study = sweep(tmp_path, endless_at_first, start={"units": 99}, trials=3, stopping="off", progress=person)
    person.has_asked()
    first, second, third = study.state.trials
    assert (first.state, first.why) == ("stopped", "ann wants to stop_trial")
    assert second.state == third.state == "completed"
    ((state, detail),) = answers(tmp_path)
    assert state == "applied"
    assert "trial 0" in detail


def test_a_trial_stands_still_alone_until_it_is_resumed(tmp_path: Path) -> None:
    stood = threading.Event()

    def train(run: tuner.Run) -> None:
        first = not stood.is_set()
        for step in run.steps(100_000 if first else 200):
            time.sleep(0.001)
            run.report(score=step)
            if first and stood.is_set():
                return

    def stands(study: StudyState) -> bool:
        if study.trials[0].state == "paused":
            stood.set()
        return stood.is_set()

    person = Person(
        tmp_path,
        (lambda study: study.steps_done > 0, "pause_trial", {"trial": 0}),
        (stands, "resume_trial", {"trial": 0}),
        (lambda study: len(study.ended_order) == 1, "pause_trial", {"trial": 0}),
    )
    study = sweep(tmp_path, train, trials=2, parallel=1, stopping="off", progress=person)
    person.has_asked()
    assert [trial.state for trial in study.state.trials] == ["completed", "completed"]
    paused, resumed, refused = answers(tmp_path)
    assert (paused[0], resumed[0], refused[0]) == ("applied", "applied", "rejected")
    assert "keeps its worker" in paused[1]
    assert "over already" in refused[1]


def test_a_stopped_sweep_ends_every_trial_and_starts_no_other(tmp_path: Path) -> None:
    study = steered(tmp_path, (after(3), "stop", {}), trials=1000)
    assert 3 <= len(study.state.ended_order) < 100
    assert answers(tmp_path)[0][0] == "applied"
    stopped = [trial for trial in study.state.trials if trial.state == "stopped"]
    assert all(trial.why == "ann wants to stop" for trial in stopped)


def test_a_paused_sweep_stands_still_until_it_is_resumed(tmp_path: Path) -> None:
    seen: list[tuple[float, int]] = []

    def a_while_later(study: StudyState) -> bool:
        seen.append((time.monotonic(), study.steps_done))
        return len(seen) > 1 and seen[-1][0] - seen[0][0] > 0.3

    study = steered(tmp_path, (after(3), "pause", {}), (a_while_later, "resume", {}), trials=15)
    assert len(study.state.trials) == 15
    assert study.state.counts == {**study.state.counts, "completed": 15}
    assert seen[-1][1] - seen[1][1] == 0


def test_workers_come_when_a_person_asks_for_them(tmp_path: Path) -> None:
    study = steered(tmp_path, (after(3), "set_parallel", {"parallel": 3}), trials=30)
    assert {trial.worker for trial in study.state.trials} >= {"worker-1", "worker-2", "worker-3"}
    assert study.state.options["parallel"] == 3


@pytest.mark.parametrize(
    ("verb", "arguments", "sentence"),
    [
        ("paws", {}, "Did you mean pause?"),
        ("add", {"settings": {"rat": 0.5}}, "rat"),
        ("add", {"settings": {"rate": 7.0, "units": 60}}, "rate"),
        ("set_box", {"ranges": {"rate": [0.5, 0.1]}}, "low must be below high"),
        ("set_parallel", {"parallel": 0}, "parallel must be at least 1"),
        ("stop_trial", {"trial": 999}, "there is no trial 999"),
        ("note", {"text": "x", "trial": 999}, "there is no trial 999"),
    ],
)
def test_what_cannot_be_done_is_rejected_with_the_reason(
    tmp_path: Path, verb: str, arguments: dict[str, Any], sentence: str
) -> None:
    study = steered(tmp_path, (after(1), verb, arguments), trials=8)
    ((state, detail),) = answers(tmp_path)
    assert state == "rejected"
    assert sentence in detail
    assert len(study.state.trials) == 8


# ── arguments ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"goal": "max"}, "got 'max'"),
        ({"objective": ""}, "objective must be a name"),
        ({"executor": "slurm"}, "got 'slurm'"),
        ({"clock": "virtual", "executor": "ray"}, "real workers keep real time"),
        ({"trials": 0}, "trials .* from 1 up"),
        ({"trials": float("nan")}, "trials"),
        ({"parallel": -1}, "parallel .* from 1 up"),
        ({"time_budget_s": 0}, "time_budget_s .* above 0"),
        ({"sampler": "randm"}, "Did you mean random"),
        ({"stopping": "ash"}, "Did you mean asha"),
        ({"start": {"rat": 0.1}}, "Did you mean rate"),
        ({"start": {"rate": 5.0}}, "rate"),
        ({"progress": "loud"}, "got 'loud'"),
        ({"rerun": "all"}, "got 'all'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        sweep(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_space_may_be_given_by_name_or_file(tmp_path: Path) -> None:
    def train(run: tuner.Run) -> float:
        return float(run.params["learning_rate"])

    named = sweep(tmp_path / "named", train, space="sgd_momentum", trials=3)
    assert "learning_rate" in drawn(named)[0]
    file = tmp_path / "mine.toml"
    file.write_text("[learning_rate]\nscale = 'log'\nlow = 1e-3\nhigh = 1e-1\n")
    own = sweep(tmp_path / "own", train, space=file, trials=3)
    assert set(drawn(own)[0]) == {"learning_rate"}


def test_a_lone_parameter_can_be_swept(tmp_path: Path) -> None:
    study = sweep(tmp_path, lambda run: run.params["x"], space=Space(x=linear(0.0, 1.0)), trials=30)
    assert (study.best_score or 0.0) > 0.9
