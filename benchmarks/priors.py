"""What a likely value is worth: bowls searched with a good one, with none, and with one at the far corner.

    python benchmarks/priors.py [--bowls 20] [--seeds 2] [--trials 50] [--markdown PAGE]

Each bowl has two to four parameters and its optimum inside the space, where it scores 1; an even draw scores e⁻² or so.
A good likely value misses the optimum as practice does, by a tenth of the range or so; a wrong one is the end of the
range that is further away, of every parameter at once. A measurement: it fails nobody.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from rows import command, facts_of, grid, revision, written
from traps import PARAMETERS

import tuner
from tuner import Space

Array: TypeAlias = NDArray[np.float64]

KINDS = ("good", "none", "wrong")
POINTS = (4, 8, 16, 50)
_MISS = 0.1  # of the range: how far off practice is
_CLOSE = 0.1  # what the best may lack to count as found
_LOSS = 2.0  # of an even draw, on average: −log of its score


@dataclass(frozen=True, kw_only=True)
class Bowl:
    """Scores over a space: exp(−Σ wⱼ·(uⱼ − oⱼ)²) at u of the unit cube, with the optimum o."""

    space: Space
    optimum: Array
    weights: Array
    miss: Array

    @classmethod
    def of(cls, seed: int) -> Bowl:
        """The bowl of a seed."""
        rng = np.random.default_rng([seed, 13])
        names = sorted(rng.choice(len(PARAMETERS), size=int(rng.integers(2, 5)), replace=False))
        space = Space(**{list(PARAMETERS)[name]: list(PARAMETERS.values())[name] for name in names})
        optimum = rng.uniform(0.15, 0.85, len(space))
        weights = rng.uniform(0.5, 2.0, len(space))
        away = weights @ (1 / 12 + (optimum - 0.5) ** 2)  # of an even draw, in expectation
        miss = _MISS * rng.standard_normal(len(space))
        return cls(space=space, optimum=optimum, weights=_LOSS * weights / away, miss=miss)

    def score(self, params: tuner.Settings) -> float:
        """What these settings score."""
        away = np.array(self.space.to_unit(params)) - self.optimum
        return float(np.exp(-self.weights @ away**2))

    def searched(self, kind: str) -> Space:
        """The space as a user would give it who knows well, knows nothing, or is wrong."""
        if kind == "none":
            return self.space
        places = np.clip(self.optimum + self.miss, 0, 1) if kind == "good" else (self.optimum < 0.5).astype(float)
        likely = self.space.from_unit(places)
        return Space(**{name: replace(each, likely=likely[name]) for name, each in self.space.items()})


def regrets(bowl: Bowl, kind: str, seed: int, trials: int) -> Array:
    """What the best so far lacks to 1, after every trial of one search."""
    scores: list[float] = []

    def train(run: tuner.Run) -> None:
        scores.append(bowl.score(run.params))
        run.report(score=scores[-1])

    tuner.sweep(
        train,
        bowl.searched(kind),
        name="prior",
        objective="score",
        trials=trials,
        stopping="off",
        executor="local",
        clock="virtual",
        parallel=1,
        seed=seed,
        store="memory",
        progress="off",
    ).close()
    found: Array = 1.0 - np.maximum.accumulate(scores)
    return found


def rows(bowls: int, seeds: int, trials: int) -> Iterator[tuple[str, ...]]:
    """A line a kind of likely value."""
    pairs = [(bowl, seed) for bowl in range(bowls) for seed in range(seeds)]
    traces = {kind: np.array([regrets(Bowl.of(bowl), kind, seed, trials) for bowl, seed in pairs]) for kind in KINDS}
    for kind, trace in traces.items():
        cells = []
        for point in (point for point in POINTS if point <= trials):
            less = _mean(trace[:, point - 1] - traces["none"][:, point - 1])
            cells += [f"{trace[:, point - 1].mean():.3f}", "" if kind == "none" else less]
        sooner = _sooner(trace) - _sooner(traces["none"])
        yield kind, str(len(pairs)), *cells, f"{_sooner(trace).mean():.1f}", "" if kind == "none" else _mean(sooner, 1)


def _sooner(trace: Array) -> Array:
    """The trial, counted from 1, that first lacks no more than a tenth; one beyond the last where none does."""
    found: Array = (trace > _CLOSE).sum(axis=1) + 1.0
    return found


def _mean(differences: Array, digits: int = 3) -> str:
    error = differences.std(ddof=1) / np.sqrt(len(differences)) if len(differences) > 1 else np.nan
    return f"{differences.mean():+.{digits}f} ± {error:.{digits}f}"


def main() -> None:
    """Search every bowl with each kind of likely value, and print the table."""
    options = _options()
    points = [point for point in POINTS if point <= options.trials]
    headers = ("likely", "searches", *(cell for point in points for cell in (str(point), "less none")))
    headers = (*headers, f"trials to {_CLOSE}", "less none")
    page = _page([headers, *rows(options.bowls, options.seeds, options.trials)])
    print(page)
    written(options.markdown, page + "\n")


def _page(lines: Sequence[Sequence[str]]) -> str:
    about = (
        "1 less the best score after so many trials, and the paired difference to a search that knows nothing, "
        "± one standard error."
    )
    facts = facts_of({"revision": revision(), "command": command()})
    return "\n\n".join(["# Likely values", about, grid(lines), facts])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bowls", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--seeds", type=int, default=2, help="searches of each (default: 2)")
    parser.add_argument("--trials", type=int, default=50, help="a search (default: 50)")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    if min(options.bowls, options.seeds, options.trials) < 1:
        parser.error("--bowls, --seeds and --trials must be at least 1")
    return options


if __name__ == "__main__":
    main()
