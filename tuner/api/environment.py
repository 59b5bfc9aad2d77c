"""The environment that workers of a cluster are given, as Ray takes it and, without secrets, as a record holds it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.errors import SettingsError, kind_of, quoted
from tuner.values.arguments import plain_value, refuse

KEPT_OUT = "(kept out of the record)"
"""What stands on record in place of what may be a secret."""

# By its name: HF_TOKEN, AWS_SECRET_ACCESS_KEY, DB_PASSWORD, SENTRY_DSN …
_SECRET_NAME = re.compile(
    r"(?i)(^|[_-])(\w*token|\w*secret|passw(or)?d|pwd|passphrase|credentials?|auth|cookie|dsn|webhook|pat)([_-]|$)|(^|[_-]|api)keys?$"
)
# By its looks: a URL with a password, what services hand out, a private key, a signed token, a long mix of characters.
_SECRET_VALUE = re.compile(
    r"://[^/\s@]*:[^/\s@]+@|://[^/\s:@]{16,}@|-----BEGIN|"
    r"\b(sk|pk|rk|ghp|gho|ghs|hf|xox[abp]|glpat|AKIA|ASIA|eyJ)[-_]?[A-Za-z0-9]{12,}"
)
_MIXED = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9+=_-]{24,}|[0-9a-f]{32,}")

_remembered: dict[tuple[Path, str], str] = {}


def runtime_env(word: str, given: Any) -> dict[str, Any]:
    """What Ray is to make ready for a worker, `env_vars` among it; a value may be a secret, and is not quoted."""
    if not isinstance(given, Mapping):
        refuse(word, "a mapping, as Ray takes it", given, f'Write {word}={{"env_vars": {{"OMP_NUM_THREADS": "1"}}}}.')
    variables = given.get("env_vars", {})
    if not isinstance(variables, Mapping):
        raise SettingsError(f"env_vars in {word} must be texts by name, got {kind_of(variables)}.")
    for variable, value in variables.items():
        if not isinstance(variable, str) or not isinstance(value, str):
            raise SettingsError(
                f"{quoted(variable)} in env_vars of {word} must be a text, got {kind_of(value)}. Write it in quotes."
            )
    texts = {each: os.fspath(there) for each, there in given.items() if isinstance(there, os.PathLike)}
    found: dict[str, Any] = plain_value(word, {**given, **texts})
    return found


def as_recorded(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """An environment without what looks like a secret.

    >>> as_recorded({"env_vars": {"OMP_NUM_THREADS": "1", "HF_TOKEN": "hf_0123456789"}})
    {'env_vars': {'OMP_NUM_THREADS': '1', 'HF_TOKEN': '(kept out of the record)'}}
    """
    if given is None:
        return None
    variables = {
        name: KEPT_OUT if _is_secret(name, value) else value for name, value in given.get("env_vars", {}).items()
    }
    found = {word: _without_secrets(value) for word, value in given.items() if word != "env_vars"}
    return {**found, "env_vars": variables} if "env_vars" in given else found


def kept_out(given: Mapping[str, Any] | None) -> dict[str, str]:
    """The variables of an environment that no record holds, with their values.

    >>> kept_out({"env_vars": {"OMP_NUM_THREADS": "1", "HF_TOKEN": "hf_0123456789"}})
    {'HF_TOKEN': 'hf_0123456789'}
    """
    variables = (given or {}).get("env_vars", {})
    return {name: value for name, value in variables.items() if _is_secret(name, value)}


def as_it_was(recorded: Mapping[str, Any] | None, study: Path) -> dict[str, Any] | None:
    """The environment of a study again, its secrets as this process was told them, or from its own variables."""
    if recorded is None:
        return None
    variables: dict[str, str] = dict(recorded.get("env_vars", {}))
    hidden = secrets_of(study, recorded)
    missing = [name for name, value in variables.items() if value == KEPT_OUT and name not in hidden]
    if missing:
        raise SettingsError(
            f"the workers of {study.name} are given {', '.join(missing)}, whose values no record holds. Set them in "
            "the environment of this process first."
        )
    others = {word: value for word, value in recorded.items() if word != "env_vars"}
    if KEPT_OUT in repr(others):
        raise SettingsError(
            f"the runtime_env of {study.name} holds a password outside its env_vars, which no record holds. Let what "
            "needs it read it from a variable, and begin under another name."
        )
    return {**others, "env_vars": {**variables, **hidden}} if variables else others


def remember(study: Path, given: Mapping[str, Any] | None) -> None:
    """Keeps the secrets of a study while this process lives, for a coordinator that it starts."""
    for name, value in (given or {}).get("env_vars", {}).items():
        if _is_secret(name, value):
            _remembered[study.absolute(), name] = value


def secrets_of(study: Path, recorded: Mapping[str, Any] | None) -> dict[str, str]:
    """What this process knows of the variables that are kept out of a study's record."""
    found = {}
    for name, value in (recorded or {}).get("env_vars", {}).items():
        known = _remembered.get((study.absolute(), name), os.environ.get(name))
        if value == KEPT_OUT and known is not None:
            found[name] = known
    return found


def _is_secret(name: str, value: str) -> bool:
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value) or _MIXED.fullmatch(value))


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            word: KEPT_OUT if isinstance(each, str) and _SECRET_NAME.search(word) else _without_secrets(each)
            for word, each in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    return KEPT_OUT if isinstance(value, str) and _SECRET_VALUE.search(value) else value
