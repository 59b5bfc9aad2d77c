"""The sources of learning curves by name: recorded, tabled, constructed, or trained for real."""

from __future__ import annotations

import functools

import trained
from constructed import Conditional
from recordings import Folder, HPOBench, Recording


@functools.cache
def opened(name: str, data: str | None) -> Recording:
    """The recording of that name; opened once a process."""
    if name in trained.DIGITS:
        return trained.Digits(trained.DIGITS[name])
    if name == "hpobench":  # the same tables: in the data folder, or from pip
        return HPOBench() if data is None else Folder("hpobench_mlp", data)
    if name in ("fashion", "wide"):
        return trained.Fashion(data) if name == "fashion" else trained.Wide(data)
    return Conditional() if name == "conditional" else Folder(name, data)
