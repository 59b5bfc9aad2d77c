from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweeping import usually

from tuner.caviar.warm_start import WINNERS, winners_of
from tuner.errors import SettingsError, StudyNotFound
from tuner.record.state import StudyState
from tuner.space.constructors import choice, integer, linear, log, log_one_minus
from tuner.space.space import Space

sweep = usually(stopping="off")


def lender(*trials: tuple[dict[str, Any], float | None]) -> StudyState:
    """A study of which only settings and scores matter."""
    from test_caviar import study_of

    from tuner.record import events as rec
    from tuner.record.reports import pack_reports

    study = study_of()
    for number, (params, score) in enumerate(trials):
        study.apply(
            rec.TrialCreated(
                trial=number,
                purpose="search",
                round=None,
                parent=None,
                seed=0,
                params=params,
                seen=0,
                why="",
                memo=None,
                at=0.0,
            )
        )
        if score is not None:
            study.apply(pack_reports(number, 0, [(1, "score", score, 0.0)]))
    return study


def test_a_sweep_begins_with_the_best_settings_of_another_and_says_so(tmp_path: Path) -> None:
    other = sweep(tmp_path, name="other", trials=12)
    best = sorted(other.state.trials, key=lambda trial: -(trial.best_score or 0.0))[:WINNERS]
    night = sweep(tmp_path, name="night", seed=7, warm_start="other")

    first = night.state.trials[:WINNERS]
    assert [trial.params for trial in first] == [trial.params for trial in best]
    assert f"(trial {best[0].trial}, {best[0].best_score:.4g})" in first[0].segments[0].why
    assert "a winner of other" not in night.state.trials[WINNERS].segments[0].why
    other.close()
    night.close()


def test_what_a_person_asked_for_comes_before_what_another_study_lends(tmp_path: Path) -> None:
    sweep(tmp_path, name="other").close()
    night = sweep(tmp_path, name="night", start={"learning_rate": 0.05}, warm_start="other", trials=3)

    whys = [trial.segments[0].why for trial in night.state.trials]
    assert whys[0] == "a known-good starting point"
    assert [why.startswith("a winner of other") for why in whys] == [False, True, True]
    night.close()


def test_a_warm_start_trains_first_also_where_runs_stand_still(tmp_path: Path) -> None:
    sweep(tmp_path, name="other", trials=12).close()
    night = sweep(tmp_path, name="night", stopping="auto", warm_start="other", trials=16)

    assert all("a winner of other" in trial.segments[0].why for trial in night.state.trials[:WINNERS])
    night.close()


def test_what_was_asked_for_is_tried_at_once_and_never_weighed_against_runs_that_stand_still() -> None:
    from test_caviar import Script, add, caviar, study_of

    study = study_of()
    policy = caviar(proposer=Script([(0.5, 0.5)] * 9), start=[{"rate": 0.01}, {"rate": 0.1}])
    asked = []
    for _ in range(3):
        proposal = policy.search.upcoming(study)
        assert proposal is not None
        asked.append(proposal.at_once)
        add(study)
    assert asked == [True, True, False]


def test_a_study_that_goes_on_keeps_what_it_was_lent_whatever_the_lender_has_become(tmp_path: Path) -> None:
    sweep(tmp_path, name="other").close()
    sweep(tmp_path, name="night", warm_start="other", trials=2).close()
    lent = sweep(tmp_path, name="whole", warm_start="other", trials=5)
    sweep(tmp_path, name="other", trials=30).close()  # better winners by now
    night = sweep(tmp_path, name="night", warm_start="other", trials=5)

    assert [trial.params for trial in night.state.trials] == [trial.params for trial in lent.state.trials]
    lent.close()
    night.close()


def test_a_study_that_has_begun_says_that_a_warm_start_comes_too_late(tmp_path: Path) -> None:
    sweep(tmp_path, name="other").close()
    sweep(tmp_path, name="night", trials=2).close()
    with pytest.warns(UserWarning, match="night has begun already"):
        sweep(tmp_path, name="night", warm_start="other", trials=3).close()


def test_settings_are_matched_by_name_and_the_missing_are_drawn(tmp_path: Path) -> None:
    sweep(tmp_path, name="other", space=Space(learning_rate=log(1e-3, 1.0), width=integer(1, 9)), trials=3).close()
    night = sweep(tmp_path, name="night", warm_start="other", trials=3)

    assert all(set(trial.params) == {"learning_rate", "beta"} for trial in night.state.trials)
    assert len({trial.params["beta"] for trial in night.state.trials}) == 3
    night.close()


def test_a_number_outside_the_space_moves_to_its_end_and_says_so() -> None:
    lent = winners_of(
        lender(({"learning_rate": 3.0, "units": 7}, 0.9)), Space(learning_rate=log(1e-4, 1.0), units=integer(10, 20))
    )

    assert lent[0].settings == {"learning_rate": 1.0, "units": 10}
    assert "(trial 0, 0.9)" in lent[0].why
    assert "learning_rate 3 lies outside this space, and becomes 1" in lent[0].why
    assert "units 7 lies outside this space, and becomes 10" in lent[0].why


def test_an_option_that_the_space_has_not_is_drawn_and_says_so() -> None:
    space = Space(rate=linear(0.0, 1.0), activation=choice("relu", "tanh"))
    lent = winners_of(lender(({"rate": 0.5, "activation": "gelu"}, 0.9)), space)

    assert lent[0].settings == {"rate": 0.5}
    assert "activation gelu" in lent[0].why


def test_settings_that_do_not_exist_beside_the_others_are_left_out() -> None:
    space = Space(decay=choice("none", "step"), rate=log_one_minus(0.9, 0.99, when={"decay": "step"}))
    lent = winners_of(lender(({"decay": "none", "rate": 0.95}, 0.9)), space)

    assert lent[0].settings == {"decay": "none"}


def test_winners_are_distinct_once_they_fit_and_the_best_come_first() -> None:
    space = Space(learning_rate=log(1e-4, 1.0))
    other = lender(*(({"learning_rate": rate}, score) for rate, score in ((2.0, 0.9), (3.0, 0.8), (0.1, 0.7))))

    assert [each.settings["learning_rate"] for each in winners_of(other, space)] == [1.0, 0.1]


def test_a_study_without_a_score_or_a_setting_in_common_has_nothing_to_lend() -> None:
    with pytest.raises(SettingsError, match="no trial of 'night'"):
        winners_of(lender(({"x": 0.5}, None)), Space(x=linear(0.0, 1.0)))
    with pytest.raises(SettingsError, match=r"no setting in common"):
        winners_of(lender(({"x": 0.5}, 0.5)), Space(learning_rate=log(1e-4, 1.0)))


def test_a_lender_that_is_not_there_or_is_the_study_itself_is_refused(tmp_path: Path) -> None:
    sweep(tmp_path, name="other").close()
    with pytest.raises(StudyNotFound, match="Did you mean other"):
        sweep(tmp_path, name="night", warm_start="othr")
    with pytest.raises(SettingsError, match="is the study itself"):
        sweep(tmp_path, name="other", warm_start="other")
