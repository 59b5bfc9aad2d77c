"""Babysat runs written straight into a store: what a worker and its people did, without waiting for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.api.study import Study
from tuner.record import events as rec
from tuner.record.location import Place
from tuner.record.reports import pack_reports
from tuner.record.store import Store

NOON = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
A_STRETCH = 100.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of training from one step to another; `scores` gives what is reported after a step."""

    start: int
    to: int
    params: Mapping[str, Any] = field(default_factory=lambda: {"learning_rate": 0.1, "beta": 0.9})
    parent: int | None = None
    cause: str = "adjust"
    verb: str = "set"
    why: str = ""
    by: str = "ada"
    schedules: Mapping[str, Any] | None = None
    scores: Callable[[int], Mapping[str, float]] = lambda step: {"score": float(step)}
    kind: str = "before adjustment"


def story(
    folder: Path,
    *parts: Part,
    goal: str = "maximize",
    objective: str = "score",
    end: tuple[str, str] | None = None,
    more: Sequence[rec.Record] = (),
    asked: Sequence[rec.Requested] = (),
) -> Study:
    """The run of these stretches, one after another, a checkpoint at the end of each."""
    place = Place.of(folder.name, folder.parent, None)
    folder.mkdir(parents=True)
    store = Store.create(place.existing_or_new())
    store.acquire(NOON)
    identity = {"objective": objective, "goal": goal, "space": None, "seed": 0, "sampler": "none"}
    told: list[rec.Record] = [
        rec.StudyOpened(
            name=folder.name,
            kind="babysitting",
            identity=identity,
            function="my.module:train",
            source_sha256="",
            version="1.0",
            at=NOON,
        ),
        rec.TrialCreated(
            trial=0,
            purpose="search",
            round=None,
            parent=None,
            seed=7,
            params=dict(parts[0].params),
            seen=0,
            why="the settings given",
            memo=None,
            at=NOON,
        ),
    ]
    for number, part in enumerate(parts):
        at = NOON + A_STRETCH * number
        request = f"r{number}" if number and part.by != "tuner" else ""
        if request:
            store.request(part.verb, {"steps": 5}, by=part.by, why=part.why, request=request)
            told.append(rec.Answered(request=request, state="applied", step=part.start, detail="", at=at))
        told += _trained(number, part, parts[number - 1].params if number else {}, request, at)
    if end is not None:
        told.append(
            rec.TrialEnded(
                trial=0,
                segment=len(parts) - 1,
                state=end[0],  # type: ignore[arg-type]
                why=end[1],
                step=parts[-1].to,
                best_step=parts[-1].to,
                best_score=parts[-1].scores(parts[-1].to).get(objective),
                started=NOON,
                seconds=9.0,
                node="n",
                error="",
                traceback="",
                at=NOON + A_STRETCH * len(parts),
            )
        )
    for each in asked:
        store.request(each.verb, each.arguments, by=each.by, why=each.why, request=each.request)
    store.append([*told, *more], NOON)
    store.close()
    return Study(place, Store.open(place.existing()))


def _trained(number: int, part: Part, before: Mapping[str, Any], request: str, at: float) -> list[rec.Record]:
    checkpoint = None if part.parent is None or part.cause == "adjust" else part.parent
    told: list[rec.Record] = [
        rec.SegmentOpened(
            trial=0,
            segment=number,
            parent_segment=part.parent,
            from_step=part.start,
            checkpoint=checkpoint,
            cause="start" if number == 0 else part.cause,  # type: ignore[arg-type]
            by=part.by,
            why=part.why,
            params=dict(part.params),
            at=at,
            schedules=part.schedules,
            request=request,
        )
    ]
    if number == 0:
        told.append(rec.TrialStarted(trial=0, segment=0, worker="w", node="n", pid=1, at=at))
    if part.cause == "adjust" and number:
        told += [
            rec.Adjusted(
                request=request,
                trial=0,
                step=part.start,
                parameter=name,
                before=before[name],
                after=value,
                read_back=value,
                by=part.by,
                why=part.why,
                evidence="",
                requested_at=at,
                accepted_at=at,
            )
            for name, value in part.params.items()
            if before[name] != value
        ]
    rows = [
        (step, name, value, at + 1.0)
        for step in range(part.start + 1, part.to + 1)
        for name, value in part.scores(step).items()
    ]
    if rows:
        told.append(pack_reports(0, number, rows))
    saved = rec.CheckpointSaved(
        checkpoint=number,
        trial=0,
        segment=number,
        step=part.to,
        kind=part.kind,
        bytes=1,
        sha256="",
        path=f"c/{number}",
        at=at + 2.0,
    )
    return [*told, saved]
