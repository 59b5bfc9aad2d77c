"""Records written line by line, by a test that is their coordinator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tuner.record import events as rec
from tuner.record.location import Place
from tuner.record.reports import pack_reports
from tuner.record.store import Store
from tuner.space.constructors import linear
from tuner.space.space import Space

NOON = 1_700_000_000.0
LINE = Space(x=linear(0.0, 1.0))


def diary(
    results: Path, kind: Literal["sweep", "babysitting"] = "sweep", space: Space | None = LINE, name: str = "night"
) -> Store:
    """The record of a study that has begun, in the hands of the test; whoever has it closes it."""
    store = Store.create(Place.of(name, results, None).existing_or_new())
    store.acquire(NOON)
    described = None if space is None else space.to_dict()
    identity = {"space": described, "objective": "score", "goal": "minimize", "seed": 0, "sampler": "random"}
    opened = rec.StudyOpened(
        name=name, kind=kind, identity=identity, function="m:train", source_sha256="", version="0", at=NOON
    )
    store.append([opened], NOON)
    return store


def segment(trial: int, number: int = 0, **changes: Any) -> rec.SegmentOpened:
    """A segment that begins; the first unless told."""
    plain: dict[str, Any] = {"parent_segment": None, "from_step": 0, "checkpoint": None, "cause": "start"}
    told: dict[str, Any] = {"by": "tuner", "why": "so", "params": None, "at": NOON}
    return rec.SegmentOpened(trial=trial, segment=number, **plain | told | changes)


def beginning(trial: int, x: float = 0.5) -> list[rec.Record]:
    """A trial that a worker has taken up."""
    created = rec.TrialCreated(
        trial=trial,
        purpose="search",
        round=None,
        parent=None,
        seed=0,
        params={"x": x},
        seen=0,
        why="drawn",
        memo=None,
        at=NOON,
    )
    return [created, segment(trial), rec.TrialStarted(trial=trial, segment=0, worker="w", node="n", pid=1, at=NOON + 1)]


def reported(trial: int, number: int, scores: Sequence[tuple[int, float]]) -> rec.Reported:
    """A flush of scores by step."""
    return pack_reports(trial, number, [(step, "score", score, NOON + 2) for step, score in scores])


def ended(trial: int, score: float, state: rec.TrialState = "completed", step: int = 2) -> rec.TrialEnded:
    """A trial that is over."""
    return rec.TrialEnded(
        trial=trial,
        segment=0,
        state=state,
        why="ran all steps",
        step=step,
        best_step=step,
        best_score=score,
        started=NOON + 1,
        seconds=1.0,
        node="n",
        error="",
        traceback="",
        at=NOON + 4,
    )
