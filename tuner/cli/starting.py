"""The verbs that train: sweep and check."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.caviar.rules import STOPPING
from tuner.cli.options import (
    Results,
    by_option,
    command_options,
    disk_budget_option,
    made_ready,
    place_options,
    read_settings,
    retries,
    say_which_way,
    seconds,
    study_options,
    trained,
    training_function,
    verb,
    why_option,
)
from tuner.cli.output import say, say_json, stdout_kept, study_as_json
from tuner.cli.streams import Unanswered, remark
from tuner.errors import MissingExtra, TunerError, first_line
from tuner.executors import EXECUTORS
from tuner.record.object_address import local_folder
from tuner.samplers import SAMPLERS

if TYPE_CHECKING:
    from tuner.api.study import Study
    from tuner.programs.command import Program


@verb("tuner sweep tuner.workloads.digits:train --space sgd_momentum --trials 64 --name night")
@click.argument("function", metavar="[PACKAGE.MODULE:FUNCTION]", required=False, callback=training_function)
@command_options
@click.option("--space", required=True, metavar="NAME|FILE", help="What to search: see `tuner spaces`, or a TOML file.")
@click.option("--name", metavar="NAME", help="One that exists goes on. Default: the function's, numbered.")
@click.option("--objective", default="dev_accuracy", show_default=True, help="The reported score to select by.")
@click.option("--goal", type=click.Choice(["maximize", "minimize"]), default="maximize", show_default=True)
@click.option("--trials", type=click.IntRange(min=1), help="Models in all. Default: 64 without another budget.")
@click.option("--budget-steps", type=click.IntRange(min=1), help="Training steps over all trials.")
@click.option("--time-budget", "time_budget_s", callback=seconds, help="How long to train: 90s, 10m, 1.5h.")
@click.option("--try", "starts", multiple=True, metavar="NAME=VALUE,…", help="Known-good settings to try first.")
@click.option("--warm-start", metavar="OTHER", help="Try the best settings of another study first.")
@click.option("--sampler", type=click.Choice(SAMPLERS), default="coarse_to_fine", show_default=True)
@click.option(
    "--stopping",
    type=click.Choice(STOPPING),
    default="auto",
    show_default=True,
    help="What pauses or ends a trial early.",
)
@click.option("--min-steps", type=click.IntRange(min=1), help="Judge no trial before this step.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--seeds",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Train each trial with so many seeds, --seeds 3, and score their mean.",
)
@click.option(
    "--executor",
    type=click.Choice(EXECUTORS),
    default="ray",
    show_default=True,
    help="external: programs ask for their trials, and no function is named.",
)
@click.option(
    "--lease",
    "lease_s",
    callback=seconds,
    default="60s",
    show_default=True,
    metavar="TIME",
    help="How long such a program may be silent before its trial goes to another.",
)
@click.option("--debug", is_flag=True, help="One trial at a time in this process: breakpoint() works.")
@click.option(
    "--address", metavar="ADDRESS", help="The Ray cluster: auto, or host:port. Default: this machine, or a job's own."
)
@click.option("--cpus", type=click.FloatRange(min=0), default=1, show_default=True, help="CPUs for each trial.")
@click.option("--gpus", type=click.FloatRange(min=0), default=0, show_default=True, help="GPUs for each trial.")
@place_options
@click.option("--parallel", type=click.IntRange(min=1), help="Trials at a time. Default: as many as fit.")
@click.option("--max-failures", type=click.IntRange(min=1), help="Give up after this many failed trials.")
@click.option(
    "--failures-in-a-row",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Give up after this many failures one after another.",
)
@click.option(
    "--retries",
    callback=retries,
    default="0",
    show_default=True,
    metavar="N|ERROR=N,…",
    help="How often to try a trial again that raised, or by the class of what it raised.",
)
@click.option(
    "--time-limit", "time_limit_s", callback=seconds, metavar="TIME", help="How long one trial may train: 90s."
)
@click.option(
    "--silence-limit",
    "silence_limit_s",
    callback=seconds,
    metavar="TIME",
    help="How long a trial may go without a step or a report.",
)
@disk_budget_option
@why_option
@by_option
@click.option("--dry-run", is_flag=True, help="Train nothing: say what it would take in steps and seconds.")
@click.option("--rerun-failed", is_flag=True, help="Train the trials again that failed before.")
@click.option("--repeats", type=click.Choice(["auto"]), help="Train leaders again where luck separates them.")
@click.option("--plot/--no-plot", "plots", default=None, help="Draw plots at the end. Default: where matplotlib is.")
@study_options
@click.pass_context
def sweep(
    ctx: click.Context,
    /,
    function: str | None,
    command: str | None,
    metrics: tuple[str, ...],
    resumes: bool,
    space: str,
    name: str | None,
    starts: tuple[str, ...],
    debug: bool,
    executor: str,
    dry_run: bool,
    rerun_failed: bool,
    plots: bool | None,
    results: Results,
    as_json: bool,
    **options: Any,
) -> None:
    """Train many models in parallel, and keep the best.

    The same --name again goes on where it ended.
    """
    import tuner
    from tuner.space.space import Space

    train = None
    if executor == "external":
        _refuse_training(function, command, debug)
    else:
        train = trained(function, command, metrics, resumes)
    searched = Space.load(space)
    options["runtime_env"] = made_ready(options)
    say_which_way(ctx)
    start = [read_settings(text, searched, "--try") for text in starts]
    if debug:
        executor, options["parallel"] = "local", 1
    if dry_run and train is None:
        raise click.UsageError("--dry-run prices a function by its earlier studies: programs that ask are not known.")
    if dry_run and train is not None:
        _price(train, {**options, "executor": executor, "results": results}, as_json)
        return
    name = _fresh_name(train, results) if name is None else name
    with stdout_kept(as_json):
        try:
            study = tuner.sweep(
                train,
                searched,
                name=name,
                start=start or None,
                executor=executor,  # type: ignore[arg-type]  # one of the two: click has checked
                rerun="failed" if rerun_failed else "nothing",
                progress="off" if debug else "auto",
                results=results,
                **options,
            )
        except KeyboardInterrupt:
            remark(f"everything so far is kept: the same command with --name {name} goes on")
            raise
        files = [*_written(study, "export", study.export), *_written(study, "plot", lambda: _plots(study, plots))]
        if not as_json:
            from tuner.views import terminal as console

            with suppress(Unanswered):  # nobody is there to be told, and all is done
                say(console.summary(study, recommended=study.recommended))
    if as_json:
        say_json({**study_as_json(study), "files": files})
    in_vain = study.best is None and bool(study.state.ended_order)
    study.close()
    ctx.exit(1 if in_vain else 0)


def _refuse_training(function: str | None, command: str | None, debug: bool) -> None:
    """Refuses whatever is to train, where programs ask for their trials."""
    named = function or command or ("--debug" if debug else None)
    if named is not None:
        raise click.UsageError(
            f"--executor external calls nothing: programs ask for their trials. Leave out {named}, or the option."
        )


def _price(train: str | Program, options: Mapping[str, Any], as_json: bool) -> None:
    """Says what the sweep would take."""
    import tuner

    priced = inspect.signature(tuner.price).parameters
    with stdout_kept(as_json):
        found = tuner.price(train, **{word: value for word, value in options.items() if word in priced})
    if as_json:
        say_json({**vars(found), "sentence": found.sentence})
    else:
        say(found.sentence)


def _fresh_name(train: str | Program | None, results: Results) -> str:
    """The name of the function, or of the program, with the first number that no study has taken."""
    called = "asked" if train is None else train.rpartition(":")[2] if isinstance(train, str) else train.short_name
    base = re.sub(r"[^A-Za-z0-9._-]", "", called).lstrip("._-") or "sweep"
    name, number = base, 1
    while (local_folder(results) / name).exists():
        number += 1
        name = f"{base}-{number}"
    return name


def _written(study: Study, again: str, write: Callable[[], list[Path]]) -> list[Path]:
    """The files that a verb writes once all is trained; one that fails costs its files alone."""
    try:
        return write()
    except MissingExtra:
        raise
    except (TunerError, OSError) as error:
        told = str(error)
    except Exception as error:
        from tuner.coordinator import faults

        told = f"a bug in tuner: {first_line(error)}; {faults.keep(study.place.folder, error, f'in {again}')}"
    remark(f"note: {told.rstrip('.')}. Once that is mended: tuner {again} {study.name}", "yellow")
    return []


def _plots(study: Any, wanted: bool | None) -> list[Path]:
    if wanted is False:
        return []
    try:
        drawn: list[Path] = study.plot()
    except MissingExtra:
        if wanted:
            raise
        return []
    return drawn


@verb("tuner check tuner.workloads.digits:train --set learning_rate=0.1 --steps 6")
@click.argument("function", metavar="[PACKAGE.MODULE:FUNCTION]", required=False, callback=training_function)
@command_options
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE,…", help="Settings to train with.")
@click.option("--space", metavar="NAME|FILE", help="Draw the settings from this space.")
@click.option("--steps", type=click.IntRange(min=2), help="How many steps to train.")
@click.pass_context
def check(
    ctx: click.Context,
    function: str | None,
    command: str | None,
    metrics: tuple[str, ...],
    resumes: bool,
    sets: tuple[str, ...],
    space: str | None,
    steps: int | None,
    as_json: bool,
) -> None:
    """See whether a model continues truly from its checkpoint.

    Trains, saves, goes back, trains again, and names what differs.
    """
    import tuner
    from tuner.space.space import Space

    train = trained(function, command, metrics, resumes)
    searched = None if space is None else Space.load(space)
    params = {name: value for text in sets for name, value in read_settings(text, searched, "--set").items()}
    options: dict[str, Any] = {} if steps is None else {"steps": steps}
    with stdout_kept(as_json):
        report = tuner.check(train, params or None, space=searched, **options)
    if as_json:
        say_json({"same": report.same, "differences": report.differences, "sentences": report.sentences})
    else:
        say("\n".join(report.sentences))
    ctx.exit(0 if report.same else 1)
