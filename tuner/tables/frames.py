"""The tables: a study's records as tidy pandas frames whose columns and dtypes are the same for every study.

    >>> import tuner.tables
    >>> list(tuner.tables.COLUMNS["notes"])
    ['trial', 'step', 'by', 'text', 'at']

A frame is read from the store and from the fold of what it holds; neither Ray nor Optuna is needed. What is missing is
NA (nan in float columns, NaT in times); what was recorded is shown as recorded, never computed again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tuner.errors import StudyError, did_you_mean
from tuner.record.curve import better
from tuner.record.events import (
    Adjusted,
    Answered,
    CheckpointDropped,
    CheckpointSaved,
    Judged,
    Noted,
    Reported,
    Requested,
    TrialEnded,
)
from tuner.record.reports import REPORT_FIELDS
from tuner.record.round import Round
from tuner.record.score_names import spread_of
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.tables.columns import COLUMNS, Columns, fields, frame, one_minus, params

if TYPE_CHECKING:
    from tuner.record.records import Records

_REPORT = np.dtype(list(REPORT_FIELDS))
_AT_A_TIME = 100_000  # rows of reports that are looked through together


def build(name: str, study: StudyState, store: Records, space: Space | None = None) -> pd.DataFrame:
    """The table of that name. Without a space the parameters are those that the trials' settings name."""
    if name not in _BUILD:
        raise StudyError(f"there is no table {name!r}. {did_you_mean(name, _BUILD)}")
    return _BUILD[name](study, store, space)


def all_in_chunks(study: StudyState, store: Records, space: Space | None = None) -> dict[str, Iterable[pd.DataFrame]]:
    """All tables that the record alone makes, by name, each as its rows in frames; `winners` takes what was learned.

    Those of the reports are read as they are asked for.
    """
    whole = {name: (build(name, study, store, space),) for name in _BUILD if name != "reports"}
    return {name: whole.get(name) or report_chunks(study, store, _AT_A_TIME) for name in _BUILD}


# ── one function a table ────────────────────────────────────────────────────────────────────────


def trials(study: StudyState, store: Records, space: Space | None = None) -> pd.DataFrame:
    """One row a trial; `objective` is the best score reported on the head, `score.*` what else was reported with it.

    `spread` is how far the seeds differ there, nan with one.
    """
    made = ("objective", "spread")
    names = [name for name in COLUMNS["trials"] if not name.endswith("*") and name not in made]
    values: Columns = dict(fields(study.trials, names))
    scores = _at_best(study, store)
    values["objective"] = [trial.best_score for trial in study.trials]
    spreads = scores.pop(f"score.{spread_of(study.objective)}", None) if study.seeds > 1 else None
    values["spread"] = np.full(len(study.trials), np.nan) if spreads is None else spreads
    values["node"] = [node or None for node in values["node"]]
    settings = [trial.params for trial in study.trials]
    complements = {f"one_minus.{name}": one_minus(name, settings) for name in (space.one_minus_names if space else ())}
    spread = {"params.*": params(space, _known(study), settings), "one_minus.*": complements, "score.*": scores}
    return frame("trials", values, spread)


def winners(rows: Sequence[Mapping[str, Any]], study: StudyState, space: Space | None = None) -> pd.DataFrame:
    """One row for the settings with the best score seen, and one for those recommended.

    Each of `rows` names the table's columns, and in `params` the settings.
    """
    names = [name for name in COLUMNS["winners"] if not name.endswith("*")]
    settings = [row["params"] for row in rows]
    complements = {f"one_minus.{name}": one_minus(name, settings) for name in (space.one_minus_names if space else ())}
    spread = {"params.*": params(space, _known(study), settings), "one_minus.*": complements}
    return frame("winners", {name: [row[name] for row in rows] for name in names}, spread)


def reports(study: StudyState, store: Records) -> pd.DataFrame:
    """One row a report, in the order recorded; `head` says whether it lies on the path that counts.

    What was recorded after the fold was taken is taken to be on the head.
    """
    return frame("reports", _reports(study, store))


def report_chunks(study: StudyState, store: Records, most: int = 20_000) -> Iterator[pd.DataFrame]:
    """The rows of `reports` in frames of about `most` rows, so that not all need be held at once.

    What the fold knows of paths is taken when it is called, and the store is read as the frames are.
    """
    chunks = _chunks(_last_on_head(study), store, most)
    return (frame("reports", each) for each in chunks)


def _reports(study: StudyState, store: Records) -> Columns:
    return next(_chunks(_last_on_head(study), store, None))


def _chunks(last: Callable[[int, int], int], store: Records, most: int | None) -> Iterator[Columns]:
    """The columns of `reports` in chunks of about `most` rows, in one where that is None; at least one, maybe empty."""
    flushes: list[Reported] = []
    size, is_first = 0, True
    try:
        for flush in store.reports():
            flushes.append(flush)
            size += len(flush.data) // _REPORT.itemsize
            if most is not None and size >= most:
                yield _unpacked(last, flushes)
                flushes, size, is_first = [], 0, False
        if flushes or is_first:
            yield _unpacked(last, flushes)
    except (IndexError, ValueError, OverflowError, TypeError) as error:  # a flush is bytes, which a bad disk may change
        raise StudyError(f"{store.where} is damaged: its reports cannot be read. Restore it from a copy.") from error


def _unpacked(last: Callable[[int, int], int], flushes: Sequence[Reported]) -> Columns:
    rows = np.frombuffer(b"".join([flush.data for flush in flushes]), dtype=_REPORT)
    counts = np.array([len(flush.data) // _REPORT.itemsize for flush in flushes], dtype=np.int64)
    per_flush = np.array(
        [(flush.trial, flush.segment, last(flush.trial, flush.segment)) for flush in flushes], dtype=np.int64
    ).reshape(-1, 3)
    trial, segment, limit = (np.repeat(column, counts) for column in per_flush.T)
    return {
        "trial": trial,
        "segment": segment,
        "step": rows["step"].astype(np.int64),
        "name": _names(flushes, counts, rows["name"]),
        "value": rows["value"].astype(np.float64),
        "head": rows["step"] <= limit,
        "at": rows["at"],
    }


def _at_best(study: StudyState, store: Records) -> Columns:
    """Every score by name as it was at each trial's best step; nan where it was not reported there."""
    best = np.array([-1 if trial.best_step is None else trial.best_step for trial in study.trials], dtype=np.int64)
    columns: Columns = {f"score.{study.objective}": np.full(len(best), np.nan)}
    for found in _chunks(_last_on_head(study), store, _AT_A_TIME):
        known = found["trial"] < len(best)  # what is newer than the fold has no best step in it
        there = known & found["head"]
        there[there] = found["step"][there] == best[found["trial"][there]]
        trial, value, code = found["trial"][there], found["value"][there], found["name"].codes[there]
        for place, name in enumerate(found["name"].categories):
            column = columns.setdefault(f"score.{name}", np.full(len(best), np.nan))
            column[trial[code == place]] = value[code == place]  # of two reports of one step the later counts
    return columns


def segments(study: StudyState, store: Records, space: Space | None = None) -> pd.DataFrame:
    """One row a stretch of training under one recipe; `to_step` is the last step it is known to have reached."""
    pairs = [(trial, segment) for trial in study.trials for segment in trial.segments]
    reached = _reached(study, store)
    values = {
        "trial": [trial.trial for trial, _ in pairs],
        "parent_segment": [segment.parent for _, segment in pairs],
        "to_step": [reached[trial.trial, segment.segment] for trial, segment in pairs],
        **{
            field: [getattr(segment, field) for _, segment in pairs]
            for field in ("segment", "from_step", "cause", "by", "why")
        },
    }
    recipes = [trial.params if segment.params is None else segment.params for trial, segment in pairs]
    return frame("segments", values, {"params.*": params(space, _known(study), recipes)})


def rounds(study: StudyState, space: Space | None = None) -> pd.DataFrame:
    """One row a parameter of each round; a choice has no bounds. `best` leaves out the trials that diverged."""
    members: dict[int, list[Trial]] = defaultdict(list)
    for trial in study.trials:
        if trial.round is not None:
            members[trial.round].append(trial)
    rows = [row for each in study.rounds for row in _round_rows(study, each, members[each.round], space or {})]
    columns = zip(*rows, strict=True) if rows else ((),) * len(COLUMNS["rounds"])
    return frame("rounds", dict(zip(COLUMNS["rounds"], columns, strict=True)))


def adjustments(store: Records) -> pd.DataFrame:
    """One row a parameter changed in a running trial; `evidence` holds what led to it, then to the verdict."""
    adjusted = list(store.read(Adjusted))
    verdicts = {judged.request: judged for judged in store.read(Judged)}
    values = fields(adjusted, [name for name in COLUMNS["adjustments"] if name != "verdict"])
    judged = [verdicts.get(each.request) for each in adjusted]
    values["verdict"] = [each and each.verdict for each in judged]
    values["evidence"] = [
        "; ".join(filter(None, dict.fromkeys((before.evidence, after.evidence if after else ""))))
        for before, after in zip(adjusted, judged, strict=True)
    ]
    return frame("adjustments", values)


def checkpoints(store: Records) -> pd.DataFrame:
    """One row a checkpoint ever written; `kept` says whether its files are still there."""
    saved = list(store.read(CheckpointSaved))
    dropped = {record.checkpoint for record in store.read(CheckpointDropped)}
    values = fields(saved, [name for name in COLUMNS["checkpoints"] if name != "kept"])
    return frame("checkpoints", values | {"kept": [each.checkpoint not in dropped for each in saved]})


def notes(store: Records) -> pd.DataFrame:
    """One row a note, by a person or by tuner itself."""
    return frame("notes", fields(list(store.read(Noted)), COLUMNS["notes"]))


def requests(store: Records) -> pd.DataFrame:
    """One row a request, with what has become of it so far."""
    asked = list(store.read(Requested))
    answers = {answer.request: answer for answer in store.read(Answered)}
    answered = [answers.get(each.request) for each in asked]
    values = fields(asked, ["request", "verb", "arguments", "by", "why", "at"])
    values["state"] = [each.state if each else "received" for each in answered]
    values["detail"] = [each.detail if each else "" for each in answered]
    return frame("requests", values)


_BUILD: Mapping[str, Callable[[StudyState, Records, Space | None], pd.DataFrame]] = {
    "trials": trials,
    "reports": lambda study, store, _: reports(study, store),
    "segments": segments,
    "rounds": lambda study, _, space: rounds(study, space),
    "adjustments": lambda _, store, __: adjustments(store),
    "checkpoints": lambda _, store, __: checkpoints(store),
    "notes": lambda _, store, __: notes(store),
    "requests": lambda _, store, __: requests(store),
}


# ── what lies on the head, and how far a segment came ───────────────────────────────────────────

_NO_LIMIT, _NOWHERE = np.iinfo(np.int64).max, np.iinfo(np.int64).min


def _last_on_head(study: StudyState) -> Callable[[int, int], int]:
    """Tells the last step of a trial's segment that counts; below every step where the segment does not count."""
    branched = {trial.trial: trial.head_limits() for trial in study.trials if len(trial.segments) > 1}
    newest = {number: study.trials[number].head.segment for number in branched}

    def last(trial: int, segment: int) -> int:
        if trial not in branched or segment > newest[trial]:
            return _NO_LIMIT
        limit = branched[trial].get(segment, _NOWHERE)
        return _NO_LIMIT if limit is None else limit

    return last


def _reached(study: StudyState, store: Records) -> dict[tuple[int, int], int]:
    """The last step each (trial, segment) is known to have reached; the fold knows it of heads."""
    reached = {(trial.trial, each.segment): each.from_step for trial in study.trials for each in trial.segments}
    if any(len(trial.segments) > 1 for trial in study.trials):
        saved = ((each.trial, each.segment, each.step) for each in store.read(CheckpointSaved, TrialEnded))
        flushes = ((each.trial, each.segment, each.last_step) for each in store.reports())
        for trial, segment, step in chain(saved, flushes):
            if (trial, segment) in reached:
                reached[trial, segment] = max(reached[trial, segment], step)
    for trial in study.trials:
        if trial.segments:
            reached[trial.trial, trial.head.segment] = max(trial.steps, trial.head.from_step)
    return reached


def _round_rows(
    study: StudyState, each: Round, members: Sequence[Trial], space: Mapping[str, Parameter | Choice]
) -> list[tuple[Any, ...]]:
    best: float | None = None
    for trial in members:
        score = trial.best_score
        if score is not None and trial.state != "diverged" and (best is None or better(study.goal, score, best)):
            best = score
    diverged = sum(trial.state == "diverged" for trial in members) / len(members) if members else None
    told = (len(members), best, diverged, each.why)
    return [
        (each.round, name, dimension.scale, *_bounds(dimension, each.box.get(name, (0.0, 1.0))), *told)
        for name, dimension in space.items()
    ]


def _bounds(dimension: Parameter | Choice, sides: tuple[float, float]) -> tuple[float | None, float | None]:
    """The values at the two ends of an interval of [0, 1]."""
    if isinstance(dimension, Choice):
        return None, None
    return dimension.from_unit(sides[0]), dimension.from_unit(sides[1])


def _known(study: StudyState) -> list[str]:
    """The names of all settings that a trial was given, each once."""
    return list(dict.fromkeys(name for trial in study.trials for name in trial.params))


def _names(flushes: Sequence[Reported], counts: Any, places: Any) -> pd.Categorical:
    """The score names of all rows; each flush counts its own names from 0."""
    known: dict[str, int] = {}
    codes = np.array([known.setdefault(name, len(known)) for each in flushes for name in each.names], dtype=np.int32)
    starts = np.cumsum([0, *(len(each.names) for each in flushes)])[:-1]
    categories = pd.Index(list(known), dtype="str")
    return pd.Categorical.from_codes(codes[np.repeat(starts, counts) + places], categories)
