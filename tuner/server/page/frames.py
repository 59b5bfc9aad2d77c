"""The frame of a picture, which stays as it is while a study moves on, and what moves in it, in few bytes.

Bokeh names each model anew whenever a figure is made. Here they are named by their place in it, so that two drawings of
one kind have the same frame, and a page that has it puts in what is new: its numbers, and how far its axes reach. Many
lines travel as how much each of their points is above the one before, a point of all lines at a time: numbers that are
small and alike take a third less, and are the same to the last digit once they are added up again. Such lines, and long
columns that pictures of a study share, such as the numbers of its trials from the poorest to the best, are sent once a
page: a picture in another theme has other colours alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

_MANY = 100  # lines, from which on it is worth the while
_LONG = 1_000  # characters of a column, likewise
_SHARED = ("trial", "best")
_MOVES: Mapping[str, tuple[str, ...]] = {"ColumnDataSource": ("data",), "Range1d": ("start", "end")}


def framed(item: Mapping[str, Any]) -> dict[str, Any]:
    """A picture for the page: the `item`, its models named by their place, which `frame` it has, and what is `moving`.

    Of each part that moves that is an event of Bokeh's, with the path in the item to what is new. Columns of many
    lines, as `packed_lines` has them, and long columns of trials are `shared`: each with its path in the item, and its
    tag, which stands alone where the page has the column: `without` leaves it out.

    >>> def drawn(name, numbers):
    ...     source = {"type": "object", "name": "ColumnDataSource", "id": name, "attributes": {"data": numbers}}
    ...     return framed({"roots": [source], "root_id": name})
    >>> first, second = drawn("p7", [1, 2]), drawn("p9", [1, 2, 3])
    >>> first["frame"] == second["frame"], second["item"]["root_id"], second["moving"][0]["path"]
    (True, 'm0', ['roots', 0, 'attributes', 'data'])
    """
    names: dict[str, str] = {}
    moving: list[dict[str, Any]] = []
    holes: list[tuple[dict[str, Any], str, Any, list[str | int]]] = []

    def named(old: str) -> str:
        return names.setdefault(old, f"m{len(names)}")

    def walk(part: Any, path: list[str | int]) -> Any:
        if isinstance(part, list | tuple):  # the entries of a map are pairs
            return [walk(each, [*path, at]) for at, each in enumerate(part)]
        if not isinstance(part, dict):
            return part
        told: dict[str, Any] = {"id": named(part["id"])} if isinstance(part.get("id"), str) else {}
        moves = _MOVES.get(part.get("name", ""), ()) if part.get("type") == "object" else ()
        attributes = part.get("attributes", {})
        for attr in moves:
            if attr in attributes:
                where = [*path, "attributes", attr]
                moving.append({"kind": "ModelChanged", "model": dict(told), "attr": attr, "path": where})
        for key, each in part.items():
            if key == "attributes" and moves:
                left = {word: value for word, value in attributes.items() if word not in moves}
                told[key] = walk(left, [*path, key])
                where = [*path, key]
                holes.extend(
                    (told[key], attr, attributes[attr], [*where, attr]) for attr in moves if attr in attributes
                )
            elif key != "id":
                told[key] = walk(each, [*path, key])
        return told

    found = walk(dict(item), [])
    found["root_id"] = named(item["root_id"])
    frame = hashlib.sha256(json.dumps(found).encode()).hexdigest()[:20]
    columns = _Columns()
    for attributes, attr, value, where in holes:
        attributes[attr] = columns.taken_from(value, where)
    return {"item": found, "frame": frame, "moving": moving, "shared": columns.shared}


def without(told: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The same picture for a page that knows columns already, by their tags: they are not sent to it again."""
    shared = [{name: each[name] for name in ("path", "tag") if each["tag"] in known} or each for each in told["shared"]]
    return {**told, "shared": shared}


def packed_lines(lines: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    """So many lines as the `rises` of their points, the first points of all before the second; None: they are not such.

    Each point is its line's rises so far, added up, times `step` through `by`. `lengths` is one number where they all
    have as many points.

    >>> packed_lines([[0.5, 0.75, 0.25], [0.25, 0.5]])
    {'count': 2, 'lengths': [3, 2], 'step': 25, 'by': 100, 'rises': [2, 1, 1, 1, -2]}
    """
    flat = np.fromiter(chain.from_iterable(lines), dtype=np.float64)
    if not len(flat) or not np.isfinite(flat).all():
        return None
    by, exact = 1, 2.0**53 / max(1.0, float(np.abs(flat).max()))
    while not np.array_equal((whole := np.rint(flat * by)) / by, flat):
        by *= 10
        if by > exact:
            return None
    whole = whole.astype(np.int64)
    lengths = np.fromiter(map(len, lines), dtype=np.int64)
    step = max(1, int(np.gcd.reduce(whole)))
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    place = np.arange(len(flat)) - first  # of a point in its line
    rises = whole // step
    rises = np.where(place == 0, rises, np.diff(rises, prepend=0))
    told = lengths.tolist() if (lengths != lengths[0]).any() else int(lengths[0])
    rises = rises[np.argsort(place, kind="stable")]
    return {"count": len(lines), "lengths": told, "step": step, "by": by, "rises": rises.tolist()}


class _Columns:
    """What is taken out of the data of a picture, and sent in a way of its own."""

    def __init__(self) -> None:
        self.shared: list[dict[str, Any]] = []

    def taken_from(self, value: Any, path: Sequence[str | int]) -> Any:
        """The data of a source without such columns."""
        entries = value.get("entries") if isinstance(value, dict) else None
        if entries is None:
            return value
        told = [
            [name, None if self._takes(name, column, [*path, "entries", at, 1]) else column]
            for at, (name, column) in enumerate(entries)
        ]
        return {**value, "entries": told}

    def _takes(self, name: str, column: Any, path: Sequence[str | int]) -> bool:
        if isinstance(column, list) and len(column) >= _MANY and all(isinstance(each, list) for each in column):
            found = packed_lines(column)
            if found is not None:
                self._share(path, "lines", found, json.dumps(found))
            return found is not None
        if name in _SHARED and len(text := json.dumps(column)) > _LONG:
            self._share(path, "column", column, text)
            return True
        return False

    def _share(self, path: Sequence[str | int], how: str, column: Any, text: str) -> None:
        tag = hashlib.sha256(text.encode()).hexdigest()[:10]
        self.shared.append({"path": path, "tag": tag, how: column})
