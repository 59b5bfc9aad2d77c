"""A sweep of real processes over a Ray of many small nodes, all of them on this machine."""

from __future__ import annotations

import os
import time
from pathlib import Path

import measures
import nodes
from training import forty_paced_steps

import tuner
from tuner.record.events import TrialStarted


def spread(*, small: int, cpus: int, trials: int, folder: str) -> dict[str, float]:
    """How long the cluster, its workers and the trials take, and what became of all of them."""
    (home := Path(folder) / "home").mkdir()
    os.chdir(home)  # code from here goes to each node, and nodes of one machine unpack it into one place, all at once
    began = time.perf_counter()
    with nodes.running(*[cpus] * small, environment=dict(os.environ)) as cluster:
        stands_s = time.perf_counter() - began
        began = time.perf_counter()
        with tuner.sweep(
            forty_paced_steps,
            measures.space(),
            name="spread",
            objective="score",
            trials=trials,
            stopping="off",
            parallel=small * cpus,
            address=cluster.address,
            results=folder,
            progress="off",
        ) as study:
            seconds = time.perf_counter() - began
            started = list(study.records(TrialStarted))
            trained = study.state.counts.get("completed", 0)
            first = {(each.node, each.pid): each.at for each in reversed(started)}
            return {
                "cluster_s": stands_s,
                "seconds": seconds,
                "all_train_s": max(first.values()) - min(first.values()),
                "processes": len(first),
                "nodes": len({node for node, _ in first}),
                "trained": trained,
                "astray": len(study.state.trials) - trained,
                "lost": sum(each.cause == "retry" for trial in study.state.trials for each in trial.segments),
                "reports": len(study.reports),
            }
