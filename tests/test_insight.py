"""What was learned is told rightly: on studies written by hand, whose truth is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from test_caviar import study_of

from tuner.insight.divergence import divergences_of
from tuner.insight.edges import edges_of, widened
from tuner.insight.fit import fit_of, pairs_of
from tuner.insight.importance import by_importance, importance_of
from tuner.insight.isolation import buckets_of
from tuner.insight.model import FEWEST, Model
from tuner.insight.ranking import rank_correlation
from tuner.insight.winner import winner_of
from tuner.insight.worth import worth_of
from tuner.record import events as rec
from tuner.record.curve import Curve
from tuner.record.leaders import distinct, is_plateau, leaders, sharing
from tuner.record.reports import pack_reports
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.samplers.quasi_random import sobol_point
from tuner.space.constructors import choice, integer, linear, log, log_one_minus
from tuner.space.space import Space
from tuner.surrogate.gaussian_process import Floats

TWO = Space(learning_rate=log(1e-4, 1.0), dropout=linear(0.0, 0.5))
Score = Callable[[Mapping[str, Any]], float]


def add(
    study: StudyState,
    params: Mapping[str, Any],
    score: float | None,
    state: rec.TrialState | Literal["paused"] = "completed",
    steps: int = 10,
) -> None:
    """One more trial, over or not."""
    number = len(study.trials)
    study.apply(
        rec.TrialCreated(
            trial=number,
            purpose="search",
            round=None,
            parent=None,
            seed=number,
            params=dict(params),
            seen=0,
            why="",
            memo=None,
            at=0.0,
        )
    )
    study.apply(
        rec.SegmentOpened(
            trial=number,
            segment=0,
            parent_segment=None,
            from_step=0,
            checkpoint=None,
            cause="start",
            by="tuner",
            why="",
            params=None,
            at=0.0,
        )
    )
    if score is not None:
        study.apply(pack_reports(number, 0, [(step, "score", score, 0.0) for step in range(1, steps + 1)]))
    trial = study.trials[number]
    if state == "paused":
        study.apply(rec.TrialHeld(trial=number, state="paused", step=steps, why="its turn may come", at=1.0))
        return
    study.apply(
        rec.TrialEnded(
            trial=number,
            segment=0,
            state=state,
            why="over",
            step=steps,
            best_step=trial.best_step,
            best_score=trial.best_score,
            started=0.0,
            seconds=2.0,
            node="n",
            error="",
            traceback="",
            at=1.0,
        )
    )


def searched(
    space: Space, score: Score, trials: int, bad: Callable[[Mapping[str, Any]], bool] | None = None
) -> StudyState:
    """A study of evenly spread trials with that score; those that are bad diverged."""
    study = study_of(space)
    study.identity = {**study.identity, "seed": 0}
    for number in range(trials):
        params = space.from_unit(sobol_point(len(space), 3, number))
        diverged = bad is not None and bad(params)
        add(study, params, None if diverged else score(params), "diverged" if diverged else "completed")
    return study


def hill(params: Mapping[str, Any]) -> float:
    """Best at learning rate 0.01; dropout hardly matters."""
    return float(-((math.log10(params["learning_rate"]) + 2) ** 2) - 0.01 * params["dropout"])


# ── importance ──────────────────────────────────────────────────────────────────────────────────


def test_what_the_score_depends_on_has_nearly_all_the_importance() -> None:
    study = searched(TWO, hill, 24)
    found = importance_of(Model.of_ranks(study, TWO), "score", 24)

    assert [each.parameter for each in found.shares] == ["learning_rate", "dropout"]
    assert found.shares[0].total > 0.95
    assert found.shares[1].total < 0.05
    assert found.foretold > 0.8
    assert found.sentence.startswith("learning_rate matters most: ")
    assert found.sentence.endswith("dropout hardly matters.")


def test_sobol_indices_agree_with_the_formula() -> None:
    """Of a·u + b·v with even u, v the shares are a² and b² over their sum, alone and in all."""
    space = Space(u=linear(0.0, 1.0), v=linear(0.0, 1.0))
    study = searched(space, lambda params: 2.0 * params["u"] + params["v"], 40)
    model = Model.of(study, space)
    assert model is not None
    shares = {each.parameter: each for each in importance_of(model, "score", 40).shares}

    assert by_importance(model) == list(shares)
    assert shares["u"].total == pytest.approx(0.8, abs=0.03)
    assert shares["v"].alone == pytest.approx(0.2, abs=0.03)


def test_what_matters_only_together_has_a_share_in_all_but_none_alone() -> None:
    space = Space(u=linear(-1.0, 1.0), v=linear(-1.0, 1.0))
    study = searched(space, lambda params: params["u"] * params["v"], 60)
    shares = importance_of(Model.of_ranks(study, space), "score", 60).shares

    assert all(each.total > 0.8 and each.alone < 0.15 for each in shares)


def test_where_luck_rules_nothing_is_said_to_matter() -> None:
    luck = np.random.default_rng(5)
    study = searched(TWO, lambda _: float(luck.standard_normal()), 24)

    found = importance_of(Model.of_ranks(study, TWO), "score", 24)
    assert "cannot be told" in found.sentence
    assert found.foretold < 0.1
    assert found.at_least() == {"learning_rate": 0.0, "dropout": 0.0}


def test_too_few_trials_say_how_many_are_needed() -> None:
    study = searched(TWO, hill, 5)
    assert Model.of(study, TWO) is None
    told = importance_of(None, "score", 5).sentence
    assert f"takes {FEWEST} trials" in told
    assert "there are 5: 3 more" in told


# (learning rate, hidden units, steps, score) of a real search on handwritten digits that paused what fell behind.
DIGITS = (
    (0.001, 77, 8, 0.181),
    (0.24, 73, 30, 0.974),
    (0.032, 93, 4, 0.633),
    (0.00075, 57, 16, 0.096),
    (0.00016, 52, 16, 0.078),
    (0.022, 98, 30, 0.948),
    (0.52, 68, 8, 0.73),
    (0.0069, 82, 16, 0.896),
    (0.0034, 96, 1, 0.159),
    (0.79, 54, 30, 0.989),
    (1.0, 54, 16, 0.967),
    (0.00025, 64, 8, 0.081),
    (1.0, 54, 30, 0.985),
    (1.0, 50, 30, 0.967),
    (1.0, 50, 30, 0.959),
    (1.0, 50, 30, 0.97),
    (1.0, 90, 30, 0.978),
    (0.1, 84, 8, 0.778),
    (1.0, 50, 30, 0.981),
    (1.0, 50, 30, 0.978),
    (1.0, 50, 30, 0.978),
    (1.0, 50, 30, 0.978),
    (1.0, 50, 30, 0.981),
    (0.0051, 74, 16, 0.674),
    (0.16, 52, 30, 0.978),
    (1.0, 50, 30, 0.981),
    (1.0, 54, 30, 0.985),
    (1.0, 50, 30, 0.974),
    (1.0, 50, 30, 0.97),
    (0.049, 64, 8, 0.841),
    (1.0, 50, 16, 0.974),
    (0.00018, 50, 4, 0.063),
    (0.00015, 60, 2, 0.085),
    (0.46, 50, 30, 0.985),
    (1.0, 50, 30, 0.978),
    (0.00059, 92, 8, 0.241),
    (1.0, 50, 30, 0.981),
    (1.0, 50, 8, 0.948),
    (1.0, 50, 30, 0.967),
    (1.0, 50, 8, 0.841),
)


def test_what_a_search_tries_along_with_its_best_gets_no_share_of_it() -> None:
    """Its best have the highest rate and the fewest units; but it is by their rate that the others are poor."""
    space = Space(learning_rate=log(1e-4, 1.0), hidden_units=integer(50, 100))
    study = study_of(space)
    for rate, units, steps, score in DIGITS:
        state: rec.TrialState = "completed" if steps == 30 else "pruned"
        add(study, {"learning_rate": rate, "hidden_units": units}, score, state, steps)
    first, second = importance_of(Model.of_ranks(study, space), "score", 40).shares

    assert first.parameter == "learning_rate"
    assert first.total > 0.95
    assert second.total < 0.05


def test_options_have_their_importance_too() -> None:
    space = Space(activation=choice("relu", "tanh", "gelu"), dropout=linear(0.0, 0.5))
    study = searched(space, lambda params: float(params["activation"] == "tanh"), 32)

    first = importance_of(Model.of_ranks(study, space), "score", 32).shares[0]
    assert first.parameter == "activation"
    assert first.total > 0.9


# ── edges ───────────────────────────────────────────────────────────────────────────────────────


def test_a_best_trial_at_the_upper_end_widens_the_space_upward_to_a_round_number() -> None:
    study = searched(TWO, lambda params: params["learning_rate"], 30)
    (edge,) = edges_of(study, TWO, {"learning_rate": 1.0, "dropout": 0.0})

    assert edge.sentence.startswith("Widen learning_rate upward to 3")
    assert (edge.end, edge.to, edge.leaders) == ("upper", 3.0, 5)
    assert edge.near == sum(trial.params["learning_rate"] > 10**-0.4 for trial in leaders(study, 5))


def test_where_most_diverge_at_the_edge_the_space_is_left_as_it_is() -> None:
    study = searched(TWO, lambda params: params["learning_rate"], 60, bad=lambda params: params["learning_rate"] > 0.7)
    add(study, {"learning_rate": 0.99, "dropout": 0.2}, 2.0)
    (edge,) = (each for each in edges_of(study, TWO) if each.parameter == "learning_rate")

    assert edge.to is None
    assert edge.sentence.startswith("Leave learning_rate as it is: ")
    assert edge.diverged >= 0.5


def test_an_edge_is_seen_too_where_all_trials_stand_paused() -> None:
    study = study_of(TWO)
    for rate in (0.01, 0.1, 1.0):
        add(study, {"learning_rate": rate, "dropout": 0.2}, rate, "paused")
    (edge,) = (each for each in edges_of(study, TWO) if each.parameter == "learning_rate")
    assert (edge.end, edge.diverged) == ("upper", 0.0)


def test_a_best_trial_inside_asks_for_nothing() -> None:
    study = study_of(TWO)
    add(study, {"learning_rate": 0.01, "dropout": 0.25}, 1.0)
    assert edges_of(study, TWO) == ()


def test_what_does_not_matter_is_not_widened() -> None:
    study = study_of(TWO)
    add(study, {"learning_rate": 1.0, "dropout": 0.5}, 1.0)
    assert [each.parameter for each in edges_of(study, TWO, {"learning_rate": 0.99, "dropout": 0.01})] == [
        "learning_rate"
    ]


@pytest.mark.parametrize(
    ("parameter", "end", "to"),
    [
        (log(1e-4, 1.0), "upper", 3.0),
        (log(1e-4, 1.0), "lower", 3e-5),
        (log(1e-6, 1e2), "upper", 1e3),
        (log_one_minus(0.9, 0.999), "upper", 0.9997),
        (log_one_minus(0.9, 0.999), "lower", 0.7),
        (linear(0.0, 0.5), "upper", 0.6),
        (linear(0.0, 0.5), "lower", None),
        (linear(0.0, 1.0), "upper", None),
        (linear(-2.0, 2.0), "lower", -3.0),
        (integer(50, 100), "upper", 110),
        (integer(2, 4), "upper", 5),
        (integer(1, 4), "lower", None),
    ],
)
def test_widened_bounds_are_round_and_stop_at_natural_ends(parameter: Any, end: Any, to: float | None) -> None:
    assert widened(parameter, end) == pytest.approx(to) if to is not None else widened(parameter, end) is None


# ── divergence ──────────────────────────────────────────────────────────────────────────────────


def test_diverged_trials_are_counted_and_told_where_they_lie() -> None:
    study = searched(TWO, hill, 64, bad=lambda params: params["learning_rate"] > 0.25)
    found = divergences_of(study, TWO)
    bad = sum(trial.params["learning_rate"] > 0.25 for trial in study.trials)

    assert (found.trained, found.diverged) == (64, bad)
    assert found.cut is not None
    assert (found.cut.parameter, found.cut.inside, found.cut.diverged) == ("learning_rate", bad, bad)
    assert found.sentence.startswith(f"{bad} of 64 trials diverged ({bad / 64:.0%})")
    assert f"all {bad} with learning_rate above " in found.sentence
    assert 0.2 < float(found.cut.where.rpartition(" ")[2]) <= 0.26


def test_an_option_may_be_what_diverges() -> None:
    space = Space(activation=choice("relu", "tanh"), dropout=linear(0.0, 0.5))
    study = searched(space, lambda _: 1.0, 32, bad=lambda params: params["activation"] == "relu")
    found = divergences_of(study, space)

    assert found.cut is not None
    assert found.cut.where == "activation relu"


def test_divergence_by_luck_has_seldom_a_place() -> None:
    placed = 0
    for seed in range(30):
        luck = np.random.default_rng(seed)
        study = searched(TWO, hill, 40, bad=lambda _, luck=luck: bool(luck.random() < 0.2))  # type: ignore[misc]
        found = divergences_of(study, TWO)
        placed += found.cut is not None
        assert found.cut is not None or "by chance" in found.sentence
    assert placed <= 3


def test_nothing_diverged_is_said_so() -> None:
    assert divergences_of(searched(TWO, hill, 4), TWO).sentence == "None of 4 trials diverged."
    assert divergences_of(study_of(TWO), TWO).sentence.startswith("No trial")


# ── bias and variance ───────────────────────────────────────────────────────────────────────────


def curves(**named: Sequence[float]) -> dict[str, Curve]:
    return {name: Curve(enumerate(values, start=1)) for name, values in named.items()}


def diagnosis(target: float = 0.0, **named: Sequence[float]) -> Any:
    study = study_of(TWO)
    add(study, {"learning_rate": 0.1, "dropout": 0.1}, 0.5)
    return fit_of(study.trials[0], curves(**named), target)


FALLING = [0.5 * 0.8**step for step in range(20)]


def test_an_error_on_train_far_above_the_target_is_bias() -> None:
    fit = diagnosis(train_error=[0.3 + each for each in FALLING], dev_error=[0.31 + each for each in FALLING])
    assert (fit.high_bias, fit.high_variance) == (True, False)
    assert "high bias (train error 0.307 above" in fit.sentence


def test_bias_is_measured_from_the_error_one_could_reach() -> None:
    fit = diagnosis(0.3, train_error=[0.3 + each for each in FALLING], dev_error=[0.35 + each for each in FALLING])
    assert (fit.high_bias, fit.high_variance) == (False, True)


def test_an_error_on_dev_far_above_train_is_variance() -> None:
    fit = diagnosis(train_accuracy=[1 - each for each in FALLING], dev_accuracy=[0.9 - each for each in FALLING])
    assert (fit.high_bias, fit.high_variance) == (False, True)
    assert fit.variance == pytest.approx(0.1)
    assert "high variance (dev 0.1 above train)" in fit.sentence


def test_both_may_be_high_and_neither() -> None:
    both = diagnosis(train_error=[0.2] * 20, dev_error=[0.4] * 20)
    assert (both.high_bias, both.high_variance) == (True, True)
    assert "neither bias nor variance is high" in diagnosis(train_error=[0.005] * 20, dev_error=[0.01] * 20).sentence


def test_dev_that_worsens_while_train_improves_is_overfitting() -> None:
    dev = [0.3 + 0.01 * abs(step - 6) for step in range(20)]
    fit = diagnosis(train_loss=FALLING, dev_loss=dev)
    assert fit.course == "overfitting"
    assert fit.step == 7
    assert "It overfits: after step 7" in fit.sentence
    assert "Kendall τ 1.00 over 13 reports" in fit.sentence


def test_dev_that_worsens_along_with_train_is_no_overfitting() -> None:
    worse = [0.3 + 0.01 * abs(step - 6) for step in range(20)]
    assert diagnosis(train_loss=worse, dev_loss=worse).course != "overfitting"


def test_a_loss_may_tell_of_overfitting_that_the_error_hides() -> None:
    dev_loss = [0.3 + 0.01 * abs(step - 6) for step in range(20)]
    fit = diagnosis(train_error=FALLING, dev_error=[0.1] * 20, train_loss=FALLING, dev_loss=dev_loss)
    assert fit.pair.measure == "error"
    assert fit.course == "overfitting"


def test_dev_that_still_falls_at_the_end_asks_for_longer_training() -> None:
    falling = [1.0 - 0.02 * step for step in range(40)]
    fit = diagnosis(train_error=falling, dev_error=falling)
    assert fit.course == "still improving"
    assert "train longer" in fit.sentence


def test_noise_around_a_level_is_neither() -> None:
    luck = np.random.default_rng(3).normal(0.2, 0.01, size=40)
    assert diagnosis(train_error=[0.1] * 40, dev_error=luck.tolist()).course == "cannot be told"
    fallen = np.concatenate([0.5 - 0.02 * np.arange(15), 0.2 + 0.1 * (luck - 0.2)])
    assert diagnosis(train_error=[0.1] * 55, dev_error=fallen.tolist()).course == "level"


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8, 0.95])
def test_overfitting_is_seldom_cried_over_noise_that_hangs_together(phi: float) -> None:
    """Falling, then level; a rank test of independent values cried it 1, 10, 30 and 45 times in a hundred."""
    cried = 0
    for seed in range(60):
        noise = autocorrelated(80, phi, seed)
        dev = np.exp(-np.arange(80) / 10) + 0.2 + 0.05 * noise
        cried += (
            diagnosis(train_loss=np.exp(-np.arange(80) / 20).tolist(), dev_loss=dev.tolist()).course == "overfitting"
        )
    assert cried <= 6  # 5 % of 60, and as many again


def test_overfitting_under_noise_is_still_found() -> None:
    found = 0
    for seed in range(20):
        dev = np.exp(-np.arange(80) / 10) + 0.05 * autocorrelated(80, 0.3, seed)
        dev += 0.3 * np.clip(np.arange(80) / 80 - 0.3, 0, None)
        found += (
            diagnosis(train_loss=np.exp(-np.arange(80) / 20).tolist(), dev_loss=dev.tolist()).course == "overfitting"
        )
    assert found >= 8


def autocorrelated(count: int, phi: float, seed: int) -> Floats:
    """AR(1) of variance 1."""
    shocks = np.random.default_rng([seed, count]).standard_normal(count + 200) * math.sqrt(1 - phi**2)
    for place in range(1, len(shocks)):
        shocks[place] += phi * shocks[place - 1]
    kept: Floats = shocks[200:]
    return kept


def test_percentages_are_read_as_such() -> None:
    fit = diagnosis(train_accuracy=[99.0] * 6, dev_accuracy=[90.0] * 6)
    assert (fit.train, fit.dev) == (pytest.approx(1.0), pytest.approx(10.0))


def test_without_train_and_dev_of_one_measure_there_is_no_diagnosis() -> None:
    assert pairs_of(curves(dev_accuracy=[0.5], train_loss=[0.5])) == []
    assert [each.measure for each in pairs_of(curves(val_acc=[0.5], train_acc=[0.6]))] == ["accuracy"]
    assert pairs_of(curves(test_loss=[0.5], train_loss=[0.6])) == []


@pytest.mark.parametrize(
    ("train", "dev"), [("train/loss", "val/loss"), ("trainLoss", "valLoss"), ("loss/train", "eval_loss")]
)
def test_train_and_dev_are_known_by_the_words_of_a_name_as_losses_are(train: str, dev: str) -> None:
    assert [(each.train_name, each.dev_name) for each in pairs_of(curves(**{dev: [0.5], train: [0.6]}))] == [
        (train, dev)
    ]


# ── more trials ─────────────────────────────────────────────────────────────────────────────────


def test_less_improvement_is_expected_of_a_hill_that_was_climbed_than_of_one_that_was_not() -> None:
    few, many = searched(TWO, hill, 10), searched(TWO, hill, 80)
    early, late = (worth_of(Model.of(each, TWO), each, 16) for each in (few, many))

    assert early.gain is not None
    assert late.gain is not None
    assert late.gain < early.gain
    assert late.by_model is not None
    assert late.by_model < 0.05


@pytest.mark.long
def test_the_gain_told_of_even_draws_is_what_comes_of_them_within_a_factor_of_three() -> None:
    """Uniform scores: the best of n + m lies above that of n by 1/(n+1) − 1/(n+m+1) on average."""
    gains = []
    for seed in range(8):
        luck = np.random.default_rng(seed)
        study = searched(TWO, lambda _, luck=luck: float(luck.random()), 30)  # type: ignore[misc]
        gains.append(worth_of(Model.of(study, TWO), study, 30, noise=0.1).gain)
    assert 1 / 3 < float(np.mean(gains)) / (1 / 31 - 1 / 61) < 3  # type: ignore[arg-type]


def test_the_cost_counts_steps_as_the_search_has_spent_them() -> None:
    study = searched(TWO, hill, 20)
    found = worth_of(Model.of(study, TWO), study, 24)
    assert (found.steps, found.seconds) == (240, 48)
    assert found.sentence.startswith("24 more trials")
    assert "240 steps, 48 s" in found.sentence


def test_runs_taken_one_by_one_vary_together_as_all_at_once() -> None:
    model = Model.of(searched(TWO, hill, 24), TWO)
    assert model is not None
    joint = model.joint(np.random.default_rng(0).random((6, 2)))
    together = np.array([joint.with_one(place) for place in range(6)])
    np.testing.assert_allclose(together, together.T, atol=1e-9)
    np.testing.assert_allclose(np.diag(together), joint.variance, atol=1e-9)
    assert np.linalg.eigvalsh(together).min() > -1e-6


def test_gains_smaller_than_luck_are_not_worth_it() -> None:
    study = searched(TWO, hill, 60)
    found = worth_of(Model.of(study, TWO), study, 24, noise=10.0)
    assert found.worthwhile is False
    assert "a seed alone changes 10" in found.sentence


def test_too_few_trials_cannot_tell_whether_more_are_worth_it() -> None:
    study = searched(TWO, hill, 4)
    assert worth_of(None, study).worthwhile is None


# ── orders, buckets, winners ────────────────────────────────────────────────────────────────────


def test_what_no_shuffle_has_shown_is_told_as_rare_and_not_as_never() -> None:
    found = rank_correlation(np.arange(20.0), np.arange(20.0))
    assert found.chance == 0.0
    assert found.often == "less than 0.1% of the time"


def test_rank_correlation_is_one_of_the_same_order_and_minus_one_of_the_reverse() -> None:
    up = np.arange(8.0)
    same, reverse = rank_correlation(up, 3 * up), rank_correlation(up, -up)
    assert (same.rho, same.verdict) == (1.0, "holds")
    assert (reverse.rho, reverse.verdict) == (-1.0, "does not hold")


def test_three_leaders_in_order_may_be_so_by_luck() -> None:
    found = rank_correlation(np.arange(3.0), np.arange(3.0))
    assert found.chance == pytest.approx(1 / 6)
    assert found.verdict == "cannot be told"


@pytest.mark.parametrize("now", [*itertools.permutations(range(3))])
def test_of_three_leaders_nothing_can_be_told(now: tuple[int, ...]) -> None:
    """A resampling of three has but one order to resample, and called any other one broken."""
    found = rank_correlation(np.arange(3.0), np.array(now, dtype=float))
    assert (found.low, found.high, found.verdict) == (-1.0, 1.0, "cannot be told")


@pytest.mark.parametrize("count", [4, 8, 16])
def test_bounds_of_a_rank_correlation_hold_what_is_true_and_no_order_is_called_broken_that_holds(count: int) -> None:
    rng, true = np.random.default_rng(count), 0.7
    along = 2 * math.sin(math.pi * true / 6)  # Pearson's of normal pairs with that ρ
    missed = broken = 0
    for _ in range(200):
        then, luck = rng.standard_normal((2, count))
        found = rank_correlation(then, along * then + math.sqrt(1 - along**2) * luck)
        missed += not found.low <= true <= found.high
        broken += found.verdict == "does not hold"
    assert missed <= 20
    assert broken <= 4


def test_shuffled_orders_seldom_hold() -> None:
    rng = np.random.default_rng(0)
    held = [rank_correlation(np.arange(8.0), rng.permutation(8).astype(float)).verdict == "holds" for _ in range(200)]
    assert float(np.mean(held)) < 0.09


def test_buckets_hold_the_best_of_each_stretch_whatever_the_others_are() -> None:
    study = searched(TWO, hill, 40)
    found = buckets_of(study, TWO, "learning_rate")
    assert len(found) == 8
    assert sum(each.trials for each in found) == 40
    best = max(found, key=lambda each: -math.inf if each.score is None else each.score)
    assert best.best == study.winner
    assert best.low <= 0.5 <= best.high


def test_a_bucket_compares_whole_trainings_alone() -> None:
    study = study_of(TWO)
    add(study, {"learning_rate": 0.1, "dropout": 0.1}, 0.9, "pruned")
    assert [each.trials for each in buckets_of(study, TWO, "dropout")] == [0, 1, 0, 0, 0, 0, 0, 0]
    add(study, {"learning_rate": 0.1, "dropout": 0.4}, 0.8)
    assert [each.best for each in buckets_of(study, TWO, "dropout") if each.trials] == [1]


def test_settings_twice_are_one_leader() -> None:
    study = study_of(TWO)
    for score in (0.9, 0.8):
        add(study, {"learning_rate": 0.1, "dropout": 0.1}, score)
    add(study, {"learning_rate": 0.2, "dropout": 0.1}, 0.7)
    assert [trial.trial for trial in distinct(leaders(study), 2)] == [0, 2]


def test_the_winner_is_told_with_its_lead_and_how_to_make_sure() -> None:
    study = study_of(TWO)
    add(study, {"learning_rate": 0.1, "dropout": 0.1}, 0.9)
    add(study, {"learning_rate": 0.2, "dropout": 0.1}, 0.89)
    found = winner_of(study, None, 0.02)
    assert found is not None
    told = " ".join(found.sentences)
    assert "leads trial 1 by 0.01" in told
    assert told.endswith("--top 3 --repeats 5")


# ── what is claimed ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [0.1, 0.0, -3.0])
@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_a_constant_score_is_said_to_be_one_and_nothing_to_matter(value: float, goal: rec.Goal) -> None:
    study = study_of(TWO, goal)
    for number in range(20):
        add(study, TWO.from_unit(sobol_point(2, 3, number)), value)
    winner, alike = winner_of(study, None, None), sharing(study)[0]
    importance, worth = importance_of(None, "score", 20, alike), worth_of(None, study)

    assert is_plateau(study)
    assert winner is not None
    assert "20 of 20 trials share that score" in " ".join(winner.sentences)
    assert "It leads" not in " ".join(winner.sentences)
    assert importance.sentence.startswith("Nothing matters")
    assert edges_of(study, TWO, importance.at_least()) == ()
    assert "20 trials share one score" in worth.sentence
    assert "seed" not in worth.sentence


def test_a_few_that_share_the_best_score_are_counted_and_no_plateau() -> None:
    study = searched(TWO, lambda params: min(0.9, params["learning_rate"] * 3), 24)
    winner, (alike, scored) = winner_of(study, None, None), sharing(study)
    assert not is_plateau(study)
    assert winner is not None
    assert f"{alike} of {scored} trials share that score" in " ".join(winner.sentences)


def test_what_a_model_is_tested_by_it_has_not_learned_its_numbers_from() -> None:
    model = Model.of_ranks(searched(TWO, hill, 24), TWO)
    assert model is not None
    numbers = [tuple(posterior.process.hyperparameters) for posterior, _ in model.without_each_fold()]
    assert len(set(numbers)) == len(numbers) == 10
    assert tuple(model.process.hyperparameters) not in numbers


def test_a_gain_below_what_two_seeds_may_differ_is_not_called_more_than_luck() -> None:
    study = searched(TWO, hill, 10)
    found = worth_of(Model.of(study, TWO), study, 16)
    assert found.gain is not None
    for noise, worthwhile in ((found.gain / 4, True), (found.gain / 1.5, None), (found.gain * 4, False)):
        told = replace(found, noise=noise, measured=True)
        assert told.worthwhile is worthwhile
        assert ("more than two seeds may differ" in told.sentence) is (worthwhile is True)


def test_after_trials_of_a_few_steps_a_setting_is_not_said_to_hardly_matter() -> None:
    """Of thirty, nineteen had four steps of forty, and the other eleven say little of it."""
    rng, study = np.random.default_rng(4), study_of(TWO)
    for number in range(30):
        params = TWO.from_unit(sobol_point(2, 3, number))
        score = math.log10(params["learning_rate"]) / 4 - params["dropout"] + 0.1 * rng.standard_normal()
        add(study, params, score, "pruned" if number % 3 else "completed", 4 if number % 3 else 40)
    found = importance_of(Model.of_ranks(study, TWO), "score", 30)
    assert "hardly" not in found.sentence


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_the_gain_is_told_in_the_direction_of_the_goal(goal: rec.Goal) -> None:
    study, sign = study_of(TWO, goal), 1.0 if goal == "maximize" else -1.0
    for number in range(20):
        params = TWO.from_unit(sobol_point(2, 3, number))
        add(study, params, sign * hill(params))
    found = worth_of(Model.of(study, TWO), study, 8)
    assert found.gain is not None
    assert found.gain >= 0.0
    assert ("expected to add" if goal == "maximize" else "expected to take off") in found.sentence


@pytest.mark.long
def test_of_thousands_of_trials_the_curves_of_those_alone_are_read_that_tell_most() -> None:
    study = searched(TWO, hill, 2_500)
    known, read = {each.trial: each.curve or Curve() for each in study.trials}, set[int]()
    for each in study.trials:
        each.curve = None

    def load(trials: Sequence[Trial]) -> list[Curve]:
        read.update(each.trial for each in trials)
        return [known[each.trial] for each in trials]

    study.load_curves = load
    model = Model.of_ranks(study, TWO)
    assert study.best is not None
    assert model is not None
    assert study.best.trial in read
    assert len(read) < 1_300
    assert model.horizon == 10
    assert 200 < len(set(model.rows.run.tolist())) <= 250


def test_a_cut_is_as_improbable_as_the_hypergeometric_law_has_it() -> None:
    from scipy.stats import hypergeom

    from tuner.insight.divergence import _chances

    inside, both = np.array([40, 900, 12, 5]), np.array([20, 60, 9, 0])
    told = _chances(1_000, 65, inside, both)
    exact = np.asarray(hypergeom.sf(both - 1, 1_000, 65, inside))
    rare = exact < 0.02
    np.testing.assert_allclose(told[rare], exact[rare], rtol=1e-8)
    assert (told[~rare] > 0.02).all()
