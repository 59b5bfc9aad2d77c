"""The stream of a study: says that something new is on record, by the place in it, for as long as somebody listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from tuner.errors import DatabaseAway, TunerError
from tuner.record.location import Place
from tuner.record.patience import SERVING_S, Patience
from tuner.record.store import Store
from tuner.server.problems import Problem, documented
from tuner.server.reading import StudyName
from tuner.server.retry_after import retry_after
from tuner.server.service import Serving, may_read
from tuner.values.plain import shown

router = APIRouter(prefix="/v1/studies", tags=["read"], dependencies=[may_read])

MOST = 100
"""So many streams at a time."""
_LOOK_EVERY_S = 0.1
_HEARTBEAT_S = 15.0
_LOOKS_S = 1.0


class Watch:
    """One study's newest place in the record, looked up for all who listen together, and only while anybody does."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._moved = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._held: Store | None = None
        self._mark = 0
        self._stamp: int | None = None
        self._known = 0
        self._turn = Lock()  # a look may last beyond the task that asked for it
        self.listeners = 0
        self.sequence = -1  # nobody has looked yet
        self.away = ""
        """Why the record cannot be looked at just now, where its database is away."""
        with suppress(DatabaseAway):  # which whoever listens is told
            self._opened()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Meanwhile somebody listens."""
        self.listeners += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self.listeners -= 1
            if not self.listeners and self._looking is not None:
                self._looking.cancel()
                self._looking = None
                with self._turn:
                    self._close()

    async def beyond(self, place: int, within_s: float) -> int | None:
        """The newest place once it lies beyond one; None where nothing came in time."""
        if self.sequence <= place:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), within_s)
        return self.sequence if self.sequence > place else None

    async def _look(self) -> None:
        while True:
            try:
                found, self.away = await asyncio.to_thread(self._newest), ""
            except DatabaseAway as error:
                found, self.away = self.sequence, str(error)
            except (TunerError, OSError):  # being moved, or busy for a moment
                found = self.sequence
            if found != self.sequence:
                self.sequence = found
                self._moved.set()
                self._moved = asyncio.Event()
            await asyncio.sleep(_LOOK_EVERY_S)

    def _newest(self) -> int:
        """In a thread: the record is read only once somebody has written, which costs far less to ask."""
        with self._turn:
            if self.listeners:
                store = self._opened()
                stamp = store.stamp()
                if stamp is None or stamp != self._stamp:
                    self._known, self._stamp = store.version(), stamp
            return self._known

    def _opened(self) -> Store:
        """The record, held open: anew where another study lies there by now."""
        mark = self._place.mark()
        if self._held is None or mark != self._mark:
            self._close()
            self._held = Store.open(self._place.existing(), patience=Patience(within_s=SERVING_S))
            self._mark, self._stamp = mark, None
        return self._held

    def _close(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


@router.get(
    "/{name}/events",
    response_class=StreamingResponse,
    responses={**documented(404, 409, 422, 503), 200: {"content": {"text/event-stream": {}}}},
    summary="Follow a study",
)
async def events(
    request: Request,
    name: StudyName,
    serving: Serving,
    after: Annotated[int, Query(ge=-1, le=2**53, description="The place in the record that is known.")] = -1,
    beat_s: Annotated[
        float | None,
        Query(ge=_LOOKS_S, le=_HEARTBEAT_S, description="Whatever comes, an event `beat` that often (empty: none)."),
    ] = None,
    last_event_id: Annotated[str, Header(max_length=20, description="The same, as a browser sends it.")] = "",
) -> StreamingResponse:
    """Server-sent events, each with the newest place in the record as its id; what is new is fetched elsewhere.

    While a team's database is away there is an event `away` each second, with the reason.
    """
    state = request.app.state
    if not hasattr(state, "watches"):
        state.watches = {}
    watches: dict[str, Watch] = state.watches
    if sum(watch.listeners for watch in watches.values()) >= MOST:
        raise Problem(503, "crowded", f"{MOST} streams are open already.", retry_after(5))
    known = int(last_event_id) if last_event_id.isdecimal() else after
    if name not in watches or not watches[name].listeners:
        watches[name] = await asyncio.to_thread(Watch, serving.library.place(name))
    told = _told(watches[name], known, serving.closing, beat_s)
    return StreamingResponse(told, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _told(watch: Watch, known: int, closing: asyncio.Event, beat_s: float | None) -> AsyncIterator[str]:
    """An event whenever there is news, and a heartbeat where there is none for long: an event too for who asks for it.

    A browser tells a page of events alone, and so cannot tell a server that hangs from one that has nothing to say. One
    whose database is away says so, again and again.
    """
    beat = ": still here\n\n" if beat_s is None else "event: beat\ndata: {}\n\n"
    with watch.listening():
        yield ": following\n\n"
        quiet_s = 0.0
        while not closing.is_set():
            found = await watch.beyond(known, _LOOKS_S)  # and looks again whether the service is to end
            if found is not None:
                known, quiet_s = found, 0.0
                yield f"id: {known}\ndata: {json.dumps({'sequence': known})}\n\n"
            elif watch.away:
                quiet_s = 0.0
                yield f"event: away\ndata: {json.dumps({'why': shown(watch.away)})}\n\n"
            elif (quiet_s := quiet_s + _LOOKS_S) >= (beat_s or _HEARTBEAT_S):
                quiet_s = 0.0
                yield beat
