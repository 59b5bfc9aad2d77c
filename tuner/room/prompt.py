"""The line a person writes commands on: history, completion, and nothing of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from tuner.room.completion import Continuation


class Prompt(Input):
    """One line with history (↑ ↓) and completion (Tab)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete(1)", show=False),
        Binding("shift+tab", "complete(-1)", show=False),
        Binding("up", "older", show=False),
        Binding("down", "newer", show=False),
        Binding("ctrl+c", "clear_line", show=False),
        Binding("ctrl+d", "delete_or_leave", show=False),
    ]

    class Left(Message):
        """The person wants to leave."""

    class Interrupted(Message):
        """Ctrl-C on an empty line."""

    class Offered(Message):
        """What the line could go on with has changed; `marked` is the one that stands in it now."""

        def __init__(self, words: Sequence[tuple[str, str]], marked: int | None) -> None:
            super().__init__()
            self.words, self.marked = tuple(words), marked

    def __init__(self, continuations: Callable[[str], Continuation], *, id: str) -> None:  # noqa: A002 - Textual's word
        """`continuations` says how a line could go on."""
        super().__init__(id=id, compact=True, select_on_focus=False)
        self._continuations = continuations
        self._past: list[str] = []
        self._place = 0
        self._draft = ""
        self._cycle: tuple[Continuation, str, int] | None = None
        self.advised = ""
        """What Tab writes on an empty line."""

    def remember(self, line: str) -> None:
        """Adds a line to the history, unless it repeats the last."""
        if self._past[-1:] != [line]:
            self._past.append(line)
        self._place = len(self._past)

    def action_older(self) -> None:
        """The line before."""
        self._go_to(self._place - 1)

    def action_newer(self) -> None:
        """The line after, at last what was being written."""
        self._go_to(self._place + 1)

    def action_complete(self, direction: int) -> None:
        """Goes on as far as all continuations agree; then through them, one a stroke."""
        if self._cycle is not None:
            found, line, marked = self._cycle
            self._write(found, line, (marked + direction) % len(found.words))
            return
        line = self.value
        if not line and self.advised:
            self._say(self.advised)
            return
        found = self._continuations(line)
        if not found.words:
            return
        if len(found.words) == 1:
            self._say(line[: found.start] + _closed(found.words[0][0]))
        elif len(found.shared) > len(line) - found.start:
            self._say(line[: found.start] + found.shared)
        else:
            self._write(found, line, 0 if direction > 0 else len(found.words) - 1)

    def action_clear_line(self) -> None:
        """Begins the line anew; on an empty one it tells the room."""
        if self.value:
            self._say("")
            self._place = len(self._past)
        else:
            self.post_message(self.Interrupted())

    def action_delete_or_leave(self) -> None:
        """Ctrl-D: leaves from an empty line."""
        if self.value:
            self.action_delete_right()
        else:
            self.post_message(self.Left())

    def watch_value(self, value: str) -> None:
        """What is written by hand ends going through the continuations."""
        if self._cycle is not None:
            found, line, marked = self._cycle
            if value == line[: found.start] + _closed(found.words[marked][0]):
                self.post_message(self.Offered(found.words, marked))
                return
            self._cycle = None
        self.post_message(self.Offered(self._continuations(value).words if value else (), None))

    def _go_to(self, place: int) -> None:
        if not 0 <= place <= len(self._past):
            return
        if self._place == len(self._past):
            self._draft = self.value
        self._place = place
        self._say(self._past[place] if place < len(self._past) else self._draft)

    def _write(self, found: Continuation, line: str, marked: int) -> None:
        self._cycle = (found, line, marked)
        self.value = line[: found.start] + _closed(found.words[marked][0])
        self.cursor_position = len(self.value)

    def _say(self, line: str) -> None:
        self._cycle = None
        self.value = line
        self.cursor_position = len(line)


def _closed(word: str) -> str:
    return word if word.endswith("=") else f"{word} "
