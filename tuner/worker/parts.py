"""The parts in which a large file is sent to S3: how large they are, how many at a time, and when they are given up.

All that are on their way at a time share one link. So there is one at first, and three times as many from the next file
on where they arrive so soon that as many would do so too, up to ten, as the AWS command line sends them. Where none
arrives for as long as one may take, the file is given up, and the next begins with one again.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

_PART, _SMALLEST, _MOST = 8 * 2**20, 5 * 2**20, 10_000  # bytes, as the AWS command line has it; a store takes no more
_MOST_AT_A_TIME = 10
_FASTER = 3


def part_of(size: int) -> int | None:
    """How many bytes the parts of a file of that size have; None: it is sent as it is.

    >>> [part_of(megabytes * 2**20) for megabytes in (9, 12, 100, 160_000)]
    [None, 6291456, 8388608, 16777216]
    """
    if size < 2 * _SMALLEST:
        return None
    return max(min(_PART, size // 2), math.ceil(size / _MOST))


class Link:
    """The way to one store, by how many parts it is given at a time."""

    def __init__(self) -> None:
        self.at_a_time = 1

    def send(self, fs: Any, file: str, where: str, part: int, limit_s: float) -> None:
        """Sends a file through s3fs; `ConnectionError` where no part has arrived for `limit_s` seconds."""
        from fsspec.asyn import sync

        try:
            longest_s = sync(fs.loop, _sent, fs, file, where, part, self.at_a_time, limit_s)
        except ConnectionError:
            self.at_a_time = 1
            raise
        self.took(longest_s, limit_s)

    def took(self, longest_s: float, limit_s: float) -> None:
        """Gives it more from now on where parts arrived so soon, of the time that they have."""
        if 2 * _FASTER * longest_s < limit_s:
            self.at_a_time = min(_FASTER * self.at_a_time, _MOST_AT_A_TIME)


async def _sent(fs: Any, file: str, where: str, part: int, at_a_time: int, limit_s: float) -> float:
    """The most seconds that passed without an arrival."""
    from fsspec.callbacks import Callback

    now = asyncio.get_running_loop().time
    last, longest_s = now(), 0.0

    def arrived(*_: Any, **__: Any) -> None:
        nonlocal last, longest_s
        longest_s, last = max(longest_s, now() - last), now()
        limit.reschedule(last + limit_s)

    try:
        async with asyncio.timeout(limit_s) as limit:
            told = Callback(hooks={"arrived": arrived})
            await fs._put_file(file, where, callback=told, chunksize=part, max_concurrency=at_a_time)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise ConnectionError(f"no part of {part:,} bytes has arrived for {limit_s:.0f} s") from error
    return longest_s
