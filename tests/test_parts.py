"""Large files are sent in parts, as many at a time as arrive soon."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fsspec.asyn import AsyncFileSystem

from tuner.worker.parts import Link, part_of

LIMIT_S = 0.6


class Taking(AsyncFileSystem):  # type: ignore[misc]
    """A store that takes a part after so many seconds each, and nothing any more after the last of them."""

    def __init__(self, *after_s: float, size: int) -> None:
        super().__init__(skip_instance_cache=True)
        self._after_s, self._size = after_s, size
        self.at_a_time = 0

    async def _put_file(self, file: str, where: str, **how: Any) -> None:
        how["callback"].set_size(self._size)
        self.at_a_time = how["max_concurrency"]
        for after_s in self._after_s:
            await asyncio.sleep(after_s)
            how["callback"].relative_update(how["chunksize"])
        if len(self._after_s) * how["chunksize"] < self._size:
            await asyncio.sleep(600.0)


def test_parts_that_arrive_may_take_as_long_as_they_like_together() -> None:
    Link().send(Taking(*[LIMIT_S / 3] * 6, size=6), "file", "where", 1, LIMIT_S)


def test_when_none_arrives_any_more_the_file_is_given_up_with_words() -> None:
    with pytest.raises(ConnectionError, match="no part of 1 bytes has arrived for 1 s"):
        Link().send(Taking(0.0, size=6), "file", "where", 1, LIMIT_S)


def test_more_are_sent_at_a_time_where_they_arrive_soon_and_one_after_a_silence() -> None:
    link, seen = Link(), []
    for _ in range(4):
        soon = Taking(0.0, 0.0, size=2)
        link.send(soon, "file", "where", 1, 600.0)
        seen.append(soon.at_a_time)
    assert seen == [1, 3, 9, 10]
    with pytest.raises(ConnectionError):
        link.send(Taking(size=2), "file", "where", 1, LIMIT_S)
    assert link.at_a_time == 1


def test_parts_that_three_at_a_time_would_make_late_stay_alone() -> None:
    link = Link()
    link.took(6.0, 31.0)
    assert link.at_a_time == 1


def test_no_file_has_more_parts_than_a_store_takes_nor_smaller_ones() -> None:
    for size in (10 * 2**20, 12 * 2**20 + 1, 2**30, 2**40):
        part = part_of(size)
        assert part is not None
        assert part >= 5 * 2**20
        assert 2 <= -(-size // part) <= 10_000
