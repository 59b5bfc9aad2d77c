"""Likely values: where a search looks first, how scores overrule them, and that a study keeps those it began with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from sweeping import sweep

from tuner import Explanation, Space, choice, integer, linear, log, log_one_minus
from tuner.errors import IdentityMismatch, SpaceError
from tuner.policy.proposals import Outcome, RoundPlan
from tuner.samplers.coarse_to_fine import CoarseToFineSampler
from tuner.samplers.prior import Peak, Prior
from tuner.samplers.quasi_random import RandomSampler, SobolSampler
from tuner.space.parameters import Choice, Parameter

LIKELY = [
    log(1e-5, 1.0, likely=1e-3),
    log_one_minus(0.9, 0.999, likely=0.95),
    linear(-1.0, 3.0, likely=3.0),
    integer(2, 9, likely=4),
    integer(1, 1000, scale="log", likely=1),
    choice("relu", "tanh", "gelu", likely="tanh"),
]


def settings(space: Space, seed: int = 0, trials: int = 4) -> list[dict[str, Any]]:
    """What the coarse stage draws while nothing has a score."""
    rounds: list[RoundPlan] = []
    found = []
    for trial in range(trials):
        proposal = CoarseToFineSampler().propose(space, seed, trial, (), rounds)
        rounds += [proposal.opened] if proposal.opened else []
        found.append(space.from_unit(proposal.point))
    return found


def test_the_first_trial_has_the_likely_values_themselves_and_an_even_place_elsewhere() -> None:
    space = Space(rate=log(1e-5, 1.0, likely=1e-3), units=integer(16, 512, scale="log", likely=64), x=linear(0, 1))
    bare = Space(rate=log(1e-5, 1.0), units=integer(16, 512, scale="log"), x=linear(0, 1))
    first, even = settings(space)[0], settings(bare)[0]
    assert (first["rate"], first["units"]) == (pytest.approx(1e-3), 64)
    assert first["x"] == even["x"]


def test_every_second_coarse_draw_is_as_even_as_without() -> None:
    space = Space(rate=log(1e-5, 1.0, likely=1e-3), act=choice("relu", "tanh", likely="relu"))
    bare = Space(rate=log(1e-5, 1.0), act=choice("relu", "tanh"))
    drawn, even = settings(space, trials=12), settings(bare, trials=12)
    assert drawn[1::2] == even[1::2]
    assert all(each["act"] == "relu" and 1e-4 < each["rate"] < 1e-2 for each in drawn[::2])
    assert len({each["rate"] for each in drawn}) == 12


@pytest.mark.parametrize("dimension", LIKELY, ids=repr)
def test_draws_around_a_likely_value_stay_in_the_range_and_follow_what_is_believed(
    dimension: Parameter | Choice,
) -> None:
    peak, even = Peak.of(dimension), (np.arange(4200) + 0.5) / 4200
    drawn = np.array([peak.around(u) for u in even])
    assert 0.0 <= drawn.min() <= drawn.max() <= 1.0
    assert np.mean(peak.density(even)) == pytest.approx(1.0, abs=2e-3)
    assert peak.density(even).min() >= 0.5
    cells = max(peak.options, 12 * (not peak.options))
    shares = np.histogram(np.concatenate([drawn, even]), bins=cells, range=(0, 1))[0] / 8400
    assert shares == pytest.approx(peak.density(even).reshape(cells, -1).mean(axis=1) / cells, abs=0.01)
    assert dimension.from_unit(peak.place) == (
        dimension.likely if isinstance(dimension, Choice) else pytest.approx(dimension.likely)
    )


def test_what_is_believed_fades_and_what_does_not_exist_weighs_nothing() -> None:
    prior = Prior(Space(rate=log(1e-5, 1.0, likely=1e-3), x=linear(0, 1)))
    points = np.array([[0.4, 0.1], [1.0, 0.1], [math.nan, 0.1]])
    early, late = prior.log_weight(points, 5), prior.log_weight(points, 500)
    assert early[0] > 0 > early[1] >= -math.log(2)
    assert early[2] == 0
    assert late == pytest.approx(early / 100)
    assert not Prior(Space(x=linear(0, 1)))


def _bowl(space: Space, optimum: float, trials: int, seed: int) -> float:
    """The best score after some trials of 1 − 10·(u − optimum)², u the place of the only parameter."""
    outcomes: list[Outcome] = []
    rounds: list[RoundPlan] = []
    for trial in range(trials):
        proposal = CoarseToFineSampler().propose(space, seed, trial, outcomes, rounds)
        rounds += [proposal.opened] if proposal.opened else []
        score = 1 - 10 * sum((u - optimum) ** 2 for u in proposal.point)
        seen = ((1, score),)
        outcomes.append(
            Outcome(trial=trial, point=proposal.point, state="completed", score=score, steps=1, observations=seen)
        )
    return max(outcome.score or 0.0 for outcome in outcomes)


def test_a_wrong_likely_value_is_overruled_by_scores() -> None:
    wrong = Space(x=linear(0, 1, likely=1), y=linear(0, 1, likely=1))
    assert all(_bowl(wrong, 0.2, 14, seed) > 0.98 for seed in range(3))


def test_random_and_sobol_draws_are_even_whatever_is_likely() -> None:
    space, bare = Space(rate=log(1e-5, 1.0, likely=1e-3)), Space(rate=log(1e-5, 1.0))
    for sampler in (RandomSampler(), SobolSampler()):
        assert [sampler.draw(space, 0, trial) for trial in range(5)] == [
            sampler.draw(bare, 0, trial) for trial in range(5)
        ]
    rng = np.random.default_rng
    assert space.sample(rng(0)) == bare.sample(rng(0))


# ── declared, and refused where it is written ───────────────────────────────────────────────────────


def test_a_likely_value_is_written_in_toml_and_kept_by_what_describes_a_space() -> None:
    space = Space.from_toml(
        '[rate]\nscale = "log"\nlow = 1e-5\nhigh = 1\nlikely = 1e-3\n[act]\nchoice = ["relu", "tanh"]\nlikely = "tanh"'
    )
    assert space == Space(rate=log(1e-5, 1.0, likely=1e-3), act=choice("relu", "tanh", likely="tanh"))
    assert space != Space(rate=log(1e-5, 1.0), act=choice("relu", "tanh"))
    assert Space.from_dict(space.to_dict()) == space
    assert repr(space) == "Space(rate=log(1e-05, 1.0, likely=0.001), act=choice('relu', 'tanh', likely='tanh'))"
    assert "likely" not in Space(rate=log(1e-5, 1.0)).to_dict()["parameters"][0]


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: log(1e-5, 1.0, likely=3), "likely must lie from 1e-5 to 1, got 3.0. Choose a value in that range"),
        (lambda: log(1e-5, 1.0, likely=math.nan), "likely must lie from 1e-5 to 1, got nan"),
        (lambda: linear(0, 1, likely="0.5"), "likely must be a number from 0 to 1, got '0.5'."),
        (lambda: linear(0, 1, likely=[0.5]), "likely must be a number from 0 to 1, got [0.5]."),
        (lambda: log_one_minus(0.9, 0.999, likely=1.0), "likely must lie from 0.9 to 0.999, got 1.0."),
        (lambda: integer(1, 4, likely=2.5), "likely must be a whole number, got 2.5. Try 2."),
        (lambda: choice("relu", "tanh", likely="gelu"), "likely must be one of 'relu', 'tanh', got 'gelu'."),
        (lambda: choice("relu", "tanh", likely=["relu"]), "likely must be one of 'relu', 'tanh', got ['relu']."),
        (lambda: linear(0, 1, likly=0.5), "linear takes no likly. Did you mean likely?"),  # type: ignore[call-arg]
        (
            lambda: Space.from_toml('[x]\nscale = "linear"\nlow = 0\nhigh = 1\nlikely = 2'),
            "the text: x: likely must lie from 0 to 1, got 2.0.",
        ),
    ],
)
def test_a_likely_value_that_is_none_is_refused_where_it_is_written(declare: Any, said: str) -> None:
    with pytest.raises(SpaceError) as refused:
        declare()
    assert said in str(refused.value)


# ── a study keeps it ────────────────────────────────────────────────────────────────────────────────


def test_a_study_keeps_the_likely_values_it_began_with(tmp_path: Path) -> None:
    space = Space(learning_rate=log(1e-4, 1.0, likely=0.01))
    assert sweep(tmp_path, space=space, trials=1).trials["params.learning_rate"][0] == pytest.approx(0.01)
    assert len(sweep(tmp_path, space=space, trials=2).trials) == 2
    other = Space(learning_rate=log(1e-4, 1.0, likely=0.5))
    with pytest.warns(
        UserWarning, match=r"keeps the likely values that it began with, learning_rate 0.01: those of th"
    ):
        study = sweep(tmp_path, space=other, trials=3)
    assert study.trials["params.learning_rate"][2] < 0.3
    with pytest.warns(UserWarning, match="of this call, none"):
        sweep(tmp_path, space=Space(learning_rate=log(1e-4, 1.0)), trials=4)
    with pytest.raises(IdentityMismatch, match="another space"):
        sweep(tmp_path, space=Space(learning_rate=log(1e-4, 0.5, likely=0.01)), trials=4)


def test_a_study_that_began_without_goes_on_without(tmp_path: Path) -> None:
    sweep(tmp_path, space=Space(learning_rate=log(1e-4, 1.0)), trials=1)
    with pytest.warns(UserWarning, match="began with, none"):
        study = sweep(tmp_path, space=Space(learning_rate=log(1e-4, 1.0, likely=0.01)), trials=3)
    assert 0.01 not in [pytest.approx(each) for each in study.trials["params.learning_rate"]]


def test_a_round_a_trial_and_an_explanation_say_what_was_likely(tmp_path: Path) -> None:
    space = Space(learning_rate=log(1e-4, 1.0, likely=0.1), beta=log_one_minus(0.9, 0.999, likely=0.999))
    study = sweep(tmp_path, space=space, trials=6)
    assert "likely, learning_rate 0.1, beta 0.999" in study.rounds["why"][0]
    proposal = CoarseToFineSampler().propose(space, 0, 0, (), ())
    assert proposal.why == "what the space says is likely: learning_rate 0.1, beta 0.999"
    told = str(Explanation.of(study))
    assert "learning_rate 0.1 was said to be likely" in told
    assert "beta 0.999 was said to be likely" in told


def test_an_optuna_sampler_draws_as_if_nothing_were_likely(tmp_path: Path) -> None:
    numbers = {"params.learning_rate", "params.act"}
    drawn = []
    for name, rate in (("with", log(1e-4, 1.0, likely=0.1)), ("without", log(1e-4, 1.0))):
        space = Space(learning_rate=rate, act=choice("relu", "tanh"))
        sampler = optuna.samplers.TPESampler(n_startup_trials=2)
        study = sweep(tmp_path, space=space, trials=3, sampler=sampler, name=name)
        drawn.append(study.trials[sorted(numbers)].to_numpy().tolist())
    assert drawn[0] == drawn[1]
