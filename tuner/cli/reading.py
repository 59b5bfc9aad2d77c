"""The verbs that read: ls, show, watch, export, plot, spaces. None of them needs Ray, nor a running study."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.options import results_option, study_and_trial, study_options, verb
from tuner.cli.output import say, say_json, study_as_json, trial_as_json

if TYPE_CHECKING:
    from tuner.coordinator import Status
    from tuner.reading import Study
    from tuner.study import StudyState

_LOOK_EVERY_S = 0.25


@verb("tuner ls --results results")
@results_option
def ls(results: Path, as_json: bool) -> None:
    """List the studies, the latest first."""
    import tuner

    found = tuner.studies(results)
    if as_json:
        say_json(found)
        return
    from tuner.cli import pages

    say(pages.studies(found, time.time()) if found else f"there are no studies in {results.absolute()}")


@verb("tuner show night/17")
@click.argument("study", metavar="NAME[/TRIAL]", callback=study_and_trial)
@study_options
def show(study: tuple[str, int | None], results: Path, store: str | None, as_json: bool) -> None:
    """Sum up a study, or tell all about one trial of it."""
    import tuner

    name, trial = study
    with closing(tuner.open(name, results=results, store=store)) as opened:
        if as_json:
            say_json(study_as_json(opened) if trial is None else trial_as_json(opened, trial))
            return
        from tuner import console
        from tuner.cli import pages

        say(console.summary(opened) if trial is None else pages.trial(opened, trial))


@verb("tuner watch night")
@click.argument("name")
@click.option("--once", is_flag=True, help="Show it as it is now, and end.")
@study_options
def watch(name: str, once: bool, results: Path, store: str | None, as_json: bool) -> None:
    """Follow a study that runs elsewhere.

    Until it ends, or Ctrl-C; watching changes nothing.
    """
    import tuner

    with closing(tuner.open(name, results=results, store=store)) as study:
        if not as_json:
            _follow(study, once)
        elif not once:
            while study.coordinator(time.time()) is not None:
                time.sleep(_LOOK_EVERY_S)
            study.refresh()
        if as_json:
            say_json({**study_as_json(study), "running": study.coordinator(time.time()) is not None})


def _follow(study: Study, once: bool) -> None:
    """Shows the study as its own terminal does, from what is on record."""
    from tuner.console import Progress

    progress, seen = Progress(), len(study.state.ended_order)
    try:
        while True:
            running = study.coordinator(time.time()) is not None
            study.refresh()
            progress.show(study.state, _status(study.state, seen, running=running))
            seen = len(study.state.ended_order)
            if once or not running:
                break
            time.sleep(_LOOK_EVERY_S)
    finally:
        progress.close()
    if not running:
        click.echo(f"{study.name} is not running; what came out: tuner show {study.name}", err=True)


def _status(study: StudyState, seen: int, *, running: bool) -> Status:
    """What the coordinator would say, as far as the record tells; `seen` trials had ended at the last look."""
    from tuner.coordinator import Status

    began = study.trials[0].created_at if study.trials else time.time()
    last = max((trial.ended_at for trial in study.trials if trial.ended_at is not None), default=began)
    ended = [study.trials[number] for number in study.ended_order[seen:]]
    failed = [trial for trial in ended if trial.state == "failed"]
    busy = study.counts.get("running", 0)
    return Status(
        workers=busy,
        busy=busy,
        elapsed_s=max(0.0, (time.time() if running else last) - began),
        trials_wanted=study.options.get("trials"),
        waiting_because=None,
        note=f"trial {failed[-1].trial} failed at step {failed[-1].steps}: {failed[-1].why}" if failed else None,
    )


@verb("tuner export night --format csv --to tables")
@click.argument("name")
@click.option("--format", "format_", type=click.Choice(["csv", "parquet", "jsonl"]), default="csv", show_default=True)
@click.option("--to", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Default: DIR/NAME/tables.")
@study_options
def export(name: str, format_: str, to: Path | None, results: Path, store: str | None, as_json: bool) -> None:
    """Write every table of a study to files."""
    import tuner

    with closing(tuner.open(name, results=results, store=store)) as study:
        _list_files(study.export(format_, to), as_json)


@verb("tuner plot night --to plots")
@click.argument("name")
@click.option("--to", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Default: DIR/NAME/plots.")
@study_options
def plot(name: str, to: Path | None, results: Path, store: str | None, as_json: bool) -> None:
    """Draw a study's curves and settings as PNG files."""
    import tuner

    with closing(tuner.open(name, results=results, store=store)) as study:
        _list_files(study.plot(to), as_json)


def _list_files(files: list[Path], as_json: bool) -> None:
    if as_json:
        say_json({"files": files})
    else:
        click.echo("\n".join(str(path) for path in files))


@verb("tuner spaces sgd_momentum")
@click.argument("name", required=False)
def spaces(name: str | None, as_json: bool) -> None:
    """List the search spaces, or show what one would sample.

    NAME is one of those that come with tuner, or a TOML file.
    """
    from tuner.cli import pages
    from tuner.space import Space, available_spaces, preview

    if name is not None:
        space = Space.load(name)
        if as_json:
            described = space.to_dict()["parameters"]
            said = [{"priority": each.priority, "why": each.why, "shares": preview(each)} for each in space.values()]
            say_json([{**what, **more} for what, more in zip(described, said, strict=True)])
        else:
            say(pages.space(name, space))
        return
    brought = {each: Space.load(path) for each, path in available_spaces().items()}
    if as_json:
        say_json([{"name": each, "parameters": list(space)} for each, space in brought.items()])
    else:
        say(pages.spaces(brought))
