"""No test leaves a process behind, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tuner.store import alive

THOUGHTLESS = """
import subprocess
import sys
import time
from pathlib import Path

import tuner

HERE = Path(__file__).parent


def waits(run):
    while True:
        run.report(score=1.0)
        for _ in run.steps(10**9):
            run.report(score=1.0)


def test_that_fails_while_all_it_started_runs():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    handle = tuner.babysit(waits, {"rate": 1.0}, name="one", objective="score", executor="local", results=HERE)
    (HERE / "pids").write_text(f"{child.pid} {handle.study.coordinator(time.time())[1]}")
    raise AssertionError("as it is to be")
"""


def test_a_failing_test_leaves_no_process_behind_not_even_one_that_has_detached_itself(tmp_path: Path) -> None:
    (tmp_path / "test_thoughtless.py").write_text(THOUGHTLESS)
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "processes", "-p", "no:cacheprovider", "test_thoughtless.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert told.returncode == 1, told.stdout
    assert "as it is to be" in told.stdout
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert [pid for pid in pids if alive(pid)] == []
