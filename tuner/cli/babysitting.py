"""The verbs that begin a babysat run and steer it from any terminal; each takes effect between two steps."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import (
    Results,
    asking_options,
    beginning_option,
    by_option,
    command_options,
    disk_budget_option,
    made_ready,
    place_options,
    read_changes,
    read_settings,
    request_option,
    say_which_way,
    seconds,
    study_and_trial,
    study_options,
    trained,
    training_function,
    verb,
    why_option,
)
from tuner.cli.output import answer, say, say_json, stdout_kept, study_as_json, waits
from tuner.cli.streams import remark
from tuner.errors import StudyError
from tuner.executors import FUNCTION_EXECUTORS
from tuner.record.location import Place
from tuner.record.requests import REQUESTS, Kind, Shell, Word

if TYPE_CHECKING:
    from tuner.api.answers import Reply
    from tuner.api.handles import RunHandle
    from tuner.space.space import Space


@verb(
    "tuner babysit tuner.workloads.digits:train --set learning_rate=0.002,beta=0.9,epochs=10000 --name one",
    piped="text",
)
@click.argument("function", metavar="[PACKAGE.MODULE:FUNCTION]", required=False, callback=training_function)
@command_options
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE,…", help="Settings to begin with.")
@click.option("--space", metavar="NAME|FILE", help="Bounds what may be set, and draws what --set leaves open.")
@click.option("--name", required=True, metavar="NAME", help="One that exists is attached to.")
@click.option("--objective", default="dev_accuracy", show_default=True, help="The reported score that counts.")
@click.option("--goal", type=click.Choice(["maximize", "minimize"]), default="maximize", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--executor", type=click.Choice(FUNCTION_EXECUTORS), default="ray", show_default=True)
@click.option(
    "--address", metavar="ADDRESS", help="The Ray cluster: auto, or host:port. Default: this machine, or a job's own."
)
@click.option("--cpus", type=click.FloatRange(min=0), default=1, show_default=True)
@click.option("--gpus", type=click.FloatRange(min=0), default=0, show_default=True)
@place_options
@click.option(
    "--smallest-gain",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SCORE",
    help="What is worth training on for: less than this until its end makes a run flat.",
)
@click.option(
    "--checkpoint-every",
    "checkpoint_every_s",
    callback=seconds,
    default="10s",
    show_default=True,
    help="How often to save: 90s, 10m.",
)
@disk_budget_option
@why_option
@by_option
@beginning_option
@click.option("--detach", is_flag=True, help="Return as soon as it trains.")
@study_options
@click.pass_context
def babysit(
    ctx: click.Context,
    /,
    function: str | None,
    command: str | None,
    metrics: tuple[str, ...],
    resumes: bool,
    sets: tuple[str, ...],
    space: str | None,
    name: str,
    detach: bool,
    results: Results,
    store: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train one model, watched and adjusted while it trains.

    It trains in a process of its own, and goes on when you leave; the same --name again comes back to it.
    """
    import tuner
    from tuner.space.space import Space

    train = trained(function, command, metrics, resumes)
    searched = None if space is None else Space.load(space)
    options["runtime_env"] = made_ready(options)
    say_which_way(ctx)
    read = (read_settings(text, searched, "--set", others="kept") for text in sets)
    params = {word: value for settings in read for word, value in settings.items()}
    was_there = Place.of(name, results, store).is_there
    with stdout_kept(as_json):
        handle = tuner.babysit(
            train, params or None, name=name, space=searched, results=results, store=store, **options
        )
    with closing(handle):
        if was_there:
            remark(f"{name} was there already: this is how it stands")
        if not detach and not as_json:
            from tuner.cli.following import follow

            try:
                ctx.exit(follow(handle))
            except KeyboardInterrupt:
                remark(f"{name} trains on. Come back: tuner watch {name}; end it: tuner stop {name}")
                raise
        if not detach:
            handle.wait().close()
        _introduce(handle, as_json)
        with closing(handle.study) as study:
            ctx.exit(1 if study.state.trials[0].state in ("failed", "diverged") else 0)


@verb("tuner fork one --set learning_rate=0.03 --step 40 --as bolder")
@click.argument("name")
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE,…", help="What the other run does otherwise.")
@click.option("--step", type=click.IntRange(min=0), help="From the newest checkpoint at or before this step.")
@click.option("--as", "new_name", metavar="NAME", help="What to call it. Default: the name with a number.")
@why_option
@by_option
@request_option
@beginning_option
@study_options
def fork(
    name: str,
    sets: tuple[str, ...],
    step: int | None,
    new_name: str | None,
    why: str,
    by: str,
    request: str,
    timeout_s: float | None,
    results: Results,
    store: str | None,
    as_json: bool,
) -> None:
    """Start another run from a checkpoint of a babysat one.

    Both train on, and can be compared.
    """
    values = read_changes(sets, _space(name, results), "--set")
    with closing(_run(name, results, store, by)) as run:
        forked = run.fork(values, name=new_name, step=step, why=why, request=request, timeout_s=timeout_s)
    with closing(forked):
        _introduce(forked, as_json)


@verb("tuner compare one bolder")
@click.argument("one", metavar="NAME[/TRIAL]", callback=study_and_trial)
@click.argument("other", metavar="OTHER[/TRIAL]", callback=study_and_trial)
@study_options
def compare(
    one: tuple[str, int | None], other: tuple[str, int | None], results: Results, store: str | None, as_json: bool
) -> None:
    """Show two babysat runs side by side.

    Of two trials of a sweep, say whether they can be told apart, by the repeats with new seeds that `tuner confirm`
    trains.
    """
    if one[1] is not None and other[1] is not None and one[0] == other[0]:
        _compare_trials(one[0], one[1], other[1], results, store, as_json)
        return
    if one[1] is not None or other[1] is not None:
        raise click.UsageError("write two babysat runs, or two trials of one sweep: night/3 night/17.")
    with closing(_run(one[0], results, store)) as run, closing(run.study) as study:
        frame, goal = run.compare(other[0]), study.state.goal
    if as_json:
        scores = {str(column): frame[column].tolist() for column in frame}
        say_json({**frame.attrs, "steps": frame.index.tolist(), "scores": scores})
        return
    from tuner.cli import pages

    say(pages.comparison(frame, goal))
    say(frame.attrs["answer"])


def _compare_trials(name: str, one: int, other: int, results: Results, store: str | None, as_json: bool) -> None:
    import tuner
    from tuner.cli import pages
    from tuner.cli.learning import as_value

    with closing(tuner.open(name, results=results, store=store)) as study:
        found = study.compare(one, other)
    if as_json:
        say_json(as_value(found))
        return
    say(pages.confirmation(found))
    say(found.answer)


@verb("tuner promote night/17 --as one")
@click.argument("study", metavar="NAME/TRIAL", callback=study_and_trial)
@click.option("--as", "new_name", metavar="NAME", help="What to call the run. Default: NAME-TRIAL.")
@why_option
@by_option
@request_option
@beginning_option
@study_options
def promote(
    study: tuple[str, int | None],
    new_name: str | None,
    why: str,
    by: str,
    request: str,
    timeout_s: float | None,
    results: Results,
    store: str | None,
    as_json: bool,
) -> None:
    """Babysit a trial of a sweep from where it stands."""
    import tuner

    name, trial = study
    if trial is None:
        raise click.UsageError(f"which trial? Write {name}/17; the best are in: tuner show {name}")
    given: dict[str, Any] = {
        "name": new_name,
        "why": why,
        "by": by,
        "request": request,
        "timeout_s": timeout_s,
        "results": results,
        "store": store,
    }
    with closing(tuner.promote(name, trial, **given)) as promoted:
        _introduce(promoted, as_json)


# ── what is asked of a run ──────────────────────────────────────────────────────────────────────

_TYPES: Mapping[Kind, click.ParamType[Any] | None] = {
    "count": click.IntRange(min=1),
    "index": click.IntRange(min=0),
    "number": click.FLOAT,
    "text": click.STRING,
}


def _type_of(word: Word) -> click.ParamType[Any] | None:
    return click.Choice(word.kind) if isinstance(word.kind, tuple) else _TYPES.get(word.kind)


def _argument(name: str, word: Word) -> click.Argument:
    several = -1 if word.kind == "settings" else 1
    return click.Argument([name], type=_type_of(word), metavar=word.metavar, nargs=several, required=True)


def _option(name: str, word: Word) -> click.Option:
    how: dict[str, Any] = {"is_flag": True} if word.kind == "flag" else {"type": _type_of(word)}
    return click.Option([f"--{name.replace('_', '-')}", name], metavar=word.metavar, help=word.help, **how)


def _asking(asked: str, shell: Shell) -> click.Command:
    """The verb of the shell that asks a babysat run for what the method of that name asks for in Python."""
    settings = [name for name, word in shell.words.items() if word.kind == "settings"]

    @asking_options
    @study_options
    def ask(name: str, by: str, results: Results, store: str | None, as_json: bool, **words: Any) -> None:
        given = {word: value for word, value in words.items() if value not in (None, "")}
        if refusal := shell.refuses(given):
            raise click.UsageError(refusal)
        # as a mapping: a setting may be called as another argument is
        changes = [read_changes(given.pop(word), _space(name, results), "NAME=VALUE") for word in settings]
        with closing(_run(name, results, store, by)) as run:
            run.on_wait = waits
            reply: Reply = getattr(run, asked)(*changes, **given)
        click.get_current_context().exit(answer(name, reply, as_json, later="at" in given))

    ask.__name__, ask.__doc__ = asked, shell.help
    command = verb(shell.example)(ask)
    command.params[:0] = [
        click.Argument(["name"]),
        *(_argument(name, word) for name, word in shell.words.items()),
        *(_option(name, word) for name, word in shell.options.items()),
    ]
    return command


ASKED: Mapping[str, click.Command] = {
    word: _asking(word, how.shell) for word, how in REQUESTS.items() if how.shell is not None
}
"""The verbs of a babysat run alone, by their names."""


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


def _run(name: str, results: Results, store: str | None, by: str = "") -> RunHandle:
    """The handle of a babysat run; a sweep is refused."""
    import tuner
    from tuner.api.handles import RunHandle

    handle = tuner.attach(name, results=results, store=store, by=by)
    if isinstance(handle, RunHandle):
        return handle
    handle.close()
    raise StudyError(
        f"{name} is a sweep, and this is for a babysat run. Make one of a trial of it: tuner promote {name}/TRIAL"
    )


def _space(name: str, results: Results) -> Space | None:
    """The space of a run, which knows what type a setting has; whether there is such a run is told elsewhere."""
    from tuner.api.assignment import Assignment
    from tuner.space.space import Space

    folder = Place.of(name, results, None).folder
    try:
        described = Assignment.read(folder).space
    except StudyError:
        return None
    return None if described is None else Space.from_dict(described)


def _introduce(run: RunHandle, as_json: bool) -> None:
    """Says that a run trains, and how to go on with it."""
    from tuner.views.activity import ways_on

    with closing(run.study) as study:
        if as_json:
            say_json(study_as_json(study))
            return
        found = study.state.trials[0]
        how = found.segments[0].why if found.segments else found.why
        how = f"from {found.parent.replace('@', ' at step ')}: {how}" if found.parent else how
        stands = f"{found.state}: {found.why}" if found.ended else f"trains, {how}"
        say(f"{run.name} {stands}\n{ways_on(study.state)}")
