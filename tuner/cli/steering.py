"""The verbs that steer any running study from any other terminal: pause, resume, stop, note."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.options import study_and_trial, study_options, timeout_option, verb, why_option
from tuner.cli.output import answer, waits

if TYPE_CHECKING:
    from tuner.api.handles import Handle, Reply


@verb('tuner pause night --why "the machine is needed for an hour"')
@click.argument("name")
@click.option("--release", is_flag=True, help="Save a babysat run and free its worker meanwhile.")
@why_option
@timeout_option
@study_options
def pause(
    name: str, release: bool, why: str, timeout_s: float | None, results: Path, store: str | None, as_json: bool
) -> None:
    """Hold a running study.

    Nothing starts, and what trains stands still between two steps.
    """

    def act(handle: Handle) -> Reply:
        from tuner.api.handles import RunHandle

        if not release:
            return handle.pause(why, timeout_s=timeout_s)
        if isinstance(handle, RunHandle):
            return handle.pause(why, release=True, timeout_s=timeout_s)
        raise click.UsageError(f"--release is for a babysat run, and {name} is a sweep.")

    _ask(name, results, store, as_json, act)


@verb("tuner resume night")
@click.argument("name")
@why_option
@timeout_option
@study_options
def resume(name: str, why: str, timeout_s: float | None, results: Path, store: str | None, as_json: bool) -> None:
    """Let a paused study go on."""
    _ask(name, results, store, as_json, lambda handle: handle.resume(why, timeout_s=timeout_s))


@verb('tuner stop night/17 --why "it only oscillates"')
@click.argument("study", metavar="NAME[/TRIAL]", callback=study_and_trial)
@why_option
@timeout_option
@study_options
def stop(
    study: tuple[str, int | None], why: str, timeout_s: float | None, results: Path, store: str | None, as_json: bool
) -> None:
    """End a study, or one trial of a sweep; nothing is lost."""
    name, trial = study

    def act(handle: Handle) -> Reply:
        from tuner.api.handles import SweepHandle

        if trial is None:
            return handle.stop(why, timeout_s=timeout_s)
        if isinstance(handle, SweepHandle):
            return handle.stop_trial(trial, why, timeout_s=timeout_s)
        raise click.UsageError(f"{name} is one babysat run: tuner stop {name}")

    _ask(name, results, store, as_json, act)


@verb('tuner note night/17 "oscillates after step 10"')
@click.argument("study", metavar="NAME[/TRIAL]", callback=study_and_trial)
@click.argument("text")
@timeout_option
@study_options
def note(
    study: tuple[str, int | None], text: str, timeout_s: float | None, results: Path, store: str | None, as_json: bool
) -> None:
    """Write a note into a study's record."""
    name, trial = study
    _ask(name, results, store, as_json, lambda handle: handle.note(text, trial, timeout_s=timeout_s))


def _ask(name: str, results: Path, store: str | None, as_json: bool, act: Callable[[Handle], Reply]) -> None:
    import tuner

    with closing(tuner.attach(name, results=results, store=store)) as handle:
        handle.on_wait = waits
        reply = act(handle)
    click.get_current_context().exit(answer(name, reply, as_json))
