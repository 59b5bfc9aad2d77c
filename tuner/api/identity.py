"""The identity of a study: a new one is opened with it, and one that goes on must have the same."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import Any

from tuner.errors import IdentityMismatch
from tuner.record.events import Configured, Noted, Record, StudyOpened
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.space.space import Space
from tuner.values.numbers import setting
from tuner.worker.function import is_same


def begin(
    state: StudyState,
    records: Store,
    opened: StudyOpened,
    options: dict[str, Any],
    *,
    by: str = "caller",
    why: str = "",
) -> None:
    """Opens a new study, or checks that an existing one is the same; `by` and `why` go on record with the options."""
    news: list[Record] = []
    if not state.identity:
        news.append(opened)
    else:
        for word in dict.fromkeys([*opened.identity, *_SINCE]):
            there, value = (each.get(word, _SINCE.get(word)) for each in (state.identity, opened.identity))
            if not (same_search(_space(there), _space(value)) if word == "space" else there == value):
                raise IdentityMismatch(
                    f"the study {state.name!r} exists with another {word}: it has {_brief(there)}, this "
                    f"call has {_brief(value)}. Choose another name, or the same {word}."
                )
        if not is_same(state, opened.function, opened.source_sha256):
            raise IdentityMismatch(
                f"the study {state.name!r} exists with another training function: it has {state.function}, this call "
                f"has {opened.function}. Choose another name, or the same function."
            )
        if state.source_sha256 and opened.source_sha256 and state.source_sha256 != opened.source_sha256:
            text = (
                f"the source of {opened.function} has changed since {state.name!r} began: its trials are not all alike"
            )
            warnings.warn(text, stacklevel=5)
            news.append(Noted(trial=None, step=None, by="tuner", text=text, at=opened.at))
    changed = {word: value for word, value in options.items() if state.options.get(word, _UNSET) != value}
    if changed:
        news.append(Configured(options=changed, by=by, why=why, at=opened.at))
    if news:
        records.append(news, time.time())
        for record in news:
            state.apply(record)


def as_begun(state: StudyState, space: Space) -> Space:
    """The space as a sweep began with it: other likely values, given later, do not change where it looks first."""
    began = Space.from_dict(state.identity["space"])
    if began == space:
        return space
    text = (
        f"the study {state.name!r} keeps the likely values that it began with, {_likely(began)}: those of this call, "
        f"{_likely(space)}, are left aside"
    )
    warnings.warn(text, stacklevel=4)
    return began


def same_search(one: Space | None, other: Space | None) -> bool:
    """Whether two spaces hold the same settings; what is likely may differ, as it is advice that scores overrule."""
    bare = [
        None if space is None else [(name, replace(each, likely=None)) for name, each in space.items()]
        for space in (one, other)
    ]
    return bare[0] == bare[1]


_UNSET = object()
_SINCE = {"seeds": 1}
"""What a study is that does not say, for it was begun before there was a choice."""


def _space(described: Any) -> Space | None:
    return None if described is None else Space.from_dict(described)


def _likely(space: Space) -> str:
    named = [f"{name} {setting(each.likely)}" for name, each in space.items() if each.likely is not None]
    return ", ".join(named) or "none"


def _brief(value: Any) -> str:
    if isinstance(value, dict) and "parameters" in value:
        return repr(Space.from_dict(value))
    return repr(value)
