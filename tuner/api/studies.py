"""The verbs that find a study: open, attach, promote, explain, and a list of all there are."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.api.handles import Handle, RunHandle
from tuner.api.study import Study
from tuner.api.sweep_handle import SweepHandle
from tuner.arguments import checked, index, path, patience, text
from tuner.errors import TunerError
from tuner.record.location import ASSIGNMENT, Place, names
from tuner.record.store import Store

if TYPE_CHECKING:
    from tuner.api.explanation import Explanation


@checked(results=path)
def open(name: str, *, results: str | Path = "results", store: str | None = None) -> Study:  # noqa: A001 - the verb
    """A study to read, also while it runs.

    Args:
        name: The study's name.
        results: The folder in which studies lie; by default results.
        store: The database, as `sweep` takes it. None: the folder's own.

    Returns:
        The study as it is now; `refresh` takes in what comes later.

    Raises:
        StudyNotFound: No study of that name lies there.
        StudyNotBegun: Its coordinator has yet to write its first record.
        SettingsError: An argument of another name, or a folder that cannot be one.

    Example:
        >>> with tuner.open("night") as study:
        ...     study.best.trial < len(study.trials)
        True
    """
    place = Place.of(name, results, store)
    return Study(place, Store.open(place.existing(), idle="closed"))


@checked(results=path)
def explain(
    name: str,
    *,
    target_error: float = 0.0,
    more: int | None = None,
    results: str | Path = "results",
    store: str | None = None,
) -> Explanation:
    """What a study has learned, also while it runs: `tuner.open(name).explain()`.

    Args:
        name: The study's name.
        target_error: What one could reach (the Bayes error), from which bias is measured; at least 0, in units of the
            objective's error; by default 0.0.
        more: Further trials to weigh, from 1 up. None: half as many as there were.
        results: The folder in which studies lie; by default results.
        store: The database, as `sweep` takes it. None: the folder's own.

    Returns:
        Findings with their numbers; `print` tells them, `save` writes them.

    Raises:
        StudyNotFound: No study of that name lies there.
        StudyError: It is a babysat run.
        SettingsError: An argument of another name, or one that makes no sense.

    Example:
        >>> tuner.explain("night").sections[0].title
        'The winner'
    """
    with closing(open(name, results=results, store=store)) as study:
        return study.explain(target_error=target_error, more=more)


@checked(results=path, by=text)
def attach(name: str, *, results: str | Path = "results", store: str | None = None, by: str = "") -> Handle:
    """A handle to steer a study, from any process that may write to its folder.

    Args:
        name: The study's name.
        results: The folder in which studies lie; by default results.
        store: The database, as `sweep` takes it. None: the folder's own.
        by: Who asks, as the record will say, "agent:…" for a program that acts by itself, which must give a why with
            all it asks; the user's name where it is left out.

    Returns:
        A `RunHandle` for a babysat run, a `SweepHandle` for a sweep.

    Raises:
        StudyNotFound: No study of that name lies there.
        SettingsError: An argument of another name, or a `by` that is how the record calls tuner itself.

    Example:
        >>> with tuner.attach("night") as handle:
        ...     handle
        <SweepHandle night>
    """
    place = Place.of(name, results, store)
    records = Store.open(place.existing())
    kind = records.brief()["kind"]
    return (RunHandle if kind == "babysitting" else SweepHandle)(place, records, by=by)


@checked(trial=index, why=text, by=text, request=text, timeout_s=patience, results=path)
def promote(
    study: str,
    trial: int,
    *,
    name: str | None = None,
    why: str = "",
    by: str = "",
    request: str = "",
    timeout_s: float | None = None,
    results: str | Path = "results",
    store: str | None = None,
) -> RunHandle:
    """Continues a trial of a sweep from its newest checkpoint, as a babysat run.

    Args:
        study: The sweep's name.
        trial: The trial's number, from 0.
        name: What the run is called. None: `study-trial`.
        why: The reason, for the record.
        by: Who asks, as the record will say, "agent:…" for a program; the user's name where it is left out.
        request: An id of your own: the same id twice is one run, which the second call attaches to. Empty: a new one.
        timeout_s: Seconds to wait for it to begin, from 0; then an error, and it begins all the same. None: 300.
        results: The folder in which studies lie; by default results.
        store: The sweep's database, as `sweep` takes it. None: the folder's own.

    Returns:
        The handle of the new run, which trains in a process of its own.

    Raises:
        TrialNotFound: The sweep has no trial of that number.
        StudyError: No checkpoint of it is kept, its function was not, the name exists, or it has not begun within
            `timeout_s`.
        SettingsError: An argument of another name, or one that makes no sense.

    Example:
        >>> run = tuner.promote("night", 0)
        >>> run.name
        'night-0'
        >>> run.wait(timeout_s=60).state.trials[0].parent
        'night/0@20'
    """
    from tuner.api import babysit as babysitting

    sweep = Place.of(study, results, store)
    return babysitting.promote(sweep, trial, name=name, why=why, by=by, request=request, timeout_s=timeout_s)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One line of `tuner ls`.

    Attributes:
        name: The study's name.
        kind: "sweep" or "babysitting"; empty where the study cannot be read.
        activity: "idle", "running (pid … on …)", "never began", or why it cannot be read.
        trials: How many have begun.
        ended: How many are over.
        objective: The score that counts.
        best: The best score so far, or None.
        best_trial: Its trial, or None.
        updated: When it was last written to, in Unix seconds.
        spread: How far the seeds of that trial differ, where it has several, or None.

    Example:
        >>> [(each.name, each.activity) for each in tuner.studies() if each.name == "night"]
        [('night', 'idle')]
    """

    name: str
    kind: str
    activity: str
    trials: int
    ended: int
    objective: str
    best: float | None
    best_trial: int | None
    updated: float
    """Unix seconds."""
    spread: float | None = None


@checked(results=path)
def studies(results: str | Path = "results") -> list[Summary]:
    """The studies in a results folder, the latest first; what cannot be read says so in `activity`.

    Args:
        results: The folder; by default results. One that is not there holds no study.

    Returns:
        One `Summary` a study.

    Raises:
        SettingsError: What cannot be a folder.

    Example:
        >>> "night" in [each.name for each in tuner.studies()]
        True
    """
    found = [_summary(name, Path(results)) for name in names(Path(results))]
    return sorted(found, key=lambda each: -each.updated)


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _summary(name: str, results: Path) -> Summary:
    database = results / name / "study.db"
    updated = max((path.stat().st_mtime for path in database.parent.glob("study.db*")), default=0.0)
    try:
        records = Store.open(database)
        try:
            brief = records.brief()
            holder = records.holder(time.time())
        finally:
            records.close()
    except TunerError as error:
        return Summary(
            name=name,
            kind="",
            activity=str(error),
            trials=0,
            ended=0,
            objective="",
            best=None,
            best_trial=None,
            updated=updated,
        )
    begun = bool(brief["kind"])
    if holder is None:
        activity = "idle" if begun else "never began"
    else:
        activity = f"{'running' if begun else 'starting'} (pid {holder[1]} on {holder[0]})"
    if not begun:
        brief["kind"] = "babysitting" if (database.parent / ASSIGNMENT).is_file() else "sweep"
    return Summary(name=name, activity=activity, updated=updated, **brief)
