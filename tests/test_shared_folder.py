"""A record in a team's database and checkpoints on a folder that each machine reaches by a path of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import postgres
import pytest
from waiting import PATIENCE_S, study_once

import tuner
from tuner.record.lease import FOREIGN_LEASE_S

JOB = """
import socket, sys, time

results, store, host = sys.argv[1:]
socket.gethostname = lambda: host

import tuner


class Count:
    steps = 0

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def climb(run):
    count = Count()
    run.state(count)
    for step in run.steps(30):
        assert count.steps == step, "the state and the step belong together"
        count.steps += 1
        time.sleep(0.02)
        run.report(score=run.params["x"] - step)


space = tuner.Space(x=tuner.linear(0.0, 1.0))
tuner.sweep(climb, space, name="s", objective="score", trials=1, stopping="off", checkpoint_every_s=0,
            executor="local", results=results, store=store, progress="off").close()
"""


def started(host: str, mount: Path, url: str) -> subprocess.Popen[bytes]:
    """The sweep, on a machine of that name which has the shared folder there."""
    return subprocess.Popen([sys.executable, "-c", JOB, str(mount / "results"), url, host], env=dict(os.environ))


@pytest.mark.long
def test_a_sweep_goes_on_from_its_checkpoints_on_a_machine_that_reaches_them_by_another_path(
    team_server: postgres.Server, team_url: str, tmp_path: Path
) -> None:
    (tmp_path / "share").mkdir()
    here, there = tmp_path / "home" / "ann", tmp_path / "mnt"
    here.parent.mkdir()
    for mount in (here, there):
        mount.symlink_to(tmp_path / "share")
    first = started("node-1", here, team_url)
    study_once(lambda study: len(study.state.checkpoints) >= 2, here / "results").close()
    first.kill()
    first.wait()
    here.unlink()
    team_server.ask(team_url, "UPDATE tuner.lease SET heartbeat = heartbeat - %s", FOREIGN_LEASE_S + 1)
    assert started("node-2", there, team_url).wait(PATIENCE_S) == 0
    with closing(tuner.open("s", results=there / "results", store=team_url)) as study:
        assert list(study.trials["state"]) == ["completed"]
        began_at = list(study.segments["from_step"])
        assert began_at[0] == 0 < began_at[-1]
        assert list(study.reports.query("head")["step"]) == list(range(1, 31))
        best = study.best
        assert best is not None
        assert best.checkpoint is not None
        assert there in best.checkpoint.parents
        assert best.checkpoint.is_dir()
