"""What a search recommends: the settings, what is expected of them, and where both are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sweeping import usually

import tuner
from tuner.cli import main
from tuner.insight.recommendation import _telling, recommended_of
from tuner.space.constructors import linear
from tuner.space.space import Space
from tuner.surrogate.evidence import MOST_ROWS

SPACE = Space(a=linear(0.0, 1.0), b=linear(0.0, 1.0))


def worth(params: Any) -> float:
    return float(1.0 - (params["a"] - 0.4) ** 2 - (params["b"] - 0.6) ** 2)


def noisy(run: tuner.Run) -> None:
    """Worth at most 1, with luck of ±0.5 that is the seed's."""
    luck = 0.5 * np.random.default_rng(run.seed).standard_normal()
    for _ in run.steps(2):
        run.report(score=worth(run.params) + luck)


def lossy(run: tuner.Run) -> None:
    luck = 0.5 * np.random.default_rng(run.seed).standard_normal()
    for _ in run.steps(2):
        run.report(score=luck - worth(run.params))


def quiet(run: tuner.Run) -> None:
    for _ in run.steps(2):
        run.report(score=worth(run.params))


def either_way(run: tuner.Run) -> None:
    for _ in run.steps(2):
        run.report(score=0.5)


sweep = usually(noisy, SPACE, trials=32, sampler="random", stopping="off")


def test_luck_is_taken_off_what_is_expected_of_the_settings(tmp_path: Path) -> None:
    study = sweep(tmp_path)
    best, found = study.best, study.recommended
    assert best is not None
    assert found is not None
    assert found.doubt is not None
    assert found.bounds is not None
    assert best.score > 1.5  # the luckiest
    assert abs(found.score - worth(found.params)) < best.score - worth(best.params)
    assert found.bounds[0] <= worth(found.params) <= found.bounds[1]
    assert found.params == study.trial(found.trial).params
    assert found.tried == 1
    study.close()


def test_the_best_is_recommended_also_while_it_waits_to_be_taken_up_again(tmp_path: Path) -> None:
    with sweep(tmp_path, trials=3) as study:
        best = study.state.best
        assert best is not None
        best.state = "waiting"
        found = recommended_of(study.state, SPACE)
    assert found is not None
    assert (found.trial, found.tried) == (best.trial, 1)


def test_scores_to_minimize_keep_their_sign(tmp_path: Path) -> None:
    study = sweep(tmp_path, lossy, goal="minimize")
    found = study.recommended
    assert found is not None
    assert found.bounds is not None
    assert found.bounds[0] <= -worth(found.params) <= found.bounds[1]
    assert study.best is not None
    assert found.score > study.best.score
    study.close()


def test_without_luck_the_best_seen_is_recommended_at_its_score(tmp_path: Path) -> None:
    study = sweep(tmp_path, quiet)
    best, found = study.best, study.recommended
    assert best is not None
    assert found is not None
    assert found.doubt is not None
    assert worth(found.params) > 0.99
    assert found.score == pytest.approx(worth(found.params), abs=0.02)
    study.close()


def test_settings_that_did_badly_are_not_recommended_whatever_others_let_expect(tmp_path: Path) -> None:
    with sweep(tmp_path, seed=2) as study:
        found, scores = study.recommended, [trial.best_score or 0.0 for trial in study.state.trials]
    assert found is not None
    assert sorted(scores, reverse=True).index(scores[found.trial]) <= len(scores) / 5


def test_nor_are_they_once_they_are_being_tried_again_without_a_score_yet(tmp_path: Path) -> None:
    with sweep(tmp_path, seed=2) as study:
        trials = study.state.trials
        badly, again = trials[8], min(trials, key=lambda trial: trial.best_score or 0.0)
        again.params, again.best_score = badly.params, None
        found = recommended_of(study.state, SPACE)
    assert found is not None
    assert found.trial != badly.trial


def falling_short(run: tuner.Run) -> None:
    """At most 0: what it lacks to that gets less from step to step."""
    for step in run.steps(27):
        off = abs(run.params["a"] - 0.5) + 0.5 * abs(run.params["b"] - 0.5)
        run.report(score=-off * (27 - step) / 27)


def test_no_more_is_expected_than_the_highest_score_seen(tmp_path: Path) -> None:
    study = sweep(tmp_path, falling_short, trials=24, stopping="asha")
    best, found = study.best, study.recommended
    assert best is not None
    assert found is not None
    assert found.score <= best.score < 0
    study.close()


def hardly_begun(run: tuner.Run) -> None:
    """As lucky as `noisy`; all but every twelfth end after their second of 30 steps."""
    luck = 0.5 * np.random.default_rng(run.seed).standard_normal()
    steps = run.steps(30)
    for step in steps:
        run.report(score=worth(run.params) + luck)
        if step == 1 and run.seed % 12:
            return


def test_where_most_of_very_many_trials_have_hardly_begun_those_learned_from_are_not_the_luckiest(
    tmp_path: Path,
) -> None:
    with sweep(tmp_path, hardly_begun, trials=300) as study:
        trials, best = study.state.trials, study.state.best
        assert best is not None
        telling = _telling(trials, best)
    assert best in telling
    assert len(telling) <= MOST_ROWS // 2
    assert all(trial in telling for trial in trials if trial.steps == 30)
    short = [[trial.best_score or 0.0 for trial in each if trial.steps == 2] for each in (telling, trials)]
    assert np.mean(short[0]) == pytest.approx(np.mean(short[1]), abs=0.15)


@pytest.mark.parametrize(("train", "trials"), [(quiet, 4), (either_way, 12)])
def test_where_there_is_no_telling_luck_the_best_is_recommended_without_a_doubt(
    tmp_path: Path, train: Any, trials: int
) -> None:
    study = sweep(tmp_path, train, trials=trials)
    best, found = study.best, study.recommended
    assert best is not None
    assert found is not None
    assert (found.trial, found.score, found.doubt, found.bounds) == (best.trial, best.score, None, None)
    assert "8 different scores" in found.expectation
    study.close()


def test_repeats_say_what_the_settings_are_worth(tmp_path: Path) -> None:
    sweep(tmp_path, trials=12).close()
    tuner.confirm("night", top=12, repeats=6, results=tmp_path, progress="off")
    with tuner.open("night", results=tmp_path) as study:
        found = study.recommended
    assert found is not None
    assert found.doubt is not None
    assert found.tried == 7
    assert found.doubt < 0.25
    assert abs(found.score - worth(found.params)) < 0.4


def test_settings_that_diverged_once_are_not_recommended(tmp_path: Path) -> None:
    def train(run: tuner.Run) -> None:
        for step in run.steps(2):
            run.report(score=float("nan") if step and run.params["a"] > 0.2 else worth(run.params))

    study = sweep(tmp_path, train)
    assert study.recommended is not None
    assert study.recommended.params["a"] <= 0.2
    study.close()


def test_nothing_is_recommended_of_a_babysat_run_or_without_a_score(tmp_path: Path) -> None:
    def train(run: tuner.Run) -> None:
        for _ in run.steps(2):
            run.report(other=1.0)

    study = sweep(tmp_path, train, trials=1)
    assert study.recommended is None
    assert study.winners.empty
    study.close()
    tuner.babysit(quiet, {"a": 0.5, "b": 0.5}, name="one", objective="score", results=tmp_path, executor="local").wait()
    with tuner.open("one", results=tmp_path) as run:
        assert run.recommended is None
        assert run.winners["which"].tolist() == ["best"]


def test_a_long_study_recommends_from_a_part_of_it(tmp_path: Path) -> None:
    study = sweep(tmp_path, quiet, trials=400)
    assert study.recommended is not None
    assert worth(study.recommended.params) > 0.98
    study.close()


def test_the_table_the_export_the_summary_and_explain_show_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = sweep(tmp_path)
    best, found = study.best, study.recommended
    assert best is not None
    assert found is not None
    table = study.winners
    assert table["which"].tolist() == ["best", "recommended"]
    assert table["score"].tolist() == [best.score, found.score]
    assert table["trial"].tolist() == [best.trial, found.trial]
    assert np.isnan(table["doubt"][0])
    assert table["doubt"][1] == found.doubt
    assert table["params.a"].tolist() == [best.params["a"], found.params["a"]]
    study.export("csv", tmp_path / "out")
    assert pd.read_csv(tmp_path / "out/winners.csv")["score"].tolist() == table["score"].tolist()
    explained = study.explain()
    assert explained.recommended == found
    assert found.sentence in explained.sections[0].sentences
    study.close()
    with pytest.raises(SystemExit):
        main(["show", "night", "--results", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "best score" in shown
    assert f"recommended (trial {found.trial}, tried once)" in shown
    with pytest.raises(SystemExit):
        main(["show", "night", "--results", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["recommended"]["score"] == found.score
