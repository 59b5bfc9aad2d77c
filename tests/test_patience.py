"""The patience of a study with its record: how often it is looked at by whoever waits for something to come."""

from __future__ import annotations

import pytest

from tuner.record.patience import Pace


class Hour:
    """A clock that only pauses and looks move; each look takes so long."""

    def __init__(self, look_s: float) -> None:
        self.now, self.look_s, self.looks = 0.0, look_s, 0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def pass_by(self, until: float = 3600.0) -> None:
        pace = Pace(until=until, clock=lambda: self.now, sleep=self.sleep)
        while self.now < until:
            self.looks += 1
            self.now += self.look_s
            pace.wait()


def test_what_comes_soon_is_heard_of_soon_and_an_hour_is_not_looked_at_twenty_times_a_second() -> None:
    hour = Hour(look_s=0.001)
    hour.pass_by()
    assert hour.pauses[0] == pytest.approx(0.02)
    assert max(hour.pauses) == 1.0
    assert hour.looks < 4000


def test_a_store_that_answers_slowly_is_asked_the_less_often() -> None:
    quick, slow = Hour(look_s=0.0), Hour(look_s=0.05)
    quick.pass_by(10.0)
    slow.pass_by(10.0)
    assert slow.pauses[0] == pytest.approx(0.5)
    assert slow.looks < quick.looks / 5


def test_no_pause_goes_beyond_the_time_that_there_is() -> None:
    short = Hour(look_s=0.0)
    short.pass_by(0.03)
    assert short.now == pytest.approx(0.03)
