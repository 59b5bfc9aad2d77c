"""A study as Optuna reads it: a live study of theirs over our record, and a storage of theirs with all that is in it.

Each trial keeps its number. A `log_one_minus` setting is called `one_minus.beta` there and lies on a log scale, since
Optuna has none of its own for 1−β; the settings as they were trained are the attribute `settings`. Values in between
are the head's, the final one is the best of them.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Mapping
from copy import deepcopy as duplicate
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.errors import SettingsError, StudyError, TunerError, quoted
from tuner.record.events import StudyOpened
from tuner.record.reader import StudyReader
from tuner.record.store import Store
from tuner.record.trial import Trial
from tuner.samplers.internals import FrozenStudy, frozen_study, metric_name, put_trials
from tuner.samplers.optuna import quiet
from tuner.space.parameters import Choice, Parameter
from tuner.space.space import Space
from tuner.values.numbers import round_to

_SQLITE = "sqlite:///"
_STATES = {
    "waiting": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "paused": TrialState.RUNNING,
    "lost": TrialState.RUNNING,
    "completed": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}
_DIGITS = 12  # of 1−β, which is as good as that after a subtraction from 1


# ── in Optuna's words ───────────────────────────────────────────────────────────────────────────


def frozen(study: StudyReader, trial: Trial) -> FrozenTrial:
    """A trial as Optuna has it, under the same number."""
    params, distributions = _drawn(study.space, trial)
    state = _STATES[trial.state]
    if state is not TrialState.WAITING and trial.ended and trial.best_score is None:
        state = TrialState.FAIL  # without a score nothing is complete in Optuna's eyes
    curve = study.state.curve(trial)
    started = trial.started if trial.started is not None else trial.created_at
    return FrozenTrial(
        number=trial.trial,
        trial_id=trial.trial,
        state=state,
        value=trial.best_score if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        datetime_start=None if state is TrialState.WAITING else _local(started),
        datetime_complete=_local(trial.ended_at) if trial.ended_at is not None else None,
        params=params,
        distributions=distributions,
        user_attrs=_attributes(trial),
        system_attrs={},
        intermediate_values=dict(zip(curve.steps, curve.scores, strict=True)),
    )


def _drawn(space: Space | None, trial: Trial) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """The settings a trial began with, each with where it was drawn from; what lies outside the space is left out."""
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for name, value in trial.params.items():
        if space is None:
            found = _alone(value)
            if found is not None:
                params[name], distributions[name] = value, found
        elif name in space:
            try:
                checked = space[name].check(value)
            except SettingsError:  # given by hand, from outside the space
                continue
            key, params_value, distribution = _placed(name, space[name], checked)
            params[key], distributions[key] = params_value, distribution
    return params, distributions


def _placed(name: str, dimension: Parameter | Choice, value: Any) -> tuple[str, Any, BaseDistribution]:
    """What Optuna calls a setting, its value there, and what it is drawn from."""
    if isinstance(dimension, Choice):
        return name, value, CategoricalDistribution(dimension.options)
    low, high, log = dimension.low, dimension.high, dimension.scale == "log"
    if dimension.type == "integer":
        return name, value, IntDistribution(int(low), int(high), log=log)
    if dimension.scale == "log_one_minus":
        return f"one_minus.{name}", _from_one(value), FloatDistribution(_from_one(high), _from_one(low), log=True)
    return name, value, FloatDistribution(low, high, log=log)


def _from_one(value: float) -> float:
    return round_to(1.0 - value, _DIGITS)  # keeps the order, so that values stay within their bounds


def _alone(value: Any) -> BaseDistribution | None:
    """Where a setting comes from that nothing was searched for: from itself."""
    if isinstance(value, bool | str | None):
        return CategoricalDistribution((value,))
    if isinstance(value, int):
        return IntDistribution(value, value)
    return FloatDistribution(value, value) if isinstance(value, float) else None


_ATTRIBUTES = (
    *("state", "why", "purpose", "round", "parent", "seed", "steps", "best_step", "best_score", "seconds", "node"),
    *("error", "settings"),
)


def _attributes(trial: Trial) -> dict[str, Any]:
    """What Optuna has no word for; `settings` are those in force on the head."""
    values = {name: getattr(trial, name) for name in _ATTRIBUTES}
    return {name: value for name, value in values.items() if value not in (None, "")}


def _of_study(study: StudyReader) -> dict[str, Any]:
    """What Optuna has no word for of the study as a whole."""
    state = study.state
    begun = next(iter(study.records(StudyOpened))).at
    best = study.best
    return {
        "tuner": state.kind,
        "begun": datetime.fromtimestamp(begun, UTC).isoformat(),
        "sampler": state.identity.get("sampler"),
        "seed": state.identity.get("seed"),
        "function": state.function,
        "best_trial": None if best is None else best.trial,
        "best_score": None if best is None else best.score,
    }


def _direction(study: StudyReader) -> StudyDirection:
    return StudyDirection.MAXIMIZE if study.state.goal == "maximize" else StudyDirection.MINIMIZE


def _local(at: float) -> datetime:
    """A moment as Optuna has it: the local time, without saying so."""
    return datetime.fromtimestamp(at, UTC).astimezone().replace(tzinfo=None)


# ── live ────────────────────────────────────────────────────────────────────────────────────────


class RecordStorage(BaseStorage):
    """The record of one study as Optuna reads storages: each look takes in what was written since, none can write."""

    def __init__(self, study: StudyReader) -> None:
        self._study = study
        self._lock = threading.RLock()  # a dashboard looks from many threads
        self._over: dict[int, FrozenTrial] = {}
        self._revivals = study.state.revivals
        study.load_curves()

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Every trial by number; those that are over are the same objects at each look, unless copies are wanted."""
        with self._lock:
            self._known(study_id)
            self._study.refresh()
            if self._revivals != self._study.state.revivals:
                self._revivals = self._study.state.revivals
                self._over.clear()
            found = [self._over.get(trial.trial) or self._look(trial) for trial in self._study.state.trials]
        wanted = found if states is None else [each for each in found if each.state in states]
        return [duplicate(each) for each in wanted] if deepcopy else wanted

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One trial; its id is its number."""
        trials = self.get_all_trials(0, deepcopy=False)
        if not 0 <= trial_id < len(trials):
            raise KeyError(f"{self._study.name} has no trial {trial_id}: {len(trials)} began so far.")
        return trials[trial_id]

    def _look(self, trial: Trial) -> FrozenTrial:
        seen = frozen(self._study, trial)
        if trial.ended:
            self._over[trial.trial] = seen
        return seen

    def _known(self, study_id: int) -> None:
        if study_id != 0:
            raise KeyError(f"this is the record of {self._study.name} alone, whose id is 0, got {study_id}.")

    def get_study_id_from_name(self, study_name: str) -> int:
        """0: a record holds one study."""
        if study_name != self._study.name:
            raise KeyError(f"this is the record of {self._study.name} alone, got {study_name!r}.")
        return 0

    def get_study_name_from_id(self, study_id: int) -> str:
        """The study's name."""
        self._known(study_id)
        return self._study.name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """The one direction of its objective."""
        self._known(study_id)
        return [_direction(self._study)]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Where it comes from, and what tuner holds for its best."""
        self._known(study_id)
        with self._lock:
            return _of_study(self._study)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """What its objective is called."""
        self._known(study_id)
        return metric_name(self._study.state.objective)

    def get_all_studies(self) -> list[FrozenStudy]:
        """The one study."""
        name, user = self._study.name, self.get_study_user_attrs(0)
        return [frozen_study(name, _direction(self._study), user, self.get_study_system_attrs(0))]

    def _read_only(self, *_: Any, **__: Any) -> NoReturn:
        name = self._study.name
        raise StudyError(
            f"study.optuna shows what {name} has on record, and nothing can be written through it. Steer it with "
            f"tuner.attach({name!r}), or take a copy that is yours: study.export('optuna', 'sqlite:///{name}.db')."
        )

    create_new_study = delete_study = set_study_user_attr = set_study_system_attr = _read_only
    create_new_trial = set_trial_param = set_trial_state_values = set_trial_intermediate_value = _read_only
    set_trial_user_attr = set_trial_system_attr = _read_only


class OptunaStudy(optuna.study.Study):
    """A study of tuner's with all that an Optuna study can be asked; what would change it says what to do instead."""

    def __init__(self, study: StudyReader) -> None:
        self._of_tuner = study.name
        super().__init__(study.name, RecordStorage(study))

    def ask(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: tuner proposes."""
        raise StudyError(
            f"{self._of_tuner} is tuner's, which proposes its trials itself: there is nothing to ask. Train settings "
            f"of your own with tuner.attach({self._of_tuner!r}).add({{…}}), or go on with tuner.sweep(…, "
            f"name={self._of_tuner!r}, trials=…); any sampler of Optuna's may propose there: sampler=…."
        )

    optimize = enqueue_trial = ask

    def tell(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: what is trained reports."""
        raise StudyError(
            f"{self._of_tuner} is tuner's, whose scores come from its training function alone: nothing can be told. "
            "Report there with run.report(…); what is known already comes in with tuner.sweep(…, warm_start=…)."
        )

    add_trial = add_trials = tell


def live(study: StudyReader) -> OptunaStudy:
    """The study as an Optuna study, which reads the record anew at each look."""
    with quiet():
        return OptunaStudy(study)


# ── a storage of theirs ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What an export has written: `added` and `changed` trials, beside those that stood there as they are."""

    study: str
    url: str
    file: Path | None
    added: int
    changed: int
    same: int

    def __str__(self) -> str:
        counts = ((self.added, "added"), (self.changed, "changed since, brought up to date"), (self.same, "as before"))
        told = ", ".join(f"{count} {word}" for count, word in counts if count) or "none yet"
        return f"{self.url}: trials of {self.study}: {told}"


def copy(study: StudyReader, to: str | Path | None) -> Copied:
    """Writes a study into a storage of Optuna's, or brings up to date what an earlier export has written there.

    Raises:
        SettingsError: `to` is no URL of a storage.
        StudyError: It cannot be written, or holds something else under this name.
    """
    url, file = _storage_of(study, to)
    study.refresh()
    study.load_curves()
    with quiet():
        storage = _opened(url, file)
        try:
            number = _begun(storage, study, url)
            known = storage.get_all_trials(number, deepcopy=False)
            ours = [frozen(study, trial) for trial in study.state.trials]
            changed = [each for each, there in zip(ours, known, strict=False) if _facts(each) != _facts(there)]
            put_trials(storage, number, [*changed, *ours[len(known) :]], _ATTRIBUTES)
            for key, value in _of_study(study).items():
                storage.set_study_user_attr(number, key, value)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    added, stood = len(ours) - len(known), len(known) - len(changed)
    return Copied(study=study.name, url=url, file=file, added=added, changed=len(changed), same=stood)


def _storage_of(study: StudyReader, to: str | Path | None) -> tuple[str, Path | None]:
    """The URL, and the file where it is one."""
    if to is None:
        file = study.place.folder / "optuna.db"
        return f"{_SQLITE}{file}", file
    url = str(to)
    path = url.removeprefix(_SQLITE).partition("?")[0] if url.startswith(_SQLITE) else ""
    if "://" not in url or (url.startswith("sqlite:") and not path):
        raise SettingsError(
            f"to={quoted(to)} is no storage of Optuna's, which is a database by its URL. Write "
            f"to={_SQLITE + 'x.db'!r}, with four slashes for an absolute path."
        )
    return url, Path(path) if path else None


def _opened(url: str, file: Path | None) -> RDBStorage:
    if file is not None:
        if _is_record(file):
            raise StudyError(
                f"{file} is the record of a study of tuner's, where Optuna's tables would be in its way. Choose "
                f"another file: {_SQLITE}x.db."
            )
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"{file.parent} cannot be made: {error.strerror or error}. Choose another.") from error
    try:
        return RDBStorage(url)
    except Exception as error:  # whatever a database's driver raises: which there are is the record's to know
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StudyError(f"{quoted(url)} cannot be opened as a storage of Optuna's: {reason}") from error


def _is_record(file: Path) -> bool:
    try:
        Store.open(file).close()
    except TunerError:
        return False
    return True


def _begun(storage: RDBStorage, study: StudyReader, url: str) -> int:
    """The study's id in the storage, where it is begun unless it is there."""
    about = _of_study(study)
    try:
        number = storage.get_study_id_from_name(study.name)
    except KeyError:
        number = storage.create_new_study([_direction(study)], study.name)
        for key, value in metric_name(study.state.objective).items():
            storage.set_study_system_attr(number, key, value)
        storage.set_study_user_attr(number, "begun", about["begun"])
    begun = storage.get_study_user_attrs(number).get("begun")
    if begun != about["begun"]:
        told = f"that was begun at {begun}" if begun else "that tuner did not write"
        raise StudyError(
            f"{quoted(url)} holds another study called {study.name}, {told}; this one was begun at {about['begun']}. "
            "Choose another database, or delete that study there first."
        )
    return number


def _facts(trial: FrozenTrial) -> str:
    """All that an export writes of a trial, so that two can be compared, nan with nan."""
    ours = {key: trial.user_attrs[key] for key in _ATTRIBUTES if key in trial.user_attrs}
    drawn = sorted((name, trial.params[name], trial.distributions[name]) for name in trial.params)
    between: Mapping[int, float] = trial.intermediate_values
    times = (trial.datetime_start, trial.datetime_complete)
    return repr((trial.number, trial.state, trial.value, times, drawn, sorted(ours.items()), sorted(between.items())))
