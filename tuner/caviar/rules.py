"""The stopping rules by name."""

from __future__ import annotations

from tuner.caviar.freeze_thaw import FreezeThaw
from tuner.caviar.stopping import Asha, Median, Off
from tuner.errors import SettingsError, did_you_mean, shown
from tuner.policy.verdicts import StoppingRule

_RULES: dict[str, type[FreezeThaw | Asha | Median | Off]] = {
    "auto": FreezeThaw,
    "asha": Asha,
    "median": Median,
    "off": Off,
}


def rule_by_name(name: str) -> StoppingRule:
    """The rule of that name with its defaults: auto, asha, median or off; else a `SettingsError`."""
    if name not in _RULES:
        raise SettingsError(f"stopping={shown(name)} is unknown. {did_you_mean(name, _RULES)}")
    return _RULES[name]()
