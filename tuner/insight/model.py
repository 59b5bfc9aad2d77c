"""A finished search as a function: what a whole training scores anywhere in the space, as far as can be told."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import gammaincinv

from tuner.caviar.outcomes import outcome
from tuner.panda.supervisor.series import MAD_TO_SD
from tuner.policy.proposals import Outcome
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.space import Space
from tuner.surrogate.evidence import MOST_ROWS, Embedding, Standardizer, bad, rows_of
from tuner.surrogate.gaussian_process import (
    NO_RUN,
    ConditionedProcess,
    Floats,
    GaussianProcess,
    Rows,
    fit_hyperparameters,
)
from tuner.surrogate.ledger import Ledger, horizon_of, telling
from tuner.surrogate.threads import on_one_thread

FEWEST = 8
"""So many trials with a score it takes to learn a function from."""
_MANY, _EVENLY = 2_000, 1_000
_ROUNDS = 3
_FOLDS = 10
_PARTS = 5
_OF_A_MEDIAN = 0.37  # of n values tell as much of a deviation as the median of n (Rousseeuw & Croux 1993)
_JITTER = 1e-7
_MOST_LUCK = 2.0  # as a variance beside the 1 of all scores


class Model:
    """The Gaussian process that the scores of a search suggest, at the end of training; scores standardized.

    Trials stopped early speak of the step they came to, those that diverged of bad settings; repeats take no part.
    """

    def __init__(
        self, space: Space, outcomes: Sequence[Outcome], rows: Rows, standardizer: Standardizer, horizon: int
    ) -> None:
        """Use `Model.of`."""
        self.space, self.outcomes, self.standardizer, self.horizon = space, tuple(outcomes), standardizer, horizon
        self.embedding = Embedding.of(space)
        hyperparameters: list[float] | None = None
        for _ in range(_ROUNDS):
            hyperparameters = fit_hyperparameters(rows, self.embedding.groups, hyperparameters)
        self.process = GaussianProcess(hyperparameters or (), self.embedding.groups)
        self.rows = rows
        self.posterior = self.process.conditioned_on(rows)

    @classmethod
    def of(cls, study: StudyState, space: Space, known: Considered | None = None) -> Model | None:
        """The model of a study, or of what is considered of it; None where too few trials have a score."""
        known = Considered.of(study, space) if known is None else known
        return cls.of_outcomes(known.telling, space, known.horizon)

    @classmethod
    def of_ranks(cls, study: StudyState, space: Space, known: Considered | None = None) -> Model | None:
        """The same with each score's rank among all in its place: of poor ones it tells the poor from the poorer."""
        known = Considered.of(study, space) if known is None else known
        seen = sorted(value for each in known.evenly if not bad(each) for _, value in each.observations)

        def rank(value: float) -> float:
            return (bisect.bisect_left(seen, value) + bisect.bisect_right(seen, value)) / 2 / len(seen)

        ranked = [
            replace(
                each,
                observations=tuple((step, rank(value)) for step, value in each.observations) if not bad(each) else (),
                score=None if each.score is None or not seen else rank(each.score),
            )
            for each in known.telling
        ]
        return cls.of_outcomes(ranked, space, known.horizon)

    @classmethod
    def of_outcomes(cls, outcomes: Sequence[Outcome], space: Space, horizon: int | None = None) -> Model | None:
        """The model of these outcomes, repeats among them or not; None where too few of them have a score.

        `horizon`: how many steps a whole training takes, where the outcomes are chosen from many and do not tell.
        """
        ledger = Ledger(outcomes, part=MOST_ROWS)
        horizon = ledger.horizon if horizon is None else horizon
        found = rows_of(ledger.surrogate(space).informative, Embedding.of(space), horizon)
        if found is None or sum(each.score is not None for each in outcomes) < FEWEST:
            return None
        return cls(space, outcomes, *found, horizon)

    def at(self, points: Floats, posterior: ConditionedProcess | None = None) -> tuple[Floats, Floats]:
        """Mean and standard deviation of what whole trainings at these points (n, d) of the unit cube score."""
        mean, variance = (posterior or self.posterior).at(self.new(points))
        return mean, np.sqrt(variance)

    def mean_at(self, points: Floats, posterior: ConditionedProcess) -> Floats:
        """The mean alone, by another posterior of the same process."""
        return posterior.mean_at(self.new(points))

    def joint(self, points: Floats) -> Joint:
        """What runs at these points (n, d) score, each with luck of its own."""
        new = self.new(points)
        return Joint(self, Rows(new.features, new.progress, NO_RUN - 1 - np.arange(len(points)), new.value))

    def new(self, points: Floats) -> Rows:
        """Whole trainings at these points, by nobody."""
        if any(each.when for each in self.space.values()):
            points = np.array([self.space.to_unit(self.space.from_unit(point)) for point in points.tolist()])
        count = len(points)
        features = self.embedding.features(points)
        return Rows(features, np.ones(count), np.full(count, NO_RUN, dtype=np.int64), np.empty(count))

    def all_luck(self) -> ConditionedProcess:
        """What is known if all that the model misses is luck: another seed changes as much as it may at most."""
        luck = min((self.noise_at_most / self.standardizer.scale) ** 2, _MOST_LUCK)
        hyperparameters = fit_hyperparameters(self.rows, self.embedding.groups, luck=luck)
        return GaussianProcess(hyperparameters, self.embedding.groups).conditioned_on(self.rows)

    def without_each_fold(self, parts: int = _FOLDS) -> list[tuple[ConditionedProcess, Rows]]:
        """What is known without a tenth of the trials, hyperparameters learned without them too, and what was left out.

        A pair for each tenth, or for each of fewer `parts`.
        """
        trials = np.unique(self.rows.run)
        folds = np.random.default_rng(len(trials)).permutation(trials)
        pairs = []
        for group in np.array_split(folds, min(parts, len(trials))):
            held = np.isin(self.rows.run, group)
            known = _part(self.rows, ~held)
            learned = fit_hyperparameters(known, self.embedding.groups, self.process.hyperparameters.tolist())
            process = GaussianProcess(learned, self.embedding.groups)
            pairs.append((process.conditioned_on(known), _part(self.rows, held)))
        return pairs

    @property
    def noise(self) -> float:
        """What another seed changes, as the process has it, in the unit of the scores: its best guess."""
        own = float(np.exp(self.process.hyperparameters[len(self.space) + 3]))
        return self.standardizer.scale * float(np.sqrt(own))

    @cached_property
    def noise_at_most(self) -> float:
        """What another seed changes at most, 95 % sure, in the unit of the scores.

        How far the ends of trainings lie from what was foretold without them: that is luck, and what a model misses.
        """
        missed = []
        for posterior, held in self.without_each_fold(_PARTS):
            last = np.append(held.run[1:] != held.run[:-1], True)
            held = _part(held, last)
            missed.append(held.value - posterior.at(held)[0])
        off = np.concatenate(missed)
        # A median, since one that did much better or worse than all others is no luck of theirs.
        scale, worth = MAD_TO_SD * float(np.median(np.abs(off))), _OF_A_MEDIAN * len(off)
        return max(
            self.noise, self.standardizer.scale * scale * float(np.sqrt(worth / (2.0 * gammaincinv(worth / 2.0, 0.05))))
        )


class Joint:
    """What n runs score by a model: mean and variance (n,), and of their covariance what is asked for."""

    @on_one_thread
    def __init__(self, model: Model, runs: Rows) -> None:
        """Use `Model.joint`."""
        process, rows = model.process, model.rows
        known = process.covariance(rows, rows)
        known[np.diag_indices(len(known))] += np.exp(process.hyperparameters[len(model.space) + 4]) + _JITTER
        factor = cho_factor(known, lower=True)
        self._process, self._runs, self._across = process, runs, process.covariance(runs, rows)
        self._solved: Floats = cho_solve(factor, self._across.T)
        self.mean: Floats = self._across @ cho_solve(factor, rows.value)
        self.variance: Floats = process.variance(runs) - (self._across * self._solved.T).sum(axis=1)

    @on_one_thread
    def with_one(self, place: int) -> Floats:
        """The covariance (n,) of each run with that at this place."""
        one = self._runs.only(np.arange(len(self.mean)) == place)
        found: Floats = self._process.covariance(self._runs, one)[:, 0] - self._across @ self._solved[:, place]
        return found


class Considered(NamedTuple):
    """The outcomes that a model learns from, and those among which a score has its rank: of few trials, all."""

    telling: list[Outcome]
    evenly: list[Outcome]
    horizon: int | None

    @classmethod
    def of(cls, study: StudyState, space: Space) -> Considered:
        """Of very many trials the curves of those alone are looked at that the model would choose, and of some evenly.

        Which those are, their best scores tell.
        """
        begun = [trial for trial in study.searched() if trial.state != "waiting"]
        if len(begun) <= _MANY:
            study.read(begun)
            outcomes = [outcome(space, study, trial) for trial in begun]
            return cls(outcomes, outcomes, None)
        informing = [trial for trial in begun if trial.best_score is not None or trial.state in ("diverged", "failed")]
        numbers = np.array([trial.trial for trial in informing])
        ranked = numbers[np.argsort(_losses(study, informing), kind="stable")].tolist()
        chosen = telling(ranked, (trial.trial for trial in reversed(informing)), MOST_ROWS)
        evenly = [trial.trial for trial in begun[:: -(-len(begun) // _EVENLY)]]
        wanted = [study.trials[number] for number in sorted({*chosen, *evenly})]
        study.read(wanted)
        known = {trial.trial: outcome(space, study, trial) for trial in wanted}
        horizon = horizon_of(
            max([trial.planned or 0 for trial in begun]),
            max([trial.steps for trial in begun if trial.state == "completed"], default=0),
            max([trial.steps for trial in begun]),
        )
        return cls([known[number] for number in chosen], [known[number] for number in evenly], horizon)


def _losses(study: StudyState, trials: Sequence[Trial]) -> Floats:
    """Minus the score of each, higher being better; what diverged has none."""
    sign = study.signed(-1.0)
    return np.array(
        [
            math.inf if (score := trial.best_score) is None or trial.state == "diverged" else sign * score
            for trial in trials
        ]
    )


def _part(rows: Rows, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Rows:
    return Rows(rows.features[kept], rows.progress[kept], rows.run[kept], rows.value[kept])
