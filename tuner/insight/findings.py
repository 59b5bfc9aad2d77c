"""The findings of a search: each with its numbers, and all of them as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tuner.errors import SettingsError, StudyError
from tuner.insight.beliefs import Belief, beliefs_of
from tuner.insight.confirmation import Confirmation, confirmation_of
from tuner.insight.divergence import Divergences, divergences_of
from tuner.insight.edges import Edge, edges_of
from tuner.insight.fit import Fit, fit_of
from tuner.insight.importance import Importance, importance_of
from tuner.insight.model import Considered, Model
from tuner.insight.ranking import Recheck, recheck_of
from tuner.insight.recommendation import Recommended, recommended_of
from tuner.insight.winner import Winner, noise_of_means, winner_of
from tuner.insight.worth import Worth, worth_of
from tuner.record.curve import Curve
from tuner.record.leaders import distinct, is_plateau, leaders, sharing, why_no_winner
from tuner.surrogate.threads import on_one_thread
from tuner.values.numbers import number, percent

if TYPE_CHECKING:
    from tuner.record.reader import StudyReader
    from tuner.record.state import StudyState
    from tuner.space.space import Space

FEW = 3
"""So many of the best trials have their curves diagnosed."""

Curves = Mapping[int, Mapping[str, Curve]]
"""The head curves of a few trials, by the name of the score."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One thing that was learned: sentences, a table whose first row is its heading, and the names of its pictures."""

    title: str
    sentences: tuple[str, ...]
    table: tuple[tuple[str, ...], ...] = ()
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a search has learned, each part with its numbers; `sections` say it in words."""

    study: str
    objective: str
    goal: str
    trials: int
    winner: Winner | None
    recommended: Recommended | None
    confirmation: Confirmation | None
    importance: Importance
    edges: tuple[Edge, ...]
    beliefs: tuple[Belief, ...]
    divergences: Divergences
    fits: tuple[Fit, ...]
    worth: Worth
    recheck: Recheck | None
    state: StudyState = field(repr=False, compare=False)
    space: Space = field(repr=False, compare=False)
    curves: Curves = field(repr=False, compare=False)

    @classmethod
    def of(cls, study: StudyReader, *, target_error: float = 0.0, more: int | None = None) -> Self:
        """What a sweep has learned.

        Args:
            study: The sweep, opened to read.
            target_error: What one could reach (the Bayes error), from which bias is measured; at least 0; by default
                0.0.
            more: Further trials to weigh, from 1 up. None: half as many as there were.

        Returns:
            The findings.

        Raises:
            StudyError: It is a babysat run.
            SettingsError: A target below 0.

        Example:
            >>> tuner.Explanation.of(study).trials
            12
        """
        state, space = study.state, study.space
        if state.kind != "sweep" or space is None:
            raise StudyError(
                f"{study.name} is one babysat run: what it tells is in its logbook (tuner export {study.name} "
                f"--format markdown) and in its lineage (tuner plot {study.name})."
            )
        if not target_error >= 0.0:
            raise SettingsError(
                f"target_error must be 0 or above, got {target_error!r}. It is the error one could reach."
            )
        return cls._of(study, state, space, target_error, more)

    @classmethod
    @on_one_thread
    def _of(cls, study: StudyReader, state: StudyState, space: Space, target_error: float, more: int | None) -> Self:
        ranked = leaders(state)
        alike = sharing(state, ranked)[0] if is_plateau(state, ranked) else 0
        known = None if alike else Considered.of(state, space)
        model = None if known is None else Model.of(state, space, known)
        confirmation = confirmation_of(state)
        measured = noise_of_means(state) if confirmation is None else confirmation.noise
        ranks = None if known is None else Model.of_ranks(state, space, known)
        importance = importance_of(ranks, state.objective, len(ranked), alike)
        few = distinct(ranked, FEW)
        noise = measured if model is None else measured or model.noise_at_most
        curves = {trial.trial: study.curves(trial.trial) for trial in few}
        fits = [fit_of(trial, curves[trial.trial], target_error) for trial in few]
        return cls(
            study=study.name,
            objective=state.objective,
            goal=state.goal,
            trials=len(state.searched()),
            winner=winner_of(state, confirmation, noise, ranked),
            recommended=recommended_of(state, space, ranked),
            confirmation=confirmation,
            importance=importance,
            divergences=divergences_of(state, space),
            edges=edges_of(state, space, importance.at_least(), ranked),
            beliefs=beliefs_of(state, space, ranked),
            fits=tuple(fit for fit in fits if fit is not None),
            worth=worth_of(model, state, more, measured, ranked),
            recheck=recheck_of(state),
            state=state,
            space=space,
            curves=curves,
        )

    @property
    def sections(self) -> tuple[Section, ...]:
        """What was learned, the most important first."""
        return tuple(_sections(self))

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it in a row."""
        return tuple(sentence for section in self.sections for sentence in section.sentences)

    def __str__(self) -> str:
        return "\n".join(self.sentences)


# ── in words ────────────────────────────────────────────────────────────────────────────────────────


def _sections(found: Findings) -> Iterator[Section]:
    none = why_no_winner(found.state)
    none = f"{none[0].upper()}{none[1:]}."
    yield Section(
        title="The winner",
        sentences=(none,) if found.winner is None else (*found.winner.sentences, *_recommended(found.recommended)),
        table=_repeats(found.confirmation),
    )
    if found.recheck is not None:
        yield Section(title="Does the order still hold?", sentences=(found.recheck.sentence,))
    shares = found.importance.shares
    rows = [(each.parameter, percent(each.total), f"± {100 * each.error:.0f}", percent(each.alone)) for each in shares]
    yield Section(
        title="What matters",
        sentences=(found.importance.sentence,),
        pictures=("importance", "isolation"),
        table=(("parameter", "in all", "s.e.", "alone"), *rows) if rows else (),
    )
    inside = "Nothing says to widen the space." if found.winner is not None else "It takes a score to tell."
    where = tuple(each.sentence for each in found.edges) or (inside,)
    yield Section(title="Where to look next", sentences=(*where, *(each.sentence for each in found.beliefs)))
    yield Section(title="What diverged", sentences=(found.divergences.sentence,))
    yield Section(title="How the best fit", sentences=tuple(_fits(found.fits)) or (_no_fit(found),), pictures=("fits",))
    yield Section(title="Are more trials worth it?", sentences=(found.worth.sentence,))


def _recommended(found: Recommended | None) -> tuple[str, ...]:
    return () if found is None else (found.sentence,)


def _fits(fits: Sequence[Fit]) -> Iterator[str]:
    """One sentence for all that fit alike."""
    for alike in _grouped(fits):
        first, *others = alike
        yield first.sentence
        if others:
            told = " and ".join(
                f"{each.trial} (train {number(each.train, 3)}, dev {number(each.dev, 3)})" for each in others
            )
            yield f"The same holds for trial{'s' * (len(others) > 1)} {told}."


def _grouped(fits: Sequence[Fit]) -> list[list[Fit]]:
    groups: dict[tuple[object, ...], list[Fit]] = {}
    for each in fits:
        groups.setdefault((each.high_bias, each.high_variance, each.course), []).append(each)
    return list(groups.values())


def _no_fit(found: Findings) -> str:
    if not found.curves:
        return "Bias and variance are told of the best trials, and none has a score."
    named = sorted({name for each in found.curves.values() for name in each})
    return (
        f"Bias and variance take a score on train and on dev alike, and what was reported is "
        f"{', '.join(named) or 'nothing'}. Report both: run.report(train_error=…, dev_error=…), or _accuracy, or _loss."
    )


def _repeats(found: Confirmation | None) -> tuple[tuple[str, ...], ...]:
    if found is None:
        return ()
    rows = [
        (
            str(each.trial),
            number(each.searched),
            number(each.mean),
            number(each.error, 2),
            str(len(each.finite)),
            "-" if each.chance is None else percent(each.chance),
        )
        for each in found.candidates
    ]
    return (("trial", "search", "mean", "s.e.", "repeats", "chance to be best"), *rows)
