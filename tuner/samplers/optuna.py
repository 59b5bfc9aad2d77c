"""Optuna's ask and tell: any Optuna sampler proposes, any Optuna pruner stops, from what the record says.

The *twin* is an in-memory Optuna study that says of every trial what the fold says, under the same number. Numbers lie
in it as floats in [0, 1], so that bounds and scales are ours; choices are categories; a parameter that does not exist
is absent. The twin is a cache: a fresh one, made from the record after a restart, leads to the same draws.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, QMCSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from tuner.errors import MissingExtra, SettingsError, StudyError
from tuner.policy.proposals import Outcome, Proposal, RoundPlan
from tuner.policy.verdicts import Verdict
from tuner.record.curve import better
from tuner.record.events import Settings
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.samplers.internals import (
    arguments_of,
    generators_in,
    note_on_study,
    notes_of,
    renewed,
    samplers_in,
    seed_sequence,
    wrapped_in,
)
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space

_UNIT = FloatDistribution(0.0, 1.0)
_NEEDS = {"CmaEsSampler": "cmaes", "GPSampler": "torch"}


class OptunaProposer:
    """Any Optuna sampler as a `Proposer`. Its own seed has no say: draws are keyed by (seed, trial, what was seen).

    Optuna's own samplers are renewed before each draw, so that nothing hidden survives in them and a study with one
    worker goes on after a kill as if nothing had happened. A sampler from elsewhere is kept, as it may learn in
    `after_trial`: it is told everything anew after a restart.
    """

    adaptive = True

    def __init__(self, sampler: BaseSampler) -> None:
        needed = _NEEDS.get(type(sampler).__name__)
        if needed is not None and importlib.util.find_spec(needed) is None:
            raise MissingExtra(f"{type(sampler).__name__} needs the package {needed}. Try: pip install {needed}")
        self.description = describe(sampler)
        """The sampler's name and settings: its part of the study's identity."""
        self._sampler = sampler
        self._renews = all(type(each).__module__.startswith("optuna.samplers") for each in samplers_in(sampler))
        self._study: StudyState | None = None
        self._space: Space | None = None
        self._twin: _Twin | None = None
        self._asked: dict[int, Settings] = {}
        self._once = _Once()

    def attach(self, study: StudyState, space: Space) -> None:
        """Says whose trials are proposed; once, before the first `propose`, and after a replay if there is one."""
        self._study, self._space, self._twin = study, space, None

    def propose(
        self,
        space: Space,
        seed: int,
        trial: int,
        outcomes: Sequence[Outcome],  # noqa: ARG002 - the twin also needs running trials, curves and memos
        rounds: Sequence[RoundPlan],  # noqa: ARG002 - the cube is fixed
    ) -> Proposal | None:
        """What the sampler says in the unit cube; None when it asks to stop (a grid that is done)."""
        twin = self._caught_up(trial)
        if twin.optuna.exhausted:
            return None
        self._twin = None  # should the sampler raise, the half-asked trial goes with its twin
        twin.optuna.sampler = self._keyed(twin.optuna.sampler, seed, trial)
        with self._once.listening():
            params, memo = self._ask(twin, space)
        self._twin, self._asked[trial] = twin, params
        why = f"{type(self._sampler).__name__} drew it, knowing {len(twin.ended)} ended trials"
        return Proposal(point=space.to_unit(params), why=why, memo=memo)

    def _ask(self, twin: _Twin, space: Space) -> tuple[Settings, Mapping[str, Any] | None]:
        """The settings drawn, and what the sampler keeps with them: {"trial": …, "study": …} or None."""
        before = twin.attributes
        try:
            asked = twin.ask()
            params = _walk(space, lambda name: _suggest(asked, name, space[name]))
        except ValueError as error:
            raise SettingsError(
                f"{self.description} cannot draw from this space: {error} Try another sampler, such as TPESampler()."
            ) from error
        twin.settle(asked.number, _places(space, params))
        own = dict(twin.frozen(asked.number).system_attrs)
        shared = {key: value for key, value in twin.attributes.items() if before.get(key) != value}
        return params, {"trial": own, "study": shared} if own or shared else None

    def _caught_up(self, trial: int) -> _Twin:
        if self._study is None or self._space is None:
            raise StudyError("an Optuna sampler needs its study's trials. Call attach(study, space) before propose.")
        recorded = [number for number in self._asked if number < len(self._study.trials)]
        overruled = [number for number in recorded if self._asked.pop(number) != self._study.trials[number].params]
        if self._twin is None or overruled or self._twin.length > trial or self._twin.is_outdated():
            space = self._space
            sampler = copy.deepcopy(self._sampler)
            self._twin = _Twin(self._study, sampler, NopPruner(), lambda each: _recorded(space, each), curves="pruned")
        self._twin.catch_up()
        if self._twin.length != trial:
            raise StudyError(f"trial {trial} cannot be proposed: trial {self._twin.length} has not been recorded yet.")
        return self._twin

    def _keyed(self, sampler: BaseSampler, seed: int, trial: int) -> BaseSampler:
        if self._renews:
            sampler = renewed(self._sampler, sampler)
        for place, generator in enumerate(generators_in(sampler)):
            generator.seed(np.random.SeedSequence([seed, trial, place]).generate_state(4))
        for each in samplers_in(sampler):
            if isinstance(each, QMCSampler):
                seed_sequence(each, int(np.random.SeedSequence(seed).generate_state(1)[0]))
        return sampler


class OptunaPruning:
    """Any Optuna pruner as a `StoppingRule`, asked at every step from `min_steps` on; it sees head reports."""

    def __init__(self, pruner: BasePruner, min_steps: int = 1) -> None:
        self.name = type(pruner).__name__
        self.description = describe(pruner)
        self._pruner, self._min_steps = pruner, min_steps
        self._twin: _Twin | None = None

    def first_ask(self, after: int = 0) -> int:
        """The next step, or the first from which on it is asked."""
        return max(after + 1, self._min_steps)

    def judge(self, study: StudyState, trial: Trial, step: int) -> Verdict:
        """What the pruner says of the trial's reports up to `step`."""
        twin = self._caught_up(study)
        if len(study.curve(trial)) and twin.prunes(trial):
            return Verdict(action="prune", why=f"{self.name} stopped it at step {step}", ask_at=step + 1)
        return Verdict(action="continue", why=f"{self.name} lets it go on at step {step}", ask_at=step + 1)

    def _caught_up(self, study: StudyState) -> _Twin:
        if self._twin is None or self._twin.study is not study or self._twin.is_outdated():
            pruner = copy.deepcopy(self._pruner)
            self._twin = _Twin(study, optuna.samplers.RandomSampler(), pruner, lambda _: _Recorded(), curves="all")
        self._twin.catch_up()
        return self._twin


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """What the record says of a trial's beginning, in Optuna's words."""

    places: Mapping[str, Any] = field(default_factory=dict)
    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict)
    memo: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class _Study(optuna.study.Study):
    """An Optuna study that notes it when a sampler asks to stop, where Optuna's own raises outside `optimize`."""

    exhausted = False

    def stop(self) -> None:
        self.exhausted = True


class _Twin:
    """The fold of one study, said to Optuna: what it holds depends on the fold alone, not on when it was caught up."""

    def __init__(
        self,
        study: StudyState,
        sampler: BaseSampler,
        pruner: BasePruner,
        recorded: Callable[[Trial], _Recorded],
        *,
        curves: Literal["all", "pruned"],
    ) -> None:
        self.study = study
        self.length = 0
        self.ended: set[int] = set()
        self._recorded, self._curves = recorded, curves
        self._seen = 0
        self._revivals = study.revivals
        self._held: list[Trial] = []
        self._worst: float | None = None
        self._storage = optuna.storages.InMemoryStorage()
        direction = StudyDirection.MAXIMIZE if study.goal == "maximize" else StudyDirection.MINIMIZE
        with quiet():
            self._storage.create_new_study([direction], study.name)
        self.optuna = _Study(study.name, self._storage, sampler, pruner)

    @property
    def attributes(self) -> dict[str, Any]:
        """What samplers keep with the study as a whole."""
        return notes_of(self.optuna)

    def frozen(self, number: int) -> FrozenTrial:
        """Optuna's own trial, not a copy."""
        return self._storage.get_trial(number)  # one study in the storage: a trial's id is its number

    def is_outdated(self) -> bool:
        """Whether an end, or a report that was shown, no longer holds: Optuna can take nothing back."""
        revived = self._revivals != self.study.revivals
        return revived or any(len(self._shown(trial)) > len(self.study.curve(trial)) for trial in self._watched())

    def catch_up(self) -> None:
        """Takes in the trials that were created or ended since the last call."""
        fresh = self.length == 0
        for trial in self.study.trials[self.length :]:
            self._add(self._recorded(trial))
        ended = [self.study.trials[number] for number in self.study.ended_order[self._seen :]]
        self._seen = len(self.study.ended_order)
        replay = self._replay if fresh and _has_rungs(self.optuna.pruner) else lambda _: None
        for trial in ended:
            replay(trial)
            self._end(trial)
        for trial in self.study.live.values():
            replay(trial)

    def ask(self) -> optuna.Trial:
        """A new trial, not yet drawn."""
        asked = self.optuna.ask()
        self.length += 1
        return asked

    def settle(self, number: int, places: Mapping[str, Any]) -> None:
        """Puts numbers where the record will have them: a whole number in the middle of its cell."""
        for name, drawn in self.frozen(number).params.items():
            if places[name] != drawn:
                self._storage.set_trial_param(number, name, places[name], _UNIT)

    def prunes(self, trial: Trial) -> bool:
        """What the pruner says of a running trial, knowing the curves of the others."""
        for rival in self._watched():
            if rival is trial or len(self._shown(rival)) != len(self.study.curve(rival)):
                self._reflect(rival)
        return bool(self.optuna.pruner.prune(self.optuna, self.frozen(trial.trial)))

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _add(self, recorded: _Recorded) -> None:
        trial = optuna.trial.create_trial(
            state=OptunaState.RUNNING,
            params=dict(recorded.places),
            distributions=dict(recorded.distributions),
            system_attrs=dict(recorded.memo.get("trial", {})),
        )
        self.optuna.add_trial(trial)
        self.length += 1
        for key, value in recorded.memo.get("study", {}).items():
            note_on_study(self.optuna, key, value)

    def _watched(self) -> list[Trial]:
        """The running trials whose curves are shown to Optuna."""
        return (
            [trial for trial in self.study.live.values() if trial.trial < self.length] if self._curves == "all" else []
        )

    def _shown(self, trial: Trial) -> dict[int, float]:
        return self.frozen(trial.trial).intermediate_values

    def _reflect(self, trial: Trial, keep: Callable[[float], bool] = lambda _: True) -> None:
        """Shows Optuna the head curve, in place: its own way copies all reports once for each."""
        curve, shown = self.study.curve(trial), self._shown(trial)
        shown.clear()
        shown.update((step, score) for step, score in zip(curve.steps, curve.scores, strict=True) if keep(score))

    def _replay(self, trial: Trial) -> None:
        """Leads the pruner through a curve again, so that it finds the trial's rungs as it left them.

        A running trial's last report is left out: the verdict on it may still be pending.
        """
        curve, shown = self.study.curve(trial), self._shown(trial)
        for step, score in zip(curve.steps[: len(curve) - (not trial.ended)], curve.scores, strict=False):
            shown[step] = score
            self.optuna.pruner.prune(self.optuna, self.frozen(trial.trial))

    def _end(self, trial: Trial) -> None:
        """Tells how a trial ended; divergence is the worst score so far, once there is one (SMAC3's crash cost)."""
        self.ended.add(trial.trial)
        state, score = _ending(trial)
        if state is None:
            self._held.append(trial)
        else:
            self._tell(trial, state, score)
            self._note(score)
        if self._worst is not None:
            for held in self._held:
                self._tell(held, OptunaState.COMPLETE, self._worst)
            self._held.clear()

    def _note(self, score: float | None) -> None:
        if score is not None and (self._worst is None or better(self.study.goal, self._worst, score)):
            self._worst = score

    def _tell(self, trial: Trial, state: OptunaState, score: float | None) -> None:
        if self._curves == "all" or state is OptunaState.PRUNED:
            self._reflect(trial, keep=math.isfinite)
        self.optuna.tell(trial.trial, score if state is OptunaState.COMPLETE else None, state)


def _ending(trial: Trial) -> tuple[OptunaState | None, float | None]:
    """A trial's end in Optuna's words, and its best score; the state is None where it diverged.

    Samplers pass over what failed, and over the repetitions and forks that they did not propose.
    """
    score = trial.best_score
    if trial.purpose != "search" or trial.state == "failed":
        return OptunaState.FAIL, None
    if trial.state == "diverged" or (score is not None and not math.isfinite(score)):
        return None, None
    if trial.state == "pruned" or (trial.state == "stopped" and score is not None):
        return OptunaState.PRUNED, score
    return (OptunaState.FAIL, None) if score is None else (OptunaState.COMPLETE, score)


# ── settings and places ─────────────────────────────────────────────────────────────────────────


def _walk(space: Space, value_of: Callable[[str], Any]) -> dict[str, Any]:
    """Decides one parameter after another, parents first: whether a child exists depends on them."""
    params: dict[str, Any] = {}
    while fresh := [
        name for name in space.active(params) if name not in params and params.keys() >= (space[name].when or {}).keys()
    ]:
        for name in fresh:
            params[name] = value_of(name)
    return params


def _suggest(asked: optuna.Trial, name: str, parameter: Parameter | Choice) -> Any:
    if isinstance(parameter, Choice):
        return asked.suggest_categorical(name, parameter.options)
    return parameter.from_unit(asked.suggest_float(name, _UNIT.low, _UNIT.high))


def _places(space: Space, params: Settings) -> dict[str, Any]:
    """Where settings lie in the twin, in the order they are decided."""
    return _walk(space, lambda name: _place(space[name], params[name]))


def _place(parameter: Parameter | Choice, value: Any) -> Any:
    return parameter.check(value) if isinstance(parameter, Choice) else parameter.to_unit(value)


def _recorded(space: Space, trial: Trial) -> _Recorded:
    try:
        places = _places(space, space.check(trial.params)) if trial.purpose == "search" else {}
    except SettingsError:  # given by hand, from outside the space: it has a number but no place
        places = {}
    distributions = {name: _distribution(space[name]) for name in places}
    return _Recorded(places=places, distributions=distributions, memo=trial.memo or {})


def _distribution(parameter: Parameter | Choice) -> BaseDistribution:
    return CategoricalDistribution(parameter.options) if isinstance(parameter, Choice) else _UNIT


# ── samplers and pruners ────────────────────────────────────────────────────────────────────────


def describe(component: object) -> str:
    """A sampler or pruner by its class and the arguments that are not defaults; not by the seed, which is ours.

    >>> describe(optuna.samplers.TPESampler(n_startup_trials=5, seed=1))
    'TPESampler(n_startup_trials=5)'
    """
    arguments = []
    for name, (value, default) in arguments_of(component).items():
        decides = name != "seed" and not name.startswith("warn_")
        if decides and value is not default and value != default:
            arguments.append(f"{name}={_described(value)}")
    return f"{type(component).__name__}({', '.join(arguments)})"


def _described(value: object) -> str:
    if isinstance(value, BaseSampler | BasePruner):
        return describe(value)
    text = repr(value)
    return getattr(value, "__qualname__", type(value).__name__) if " at 0x" in text else text


def _has_rungs(pruner: BasePruner) -> bool:
    """Whether a pruner, or the one it wraps, keeps with each trial which rungs it has passed."""
    wrapped = wrapped_in(pruner)
    return isinstance(pruner, SuccessiveHalvingPruner | HyperbandPruner) or (
        wrapped is not None and _has_rungs(wrapped)
    )


# ── a quiet Optuna ──────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna's level at WARNING or above for a moment."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


class _Once(logging.Filter):
    """Lets each message of Optuna's through once, whatever the trial's number: some come with every draw."""

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[str, logging.LogRecord] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        gist = re.sub(r"\d+", "#", record.getMessage())
        return self._first.setdefault(gist, record) is record  # several handlers may ask about one record

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listens to what Optuna says for a moment."""
        handlers = logging.getLogger("optuna").handlers[:]
        for handler in handlers:
            handler.addFilter(self)
        try:
            yield
        finally:
            for handler in handlers:
                handler.removeFilter(self)
