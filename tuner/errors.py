"""The exception tree: every mistake a user can make is a child of `TunerError`, and its message says what to do.

TunerError
├── SpaceError            a search space that cannot be searched
├── SettingsError         settings that do not fit their space
├── StudyError            a study that is missing, busy, of another identity, or damaged
│   ├── StudyNotFound
│   ├── StudyBusy         another coordinator holds it
│   └── IdentityMismatch  the name exists with another space, objective, goal, seed or sampler
├── CheckpointError       a checkpoint that is missing, torn, or fails its hash
├── ExecutorError         trials that cannot be placed, a cluster that cannot be reached
├── TrainingError         the training function cannot be found, or breaks the contract of `Run`
├── SweepFailed           a sweep stopped because its trials kept failing
└── MissingExtra          a verb needs a package that an extra installs
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TunerError(Exception):
    """Root of all errors for users."""


class SpaceError(TunerError):
    """A search space that cannot be searched."""


class SettingsError(TunerError):
    """Settings that do not fit their space."""


class StudyError(TunerError):
    """A study that is missing, busy, of another identity, or damaged."""


class StudyNotFound(StudyError):
    """No study of that name lies where it was looked for."""


class StudyBusy(StudyError):
    """Another coordinator holds the study's lease."""


class IdentityMismatch(StudyError):
    """The name exists with another space, objective, goal, seed or sampler."""


class CheckpointError(TunerError):
    """A checkpoint that is missing, torn, or fails its hash."""


class ExecutorError(TunerError):
    """Trials that cannot be placed, or a cluster that cannot be reached."""


class TrainingError(TunerError):
    """The training function cannot be found, or breaks the contract of `Run`."""


class UnknownSetting(TrainingError, KeyError):
    """The training function asks its run for a setting that the run has not."""

    __str__ = Exception.__str__  # a KeyError would show its sentence in quotes


class SweepFailed(TunerError):
    """A sweep stopped because its trials kept failing."""


class MissingExtra(TunerError):
    """A verb needs a package that an extra installs."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence naming the nearest known word, or all of them.

    >>> did_you_mean("learning_rat", ["learning_rate", "beta"])
    'Did you mean learning_rate?'
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Known: {', '.join(names)}." if names else "There are none."
