"""The streams that every process has: fit to be written to, whoever began it and whatever became of them since."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

import click

from tuner.values.plain import shown


def steady() -> None:
    """Opens those of the three that are closed onto nothing, and lets none fail over a character it cannot show.

    A file that was opened in the place of one of them would get what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def remark(text: str, colour: str | None = None) -> None:
    """Says something beside the answer, on stderr; where nobody can be told, nothing fails."""
    with contextlib.suppress(OSError, ValueError):
        click.secho(shown(text), fg=colour, err=True)


class Unanswered(Exception):
    """Stdout refused the answer of a verb."""

    def __init__(self, refused: OSError) -> None:
        super().__init__(f"the answer could not be written: {refused.strerror or refused}")
        self.unread = refused.errno == errno.EPIPE
        """Whether whoever read it had seen enough."""


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """What is printed inside goes to stdout, and is the answer: where it is refused, `Unanswered`."""
    try:
        yield
    except OSError as error:
        _let_go(sys.stdout)
        raise Unanswered(error) from error


def tell(text: str) -> None:
    """Prints a text on stdout."""
    with answering():
        click.echo(shown(text))


def refusal() -> OSError | None:
    """What stdout refuses to take, if it does; it is let go then, and so is a stderr that refuses.

    Whatever is left in a stream that refuses it would fail once more when Python ends.
    """
    refusals: list[OSError | None] = []
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
            refusals.append(None)
        except ValueError:  # closed by somebody
            refusals.append(None)
        except OSError as error:
            refusals.append(error)
            _let_go(stream)
    return refusals[-1]


def _let_go(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
