"""What a sweep asks of the autoscaler of a cluster, the nodes that come of it, and that they go once it is over."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import clusters
import pytest
from waiting import wait_until

import tuner
from tuner import Run, Space, Study, log
from tuner.errors import ExecutorError

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default"), pytest.mark.timeout(300)]

SPACE = Space(learning_rate=log(1e-4, 0.5))
BOWL = "tuner.workloads.bowl:objective"


def sweep(folder: Path, address: str, function: Any = BOWL, **given: Any) -> Study:
    usual: dict[str, Any] = {"name": "s", "objective": "score", "trials": 2, "stopping": "off", "sampler": "random"}
    options = {**usual, "progress": "off", "results": folder / "results", **given}
    return tuner.sweep(function, SPACE, address=address, **options)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in: where code lies, a cluster is sent all of it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked_of(address: str) -> list[dict[str, float]]:
    """What an autoscaler of the cluster is asked for beside what waits for a place."""
    from ray.core.generated import autoscaler_pb2

    reply: Any = autoscaler_pb2.GetClusterStatusReply()  # type: ignore[attr-defined]
    reply.ParseFromString(client(address).get_cluster_status(timeout_s=30))
    first_kind = client(address).internal_kv_get(b"autoscaler_resource_request", None)
    found: list[dict[str, float]] = json.loads(first_kind or b"[]")
    for constraint in reply.cluster_resource_state.cluster_resource_constraints:
        for request in constraint.resource_requests:
            found += [dict(request.request.resources_bundle)] * request.count
    return found


def workers_of(address: str) -> int:
    """How many nodes of the cluster have a CPU to train on."""
    from ray.core.generated import autoscaler_pb2

    reply: Any = autoscaler_pb2.GetClusterStatusReply()  # type: ignore[attr-defined]
    reply.ParseFromString(client(address).get_cluster_status(timeout_s=30))
    return sum(
        each.total_resources.get("CPU", 0.0) > 0 and each.status != autoscaler_pb2.NodeStatus.DEAD  # type: ignore[attr-defined]
        for each in reply.cluster_resource_state.node_states
    )


def client(address: str) -> Any:
    import ray

    return ray._raylet.GcsClient(address=address)  # type: ignore[attr-defined]


def test_room_for_all_workers_is_asked_for_at_the_start_and_for_nothing_at_any_end(
    cluster: str, elsewhere: Path
) -> None:
    seen: list[list[dict[str, float]]] = []

    class Face:
        def show(self, study: object, status: object) -> None:
            seen.append(asked_of(cluster))
            if given["ends"] == "interrupted" and len(seen) == 1:
                os.kill(os.getpid(), signal.SIGINT)

        def close(self) -> None:
            pass

    given = {"ends": ""}
    for given["ends"] in ("interrupted", "done"):
        seen.clear()
        try:
            # five licences a worker are nowhere, so that they all wait; the last sweep has what it needs
            more: dict[str, Any] = (
                {} if given["ends"] == "done" else {"resources": {"licence": 5}, "parallel": 3, "trials": 8}
            )
            sweep(elsewhere, cluster, name=given["ends"], progress=Face(), **more).close()
        except KeyboardInterrupt:
            assert given["ends"] == "interrupted"
            assert seen[0] == [{"CPU": 1.0, "licence": 5.0}] * 3
        assert asked_of(cluster) == []


@pytest.mark.long
def test_a_cluster_without_a_worker_grows_for_a_sweep_up_to_its_bound_and_shrinks_after_it(elsewhere: Path) -> None:
    asked: list[list[dict[str, float]]] = []

    class Face:
        def show(self, study: object, status: object) -> None:
            asked.append(asked_of(address))

        def close(self) -> None:
            pass

    def train(run: Run) -> None:
        """Trains on once two workers train, which needs both nodes."""
        for step in run.steps(5):
            (elsewhere / f"trained by {os.getpid()}").touch()
            while len(list(elsewhere.glob("trained by *"))) < 2:
                time.sleep(0.05)
            run.report(score=float(step))

    with clusters.growing({"small": {"CPU": 1}}, most=2) as address:
        assert workers_of(address) == 0
        with pytest.raises(ExecutorError, match=r"2 CPU a trial.*no kind of node that is larger"):
            sweep(elsewhere, address, train, name="beyond", cpus=2)
        with closing(sweep(elsewhere, address, train, trials=6, progress=Face())) as study:
            assert study.trials["state"].tolist() == ["completed"] * 6
            assert study.trials["steps"].tolist() == [5] * 6
        assert asked[0] == [{"CPU": 1.0}] * 6, "room for all trials is asked for before any trains"
        assert asked_of(address) == []
        assert len(list(elsewhere.glob("trained by *"))) == 2
        wait_until(lambda: workers_of(address) == 0, look_every_s=0.5)
