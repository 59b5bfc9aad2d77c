"""The verbs that steer any running study from any other terminal: pause, resume, stop, note."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import Results, asking_options, note_options, study_and_trial, study_options, verb
from tuner.cli.output import answer, waits

if TYPE_CHECKING:
    from tuner.api.answers import Reply
    from tuner.api.handles import Handle
    from tuner.api.sweep_handle import SweepHandle


@verb('tuner pause night --why "the machine is needed for an hour"')
@click.argument("study", metavar="NAME[/TRIAL]", callback=study_and_trial)
@click.option("--release", is_flag=True, help="Save a babysat run and free its worker meanwhile.")
@asking_options
@study_options
def pause(
    study: tuple[str, int | None],
    release: bool,
    by: str,
    results: Results,
    store: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Hold a running study, or one trial of a sweep.

    Nothing starts, and what trains stands still between two steps; a trial alone keeps its worker.
    """
    name, trial = study

    def act(handle: Handle) -> Reply:
        from tuner.api.handles import RunHandle

        if trial is not None and not release:
            return _sweep(handle, "pause").pause_trial(trial, **asked)
        if not release:
            return handle.pause(**asked)
        if isinstance(handle, RunHandle):
            return handle.pause(release=True, **asked)
        raise click.UsageError(f"--release is for a babysat run, and {name} is a sweep.")

    _ask(name, by, results, store, as_json, act)


@verb("tuner resume night")
@click.argument("study", metavar="NAME[/TRIAL]", callback=study_and_trial)
@asking_options
@study_options
def resume(
    study: tuple[str, int | None], by: str, results: Results, store: str | None, as_json: bool, **asked: Any
) -> None:
    """Let a paused study go on, or one trial of a sweep."""
    name, trial = study

    def act(handle: Handle) -> Reply:
        if trial is None:
            return handle.resume(**asked)
        return _sweep(handle, "resume").resume_trial(trial, **asked)

    _ask(name, by, results, store, as_json, act)


@verb('tuner stop night/17 --why "it only oscillates"')
@click.argument("study", metavar="NAME[/TRIAL]", callback=study_and_trial)
@asking_options
@study_options
def stop(
    study: tuple[str, int | None], by: str, results: Results, store: str | None, as_json: bool, **asked: Any
) -> None:
    """End a study, or one trial of a sweep; nothing is lost."""
    name, trial = study

    def act(handle: Handle) -> Reply:
        if trial is None:
            return handle.stop(**asked)
        return _sweep(handle, "stop").stop_trial(trial, **asked)

    _ask(name, by, results, store, as_json, act)


@verb('tuner note night/17 "oscillates after step 10"')
@click.argument("study", metavar="NAME[/TRIAL]", callback=study_and_trial)
@click.argument("text")
@note_options
@study_options
def note(
    study: tuple[str, int | None], text: str, by: str, results: Results, store: str | None, as_json: bool, **asked: Any
) -> None:
    """Write a note into a study's record."""
    name, trial = study
    _ask(name, by, results, store, as_json, lambda handle: handle.note(text, trial, **asked))


def _sweep(handle: Handle, verb: str) -> SweepHandle:
    from tuner.api.sweep_handle import SweepHandle

    if isinstance(handle, SweepHandle):
        return handle
    raise click.UsageError(f"{handle.name} is one babysat run: tuner {verb} {handle.name}")


def _ask(
    name: str, by: str, results: Results, store: str | None, as_json: bool, act: Callable[[Handle], Reply]
) -> None:
    import tuner

    with closing(tuner.attach(name, results=results, store=store, by=by)) as handle:
        handle.on_wait = waits
        reply = act(handle)
    click.get_current_context().exit(answer(name, reply, as_json))
