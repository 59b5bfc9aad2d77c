"""The confirmation of a winner: the scores of the best settings under new seeds, and the chance that each is best.

Repeat r has the same seed for all candidates, so the repeats are blocks (Fisher 1935): what a seed does to everybody
alike drops out. With n repeats of k candidates the noise has (n−1)(k−1) degrees of freedom, and the means of the
candidates are t-distributed around what was seen; the chances are shares of draws from that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, stdtrit

from tuner.caviar.repeats import Plan
from tuner.insight.distinction import MOST, about, in_one_value, seeds_to_tell
from tuner.record.events import Goal, Settings
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.values.numbers import count, number, percent

DOUBT = 0.05
"""At most so often are equal settings told apart, however often the repeats are doubled until one is."""
FIRST_LOOK = 5
"""Repeats up to which one is taken to look for the first time."""
_DRAWS = 20_000
_COARSE = 10
"""So many equal reports are not equal for want of digits."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Settings that were trained again: their score in the search, and one a repeat, None where it has none.

    `chance` is that of being the best of all candidates; None where that cannot be told yet.
    """

    trial: int
    params: Settings
    searched: float
    scores: tuple[float | None, ...]
    diverged: int
    chance: float | None

    @property
    def finite(self) -> tuple[float, ...]:
        """The scores there are."""
        return tuple(score for score in self.scores if score is not None)

    @property
    def mean(self) -> float | None:
        """The mean over the repeats that did not diverge."""
        return float(np.mean(self.finite)) if self.finite else None

    @property
    def error(self) -> float | None:
        """The standard error of the mean."""
        found = self.finite
        return float(np.std(found, ddof=1)) / math.sqrt(len(found)) if len(found) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """The leaders of a study trained again with new seeds, best first.

    Attributes:
        study: The study's name.
        objective: The score that counts.
        goal: "maximize" or "minimize" it.
        repeats: How often each was to be trained.
        candidates: The settings with their scores, best mean first, those that diverged last.
        noise: The standard deviation that a seed alone makes, in units of the objective; None with fewer than 2
            repeats.
        noise_bounds: Between what it lies, 95 % sure (χ², with the freedom of Satterthwaite 1946); None where it is not
            known.
        alike: Reports of the repeats where all of them are equal, which a seed should have told apart; by default 0.
        more: How many further repeats would probably tell, where it is too close. None: it is told, cannot be yet, or
            not even 100 would tell.

    Example:
        >>> found = tuner.confirm("night", top=2, repeats=2, progress="off")
        >>> found.best is found.candidates[0], found.noise > 0
        (True, True)
        >>> found.answer.startswith("not distinguishable") or found.confirmed
        True
    """

    study: str
    objective: str
    goal: Goal
    repeats: int
    candidates: tuple[Candidate, ...]
    noise: float | None
    noise_bounds: tuple[float, float] | None = None
    alike: int = 0
    more: int | None = None

    @property
    def best(self) -> Candidate | None:
        """Who did best on average, if anybody has a score; one that diverged comes after all that did not."""
        return next((each for each in self.candidates if each.mean is not None), None)

    @property
    def confirmed(self) -> bool:
        """Whether the best is so with the chance that so many repeats take."""
        compared = sum(each.chance is not None for each in self.candidates)
        return self.best is not None and (self.best.chance or 0.0) >= sure_from(self.repeats, compared)

    @property
    def answer(self) -> str:
        """Whether the best can be told from the others, and if not, how many more seeds would: in one value."""
        best, compared = self.best, sum(each.chance is not None for each in self.candidates)
        if best is None:
            return f"not distinguishable with 1 seed: no repeat has a {self.objective}; `tuner confirm` trains some"
        if self.noise == 0:
            return "not distinguishable: every seed gives the very same scores"
        if compared < 2:
            return f"not distinguishable with {count(len(best.finite), 'seed')}; it takes two settings with two each"
        told = in_one_value(self.repeats, self.more, told=self.confirmed)
        return f"{told}: trial {best.trial} is the best" if self.confirmed else told

    @property
    def sentence(self) -> str:
        """What came out."""
        return " ".join(_sentences(self))


def sure_from(repeats: int, compared: int) -> float:
    """From this chance on the best of so many settings counts as confirmed.

    The doubt is spent over the looks, Σ 1/(j (j+1)) = 1, since whoever is told that it is too close doubles the repeats
    and looks again (Lan and DeMets 1983 spend it so over time). Of two, either may seem the better one.

    >>> [round(sure_from(repeats, compared=2), 3) for repeats in (5, 10, 20)]
    [0.988, 0.996, 0.998]
    """
    look = 1 + max(0, math.ceil(math.log2(repeats / FIRST_LOOK)))
    return 1 - DOUBT / (look * (look + 1)) / (2 if compared == 2 else 1)


def confirmation_of(
    study: StudyState, top: int | None = None, repeats: int | None = None, *, of: tuple[int, ...] = ()
) -> Confirmation | None:
    """What repeats on record say of the best `top` settings, or of all that were repeated; None where none was.

    `of` names trials whose repeats are to be compared in their place, also where there are none.
    """
    parents = [trial.parent for trial in study.trials if trial.purpose == "confirm"]
    if of:
        most = max((parents.count(f"{study.name}/{each}") for each in of), default=0)
        plan = Plan(purpose="confirm", trials=of, repeats=most)
    elif top is None or repeats is None:
        if not parents:
            return None
        again = dict.fromkeys(int(parent.rpartition("/")[2]) for parent in parents if parent)
        plan = Plan(purpose="confirm", trials=tuple(again), repeats=max(map(parents.count, parents)))
    else:
        plan = Plan.to_confirm(study, top, repeats)
    found = plan.found(study)
    runs = {number: [found.get((number, repeat)) for repeat in range(plan.repeats)] for number in plan.trials}
    scores = {number: [_score(run) for run in each] for number, each in runs.items()}
    diverged = {number: sum(_diverged(run) for run in each) for number, each in runs.items()}
    compared = {number: each for number, each in scores.items() if not diverged[number]}
    chances, noise, bounds, more = _chances(study, compared)
    candidates = [
        Candidate(
            trial=number,
            params=dict(study.trials[number].settings),
            searched=study.trials[number].best_score or 0.0,
            scores=tuple(scores[number]),
            diverged=diverged[number],
            chance=chances.get(number),
        )
        for number in plan.trials
    ]
    sure = max(chances.values(), default=0.0) >= sure_from(plan.repeats, len(chances)) if chances else False

    def rank(each: Candidate) -> tuple[bool, bool, float]:
        return each.mean is None, each.diverged > 0, -study.signed(each.mean or 0.0)

    return Confirmation(
        study=study.name,
        objective=study.objective,
        goal=study.goal,
        repeats=plan.repeats,
        noise=noise,
        noise_bounds=bounds,
        alike=_alike(study, [[run for run in each if run is not None] for each in runs.values()]),
        more=None if sure else more,
        candidates=tuple(sorted(candidates, key=rank)),
    )


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _score(run: Trial | None) -> float | None:
    if run is None or not run.ended or _diverged(run) or run.best_score is None or not math.isfinite(run.best_score):
        return None
    return run.best_score


def _diverged(run: Trial | None) -> bool:
    return run is not None and run.state == "diverged"


def _alike(study: StudyState, runs: list[list[Trial]]) -> int:
    """How many reports the repeats have in all, where each has those of the first of the same settings; else 0."""
    reports = 0
    for repeats in runs:
        curves = [study.curve(run) for run in repeats]
        if any((each.steps, each.scores) != (curves[0].steps, curves[0].scores) for each in curves[1:]):
            return 0
        reports += sum(len(each.steps) for each in curves[1:])
    return reports


def _bounds(table: NDArray[np.float64], residual: float) -> tuple[float, float]:
    """Between what a seed's change lies, 95 % sure: by χ², its freedom after Satterthwaite since seeds are shared."""
    repeats, count = table.shape
    between = count * float(table.mean(axis=1).var(ddof=1))
    parts = ((between / count, repeats - 1), ((count - 1) * residual / count, (repeats - 1) * max(1, count - 1)))
    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return 0.0, 0.0
    freedom = variance**2 / sum(part**2 / each for part, each in parts)
    low, high = (math.sqrt(variance * freedom / float(2 * gammaincinv(freedom / 2, share))) for share in (0.975, 0.025))
    return low, high


def _chances(
    study: StudyState, scores: dict[int, list[float | None]]
) -> tuple[dict[int, float], float | None, tuple[float, float] | None, int | None]:
    """The chance of each candidate to be the best; what a seed alone changes, with its bounds; how many more tell."""
    blocks = [row for row in zip(*scores.values(), strict=True) if all(score is not None for score in row)]
    if len(blocks) < 2:
        return {}, None, None, None
    table: NDArray[np.float64] = np.array(blocks, dtype=float)
    repeats, compared = table.shape
    if compared == 1:
        return {}, float(table.std(ddof=1)), _bounds(table, 0.0), None
    means = table.mean(axis=0)
    left = table - means - table.mean(axis=1, keepdims=True) + table.mean()
    freedom = (repeats - 1) * (compared - 1)
    variance = float(np.square(left).sum()) / freedom
    rng = np.random.default_rng([study.identity["seed"], repeats, compared])
    spread = np.sqrt(variance / repeats * freedom / rng.chisquare(freedom, size=(_DRAWS, 1)))
    drawn = study.signed(1.0) * means + spread * rng.standard_normal((_DRAWS, compared))
    best = drawn == drawn.max(axis=1, keepdims=True)
    shares = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    within = float(np.sqrt(table.var(axis=0, ddof=1).mean()))
    more = seeds_to_tell(study.signed(1.0) * means, variance, repeats, sure_from, rng)
    return dict(zip(scores, shares.tolist(), strict=True)), within, _bounds(table, variance), more


def _sentences(found: Confirmation) -> list[str]:
    best = found.best
    if best is None:
        return [f"No repeat of {found.study} has a {found.objective} to compare."]
    seeds = len(best.finite)
    scored = f"{_estimate(best)} over {count(seeds, 'new seed')}"
    others = [each for each in found.candidates if each.mean is not None and each is not best]
    next_ = f"; next is trial {others[0].trial} with {_estimate(others[0])}" if others else ""
    if not others:
        sentences = [f"Trial {best.trial} scores {scored}."]
    elif best.chance is None:
        sentences = [f"Trial {best.trial} has the best mean: {scored}{next_}."]
        sentences.append("How sure that is takes two repeats of at least two settings that do not diverge.")
    elif found.confirmed:
        sentences = [f"Trial {best.trial} is the best with a chance of {_chance(best.chance)}: {scored}{next_}."]
    else:
        sentences = [
            f"It is too close to tell: trial {best.trial} is the best with a chance of {_chance(best.chance)}."
        ]
        sentences.append(f"It scores {scored}{next_}.")
        again = f"tuner confirm {found.study} --top {len(found.candidates)} --repeats"
        if found.more is not None:
            sentences.append(f"{about(found.more).capitalize()} would tell ({again} {found.repeats + found.more}).")
        elif found.noise:
            sentences.append(f"Not even {MOST} more seeds would probably tell: take them for equal.")
        elif found.alike < _COARSE:  # else each repeat is the same again
            sentences.append(f"More repeats may tell ({again} {2 * found.repeats}).")
    better = max if found.goal == "maximize" else min
    searched = better(found.candidates, key=lambda each: each.searched)
    if searched is not best:
        sentences.append(f"The search had trial {searched.trial} first, with {number(searched.searched)}.")
    luck = (best.searched - (best.mean or 0.0)) * (1.0 if found.goal == "maximize" else -1.0)
    if luck > float(stdtrit(max(seeds - 1, 1), 0.95)) * (best.error or math.inf):
        sentences.append(f"Its {number(best.searched)} in the search was partly luck.")
    if found.noise == 0:
        why = (
            "training seems to draw nothing from run.seed, and then they"
            if found.alike >= _COARSE
            else f"{found.objective} is too coarse to show what a seed changes, and they"
        )
        sentences.append(
            f"Repeats of the same settings came to the very same score: {why} cannot tell luck from merit."
        )
    elif found.noise is not None:
        low_high = " to ".join(number(each, 2) for each in found.noise_bounds or ())
        bounds = f" (95 %: {low_high})" if low_high else ""
        sentences.append(f"Another seed alone changes {found.objective} by ±{number(found.noise, 2)}{bounds}.")
    sentences += [
        f"Trial {each.trial} diverged in {each.diverged} of {len(each.scores)} repeats."
        for each in found.candidates
        if each.diverged
    ]
    return sentences


def _estimate(each: Candidate) -> str:
    return number(each.mean) + ("" if each.error is None else f" ± {number(each.error, 2)}")


def _chance(chance: float) -> str:
    return "over 99%" if chance > 0.99 else percent(chance)
