"""The cockpit of a babysat run: all that its page says beside the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.errors import uncoded
from tuner.record.recipe import Schedule
from tuner.record.trial import Checkpoint, Trial
from tuner.server.page.inputs import Input, inputs_of
from tuner.values.numbers import exact, number
from tuner.views.logbook import Paragraph, story

if TYPE_CHECKING:
    from tuner.api.study import Study
    from tuner.panda.supervisor import Advice

_LOGGED = 200


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A request that has yet to take effect, or was refused."""

    words: str
    by: str
    why: str
    state: str
    detail: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Cockpit:
    """One run as its page shows it; `trial` is None while it has not begun."""

    trial: Trial | None
    head: int
    inputs: tuple[Input, ...] = ()
    schedules: tuple[tuple[str, str], ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    advice: tuple[Advice, ...] = ()
    asked: tuple[Pending, ...] = ()
    story: tuple[Paragraph, ...] = ()
    told: int = 0
    """How many paragraphs the logbook has in all; the newest are shown."""


def cockpit(study: Study) -> Cockpit:
    """What there is to see and to do."""
    state = study.state
    if not state.trials:
        return Cockpit(trial=None, head=0)
    trial = state.trials[0]
    recipe = trial.recipe
    paragraphs = story(study)
    return Cockpit(
        trial=trial,
        head=trial.head.segment if trial.segments else 0,
        inputs=tuple(inputs_of(study.space, recipe.at(trial.steps))),
        schedules=tuple((name, course(each)) for name, each in recipe.schedules.items()),
        checkpoints=tuple(reversed(trial.on_head(state.kept(trial)))),
        advice=tuple(each for each in study.advice() if each.urgency != "none"),
        asked=tuple(_pending(study))[::-1],
        story=tuple(paragraphs[::-1][:_LOGGED]),
        told=len(paragraphs),
    )


def course(each: Schedule) -> str:
    """A schedule in words, and since when."""
    return f"{each}, since step {each.since:,}"


def _pending(study: Study) -> list[Pending]:
    """What waits, and what was refused since something was last done."""
    requests = list(study.state.requests.values())
    waiting = [each for each in requests if each.state in ("received", "accepted")]
    done_at = max((each.at for each in requests if each.state == "applied"), default=0.0)
    refused = [each for each in requests if each.state == "rejected" and each.at > done_at][-3:]
    return [
        Pending(
            words=worded(each.verb, each.arguments),
            by=each.by,
            why=each.why,
            state="refused" if each.state == "rejected" else each.state,
            detail=uncoded(each.detail)[0],
            at=each.at,
        )
        for each in sorted((*waiting, *refused), key=lambda each: each.at)
    ]


def worded(verb: str, arguments: Any) -> str:
    """A request in a line; whatever a stranger wrote, it is told."""
    given = dict(arguments) if isinstance(arguments, dict) else {"": arguments}
    for name in ("values", "shape_settings", "settings"):
        if isinstance(given.get(name), dict):
            given |= given.pop(name)
    told = (f"{name} {exact(value)}" for name, value in given.items() if value is not None and name != "expect")
    return f"{verb.replace('_', ' ')} {', '.join(told)}".strip()


def best_of(trial: Trial) -> str:
    """The best score and where."""
    return "-" if trial.best_score is None else f"{number(trial.best_score)} at step {trial.best_step:,}"
