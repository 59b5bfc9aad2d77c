"""The verbs that say what a search has learned and how sure that is: confirm, recheck."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import AnyCallable, study_options, verb
from tuner.cli.output import say, say_json, stdout_kept

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tuner.insight.confirmation import Confirmation
    from tuner.insight.ranking import Recheck


def _training_options(function: AnyCallable) -> AnyCallable:
    """Where and with what to train; by default as the sweep did."""
    for option in (
        click.option("--executor", type=click.Choice(["ray", "local"]), help="Default: the sweep's."),
        click.option("--address", metavar="ADDRESS", help="The Ray cluster. Default: the sweep's."),
        click.option("--cpus", type=click.FloatRange(min=0), help="CPUs for each trial. Default: the sweep's."),
        click.option("--gpus", type=click.FloatRange(min=0), help="GPUs for each trial. Default: the sweep's."),
        click.option("--parallel", type=click.IntRange(min=1), help="Trials at a time. Default: the sweep's."),
    ):
        function = option(function)
    return function


@verb("tuner confirm night --top 3 --repeats 5")
@click.argument("name")
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True, help="How many of the best settings.")
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True, help="New seeds for each.")
@_training_options
@study_options
def confirm(name: str, as_json: bool, **options: Any) -> None:
    """Train the best settings again with new seeds, and say how sure the winner is.

    The same command goes on after a crash; with more --repeats it adds to those that are there.
    """
    import tuner

    _train(lambda: tuner.confirm(name, **options), _confirmed, name, as_json)


@verb("tuner recheck night")
@click.argument("name")
@click.option("--top", type=click.IntRange(min=1), default=8, show_default=True, help="How many of the leaders.")
@click.option("--repeats", type=click.IntRange(min=1), default=1, show_default=True, help="New seeds for each.")
@_training_options
@study_options
def recheck(name: str, as_json: bool, **options: Any) -> None:
    """Train the leaders again with today's code and data, and say whether their order still holds."""
    import tuner

    _train(lambda: tuner.recheck(name, **options), _rechecked, name, as_json)


def _train(act: Callable[[], Any], page: Callable[[Any], RenderableType], name: str, as_json: bool) -> None:
    with stdout_kept(as_json):
        try:
            found = act()
        except KeyboardInterrupt:
            click.echo(f"everything so far is kept: the same command goes on with {name}", err=True)
            raise
    if as_json:
        say_json(as_value(found))
    else:
        say(page(found))


def as_value(found: Confirmation | Recheck) -> dict[str, Any]:
    """The result for programs: its fields, and what follows from them."""
    from tuner.cli.output import plain
    from tuner.insight.confirmation import Confirmation

    if isinstance(found, Confirmation):
        best = found.best
        more: dict[str, Any] = {
            "best": None if best is None else best.trial,
            "confirmed": found.confirmed,
            "candidates": [{**plain(each), "mean": each.mean, "error": each.error} for each in found.candidates],
        }
    else:
        more = {"verdict": found.verdict}
    return {**plain(found), **more, "sentence": found.sentence}


def _confirmed(found: Confirmation) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from tuner.cli.pages import confirmation

    return Group(confirmation(found), Text(), Text(found.sentence))


def _rechecked(found: Recheck) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from tuner.cli.pages import rechecked

    return Group(rechecked(found), Text(), Text(found.sentence))
