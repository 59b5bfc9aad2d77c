"""The shell's verbs: each is the twin of one in Python, and prints for people or, with --json, for programs.

Nothing heavy is imported before a verb needs it: `tuner --help` answers at once.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence

import click

from tuner.cli.agents import mcp, skill
from tuner.cli.attending import digest, wait
from tuner.cli.babysitting import ASKED, babysit, compare, fork, promote
from tuner.cli.exit_codes import FAILED, INTERRUPTED, USAGE
from tuner.cli.learning import confirm, explain, recheck
from tuner.cli.reading import export, ls, plot, show, spaces, watch
from tuner.cli.serving import serve
from tuner.cli.starting import check, sweep
from tuner.cli.steering import note, pause, resume, stop
from tuner.cli.streams import Unanswered, refusal, remark, steady
from tuner.errors import SettingsError, SpaceError, TrialNotFound, TunerError
from tuner.record.requests import RUN_VERBS
from tuner.record.team import take_what_was_handed_on


class _InOrder(click.Group):
    """Lists its verbs in the order one meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The verbs as they were added."""
        return list(self.commands)


@click.group(
    name="tuner",
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExample:\n  tuner sweep tuner.workloads.digits:train --space sgd_momentum --name night",
)
@click.version_option(package_name="tuner")
def cli() -> None:
    """Search hyperparameters: train many models in parallel, or babysit one; read every score as a table."""


_OF_ANY_STUDY = {"pause": pause, "resume": resume, "note": note, "stop": stop}

for _verb in (
    *(sweep, babysit, check, ls, show, watch, wait, digest),
    *({**ASKED, **_OF_ANY_STUDY}[verb] for verb in RUN_VERBS),
    *(explain, confirm, recheck),
    *(fork, compare, promote, export, plot, spaces, serve, mcp, skill),
):
    cli.add_command(_verb)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command line and exits: 0 done, 1 failed, 2 usage, 3 on record and not yet applied, 130 interrupted."""
    atexit.register(gc.freeze)  # or what is left is looked through for garbage before it is given back
    steady()
    take_what_was_handed_on()
    code = _run(arguments)
    if (refused := refusal()) is not None:
        remark(str(Unanswered(refused)), "red")
        code = code or FAILED
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        with warnings.catch_warnings(), _interrupts_heard():
            warnings.showwarning = lambda message, *_: remark(f"note: {message}", "yellow")
            code = cli.main(args=arguments, prog_name="tuner", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        remark(told.getvalue().rstrip("\n"))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        remark("interrupted", "yellow")
        return INTERRUPTED
    except TunerError as error:
        if os.environ.get("TUNER_DEBUG"):
            raise
        remark(str(error), "red")
        mistyped = isinstance(error, SettingsError | SpaceError) and not isinstance(error, TrialNotFound)
        return USAGE if mistyped else FAILED
    except Unanswered as error:
        if not error.unread:
            remark(str(error), "red")
        return FAILED


@contextlib.contextmanager
def _interrupts_heard() -> Iterator[None]:
    """A Ctrl-C that falls into a finaliser, where Python prints and forgets it, is raised again once that is over."""
    usual = sys.unraisablehook
    heard: list[threading.Timer] = []

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            again = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
            again.daemon = True
            heard.append(again)
            again.start()
        else:
            usual(lost)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = usual
        for again in heard:
            again.cancel()  # what it would interrupt is over
