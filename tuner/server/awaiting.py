"""The answers that are waited for: of each study looked up for all who wait together, and only while anybody does."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

from tuner.errors import TunerError
from tuner.record.events import Answered
from tuner.record.store import Store
from tuner.record.team import InDatabase
from tuner.server.problems import Problem

MOST = 1000
"""So many may wait at a time."""
_LOOK_EVERY_S = 0.05


class Expected:
    """The answers of one study that somebody waits for. No thread is held meanwhile, whoever waits."""

    def __init__(self, database: Path | InDatabase, ends: Callable[[], bool]) -> None:
        """Whoever still waits once `ends` says that the service is to end is told what there is."""
        self._database, self._ends = database, ends
        self._waiting: dict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._looking: asyncio.Task[None] | None = None
        self._turn = Lock()  # a look may last beyond whoever asked for it
        self._held: Store | None = None
        self._stamp: int | None = None
        self._after = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def answer(self, request: str, wait_s: float) -> Answered | None:
        """What became of a request: once that is final, or after `wait_s` as it is then; None where nothing has yet."""
        final: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[request].add(final)
        try:
            found = await asyncio.to_thread(self._known, request)
            if wait_s <= 0 or is_final(found):
                return found
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
            with suppress(TimeoutError):
                await asyncio.wait_for(final, wait_s)
            return await asyncio.to_thread(self._known, request)
        finally:
            self._waiting[request].discard(final)
            if not self._waiting[request]:
                del self._waiting[request]
            if not self._waiting:
                await asyncio.to_thread(self._close)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    async def _look(self) -> None:
        while self._waiting and not self._ends():
            with suppress(TunerError):  # being moved, or busy for a moment
                for answer in await asyncio.to_thread(self._new):
                    if is_final(answer):
                        self._tell(answer.request)
            await asyncio.sleep(_LOOK_EVERY_S)
        for request in list(self._waiting):
            self._tell(request)

    def _tell(self, request: str) -> None:
        for final in self._waiting.get(request, ()):
            if not final.done():
                final.set_result(None)

    def _known(self, request: str) -> Answered | None:
        with self._turn:
            return self._store().answer(request)

    def _new(self) -> list[Answered]:
        """In a thread: the record is read only once somebody has written, which costs far less to ask."""
        with self._turn:
            store = self._store()
            stamp = store.stamp()
            if stamp is not None and stamp == self._stamp:
                return []
            answers, self._after = store.answers(self._after)
            self._stamp = stamp
            return answers

    def _store(self) -> Store:
        if self._held is None:
            self._held, self._stamp = Store.open(self._database), None
            self._after = self._held.version()  # what came before is found by whoever asks for it
        return self._held

    def _close(self) -> None:
        with self._turn:
            if not self._waiting and self._held is not None:
                self._held.close()
                self._held = None


class Waits:
    """All who wait, by the study that they wait for."""

    def __init__(self, ends: Callable[[], bool]) -> None:
        self._ends = ends
        self._studies: dict[Path | InDatabase, Expected] = {}

    async def answer(self, database: Path | InDatabase, request: str, wait_s: float) -> Answered | None:
        """What became of a request, as `Expected.answer` tells; refused where too many wait already."""
        self._studies = {path: each for path, each in self._studies.items() if len(each)}
        if wait_s > 0 and sum(map(len, self._studies.values())) >= MOST:
            raise Problem(503, "crowded", f"{MOST} wait for an answer already.", {"retry-after": "1"})
        study = self._studies.setdefault(database, Expected(database, self._ends))
        return await study.answer(request, wait_s)


def is_final(answer: Answered | None) -> bool:
    """Whether nothing more becomes of a request."""
    return answer is not None and answer.state not in ("received", "accepted")
