"""The study that lies under a name already, and in what it differs from the one that is meant."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tuner.api.identity import same_search
from tuner.errors import IdentityMismatch, quoted
from tuner.record.events import Configured, StudyOpened
from tuner.record.location import Place
from tuner.record.store import Store
from tuner.space.space import Space


class Differs(IdentityMismatch):
    """The name exists with another identity: `words` says in what."""

    def __init__(self, name: str, words: Mapping[str, tuple[Any, Any]]) -> None:
        """`words` has what is there, and what was sent."""
        self.words = tuple(words)
        told = "; ".join(
            f"{word}: it has {quoted(there)}, this has {quoted(sent)}" for word, (there, sent) in words.items()
        )
        super().__init__(
            f"the study {name!r} exists with another {' and another '.join(words)} ({told}). Choose another name, or "
            "send the same."
        )


@dataclass(frozen=True, kw_only=True)
class KnownStudy:
    """A study as it was opened, its options now, and who coordinates it."""

    opened: StudyOpened
    options: Mapping[str, Any]
    pid: int | None

    def check(self, name: str, kind: str, asked: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> None:
        """Refuses what is no continuation of it.

        `asked` has words of its identity, the function as `train`, and words of which `more` says what is there.
        """
        there = {**self.opened.identity, "kind": self.opened.kind, "train": self.opened.function, **(more or {})}
        words = {
            word: (there.get(word), value)
            for word, value in {"kind": kind, **asked}.items()
            if not (_same_space(there.get(word), value) if word == "space" else there.get(word) == value)
        }
        if words:
            raise Differs(name, {word: _briefly(word, pair) for word, pair in words.items()})


def known_study(place: Place) -> KnownStudy | None:
    """What lies there; None where no study has begun."""
    if not place.is_there:
        return None
    with closing(Store.open(place.existing(), idle="closed")) as store:
        opened = next(iter(store.read(StudyOpened)), None)
        options: dict[str, Any] = {}
        for each in store.read(Configured):
            options |= each.options
        holder = store.holder(time.time())
    return None if opened is None else KnownStudy(opened=opened, options=options, pid=holder and holder[1])


def _same_space(there: Any, sent: Space | None) -> bool:
    return same_search(None if there is None else Space.from_dict(there), sent)


def _briefly(word: str, pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """What is there and what was sent, as a sentence can hold it."""
    there, sent = pair
    if word != "space":
        return there, sent
    return None if there is None else Space.from_dict(there).names, None if sent is None else sent.names
