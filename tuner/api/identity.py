"""How a study begins, or goes on: a new one is opened, an existing one must be the same."""

from __future__ import annotations

import time
import warnings
from typing import Any

from tuner.errors import IdentityMismatch
from tuner.record.events import Configured, Noted, Record, StudyOpened
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.space.space import Space
from tuner.worker.function import is_same


def begin(state: StudyState, records: Store, opened: StudyOpened, options: dict[str, Any]) -> None:
    """Opens a new study, or checks that an existing one is the same."""
    news: list[Record] = []
    if not state.identity:
        news.append(opened)
    else:
        for word, value in opened.identity.items():
            if state.identity[word] != value:
                raise IdentityMismatch(
                    f"the study {state.name!r} exists with another {word}: it has {_brief(state.identity[word])}, this "
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
        news.append(Configured(options=changed, by="caller", why="", at=opened.at))
    if news:
        records.append(news, time.time())
        for record in news:
            state.apply(record)


_UNSET = object()


def _brief(value: Any) -> str:
    if isinstance(value, dict) and "parameters" in value:
        return repr(Space.from_dict(value))
    return repr(value)
