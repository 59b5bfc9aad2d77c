"""The stopping rules by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tuner.errors import SettingsError, did_you_mean, quoted

if TYPE_CHECKING:
    from tuner.policy.verdicts import StoppingRule

_RULES = {  # imported on demand: the shell's help needs the names alone
    "auto": ("freeze_thaw", "FreezeThaw"),
    "asha": ("stopping", "Asha"),
    "median": ("stopping", "Median"),
    "off": ("stopping", "Off"),
}
STOPPING = tuple(_RULES)
"""What a stopping rule is called, in Python and in the shell."""


def rule_by_name(name: str, min_steps: int | None = None) -> StoppingRule:
    """The rule of that name: auto, asha, median or off; else a `SettingsError`.

    `min_steps` is the step before which it judges nothing; None: the rule's own.
    """
    if name not in _RULES:
        raise SettingsError(f"stopping={quoted(name)} is unknown. {did_you_mean(name, _RULES)}")
    module, kind = _RULES[name]
    given = {} if min_steps is None else {"min_steps": min_steps}
    rule: StoppingRule = getattr(import_module(f"tuner.caviar.{module}"), kind)(**given)
    return rule
