"""Runs stand still and go on by the expected improvement of settings and curve; a slow start is no end."""

from __future__ import annotations

import math
import os
import pickle
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sweeping import Train, usually
from waiting import PATIENCE_S

import tuner
from tuner.errors import SettingsError
from tuner.record.events import TrialHeld
from tuner.record.store import Store
from tuner.space.constructors import linear
from tuner.space.space import Space

SPACE = Space(rate=linear(0.0, 1.0), width=linear(0.0, 1.0))
WHOLE = 64
FIRST = 4  # trials of round 0
LEARNS = 0.08  # below it settings of `hardly` learn


class Memory:
    """What a training function keeps between steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def state_dict(self) -> dict[str, list[int]]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, list[int]]) -> None:
        self.steps = state["steps"]


def curve(rate: float, width: float, step: int) -> float:
    """Best at (0.7, 0.3); a small rate rises fast and stays low, as learning rates do."""
    end = 1 - (rate - 0.7) ** 2 - (width - 0.3) ** 2
    return end * (1 - math.exp(-step / (4 + 30 * rate)))


def climb(run: tuner.Run) -> None:
    memory = Memory()
    run.state(memory)
    for _ in run.steps(WHOLE):
        memory.steps.append(run.done + 1)
        assert memory.steps == list(range(1, len(memory.steps) + 1))  # each step once, in order, whoever was paused
        run.report(score=curve(run.params["rate"], run.params["width"], len(memory.steps)))


def forgetful(run: tuner.Run) -> None:
    for step in run.steps(WHOLE):
        run.report(score=curve(run.params["rate"], run.params["width"], step + 1))


def half_flat(run: tuner.Run) -> None:
    memory = Memory()
    run.state(memory)
    for _ in run.steps(WHOLE):
        memory.steps.append(run.done + 1)
        learns = run.params["rate"] > 0.5
        run.report(score=curve(run.params["rate"], run.params["width"], len(memory.steps)) if learns else 0.01)


def hardly(run: tuner.Run) -> None:
    memory = Memory()
    run.state(memory)
    for _ in run.steps(WHOLE):
        memory.steps.append(run.done + 1)
        gain = curve(1 - run.params["a"], run.params["b"], len(memory.steps)) if run.params["a"] < LEARNS else 0.0
        run.report(score=0.1 + 0.01 * run.params["c"] + gain)


# Steps are granted in plenty: with a number of trials alone they are saved, see below.
sweep = usually(climb, SPACE, trials=30, budget_steps=10_000, clock="virtual", parallel=1)


def whys(study: tuner.Study, cause: str) -> list[str]:
    return [str(why) for why in study.segments.query("cause == @cause")["why"]]


def held(results: Path) -> list[TrialHeld]:
    store = Store.open(results / "night" / "study.db")
    found = list(store.read(TrialHeld))
    store.close()
    return found


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[tuner.Study, Path]]:
    """A sweep that several tests look at, and its results folder."""
    results = tmp_path_factory.mktemp("usual")
    with closing(sweep(results)) as study:
        yield study, results


def test_runs_pause_at_rungs_and_go_on_where_the_expected_improvement_is_largest(
    usual: tuple[tuner.Study, Path],
) -> None:
    study, _ = usual
    trials = study.trials
    assert set(trials["state"]) == {"completed", "paused"}
    assert trials["steps"].sum() < 0.75 * 30 * WHOLE
    assert all(step in (1, 2, 4, 8, 16, 32, WHOLE) for step in trials["steps"])
    assert whys(study, "thaw")
    assert study.best is not None
    assert study.best.score > 0.8  # 0.86 is the most there is: the best rate is slow, and has not come to its end


def test_every_pause_and_return_says_why(usual: tuple[tuner.Study, Path]) -> None:
    study, results = usual
    paused = held(results)
    assert paused
    assert all(each.frozen and each.why.startswith(f"paused at step {each.step}: ") for each in paused)
    assert any("new settings have the larger expected improvement" in each.why for each in paused)
    told = whys(study, "thaw")
    assert any("has the largest expected improvement: " in why and "the best so far being" in why for why in told)
    assert any("is expected to end best: " in why for why in told)


@pytest.mark.long
def test_a_run_that_starts_slowly_but_may_still_cross_is_not_given_up(tmp_path: Path) -> None:
    def late(run: tuner.Run) -> None:
        run.state(memory := Memory())
        for step in run.steps(WHOLE):
            memory.steps.append(step)
            fast = 0.6 * (1 - math.exp(-(step + 1) / 3))
            slow = 1.2 * (step + 1) / WHOLE  # behind until step 31, then far ahead
            run.report(score=fast + run.params["rate"] * (slow - fast))

    study = sweep(tmp_path, late, trials=30)
    assert study.best is not None
    assert study.best.params["rate"] > 0.9
    asha = sweep(tmp_path / "asha", late, trials=30, stopping="asha")
    assert asha.best is not None
    assert study.best.score > asha.best.score


def test_scores_are_compared_at_the_end_not_where_runs_happen_to_stand(usual: tuple[tuner.Study, Path]) -> None:
    study, _ = usual
    finished = study.trials.query("state == 'completed'")
    cut_off = study.trials.query("state == 'paused'")
    ends = [curve(row["params.rate"], row["params.width"], WHOLE) for _, row in cut_off.iterrows()]
    assert max(ends) < finished["objective"].max() + 0.05  # what was let stand still would hardly have won


@pytest.mark.parametrize("parallel", [2, pytest.param(5, marks=pytest.mark.long)])
def test_several_workers_freeze_and_thaw_the_same_way(tmp_path: Path, parallel: int) -> None:
    study = sweep(tmp_path, parallel=parallel)
    assert set(study.trials["state"]) == {"completed", "paused"}
    assert study.best is not None
    assert study.best.score > 0.8


@pytest.mark.long
def test_a_budget_of_steps_is_spent_to_the_last_by_runs_that_pause_and_go_on(tmp_path: Path) -> None:
    study = sweep(tmp_path, trials=None, budget_steps=500)
    assert study.trials["steps"].sum() == 500


@pytest.mark.long
def test_where_hardly_any_settings_learn_many_are_tried_briefly_and_those_that_do_train_on(tmp_path: Path) -> None:
    space = Space(**{name: linear(0.0, 1.0) for name in "abcd"})
    study = tuner.sweep(
        hardly,
        space,
        name="needle",
        objective="score",
        budget_steps=600,
        executor="local",
        clock="virtual",
        parallel=1,
        results=tmp_path,
        progress="off",
    )
    begun = study.trials
    whys = study.rounds.drop_duplicates("round")["why"].tolist()
    study.close()
    assert "of 4 settings" in whys[1]
    assert "many more are tried briefly" in whys[1]
    assert (begun["steps"][:FIRST] >= 2).all()  # two scores each, so that it can be seen who learns
    stuck = begun[begun["params.a"] > LEARNS]
    assert len(stuck) > 3 * 600 / WHOLE
    assert stuck["steps"].median() <= 2
    assert begun["objective"].max() > 0.5


def test_the_same_seed_gives_the_same_study(usual: tuple[tuner.Study, Path], tmp_path: Path) -> None:
    one, other = usual[0], sweep(tmp_path)
    assert one.reports.equals(other.reports)
    assert whys(one, "thaw") == whys(other, "thaw")


@pytest.mark.parametrize("parallel", [1, 4])
def test_once_all_have_begun_nobody_trains_on_in_vain_but_the_leader_to_its_end(tmp_path: Path, parallel: int) -> None:
    study = sweep(tmp_path, half_flat, trials=12, parallel=parallel)
    flat = study.trials.query("objective < 0.2")
    assert len(flat) > 0
    assert flat["steps"].max() < WHOLE
    assert set(flat["state"]) == {"paused"}
    reasons = "may still overtake|has the largest expected improvement|is expected to end best"
    assert study.trials["why"].str.contains(reasons).any()
    assert study.best is not None
    assert study.trials.set_index("trial").loc[study.best.trial, "state"] == "completed"


@pytest.mark.long
def test_more_trials_asked_for_later_take_up_runs_that_stood_still(tmp_path: Path) -> None:
    first = sweep(tmp_path, trials=12)
    paused = set(first.trials.query("state == 'paused'")["trial"])
    first.close()
    more = sweep(tmp_path, trials=16)
    assert len(more.trials) == 16
    assert paused
    assert set(more.trials.query("state == 'paused'")["trial"]) != paused


def test_without_run_state_runs_that_fall_behind_are_stopped_and_that_is_said_once(tmp_path: Path) -> None:
    study = sweep(tmp_path, forgetful)
    assert set(study.trials["state"]) == {"completed", "pruned"}
    study.close()
    again = sweep(tmp_path, forgetful, trials=35)
    assert len(again.trials) == 35
    said = [text for text in again.notes["text"] if "run.state" in text]
    assert len(said) == 1
    assert "are stopped for good" in said[0]


@pytest.mark.long
def test_random_draws_are_not_kept_waiting_by_one_bad_draw(tmp_path: Path) -> None:
    study = sweep(tmp_path, sampler="random", trials=40)
    assert len(study.trials) == 40
    assert study.best is not None
    assert study.best.score > 0.75


@pytest.mark.long
def test_a_grid_is_tried_out_to_its_last_point(tmp_path: Path) -> None:
    study = sweep(tmp_path, sampler="grid", trials=20)
    assert len(study.trials) == 20


def test_with_an_optuna_sampler_runs_that_fall_behind_are_stopped_as_asha_does(tmp_path: Path) -> None:
    import optuna

    study = sweep(tmp_path, sampler=optuna.samplers.TPESampler(), trials=25)
    assert set(study.trials["state"]) == {"completed", "pruned"}


@pytest.mark.long
def test_runs_that_diverge_or_fail_are_no_obstacle(tmp_path: Path) -> None:
    def brittle(run: tuner.Run) -> None:
        run.state(memory := Memory())
        for step in run.steps(WHOLE):
            memory.steps.append(step)
            if run.params["rate"] > 0.8 and step >= 5:
                run.report(score=math.nan)
            if run.params["width"] > 0.9 and step >= 5:
                raise ValueError("too wide")
            run.report(score=curve(run.params["rate"], run.params["width"], step + 1))

    study = sweep(tmp_path, brittle, trials=40, failures_in_a_row=40)
    assert study.best is not None
    assert study.best.score > 0.75
    assert study.best.params["rate"] <= 0.8


def heavy(run: tuner.Run) -> None:
    """Its checkpoints take a megabyte."""
    ballast: list[bytes] = []

    def save(folder: Path) -> None:
        (folder / "state").write_bytes(pickle.dumps((run.done, os.urandom(1_000_000))))

    def load(folder: Path) -> None:
        ballast.append((folder / "state").read_bytes())

    run.state(save=save, load=load)
    for step in run.steps(WHOLE):
        run.report(score=curve(run.params["rate"], run.params["width"], step + 1))


@pytest.mark.long
def test_paused_runs_keep_to_the_disk_budget_and_one_that_cannot_go_on_says_so(tmp_path: Path) -> None:
    study = sweep(tmp_path, heavy, trials=25, disk_budget_gb=6e6 / 2**30)
    assert any("evicted: disk budget 6 MB" in text for text in study.notes["text"])
    lies = sum(path.stat().st_size for path in (tmp_path / "night" / "checkpoints").rglob("*") if path.is_file())
    assert lies < 7.5e6  # the budget, and one that was being written
    given_up = study.trials.query("state == 'pruned'")
    assert len(given_up)
    assert all("evicted: disk budget 6 MB" in why for why in given_up["why"])
    paused = study.trials.query("state == 'paused'")
    assert len(paused) <= 7


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_through_ray_a_pause_frees_the_worker_and_any_worker_takes_the_run_up_from_its_checkpoint(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a cluster is sent the code that lies here

    def slow_climb(run: tuner.Run) -> None:
        memory = Memory()
        run.state(memory)
        (tmp_path / f"pid-{os.getpid()}").touch()
        deadline = time.monotonic() + PATIENCE_S
        for _ in run.steps(WHOLE):
            while len(list(tmp_path.glob("pid-*"))) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)  # else the worker that stands first may train all of them
            time.sleep(0.002)
            memory.steps.append(run.done + 1)
            score = curve(run.params["rate"], run.params["width"], len(memory.steps))
            run.report(score=score, pid=float(os.getpid()))

    study = sweep(tmp_path, slow_climb, executor="ray", clock="wall", address=cluster, parallel=2, trials=24)
    assert set(study.trials["state"]) == {"completed", "paused"}
    thawed = study.segments.query("cause == 'thaw'")
    assert len(thawed)
    assert (thawed["from_step"] > 0).all()
    pids = study.reports.query("name == 'pid'").groupby("trial")["value"].nunique()
    assert study.reports["value"][study.reports["name"] == "pid"].nunique() == 2  # workers are never replaced
    assert pids.max() == 2  # and at least one run has been with both
    scores = study.reports.query("name == 'score' and head")
    assert not scores.duplicated(["trial", "step"]).any()
    for row in scores.to_dict("records"):
        settings = study.state.trials[row["trial"]].params
        assert row["value"] == pytest.approx(curve(settings["rate"], settings["width"], row["step"]))


# ── where a number of trials is all the budget ──────────────────────────────────────────────────


def left_alone(study: tuner.Study) -> list[str]:
    return [text for text in study.notes["text"] if "paused trial" in text and "alone" in text]


def test_with_a_number_of_trials_a_sweep_ends_when_more_training_is_not_worth_it(
    usual: tuple[tuner.Study, Path], tmp_path: Path
) -> None:
    study = sweep(tmp_path, budget_steps=None)
    trials = study.trials
    paused = trials.query("state == 'paused'")
    assert len(trials) == 30
    assert trials["steps"].sum() < 0.4 * 30 * WHOLE
    assert trials["steps"].sum() < 0.6 * usual[0].trials["steps"].sum()
    assert study.best is not None
    assert study.best.score > 0.8  # as with steps in plenty
    (said,) = left_alone(study)
    assert f"{len(paused)} paused trials were left alone, as the best of them is expected to gain " in said
    assert ", no more than " in said
    saved = len(paused) * WHOLE - paused["steps"].sum()
    assert f"saved {saved:,} of {30 * WHOLE:,} steps" in said
    assert not left_alone(usual[0])  # a budget of steps is there to be spent


def test_the_same_call_without_stopping_trains_on_what_was_left_alone(tmp_path: Path) -> None:
    study = sweep(tmp_path, trials=9, budget_steps=None)
    (said,) = left_alone(study)
    assert 'stopping="off"' in said
    before = study.trials["steps"].sum()
    study.close()
    again = sweep(tmp_path, trials=9, budget_steps=None)
    assert again.trials["steps"].sum() == before  # nothing has changed, so nothing is worth more
    again.close()
    whole = sweep(tmp_path, trials=9, budget_steps=None, stopping="off")
    assert set(whole.trials["state"]) == {"completed"}
    assert set(whole.trials["steps"]) == {WHOLE}


@pytest.mark.long
@pytest.mark.parametrize("parallel", [1, 4])
def test_where_steps_are_saved_every_pause_says_why(tmp_path: Path, parallel: int) -> None:
    study = sweep(tmp_path, budget_steps=None, parallel=parallel)
    paused = held(tmp_path)
    assert paused
    assert all(each.why.startswith(f"paused at step {each.step}: ") for each in paused)
    assert any("at that rung" in each.why for each in paused)
    assert all("is expected to gain" in why for why in whys(study, "thaw"))


def test_runs_that_start_slowly_are_found_where_steps_are_saved(tmp_path: Path) -> None:
    def late(run: tuner.Run) -> None:
        run.state(memory := Memory())
        for step in run.steps(WHOLE):
            memory.steps.append(step)
            fast = 0.6 * (1 - math.exp(-(step + 1) / 3))
            slow = 1.2 * (step + 1) / WHOLE  # behind until step 31, then far ahead
            run.report(score=fast + run.params["rate"] * (slow - fast))

    study = sweep(tmp_path, late, budget_steps=None)
    assert study.best is not None
    assert study.best.params["rate"] > 0.9


# ── no trial is judged before its time ──────────────────────────────────────────────────────────


@pytest.mark.long
@pytest.mark.parametrize("stopping", ["auto", "asha", "median"])
@pytest.mark.parametrize("budget_steps", [None, 10_000])
@pytest.mark.parametrize("training", [climb, forgetful])
def test_no_trial_is_judged_before_min_steps(
    tmp_path: Path, stopping: str, budget_steps: int | None, training: Train
) -> None:
    study = sweep(tmp_path, training, trials=14, stopping=stopping, budget_steps=budget_steps, min_steps=11)
    steps = study.trials["steps"]
    assert steps.min() >= 11
    assert steps.min() < WHOLE  # but then it is


def test_an_optuna_pruner_is_not_asked_before_min_steps(tmp_path: Path) -> None:
    import optuna

    pruner = optuna.pruners.ThresholdPruner(lower=10.0)  # prunes whatever it is asked about
    study = sweep(tmp_path, forgetful, trials=3, stopping=pruner, min_steps=11)
    assert set(study.trials["steps"]) == {11}


def test_a_study_keeps_its_min_steps_until_it_is_given_another(tmp_path: Path) -> None:
    sweep(tmp_path, forgetful, trials=6, stopping="asha", min_steps=20).close()
    kept = sweep(tmp_path, forgetful, trials=12, stopping="asha")
    assert kept.trials["steps"].min() >= 20
    assert kept.state.options["min_steps"] == 20
    kept.close()
    changed = sweep(tmp_path, forgetful, trials=24, stopping="asha", min_steps=2)
    assert changed.trials["steps"].min() < 20
    assert changed.state.options["min_steps"] == 2


def test_a_min_steps_that_makes_no_sense_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="min_steps must be a whole number"):
        sweep(tmp_path, min_steps=0)


def test_without_run_state_a_run_is_judged_by_parts_of_its_planned_length(tmp_path: Path) -> None:
    study = sweep(tmp_path, forgetful)
    pruned = study.trials.query("state == 'pruned'")
    assert len(pruned)
    assert pruned["steps"].min() >= -(-WHOLE // 9)


def test_without_run_state_a_run_that_is_behind_but_may_still_win_is_not_stopped(tmp_path: Path) -> None:
    def late(run: tuner.Run) -> None:
        for step in run.steps(WHOLE):
            fast = 0.6 * (1 - math.exp(-(step + 1) / 3))
            slow = 1.2 * (step + 1) / WHOLE  # behind until step 31, then far ahead
            run.report(score=fast + run.params["rate"] * (slow - fast))

    study = sweep(tmp_path, late, trials=16)
    asha = sweep(tmp_path / "asha", late, trials=16, stopping="asha")
    assert study.best is not None
    assert asha.best is not None
    assert study.best.score > asha.best.score
    assert set(study.trials["state"]) == {"completed", "pruned"}
