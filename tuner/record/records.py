"""The record as its readers have it, wherever it lies: in a database beside them, or behind a service far away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tuner.record.events import Answered, Reported, Requested


class Records(Protocol):
    """What a study is read from; `Store` is the one at home, `RemoteRecords` the one far away."""

    where: str
    """What sentences call the place."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Everything read inside is of one moment."""

    def version(self) -> int:
        """The place of the last record: it grows whenever anything is written."""

    def read(self, *kinds: type[Any], trial: int | None = None) -> Iterator[Any]:
        """Records of the given types in the order written; without types, all but `Reported` and `Requested`.

        With `trial` those of one trial alone, of types that name one.
        """

    def reports(self, trial: int | None = None, step: int = 0) -> Iterator[Reported]:
        """Flushes of reports in the order recorded, of one trial or of all; with `step` those that come to it."""

    def reports_of(self, trials: Sequence[int]) -> Iterator[Reported]:
        """Flushes of reports of these trials; those of one trial in the order recorded, and trial by trial."""

    def follow(self, after: int) -> tuple[list[Any], int]:
        """Everything the coordinator has written beyond `after`, reports included, and the new place to go on from."""

    def new_requests(self) -> list[Requested]:
        """Requests made since the last call; the first call returns all."""

    def answer(self, request: str) -> Answered | None:
        """What became of a request, once the coordinator has said so."""

    def holder(self, now: float) -> tuple[str, int] | None:
        """Host and pid of the living coordinator, or None."""

    def brief(self) -> dict[str, Any]:
        """What one line about the study needs, without folding it."""

    def lasting(self, *, until: float = ..., say: Callable[[str], None] | None = ...) -> AbstractContextManager[None]:
        """Meanwhile a database that is away is waited for as long as it takes, or `until`, by the monotonic clock.

        `say` is told so in words, once, and once it is back; None: whoever has been told before.
        """

    def close(self) -> None:
        """Lets go of it; what was read stays."""
