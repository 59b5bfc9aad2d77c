"""The trials of a sweep as the page lists them: sorted, filtered, the best first, a stretch at a time."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from tuner.errors import SettingsError, did_you_mean
from tuner.record.events import TrialState
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.values.numbers import duration, scored, setting
from tuner.views.pictures.colours import best_first

MOST = 1_000
USUAL = 100
_TERM = re.compile(r"\s*([\w.-]+?)\s*(<=|>=|!=|=|<|>)\s*([^\s,]+)[\s,]*")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_OWN = ("trial", "state", "score", "step", "steps", "round", "seconds")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What somebody wants to see listed, as the address of the page holds it."""

    sort: str = ""
    """A name of the list, with - before it the highest first; empty: the best first."""
    state: str = ""
    where: str = ""
    trials: str = ""
    """The selected ones, as in 3,7-9; empty: none is."""
    only: str = ""
    """"selected": no others are listed."""
    limit: int = USUAL
    x: str = ""
    """The setting across; empty: what matters most."""
    y: str = ""

    def sorted_by(self, name: str) -> str:
        """How the list is sorted by a name, in the words of ARIA; empty: not by it."""
        return {name: "ascending", f"-{name}": "descending"}.get(self.sort, "")

    def turned(self, name: str) -> str:
        """What sorts by a name, the other way round where it is sorted by it already."""
        return f"-{name}" if self.sort == name else name


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trial in the list, its settings as texts."""

    trial: int
    state: str
    score: str
    step: str
    steps: int
    round: str
    seconds: str
    why: str
    is_best: bool
    settings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The rows that are shown, of how many, and why not as wanted where that made no sense."""

    settings: tuple[str, ...]
    rows: tuple[Row, ...]
    matching: int
    all: int
    refused: str
    states: tuple[str, ...]


def listing(study: StudyState, names: Sequence[str], wanted: Wanted) -> Listing:
    """The trials that somebody wants to see."""
    every = found = study.trials
    refused = ""
    try:
        found = [trial for trial in every if _matches(trial, study.objective, names, wanted)]
    except SettingsError as error:
        refused = str(error)
    try:
        found = _sorted(study, found, names, wanted)
    except SettingsError as error:
        refused, found = str(error), best_first(study, every)
    return Listing(
        settings=tuple(names),
        rows=tuple(_row(study, trial, names) for trial in found[: max(1, min(wanted.limit, MOST))]),
        matching=len(found),
        all=len(every),
        refused=refused,
        states=tuple(state for state in get_args(TrialState) if study.counts.get(state)),
    )


def numbers_of(text: str) -> list[int]:
    """The trials that a text such as 3,7-9 names; what is no number is passed over."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if first.isdecimal() and (last.isdecimal() or not dash):
            found.update(range(int(first), min(int(last or first), int(first) + 100_000) + 1))
    return sorted(found)


def _matches(trial: Trial, objective: str, names: Sequence[str], wanted: Wanted) -> bool:
    if wanted.state and trial.state != wanted.state:
        return False
    if wanted.only == "selected" and trial.trial not in set(numbers_of(wanted.trials)):
        return False
    return all(_holds(_value(trial, name), sign, text) for name, sign, text in _terms(wanted.where, objective, names))


def _terms(where: str, objective: str, names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """The name, the sign and the value of each comparison; `score` may be called by the objective's own name."""
    at, known = 0, (*_OWN, *names, objective)
    while at < len(where.rstrip()):
        found = _TERM.match(where, at)
        if found is None:
            raise SettingsError(
                f"a filter is written name<value, as in {names[0] if names else 'steps'}<0.1 score>0.9, got "
                f"{where[at:].strip()!r}. The signs are < <= = != >= >."
            )
        name = found[1]
        if name not in known:
            raise SettingsError(f"there is nothing called {name!r} to filter by. {did_you_mean(name, known)}")
        yield "score" if name == objective and name not in names else name, found[2], found[3]
        at = found.end()


def _holds(value: Any, sign: str, text: str) -> bool:
    if sign in ("=", "!="):
        same = setting(value) == text or str(value) == text or (_is_number(value) and _real(text) == value)
        return same == (sign == "=")
    wanted = _real(text)
    if math.isnan(wanted):
        raise SettingsError(f"{sign} compares with a number, got {text!r}. Write it as 0.1 or 1e-4.")
    return _is_number(value) and _COMPARE[sign](value, wanted)


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value(trial: Trial, name: str) -> Any:
    """What a trial has under a name of the list; None where it has nothing."""
    if name in trial.params:
        return trial.params[name]
    match name:
        case "score":
            return trial.best_score
        case "step":
            return trial.best_step
        case "trial" | "state" | "steps" | "round" | "seconds":
            return getattr(trial, name)
    return None


def _sorted(study: StudyState, trials: Sequence[Trial], names: Sequence[str], wanted: Wanted) -> list[Trial]:
    name = wanted.sort.removeprefix("-")
    if not name:
        return best_first(study, trials)
    if name not in (*_OWN, *names):
        known = [*_OWN, *names]
        raise SettingsError(f"there is nothing called {name!r} to sort by. {did_you_mean(name, known)}")
    has: list[Trial] = []
    without: list[Trial] = []
    for trial in trials:
        (without if _value(trial, name) is None else has).append(trial)

    def key(trial: Trial) -> tuple[bool, Any]:
        value = _value(trial, name)
        return (False, value) if _is_number(value) else (True, str(value))

    return sorted(has, key=key, reverse=wanted.sort.startswith("-")) + without


def _row(study: StudyState, trial: Trial, names: Sequence[str]) -> Row:
    return Row(
        trial=trial.trial,
        state=trial.state,
        score=scored(trial.best_score, study.spread(trial)),
        step="-" if trial.best_step is None else f"{trial.best_step:,}",
        steps=trial.steps,
        round="-" if trial.round is None else str(trial.round),
        seconds=duration(trial.seconds) if trial.ended else "-",
        why=trial.why,
        is_best=trial is study.best,
        settings=tuple(setting(trial.params[name]) if name in trial.params else "-" for name in names),
    )
