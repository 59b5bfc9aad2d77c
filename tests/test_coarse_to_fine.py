"""How the search narrows, and what keeps a wrong zoom from being final."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tuner.policy.proposals import Outcome, Point, Proposal, RoundPlan
from tuner.record.events import TrialState
from tuner.samplers import CoarseToFineSampler
from tuner.space.constructors import choice, integer, linear, log, log_one_minus
from tuner.space.space import Space
from tuner.surrogate.evidence import QUICK_ROWS
from tuner.surrogate.ledger import Ledger

SQUARE = Space(x=linear(0.0, 1.0), y=linear(0.0, 1.0))
FIRST = 4  # trials of round 0
SAMPLER = CoarseToFineSampler()

Score = Callable[[dict[str, Any]], float | None]


def bowl(x: float, y: float) -> Score:
    return lambda params: -((params["x"] - x) ** 2) - (params["y"] - y) ** 2


def outcome(
    trial: int, space: Space, params: dict[str, Any], score: float | None, state: TrialState | None = None
) -> Outcome:
    state = state or ("diverged" if score is None else "completed")
    observations = () if score is None else ((1, score),)
    return Outcome(
        trial=trial, point=space.to_unit(params), state=state, score=score, steps=1, observations=observations
    )


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


def cells(points: np.ndarray[Any, Any], bins: int) -> np.ndarray[Any, Any]:
    """How many points lie in each cell of the unit square."""
    counts: np.ndarray[Any, Any] = np.histogram2d(points[:, 0], points[:, 1], bins=bins, range=[[0, 1], [0, 1]])[0]
    return counts


def plan(number: int, first_trial: int, **box: tuple[float, float]) -> RoundPlan:
    return RoundPlan(round=number, first_trial=first_trial, box=box, why="set")


def test_round_zero_spreads_evenly_over_the_whole_space() -> None:
    _, rounds, proposals = sweep(SQUARE, bowl(0.3, 0.8), FIRST)
    assert [(r.round, r.first_trial, dict(r.box)) for r in rounds] == [(0, 0, {"x": (0.0, 1.0), "y": (0.0, 1.0)})]
    assert all("whole space" in p.why for p in proposals)
    for axis in (0, 1):  # scrambled Sobol: every quarter gets its share
        assert np.histogram([p.point[axis] for p in proposals], bins=4, range=(0, 1))[0].tolist() == [1, 1, 1, 1]
    assert all(p.at_once for p in proposals)


@pytest.mark.parametrize("seed", range(5))
def test_zoom_narrows_on_a_bowl_and_keeps_its_optimum(seed: int) -> None:
    outcomes, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 40, seed)
    assert [r.round for r in rounds] == list(range(len(rounds)))
    box = rounds[-1].box
    assert box["x"][0] <= 0.3 <= box["x"][1]
    assert box["y"][0] <= 0.8 <= box["y"][1]
    shares = [np.prod([high - low for low, high in r.box.values()]) for r in rounds]
    assert min(shares) < 0.05
    assert max(o.score for o in outcomes if o.score is not None) > -1e-4  # of 40 even draws the best has about -1e-2


def test_a_round_opens_when_a_quarter_more_has_been_seen() -> None:
    outcomes, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 40)
    seen = [2 * r.first_trial for r in rounds[1:]]  # one look a trial for its step, one for its end
    assert [r.memo["looks"] for r in rounds[1:]] == seen
    assert all(after >= 1.25 * before for before, after in pairwise(seen))
    assert SAMPLER.propose(SQUARE, 0, 40, outcomes, rounds).opened is None


def test_where_little_improvement_is_expected_trials_are_even_draws_that_are_weighed_like_others() -> None:
    outcomes, _, proposals = sweep(SQUARE, bowl(0.3, 0.8), 80)
    assert max(o.score for o in outcomes if o.score is not None) > -1e-5
    elsewhere = [p for p in proposals if "nowhere is much improvement to be expected" in p.why]
    assert len(elsewhere) > 20
    assert proposals.index(elsewhere[0]) > 10
    assert not any(p.at_once for p in elsewhere)
    assert cells(np.array([p.point for p in elsewhere]), 2).min() >= 3


def test_a_narrow_better_place_is_found_though_a_broad_one_draws_the_search() -> None:
    def score(params: dict[str, float]) -> float:
        broad = 0.6 - ((params["x"] - 0.25) ** 2 + (params["y"] - 0.25) ** 2) / 0.64
        return max(broad, 1.0 - ((params["x"] - 0.8) ** 2 + (params["y"] - 0.75) ** 2) / 0.02)

    outcomes, _, _ = sweep(SQUARE, score, 100)
    assert max(o.score for o in outcomes if o.score is not None) > 0.9


@pytest.mark.parametrize("seed", [5, 6])
def test_a_trial_better_than_all_others_let_expect_is_followed_uphill_though_it_is_not_the_best(seed: int) -> None:
    def score(params: dict[str, float]) -> float:
        broad = 0.6 - ((params["x"] - 0.86) ** 2 + (params["y"] - 0.24) ** 2) / 0.64
        return max(broad, 1.0 - ((params["x"] - 0.2) / 0.13) ** 2 - ((params["y"] - 0.8) / 0.13) ** 2)

    outcomes, _, proposals = sweep(SQUARE, score, 100, seed)
    beside = next(p for p in proposals if "better than all the others let expect" in p.why)
    named = int(re.findall(r"beside trial (\d+)", beside.why)[0])
    assert (outcomes[named].score or 0.0) < 0.6
    assert max(each.score or 0.0 for each in outcomes) > 0.9


def test_a_proposal_lies_where_the_record_can_have_it() -> None:
    space = Space(layers=integer(1, 5), batch=choice(32, 64, 128), rate=log(1e-4, 1.0))
    _, _, proposals = sweep(space, lambda p: -abs(p["layers"] - 2.2) - abs(math.log10(p["rate"]) + 2), 30)
    learned = [p.point for p in proposals if "the largest expected improvement" in p.why]
    assert len(learned) > 5
    for point in learned:
        assert space.to_unit(space.from_unit(point)) == pytest.approx(point, abs=1e-12)


def test_a_box_widens_again_where_what_was_believed_turns_out_wrong() -> None:
    first, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 40)
    assert rounds[-1].box["x"][1] < 0.6
    better = [outcome(40 + k, SQUARE, {"x": 0.9, "y": 0.1 + k / 100}, 1.0 + k) for k in range(9)]
    opened = SAMPLER.propose(SQUARE, 0, 49, first + better, rounds).opened
    assert opened is not None
    assert opened.box["x"][1] > 0.85
    assert "x is widened upward" in opened.why


def test_a_best_trial_at_the_end_of_the_space_is_said() -> None:
    _, rounds, _ = sweep(SQUARE, lambda params: params["x"] - (params["y"] - 0.5) ** 2, 20)
    told = [r.why for r in rounds if "x does best at the upper end of the space: a wider space may" in r.why]
    assert 1 <= len(told) < len(rounds) - 2  # when it begins, not again and again
    assert not any("y does best" in r.why for r in rounds)


@pytest.mark.parametrize("seed", range(5))
def test_a_wrong_first_zoom_is_recovered_from(seed: int) -> None:
    wrong = plan(1, 0, x=(0.8, 0.95), y=(0.05, 0.2))
    outcomes, _, _ = sweep(SQUARE, bowl(0.2, 0.9), 60, seed, rounds=(wrong,))
    best = max(outcomes, key=lambda o: o.score or -9.0)
    assert best.point == pytest.approx((0.2, 0.9), abs=0.02)


def test_every_sixth_trial_is_an_even_draw_from_the_whole_space_whatever_is_expected_elsewhere() -> None:
    _, _, proposals = sweep(SQUARE, bowl(0.3, 0.8), 240)
    everywhere = [p for p in proposals[6:] if "so that a wrong zoom is never final" in p.why]
    assert everywhere == proposals[11::6]
    assert all(p.at_once for p in everywhere)
    points = [p.point for p in everywhere]
    assert cells(np.array(points), 3).min() >= 1


def test_trials_that_all_diverge_leave_the_whole_space() -> None:
    _, rounds, proposals = sweep(SQUARE, lambda _: None, 40)
    assert [r.round for r in rounds] == [0]
    assert len({p.point for p in proposals}) == 40


def test_a_stretch_where_trials_diverge_is_left_alone_up_to_its_edge() -> None:
    space = Space(learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.9, 0.999))

    def score(params: dict[str, float]) -> float | None:
        return None if params["learning_rate"] > 0.03 else params["learning_rate"]

    outcomes, rounds, _ = sweep(space, score, 60)
    assert min(r.box["learning_rate"][1] for r in rounds) < space["learning_rate"].to_unit(0.03) + 0.1
    assert [o.state for o in outcomes[30:]].count("diverged") < 10
    assert max(o.score for o in outcomes if o.score is not None) > 0.025


def test_a_diverged_trial_is_never_expected_to_win_however_good_its_score_was() -> None:
    good = [outcome(k, SQUARE, {"x": 0.2 + k / 100, "y": k / 12}, 1.0 + k / 9) for k in range(6)]
    gone = [outcome(6 + k, SQUARE, {"x": 0.9, "y": k / 12}, 9.0, "diverged") for k in range(6)]
    for trial in (12, 13, 14):
        proposal = SAMPLER.propose(SQUARE, 0, trial, good + gone, [plan(0, 0)])
        assert proposal.point[0] < 0.75


def test_a_run_that_is_behind_but_has_trained_less_is_compared_at_the_end() -> None:
    def curve(trial: int, x: float, steps: int) -> Outcome:
        rate = 0.2 + 0.6 * x  # the further right, the better a run ends, and the slower it starts
        observations = tuple((step, rate * step / 64 + 0.15 * (1 - x)) for step in (4, 16, 64) if step <= steps)
        return Outcome(
            trial=trial,
            point=(x, 0.5),
            state="running" if steps < 64 else "completed",
            planned=64,
            score=observations[-1][1],
            steps=steps,
            observations=observations,
        )

    ended = [curve(k, x, 64) for k, x in enumerate((0.1, 0.3, 0.5, 0.7))]
    behind = [curve(4 + k, x, 16) for k, x in enumerate((0.2, 0.9))]
    surrogate = Ledger(ended + behind).surrogate(SQUARE)
    (low, high), _ = surrogate.posterior(surrogate.fit(None)).of_runs(behind)
    assert behind[0].score is not None
    assert behind[1].score is not None
    assert abs(behind[0].score - behind[1].score) < 0.03  # hardly apart so far
    assert high - low > 1.0  # standard deviations of all scores


def test_settings_of_trials_that_train_at_once_do_not_crowd() -> None:
    outcomes, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 6)
    points = [o.point for o in outcomes]
    for trial in range(6, 14):
        proposal = SAMPLER.propose(SQUARE, 0, trial, outcomes, rounds)
        rounds += [proposal.opened] if proposal.opened else []
        assert min(np.hypot(*np.subtract(proposal.point, point)) for point in points) > 1e-4
        points.append(proposal.point)
        outcomes.append(Outcome(trial=trial, point=proposal.point, state="running", score=None, steps=0))


def test_a_box_set_by_a_person_holds_for_ten_trials_and_the_search_goes_on_from_it() -> None:
    outcomes, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 25)
    rounds.append(plan(rounds[-1].round + 1, 25, x=(0.7, 0.8)))
    for trial in range(25, 35):
        proposal = SAMPLER.propose(SQUARE, 0, trial, outcomes, rounds)
        assert (proposal.round, proposal.opened) == (rounds[-1].round, None)
        assert 0.7 <= proposal.point[0] <= 0.8 or "whole space" in proposal.why
    after = SAMPLER.propose(SQUARE, 0, 35, outcomes, rounds)
    assert after.opened is not None
    assert (after.opened.round, after.opened.first_trial) == (rounds[-1].round + 1, 35)


def test_what_is_proposed_does_not_depend_on_the_order_in_which_trials_ended() -> None:
    outcomes, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 30)
    one, other = (SAMPLER.propose(SQUARE, 0, 30, each, rounds) for each in (outcomes, outcomes[::-1]))
    assert one == other


@pytest.mark.long
def test_a_ledger_that_grew_entry_by_entry_proposes_what_a_new_one_does() -> None:
    outcomes, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 400)
    grown = Ledger()
    for each in outcomes:
        grown.put(Outcome(trial=each.trial, point=each.point, state="running", score=None, steps=0))
        grown.put(each)
    assert SAMPLER.propose(SQUARE, 0, 400, grown, rounds) == SAMPLER.propose(SQUARE, 0, 400, outcomes, rounds)


@pytest.mark.parametrize("seed", range(3))
def test_draws_that_many_workers_wait_for_share_a_posterior_and_are_those_of_a_ledger_that_is_made_anew(
    seed: int,
) -> None:
    outcomes, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 20, seed)
    grown, many = Ledger(outcomes), list(outcomes)
    points = []
    for trial in range(20, 36):
        proposal = SAMPLER.propose(SQUARE, seed, trial, grown, rounds)
        rounds += [proposal.opened] if proposal.opened else []
        anew = SAMPLER.propose(SQUARE, seed, trial, many, rounds)
        assert anew.point == pytest.approx(proposal.point, abs=1e-9)
        assert anew.why == proposal.why
        points.append(proposal.point)
        many.append(Outcome(trial=trial, point=proposal.point, state="waiting", score=None, steps=0))
        grown.put(many[-1])
    apart = np.linalg.norm(np.array(points)[:, None] - np.array(points), axis=2) + 9 * np.eye(16)
    assert apart.min() > 1e-5
    assert np.median(apart.min(axis=0)) > 1e-3


def test_options_that_nothing_speaks_for_are_given_up() -> None:
    space = Space(x=linear(0.0, 1.0), kind=choice("a", "b", "c"))
    _, rounds, _ = sweep(space, lambda p: -((p["x"] - 0.3) ** 2) - "abc".index(str(p["kind"])), 40)
    assert rounds[-1].box["kind"] == pytest.approx((0.0, 1 / 3))
    assert "kind a" in rounds[-1].why


def test_a_parameter_that_exists_only_at_times_is_searched_where_it_does() -> None:
    space = Space(kind=choice("plain", "odd"), width=linear(0.0, 1.0, when={"kind": "odd"}))
    outcomes, _, _ = sweep(space, lambda p: 1 - (p["width"] - 0.7) ** 2 if p["kind"] == "odd" else 0.0, 40)
    best = max(outcomes, key=lambda o: o.score or 0.0)
    assert best.point[1] == pytest.approx(0.7, abs=0.05)


def test_whole_numbers_are_searched_without_trying_one_twice_while_others_are_left() -> None:
    space = Space(layers=integer(1, 8), x=linear(0.0, 1.0))
    outcomes, _, _ = sweep(space, lambda p: -abs(p["layers"] - 3) - p["x"], 40)
    assert len({o.point for o in outcomes}) == 40
    assert space.from_unit(max(outcomes, key=lambda o: o.score or -9.0).point)["layers"] == 3


def test_reasons_speak_in_values() -> None:
    space = Space(learning_rate=log(1e-4, 1.0), beta=log_one_minus(0.9, 0.999))
    target = space.to_unit({"learning_rate": 0.05, "beta": 0.99})
    _, rounds, proposals = sweep(
        space, lambda p: -sum((a - b) ** 2 for a, b in zip(space.to_unit(p), target, strict=True)), 30
    )
    sides = r"with learning_rate 0\.0\d+ to 0\.\d+ and beta 0\.9\d+ to 0\.99\d"
    assert any(re.search(sides, each.why) for each in rounds)
    told = r"^the largest expected improvement in the box of round \d+: .* is expected, the best so far being "
    assert re.search(told, proposals[-2].why)


def test_a_proposal_after_ten_thousand_outcomes_learns_from_no_more_rows_than_are_quick() -> None:
    space = Space(**{f"x{k}": linear(0.0, 1.0) for k in range(6)})
    rng = np.random.default_rng(0)
    ledger = Ledger(
        Outcome(trial=k, point=tuple(row), state="completed", score=-row[0], steps=1, observations=((1, -row[0]),))
        for k, row in enumerate(rng.random((10_000, 6)).tolist())
    )
    opened = SAMPLER.propose(space, 0, 10_000, ledger, [plan(0, 0)]).opened
    assert opened is not None
    assert SAMPLER.propose(space, 0, 10_002, ledger, [opened]).opened is None
    assert QUICK_ROWS / 2 < len(ledger.surrogate(space).informative) <= QUICK_ROWS


def test_a_box_set_before_anything_is_learned_is_searched_evenly() -> None:
    outcomes, rounds, _ = sweep(SQUARE, bowl(0.3, 0.8), 2)
    rounds.append(plan(1, 2, x=(0.7, 0.8)))
    for trial in range(2, 12):
        proposal = SAMPLER.propose(SQUARE, 0, trial, outcomes, rounds)
        assert 0.7 <= proposal.point[0] <= 0.8
        assert "the box of round 1" in proposal.why
        outcomes.append(outcome(trial, SQUARE, {"x": proposal.point[0], "y": proposal.point[1]}, 0.0))


def needle(
    trials: int, learns: Callable[[int], bool], learns_in: Callable[[Point], bool] | None = None, **most: int
) -> tuple[list[RoundPlan], list[Proposal]]:
    """A search of which few trials learn, or few places: theirs are the scores that rise."""
    space = Space(**{name: linear(0.0, 1.0) for name in "abcdef"})
    ledger = Ledger()
    for name, number in most.items():
        setattr(ledger, name, number)
    rounds: list[RoundPlan] = []
    proposals: list[Proposal] = []
    for trial in range(trials):
        proposal = SAMPLER.propose(space, 0, trial, ledger, rounds)
        rounds += [proposal.opened] if proposal.opened else []
        good = learns(trial) if learns_in is None else learns_in(proposal.point)
        score, rise = (0.9, 0.6) if good else (0.1 + 1e-3 * (trial % 7), 0.0)
        observations = ((1, score - rise), (2, score))
        known = Outcome(
            trial=trial,
            point=proposal.point,
            state="paused",
            score=score,
            steps=2,
            observations=observations,
            planned=50,
            rise=rise,
        )
        ledger.put(known)
        proposals.append(proposal)
    return rounds, proposals


def test_where_hardly_any_settings_learn_many_more_are_tried_briefly_and_the_round_says_so() -> None:
    rounds, proposals = needle(31, lambda trial: trial in (6, 9, 12))
    assert rounds[1].first_trial == FIRST
    assert "none of 4 settings learns at all: many more are tried briefly" in rounds[1].why
    assert all(proposal.at_once and "even spread" in proposal.why for proposal in proposals[:13])
    assert rounds[2].first_trial == 13
    assert "3 of 13 settings learn at all" in rounds[2].why
    assert sum("the most promising of 16 even draws from the whole space" in each.why for each in proposals[13:]) == 15
    assert sum("a wrong zoom is never final" in proposal.why for proposal in proposals[13:]) == 3


def test_where_settings_that_learn_are_rare_draws_lie_apart_but_not_where_nothing_learns_until_ten_learn() -> None:
    rounds, proposals = needle(40, lambda _: False, learns_in=lambda point: point[0] < 0.2)
    drawn = np.array([each.point for each in proposals if "of 16 even draws" in each.why])
    assert len(drawn) > 7
    assert np.mean(drawn[:, 0] < 0.2) > 0.5
    assert drawn[:, 1:].std(axis=0).min() > 0.15  # 0.29 is even
    assert [bool(plan.memo and plan.memo.get("rare")) for plan in (rounds[2], rounds[-1])] == [True, False]
    assert "the largest expected improvement in the box" in proposals[-1].why


def test_where_most_settings_learn_four_are_enough() -> None:
    rounds, _ = needle(12, lambda trial: trial != 2)
    assert rounds[1].first_trial == FIRST
    assert "learn" not in rounds[1].why


def test_the_look_for_settings_that_learn_takes_no_more_than_a_third_of_the_trials_and_a_quarter_of_the_steps() -> None:
    by_trials, _ = needle(20, lambda _: False, most_trials=33)
    assert by_trials[2].first_trial == 11
    by_steps, _ = needle(20, lambda _: False, most_steps=80)
    assert by_steps[2].first_trial == 10
    by_parameters, _ = needle(20, lambda _: False)
    assert by_parameters[2].first_trial == 14
