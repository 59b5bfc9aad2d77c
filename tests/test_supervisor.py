from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.cli import cli
from tuner.panda.supervisor import (
    Facts,
    Series,
    anytime_bound,
    autocorrelation_time,
    block_means,
    diagnose,
    effective_sample_size,
    trend,
    verdict,
    window_length,
)
from tuner.panda.supervisor.alarms import accepted, divergence, spike
from tuner.panda.supervisor.direction import alternating, direction, ringing
from tuner.panda.supervisor.series import Array, kept_correlation
from tuner.panda.supervisor.trend import bend

RATE = {"learning_rate": 0.1, "beta": 0.9}


def noise(count: int, phi: float = 0.0, size: float = 1.0, seed: int = 0) -> Array:
    shocks = np.random.default_rng([seed, count]).standard_normal(count + 300) * size * np.sqrt(1 - phi**2)
    for place in range(1, len(shocks)):
        shocks[place] += phi * shocks[place - 1]
    values: Array = shocks[300:]
    return values


def descent(count: int, size: float = 0.02, seed: int = 0) -> Array:
    values: Array = 0.3 + 2.3 * (1 + np.arange(count) / 10) ** -0.7 + noise(count, size=size, seed=seed)
    return values


def a_series(values: Iterable[Any]) -> Series:
    return Series.of((step + 1, float(value)) for step, value in enumerate(values))


def some_facts(values: Array, **more: Any) -> Facts:
    told: dict[str, Any] = dict(
        study="one",
        scores={"train_loss": a_series(values)},
        objective="train_loss",
        goal="minimize",
        settings=RATE,
        steps_left=len(values),
        checkpoints=range(0, len(values), 10),
    )
    return Facts(**{**told, **more})


# ── what a series is worth ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("phi", "tau"), [(0.0, 1.0), (0.5, 3.0), (0.8, 9.0)])
def test_the_autocorrelation_time_of_ar1_noise_is_found(phi: float, tau: float) -> None:
    assert autocorrelation_time(noise(20_000, phi)) == pytest.approx(tau, rel=0.15)
    assert effective_sample_size(noise(20_000, phi)) == pytest.approx(20_000 / tau, rel=0.15)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(0, 2))
def test_an_autocorrelation_time_lies_between_one_and_twice_the_length(values: list[float], degree: int) -> None:
    tau = autocorrelation_time(np.array(values), degree=degree)
    assert 1 <= tau <= 2 * len(values) + 1


@given(st.lists(st.floats(-100, 100), min_size=8, max_size=60), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_the_autocorrelation_time_knows_no_units(values: list[float], shift: float, scale: float) -> None:
    array = np.round(np.array(values), 2)
    assert autocorrelation_time(array * scale + shift) == pytest.approx(autocorrelation_time(array), rel=1e-3)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.integers(1, 10))
def test_block_means_keep_the_mean_of_the_newest_values(values: list[float], length: int) -> None:
    means = block_means(np.array(values), length)
    newest = values[len(values) - len(means) * length :]
    assert len(means) == len(values) // length
    if newest:
        assert means.mean() == pytest.approx(np.mean(newest), abs=1e-6)


def test_neighbouring_block_means_keep_the_correlation_the_formula_says() -> None:
    means = block_means(noise(200_000, 0.9), 38)
    found = float(np.corrcoef(means[1:], means[:-1])[0, 1])
    assert found == pytest.approx(kept_correlation(19.0, 38), abs=0.05)


@given(st.integers(0, 10**7), st.none() | st.integers(0, 10**7))
def test_a_window_holds_4_to_128_reports(reports: int, left: int | None) -> None:
    assert 4 <= window_length(reports, left) <= 128


# ── trend ───────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 200), st.floats(0.01, 100), st.floats(-1e3, 1e3))
def test_a_trend_turns_with_the_curve_and_knows_no_units(seed: int, scale: float, shift: float) -> None:
    values = noise(60, 0.3, seed=seed) - 0.03 * np.arange(60)
    turned = {"improving": "worsening", "worsening": "improving"}
    word = trend(a_series(values)).word
    moved = values * scale + shift
    assert trend(a_series(moved.tolist())).word == word
    assert trend(a_series(-values)).word == turned.get(word, word)


def test_noise_improves_about_one_time_in_twenty() -> None:
    for phi in (0.0, 0.8):
        alarms = [trend(a_series(noise(400, phi, seed=seed))).word == "improving" for seed in range(300)]
        assert 0.01 <= np.mean(alarms) <= 0.10


def test_a_random_walk_improves_no_more_often() -> None:
    walks = (np.cumsum(noise(300, seed=seed)) for seed in range(300))
    assert np.mean([trend(a_series(walk)).word == "improving" for walk in walks]) <= 0.08


def test_a_slow_descent_under_noise_improves_where_patience_would_give_up() -> None:
    assert trend(a_series(noise(2000, 0.7) - 0.001 * np.arange(2000))).word == "improving"


def test_a_smooth_descent_improves_although_its_autocorrelation_is_endless() -> None:
    assert trend(a_series(np.exp(-np.arange(60) / 30))).word == "improving"


def test_fewer_than_twenty_reports_say_nothing() -> None:
    found = trend(a_series(np.arange(19.0)))
    assert (found.word, found.statistic) == ("unknown", ("reports", 19))


def test_flat_takes_a_budget_a_smallest_gain_and_enough_evidence() -> None:
    level = a_series(noise(1000, 0.5, size=0.01))
    assert trend(level, smallest_gain=0.05, steps_left=500).word == "flat"
    assert trend(level).word == "unknown"
    assert trend(level, smallest_gain=0.0001, steps_left=500).word == "unknown"
    assert trend(level.last(15), smallest_gain=0.05, steps_left=500).word == "unknown"


@given(st.floats(0.01, 10), st.floats(-5, 5))
def test_the_bend_of_a_straight_line_is_one_and_of_a_bent_curve_little(slope: float, start: float) -> None:
    line = a_series(start - slope * np.arange(100))
    assert bend(line, trend(line.last(50))) == pytest.approx(1, rel=0.05)
    bent = a_series(start + slope * np.exp(-np.arange(100) / 10))
    assert bend(bent, trend(bent.last(50))) < 0.1


# ── alarms ──────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 199), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_not_finite_has_diverged_since_its_first_step(place: int, value: float) -> None:
    values = descent(200)
    values[place] = value
    found = divergence(a_series(values), 12)
    assert found is not None
    assert found.onset == place + 1


def test_what_exploded_before_it_overflowed_has_its_onset_where_it_exploded() -> None:
    values = descent(100)
    values[60:] *= np.exp(3.0 * np.arange(1, 41))
    values[90:] = np.nan
    found = divergence(a_series(values), 8)
    assert found is not None
    assert found.onset <= 66


def test_exponential_growth_is_called_before_it_overflows_and_noise_is_not() -> None:
    values = descent(400, size=0.05)
    assert divergence(a_series(values), 50) is None
    values[300:] += 0.05 * np.exp(0.05 * np.arange(100))
    found = divergence(a_series(values), 50)
    assert found is not None
    assert 300 < found.onset < 390


def test_a_run_that_explodes_from_the_start_has_its_onset_there() -> None:
    found = divergence(a_series(2.3 * np.exp(0.5 * np.arange(40))), 4)
    assert found is not None
    assert found.onset <= 3


def test_a_new_level_after_a_change_is_no_divergence() -> None:
    values = np.concatenate([1 + noise(100, size=0.02), 1.4 + noise(200, size=0.02)])
    values[0] = 3
    assert divergence(a_series(values[:168]), 25) is not None
    assert divergence(a_series(values[:168]), 25, change=100) is None


def test_a_second_spike_is_not_excused_by_the_first() -> None:
    values = 1 + noise(300, size=0.01)
    values[[150, 152, 154, 200]] += 5
    assert np.flatnonzero(~accepted(a_series(values))).tolist() == [150, 152, 154, 200]


def test_falling_values_are_never_spikes() -> None:
    values = 1 + noise(200, size=0.01)
    values[150:] -= 5
    assert accepted(a_series(values)).all()


@pytest.mark.parametrize(
    ("reports", "decay", "state"), [(20, 5.0, "waiting"), (100, 5.0, "recovered"), (100, 1e9, "lasting")]
)
def test_a_spike_waits_two_windows_then_has_recovered_or_not(reports: int, decay: float, state: str) -> None:
    values = 1 + noise(400 + reports, size=0.01)
    values[400:] += 3 * np.exp(-np.arange(reports) / decay)
    found = spike(a_series(values), 32)
    assert found is not None
    assert (found.state, found.onset) == (state, 401)


def test_a_spike_that_comes_back_after_going_back_is_the_states() -> None:
    values = 1 + noise(400, size=0.01)
    values[390] += 3
    found = spike(a_series(values), 32, reverts=(370,))
    assert found is not None
    assert found.state == "returning"


# ── direction ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_the_angle_between_updates_tells_the_share_of_the_largest_rate_on_a_quadratic(
    share: float, beta: float
) -> None:
    rng = np.random.default_rng(0)
    place, velocity, updates = 0.0, 0.0, []
    for _ in range(40_000):
        velocity = beta * velocity + place + rng.standard_normal()
        updates.append(-2 * (1 + beta) * share * velocity)  # the largest stable rate is 2 (1+β)/λ
        place += updates[-1]
    moved = np.array(updates)
    cosine = float(np.corrcoef(moved[1:], moved[:-1])[0, 1])
    found = direction(a_series([cosine] * 8), beta, 4)
    assert found.share == pytest.approx(share, abs=0.05)
    assert found.word == {0.02: "raise", 0.4: "hold", 0.9: "lower"}[share]


def test_updates_that_point_further_the_same_way_than_momentum_alone_ask_for_a_larger_rate() -> None:
    found = direction(a_series([0.99] * 8), 0.9, 4)
    assert found.word == "raise"
    assert found.share < 0
    assert "gradients still agree" in found.why
    assert "-" not in found.why  # no rate is a negative share of another


def test_without_the_angle_the_direction_is_unknown() -> None:
    assert direction(None, 0.9, 8).word == "unknown"
    assert direction(a_series([np.nan] * 20), 0.9, 8).word == "unknown"


def test_alternation_has_period_two_and_noise_has_none() -> None:
    values = noise(100, size=0.05) + 0.1 * (-1.0) ** np.arange(100)
    found = alternating(a_series(values))
    assert found is not None
    assert found.period == 2
    assert np.mean([alternating(a_series(noise(100, seed=seed))) is not None for seed in range(300)]) <= 0.09


@pytest.mark.parametrize("period", [5, 12, 40])
def test_ringing_is_found_with_its_period(period: int) -> None:
    steps = np.arange(400)
    values = np.exp(-steps / 200) * (1.2 + np.cos(2 * np.pi * steps / period)) + noise(400, 0.5, size=0.02) + 0.1
    found = ringing(a_series(values))
    assert found is not None
    assert found.period == pytest.approx(period, rel=0.12)


def test_neither_red_noise_nor_a_smooth_descent_rings() -> None:
    assert np.mean([ringing(a_series(noise(300, 0.9, seed=seed))) is not None for seed in range(200)]) <= 0.03
    assert ringing(a_series(0.1 + np.exp(-np.arange(200) / 30))) is None


# ── verdicts ────────────────────────────────────────────────────────────────────────────────────


def test_looking_after_every_block_gives_few_false_verdicts() -> None:
    wrong = 0
    for seed in range(300):
        blocks = noise(150, seed=seed)
        sums = np.abs(np.cumsum(blocks))
        wrong += any(sums[n - 1] >= anytime_bound(n, float(blocks[:n].std(ddof=1))) for n in range(10, 151, 2))
    assert wrong / 300 <= 0.05


@given(st.integers(1, 10**6), st.floats(1e-6, 1e6))
def test_the_anytime_bound_is_wider_than_a_single_look(blocks: int, deviation: float) -> None:
    assert anytime_bound(blocks, deviation) > 1.96 * deviation * np.sqrt(blocks)


def branches(difference: float, smooth: bool = False) -> tuple[Series, Series]:
    old = descent(600, size=0.05)
    apart = difference * (np.arange(600) >= 200)
    return a_series(old), a_series(old + apart + (0 if smooth else noise(600, 0.3, size=0.05, seed=9)))


@pytest.mark.parametrize("smooth", [True, False])
def test_branches_are_judged_both_ways_and_turn_with_the_goal(smooth: bool) -> None:
    told: dict[str, Any] = dict(change_step=200, cool_off=40, comparison="same_rate")
    old, new = branches(0.05, smooth)
    assert verdict(old, new, **told).word == "worse"
    assert verdict(new, old, **told).word == "better"
    assert verdict(old, new, **told, goal="maximize").word == "better"
    assert verdict(old, new, **told).keeps == "old"


def test_no_difference_keeps_the_old_setting() -> None:
    found = verdict(*branches(0.0), change_step=200, cool_off=40, comparison="averaged")
    assert (found.word, found.keeps) == ("inconclusive", "old")


def test_raw_losses_at_different_rates_are_never_judged() -> None:
    found = verdict(*branches(5.0), change_step=200, cool_off=40, comparison="raw")
    assert found.word == "inconclusive"
    assert "not fair" in found.why


def test_nothing_is_judged_while_it_cools_off() -> None:
    assert verdict(*branches(5.0), change_step=200, cool_off=400, comparison="cooled").word == "inconclusive"


@pytest.mark.parametrize(("after", "word"), [(1.5, "worse"), (0.5, "inconclusive"), (1.0, "inconclusive")])
def test_a_runs_own_past_can_only_show_that_it_got_worse(after: float, word: str) -> None:
    path = a_series(np.concatenate([1 + noise(200, size=0.05), after + noise(300, size=0.05, seed=3)]))
    assert verdict(path, path, change_step=200, cool_off=60, comparison="earlier").word == word


@pytest.mark.parametrize("lost", [np.nan, np.inf, 1e200])
def test_a_branch_that_diverges_has_lost(lost: float) -> None:
    old, new = branches(0.0)
    new.values[-1] = lost
    told: dict[str, Any] = dict(change_step=200, cool_off=40, comparison="averaged")
    assert verdict(old, new, **told).word == "worse"
    assert verdict(new, old, **told).word == "better"


# ── diagnosis ───────────────────────────────────────────────────────────────────────────────────


def slow_run(**more: Any) -> Facts:
    cosines = a_series(0.93 + noise(200, size=0.005, seed=2))
    loss = a_series(2.3 - 0.002 * np.arange(200) + noise(200, size=0.01))
    return some_facts(np.zeros(200), **{"scores": {"train_loss": loss, "update_cos": cosines}, **more})


def test_day_two_a_slow_run_with_agreeing_updates_is_told_to_raise_the_rate() -> None:
    advice = diagnose(slow_run())[0]
    assert (advice.symptom, advice.verb, advice.settings) == ("slow", "set", {"learning_rate": 0.3162})
    assert shlex.split(advice.command)[:4] == ["tuner", "set", "one", "learning_rate=0.3162"]


def test_a_rate_is_raised_within_its_bounds() -> None:
    assert diagnose(slow_run(bounds={"learning_rate": (1e-4, 0.2)}))[0].settings == {"learning_rate": 0.2}
    at_bound = diagnose(slow_run(bounds={"learning_rate": (1e-4, 0.1)}))[0]
    assert (at_bound.settings, at_bound.command) == ({}, "")


def test_a_slow_run_without_a_direction_is_offered_a_branch() -> None:
    scores = {"train_loss": slow_run().scores["train_loss"]}
    advice = diagnose(slow_run(scores=scores))[0]
    assert (advice.symptom, advice.verb) == ("slow", "fork")
    assert advice.command.startswith("tuner fork one --set learning_rate=0.3162 ")
    assert "direction unknown" in advice.sentence


def ringing_run(period: int) -> Array:
    values: Array = 0.5 + 0.2 * np.cos(2 * np.pi * np.arange(300) / period) + noise(300, size=0.03)
    return values


@pytest.mark.parametrize(("period", "change"), [(30, {"beta": 0.6838}), (4, {"learning_rate": 0.05})])
def test_day_three_long_swings_lower_momentum_and_short_ones_the_rate(period: int, change: dict[str, float]) -> None:
    advice = diagnose(some_facts(ringing_run(period)))[0]
    assert (advice.symptom, advice.settings) == ("oscillating", change)


def test_long_swings_without_momentum_lower_the_rate() -> None:
    advice = diagnose(some_facts(ringing_run(30), settings={"learning_rate": 0.1}))[0]
    assert (advice.symptom, advice.settings) == ("oscillating", {"learning_rate": 0.05})


def test_in_heavy_ball_form_the_sentence_tells_what_momentum_does_to_the_rate() -> None:
    assert (
        "divides the effective rate by 3.2" in diagnose(some_facts(ringing_run(30), momentum="heavy_ball"))[0].sentence
    )


def test_worse_after_a_change_goes_back_to_the_checkpoint_before_it() -> None:
    old, new = branches(0.1)
    facts = some_facts(
        new.values,
        last_change_step=204,
        previous_settings={"learning_rate": 0.1, "beta": 0.5},
        control={"train_loss": old},
        comparison="same_rate",
    )
    advice = diagnose(facts)[0]
    assert (advice.symptom, advice.verb, advice.revert_step, advice.urgency) == ("worse", "revert", 200, "now")
    assert advice.command.startswith("tuner revert one --step 200 --why ")
    kept = diagnose(replace(facts, checkpoints=()))[0]
    assert (kept.verb, kept.settings) == ("set", {"beta": 0.5})


def test_a_higher_loss_after_a_raised_rate_is_not_undone_but_compared_on_a_branch() -> None:
    values = np.concatenate([1 + noise(200, size=0.02), 1.1 + noise(400, size=0.02, seed=3)])
    values[0] = 3
    advice = diagnose(some_facts(values, last_change_step=200, previous_settings={"learning_rate": 0.03, "beta": 0.9}))[
        0
    ]
    assert (advice.verb, advice.settings, advice.revert_step) == ("fork", {"learning_rate": 0.03}, 200)
    assert "not compared" in advice.sentence


def test_after_a_change_nothing_but_alarms_is_raised_for_two_windows() -> None:
    facts = slow_run(last_change_step=180, previous_settings={"learning_rate": 0.03})
    advice = diagnose(facts)[0]
    assert (advice.symptom, advice.urgency) == ("unknown", "none")
    assert "two windows" in advice.sentence
    values = slow_run().scores["train_loss"].values.copy()
    values[-1] = np.nan
    diverged = diagnose(replace(facts, scores={"train_loss": a_series(values)}))[0]
    assert (diverged.symptom, diverged.revert_step) == ("diverged", 180)
    assert "change at step 180 back" in diverged.sentence


def test_a_divergence_goes_back_well_before_its_onset_at_a_lower_rate() -> None:
    values = descent(400)
    values[350:] = np.inf
    advice = diagnose(some_facts(values))[0]
    assert (advice.symptom, advice.urgency, advice.settings) == ("diverged", "now", {"learning_rate": 0.03162})
    assert advice.revert_step is not None
    assert advice.revert_step <= 351 - 2 * window_length(400, 400)
    assert " && tuner set one learning_rate=0.03162 " in advice.command


def test_a_divergence_never_goes_back_to_a_checkpoint_after_its_onset() -> None:
    values = descent(100)
    values[20:] = np.nan
    advice = diagnose(some_facts(values, checkpoints=(50, 90)))[0]
    assert (advice.verb, advice.revert_step) == ("set", None)


def test_a_spike_that_heals_is_left_alone_at_every_look() -> None:
    values = descent(700, size=0.03)
    values[500:] += 3 * np.exp(-np.arange(200) / 8)
    for stop in range(501, 640, 9):
        assert diagnose(some_facts(values[:stop], steps_left=1400 - stop))[0].urgency == "none"


def test_a_well_run_improves_and_needs_nothing() -> None:
    advice = diagnose(some_facts(descent(400, size=0.005)))[0]
    assert (advice.symptom, advice.urgency, advice.command) == ("improving", "none", "")


def an_accuracy(values: Array, **more: Any) -> Facts:
    return some_facts(
        values, **{"scores": {"accuracy": a_series(values)}, "objective": "accuracy", "goal": "maximize"} | more
    )


def test_a_score_to_be_maximised_is_told_in_its_own_sign_and_direction() -> None:
    falling = diagnose(an_accuracy(0.9 - 0.3 * np.arange(200) / 200 + noise(200, size=0.01)))[0]
    assert falling.symptom in ("worse", "diverged")
    lasting = noise(200, size=0.01) + np.where(np.arange(200) < 120, 0.8, 0.6) - 0.5 * (np.arange(200) < 5)
    sentences = [
        falling.sentence,
        diagnose(an_accuracy(1 - descent(200, size=0.01)))[0].sentence,
        diagnose(an_accuracy(np.concatenate([[0.9] * 3, 0.6 + noise(197, size=0.01)])))[0].sentence,
        *(diagnose(an_accuracy(lasting[:count]))[0].sentence for count in (130, 160, 200)),
    ]
    for sentence in sentences:
        numbers = [float(word) for word in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", sentence)]
        assert min(numbers) >= 0, sentence
    together = "\n".join(sentences)
    assert "it rises by at least" in together, together
    assert "dropped to 0." in together, together
    assert "stay below 0.6" in together, together
    assert "below the 0.9 it began with" in together, together


@given(st.integers(0, 10**6), st.sampled_from([1.0, -1.0]))
def test_a_mirrored_score_gets_the_same_advice(seed: int, way: float) -> None:
    values = np.cumsum(noise(120, size=0.1, seed=seed)) * 0.2 + way * np.arange(120) / 60
    loss = diagnose(some_facts(values, scores={"error": a_series(values)}, objective="error"))
    gain = diagnose(an_accuracy(-values))
    assert [(a.symptom, a.urgency, a.verb, a.settings, a.revert_step) for a in loss] == [
        (a.symptom, a.urgency, a.verb, a.settings, a.revert_step) for a in gain
    ]


def test_what_is_lost_of_a_long_way_is_too_little_to_act_on() -> None:
    values = np.concatenate([np.linspace(2.3, 0.1, 40), 0.1 + 1e-5 * np.arange(160)])
    advice = diagnose(some_facts(values))[0]
    assert (advice.urgency, advice.verb) == ("none", "none")
    assert "too little to act on" in advice.sentence
    steep = np.concatenate([np.linspace(2.3, 0.1, 40), 0.1 + 2e-3 * np.arange(160)])
    assert diagnose(some_facts(steep))[0].urgency != "none"


def test_a_fall_within_the_noise_is_not_called_slow() -> None:
    for seed in range(20):
        values = 0.92 - 1e-4 * np.arange(300) + noise(300, size=0.04, seed=seed)
        assert "slow" not in [each.symptom for each in diagnose(some_facts(values))]


def test_a_hairs_breadth_below_the_level_before_a_change_is_no_verdict() -> None:
    values = np.concatenate([np.linspace(0.5, 0.8083, 80), np.full(120, 0.80825), np.full(200, 0.808)])
    facts = an_accuracy(values, last_change_step=200, previous_settings={"learning_rate": 0.2, "beta": 0.9})
    assert "worse" not in [each.symptom for each in diagnose(facts)]
    values[200:] = 0.75
    assert "worse" in [each.symptom for each in diagnose(replace(facts, scores={"accuracy": a_series(values)}))]


def test_the_why_of_a_command_names_the_symptom_alone() -> None:
    advice = diagnose(slow_run())[0]
    assert shlex.split(advice.command)[-1] == "train_loss falls slowly"


def test_a_flat_objective_is_told_only_where_the_user_says_what_is_little() -> None:
    values = 0.9 + noise(1000, 0.3, size=0.005)
    facts = some_facts(values, scores={"dev_accuracy": a_series(values)}, objective="dev_accuracy", goal="maximize")
    assert diagnose(replace(facts, smallest_gain=0.02))[0].symptom == "flat"
    assert diagnose(facts)[0].symptom == "unknown"


def test_the_train_loss_is_watched_first_then_another_loss_then_the_objective_never_a_test_score() -> None:
    series = a_series([1.0])
    names = ("dev_accuracy", "test_loss", "dev_loss", "train_loss")
    facts = some_facts(np.zeros(1), scores=dict.fromkeys(names, series), objective="dev_accuracy", goal="maximize")
    assert facts.losses[0] == "train_loss"
    assert replace(facts, scores=dict.fromkeys(names[:3], series)).losses[0] == "dev_loss"
    name, watched = replace(facts, scores=dict.fromkeys(names[:2], series)).losses
    assert (name, watched.values.tolist()) == ("dev_accuracy", [-1.0])


@given(
    st.lists(st.floats() | st.floats(-2, 2), max_size=60),
    st.lists(st.floats(-10, 10), max_size=60),
    st.none() | st.integers(0, 60),
    st.none() | st.integers(0, 100),
    st.sampled_from(["minimize", "maximize"]),
    st.none() | st.floats(1e-3, 1),
)
def test_any_curve_gets_advice_whose_command_says_what_its_values_say(
    values: list[float],
    losses: list[float],
    change: int | None,
    left: int | None,
    goal: Any,
    smallest_gain: float | None,
) -> None:
    scores = {"score": a_series(values), **({"loss": a_series(losses)} if losses else {})}
    facts = some_facts(
        np.zeros(60),
        scores=scores,
        objective="score",
        goal=goal,
        last_change_step=change,
        previous_settings={"learning_rate": 0.01, "beta": 0.9},
        steps_left=left,
        smallest_gain=smallest_gain,
    )
    said = diagnose(facts)
    assert said
    for advice in said:  # the shell takes every command as it stands
        for command in filter(None, advice.command.split(" && ")):
            _, verb, *words = shlex.split(command)
            cli.commands[verb].make_context(verb, words).close()
    for advice in said:
        words = shlex.split(advice.command)
        assert (advice.verb == "none") == (advice.command == "")
        assert all(f"{name}={value}" in words for name, value in advice.settings.items() if advice.verb != "none")
        assert advice.verb != "revert" or words[:5] == ["tuner", "revert", "one", "--step", str(advice.revert_step)]
        rate = advice.settings.get("learning_rate", 0.1)
        assert advice.verb == "fork" or 0.1 / 3.17 <= rate <= 0.1 * 3.17 or rate == 0.01


# ── whatever a series holds ─────────────────────────────────────────────────────────────────────

ODD = (0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.1)


def any_series(rng: np.random.Generator) -> Series:
    """Noise, walks, constants, steps of a scale, huge and tiny numbers, and numbers that are none."""
    count = int(rng.integers(0, 501))
    noise_ = rng.standard_normal(count)
    values = (
        noise_,
        np.cumsum(noise_),
        np.full(count, rng.choice([0.0, 0.1, 1 / 3, 5e-324, 1e300])),
        np.round(noise_),
        np.exp(-np.arange(count) / rng.uniform(1, 100)),
        noise_ * 10.0 ** rng.integers(50, 308),
        noise_ * 10.0 ** -rng.integers(50, 323),
        rng.choice(ODD, count),
        np.concatenate([[-3.0], 1e-3 * noise_, [-3.0]])[:count],
    )[rng.integers(9)].copy()
    if count and rng.random() < 0.3:
        values[rng.integers(0, count, int(rng.integers(0, 5)))] = rng.choice([np.nan, np.inf, -np.inf, 1e308])
    steps = np.cumsum(rng.integers(1, rng.choice([2, 50]), count)) + rng.choice([0, 10**6])
    return Series(steps=steps, values=values)


@given(st.integers(0, 2**32))
def test_no_rule_raises_whatever_was_reported(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [name for name in ("train_loss", "score", "update_cos") if rng.random() < 0.7]
    scores = {name: any_series(rng) for name in names}
    last = max((int(each.steps[-1]) for each in scores.values() if len(each)), default=0)
    odd: list[dict[str, Any]] = [{}, RATE, {"learning_rate": 0.0, "beta": 1.0}, {"learning_rate": "x", "beta": True}]
    found = diagnose(
        Facts(
            study="one",
            scores=scores,
            objective=str(rng.choice(["score", "train_loss"])),
            goal="maximize" if rng.random() < 0.5 else "minimize",
            settings=odd[rng.integers(4)],
            previous_settings=None if rng.random() < 0.3 else odd[rng.integers(4)],
            last_change_step=None if rng.random() < 0.3 else int(rng.integers(-1, last + 2)),
            control={"score": any_series(rng)} if rng.random() < 0.2 else None,
            comparison="averaged",
            steps_left=None if rng.random() < 0.5 else int(rng.integers(0, 100)),
            smallest_gain=None if rng.random() < 0.5 else 0.01,
            checkpoints=range(0, 100, 10),
            reverts=[5] if rng.random() < 0.3 else [],
        )
    )
    assert found
    assert all(each.sentence for each in found)


def test_a_run_that_begins_near_its_best_and_touches_it_again_is_still_looked_at() -> None:
    values = np.concatenate([[0.1], 0.3 + noise(98, size=0.01), [0.05]])
    assert divergence(a_series(values), 16) is not None


def test_a_promoted_run_that_settles_a_little_above_its_start_has_not_diverged() -> None:
    """A larger rate settles at a higher level; from a checkpoint on the first report is of the level before it."""
    values = np.concatenate([[0.100], 0.12 + noise(99, size=0.001)])
    promoted = Series(steps=np.arange(501, 601), values=values)
    assert divergence(promoted, 8) is None
    collapsed = Series(steps=np.arange(501, 601), values=np.where(np.arange(100) < 2, 0.1, 2.3) + noise(100, size=0.01))
    assert divergence(collapsed, 8) is not None


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
@pytest.mark.parametrize("first", [0, 500])
def test_an_accuracy_of_few_examples_near_its_best_neither_spikes_nor_diverges(goal: str, first: int) -> None:
    """Most reports are equal to the digit, so their median deviation is none; one example more is no event."""
    rng = np.random.default_rng(2)
    scores = 0.984 + 0.002 * (rng.choice([0, 1, 2], size=200, p=[0.06, 0.9, 0.04]))
    scores[0] = 0.988 if goal == "maximize" else 0.98
    series = Series(steps=first + np.arange(1, 201), values=scores)
    found = diagnose(Facts(study="one", scores={"score": series}, objective="score", goal=goal, settings=RATE))  # type: ignore[arg-type]
    assert {each.symptom for each in found}.isdisjoint({"diverged", "spike"})


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 0.5, 0.0, -2.3025851, 1e-8, 1e12])
@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_a_score_that_never_changes_is_said_not_to(constant: float, goal: str) -> None:
    """Not even by the rounding of single precision."""
    for jitter in (0.0, 1e-8):
        values = constant * (1 + jitter * np.random.default_rng(0).standard_normal(300))
        facts = Facts(study="one", scores={"score": a_series(values)}, objective="score", goal=goal, settings=RATE)  # type: ignore[arg-type]
        (found,) = diagnose(facts)
        assert (found.symptom, found.urgency) == ("flat", "consider")
        assert "does not change" in found.sentence


def test_a_change_under_which_a_constant_stays_is_not_judged() -> None:
    facts = some_facts(np.full(300, 0.1), last_change_step=100, previous_settings={"learning_rate": 0.01})
    assert [each.symptom for each in diagnose(facts)] == ["flat"]


def test_an_objective_that_never_changes_is_said_so_beside_a_loss_that_tells_nothing() -> None:
    scores = {"train_loss": a_series(2.3 + noise(300, size=0.01, seed=3)), "score": a_series(np.full(300, 0.1))}
    facts = Facts(study="one", scores=scores, objective="score", goal="maximize", settings=RATE)
    assert "score does not change" in diagnose(facts)[0].sentence


def test_a_rise_is_not_slight_beside_a_value_beyond_all_measure() -> None:
    values = np.concatenate(
        [descent(16), [50.0, 1e12, 80.0, 1e30, 90.0, 70.0, 1e20, 60.0, 75.0, 80.0, 90.0, 85.0, math.nan]]
    )
    found = divergence(a_series(values), 4)
    assert found is not None
    assert found.onset <= 20
