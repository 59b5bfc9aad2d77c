"""How the search narrows, and what keeps a wrong zoom from being final."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from tuner.proposals import Outcome, Proposal, RoundPlan
from tuner.samplers import CoarseToFineSampler
from tuner.space import Space, choice, integer, linear, log, log_one_minus

SQUARE = Space(x=linear(0.0, 1.0), y=linear(0.0, 1.0))
FIRST, FINE = 12, 8  # trials in round 0 and in each later one, of two parameters
SAMPLER = CoarseToFineSampler()

Score = Callable[[dict[str, float]], float | None]


def bowl(x: float, y: float) -> Score:
    return lambda params: -((params["x"] - x) ** 2) - (params["y"] - y) ** 2


def outcome(trial: int, space: Space, params: dict[str, object], score: float | None, state: str = "") -> Outcome:
    state = state or ("diverged" if score is None else "completed")
    return Outcome(trial=trial, point=space.to_unit(params), state=state, score=score, steps=1)


def sweep(
    space: Space, score: Score, trials: int, seed: int = 0, rounds: tuple[RoundPlan, ...] = ()
) -> tuple[list[Outcome], list[RoundPlan], list[Proposal]]:
    outcomes: list[Outcome] = []
    plans, proposals = list(rounds), []
    for trial in range(trials):
        proposal = SAMPLER.propose(space, seed, trial, outcomes, plans)
        plans += [proposal.opened] if proposal.opened else []
        params = space.from_unit(proposal.point)
        outcomes.append(outcome(trial, space, params, score(params)))
        proposals.append(proposal)
    return outcomes, plans, proposals


def next_round(space: Space, outcomes: list[Outcome], *before: RoundPlan, seed: int = 0) -> RoundPlan:
    last = before[-1]
    size = 12 if last.round == 0 else 2 * (len(space) + 2)
    opened = SAMPLER.propose(space, seed, last.first_trial + size, outcomes, before).opened
    assert opened is not None
    return opened


def plan(number: int, first_trial: int, **box: tuple[float, float]) -> RoundPlan:
    return RoundPlan(round=number, first_trial=first_trial, box=box, why="set")


def test_round_zero_spreads_evenly_over_the_whole_space() -> None:
    _, rounds, proposals = sweep(SQUARE, bowl(0.3, 0.8), FIRST)
    assert [(r.round, r.first_trial, dict(r.box)) for r in rounds] == [(0, 0, {"x": (0.0, 1.0), "y": (0.0, 1.0)})]
    for axis in (0, 1):  # scrambled Sobol: every quarter gets its share
        assert np.histogram([p.point[axis] for p in proposals], bins=4, range=(0, 1))[0].tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("seed", range(5))
def test_zoom_narrows_on_a_bowl_and_keeps_its_optimum(seed: int) -> None:
    _, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 60, seed)
    assert [r.round for r in rounds] == list(range(7))
    assert [r.first_trial for r in rounds] == [0, 12, 20, 28, 36, 44, 52]
    for name, optimum in (("x", 0.3), ("y", 0.8)):
        low, high = rounds[-1].box[name]
        assert high - low < 0.2
        assert low - 0.02 <= optimum <= high + 0.02


def test_a_box_is_never_below_the_smallest_share_of_the_one_before() -> None:
    _, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 100)
    for before, after in pairwise(rounds):
        for name in SQUARE:
            width, last = (r.box[name][1] - r.box[name][0] for r in (after, before))
            assert width > max(0.4 * last, 0.05) - 1e-5


def test_zoom_widens_when_the_best_trial_sits_on_the_edge() -> None:
    before = plan(1, 12, x=(0.4, 0.6), y=(0.4, 0.6))
    outcomes = [outcome(12 + k, SQUARE, {"x": 0.4 + k * 0.02, "y": 0.5 + k * 0.01}, -k) for k in range(8)]
    opened = next_round(SQUARE, outcomes, before)
    assert opened.box["x"][0] < 0.3  # half of the width further, and the margin
    assert "x is widened downward because the best trial sits at the edge" in opened.why
    assert "y is widened" not in opened.why


def test_a_narrow_box_grows_by_a_good_stride_where_the_best_trial_sits_on_the_edge() -> None:
    before = plan(1, 12, x=(0.4, 0.44), y=(0.4, 0.6))
    outcomes = [outcome(12 + k, SQUARE, {"x": 0.44 - k * 0.002, "y": 0.5}, -k) for k in range(8)]
    assert next_round(SQUARE, outcomes, before).box["x"][1] > 0.53


def test_a_best_trial_at_the_end_of_the_space_is_said() -> None:
    outcomes = [outcome(k, SQUARE, {"x": 1 - k * 0.05, "y": 0.5}, -k) for k in range(12)]
    opened = next_round(SQUARE, outcomes, plan(0, 0))
    assert opened.box["x"][1] == 1.0
    assert "x does best at the upper end of the space: a wider space may hold a better value" in opened.why


@pytest.mark.parametrize("seed", range(5))
def test_a_wrong_first_zoom_is_recovered_from(seed: int) -> None:
    wrong = plan(1, 0, x=(0.8, 0.95), y=(0.05, 0.2))
    outcomes, _, proposals = sweep(SQUARE, bowl(0.2, 0.9), 80, seed, rounds=(wrong,))
    assert sum("global" in proposal.why for proposal in proposals[:8]) >= 1
    best = max(outcomes, key=lambda o: o.score or -9.0)
    assert best.point == pytest.approx((0.2, 0.9), abs=0.1)


def test_one_fifth_of_the_draws_of_a_fine_round_come_from_the_whole_space() -> None:
    rounds = [plan(1, 12, x=(0.4, 0.6), y=(0.1, 0.9))]
    proposals = [SAMPLER.propose(SQUARE, 0, trial, [], rounds) for trial in range(12, 20)]
    everywhere = [p for p in proposals if p.why == "a global draw, so that a wrong zoom is never final"]
    inside = [p for p in proposals if p not in everywhere]
    assert len(everywhere) == 1
    assert all(0.4 <= p.point[0] <= 0.6 and 0.1 <= p.point[1] <= 0.9 for p in inside)


@pytest.mark.parametrize("every", [2, 5])
def test_global_draws_reach_every_part_of_the_space(every: int) -> None:
    narrow = 0.5 if every == 5 else 0.1
    points = []
    for number in range(1, 60):
        rounds = [plan(number, 8 * number, x=(0.1, 0.1 + narrow), y=(0.4, 0.4 + narrow))]
        proposals = [SAMPLER.propose(SQUARE, 0, trial, [], rounds) for trial in range(8 * number, 8 * number + 8)]
        points += [p.point for p in proposals if "global" in p.why]
    assert len(points) == 59 * (8 // every)
    assert len(set(points)) == len(points)
    assert np.histogram2d(*zip(*points, strict=True), bins=4, range=[(0, 1)] * 2)[0].min() >= 1


def test_a_round_without_news_keeps_its_box() -> None:
    before = plan(1, 12, x=(0.4, 0.6), y=(0.4, 0.6))
    old = [outcome(k, SQUARE, {"x": 0.5, "y": k / 12}, -k) for k in range(12)]
    opened = next_round(SQUARE, old, before)
    assert opened.box == before.box
    assert opened.why == "round 2: the box stays as it was: no trial of the round before has ended"


def test_a_round_of_which_half_has_ended_narrows_half_as_far() -> None:
    before = plan(1, 12, x=(0.0, 1.0), y=(0.0, 1.0))
    half = [outcome(12 + k, SQUARE, {"x": 0.5 + 0.01 * k, "y": 0.5}, -k) for k in range(4)]
    opened = next_round(SQUARE, half, before)
    assert opened.box["x"][1] - opened.box["x"][0] == pytest.approx(0.7)


def test_trials_that_all_diverge_leave_the_whole_space() -> None:
    _, rounds, proposals = sweep(SQUARE, lambda _: None, 40)
    assert all(set(r.box.values()) == {(0.0, 1.0)} for r in rounds)
    assert "0 of 12 trials have a score" in rounds[1].why
    assert len({p.point for p in proposals}) == 40


def test_a_stretch_where_most_trials_diverged_is_left_out() -> None:
    space = Space(learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.9, 0.999))

    def score(params: dict[str, float]) -> float | None:
        return None if params["learning_rate"] > 0.03 else params["learning_rate"]

    outcomes, rounds, _ = sweep(space, score, 60)
    opened = rounds[2]
    assert "learning_rate" in opened.why
    assert "is left out because most trials there diverged or failed" in " ".join(r.why for r in rounds)
    cliff = space["learning_rate"].to_unit(0.03)
    assert rounds[-1].box["learning_rate"][1] < cliff + 0.1
    late = [o.state for o in outcomes[30:]]
    assert late.count("diverged") < len(late) / 2


def test_a_diverged_trial_is_never_promising_however_good_its_score_was() -> None:
    good = [outcome(k, SQUARE, {"x": 0.2, "y": k / 12}, 1.0) for k in range(6)]
    gone = [outcome(6 + k, SQUARE, {"x": 0.9, "y": k / 12}, 9.0, "diverged") for k in range(6)]
    opened = next_round(SQUARE, good + gone, plan(0, 0))
    assert opened.box["x"][1] < 0.7


def test_a_pruned_trial_stands_above_a_completed_one_only_where_it_has_beaten_it() -> None:
    completed = [outcome(k, SQUARE, {"x": 0.2, "y": k / 12}, 0.8) for k in range(3)]
    pruned = [outcome(3 + k, SQUARE, {"x": 0.9, "y": k / 12}, 0.3, "pruned") for k in range(9)]
    assert next_round(SQUARE, completed + pruned, plan(0, 0)).box["x"][1] < 0.7
    ahead = [outcome(3 + k, SQUARE, {"x": 0.9, "y": k / 12}, 0.9, "pruned") for k in range(9)]
    assert next_round(SQUARE, completed + ahead, plan(0, 0)).box["x"][0] > 0.4


def test_a_box_set_by_a_person_holds_for_one_round_and_the_search_goes_on_from_it() -> None:
    outcomes, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 25)
    rounds.append(plan(3, 25, x=(0.7, 0.8)))
    for trial in range(25, 33):
        proposal = SAMPLER.propose(SQUARE, 0, trial, outcomes, rounds)
        assert (proposal.round, proposal.opened) == (3, None)
        assert 0.7 <= proposal.point[0] <= 0.8 or "global" in proposal.why
    after = SAMPLER.propose(SQUARE, 0, 33, outcomes, rounds)
    assert after.opened is not None
    assert (after.opened.round, after.opened.first_trial) == (4, 33)


def test_rounds_follow_from_the_trials_number_in_whatever_order_they_are_asked_for() -> None:
    outcomes, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 36)
    asked = {t: SAMPLER.propose(SQUARE, 0, t, outcomes, rounds) for t in (35, 3, 20, 12, 27)}
    assert {t: p.round for t, p in asked.items()} == {35: 3, 3: 0, 20: 2, 12: 1, 27: 2}
    assert all(p.opened is None for p in asked.values())


def test_within_a_round_draws_do_not_depend_on_outcomes() -> None:
    outcomes, rounds, proposals = sweep(SQUARE, bowl(0.3, 0.8), 30)
    for trial in range(30):
        known = [r for r in rounds if r.first_trial <= trial]
        assert SAMPLER.propose(SQUARE, 0, trial, outcomes[::-1], known).point == proposals[trial].point


def test_options_nobody_promising_has_are_given_up_once_tried() -> None:
    space = Space(x=linear(0.0, 1.0), kind=choice("a", "b", "c"))
    outcomes = [outcome(k, space, {"x": k / 12, "kind": "abc"[k % 3]}, -float(k % 3)) for k in range(12)]
    opened = next_round(space, outcomes, plan(0, 0))
    assert opened.box["kind"] == (0.0, 1 / 3)
    assert "kind a" in opened.why
    hardly = [o for o in outcomes if o.trial not in (2, 5)]
    assert next_round(space, hardly, plan(0, 0)).box["kind"] == (0.0, 1.0)


def test_a_parameter_that_hardly_any_promising_trial_has_keeps_its_range() -> None:
    space = Space(kind=choice("plain", "odd"), width=linear(0.0, 1.0, when={"kind": "odd"}), x=linear(0.0, 1.0))
    plain = [outcome(k, space, {"kind": "plain", "x": k / 12}, 1.0) for k in range(8)]
    odd = [outcome(8 + k, space, {"kind": "odd", "width": 0.5, "x": 0.5}, 0.0) for k in range(4)]
    opened = next_round(space, plain + odd, plan(0, 0))
    assert opened.box["width"] == (0.0, 1.0)


def test_a_whole_numbers_interval_is_no_narrower_than_one_number() -> None:
    space = Space(layers=integer(2, 4), x=linear(0.0, 1.0))
    _, rounds, _ = sweep(space, lambda params: -abs(params["layers"] - 3) - params["x"], 60)
    low, high = rounds[-1].box["layers"]
    assert high - low >= 1 / 3 - 1e-5


def test_reasons_speak_in_values() -> None:
    space = Space(learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.9, 0.999))
    outcomes = [
        outcome(k, space, {"learning_rate": 10 ** -(1 + k / 10), "beta": 1 - 10 ** -(2 + k / 20)}, -k)
        for k in range(12)
    ]
    opened = next_round(space, outcomes, plan(0, 0))
    expected = "round 1: the best 3 of 12 trials have learning_rate 0.0631 to 0.1 and beta 0.990 to 0.992"
    assert opened.why.startswith(expected)


def test_a_proposal_is_quick_with_ten_thousand_outcomes() -> None:
    space = Space(**{f"x{k}": linear(0.0, 1.0) for k in range(6)})
    rng = np.random.default_rng(0)
    outcomes = [
        Outcome(trial=k, point=tuple(row), state="completed", score=-row[0], steps=1)
        for k, row in enumerate(rng.random((10_000, 6)).tolist())
    ]
    started = time.perf_counter()
    opened = SAMPLER.propose(space, 0, 10_000, outcomes, []).opened
    opening = time.perf_counter() - started
    assert opened is not None
    inside = SAMPLER.propose(space, 0, 10_001, outcomes, [opened])
    assert inside.opened is None
    assert opening < 0.1  # 11 ms on the machine this was written on
