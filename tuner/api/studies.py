"""The verbs that find a study: open, attach, promote, explain, and a list of all there are."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.api.handles import Handle, RunHandle
from tuner.api.study import Study
from tuner.api.sweep_handle import SweepHandle
from tuner.errors import TunerError
from tuner.record.access import Idle
from tuner.record.glance import glance_at
from tuner.record.lease import alive
from tuner.record.location import ASSIGNMENT, AWAY, Place, names, team_url, touched
from tuner.record.object_address import local_folder, object_url
from tuner.record.patience import waiting_since
from tuner.record.store import Store
from tuner.record.team import InDatabase, shown_url
from tuner.values.arguments import checked, folder_or_url, index, patience, text

if TYPE_CHECKING:
    from tuner.api.explanation import Explanation


@checked(results=folder_or_url)
def open(name: str, *, results: str | Path = "results", store: str | None = None) -> Study:  # noqa: A001 - the verb
    """A study to read, also while it runs.

    Args:
        name: The study's name.
        results: The folder in which studies lie, or the address that has their checkpoints; by default results.
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


@checked(results=folder_or_url)
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
        results: The folder in which studies lie, or the address that has their checkpoints; by default results.
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


@checked(results=folder_or_url, by=text)
def attach(name: str, *, results: str | Path = "results", store: str | None = None, by: str = "") -> Handle:
    """A handle to steer a study, from any process that may write to its folder.

    Args:
        name: The study's name.
        results: The folder in which studies lie, or the address that has their checkpoints; by default results.
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
    return attached(Place.of(name, results, store), by=by)


def attached(place: Place, *, by: str = "", idle: Idle = "open") -> RunHandle | SweepHandle:
    """The handle of a study, as its kind wants it; an `idle` one that is "closed" holds no file."""
    records = Store.open(place.existing(), idle=idle)
    kind = records.brief()["kind"]
    return (RunHandle if kind == "babysitting" else SweepHandle)(place, records, by=by)


@checked(trial=index, why=text, by=text, request=text, timeout_s=patience, results=folder_or_url)
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
        results: The folder in which studies lie, or the address that has their checkpoints; by default results.
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
        aside: How many the stopping rule has set aside: they neither train nor wait; by default 0.

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
    aside: int = 0


@checked(results=folder_or_url)
def studies(results: str | Path = "results", store: str | None = None) -> list[Summary]:
    """The studies in a results folder, the latest first; what cannot be read says so in `activity`.

    Args:
        results: The folder; by default results. One that is not there holds no study.
        store: A team's database, as postgresql://USER@HOST/DATABASE: all studies in it. None: those of the folder.

    Returns:
        One `Summary` a study.

    Raises:
        SettingsError: What cannot be a folder, or no address of a database.
        DatabaseAway: The team's database cannot be reached, and no study in the folder waits for it.

    Example:
        >>> "night" in [each.name for each in tuner.studies()]
        True
    """
    folder, within = local_folder(results), object_url(results)
    places = [Place.of(name, folder, None) for name in names(folder)]
    if within is not None:
        places = [each for each in places if each.objects == f"{within}/{each.name}"]
    if store is None:
        found = [_summary(place, place.database) for place in places if isinstance(place.database, Path)]
        for url in dict.fromkeys(place.database.url for place in places if isinstance(place.database, InDatabase)):
            there = [each for each in places if isinstance(each.database, InDatabase) and each.database.url == url]
            found += _of_team(url, folder, there)
    else:
        url = team_url(store)
        here = [each for each in places if isinstance(each.database, InDatabase) and each.database.url == url]
        found = _of_team(url, folder, here, everything=True)
    return sorted(found, key=lambda each: -each.updated)


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _summary(place: Place, database: Path) -> Summary:
    if (seen := glance_at(database)) is not None:
        lease = seen.lease
        holder = (lease.host, lease.pid) if lease.is_held(time.time()) else None
        return _told(place.name, place.folder, seen.brief, holder, seen.written_at or touched(place.folder))
    updated = touched(place.folder)
    try:
        with closing(Store.open(database)) as records:
            brief = records.brief()
            updated = records.written_at() or updated  # a file is touched by whoever reads it last, too
            holder = records.holder(time.time())
    except TunerError as error:
        return _unread(place.name, str(error), updated)
    return _told(place.name, place.folder, brief, holder, updated)


def _of_team(url: str, results: Path, here: Sequence[Place], *, everything: bool = False) -> list[Summary]:
    """What a team's database says of the studies that folders here name, or of all that it has."""
    from tuner.record.postgres import listed

    try:
        there = {each.name: each for each in listed(url)}
    except TunerError as error:
        waiting = [_unread(each.name, _waits(each.folder) or str(error), touched(each.folder)) for each in here]
        if everything and not waiting:
            raise
        return waiting
    folders = {each.database.study: each for each in here if isinstance(each.database, InDatabase)}
    found = []
    for study in there if everything else folders:
        place = folders.get(study) or Place(name=study, folder=results / study, database=None)
        told = there.get(study)
        if told is None:
            found.append(_unread(place.name, f"{shown_url(url)} has no study {study!r}", touched(place.folder)))
        elif (newer := told.refused()) is not None:
            found.append(_unread(place.name, newer, told.lease.last_heard))
        else:
            holder = (told.lease.host, told.lease.pid) if told.lease.is_held(told.now) else None
            brief = told.brief
            if told.has_seeds:  # how far they differ is among the reports
                with closing(Store.open(InDatabase(url=url, study=study))) as records:
                    brief = records.brief()
            found.append(_told(place.name, place.folder, brief, holder, told.lease.last_heard))
    return found


def _told(name: str, folder: Path, brief: dict[str, Any], holder: tuple[str, int] | None, updated: float) -> Summary:
    begun, delay = bool(brief["kind"]), brief.pop("delay")
    if holder is None:
        activity = "idle" if begun else "never began"
    else:
        activity = _waits(folder) or delay or f"{'running' if begun else 'starting'} (pid {holder[1]} on {holder[0]})"
    if not begun:
        brief["kind"] = "babysitting" if (folder / ASSIGNMENT).is_file() else "sweep"
    return Summary(name=name, activity=activity, updated=updated, **brief)


def _unread(name: str, why: str, updated: float) -> Summary:
    return Summary(
        name=name, kind="", activity=why, trials=0, ended=0, objective="", best=None, best_trial=None, updated=updated
    )


def _waits(folder: Path) -> str | None:
    """That a study's coordinator waits for its database, as it has left word of in the folder; None: it does not."""
    try:
        told = json.loads((folder / AWAY).read_text())
        if told["host"] == socket.gethostname() and not alive(told["pid"]):
            return None  # it was killed as it waited
        return f"{waiting_since(told['since'])} (pid {told['pid']} on {told['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return None
