"""The inbox of a study: what programs say is put on record in groups, and each is handed its answer."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from tuner.api.external import check_lends, over
from tuner.errors import StudyError
from tuner.record.events import Answered, Requested
from tuner.record.location import Place
from tuner.record.requests import understood
from tuner.record.store import Store

_PAUSE_S = 0.005  # between two looks at the record while anybody waits
_LOOKS_EVERY_S = 0.5  # whether there is a coordinator at all
_MOST = 2000  # who may wait at a time


class InboxFull(StudyError):
    """More wait for an answer than there is room for."""

    code = "crowded"


class Inbox:
    """One study's, for all programs at once: one connection, and nothing to do while nobody waits."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._store: Store | None = None
        self._mark = 0
        self._unsaid: list[Requested] = []
        self._waiting: dict[str, asyncio.Future[Answered | None]] = {}
        self._after = 0
        self._serving: asyncio.Task[None] | None = None
        self._alone = False
        self._looks_at = 0.0
        self._turns = asyncio.Lock()

    async def say(
        self, verb: str, arguments: Mapping[str, Any], *, by: str, why: str = "", wait_s: float
    ) -> Answered | None:
        """Puts on record what a program says, and waits for the answer; None where none came in time."""
        if len(self._waiting) >= _MOST:
            raise InboxFull(f"{_MOST} calls wait for an answer already: make it again in a moment.")
        asked = Requested(
            request=uuid.uuid4().hex, verb=verb, arguments=understood(verb, arguments), by=by, why=why, at=time.time()
        )
        waiting: asyncio.Future[Answered | None] = asyncio.get_running_loop().create_future()
        self._waiting[asked.request] = waiting
        self._unsaid.append(asked)
        if self._serving is None or self._serving.done():
            self._looks_at = 0.0
            self._serving = asyncio.create_task(self._serve())
        try:
            return await asyncio.wait_for(waiting, wait_s)
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(asked.request, None)

    async def over(self) -> str | None:
        """Why nothing more is trained, or None."""
        async with self._turns:
            return await asyncio.to_thread(lambda: over(self._open()))

    async def is_alone(self) -> bool:
        """Whether nobody coordinates the study."""
        async with self._turns:
            return await asyncio.to_thread(lambda: self._open().holder(time.time()) is None)

    async def check(self) -> None:
        """Refuses a study that is not there, or whose trials nobody can ask for."""
        async with self._turns:
            await asyncio.to_thread(self._checked)

    def is_replaced(self) -> bool:
        """Whether another study lies there by now, or none."""
        return self._store is not None and self._place.mark() != self._mark

    def close(self) -> None:
        """Lets go of the record; whoever waits is told that no answer came."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)
        if self._store is not None:
            self._store.close()
            self._store = None

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    async def _serve(self) -> None:
        """Says what is unsaid and hands out answers, until nobody waits."""
        while self._waiting or self._unsaid:
            saying, self._unsaid = self._unsaid, []
            try:
                async with self._turns:
                    answers = await asyncio.to_thread(self._turn, saying)
            except Exception as error:
                for waiting in self._waiting.values():
                    if not waiting.done():
                        waiting.set_exception(error)
                return
            for answer in answers:
                found = self._waiting.get(answer.request)
                if found is not None and not found.done():
                    found.set_result(answer)
            if self._alone:
                for request, waiting in self._waiting.items():
                    if not waiting.done() and all(each.request != request for each in self._unsaid):
                        waiting.set_result(None)
            await asyncio.sleep(_PAUSE_S)

    def _turn(self, saying: list[Requested]) -> list[Answered]:
        """In a thread: one transaction for all that is said, and one look at what was answered."""
        store = self._open()
        if saying:
            store.put(saying)
        answers, self._after = store.answers(self._after)
        now = time.monotonic()
        self._alone = False
        if now >= self._looks_at:
            if self._looks_at > 0.0:  # the first look comes once there was time for an answer
                self._alone = store.holder(time.time()) is None
            self._looks_at = now + _LOOKS_EVERY_S
        return answers

    def _checked(self) -> None:
        check_lends(self._open(), self._place.name)

    def _open(self) -> Store:
        if self._store is None:
            self._mark = self._place.mark()
            self._store = Store.open(self._place.existing())
            self._after = self._store.version()
        return self._store


class Inboxes:
    """The inboxes of the studies served, by name; `place_of` says where a study lies."""

    def __init__(self, place_of: Callable[[str], Place]) -> None:
        self._place_of = place_of
        self._inboxes: dict[str, Inbox] = {}

    async def of(self, name: str) -> Inbox:
        """The inbox of a study; `StudyNotFound` and its kin where there is none that lends its trials."""
        place = self._place_of(name)
        inbox = self._inboxes.get(place.name)
        if inbox is not None and not inbox.is_replaced():
            return inbox
        if inbox is not None:
            del self._inboxes[place.name]
            inbox.close()
        inbox = Inbox(place)
        await inbox.check()
        return self._inboxes.setdefault(place.name, inbox)

    def close(self) -> None:
        """Lets go of all."""
        for inbox in self._inboxes.values():
            inbox.close()
        self._inboxes.clear()
