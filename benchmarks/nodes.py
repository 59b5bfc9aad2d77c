"""A Ray cluster of several nodes on this machine, in a process of its own, which knows what each node consists of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
_ENDS_WITHIN_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where it is, and the processes of its nodes by what they are; the head is the first."""

    address: str
    nodes: Sequence[dict[str, list[int]]]


@contextmanager
def running(*cpus: int, environment: dict[str, str]) -> Iterator[Cluster]:
    """A cluster with a node for each number of CPUs."""
    process = subprocess.Popen(
        [sys.executable, __file__, *map(str, cpus)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**environment, **ENVIRONMENT},
        start_new_session=True,  # a Ctrl-C on the terminal is for whoever started this
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        if not said:
            raise RuntimeError("Ray did not start")
        yield Cluster(**json.loads(said))
    finally:
        with suppress(OSError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDS_WITHIN_S)
        process.kill()
        process.wait()
        process.stdout.close()


def main() -> None:
    """Starts a cluster, says what it is, and ends it once nobody holds the other end of the input."""
    from ray import cluster_utils

    head, *more = map(int, sys.argv[1:])
    made: Any = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": head, "include_dashboard": False}
    )
    try:
        nodes = [made.head_node, *(made.add_node(num_cpus=cpus) for cpus in more)]
        pids = [
            {what: [each.process.pid for each in found] for what, found in node.all_processes.items()} for node in nodes
        ]
        print(json.dumps({"address": made.address, "nodes": pids}), flush=True)
        sys.stdin.read()
    finally:
        with suppress(Exception):  # what was killed cannot be ended once more
            made.shutdown()


if __name__ == "__main__":
    main()
