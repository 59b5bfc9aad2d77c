"""The verbs that say what a search has learned and how sure that is: explain, confirm, recheck."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import AnyCallable, Results, study_options, verb
from tuner.cli.output import asked_for_json, say, say_json, stdout_kept
from tuner.cli.reading import looked_at
from tuner.cli.streams import remark, tell
from tuner.executors import FUNCTION_EXECUTORS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tuner.api.explanation import Explanation
    from tuner.insight.confirmation import Confirmation
    from tuner.insight.ranking import Recheck


def _training_options(function: AnyCallable) -> AnyCallable:
    """Where and with what to train; by default as the sweep did."""
    for option in (
        click.option("--executor", type=click.Choice(FUNCTION_EXECUTORS), help="Default: the sweep's."),
        click.option("--address", metavar="ADDRESS", help="The Ray cluster. Default: the sweep's."),
        click.option("--cpus", type=click.FloatRange(min=0), help="CPUs for each trial. Default: the sweep's."),
        click.option("--gpus", type=click.FloatRange(min=0), help="GPUs for each trial. Default: the sweep's."),
        click.option("--parallel", type=click.IntRange(min=1), help="Trials at a time. Default: the sweep's."),
    ):
        function = option(function)
    return function


@verb("tuner explain night --format html")
@click.argument("name")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["terminal", "markdown", "html"]),
    default="terminal",
    show_default=True,
    help="Print it, or write it to a file.",
)
@click.option("--to", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Default: within DIR/NAME.")
@click.option("--target-error", type=click.FloatRange(min=0), default=0.0, show_default=True, help="What could be had.")
@click.option("--more", type=click.IntRange(min=1), help="How many further trials to weigh. Default: half of the past.")
@study_options
def explain(
    name: str, format_: str, to: Path | None, results: Results, store: str | None, as_json: bool, **options: Any
) -> None:
    """Say what a study has learned.

    The winner and how sure it is, what matters, where to look next, what diverged, how the best fit, and whether more
    trials are worth their cost.
    """
    with looked_at(name, results, store) as study:
        found = study.explain(**options)
        folder = study.place.folder
    if to is not None and format_ == "terminal":
        format_ = "html" if to.suffix == ".html" else "markdown"
    ending = {"markdown": "md", "html": "html"}.get(format_)
    written = None if ending is None else found.save(to or folder / f"explanation.{ending}")
    if as_json and (written is None or asked_for_json()):
        say_json({**explanation_as_value(found), "file": written})
    elif written is not None:
        tell(str(written))
    else:
        from tuner.cli.pages import explanation

        say(explanation(found))


def explanation_as_value(found: Explanation) -> dict[str, Any]:
    """An explanation for programs: every number, and every sentence under its heading."""
    from tuner.values.plain import json_of

    parts = ("winner", "recommended", "importance", "edges", "divergences", "worth")
    return {
        "study": found.study,
        "objective": found.objective,
        "goal": found.goal,
        "trials": found.trials,
        **{part: json_of(getattr(found, part)) for part in parts},
        "fits": [
            {**json_of(each), "high_bias": each.high_bias, "high_variance": each.high_variance} for each in found.fits
        ],
        "confirmation": None if found.confirmation is None else as_value(found.confirmation),
        "recheck": None if found.recheck is None else as_value(found.recheck),
        "sections": [{"title": each.title, "sentences": each.sentences} for each in found.sections],
    }


@verb("tuner confirm night --top 3 --repeats 5")
@click.argument("name")
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True, help="How many of the best settings.")
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True, help="New seeds for each.")
@_training_options
@study_options
def confirm(name: str, as_json: bool, **options: Any) -> None:
    """Train the best again with new seeds.

    It gives the chance of each to be the best. The same command goes on after a crash; with more --repeats it adds to
    those that are there.
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
    """See whether the order of the leaders still holds.

    Trains them again, with the code and data of today; a recheck that was interrupted goes on.
    """
    import tuner

    _train(lambda: tuner.recheck(name, **options), _rechecked, name, as_json)


def _train(act: Callable[[], Any], page: Callable[[Any], RenderableType], name: str, as_json: bool) -> None:
    with stdout_kept(as_json):
        try:
            found = act()
        except KeyboardInterrupt:
            remark(f"everything so far is kept: the same command goes on with {name}")
            raise
    if as_json:
        say_json(as_value(found))
    else:
        say(page(found))


def as_value(found: Confirmation | Recheck) -> dict[str, Any]:
    """The result for programs: its fields, and what follows from them."""
    from tuner.insight.confirmation import Confirmation
    from tuner.values.plain import json_of

    if isinstance(found, Confirmation):
        best = found.best
        more: dict[str, Any] = {
            "best": None if best is None else best.trial,
            "confirmed": found.confirmed,
            "answer": found.answer,
            "candidates": [{**json_of(each), "mean": each.mean, "error": each.error} for each in found.candidates],
        }
    else:
        more = {"verdict": found.verdict}
    return {**json_of(found), **more, "sentence": found.sentence}


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
