"""A picture in two: the frame, which stays as it is while a study moves on, and what moves in it.

Bokeh names each model anew whenever a figure is made. Here they are named by their place in it, so that two drawings of
one kind have the same frame, and a page that has it puts in what is new: its numbers, and how far its axes reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOVES: Mapping[str, tuple[str, ...]] = {"ColumnDataSource": ("data",), "Range1d": ("start", "end")}


def parted(item: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The frame as `Bokeh.embed.embed_item` takes it, and what moves, as the events of a patch to its document.

    >>> source = {"type": "object", "name": "ColumnDataSource", "id": "p7", "attributes": {"data": [1, 2]}}
    >>> parted({"roots": [source], "root_id": "p7"})
    ({'roots': [{'type': 'object', 'name': 'ColumnDataSource', 'id': 'm0', 'attributes': {}}], 'root_id': 'm0'}, \
[{'kind': 'ModelChanged', 'model': {'id': 'm0'}, 'attr': 'data', 'new': [1, 2]}])
    """
    names: dict[str, str] = {}
    moving: list[dict[str, Any]] = []

    def named(old: Any) -> str:
        return names.setdefault(old, f"m{len(names)}")

    def framed(part: Any) -> Any:
        if isinstance(part, list):
            return [framed(each) for each in part]
        if not isinstance(part, dict):
            return part
        told = dict(part)
        if isinstance(part.get("id"), str):
            told["id"] = named(part["id"])
        if part.get("type") == "object":
            attributes = dict(part.get("attributes", {}))
            for attribute in _MOVES.get(part["name"], ()):
                if attribute in attributes:
                    change = {"model": {"id": told["id"]}, "attr": attribute, "new": attributes.pop(attribute)}
                    moving.append({"kind": "ModelChanged", **change})
            told["attributes"] = attributes
        return {key: each if key == "id" else framed(each) for key, each in told.items()}

    frame = framed(dict(item))
    return {**frame, "root_id": named(item["root_id"])}, moving
