"""The room as it lives: looks at the record, draws, and asks the run in threads, so that the line never waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Input, Static

from tuner.api.handles import RunHandle
from tuner.errors import DatabaseAway, TunerError
from tuner.record.patience import back_after, waiting_since
from tuner.record.store import Store
from tuner.room import drawing
from tuner.room.completion import Continuation, continuations
from tuner.room.dispatch import carry_out
from tuner.room.language import Command, advised, guide, read
from tuner.room.prompt import Prompt
from tuner.room.scene import Entry, Picture, Scene, Score

Result = TypeVar("Result")

_LOOK_EVERY_S = 0.2
# Looking takes at most this share of the time: a long run is looked at less often.
_LOOK_SHARE = 0.1
_ONE_AFTER_ANOTHER_S = 0.5


class Chart(Widget):
    """One score, drawn anew whenever it or the terminal changes."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._shown: tuple[Score, Picture] | None = None

    def show(self, score: Score, picture: Picture) -> None:
        """Draws this score from now on."""
        self._shown = (score, picture)
        self.refresh()

    def render(self) -> Text:
        """The picture at the present size."""
        if self._shown is None:
            return Text()
        return drawing.drawn(drawing.chart, *self._shown, self.size.width, self.size.height)


class Branches(Widget):
    """The run's segments, as many of the newest as there are rows."""

    picture: Picture | None = None

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002 - Textual asks
        """A row a segment; the style sheet says how many at most."""
        return 0 if self.picture is None else len(self.picture.branches)

    def render(self) -> Text:
        """The picture at the present size."""
        if self.picture is None:
            return Text()
        return drawing.drawn(drawing.tree, self.picture, self.size.width, self.size.height)


class Room(App[None]):
    """The interactive room of one run."""

    ENABLE_COMMAND_PALETTE = False
    VERTICAL_BREAKPOINTS = [(0, "-low"), (20, "-middle"), (36, "-tall")]  # noqa: RUF012 - Textual's own is no ClassVar
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "leave", show=False),
        Binding("pageup", "scroll_log(-1)", show=False, priority=True),
        Binding("pagedown", "scroll_log(1)", show=False, priority=True),
        Binding("escape", "stop_reading", show=False),
        Binding("ctrl+l", "draw_again", show=False, priority=True),
    ]
    CSS = """
    #heading, #offers, #line { height: 1; }
    #settings { height: auto; max-height: 3; }
    #charts { height: 1fr; min-height: 5; }
    Chart { width: 1fr; height: 100%; }
    #second { margin-left: 1; }
    Branches { height: auto; max-height: 4; }
    #advice { height: auto; max-height: 2; color: ansi_yellow; }
    #log { height: 5; scrollbar-size-vertical: 0; border-top: solid ansi_bright_black; }
    #sign { width: 2; color: ansi_green; text-style: bold; }
    Prompt { width: 1fr; }
    .-empty { display: none; }
    .-tall Branches { max-height: 8; }
    .-tall #log { height: 12; }
    .-low Branches, .-low #advice, .-low #second { display: none; }
    .-low #log { height: 3; }
    .-low #settings { max-height: 1; }
    .-low #charts { min-height: 1; }
    .-reading #log { height: 1fr; }
    .-reading Branches, .-reading #advice, .-middle.-reading #charts { display: none; }
    """

    def __init__(self, handle: RunHandle) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        study = handle.study
        self._place, self._by = study.place, handle.by
        study.close()
        self._scene = Scene(self._place, handle.by)
        self._picture: Picture | None = None
        self._said: list[Entry] = []
        self._looking = asyncio.Lock()
        self._lines: asyncio.Queue[tuple[list[Command], int | None]] = asyncio.Queue()
        self._doing: set[asyncio.Task[None]] = set()

    def stay(self) -> int:
        """Runs until the person leaves; the exit code."""
        try:
            self.run(mouse=False)  # so that the terminal's own selection works, also over ssh
        finally:
            self.close()
        if self._picture is None or not self._picture.ended:
            print(f"{self._place.name} trains on. Come back: tuner watch {self._place.name}")
            return 0
        print(f"{self._place.name} is over: {self._picture.state}, {self._picture.why}")
        return 1 if self._picture.state in ("failed", "diverged") else 0

    def close(self) -> None:
        """Lets go of the record."""
        self._scene.close()

    # ── the screen ──────────────────────────────────────────────────────────────────────────────

    def compose(self) -> ComposeResult:
        """The room from top to bottom."""
        yield Static(id="heading")
        yield Static(id="settings")
        with Horizontal(id="charts"):
            yield Chart(id="first")
            yield Chart(id="second")
        yield Branches()
        yield Static(id="advice")
        with VerticalScroll(id="log", can_focus=False):
            yield Static(id="entries")
        yield Static(id="offers")
        with Horizontal(id="line"):
            yield Static("> ", id="sign")
            yield Prompt(self._continuations, id="prompt")

    def on_mount(self) -> None:
        """Begins to look."""
        self.query_one("#log").anchor()
        self.query_one(Prompt).focus()
        self.run_worker(self._watch_the_record())
        self.run_worker(self._obey_in_order())
        self.set_interval(1.0, self._draw_heading)

    async def _watch_the_record(self) -> None:
        """Looks at the record again and again, and draws what is new."""
        trouble, away_since = "", 0.0
        while True:
            began = time.monotonic()
            try:
                await self._look()
                if away_since:
                    self._say("said", back_after(time.time() - away_since))
                    away_since = 0.0
            except DatabaseAway as error:
                began = time.monotonic()  # to wait is not to look
                if not away_since:
                    away_since = time.time()
                    self._say("error", f"{waiting_since(away_since)}: {error}")
            except Exception as error:  # the room stays whatever the record holds; the run knows nothing of it
                told = str(error) if isinstance(error, TunerError) else f"{type(error).__name__}: {error}"
                if told != trouble:
                    trouble = told
                    self._say("error", trouble)
            await asyncio.sleep(max(_LOOK_EVERY_S, (time.monotonic() - began) / _LOOK_SHARE))

    async def _look(self) -> None:
        async with self._looking:
            picture = await asyncio.to_thread(self._scene.look)
            if picture is not None:
                self._show(picture)

    def _show(self, picture: Picture) -> None:
        prompt = self.query_one(Prompt)
        for line in picture.asked[len(self._picture.asked) if self._picture else 0 :]:
            prompt.remember(line)
        self._picture = picture
        self._draw_heading()
        self.query_one("#settings", Static).update(drawing.drawn(drawing.settings, picture))
        charts = (self.query_one("#first", Chart), self.query_one("#second", Chart))
        for chart, score in zip(charts, picture.scores, strict=False):
            chart.show(score, picture)
        charts[1].set_class(len(picture.scores) < 2, "-empty")
        tree = self.query_one(Branches)
        tree.picture = picture
        tree.refresh(layout=True)
        advice = self.query_one("#advice", Static)
        sentence, command = advised(picture.advice, picture.name)
        advice.update(Text(sentence))
        advice.set_class(not sentence, "-empty")
        prompt.advised = command
        self._hint()
        self._draw_log()

    def _hint(self) -> None:
        """What an empty line says: how to go on from here."""
        prompt = self.query_one(Prompt)
        first, _, _ = prompt.advised.partition(" why: ")
        hint = f"Tab: {first}" if first else "help says what can be asked; Ctrl-D leaves"
        prompt.placeholder = "Escape brings the curves back" if self.screen.has_class("-reading") else hint

    def _draw_heading(self) -> None:
        if self._picture is not None:
            for heading in self.query("#heading").results(Static):  # none is left while the room closes
                heading.update(drawing.drawn(drawing.heading, self._picture, self.size.width))

    def _draw_log(self) -> None:
        told = self._picture.log if self._picture is not None else ()
        entries = sorted((*told, *self._said), key=lambda entry: entry.at)
        self.query_one("#entries", Static).update(drawing.drawn(drawing.log, entries))

    def _say(self, kind: str, text: str) -> None:
        self._said.append(Entry(at=time.time(), kind=kind, text=text))
        self._draw_log()
        self.query_one("#log").scroll_end(animate=False)

    def _read(self, text: str) -> None:
        """Makes room for what takes several lines, until the next line is written or Escape."""
        self.screen.set_class("\n" in text, "-reading")
        self._hint()
        self._say("said", text)

    def _continuations(self, line: str) -> Continuation:
        if self._picture is None:
            return Continuation(start=0, words=())
        return continuations(line, self._picture)

    # ── what a person does ──────────────────────────────────────────────────────────────────────

    def on_prompt_offered(self, event: Prompt.Offered) -> None:
        """Shows how the line could go on."""
        offers = self.query_one("#offers", Static)
        offers.update(drawing.words_of(event.words, event.marked, self.size.width))

    def on_prompt_left(self) -> None:
        """Leaves."""
        self.action_leave()

    def on_prompt_interrupted(self) -> None:
        """Says what Ctrl-C does not do."""
        self._say("said", "Ctrl-D leaves, and the run trains on. `stop` ends the run.")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Does what the line asks for."""
        line = event.value.strip()
        prompt = self.query_one(Prompt)
        prompt.clear()
        self.action_stop_reading()
        if not line:
            return
        prompt.remember(line)
        try:
            commands = read(line, self._place.name)
        except TunerError as error:
            self._say("error", f"{line}: {error}")
            return
        if any(command.verb == "detach" for command in commands):
            self.action_leave()
        elif any(command.verb == "help" for command in commands):
            self._read(guide())
        else:
            if any(command.verb in ("fork", "compare") for command in commands):
                self._say("said", f"{line} …")  # these ask nothing of the record, and take a moment
            idle = not self._doing and self._lines.empty()
            self._lines.put_nowait((commands, self._head if idle else None))

    def action_leave(self) -> None:
        """Leaves; what has been asked takes effect all the same."""
        for each in self._doing:
            each.cancel()
        self.exit()

    def action_stop_reading(self) -> None:
        """Gives the curves their room back."""
        self.screen.remove_class("-reading")
        self._hint()

    def action_scroll_log(self, direction: int) -> None:
        """A page of the log."""
        log = self.query_one("#log")
        (log.scroll_page_up if direction < 0 else log.scroll_page_down)(animate=False)

    def action_draw_again(self) -> None:
        """Draws everything anew, for a terminal that something else wrote on."""
        self.refresh(repaint=True, layout=True)

    async def _obey_in_order(self) -> None:
        """Carries the lines out as they were written; one that waits long for its answer lets the next go ahead."""
        while True:
            commands, expect = await self._lines.get()
            doing = asyncio.create_task(self._obey(commands, expect))
            self._doing.add(doing)
            doing.add_done_callback(self._doing.discard)
            await asyncio.wait([doing], timeout=_ONE_AFTER_ANOTHER_S)

    async def _obey(self, commands: list[Command], expect: int | None) -> None:
        """Asks for one thing after another, until one is refused; the record tells what becomes of them."""
        for command in commands:
            seen = self._head if expect is None else expect
            try:
                said = await _in_thread(partial(self._ask, command, seen))
            except (TunerError, TypeError, ValueError) as error:
                with suppress(DatabaseAway):
                    await self._look()
                if not self._is_told(str(error)):
                    self._say("error", f"{command.verb}: {error}")
                return
            with suppress(DatabaseAway):
                await self._look()
            expect = None  # our own change is no surprise to us
            if said:
                self._read(said)

    def _ask(self, command: Command, expect: int) -> str:
        """In a thread of its own, with a connection of its own."""
        with closing(RunHandle(self._place, Store.open(self._place.existing()), by=self._by)) as handle:
            return carry_out(command, handle, expect)

    @property
    def _head(self) -> int:
        return 0 if self._picture is None else self._picture.head

    def _is_told(self, refusal: str) -> bool:
        """Whether the log has the refusal from the record already."""
        reason = refusal.partition(": ")[2]
        told = self._picture.log[-20:] if self._picture is not None else ()
        return bool(reason) and any(entry.kind == "rejected" and reason in entry.text for entry in told)


def _in_thread(work: Callable[[], Result]) -> asyncio.Future[Result]:
    """What `work` returns, from a thread that nobody waits for when the room closes."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Result] = loop.create_future()

    def settle(act: Callable[[], None]) -> None:
        if not result.done():
            act()

    def run() -> None:
        try:
            found = work()
        except Exception as error:  # whatever it is, it belongs to whoever waits
            act = partial(result.set_exception, error)
        else:
            act = partial(result.set_result, found)
        with suppress(RuntimeError):  # the room has closed meanwhile
            loop.call_soon_threadsafe(settle, act)

    threading.Thread(target=run, daemon=True).start()
    return result
