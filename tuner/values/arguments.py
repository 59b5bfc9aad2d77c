"""The arguments of a public call: checked where they are written, and answered with what to write in their place.

    >>> @checked(steps=count)
    ... def train(steps: int) -> int:
    ...     return steps
    >>> train(numpy.int64(3))  # doctest: +SKIP
    3
    >>> train(setps=3)
    Traceback (most recent call last):
    tuner.errors.SettingsError: train takes no setps. Did you mean steps?

A check takes the argument's name and what was given; it returns that in its own type, or raises what refuses it.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeAlias, TypeVar

from tuner.errors import SettingsError, TrainingError, TunerError, did_you_mean, kind_of, name_of, quoted
from tuner.values.numbers import number
from tuner.values.plain import COUNTABLE, LONGEST_TEXT, bounded, clean, counted, is_flag, real, whole, writable

Check: TypeAlias = Callable[[str, Any], Any]
P = ParamSpec("P")
R = TypeVar("R")

_LONGEST_PATH, _LONGEST_PART = 4000, 255
_DEEPEST = 16
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")

# What other tools call it, or what seems right: the word that is meant, as one would write it. A word of a single call
# goes by call.word.
_MEANT = {
    "time_budget": "time_budget_s=7200, in seconds",
    "timeout": "timeout_s=60, in seconds",
    "time_limit": "time_limit_s=600, in seconds",
    "checkpoint_every": "checkpoint_every_s=60, in seconds",
    "n_trials": "trials=64",
    "num_samples": "trials=64",
    "max_trials": "trials=64",
    "max_evals": "trials=64",
    "metric": 'objective="dev_accuracy"',
    "monitor": 'objective="dev_accuracy"',
    "direction": 'goal="minimize"',
    "mode": 'goal="minimize"',
    "config": "space=…",
    "search_space": "space=…",
    "param_space": "space=…",
    "scheduler": 'stopping="asha"',
    "pruner": 'stopping="asha"',
    "search_alg": 'sampler="sobol"',
    "n_jobs": "parallel=8",
    "max_concurrent": "parallel=8",
    "workers": "parallel=8",
    "gpu": "gpus=1",
    "cpu": "cpus=1",
    "num_gpus": "gpus=1",
    "num_cpus": "cpus=1",
    "resources_per_trial": 'resources={"CPU": 1, "GPU": 0.5}',
    "env_vars": 'runtime_env={"env_vars": {…}}',
    "random_state": "seed=0",
    "random_seed": "seed=0",
    "steps": "budget_steps=10_000",
    "budget": "budget_steps=10_000",
    "storage": 'store="sqlite:////data/night.db"',
    "folder": 'results="results"',
    "directory": 'results="results"',
    "study_name": 'name="night"',
    "reason": 'why="…"',
    "comment": 'why="…"',
    "config_file": "space=…",
    "settings": "params={…}",
    "resume": "the same name: a study that exists goes on",
    "linear.step": "choice(0.1, 0.2, 0.3) for a few values, or integer(1, 3), and multiply in the training function",
    "linear.log": "log(low, high) for even decades",
    "integer.log": 'integer(low, high, scale="log")',
    "integer.step": "choice(16, 32, 48) for a few values, or integer(1, 16), and multiply in the training function",
    "log.base": "log(low, high): every decade gets the same share, whatever the base",
    "log.step": "choice(0.01, 0.1, 1.0) for a few values; scores are told by tuner.report(step=3, dev_accuracy=0.9)",
    "log_one_minus.step": "choice(0.9, 0.99) for a few values",
    "linear.default": "start={…} in the sweep",
    "log.default": "start={…} in the sweep",
    "integer.default": "start={…} in the sweep",
    "choice.default": "start={…} in the sweep",
    "choice.options": "choice(32, 64, 128)",
    "choice.values": "choice(32, 64, 128)",
}


def checked(error: type[TunerError] = SettingsError, /, **checks: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a call answer for what it is given: unknown, missing and surplus arguments, and those named here.

    What cannot be bound to the signature is an `error`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        for word in checks:
            if word not in signature.parameters:
                raise ValueError(f"{function.__qualname__} has no {word} to check")

        def bind(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
            try:
                return signature.bind(*args, **kwargs)
            except TypeError:
                name = function.__name__ if function.__name__ != "__init__" else kind_of(args[0])
                raise error(_misused(name, signature, args, kwargs)) from None

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not checks:
                try:
                    return function(*args, **kwargs)
                except TypeError:
                    bind(args, kwargs)  # where they fit, the error is none of the caller's
                    raise
            bound = bind(args, kwargs)
            bound.apply_defaults()
            for word, check in checks.items():
                bound.arguments[word] = check(word, bound.arguments[word])
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def _misused(name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """What is wrong with a call that does not fit its signature."""
    known = {word: each for word, each in signature.parameters.items() if word not in ("self", "cls")}
    by_name = [word for word, each in known.items() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    for word in kwargs:
        if word not in by_name:
            return unknown(name, word, by_name)
    places = [word for word, each in known.items() if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    given = len(args) - (len(signature.parameters) - len(known))
    if given > len(places):
        others = [word for word in by_name if word not in places and word not in kwargs]
        how = f" Give the others by name: {', '.join(f'{word}=…' for word in others[:4])}." if others else ""
        surplus = quoted(args[len(args) - given + len(places)])
        return f"{name} takes {len(places)} argument{'s' * (len(places) != 1)} by place, got {surplus} beyond.{how}"
    twice = [word for word in places[: max(0, given)] if word in kwargs]
    if twice:
        return f"{name} got {twice[0]} twice, by place and by name. Give it once."
    missing = [
        word
        for word, each in known.items()
        if each.default is each.empty
        and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        and word not in kwargs
        and word not in places[: max(0, given)]
    ]
    return f"{name} needs {' and '.join(missing) or 'other arguments'}: {name}{_usage(signature)}."


def unknown(name: str, word: str, known: Iterable[str]) -> str:
    """That a call takes no argument of that name, and what is probably meant."""
    known = tuple(known)
    meant = _MEANT.get(f"{name}.{word}") or _MEANT.get(word, "")
    if f"{name}.{word}" in _MEANT or meant.partition("=")[0] in known:
        return f"{name} takes no {quoted(word)[1:-1]}. Write {meant}."
    return f"{name} takes no {quoted(word)[1:-1]}. {did_you_mean(word, known)}"


def _usage(signature: inspect.Signature) -> str:
    """The call with what it cannot do without."""
    words = []
    for word, each in signature.parameters.items():
        if word not in ("self", "cls") and each.default is each.empty and each.kind != each.VAR_KEYWORD:
            words.append(f"{word}=…" if each.kind == each.KEYWORD_ONLY else word)
    return f"({', '.join(words)})"


# ── checks ──────────────────────────────────────────────────────────────────────────────────────


def refuse(word: str, must: str, given: Any, instead: str = "") -> NoReturn:
    """Raises the sentence: what it must be, what was given, what to write."""
    raise SettingsError(f"{word} must be {must}, got {quoted(given)}.{f' {instead}' if instead else ''}")


def optional(check: Check) -> Check:
    """The check, or None."""
    return lambda word, given: None if given is None else check(word, given)


def whole_number(least: int, most: int = COUNTABLE, instead: str = "") -> Check:
    """A whole number in a range, of whatever class."""

    def check(word: str, given: Any) -> int:
        found = whole(given)
        if found is None or found < least:
            refuse(word, f"a whole number from {least} up", given, instead or _unquoted(word, given))
        if found > most:
            refuse(word, f"at most {most:,}", given, instead)
        return found

    return check


def amount(
    *, above: float | None = None, least: float = -math.inf, most: float = math.inf, instead: str = "", unit: str = ""
) -> Check:
    """A number in a range, of whatever class; without `most` it may be infinite."""

    def check(word: str, given: Any) -> float | int:
        exact, found = counted(given), real(given)
        if found is None or math.isnan(found) or found < least or (above is not None and found <= above):
            least_of_all = f", at least {number(least)}" if least > -math.inf else ""
            bound = least_of_all if above is None else f" above {number(above)}"
            refuse(word, f"a number{unit and f' of {unit}'}{bound}", given, instead or _unquoted(word, given))
        if found > most:
            refuse(word, f"at most {number(most)}", given, instead)
        return exact if exact is not None and found == exact else found

    return check


def flag(word: str, given: Any) -> bool:
    """True or false."""
    if not is_flag(given):
        refuse(word, "True or False", given)
    return bool(given)


def text(word: str, given: Any) -> str:
    """A text a record can hold, made clean; one of megabytes is refused."""
    if not isinstance(given, str):
        refuse(word, "a text", given, f'Write {word}="…".')
    if len(given) > LONGEST_TEXT:
        raise SettingsError(
            f"{word} has {len(given):,} characters, and a record holds {LONGEST_TEXT:,}. Put it into a file, and write "
            "down where that lies."
        )
    return clean(given)


def name(word: str, given: Any) -> str:
    """A short text that names something, taken as it is."""
    if not isinstance(given, str) or not 0 < len(given) <= 200 or clean(given) != given or "\n" in given:
        refuse(word, "a name, a text of 1 to 200 characters on one line", given)
    return str.__str__(given)


def one_of(*words: str) -> Check:
    """One of a few words."""

    def check(word: str, given: Any) -> str:
        if not isinstance(given, str) or given not in words:
            meant = did_you_mean(given, words) if isinstance(given, str) else ""
            refuse(word, " or ".join(map(repr, words)), given, meant if meant.startswith("Did") else "")
        return str.__str__(given)

    return check


def path(word: str, given: Any) -> Path:
    """A folder or file that can be named on disk."""
    if not isinstance(given, str | os.PathLike) or not os.fspath(given):
        refuse(word, "a folder or file, as text or Path", given, f'Write {word}="…", or leave it out.')
    try:
        encoded = os.fsencode(given)
    except UnicodeEncodeError:
        refuse(word, "a path that the file system takes", given)
    if b"\x00" in encoded or len(encoded) > _LONGEST_PATH or max(map(len, encoded.split(b"/"))) > _LONGEST_PART:
        refuse(word, f"a path of at most {_LONGEST_PART} bytes between slashes, without NUL", given)
    try:
        Path(os.fsdecode(encoded)).expanduser()
    except RuntimeError:
        refuse(word, "a path in the home of somebody there is", given)
    return Path(os.fsdecode(encoded))


def is_url(given: Any) -> bool:
    """Whether a text names a place by a protocol, as `s3://bucket/folder` does."""
    return isinstance(given, str) and _URL.match(given) is not None


def folder_or_url(word: str, given: Any) -> str | Path:
    """A folder, or the address of an object store, which is looked at where it is used."""
    if isinstance(given, Path) and re.match(r"(s3a?|gcs|gs|az|abfs|file|memory):/", str(given)):
        refuse(word, "the address of an object store as text, since Path makes one slash of two", given)
    return given if is_url(given) else path(word, given)


def plain_value(word: str, given: Any, depth: int = _DEEPEST) -> Any:
    """A setting as a record gives it back: text, number, true, false or None, or lists and mappings of those.

    What NumPy, torch or an enumeration of texts or numbers wraps is taken out of it.
    """
    kind = type(given)
    if given is None or kind is bool:
        return given
    if isinstance(given, str):
        if not writable(given):
            refuse(word, f"a text of at most {LONGEST_TEXT:,} characters that can be written down", given)
        return str.__str__(given)
    if is_flag(given):
        return bool(given)
    if isinstance(given, Mapping) and depth:
        return {name(f"a name in {word}", key): plain_value(word, each, depth - 1) for key, each in given.items()}
    if isinstance(given, list | tuple) and depth:
        return [plain_value(word, each, depth - 1) for each in given]
    exact = counted(given)
    if exact is not None:
        if bounded(exact) != exact:
            refuse(word, "a number of at most 64 bits", given)
        return exact
    number = real(given)
    if number is None:
        raise SettingsError(
            f"{word} must be a text, a number, true, false or None, so that it can be recorded, got {kind_of(given)} "
            f"{quoted(given)}. Give its name, and look the rest up in the training function."
        )
    if not math.isfinite(number):
        refuse(word, "a finite number", given)
    return number


def settings(word: str, given: Any) -> dict[str, Any]:
    """Settings by name, each as a record gives it back."""
    if not isinstance(given, Mapping):
        refuse(word, "a mapping of names to values", given, f'Write {word}={{"learning_rate": 0.1}}.')
    return {name(f"a name in {word}", key): plain_value(str(key), each) for key, each in given.items()}


def starts(word: str, given: Any) -> list[dict[str, Any]]:
    """Settings by name, or several of them."""
    if isinstance(given, Mapping):
        return [settings(word, given)]
    if not isinstance(given, list | tuple):
        table = f"Write {word}=frame.to_dict('records')." if hasattr(given, "to_dict") else ""
        refuse(word, "settings by name, or a list of such", given, table or f'Write {word}={{"learning_rate": 0.1}}.')
    return [settings(f"{word}[{place}]", each) for place, each in enumerate(given)]


def retries(word: str, given: Any) -> dict[str, int]:
    """How often to try again, by the name of an error's class or of one that it inherits from."""
    if not isinstance(given, Mapping):
        if whole(given) is None:
            refuse(word, "a whole number, or one for each class of error", given, 'Write retries=2, or {"OSError": 2}.')
        return {"Exception": index(word, given)}
    found: dict[str, int] = {}
    for kind, times in given.items():
        raised = isinstance(kind, type) and issubclass(kind, BaseException)
        if not raised and not (isinstance(kind, str) and all(part.isidentifier() for part in kind.split("."))):
            refuse(f"a class of error in {word}", "an exception's class or its name", kind, 'Write {"OSError": 2}.')
        found[name_of(kind) if raised else kind.rpartition(".")[2]] = index(f"{word} of {quoted(kind)}", times)
    return found


def gpus(word: str, given: Any) -> float | int:
    """How many GPUs: a share of one, or whole ones, as Ray gives them out."""
    found: float | int = amount(least=0, most=10_000)(word, given)
    if found > 1 and found != int(found):
        refuse(word, "a share of one GPU or a whole number of them", given, f"Write {word}={math.ceil(found)}.")
    return found


def names_a_script(given: str) -> str | None:
    """What is wrong with the name of a script, or a whole command, in place of a function's; None where it is neither.

    The command that trains it stands at the end, for whoever knows how it is to be written there.
    """
    file, _, function = given.partition(":")
    if file.endswith(".py") and " " not in given:
        module = file.removesuffix(".py").removeprefix("./").replace("/", ".")
        told = f"names a file: for a function in it write its module, {module}:{function or 'train'}"
        return f"{quoted(given)} {told}. To run it as a program, with its settings filled in, write "
    if " " in given.strip() or "/" in given:
        return f"{quoted(given)} names no function, as package.module:function does. To run it as a program, write "
    return None


def training_function(word: str, given: Any) -> Any:
    """A function of a Run, or where to import it from."""
    if isinstance(given, str) and (told := names_a_script(given)) is not None:
        command = given if " " in given.strip() else f"python {given.partition(':')[0]} --lr {{learning_rate}}"
        raise TrainingError(f"{told}tuner.command({quoted(command)}, metric=…).")
    if not callable(given) and not isinstance(given, str):
        raise TrainingError(
            f"{word} must be a function of a Run, or its import path package.module:function, got {quoted(given)}."
        )
    return given


def listener(word: str, given: Any) -> Any:
    """A function that is told something in words."""
    if not callable(given):
        refuse(word, "a function of one text, such as print", given)
    return given


def object_with(*methods: str, like: str) -> Check:
    """A word, which whoever reads it knows, or an object with these methods."""

    def check(word: str, given: Any) -> Any:
        if isinstance(given, type):
            refuse(word, "an object, not its class", given, f"Write {word}={name_of(given)}().")
        if not isinstance(given, str) and not all(callable(getattr(given, each, None)) for each in methods):
            refuse(word, f"{like}, or an object with {' and '.join(methods)}", given)
        return given

    return check


count = whole_number(1)
index = whole_number(0)
seed = whole_number(0, 2**63 - 1, "Try seed=0.")
seconds = amount(above=0, unit="seconds")
patience = optional(amount(least=0, unit="seconds"))
gigabytes = amount(above=0, most=1e9, unit="GB")


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _unquoted(word: str, given: Any) -> str:
    """What to write for a number, or a time, that was given as a text."""
    if not isinstance(given, str):
        return ""
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([smhd]?)\s*", given)
    if found is None or (found[2] and not word.endswith("_s")):
        return ""
    value = float(found[1]) * _UNITS[found[2]]
    return f"Write {word}={number(value)}{', in seconds' if found[2] else ''}."
