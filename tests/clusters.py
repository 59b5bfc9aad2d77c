"""A Ray cluster that tests share, in a process of its own: it ends with that process's input, so it outlives no run.

A sweep gets to it by `address=`. Tests that are about starting or ending Ray, or about its nodes, bring their own.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from waiting import wait_until

CPUS = 4
PATIENCE_S = 60.0


@contextmanager
def running(cpus: int = CPUS, *, nodes: Sequence[Mapping[str, Any]] = (), **environment: str) -> Iterator[str]:
    """The address of a cluster of one node, and further ones as `Cluster.add_node` takes them.

    It wants no token, whatever else this process has done with Ray.
    """
    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps([{"num_cpus": cpus, "resources": {"licence": 1}}, *nodes])],
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


@contextmanager
def growing(kinds: Mapping[str, Mapping[str, float]], *, most: int) -> Iterator[str]:
    """The address of a cluster with an autoscaler: a head without CPUs, and up to `most` nodes of each of some kinds.

    What stands in for a cloud is Ray's own: its nodes are processes of this machine.
    """
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "launch_multiple": True,
        "head_node_id": _HEAD,
    }
    types = {name: {"resources": each, "min_workers": 0, "max_workers": most} for name, each in kinds.items()}
    types[_HEAD_KIND] = {"resources": {"CPU": 0}, "max_workers": 0}
    config: dict[str, Any] = {
        "cluster_name": "growing",
        "max_workers": most * len(kinds),
        "provider": provider,
        "available_node_types": {name: {**each, "node_config": {}} for name, each in types.items()},
        "head_node_type": _HEAD_KIND,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 1.0,
        **{word: {} for word in ("auth", "file_mounts")},
        **{f"{who}setup_commands": [] for who in ("", "head_", "worker_")},
        **{word: [] for word in ("initialization_commands", "head_start_ray_commands", "worker_start_ray_commands")},
        "cluster_synced_files": [],
    }
    marks = {"RAY_CLOUD_INSTANCE_ID": _HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD, "RAY_FAKE_CLUSTER": "1"}
    paces = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1"}
    with tempfile.TemporaryDirectory(prefix="ray-") as folder, socket.create_server(("", 0)) as free:
        from ray._private.services import get_node_ip_address

        here = get_node_ip_address()  # type: ignore[no-untyped-call]
        address = f"{here}:{free.getsockname()[1]}"
        free.close()
        provider["gcs_address"] = address
        written = Path(folder) / "cluster.json"
        written.write_text(json.dumps(config))
        with started_head(address, folder, f"--autoscaling-config={written}", **marks, **paces):
            yield address


@contextmanager
def started_head(address: str, folder: str, *more: str, **environment: str) -> Iterator[None]:
    """A head without CPUs as `ray start` makes it, at an address of this machine, with all it starts."""
    host, _, port = address.rpartition(":")
    process = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "ray"),
            "start",
            "--head",
            "--block",
            f"--node-ip-address={host}",
            f"--port={port}",
            f"--temp-dir={folder}/ray",
            "--num-cpus=0",
            "--include-dashboard=false",
            *more,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", **environment},
        start_new_session=True,
    )
    try:
        wait_until(lambda: process.poll() is not None or answers(host, int(port)), look_every_s=0.2)
        assert process.poll() is None, "the head did not start"
        yield
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()


@contextmanager
def taking_jobs(cpus: int = CPUS) -> Iterator[str]:
    """The address of a head with its dashboard, as `ray job submit` takes it."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        with ExitStack() as taken:
            free = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
            head, page, agent = (each.getsockname()[1] for each in free)
        shown = ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={page}"]
        # jobs go through the node's agent, which does without a port where another cluster here has the usual one
        shown += [f"--dashboard-agent-listen-port={agent}"]
        with started_head(f"127.0.0.1:{head}", folder, f"--num-cpus={cpus}", *shown):
            wait_until(lambda: answers("127.0.0.1", page), look_every_s=0.2)
            yield f"http://127.0.0.1:{page}"


def answers(host: str, port: int) -> bool:
    """Whether anybody listens there."""
    with socket.socket() as visitor:
        return visitor.connect_ex((host, port)) == 0


_HEAD = "f" * 51 + "00000"
_HEAD_KIND = "ray.head.default"  # what the provider calls it; under another name the autoscaler starts nothing


def main() -> None:
    """Starts a cluster, says where it is, and ends it once nobody holds the other end of the input."""
    from ray.cluster_utils import Cluster

    head, *others = json.loads(sys.argv[1])
    cluster = Cluster(initialize_head=True, head_node_args={**head, "include_dashboard": False})
    try:
        for each in others:
            cluster.add_node(**each)
        print(cluster.address, flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
