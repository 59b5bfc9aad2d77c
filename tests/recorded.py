"""Records to write into a store, and what is read of them."""

from __future__ import annotations

import math
import typing
from dataclasses import fields
from typing import Any

from hypothesis import strategies as st

from tuner.record.events import Noted, StudyOpened, TrialCreated, TrialEnded
from tuner.record.store import Store

NOW = 1_800_000_000.0


def note(text: str, trial: int | None = None) -> Noted:
    return Noted(trial=trial, step=None, by="test", text=text, at=NOW)


def opened(goal: str = "maximize") -> StudyOpened:
    return StudyOpened(
        name="night",
        kind="sweep",
        identity={"objective": "score", "goal": goal},
        function="m:f",
        source_sha256="",
        version="0",
        at=NOW,
    )


def created(trial: int) -> TrialCreated:
    return TrialCreated(
        trial=trial, purpose="search", round=None, parent=None, seed=0, params={}, seen=0, why="", memo=None, at=NOW
    )


def ended(trial: int, state: Any = "completed", score: float | None = None) -> TrialEnded:
    return TrialEnded(
        trial=trial,
        segment=0,
        state=state,
        why="",
        step=1,
        best_step=1,
        best_score=score,
        started=NOW,
        seconds=1.0,
        node="",
        error="",
        traceback="",
        at=NOW,
    )


def texts(store: Store) -> list[str]:
    return [each.text for each in store.read(Noted)]


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """What a field of this type may hold; a lone float is never NaN, which databases have no word for."""
    if annotation is Any:
        return json_values
    plain: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False),
        str: words,
        bytes: st.binary(),
    }
    if annotation in plain:
        return plain[annotation]
    if typing.get_origin(annotation) is typing.Literal:
        return st.sampled_from(typing.get_args(annotation))
    return st.one_of([st.none() if each is type(None) else values_of(each) for each in typing.get_args(annotation)])


def any_of(record: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(record)
    return st.builds(record, **{spec.name: values_of(hints[spec.name]) for spec in fields(record)})


def same(one: Any, other: Any) -> bool:
    """Equal, and NaN where NaN."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and type(one) is type(other)
