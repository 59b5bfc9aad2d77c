"""The three ways through the house are those that its map shows."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_a_report_a_request_and_a_proposal_pass_the_stations_that_the_map_shows(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "stations.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    ways = [line for line in told.stdout.splitlines() if " → " in line]
    shown = (ROOT / "ARCHITECTURE.md").read_text()

    assert [way.split()[1] for way in ways] == ["report", "request", "proposal"]
    for way in ways:
        assert way in shown
        passed = way.split("|")[3].strip().split(" → ")
        steps = set(pairwise(passed))
        assert not {step for step in steps if step[::-1] in steps}, "a thing goes back and forth between two stations"
    back = dict(
        re.findall(r"^\| stations of a (\w+), with whoever is handed it back \| (\d+) ", told.stdout, re.MULTILINE)
    )
    prose = " ".join(shown.split())
    assert f"a request has {back['request']} stations and a proposal {back['proposal']}" in prose
