"""The pictures of a study by name, each drawn once for all who look while nothing new is on record."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tuner.record.leaders import leaders
from tuner.record.lineage import Tree
from tuner.server.page.frames import framed, without
from tuner.server.page.rendering import Packed
from tuner.views.pictures.branches import branches
from tuner.views.pictures.curves import curves
from tuner.views.pictures.diagram import Diagram, Theme
from tuner.views.pictures.parallel import parallel
from tuner.views.pictures.progress import progress
from tuner.views.pictures.run import run
from tuner.views.pictures.settings import axes_of, settings

if TYPE_CHECKING:
    from tuner.api.study import Study
    from tuner.insight.importance import Importance
    from tuner.record.state import StudyState
    from tuner.server.page.source import StudySource
    from tuner.space.space import Space


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture as it is sent, and what it took."""

    whole: Packed
    columns: frozenset[str]
    """The tags of those that a page may have already."""
    sequence: int
    took_s: float
    at: float
    """When it was drawn, on the clock of this process."""

    shares: dict[frozenset[str], Packed] = field(default_factory=dict)

    def for_page(self, known: frozenset[str]) -> Packed:
        """The picture for a page that has these columns: less of it under the same tag, since it shows the same."""
        known &= self.columns
        if not known:
            return self.whole
        if known not in self.shares:
            told = without(json.loads(self.whole.told("")[0]), known)
            self.shares[known] = replace(_packed(told), tag=self.whole.tag)
        return self.shares[known]

    def rests_s(self) -> float:
        """For how long it is not drawn anew, whatever comes: what takes long is done less often."""
        return self.at + _REST * self.took_s - time.monotonic()


_DRAWN: WeakKeyDictionary[Study, dict[tuple[str, ...], Drawn]] = WeakKeyDictionary()
_LOCK = Lock()
_MOST = 24  # of one study
_REST = 4.0
_FEW, _MANY = 20, 400  # trials that are over, between which importance is known, and within a second
_SOME_MORE = 1.25
_ORDER: WeakKeyDictionary[Study, tuple[int, list[str]]] = WeakKeyDictionary()
_EASEL = Lock()
"""One picture is drawn at a time: whoever wants words waits for one at most."""


def drawn(
    library: StudySource,
    name: str,
    which: str,
    theme: Theme,
    *,
    x: str = "",
    y: str = "",
    trial: int = 0,
    known: frozenset[str] = frozenset(),
) -> tuple[Packed, float] | None:
    """A picture of a study and for how many seconds it is behind, 0 where it is of now; None: there is none such.

    For as long as the study is the same it is the same bytes. `known` are the columns that the page has, by their tags.
    """
    key = (which, theme, x, y, str(trial))
    with library.study(name) as study:
        with _LOCK:
            drawings = _DRAWN.setdefault(study, {})
        found, sequence = drawings.get(key), study.sequence
    if found is None or (found.sequence < sequence and found.rests_s() <= 0):
        with _EASEL:
            found = drawings.get(key)
            if found is None or found.sequence < sequence:  # nobody has drawn it meanwhile
                began = time.monotonic()
                with library.study(name) as study:
                    sequence = study.sequence
                    chart = picture(study, which, theme, x=x, y=y, trial=trial)
                if chart is None:
                    return None
                told = _told(chart)
                whole, now = _packed(told), time.monotonic()
                columns = frozenset(each["tag"] for each in told["shared"])
                found = Drawn(whole=whole, columns=columns, sequence=sequence, took_s=now - began, at=now)
                if len(drawings) >= _MOST:
                    drawings.clear()
                drawings[key] = found
    return found.for_page(known), 0.0 if found.sequence >= sequence else max(0.001, found.rests_s())


def as_sent(chart: Diagram) -> Packed:
    """What the page needs to draw it."""
    return _packed(_told(chart))


def _told(chart: Diagram) -> dict[str, Any]:
    nothing: dict[str, Any] = {"item": None, "frame": "", "moving": [], "shared": []}
    return {"label": chart.label, "shown": chart.shown, **(nothing if chart.item is None else framed(chart.item))}


def _packed(told: Mapping[str, Any]) -> Packed:
    return Packed.of(json.dumps(told, separators=(",", ":")).encode(), "application/json")


def picture(study: Study, name: str, theme: Theme, *, x: str = "", y: str = "", trial: int = 0) -> Diagram | None:
    """The picture of that name, or None."""
    state, space = study.state, study.space
    match name:
        case "curves":
            study.load_curves()  # all at once: a query a trial takes seconds
            return curves(state, theme)
        case "progress":
            return progress([state], theme)
        case "run":
            return run(state, Tree.of(study, trial), theme, trial=trial)
        case "branches":
            return branches(state, Tree.of(study, trial), theme)
    if space is None:
        return None
    match name:
        case "settings":
            return settings(state, space, *axes_of(space, x, y, _by_importance(study)), theme)
        case "parallel":
            return parallel(state, space, theme)
        case "importance":
            from tuner.views.pictures.importance import importance

            return importance(state.name, _importance(state, space), theme)
    return None


def _importance(state: StudyState, space: Space) -> Importance:
    from tuner.insight.importance import importance_of
    from tuner.insight.model import Model

    return importance_of(Model.of_ranks(state, space), state.objective, len(leaders(state)))


def _by_importance(study: Study) -> Sequence[str]:
    """The settings by what they explain of the scores; none while that is not known, or takes long to know.

    It is looked at again once a quarter more trials have ended, so that the axes of a picture stay for a while.
    """
    state, space = study.state, study.space
    ended = len(state.ended_order)
    if space is None or len(space) <= 2 or not _FEW <= ended <= _MANY:  # of two settings both are shown
        return ()
    known = _ORDER.get(study)
    if known is None or ended >= known[0] * _SOME_MORE:
        found = _importance(state, space)
        shares = sorted(found.shares, key=lambda each: -each.total) if found.foretold > 0 else ()
        known = _ORDER[study] = ended, [each.parameter for each in shares]
    return known[1]


def compared(library: StudySource, names: Sequence[str], theme: Theme) -> Diagram:
    """The progress of several studies in one picture."""
    with ExitStack() as held:
        return progress([held.enter_context(library.study(name)).state for name in sorted(set(names))], theme)
