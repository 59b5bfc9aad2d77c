"""The routes that read a study: what there is, how it stands, its trials, curves and rounds, what it has learned."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, TypeAlias

import numpy as np
from fastapi import APIRouter, Path, Query

from tuner.api.studies import studies as studies_in
from tuner.api.study import Study
from tuner.errors import SettingsError
from tuner.record.events import TrialState
from tuner.record.printed import FEW_BYTES, printed_of
from tuner.record.state import StudyState
from tuner.record.trial import Trial
from tuner.server import schemas
from tuner.server.finite import finite
from tuner.server.problems import documented
from tuner.server.service import Serving, may_read
from tuner.views.pictures.thinning import thinned, width_for

router = APIRouter(prefix="/v1/studies", tags=["read"], dependencies=[may_read])

StudyName: TypeAlias = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="The study's name.", examples=["night"])
]
TrialNumber: TypeAlias = Annotated[int, Path(ge=0, le=2**53, description="The trial's number, from 0.")]
LARGEST_PAGE = 1000


@router.get("", responses=documented(), summary="The studies there are")
def studies(serving: Serving) -> schemas.Studies:
    """One line a study, the latest first."""
    found = [schemas.StudyLine(**finite(asdict(each))) for each in studies_in(serving.results, serving.store)]
    return schemas.Studies(studies=found)


@router.get("/{name}", responses=documented(404, 409, 422), summary="A study as it is now")
def study(name: StudyName, serving: Serving) -> schemas.StudyFacts:
    """Identity, options, how many trials are in which state, the best, and who runs it."""
    with serving.library.study(name) as found:
        return facts_of(found)


@router.get("/{name}/trials", responses=documented(404, 409, 422), summary="Trials, by number")
def trials(
    name: StudyName,
    serving: Serving,
    after: Annotated[int, Query(ge=-1, le=2**53, description="Those beyond this number.")] = -1,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="How many at most.")] = 100,
    state: Annotated[list[TrialState] | None, Query(description="Those in these states; left out: all.")] = None,
) -> schemas.TrialPage:
    """A page of trials; `next` is the `after` of the one that follows."""
    with serving.library.study(name) as found:
        every = found.state.trials
        wanted = every if not state else [each for each in every if each.state in state]
        beyond = every[after + 1 :] if not state else [each for each in wanted if each.trial > after]
        page = beyond[:limit]
        return schemas.TrialPage(
            trials=[schemas.TrialLine(**line_of(found.state, each)) for each in page],
            shown=len(page),
            of=len(wanted),
            next=page[-1].trial if len(beyond) > len(page) else None,
            sequence=found.sequence,
        )


@router.get("/{name}/trials/{number}", responses=documented(404, 409, 422), summary="All about a trial")
def trial(name: StudyName, number: TrialNumber, serving: Serving) -> schemas.TrialFacts:
    """Settings, segments, checkpoints, and how it ended."""
    with serving.library.study(name) as found:
        each = found.trial(number)
        recipe = each.recipe
        return schemas.TrialFacts(
            **line_of(found.state, each),
            settings=finite(recipe.at(each.steps)),
            schedules=finite({key: shape.to_dict() for key, shape in recipe.schedules.items()}),
            segments=[schemas.SegmentLine(**finite(asdict(segment))) for segment in each.segments],
            checkpoints=[schemas.CheckpointLine(**asdict(found.state.checkpoints[kept])) for kept in each.checkpoints],
            error=each.error,
            traceback=found.traceback(number),
            printed=printed_of(found.place.folder, number, FEW_BYTES),
        )


@router.get("/{name}/curves", responses=documented(404, 409, 422), summary="Head curves of the objective")
def curves(
    name: StudyName,
    serving: Serving,
    trials: Annotated[
        str,
        Query(
            max_length=10_000, description="Numbers and ranges, as in `0,3,8-11`; left out: all.", examples=["0,3,8-11"]
        ),
    ] = "",
    points: Annotated[int, Query(ge=10, le=10_000, description="Of one curve, at most.")] = 1000,
) -> schemas.Curves:
    """Curves, long ones thinned: of each whole bucket of reports its extremes, and it says how many of how many."""
    with serving.library.study(name) as found:
        found.load_curves()
        every = found.state.trials
        wanted = every if not trials else [found.trial(number) for number in numbers_in(trials, len(every))]
        lines, total = [], 0
        for each in wanted:
            curve = found.state.curve(each)
            if len(curve):
                known, width = np.asarray(curve.steps), width_for(len(curve), int(curve.steps[-1]), 1, points)
                steps, scores = thinned(known, np.asarray(curve.scores, dtype=float), width)
                total += len(curve)
                line = {"trial": each.trial, "steps": steps.tolist(), "scores": finite(scores.tolist())}
                lines.append(schemas.CurveLine.model_construct(**line, of=len(curve)))
        return schemas.Curves.model_construct(
            objective=found.state.objective,
            curves=lines,
            shown=sum(len(each.steps) for each in lines),
            of=total,
            trials=len(lines),
            of_trials=sum(each.steps > 0 for each in every),
            sequence=found.sequence,
        )


@router.get("/{name}/rounds", responses=documented(404, 409, 422), summary="The rounds of a search")
def rounds(name: StudyName, serving: Serving) -> schemas.Rounds:
    """Each with its box in the unit cube, its trials, and the reason it is where it is."""
    with serving.library.study(name) as found:
        state = found.state
        members: dict[int, list[Trial]] = {}
        for each in state.trials:
            if each.round is not None and not each.repeats:
                members.setdefault(each.round, []).append(each)
        lines = []
        for opened in state.rounds:
            own = members.get(opened.round, [])
            scores = [each.best_score for each in own if each.best_score is not None and each.state != "diverged"]
            best = max(scores, key=state.signed, default=None)
            known: dict[str, Any] = {
                "round": opened.round,
                "first_trial": opened.first_trial,
                "box": opened.box,
                "seen": opened.seen,
            }
            lines.append(schemas.RoundLine(**known, trials=len(own), best=finite(best), why=opened.why))
        return schemas.Rounds(rounds=lines)


def facts_of(study: Study) -> schemas.StudyFacts:
    """How a study stands."""
    state, best = study.state, study.state.best
    holder = study.coordinator(time.time())
    return schemas.StudyFacts(
        name=state.name,
        kind="babysitting" if state.kind == "babysitting" else "sweep",
        objective=state.objective,
        goal=state.goal,
        function=state.function,
        identity=finite(state.identity),
        options=finite({word: each for word, each in state.options.items() if word not in _OF_THE_HOST}),
        trials=len(state.trials),
        ended=len(state.ended_order),
        states={word: count for word, count in state.counts.items() if count},
        steps=state.steps_done,
        best=None
        if best is None or best.best_score is None or best.best_step is None
        else schemas.BestTrial(
            trial=best.trial,
            score=best.best_score,
            step=best.best_step,
            params=finite(best.settings),
            spread=finite(state.spread(best)),
        ),
        coordinator=None if holder is None else schemas.CoordinatorLine(host=holder[0], pid=holder[1]),
        sequence=study.sequence,
    )


_OF_THE_HOST = frozenset({"search_path", "home"})


def line_of(study: StudyState, trial: Trial) -> dict[str, Any]:
    """A trial as a list shows it."""
    return {
        "trial": trial.trial,
        "purpose": trial.purpose,
        "state": trial.state,
        "why": trial.why,
        "round": trial.round,
        "parent": trial.parent,
        "seed": trial.seed,
        "params": finite(trial.params),
        "score": finite(trial.best_score),
        "spread": finite(study.spread(trial)),
        "best_step": trial.best_step,
        "steps": trial.steps,
        "started": trial.started,
        "seconds": finite(trial.seconds),
        "node": trial.node,
    }


def numbers_in(text: str, of: int) -> Iterable[int]:
    """The numbers in `0,3,8-11`, each once, in their order; a range ends with the last trial there is."""
    found: dict[int, None] = {}
    for part in text.split(","):
        parsed = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?", part)
        if parsed is None:
            raise SettingsError(
                f"trials={text[:80]!r}: {part[:20]!r} is no number and no range. Write trials=0,3,8-11."
            )
        first = int(parsed[1])
        last = first if parsed[2] is None else min(int(parsed[2]), max(of - 1, first))
        found.update(dict.fromkeys(range(first, last + 1)))
    return found
