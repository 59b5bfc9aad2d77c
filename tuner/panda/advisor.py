"""The advisor of a run while it trains: facts from the fold in, the supervisor's advice for the record out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tuner.panda.supervisor import SPIKE, Advice, Facts, Series, diagnose
from tuner.record.curve import Curve
from tuner.record.events import Reported, Settings
from tuner.record.recipe import BETAS, RATES
from tuner.record.reports import unpack_reports
from tuner.record.state import StudyState
from tuner.record.trial import Segment, Trial
from tuner.space.parameters import Parameter
from tuner.space.space import Space


class Advisor:
    """The head curves of every score of one run, and what was said about them since its settings last changed."""

    def __init__(
        self, space: Space | None, curves: Mapping[str, Curve] | None = None, segment: int | None = None
    ) -> None:
        """`curves` are what has been reported already, on the head that ends with `segment`."""
        self._space = space
        self._curves: dict[str, Curve] = dict(curves or {})
        self._segment = segment
        self._said: set[tuple[object, ...]] = set()
        self._standing: tuple[tuple[object, ...], int] | None = None  # what was found, and since which step

    def take(self, record: Reported, trial: Trial) -> None:
        """Adds a flush of reports of the head; where that went back, what lies after is no longer on it."""
        if record.segment != self._segment:
            self._segment, self._said = record.segment, set()
            opened = trial.segment(record.segment)
            for each in self._curves.values():
                each.cut(-1 if opened.parent is None else opened.from_step)
        for step, name, value, _ in unpack_reports(record):
            curve = self._curves.get(name)
            if curve is None:
                curve = self._curves[name] = Curve()
            curve.add(step, value)

    def _stands(self, asked: tuple[object, ...], window: tuple[int, int]) -> bool:
        """Whether the same was found at every look while a fifth of what it stands on was new.

        Whoever looks twice a second finds in noise what a single look finds one time in twenty.
        """
        if self._standing is None or self._standing[0] != asked:
            self._standing = asked, window[1]
        return window[1] - self._standing[1] >= (window[1] - window[0]) / 5

    def look(self, study: StudyState, trial: Trial) -> list[Advice]:
        """What the supervisor says now, most urgent first."""
        return diagnose(facts(study, trial, self._curves, self._space))

    def news(self, study: StudyState, trial: Trial) -> Advice | None:
        """The most urgent advice, if it asks for something that was not asked for since the last change."""
        first = self.look(study, trial)[0]
        if first.urgency == "none":
            self._standing = None
            return None
        onset = first.window[0] if first.symptom == "spike" else None  # a second one is news
        asked = (first.symptom, first.verb, *first.settings.items(), first.revert_step, onset)
        if asked in self._said or (first.urgency == "consider" and not self._stands(asked, first.window)):
            return None
        self._said.add(asked)
        return first


def facts(study: StudyState, trial: Trial, curves: Mapping[str, Curve], space: Space | None) -> Facts:
    """All that the supervisor needs to know of a run."""
    path = trial.path()
    changes = [
        segment for segment in path if segment.cause in ("adjust", "revert") and segment.request not in study.unread
    ]
    last = changes[-1] if changes else None
    # A function often names an end far away, to train until it is told: only who cares for a gain means it.
    gain = study.options.get("smallest_gain")
    planned = trial.planned if gain is not None else None
    settings = trial.recipe.at(trial.steps)
    beta = _first_of(BETAS, settings)
    return Facts(
        study=study.name,
        scores={name: Series(steps=np.array(c.steps), values=np.array(c.scores)) for name, c in curves.items()},
        objective=study.objective,
        goal=study.goal,
        settings=settings,
        steps_left=None if planned is None else max(0, planned - trial.steps),
        smallest_gain=gain,
        checkpoints=sorted({each.step for each in trial.on_head(study.kept(trial))}),
        last_change_step=None if last is None else last.from_step,
        previous_settings=None if last is None else _before(trial, path, last),
        reverts=[each.from_step for each in path if each.cause == "revert" and SPIKE in each.why],
        bounds={name: (each.low, each.high) for name, each in (space or {}).items() if isinstance(each, Parameter)},
        rate_name=_first_of(RATES, settings),
        beta_name=beta,
        momentum="heavy_ball" if beta == "momentum" else "averaged",  # as torch.optim.SGD has it
    )


def _first_of(names: tuple[str, ...], settings: Settings) -> str:
    return next((name for name in names if name in settings), names[0])


def _before(trial: Trial, path: list[Segment], change: Segment) -> Mapping[str, object] | None:
    """The settings in force just before a change on the head."""
    earlier = [each for each in path if each.segment == change.parent]
    return trial.recipe_of(earlier[0]).at(change.from_step) if earlier else None
