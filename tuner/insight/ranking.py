"""The ranking of leaders, then and now: the rank correlation of what leaders scored then and score now, with its doubt.

Spearman's ρ, and three things beside it: how often shuffled leaders agree as well (a permutation test, exact up to
seven leaders), between what bounds ρ lies (95 %, by Fisher's transform with the variance of Bonett & Wright 2000), and
whether noise alone could have reordered them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tuner.caviar.repeats import Plan
from tuner.record.events import Goal, Settings
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.values.numbers import number, percent

Verdict: TypeAlias = Literal["holds", "does not hold", "cannot be told"]
Floats: TypeAlias = NDArray[np.float64]

FEWEST = 3
"""An order of fewer leaders says nothing."""
_CHANCE = 0.05  # so rarely shuffled leaders may agree as well
_RARE = 0.001  # in percent with one digit, less would be told as never
_WEAK = 0.5  # an upper bound below this is no order any more
_EXACT = 7
_DRAWS = 5000
_STANDARD_95 = 1.96
_ALMOST = 1 - 1e-12


@dataclass(frozen=True, kw_only=True)
class Rechecked:
    """A leader then and now; `now` is the mean over its repeats, None where it diverged or has no score."""

    trial: int
    params: Settings
    then: float
    now: float | None
    diverged: int


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Spearman's ρ of two rankings, its 95 % interval, and how often chance alone agrees as well."""

    rho: float
    low: float
    high: float
    chance: float

    @property
    def verdict(self) -> Verdict:
        """Whether the order holds."""
        if self.rho > 0 and self.chance < _CHANCE:
            return "holds"
        return "does not hold" if self.high < _WEAK else "cannot be told"

    @property
    def often(self) -> str:
        """How often chance alone agrees as well, in words."""
        often = percent(self.chance, 1) if self.chance >= _RARE else f"less than {percent(_RARE, 1)}"
        return f"{often} of the time"


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """The leaders of a study trained again today, in their order of then.

    Attributes:
        study: The study's name.
        objective: The score that counts.
        goal: "maximize" or "minimize" it.
        occasion: Which recheck of this study it is, from 1.
        began: When it began, in Unix seconds.
        repeats: How often each was to be trained.
        leaders: Their scores then and now, the best of then first.
        correlation: Spearman's ρ of the two orders, its 95 % interval (Bonett & Wright 2000) and how often chance
            agrees as well; None with fewer than 3 leaders.
        noise: The standard deviation that a seed alone makes, in units of the objective; None with one repeat each.

    Example:
        >>> found = tuner.recheck("night", top=3, progress="off")
        >>> found.correlation.low <= found.correlation.rho <= found.correlation.high
        True
    """

    study: str
    objective: str
    goal: Goal
    occasion: int
    began: float
    repeats: int
    leaders: tuple[Rechecked, ...]
    correlation: RankCorrelation | None
    noise: float | None

    @property
    def verdict(self) -> Verdict:
        """Whether the order of the leaders still holds."""
        return "cannot be told" if self.correlation is None else self.correlation.verdict

    @property
    def sentence(self) -> str:
        """What came out."""
        return " ".join(_sentences(self))


def recheck_of(study: StudyState, plan: Plan | None = None) -> Recheck | None:
    """What a recheck on record says, the latest unless told; None where there was none."""
    plan = plan or planned_recheck(study)
    if plan is None:
        return None
    found = plan.found(study)
    runs = {number: [found.get((number, repeat)) for repeat in range(plan.repeats)] for number in plan.trials}
    rows = [_rechecked(study, number, [run for run in each if run is not None]) for number, each in runs.items()]
    rows.sort(key=lambda row: -study.signed(row.then))
    told = [row for row in rows if row.now is not None or row.diverged]
    then = np.array([study.signed(row.then) for row in told])
    now = np.array([-math.inf if row.now is None or row.diverged else study.signed(row.now) for row in told])
    began = min((run.created_at for each in runs.values() for run in each if run is not None), default=0.0)
    return Recheck(
        study=study.name,
        objective=study.objective,
        goal=study.goal,
        occasion=plan.occasion,
        began=began,
        repeats=plan.repeats,
        leaders=tuple(rows),
        noise=_noise(list(runs.values())),
        correlation=rank_correlation(then, now, seed=study.identity["seed"]) if len(told) >= FEWEST else None,
    )


def planned_recheck(study: StudyState) -> Plan | None:
    """The latest recheck, as it was planned; None where there was none."""
    asked = study.options.get("recheck")
    if asked is None:
        return None
    return Plan(purpose="recheck", trials=tuple(asked["trials"]), repeats=asked["repeats"], occasion=asked["occasion"])


def rank_correlation(then: Floats, now: Floats, seed: int = 0) -> RankCorrelation:
    """Spearman's ρ of paired scores, at least three; 0 where either is all ties.

    >>> rank_correlation(np.arange(6.0), np.arange(6.0)).rho
    1.0
    """
    count, rng = len(then), np.random.default_rng([seed, len(then)])
    rho = float(_spearman(then[None], now[None])[0])
    one, other = _ranks(then[None])[0], _ranks(now[None])[0]
    if count <= _EXACT:
        orders = np.array(list(itertools.permutations(range(count))))
    else:
        orders = rng.permuted(np.tile(np.arange(count), (_DRAWS, 1)), axis=1)
    agree = other[orders] @ (one - one.mean())
    chance = float(np.mean(agree >= float(other @ (one - one.mean())) - 1e-9))
    low, high = interval(rho, count)
    return RankCorrelation(rho=rho, low=low, high=high, chance=chance)


def interval(rho: float, count: int) -> tuple[float, float]:
    """Between what Spearman's ρ of so many pairs lies, 95 % sure; of three pairs nothing is known.

    tanh(artanh ρ ± 1.96 √((1 + ρ²/2)/(n−3))), with a perfect order taken for one that is nearly so.

    >>> interval(1.0, 3), [round(bound, 2) for bound in interval(0.8, 8)]
    ((-1.0, 1.0), [0.09, 0.97])
    """
    if count <= FEWEST:
        return -1.0, 1.0
    nearly = 1 - 1 / count
    reach = _STANDARD_95 * math.sqrt((1 + rho**2 / 2) / (count - 3))
    low = math.tanh(math.atanh(max(min(rho, nearly), -_ALMOST)) - reach)
    high = math.tanh(math.atanh(min(max(rho, -nearly), _ALMOST)) + reach)
    return min(low, rho), max(high, rho)


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _ranks(scores: Floats) -> Floats:
    """Row by row, from 1 on; equal ones share the mean of theirs."""
    from scipy.stats import rankdata  # half a second, for whoever rechecks nothing

    found: Floats = rankdata(scores, axis=1)
    return found


def _spearman(one: Floats, other: Floats) -> Floats:
    """Row by row; 0 where all of a row are ties."""
    a, b = _ranks(one), _ranks(other)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
    found: Floats = np.where(scale > 0, (a * b).sum(axis=1) / np.maximum(scale, 1e-300), 0.0)
    return np.clip(found, -1.0, 1.0)


def _rechecked(study: StudyState, number: int, runs: list[Trial]) -> Rechecked:
    trial = study.trials[number]
    diverged = sum(run.state == "diverged" for run in runs)
    scores = _scores(runs)
    return Rechecked(
        trial=number,
        params=dict(trial.settings),
        then=trial.best_score or 0.0,
        diverged=diverged,
        now=float(np.mean(scores)) if scores else None,
    )


def _scores(runs: list[Trial]) -> list[float]:
    ended = [run.best_score for run in runs if run.ended and run.state != "diverged"]
    return [score for score in ended if score is not None and math.isfinite(score)]


def _noise(runs: list[list[Trial | None]]) -> float | None:
    """What a seed alone changes: the pooled deviation between repeats; None with one repeat each."""
    scores = [_scores([run for run in each if run is not None]) for each in runs]
    repeated = [each for each in scores if len(each) > 1]
    freedom = sum(len(each) - 1 for each in repeated)
    if not freedom:
        return None
    return math.sqrt(sum((len(each) - 1) * float(np.var(each, ddof=1)) for each in repeated) / freedom)


def _sentences(found: Recheck) -> list[str]:
    if found.correlation is None:
        return [f"Fewer than {FEWEST} leaders of {found.study} have a score today: there is no order to compare."]
    of = found.correlation
    told = f"rank correlation {of.rho:.2f} (95 %: {of.low:.2f} to {of.high:.2f}) over {len(found.leaders)} leaders"
    by_chance = f"shuffled leaders agree as well {of.often}"
    verdicts = {
        "holds": "The order of the leaders still holds",
        "does not hold": "The order of the leaders does not hold today",
        "cannot be told": "Whether the order of the leaders still holds cannot be told",
    }
    sentences = [f"{verdicts[of.verdict]}: {told}; {by_chance}."]
    ranked = [each for each in found.leaders if each.now is not None and not each.diverged]
    if ranked:
        best = (max if found.goal == "maximize" else min)(ranked, key=lambda each: each.now or 0.0)
        first = found.leaders[0]
        was = "and was so then" if best.trial == first.trial else f"and then it was trial {first.trial}"
        then = number(first.then)
        sentences.append(f"Trial {best.trial} is the best today with {number(best.now)}, {was}, with {then}.")
    sentences += [f"Trial {each.trial} diverges today." for each in found.leaders if each.diverged]
    apart = float(np.std([each.then for each in found.leaders], ddof=1))
    if of.verdict == "does not hold" and found.noise is None:
        sentences.append(
            "With one repeat each, a seed alone may have reordered them: "
            f"tuner recheck {found.study} --top {len(found.leaders)} --repeats 3 tells."
        )
    elif of.verdict != "holds" and found.noise is not None and apart < found.noise:
        sentences.append(
            f"Then they differed by ±{number(apart, 2)}, and a seed alone changes {found.objective} by "
            f"±{number(found.noise, 2)}: no "
            "order among them could be expected to hold."
        )
    elif of.verdict == "cannot be told":
        more = f"tuner recheck {found.study} --top {2 * len(found.leaders)} --repeats {max(3, found.repeats)}"
        sentences.append(f"More leaders or repeats may tell ({more}).")
    return sentences
