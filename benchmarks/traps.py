"""Whether our search can be trapped: twenty deceptive bowls, by it, by random search and by Sobol's sequence.

    python benchmarks/traps.py [--seed 0] [--seeds 5] [--trials 100] [--markdown PAGE]

Seven bowls have a broad decoy and, elsewhere, a narrower and better optimum; seven have the optimum at a face, an edge
or a corner of the space; six score NaN in one half of the space, and the optimum is near that cliff. Of each bowl the
basin of its optimum is known, and with it the highest score outside; a search has reached the basin with the first
trial that scores higher. A measurement: it fails nobody.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rows import Goal, Measured, Row, command, facts_of, grid, lines_of, revision, written
from scipy.stats import qmc

import tuner
from tuner import Space, linear, log, log_one_minus

Array: TypeAlias = NDArray[np.float64]

SAMPLERS = {"tuner": "coarse_to_fine", "random": "random", "sobol": "sobol"}
PARAMETERS = {
    "learning_rate": log(1e-5, 1.0),
    "beta": log_one_minus(0.5, 0.999),
    "dropout": linear(0.0, 0.8),
    "l2": log(1e-7, 0.1),
}
_DECOY, _DECOY_WIDTH = 0.6, 0.8  # what the decoy reaches, where the optimum reaches 1; how far it takes to fall by 1
_FAR = 0.5  # of the range of some parameter, at least, between decoy and optimum
_NARROW = 0.05  # of the space: the basin beside a decoy
_BEST = 0.01  # of the space: the basin where there is no decoy
_NEAR = 0.02  # of the range: from an optimum to the cliff
_POINTS = 15  # 2^15 Sobol points say how large a part of the space is


@dataclass(frozen=True, kw_only=True)
class Cliff:
    """Half of the unit cube: beyond the plane through its centre every score is NaN."""

    normal: Array

    def beyond(self, points: Array) -> NDArray[np.bool_]:
        """Whether each point, a row, has no score."""
        found: NDArray[np.bool_] = (points - 0.5) @ self.normal > 0
        return found


@dataclass(frozen=True, kw_only=True)
class Bowl:
    """Scores over the unit cube, 1 at the optimum; an ellipsoid's distance squared is what is lost away from it."""

    kind: str
    space: Space
    optimum: Array
    widths: Array
    """How far from the optimum the score has fallen to 0, by parameter, as shares of its range."""
    decoy: Array | None = None
    """The centre of a broad bowl that reaches less; the higher of the two counts."""
    cliff: Cliff | None = None
    line: float = _DECOY
    """The highest score outside the basin. Beside a decoy the basin is where the narrow bowl is above the broad one,
    so this is what the decoy reaches. Elsewhere it is the best hundredth of the space, convex, around the optimum."""

    def narrow(self, points: Array) -> Array:
        """The bowl around the optimum alone."""
        found: Array = 1.0 - (((points - self.optimum) / self.widths) ** 2).sum(-1)
        return found

    def broad(self, points: Array) -> Array:
        """The decoy alone; nowhere above anything where there is none."""
        if self.decoy is None:
            return np.full(len(points), -np.inf)
        found: Array = _DECOY - (((points - self.decoy) / _DECOY_WIDTH) ** 2).sum(-1)
        return found

    def scores(self, points: Array) -> Array:
        """The score of each point of the unit cube, a row; NaN beyond the cliff."""
        found = np.maximum(self.narrow(points), self.broad(points))
        return found if self.cliff is None else np.where(self.cliff.beyond(points), np.nan, found)

    def better(self) -> float:
        """The share of the space that scores higher than all outside the basin."""
        return float(np.mean(self.scores(_even(len(self.space))) > self.line))

    def basin(self) -> float:
        """The share of the space that is the basin."""
        points = _even(len(self.space))
        return self.better() if self.decoy is None else float(np.mean(self.narrow(points) > self.broad(points)))


@functools.cache
def _even(parameters: int) -> Array:
    points: Array = qmc.Sobol(parameters, seed=0).random_base2(_POINTS)
    return points


# ── the list ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def bowls(seed: int) -> list[Bowl]:
    """The twenty of a seed: seven with a decoy, seven with the optimum at the edge, six with a cliff."""
    makers = [*[_with_decoy] * 7, *[_at_the_edge] * 7, *[_with_cliff] * 6]
    return [maker(np.random.default_rng([seed, number]), number) for number, maker in enumerate(makers)]


def _space(rng: np.random.Generator, number: int) -> Space:
    names = rng.permutation(list(PARAMETERS))[: 2 + number % 3]
    return Space(**{name: PARAMETERS[name] for name in PARAMETERS if name in names})


def _with_decoy(rng: np.random.Generator, number: int) -> Bowl:
    space = _space(rng, number)
    optimum = decoy = rng.uniform(0.1, 0.9, len(space))
    while np.abs(decoy - optimum).max() < _FAR:
        optimum, decoy = rng.uniform(0.1, 0.9, (2, len(space)))
    shape = rng.uniform(0.7, 1.3, len(space))
    bowl = Bowl(kind="decoy", space=space, optimum=optimum, decoy=decoy, widths=shape)
    low, high = 0.0, 1.0
    for _ in range(20):  # by halves: the wider, the larger the basin
        middle = (low + high) / 2
        bowl = replace(bowl, widths=middle * shape)
        low, high = (low, middle) if bowl.basin() > _NARROW else (middle, high)
    return bowl


def _at_the_edge(rng: np.random.Generator, number: int) -> Bowl:
    space = _space(rng, number)
    optimum = rng.uniform(0.1, 0.9, len(space))
    faces = rng.permutation(len(space))[: int(rng.integers(1, len(space) + 1))]
    optimum[faces] = rng.integers(0, 2, len(faces))
    kind = "corner" if len(faces) == len(space) else "face" if len(faces) == 1 else "edge"
    return _lined(Bowl(kind=kind, space=space, optimum=optimum, widths=rng.uniform(0.3, 1.0, len(space))))


def _with_cliff(rng: np.random.Generator, number: int) -> Bowl:
    """Every other cliff stands across one parameter, the rest across all of them."""
    space = _space(rng, number)
    normal = rng.normal(size=len(space)) if number % 2 else np.eye(len(space))[rng.integers(len(space))]
    normal *= rng.choice([-1.0, 1.0]) / np.linalg.norm(normal)
    optimum = np.full(len(space), 2.0)
    while optimum.min() < 0.05 or optimum.max() > 0.95:
        point = rng.uniform(0.1, 0.9, len(space))
        optimum = point - ((point - 0.5) @ normal + _NEAR) * normal
    widths = rng.uniform(0.3, 1.0, len(space))
    return _lined(Bowl(kind="cliff", space=space, optimum=optimum, widths=widths, cliff=Cliff(normal=normal)))


def _lined(bowl: Bowl) -> Bowl:
    """The bowl with the line under the best hundredth of the space."""
    scores = np.nan_to_num(bowl.scores(_even(len(bowl.space))), nan=-np.inf)
    return replace(bowl, line=float(np.sort(scores)[-round(_BEST * len(scores)) - 1]))


# ── the searches ─────────────────────────────────────────────────────────────────────────────────────────────────────


def reached(bowl: Bowl, sampler: str, seed: int, trials: int) -> int | None:
    """The trial, counted from 1, that is in the basin beyond doubt; None where none of them is."""
    scores: list[float] = []

    def train(run: tuner.Run) -> None:
        scores.append(float(bowl.scores(np.array([bowl.space.to_unit(run.params)]))[0]))
        run.report(score=scores[-1])

    with tempfile.TemporaryDirectory(prefix="traps-") as results:
        tuner.sweep(
            train,
            bowl.space,
            name="trap",
            objective="score",
            trials=trials,
            sampler=sampler,
            stopping="off",
            executor="local",
            clock="virtual",
            parallel=1,
            seed=seed,
            results=results,
            progress="off",
        ).close()
    if len(scores) != trials:
        raise RuntimeError(f"{len(scores)} of {trials} trials were trained")
    return next((trial for trial, score in enumerate(scores, start=1) if score > bowl.line), None)


_KINDS = {
    "decoy": ("decoy",),
    "edge": ("edge", "face", "corner"),
    "cliff": ("cliff",),
    "all": ("decoy", "edge", "face", "corner", "cliff"),
}
HEADERS = ("bowl", "kind", "parameters", "basin", "above all outside", "random's chance", *SAMPLERS)


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A bowl, and the trial in which each search reached it."""

    bowl: Bowl
    chance: float
    """Random search's, of reaching it."""
    found: Mapping[str, int | None]

    def cells(self, number: int) -> tuple[str, ...]:
        """A line of the table."""
        bowl = self.bowl
        shares = f"{bowl.basin():.1%}", f"{bowl.better():.2%}", f"{self.chance:.0%}"
        trials = ("never" if trial is None else str(trial) for trial in self.found.values())
        return str(number), bowl.kind, ", ".join(bowl.space), *shares, *trials


def searched(seed: int, trials: int) -> Iterator[Searched]:
    """The bowls of a seed, each as soon as every search of it is over."""
    for bowl in bowls(seed):
        found = {name: reached(bowl, sampler, seed, trials) for name, sampler in SAMPLERS.items()}
        yield Searched(bowl=bowl, chance=1.0 - (1.0 - bowl.better()) ** trials, found=found)


def tallies(several: Sequence[Searched]) -> Iterator[tuple[str, ...]]:
    """How many were reached, by kind and in all."""
    kinds = {kind: [each for each in several if each.bowl.kind in kinds] for kind, kinds in _KINDS.items()}
    for kind, those in kinds.items():
        counts = (sum(each.found[name] is not None for each in those) for name in SAMPLERS)
        expected = f"{sum(each.chance for each in those):.1f} of {len(those)}"
        yield "reached", kind, "", "", "", expected, *(f"{count} of {len(those)}" for count in counts)


def goals(by_seed: Mapping[int, Sequence[Searched]]) -> list[Row]:
    """How many of the twenty ours reaches, and random search beside it: the mean over seeds, the least and the most."""
    means = {}
    for name in SAMPLERS:
        counts = [sum(each.found[name] is not None for each in several) for several in by_seed.values()]
        means[name] = Measured(float(np.mean(counts)), min(counts), max(counts))
    what = f"bowls reached, of 20; mean over seeds {', '.join(map(str, by_seed))}"
    return [Row(what, means["tuner"], beside="random", other=means["random"], goal=Goal(at_least=19))]


def main() -> None:
    """Search every bowl three times, and print the tables."""
    options = _options()
    by_seed: dict[int, list[Searched]] = {}
    for seed in range(options.seed, options.seed + options.seeds):
        by_seed[seed] = []
        for number, each in enumerate(searched(seed, options.trials), start=1):
            by_seed[seed].append(each)
            print(" | ".join(each.cells(number)), file=sys.stderr, flush=True)
    page = _page(by_seed, options)
    print(page)
    written(options.markdown, page + "\n")


def _page(by_seed: Mapping[int, Sequence[Searched]], options: Any) -> str:
    about = (
        f"The trial, of {options.trials}, with which a search first scored above all that is outside the basin of the "
        "optimum. `random's chance` is 1 − (1 − share)ⁿ of the share above all outside; in the last lines stands how "
        "many bowls random search is to be expected to reach."
    )
    parts = ["# Deceptive bowls", about, grid(lines_of(goals(by_seed)))]
    for seed, several in by_seed.items():
        lines = [each.cells(number) for number, each in enumerate(several, start=1)]
        parts += [f"Seed {seed}:", grid([HEADERS, *lines, *tallies(several)])]
    return "\n\n".join([*parts, facts_of({"revision": revision(), "command": command()})])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the bowls and of the searches (default: 0)")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from --seed up (default: 1)")
    parser.add_argument("--trials", type=int, default=100, help="a search (default: 100)")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    for name in ("trials", "seeds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(options, name)}")
    return options


if __name__ == "__main__":
    main()
