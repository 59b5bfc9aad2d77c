"""How a process is connected to Ray: shared by its sweeps, and refused in seconds where there is no cluster."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import clusters
import pytest
from waiting import wait_until

import tuner
from tuner import Run, Space, Study, log
from tuner.errors import ExecutorError
from tuner.executors.address import check_reachable, host_and_port
from tuner.worker.messages import Job

JOB = Job(study="s", function="tuner.workloads.bowl:train", search_path=(), objective="score")
SOON_S = 20.0


def sweep(folder: Path, name: str, function: Any = "tuner.workloads.bowl:objective", **given: Any) -> Study:
    return tuner.sweep(
        function,
        Space(learning_rate=log(1e-4, 0.5)),
        name=name,
        results=folder,
        progress="off",
        **{"objective": "score", "trials": 3, "stopping": "off", "parallel": 1, **given},
    )


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in: where code lies, a cluster is sent all of it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A port of this machine on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def said_soon(address: str) -> str:
    """How an address is refused."""
    from tuner.executors.ray import RayExecutor

    executor = RayExecutor(address=address)
    began = time.monotonic()
    try:
        with pytest.raises(ExecutorError) as refusal:
            executor.open(JOB, 1)
    finally:
        executor.close()
    assert time.monotonic() - began < SOON_S
    return str(refusal.value)


def said_by_another(address: str, **environment: str) -> str:
    """How it is refused to a process of its own, for a process reads its token once."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, test_connection as t; print(t.said_soon(sys.argv[1]))", address],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ── sweeps of one process ───────────────────────────────────────────────────────────────────────


def meets(folder: Path, mine: str, other: str, steps: int) -> Any:
    """A function that takes its second step only once the other sweep has taken its first."""

    def train(run: Run) -> None:
        for step in run.steps(steps):
            (folder / f"{mine} trains").touch()
            deadline = time.monotonic() + 60
            while step == 1 and not (folder / f"{other} trains").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            run.report(score=float((folder / f"{other} trains").exists()))

    return train


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.filterwarnings("default")
@pytest.mark.timeout(180)
def test_two_sweeps_in_threads_train_side_by_side_and_the_last_one_out_ends_ray(elsewhere: Path) -> None:
    import ray

    with ThreadPoolExecutor(2) as threads:
        whole = os.cpu_count() or 1  # the first takes all there is: the second must not wait for its end
        first = threads.submit(sweep, elsewhere, "a", meets(elsewhere, "a", "b", 3), trials=whole, parallel=whole)
        second = threads.submit(sweep, elsewhere, "b", meets(elsewhere, "b", "a", 30), trials=2)
        assert set(first.result().trials["objective"]) == {1.0}
        assert set(second.result().trials["state"]) == {"completed"}
    assert not ray.is_initialized()


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_a_sweep_for_another_cluster_is_refused_while_one_trains_and_starts_when_it_is_over(
    cluster: str, elsewhere: Path
) -> None:
    import ray

    host, _, number = cluster.rpartition(":")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(sweep, elsewhere, "a", meets(elsewhere, "a", "b", 2), address=cluster, trials=1)
        wait_until((elsewhere / "a trains").exists)
        with pytest.raises(ExecutorError, match=f"trains on the Ray cluster at {cluster}.*one Ray at a time"):
            sweep(elsewhere, "refused")
        (elsewhere / "b trains").touch()
        assert first.result().trials["state"].tolist() == ["completed"]
    assert not ray.is_initialized()
    assert sweep(elsewhere, "c", address=f"{host}:{number}").trials["state"].tolist() == ["completed"] * 3


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_a_connection_that_the_users_own_code_has_made_is_used_and_left_to_it(cluster: str, elsewhere: Path) -> None:
    import ray

    ray.init(cluster, log_to_driver=False, configure_logging=False)
    try:
        assert len(sweep(elsewhere, "a").trials) == 3
        assert len(sweep(elsewhere, "b", address=cluster).trials) == 3
        with pytest.raises(ExecutorError, match=r"ray\.init elsewhere"):
            sweep(elsewhere, "c", address="10.1.2.3:6379")

        @ray.remote(num_cpus=0)
        def nested() -> list[str]:
            study = tuner.sweep(
                "tuner.workloads.bowl:objective",
                "sgd_momentum",
                name="nested",
                objective="score",
                trials=3,
                parallel=1,
                stopping="off",
                results=elsewhere,
                progress="off",
            )
            return [str(state) for state in study.trials["state"]]

        assert ray.get(nested.remote()) == ["completed"] * 3
        assert ray.is_initialized()
    finally:
        ray.shutdown()


# ── a cluster that is not there ─────────────────────────────────────────────────────────────────


def test_an_address_where_nothing_listens_is_refused_in_seconds(port: socket.socket) -> None:
    address = f"127.0.0.1:{port.getsockname()[1]}"
    port.close()
    assert "nothing listens" in said_soon(address)
    assert "nothing listens" in said_soon(f"ray://{address}")


def test_a_name_that_leads_nowhere_is_refused_by_that_word() -> None:
    assert "name no-such-machine.invalid cannot be resolved" in said_soon("no-such-machine.invalid:6379")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_what_listens_but_is_no_ray_is_told_apart(port: socket.socket, answer: bytes) -> None:
    def serve() -> None:
        visitor, _ = port.accept()
        with visitor:
            visitor.recv(100)
            visitor.sendall(answer)

    serving = threading.Thread(target=serve)
    serving.start()
    said = said_soon(f"127.0.0.1:{port.getsockname()[1]}")
    serving.join()
    assert "no Ray cluster" in said
    assert "HTTP/1.1" in said if answer else "said nothing" in said


def test_a_port_that_accepts_and_keeps_silent_is_given_up_in_seconds(port: socket.socket) -> None:
    assert "said nothing" in said_soon(f"127.0.0.1:{port.getsockname()[1]}")


def test_a_machine_that_lets_nobody_in_is_given_up_in_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        try:
            assert "did not answer" in said_soon(f"127.0.0.1:{full.getsockname()[1]}")
        finally:
            for each in waiting:
                each.close()


def test_a_cluster_to_find_that_is_not_there_is_refused(port: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port.getsockname()[1]}")
    port.close()
    assert "nothing listens" in said_soon("auto")


@pytest.mark.parametrize(
    "address", ["head", "head:", "head:0", "head:66666", "http://head:8265", "ray://head", "a b:1"]
)
def test_what_is_no_address_is_refused_with_how_one_is_written(address: str) -> None:
    with pytest.raises(ExecutorError, match="host:port"):
        check_reachable(address)


def test_addresses_are_read_as_they_are_written() -> None:
    assert host_and_port("10.0.0.5:6379") == ("10.0.0.5", 6379)
    assert host_and_port("ray://head:10001") == ("head", 10001)
    assert host_and_port("[::1]:6379") == ("::1", 6379)


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_a_cluster_of_another_version_is_refused_with_both_versions(cluster: str) -> None:
    import ray

    client: Any = ray._raylet.GcsClient(  # type: ignore[attr-defined]
        address=cluster
    )
    theirs = client.internal_kv_get(b"CLUSTER_METADATA", b"cluster")
    client.internal_kv_put(
        b"CLUSTER_METADATA", json.dumps({**json.loads(theirs), "ray_version": "2.3.1"}).encode(), True, b"cluster"
    )
    try:
        said = said_soon(cluster)
    finally:
        client.internal_kv_put(b"CLUSTER_METADATA", theirs, True, b"cluster")
    assert "version" in said
    assert "2.3.1" in said
    assert ray.__version__ in said
    assert not ray.is_initialized()


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_a_cluster_that_wants_a_token_is_joined_with_it_and_refused_by_that_word_without(elsewhere: Path) -> None:
    right, wrong = "a" * 32, "b" * 32
    (elsewhere / "token").write_text(right)
    with clusters.running(2, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=right) as address:
        assert "wants a token" in said_soon(address)
        assert "wants a token, and the token that this process brings is not its" in said_by_another(
            address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=wrong
        )
        given = "sweep tuner.workloads.bowl:train --space sgd_momentum --name joined --objective score --trials 2"
        done = subprocess.run(
            [Path(sys.executable).parent / "tuner", *given.split(), "--address", address, "--no-plot"],
            env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(elsewhere / "token")},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    with closing(tuner.open("joined", results=elsewhere / "results")) as study:
        assert study.trials["state"].tolist() == ["completed"] * 2
    written = [each for each in (elsewhere / "results").rglob("*") if each.is_file()]
    assert [each for each in written if right.encode() in each.read_bytes()] == [], "the token is in no record"
