"""The studies that the service holds open: each folded once, and brought up to date by what was written since."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.api.study import Study
from tuner.record.location import Place
from tuner.record.patience import SERVING_S, Patience
from tuner.record.store import Store

_MOST = 16  # studies; a large one takes some hundred MB


class OpenStudy:
    """One study that is held open, for one reader at a time."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.mark = place.mark()
        self._store = Store.open(place.existing(), patience=Patience(within_s=SERVING_S))
        self._stamp: int | None = None
        self.study = Study(place, self._store)
        self.lock = threading.RLock()

    def refresh(self) -> None:
        """Takes in what was written since, if anything was."""
        stamp = self._store.stamp()
        if stamp is None or stamp != self._stamp:
            self.study.refresh()
            self._stamp = stamp

    def is_replaced(self) -> bool:
        """Whether another study lies there by now."""
        return self.place.mark() != self.mark


class OpenStudies:
    """The studies of a results folder or a team's database, by name; the least used is closed when there are many."""

    def __init__(self, results: Path, store: str | None = None) -> None:
        self._results, self._store = results, store
        self._open: OrderedDict[str, OpenStudy] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def study(self, name: str) -> Iterator[Study]:
        """The study as it is now, for as long as nobody else needs it: take from it what you want, and leave.

        Raises `StudyNotFound` and its kin.
        """
        found = self._opened(name)
        with found.lock:
            found.refresh()
            yield found.study

    def place(self, name: str) -> Place:
        """Where a study of that name lies, or would."""
        return Place.of(name, self._results, self._store)

    def close(self) -> None:
        """Lets go of all."""
        with self._lock:
            every, self._open = self._open, OrderedDict()
        for found in every.values():
            with found.lock:
                found.study.close()

    def _opened(self, name: str) -> OpenStudy:
        place = self.place(name)
        place.existing()
        with self._lock:
            found = self._open.get(name)
            if found is not None and found.is_replaced():
                del self._open[name]
                found = None
            if found is None:  # whoever else wants one waits, so that none is folded twice
                found = self._open[name] = OpenStudy(place)
            self._open.move_to_end(name)
            spare = self._open.popitem(last=False)[1] if len(self._open) > _MOST else None
        if spare is not None:
            with spare.lock:
                spare.study.close()
        return found
