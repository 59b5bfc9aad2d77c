from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tuner.caviar.rules import rule_by_name
from tuner.caviar.stopping import Asha, Median, Off
from tuner.errors import SettingsError
from tuner.policy.verdicts import StoppingRule, Verdict
from tuner.record.curve import Curve
from tuner.record.events import Goal, Purpose, SegmentOpened, StudyOpened, TrialCreated, TrialEnded, TrialState
from tuner.record.reports import pack_reports
from tuner.record.state import StudyState
from tuner.worker.divergence import DivergenceAlarm


def a_study(goal: Goal = "maximize") -> StudyState:
    study = StudyState()
    identity = {"objective": "score", "goal": goal}
    study.apply(
        StudyOpened(name="n", kind="sweep", identity=identity, function="f", source_sha256="", version="", at=0)
    )
    return study


def train(study: StudyState, scores: Mapping[int, float] | Sequence[float], purpose: Purpose = "search") -> int:
    """Adds a trial that has reported these scores (at steps 1, 2, … unless told) and trains on."""
    number = len(study.trials)
    study.apply(
        TrialCreated(
            trial=number, purpose=purpose, round=None, parent=None, seed=0, params={}, seen=0, why="", memo=None, at=0
        )
    )
    open_segment(study, number, from_step=0)
    report(study, number, scores)
    return number


def open_segment(study: StudyState, number: int, from_step: int) -> None:
    segments = len(study.trials[number].segments)
    study.apply(
        SegmentOpened(
            trial=number,
            segment=segments,
            parent_segment=segments - 1 if segments else None,
            from_step=from_step,
            checkpoint=None,
            cause="thaw" if segments else "start",
            by="",
            why="",
            params=None,
            at=0,
        )
    )


def report(study: StudyState, number: int, scores: Mapping[int, float] | Sequence[float]) -> None:
    pairs = scores if isinstance(scores, Mapping) else dict(enumerate(scores, start=1))
    if pairs:
        rows = [(step, "score", score, 0.0) for step, score in pairs.items()]
        study.apply(pack_reports(number, len(study.trials[number].segments) - 1, rows))


def end(study: StudyState, number: int, state: TrialState = "completed") -> None:
    trial = study.trials[number]
    study.apply(
        TrialEnded(
            trial=number,
            segment=trial.head.segment,
            state=state,
            why="done",
            step=trial.steps,
            best_step=trial.best_step,
            best_score=trial.best_score,
            started=0,
            seconds=1,
            node="",
            error="",
            traceback="",
            at=1,
        )
    )


def ended(study: StudyState, scores: Mapping[int, float] | Sequence[float], state: TrialState = "completed") -> int:
    number = train(study, scores)
    end(study, number, state)
    return number


def judge(rule: StoppingRule, study: StudyState, number: int) -> Verdict:
    return rule.judge(study, study.trials[number], study.trials[number].steps)


# ── successive halving ──────────────────────────────────────────────────────────────────────────


def test_a_trial_outside_the_best_third_at_its_rung_is_stopped_and_told_why() -> None:
    study = a_study()
    for rank in range(13):
        ended(study, [0.0] * 8 + [rank / 10])
    verdict = judge(Asha(), study, train(study, [0.0] * 8 + [0.15]))
    assert verdict.action == "prune"
    assert verdict.why.startswith("stopped at step 9: 12th of 14")
    assert "0.15, the best 4" in verdict.why


def test_the_best_third_goes_on_to_the_next_rung() -> None:
    study = a_study()
    for rank in range(5):
        ended(study, [0, 0, rank])
    rule = Asha()
    verdict = judge(rule, study, train(study, [0, 0, 3.5]))
    assert (verdict.action, verdict.ask_at) == ("continue", 9)
    assert "2nd of 6" in verdict.why
    assert "3.5, the best 2" in verdict.why


def test_the_first_two_of_three_always_go_on() -> None:
    study, rule = a_study(), Asha()
    verdicts = [judge(rule, study, train(study, [0, 0, score])).action for score in (3, 2, 1)]
    assert verdicts == ["continue", "continue", "prune"]


def test_trials_that_tie_at_the_cut_all_go_on() -> None:
    study, rule = a_study(), Asha()
    assert {judge(rule, study, train(study, [1, 1, 1])).action for _ in range(9)} == {"continue"}


def test_rungs_lie_at_powers_of_the_reduction() -> None:
    rule = Asha(min_steps=2, reduction=4)
    assert [rule.first_ask(step) for step in (0, 2, 7, 8, 32)] == [2, 8, 8, 32, 128]
    assert rule.first_ask() == 2


@pytest.mark.parametrize(("goal", "action"), [("maximize", "continue"), ("minimize", "prune")])
def test_the_best_is_the_least_when_the_goal_is_to_minimize(goal: Goal, action: str) -> None:
    study = a_study(goal)
    for score in (1, 2, 3, 4):
        ended(study, [0, 0, score])
    assert judge(Asha(), study, train(study, [0, 0, 5])).action == action


@pytest.mark.parametrize("rule", [Asha(), Median()])
@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_finite_number_never_survives(rule: StoppingRule, score: float) -> None:
    study = a_study("minimize")
    assert judge(rule, study, train(study, [score] * 3)).action == "prune"


def test_a_nan_among_the_others_counts_as_the_worst() -> None:
    study = a_study()
    for _ in range(5):
        ended(study, [0, 0, math.nan], "diverged")
    assert judge(Asha(), study, train(study, [0, 0, -1e9])).action == "continue"


def test_a_trial_that_skips_the_rung_is_judged_by_its_first_score_beyond_it() -> None:
    study = a_study()
    for score in (5, 6, 7):
        ended(study, {2: 100, 4: score, 6: 100})
    verdict = judge(Asha(), study, train(study, {2: 200, 5: 1}))
    assert verdict.action == "prune"
    assert verdict.why.startswith("stopped at step 5: 4th of 4")


def test_a_trial_without_a_score_from_the_rung_on_goes_on() -> None:
    study = a_study()
    number = train(study, {2: 1.0})
    verdict = Asha().judge(study, study.trials[number], 3)
    assert (verdict.action, verdict.ask_at) == ("continue", 9)
    assert "no score" in verdict.why


def test_a_rival_counts_once_it_has_come_as_far() -> None:
    study = a_study()
    for _ in range(3):
        train(study, [9, 9])
    number = train(study, [0, 0, 1])
    assert judge(Asha(), study, number).action == "continue"
    for rival in range(3):
        report(study, rival, {3: 9})
    assert judge(Asha(), study, number).action == "prune"


def test_confirmations_of_the_winner_do_not_raise_the_bar() -> None:
    study = a_study()
    for _ in range(6):
        end(study, train(study, [9, 9, 9], purpose="confirm"))
        train(study, [9, 9, 9], purpose="confirm")
    assert judge(Asha(), study, train(study, [0, 0, 1])).action == "continue"


def test_a_trial_taken_up_again_counts_with_its_new_score_alone() -> None:
    study, rule = a_study(), Asha()
    again = ended(study, [0, 0, 9, 9])
    for score in (1, 2):
        ended(study, [0, 0, score])
    assert judge(rule, study, train(study, [0, 0, 5])).action == "prune"
    open_segment(study, again, from_step=2)
    assert judge(rule, study, 3).action == "continue"
    report(study, again, {3: 4.0})
    assert judge(rule, study, 3).action == "continue"
    end(study, again)
    assert judge(rule, study, 3).why == judge(Asha(), study, 3).why


scores = st.one_of(st.floats(-5, 5), st.sampled_from([math.nan, math.inf, 0.0, 1.0]))
curves = st.lists(scores, max_size=14)


@example(
    trials=[([0.0] * 3, True, True), ([0.0] * 3, True, False), ([0.0] * 3, False, False)],
    make=lambda: Asha(reduction=2),
    goal="maximize",
)
@given(
    st.lists(st.tuples(curves, st.booleans(), st.booleans()), max_size=14),
    st.sampled_from([lambda: Asha(min_steps=1), lambda: Median(min_trials=2, min_steps=1), lambda: Asha(reduction=2)]),
    st.sampled_from(["maximize", "minimize"]),
)
def test_a_rule_rebuilt_after_a_restart_says_the_same(
    trials: list[tuple[list[float], bool, bool]], make: Callable[[], StoppingRule], goal: Goal
) -> None:
    study, lived = a_study(goal), make()
    for curve, ends, revived in trials:
        number = train(study, curve)
        assert judge(lived, study, number) == judge(make(), study, number)
        if ends:
            end(study, number)
        if ends and revived and len(curve) > 1:
            judge(lived, study, number)
            open_segment(study, number, from_step=1)
            report(study, number, {2: 0.5})
            assert judge(lived, study, number) == judge(make(), study, number)


happenings = st.tuples(
    st.sampled_from(["begin", "report", "end", "go back"]), st.integers(0, 20), st.integers(1, 14), scores
)


@given(
    st.lists(happenings, max_size=60),
    st.sampled_from([lambda: Asha(min_steps=1), lambda: Median(min_trials=2, min_steps=1), lambda: Asha(reduction=2)]),
    st.sampled_from(["maximize", "minimize"]),
)
def test_a_rule_that_has_seen_all_that_happened_says_what_a_new_one_does(
    happened: list[tuple[str, int, int, float]], make: Callable[[], StoppingRule], goal: Goal
) -> None:
    study, lived = a_study(goal), make()
    train(study, [0.0])
    for what, which, step, score in happened:
        number = which % len(study.trials)
        trial = study.trials[number]
        if what == "begin":
            train(study, [score] * step, "confirm" if which == 7 else "search")
        elif what == "end" and not trial.ended:
            end(study, number)
        elif what == "go back":
            open_segment(study, number, from_step=min(step, trial.steps))
        elif not trial.ended:  # also of a step long past
            report(study, number, {step: score})
        assert judge(lived, study, number) == judge(make(), study, number)


@given(st.lists(st.floats(-1, 1, allow_nan=False), min_size=3, max_size=40, unique=True))
def test_at_most_one_in_reduction_of_the_last_comers_is_let_through(marks: list[float]) -> None:
    study, rule = a_study(), Asha(min_steps=1)
    for mark in marks:
        ended(study, [mark])
    going = sum(judge(rule, study, number).action == "continue" for number in range(len(marks)))
    assert going == len(marks) // 3


# ── the median rule ─────────────────────────────────────────────────────────────────────────────


def test_the_median_rule_holds_the_best_score_against_the_running_averages_of_others() -> None:
    verdicts = []
    for best in (2.9, 3.1):
        study = a_study()
        for level in (1.0, 2.0, 3.0, 4.0, 5.0):
            ended(study, [level - 1, level, level + 1])
        verdicts.append(judge(Median(), study, train(study, [best, 0, 0])))
    below, above = verdicts
    assert (below.action, below.ask_at) == ("prune", 4)
    assert below.why.startswith("stopped at step 3")
    assert "2.9 is worse than 3, the median of 5" in below.why
    assert above.action == "continue"


def test_the_median_rule_waits_for_enough_others() -> None:
    study = a_study()
    for _ in range(4):
        ended(study, [9, 9, 9])
    verdict = judge(Median(), study, train(study, [0, 0, 0]))
    assert verdict.action == "continue"
    assert "only 4 of the 5 others" in verdict.why


def test_the_median_rule_asks_seldom() -> None:
    rule, asked = Median(), [0]
    while asked[-1] < 1000:
        asked.append(rule.first_ask(asked[-1]) or 0)
    assert asked[1:8] == [3, 4, 5, 7, 9, 12, 15]
    assert len(asked) < 30


# ── by name ─────────────────────────────────────────────────────────────────────────────────────


def test_rules_are_found_by_name() -> None:
    assert {name: rule_by_name(name).name for name in ("auto", "asha", "median", "off")} == {
        "auto": "auto",
        "asha": "asha",
        "median": "median",
        "off": "off",
    }
    with pytest.raises(SettingsError, match="Did you mean median"):
        rule_by_name("medain")


def test_off_never_asks() -> None:
    study = a_study()
    assert Off().first_ask() is None
    assert judge(Off(), study, train(study, [math.nan])).action == "continue"


@pytest.mark.parametrize(
    "make",
    [lambda: Asha(min_steps=0), lambda: Asha(reduction=1), lambda: Median(min_trials=0), lambda: Median(min_steps=0)],
)
def test_a_rule_that_cannot_work_is_refused(make: Callable[[], StoppingRule]) -> None:
    with pytest.raises(SettingsError, match="must be at least"):
        make()


@pytest.mark.parametrize("kind", [Asha, Median])
def test_judging_looks_at_those_curves_alone_that_came_past_since_it_last_did(
    kind: type[Asha | Median], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, looked_at = a_study(), list[int]()
    for number in range(200):
        (ended if number % 2 else train)(study, [math.sin(number + step) for step in range(10)])
    original: Any = kind._value
    rule = kind()

    def value(self: Asha | Median, study: StudyState, curve: Curve, rung: int) -> float | None:
        looked_at.append(rung)
        found: float | None = original(self, study, curve, rung)
        return found

    monkeypatch.setattr(kind, "_value", value)
    judge(rule, study, 0)
    assert looked_at
    looked_at.clear()
    judge(rule, study, 2)
    report(study, 4, {11: 0.5})
    judge(rule, study, 2)
    assert looked_at == []
    report(study, 4, {27: 0.7})
    end(study, 6)
    judge(rule, study, 2)
    assert set(looked_at) <= set(range(11, 28))
    assert len(looked_at) == len([rung for rung in rungs(rule) if 11 <= rung <= 27])


def rungs(rule: StoppingRule, to: int = 30) -> list[int]:
    found = [rule.first_ask() or 0]
    while found[-1] < to:
        found.append(rule.first_ask(found[-1]) or to)
    return found


# ── divergence ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("first", "now", "sentence"),
    [
        ({"accuracy": 0.1}, {"accuracy": math.nan}, "accuracy is nan"),
        ({"accuracy": 0.1}, {"accuracy": -math.inf}, "accuracy is -inf"),
        ({"train_loss": 2.0}, {"accuracy": 0.5, "train_loss": math.inf}, "train_loss is inf"),
        ({"Loss": 3.0}, {"Loss": 4e6}, "Loss exploded from 3 to 4e+6"),
        ({"Loss": 30.0}, {"Loss": 4e6}, None),
        ({"gradient": 1.0}, {"gradient": math.inf, "accuracy": 0.5}, None),
        ({"accuracy": 1.0}, {"accuracy": 1e9}, None),
        ({"accuracy": 0.1, "loss": 2.0}, {"accuracy": 0.9, "loss": 0.1}, None),
    ],
)
def test_the_alarm_knows_what_diverged(
    first: Mapping[str, float], now: Mapping[str, float], sentence: str | None
) -> None:
    assert DivergenceAlarm(objective="accuracy", goal="maximize")(first, now) == sentence


def test_a_minimised_objective_that_explodes_has_diverged() -> None:
    alarm = DivergenceAlarm(objective="cost", goal="minimize")
    assert alarm({"cost": 0.5}, {"cost": 2e6}) == "cost exploded from 0.5 to 2e+6"
    assert alarm({"cost": 0.5}, {"cost": -2e6}) is None


def test_the_alarm_travels_to_the_worker() -> None:
    alarm = pickle.loads(pickle.dumps(DivergenceAlarm(objective="accuracy", goal="maximize")))
    scores = {"accuracy": 0.5, "train_loss": 0.3, "dev_loss": 0.4, "seconds": 12.0}
    assert alarm(scores, scores) is None
