"""Whether our search can be trapped: twenty deceptive bowls, by it, by random search and by Sobol's sequence.

    python benchmarks/traps.py [--seed 0] [--trials 100] [--markdown PAGE]

Seven bowls have a broad decoy and, elsewhere, a narrower and better optimum; seven have the optimum at a face, an edge
or a corner of the space; six score NaN in one half of the space, and the optimum is near that cliff. Of each bowl the
basin of its optimum is known, and with it the highest score outside; a search has reached the basin with the first
trial that scores higher. A measurement: it fails nobody.
"""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc
from search import grid
from throughput import revision

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


HEADERS = ("bowl", "kind", "parameters", "basin", "above all outside", "random's chance", *SAMPLERS)


def rows(several: Sequence[Bowl], seed: int, trials: int) -> Iterator[tuple[str, ...]]:
    """A line a bowl as soon as it is searched, then how many were reached, by kind and in all."""
    tallies: dict[str, list[tuple[float, ...]]] = {}  # by kind: random's chance, and 1 for each search that reached it
    for number, bowl in enumerate(several, start=1):
        found = {name: reached(bowl, sampler, seed, trials) for name, sampler in SAMPLERS.items()}
        chance = 1.0 - (1.0 - bowl.better()) ** trials
        kind = "edge" if bowl.kind in ("face", "corner") else bowl.kind
        tallies.setdefault(kind, []).append((chance, *(float(trial is not None) for trial in found.values())))
        yield (
            str(number),
            bowl.kind,
            ", ".join(bowl.space),
            f"{bowl.basin():.1%}",
            f"{bowl.better():.2%}",
            f"{chance:.0%}",
            *("never" if trial is None else str(trial) for trial in found.values()),
        )
    every = [each for tally in tallies.values() for each in tally]
    for kind, tally in [*tallies.items(), ("all", every)]:
        expected, *counts = np.sum(tally, axis=0)
        shares = (f"{count:.0f} of {len(tally)}" for count in counts)
        yield "reached", kind, "", "", "", f"{expected:.1f} of {len(tally)}", *shares


def main() -> None:
    """Search every bowl three times, and print the table."""
    options = _options()
    lines: list[tuple[str, ...]] = []
    for line in rows(bowls(options.seed), options.seed, options.trials):
        lines.append(line)
        print(" | ".join(line), file=sys.stderr, flush=True)
    page = _page(lines, options)
    print(page)
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(page + "\n")


def _page(lines: Sequence[Sequence[str]], options: Any) -> str:
    about = (
        f"The trial, of {options.trials}, with which a search first scored above all that is outside the basin of the "
        "optimum. Goal: ours does so on at least 19 of 20. `random's chance` is 1 − (1 − share)ⁿ of the share "
        "above all outside; in the last lines stands how many bowls random search is to be expected to reach."
    )
    facts = f"- revision: {revision()}\n- command: {shlex.join(['python', *sys.argv])}"
    return "\n\n".join(["# Deceptive bowls", about, grid([HEADERS, *lines]), facts])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the bowls and of the searches (default: 0)")
    parser.add_argument("--trials", type=int, default=100, help="a search (default: 100)")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    if options.trials < 1:
        parser.error(f"--trials must be at least 1, got {options.trials}")
    return options


if __name__ == "__main__":
    main()
