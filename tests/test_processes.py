"""Tests run side by side, and none leaves a process behind, however it ends."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from side_by_side import group_of
from waiting import wait_until

from tuner.record.lease import alive
from tuner.worker.sources import syntax_of

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


@pytest.mark.long
def test_a_failing_test_leaves_no_process_behind_not_even_one_that_has_detached_itself(tmp_path: Path) -> None:
    (tmp_path / "test_thoughtless.py").write_text(THOUGHTLESS)
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "processes", "-p", "no:cacheprovider", "test_thoughtless.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert told.returncode == 1, told.stdout
    assert "as it is to be" in told.stdout
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert [pid for pid in pids if alive(pid)] == []


def test_one_cluster_is_shared_of_others_two_run_at_a_time_and_a_file_that_shares_fixtures_stays_together(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_a.py").write_text(
        "import pytest\n"
        "@pytest.mark.ray\ndef test_one(cluster): ...\n"
        "@pytest.mark.parametrize('x', [pytest.param('ray', marks=pytest.mark.ray), 'local'])\ndef test_two(x): ...\n"
        "def test_three(): ...\n"
    )
    (tmp_path / "tests").mkdir()
    for name in ("test_b.py", "tests/test_ray.py"):
        (tmp_path / name).write_text("import pytest\npytestmark = pytest.mark.ray\ndef test_one(): ...\n")
    (tmp_path / "test_c.py").write_text('import pytest\n@pytest.fixture(scope="module")\ndef shared(): ...\n')
    groups = {
        test: group_of(test, tmp_path)
        for test in (
            "test_a.py::test_one",
            "test_a.py::test_two[ray]",
            "test_a.py::test_two[local]",
            "test_a.py::test_three",
            "test_b.py::test_one",
            "tests/test_ray.py::test_one",
            "test_c.py::test_one",
        )
    }
    assert list(groups.values()) == [
        "the shared cluster",
        "the shared cluster",
        "clusters of their own, another",
        "test_a.py::test_three",
        "clusters of their own, another",
        "clusters of their own, one",
        "test_c.py",
    ]


def test_no_test_waits_for_a_process_for_ever() -> None:
    for page in sorted(Path(__file__).parent.rglob("*.py")):
        for call in ast.walk(syntax_of(page.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "subprocess.run":
                given = {keyword.arg for keyword in call.keywords}
                assert given & {"timeout", None}, f"{page.name}:{call.lineno}: subprocess.run has no timeout"


KILLED = """
import os
import signal

import object_stores
import postgres

with postgres.serving() as team, object_stores.serving(remembers=False) as s3:
    s3.hang()
    print((team.folder / "data" / "postmaster.pid").read_text().split()[0], s3.pid, team.folder, s3.folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.long
def test_servers_end_with_the_tests_that_started_them_though_these_are_killed() -> None:
    told = subprocess.run(
        [sys.executable, "-c", KILLED],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert told.returncode == -9, told.stderr
    *pids, team, s3 = told.stdout.split()
    try:
        wait_until(lambda: not any(alive(int(pid)) for pid in pids))
        wait_until(lambda: not Path(team).exists() and not Path(s3).exists())
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
