"""The verbs for whoever does not look on: wait, until it is worth a look, and digest, what has happened meanwhile."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from tuner.cli.exit_codes import DONE, FAILED, NOT_YET
from tuner.cli.options import Results, seconds, study_options, verb
from tuner.cli.output import say_json
from tuner.cli.reading import BEGINS_WITHIN_S, await_beginning
from tuner.cli.streams import remark, tell

if TYPE_CHECKING:
    from tuner.api.waiting import Event

# as `tuner.api.waiting` has them, which loads the record; a test compares the two
EVENTS: tuple[Event, ...] = ("improved", "advice", "budget", "ended")

since_option = click.option(
    "--since", type=click.IntRange(min=0), metavar="CURSOR", help="The cursor of the digest before."
)


@verb("tuner wait night --for improved --for ended --timeout 10m")
@click.argument("name")
@click.option(
    "--for",
    "events",
    type=click.Choice(EVENTS),
    multiple=True,
    default=("ended",),
    show_default=True,
    help="What to wait for; of several the first that comes.",
)
@since_option
@click.option("--timeout", "timeout_s", callback=seconds, default="10m", show_default=True, help="How long at most.")
@study_options
@click.pass_context
def wait(
    ctx: click.Context,
    name: str,
    events: tuple[Event, ...],
    since: int | None,
    timeout_s: float,
    results: Results,
    store: str | None,
    as_json: bool,
) -> None:
    """Wait until a study is worth a look.

    It improves, is advised, has spent its budget, or ends.

    Exit code 0: that came; 3: the time was over; 1: the study ended without it, or nobody coordinates it any more.
    """
    import tuner

    await_beginning(name, results, store, min(timeout_s, BEGINS_WITHIN_S))
    with closing(tuner.open(name, results=results, store=store)) as study, study.outlasting(remark):
        found = study.wait(*events, since=since, timeout_s=timeout_s)
    if as_json:
        told = {"study": name, "event": found.event, "came": found.came, "sentence": found.sentence}
        say_json({**told, "waited_s": round(found.waited_s, 3), "digest": found.digest.as_value()})
    else:
        tell(str(found))
    ctx.exit(DONE if found.came else NOT_YET if found.event == "timeout" else FAILED)


@verb("tuner digest night --since 1240")
@click.argument("name")
@since_option
@study_options
def digest(name: str, since: int | None, results: Results, store: str | None, as_json: bool) -> None:
    """Tell the news of a study in 2 KB at most.

    How it stands, and what has happened since a cursor.
    """
    import tuner

    with closing(tuner.open(name, results=results, store=store)) as study:
        found = study.digest(since)
    if as_json:
        say_json(found.as_value())
    else:
        tell(str(found))
