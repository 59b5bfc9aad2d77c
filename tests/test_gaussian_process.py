"""The Gaussian process of the search: its slopes, what it learns in parts, and where it expects the best."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from tuner import Space, linear
from tuner.policy.proposals import Outcome, RoundPlan
from tuner.samplers.coarse_to_fine import CoarseToFineSampler
from tuner.surrogate.factors import JITTER
from tuner.surrogate.gaussian_process import (
    NO_RUN,
    ConditionedProcess,
    Floats,
    GaussianProcess,
    Hyperprior,
    Rows,
    _Objective,
)
from tuner.surrogate.ledger import Ledger

GROUPS = np.array([0, 1, 1, 2])  # a number, a choice of two, a number


def _rows(count: int = 20) -> Rows:
    rng = np.random.default_rng(0)
    return Rows(rng.random((count, 4)), rng.random(count), np.arange(count) // 2, rng.standard_normal(count))


def _process(rows: Rows) -> ConditionedProcess:
    return GaussianProcess(Hyperprior.of(3).mean, GROUPS).conditioned_on(rows)


def _at(*features: Floats) -> Rows:
    count = len(features)
    return Rows(np.array(features), np.ones(count), np.full(count, NO_RUN), np.empty(count))


@pytest.mark.parametrize("process", [_process(_rows()), _process(_rows()).in_a_bowl()], ids=["flat", "bowl"])
def test_the_slope_of_mean_and_variance_is_what_differences_say(process: ConditionedProcess) -> None:
    features = np.random.default_rng(2).random(4)
    expected, variance, by_mean, by_variance = process.slope(features, 1.0)
    assert (expected, variance) == pytest.approx([float(each[0]) for each in process.at(_at(features))])
    for place, step in enumerate(1e-5 * np.eye(4)):
        means, variances = process.at(_at(features + step, features - step))
        slopes = (means[0] - means[1]) / 2e-5, (variances[0] - variances[1]) / 2e-5
        assert (by_mean[place], by_variance[place]) == pytest.approx(slopes, abs=1e-6)


@pytest.mark.parametrize("whole", [False, True], ids=["curves", "whole trainings"])
def test_the_log_posterior_of_hyperparameters_and_its_slope_are_what_the_process_says(whole: bool) -> None:
    rows, prior = _rows(), Hyperprior.of(3)
    if whole:
        rows = Rows(rows.features, np.ones(len(rows)), rows.run, rows.value)

    def expected(hyperparameters: Floats) -> float:
        process = GaussianProcess(hyperparameters, GROUPS)
        covariance = process.covariance(rows, rows) + (process.noise**2 + JITTER) * np.eye(len(rows))
        density = multivariate_normal(cov=covariance).logpdf(rows.value) + 0.5 * len(rows) * np.log(2 * np.pi)
        surprise = (hyperparameters - prior.mean) / prior.deviation
        return float(0.5 * surprise @ surprise - density)

    at = prior.mean + 0.3 * np.random.default_rng(3).standard_normal(len(prior.mean))
    value, gradient = _Objective(rows, GROUPS, prior)(at)
    assert value == pytest.approx(expected(at))
    for place, step in enumerate(1e-5 * np.eye(len(at))):
        assert gradient[place] == pytest.approx((expected(at + step) - expected(at - step)) / 2e-5, abs=1e-4)


def test_in_a_bowl_what_is_learned_in_two_parts_is_what_is_learned_at_once() -> None:
    whole = _process(_rows()).in_a_bowl()
    depth = float(whole.process.mean(np.array([1.0, 0.5, 0.5, 1.0]))) / (-2 / 3)
    alone = GaussianProcess(Hyperprior.of(3).mean, GROUPS, depth)
    some = _rows().only(np.arange(20) < 12)
    at_once, in_parts = alone.conditioned_on(_rows()), alone.conditioned_on(some).and_also(_rows().since(12))
    new = _at(np.full(4, 0.9), np.full(4, 0.2))
    assert whole.at(new)[0] == pytest.approx(at_once.at(new)[0])
    assert whole.at(new)[1] == pytest.approx(_process(_rows()).at(new)[1])
    assert in_parts.at(new)[0] == pytest.approx(at_once.at(new)[0])
    assert whole.mean_of(_rows()) == pytest.approx(whole.mean_at(_rows()))


@pytest.mark.parametrize("process", [_process(_rows()), _process(_rows()).in_a_bowl()], ids=["flat", "bowl"])
def test_a_run_surprises_by_what_the_others_alone_would_not_have_expected(process: ConditionedProcess) -> None:
    rows = _rows()
    runs, surprise = process.surprises()
    assert runs.tolist() == list(range(10))
    for least in (-0.5, 0.5, 1.0, 100.0):
        some, their_surprise = process.surprises(least)
        assert set(np.flatnonzero(surprise >= least).tolist()) <= set(some.tolist())
        assert their_surprise == pytest.approx(surprise[some])
    for run in range(10):
        assert process.surprise_of(run) == pytest.approx(surprise[run])
        own, others = rows.only(rows.run == run), process.process.conditioned_on(rows.only(rows.run != run))
        last = own.only(np.arange(2) == own.progress.argmax())
        mean, variance = others.at(last)
        assert surprise[run] == pytest.approx((last.value - mean)[0] / np.sqrt(variance + process.process.noise**2)[0])


def test_a_bowl_expects_less_at_the_bounds_of_numbers_and_knows_no_better_option() -> None:
    process = GaussianProcess(Hyperprior.of(3).mean, GROUPS, 1.0)
    middle, option, corner = np.array([[0.5, 0.7, 0.0, 0.5], [0.5, 0.0, 0.7, 0.5], [0.0, 0.7, 0.0, 1.0]])
    assert process.mean(np.array([middle, option])) == pytest.approx([0, 0])
    assert float(process.mean(corner)) == pytest.approx(-2 / 3)  # two of the three parameters are numbers


@pytest.mark.parametrize("depth", [-3.0, 3.0])
def test_scores_say_how_deep_a_bowl_is_and_whether_it_is_a_hill(depth: float) -> None:
    rng = np.random.default_rng(3)
    features = rng.random((80, 4))
    truth = GaussianProcess(Hyperprior.of(3).mean, GROUPS, depth)
    rows = Rows(features, np.ones(80), np.arange(80), truth.mean(features))
    learned = GaussianProcess(np.where(np.arange(9) == 4, np.log(1e-2), Hyperprior.of(3).mean), GROUPS)
    bottom = learned.conditioned_on(rows).in_a_bowl().process.mean(np.array([0.0, 0.5, 0.5, 0.0]))
    assert float(bottom) / (-2 / 3) == pytest.approx(depth, rel=0.4)


def _searched(seed: int, dimensions: int = 11, trials: int = 24) -> tuple[float, float]:
    """The best score of a search whose optimum lies inside, and the share of coordinates at a bound."""
    rng = np.random.default_rng([seed, dimensions])
    optimum, weights = rng.uniform(0.2, 0.8, dimensions), rng.uniform(0.5, 1.5, dimensions) * 20 / dimensions
    space = Space(**{f"x{place}": linear(0, 1) for place in range(dimensions)})
    ledger = Ledger()
    rounds: list[RoundPlan] = []
    places, best = [], 0.0
    for trial in range(trials):
        proposal = CoarseToFineSampler().propose(space, seed, trial, ledger, rounds)
        rounds += [proposal.opened] if proposal.opened else []
        score = float(np.exp(-weights @ (np.array(proposal.point) - optimum) ** 2))
        best, seen = max(best, score), ((1, score),)
        places.append(proposal.point)
        ledger.put(
            Outcome(trial=trial, point=proposal.point, state="completed", score=score, steps=1, observations=seen)
        )
    drawn = np.array(places[4:])
    return best, float(((drawn < 0.01) | (drawn > 0.99)).mean())


@pytest.mark.parametrize("depth", [-1.0, 0.0, 1.0])
def test_a_bowl_is_counted_on_as_far_as_the_scores_make_it_probable(depth: float) -> None:
    process = GaussianProcess(Hyperprior.of(3).mean, GROUPS)
    deep = GaussianProcess(process.hyperparameters, GROUPS, 1.0)
    rng, features = np.random.default_rng(3), np.random.default_rng(4).random((12, 4))
    bowl = deep.mean(features)
    rows = Rows(features, np.ones(12), np.arange(12), depth * bowl + 0.3 * rng.standard_normal(12))
    known = process.covariance(rows, rows) + np.diag(np.full(12, process._noise + JITTER))
    with_bowl = multivariate_normal(1.0 * bowl, known + 0.7**2 * np.outer(bowl, bowl)).logpdf(rows.value)
    probability = float(1 / (1 + np.exp(multivariate_normal(None, known).logpdf(rows.value) - with_bowl)))
    flat = process.conditioned_on(rows)
    assert flat.in_a_bowl(probability + 1e-6) is flat
    assert flat.in_a_bowl(probability - 1e-6) is not flat


def test_in_many_dimensions_few_settings_lie_at_the_bounds_where_the_best_is_inside() -> None:
    scores, shares = zip(*(_searched(seed) for seed in range(3)), strict=True)
    assert np.mean(shares) < 0.3
    assert np.mean(scores) > 0.45
