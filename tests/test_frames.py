"""Many lines on their way to a page: in few bytes, and the same numbers there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tuner.server.page.frames import packed_lines

WHOLE = st.integers(-(10**9), 10**9)


def unpacked(told: Mapping[str, Any], count: int) -> list[list[float]]:
    """What the page makes of them."""
    lengths = told["lengths"] if isinstance(told["lengths"], list) else [told["lengths"]] * count
    rises, lines = iter(told["rises"]), [[0] for _ in range(count)]
    for point in range(max(lengths)):
        for line, length in zip(lines, lengths, strict=True):
            if point < length:
                line.append(line[-1] + next(rises))
    return [[each * told["step"] / told["by"] for each in line[1:]] for line in lines]


@given(st.lists(st.lists(WHOLE, max_size=5), min_size=1, max_size=9), st.integers(0, 6))
def test_lines_are_the_same_numbers_at_the_other_end(whole: list[list[int]], digits: int) -> None:
    lines = [[each / 10**digits for each in line] for line in whole]
    told = packed_lines(lines)
    if any(lines):
        assert told is not None
        assert unpacked(told, len(lines)) == lines
    else:
        assert told is None


def test_what_is_no_number_is_sent_as_it_is() -> None:
    assert packed_lines([[float("nan")], [1.0]]) is None
    assert packed_lines([[float("inf")], [1.0]]) is None
