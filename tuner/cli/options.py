"""Options that several verbs share, and how a word on the command line becomes a value."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

import click
from click.core import ParameterSource

from tuner.cli.output import Piped, json_by_itself, say_refusal
from tuner.cli.streams import remark
from tuner.errors import SettingsError, TunerError, did_you_mean
from tuner.values.arguments import is_url, names_a_script

if TYPE_CHECKING:
    from tuner.programs.command import Program
    from tuner.space.space import Space

AnyCallable = TypeVar("AnyCallable", bound=Callable[..., Any])
Results: TypeAlias = Path | str
"""What --results names: a folder, or the address of an object store."""


class ShellVerb(click.Command):
    """A verb, which answers a program in JSON, a refusal too."""

    piped: Piped = "json"

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Reads its words; what makes no sense in them is told as JSON too where JSON is wanted."""
        asked = {"--json": True, "--no-json": False}
        wanted = [asked[word] for word in args if word in asked] or [json_by_itself(self.piped)]
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if wanted[-1]:
                say_refusal(error.format_message(), "usage")
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Does what it is for; what refuses it is told as JSON too where JSON is wanted."""
        try:
            return super().invoke(ctx)
        except (TunerError, click.UsageError) as error:
            if ctx.params.get("as_json"):
                told = (str(error), error.code) if isinstance(error, TunerError) else (error.format_message(), "usage")
                say_refusal(*told)
            raise


def verb(example: str, *, piped: Piped = "json") -> Callable[[Callable[..., Any]], ShellVerb]:
    """Makes a verb that takes --json and whose help ends with an example; `piped` is what it prints into a pipe."""

    def given(ctx: click.Context, param: click.Parameter, asked: bool | None) -> bool:  # noqa: ARG001 - a callback
        return json_by_itself(piped) if asked is None else asked

    def make(function: Callable[..., Any]) -> ShellVerb:
        command = click.command(cls=ShellVerb, epilog=f"\b\nExample:\n  {example}")(function)
        command.piped = piped
        told = "Print JSON alone on stdout" + (", as where that is no terminal." if piped == "json" else ".")
        command.params.append(click.Option(["--json/--no-json", "as_json"], default=None, callback=given, help=told))
        return command

    return make


class _FolderOrURL(click.Path):
    """A folder, or the address of an object store as it is written."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A URL stays text: a path would make one slash of two."""
        return value if is_url(value) else super().convert(value, param, ctx)


store_option = click.option(
    "--store",
    envvar="TUNER_STORE",
    metavar="URL",
    help="Where the records lie: postgresql://USER@HOST/DATABASE, or sqlite:////absolute/path/to/NAME.db. "
    "Default: $TUNER_STORE, or the study's folder.",
)


def study_options(function: AnyCallable) -> AnyCallable:
    """Where the study lies: --results and --store."""
    results = click.option(
        "--results",
        metavar="DIR",
        default="results",
        show_default=True,
        type=_FolderOrURL(file_okay=False, path_type=Path),
        help="The folder that holds a folder for each study; or s3://BUCKET/FOLDER for checkpoints, tables and plots.",
    )
    return results(store_option(function))


def results_option(function: AnyCallable) -> AnyCallable:
    """--results, the folder that holds a folder for each study."""
    return click.option(
        "--results",
        metavar="DIR",
        default="results",
        show_default=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="The folder that holds a folder for each study.",
    )(function)


why_option = click.option("--why", default="", metavar="TEXT", help="The reason, for the record; agents must give one.")
by_option = click.option(
    "--by",
    default="",
    envvar="TUNER_BY",
    metavar="NAME",
    help="Who asks, for the record: agent:NAME for a program that acts by itself. Default: $TUNER_BY, or the user.",
)


def seconds(ctx: click.Context, param: click.Parameter, word: str | None) -> float | None:  # noqa: ARG001 - a callback
    """The seconds in a time span such as 90, 90s, 10m, 1.5h or 2d."""
    if word is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", word.strip())
    if found is None:
        raise click.BadParameter(f"{word!r} is no time span. Write 90s, 10m, 1.5h or 2d.")
    return float(found[1]) * _SECONDS[found[2]]


_SECONDS: Mapping[str, int] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def training_function(ctx: click.Context, param: click.Parameter, word: str | None) -> str | None:  # noqa: ARG001
    """The import path of a training function; whether it is there is seen when it is looked for."""
    if word is None:
        return None
    if (told := names_a_script(word)) is not None:
        command = word if " " in word.strip() else f"python {word.partition(':')[0]} --lr {{learning_rate}}"
        raise click.BadParameter(f"{told}--command {shlex.quote(command)}")
    module, colon, function = word.partition(":")
    if not (module and colon and function):
        raise click.BadParameter(f"{word!r} names no function. Write package.module:function, as in my_code:train.")
    return word


def command_options(function: AnyCallable) -> AnyCallable:
    """--command and --metric, in place of the import path of a function."""
    metric = click.option(
        "--metric",
        "metrics",
        multiple=True,
        metavar="PATTERN",
        help="What the command prints of its score: 'val_acc=([\\d.]+)'. Default: lines of JSON.",
    )
    command = click.option(
        "--command", metavar="COMMAND", help="A program in place of a function: 'python train.py --lr {learning_rate}'."
    )
    resumes = click.option(
        "--resumes", is_flag=True, help="The command resumes from what $TUNER_CHECKPOINT names, as with {checkpoint}."
    )
    return command(metric(resumes(function)))


def trained(function: str | None, command: str | None, metrics: tuple[str, ...], resumes: bool) -> str | Program:
    """What trains: a function by its import path, or a command; neither, or both, is wrong usage."""
    if (function is None) == (command is None):
        raise click.UsageError(
            "Name what trains: a function, as in my_code:train, or a program, as in --command 'python train.py --lr "
            f"{{learning_rate}}'. Got {'neither' if function is None else 'both'}."
        )
    if command is None:
        if metrics:
            raise click.UsageError("--metric goes with --command: a function reports its scores with run.report(...).")
        if resumes:
            raise click.UsageError("--resumes goes with --command: a function says so with run.state(...).")
        return function or ""
    from tuner.programs.command import command as made

    return made(command, metric=list(metrics) or None, resume="yes" if resumes else "auto")


def say_which_way(ctx: click.Context) -> None:
    """Says that a score is maximized which by its name is the better the lower, where nobody said so."""
    from tuner.record.score_names import is_better_lower

    objective = ctx.params["objective"]
    if ctx.get_parameter_source("goal") is ParameterSource.DEFAULT and is_better_lower(objective):
        remark(f"note: the highest {objective} is taken for the best. For the lowest: --goal minimize", "yellow")


def place_options(function: AnyCallable) -> AnyCallable:
    """What a trial takes of a node, and what is made ready there: --resources, --runtime-env and --env."""
    taken = click.option(
        "--resources",
        callback=_amounts,
        metavar="NAME=AMOUNT,…",
        help="More that each takes of a node of Ray: memory=8e9 (bytes), or what a cluster calls its own.",
    )
    ready = click.option(
        "--runtime-env",
        callback=_runtime_env,
        metavar="FILE|JSON",
        help="What Ray makes ready for workers: working_dir, pip …; JSON, or a file of JSON or TOML.",
    )
    variables = click.option(
        "--env",
        "variables",
        multiple=True,
        callback=_variables,
        metavar="NAME[=VALUE]",
        help="A variable for workers of Ray. Without a value: as it is here, which keeps a secret off this line.",
    )
    return taken(ready(variables(function)))


def made_ready(options: dict[str, Any]) -> dict[str, Any] | None:
    """What --runtime-env and --env say together, taken out of the options."""
    given, variables = options.pop("runtime_env"), options.pop("variables")
    if not variables:
        return cast("dict[str, Any] | None", given)
    return {**(given or {}), "env_vars": {**(given or {}).get("env_vars", {}), **variables}}


def _amounts(ctx: click.Context, param: click.Parameter, text: str | None) -> dict[str, float] | None:  # noqa: ARG001
    if text is None:
        return None
    found = {name: _plain_value(word) for name, word in _pairs(text, "--resources")}
    for name, amount in found.items():
        if isinstance(amount, bool) or not isinstance(amount, int | float):
            raise click.BadParameter(f"{name}={amount} is no amount. Write a number: {name}=1.")
    return found


def _runtime_env(ctx: click.Context, param: click.Parameter, text: str | None) -> dict[str, Any] | None:  # noqa: ARG001
    if text is None:
        return None
    try:
        written = text if text.lstrip().startswith("{") else Path(text).read_text()
        found = tomllib.loads(written) if text.endswith(".toml") else json.loads(written)
    except OSError as error:
        told = f"{text!r} cannot be read: {error.strerror}. Give a file, or JSON in braces."
        raise click.BadParameter(told) from None
    except ValueError as error:
        raise click.BadParameter(f"it is no JSON, or TOML in a file of that name: {error}.") from None
    if not isinstance(found, dict):
        raise click.BadParameter('it holds no fields. Write {"env_vars": {"NAME": "value"}}.')
    return found


def _variables(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:  # noqa: ARG001
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals and name not in os.environ:
            raise click.BadParameter(f"{name} is not set here. Write {name}=VALUE, or set it first.")
        found[name] = value if equals else os.environ[name]
    return found


timeout_option = click.option(
    "--timeout",
    "timeout_s",
    callback=seconds,
    metavar="TIME",
    help="How long to wait for it to take effect: 0s, 90s, 10m. What has not by then is on record (exit code 3).",
)


request_option = click.option(
    "--request", default="", metavar="ID", help="An id of your own: the same id twice is one request, one answer."
)


def note_options(function: AnyCallable) -> AnyCallable:
    """What every verb takes that asks for something: --by, --request and --timeout."""
    return by_option(request_option(timeout_option(function)))


def asking_options(function: AnyCallable) -> AnyCallable:
    """The same with --why and --expect, which a note does without."""
    expect = click.option(
        "--expect",
        type=click.IntRange(min=0),
        metavar="N",
        help="The newest segment of a run, or round of a sweep, that you saw: a newer one refuses it.",
    )
    return why_option(expect(note_options(function)))


beginning_option = click.option(
    "--timeout",
    "timeout_s",
    callback=seconds,
    metavar="TIME",
    help="How long to wait for it to begin: 90s, 10m. Then exit code 1, and it begins all the same. Default: 5m.",
)
disk_budget_option = click.option(
    "--disk-budget",
    "disk_budget_gb",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB",
    help="What its checkpoints may take. Default: 10, or half of what is free.",
)


def retries(ctx: click.Context, param: click.Parameter, word: str) -> int | dict[str, int]:  # noqa: ARG001 - a callback
    """How often in `2`, or by the class of an error in `OSError=2,MemoryError=1`."""
    if word.strip().isdecimal():
        return int(word)
    found: dict[str, int] = {}
    for part in word.split(","):
        error, _, times = (each.strip() for each in part.partition("="))
        if not times.isdecimal() or not all(name.isidentifier() for name in error.split(".")):
            raise click.BadParameter(f"{part!r} does not say how often. Write 2, or by the class of error: OSError=2.")
        found[error] = int(times)
    return found


# How alike two names are, the one of which is probably the other, misspelt: learning_rte and learning_rate are so by
# 0.96, batch_size and batch_norm by 0.6.
_MISSPELT = 0.8


def study_and_trial(ctx: click.Context, param: click.Parameter, word: str) -> tuple[str, int | None]:  # noqa: ARG001
    """The study's name and the trial's number in NAME/TRIAL; None where NAME stands alone."""
    name, slash, trial = word.partition("/")
    if slash and not (trial.isascii() and trial.isdigit()):
        raise click.BadParameter(f"{word!r}: after the slash comes a trial's number, as in {name or 'night'}/17.")
    return name, int(trial) if slash else None


def read_settings(
    text: str, space: Space | None, option: str, *, others: Literal["refused", "kept"] = "refused"
) -> dict[str, Any]:
    """The settings in `learning_rate=0.1,beta=0.9`, each value in its parameter's own type.

    Of the `others`, which the space does not have, what looks like a misspelt parameter of it is refused all the same.
    """
    settings: dict[str, Any] = {}
    for name, word in _pairs(text, option):
        if space is not None and name not in space:
            if others == "kept" and not difflib.get_close_matches(name, space, n=1, cutoff=_MISSPELT):
                settings[name] = _plain_value(word)
                continue
            raise click.BadParameter(
                f"{name} is not a parameter of the space. {did_you_mean(name, space)}", param_hint=option
            )
        try:
            settings[name] = _plain_value(word) if space is None else space[name].check(_value_for(space, name, word))
        except SettingsError as error:
            raise click.BadParameter(str(error), param_hint=option) from None
    return settings


def read_changes(texts: Sequence[str], space: Space | None, option: str) -> dict[str, Any]:
    """What is to be set in a run, in the parameters' own types; whether it may be, the run itself answers."""
    return {
        name: _value_for(space, name, word) if space is not None and name in space else _plain_value(word)
        for text in texts
        for name, word in _pairs(text, option)
    }


def _pairs(text: str, option: str) -> Iterator[tuple[str, str]]:
    for part in text.split(","):
        name, equals, word = (each.strip() for each in part.partition("="))
        if not equals or not name or not word:
            raise click.BadParameter(
                f"{part!r} sets nothing. Write name=value, and commas between: learning_rate=0.1,beta=0.9.",
                param_hint=option,
            )
        yield name, word


def _value_for(space: Space, name: str, word: str) -> Any:
    parameter = space[name]
    options = getattr(parameter, "options", ())
    by_text = {str(option): option for option in options} | {str(option).lower(): option for option in options}
    return by_text[word] if word in by_text else _plain_value(word)


def _plain_value(word: str) -> Any:
    """A number, true, false or none where the word is one, else the word."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(word.lower(), word)
