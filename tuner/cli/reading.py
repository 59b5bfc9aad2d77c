"""The verbs that read: ls, show, watch, export, plot, spaces. None of them needs Ray, nor a running study."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import Results, study_and_trial, study_options, verb
from tuner.cli.output import say, say_json, study_as_json, trial_as_json
from tuner.cli.streams import remark, tell
from tuner.record.object_address import local_folder
from tuner.record.team import shown_url
from tuner.values.numbers import duration
from tuner.values.plain import json_of

if TYPE_CHECKING:
    from tuner.api.study import Study
    from tuner.coordinator.observers import Status
    from tuner.record.state import StudyState

_LOOK_EVERY_S = 0.25
BEGINS_WITHIN_S = 30.0
FORMATS = ("csv", "parquet", "jsonl", "markdown", "optuna")


@verb("tuner ls --results results")
@study_options
def ls(results: Results, store: str | None, as_json: bool) -> None:
    """List the studies, the latest first."""
    import tuner

    found = tuner.studies(results, store)
    babysat = (each.name for each in found if each.kind == "babysitting")
    runs = {name: told for name in babysat if (told := _run(name, results, store))}
    if as_json:
        say_json([{**json_of(each), **runs.get(each.name, {})} for each in found])
        return
    from tuner.cli import pages

    where = local_folder(results) if store is None else shown_url(store)
    say(pages.studies(found, runs, time.time()) if found else f"there are no studies in {where}")


def _run(name: str, results: Results, store: str | None) -> dict[str, Any] | None:
    """How a babysat run stands; None where it cannot be read yet."""
    import tuner
    from tuner.views.activity import activity

    try:
        with closing(tuner.open(name, results=results, store=store)) as study:
            trial = study.state.trials[0]
            running = study.coordinator(time.time()) is not None
            return {
                "state": trial.state,
                "activity": activity(study.state, running=running),
                "step": trial.steps,
                "best": trial.best_score,
                "best_step": trial.best_step,
            }
    except (tuner.TunerError, IndexError):
        return None


@contextmanager
def looked_at(name: str, results: Results, store: str | None) -> Iterator[Study]:
    """A study that is looked at once, and all that is made of it till the end: nobody need look for garbage."""
    gc.disable()
    try:
        import tuner

        with closing(tuner.open(name, results=results, store=store)) as study:
            yield study
    finally:
        gc.freeze()
        gc.unfreeze()  # all of it is old by that: nobody looks through it because it is new
        gc.enable()


@verb("tuner show night/17")
@click.argument("study", metavar="NAME[/TRIAL]", callback=study_and_trial)
@study_options
def show(study: tuple[str, int | None], results: Results, store: str | None, as_json: bool) -> None:
    """Sum up a study, or tell all about one trial of it."""
    name, trial = study
    with looked_at(name, results, store) as opened:
        if as_json:
            say_json(study_as_json(opened) if trial is None else trial_as_json(opened, trial))
            return
        from tuner.cli import pages
        from tuner.views import terminal as console

        if trial is not None:
            say(pages.trial(opened, trial))
        elif opened.state.kind == "babysitting" and opened.state.trials:
            say(pages.run(opened, running=opened.coordinator(time.time()) is not None))
        else:
            say(console.summary(opened, recommended=opened.recommended))


@verb("tuner watch night", piped="text")
@click.argument("name")
@click.option("--once", is_flag=True, help="Show it as it is now, and end.")
@study_options
@click.pass_context
def watch(ctx: click.Context, name: str, once: bool, results: Results, store: str | None, as_json: bool) -> None:
    """Follow a study that runs elsewhere.

    Until it ends, or Ctrl-C, and then the study goes on. A babysat run is shown, and steered, in its own room.
    """
    import tuner
    from tuner.api.handles import RunHandle

    if not once:
        await_beginning(name, results, store)
    if not as_json:
        with closing(tuner.attach(name, results=results, store=store)) as handle:
            if isinstance(handle, RunHandle):
                from tuner.cli.following import follow

                ctx.exit(follow(handle, once=once))
    with closing(tuner.open(name, results=results, store=store)) as study:
        if not as_json:
            _follow(study, once)
        elif not once:
            with study.outlasting(remark):
                while study.coordinator(time.time()) is not None:
                    time.sleep(_LOOK_EVERY_S)
                study.refresh()
        if as_json:
            say_json({**study_as_json(study), "running": study.coordinator(time.time()) is not None})


def await_beginning(name: str, results: Results, store: str | None, within_s: float = BEGINS_WITHIN_S) -> None:
    """Waits for a study that is about to begin; raises why one that does not cannot be read."""
    from tuner.api.study import Study
    from tuner.errors import DatabaseAway, StudyNotBegun, StudyNotFound
    from tuner.record.location import Place
    from tuner.record.patience import Patience
    from tuner.record.store import Store

    gives_up, told = time.monotonic() + within_s, False
    place = Place.of(name, results, store)
    while True:
        try:
            records = Store.open(place.existing(), idle="closed", patience=Patience(within_s=0.0))
            with closing(Study(place, records)) as study:
                if study.state.kind == "sweep" or study.state.trials or time.monotonic() >= gives_up:
                    return
        except (StudyNotFound, StudyNotBegun, DatabaseAway) as error:
            if time.monotonic() >= gives_up:
                raise
            if not told:
                remark(f"waiting up to {duration(within_s)} for {name} to begin: {error}", "yellow")
                told = True
        time.sleep(_LOOK_EVERY_S)


def _follow(study: Study, once: bool) -> None:
    """Shows the study as its own terminal does, from what is on record."""
    from tuner.views.terminal import Progress

    progress, seen = Progress(), len(study.state.ended_order)

    def say(told: str) -> None:
        progress.show(study.state, dataclasses.replace(_status(study.state, seen, running=True), note=told))

    try:
        with nullcontext() if once else study.outlasting(say):
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
        remark(f"{study.name} is not running; what came out: tuner show {study.name}")


def _status(study: StudyState, seen: int, *, running: bool) -> Status:
    """What the coordinator would say, as far as the record tells; `seen` trials had ended at the last look."""
    from tuner.coordinator.observers import Status

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


@verb("tuner export night --format csv --to tables", piped="text")
@click.argument("name")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="csv", show_default=True)
@click.option(
    "--to",
    metavar="DIR",
    help="Default: within DIR/NAME, and in the object store if there is one. For optuna a database, as sqlite:///x.db.",
)
@study_options
def export(name: str, format_: str, to: str | None, results: Results, store: str | None, as_json: bool) -> None:
    """Write every table of a study to files.

    As markdown, the logbook of a babysat run: who changed what, when, why, and what came of it. As optuna, a storage
    that Optuna's dashboard and plots read; once more brings it up to date.
    """
    import tuner

    with closing(tuner.open(name, results=results, store=store)) as study:
        if format_ != "optuna":
            _list_files(study.export(format_, to), as_json)
            return
        from tuner.views.optuna import copy

        copied = copy(study, to)
        if as_json:
            say_json({"files": [copied.file] if copied.file else [], **dataclasses.asdict(copied)})
        else:
            tell(str(copied))


@verb("tuner plot night --x learning_rate --y beta", piped="text")
@click.argument("name")
@click.option("--x", metavar="SETTING", help="The scatter plot's horizontal axis. Default: what matters most.")
@click.option("--y", metavar="SETTING", help="Its vertical axis; the objective works too. Default: what matters next.")
@click.option(
    "--to",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Default: DIR/NAME/plots, and in the object store if there is one.",
)
@study_options
def plot(
    name: str, x: str | None, y: str | None, to: Path | None, results: Results, store: str | None, as_json: bool
) -> None:
    """Draw a study's curves and settings as PNG files.

    Of a babysat run, its lineage: what it scored, what was changed, and what was given up.
    """
    import tuner

    with closing(tuner.open(name, results=results, store=store)) as study:
        _list_files(study.plot(to, x=x, y=y), as_json)


def _list_files(files: list[Path], as_json: bool) -> None:
    if as_json:
        say_json({"files": files})
    else:
        tell("\n".join(str(path) for path in files))


@verb("tuner spaces sgd_momentum")
@click.argument("name", required=False)
def spaces(name: str | None, as_json: bool) -> None:
    """List the search spaces, or show what one would sample.

    NAME is one of those that come with tuner, or a TOML file.
    """
    from tuner.cli import pages
    from tuner.space.files import available_spaces
    from tuner.space.preview import preview
    from tuner.space.space import Space

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
