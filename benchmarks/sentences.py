"""Every kind of sentence that explain, confirm and recheck can say, on searches whose truth is known.

Each kind is simulated twice: where it would be false, which gives the share of false claims, and where it is
true, which gives how often it is then said. A simulation is a study as its record would have it; nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tuner.caviar.repeats import Plan
from tuner.insight.confirmation import Confirmation, confirmation_of
from tuner.insight.divergence import divergences_of
from tuner.insight.edges import edges_of
from tuner.insight.fit import Fit, fit_of
from tuner.insight.importance import Importance, importance_of
from tuner.insight.model import Model
from tuner.insight.ranking import rank_correlation, recheck_of
from tuner.insight.recommendation import recommended_of
from tuner.insight.winner import winner_of
from tuner.insight.worth import Worth, worth_of
from tuner.record import events as rec
from tuner.record.curve import Curve
from tuner.record.leaders import is_plateau, leaders, sharing
from tuner.record.reports import pack_reports
from tuner.record.state import StudyState
from tuner.space.constructors import linear
from tuner.space.space import Space

LIMIT = 0.05
SPACE = Space(a=linear(-1.0, 2.0), b=linear(-1.0, 2.0), c=linear(-1.0, 2.0))  # no end is a natural one
Merit = Callable[[Mapping[str, Any]], float]
Array = np.ndarray[Any, np.dtype[np.float64]]


# ── studies ─────────────────────────────────────────────────────────────────────────────────────


def study_of(goal: rec.Goal = "maximize", space: Space = SPACE) -> StudyState:
    study = StudyState()
    identity = {"space": space.to_dict(), "objective": "score", "goal": goal, "seed": 0}
    study.apply(
        rec.StudyOpened(
            name="s", kind="sweep", identity=identity, function="m:f", source_sha256="", version="0", at=0.0
        )
    )
    return study


def add(
    study: StudyState,
    params: Mapping[str, Any],
    scores: Sequence[float],
    *,
    state: rec.TrialState = "completed",
    purpose: rec.Purpose = "search",
    parent: str | None = None,
    seed: int = 0,
) -> None:
    """One more trial, with what it reported step by step."""
    number = len(study.trials)
    study.apply(
        rec.TrialCreated(
            trial=number,
            purpose=purpose,
            round=None,
            parent=parent,
            seed=seed,
            params=dict(params),
            seen=0,
            why="",
            memo=None,
            at=0.0,
        )
    )
    study.apply(
        rec.SegmentOpened(
            trial=number,
            segment=0,
            parent_segment=None,
            from_step=0,
            checkpoint=None,
            cause="start",
            by="tuner",
            why="",
            params=None,
            at=0.0,
        )
    )
    rows = [(step, "score", score, 0.0) for step, score in enumerate(scores, start=1)]
    study.apply(pack_reports(number, 0, rows))
    trial = study.trials[number]
    study.apply(
        rec.TrialEnded(
            trial=number,
            segment=0,
            state=state,
            why="over",
            step=len(rows),
            best_step=trial.best_step,
            best_score=trial.best_score,
            started=0.0,
            seconds=1.0,
            node="n",
            error="",
            traceback="",
            at=1.0,
        )
    )


def drawn(rng: np.random.Generator, space: Space = SPACE) -> dict[str, Any]:
    return dict(space.from_unit(rng.random(len(space)).tolist()))


def unit(value: Any) -> float:
    """Where a setting lies in its range."""
    return (float(value) + 1.0) / 3.0


def searched(
    rng: np.random.Generator,
    merit: Merit,
    *,
    trials: int,
    noise: float,
    goal: rec.Goal = "maximize",
    early: float = 0.0,
    study: StudyState | None = None,
) -> StudyState:
    """A random search over trials of eight steps, a share of which was stopped `early`, after one or two."""
    study = study or study_of(goal)
    sign = 1.0 if goal == "maximize" else -1.0
    for _ in range(trials):
        params = drawn(rng)
        end = merit(params) + noise * rng.standard_normal()
        curve = [sign * (end - 0.7 ** (step + 1)) for step in range(8)]
        if rng.random() < early:
            add(study, params, curve[: 1 + int(rng.integers(2))], state="pruned")
        else:
            add(study, params, curve)
    return study


# ── rows ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of sentence: what is simulated, and whether the sentence was said where it is false, and where true.

    Each of the two gives True, False, or None where the question did not arise.
    """

    who: str
    sentence: str
    truth: str
    falsely: Callable[[np.random.Generator], bool | None]
    truly: Callable[[np.random.Generator], bool | None] | None = None
    cost: int = 1
    """How many times as dear a simulation is as the cheap ones: so many fewer are made."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often it was said, of so many simulations in which the question arose."""

    said: int
    asked: int

    @property
    def share(self) -> float:
        return self.said / self.asked if self.asked else math.nan


def rate_of(question: Callable[[np.random.Generator], bool | None], seed: int, runs: int) -> Rate:
    answers = [question(np.random.default_rng([seed, run])) for run in range(runs)]
    asked = [answer for answer in answers if answer is not None]
    return Rate(said=sum(asked), asked=len(asked))


# ── winner, confirmation ────────────────────────────────────────────────────────────────────────


def flat(_: Mapping[str, Any]) -> float:
    return 0.0


def hill(params: Mapping[str, Any]) -> float:
    """Mostly of a, a little of b, of c not at all; best inside."""
    return -4.0 * (unit(params["a"]) - 0.5) ** 2 - (unit(params["b"]) - 0.6) ** 2


def leads_by_more(rng: np.random.Generator) -> bool | None:
    """All settings are worth the same."""
    study = searched(rng, flat, trials=24, noise=0.1)
    return winner_said(study)


def leads_by_far(rng: np.random.Generator) -> bool | None:
    """One trial is twenty seeds ahead of a hill without noise to speak of."""
    study = searched(rng, hill, trials=24, noise=0.01)
    add(study, drawn(rng), [5.0] * 8)
    return winner_said(study)


def winner_said(study: StudyState) -> bool:
    model = Model.of(study, SPACE)
    found = winner_of(study, None, None if model is None else model.noise_at_most)
    return found is not None and any("more than two seeds" in each for each in found.sentences)


def seed_changes_at_most(rng: np.random.Generator) -> bool:
    """What a seed changes is more than what the search is said to show of it."""
    noise = 0.1
    model = Model.of(searched(rng, hill, trials=24, noise=noise, early=0.4), SPACE)
    return model is not None and model.noise_at_most < noise


def seed_is_bounded_usefully(rng: np.random.Generator) -> bool:
    """The bound is no more than three times what is true."""
    model = Model.of(searched(rng, hill, trials=24, noise=0.1), SPACE)
    return model is not None and model.noise_at_most < 0.3


def repeated(
    rng: np.random.Generator,
    merits: Sequence[float],
    repeats: int,
    *,
    shared: float = 0.0,
    noise: float = 1.0,
    purpose: Literal["confirm", "recheck"] = "confirm",
    goal: rec.Goal = "maximize",
    digits: int = 12,
) -> StudyState:
    """A search of these settings and their repeats; a seed does something to everybody alike, too."""
    study, sign = study_of(goal), 1.0 if goal == "maximize" else -1.0
    for merit in merits:
        add(study, drawn(rng), [sign * round(merit + noise * rng.standard_normal(), digits)])
    plan = Plan(
        purpose=purpose, trials=tuple(range(len(merits))), repeats=repeats, occasion=1 if purpose == "recheck" else 0
    )
    for seed in plan.seeds(study):
        alike = shared * rng.standard_normal()
        for number, merit in enumerate(merits):
            score = merit + alike + noise * rng.standard_normal()
            add(
                study,
                study.trials[number].settings,
                [sign * round(score, digits)],
                purpose=plan.purpose,
                seed=seed,
                parent=f"s/{number}",
            )
    if purpose == "recheck":
        asked = {"occasion": 1, "trials": list(plan.trials), "repeats": repeats}
        study.apply(rec.Configured(options={"recheck": asked}, by="caller", why="", at=0.0))
    return study


def confirmed(study: StudyState) -> Confirmation:
    found = confirmation_of(study)
    assert found is not None
    return found


def confirms_an_equal(rng: np.random.Generator) -> bool:
    return confirmed(repeated(rng, [0.0] * int(rng.integers(2, 5)), 5)).confirmed


def confirms_an_equal_in_the_end(rng: np.random.Generator) -> bool:
    """As often as it says that it is too close to tell, twice the repeats are made, the earlier ones among them."""
    count, seed = int(rng.integers(2, 4)), int(rng.integers(2**32))
    looks = (repeated(np.random.default_rng(seed), [0.0] * count, repeats) for repeats in (5, 10, 20, 40))
    return any(confirmed(look).confirmed for look in looks)


def confirms_the_wrong_one(rng: np.random.Generator) -> bool:
    merits = rng.standard_normal(3).tolist()
    found = confirmed(repeated(rng, merits, 5, shared=1.0))
    return found.confirmed and found.best is not None and found.best.trial != int(np.argmax(merits))


def confirms_the_best(rng: np.random.Generator) -> bool:
    found = confirmed(repeated(rng, [2.0, 0.0, 0.0], 5, shared=1.0))
    return found.confirmed and found.best is not None and found.best.trial == 0


def calls_it_luck(rng: np.random.Generator) -> bool | None:
    """The search had the winner at its true worth, or below."""
    study = repeated(rng, [0.0], int(rng.integers(2, 8)), noise=1.0)
    if (study.trials[0].best_score or 0.0) > 0:
        return None
    return "partly luck" in confirmed(study).sentence


def calls_luck_so(rng: np.random.Generator) -> bool:
    study = repeated(rng, [0.0], 5)
    lucky = study_of()
    add(lucky, study.trials[0].settings, [3.0])
    for trial in study.trials[1:]:
        add(lucky, trial.settings, [trial.best_score or 0.0], purpose="confirm", seed=trial.seed, parent="s/0")
    return "partly luck" in confirmed(lucky).sentence


def misses_the_seed(rng: np.random.Generator) -> bool:
    shared = float(rng.choice([0.0, 1.0]))
    found = confirmed(repeated(rng, [0.5, 0.0, 0.0], 5, shared=shared))
    low, high = found.noise_bounds or (0.0, math.inf)
    return not low <= math.hypot(1.0, shared) <= high


def draws_nothing(rng: np.random.Generator) -> bool:
    """A score of few digits, which the seed does change."""
    return "draw nothing" in confirmed(repeated(rng, [0.0], 2, noise=0.3, digits=0)).sentence


# ── recheck ─────────────────────────────────────────────────────────────────────────────────────


def order_of(rng: np.random.Generator, count: int, rho: float) -> tuple[Array, Array]:
    along = 2 * math.sin(math.pi * rho / 6)
    then, luck = rng.standard_normal((2, count))
    return then, along * then + math.sqrt(max(0.0, 1 - along**2)) * luck


def holds_by_luck(rng: np.random.Generator) -> bool:
    return rank_correlation(*order_of(rng, int(rng.integers(3, 13)), 0.0)).verdict == "holds"


def holds(rng: np.random.Generator) -> bool:
    return rank_correlation(*order_of(rng, 8, 0.9)).verdict == "holds"


def is_broken_wrongly(rng: np.random.Generator) -> bool:
    return rank_correlation(*order_of(rng, int(rng.integers(3, 13)), 0.6)).verdict == "does not hold"


def is_broken(rng: np.random.Generator) -> bool:
    return rank_correlation(*order_of(rng, 8, -0.8)).verdict == "does not hold"


def misses_the_order(rng: np.random.Generator) -> bool:
    rho = float(rng.uniform(-0.8, 0.8))
    found = rank_correlation(*order_of(rng, int(rng.integers(4, 17)), rho))
    return not found.low <= rho <= found.high


def expects_no_order(merit: float) -> Callable[[np.random.Generator], bool]:
    def question(rng: np.random.Generator) -> bool:
        study = repeated(rng, (merit * rng.standard_normal(8)).tolist(), 3, purpose="recheck")
        found = recheck_of(study)
        return found is not None and "could be expected" in found.sentence

    return question


# ── importance ──────────────────────────────────────────────────────────────────────────────────


def importance(study: StudyState) -> Importance:
    return importance_of(Model.of_ranks(study, SPACE), "score", len(leaders(study)))


def equals(params: Mapping[str, Any]) -> float:
    """Of a and b alike."""
    return -4.0 * ((unit(params["a"]) - 0.5) ** 2 + (unit(params["b"]) - 0.5) ** 2)


def a_third(params: Mapping[str, Any]) -> float:
    """Three parts of a to one of b: b has a quarter of the variance or so."""
    return unit(params["a"]) - 0.58 * unit(params["b"])


def names_what_matters(rng: np.random.Generator) -> bool:
    """Nothing does."""
    study = searched(rng, flat, trials=30, noise=0.1, early=0.5)
    return "matters most" in importance(study).sentence.replace("seems to matter most", "")


def trusts_luck(rng: np.random.Generator) -> bool:
    """Nothing matters, and no word of warning."""
    said = importance(searched(rng, flat, trials=30, noise=0.1, early=0.5)).sentence
    return "lightly" not in said and "cannot be told" not in said


def prefers_one_of_equals(rng: np.random.Generator) -> bool:
    return "matters most: " in importance(searched(rng, equals, trials=30, noise=0.05, early=0.3)).sentence


def finds_what_matters_most(rng: np.random.Generator) -> bool:
    said = importance(searched(rng, hill, trials=30, noise=0.05, early=0.3)).sentence
    return said.startswith("a matters most: ")


def belittles(rng: np.random.Generator) -> bool:
    """A quarter of the variance is said to hardly matter, after nineteen of thirty trials that had a step or two."""
    said = importance(searched(rng, a_third, trials=30, noise=0.1, early=0.63)).sentence
    return "b hardly" in said or "b and" in said


def finds_what_hardly_matters(rng: np.random.Generator) -> bool:
    said = importance(searched(rng, hill, trials=40, noise=0.02)).sentence
    return "hardly" in said and "c" in said.rpartition(";")[2]


def misses_a_share(rng: np.random.Generator) -> bool:
    """Of a in `a_third`, whose ranks give it 0.77 (100,000 draws): outside what is told of it."""
    found = importance(searched(rng, a_third, trials=30, noise=0.1, early=0.3))
    of_a = next((each for each in found.shares if each.parameter == "a"), None)
    return of_a is not None and found.foretold >= 0.1 and abs(of_a.total - 0.77) > max(2 * of_a.error, 0.01)


# ── edges, divergence, fit, worth ───────────────────────────────────────────────────────────────


def widens(merit: Merit, noise: float) -> Callable[[np.random.Generator], bool]:
    def question(rng: np.random.Generator) -> bool:
        study = searched(rng, merit, trials=30, noise=noise, early=0.3)
        return any(each.to is not None for each in edges_of(study, SPACE, importance(study).at_least()))

    return question


def slope(params: Mapping[str, Any]) -> float:
    return 2.0 * unit(params["a"]) - (unit(params["b"]) - 0.5) ** 2


def places_divergence(chance: Callable[[Mapping[str, Any]], float]) -> Callable[[np.random.Generator], bool | None]:
    def question(rng: np.random.Generator) -> bool | None:
        study = study_of()
        for _ in range(40):
            params = drawn(rng)
            bad = rng.random() < chance(params)
            add(study, params, [math.nan if bad else 1.0], state="diverged" if bad else "completed")
        found = divergences_of(study, SPACE)
        return None if not found.diverged else found.cut is not None

    return question


def above(params: Mapping[str, Any]) -> float:
    return float(unit(params["a"]) > 0.7)


def noise(rng: np.random.Generator, count: int, phi: float) -> Array:
    shocks = rng.standard_normal(count + 200) * math.sqrt(1 - phi**2)
    for place in range(1, len(shocks)):
        shocks[place] += phi * shocks[place - 1]
    kept: Array = shocks[200:]
    return kept


def fit(dev: Array, train: Array, measure: str = "error") -> Fit:
    curves = {
        f"{side}_{measure}": Curve(enumerate(values.tolist(), start=1))
        for side, values in (("dev", dev), ("train", train))
    }
    study = study_of()
    add(study, {"a": 0.5, "b": 0.5, "c": 0.5}, [1.0])
    found = fit_of(study.trials[0], curves)
    assert found is not None
    return found


def course(phi: float, rises: float, falls: float, word: str) -> Callable[[np.random.Generator], bool]:
    """Dev falls, and then is level, rises by so many deviations of its noise, or goes on falling."""

    def question(rng: np.random.Generator) -> bool:
        count = int(rng.choice([20, 30, 60, 120]))
        share = np.arange(count) / count
        dev = 0.3 + np.exp(-8 * share) + 0.03 * noise(rng, count, phi)
        dev += 0.03 * rises * np.clip(share - 0.4, 0, None) / 0.6 - falls * share
        return fit(dev, np.exp(-4 * share), "loss").course == word

    return question


def fits(bias: float, gap: float, high: str) -> Callable[[np.random.Generator], bool]:
    """Train at so much and dev so much above, each with the noise of a report."""

    def question(rng: np.random.Generator) -> bool:
        count = int(rng.choice([10, 30, 60]))
        down = 0.3 * np.exp(-10 * np.arange(count) / count)
        train = bias + down + 0.01 * noise(rng, count, 0.3)
        found = fit(bias + gap + down + 0.02 * noise(rng, count, 0.3), train)
        return found.high_bias if high == "bias" else found.high_variance

    return question


def worth(study: StudyState, more: int) -> Worth:
    return worth_of(Model.of(study, SPACE), study, more)


def misses_the_gain(rng: np.random.Generator) -> bool:
    """What so many more trials of a random search gained lies outside what was told."""
    merit = (hill, slope)[int(rng.integers(2))]
    study = searched(rng, merit, trials=30, noise=0.05)
    found, best = worth(study, 30), max(trial.best_score or -math.inf for trial in study.trials)
    later = searched(rng, merit, trials=30, noise=0.05)
    gained = max(0.0, max(trial.best_score or -math.inf for trial in later.trials) - best)
    return not found.low - 1e-3 <= gained <= found.high


def is_worth_it(rng: np.random.Generator) -> bool:
    """Nothing matters: only luck is to be gained."""
    return worth(searched(rng, flat, trials=30, noise=0.1, early=0.3), 15).worthwhile is True


def is_worth_more(rng: np.random.Generator) -> bool:
    """Ten trials of a steep slope without noise."""
    return worth(searched(rng, slope, trials=10, noise=0.001), 30).worthwhile is True


def is_not_worth_it(rng: np.random.Generator) -> bool | None:
    """Eight trials, and the best of thirty more is better by more than two seeds may differ."""
    study = searched(rng, slope, trials=8, noise=0.02)
    best = max(slope(trial.params) for trial in study.trials)
    if 2.0 - best < 3 * 0.02:
        return None
    return worth(study, 30).worthwhile is False


def is_little_to_gain(rng: np.random.Generator) -> bool:
    return worth(searched(rng, hill, trials=60, noise=0.3), 15).worthwhile is False


def misses_the_worth(rng: np.random.Generator) -> bool:
    """What is expected of the settings recommended misses what they are worth, with little luck or much."""
    merit = (hill, slope, flat)[int(rng.integers(3))]
    study = searched(rng, merit, trials=int(rng.integers(12, 41)), noise=float(rng.choice((0.01, 0.1, 0.3))), early=0.3)
    return _misses(study, merit)


def misses_the_worth_repeated(rng: np.random.Generator) -> bool:
    """The same once the three best were trained again, each as often as luck has it."""
    merit, noise = (hill, slope, flat)[int(rng.integers(3))], float(rng.choice((0.01, 0.1, 0.3)))
    study = searched(rng, merit, trials=int(rng.integers(12, 41)), noise=noise, early=0.3)
    for trial in leaders(study, 3):
        for _ in range(int(rng.integers(1, 4))):
            end = merit(trial.params) + noise * rng.standard_normal()
            curve = [end - 0.7 ** (step + 1) for step in range(8)]
            add(study, trial.params, curve, purpose="confirm", parent=f"s/{trial.trial}")
    return _misses(study, merit)


def _misses(study: StudyState, merit: Merit) -> bool:
    found = recommended_of(study, SPACE)
    if found is None or found.bounds is None:
        return False
    low, high = found.bounds
    return not low <= merit(found.params) - 0.7**8 <= high


def plateau(levels: int) -> Callable[[np.random.Generator], bool]:
    def question(rng: np.random.Generator) -> bool:
        study = study_of()
        for _ in range(20):
            add(study, drawn(rng), [float(rng.integers(levels)) / 10])
        return is_plateau(study) and sharing(study)[0] > 1

    return question


KINDS = (
    Kind(
        who="explain",
        sentence="leads by more than two seeds may differ",
        truth="all settings are worth the same",
        falsely=leads_by_more,
        truly=leads_by_far,
        cost=4,
    ),
    Kind(
        who="explain",
        sentence="a seed alone changes it by at most ±σ",
        truth="it changes it by more",
        falsely=seed_changes_at_most,
        truly=seed_is_bounded_usefully,
        cost=4,
    ),
    Kind(
        who="explain",
        sentence="k trials share that score; nothing matters",
        truth="three levels of score",
        falsely=plateau(3),
        truly=plateau(1),
    ),
    Kind(
        who="confirm",
        sentence="is the best",
        truth="two to four equal settings",
        falsely=confirms_an_equal,
        truly=confirms_the_best,
    ),
    Kind(
        who="confirm",
        sentence="is the best, in the end",
        truth="two or three equal settings, repeats doubled three times",
        falsely=confirms_an_equal_in_the_end,
    ),
    Kind(who="confirm", sentence="is the best", truth="another one is", falsely=confirms_the_wrong_one),
    Kind(
        who="confirm",
        sentence="was partly luck",
        truth="the search had it at its worth or below",
        falsely=calls_it_luck,
        truly=calls_luck_so,
    ),
    Kind(
        who="confirm",
        sentence="another seed changes it by ±σ (a to b)",
        truth="σ lies outside",
        falsely=misses_the_seed,
    ),
    Kind(
        who="confirm",
        sentence="training draws nothing from run.seed",
        truth="it does, below the last digit",
        falsely=draws_nothing,
    ),
    Kind(
        who="recheck",
        sentence="the order still holds",
        truth="order by chance, 3 to 12 leaders",
        falsely=holds_by_luck,
        truly=holds,
    ),
    Kind(
        who="recheck",
        sentence="the order does not hold today",
        truth="ρ = 0.6, 3 to 12 leaders",
        falsely=is_broken_wrongly,
        truly=is_broken,
    ),
    Kind(who="recheck", sentence="rank correlation ρ (a to b)", truth="ρ lies outside", falsely=misses_the_order),
    Kind(
        who="recheck",
        sentence="no order could be expected to hold",
        truth="worths lie two seeds apart",
        falsely=expects_no_order(2.0),
        truly=expects_no_order(0.0),
    ),
    Kind(
        who="explain",
        sentence="a matters most",
        truth="nothing matters",
        falsely=names_what_matters,
        truly=finds_what_matters_most,
        cost=8,
    ),
    Kind(who="explain", sentence="a matters most", truth="b matters as much", falsely=prefers_one_of_equals, cost=8),
    Kind(
        who="explain",
        sentence="(what matters, without a warning)",
        truth="nothing matters",
        falsely=trusts_luck,
        cost=8,
    ),
    Kind(
        who="explain",
        sentence="b hardly matters",
        truth="b has a quarter of the variance",
        falsely=belittles,
        truly=finds_what_hardly_matters,
        cost=8,
    ),
    Kind(who="explain", sentence="a: x % ± y", truth="a's share lies outside", falsely=misses_a_share, cost=8),
    Kind(
        who="explain",
        sentence="widen a",
        truth="nothing matters",
        falsely=widens(flat, 0.1),
        truly=widens(slope, 0.05),
        cost=8,
    ),
    Kind(who="explain", sentence="widen a", truth="the best lies inside", falsely=widens(hill, 0.05), cost=8),
    Kind(
        who="explain",
        sentence="k diverged, with a above x",
        truth="divergence by luck, one in five",
        falsely=places_divergence(lambda _: 0.2),
        truly=places_divergence(above),
    ),
    *(
        Kind(
            who="explain",
            sentence="it overfits",
            truth=f"level, φ {phi}",
            falsely=course(phi, 0.0, 0.0, "overfitting"),
            truly=course(phi, 8.0, 0.0, "overfitting"),
        )
        for phi in (0.0, 0.5, 0.8, 0.95)
    ),
    *(
        Kind(
            who="explain",
            sentence="dev still improves",
            truth=f"level, φ {phi}",
            falsely=course(phi, 0.0, 0.0, "still improving"),
            truly=course(phi, 0.0, 1.0, "still improving"),
        )
        for phi in (0.0, 0.5, 0.8, 0.95)
    ),
    *(
        Kind(
            who="explain",
            sentence="dev has levelled off",
            truth=f"still falls by a tenth a quarter, φ {phi}",
            falsely=course(phi, 0.0, 0.6, "level"),
            truly=course(phi, 0.0, 0.0, "level"),
        )
        for phi in (0.0, 0.5, 0.8, 0.95)
    ),
    Kind(
        who="explain",
        sentence="high bias",
        truth="train reaches the target",
        falsely=fits(0.0, 0.05, "bias"),
        truly=fits(0.1, 0.02, "bias"),
    ),
    Kind(
        who="explain",
        sentence="high variance",
        truth="dev is train",
        falsely=fits(0.05, 0.0, "variance"),
        truly=fits(0.02, 0.1, "variance"),
    ),
    Kind(
        who="explain",
        sentence="more trials add x (a to b)",
        truth="they add less or more",
        falsely=misses_the_gain,
        cost=4,
    ),
    Kind(
        who="explain",
        sentence="more trials are worth it",
        truth="only luck is to be gained",
        falsely=is_worth_it,
        truly=is_worth_more,
        cost=4,
    ),
    Kind(
        who="explain",
        sentence="little but luck is to be gained",
        truth="more than two seeds differ",
        falsely=is_not_worth_it,
        truly=is_little_to_gain,
        cost=4,
    ),
    Kind(
        who="explain",
        sentence="trained once more, x ± y (a to b) is expected",
        truth="what they are worth lies outside",
        falsely=misses_the_worth,
        cost=4,
    ),
    Kind(
        who="explain",
        sentence="the same, of repeated leaders",
        truth="what they are worth lies outside",
        falsely=misses_the_worth_repeated,
        cost=4,
    ),
)


def table(seed: int, runs: int, only: str = "") -> Iterator[tuple[Kind, Rate, Rate | None]]:
    """Each kind of sentence with how often it was said falsely and truly."""
    for place, kind in enumerate(KINDS):
        if only not in f"{kind.who} {kind.sentence} {kind.truth}":
            continue
        count = max(20, runs // kind.cost)
        falsely = rate_of(kind.falsely, seed + 1000 * place, count)
        yield kind, falsely, None if kind.truly is None else rate_of(kind.truly, seed + 1000 * place + 500, count)
