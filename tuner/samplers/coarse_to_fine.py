"""Coarse to fine: a look over the whole space, then closer and closer where the best may still be found.

Round 0 is coarse: an even spread over the whole space. Where hardly any of its settings learns, a round of many more
even draws follows, and only once three learn, or enough was spent on looking for them, is anything made of them. Later
rounds learn: a Gaussian process over settings and training steps (`surrogate/`) says what a run with any settings may
end with. A round opens whenever a quarter more has been seen. Its box is the part of the space that may still hold
something better than the best there is or is expected; so it shrinks as more is known, shifts, and widens again when
what was believed turns out wrong. The box, the reason and the hyperparameters are recorded with the round.

Inside the box a trial gets the settings of the largest expected improvement. Few scores say little of how far their
neighbourhoods reach, so each trial takes the learned lengths a little longer or shorter; and some, all or none of them
expect the best inside the ranges rather than at a bound, as far as the scores say that it lies there. What keeps a
wrong zoom from being final: every sixth trial is an even draw from the whole cube, whatever is believed, and so is
every trial while nowhere much improvement is to be expected, but for every second one where some trial is better than
all the others let expect: that is tried beside the best such.

Where settings that learn stay rare, a trial gets the most promising of sixteen even draws from the whole cube instead,
until ten learn. What is believed then keeps from settings that would not learn either, and does not crowd around few.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tuner.policy.proposals import Box, Outcome, Point, Proposal, RoundPlan
from tuner.samplers.base import UnitCubeSampler
from tuner.samplers.prior import Prior
from tuner.samplers.quasi_random import sobol_point
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.surrogate.evidence import bad
from tuner.surrogate.gaussian_process import with_lengths
from tuner.surrogate.lattice import Lattice
from tuner.surrogate.ledger import Ledger, ledger_of
from tuner.surrogate.posterior import Posterior, Surrogate
from tuner.surrogate.threads import on_one_thread
from tuner.values.numbers import near_one, number, percent

Floats: TypeAlias = NDArray[np.float64]

_WHOLE = (0.0, 1.0)
_COARSE = 4  # trials before anything is learned: the model says more than more even draws would
_MORE_A_PARAMETER = 2  # … so many more for each parameter but the first, while hardly any settings learn
_MORE = 1.25  # a round opens when this many times as much has been seen as when the last one did
_GLOBAL_EVERY = 6
_PLENTY = 10  # settings that learn show where to look closer, however rare they are
_OF_EVEN = 16  # even draws, of which the most promising is tried where settings that learn are rare
_LITTLE = 1e-3  # standard deviations of the scores: a smaller improvement to be expected is not worth a trial
_RISE = 4.0  # of the logarithm of an improvement: a few steps uphill add less where there is little
_DRAWS = 4  # even draws where little is expected: the first is tried that is not beside a trial that went wrong
_UNSURE = 0.2  # standard deviation of the logarithm of the lengths
_SURE = 0.75  # the probability of a bowl, or of none, from which on every draw counts on it; below that some do
_HELD = 10  # trials for which a box that a person sets stays
_HOPE = 2.5  # standard deviations: how far above its expectation a place may still turn out
_NEARLY_ALL = 0.9  # of a range: more of it is not worth a word
_EVEN, _NEAR = 256, 256  # candidates: even ones in the box, and others near the runs that are expected to end best
_AROUND = 16  # more candidates around each of the best, for draws that several workers wait for
_NEARBY = (-2.0, -0.3)  # how far from them, as powers of ten of the whole range
_FEW = 3  # about so many parameters differ from the leader's
_MARGIN = 0.02  # of the whole range, around what may still be best
_AT_THE_END = 0.02  # nearer than this, the best trial sits at an end of the space

_SPREAD = "an even spread over the whole space"
_NOTHING = "nothing is known yet"
_GLOBAL = "an even draw from the whole space, so that a wrong zoom is never final"
_HASTE = "in haste: trials end faster than settings can be weighed"
_ELSEWHERE = "nowhere is much improvement to be expected"
_BESIDE = 256  # candidates beside a trial that surprises


class CoarseToFineSampler(UnitCubeSampler):
    """Searches the whole space first, then where the best may still be found, round after round.

    Round 0 has four trials at least, and where hardly any settings learn a round of more follows, all over the space;
    where they stay rare, a trial is the most promising of sixteen even draws. A box that a person sets holds for ten.
    Any number of trials may be in training at once: what they are expected to reach is taken for granted, so they do
    not crowd. Settings are tried by their expected improvement (Jones, Schonlau & Welch 1998).

    Args:
        seed: Of all draws in an Optuna study, 0 to 2**63 − 1; by default 0. A sweep has its own.

    Raises:
        SettingsError: No such seed, or an argument of another name.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=CoarseToFineSampler(seed=1))
        >>> study.optimize(lambda trial: (trial.suggest_float("x", 0.0, 1.0) - 0.3) ** 2, n_trials=12)
        >>> study.best_value < 0.05
        True
    """

    def propose(
        self, space: Space, seed: int, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> Proposal:
        """A point of the present round.

        Args:
            space: What is searched.
            seed: Of all draws, 0 to 2**63 − 1.
            trial: The trial's number, from 0.
            outcomes: What other trials came to, their scores with the sign turned so that higher is better.
            rounds: The rounds so far, in order.

        Returns:
            The point and why; `opened` carries the round where it is a new one.

        Example:
            >>> space = tuner.Space(rate=tuner.log(1e-4, 1.0))
            >>> first = CoarseToFineSampler().propose(space, 0, 0, (), ())
            >>> first.opened.why
            'round 0: an even spread over the whole space: nothing is known yet'
        """
        outcomes = ledger_of(outcomes)
        opened = self.due(space, seed, trial, outcomes, rounds)
        drawn = self.draw(space, seed, trial, outcomes, rounds if opened is None else [*rounds, opened])
        return drawn if opened is None else replace(drawn, opened=opened)

    def get_ready(self, space: Space, seed: int) -> None:
        """Loads what Sobol points need.

        Args:
            space: What is to be searched.
            seed: Of all draws, 0 to 2**63 − 1.

        Example:
            >>> CoarseToFineSampler().get_ready(tuner.Space(x=tuner.linear(0, 1)), 0)
        """
        sobol_point(len(space), seed, 0)

    def draw(
        self, space: Space, seed: int, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> Proposal:
        """A point of the last of these rounds, though another may be due.

        Args:
            space: What is searched.
            seed: Of all draws, 0 to 2**63 − 1.
            trial: The trial's number, from 0.
            outcomes: What other trials came to, their scores with the sign turned so that higher is better.
            rounds: The rounds so far, in order; there is one.

        Returns:
            The point and why.

        Example:
            >>> space, sampler = tuner.Space(rate=tuner.log(1e-4, 1.0)), CoarseToFineSampler()
            >>> sampler.draw(space, 0, 1, (), [sampler.due(space, 0, 0, (), ())]).why
            'an even spread over the whole space'
        """
        return self._drawn(space, seed, trial, ledger_of(outcomes), rounds)

    @on_one_thread
    def _drawn(self, space: Space, seed: int, trial: int, ledger: Ledger, rounds: Sequence[RoundPlan]) -> Proposal:
        plan, hyperparameters = rounds[-1], self.hyperparameters(rounds)
        surrogate = ledger.surrogate(space)
        even = sobol_point(len(space), seed, trial)
        if hyperparameters is None or surrogate.untrained:
            even = _within(even, space, plan.box)
            coarse = not plan.round or _is_broad(plan)
            why = _SPREAD if coarse else f"an even spread over the box of round {plan.round}: little is known yet"
            if not plan.round and (drawn := Prior(space).draw(even, trial)) is not None:
                even, why = drawn
            return Proposal(point=even, why=why, at_once=True, round=plan.round)
        if trial % _GLOBAL_EVERY == _GLOBAL_EVERY - 1:
            even = sobol_point(len(space), seed, trial // _GLOBAL_EVERY, stream=1)  # sixth points are uneven
            return Proposal(point=even, why=_GLOBAL, at_once=True, round=plan.round)
        if _is_rare(plan):
            point, why = _best_of_even(space, seed, trial, surrogate.posterior(hyperparameters), ledger)
            return Proposal(point=point, why=why, at_once=True, round=plan.round)
        # Trials drawn from the same knowledge share lengths and candidates, so that one posterior serves them all.
        first = ledger.drawn_together(trial)
        rng = np.random.default_rng([seed, first])
        unsure = with_lengths(hyperparameters, len(space), math.exp(_UNSURE * rng.standard_normal()))
        searched, posterior = (plan.round, first), None
        if searched in surrogate.exhausted:  # of what is drawn together the first says it for all: it only gets less
            found = None
        else:
            posterior = surrogate.posterior(unsure, rng.uniform(1 - _SURE, _SURE))
            found = _best_candidate(space, rng, plan, posterior, ledger, alone=first == trial)
            if found is None and first != trial:
                surrogate.exhausted.add(searched)
        if found is None and trial % 2 == 0 and plan.memo is not None:
            found = _beside_a_surprise(
                space, np.random.default_rng([seed, trial, 2]), surrogate, hyperparameters, ledger, posterior
            )
        point, why = found or _elsewhere(space, seed, trial, plan, surrogate)
        return Proposal(point=point, why=why, round=plan.round)

    def in_haste(self, space: Space, seed: int, trial: int, rounds: Sequence[RoundPlan]) -> Proposal:
        """An even draw from the box of the last round, every sixth from the whole cube: what takes no time to find.

        Args:
            space: What is searched.
            seed: Of all draws, 0 to 2**63 − 1.
            trial: The trial's number, from 0.
            rounds: The rounds so far, in order; there is one.

        Returns:
            The point and why.

        Example:
            >>> space, sampler = tuner.Space(rate=tuner.log(1e-4, 1.0)), CoarseToFineSampler()
            >>> sampler.in_haste(space, 0, 1, [sampler.due(space, 0, 0, (), ())]).why
            'an even draw from the box of round 0, in haste: trials end faster than settings can be weighed'
        """
        plan, even = rounds[-1], sobol_point(len(space), seed, trial)
        if trial % _GLOBAL_EVERY == _GLOBAL_EVERY - 1:
            return Proposal(point=even, why=_GLOBAL, at_once=True, round=plan.round)
        why = f"an even draw from the box of round {plan.round}, {_HASTE}"
        return Proposal(point=_within(even, space, plan.box), why=why, at_once=True, round=plan.round)

    def due(
        self, space: Space, seed: int, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> RoundPlan | None:
        """The round that is to open before a trial is drawn or a run is weighed.

        Args:
            space: What is searched.
            seed: Of all draws, 0 to 2**63 − 1.
            trial: The trial's number, from 0.
            outcomes: What other trials came to, their scores with the sign turned so that higher is better.
            rounds: The rounds so far, in order.

        Returns:
            The round; None: not yet.

        Example:
            >>> space = tuner.Space(rate=tuner.log(1e-4, 1.0))
            >>> opened = CoarseToFineSampler().due(space, 0, 0, (), ())
            >>> opened.box, CoarseToFineSampler().due(space, 0, 1, (), [opened]) is None
            ({'rate': (0.0, 1.0)}, True)
        """
        if not rounds:
            likely = Prior(space).words
            known = f"nothing is known yet but what the space says is likely, {likely}" if likely else _NOTHING
            return _plan(0, trial, dict.fromkeys(space, _WHOLE), f"{_SPREAD}: {known}", None)
        ledger, latest = ledger_of(outcomes), rounds[-1]
        if not self.opens(trial, ledger, rounds):
            return None
        if latest.round == 0 and _may_be_a_needle(len(space), trial, ledger):
            return _broad(space, trial, ledger)
        surrogate = ledger.surrogate(space)
        hyperparameters = surrogate.fit(self.hyperparameters(rounds))
        posterior = surrogate.posterior(hyperparameters)
        box, why, ends = _box(space, np.random.default_rng([seed, trial, 1]), latest, posterior)
        learners = ledger.learners
        rare = learners.rare if _is_broad(latest) else _is_rare(latest) and learners.learned < _PLENTY
        if _is_broad(latest):
            why = f"{learners.words}; {why}"
        memo = {"numbers": hyperparameters, "looks": surrogate.information, "ends": ends}  # words of the record
        if rare:
            memo["rare"] = True
        return _plan(latest.round + 1, trial, box, why, memo)

    def opens(self, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]) -> bool:
        """Whether a round is due, which takes no time; what it holds is learned by `due`.

        Args:
            trial: The trial's number, from 0.
            outcomes: What other trials came to, their scores with the sign turned so that higher is better.
            rounds: The rounds so far, in order.

        Returns:
            Whether `due` returns a round.

        Example:
            >>> CoarseToFineSampler().opens(0, (), ())
            True
        """
        if not rounds:
            return True
        ledger, latest = ledger_of(outcomes), rounds[-1]
        if trial < _COARSE or ledger.untrained:
            return False
        if latest.round == 0 or _is_broad(latest):
            return latest.round == 0 or not _may_be_a_needle(len(latest.box), trial, ledger)
        if latest.memo is not None:
            return bool(ledger.information >= _MORE * latest.memo["looks"])
        return trial >= latest.first_trial + _HELD  # until then the box is that which somebody has set

    def hyperparameters(self, rounds: Sequence[RoundPlan]) -> list[float] | None:
        """The hyperparameters of the Gaussian process that was learned last.

        Args:
            rounds: The rounds so far, in order.

        Returns:
            Their logarithms, in the order of `Hyperprior`; None where no round has learned any.

        Example:
            >>> CoarseToFineSampler().hyperparameters([]) is None
            True
        """
        return next((plan.memo["numbers"] for plan in reversed(rounds) if _is_fine(plan)), None)

    def numbers(self, rounds: Sequence[RoundPlan]) -> list[float] | None:
        """The earlier name of `hyperparameters`, with a `DeprecationWarning`.

        Args:
            rounds: The rounds so far, in order.

        Returns:
            What `hyperparameters` returns.

        Example:
            >>> import warnings
            >>> with warnings.catch_warnings():
            ...     warnings.simplefilter("ignore")
            ...     CoarseToFineSampler().numbers([]) is None
            True
        """
        text = "CoarseToFineSampler.numbers is now called hyperparameters"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return self.hyperparameters(rounds)


def _plan(number: int, first_trial: int, box: Box, why: str, memo: Mapping[str, object] | None) -> RoundPlan:
    return RoundPlan(round=number, first_trial=first_trial, box=box, why=f"round {number}: {why}", memo=memo)


def _is_fine(plan: RoundPlan) -> bool:
    """Whether a process was learned with the round."""
    return plan.memo is not None and "numbers" in plan.memo


def _is_broad(plan: RoundPlan) -> bool:
    """Whether many settings are tried in it, briefly, all over the space."""
    return plan.memo is not None and "numbers" not in plan.memo


def _is_rare(plan: RoundPlan) -> bool:
    """Whether, when the space was looked over, hardly any settings learned."""
    return plan.memo is not None and plan.memo.get("rare", False)


def _may_be_a_needle(parameters: int, trial: int, ledger: Ledger) -> bool:
    """Whether hardly any settings learn, and more may be tried before anything is made of that."""
    most = _COARSE + _MORE_A_PARAMETER * (parameters - 1)
    if ledger.most_trials is not None:
        most = min(most, ledger.most_trials // 3)
    steps = (2 + parameters) * ledger.horizon
    if ledger.most_steps is not None:
        steps = min(steps, ledger.most_steps // 4)
    return trial < most and ledger.learners.steps < steps and ledger.learners.too_few


def _broad(space: Space, trial: int, ledger: Ledger) -> RoundPlan:
    why = f"{ledger.learners.words}: many more are tried briefly, {_SPREAD}"
    return _plan(1, trial, dict.fromkeys(space, _WHOLE), why, {"looks": 0})


def _within(even: Point, space: Space, box: Box) -> Point:
    sides = [box.get(name, _WHOLE) for name in space]
    return tuple(low + u * (high - low) for u, (low, high) in zip(even, sides, strict=True))


# ── what to try ─────────────────────────────────────────────────────────────────────────────────


def _best_candidate(
    space: Space, rng: np.random.Generator, plan: RoundPlan, posterior: Posterior, ledger: Ledger, *, alone: bool
) -> tuple[Point, str] | None:
    """The untried settings of the box with the largest expected improvement; None where that is little."""
    sides = np.array([plan.box.get(name, _WHOLE) for name in space])
    low, high = sides[:, 0], sides[:, 1]
    lattice = Lattice(space)

    def drawn() -> Floats:
        even = low + rng.random((_EVEN, len(space))) * (high - low)
        return lattice.nearest(np.clip(np.vstack([even, _near_leaders(rng, posterior)]), low, high))

    prior, seen = Prior(space), len(ledger)
    candidates = posterior.candidates(plan.round, drawn)
    if alone:
        places, mean, deviation, improvement = candidates.best_first(lambda points: prior.log_weight(points, seen))
        if float(improvement[0]) > math.log(_LITTLE) - _RISE:
            led = lattice.nearest(posterior.refined(places[0], low, high, lattice.fine(places[0]))[None])
            expected, surely = posterior.of_points(led)
            ahead = posterior.log_expected_improvement(expected, surely) + prior.log_weight(led, seen)
            if float(ahead[0]) >= float(improvement[0]):
                places, mean, deviation = (
                    np.vstack([led, places]),
                    np.append(expected, mean),
                    np.append(surely, deviation),
                )
    else:  # what a few steps uphill find for one, points around the best ones find for all, at a tenth of the cost
        candidates.widen(lambda best: lattice.nearest(np.clip(_around(rng.spawn(1)[0], posterior, best), low, high)))
        places, mean, deviation, _ = candidates.best_first(lambda points: prior.log_weight(points, seen))
    chosen = next((place for place, point in enumerate(places) if not ledger.has(_point(point))), None)
    if chosen is None:
        places = lattice.nearest(rng.spawn(2)[1].random((_EVEN, len(space))))
        chosen = next((place for place, point in enumerate(places) if not ledger.has(_point(point))), -1)
        mean, deviation = posterior.of_points(places)
    expected, surely = mean[[chosen]], deviation[[chosen]]
    if float(posterior.log_expected_improvement(expected, surely)[0]) < math.log(_LITTLE):
        return None
    expectation = posterior.expected(float(expected[0]), float(surely[0]))
    return _point(places[chosen]), f"the largest expected improvement in the box of round {plan.round}: {expectation}"


def _best_of_even(space: Space, seed: int, trial: int, posterior: Posterior, ledger: Ledger) -> tuple[Point, str]:
    """Of some even draws from the whole space the untried one of largest expected improvement.

    Where settings that learn are rare, the places of largest improvement crowd around the few that were seen to, or in
    corners where nobody has been and nothing learns. Draws all over the space find other places, and a model that can
    tell where nothing learns keeps from most that would be in vain.
    """
    places = Lattice(space).nearest(np.random.default_rng([seed, trial]).random((_OF_EVEN, len(space))))
    mean, deviation = posterior.of_points(places)
    improvement = posterior.log_expected_improvement(mean, deviation) + Prior(space).log_weight(places, len(ledger))
    order = np.argsort(-improvement, kind="stable").tolist()
    place = next((place for place in order if not ledger.has(_point(places[place]))), order[0])
    expectation = posterior.expected(float(mean[place]), float(deviation[place]))
    return _point(places[place]), f"the most promising of {_OF_EVEN} even draws from the whole space: {expectation}"


def _around(rng: np.random.Generator, posterior: Posterior, points: Floats) -> Floats:
    """Points around each of some, a few parameters moved."""
    filled = np.where(np.isnan(points), rng.random(points.shape), points)
    return posterior.spread(filled, rng, _AROUND, min(1.0, _FEW / points.shape[1]))


def _point(place: Floats) -> Point:
    return tuple(place.tolist())


def _elsewhere(space: Space, seed: int, trial: int, plan: RoundPlan, surrogate: Surrogate) -> tuple[Point, str]:
    """An even draw from the whole space, or from the box that a person has set, not beside a trial that went wrong."""
    box, where = ({}, "the whole space") if plan.memo is not None else (plan.box, f"the box of round {plan.round}")
    draws = [sobol_point(len(space), seed, trial, stream=2 + turn) for turn in range(_DRAWS)]
    places = Lattice(space).nearest(np.array([_within(draw, space, box) for draw in draws]))
    first = next((turn for turn, neighbour in enumerate(surrogate.nearest(places)) if not bad(neighbour)), 0)
    return tuple(places[first].tolist()), f"an even draw from {where}: {_ELSEWHERE}"


def _beside_a_surprise(
    space: Space,
    rng: np.random.Generator,
    surrogate: Surrogate,
    hyperparameters: list[float],
    ledger: Ledger,
    glance: Posterior | None,
) -> tuple[Point, str] | None:
    """Settings beside the best trial that the others did not let expect, no further than the next one."""
    found = surrogate.hill(hyperparameters, glance)
    if found is None:
        return None
    trial, posterior = found

    def drawn() -> Floats:
        middle = np.where(np.isnan(trial.point), rng.random(len(space)), np.array(trial.point))
        others = np.array([each.point for each in surrogate.informative if each is not trial])
        apart = np.sqrt(np.nansum(np.square(others - middle), axis=1))
        nearest = float(apart[apart > 0].min(initial=1.0))
        away = rng.standard_normal((_BESIDE, len(space)))
        away *= nearest * rng.random((_BESIDE, 1)) / np.linalg.norm(away, axis=1, keepdims=True)
        return Lattice(space).nearest(np.clip(middle + away, 0.0, 1.0))

    places, *_ = posterior.candidates(("beside", trial.trial), drawn).best_first(lambda points: np.zeros(len(points)))
    chosen = next((place for place, point in enumerate(places) if not ledger.has(_point(point))), None)
    if chosen is None:
        return None
    return _point(places[chosen]), f"beside trial {trial.trial}, better than all the others let expect: {_ELSEWHERE}"


def _near_leaders(rng: np.random.Generator, posterior: Posterior) -> Floats:
    """Points near the runs that are expected to end best: a few parameters moved, by little or much."""
    leaders = np.array([outcome.point for outcome in posterior.leaders])
    leaders = np.where(np.isnan(leaders), rng.random(leaders.shape), leaders)
    near = leaders[rng.integers(len(leaders), size=_NEAR)]
    moved = rng.random(near.shape) < min(1.0, _FEW / near.shape[1])
    moved[np.arange(_NEAR), rng.integers(near.shape[1], size=_NEAR)] = True
    reach = 10.0 ** rng.uniform(*_NEARBY, size=(_NEAR, 1))
    found: Floats = np.clip(near + moved * reach * rng.standard_normal(near.shape), 0.0, 1.0)
    return found


# ── where the box of a new round lies ───────────────────────────────────────────────────────────


def _box(
    space: Space, rng: np.random.Generator, before: RoundPlan, posterior: Posterior
) -> tuple[dict[str, tuple[float, float]], str, list[str]]:
    """The part of the cube that may hold something better, the reason, and at which ends of it the best sits."""
    places = np.vstack([rng.random((_EVEN, len(space))), _near_leaders(rng, posterior)])
    mean, deviation = posterior.of_points(Lattice(space).nearest(places))
    may = mean + _HOPE * deviation >= posterior.incumbent
    leaders = np.array([outcome.point for outcome in posterior.leaders])
    hopeful = np.vstack([places[may], leaders])
    box, sides_in_words, notes, ends = {}, [], [], []
    for column, (name, dimension) in enumerate(space.items()):
        u = hopeful[:, column]
        sides = before.box.get(name, _WHOLE)
        box[name] = side = _side(dimension, sides, u[~np.isnan(u)])
        if (where := _where(dimension, side)) is not None:
            sides_in_words.append(f"{name} {where}")
        if isinstance(dimension, Parameter):
            if side[0] < sides[0] - _MARGIN:
                notes.append(f"{name} is widened downward because it may be better there after all")
            if side[1] > sides[1] + _MARGIN:
                notes.append(f"{name} is widened upward because it may be better there after all")
            at = leaders[0, column]
            ends += [f"{name} {end}" for end, near in (("lower", at), ("upper", 1 - at)) if near < _AT_THE_END]
    known = before.memo.get("ends", []) if before.memo is not None else []
    for each in ends:
        if each not in known:
            name, end = each.rsplit(" ", 1)
            notes.append(f"{name} does best at the {end} end of the space: a wider space may hold a better value")
    why = f"{_percent(float(may[:_EVEN].mean()))} of the space may still end {posterior.still_possible()}"
    why += f", with {' and '.join(sides_in_words)}" if sides_in_words else ""
    return box, "; ".join([why, *notes]), ends


def _side(dimension: Parameter | Choice, before: tuple[float, float], hopeful: Floats) -> tuple[float, float]:
    """One side of the box, from the smallest to the largest hopeful place."""
    if not len(hopeful):
        return before
    if isinstance(dimension, Choice):
        count = len(dimension.options)
        cells = np.minimum(hopeful * count, count - 1).astype(int)
        return float(cells.min() / count), float((cells.max() + 1) / count)
    low, high = max(0.0, float(hopeful.min()) - _MARGIN), min(1.0, float(hopeful.max()) + _MARGIN)
    return round(low, 6), round(high, 6)


def _where(dimension: Parameter | Choice, side: tuple[float, float]) -> str | None:
    """A side in words; None where it is nearly the whole range."""
    low, high = side
    if high - low > _NEARLY_ALL:
        return None
    if isinstance(dimension, Choice):
        count = len(dimension.options)
        return " or ".join(str(option) for option in dimension.options[round(low * count) : round(high * count)])
    return f"{_in_words(dimension, low)} to {_in_words(dimension, high)}"


def _percent(share: float) -> str:
    return "less than 1%" if share < 0.01 else percent(share)


def _in_words(parameter: Parameter, u: float) -> str:
    """The value at a place as a person reads it: three digits, of 1−β two where that is what counts."""
    value = parameter.from_unit(min(max(u, 0.0), 1.0))
    if parameter.scale == "log_one_minus" and value < 1:
        return near_one(value, 2)
    return number(value, 3)
