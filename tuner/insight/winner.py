"""The winner of a search, and how far its score can be told from the next one and from luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.insight.confirmation import Confirmation
from tuner.record.events import Goal, Settings
from tuner.record.leaders import distinct, leaders, sharing, well_trained
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.values.numbers import number, setting

_TWO_SEEDS = 2.0 * 2.0**0.5  # two standard deviations of the difference of two runs


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The best trial of the search, the next with other settings, and its repeats, if any.

    `noise` is what a seed changes at most, as far as can be told; `sharing` of the `scored` trials have the best score.
    That of a trial with several `seeds` is their mean, and `spread` how far they differ.
    """

    study: str
    objective: str
    goal: Goal
    trial: int
    score: float
    step: int
    params: Settings
    next_trial: int | None
    next_score: float | None
    noise: float | None
    confirmation: Confirmation | None
    sharing: int = 1
    scored: int = 1
    seeds: int = 1
    spread: float | None = None

    @property
    def lead(self) -> float | None:
        """By how much it is ahead of the next."""
        return None if self.next_score is None else abs(self.score - self.next_score)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Who won, and how sure that is."""
        settings = ", ".join(f"{name} {setting(value)}" for name, value in self.params.items())
        score = f"{self.objective} {number(self.score, 6)}"
        told = [f"Trial {self.trial} is the best of the search: {score} at step {self.step}."]
        told.append(f"Its settings: {settings}.")
        if self.sharing > 1:
            told.append(f"{self.sharing} of {self.scored} trials share that score to the last digit.")
        if self.confirmation is not None:
            return (*told, self.confirmation.sentence)
        if self.lead:
            luck = ""
            if self.noise is not None:
                less = "less" if self.lead < _TWO_SEEDS * self.noise else "more"
                luck = f", {less} than two seeds may differ (a seed alone changes it by at most "
                luck += f"±{number(self.noise, 2)}, as far as can be told)"
                if self.spread is not None:
                    luck = f", {less} than two such means may differ (other seeds change one by "
                    luck += f"±{number(self.noise, 2)})"
            told.append(f"It leads trial {self.next_trial} by {number(self.lead, 2)}{luck}.")
        run = "one run of one seed"
        if self.spread is not None:
            run = f"the mean of {self.seeds} seeds, which differ by ±{number(self.spread, 2)}"
        told.append(f"That is {run}. How sure it is: tuner confirm {self.study} --top 3 --repeats 5")
        return tuple(told)


def winner_of(
    study: StudyState, confirmation: Confirmation | None, noise: float | None, ranked: Sequence[Trial] | None = None
) -> Winner | None:
    """The winner of a study, None while there is none; `noise` is what a model makes of the seed, at most.

    `ranked`: all its leaders, where they are at hand.
    """
    best = study.best
    if best is None or best.best_score is None or best.best_step is None:
        return None
    ranked = leaders(study) if ranked is None else ranked
    alike, scored = sharing(study, ranked)
    after = next((trial for trial in distinct(ranked, 2) if trial.trial != best.trial), None)
    return Winner(
        study=study.name,
        objective=study.objective,
        goal=study.goal,
        trial=best.trial,
        score=best.best_score,
        step=best.best_step,
        params=dict(best.settings),
        next_trial=None if after is None else after.trial,
        next_score=None if after is None else after.best_score,
        noise=noise,
        confirmation=confirmation,
        sharing=alike,
        scored=scored,
        seeds=study.seeds,
        spread=study.spread(best),
    )


def noise_of_means(study: StudyState) -> float | None:
    """What other seeds change of a trial's score, where that is the mean of several: a standard deviation.

    √(Σ spread² / m) / √n over the m trials of the search that trained far, of n seeds each. None with one
    seed, or while no such trial has a score.
    """
    spreads = [study.spread(trial) for trial in well_trained(leaders(study))] if study.seeds > 1 else []
    squares = [spread * spread for spread in spreads if spread is not None]
    return (sum(squares) / len(squares) / study.seeds) ** 0.5 if squares else None
