"""The pictures of a study by name, each drawn once for all who look while nothing new is on record."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tuner.record.leaders import leaders
from tuner.record.lineage import Tree
from tuner.server.page.frames import framed
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
    from tuner.server.page.source import StudySource


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture as it is sent, and what it took."""

    packed: Packed
    sequence: int
    took_s: float
    at: float
    """When it was drawn, on the clock of this process."""

    def rests_s(self) -> float:
        """For how long it is not drawn anew, whatever comes: what takes long is done less often."""
        return self.at + _REST * self.took_s - time.monotonic()


_DRAWN: WeakKeyDictionary[Study, dict[tuple[str, ...], Drawn]] = WeakKeyDictionary()
_LOCK = Lock()
_MOST = 24  # of one study
_REST = 4.0
_EASEL = Lock()
"""One picture is drawn at a time: whoever wants words waits for one at most."""


def drawn(
    library: StudySource, name: str, which: str, theme: Theme, *, x: str = "", y: str = "", trial: int = 0
) -> tuple[Packed, float] | None:
    """A picture of a study and for how many seconds it is behind, 0 where it is of now; None: there is none such.

    For as long as the study is the same it is the same bytes.
    """
    key = (which, theme, x, y, str(trial))
    with library.study(name) as study:
        with _LOCK:
            known = _DRAWN.setdefault(study, {})
        found, sequence = known.get(key), study.sequence
    if found is None or (found.sequence < sequence and found.rests_s() <= 0):
        with _EASEL:
            found = known.get(key)
            if found is None or found.sequence < sequence:  # nobody has drawn it meanwhile
                began = time.monotonic()
                with library.study(name) as study:
                    sequence = study.sequence
                    chart = picture(study, which, theme, x=x, y=y, trial=trial)
                if chart is None:
                    return None
                packed, now = as_sent(chart), time.monotonic()
                found = Drawn(packed=packed, sequence=sequence, took_s=now - began, at=now)
                if len(known) >= _MOST:
                    known.clear()
                known[key] = found
    return found.packed, 0.0 if found.sequence >= sequence else max(0.001, found.rests_s())


def as_sent(chart: Diagram) -> Packed:
    """What the page needs to draw it."""
    nothing: dict[str, Any] = {"item": None, "frame": "", "moving": []}
    told = {"label": chart.label, "shown": chart.shown, **(nothing if chart.item is None else framed(chart.item))}
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
            return settings(state, space, *axes_of(space, x, y), theme)
        case "parallel":
            return parallel(state, space, theme)
        case "importance":
            from tuner.insight.importance import importance_of  # scipy.stats, which no other picture needs
            from tuner.insight.model import Model
            from tuner.views.pictures.importance import importance

            found = importance_of(Model.of_ranks(state, space), state.objective, len(leaders(state)))
            return importance(state.name, found, theme)
    return None


def compared(library: StudySource, names: Sequence[str], theme: Theme) -> Diagram:
    """The progress of several studies in one picture."""
    with ExitStack() as held:
        return progress([held.enter_context(library.study(name)).state for name in sorted(set(names))], theme)
