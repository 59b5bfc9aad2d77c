"""The resources that one trial takes of a node, and how many trials the nodes of a cluster hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import floor, inf

from tuner.values.numbers import memory, number

_SLACK = 1e-9  # shares of a tenth do not add up exactly


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one trial takes; `others` are bytes of `memory` and whatever the nodes of a cluster declare themselves."""

    cpus: float = 1
    gpus: float = 0
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def bundle(self) -> dict[str, float]:
        """By the names that Ray has for them, without what is not taken.

        >>> Resources(cpus=2, gpus=0.5, others={"licence": 1}).bundle
        {'CPU': 2, 'GPU': 0.5, 'licence': 1}
        """
        asked = {"CPU": self.cpus, "GPU": self.gpus, **self.others}
        return {kind: each for kind, each in asked.items() if each > 0}

    def on(self, node: Mapping[str, float]) -> float:
        """How many trials a node of such resources holds at a time, infinitely many of those that take nothing.

        >>> Resources(cpus=1, gpus=0.4).on({"CPU": 8, "GPU": 2})
        4
        """
        return min((_held(kind, each, node.get(kind, 0.0)) for kind, each in self.bundle.items()), default=inf)

    def beside(self, nodes: Iterable[Mapping[str, float]]) -> str:
        """What a trial asks for beside the most that any one node has.

        >>> Resources(cpus=8, others={"memory": 4e9}).beside([{"CPU": 4, "memory": 64e9}, {"CPU": 2}])
        '4 GB of memory a trial, the largest node has 64 GB; 8 CPU a trial, the largest node has 4'
        """
        there = list(nodes)
        kinds = self.bundle.items()
        scattered = all(any(_held(kind, each, node.get(kind, 0.0)) for node in there) for kind, each in kinds)
        told = "; ".join(
            f"{_amount(kind, each)} a trial, the largest node has "
            f"{_figure(kind, max((node.get(kind, 0.0) for node in there), default=0.0))}"
            for kind, each in sorted(kinds, key=_cpus_last)
        )
        return f"{told}; no single node has all of it" if scattered and not any(map(self.on, there)) else told

    def obstacle(
        self,
        waiting: int,
        workers: int,
        fitting: int,
        nodes: Iterable[Mapping[str, float]],
        total: Mapping[str, float],
        free: Mapping[str, float],
    ) -> str:
        """Why so many of all workers wait, of which so many fit: for what somebody has, or nothing but their start.

        >>> nodes = [{"CPU": 8}]
        >>> Resources(cpus=2).obstacle(1, 3, 4, nodes, {"CPU": 8}, {"CPU": 1})
        '1 of 3 workers wait for a place: asked for 2 CPU a trial, 1 of 8 in the cluster are free'
        >>> Resources(cpus=2).obstacle(1, 3, 4, nodes, {"CPU": 8}, {"CPU": 2})
        '1 of 3 workers are starting'
        """
        told = f"{waiting} of {workers} workers"
        if not fitting:
            return f"{told} wait for a place, and no node that is there has one: asked for {self.beside(nodes)}"
        theirs = {
            kind: total.get(kind, 0.0) - free.get(kind, 0.0) - workers * each for kind, each in self.bundle.items()
        }
        if workers <= fitting and max(theirs.values(), default=0.0) <= _SLACK:
            return f"{told} are starting"
        return f"{told} wait for a place: {self.free(total, free)}"

    def free(self, total: Mapping[str, float], free: Mapping[str, float]) -> str:
        """What a trial asks for beside what nobody has taken.

        >>> Resources(cpus=2).free({"CPU": 8}, {"CPU": 1})
        'asked for 2 CPU a trial, 1 of 8 in the cluster are free'
        """
        return "asked for " + "; ".join(
            f"{_amount(kind, each)} a trial, {_figure(kind, free.get(kind, 0.0))} of "
            f"{_figure(kind, total.get(kind, 0.0))} in the cluster are free"
            for kind, each in sorted(self.bundle.items(), key=_cpus_last)
        )


def _cpus_last(asked: tuple[str, float]) -> tuple[bool, bool]:
    """CPUs are hardly ever what is missing, GPUs mostly."""
    return asked[0] == "CPU", asked[0] != "GPU"


def _held(kind: str, each: float, there: float) -> float:
    """How many shares of one kind fit; a share of a GPU lies within one GPU."""
    if kind == "GPU" and each < 1:
        return floor(there + _SLACK) * floor(1 / each + _SLACK)
    return floor(there / each + _SLACK)


def _amount(kind: str, value: float) -> str:
    return f"{memory(value)} of memory" if kind == "memory" else f"{number(value)} {kind}"


def _figure(kind: str, value: float) -> str:
    return memory(value) if kind == "memory" else number(value)
