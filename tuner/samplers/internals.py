"""The parts of Optuna that are not its public interface: each is named here once, and nowhere else in tuner.

They may change with any release of Optuna, so `pyproject.toml` admits those releases alone that were tried, and
`tests/test_optuna.py` looks for every part and for uses elsewhere.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, QMCSampler
from optuna.search_space import IntersectionSearchSpace

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


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
