"""The frame of a picture, which stays as it is while a study moves on, and what moves in it.

Bokeh names each model anew whenever a figure is made. Here they are named by their place in it, so that two drawings of
one kind have the same frame, and a page that has it puts in what is new: its numbers, and how far its axes reach.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_MOVES: Mapping[str, tuple[str, ...]] = {"ColumnDataSource": ("data",), "Range1d": ("start", "end")}


def framed(item: Mapping[str, Any]) -> dict[str, Any]:
    """A picture for the page: the `item`, its models named by their place, which `frame` it has, and what is `moving`.

    Of each part that moves that is an event of Bokeh's, with the path in the item to what is new.

    >>> def drawn(name, numbers):
    ...     source = {"type": "object", "name": "ColumnDataSource", "id": name, "attributes": {"data": numbers}}
    ...     return framed({"roots": [source], "root_id": name})
    >>> first, second = drawn("p7", [1, 2]), drawn("p9", [1, 2, 3])
    >>> first["frame"] == second["frame"], second["item"]["root_id"], second["moving"][0]["path"]
    (True, 'm0', ['roots', 0, 'attributes', 'data'])
    """
    names: dict[str, str] = {}
    moving: list[dict[str, Any]] = []
    holes: list[tuple[dict[str, Any], str, Any]] = []

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
                holes.extend((told[key], attr, attributes[attr]) for attr in moves if attr in attributes)
            elif key != "id":
                told[key] = walk(each, [*path, key])
        return told

    found = walk(dict(item), [])
    found["root_id"] = named(item["root_id"])
    frame = hashlib.sha256(json.dumps(found).encode()).hexdigest()[:20]
    for attributes, attr, value in holes:
        attributes[attr] = value
    return {"item": found, "frame": frame, "moving": moving}
