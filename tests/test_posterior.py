from __future__ import annotations

import re
from pathlib import Path
from typing import Any

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
_SCORE = re.compile(r"(above|below|being|:) (-?[0-9.]+(?:e-?\d+)?)(?= ±|,|;|$)")


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

    return _SCORE.sub(turn, why)


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
