"""The options of a launch as the shell's verbs read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tuner.api.environment import kept_out


def made_ready(runtime_env: Mapping[str, Any] | None) -> list[str]:
    """What workers are given, as options of the shell: the values of secrets do not stand on its line."""
    if runtime_env is None:
        return []
    secrets = kept_out(runtime_env)
    open_ = {name: value for name, value in runtime_env["env_vars"].items() if name not in secrets}
    told = [f"--runtime-env={json.dumps({**runtime_env, 'env_vars': open_})}"] if open_ else []
    return [*told, *(f"--env={name}" for name in secrets)]


def shell_words(options: Mapping[str, Any]) -> list[str]:
    """Options of the shell, those that are given; each in one word, so that no value is taken for an option."""
    given = {name: value for name, value in options.items() if value not in (None, "", {})}
    return [f"--{name.removesuffix('_s').replace('_', '-')}={_word(name, value)}" for name, value in given.items()]


def _word(name: str, value: Any) -> str:
    """The value of an option as the shell's verbs read it."""
    if isinstance(value, Mapping):
        return ",".join(f"{kind}={amount}" for kind, amount in value.items())
    return f"{value:.6f}s" if name.endswith("_s") else str(value)
