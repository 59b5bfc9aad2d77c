"""Studies of any size, written in bulk through the record's own store, as a coordinator would have written them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tuner.record import events as rec
from tuner.record.location import Place
from tuner.record.reports import pack_reports
from tuner.record.store import Store
from tuner.space.space import Space

SPACE = "sgd_momentum"
AT_A_TIME = 2_000
_DAY_S = 86_400.0


def opened(
    results: Path,
    name: str,
    *,
    kind: Literal["sweep", "babysitting"] = "sweep",
    store: str | None = None,
    space: str = SPACE,
) -> Store:
    """The record of a study that has begun, in this process's hands."""
    place = Place.of(name, results, store)
    place.point()
    records = Store.create(place.existing_or_new())
    records.acquire(time.time())
    identity = {
        "space": Space.load(space).to_dict(),
        "objective": "score",
        "goal": "maximize",
        "seed": 0,
        "sampler": "random",
    }
    begun = rec.StudyOpened(
        name=name, kind=kind, identity=identity, function="m:train", source_sha256="", version="0", at=time.time()
    )
    records.append([begun, rec.Configured(options={"trials": None}, by="caller", why="", at=time.time())], time.time())
    return records


def sweep(results: Path, name: str, trials: int, points: int, *, seed: int = 0, store: str | None = None) -> None:
    """A sweep that is over: so many trials of so many reports, the score a bowl over the settings, with luck."""
    space, draws = Space.load(SPACE), np.random.default_rng(seed)
    began = time.time() - _DAY_S
    with closing(opened(results, name, store=store)) as records:
        waiting: list[rec.Record] = []
        lead = -np.inf
        for trial in range(trials):
            unit = {key: float(draws.random()) for key in space}
            params = {key: space[key].from_unit(at) for key, at in unit.items()}
            level = 1.0 - sum((at - 0.6) ** 2 for at in unit.values()) + float(draws.normal(0.0, 0.01))
            scores = level * (1.0 - np.exp(-np.arange(1, points + 1) / points * draws.uniform(2.0, 6.0)))
            at = began + trial * _DAY_S / trials
            told = (scores + draws.normal(0, 0.01, points)).tolist()
            waiting += [*begun(trial, params, at), *over(trial, told, at)]
            if max(told) > lead:
                lead = max(told)
                waiting.append(rec.Led(trial=trial, step=told.index(lead) + 1, score=lead, at=at + points))
            if len(waiting) >= AT_A_TIME or trial == trials - 1:
                records.append(waiting, time.time())
                waiting = []


def run(results: Path, name: str, reports: int, *, a_flush: int = 100) -> None:
    """A babysat run that has reported so often, a step each, and stands as its coordinator left it: paused."""
    space, draws = Space.load(SPACE), np.random.default_rng(0)
    params = {key: space[key].from_unit(0.6) for key in space}
    began, waiting = time.time() - _DAY_S, []
    with closing(opened(results, name, kind="babysitting")) as records:
        records.append(begun(0, params, began), time.time())
        for first in range(1, reports + 1, a_flush):
            steps = np.arange(first, min(reports, first + a_flush - 1) + 1)
            scores = 1.0 - np.exp(-steps / reports * 5.0) + draws.normal(0.0, 0.01, len(steps))
            rows = [
                (step, "score", score, began + step * _DAY_S / reports)
                for step, score in zip(steps.tolist(), scores.tolist(), strict=True)
            ]
            waiting.append(pack_reports(0, 0, rows))
            if len(waiting) >= AT_A_TIME or steps[-1] == reports:
                records.append(waiting, time.time())
                waiting = []
        held = rec.TrialHeld(trial=0, state="paused", step=reports, why="for the night", at=time.time())
        records.append([held], time.time())


def begun(trial: int, params: Mapping[str, Any], at: float) -> list[rec.Record]:
    """A trial that a worker has taken up."""
    return [
        rec.TrialCreated(
            trial=trial,
            purpose="search",
            round=None,
            parent=None,
            seed=trial,
            params=dict(params),
            seen=trial,
            why="drawn evenly",
            memo=None,
            at=at,
        ),
        rec.SegmentOpened(
            trial=trial,
            segment=0,
            parent_segment=None,
            from_step=0,
            checkpoint=None,
            cause="start",
            by="tuner",
            why="a new trial",
            params=None,
            at=at,
        ),
        rec.TrialStarted(trial=trial, segment=0, worker=f"worker-{trial % 64}", node="node-1", pid=1, at=at),
        rec.TrialPlanned(trial=trial, segment=0, steps=None, resumable=True, at=at),
    ]


def over(trial: int, scores: list[float], at: float) -> Iterator[rec.Record]:
    """All that a trial reports, a second each, and its end."""
    yield pack_reports(trial, 0, [(step, "score", score, at + step) for step, score in enumerate(scores, 1)])
    best = max(scores)
    yield rec.TrialEnded(
        trial=trial,
        segment=0,
        state="completed",
        why="the function returned",
        step=len(scores),
        best_step=scores.index(best) + 1,
        best_score=best,
        started=at,
        seconds=float(len(scores)),
        node="node-1",
        error="",
        traceback="",
        at=at + len(scores),
    )
