"""A Ray cluster that tests share, in a process of its own: it ends with that process's input, so it outlives no run.

A sweep gets to it by `address=`. Tests that are about starting or ending Ray, or about its nodes, bring their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CPUS = 4
PATIENCE_S = 60.0


@contextmanager
def running(cpus: int = CPUS, **environment: str) -> Iterator[str]:
    """The address of a cluster of one node. It wants no token, whatever else this process has done with Ray."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(cpus)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", **environment},
        start_new_session=True,  # a Ctrl-C on the terminal is the test run's to deal with
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address, "Ray did not start"
        yield address
    finally:
        process.stdin.close()
        process.wait(PATIENCE_S)
        process.stdout.close()


def main() -> None:
    """Starts a cluster, says where it is, and ends it once nobody holds the other end of the input."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": int(sys.argv[1]), "include_dashboard": False})
    try:
        print(cluster.address, flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
