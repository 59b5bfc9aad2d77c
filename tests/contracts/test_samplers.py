"""What every sampler guarantees, as a proposer and as an Optuna sampler."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import optuna
import pytest
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from tuner import samplers
from tuner.errors import SettingsError
from tuner.policy.proposals import Outcome, Proposal, RoundPlan
from tuner.record.events import TrialState
from tuner.samplers.base import UnitCubeSampler
from tuner.space.constructors import choice, integer, linear, log, log_one_minus
from tuner.space.space import Space

NAMES = tuple(samplers._NAMES)
NUMBERS = Space(learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.9, 0.999), dropout=linear(0.0, 0.5))
MIXED = Space(
    learning_rate=log(1e-4, 1.0),
    layers=integer(2, 4),
    decay=choice("none", "exponential", "staircase"),
    decay_rate=log_one_minus(0.9, 0.99, when={"decay": "exponential"}),
    decay_every=integer(2, 20, scale="log", when={"decay": "staircase"}),
)


@pytest.fixture(params=NAMES)
def sampler(request: pytest.FixtureRequest) -> UnitCubeSampler:
    return samplers.by_name(request.param)


def play(
    sampler: UnitCubeSampler,
    space: Space,
    score: Callable[[dict[str, float]], float | None],
    trials: int,
    workers: int = 1,
    seed: int = 0,
) -> tuple[list[Proposal], list[Outcome], list[RoundPlan]]:
    """A sweep without a coordinator; with several workers the trials that began last end first."""
    proposals: list[Proposal] = []
    outcomes: list[Outcome] = []
    rounds: list[RoundPlan] = []
    for trial in range(trials):
        proposal = sampler.propose(space, seed, trial, outcomes, rounds)
        if proposal is None:
            break
        rounds += [proposal.opened] if proposal.opened else []
        proposals.append(proposal)
        if len(proposals) - len(outcomes) == workers or trial == trials - 1:
            running = reversed(range(len(outcomes), len(proposals)))
            outcomes += [ended(space, number, proposals[number], score) for number in running]
    return proposals, outcomes, rounds


def ended(space: Space, trial: int, proposal: Proposal, score: Callable[[dict[str, float]], float | None]) -> Outcome:
    params = space.from_unit(proposal.point)
    value = score(params)
    state: TrialState = "diverged" if value is None else "completed"
    return Outcome(trial=trial, point=space.to_unit(params), state=state, score=value, steps=1, round=proposal.round)


def proposed(sampler: UnitCubeSampler, space: Space, seed: int, trial: int) -> Proposal:
    proposal = sampler.propose(space, seed, trial, [], [])
    assert proposal is not None
    return proposal


def test_the_same_arguments_give_the_same_proposal(sampler: UnitCubeSampler) -> None:
    _, outcomes, rounds = play(sampler, NUMBERS, lambda params: -params["dropout"], 40)
    again = samplers.by_name(NAMES[0]) if sampler.adaptive else sampler
    for trial in (0, 5, 17, 40):
        one = sampler.propose(NUMBERS, 3, trial, outcomes, rounds)
        assert one == again.propose(NUMBERS, 3, trial, list(outcomes), list(rounds))


def test_seeds_differ(sampler: UnitCubeSampler) -> None:
    drawn = {tuple(proposed(sampler, NUMBERS, seed, trial).point for trial in range(3)) for seed in range(4)}
    assert len(drawn) == 4


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("space", [NUMBERS, MIXED], ids=["numbers", "mixed"])
def test_points_lie_in_the_unit_cube_and_their_settings_fit_the_space(
    sampler: UnitCubeSampler, space: Space, workers: int
) -> None:
    proposals, _, _ = play(sampler, space, lambda params: params["learning_rate"], 60, workers)
    assert len(proposals) == 60
    for proposal in proposals:
        assert len(proposal.point) == len(space)
        assert all(type(u) is float and 0.0 <= u <= 1.0 for u in proposal.point)
        space.check(space.from_unit(proposal.point))
        assert proposal.why


def test_parallel_trials_are_never_the_same_settings(sampler: UnitCubeSampler) -> None:
    proposals, _, _ = play(sampler, NUMBERS, lambda params: -params["dropout"], 100, workers=16)
    assert len({proposal.point for proposal in proposals}) == 100


@pytest.mark.parametrize("name", ["random", "sobol", "grid"])
def test_draws_that_look_at_no_outcome_do_not_depend_on_the_order_of_completion(name: str) -> None:
    sampler = samplers.by_name(name)
    assert not sampler.adaptive
    alone = [sampler.propose(NUMBERS, 0, trial, [], []) for trial in reversed(range(30))]
    proposals, _, _ = play(sampler, NUMBERS, lambda params: params["dropout"], 30, workers=7)
    assert proposals == alone[::-1]


@pytest.mark.parametrize("name", ["random", "sobol", "coarse_to_fine"])
def test_half_of_the_draws_of_beta_lie_above_its_middle_decade(name: str) -> None:
    space = Space(beta=log_one_minus(0.9, 0.999))
    points = [proposed(samplers.by_name(name), space, 0, trial) for trial in range(1000)]
    share = sum(space.from_unit(proposal.point)["beta"] > 0.99 for proposal in points) / 1000
    assert share == pytest.approx(0.5, abs=0.05)


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match="Did you mean sobol"):
        samplers.by_name("sobel")


@pytest.mark.parametrize("seed", [-1, 1.5, True, None])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(SettingsError, match="seed must be a whole number"):
        samplers.RandomSampler(seed)


def test_every_public_name_is_there() -> None:
    assert all(getattr(samplers, name) for name in samplers.__all__)
    assert set(samplers.__all__) <= set(dir(samplers))


# ── in any Optuna study ─────────────────────────────────────────────────────────────────────────


@pytest.fixture(autouse=True, scope="module")
def quiet_optuna() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


class TestRandomInOptuna(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], optuna.samplers.BaseSampler]:
        return samplers.RandomSampler


class TestSobolInOptuna(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], optuna.samplers.BaseSampler]:
        return samplers.SobolSampler


class TestGridInOptuna(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], optuna.samplers.BaseSampler]:
        return samplers.GridSampler


class TestCoarseToFineInOptuna(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], optuna.samplers.BaseSampler]:
        return samplers.CoarseToFineSampler


def settings_asked_for(sampler: optuna.samplers.BaseSampler, order: Sequence[int]) -> list[dict[str, float]]:
    study = optuna.create_study(sampler=sampler)
    study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), 0.0)
    trials = [study.ask() for _ in order]
    found = [{"x": trial.suggest_float("x", 0, 1)} for trial in trials]
    for index in order:
        study.tell(trials[index], found[index]["x"])
    last = study.ask()
    return [*found, {"x": last.suggest_float("x", 0, 1)}]


@pytest.mark.parametrize("name", NAMES)
def test_in_optuna_draws_do_not_depend_on_the_order_of_completion(name: str) -> None:
    forward = settings_asked_for(samplers.by_name(name), range(8))
    backward = settings_asked_for(samplers.by_name(name), range(7, -1, -1))
    assert forward == backward


class Onlooker(UnitCubeSampler):
    """Proposes the middle, opens a round every other trial, and remembers what it was shown."""

    def propose(
        self,
        space: Space,
        seed: int,  # the contract's
        trial: int,
        outcomes: Sequence[Outcome],
        rounds: Sequence[RoundPlan],
    ) -> Proposal:
        self.outcomes, self.rounds = list(outcomes), list(rounds)
        box = dict.fromkeys(space, (0.0, 0.5))
        opened = RoundPlan(round=trial, first_trial=trial, box=box, why="turn") if trial % 2 else None
        return Proposal(point=(0.5,) * len(space), why="the middle", opened=opened)


def study_of(sampler: UnitCubeSampler, direction: Literal["minimize", "maximize"] = "minimize") -> optuna.Study:
    study = optuna.create_study(sampler=sampler, direction=direction)
    study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 10)}), 1.0)
    return study


def test_in_optuna_each_end_of_a_trial_is_told_for_what_it_is() -> None:
    onlooker = Onlooker()
    study = study_of(onlooker)
    ends = [2.5, math.inf, math.nan]
    study.optimize(lambda trial: trial.suggest_float("x", 0, 10) * 0 + ends[trial.number - 1], n_trials=3)
    pruned = study.ask()
    pruned.suggest_float("x", 0, 10)
    pruned.report(4.0, step=7)
    study.tell(pruned, state=optuna.trial.TrialState.PRUNED)
    study.ask().suggest_float("x", 0, 10)
    seen = [(outcome.state, outcome.score, outcome.steps) for outcome in onlooker.outcomes[1:]]
    assert seen == [("completed", -2.5, 1), ("diverged", None, 1), ("failed", None, 1), ("pruned", -4.0, 7)]
    assert all(outcome.point == (0.5,) for outcome in onlooker.outcomes[1:])


def test_in_optuna_scores_of_a_maximized_study_keep_their_sign() -> None:
    onlooker = Onlooker()
    study_of(onlooker, "maximize").ask().suggest_float("x", 0, 10)
    assert [outcome.score for outcome in onlooker.outcomes] == [1.0]


def test_in_optuna_settings_outside_of_a_changed_range_are_not_shown_and_its_rounds_forgotten() -> None:
    onlooker = Onlooker()
    study = study_of(onlooker)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 10), n_trials=4)
    study.ask().suggest_float("x", 0, 10)
    assert [plan.round for plan in onlooker.rounds] == [1, 3]
    assert onlooker.rounds[0].box == {"x": (0.0, 0.5)}
    study.ask().suggest_float("x", 6, 26)
    study.ask().suggest_float("x", 6, 26)
    assert all(0 <= outcome.point[0] <= 1 for outcome in onlooker.outcomes)
    assert len(onlooker.outcomes) < 2  # all but the first, drawn evenly, lay at 5
    assert onlooker.rounds == []


def test_in_optuna_names_that_python_would_not_take_stay_apart() -> None:
    onlooker = Onlooker()
    study = optuna.create_study(sampler=onlooker)
    for _ in range(3):
        trial = study.ask()
        assert trial.suggest_float("a-b", 0, 1) >= 0
        assert trial.suggest_float("a_b", 2, 4) >= 2
        assert trial.suggest_categorical("class", ["x", "y"]) in ("x", "y")
        study.tell(trial, 0.0)
    assert trial.params == {"a-b": 0.5, "a_b": 3.0, "class": "y"}


def test_in_optuna_conditional_parameters_are_drawn_jointly_and_zoomed() -> None:
    def objective(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("kind", ["left", "right"]) == "left":
            return 1 + trial.suggest_float("a-b", -1, 1) ** 2
        return (math.log10(trial.suggest_float("c", 1e-4, 1, log=True)) + 2) ** 2 / 4

    study = optuna.create_study(sampler=samplers.CoarseToFineSampler())
    study.optimize(objective, n_trials=60)
    late = [trial.params["c"] for trial in study.trials[40:] if "c" in trial.params]
    assert len(late) > 5
    assert sum(abs(math.log10(c / 0.01)) < 1 for c in late) / len(late) > 0.6


def test_in_optuna_a_range_may_change_and_the_search_goes_on_in_the_new_one() -> None:
    study = optuna.create_study(sampler=samplers.CoarseToFineSampler())
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 10) - 12) ** 2, n_trials=20)
    study.optimize(lambda trial: (trial.suggest_float("x", 5, 25) - 12) ** 2, n_trials=40)
    assert study.best_params["x"] == pytest.approx(12, abs=0.5)
    after = [trial.params["x"] for trial in study.trials[20:35]]  # before little improvement is expected any more
    assert sum(abs(x - 12) < 4 for x in after) > len(after) / 2  # evenly drawn, 40 % would be


def test_in_optuna_trials_that_fail_or_end_in_infinity_are_left_out() -> None:
    def objective(trial: optuna.Trial) -> float:
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        if x > 0.7:
            return math.nan if y > 0.5 else -math.inf
        if trial.number % 3 == 0:
            trial.report(-x, 1)
            raise optuna.TrialPruned
        return -x

    study = optuna.create_study(sampler=samplers.CoarseToFineSampler())
    study.optimize(objective, n_trials=70)
    late = [trial.params["x"] for trial in study.trials[45:]]
    assert sum(x > 0.8 for x in late) / len(late) < 0.25  # half of them, were the -inf taken for a score


def test_in_optuna_a_grid_begins_again_once_it_is_done() -> None:
    study = optuna.create_study(sampler=samplers.GridSampler(points=3))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=7)
    found = [trial.params["x"] for trial in study.trials[1:]]
    assert sorted(found) == [0, 0, 0.5, 0.5, 1, 1]


def test_in_optuna_coarse_to_fine_finds_a_better_point_of_a_bowl_than_random_draws() -> None:
    def bowl(trial: optuna.Trial) -> float:
        return (trial.suggest_float("x", 0, 1) - 0.3) ** 2 + (trial.suggest_float("y", 0, 1) - 0.8) ** 2

    def best(sampler: optuna.samplers.BaseSampler) -> float:
        study = optuna.create_study(sampler=sampler)
        study.optimize(bowl, n_trials=50)
        return study.best_value

    pairs = [(best(samplers.CoarseToFineSampler(seed)), best(samplers.RandomSampler(seed))) for seed in range(8)]
    assert sum(zoomed < drawn for zoomed, drawn in pairs) >= 7
