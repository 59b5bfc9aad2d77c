"""Scoreboard row B5: runs with a known fault, half of them real, and whether the supervisor finds it.

    python benchmarks/diagnosis.py [--seed 1] [--verbose]

Ten runs each are slow, oscillate, diverge, spike and heal, improve or are flat, or got worse by a change. An answer is
right if its first advice names the fault *and* would do the right thing: raise the rate, lower momentum (long swings)
or the rate (alternation), go back to before the onset, keep the hands off, go back to before the change. Real runs
train the network of `tuner.workloads`; the others are textbook curves with AR(1) noise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rows import Goal, Row, grid, lines_of

from tuner.panda.supervisor import Advice, Facts, Series, diagnose
from tuner.workloads import digits
from tuner.workloads.network import Network

Array = np.ndarray[Any, np.dtype[np.float64]]
EPOCHS = 60


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run, when it is looked at, and what its first advice must be."""

    kind: str
    made: str
    looks: list[Facts]
    right: Callable[[Advice], bool]


def raises_rate(advice: Advice) -> bool:
    return advice.symptom == "slow" and advice.settings.get("learning_rate", 0.0) > 0


def lowers(name: str) -> Callable[[Advice], bool]:
    return lambda advice: advice.symptom == "oscillating" and list(advice.settings) == [name]


def leaves_alone(symptom: str) -> Callable[[Advice], bool]:
    return lambda advice: advice.symptom == symptom and advice.urgency == "none"


def goes_back(symptom: str, before: int) -> Callable[[Advice], bool]:
    return lambda advice: (
        advice.symptom == symptom
        and advice.urgency == "now"
        and advice.revert_step is not None
        and advice.revert_step <= before
    )


def facts(values: Array, *, every: int = 1, left: int | None = None, **more: Any) -> Facts:
    """A run that reported `values` as its train_loss at steps `every`, 2·`every`, …, with a checkpoint every tenth."""
    steps = every * np.arange(1, len(values) + 1)
    scores = {"train_loss": Series(steps=steps, values=np.asarray(values, dtype=np.float64)), **more.pop("scores", {})}
    told: dict[str, Any] = {
        "study": "one",
        "objective": "train_loss",
        "goal": "minimize",
        "settings": {"learning_rate": 0.1, "beta": 0.9},
        "steps_left": every * len(values) if left is None else left,
        "checkpoints": [0, *steps[9::10].tolist()],
    }
    return Facts(scores=scores, **{**told, **more})


# ── real runs ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class Trained:
    """A network on the digits and what it has reported so far; averaged weights have a half-life of two epochs."""

    network: Network
    settings: dict[str, Any]
    average: Array | None = None

    def __post_init__(self) -> None:
        self.losses: list[float] = []
        self.averaged: list[float] = []
        self.dev: list[float] = []
        self.cosines: list[float] = []

    def epochs(self, count: int, *, wrong_labels: bool = False, **changed: Any) -> Trained:
        x, y = digits.load(0).train
        self.settings |= changed
        for _ in range(count):
            labels = (y + 1) % 10 if wrong_labels else y
            self.losses.append(self.network.train_epoch(x, labels, **self.settings))
            self.cosines.append(self.network.update_cos)
            self._average()
        return self

    def branch(self) -> Trained:
        """Another run from here: the same weights, the same batches to come."""
        twin = Network(self.network.sizes, seed=0)
        twin.load_state_dict(self.network.state_dict())
        other = Trained(twin, dict(self.settings), None if self.average is None else self.average.copy())
        other.losses, other.cosines = list(self.losses), list(self.cosines)
        other.dev, other.averaged = list(self.dev), list(self.averaged)
        return other

    def facts(self, **more: Any) -> Facts:
        cosines = Series(steps=np.arange(1, len(self.cosines) + 1), values=np.array(self.cosines))
        return facts(np.array(self.losses), settings=self.settings, scores={"update_cos": cosines}, **more)

    def _average(self) -> None:
        now = self.network.parameters
        self.average = now.copy() if self.average is None else 0.7 * self.average + 0.3 * now
        own = now.copy()
        self.dev.append(self.network.evaluate(*digits.load(0).dev)[0])
        now[:] = self.average
        self.averaged.append(self.network.evaluate(*digits.load(0).dev)[0])
        now[:] = own


def trained(seed: int, epochs: int, sizes: tuple[int, ...] = (64, 64, 10), **settings: Any) -> Trained:
    return Trained(Network(sizes, seed=seed), {"learning_rate": 0.1, "beta": 0.9, **settings}).epochs(epochs)


def series_of(values: list[float]) -> Series:
    return Series(steps=np.arange(1, len(values) + 1), values=np.array(values))


# ── constructed curves ──────────────────────────────────────────────────────────────────────────


def noise(rng: np.random.Generator, count: int, phi: float, size: float) -> Array:
    """AR(1) of marginal standard deviation `size`."""
    shocks = rng.standard_normal(count + 200) * size * np.sqrt(1 - phi**2)
    for place in range(1, len(shocks)):
        shocks[place] += phi * shocks[place - 1]
    kept: Array = shocks[200:]
    return kept


def descent(rng: np.random.Generator, count: int, *, phi: float, size: float, floor: float = 0.3) -> Array:
    """A power law with noise, from about 2.6."""
    return floor + 2.3 * (1 + np.arange(count) / 10) ** -0.7 + noise(rng, count, phi, size)


def rolling(rng: np.random.Generator, steps: int, *, rate: float, beta: float, grain: float) -> Array:
    """Loss of averaged momentum on a noisy quadratic with curvatures 1, 0.3, 0.1."""
    curvature = np.array([1.0, 0.3, 0.1])
    place, velocity, losses = np.ones(3) * 2, np.zeros(3), np.empty(steps)
    for step in range(steps):
        velocity = beta * velocity + (1 - beta) * (curvature * place + grain * rng.standard_normal(3))
        place = place - rate * velocity
        losses[step] = 0.05 + 0.5 * float(curvature @ place**2) + 0.005 * rng.standard_normal()
    return losses


def alternation(rng: np.random.Generator, count: int, size: float) -> Array:
    """A slow descent with a swing from report to report, of a size that comes and goes."""
    swing = (-1.0) ** np.arange(count) * size * (1 + 0.3 * noise(rng, count, 0.9, 1.0))
    return descent(rng, count, phi=0.0, size=size / 2) + swing


# ── the kinds ───────────────────────────────────────────────────────────────────────────────────


def slow(seed: int) -> Iterator[Case]:
    for turn, rate in enumerate((0.1 / 30, 0.1 / 30, 0.1 / 100, 0.1 / 100, 0.1 / 300)):
        run = trained(seed + turn, EPOCHS // 2, learning_rate=rate)
        yield Case(kind="slow", made=f"digits, learning rate {rate:.2g}", looks=[run.facts()], right=raises_rate)
    for turn in range(5):
        rng = np.random.default_rng([seed, 1, turn])
        phi, reach = rng.choice([0.0, 0.5, 0.8]), rng.uniform(0.3, 1.5)
        values = 0.3 + 2.3 * np.exp(-reach * np.arange(400) / 400) + noise(rng, 400, phi, 0.05)
        yield Case(
            kind="slow",
            made=f"exponential over {reach:.1f} time constants, φ {phi}",
            looks=[facts(values)],
            right=raises_rate,
        )


def oscillating(seed: int) -> Iterator[Case]:
    for turn, l2 in enumerate((1.5, 5.0, 5.0)):
        run = trained(seed + turn, 120, sizes=(64, 10), learning_rate=1.0, beta=0.999, l2=l2)
        yield Case(
            kind="oscillating",
            made=f"digits, softmax regression, β 0.999, l2 {l2}",
            looks=[run.facts()],
            right=lowers("beta"),
        )
    for turn, beta in enumerate((0.99, 0.995, 0.998, 0.999)):
        rng = np.random.default_rng([seed, 2, turn])
        values = rolling(rng, 800, rate=1.0, beta=beta, grain=0.02)
        settings = {"learning_rate": 1.0, "beta": beta}
        yield Case(
            kind="oscillating",
            made=f"noisy quadratic, β {beta}",
            looks=[facts(values, settings=settings)],
            right=lowers("beta"),
        )
    for turn in range(3):
        values = alternation(np.random.default_rng([seed, 3, turn]), 200, 0.1)
        yield Case(kind="oscillating", made="alternates", looks=[facts(values)], right=lowers("learning_rate"))


def diverging(seed: int) -> Iterator[Case]:
    for turn, rate in enumerate((5.0, 10.0, 30.0)):
        run = trained(seed + turn, 15).epochs(15, learning_rate=rate)
        yield Case(
            kind="diverging",
            made=f"digits, rate raised to {rate} at epoch 15",
            looks=[run.facts()],
            right=goes_back("diverged", 16),
        )
    for turn, rate in enumerate((10.0, 30.0)):
        run = trained(seed + turn, 30, learning_rate=rate)
        yield Case(
            kind="diverging",
            made=f"digits, rate {rate} from the start",
            looks=[run.facts()],
            right=goes_back("diverged", 5),
        )
    for turn in range(5):
        rng = np.random.default_rng([seed, 4, turn])
        onset, pace = 300, rng.uniform(0.03, 0.06)
        values = descent(rng, 400, phi=0.5, size=0.05)
        values[onset:] += 0.05 * np.exp(pace * np.arange(100)) - 0.05
        if turn == 4:
            values[390:] = np.nan
        yield Case(
            kind="diverging",
            made=f"grows by {pace:.1%} a step" + (" to nan" if turn == 4 else ""),
            looks=[facts(values)],
            right=goes_back("diverged", 395 if turn == 4 else 350),
        )


def spiking(seed: int) -> Iterator[Case]:
    for turn in range(4):
        run = trained(seed + turn, 40, batch_size=128, learning_rate=0.05)
        run.epochs(1, wrong_labels=True)
        looks = [run.epochs(after, wrong_labels=False).facts(left=200) for after in (2, 10, 24)]
        yield Case(
            kind="spiking, heals", made="digits, one epoch with wrong labels", looks=looks, right=leaves_alone("spike")
        )
    for turn in range(6):
        rng = np.random.default_rng([seed, 5, turn])
        values, onset = descent(rng, 900, phi=rng.choice([0.0, 0.5]), size=0.05), 500
        values[onset:] += rng.uniform(1.0, 3.0) * np.exp(-np.arange(400) / rng.uniform(3, 12))  # BLOOM: back in 30
        looks = [facts(values[:stop], left=1800 - stop) for stop in (onset + 5, onset + 100, onset + 300)]
        yield Case(
            kind="spiking, heals", made="a jump that decays in 3 to 12 steps", looks=looks, right=leaves_alone("spike")
        )


def well(seed: int) -> Iterator[Case]:
    for turn, rate in enumerate((0.1, 0.2, 0.3)):
        run = trained(seed + turn, EPOCHS // 2, learning_rate=rate)
        yield Case(
            kind="improving or flat",
            made=f"digits, rate {rate}: improves",
            looks=[run.facts()],
            right=leaves_alone("improving"),
        )
    for turn in range(2):
        rng = np.random.default_rng([seed, 6, turn])
        values = descent(rng, 400, phi=0.5, size=0.01)
        yield Case(
            kind="improving or flat", made="power law: improves", looks=[facts(values)], right=leaves_alone("improving")
        )
    for turn, phi in enumerate((0.0, 0.3, 0.6, 0.8, 0.9)):
        rng = np.random.default_rng([seed, 7, turn])
        values = 0.3 + 2.3 * np.exp(-np.arange(1500) / 40) + noise(rng, 1500, phi, 0.03)
        look = facts(values, left=500, smallest_gain=0.05)
        yield Case(
            kind="improving or flat",
            made=f"at its floor, φ {phi}: flat",
            looks=[look],
            right=lambda advice: advice.symptom == "flat",
        )


def worse(seed: int) -> Iterator[Case]:
    changes: tuple[dict[str, Any], ...] = (dict(learning_rate=1e-5), dict(l2=20.0), dict(l2=50.0))
    for turn, change in enumerate(changes):
        control = trained(seed + turn, 15)
        run = control.branch()
        before = dict(control.settings)
        control.epochs(150)
        run.epochs(150, **change)
        look = run.facts(
            last_change_step=15,
            previous_settings=before,
            comparison="averaged",
            control={"averaged_dev_loss": series_of(control.averaged)},
        )
        look = replace(
            look, objective="averaged_dev_loss", scores={**look.scores, "averaged_dev_loss": series_of(run.averaged)}
        )
        yield Case(
            kind="worse after a change",
            made=f"digits, branches, averaged weights, {change}",
            looks=[look],
            right=goes_back("worse", 15),
        )
    for turn in range(4):
        rng = np.random.default_rng([seed, 8, turn])
        shared, phi = noise(rng, 800, 0.5, 0.1), rng.choice([0.0, 0.5, 0.8])
        old = 0.3 + 2.3 * (1 + np.arange(800) / 10) ** -0.7 + shared
        new = old + noise(rng, 800, phi, 0.03) + 0.05 * (np.arange(800) >= 200)
        look = facts(
            new,
            last_change_step=200,
            previous_settings={"learning_rate": 0.1, "beta": 0.5},
            control={"train_loss": series_of(old.tolist())},
            comparison="same_rate",
        )
        yield Case(
            kind="worse after a change",
            made=f"branches on the same batches, φ {phi}",
            looks=[look],
            right=goes_back("worse", 200),
        )
    for turn, l2 in enumerate((10.0, 20.0, 50.0)):
        run = trained(seed + turn, 60)
        before = dict(run.settings)
        run.epochs(140, l2=l2)
        look = run.facts(last_change_step=60, previous_settings=before)
        look = replace(look, objective="dev_loss", scores={**look.scores, "dev_loss": series_of(run.dev)})
        yield Case(
            kind="worse after a change", made=f"digits, one path, l2 {l2}", looks=[look], right=goes_back("worse", 60)
        )


KINDS = (slow, oscillating, diverging, spiking, well, worse)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="print the sentence of every wrong answer")
    options = parser.parse_args()
    started, rows = time.perf_counter(), []
    for kind in KINDS:
        cases = list(kind(1000 * options.seed))
        right = 0
        for case in cases:
            answers = [diagnose(look)[0] for look in case.looks]
            good = all(case.right(answer) for answer in answers)
            right += good
            if options.verbose and not good:
                for answer in answers:
                    print(f"  {case.kind}: {case.made}\n    {answer.symptom}: {answer.sentence}\n    {answer.command}")
        rows.append((cases[0].kind, right, len(cases)))
    print(f"\nDiagnosis of constructed runs, seed {options.seed}, {time.perf_counter() - started:.0f} s\n")
    right, count = sum(row[1] for row in rows), sum(row[2] for row in rows)
    print(grid([("kind", "right", "of"), *((name, str(good), str(of)) for name, good, of in rows)]))
    all_of_them = Row(f"right in all, of {count}", 100 * right / count, "%", goal=Goal(at_least=90))
    print(f"\n{grid(lines_of([all_of_them]))}")


if __name__ == "__main__":
    main()
