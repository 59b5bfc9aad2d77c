"""The reads of settings by a training function: which, how often, and which have gone unread since a change."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass
from typing import Any

from tuner.worker.messages import Unread

FEW = 5  # steps: sooner nothing is said
_ONCE = 2  # a setting gets so many times as long as it went unread before
_AT_MOST = 100  # steps for what was read before the loop alone; twice that for what the loop has read once


class TrackedSettings(dict[str, Any]):
    """Settings that note which of them are read; a copy of them is a plain dict."""

    __slots__ = ("read",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return dict.__getitem__(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        """One of them, or the default."""
        self.read.add(name)
        return dict.get(self, name, default)

    def pop(self, name: str, *default: Any) -> Any:
        """One of them, which is then gone."""
        self.read.add(name)
        return dict.pop(self, name, *default)

    def setdefault(self, name: str, default: Any = None) -> Any:
        """One of them, which is there from then on."""
        self.read.add(name)
        return dict.setdefault(self, name, default)

    # dict(…), ** and json go by what follows.

    def __iter__(self) -> Iterator[str]:
        self.read.update(dict.keys(self))
        return dict.__iter__(self)

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """The names; whoever goes through them reads them."""
        self.read.update(dict.keys(self))
        return dict.keys(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """All values."""
        self.read.update(dict.keys(self))
        return dict.values(self)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """All of them."""
        self.read.update(dict.keys(self))
        return dict.items(self)

    def copy(self) -> dict[str, Any]:
        """A plain dict."""
        return dict(self.items())

    def __or__(self, other: Any) -> Any:
        return dict.__or__(self.copy(), other)

    def __ror__(self, other: Any) -> Any:
        return dict.__or__(dict(other), self.copy())

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return dict, (self.copy(),)


@dataclass(slots=True)
class _Pending:
    """A change of which nothing, or not all, has been read."""

    step: int
    names: set[str]
    partly_read: bool = False
    said: bool = False


class ReadTracker:
    """What one function reads of its settings, step by step.

    A change is said to go unread once a setting has gone unread for twice the longest time there was between two
    readings of it; one that the loop has read once or never gets as long as it had gone unread then, within bounds.
    """

    def __init__(self, trial: int, step: int) -> None:
        self.given = TrackedSettings({})
        self._trial, self._began = trial, step
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._longest: dict[str, int] = {}
        self._in_loop = False
        self._pending: dict[str, _Pending] = {}

    def hand_out(self, values: Mapping[str, Any]) -> TrackedSettings:
        """The settings in force now; what is read of earlier ones tells nothing of these."""
        self.given = TrackedSettings(values)
        return self.given

    def changed(self, request: str, names: list[str], step: int) -> None:
        """These settings have just changed."""
        self.given.read.clear()
        for name in names:
            for each in self._pending.values():
                each.names.discard(name)
        self._pending = {name: each for name, each in self._pending.items() if each.names}
        if names:
            self._pending[request] = _Pending(step, set(names))

    def look(self, done: int) -> list[Unread]:
        """What is to be said once `done` steps are; called between all steps."""
        read = self.given.read
        if read:
            if self._in_loop:
                self._note(read, done)
            found = [*self._now_read(read, done)] if self._pending else []
            read.clear()
        else:
            found = []
        self._in_loop = True
        return [*found, *self._still_unread(done)] if self._pending else found

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _note(self, read: set[str], done: int) -> None:
        last, longest = self._last, self._longest
        for name in read:
            before = last.get(name)
            if before is None:
                self._first[name] = done - self._began
            elif done - before > longest.get(name, 0):
                longest[name] = done - before
            last[name] = done

    def _now_read(self, read: set[str], done: int) -> Iterator[Unread]:
        for request, each in [*self._pending.items()]:
            now = each.names & read
            if not now:
                continue
            each.names -= now
            each.partly_read = True
            if each.said:
                yield Unread(
                    trial=self._trial,
                    step=done,
                    request=request,
                    since=each.step,
                    names=tuple(sorted(now)),
                    partly_read=True,
                    before=False,
                    again=True,
                )
            if not each.names:
                del self._pending[request]

    def _still_unread(self, done: int) -> Iterator[Unread]:
        for request, each in self._pending.items():
            if each.said or any(done - each.step < self._patience(name, each.step) for name in each.names):
                continue
            each.said = True
            before = self._last.keys().isdisjoint(each.names)
            yield Unread(
                trial=self._trial,
                step=done,
                request=request,
                since=each.step,
                names=tuple(sorted(each.names)),
                partly_read=each.partly_read,
                before=before,
            )

    def _patience(self, name: str, since: int) -> int:
        if name in self._longest:
            return max(FEW, _ONCE * self._longest[name])
        last = self._last.get(name)
        if last is not None:
            return min(max(FEW, _ONCE * max(self._first[name], since - last)), _ONCE * _AT_MOST)
        return min(max(FEW, _ONCE * (since - self._began)), _AT_MOST)
