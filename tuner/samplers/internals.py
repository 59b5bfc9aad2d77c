"""The parts of Optuna that are not its public interface: each is named here once, and nowhere else in tuner.

They may change with any release of Optuna, so `pyproject.toml` admits those releases alone that were tried, and
`tests/test_optuna.py` looks for every part and for uses elsewhere.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import distribution_to_json
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, QMCSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study._frozen import FrozenStudy
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial

__all__ = [
    "FrozenStudy",
    "arguments_of",
    "frozen_study",
    "generators_in",
    "metric_name",
    "note_on_study",
    "note_on_trial",
    "notes_of",
    "put_trials",
    "renewed",
    "samplers_in",
    "seed_sequence",
    "wrapped_in",
]

_AT_A_TIME = 500  # trials in one statement: a database admits some thousand values


def note_on_trial(study: Study, trial: FrozenTrial, key: str, value: Any) -> None:
    """Keeps a note of the sampler's with a trial, where every process that shares the study's storage finds it."""
    study._storage.set_trial_system_attr(trial._trial_id, key, value)


def notes_of(study: Study) -> dict[str, Any]:
    """What samplers keep with a study as a whole."""
    return study._storage.get_study_system_attrs(study._study_id)


def note_on_study(study: Study, key: str, value: Any) -> None:
    """Keeps a note of the sampler's with a study as a whole."""
    study._storage.set_study_system_attr(study._study_id, key, value)


def arguments_of(component: object) -> dict[str, tuple[Any, Any]]:
    """The arguments that a sampler or a pruner was made with, each with its default; both keep them as attributes."""
    known = vars(component) if hasattr(component, "__dict__") else {}
    return {
        name: (known.get(f"_{name}", known.get(name, parameter.default)), parameter.default)
        for name, parameter in inspect.signature(type(component)).parameters.items()
    }


def samplers_in(sampler: BaseSampler) -> Iterator[BaseSampler]:
    """The sampler and those within it."""
    yield sampler
    for value in vars(sampler).values():
        if isinstance(value, BaseSampler):
            yield from samplers_in(value)


def generators_in(sampler: BaseSampler) -> Iterator[np.random.RandomState]:
    """The sources of chance in a sampler and those within it; Optuna keeps each in a `LazyRandomState`."""
    for each in samplers_in(sampler):
        for value in vars(each).values():
            generator = getattr(value, "rng", value)
            if isinstance(generator, np.random.RandomState):
                yield generator


def renewed(pristine: BaseSampler, used: BaseSampler) -> BaseSampler:
    """The sampler as it was given, but for what it can always tell from the trials: which parameters they share."""
    fresh = copy.deepcopy(pristine)
    for new, old in zip(samplers_in(fresh), samplers_in(used), strict=True):
        for name, value in vars(old).items():
            if isinstance(value, IntersectionSearchSpace):
                setattr(new, name, value)
    return fresh


def seed_sequence(sampler: QMCSampler, seed: int) -> None:
    """Seeds the one sequence of a quasi-random sampler, of which every trial is a place."""
    sampler._seed = seed


def wrapped_in(pruner: BasePruner) -> BasePruner | None:
    """The pruner that a patient one asks, or None."""
    wrapped = getattr(pruner, "_wrapped_pruner", None)
    return wrapped if isinstance(wrapped, BasePruner) else None


def metric_name(objective: str) -> dict[str, Any]:
    """What a study keeps for Optuna's pictures to call its objective."""
    return {_SYSTEM_ATTR_METRIC_NAMES: [objective]}


def frozen_study(name: str, direction: StudyDirection, user: dict[str, Any], system: dict[str, Any]) -> FrozenStudy:
    """A study as a storage lists it, the only one in it."""
    return FrozenStudy(study_name=name, direction=direction, user_attrs=user, system_attrs=system, study_id=0)


def put_trials(storage: RDBStorage, study_id: int, trials: Sequence[FrozenTrial], attributes: Collection[str]) -> None:
    """Writes trials under their numbers, all or none; of one that is there, the row and all `attributes` but ours stay.

    Optuna's own way writes a row at a time, has a trial end at the moment of writing, and takes nothing back.
    """
    from optuna.storages._rdb import models as rows

    session = storage.scoped_session()
    try:
        ids = dict(session.query(rows.TrialModel.number, rows.TrialModel.trial_id).filter_by(study_id=study_id).all())
        for start in range(0, len(trials), _AT_A_TIME):
            some = trials[start : start + _AT_A_TIME]
            there = [ids[each.number] for each in some if each.number in ids]
            models = {row.number: row for row in _rows_of(session, rows.TrialModel, there)}
            for each in some:
                row = models.setdefault(each.number, rows.TrialModel(study_id=study_id, number=each.number))
                row.state = each.state
                row.datetime_start, row.datetime_complete = each.datetime_start, each.datetime_complete
                session.add(row)
            session.flush()
            for table in (rows.TrialParamModel, rows.TrialValueModel, rows.TrialIntermediateValueModel):
                session.query(table).filter(table.trial_id.in_(there)).delete(synchronize_session=False)
            said = rows.TrialUserAttributeModel
            ours = session.query(said).filter(said.trial_id.in_(there), said.key.in_(attributes))
            ours.delete(synchronize_session=False)
            for table, values in _told([(models[each.number].trial_id, each) for each in some], rows).items():
                if values:
                    session.execute(table.__table__.insert(), values)
            session.expunge_all()
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.close()


def _rows_of(session: Any, table: Any, ids: Collection[int]) -> list[Any]:
    return list(session.query(table).filter(table.trial_id.in_(ids)).all()) if ids else []


def _told(trials: Sequence[tuple[int, FrozenTrial]], rows: Any) -> dict[Any, list[dict[str, Any]]]:
    """The rows beside those of the trials themselves, by table."""
    found: dict[Any, list[dict[str, Any]]] = {
        rows.TrialParamModel: [
            {
                "trial_id": key,
                "param_name": name,
                "param_value": each.distributions[name].to_internal_repr(value),
                "distribution_json": distribution_to_json(each.distributions[name]),
            }
            for key, each in trials
            for name, value in each.params.items()
        ],
        rows.TrialUserAttributeModel: [
            {"trial_id": key, "key": name, "value_json": json.dumps(value)}
            for key, each in trials
            for name, value in each.user_attrs.items()
        ],
    }
    table = rows.TrialValueModel
    found[table] = [
        {"trial_id": key, "objective": 0, **_stored("value", table.value_to_stored_repr(each.value))}
        for key, each in trials
        if each.value is not None
    ]
    table = rows.TrialIntermediateValueModel
    found[table] = [
        {"trial_id": key, "step": step, **_stored("intermediate_value", table.intermediate_value_to_stored_repr(value))}
        for key, each in trials
        for step, value in each.intermediate_values.items()
    ]
    return found


def _stored(name: str, stored: tuple[float | None, Any]) -> dict[str, Any]:
    value, kind = stored
    return {name: value, f"{name}_type": kind}
