"""Waiting for a study, for whoever does not look at it meanwhile: until it improves, is advised, has spent, or ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from tuner.errors import DatabaseAway
from tuner.record.events import Noted
from tuner.record.patience import Pace
from tuner.record.reader import StudyReader
from tuner.record.spending import spending
from tuner.record.state import StudyState
from tuner.values.numbers import duration
from tuner.views import digest as digests
from tuner.views.digest import Digest

Event: TypeAlias = Literal["improved", "advice", "budget", "ended"]
"""What may be waited for, in the order in which it is told where several come at once."""
EVENTS: tuple[Event, ...] = get_args(Event)
Happened: TypeAlias = Literal["improved", "advice", "budget", "ended", "unattended", "timeout"]


@dataclass(frozen=True, kw_only=True)
class Waited:
    """What ended a wait.

    Attributes:
        event: What was waited for; or "ended" where the study is over without it, "unattended" where nobody coordinates
            it though it is not over, "timeout" where the time was.
        sentence: The same in words.
        came: Whether it is what was waited for.
        waited_s: How long that took, in seconds.
        digest: How the study stands now, and what has happened since the wait began, or since its `since`.

    Example:
        >>> waited = study.wait("ended", timeout_s=60)
        >>> waited.event, waited.came, waited.digest.cursor > 0
        ('ended', True, True)
    """

    event: Happened
    sentence: str
    came: bool
    waited_s: float
    digest: Digest

    def __str__(self) -> str:
        return f"{self.sentence}\n{self.digest}"


def wait(
    study: StudyReader,
    follow: Callable[[int], tuple[list[Any], int]],
    events: Sequence[Event],
    since: int,
    timeout_s: float | None,
) -> Waited:
    """Waits for the first of these events, as the record tells it: `follow` reads on from a place in it."""
    began, running = time.monotonic(), True
    pace = Pace(until=math.inf if timeout_s is None else began + timeout_s)
    records: list[Any] = []
    seen: list[Any] = []
    after = since
    while True:
        away = ""
        try:
            running = study.coordinator(time.time()) is not None  # first: what it wrote before it left is read below
            records, reached = follow(after)
            study.refresh()
            after, seen = reached, digests.worth_telling(study.state, [*seen, *records])
        except DatabaseAway as error:
            records, away = [], f"; {error}"  # so long that the time is over
        waited_s = time.monotonic() - began
        found = _found(study.state, records, events, running=running)
        if found is None and timeout_s is not None and waited_s >= timeout_s:
            found = "timeout", f"none of it came within {duration(timeout_s)}: {' or '.join(events)}{away}"
        if found is not None:
            event, sentence = found
            told = digests.digest(study.state, seen, cursor=after, running=running)
            sentence = f"{study.name}: {sentence}"
            return Waited(event=event, sentence=sentence, came=event in events, waited_s=waited_s, digest=told)
        pace.wait()


def _found(
    study: StudyState, records: Sequence[Any], events: Sequence[Event], *, running: bool
) -> tuple[Happened, str] | None:
    """What has come of what is waited for, or ends the wait without it."""
    for event in EVENTS:
        if event in events and (told := _told(event, study, records, running=running)):
            return event, told
    if running:
        return None
    return "ended" if _is_over(study) else "unattended", digests.standing(study, running=False)


def _is_over(study: StudyState) -> bool:
    """Whether nothing more comes unless somebody asks; a sweep leaves trials paused of which it expects little."""
    if study.kind == "babysitting":
        return bool(study.trials) and study.trials[0].ended
    return bool(study.trials) and all(trial.ended or trial.frozen for trial in study.trials)


def _told(event: Event, study: StudyState, records: Sequence[Any], *, running: bool) -> str:
    """The event in words; empty while it has not come."""
    match event:
        case "improved":
            return digests.best_line(study) if digests.improved(study, records) else ""
        case "advice":
            told = [each.text for each in records if isinstance(each, Noted) and each.by == "supervisor"]
            return f"the supervisor advises: {told[-1]}" if told else ""
        case "budget":
            return spending(study).used_up
        case "ended":
            return digests.standing(study, running=False) if not running and _is_over(study) else ""
