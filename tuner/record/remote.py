"""A record behind a service: the same records as the database at home holds, page by page over HTTP."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tuner.record.client import ServiceClient
from tuner.record.events import TABLES, Answered, Reported, Requested
from tuner.record.told import not_understood, told
from tuner.record.wire import TABLE_OF, record_from_json

# In a team's database a request of a lower place may be seen later than one of a higher, by as long as whoever wrote it
# took to commit; so the newest are looked through again for a while.
_LATE_S, _LATELY = 60.0, 1000
_WITHOUT_REPORTS = tuple(table for table, record in TABLES.items() if record not in (Reported, Requested))
_WRITTEN = tuple(table for table, record in TABLES.items() if record is not Requested)


class RemoteRecords:
    """The record of one study, as a service tells it. Reads only what is asked for, and every record once."""

    def __init__(self, service: ServiceClient, study: str) -> None:
        self.service, self._study = service, study
        self.where = f"{service.url} ({study})"
        self._until: int | None = None  # inside a snapshot
        self._requests_settled = 0
        self._requests_known: dict[int, float] = {}  # those handed out lately, by their place: when

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside was written by this moment: the record only grows."""
        self._until = self.version()
        try:
            yield
        finally:
            self._until = None

    def version(self) -> int:
        """The place of the last record."""
        return self._until if self._until is not None else int(self._page((), 0)["last"])

    def read(self, *kinds: type[Any], trial: int | None = None) -> Iterator[Any]:
        """Records of the given types in the order written; without types, all but `Reported` and `Requested`.

        With `trial` those of one trial alone, of types that name one.
        """
        tables = tuple(TABLE_OF[kind] for kind in kinds) or _WITHOUT_REPORTS
        if "requests" in tables:  # which are counted by themselves
            yield from (record for _, record in self._pages(("requests",)))
            tables = tuple(table for table in tables if table != "requests")
        if tables:
            yield from (record for _, record in self._pages(tables, trial=trial))

    def reports(self, trial: int | None = None, step: int = 0) -> Iterator[Reported]:
        """Flushes of reports in the order recorded, of one trial or of all; with `step` those that come to it."""
        for _, record in self._pages(("reports",), trial=trial):
            if record.last_step >= step:
                yield record

    def reports_of(self, trials: Sequence[int]) -> Iterator[Reported]:
        """Flushes of reports of these trials; those of one trial in the order recorded, and trial by trial."""
        for trial in trials:
            yield from self.reports(trial)

    def follow(self, after: int) -> tuple[list[Any], int]:
        """Everything the coordinator has written beyond `after`, reports included, and the new place to go on from."""
        found = list(self._pages(_WRITTEN, after=after))
        return [record for _, record in found], found[-1][0] if found else after

    def new_requests(self) -> list[Requested]:
        """Requests made since the last call; the first call returns all."""
        now, known = time.monotonic(), self._requests_known
        everything = self._pages(("requests",), after=self._requests_settled)
        found = [(place, record) for place, record in everything if place not in known]
        known.update((place, now) for place, _ in found)
        settled = [place for place, at in known.items() if now - at > _LATE_S]
        for place in (*settled, *sorted(known)[:-_LATELY]):
            if known.pop(place, None) is not None:
                self._requests_settled = max(self._requests_settled, place)
        return [record for _, record in found]

    def answer(self, request: str) -> Answered | None:
        """What became of a request, once the coordinator has said so."""
        found = [each for each in self.read(Answered) if each.request == request]
        return found[-1] if found else None

    def holder(self, now: float) -> tuple[str, int] | None:  # noqa: ARG002 - it goes by the service's clock
        """Host and pid of the living coordinator, or None."""
        found = told(self.service.get("studies", self._study), coordinator=dict | None)["coordinator"]
        if found is None:
            return None
        known = told(found, host=str, pid=int)
        return known["host"], known["pid"]

    def brief(self) -> dict[str, Any]:
        """What one line about the study needs, without folding it."""
        found = self.service.get("studies", self._study)
        facts = told(found, kind=str, objective=str, trials=int, ended=int, best=dict | None)
        best = told(facts["best"] or {}, score=float | int | None, trial=int | None)
        return {**facts, "best": best["score"], "best_trial": best["trial"]}

    @contextmanager
    def lasting(self, *, until: float = math.inf, say: Callable[[str], None] | None = None) -> Iterator[None]:  # noqa: ARG002
        """How long a service is waited for is said where one connects."""
        yield

    def close(self) -> None:
        """Nothing is held open between two reads."""

    def _pages(self, tables: tuple[str, ...], after: int = 0, trial: int | None = None) -> Iterator[tuple[int, Any]]:
        until = None if tables == ("requests",) else self._until
        while True:
            page = self._page(tables, after, trial, until)
            for said in page["records"]:
                yield record_from_json(said)
            if page["next"] is None:
                return
            if page["next"] <= after:
                raise not_understood(page)  # it would never end
            after = page["next"]

    def _page(self, tables: tuple[str, ...], after: int, trial: int | None = None, until: int | None = None) -> Any:
        where = ("studies", self._study, "records")
        page = self.service.get(*where, tables=",".join(tables), after=after, trial=trial, until=until)
        return told(page, records=list, next=int | None, last=int)
