"""The answers that are waited for: of each study looked up for all who wait together, and only while anybody does."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from tuner.api.answers import Reply, Wait
from tuner.errors import TunerError
from tuner.record.events import Answered
from tuner.record.store import Store
from tuner.record.team import InDatabase
from tuner.server.problems import Problem
from tuner.server.retry_after import retry_after

MOST = 1000
"""So many may wait at a time."""
_LOOK_EVERY_S = 0.05
Enough: TypeAlias = Callable[[Answered], bool]
"""Whether an answer is what somebody waits for."""


def is_final(answer: Answered) -> bool:
    """Whether nothing more becomes of a request."""
    return answer.state not in ("received", "accepted")


class Expected:
    """The answers of one study that somebody waits for. No thread is held meanwhile, whoever waits."""

    def __init__(self, database: Path | InDatabase, ends: Callable[[], bool]) -> None:
        """Whoever still waits once `ends` says that the service is to end is told what there is."""
        self._database, self._ends = database, ends
        self._waiting: dict[str, dict[asyncio.Future[None], Enough]] = defaultdict(dict)
        self._looking: asyncio.Task[None] | None = None
        self._turn = Lock()  # a look may last beyond whoever asked for it
        self._held: Store | None = None
        self._stamp: int | None = None
        self._after = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def answer(self, request: str, wait_s: float, enough: Enough = is_final) -> Answered | None:
        """What became of a request: once that is enough, or after `wait_s` as it is; None where nothing has yet."""
        final: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[request][final] = enough
        try:
            found = await asyncio.to_thread(self._known, request)
            if wait_s <= 0 or (found is not None and enough(found)):
                return found
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
            with suppress(TimeoutError):
                await asyncio.wait_for(final, wait_s)
            return await asyncio.to_thread(self._known, request)
        finally:
            del self._waiting[request][final]
            if not self._waiting[request]:
                del self._waiting[request]
            if not self._waiting:
                await asyncio.to_thread(self._close)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    async def _look(self) -> None:
        while self._waiting and not self._ends():
            with suppress(TunerError):  # being moved, or busy for a moment
                for answer in await asyncio.to_thread(self._new):
                    self._tell(answer.request, answer)
            await asyncio.sleep(_LOOK_EVERY_S)
        for request in list(self._waiting):
            self._tell(request)

    def _tell(self, request: str, answer: Answered | None = None) -> None:
        """Wakes whoever waits for this answer; None: whoever waits for any."""
        for final, enough in self._waiting.get(request, {}).items():
            if not final.done() and (answer is None or enough(answer)):
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

    async def answer(
        self, database: Path | InDatabase, request: str, wait_s: float, enough: Enough = is_final
    ) -> Answered | None:
        """What became of a request, as `Expected.answer` tells; refused where too many wait already."""
        self._studies = {path: each for path, each in self._studies.items() if len(each)}
        if wait_s > 0 and self._is_crowded():
            raise Problem(503, "crowded", f"{MOST} wait for an answer already.", retry_after(1))
        study = self._studies.setdefault(database, Expected(database, self._ends))
        return await study.answer(request, wait_s, enough)

    async def reply(self, database: Path | InDatabase, wait: Wait) -> Reply:
        """The end of a wait for what was put, which looks now and then whether anybody will see to it.

        Where too many wait already, what there is to say at once.
        """
        while (reply := await asyncio.to_thread(wait.look)) is None:
            if self._ends() or self._is_crowded():
                return wait.standing()
            await self.answer(
                database, wait.request, wait.pause_s, lambda found: wait.suffices(found.state, found.detail)
            )
        return reply

    def _is_crowded(self) -> bool:
        return sum(map(len, self._studies.values())) >= MOST
