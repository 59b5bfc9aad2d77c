"""The exception tree: every mistake a user can make is a child of `TunerError`, and its message says what to do.

TunerError
├── SpaceError            a search space that cannot be searched
├── SettingsError         settings that do not fit their space
├── StudyError            a study that is missing, busy, of another identity, or damaged
│   ├── StudyNotFound
│   ├── StudyNotBegun     its coordinator has yet to write its first record
│   ├── TrialNotFound     a study without a trial of that number; also a SettingsError
│   ├── NameRefused       a name or a place that no study can have; also a SettingsError
│   ├── RequestReused     the id of a request, given to another one
│   ├── StudyBusy         another coordinator holds it
│   ├── DatabaseAway      a team's database that cannot be reached
│   ├── TakenOver         a program's trial went to another one
│   └── IdentityMismatch  the name exists with another space, objective, goal, seed or sampler
├── CheckpointError       a checkpoint that is missing, torn, or fails its hash
│   ├── CheckpointTorn    its bytes, as they were fetched, are not those that were saved
│   └── StorageAway       an object store that does not answer
├── ExecutorError         trials that cannot be placed, a cluster that cannot be reached
├── TrainingError         the training function cannot be found, or breaks the contract of `Run`
│   └── CommandFailed     a program that trains ended badly, or gave no score that can be read
├── SweepFailed           a sweep stopped because its trials kept failing
└── MissingExtra          a verb needs a package that an extra installs
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterable
from types import TracebackType


class TunerError(Exception):
    """Root of all errors for users; its message says what was wrong, and what to do.

    Example:
        >>> try:
        ...     tuner.open("nigth")
        ... except tuner.TunerError as error:
        ...     print(f"{error.code}: {error}")
        no_such_study: there is no study 'nigth' in ...results. Did you mean night?
    """

    code = "error"
    """The kind of mistake in a word, for programs: sentences are for people, and change."""

    def __init__(self, *told: object, code: str = "") -> None:
        super().__init__(*told)
        if code:
            self.code = code


class SpaceError(TunerError):
    """A search space that cannot be searched."""

    code = "space"


class SettingsError(TunerError):
    """Settings that do not fit their space."""

    code = "settings"


class StudyError(TunerError):
    """A study that is missing, busy, of another identity, or damaged."""

    code = "study"


class StudyNotFound(StudyError):
    """No study of that name lies where it was looked for."""

    code = "no_such_study"


class StudyNotBegun(StudyError):
    """The study is there, and its coordinator has yet to write its first record."""

    code = "not_begun"


class TrialNotFound(StudyError, SettingsError):
    """The study has no trial of that number."""

    code = "no_such_trial"


class NameRefused(StudyError, SettingsError):
    """A name or a place that no study can have."""

    code = "name"


class RequestReused(StudyError):
    """The id of a request was given to another one, with another verb, other arguments or another why."""

    code = "request_reused"


class StudyBusy(StudyError):
    """Another coordinator holds the study's lease."""

    code = "busy"


class DatabaseAway(StudyError):
    """A team's database cannot be reached, or does not answer just now."""

    code = "database_away"


class TakenOver(StudyError):
    """A program speaks of a trial that went to another one, since nothing had been heard of it."""

    code = "taken_over"


class IdentityMismatch(StudyError):
    """The name exists with another space, objective, goal, seed or sampler."""

    code = "another_identity"


class CheckpointError(TunerError):
    """A checkpoint that is missing, torn, or fails its hash."""

    code = "checkpoint"


class CheckpointTorn(CheckpointError):
    """One that was fetched from an object store and is not what was saved: what goes on from it needs another."""

    code = "checkpoint_torn"


class StorageAway(CheckpointError):
    """An object store that does not answer, so that nobody knows whether a checkpoint is there."""

    code = "storage_away"


class ExecutorError(TunerError):
    """Trials that cannot be placed, or a cluster that cannot be reached."""

    code = "executor"


class TrainingError(TunerError):
    """The training function cannot be found, or breaks the contract of `Run`."""

    code = "training"


class CommandFailed(TrainingError):
    """A program that trains ended badly, or gave no score that can be read."""

    code = "command_failed"


class UnknownSetting(TrainingError, KeyError):
    """The training function asks its run for a setting that the run has not."""

    code = "unknown_setting"

    __str__ = Exception.__str__  # a KeyError would show its sentence in quotes


class SweepFailed(TunerError):
    """A sweep stopped because its trials kept failing."""

    code = "sweep_failed"


class MissingExtra(TunerError):
    """A verb needs a package that an extra installs."""

    code = "missing_extra"


def coded(error: TunerError) -> str:
    """A refusal as a record keeps it: its sentence, with its code behind it where that says more than that it refuses.

    >>> coded(StudyError("the run has changed.", code="changed_since")), coded(StudyError("no."))
    ('the run has changed. [changed_since]', 'no. [study]')
    """
    return str(error) if error.code in ("error", "refused") else f"{error} [{error.code}]"


def uncoded(text: str) -> tuple[str, str]:
    """The sentence and the code of a refusal that was kept; the code is "refused" where none was.

    >>> uncoded("the run has changed. [changed_since]"), uncoded("no.")
    (('the run has changed.', 'changed_since'), ('no.', 'refused'))
    """
    found = re.fullmatch(r"(.*) \[([a-z_]{3,40})\]", text, re.DOTALL)
    return (text, "refused") if found is None else (found[1], found[2])


def interrupted(told: str) -> KeyboardInterrupt:
    """A Ctrl-C with what became of what was under way, to be raised.

    A script that lets it pass ends with these words and no traceback, unless `TUNER_DEBUG` is set.
    """
    interrupt, usual = KeyboardInterrupt(told), sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if error is interrupt and not os.environ.get("TUNER_DEBUG"):
            print(f"interrupted: {told}", file=sys.stderr)
        else:
            usual(kind, error, trace)

    sys.excepthook = hook
    return interrupt


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence naming the nearest known word, or all of them.

    >>> did_you_mean("learning_rat", ["learning_rate", "beta"])
    'Did you mean learning_rate?'
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(word)[:200], names, n=1)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Known: {', '.join(names)}." if names else "There are none."


def quoted(value: object, most: int = 80) -> str:
    """A value as an error quotes it: in short, whatever it is.

    >>> quoted(10**5000), quoted("x" * 100, most=10)
    ('a number of 16610 bits', "'xxxxxxxxx…")
    """
    if isinstance(value, int) and value.bit_length() > 1000:  # Python refuses to write those of 4300 digits
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except BaseException:  # whoever wrote its class may have erred, in any way
        text = f"an object of class {kind_of(value)}"
    text = " ".join(text.split()) if "\n" in text else text
    return text if len(text) <= most else f"{text[:most]}…"


def format_error(failure: BaseException) -> str:
    """An exception's class and words; its class alone where it fails to say what it is."""
    try:
        text = str(failure).strip()
    except BaseException:  # it may do so in any way
        text = ""
    return f"{kind_of(failure)}: {text}" if text else kind_of(failure)


def first_line(failure: BaseException) -> str:
    """An exception's class and the first line of its words, in short."""
    return format_error(failure).splitlines()[0][:_LINE]


def kind_of(value: object) -> str:
    """The name of a value's class; a metaclass cannot make it anything else."""
    return name_of(type(value))


def name_of(kind: type) -> str:
    """The name of a class, as it was written."""
    name: str = type.__dict__["__name__"].__get__(kind)
    return name


_LINE = 500  # characters
