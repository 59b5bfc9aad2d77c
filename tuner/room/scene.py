"""The scene of a run: follows its record, and hands out pictures that never change."""

from __future__ import annotations

import math
import time
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import Any

from tuner.errors import uncoded
from tuner.record import events as rec
from tuner.record.location import Place, names
from tuner.record.patience import SERVING_S, Patience
from tuner.record.recipe import Schedule
from tuner.record.reports import unpack_reports
from tuner.record.score_names import training_loss
from tuner.record.state import StudyState
from tuner.record.store import Store
from tuner.record.trial import Segment, Trial
from tuner.room.language import format_request
from tuner.values.numbers import near_one, number
from tuner.views.terminal import settings_of

# A curve is drawn from at most this many bins: two dots a column of any terminal.
_BINS = 512
_SPEED_OVER_S = 20.0
_ENTRIES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One stretch of one score: of each bin of steps the mean, the lowest and the highest value.

    A short one has a bin for each report. It counts where it lies on the head.
    """

    steps: tuple[int, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    on_head: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One score: its stretches, those given up first, its last and its best value on the head."""

    name: str
    lines: tuple[Line, ...]
    last: float | None
    best: tuple[int, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One segment of the run's tree; `what` is what changed with it. It counts to `to_step`, and came to `reached`."""

    number: int
    cause: rec.Cause
    from_step: int
    to_step: int
    reached: int
    what: str
    by: str
    why: str
    on_head: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the log; `kind` says how it went."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that is shown at one moment."""

    name: str
    state: rec.TrialState
    why: str
    steps: int
    head: int
    """The number of the newest segment: what a request that changes the run expects."""
    scores: tuple[Score, ...]
    """The objective, and the train loss where one is reported."""
    settings: tuple[tuple[str, str], ...]
    schedules: tuple[tuple[str, str], ...]
    speed: float | None
    """Steps a second over the last seconds of training."""
    checkpoint: tuple[int, float] | None
    """Step and time of the newest one on the path that counts: where the run would go on from."""
    checkpoints: tuple[tuple[int, str], ...]
    """Step and kind of those one can go back to, the newest first."""
    branches: tuple[Branch, ...]
    advice: str
    log: tuple[Entry, ...]
    asked: tuple[str, ...]
    """What has been asked so far, in words that can be asked again."""
    others: tuple[str, ...]
    """The other studies beside this one."""

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.state in rec.ENDED


class Scene:
    """One run, from its record on; each `look` takes in what was recorded since."""

    def __init__(self, place: Place, by: str) -> None:
        """`by` is whose requests `Picture.asked` holds."""
        self._place, self._by = place, by
        # whoever looks does so again
        self._store = Store.open(place.existing(), patience=Patience(within_s=SERVING_S))
        # The thread that looks may not have come back when the room closes, and SQLite dies of that.
        self._one_at_a_time, self._closed = Lock(), False
        self._state = StudyState()
        self._after = 0
        self._scores: dict[int, dict[str, _Points]] = {}
        self._paces: deque[tuple[float, int]] = deque(maxlen=2048)
        self._saved_at: dict[int, float] = {}
        self._advice = ""
        self._answered: dict[str, rec.Answered] = {}
        self._told: deque[Entry] = deque(maxlen=_ENTRIES)

    def look(self) -> Picture | None:
        """The run as it is now, or None where nothing is new, or the scene is closed."""
        with self._one_at_a_time:
            return None if self._closed else self._look()

    def close(self) -> None:
        """Lets go of the database, once nobody reads."""
        with self._one_at_a_time:
            self._closed = True
            self._store.close()

    def _look(self) -> Picture | None:
        records, after = self._store.follow(self._after)
        requests = [each for each in self._store.new_requests() if each.request not in self._state.requests]
        for each in (*requests, *records):
            self._state.apply(each)
            self._take(each)
        first, self._after = self._after == 0, after
        return self._picture() if (records or requests or first) and self._state.trials else None

    # ── taking in ───────────────────────────────────────────────────────────────────────────────

    def _take(self, record: rec.Record) -> None:
        match record:
            case rec.Reported():
                self._take_scores(record)
            case rec.CheckpointSaved():
                self._saved_at[record.checkpoint] = record.at
            case rec.Answered():
                self._answered[record.request] = record
            case rec.SegmentOpened(cause="adjust" | "revert"):
                self._advice = ""  # taken, or overtaken
            case rec.Noted(by="supervisor"):
                self._advice = f"step {record.step}: {record.text}"
            case rec.Noted():
                self._tell(record.at, "note", f"{record.by} at step {record.step}: {record.text}")
            case rec.Judged():
                asked = self._state.requests.get(record.request)
                what = "" if asked is None else f" on {format_request(asked.verb, asked.arguments)}"
                self._tell(record.at, "note", f"verdict{what}: {record.verdict} ({record.evidence})")
            case rec.TrialHeld():
                self._paces.clear()
                if record.state == "lost":
                    self._tell(record.at, "rejected", f"lost at step {record.step}: {record.why}")
            case rec.TrialDelayed(why=why) if why:
                self._tell(record.at, "note", why)
            case rec.TrialEnded():
                self._paces.clear()
                text = f"the run is over at step {record.step}: {record.state}, {record.why}"
                self._tell(record.at, "ended", f"{text}. revert, extend and fork take it up again; Ctrl-D leaves.")

    def _take_scores(self, record: rec.Reported) -> None:
        segment = self._scores.setdefault(record.segment, {})
        for step, name, value, at in unpack_reports(record):
            points = segment.get(name)
            if points is None:
                points = segment[name] = _Points()
            points.add(step, value)
            if self._paces and step < self._paces[-1][1]:
                self._paces.clear()  # it went back
            if not self._paces or step > self._paces[-1][1]:
                self._paces.append((at, step))

    def _tell(self, at: float, kind: str, text: str) -> None:
        self._told.append(Entry(at=at, kind=kind, text=text))

    # ── showing ─────────────────────────────────────────────────────────────────────────────────

    def _picture(self) -> Picture:
        state, trial = self._state, self._state.trials[0]
        recipe = trial.recipe
        limits = trial.head_limits()
        back = trial.on_head(state.kept(trial))
        asked = [
            format_request(each.verb, each.arguments, each.why)
            for each in state.requests.values()
            if each.by == self._by
        ]
        return Picture(
            name=state.name,
            state=trial.state,
            why=trial.why,
            steps=trial.steps,
            head=trial.head.segment if trial.segments else 0,
            scores=tuple(self._score(trial, name) for name in self._shown()),
            settings=tuple(settings_of(recipe.at(trial.steps), self._one_minus()).items()),
            schedules=tuple((name, format_schedule(each)) for name, each in recipe.schedules.items()),
            speed=self._speed() if trial.state == "running" else None,
            checkpoint=(back[-1].step, self._saved_at[back[-1].checkpoint]) if back else None,
            checkpoints=tuple((each.step, each.kind) for each in reversed(back)),
            branches=tuple(self._branch(trial, each, limits) for each in trial.segments),
            advice=self._advice,
            log=tuple(sorted((*self._told, *self._requests()), key=lambda entry: entry.at)[-_ENTRIES:]),
            asked=tuple(asked),
            others=tuple(name for name in names(self._place.folder.parent) if name != self._place.name),
        )

    def _shown(self) -> list[str]:
        """The objective, and what of the other scores is a train loss."""
        reported = dict.fromkeys(name for segment in self._scores.values() for name in segment)
        objective = self._state.objective
        loss = training_loss(reported, beside=objective)
        return [objective] if loss is None else [objective, loss]

    def _score(self, trial: Trial, name: str) -> Score:
        limits = trial.head_limits()
        head, lines = _Points(), []
        for segment in trial.segments:
            points = self._scores.get(segment.segment, {}).get(name)
            if points is None:
                continue
            counted = points.count(limits[segment.segment]) if segment.segment in limits else 0
            head.extend(points, counted)
            if counted < len(points.steps):
                lines.append(points.thinned(counted, on_head=False))
        lines.append(head.thinned(0, on_head=True))
        best = (trial.best_step, trial.best_score) if name == self._state.objective else (None, None)
        return Score(
            name=name,
            lines=tuple(lines),
            last=head.values[-1] if head.values else None,
            best=None if best[0] is None or best[1] is None else (best[0], best[1]),
        )

    def _branch(self, trial: Trial, segment: Segment, limits: Mapping[int, int | None]) -> Branch:
        limit = limits.get(segment.segment)
        steps = (each.steps[-1] for each in self._scores.get(segment.segment, {}).values() if each.steps)
        reached = max(steps, default=segment.from_step)
        return Branch(
            number=segment.segment,
            cause=segment.cause,
            from_step=segment.from_step,
            to_step=reached if limit is None else limit,
            reached=reached,
            what=self._changed(trial, segment),
            by=segment.by,
            why=segment.why,
            on_head=segment.segment in limits,
        )

    def _changed(self, trial: Trial, segment: Segment) -> str:
        """What a segment changed: settings and schedules against its parent's."""
        recipe, step = trial.recipe_of(segment), segment.from_step
        values, one_minus = recipe.at(step), self._one_minus()
        if segment.parent is None:
            return ", ".join(f"{name} {text}" for name, text in settings_of(values, ()).items())
        parent = trial.recipe_of(next(each for each in trial.segments if each.segment == segment.parent))
        before = parent.at(step)
        changes = [
            f"{name} {_text(before.get(name), name in one_minus)} → {_text(value, name in one_minus)}"
            for name, value in values.items()
            if before.get(name) != value
        ]
        for name in {**parent.schedules, **recipe.schedules}:
            old, new = parent.schedules.get(name), recipe.schedules.get(name)
            if _course(old) != _course(new):
                changes.append(f"{name} {'constant' if new is None else format_schedule(new, opened_at=step)}")
        return ", ".join(changes)

    def _requests(self) -> Iterator[Entry]:
        for each in list(self._state.requests.values())[-_ENTRIES:]:
            answer = self._answered.get(each.request)
            text = format_request(each.verb, each.arguments, each.why)
            text = text if each.by == self._by else f"{each.by}: {text}"
            if each.verb == "note" and each.state == "applied":
                continue  # the note itself is told
            if answer is None or each.state == "received":
                yield Entry(at=each.at, kind="received", text=f"{text} …")
                continue
            where = "" if answer.step is None or each.state != "applied" else f" at step {answer.step}"
            detail = f" ({uncoded(answer.detail)[0]})" if answer.detail else ""
            yield Entry(at=each.at, kind=each.state, text=f"{text}: {each.state}{where}{detail}")

    def _speed(self) -> float | None:
        while len(self._paces) > 2 and self._paces[-1][0] - self._paces[0][0] > _SPEED_OVER_S:
            self._paces.popleft()
        if len(self._paces) < 2:
            return None
        (began, first), (ended, last) = self._paces[0], self._paces[-1]
        return (last - first) / (ended - began) if ended > began else None

    def _one_minus(self) -> tuple[str, ...]:
        space: Mapping[str, Any] = self._state.identity["space"] or {}
        return tuple(each["name"] for each in space.get("parameters", ()) if each.get("scale") == "log_one_minus")


class _Points:
    """The finite values of a score in the order reported; a step reported again counts once more."""

    __slots__ = ("steps", "values")

    def __init__(self) -> None:
        self.steps, self.values = array("q"), array("d")

    def add(self, step: int, value: float) -> None:
        if math.isfinite(value):
            self.steps.append(step)
            self.values.append(value)

    def extend(self, other: _Points, count: int) -> None:
        self.steps.extend(other.steps[:count])
        self.values.extend(other.values[:count])

    def count(self, limit: int | None) -> int:
        """How many lie at or before a step."""
        if limit is None:
            return len(self.steps)
        return bisect_right(self.steps, limit)

    def thinned(self, since: int, *, on_head: bool) -> Line:
        """The points from the one at `since` on, in bins."""
        count = len(self.steps) - since
        if count <= _BINS:
            values = tuple(self.values[since:])
            return Line(steps=tuple(self.steps[since:]), means=values, lows=values, highs=values, on_head=on_head)
        edges = pairwise(since + count * place // _BINS for place in range(_BINS + 1))
        bins = [(self.steps[(low + high) // 2], self.values[low:high]) for low, high in edges]
        return Line(
            steps=tuple(step for step, _ in bins),
            means=tuple(sum(each) / len(each) for _, each in bins),
            lows=tuple(min(each) for _, each in bins),
            highs=tuple(max(each) for _, each in bins),
            on_head=on_head,
        )


def format_schedule(each: Schedule, opened_at: int | None = None) -> str:
    """A schedule as one would ask for it, and since when, unless that is the step it is told of.

    >>> format_schedule(Schedule(shape="cosine", value=0.1, since=40, over=2000))
    'cosine over=2000 since step 40'
    """
    return f"{each}" if each.since == opened_at else f"{each} since step {each.since}"


def _course(each: Schedule | None) -> tuple[object, ...]:
    """What makes a schedule another one; a `set` under it moves its value alone."""
    return () if each is None else (each.shape, each.since, each.rate, each.every, each.over)


def age(at: float) -> float:
    """Seconds since a moment on record; what another machine's clock puts into the future is now."""
    return max(0.0, time.time() - at)


def _text(value: Any, is_near_one: bool) -> str:
    return near_one(value) if is_near_one and isinstance(value, int | float) else number(value)
