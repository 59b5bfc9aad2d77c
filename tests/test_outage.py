"""A coordinator whose database is away: how long it waits, and whom it tells."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest

from tuner.coordinator.outage import Outage
from tuner.errors import DatabaseAway
from tuner.record.location import AWAY
from tuner.record.patience import FIRST_S, LONGEST_S, Patience

WHY = DatabaseAway("the database cannot be reached.")


def test_the_pauses_grow_from_a_tenth_of_a_second_to_five() -> None:
    patience = Patience()
    pauses = [patience.pause_s() for _ in range(60)]
    assert (pauses[0], pauses[-1]) == (FIRST_S, LONGEST_S) == (0.1, 5.0)
    assert pauses == sorted(pauses)
    patience.over()
    assert patience.pause_s() == 0.1


def test_time_in_which_nobody_could_be_heard_is_no_silence() -> None:
    patience = Patience()
    assert patience.judged_at(1000.0, 900.0) == 1000.0
    patience.since = time.time() - 60.0
    patience.over()
    assert patience.judged_at(1000.0, 938.0) == pytest.approx(940.0, abs=1.0)
    assert patience.judged_at(1000.0, 1000.0) == 1000.0  # heard of since


def test_whoever_follows_is_told_once_of_a_time_that_is_longer_than_anybody_else_waits() -> None:
    said: list[str] = []
    patience = Patience(within_s=math.inf, say=said.append)
    for _ in range(3):
        patience.wait(WHY)
    assert ["waiting for the database since" in text for text in said] == [True]
    patience.over()
    assert "is back after" in said[1]
    patience = Patience(within_s=math.inf, until=time.monotonic())
    with pytest.raises(DatabaseAway):
        patience.wait(WHY)


def test_whoever_waits_says_so_in_the_folder_and_afterwards_for_how_long(tmp_path: Path) -> None:
    shown: list[str] = []
    outage = Outage(tmp_path, lambda: False, lambda: shown.append(outage.said))
    outage.wait(WHY)
    told = json.loads((tmp_path / AWAY).read_text())
    assert (told["pid"], told["why"], told["since"]) == (os.getpid(), str(WHY), outage.since)
    assert "waiting for the database since" in shown[0]
    assert outage.told() == ""
    outage.over()
    assert not (tmp_path / AWAY).exists()
    assert "the database was away for" in outage.told()
    assert outage.told() == outage.said == ""


def test_whoever_gives_up_is_told_why_and_nobody_is_said_to_wait(tmp_path: Path) -> None:
    outage = Outage(tmp_path, lambda: True, lambda: None)
    with pytest.raises(DatabaseAway, match="cannot be reached"):
        outage.wait(WHY)
    assert not (tmp_path / AWAY).exists()
