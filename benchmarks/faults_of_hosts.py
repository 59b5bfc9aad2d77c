"""Faults between hosts: two network namespaces stand for them, and the cable between them is cut."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clearing import RUN, hosts_of
from injuries import NotTried, Try, Unwell, kind, wait_until
from nodes import ENVIRONMENT

_HEAD, _OTHER = "10.231.77.1", "10.231.77.2"
_PORT = 6399


def _ip(*words: str) -> None:
    try:
        done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    except OSError as error:
        raise NotTried(f"ip: {error}") from error
    if done.returncode:
        raise NotTried(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def two_hosts(name: str) -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them."""
    hosts = f"{name}-a", f"{name}-b"
    try:
        for host in hosts:
            _ip("netns", "add", host)
        _ip("link", "add", f"{name}0", "netns", hosts[0], "type", "veth", "peer", "name", f"{name}1", "netns", hosts[1])
        for host, cable, address in zip(hosts, (f"{name}0", f"{name}1"), (_HEAD, _OTHER), strict=True):
            _ip("-n", host, "addr", "add", f"{address}/24", "dev", cable)
            for device in (cable, "lo"):
                _ip("-n", host, "link", "set", device, "up")
        yield hosts
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "delete", host], check=False, capture_output=True)


@kind("network_cut", "the network cut between the head and the second of two hosts, for good", times=3)
def network_cut(one: Try) -> None:
    name = hosts_of(Path(os.environ[RUN]))
    with two_hosts(name) as (head, other):
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        quick = {
            **ENVIRONMENT,
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "1000",
            "RAY_health_check_failure_threshold": "5",
        }
        one.environment.update(quick)
        at_head, at_other = ["ip", "netns", "exec", head], ["ip", "netns", "exec", other]
        begin = ["--head", "--node-ip-address", _HEAD, "--port", str(_PORT), "--num-cpus", "1"]
        nodes = [one.start(*at_head, *ray, *begin, "--include-dashboard", "false")]
        wait_until(lambda: "Ray runtime started" in nodes[0].said, "the head did not start")
        join = ["--address", f"{_HEAD}:{_PORT}", "--node-ip-address", _OTHER, "--num-cpus", "1"]
        nodes.append(one.start(*at_other, *ray, *join))
        wait_until(lambda: "Ray runtime started" in nodes[1].said, "the second host did not join")
        time.sleep(2.0)
        child = one.sweep("slow", through=at_head, executor="ray", address=f"{_HEAD}:{_PORT}", trials=4)
        one.follow()
        one.once(lambda study: study.state.counts.get("running", 0) == 2, "two hosts did not train")
        one.a_moment(1.0)
        one.struck()
        _ip("-n", head, "link", "set", f"{name}0", "down")
        try:
            one.completes(child, trials=4)
            with one.study() as study:
                if "retry" not in study.segments["cause"].tolist():
                    raise Unwell("no trial was on the host that was cut off")
        finally:
            for node in nodes:
                node.process.terminate()
            for node in nodes:
                node.ended(60.0)
