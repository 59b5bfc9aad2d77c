"""The verbs that steer a running study from any other terminal: pause, resume, stop, note."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from tuner.cli.options import study_and_trial, study_options, verb, why_option
from tuner.cli.output import say, say_json


@verb('tuner pause night --why "the machine is needed for an hour"')
@click.argument("name")
@why_option
@study_options
def pause(name: str, why: str, results: Path, store: str | None, as_json: bool) -> None:
    """Hold a running sweep.

    Nothing starts, and what trains stands still between two steps.
    """
    _ask(name, results, store, as_json, lambda handle: handle.pause(why))


@verb("tuner resume night")
@click.argument("name")
@why_option
@study_options
def resume(name: str, why: str, results: Path, store: str | None, as_json: bool) -> None:
    """Let a paused sweep go on."""
    _ask(name, results, store, as_json, lambda handle: handle.resume(why))


@verb('tuner stop night/17 --why "it only oscillates"')
@click.argument("study", metavar="NAME[/TRIAL]", callback=study_and_trial)
@why_option
@study_options
def stop(study: tuple[str, int | None], why: str, results: Path, store: str | None, as_json: bool) -> None:
    """End a sweep, or one trial of it; nothing is lost."""
    name, trial = study
    _ask(
        name,
        results,
        store,
        as_json,
        lambda handle: handle.stop(why) if trial is None else handle.stop_trial(trial, why),
    )


@verb('tuner note night/17 "oscillates after step 10"')
@click.argument("study", metavar="NAME[/TRIAL]", callback=study_and_trial)
@click.argument("text")
@study_options
def note(study: tuple[str, int | None], text: str, results: Path, store: str | None, as_json: bool) -> None:
    """Write a note into a running study's record."""
    name, trial = study
    _ask(name, results, store, as_json, lambda handle: handle.note(text, trial))


def _ask(name: str, results: Path, store: str | None, as_json: bool, act: Callable[[Any], object]) -> None:
    import tuner

    with closing(tuner.attach(name, results=results, store=store)) as handle:
        answer = str(act(handle))
    if as_json:
        say_json({"name": name, "answer": answer})
    else:
        say(f"{name}: {answer}")
