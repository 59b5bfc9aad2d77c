"""A study and a handle in a notebook: a small table, and a picture where matplotlib is there."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from tuner.errors import MissingExtra, TunerError
from tuner.record.leaders import leaders
from tuner.record.state import StudyState
from tuner.values.numbers import scored
from tuner.views.terminal import one_minus_names, settings_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tuner.record.reader import StudyReader

_RUN_VERBS = "set, schedule, pause, resume, step, checkpoint, revert, undo, extend, fork, compare, note, stop"
_ENDED_VERBS = "extend, revert, undo, fork, compare, note"
_SWEEP_VERBS = "pause, resume, stop_trial, add, set_box, note, stop"
_DPI = 80
_TOP = 5


def steered_html(study: StudyReader) -> str:
    """A study that one holds a handle of, and what can be asked of it."""
    if study.state.kind != "babysitting":
        hint = f"Steer it with {_SWEEP_VERBS}."
    elif study.state.trials and study.state.trials[0].ended:
        hint = f"It is over. What it can: {_ENDED_VERBS}."
    else:
        hint = f"Steer it with {_RUN_VERBS}."
    return f"{study_html(study)}<p><small>{hint}</small></p>"


def unread_html(handle: str, error: TunerError) -> str:
    """A handle whose study cannot be read, and why."""
    return f"<p><code>{escape(handle)}</code>: {escape(str(error))}</p>"


def study_html(study: StudyReader) -> str:
    """The study in a heading, a table and a picture."""
    rows = _run_rows(study.state) if study.state.kind == "babysitting" else _sweep_rows(study.state)
    return f"<div><b>{escape(_heading(study))}</b>{_table(*rows)}{_picture(study)}</div>"


def _heading(study: StudyReader) -> str:
    state, best = study.state, study.best
    found = "no score yet" if best is None else f"best {state.objective} {scored(best.score, best.spread)}"
    if state.kind == "babysitting" and state.trials:
        where = "" if best is None else f" at step {best.step}"
        return f"{study.name}: {state.trials[0].state} at step {state.trials[0].steps}, {found}{where}"
    where = "" if best is None else f" (trial {best.trial})"
    return f"{study.name}: {len(state.trials)} trials, {found}{where}"


def _run_rows(study: StudyState) -> tuple[Sequence[str], list[list[str]]]:
    """A row a segment on the head: the settings it went through."""
    if not study.trials:
        return (), []
    trial = study.trials[0]
    names = list(trial.params)
    path = trial.path()
    ends = [*(each.from_step for each in path[1:]), trial.steps]
    rows = []
    for segment, end in zip(path, ends, strict=True):
        settings = settings_of(trial.recipe_of(segment).at(segment.from_step), ())
        rows.append(
            [f"{segment.from_step} → {end}", segment.cause, *(settings.get(name, "") for name in names), segment.why]
        )
    return ("steps", "cause", *names, "why"), rows


def _sweep_rows(study: StudyState) -> tuple[Sequence[str], list[list[str]]]:
    """A row each of the best trials."""
    best = leaders(study, _TOP)
    settings = [settings_of(trial.settings, one_minus_names(study)) for trial in best]
    names = list(dict.fromkeys(name for each in settings for name in each))
    scores = [scored(trial.best_score, study.spread(trial)) for trial in best]
    rows = [
        [str(trial.trial), score, trial.state, *(each.get(name, "") for name in names)]
        for trial, score, each in zip(best, scores, settings, strict=True)
    ]
    return ("trial", study.objective, "state", *names), rows


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _picture(study: StudyReader) -> str:
    """The lineage or the curves as an image within the page; nothing without matplotlib."""
    try:
        if study.state.kind == "babysitting":
            from tuner.views.plots.lineage import lineage

            figure = lineage(study)
        else:
            from tuner.views.plots.sweep import curves

            figure = curves(study.state)
    except MissingExtra:
        return ""
    return f'<img alt="{escape(study.name)}" src="data:image/png;base64,{_encoded(figure)}"/>'


def _encoded(figure: Figure) -> str:
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a study's name may be in any script
        figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return base64.b64encode(file.getvalue()).decode("ascii")
