"""The dialogue with programs that train by themselves: what they say, as requests, and what they are told, as answers.

A program asks for a trial, reports, and tells the trial's end. Each call is a row in `requests` of its own; who decides
is the coordinator alone. A trial is lent to one program at a time, and the number of its segment is the token.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

from tuner.errors import SettingsError, uncoded
from tuner.values.arguments import amount, count, index, name, one_of, optional, refuse
from tuner.values.plain import real, whole

Orders: TypeAlias = Literal["go on", "stop", "pause"]
End: TypeAlias = Literal["completed", "infeasible", "failed", "stopped"]
"""How a program says that its trial ended; infeasible: settings that nothing could be trained with."""
ENDS: tuple[End, ...] = get_args(End)

LEASE_S = 60.0
"""How long a trial stays with a program that says nothing, unless the sweep says otherwise."""
LONGEST_WAIT_S = 300.0
"""How long a program may wait for a trial in one call."""
MOST_ROWS = 10_000
"""Rows of one batch of reports."""
_MOST_SCORES = 1_000
_NO_NUMBER = {"nan": math.nan, "inf": math.inf, "infinity": math.inf, "-inf": -math.inf, "-infinity": -math.inf}

Scores: TypeAlias = dict[str, float]


def scores(word: str, given: Any) -> Scores:
    """Scores by name; what JSON cannot write as a number may be null, "nan", "inf" or "-inf"."""
    if not isinstance(given, Mapping):
        refuse(word, 'scores by name, such as {"dev_accuracy": 0.9}', given)
    if len(given) > _MOST_SCORES:
        raise SettingsError(f"{word} has {len(given):,} scores: {_MOST_SCORES:,} at most are taken at one step.")
    return {name(f"a name in {word}", key): _score(f"{word}: {key}", value) for key, value in given.items()}


def _score(word: str, given: Any) -> float:
    if given is None:
        return math.nan
    if isinstance(given, str) and given.strip().lower() in _NO_NUMBER:
        return _NO_NUMBER[given.strip().lower()]
    found = None if isinstance(given, str) else real(given)
    if found is None:
        refuse(word, "a number", given)
    return found


def rows(word: str, given: Any) -> list[list[Any]]:
    """Reports, in the order of their steps: [step, {name: score}] each."""
    if not isinstance(given, list | tuple):
        refuse(word, 'a list of reports, such as [[1, {"dev_accuracy": 0.9}]]', given)
    if len(given) > MOST_ROWS:
        raise SettingsError(f"{word} has {len(given):,} reports: send {MOST_ROWS:,} at most in one batch.")
    found: list[list[Any]] = []
    for row in given:
        step = whole(row[0]) if isinstance(row, list | tuple) and len(row) == 2 else None
        if step is None or step < 0:
            refuse(word, "a list of [step, scores], the step a whole number from 0 up", row)
        found.append([step, scores(f"{word} at step {step}", row[1])])
    return found


ASK = {
    "worker": name,
    "request": optional(name),
    "wait_s": optional(amount(least=0, most=LONGEST_WAIT_S, unit="seconds")),
    "steps": optional(count),
    "node": optional(name),
    "pid": optional(index),
}
REPORT = {"trial": index, "segment": index, "batch": optional(index), "rows": rows}
TELL = {"trial": index, "segment": index, "state": one_of(*ENDS), "scores": optional(scores), "step": optional(index)}
DIALOGUE = ("ask", "report", "tell")
"""The verbs, each with its arguments above."""


def incarnation(trial: int, segment: int) -> str:
    """Under which name `receipts` holds how many batches of a segment are on record."""
    return f"trial {trial}, segment {segment}"


def format_answer(**said: Any) -> str:
    """What a program is told, as the detail of an answer."""
    return json.dumps(said)


def parse_answer(detail: str) -> dict[str, Any]:
    """The same read back; what is no such thing, as the sentence of a refusal is, becomes its `why` and `code`."""
    try:
        found = json.loads(detail)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    why, code = uncoded(detail)
    return {"why": why, "code": code}
