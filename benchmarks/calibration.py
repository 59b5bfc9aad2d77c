"""Scoreboard row B4: how often the supervisor's rules speak when nothing happens, beside the tests people use.

    python benchmarks/calibration.py [--seed 1] [--runs 1000]
    python benchmarks/calibration.py --part sentences [--seed 1] [--runs 1000]
    python benchmarks/calibration.py --part seeds [--seed 1] [--runs 1000]

Runs are stationary AR(1) noise without any trend, x_t = φ x_t-1 + ε_t, drawn from default_rng([seed, 100 φ, length]).
A false alarm is "improving" at one-sided 5 %; "too short" is the share of runs with fewer than ten blocks of 2τ, on
which the rule tells only what it could tell of a random walk. Beside it stands the slope test that takes the values for
independent. "act now" and "consider" are what all rules together advise at one look, by their first advice.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from typing import Any

import numpy as np
from rows import Goal, Row, grid, lines_of, tally
from seeds import equals_told_apart, told_by_then
from sentences import LIMIT, table

from tuner.panda.supervisor import Facts, Series, anytime_bound, diagnose, trend, window_length
from tuner.panda.supervisor.alarms import divergence, spike
from tuner.panda.supervisor.direction import alternating, ringing

Array = np.ndarray[Any, np.dtype[np.float64]]
PHIS = (0.0, 0.5, 0.7, 0.9, 0.95, 0.99)
LENGTHS = (100, 400, 1600)
SHARE_FOR_SLOW_RULES = 4  # spikes and spectra cost milliseconds a run: one run in four


def noises(rng: np.random.Generator, runs: int, length: int, phi: float) -> Array:
    """AR(1) of marginal variance 1, one run a row, begun in its stationary state."""
    values = np.empty((runs, length))
    values[:, 0] = rng.standard_normal(runs)
    shocks = rng.standard_normal((runs, length)) * np.sqrt(1 - phi**2)
    for step in range(1, length):
        values[:, step] = phi * values[:, step - 1] + shocks[:, step]
    return values


def independent_slope(values: Array) -> bool:
    """The textbook one-sided 5 % test of a falling line."""
    place = np.arange(len(values)) - (len(values) - 1) / 2
    slope = float(place @ values) / float(place @ place)
    residuals = values - values.mean() - slope * place
    error = np.sqrt(float(residuals @ residuals) / (len(values) - 2) / float(place @ place))
    return bool(slope < -1.645 * error)


def false_alarms(seed: int, runs: int, phi: float, length: int) -> dict[str, float]:
    """Percentages, by rule."""
    rng = np.random.default_rng([seed, round(100 * phi), length])
    counts: dict[str, list[bool]] = {}

    def count(name: str, fired: bool) -> None:
        counts.setdefault(name, []).append(fired)

    window = window_length(length, 0)
    for number, values in enumerate(noises(rng, runs, length, phi)):
        series = Series(steps=np.arange(length), values=values)
        found = trend(series)
        count("improving", found.word == "improving")
        count("too short", not found.statistic[0].startswith("t of"))
        count("i.i.d. slope", independent_slope(values))
        if number % SHARE_FOR_SLOW_RULES == 0:
            jumped = spike(series, window)
            count("diverged", divergence(series, window) is not None)
            count("spike acted on", jumped is not None and jumped.state in ("lasting", "returning"))
            count("alternating (5 %)", alternating(series) is not None)
            count("ringing (1 %)", ringing(series) is not None)
            facts = Facts(
                study="one",
                scores={"loss": series},
                objective="loss",
                goal="minimize",
                settings={"learning_rate": 0.1, "beta": 0.9},
                steps_left=length,
            )
            urgency = diagnose(facts)[0].urgency
            count("act now", urgency == "now")
            count("consider", urgency == "consider")
    return {name: 100 * float(np.mean(fired)) for name, fired in counts.items()}


def peeking(seed: int, runs: int, blocks: int, first: int = 10) -> tuple[float, float]:
    """False verdicts, in percent, when one looks after every block: |z| > 1.96, and the anytime bound."""
    rng = np.random.default_rng([seed, 1810, 8240])
    naive, anytime = 0, 0
    for _ in range(runs):
        differences = rng.standard_normal(blocks)
        looks = [
            (abs(float(differences[:n].sum())), n, float(differences[:n].std(ddof=1))) for n in range(first, blocks + 1)
        ]
        naive += any(total > 1.96 * deviation * np.sqrt(n) for total, n, deviation in looks)
        anytime += any(total >= anytime_bound(n, deviation) for total, n, deviation in looks)
    return 100 * naive / runs, 100 * anytime / runs


def of_sentences(seed: int, runs: int, only: str) -> None:
    """A row for each sentence of explain, confirm and recheck: how often it is said falsely, and where true."""
    print(f"What is said of searches whose truth is known, %, seed {seed}\n")
    lines = [("says", "sentence", "where it would be false", "simulated", "said falsely", "said where true")]
    rows = []
    for kind, falsely, truly in table(seed, runs, only):
        told = "" if truly is None else f"{100 * truly.share:.0f}"
        lines.append((kind.who, kind.sentence, kind.truth, str(falsely.asked), f"{100 * falsely.share:.1f}", told))
        print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
        chance = 2 * 100 * np.sqrt(LIMIT * (1 - LIMIT) / max(1, falsely.asked))  # two standard errors of a true 5 %
        said = Row(
            f"{kind.sentence}, where {kind.truth}", 100 * falsely.share, "%", goal=Goal(at_most=100 * LIMIT + chance)
        )
        rows.append(said)
    print(f"{grid(lines)}\n\n{tally(rows)} The limit is {LIMIT:.0%} and what chance makes of it.")


def of_seeds(seed: int, runs: int) -> None:
    """How often "about N more seeds would tell" is so."""
    found, falsely = told_by_then(seed, runs), equals_told_apart(seed, runs)
    chance = 2 * 100 * np.sqrt(LIMIT * (1 - LIMIT) / runs)
    what = f"told by then, where so many more were called for ({found.called_for} of {found.asked})"
    rows = [
        Row(what, found.by_then, "%", goal=Goal(at_least=40, at_most=70)),
        Row("told with half of them", found.by_half, "%"),
        Row("told with twice as many", found.by_twice, "%"),
        Row("equal settings told apart, the advice followed", falsely, "%", goal=Goal(at_most=100 * LIMIT + chance)),
    ]
    print(f"Whether about so many more seeds would tell, seed {seed}\n\n{tally(rows)}\n\n{grid(lines_of(rows))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--part", choices=["supervisor", "sentences", "seeds"], default="supervisor")
    parser.add_argument("--only", default="", help="sentences whose row holds this")
    options = parser.parse_args()
    started = time.perf_counter()
    if options.part == "seeds":
        of_seeds(options.seed, options.runs)
        print(f"\n{time.perf_counter() - started:.0f} s")
        return
    if options.part == "sentences":
        of_sentences(options.seed, options.runs, options.only)
        print(f"\n{time.perf_counter() - started:.0f} s")
        return
    lines: list[tuple[str, ...]] = []
    rows: list[Row] = []
    print(f"False alarms on AR(1) noise, %, seed {options.seed}, {options.runs} runs a row\n")
    for phi, length in itertools.product(PHIS, LENGTHS):
        rates = false_alarms(options.seed, options.runs, phi, length)
        lines = lines or [("φ", "reports", *rates)]
        lines.append((str(phi), str(length), *(f"{rate:.1f}" for rate in rates.values())))
        print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
        goal = Goal(at_least=3, at_most=7) if phi <= 0.9 else None
        rows.append(Row(f"improving, φ {phi}, {length} reports", rates["improving"], "%", goal=goal))
    naive, anytime = peeking(options.seed, options.runs, 200)
    what = "false verdicts, peeked at after each of 200 blocks"
    rows.append(Row(what, anytime, "%", beside="|z| > 1.96", other=naive, goal=Goal(at_most=5)))
    print(f"{grid(lines)}\n\n{tally(rows)}\n\n{grid(lines_of(rows))}")
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
