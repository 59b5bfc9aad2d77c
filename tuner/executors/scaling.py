"""The autoscaler of a Ray cluster: whether there is one, and what is asked of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import isclose
from typing import Any

import ray
import ray._private.state
from ray.core.generated import autoscaler_pb2

_PATIENCE_S = 4


class Demand:
    """What a sweep asks of the autoscaler: room for all its workers at once, until they stand or it ends.

    Ray keeps a request when whoever made it is gone, so that one which is not taken back keeps machines running. A
    worker that waits for a place is a demand by itself, and one that has it keeps its node.
    """

    def __init__(self) -> None:
        self.asked = 0

    def ask(self, bundle: Mapping[str, float], workers: int) -> None:
        """Asks for room for so many workers of such resources; without an autoscaler nothing comes of it."""
        if bundle and workers != self.asked:
            self._request([dict(bundle)] * workers)
            self.asked = workers

    def take_back(self) -> None:
        """Asks for nothing any more."""
        if self.asked:
            self.asked = 0
            self._request([])

    def _request(self, bundles: list[dict[str, float]]) -> None:
        from ray.autoscaler.sdk import request_resources  # a twentieth of a second, of every worker too

        try:
            request_resources(bundles=bundles)
        except Exception as error:  # a cluster that is gone asks for nothing, and training needs no autoscaler
            logging.getLogger("tuner").debug("the autoscaler could not be asked: %s", error)


def grows() -> bool:
    """Whether the cluster has an autoscaler at work, which may start nodes that are not there yet."""
    state = _state()
    return state is not None and bool(state.autoscaler_state_version)


def is_beyond(bundle: Mapping[str, float]) -> bool:
    """Whether the autoscaler has been asked for such a worker, will not start a node for it, and has none on the way.

    It says the same of what no kind of node holds and of what is more than it may start of a kind that does.
    """
    state = _state()
    if state is None or state.pending_instance_requests or state.pending_instances:
        return False
    return any(_same(dict(each.resources_bundle), bundle) for each in state.infeasible_resource_requests)


def is_taken_away(node: str) -> bool:
    """Whether the node, by the beginning of its name, is to go, for its owner wants the machine back."""
    try:
        draining: Mapping[str, int] = ray._private.state.state.get_draining_nodes()
    except Exception as error:  # nobody tells at the other end of a ray:// connection
        logging.getLogger("tuner").debug("which nodes are to go could not be seen: %s", error)
        return False
    return any(each.startswith(node) for each in draining)


def _state() -> Any:
    """What the autoscaler has said last; None where nobody tells."""
    try:
        client = ray._raylet.GcsClient(address=ray.get_runtime_context().gcs_address)  # type: ignore[attr-defined]
        told: Any = autoscaler_pb2.GetClusterStatusReply()  # type: ignore[attr-defined]
        told.ParseFromString(client.get_cluster_status(timeout_s=_PATIENCE_S))
    except Exception as error:  # an autoscaler of the first kind, or the other end of a ray:// connection
        logging.getLogger("tuner").debug("whether the cluster grows could not be seen: %s", error)
        return None
    return told.autoscaling_state


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one.keys() == other.keys() and all(isclose(one[kind], other[kind], rel_tol=1e-3) for kind in one)
