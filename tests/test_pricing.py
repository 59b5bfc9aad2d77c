"""The price of a sweep is what earlier ones of its function took, and where there is none it says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sweeping import MOMENTUM, sweep

import tuner
from tuner.cli import main
from tuner.worker.run import Run
from tuner.workloads import bowl

BOWL = "tuner.workloads.bowl:train"


def goes_on(run: Run) -> None:
    while run.step() and len(run.params) and run.params["learning_rate"] > 0:
        run.report(score=1.0)


def test_a_function_never_trained_has_no_price_and_says_so(tmp_path: Path) -> None:
    found = tuner.price(bowl.train, trials=10, executor="local", results=tmp_path)

    assert (found.steps_most, found.steps, found.worker_s, found.wall_s) == (None, None, None, None)
    assert "not known" in found.sentence
    assert found.known_from == ()


def test_steps_are_those_of_a_training_times_the_trials(tmp_path: Path) -> None:
    sweep(tmp_path, bowl.train, trials=4, stopping="off").close()

    found = tuner.price(BOWL, trials=100, stopping="off", executor="local", results=tmp_path)

    assert (found.steps_most, found.steps) == (100 * bowl.STEPS, 100 * bowl.STEPS)
    assert found.known_from == ("night",)
    assert found.seconds_per_step is not None
    assert found.worker_s == pytest.approx(100 * bowl.STEPS * found.seconds_per_step)
    assert found.wall_s == found.worker_s
    assert "2,000 steps" in found.sentence


def test_the_steps_of_several_seeds_count_each(tmp_path: Path) -> None:
    sweep(tmp_path, bowl.train, trials=2, seeds=2, stopping="off").close()

    one, three = (
        tuner.price(BOWL, trials=10, stopping="off", seeds=seeds, executor="local", results=tmp_path)
        for seeds in (1, 3)
    )

    assert (one.steps, three.steps) == (10 * bowl.STEPS, 30 * bowl.STEPS)
    with tuner.open("night", results=tmp_path) as study:
        slowest = max(trial.seconds / (2 * trial.steps) for trial in study.state.trials)
    assert one.seconds_per_step == three.seconds_per_step
    assert one.seconds_per_step is not None
    assert one.seconds_per_step <= slowest


def test_seconds_are_shared_by_those_that_train_at_a_time(tmp_path: Path) -> None:
    sweep(tmp_path, bowl.train, trials=2, stopping="off").close()

    found = tuner.price(BOWL, trials=8, stopping="off", parallel=4, executor="local", results=tmp_path)

    assert found.worker_s is not None
    assert found.wall_s == pytest.approx(found.worker_s / 4)


def test_a_sweep_that_ends_trials_early_is_cheaper_by_what_such_sweeps_were(tmp_path: Path) -> None:
    with sweep(tmp_path, bowl.train, trials=32) as study:
        trained = study.state.steps_done
        possible = sum(trial.planned or trial.steps for trial in study.state.trials)

    found = tuner.price(BOWL, trials=32, executor="local", results=tmp_path)

    assert trained < possible
    assert found.steps == round(32 * bowl.STEPS * trained / possible)
    assert found.steps_most == 32 * bowl.STEPS


def test_a_budget_of_steps_bounds_the_price_whatever_is_known(tmp_path: Path) -> None:
    found = tuner.price(BOWL, budget_steps=500, executor="local", results=tmp_path)

    assert (found.steps_most, found.trials) == (500, None)
    assert "At most 500 steps" in found.sentence
    assert "not known" in found.sentence


def test_another_function_is_no_evidence(tmp_path: Path) -> None:
    sweep(tmp_path, goes_on, trials=1, budget_steps=5, stopping="off").close()

    assert tuner.price(BOWL, trials=2, executor="local", results=tmp_path).known_from == ()


def test_a_function_that_does_not_say_how_long_it_trains_is_told_of(tmp_path: Path) -> None:
    sweep(tmp_path, goes_on, trials=1, budget_steps=5, stopping="off").close()

    found = tuner.price(goes_on, trials=2, executor="local", results=tmp_path)

    assert found.known_from == ("night",)
    assert (found.steps_most, found.steps) == (None, None)
    assert "does not say" in found.sentence


def test_a_dry_run_trains_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert MOMENTUM is not None

    with pytest.raises(SystemExit) as ended:
        main(["sweep", BOWL, "--space", "sgd_momentum", "--trials", "9", "--dry-run", "--executor", "local", "--json"])

    told = json.loads(capfd.readouterr().out)
    assert ended.value.code == 0
    assert (told["trials"], told["steps_most"]) == (9, None)
    assert not (tmp_path / "results").exists()
