"""The fold of a long record, kept beside it, so that whoever looks at it next folds only what came since.

It is no truth of its own. It names the place in the record up to which it goes and the very record that stands there;
where that is another one, or anything else does not fit, it is not there, and the record is folded from its beginning.
"""

from __future__ import annotations

import hashlib
import json
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuner.record.atomic import write_whole
from tuner.record.events import TABLES, Reported, Requested
from tuner.record.requests import Request
from tuner.record.round import Round
from tuner.record.state import StudyState
from tuner.record.trial import Checkpoint, Segment, Trial
from tuner.version import version

if TYPE_CHECKING:
    from tuner.record.store import Store

NAME = "fold.json"
"""In a study's folder: what its record comes to, up to a place."""
WORTH = 20_000
"""So many records beyond the last one kept are worth a new one."""
_GROWN = 0.25  # and so much of the whole: it is written anew each time
_FORM = 2

_CODES: dict[type, Literal["d", "q"]] = {float: "d", int: "q"}

_FOLDED = [kind for kind in TABLES.values() if kind not in (Reported, Requested)]

Columns = dict[str, Any]


def keep(folder: Path, store: Store, state: StudyState, place: int) -> None:
    """Keeps the fold of the record up to this place, where the folder lets itself be written to."""
    if (mark := _mark(store, place)) is None:
        return
    body = json.dumps(_written(state), separators=(",", ":")).encode()
    head = {"form": _form(), "place": place, "mark": mark, "sha256": hashlib.sha256(body).hexdigest()}
    with suppress(OSError):
        write_whole(folder / NAME, json.dumps(head).encode() + b"\n" + body, mode=0o600)


def kept(folder: Path, store: Store) -> tuple[StudyState, int] | None:
    """The fold that is kept and the place that it goes to; None where there is none of this very record."""
    try:
        with (folder / NAME).open("rb") as file:
            head = json.loads(file.readline())
            if head["form"] != _form() or _mark(store, head["place"]) != head["mark"]:
                return None
            body = file.read()
        if hashlib.sha256(body).hexdigest() != head["sha256"]:
            return None
        return _read(json.loads(body)), head["place"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def since(store: Store, place: int) -> tuple[list[Any], set[int]]:
    """What was recorded beyond a place but for flushes of reports, and the trials of which there is anything new."""
    records = [record for _, record in store.page(_FOLDED, place, 2**62)]
    told = {number for each in records if (number := getattr(each, "trial", None)) is not None}
    return records, told | store.reporting(place)


def worthwhile(place: int, before: int) -> bool:
    """Whether to keep the fold up to a place, once it was kept, or not, up to one before; 0: it was not."""
    return place - before >= max(WORTH, _GROWN * place)


def _mark(store: Store, place: int) -> str | None:
    """What tells the record at a place from any other; None where none stands there."""
    found = store.page([*_FOLDED, Reported], place - 1, 1, until=place)
    return hashlib.sha256(repr(found).encode()).hexdigest() if found else None


# ── as it is written ────────────────────────────────────────────────────────────────────────────────

_LEFT_OUT = {"load_curves", "replaying", "moves", "moved"}  # of this process
_MADE_OF = (StudyState, Trial, Segment, Checkpoint, Round, Request)


def _form() -> str:
    """What it takes to be read again: what was written by another tuner, or of other fields, is not."""
    names = [f"{each.__name__}.{spec.name}" for each in _MADE_OF for spec in fields(each)]
    return hashlib.sha256(repr((_FORM, version(), names)).encode()).hexdigest()


def _written(state: StudyState) -> Columns:
    plain = {spec.name: getattr(state, spec.name) for spec in fields(state) if spec.name not in _LEFT_OUT}
    trials = state.trials
    return plain | {
        "trials": _columns(Trial, trials, aside=("segments", "curve")),
        "segments": _columns(Segment, [segment for trial in trials for segment in trial.segments]),
        "counted": _packed([len(trial.segments) for trial in trials]),
        "rounds": _columns(Round, state.rounds),
        "checkpoints": _columns(Checkpoint, state.checkpoints.values()),
        "requests": _columns(Request, state.requests.values()),
        "unread": sorted(state.unread),
        "live": list(state.live),
    }


def _columns(kind: type[Any], found: Iterable[Any], aside: Sequence[str] = ()) -> Columns:
    rows = list(found)
    names = [spec.name for spec in fields(kind) if spec.name not in aside]
    return {"count": len(rows), **{name: _packed([getattr(row, name) for row in rows]) for name in names}}


def _packed(values: list[Any]) -> Any:
    """A column: what all of it is, the numbers of 64 bits that it is, columns by name, or the values as they are."""
    first, kinds = values[0] if values else None, set(map(type, values))
    if isinstance(first, str | int | None) and kinds <= {type(first)} and values.count(first) == len(values):
        return {"all": first}
    if kinds in ({float}, {int}):
        with suppress(OverflowError):
            code = _CODES[type(first)]
            numbers = array(code, values)
            if sys.byteorder == "big":
                numbers.byteswap()
            return {"numbers": b64encode(numbers.tobytes()).decode(), "code": code}
    if kinds == {dict} and first and all(list(each) == list(first) for each in values):
        return {"named": {name: _packed([each[name] for each in values]) for name in first}}
    return values


# ── as it is read ───────────────────────────────────────────────────────────────────────────────────


def _read(told: Columns) -> StudyState:
    of_trial = _segments(told.pop("segments"), _unpacked(told.pop("counted"), told["trials"]["count"]))
    made: dict[str, Callable[[Any], Any]] = {"checkpoints": tuple}
    trials = list(_rows(Trial, told.pop("trials"), made, {"segments": of_trial}))
    boxes: dict[str, Callable[[Any], Any]] = {"box": lambda box: {name: tuple(sides) for name, sides in box.items()}}
    rounds = list(_rows(Round, told.pop("rounds"), boxes))
    checkpoints = {each.checkpoint: each for each in _rows(Checkpoint, told.pop("checkpoints"))}
    requests = {each.request: each for each in _rows(Request, told.pop("requests"))}
    live = {number: trials[number] for number in told.pop("live")}
    unread, led = set(told.pop("unread")), tuple(told.pop("led"))
    return StudyState(
        **told,
        trials=trials,
        rounds=rounds,
        checkpoints=checkpoints,
        requests=requests,
        live=live,
        unread=unread,
        led=led,
    )


def _segments(told: Columns, counts: Sequence[int]) -> list[tuple[Segment, ...]]:
    """The segments of each trial; where each has one, and they are alike to the last word, it is the same of all."""
    segments = iter(_rows(Segment, told))
    if set(counts) == {1} and told["count"] == len(counts) and all(_is_alike(each) for each in told.values()):
        return [(next(segments),)] * len(counts)
    return [tuple(islice(segments, count)) for count in counts]


def _is_alike(column: Any) -> bool:
    """Whether all values of a column are one, or it is their number."""
    return isinstance(column, int) or (isinstance(column, dict) and "all" in column)


def _rows(
    kind: type[Any],
    told: Columns,
    made: Mapping[str, Callable[[Any], Any]] | None = None,
    more: Mapping[str, Sequence[Any]] | None = None,
) -> Iterator[Any]:
    """The objects that columns tell of, each value `made` what JSON cannot hold, with `more` columns."""
    count = told["count"]
    columns: list[Iterable[Any]] = []
    for spec in fields(kind):
        if more is not None and spec.name in more:
            columns.append(more[spec.name])
        elif spec.name == "curve":
            columns.append([None] * count)
        else:
            column = _unpacked(told[spec.name], count)
            columns.append(column if made is None or spec.name not in made else map(made[spec.name], column))
    return map(kind, *columns)


def _unpacked(column: Any, count: int) -> Sequence[Any]:
    found: Sequence[Any] = column
    if isinstance(column, dict):
        if "all" in column:
            found = [column["all"]] * count
        elif "named" in column:
            found = _by_name(column["named"], count)
        else:
            numbers = array(column["code"], b64decode(column["numbers"]))
            if sys.byteorder == "big":
                numbers.byteswap()
            found = numbers.tolist()
    if len(found) != count:
        raise ValueError
    return found


def _by_name(columns: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """A mapping a row: in half the time that it takes to make each by itself."""
    rows = [dict.fromkeys(columns)]
    rows += [rows[0].copy() for _ in range(1, count)]
    for name, column in columns.items():
        for row, value in zip(rows, _unpacked(column, count), strict=True):
            row[name] = value
    return rows
