"""Runs that begin where another was saved: a fork with other values, a trial of a sweep; and two runs side by side."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuner.api import process
from tuner.api.assignment import Assignment
from tuner.api.study import Study
from tuner.api.wiring import storage_of
from tuner.errors import CheckpointError, RequestReused, SettingsError, StudyError, did_you_mean
from tuner.record.events import Configured, Purpose, Settings, TrialCreated
from tuner.record.location import Place, names
from tuner.record.recipe import Recipe, possible
from tuner.record.requests import check_asker
from tuner.record.store import Store
from tuner.record.team import InDatabase
from tuner.record.trial import Checkpoint, Trial, latest_steps
from tuner.space.space import Space
from tuner.values.numbers import near_one, number
from tuner.worker import checkpoints
from tuner.worker.contents import bytes_to_unpickle
from tuner.worker.function import KEPT
from tuner.worker.sources import travels_by_value
from tuner.worker.storage import copied

if TYPE_CHECKING:
    import pandas as pd


_BEGINNING = "beginning"
"""How the copy of the checkpoint is called that a branch begins with."""


def fork(
    parent: Place,
    *,
    values: Mapping[str, Any],
    by: str,
    name: str | None = None,
    step: int | None = None,
    why: str = "",
    request: str = "",
    timeout_s: float | None = None,
) -> Place:
    """Another run from a checkpoint of this one, with other values; the same `request` again is the run there is."""
    check_asker("fork", by, why)
    if (there := _asked_before(parent, request, "fork", name)) is not None:
        return there
    assignment = Assignment.read(parent.folder)
    study = Study(parent, Store.open(parent.existing()))
    trial = study.state.trials[0]
    checkpoint = _checkpoint(study, trial, step)
    recipe = trial.recipe_of(trial.segment(checkpoint.segment))
    _check_changes(study.space, recipe.values, values)
    changed = ", ".join(f"{word}={value!r}" for word, value in values.items()) or "the same settings"
    return _branch(
        assignment,
        study,
        trial,
        checkpoint,
        recipe.set(values, checkpoint.step),
        purpose="fork",
        name=name or _free_name(parent),
        by=by,
        request=request,
        why=why or f"forked from {parent.name} at step {checkpoint.step} with {changed}",
        timeout_s=timeout_s,
    )


def continuation(
    sweep: Place,
    trial_number: int,
    *,
    by: str,
    name: str | None = None,
    why: str = "",
    request: str = "",
    timeout_s: float | None = None,
) -> Place:
    """A trial of a sweep, continued from its checkpoint as a babysat run; the same `request` again is that run."""
    if (there := _asked_before(sweep, request, "promote", name, trial_number)) is not None:
        return there
    study = Study(sweep, Store.open(sweep.existing()))
    trial = study.trial(trial_number)
    if (seeds := study.state.seeds) > 1:
        study.close()
        settings = " ".join(f"--set {word}={value}" for word, value in trial.params.items())
        raise StudyError(
            f"trial {trial_number} of {sweep.name} is {seeds} models, one a seed, and a babysat run is one: it cannot "
            f"be promoted. Babysit its settings from the start: tuner babysit {study.state.function} {settings}"
        )
    checkpoint = _checkpoint(study, trial, None)
    options = study.state.options
    pickled = sweep.folder / KEPT
    assignment = Assignment(
        name="",
        function=options.get("function") or study.state.function,
        source_sha256=study.state.source_sha256,
        search_path=tuple(options.get("search_path", ())),
        params={},
        objective=study.state.objective,
        goal=study.state.goal,
        space=study.state.identity["space"],
        seed=study.state.identity["seed"],
        trial_seed=trial.seed,
        executor=options.get("executor", "ray"),
        cpus=options.get("cpus", 1),
        gpus=options.get("gpus", 0),
        resources=options.get("resources"),
        runtime_env=options.get("runtime_env"),
        address=options.get("address"),
        checkpoint_every_s=10.0,
        disk_budget_gb=None,
        revert="in place",
        why="",
        level="advise",
        home=options.get("home", ""),
    )
    if travels_by_value(assignment.function) and not pickled.is_file():
        raise StudyError(f"the training function of {sweep.name} was not kept, so trial {trial_number} cannot go on.")
    return _branch(
        assignment,
        study,
        trial,
        checkpoint,
        trial.recipe,
        purpose="promote",
        name=name or f"{sweep.name}-{trial_number}",
        by=by,
        why=why or f"promoted from {sweep.name}/{trial_number}",
        request=request,
        timeout_s=timeout_s,
    )


ONE_SEED = (
    "not distinguishable with 1 seed each: two curves do not tell what another seed would change. Trials of a sweep "
    "are told apart by repeats: tuner confirm"
)


def compare(one: Place, other: str) -> pd.DataFrame:
    """Two runs side by side: a row a step both or either have reported, a column a run, and what they differ in.

    Of the settings that differ, now or earlier, `attrs["settings"]` holds the values in force and `attrs["courses"]`
    what they were from which step on, in words; both by run. `attrs["answer"]` says whether they can be told apart.
    """
    if other == one.name:
        raise StudyError(f"{one.name} is compared with another run, got {one.name} twice. Name a fork of it.")
    places = (one, one.beside(other))
    return side_by_side(Study(place, Store.open(place.existing())) for place in places)


def side_by_side(studies: Iterable[Study]) -> pd.DataFrame:
    """The runs of studies side by side, as `compare` says; each is closed once it was read."""
    import pandas as pd

    columns: dict[str, pd.Series[float]] = {}
    settings: dict[str, dict[str, Any]] = {}
    courses: dict[str, dict[str, str]] = {}
    for each in studies:
        with closing(each) as study:
            if study.state.kind != "babysitting" or not study.state.trials:
                what = "a sweep" if study.state.kind == "sweep" else "about to begin"
                raise StudyError(f"{study.name} is {what}; two babysat runs are compared, once both have begun.")
            curve, trial = study.curve(0), study.state.trials[0]
        columns[study.name] = pd.Series(list(curve.scores), index=list(curve.steps), dtype="float64")
        settings[study.name] = dict(trial.recipe.at(trial.steps))
        courses[study.name] = {word: _course(trial, word) for word in settings[study.name]}
    frame = pd.DataFrame(columns).rename_axis("step").sort_index()
    first, second = courses.values()
    differing = sorted(word for word in {*first, *second} if first.get(word) != second.get(word))
    frame.attrs["settings"] = {run: {word: values.get(word) for word in differing} for run, values in settings.items()}
    frame.attrs["courses"] = {run: {word: told.get(word, "-") for word in differing} for run, told in courses.items()}
    frame.attrs["answer"] = ONE_SEED
    return frame


def _course(trial: Trial, name: str) -> str:
    """What a setting was on the head: `0.1, cosine over=50 from 0.3 at step 113`."""
    told: list[tuple[int, Any, str]] = []
    for segment in trial.path():
        recipe, step = trial.recipe_of(segment), segment.from_step
        drawn, value = recipe.schedules.get(name), recipe.at(step).get(name)
        text = near_one(value) if isinstance(value, float) and 0.99 < value < 1 else number(value, 6)
        if told and told[-1][0] == step:
            told.pop()  # nothing was trained under it
        if not told or told[-1][1] != (drawn or value):
            told.append((step, drawn or value, f"{drawn} from {text}" if drawn else text))
    return ", ".join(
        text if not place else f"{text} {'at' if ' from ' in text else 'from'} step {step}"
        for place, (step, _, text) in enumerate(told)
    )


def complete(space: Space | None, params: Settings | None, seed: int) -> dict[str, Any]:
    """The settings to begin with; what is not given is drawn from the space."""
    if params is not None and not isinstance(params, Mapping):
        raise SettingsError(f"params must be a mapping of names to values, got {params!r:.80}.")
    if space is None:
        if not params:
            raise SettingsError("babysit needs settings to begin with, or a space to draw them from.")
        return {word: possible(word, value) for word, value in params.items()}
    import numpy as np

    given = dict(params or {})
    inside = {word: value for word, value in given.items() if word in space}
    drawn = {**space.sample(np.random.default_rng([seed, 0])), **inside}
    active = set(space.active(drawn))
    middle = space.from_unit([0.5] * len(space))
    checked = space.check({word: drawn.get(word, middle.get(word)) for word in space.names if word in active})
    return {**checked, **{word: possible(word, value) for word, value in given.items() if word not in space}}


def _asked_before(parent: Place, request: str, purpose: Purpose, name: str | None, trial: int = 0) -> Place | None:
    """The run that was begun under this id; `RequestReused` where it is another one than is meant now."""
    for found in _begun_under(parent, request):
        begins = found.parent.rpartition("@")[0] == f"{parent.name}/{trial}"
        if found.purpose == purpose and begins and name in (None, found.place.name):
            return found.place
        raise RequestReused(f"the request {request!r} was for {found.place.name}, a {found.purpose} of {found.parent}.")
    return None


def branch_of(parent: Place, request: str) -> tuple[str, Purpose] | None:
    """The run that was begun from this study under an id, and how: "fork" or "promote"; None: none was."""
    for found in _begun_under(parent, request):
        if found.parent.rpartition("/")[0] == parent.name:
            return found.place.name, found.purpose
    return None


@dataclass(frozen=True)
class _Begun:
    """A run that begins from a checkpoint of `parent`."""

    place: Place
    purpose: Purpose
    parent: str


def _begun_under(parent: Place, request: str) -> Iterator[_Begun]:
    """The runs beside a study that were begun under this id, and those of its team's database."""
    for there in names(parent.folder.parent) if request else ():
        place = parent.beside(there)
        try:
            found = Assignment.read(place.folder)
        except StudyError:
            continue  # a sweep
        if found.request == request:
            yield _Begun(place, found.purpose, str(found.parent))
    if request and isinstance(parent.database, InDatabase):
        yield from _begun_elsewhere(parent, parent.database, request)


def _begun_elsewhere(parent: Place, database: InDatabase, request: str) -> Iterator[_Begun]:
    """Those that the database alone tells of: whoever began them has another folder."""
    from tuner.record.postgres import branches

    for there in branches(database.url, parent.name):
        place = parent.beside(there)
        with closing(Store.open(place.existing(), idle="closed")) as store:
            if any(each.options.get("request") == request for each in store.read(Configured)):
                begun = next(iter(store.read(TrialCreated)))
                yield _Begun(place, begun.purpose, str(begun.parent))


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _branch(
    assignment: Assignment,
    study: Study,
    trial: Trial,
    checkpoint: Checkpoint,
    recipe: Recipe,
    *,
    purpose: Purpose,
    name: str,
    by: str,
    why: str,
    request: str,
    timeout_s: float | None,
) -> Place:
    """A run of its own that begins with a copy of a checkpoint."""
    parent = study.place
    place = parent.beside(name)
    if place.folder.exists():
        raise StudyError(f"{name} exists already. Choose another name for the branch.")
    pickled = parent.folder / KEPT
    by_value = study.state.options.get("by_value", pickled.is_file())
    payload: str | bytes = bytes_to_unpickle(pickled) if by_value and pickled.is_file() else assignment.function
    place.folder.mkdir(mode=0o700, parents=True)
    to = storage_of(place)
    try:
        sha256 = study.state.sha256_of(checkpoint)
        copied(checkpoint.path, storage_of(parent), to, _BEGINNING, sha256=sha256)
    except CheckpointError as error:
        shutil.rmtree(place.folder, ignore_errors=True)
        raise StudyError(
            f"{parent.name}/{trial.trial} cannot be branched at step {checkpoint.step}: its checkpoint is gone or "
            f"torn ({error}). Choose another step."
        ) from error
    try:
        checkpoints.check_pickles(to.look(_BEGINNING), to.shown(_BEGINNING))
    except CheckpointError:
        with suppress(CheckpointError):
            to.delete(_BEGINNING)
        shutil.rmtree(place.folder, ignore_errors=True)
        raise
    replace(
        assignment,
        name=name,
        params=recipe.at(checkpoint.step),
        schedules=recipe.to_json()["schedules"] or None,
        purpose=purpose,
        by=by,
        why=why,
        request=request,
        checkpoint=_BEGINNING,
        from_step=checkpoint.step,
        parent=f"{parent.name}/{trial.trial}@{checkpoint.step}",
        trial_seed=trial.seed,
        extra_steps=study.state.extension,
    ).write(place.folder, payload)
    place.point()
    study.close()
    process.start(place, timeout_s)
    return place


def _check_changes(space: Space | None, settings: Settings, values: Settings) -> None:
    """A branch continues from a checkpoint: what is built into the model stays."""
    for name, value in values.items():
        if name not in settings:
            raise SettingsError(f"{name} is no setting of this run. {did_you_mean(name, settings)}")
        if space is None or name not in space:
            possible(name, value)
        else:
            space[name].check(value)
            if space[name].changes == "never" and value != settings[name]:
                raise SettingsError(
                    f"{name} is built into the model, so a branch from a checkpoint cannot change it. Start a run of "
                    "its own with it."
                )


def _checkpoint(study: Study, trial: Trial, step: int | None) -> Checkpoint:
    """The newest kept checkpoint on the head, or the newest at or before a step that the trial has come to."""
    there = trial.on_head(study.state.kept(trial))
    steps = latest_steps(there)
    furthest = max([trial.steps, *(each.step for each in there)])
    if step is not None and step > furthest:
        raise StudyError(
            f"step {step} lies ahead: {study.name}/{trial.trial} has come to step {furthest}. "
            + (f"Checkpoints are kept of steps {steps}." if there else "No checkpoint of it is kept.")
        )
    kept = [each for each in there if step is None or each.step <= step]
    if not kept:
        where = "" if step is None else f" at or before step {step}"
        kept_there = f" Kept are those of steps {steps}." if there else ""
        raise StudyError(f"{study.name}/{trial.trial} has no checkpoint{where} to begin from.{kept_there}")
    return max(kept, key=lambda each: (each.step, each.checkpoint))


def _free_name(parent: Place) -> str:
    taken = set(names(parent.folder.parent)) | {path.name for path in parent.folder.parent.iterdir()}
    number = 2
    while f"{parent.name}-{number}" in taken:
        number += 1
    return f"{parent.name}-{number}"
