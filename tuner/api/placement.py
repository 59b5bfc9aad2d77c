"""The place of trials as a call says it: on which cluster, and what share of a node each takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.errors import SettingsError
from tuner.executors.cluster_job import is_one
from tuner.values.arguments import amount, gpus, name, refuse
from tuner.values.numbers import number

SMALLEST_SHARE = 0.0001


def cluster(address: str | None) -> str | None:
    """The address, or `auto` where none is given within a Ray job: whoever submits one means its cluster."""
    return "auto" if address is None and is_one() else address


def resources(word: str, given: Any) -> dict[str, float]:
    """What a trial takes of a node, by the names that the cluster has for it."""
    if not isinstance(given, Mapping):
        refuse(word, "amounts by name", given, f'Write {word}={{"CPU": 2, "GPU": 0.5, "licence": 1}}.')
    found: dict[str, float] = {}
    for kind, each in given.items():
        called = name(f"a name in {word}", kind)
        meant = {"cpu": "CPU", "cpus": "CPU", "num_cpus": "CPU", "gpu": "GPU", "gpus": "GPU", "num_gpus": "GPU"}
        if (right := meant.get(called)) is not None:
            raise SettingsError(f"{word} has {called!r}, which a cluster calls {right!r}. Write it so.")
        share = gpus if called == "GPU" else amount(least=0, most=1e18)
        found[called] = share(f"{called} in {word}", each)
        if 0 < found[called] < SMALLEST_SHARE:
            refuse(f"{called} in {word}", f"0 or at least {SMALLEST_SHARE}, the smallest share that Ray gives", each)
    return found


def shared_out(
    cpus: float, gpus: float, resources: Mapping[str, float] | None
) -> tuple[float, float, dict[str, float]]:
    """CPUs, GPUs and the others; those in `resources` stand for the arguments of their own, which may not differ.

    >>> shared_out(1, 0, {"CPU": 2, "licence": 1})
    (2, 0, {'licence': 1})
    """
    others = dict(resources or {})
    found = {}
    for word, kind, given, unsaid in (("cpus", "CPU", cpus, 1), ("gpus", "GPU", gpus, 0)):
        found[kind] = others.pop(kind, given)
        if given not in (unsaid, found[kind]):
            raise SettingsError(
                f"{word}={number(given)} and resources={{{kind!r}: {number(found[kind])}}} say two things. Give one."
            )
    return found["CPU"], found["GPU"], others
