"""Repeats within a sweep: how many there are, of whom, with which seeds, and that they cost no more than the budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sweeping import usually

import tuner
from tuner.errors import SettingsError
from tuner.space.constructors import linear
from tuner.space.space import Space

SPACE = Space(a=linear(0.0, 1.0), b=linear(0.0, 1.0))


class Counted:
    """All the state of a training that only counts its steps."""

    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


def worth(params: Any) -> float:
    return float(1.0 - (params["a"] - 0.4) ** 2 - (params["b"] - 0.6) ** 2)


def noisy(run: tuner.Run) -> None:
    counted = Counted()
    run.state(counted)
    luck = 0.5 * np.random.default_rng(run.seed).standard_normal()
    for step in run.steps(16):
        counted.steps += 1
        run.report(score=worth(run.params) + luck - 0.5**step)


def quiet(run: tuner.Run) -> None:
    counted = Counted()
    run.state(counted)
    for step in run.steps(16):
        counted.steps += 1
        run.report(score=worth(run.params) - 0.5**step)


sweep = usually(noisy, SPACE, trials=24, stopping="off", repeats="auto")


def repeats_of(study: tuner.Study) -> pd.DataFrame:
    return study.trials.query("purpose == 'repeat'")


def test_leaders_are_trained_again_within_the_same_number_of_trials(tmp_path: Path) -> None:
    study = sweep(tmp_path)
    again = repeats_of(study)
    assert len(study.trials) == 24
    assert 5 <= len(again) <= 10
    assert again["seed"].is_unique
    for _, row in again.iterrows():
        original = study.trial(int(row["parent"].rpartition("/")[2]))
        assert original.params == study.trial(int(row["trial"])).params
        assert original.seed != row["seed"]
    assert study.best is not None
    assert study.trial(study.best.trial).purpose == "search"
    assert study.recommended is not None
    assert study.recommended.tried > 1
    study.close()


@pytest.mark.long
@pytest.mark.parametrize("stopping", ["auto", "off"])
def test_steps_are_never_more_than_the_budget(tmp_path: Path, stopping: str) -> None:
    study = sweep(tmp_path, trials=None, budget_steps=300, stopping=stopping)
    again = repeats_of(study)
    assert study.trials["steps"].sum() <= 300
    assert len(again) > 3
    assert again["steps"].max() == (4 if stopping == "auto" else 16)
    study.close()


@pytest.mark.long
def test_where_a_seed_changes_nothing_one_repeat_is_all(tmp_path: Path) -> None:
    study = sweep(tmp_path, quiet)
    assert len(repeats_of(study)) == 1
    study.close()


def test_without_being_asked_nothing_is_repeated(tmp_path: Path) -> None:
    study = sweep(tmp_path, repeats=None)
    assert repeats_of(study).empty
    study.close()


@pytest.mark.parametrize("stopping", ["auto", "off"])
def test_a_sweep_cut_short_goes_on_as_if_it_had_not_been(tmp_path: Path, stopping: str) -> None:
    def columns(study: tuner.Study) -> pd.DataFrame:
        table = study.trials[["trial", "purpose", "parent", "seed", "params.a", "params.b", "objective", "steps"]]
        study.close()
        return table

    whole = columns(sweep(tmp_path / "whole", stopping=stopping))

    class Enough:
        def show(self, study: Any, status: Any) -> None:
            if len(study.trials) > 18:
                raise KeyboardInterrupt

        def close(self) -> None: ...

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "cut", stopping=stopping, progress=Enough())
    pd.testing.assert_frame_equal(columns(sweep(tmp_path / "cut", stopping=stopping)), whole)


def test_repeats_run_on_a_virtual_clock_with_many_workers(tmp_path: Path) -> None:
    study = sweep(tmp_path, clock="virtual", parallel=4)
    assert len(study.trials) == 24
    assert len(repeats_of(study)) > 3
    study.close()


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_any_sampler_goes_through_its_own_settings_beside_the_repeats(tmp_path: Path, sampler: str) -> None:
    study = sweep(tmp_path, sampler=sampler)
    searched = study.trials.query("purpose == 'search'")
    plain = sweep(tmp_path / "plain", sampler=sampler, repeats=None)
    assert searched["params.a"].tolist() == plain.trials["params.a"].tolist()[: len(searched)]
    study.close()
    plain.close()


def test_a_budget_of_time_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="trials= or budget_steps="):
        sweep(tmp_path, trials=None, time_budget_s=60.0)


def test_another_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="auto"):
        sweep(tmp_path, repeats="always")
