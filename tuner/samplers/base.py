"""The base of every sampler of ours: a pure proposal in the unit cube, and the same thing as an Optuna sampler."""

from __future__ import annotations

import keyword
import math
import re
import zlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState

from tuner.errors import SettingsError
from tuner.policy.proposals import Outcome, Point, Proposal, RoundPlan, thinned
from tuner.record.events import TrialState
from tuner.samplers.internals import note_on_trial
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.surrogate.ledger import Ledger
from tuner.values.arguments import checked
from tuner.values.arguments import seed as seed_of

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


class UnitCubeSampler(optuna.samplers.BaseSampler):
    """A `Proposer` that also serves any Optuna study: what `propose` says in the unit cube, in Optuna's distributions.

    Every parameter ever suggested is drawn jointly, conditional ones too, on the range it was last suggested with; so
    ranges may change while the study runs. A parameter nobody has seen yet is drawn evenly. Draws depend on the seed
    and the trial's number, never on the order of calls. Rounds are kept in the trials' system attributes.
    """

    adaptive = True
    avoids_repeats = True
    """Whether a sweep over a small finite space takes the nearest settings that were not tried in place of others."""
    _ROUND = "tuner:round"

    @checked(seed=seed_of)
    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._known: dict[tuple[str, int], _Known] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(seed={self.seed})"

    @abstractmethod
    def propose(
        self, space: Space, seed: int, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> Proposal | None:
        """See `Proposer.propose`."""

    def get_ready(self, space: Space, seed: int) -> None:
        """Loads what the first draw needs, where that takes long; it may be called from another thread.

        Args:
            space: What is to be searched.
            seed: Of all draws, 0 to 2**63 − 1.

        Example:
            >>> tuner.samplers.by_name("sobol").get_ready(tuner.Space(x=tuner.linear(0, 1)), 0)
        """

    # ── as an Optuna sampler ────────────────────────────────────────────────────────────────────

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        """Optuna's question which parameters are drawn together: every one suggested so far, each on its latest range.

        Args:
            study: The Optuna study.
            trial: The Optuna trial; it does not matter.

        Returns:
            Distributions by name; those with a single value need no draw and are left out.

        Example:
            >>> import optuna
            >>> study = optuna.create_study(sampler=tuner.samplers.SobolSampler())
            >>> study.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=1)
            >>> list(study.sampler.infer_relative_search_space(study, study.trials[0]))
            ['x']
        """
        latest: dict[str, BaseDistribution] = {}
        for past in study.get_trials(deepcopy=False):
            latest.update(past.distributions)
        return {name: latest[name] for name in sorted(latest) if not latest[name].single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Optuna's question for the values of a trial; a grid that is done begins again.

        Args:
            study: The Optuna study; what its other trials came to is what is learned from.
            trial: The Optuna trial; its number decides the draw.
            search_space: Distributions by name.

        Returns:
            A value for each of them.

        Raises:
            ValueError: The study has more than one goal, and the sampler learns from outcomes.

        Example:
            >>> import optuna
            >>> study = optuna.create_study(sampler=tuner.samplers.SobolSampler())
            >>> study.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=2)
            >>> 0.0 <= study.best_params["x"] <= 1.0
            True
        """
        self._refuse_goals(study)
        cube = _Cube({name: d for name, d in search_space.items() if not d.single()})
        if not cube.distributions:
            return {}
        if not self.adaptive:
            return cube.settings(self._propose_again(cube.space, trial.number, (), ()).point)
        past = study.get_trials(deepcopy=False)
        rounds = [plan for other in past if (plan := cube.plan(other.system_attrs.get(self._ROUND))) is not None]
        key = study.study_name, cube.mark
        known = self._known.pop(key, None) or _Known()  # whoever has it owns it: others, in other threads, make theirs
        known.learn(cube, [other for other in past if other.number != trial.number], study.direction)
        proposal = self._propose_again(cube.space, trial.number, known.ledger, rounds)
        self._known = {key: known}
        if proposal.opened is not None:
            note_on_trial(study, trial, self._ROUND, cube.note(proposal.opened))
        return cube.settings(proposal.point)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Optuna's question for a parameter that no trial has had yet: an even draw.

        Args:
            study: The Optuna study.
            trial: The Optuna trial; its number decides the draw.
            param_name: The parameter's name, which decides the draw too.
            param_distribution: Its distribution.

        Returns:
            A value of the distribution.

        Raises:
            ValueError: The study has more than one goal, and the sampler learns from outcomes.

        Example:
            >>> import optuna
            >>> study = optuna.create_study(sampler=tuner.samplers.SobolSampler())
            >>> uniform = optuna.distributions.IntDistribution(1, 4)
            >>> asked = study.ask(fixed_distributions={"layers": uniform})
            >>> asked.params["layers"] in range(1, 5)
            True
        """
        self._refuse_goals(study)
        rng = np.random.default_rng([self.seed, trial.number, zlib.crc32(param_name.encode())])
        return _Cube({param_name: param_distribution}).settings((rng.random(),))[param_name]

    def _propose_again(
        self, space: Space, trial: int, outcomes: Sequence[Outcome], rounds: Sequence[RoundPlan]
    ) -> Proposal:
        proposal = self.propose(space, self.seed, trial, outcomes, rounds)
        while proposal is None:  # a finite sampler is done: Optuna decides when to stop, so begin again
            trial = self._again(space, trial)
            proposal = self.propose(space, self.seed, trial, outcomes, rounds)
        return proposal

    def _again(self, space: Space, trial: int) -> int:
        """The trial whose settings stand in for this one's, once there are no more."""
        raise NotImplementedError

    def _refuse_goals(self, study: Study) -> None:
        if self.adaptive and len(study.directions) > 1:
            raise ValueError(
                f"{type(self).__name__} follows one goal, got {len(study.directions)}. "
                "Create the study with one direction, or use optuna.samplers.NSGAIISampler."
            )


class NonAdaptiveSampler(UnitCubeSampler):
    """A sampler that looks at no outcome: what trial n gets follows from the seed and n alone."""

    adaptive = False

    def propose(
        self,
        space: Space,
        seed: int,
        trial: int,
        outcomes: Sequence[Outcome],  # noqa: ARG002  # the contract's, for samplers that learn
        rounds: Sequence[RoundPlan],  # noqa: ARG002
    ) -> Proposal | None:
        """The draw of a trial's number, whatever came out before.

        Args:
            space: What is searched.
            seed: Of all draws, 0 to 2**63 − 1.
            trial: The trial's number, from 0.
            outcomes: What other trials came to; it does not matter.
            rounds: The rounds so far; they do not matter.

        Returns:
            A point of the unit cube and why; None when there is nothing left to try.

        Example:
            >>> space = tuner.Space(rate=tuner.log(1e-4, 1.0))
            >>> tuner.samplers.RandomSampler().propose(space, 0, 0, (), ()).why
            'an even random draw'
        """
        return self.draw(space, seed, trial)

    @abstractmethod
    def draw(self, space: Space, seed: int, trial: int) -> Proposal | None:
        """The settings of trial number `trial`; None when there is nothing left to try."""


@dataclass(frozen=True)
class _Cube:
    """Optuna's distributions as a `Space`: each value's place in the unit interval, and the way back."""

    distributions: Mapping[str, BaseDistribution]

    @property
    def space(self) -> Space:
        dimensions: dict[str, Parameter | Choice] = {}
        for name, distribution in self.distributions.items():
            word = _word(name)
            dimensions[f"{word}_{len(dimensions)}" if word in dimensions else word] = dimension_of(distribution)
        return Space(**dimensions)

    def settings(self, point: Sequence[float]) -> dict[str, Any]:
        return {name: value_at(d, u) for (name, d), u in zip(self.distributions.items(), point, strict=True)}

    def point(self, params: Mapping[str, Any]) -> Point | None:
        """Where these settings lie in the present ranges; None when outside, or when nothing here is among them."""
        point = tuple(place_of(d, params[n]) if n in params else math.nan for n, d in self.distributions.items())
        within = [0.0 <= u <= 1.0 for u in point if not math.isnan(u)]
        return point if within and all(within) else None

    def note(self, plan: RoundPlan) -> dict[str, Any]:
        box = {name: list(sides) for name, sides in plan.box.items()}
        return {
            "round": plan.round,
            "first_trial": plan.first_trial,
            "box": box,
            "why": plan.why,
            "memo": plan.memo,
            "space": self.mark,
        }

    def plan(self, note: Mapping[str, Any] | None) -> RoundPlan | None:
        """The round a note speaks of, unless the ranges have changed since."""
        if note is None or note["space"] != self.mark:
            return None
        box = {name: (float(low), float(high)) for name, (low, high) in note["box"].items()}
        return RoundPlan(
            round=note["round"], first_trial=note["first_trial"], box=box, why=note["why"], memo=note["memo"]
        )

    @cached_property
    def mark(self) -> int:
        """Tells these ranges from others."""
        return zlib.crc32(repr(sorted(self.distributions.items())).encode())


class _Known:
    """What is known of an Optuna study's trials; those that are over are looked at once."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._over: set[int] = set()

    def learn(self, cube: _Cube, trials: Sequence[FrozenTrial], direction: StudyDirection) -> None:
        sign = -1.0 if direction == StudyDirection.MINIMIZE else 1.0
        self.ledger.goal = "minimize" if direction == StudyDirection.MINIMIZE else "maximize"
        for trial in trials:
            if trial.number in self._over:
                continue
            if (outcome := _outcome_of(cube, trial, sign)) is not None:
                self.ledger.put(outcome)
            if trial.state.is_finished():
                self._over.add(trial.number)


_STATES: dict[OptunaState, TrialState] = {
    OptunaState.COMPLETE: "completed",
    OptunaState.PRUNED: "pruned",
    OptunaState.FAIL: "failed",  # where a NaN ends too
    OptunaState.RUNNING: "running",
    OptunaState.WAITING: "waiting",
}


def _outcome_of(cube: _Cube, trial: FrozenTrial, sign: float) -> Outcome | None:
    """The trial in the present ranges; None where it lies outside."""
    if (point := cube.point(trial.params)) is None:
        return None
    finite = trial.value is not None and math.isfinite(trial.value)
    state = _STATES[trial.state]
    if state == "completed" and not finite:
        state = "diverged"  # Optuna lets an infinite value complete
    curve = {step: value for step, value in sorted(trial.intermediate_values.items()) if math.isfinite(value)}
    if finite and trial.value is not None:  # of one that was pruned it is, as a rule, the last report's
        curve[max([1, *curve])] = trial.value
    over = trial.state.is_finished()
    best = max((sign * value for value in curve.values()), default=None)
    score = None if state == "diverged" else sign * trial.value if finite and trial.value is not None else best
    observations = thinned([max(1, step) for step in curve], list(curve.values()), sign)
    steps = max(curve, default=0) if curve else int(over)
    return Outcome(trial=trial.number, point=point, state=state, score=score, steps=steps, observations=observations)


def dimension_of(distribution: BaseDistribution) -> Parameter | Choice:
    """The parameter that draws as the distribution does; steps and options are counted from 0."""
    if isinstance(distribution, CategoricalDistribution):
        return Choice(options=tuple(range(len(distribution.choices))))
    numeric = _numeric(distribution)
    if _steps(numeric):
        return Parameter(low=0, high=round((numeric.high - numeric.low) / cast(float, numeric.step)), type="integer")
    whole = isinstance(numeric, IntDistribution)
    return Parameter(
        low=numeric.low,
        high=numeric.high,
        scale="log" if numeric.log else "linear",
        type="integer" if whole else "float",
    )


def value_at(distribution: BaseDistribution, u: float) -> Any:
    """The distribution's value at a place in [0, 1]."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[dimension_of(distribution).from_unit(u)]
    numeric = _numeric(distribution)
    if numeric.single():
        return numeric.low
    counted = dimension_of(numeric).from_unit(u)
    if _steps(numeric):
        return min(numeric.low + counted * cast(float, numeric.step), numeric.high)
    return counted


def place_of(distribution: BaseDistribution, value: Any) -> float:
    """The value's place on the distribution's scale; beyond [0, 1] where it lies outside the range."""
    dimension = dimension_of(distribution)
    if isinstance(dimension, Choice):
        return dimension.to_unit(int(distribution.to_internal_repr(value)))
    numeric = _numeric(distribution)
    return dimension.place((value - numeric.low) / cast(float, numeric.step) if _steps(numeric) else value)


def _numeric(distribution: BaseDistribution) -> FloatDistribution | IntDistribution:
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise SettingsError(f"{distribution!r} is unknown here. Use suggest_float, suggest_int or suggest_categorical.")
    return distribution


def _steps(distribution: FloatDistribution | IntDistribution) -> bool:
    return distribution.step is not None and not (isinstance(distribution, IntDistribution) and distribution.step == 1)


def _word(name: str) -> str:
    """The name as a `Space` takes it."""
    word = re.sub(r"\W", "_", name)
    return word if word.isidentifier() and not keyword.iskeyword(word) and word[0] != "_" else f"p_{word}"
