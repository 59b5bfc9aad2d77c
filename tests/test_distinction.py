"""How many more seeds would tell: fewer where the difference is larger, too many where there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import ROOT
from sweeping import sweep

import tuner
from tuner.cli import main
from tuner.errors import StudyError, TrialNotFound
from tuner.insight.confirmation import sure_from
from tuner.insight.distinction import MOST, in_one_value, seeds_to_tell

sys.path.append(str(ROOT / "benchmarks"))  # the folder is no package
import seeds


def needed(difference: float, repeats: int = 5, others: int = 1) -> int | None:
    means = np.array([difference, *[0.0] * others])
    return seeds_to_tell(means, 1.0, repeats, sure_from, np.random.default_rng(1))


def test_the_larger_the_difference_the_fewer_seeds() -> None:
    found = [needed(difference) for difference in (0.8, 1.2, 2.0, 4.0)]
    assert [each for each in found if each is not None] == sorted((each or MOST for each in found), reverse=True)[
        -len(found) :
    ]
    assert found[-1] == 1


def test_equal_settings_would_take_more_than_anybody_trains() -> None:
    assert needed(0.0, repeats=10) is None
    assert "100 more" in in_one_value(10, None, told=False)


def test_a_score_that_no_seed_changes_is_not_told_by_seeds() -> None:
    assert seeds_to_tell(np.array([1.0, 0.0]), 0.0, 5, sure_from, np.random.default_rng(1)) is None


@given(
    means=st.lists(st.floats(-10, 10), min_size=2, max_size=6),
    variance=st.floats(1e-6, 1e3),
    repeats=st.integers(2, 40),
)
def test_it_is_a_number_of_seeds_or_none_whatever_was_seen(means: list[float], variance: float, repeats: int) -> None:
    found = seeds_to_tell(np.array(means), variance, repeats, sure_from, np.random.default_rng(1))
    assert found is None or 1 <= found <= MOST


@pytest.mark.long
def test_so_many_more_seeds_tell_about_as_often_as_not() -> None:
    found = seeds.told_by_then(seed=3, runs=60)
    assert found.called_for > 15
    assert 40 <= found.by_then <= 85
    assert found.by_half < found.by_then


def test_two_trials_are_compared_by_their_repeats(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def noisy(run: tuner.Run) -> None:
        for _ in run.steps(2):
            run.report(score=((run.seed * round(1e6 * run.params["learning_rate"])) % 1009) / 1009)

    with sweep(tmp_path, noisy, trials=6, stopping="off") as study:
        assert study.compare(0, 1).answer.startswith("not distinguishable with 1 seed")
    tuner.confirm("night", top=2, repeats=3, results=tmp_path, progress="off")
    with tuner.open("night", results=tmp_path) as study:
        parents = {trial.parent for trial in study.state.trials if trial.parent is not None}
        one, other = sorted(int(parent.rpartition("/")[2]) for parent in parents)
        found = study.compare(one, other)
        with pytest.raises(StudyError):
            study.compare(one, one)
        with pytest.raises(TrialNotFound):
            study.compare(one, 999)

    assert {each.trial for each in found.candidates} == {one, other}
    assert "distinguishable with 3 seeds" in found.answer
    with pytest.raises(SystemExit) as ended:
        main(["compare", f"night/{one}", f"night/{other}", "--results", str(tmp_path)])
    assert ended.value.code == 0
    assert found.answer in capfd.readouterr().out


def test_two_curves_do_not_tell_luck_from_merit() -> None:
    from tuner.api.fork import ONE_SEED

    assert "1 seed" in ONE_SEED
