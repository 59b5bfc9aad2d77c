"""The supervisor of a run: what its curves say, what to try, and the evidence; pure, and sound under noise.

`diagnose(facts)` asks the rules of `alarms`, `verdict`, `direction` and `trend`, which all stand on `series`.
"""

from __future__ import annotations

from tuner.panda.supervisor.advice import Advice, Facts, Remedy, Symptom, Urgency
from tuner.panda.supervisor.diagnosis import SPIKE, diagnose
from tuner.panda.supervisor.series import (
    Series,
    autocorrelation_time,
    block_means,
    effective_sample_size,
    window_length,
)
from tuner.panda.supervisor.trend import Trend, trend
from tuner.panda.supervisor.verdict import ChangeVerdict, Comparison, anytime_bound, verdict

__all__ = [
    "SPIKE",
    "Advice",
    "ChangeVerdict",
    "Comparison",
    "Facts",
    "Remedy",
    "Series",
    "Symptom",
    "Trend",
    "Urgency",
    "anytime_bound",
    "autocorrelation_time",
    "block_means",
    "diagnose",
    "effective_sample_size",
    "trend",
    "verdict",
    "window_length",
]
