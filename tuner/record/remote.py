"""A record behind a service: the same records as the database at home holds, page by page over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tuner.record.client import ServiceClient
from tuner.record.events import TABLES, Answered, Reported, Requested
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

    def read(self, *kinds: type[Any]) -> Iterator[Any]:
        """Records of the given types in the order written; without types, all but `Reported` and `Requested`."""
        tables = tuple(TABLE_OF[kind] for kind in kinds) or _WITHOUT_REPORTS
        if "requests" in tables:  # which are counted by themselves
            yield from (record for _, record in self._pages(("requests",)))
            tables = tuple(table for table in tables if table != "requests")
        if tables:
            yield from (record for _, record in self._pages(tables))

    def reports(self, trial: int | None = None) -> Iterator[Reported]:
        """Flushes of reports in the order recorded, of one trial or of all."""
        for _, record in self._pages(("reports",), trial=trial):
            yield record

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
        found = self.service.get("studies", self._study)["coordinator"]
        return None if found is None else (str(found["host"]), int(found["pid"]))

    def brief(self) -> dict[str, Any]:
        """What one line about the study needs, without folding it."""
        found = self.service.get("studies", self._study)
        best = found["best"] or {"score": None, "trial": None}
        told = {name: found[name] for name in ("kind", "objective", "trials", "ended")}
        return {**told, "best": best["score"], "best_trial": best["trial"]}

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
            after = int(page["next"])

    def _page(self, tables: tuple[str, ...], after: int, trial: int | None = None, until: int | None = None) -> Any:
        where = ("studies", self._study, "records")
        return self.service.get(*where, tables=",".join(tables), after=after, trial=trial, until=until)
