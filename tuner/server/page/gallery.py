"""The pictures of a study by name, each drawn once for all who look while nothing new is on record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from tuner.record.leaders import leaders
from tuner.record.lineage import Tree
from tuner.views.pictures.branches import branches
from tuner.views.pictures.curves import curves
from tuner.views.pictures.diagram import Diagram, Theme
from tuner.views.pictures.parallel import parallel
from tuner.views.pictures.progress import progress
from tuner.views.pictures.run import run
from tuner.views.pictures.settings import axes_of, settings

if TYPE_CHECKING:
    from tuner.api.study import Study
    from tuner.server.page.shelf import Readable


_DRAWN: WeakKeyDictionary[Study, dict[tuple[str, ...], tuple[int, bytes]]] = WeakKeyDictionary()
_LOCK = Lock()
_MOST = 24  # of one study


def drawn(study: Study, name: str, theme: Theme, *, x: str = "", y: str = "", trial: int = 0) -> bytes | None:
    """A picture as JSON, for as long as the study is the same the same bytes; None where there is none of that name."""
    with _LOCK:
        known = _DRAWN.setdefault(study, {})
    key = (name, theme, x, y, str(trial))
    sequence, body = known.get(key, (-1, b""))
    if sequence != study.sequence:
        chart = picture(study, name, theme, x=x, y=y, trial=trial)
        if chart is None:
            return None
        body = as_json(chart)
        if len(known) >= _MOST:
            known.clear()
        known[key] = study.sequence, body
    return body


def as_json(chart: Diagram) -> bytes:
    """What the page needs to draw it."""
    told = {"label": chart.label, "shown": chart.shown, "item": chart.item}
    return json.dumps(told, separators=(",", ":")).encode()


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


def compared(library: Readable, names: Sequence[str], theme: Theme) -> Diagram:
    """The progress of several studies in one picture."""
    with ExitStack() as held:
        return progress([held.enter_context(library.study(name)).state for name in sorted(set(names))], theme)
