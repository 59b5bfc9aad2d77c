"""The samplers by name: what proposes the next settings; each also serves any Optuna study."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tuner.errors import SettingsError, did_you_mean, quoted

if TYPE_CHECKING:
    from tuner.samplers.base import UnitCubeSampler
    from tuner.samplers.coarse_to_fine import CoarseToFineSampler
    from tuner.samplers.grid import GridSampler
    from tuner.samplers.quasi_random import RandomSampler, SobolSampler

__all__ = ["CoarseToFineSampler", "GridSampler", "RandomSampler", "SobolSampler", "by_name"]

_HOMES = {  # imported on demand: Optuna takes a third of a second
    "CoarseToFineSampler": "coarse_to_fine",
    "GridSampler": "grid",
    "RandomSampler": "quasi_random",
    "SobolSampler": "quasi_random",
}
_NAMES = {
    "coarse_to_fine": "CoarseToFineSampler",
    "random": "RandomSampler",
    "sobol": "SobolSampler",
    "grid": "GridSampler",
}
SAMPLERS = tuple(_NAMES)
"""What a sampler is called, in Python and in the shell."""


def by_name(name: str) -> UnitCubeSampler:
    """The sampler of that name, with its defaults.

    Args:
        name: "coarse_to_fine", "random", "sobol" or "grid".

    Returns:
        A new sampler with seed 0.

    Raises:
        SettingsError: No such name.

    Example:
        >>> by_name("grid")
        GridSampler(seed=0)
    """
    if name not in _NAMES:
        raise SettingsError(
            f"there is no sampler {quoted(name)}. {did_you_mean(name, _NAMES)} An Optuna sampler is given as an object."
        )
    sampler: UnitCubeSampler = __getattr__(_NAMES[name])()
    return sampler


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"tuner.samplers.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
