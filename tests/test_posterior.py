from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuner
from tuner import Run, Space, linear
from tuner.policy.proposals import Outcome
from tuner.record.events import Goal
from tuner.surrogate.ledger import Ledger
from tuner.surrogate.posterior import Posterior

SPACE = Space(x=linear(0.0, 1.0), y=linear(0.0, 1.0))
_SCORE = re.compile(r"(above|below|being|with|:) (-?[0-9.]+(?:e-?\d+)?)(?= ±|,|;|$)")


class Count:
    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


def searched(results: Path, goal: Goal, stopping: str) -> tuner.Study:
    """A positive loss to be minimised, or the same with its sign turned to be maximised."""

    def training(run: Run) -> None:
        count = Count()
        run.state(count)
        for step in run.steps(16):
            count.steps += 1
            value = 0.05 + (run.params["x"] - 0.3) ** 2 + run.params["y"] / (step + 2)
            run.report(value=value if goal == "minimize" else -value)

    return tuner.sweep(
        training,
        SPACE,
        name=goal,
        objective="value",
        goal=goal,
        trials=30,
        stopping=stopping,
        executor="local",
        clock="virtual",
        progress="off",
        results=results,
    )


def whys(study: tuner.Study) -> list[str]:
    told = [study.trials["why"], study.segments["why"], study.rounds.drop_duplicates("round")["why"]]
    return [str(why) for series in told for why in series]


def mirrored(why: str) -> str:
    """What a sentence says of the same scores with their signs turned."""
    turned = {"above": "below", "below": "above"}

    def turn(match: re.Match[str]) -> str:
        return f"{turned.get(match[1], match[1])} {0.0 - float(match[2]):.10g}"

    compared = re.sub("(above|below)(?= what)", lambda match: turned[match[1]], why)
    return _SCORE.sub(turn, compared)


@pytest.mark.parametrize("stopping", ["auto", "asha"])
def test_a_search_for_the_least_decides_as_its_mirror_image_does_and_says_it_the_other_way_round(
    tmp_path: Path, stopping: str
) -> None:
    least, most = (searched(tmp_path, goal, stopping) for goal in ("minimize", "maximize"))
    columns = ["state", "steps", "params.x", "params.y"]
    assert least.trials[columns].equals(most.trials[columns])
    said, mirror = whys(least), whys(most)
    assert any("may still end below 0.0" in why or "itself below 0.0" in why for why in said)
    if stopping == "auto":
        assert any("the best so far being 0.0" in why for why in said)
        assert not [why for why in said if "-0." in why]
        assert [mirrored(why) for why in said] == mirror


@given(
    scores=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=12),
    mean=st.floats(-9.0, 9.0),
    deviation=st.floats(1e-3, 9.0),
    minimize=st.booleans(),
)
def test_no_score_is_named_that_lies_beyond_those_that_were_seen(
    scores: list[float], mean: float, deviation: float, *, minimize: bool
) -> None:
    posterior = looking(scores, "minimize" if minimize else "maximize")
    seen = [float(f"{score:.4g}") for score in scores]
    for sentence in (posterior.expected(mean, deviation), f"it may end {posterior.still_possible()}"):
        named = [float(match[2]) for match in _SCORE.finditer(f": {sentence}")]
        assert named
        assert all(min(seen) - 1e-9 <= number <= max(seen) + 1e-9 for number in named), sentence


def looking(scores: list[float], goal: Goal) -> Posterior:
    sign = 1.0 if goal == "maximize" else -1.0
    more: dict[str, Any] = {"state": "completed", "steps": 4}
    outcomes = [
        Outcome(
            trial=place, point=(place / len(scores), 0.5), score=sign * score, observations=((4, sign * score),), **more
        )
        for place, score in enumerate(scores)
    ]
    surrogate = Ledger(outcomes, goal).surrogate(SPACE)
    return surrogate.posterior(surrogate.fit(None))


def test_what_is_expected_below_the_worst_score_is_named_by_that() -> None:
    posterior = looking([0.0, 0.0, 1.0], "maximize")
    assert "nothing better than the worst" in posterior.expected(-1.0, 1.0)


@pytest.mark.parametrize(("best", "told"), [(0.99998, "0.99998"), (1.0, "1"), (0.98518518, "0.9852")])
def test_rounding_makes_no_perfect_score_of_one_that_was_not(best: float, told: str) -> None:
    posterior = looking([0.5, 0.4, best], "maximize")
    assert posterior.format_score(posterior.best) == told


def known_of(seed: int, trials: int, horizon: int = 8) -> list[Outcome]:
    """Runs of all lengths with noisy scores."""
    rng = np.random.default_rng(seed)
    outcomes = []
    for trial in range(trials):
        x, y = rng.random(2)
        steps = int(rng.choice([1, 2, 4, horizon]))
        seen = tuple((step, float(-((x - 0.3) ** 2) - y / step + 0.01 * rng.standard_normal())) for step in (1, steps))
        outcomes.append(
            Outcome(
                trial=trial,
                point=(float(x), float(y)),
                state="completed" if steps == horizon else "paused",
                score=max(score for _, score in seen),
                steps=steps,
                planned=horizon,
                observations=seen[-1:] if steps == 1 else seen,
            )
        )
    return outcomes


def drawn(trial: int, x: float, y: float) -> Outcome:
    return Outcome(trial=trial, point=(x, y), state="waiting", score=None, steps=0)


@given(seed=st.integers(0, 1000), drawn_together=st.integers(1, 12), trials=st.integers(2, 40))
def test_what_is_drawn_one_after_another_is_believed_as_if_it_had_been_drawn_at_once(
    seed: int, drawn_together: int, trials: int
) -> None:
    rng = np.random.default_rng(seed)
    outcomes = known_of(seed, trials)
    waiting = [drawn(trials + turn, *rng.random(2).tolist()) for turn in range(drawn_together)]
    points, length = rng.random((20, 2)), rng.uniform(0.2, 2.0)
    hyperparameters = np.log([length, length, 1.0, 1.0, 0.5, 0.01, 1e-3, 1.0]).tolist()
    grown = Ledger(outcomes)
    step_by_step = grown.surrogate(SPACE).posterior(hyperparameters)
    candidates = step_by_step.candidates("some", lambda: points)
    for each in waiting:
        grown.put(each)
        assert grown.surrogate(SPACE).posterior(hyperparameters) is step_by_step
    at_once = Ledger([*outcomes, *waiting]).surrogate(SPACE).posterior(hyperparameters)
    mean, deviation = at_once.of_points(points)
    for found in (step_by_step.of_points(points), candidates.worth):
        assert found[0] == pytest.approx(mean, abs=1e-6)
        assert found[1] == pytest.approx(deviation, rel=1e-4, abs=1e-5)
    assert step_by_step.incumbent == pytest.approx(at_once.incumbent, abs=1e-9)
    assert [leader.trial for leader in step_by_step.leaders] == [leader.trial for leader in at_once.leaders]


@given(seed=st.integers(0, 1000), trials=st.integers(1, 40))
def test_what_known_runs_end_with_is_what_the_whole_posterior_says(seed: int, trials: int) -> None:
    outcomes = known_of(seed, trials)
    posterior = Ledger(outcomes).surrogate(SPACE).posterior(np.log([0.5, 0.5, 1, 1, 0.5, 0.01, 1e-3, 1.0]).tolist())
    mean, _ = posterior.of_runs(outcomes)
    assert posterior.incumbent == pytest.approx(max(posterior.best, mean.max()), abs=1e-6)
    assert mean[posterior.leaders[0].trial] == pytest.approx(mean.max(), abs=1e-6)


def test_what_was_heard_of_a_trial_is_no_mere_expectation_any_more() -> None:
    outcomes, waiting = known_of(0, 12), drawn(12, 0.31, 0.05)
    ledger = Ledger([*outcomes, waiting])
    before = ledger.surrogate(SPACE)
    ledger.put(drawn(13, 0.9, 0.9))
    assert ledger.surrogate(SPACE) is before
    heard = Outcome(trial=12, point=(0.31, 0.05), state="running", score=-9.0, steps=1, observations=((1, -9.0),))
    ledger.put(heard)
    assert ledger.surrogate(SPACE) is not before
    assert heard in ledger.surrogate(SPACE).informative


def test_trials_are_drawn_together_until_one_of_them_is_heard_of() -> None:
    ledger = Ledger([*known_of(0, 5), drawn(5, 0.1, 0.2), drawn(6, 0.3, 0.4)])
    assert [ledger.drawn_together(trial) for trial in (4, 5, 6, 7)] == [4, 5, 5, 5]
    ledger.put(Outcome(trial=5, point=(0.1, 0.2), state="running", score=0.1, steps=1, observations=((1, 0.1),)))
    assert ledger.drawn_together(7) == 6


def test_the_luckiest_run_neither_leads_nor_sets_the_bar() -> None:
    """Many runs of two settings: one of the worse settings had the best score of all."""
    points = {"better": (0.9, 0.9), "worse": (0.1, 0.1)}
    scores = {"better": [0.9, 1.0, 1.1, 1.0], "worse": [-1.0, -1.1, 1.5, -0.9, -1.0]}
    outcomes = [
        Outcome(
            trial=10 * place + run,
            point=points[name],
            state="completed",
            score=score,
            steps=1,
            observations=((1, score),),
        )
        for place, name in enumerate(points)
        for run, score in enumerate(scores[name])
    ]
    ledger = Ledger(outcomes)
    surrogate = ledger.surrogate(SPACE)
    names = dict(lengths=[0.0] * len(SPACE), time=[0.0], detail=[0.0], common=[-1.0], noise=[-7.0], slope=[-1.0])
    order = ("lengths", "time", "detail", "common", "luck", "noise", "slope")
    with_luck, without = (
        surrogate.posterior([number for word in order for number in (names | {"luck": [luck]})[word]])
        for luck in (0.0, -7.0)
    )
    assert without.incumbent >= without.best
    assert with_luck.leaders[0].point == points["better"]
    assert with_luck.incumbent < with_luck.best
    assert "without its luck" in with_luck.still_possible()


def test_a_trial_that_the_others_did_not_let_expect_is_found_unless_a_glance_sees_nothing_like_it() -> None:
    numbers = [-1.0, -1.0, 0.0, 0.0, -1.0, -5.0, -7.0, -1.0]

    def ledger(spike: float) -> Ledger:
        scores = [0.1 + 0.01 * (place % 3) for place in range(20)] + [spike]
        points = [(place / 20, (7 * place % 20) / 20) for place in range(20)] + [(0.52, 0.55)]
        return Ledger(
            Outcome(trial=trial, point=point, state="completed", score=score, steps=1, observations=((1, score),))
            for trial, (point, score) in enumerate(zip(points, scores, strict=True))
        )

    spiky, flat = ledger(0.9).surrogate(SPACE), ledger(0.11).surrogate(SPACE)
    glance = spiky.posterior([numbers[0] + 0.2, *numbers[1:]])
    found = spiky.hill(numbers, glance)
    assert found is not None
    assert found[0].trial == 20
    assert flat.hill(numbers, flat.posterior(numbers)) is None
    assert ledger(0.9).surrogate(SPACE).hill(numbers, flat.posterior(numbers)) is None
